"""asyncpg: binary everywhere, everything prepared, types looked up in the catalog, a pool that resets."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import asyncpg
import pytest

from tests.clients.world import DATABASE, Pair, Place


def settings(place: Place) -> dict[str, Any]:
    who = {"user": place.user, "password": place.password}
    return {"host": "127.0.0.1", "port": place.port, "database": DATABASE, "ssl": False, **who}


async def connection_scene(place: Place) -> list[Any]:
    out: list[Any] = []
    c = await asyncpg.connect(**settings(place))
    try:
        heard: asyncio.Queue[str] = asyncio.Queue()
        await c.add_listener("news", lambda _c, _pid, channel, payload: heard.put_nowait(f"{channel} {payload}"))
        await c.execute("NOTIFY news, 'asyncpg'")
        out.append(await asyncio.wait_for(heard.get(), 20))
        rows = await c.fetch("SELECT * FROM shop.people ORDER BY id")
        out += [[tuple(r) for r in rows], list(rows[0].keys())]
        statement = await c.prepare("SELECT id, phone, mood, home, tags, balance FROM shop.people WHERE mood = $1 AND id < $2")
        out += [statement.get_attributes(), statement.get_parameters()]
        out += [[tuple(r) for r in await statement.fetch("happy", n)] for n in range(1, 20)]
        out.append(len(await statement.explain("ok", 3)) > 0)
        out += [await c.fetchval("SELECT $1::shop.address", ("Road", "City", [1, 2]))]
        out += [await c.fetchval("SELECT $1::shop.amount", "12.5"), await c.fetchval("SELECT $1::shop.mood[]", ["sad", "ok"])]
        span = await c.fetchval("SELECT shop.span('2024-01-01', '2024-02-01')")
        out += [span, await c.fetchval("SELECT $1::shop.span", span)]
        await c.set_type_codec("jsonb", schema="pg_catalog", encoder=str, decoder=len)
        out.append(await c.fetchval("SELECT extra FROM shop.people WHERE id = 1"))
        await c.reset_type_codec("jsonb", schema="pg_catalog")
        async with c.transaction(isolation="repeatable_read", readonly=True):
            out += [tuple(r) async for r in c.cursor("SELECT id, phone FROM shop.people ORDER BY id", prefetch=6)]
            cursor = await c.cursor("SELECT phone FROM shop.people ORDER BY id")
            await cursor.forward(3)
            out += [await cursor.fetchrow(), await cursor.fetch(2)]
        for wrong in ("SELECT 1/0", "SELECT nothing FROM shop.people", "SELEC"):
            with pytest.raises(asyncpg.PostgresError) as caught:
                await c.fetch(wrong)
            out.append((type(caught.value).__name__, str(caught.value)))
        for options in ({"format": "csv", "header": True}, {"format": "binary"}, {"columns": ["id", "phone"]}):
            taken = io.BytesIO()
            out.append(await c.copy_from_table("people", schema_name="shop", output=taken, **options))
            out.append(taken.getvalue())
        taken = io.BytesIO()
        await c.copy_from_query("SELECT phone FROM shop.people WHERE id < $1 ORDER BY id", 5, output=taken)
        out.append(taken.getvalue())
        await c.execute("CREATE TABLE play.a (n int, t text, m shop.mood)")
        out.append(await c.copy_records_to_table("a", schema_name="play", records=[(i, None, None) for i in range(50)]))
        out.append(await c.copy_to_table("a", schema_name="play", source=io.BytesIO(b"1\tx\tok\n")))
        await c.executemany("INSERT INTO play.a VALUES ($1, $2, $3)", [(i, "y", "sad") for i in range(100)])
        out.append(await c.fetch("SELECT m, t, count(*), sum(n) FROM play.a GROUP BY 1, 2 ORDER BY 1, 2"))
        await c.execute("ALTER TABLE play.a ADD COLUMN later date; SELECT 1; DROP TABLE play.a")
        with pytest.raises(asyncio.TimeoutError):
            await c.fetch("SELECT pg_sleep(60)", timeout=0.05)
        out.append(await c.fetchval("SELECT phone FROM shop.people WHERE id = 3"))
        out.append(c.get_settings().TimeZone)
        await c.reset()
    finally:
        await c.close()
    return out


def test_a_connection(pair: Pair) -> None:
    pair.compare(lambda place: asyncio.run(connection_scene(place)))


def test_a_pool(pair: Pair) -> None:
    async def scene(place: Place) -> list[Any]:
        async def one(pool: asyncpg.Pool, n: int) -> Any:
            async with pool.acquire() as c:
                await c.execute(
                    f"SET search_path = shop; SET application_name = 'n{n}'; CREATE TEMP TABLE IF NOT EXISTS t (a int)"
                )
                return tuple(await c.fetchrow("SELECT id, phone, balance FROM people WHERE id = $1", n % 40 + 1))

        async with asyncpg.create_pool(min_size=2, max_size=5, max_queries=20, **settings(place)) as pool:
            out: list[Any] = list(await asyncio.gather(*(one(pool, n) for n in range(120))))
            out.append(await pool.fetchval("SHOW search_path"))
            return out

    pair.compare(lambda place: asyncio.run(scene(place)))


def test_a_statement_whose_table_changes(pair: Pair) -> None:
    """asyncpg prepares once and takes the server's word that the result has changed as a sign to prepare again."""

    async def scene(place: Place) -> list[Any]:
        c = await asyncpg.connect(**settings(place))
        try:
            await c.execute("CREATE TABLE play.changing (a int); INSERT INTO play.changing VALUES (1)")
            out = [tuple(await c.fetchrow("SELECT * FROM play.changing"))]
            await c.execute("ALTER TABLE play.changing ADD COLUMN b text DEFAULT 'new'")
            out.append(tuple(await c.fetchrow("SELECT * FROM play.changing")))
            await c.execute("ALTER TABLE play.changing ALTER COLUMN a TYPE text")
            out.append(tuple(await c.fetchrow("SELECT * FROM play.changing")))
            return out
        finally:
            await c.execute("DROP TABLE play.changing")
            await c.close()

    pair.compare(lambda place: asyncio.run(scene(place)))
