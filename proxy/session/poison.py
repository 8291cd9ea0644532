"""A refusal takes the place of the refused message in the stream, as a message that must fail.

Answering a refused statement locally would be out of order in a pipeline and would leave the transaction healthy where
PostgreSQL would have failed it. So the server gets a poison: it fails there as any bad statement does, and its error
is replaced by ours.
"""

from __future__ import annotations

from typing import Final

from proxy.session.expect import BIND, DESCRIBE_STATEMENT, EXECUTE, FUNCTION, PARSE, QUERY
from proxy.wire import codec
from rewrite.plan import Refusal

TEXT: Final = b"refused by pgveil"
NOWHERE: Final = b"pgveil.refused"
"""Names no statement and no portal. Should a client have made one in SQL, the session ends when the poison does not fail."""
RESERVED: Final = b"pgveil."
"""What clients of masked sessions may not name statements and portals."""

BY_KIND: Final[dict[int, Poison]] = {
    QUERY: (codec.encode_query(TEXT), b"42601"),
    BIND: (codec.encode_bind(codec.Bind(b"", NOWHERE)), b"26000"),
    DESCRIBE_STATEMENT: (codec.encode_describe(codec.Target(ord("S"), NOWHERE)), b"26000"),
    EXECUTE: (codec.encode_execute(codec.Execute(NOWHERE)), b"34000"),
    FUNCTION: (codec.encode_function_call(codec.FunctionCall(0)), b"42883"),
}
"""Poison and the SQLSTATE that it provokes."""


Poison = tuple[bytes, bytes]
"""A message that must fail, and the SQLSTATE with which it does."""


def empty(tag: int) -> Poison:
    """In the place of a message that cannot be read: it touches nothing at the server, not even the unnamed statement."""
    return codec.message(tag), b"08P01"


def poison(kind: int, name: bytes = b"") -> Poison:
    """`name` is that of a Parse: the poison must hit the same one (a failed Parse drops the unnamed statement)."""
    if kind == PARSE:
        return codec.encode_parse(codec.Parse(name, TEXT)), b"42601"
    return BY_KIND[kind]


def error(refusal: Refusal, encoding: str | None, severity: bytes = b"ERROR") -> bytes:
    """The ErrorResponse that the client gets."""

    def text(value: str) -> bytes:
        return value.replace("\0", "").encode(encoding or "ascii", "replace")

    fields = [("S", severity), ("V", severity), ("C", refusal.sqlstate.encode("ascii", "replace"))]
    server_words = refusal.verbatim or refusal.sqlstate in _SERVER_STATES or refusal.message == CACHED_PLAN
    fields.append(("M", text(refusal.message if server_words else f"pgveil: {refusal.message}")))
    if refusal.hint:
        fields.append(("H", text(refusal.hint)))
    if refusal.position is not None:
        fields.append(("P", b"%d" % refusal.position))
    if server_words and not refusal.verbatim and refusal.sqlstate in _ROUTINES:
        fields.append(("R", _ROUTINES[refusal.sqlstate]))
    return codec.encode_error(tuple(fields))


CACHED_PLAN: Final = "cached plan must not change result type"
_ROUTINES: Final = {"0A000": b"RevalidateCachedQuery", "26000": b"FetchPreparedStatement"}
"""The server's functions that report these two: to drivers the sign to prepare again (pgjdbc, asyncpg, postgres.js)."""
NONSENSE: Final = b"\xff\0\0\0\4"
"""A message of a type that there never was: the server says so behind what it owes, and hangs up."""

_SERVER_STATES: Final = frozenset(
    "08P01 08006 22025 22P06 25P02 26000 42P05 3D000 3F000 42601 42P01 57014 57P01 57P03 57P05".split()
)
"""States under which we speak in the server's stead, in its words."""
