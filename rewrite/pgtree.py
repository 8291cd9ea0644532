"""PostgreSQL's own parser: text in, parse tree out, as plain dicts and lists.

The tree is libpg_query's JSON form of PostgreSQL's raw parse tree (src/include/nodes/parsenodes.h): a node is a dict with one
capitalised key naming its type, its fields are lower-case keys, absent fields have their zero value. Some fields hold a node's
fields directly, without the type key (`relation`, `larg`, `withClause`, ...). Locations are byte offsets into the UTF-8 text.
The binding's own object form is not used: walking dicts costs a fifth of walking protobuf messages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from postgast import PgQueryError
from postgast.native import lib
from postgast.scan import scan as _scan

Node: TypeAlias = Any
"""A dict, list, string, number or boolean of the JSON tree."""

LOCATIONS = frozenset(
    {
        "location",
        "stmt_location",
        "stmt_len",
        "name_location",
        "list_start",
        "list_end",
        "rexpr_list_start",
        "rexpr_list_end",
    }
)


SHALLOW = 16384
"""Bytes of a text that cannot nest deeply enough to matter."""

DEEPEST = 10_000
"""Levels of nesting that libpg_query may be given: it has no limit of its own, and without stack the process would end."""

_OPEN, _CLOSE, _COMMA, _SEMICOLON = b"([", b")]", ord(","), ord(";")
_LISTS = frozenset({b"and", b"or"})
_NESTING = frozenset({b"union", b"intersect", b"except", b"join", b"case"})
_LENGTHS = frozenset(len(w) for w in (*_LISTS, *_NESTING, b"between"))


class ParseError(Exception):
    """PostgreSQL's grammar does not accept the text. `position` is a 0-based byte offset or None."""

    def __init__(self, message: str, position: int | None) -> None:
        super().__init__(message)
        self.message = message
        self.position = position


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a query string: its tree and the bytes [start, end) it occupies."""

    kind: str
    """Node type: SelectStmt, InsertStmt, CopyStmt, ..."""
    body: Node
    """The fields of the statement node."""
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Token:
    start: int
    end: int
    """Byte offsets [start, end)."""
    text: str
    """As written."""


def parse(sql: str) -> list[Statement]:
    """Parse a query string into its statements; an empty string has none. Raises ParseError, beyond DEEPEST RecursionError."""
    raw = sql.encode()
    if b"\0" in raw:
        raise ParseError("null byte in statement", raw.index(b"\0"))
    if len(raw) > SHALLOW and nesting(sql) > DEEPEST:
        raise RecursionError("the statement is nested too deeply")
    try:
        return _parse(sql, raw)
    except ParseError:
        bare = _without_comments(sql, raw)
        if bare is None:
            raise
        return _parse(sql, bare)


def _parse(sql: str, raw: bytes) -> list[Statement]:
    result = lib.pg_query_parse(raw)
    try:
        if result.error:
            error = result.error.contents
            position = len(raw.decode()[: error.cursorpos - 1].encode()) if error.cursorpos > 0 else None  # it counts characters
            raise ParseError((error.message or b"syntax error").decode(errors="replace"), position)
        try:
            tree = json.loads(result.parse_tree)
        except ValueError as e:
            raise ParseError("the parse tree of this statement cannot be read", None) from e
    finally:
        lib.pg_query_free_parse_result(result)
    out = []
    for raw_statement in tree.get("stmts", ()):
        ((kind, body),) = raw_statement["stmt"].items()
        start = raw_statement.get("stmt_location", 0)
        length = raw_statement.get("stmt_len", 0)
        out.append(Statement(kind, body, start, start + length if length else len(raw)))
    return out


def _without_comments(sql: str, raw: bytes) -> bytes | None:
    """The text with blanks in the place of its comments, every byte where it was; None when there are none.

    libpg_query takes a comment for a token where PostgreSQL sees white space: it does not let a string go on behind one ('a' --
    comment, new line, 'b') and does not put together NOT /* */ IN, NULLS /* */ FIRST, U&"" /* */ UESCAPE.
    """
    if b"--" not in raw and b"/*" not in raw:
        return None
    try:
        scanned = _scan(sql)
    except PgQueryError:
        return None
    out = bytearray(raw)
    for t in scanned.tokens:
        if raw.startswith((b"--", b"/*"), t.start):
            out[t.start : t.end] = b" " * (t.end - t.start)  # the end of the line is not part of the comment
    return bytes(out) if bytes(out) != raw else None


def nesting(sql: str, enough: int = DEEPEST) -> int:
    """A bound on how deep the parse tree of the text can be; anything above `enough` may stand for more.

    What stands between two commas of one parenthesis may all be nested in each other. AND and OR make lists, like commas. Set
    operations, joins and CASE nest whatever stands in between.
    """
    try:
        scanned = _scan(sql)
    except PgQueryError:
        return 0  # no tree
    raw = sql.encode()
    deepest = total = run = lasting = 0
    between = False
    outside: list[tuple[int, int]] = []
    for t in scanned.tokens:
        start, length = t.start, t.end - t.start
        first = raw[start]
        if first in b"-/" and raw[start : start + 2] in (b"--", b"/*"):
            continue
        word = raw[start : t.end].lower() if length in _LENGTHS else b""
        if word == b"between":
            between = True
        elif first == _COMMA or (word in _LISTS and not (between and word == b"and")):
            total -= run
            run = 0
            continue
        elif word == b"and":
            between = False
        if first == _SEMICOLON and not outside:
            total = run = lasting = 0
            continue
        if first in _CLOSE and outside:
            total -= run + lasting
            run, lasting = outside.pop()
            continue
        total += 1
        if word in _NESTING:
            lasting += 1
        else:
            run += 1
        if first in _OPEN and length == 1:
            outside.append((run, lasting))
            run = lasting = 0
        if total > deepest:
            deepest = total
            if deepest > enough:
                break
    return deepest


def tokens(sql: str) -> list[Token]:
    """The lexical tokens of the text, comments left out. Raises ParseError."""
    raw = sql.encode()
    try:
        scanned = _scan(sql)
    except PgQueryError as e:
        raise ParseError(str(e), None) from e
    return [
        Token(t.start, t.end, raw[t.start : t.end].decode())
        for t in scanned.tokens
        if not raw.startswith((b"--", b"/*"), t.start)
    ]


def strip(node: Node) -> Node:
    """A deep copy without locations: what two trees that mean the same have in common."""
    if isinstance(node, dict):
        return {k: strip(v) for k, v in node.items() if k not in LOCATIONS}
    if isinstance(node, list):
        return [strip(v) for v in node]
    return node


def replaced(node: Node, replacements: Mapping[int, Node]) -> Node:
    """A deep copy without locations, with every dict whose id() is in `replacements` exchanged for the given node.

    A replacement that is a function gets the copy of the original node (its own replacement left out) and returns the new one.
    """
    if isinstance(node, dict):
        new = replacements.get(id(node))
        if callable(new):
            return new({k: replaced(v, replacements) for k, v in node.items() if k not in LOCATIONS})
        if new is not None:
            return new
        return {k: replaced(v, replacements) for k, v in node.items() if k not in LOCATIONS}
    if isinstance(node, list):
        return [replaced(v, replacements) for v in node]
    return node


def strings(names: list[Node]) -> tuple[str, ...]:
    """The values of a list of String nodes, as in funcname, opername or TypeName.names."""
    return tuple(n["String"].get("sval", "") for n in names)


def quote_ident(name: str) -> str:
    """Always quoted, so that no keyword or case rule can change it."""
    return '"' + name.replace('"', '""') + '"'


def quote_literal(value: str) -> str:
    """A string constant that means the same whatever standard_conforming_strings is."""
    quoted = "'" + value.replace("'", "''") + "'"
    return "E" + quoted.replace("\\", "\\\\") if "\\" in value else quoted
