"""What a write sets off: functions of triggers, column defaults, generated columns, check constraints and index expressions.

They run with the raw tables in sight. A trigger that copies a phone number into the new row would hand it to the session that
writes. A function here may be one that a masked session can use itself; or its body, in SQL or PL/pgSQL, must name no protected
relation (but to INSERT INTO it), no function that is not of that kind, and build no SQL at run time. What it sees of the written
row is the row's own affair: that was decided when the table was classified. Texts that such functions raise are withheld anyway.

Names are looked for as words, so a word that happens to be the name of a protected relation counts as that relation.
Without EXECUTE nothing in a string is code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Protocol

from rewrite import system
from rewrite.catalog import Catalog, Function, Relation
from rewrite.functions import Names, is_usable
from rewrite.plan import Refusal

_TRIGGER = 2279
"""OID of the pseudo-type that trigger functions return."""
_TOKEN = re.compile(
    r"""(?P<skip>--[^\r\n]*|/\*.*?\*/|'(?:[^']|'')*'|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)"""
    r"""|(?P<name>"(?:[^"]|"")*"|[^\W\d][\w$]*)|(?P<other>\S)""",
    re.DOTALL,
)
"""One pass over comments, strings, names and the rest, so that none can hide the end of another."""
_WORD = re.compile(r'"(?:[^"]|"")*"|[^\W\d][\w$]*')
_DYNAMIC = frozenset({"execute", "dblink"})


class Protection(Protocol):
    """What has to be known of relations (rewrite.source.SourceBook)."""

    @property
    def catalog(self) -> Catalog: ...
    def is_guarded(self, relation: Relation) -> bool: ...
    def bases(self, relation: Relation) -> tuple[Relation, ...]: ...


def refusal(book: Protection, relation: Relation, names: Names) -> Refusal | None:
    """Why the relation may not be written: it sets off something that may read protected data."""
    todo = [f for r in reaches(book, relation) for f in _functions(book.catalog, r)]
    seen: set[int] = set()
    while todo:
        function = todo.pop()
        if function.oid in seen or is_usable(function.oid, names) or _is_tool(function):
            continue
        seen.add(function.oid)
        further = _reaches(book, function, names)
        if further is None:
            return Refusal(
                "42501",
                f"writing to {relation.schema}.{relation.name} runs function {function.schema}.{function.name}, "
                "which may read protected data",
                "if it is harmless, a DBA can allow it in the policy (functions: allow)",
            )
        todo += further
    return None


def sets_off_code(book: Protection, relation: Relation) -> bool:
    """Whether writing to the relation runs a function that does not come with the server or an extension."""
    return any(not _is_tool(f) for r in reaches(book, relation) for f in _functions(book.catalog, r))


def defaults(book: Protection, relation: Relation, *, alone: bool = False) -> list[Function]:
    """The functions behind its defaults, generated columns, checks and index expressions: all that it sets off but triggers.

    `alone`: not those of what is behind or below it.
    """
    every = (relation,) if alone else reaches(book, relation)
    return [f for r in every for f in _functions(book.catalog, r) if f.types[:1] != (_TRIGGER,)]


def _is_tool(function: Function) -> bool:
    """Trigger functions that come with the server or an extension work on the written row."""
    shipped = function.oid < system.FIRST_USER_OID or function.extension is not None
    return shipped and (function.oid < system.FIRST_USER_OID or function.types[:1] == (_TRIGGER,))


def reaches(book: Protection, relation: Relation) -> Iterator[Relation]:
    """The relation, what inherits from it or a view leads to, and all partitions."""
    todo, seen = [relation], set()
    while todo:
        one = todo.pop()
        if one.oid in seen:
            continue
        seen.add(one.oid)
        yield one
        todo += [book.catalog.relations[c] for c in book.catalog.children.get(one.oid, ()) if c in book.catalog.relations]
        todo += book.bases(one) if one.kind == "v" else ()


def _functions(catalog: Catalog, relation: Relation) -> list[Function]:
    unknown = Function(0, relation.schema, "?", "f", "v")
    return [catalog.functions.get(oid, unknown) for oid in relation.sets_off]


def _reaches(book: Protection, function: Function, names: Names) -> list[Function] | None:
    """The functions that the body may run besides builtin ones; None when it may read something protected."""
    body = function.body
    if body is None or function.language not in ("sql", "plpgsql") or 'u&"' in body.lower():
        return None
    catalog = book.catalog
    written, words = _words(body)
    everything = written | words
    if everything & _DYNAMIC or any(o.name in body for o in catalog.operators if not is_usable(o.function, names)):
        return None
    if words & {"returning", "conflict"}:  # an INSERT that reads what is there
        words = everything
    for word in words & catalog.relations_by_word.keys():
        for relation in catalog.relations_by_word[word]:
            if (not system.is_system(relation) or word.startswith("pg_")) and book.is_guarded(relation):
                return None
    named = {t.oid for word in everything for t in catalog.types_by_name.get(word, ()) if t.oid >= system.FIRST_USER_OID}
    if any(named & {c.source, c.target} and not is_usable(c.function, names) for c in catalog.casts):
        return None
    called = [f for word in everything for f in catalog.functions_by_name.get(word, ())]
    deny = system.rules().deny
    if any(f.oid < system.FIRST_USER_OID and any(fnmatchcase(f.name, p) for p in deny) for f in called):
        return None
    touched = (r for word in everything & catalog.relations_by_word.keys() for r in catalog.relations_by_word[word])
    called += [f for r in touched for w in reaches(book, r) for f in _functions(catalog, w)]
    return [f for f in called if f.oid >= system.FIRST_USER_OID or not f.oid]


def _words(body: str) -> tuple[frozenset[str], frozenset[str]]:
    """Names of what the body inserts into, and everything else in it that may be a name."""
    if "\\" in body:  # where a string ends depends on a setting: all of it may be names
        return frozenset(), frozenset(_name(w) for w in _WORD.findall(body))
    tokens = [(m["name"], m["other"]) for m in _TOKEN.finditer(body) if m["skip"] is None]
    written, words = set(), set()
    into = 0  # 0: anywhere, 1: behind INSERT, 2: behind INTO, 3: behind the name there, 4: behind a dot in it
    for name, other in tokens:
        word = _name(name) if name else ""
        if into == 0 or into == 3:
            into = 4 if into == 3 and other == "." else 1 if word == "insert" else 0
        elif into == 1:
            into = 2 if word == "into" else 0
        else:
            into = 3 if name else 0
            if name:
                written.add(word)
                continue
        if word:
            words.add(word)
    return frozenset(written), frozenset(words)


def _name(word: str) -> str:
    return word[1:-1].replace('""', '"') if word[0] == '"' else word.lower()
