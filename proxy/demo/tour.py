"""The guided part of the demo: the same few queries as each role, and the lines a newcomer can paste into a shell."""

from __future__ import annotations

import asyncio
import shlex
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from proxy.demo.bank import DATABASE, LOGINS

PEOPLE = "SELECT id, full_name, phone, birth_date, balance FROM bank.customers WHERE id <= 3 ORDER BY id"
CARD = "SELECT holder_name, card_no, cvv FROM bank.cards WHERE id = 1"
MEMO = "SELECT memo, counterparty FROM bank.transactions WHERE id = 1"
QUERIES = (PEOPLE, CARD, MEMO)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one role got for one query: rows as text, or the error."""

    role: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    error: str | None = None
    """SQLSTATE and message of a refusal."""


def ask_everybody(port: int) -> list[tuple[str, list[Answer]]]:
    """Run every query of the tour as every role through the proxy."""
    return asyncio.run(_ask_everybody(port))


async def _ask_everybody(port: int) -> list[tuple[str, list[Answer]]]:
    out: list[tuple[str, list[Answer]]] = [(query, []) for query in QUERIES]
    for role in LOGINS:
        connection = await asyncpg.connect(host="127.0.0.1", port=port, user=role, password=role, database=DATABASE)
        try:
            for query, answers in out:
                answers.append(await _ask(connection, role, query))
        finally:
            await connection.close()
    return out


async def _ask(connection: asyncpg.Connection, role: str, query: str) -> Answer:
    try:
        statement = await connection.prepare(query)
        records = await statement.fetch()
    except asyncpg.PostgresError as error:
        return Answer(role, error=f"refused, {error.sqlstate}: {error.args[0]}")
    columns = tuple(a.name for a in statement.get_attributes())
    return Answer(role, columns, tuple(tuple("NULL" if v is None else str(v) for v in r) for r in records))


def report(results: Iterable[tuple[str, Sequence[Answer]]]) -> str:
    """The answers as text, one block a query, aligned for terminals that show Chinese characters two columns wide."""
    return "\n\n".join("\n".join([f"{query};", *_block(answers)]) for query, answers in results)


def _block(answers: Sequence[Answer]) -> Iterator[str]:
    columns = next((a.columns for a in answers if a.columns), ())
    lines: list[tuple[str, ...]] = [("role", *columns)]
    for answer in answers:
        for number, row in enumerate(answer.rows):
            lines.append((answer.role if number == 0 else "", *row))
    widths = [max(_width(line[i]) for line in lines) for i in range(len(lines[0]))]
    role_width = max(widths[0], *(_width(a.role) for a in answers))
    widths[0] = role_width
    yield _line(lines[0], widths)
    yield "  ".join("-" * w for w in widths)
    for answer in answers:
        if answer.error is not None:
            yield f"{_pad(answer.role, role_width)}  {answer.error}"
        for number, row in enumerate(answer.rows):
            yield _line((answer.role if number == 0 else "", *row), widths)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(_pad(c, w) for c, w in zip(cells, widths, strict=True)).rstrip()


def _pad(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where the parts of this demo are, for the texts."""

    port: int
    psql: str
    """How to call psql: `psql`, or the path of the one in the wheel."""
    python: str
    pgveil: str
    config: Path
    policy: Path
    http_port: int


def instructions(here: Surroundings) -> str:
    """What to type, for people who have just started the demo."""
    psql = "\n".join(f"  {_psql(here, role, PEOPLE)}" for role in LOGINS[:4])
    return f"""\
pgveil listens on 127.0.0.1:{here.port}, database {DATABASE}. Passwords equal the user names.

The same query as four people (psql):

{psql}

The same from Python (psycopg), as the teller:

  {shlex.quote(here.python)} -c {shlex.quote(_psycopg(here.port, "teller", PEOPLE))}

The DBA does not see card verification values either:

  {_psql(here, "admin", CARD)}

Change the policy and run a query again; it takes effect when the file is saved:

  {here.policy}

Menus, approvals, shifts, purposes: docs/scenarios.md tells five stories to type along, with DIRECTORY={here.config.parent}

Who saw what:

  {shlex.quote(here.pgveil)} audit tail -c {shlex.quote(str(here.config))}
  {shlex.quote(here.pgveil)} audit verify -c {shlex.quote(str(here.config))}

Metrics and health: http://127.0.0.1:{here.http_port}/metrics, /healthz, /readyz
"""


def _psql(here: Surroundings, role: str, query: str) -> str:
    address = f"-h 127.0.0.1 -p {here.port} -U {role} {DATABASE}"
    return f"PGPASSWORD={role} PGCLIENTENCODING=UTF8 {shlex.quote(here.psql)} {address} -c {shlex.quote(query)}"


def _psycopg(port: int, role: str, query: str) -> str:
    uri = f"postgresql://{role}:{role}@127.0.0.1:{port}/{DATABASE}"
    return f'import psycopg; [print(*r) for r in psycopg.connect("{uri}").execute("{query}")]'
