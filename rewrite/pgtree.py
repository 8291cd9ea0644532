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
    """Parse a query string into its statements; an empty string has none. Raises ParseError."""
    raw = sql.encode()
    if b"\0" in raw:
        raise ParseError("null byte in statement", raw.index(b"\0"))
    result = lib.pg_query_parse(raw)
    try:
        if result.error:
            error = result.error.contents
            position = len(sql[: error.cursorpos - 1].encode()) if error.cursorpos > 0 else None  # it counts characters
            raise ParseError((error.message or b"syntax error").decode(errors="replace"), position)
        try:
            tree = json.loads(result.parse_tree)
        except (ValueError, RecursionError) as e:
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
