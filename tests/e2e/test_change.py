"""A fixed part of `python -m tests.change`, what real drivers make of a change, and what the auditor is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import asyncpg
import psycopg
import psycopg2
import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine

from tests.change.changes import CHANGES, CLEAR, LOGIN, MASK, QUERIES, SHOWN, WORLD, connect
from tests.change.matrix import HBA, SETUP, Matrix, proxy_for
from tests.support.postgres import TestServer

FIXED = ("mask to clear", "clear to mask", "clear to refused", "role revoked", "column dropped", "view replaced", "search_path")
STAR = "SELECT * FROM shop.people ORDER BY id"
PHONES = "SELECT phone FROM shop.people ORDER BY id"


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    with TestServer({"max_connections": "200"}, HBA) as server:
        assert isinstance(server, TestServer)
        server.execute_sql("postgres", SETUP)
        with proxy_for(server, tmp_path_factory.mktemp("change") / "home") as proxy:
            yield Matrix(server, proxy)


@pytest.fixture
def masked(matrix: Matrix) -> Matrix:
    """The world anew, the mask in force."""
    matrix.server.execute_sql("postgres", WORLD)
    matrix.put(MASK)
    return matrix


def dsn(matrix: Matrix) -> str:
    return f"host=127.0.0.1 port={matrix.proxy.port} user={LOGIN} dbname=postgres sslmode=disable"


@pytest.mark.parametrize("change", [c for c in CHANGES if c.name in FIXED], ids=lambda c: c.name)
def test_matrix(matrix: Matrix, change: object) -> None:
    result = matrix.run([c for c in CHANGES if c is change], queries={k: QUERIES[k] for k in ("star", "computed", "path")})
    assert result.cases > 20
    assert not result.findings, "\n".join(map(str, result.findings))


def test_every_execution_names_the_policy_that_decided(masked: Matrix) -> None:
    with connect(masked.proxy.port) as wire:
        wire.query("SET application_name = 'audited'")
        assert wire.query("PREPARE p AS SELECT 1").kind == "ok"
        wire.query("EXECUTE p")
        masked.put(CLEAR)
        wire.query("EXECUTE p")
    trail = masked.proxy.home / "audit"
    records = [json.loads(line) for path in sorted(trail.rglob("*.jsonl")) for line in path.read_text().splitlines()]
    executed = [r for r in records if r["kind"] == "decision" and r.get("application") == "audited"][-2:]
    assert [r["statement"] for r in executed] == ["EXECUTE", "EXECUTE"]
    assert all(r["policy"] and r["profile"] and "change_staff" in r["roles"] for r in executed)
    assert executed[0]["policy"] != executed[1]["policy"]
    assert executed[0]["profile"] != executed[1]["profile"]


@pytest.mark.parametrize("transaction", [False, True])
def test_asyncpg_prepares_again_by_itself(masked: Matrix, transaction: bool) -> None:
    """It does so for 0A000 from RevalidateCachedQuery, outside of a transaction."""

    async def scene() -> None:
        c = await asyncpg.connect(host="127.0.0.1", port=masked.proxy.port, user=LOGIN, database="postgres", ssl=False)
        try:
            assert len((await c.fetch(STAR))[0]) == 3
            masked.server.execute_sql("postgres", "ALTER TABLE shop.people ADD COLUMN more text")
            await asyncio.to_thread(masked.catch_up)
            if transaction:
                with pytest.raises(asyncpg.InvalidCachedStatementError):
                    async with c.transaction():
                        await c.fetch(STAR)
            assert (await c.fetch(STAR))[0]["more"] is None
        finally:
            await c.close()

    asyncio.run(scene())


def test_sqlalchemy_over_asyncpg_prepares_again(masked: Matrix) -> None:
    async def scene() -> None:
        engine = create_async_engine(f"postgresql+asyncpg://{LOGIN}@127.0.0.1:{masked.proxy.port}/postgres?ssl=disable")
        try:
            for policy in (MASK, CLEAR, MASK):
                await asyncio.to_thread(masked.put, policy)
                async with engine.connect() as c:
                    assert tuple((await c.execute(sqlalchemy.text(PHONES))).scalars()) == SHOWN[policy]
        finally:
            await engine.dispose()

    asyncio.run(scene())


def test_psycopg_server_side_cursors(masked: Matrix) -> None:
    with psycopg.connect(dsn(masked)) as c:
        with c.cursor(name="c") as cursor:
            cursor.execute(PHONES)
            assert cursor.fetchone() == (SHOWN[MASK][0],)
            masked.put(CLEAR)
            with pytest.raises(psycopg.errors.FeatureNotSupported, match="since the cursor was opened"):
                cursor.fetchone()
            c.rollback()
        with c.cursor(name="c") as cursor:
            cursor.execute(PHONES)
            assert cursor.fetchall() == [(phone,) for phone in SHOWN[CLEAR]]


def test_psycopg2_prepare_and_named_cursor(masked: Matrix) -> None:
    c = psycopg2.connect(dsn(masked))
    c.autocommit = True
    cursor = c.cursor()
    cursor.execute(f"PREPARE p AS {PHONES}")
    cursor.execute("EXECUTE p")
    held = c.cursor("h", withhold=True)
    held.execute(PHONES)
    assert held.fetchone() == (SHOWN[MASK][0],)
    masked.put(CLEAR)
    with pytest.raises(psycopg2.errors.FeatureNotSupported):
        held.fetchmany(1)
    held.close()
    cursor.execute("EXECUTE p")
    assert tuple(row[0] for row in cursor.fetchall()) == SHOWN[CLEAR]
    c.close()


def test_cursors_of_functions(masked: Matrix) -> None:
    """Nobody has judged their queries: they are good for the policy under which they were opened."""
    masked.server.execute_sql(
        "postgres",
        "CREATE FUNCTION shop.opened(name text, hold text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN "
        "EXECUTE format('DECLARE %I CURSOR %s FOR SELECT phone FROM shop.people', name, hold); END $$;",
    )
    masked.put(CLEAR)
    with connect(masked.proxy.port) as wire:
        wire.query("SELECT shop.opened('h', 'WITH HOLD')")
        wire.query("BEGIN; SELECT shop.opened('t', '')")
        assert wire.query("FETCH 1 FROM t").rows == (("13812345678",),)
        masked.put(MASK)
        assert wire.query("FETCH 1 FROM t").error == "0A000"
        wire.query("ROLLBACK")
        assert wire.query("FETCH 1 FROM h").error == "0A000"
        assert wire.query("CLOSE h").kind == "ok"
        wire.query("BEGIN; DECLARE h CURSOR FOR " + PHONES)
        assert wire.query("FETCH 1 FROM h").rows == ((SHOWN[MASK][0],),)
