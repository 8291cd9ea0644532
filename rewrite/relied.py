"""Names of functions and types that somebody relies on: a masked session gives them no new meaning.

A call without a schema means the function whose argument types fit best, in whatever schema of the path: a new
`left(varchar, int)` is preferred to the builtin one for a varchar. Code that masks for others (`left(phone, 3)` in a function
that the policy allows, or in a trigger) would then return what the new function returns. A new type is a new function too:
`md5(phone)` is a cast to a domain `md5` when no function takes exactly a varchar.

So what a masked session makes has a name that no function has, but those of its own kind that nothing in the catalog uses. A
function of the same name and arguments may be replaced or dropped by its owner only, as ever.

Manual: typeconv-func, sql-createfunction.
"""

from __future__ import annotations

import re
from functools import lru_cache

from policies.model import COMPANION
from rewrite import system
from rewrite.catalog import Function
from rewrite.source import SourceBook


def on(book: SourceBook, name: str) -> str | None:
    """Why a function of the name may not be made, replaced or dropped; None when nothing relies on the name.

    A function that can be seen through may call it, as long as nothing relies on that one in turn.
    """
    todo, seen = [name], {name}
    while todo:
        why = _directly_on(book, todo[-1])
        if why is not None:
            return why
        one = todo.pop()
        for function in _callers(book, one):
            if not book.pure.harmless(function):
                return f"function {function.schema}.{function.name} may call {one}"
            if any(allowed.rpartition(".")[2] == function.name for allowed in book.profile.functions):
                return f"the policy allows function {function.schema}.{function.name}, which may call {one}"
            if function.name not in seen:
                seen.add(function.name)
                todo.append(function.name)
    return None


def on_type(book: SourceBook, name: str) -> str | None:
    """Why a type of the name may not be made: code may mean another one that is there."""
    if name in book.catalog.types_by_name:
        for function in _callers(book, name):
            return f"function {function.schema}.{function.name} may use another type {name}"
    return None


def _callers(book: SourceBook, name: str) -> list[Function]:
    """The functions whose bodies may use the name."""
    there = name in book.catalog.functions_by_name
    return [f for f in book.catalog.functions.values() if f.name != name and _calls(f, name, there)]


def _directly_on(book: SourceBook, name: str) -> str | None:
    catalog = book.catalog
    there = catalog.functions_by_name.get(name, ())
    if any(f.oid < system.FIRST_USER_OID or f.extension is not None for f in there):
        return f"{name} is the name of a function that others call"
    if name in catalog.types_by_name:
        return f"{name} is the name of a type, to which others may cast"
    oids = {f.oid for f in there}
    if _is_part(book, oids):
        return f"something in the catalog uses a function {name}"
    word = _word(name)
    for relation in catalog.relations.values() if there else ():  # a view is bound to the functions it was made with
        if relation.view_sql is None or system.is_system(relation) or not word.search(relation.view_sql):
            continue
        if book.is_guarded(relation):
            return f"view {relation.schema}.{relation.name} may call {name}"
    if any(word.search(repr(b)) for columns in book.profile.decisions.values() for d in columns.values() for b in d.branches):
        return f"the policy may call {name}"
    return None


def is_a_function(book: SourceBook, name: str) -> bool:
    """Whether calls of functions of that name could come to mean a type."""
    return name in book.catalog.functions_by_name


def _is_part(book: SourceBook, oids: set[int]) -> bool:
    """Whether a trigger, default, constraint, operator, cast, aggregate or the check of a type uses one of the functions."""
    catalog = book.catalog
    if not oids:
        return False
    used = {oid for r in catalog.relations.values() for oid in r.sets_off}
    used |= {o.function for o in catalog.operators} | {c.function for c in catalog.casts}
    used |= {oid for t in catalog.types for oid in t.functions}
    used |= {oid for f in catalog.functions.values() for oid in f.parts}
    return not oids.isdisjoint(used)


def _calls(function: Function, name: str, there: bool) -> bool:
    """By the words of the body; of code that cannot be read nothing is known, nor does it look names up as SQL does.

    A SQL-standard body is bound to the functions that were `there` when it was made. Those of pgveil's own schema look nowhere
    but in it and in pg_catalog.
    """
    if function.schema == COMPANION:
        return False
    if function.oid < system.FIRST_USER_OID or function.extension is not None or function.body is None:
        return False
    if function.standard_body and not there:
        return False
    return function.language != "internal" and _word(name).search(function.body) is not None


@lru_cache(maxsize=256)
def _word(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w$]){re.escape(name)}(?![\w$])", re.IGNORECASE)
