"""Every SQL fixture executed twice: rewritten on the raw database, as it stands on a physically masked copy; answers are equal.

Every raw value of a masked column is a canary that no answer on the raw database may contain, error messages included.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

import asyncpg
import psycopg
import pytest
from psycopg import pq

from policies.model import Profile
from proxy.control.catalog import CatalogReader
from rewrite.catalog import Catalog
from rewrite.plan import PlanContext, Verdict
from rewrite.planner import Planner
from tests.fixtures.rewrite import Case, cases
from tests.support import minibank
from tests.support.postgres import TestServer

ROLE = "minibank_analyst"
CONTROL = "minibank_control"
RECORD = 2249
FIRST_USER_TYPE = 16384


@dataclass(slots=True)
class Answer:
    """What a client sees of one query string."""

    columns: list[list[tuple[str, int]]] = field(default_factory=list)
    rows: list[list[tuple[bytes | None, ...]]] = field(default_factory=list)
    tags: list[bytes] = field(default_factory=list)
    error: str | None = None
    text: bytes = b""
    """Every byte of data and of the error's message."""


@dataclass(frozen=True, slots=True)
class Bank:
    raw: psycopg.Connection
    masked: psycopg.Connection
    catalog: Catalog
    profile: Profile
    planner: Planner
    canaries: frozenset[bytes]


def _quoted(*names: str) -> str:
    return ".".join('"' + n.replace('"', '""') + '"' for n in names)


def _mask_statements() -> Iterator[str]:
    """What turns the raw database into the masked copy: the same expressions, stored."""
    yield "ALTER DOMAIN bank.phone_t DROP CONSTRAINT phone_format"
    for (schema, name), columns in minibank.MASKS.items():
        relation = minibank.CATALOG.by_name[(schema, name)]
        generated = {c.name for c in relation.columns if c.generated}
        items = []
        for column, mask in columns.items():
            expression = mask.replace("$1", _quoted(column))
            rows = minibank.CLEAR_ROWS.get((schema, name, column))
            if rows is not None:
                expression = f"CASE WHEN {rows} THEN {_quoted(column)} ELSE {expression} END"
            if column not in generated:
                items.append(f"{_quoted(column)} = {expression}")
        # Partitions are masked through their parent; inheritance children on their own.
        if name not in ("wealth_low", "wealth_high", "transactions_1", "transactions_2"):
            yield f"UPDATE {'ONLY ' if relation.kind == 'r' else ''}{_quoted(schema, name)} SET {', '.join(items)}"
    yield "REFRESH MATERIALIZED VIEW bank.mv_report"


def _grants(database: str) -> str:
    schemas = 'bank, archive, "零售", public'
    return f"""
        GRANT CREATE, TEMP ON DATABASE "{database}" TO {ROLE};
        GRANT USAGE, CREATE ON SCHEMA {schemas} TO {ROLE};
        GRANT ALL ON ALL TABLES IN SCHEMA {schemas} TO {ROLE};
        GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schemas} TO {ROLE};
    """


def _canaries(connection: psycopg.Connection) -> Iterator[bytes]:
    """Raw values that differ from their masked form and are long enough to be no accident."""
    for (schema, name), columns in minibank.MASKS.items():
        for column, mask in columns.items():
            masked = mask.replace("$1", _quoted(column))
            rows = minibank.CLEAR_ROWS.get((schema, name.removesuffix("_1").removesuffix("_2"), column), "false")
            query = (
                f"SELECT {_quoted(column)}::text FROM {_quoted(schema, name)} "
                f"WHERE NOT ({rows}) AND ({masked})::text IS DISTINCT FROM {_quoted(column)}::text"
            )
            for (value,) in connection.execute(query.encode()):
                if len(value) >= 7:
                    yield value.encode()


