"""PL/pgSQL read by its words: what a body can name, it can only name with them.

PostgreSQL's own lexer cuts the body into words, operators, strings and the rest; nobody here knows the grammar, so every word
counts as everything that it can be. A body is harmless when

* it holds no word that begins a statement which changes something (INSERT, CREATE, SET, …), reads a cursor of the session, opens
  one that outlives the call, or runs a text (EXECUTE): what is in a string is no code then;
* none of its words names a protected relation, in whatever schema, or a catalog that withholds something;
* whatever it may call, as `f(…)` or in attribute notation, only computes, or is harmless in turn; so are the operators in it,
  and the checks and casts of the types that its words, arguments and relations bring along.

It then reads nothing that the session could not read, and leaves nothing behind: it may be called, and made, by a masked
session, whoever else calls it, with whatever values.

Manual: plpgsql, sql-syntax-lexical.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from rewrite import casts, dialect, system
from rewrite.catalog import Catalog, Function, Relation
from rewrite.pgtree import Token, tokens

_NAME_BYTES = 63

EFFECTS = frozenset(
    """insert update delete merge truncate copy create alter drop grant revoke execute do call set reset notify listen unlisten
    lock vacuum analyze analyse cluster reindex refresh comment security import load prepare deallocate discard commit rollback
    savepoint release abort checkpoint reassign open explain dblink""".split()
)
"""Words of which a harmless body has none, as they are written without quotes."""

_IMPLIED = frozenset("= <> < > <= >= ~~ !~~ ~~* !~~* ~ !~".split())
"""Operators that IN, BETWEEN, LIKE, SIMILAR TO, CASE, NULLIF and the like look up by name without showing it."""

BEGINS = frozenset({"begin", "then", "else", "loop", ";", ">>"})
"""What stands before a statement of PL/pgSQL."""

_ELSEWHERE = frozenset({"fetch", "move"})
"""Statements that read a cursor of the session by its name: with it, whatever its query shows."""

_OF_STORAGE = frozenset({"pg_column_size", "pg_column_compression", "pg_column_toast_chunk_id"})


class Protection(Protocol):
    """What has to be known of relations (rewrite.source.SourceBook)."""

    @property
    def catalog(self) -> Catalog: ...

    def is_guarded(self, relation: Relation) -> bool: ...


@dataclass(frozen=True, slots=True)
class Word:
    """A name or keyword of a body, folded and cut as the server does."""

    name: str
    quoted: bool
    start: int
    called: bool
    """Stands before a parenthesis or behind a dot: it may be a function."""


@dataclass(frozen=True, slots=True)
class Text:
    """A body, cut into tokens."""

    tokens: tuple[Token, ...]
    words: tuple[Word, ...]


def read(body: str, catalog: Catalog) -> Text | None:
    """None when it cannot be said how the server reads the body; raises ParseError when nobody can."""
    if "\\" in body:  # what a backslash means depends on a setting
        return None
    found = tuple(tokens(body))
    if dialect.refusal(body, found, catalog) is not None or any(t.text[:2].lower() == "u&" for t in found):
        return None
    words = []
    for i, token in enumerate(found):
        first = token.text[0]
        if not (first == '"' or first == "_" or first.isalpha() or first > "\x7f") or (first != '"' and "'" in token.text):
            continue
        called = (i + 1 < len(found) and found[i + 1].text == "(") or (i > 0 and found[i - 1].text == ".")
        words.append(Word(_folded(token.text), first == '"', token.start, called))
    return Text(found, tuple(words))


def is_harmless(
    body: str, types: Iterable[int], book: Protection, extensions: frozenset[str], harmless: Callable[[Function], bool]
) -> bool:
    """`types`: of arguments and results. `harmless` tells of another function of our users whether it is."""
    text = read(body, book.catalog)
    return text is not None and only_computes(text, text.words, body, types, book, extensions, harmless)


def only_computes(
    text: Text,
    words: Sequence[Word],
    body: str,
    types: Iterable[int],
    book: Protection,
    extensions: frozenset[str],
    harmless: Callable[[Function], bool],
) -> bool:
    """Whether these words of the text have no effect, and none of all its words brings anything protected along."""
    catalog = book.catalog
    if any(not w.quoted and w.name in EFFECTS for w in words) or _uses_session(text):
        return False

    def usable(function: Function | None) -> bool:
        if function is None:
            return False
        if function.extension is None and function.oid >= system.FIRST_USER_OID:
            return harmless(function)
        return system.computes(function, extensions)

    names = {w.name for w in text.words}
    if any(n.startswith(("pg_toast", "pg_temp")) for n in names):
        return False
    relations = [r for n in names for r in catalog.relations_by_word.get(n, ())]
    if any(book.is_guarded(r) for r in relations):
        return False
    called = {w.name for w in words if w.called}
    if called & (system.rules().definitions.keys() | _OF_STORAGE):
        return False
    if not all(usable(f) for n in called for f in catalog.functions_by_name.get(n, ())):
        return False
    meant = (o for o in catalog.operators if o.name in body or o.name in _IMPLIED)
    if not all(usable(catalog.functions.get(o.function)) for o in meant):
        return False
    named = {t.oid for n in names for t in catalog.types_by_name.get(n, ())}
    columns = {c.type_oid for r in relations for c in r.columns}
    play = casts.closure(catalog, (*types, *named, *columns))
    known = [catalog.types_by_oid.get(oid) for oid in play]
    if not all(usable(catalog.functions.get(oid)) for t in known if t is not None for oid in t.functions):
        return False
    return not any(
        casts.plays(c.source, play) and casts.plays(c.target, play) and not usable(catalog.functions.get(c.function))
        for c in catalog.casts
    )


def _uses_session(text: Text) -> bool:
    """FETCH and MOVE; the FETCH of FETCH FIRST 3 ROWS ONLY stands behind something else. FOR SHARE locks rows."""
    before = ";"
    for token in text.tokens:
        word = token.text.lower()
        if (word in _ELSEWHERE and before in BEGINS) or (word == "share" and before in ("for", "key")):
            return True
        before = word
    return False


def _folded(word: str) -> str:
    """As the server reads it: capitals of ASCII folded unless quoted, cut to the length of a name."""
    quoted = word[0] == '"'
    name = word[1:-1].replace('""', '"') if quoted else "".join(c.lower() if c.isascii() else c for c in word)
    return name.encode()[:_NAME_BYTES].decode(errors="ignore")
