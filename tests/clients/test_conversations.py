"""What graphical tools send when they connect, when a person opens the schema tree and a table: `conversations/*.sql`, replayed.

A file says in its first lines how the tool's driver talks: `simple`, `extended`, or `binary` (extended with binary results).
Statements end with a semicolon at the end of a line. A comment before a statement gives its parameters; `oid:schema shop` and
`oid:table shop.people` stand for the number that the tool has learnt before.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from psycopg import pq

from tests.clients.world import Pair, Place

_PASSING = re.compile(rb"pg_(toast_)?temp_\d+")
"""Schemas that come with the sessions of other tests."""
FILES = sorted((Path(__file__).parent / "conversations").glob("*.sql"))


@dataclass(frozen=True, slots=True)
class Statement:
    text: str
    parameters: tuple[str, ...]


def read(path: Path) -> tuple[str, list[Statement]]:
    """The way to talk, and the statements."""
    text = path.read_text("utf-8")
    protocol = re.search(r"^-- protocol: (\w+)$", text, re.MULTILINE)
    assert protocol is not None
    statements, lines, parameters = [], [], ()
    for line in text.splitlines():
        if line.startswith("-- $"):
            parameters = tuple(re.split(r" +\$\d+ = ", line.removeprefix("--"))[1:])
        elif line and not line.startswith("--"):
            lines.append(line)
            if line.endswith(";"):
                statements.append(Statement("\n".join(lines).removesuffix(";"), parameters))
                lines, parameters = [], ()
    assert not lines, "a statement without an end"
    return protocol[1], statements


def number(pgconn: pq.PGconn, what: str) -> bytes:
    kind, name = what.split(" ")
    cast = "regnamespace" if kind == "schema" else "regclass"
    found = pgconn.exec_(f"SELECT '{name}'::{cast}::oid".encode()).get_value(0, 0)
    assert found is not None
    return found


def say(pgconn: pq.PGconn, protocol: str, statement: Statement) -> tuple[Any, ...]:
    if protocol == "simple":
        result = pgconn.exec_(statement.text.encode())
    else:
        values = [number(pgconn, p[4:]) if p.startswith("oid:") else p.encode() for p in statement.parameters]
        form = pq.Format.BINARY if protocol == "binary" else pq.Format.TEXT
        result = pgconn.exec_params(statement.text.encode(), values, result_format=form)
    if result.status not in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
        return (
            statement.text,
            result.error_field(pq.DiagnosticField.SQLSTATE),
            result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY),
        )
    columns = [(result.fname(i), result.ftype(i), result.fmod(i), result.fformat(i)) for i in range(result.nfields)]
    rows = [tuple(result.get_value(r, c) for c in range(result.nfields)) for r in range(result.ntuples)]
    lasting = [row for row in rows if not any(_PASSING.fullmatch(value or b"") for value in row)]
    status = re.sub(rb"SELECT \d+", b"SELECT", result.command_status or b"")  # the number of rows, those that pass included
    return statement.text, status, columns, lasting


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_conversation(pair: Pair, path: Path) -> None:
    protocol, statements = read(path)

    def replay(place: Place) -> list[tuple[Any, ...]]:
        pgconn = pq.PGconn.connect(f"{place.dsn} sslmode=disable client_encoding=UTF8".encode())
        try:
            assert pgconn.status == pq.ConnStatus.OK, pgconn.error_message
            return [say(pgconn, protocol, statement) for statement in statements]
        finally:
            pgconn.finish()

    said = pair.compare(replay)
    assert [s for s in said if s[1] is not None and len(s[1]) == 5 and s[1].isdigit()] == [], "the tool's queries work"