@pytest.fixture(scope="module")
def bank(postgres: TestServer) -> Iterator[Bank]:
    names = ("minibank", "minibank_masked")
    for role in (ROLE, CONTROL):
        postgres.execute_sql("postgres", f"CREATE ROLE {role} LOGIN PASSWORD '{role}'")
    for name in names:
        postgres.execute_sql("postgres", f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
        script = minibank.SCRIPT if name == "minibank" else minibank.SCRIPT + ";".join(_mask_statements())
        postgres.execute_sql(name, f"{script}; {_grants(name)}")
    with psycopg.connect(postgres.dsn("postgres", "minibank")) as connection:
        canaries = frozenset((*_canaries(connection), *(v.encode() for v in minibank.LITERALS)))
    catalog = asyncio.run(_catalog(postgres))
    raw, masked = (psycopg.connect(postgres.dsn(ROLE, name, ROLE), autocommit=True, prepare_threshold=None) for name in names)
    yield Bank(raw, masked, catalog, minibank.profile(catalog), Planner(), canaries)
    raw.close()
    masked.close()
    for name in names:
        postgres.execute_sql("postgres", f"DROP DATABASE {name} WITH (FORCE)")
    postgres.execute_sql("postgres", f"DROP ROLE {ROLE}; DROP ROLE {CONTROL}")


async def _catalog(server: TestServer) -> Catalog:
    connection = await asyncpg.connect(server.dsn(CONTROL, "minibank", CONTROL))
    try:
        return (await CatalogReader().read(connection)).catalog
    finally:
        await connection.close()


def execute(connection: psycopg.Connection, sql: str) -> Answer:
    """Send one query string over the simple protocol and collect everything that comes back."""
    answer = Answer()
    pg = connection.pgconn
    pg.send_query(sql.encode())
    while (result := pg.get_result()) is not None:
        if result.status == pq.ExecStatus.COPY_OUT:
            rows: list[tuple[bytes | None, ...]] = []
            while True:
                size, data = pg.get_copy_data(0)
                if size <= 0:
                    break
                rows.append((bytes(data),))
            answer.rows.append(rows)
        elif result.status == pq.ExecStatus.COPY_IN:
            pg.put_copy_end()
        elif result.status == pq.ExecStatus.FATAL_ERROR:
            answer.error = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
            answer.text += result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b""
        else:
            answer.tags.append(result.command_status or b"")
            if result.status == pq.ExecStatus.TUPLES_OK:
                width = range(result.nfields)
                answer.columns.append([((result.fname(i) or b"").decode(), result.ftype(i)) for i in width])
                answer.rows.append([tuple(result.get_value(r, i) for i in width) for r in range(result.ntuples)])
    answer.text += b"\n".join(v for rows in answer.rows for row in rows for v in row if v is not None)
    return answer


def _types(columns: list[tuple[str, int]]) -> list[int]:
    """Types without those that may differ: a whole row is a record, a checked domain its base type (both documented)."""
    return [t if t < FIRST_USER_TYPE and t != RECORD else 0 for _, t in columns]


def _prepare(bank: Bank, case: Case) -> PlanContext:
    path = case.names("path") or minibank.PATH
    for connection in (bank.raw, bank.masked):
        connection.execute("BEGIN")
        listed = ", ".join(_quoted(p) for p in path if p != "pg_temp")
        connection.execute(f"SET LOCAL search_path = {listed}".encode())
        if case.get("before"):
            connection.execute(case.get("before").encode())
    return PlanContext(bank.catalog, bank.profile, case.resolution())


@pytest.mark.parametrize("case", [c for c in cases() if not c.expected.startswith(("REFUSE", "NEED"))], ids=str)
def test_equals_the_masked_copy(bank: Bank, case: Case) -> None:
    context = _prepare(bank, case)
    try:
        plan = bank.planner.plan(case.statement, context)
        if plan.refusal is not None and case.since > bank.catalog.server_version:
            assert execute(bank.masked, case.statement).error is not None
            return
        assert plan.verdict in (Verdict.PASS, Verdict.REWRITE), plan.refusal
        raw = execute(bank.raw, plan.text)
        masked = execute(bank.masked, case.statement.replace("minibank.", "minibank_masked."))
    finally:
        for connection in (bank.raw, bank.masked):
            for reset in ("ROLLBACK", "DISCARD ALL"):
                execute(connection, reset)
    if case.since:
        assert (masked.error is None) == (case.since <= bank.catalog.server_version), masked.text
    leaked = [c for c in bank.canaries if c in raw.text]
    assert not leaked, plan.text
    if case.get("compare") == "nothing":
        return
    assert (raw.error, raw.tags) == (masked.error, masked.tags), raw.text
    assert [[n for n, _ in c] for c in raw.columns] == [[n for n, _ in c] for c in masked.columns]
    if case.get("compare") == "names":
        return
    for ours, theirs in zip(raw.columns, masked.columns, strict=True):
        pairs = zip(_types(ours), _types(theirs), strict=True)
        assert all(a == b or 0 in (a, b) for a, b in pairs), (ours, theirs)
    if " order by " in case.statement.lower():
        assert raw.rows == masked.rows
    else:
        assert [sorted(map(repr, r)) for r in raw.rows] == [sorted(map(repr, r)) for r in masked.rows]


@pytest.mark.parametrize("case", [c for c in cases() if c.expected.startswith("REFUSE")], ids=str)
def test_refused_on_the_real_catalog_too(bank: Bank, case: Case) -> None:
    context = PlanContext(bank.catalog, bank.profile, case.resolution())
    plan = bank.planner.plan(case.statement, context)
    assert plan.refusal is not None
    assert plan.verdict in (Verdict.REFUSE, Verdict.NEED)


def test_the_oracle_can_fail(bank: Bank) -> None:
    """The raw text itself is full of canaries, and differs from the masked copy."""
    raw = execute(bank.raw, "SELECT * FROM bank.customers")
    masked = execute(bank.masked, "SELECT * FROM bank.customers")
    assert len(bank.canaries) > 150
    assert len([c for c in bank.canaries if c in raw.text]) > 100
    assert not [c for c in bank.canaries if c in masked.text]
    assert raw.rows != masked.rows
