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

from rewrite import system
from rewrite.catalog import Function
from rewrite.source import SourceBook


def on(book: SourceBook, name: str) -> str | None:
    """Why a function of the name may not be made, replaced or dropped; None when nothing relies on the name."""
    catalog = book.catalog
    there = catalog.functions_by_name.get(name, ())
    if any(f.oid < system.FIRST_USER_OID or f.extension is not None for f in there):
        return f"{name} is the name of a function that others call"
    if name in catalog.types_by_name:
        return f"{name} is the name of a type, to which others may cast"
    oids = {f.oid for f in there}
    if _is_part(book, oids):
        return f"something in the catalog uses a function {name}"
    for function in catalog.functions.values():
        if function.name != name and _calls(function, name) and not book.pure.harmless(function):
            return f"function {function.schema}.{function.name} may call {name}"
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


def _calls(function: Function, name: str) -> bool:
    """By the words of the body; of code that cannot be read nothing is known, nor does it look names up as SQL does."""
    if function.oid < system.FIRST_USER_OID or function.extension is not None or function.standard_body or function.body is None:
        return False
    return function.language != "internal" and _word(name).search(function.body) is not None


@lru_cache(maxsize=256)
def _word(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w$]){re.escape(name)}(?![\w$])", re.IGNORECASE)
