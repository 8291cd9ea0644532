"""psycopg 3 and psycopg2, and libpq beneath them: everything that changes what goes over the wire."""

from __future__ import annotations

import asyncio
import io
import select
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import date
from decimal import Decimal
from typing import Any

import psycopg
import psycopg2
import psycopg2.errorcodes
import psycopg2.extensions
import psycopg2.extras
import pytest
from psycopg import pq, sql
from psycopg.rows import dict_row
from psycopg.types.composite import CompositeInfo, register_composite
from psycopg.types.enum import EnumInfo
from psycopg.types.json import Jsonb
from psycopg.types.range import RangeInfo

from tests.clients.world import Pair, Place

Connection = psycopg.Connection[Any]
PHONE = "SELECT phone FROM shop.people WHERE id = %s"
EVERYTHING = "SELECT id, name, phone, mood, home, tags, balance, branch, seen, photo, extra FROM shop.people ORDER BY id"


@contextmanager
def connect(place: Place, **more: Any) -> Iterator[Connection]:
    with psycopg.connect(place.dsn, sslmode="disable", **more) as connection:
        yield connection


def error(run: Callable[[], object]) -> tuple[str | None, str | None]:
    """SQLSTATE and message of what must fail."""
    with pytest.raises(psycopg.Error) as caught:
        run()
    return caught.value.diag.sqlstate, caught.value.diag.message_primary


def test_types_both_ways(pair: Pair) -> None:
    def run(place: Place) -> list[Any]:
        with connect(place, row_factory=dict_row) as connection:
            out: list[Any] = [connection.execute(EVERYTHING, binary=binary).fetchall() for binary in (False, True)]
            for name in ("shop.mood", "shop.address", "shop.span"):
                info: Any = {"shop.mood": EnumInfo, "shop.address": CompositeInfo, "shop.span": RangeInfo}[name]
                found = info.fetch(connection, name)
                out.append((found.name, found.oid, found.array_oid, getattr(found, "labels", None)))
            address = CompositeInfo.fetch(connection, "shop.address")
            assert address is not None
            register_composite(address, connection)
            row = connection.execute("SELECT home, ARRAY[home] AS homes FROM shop.people WHERE id = 3", binary=True).fetchone()
            assert row is not None
            out.append((tuple(row["home"]), [tuple(h) for h in row["homes"]]))
            values = [1, 2.5, Decimal("1.20"), "text", b"\0\xff", date(2024, 2, 29), None, True, [1, None], Jsonb({"a": [1]})]
            for value in values:
                for mark in ("%s", "%t", "%b"):
                    out.append(connection.execute(f"SELECT {mark} AS v", [value]).fetchall())
            return out

    pair.compare(run)


def test_statements_prepared_on_the_way(pair: Pair) -> None:
    def run(place: Place) -> list[Any]:
        with connect(place, prepare_threshold=2) as connection:
            connection.prepared_max = 3
            out: list[Any] = [connection.execute(PHONE, [i]).fetchall() for i in range(1, 9)]
            for n in range(6):  # more than are kept: some are closed
                out += [connection.execute(f"SELECT phone, {n} FROM shop.people WHERE id = %s", [n], prepare=True).fetchall()] * 2
            out.append(error(lambda: connection.execute("SELECT 1/%s::int", [0], prepare=True)))
            connection.rollback()
            out.append(connection.execute(PHONE, [2]).fetchall())
            return out

    assert "****" in str(pair.compare(run)) or not pair.is_masked


def test_pipelines(pair: Pair) -> None:
    def run(place: Place) -> list[Any]:
        out: list[Any] = []
        with connect(place, autocommit=True) as connection:
            with connection.pipeline():
                cursors = [connection.execute(PHONE, [i]) for i in range(1, 200)]
                out += [c.fetchone() for c in cursors]
            good = connection.cursor()

            def broken(c: Connection = connection, first: psycopg.Cursor[Any] = good) -> None:
                with c.pipeline() as pipeline:
                    first.execute(PHONE, [1])
                    pipeline.sync()
                    c.execute("SELECT 1/%s::int", [0])
                    c.execute(PHONE, [2])
                    pipeline.sync()

            out.append(error(broken))
            out += [good.fetchall(), connection.execute(PHONE, [2]).fetchall()]
            with connection.transaction(), connection.pipeline():
                connection.execute("CREATE TABLE play.p (a int PRIMARY KEY)")
                cursor = connection.cursor()
                cursor.executemany("INSERT INTO play.p VALUES (%s) RETURNING a", [(i,) for i in range(300)], returning=True)
                while True:
                    out.append(cursor.fetchall())
                    if not cursor.nextset():
                        break
            out.append(connection.execute("SELECT count(*) FROM play.p").fetchall())
            connection.execute("DROP TABLE play.p")
        return out

    pair.compare(run)


def test_libpq_pipeline(pair: Pair) -> None:
    """The calls of PostgreSQL's own libpq_pipeline program: syncs, flush requests, aborts, row by row, prepared in between."""

    def run(place: Place) -> list[Any]:
        pgconn = pq.PGconn.connect(f"{place.dsn} sslmode=disable".encode())
        out: list[Any] = [pgconn.status]

        def results(count: int) -> None:
            while count:
                result = pgconn.get_result()
                if result is None:
                    out.append(None)
                    continue
                values = [[result.get_value(r, c) for c in range(result.nfields)] for r in range(result.ntuples)]
                out.append((pq.ExecStatus(result.status).name, values, result.error_field(pq.DiagnosticField.SQLSTATE)))
                count -= result.status in (pq.ExecStatus.PIPELINE_SYNC, pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.PIPELINE_ABORTED)

        pgconn.enter_pipeline_mode()
        for number in (b"1", b"2"):
            pgconn.send_query_params(b"SELECT phone, $1::text FROM shop.people WHERE id = $1::int", [number])
        pgconn.pipeline_sync()
        results(1)
        pgconn.send_prepare(b"one", b"SELECT phone FROM shop.people WHERE id = $1")
        pgconn.send_describe_prepared(b"one")
        pgconn.send_query_prepared(b"one", [b"3"])
        pgconn.send_query_prepared(b"none", [b"3"])
        pgconn.send_query_prepared(b"one", [b"4"])
        pgconn.pipeline_sync()
        results(3)
        pgconn.send_query_prepared(b"one", [b"5"], result_format=pq.Format.BINARY)
        pgconn.send_flush_request()
        pgconn.flush()
        result = pgconn.get_result()
        assert result is not None
        out.append(result.get_value(0, 0))
        pgconn.send_query_params(b"SELECT id, phone FROM shop.people ORDER BY id LIMIT 5", [])
        pgconn.pipeline_sync()
        results(1)
        pgconn.exit_pipeline_mode()
        out.append(pgconn.exec_(b"SELECT 'a'; SELECT phone FROM shop.people WHERE id = 6").get_value(0, 0))
        pgconn.finish()
        return out

    pair.compare(run)


def test_cursors_and_two_phases(pair: Pair) -> None:
    def run(place: Place) -> list[Any]:
        out: list[Any] = []
        with connect(place) as connection:
            with connection.cursor("named", scrollable=True) as cursor:
                cursor.itersize = 7
                cursor.execute("SELECT id, phone FROM shop.people ORDER BY id")
                out += [cursor.fetchmany(3), cursor.fetchone(), list(cursor)[-1]]
                cursor.scroll(-5)
                out.append(cursor.fetchall())
            with connection.cursor(binary=True) as cursor2:
                out.append(list(cursor2.stream("SELECT id, phone FROM shop.people ORDER BY id")))
                out.append(list(cursor2.stream("SELECT id, phone FROM shop.people ORDER BY id", size=9)))
            connection.rollback()
            connection.tpc_begin(connection.xid(1, f"gid-{place.user}", "b"))
            connection.execute("CREATE TABLE play.phases (a int)")
            connection.tpc_prepare()
            connection.tpc_rollback()
            out.append(connection.tpc_recover())
            connection.rollback()
            out.append(connection.execute("SELECT to_regclass('play.phases')").fetchone())
            with connection.transaction(), connection.transaction():
                out.append(connection.execute(PHONE, [5]).fetchone())
        return out

    pair.compare(run)


def test_copies(pair: Pair) -> None:
    def run(place: Place) -> list[Any]:
        out: list[Any] = []
        with connect(place) as connection, connection.cursor() as cursor:
            for options in ("", "(FORMAT csv, HEADER)", "(FORMAT binary)"):
                for what in ("(SELECT id, name, phone FROM shop.people ORDER BY id)", "shop.people (id, phone)", "shop.branches"):
                    with cursor.copy(f"COPY {what} TO STDOUT {options}") as copy:
                        out.append(b"".join(bytes(block) for block in copy))
                    out.append(cursor.statusmessage)
            cursor.execute("CREATE TABLE play.copied (a int, b text, c bytea)")
            rows = [(i, f"text\t{i}\n\\", bytes(range(i))) for i in range(200)]
            for binary in (False, True):
                with cursor.copy(f"COPY play.copied FROM STDIN (FORMAT {'binary' if binary else 'text'})") as copy:
                    if binary:
                        copy.set_types(["int4", "text", "bytea"])
                    for row in rows:
                        copy.write_row(row)
            out.append(cursor.execute("SELECT * FROM play.copied ORDER BY a").fetchall())

            def broken() -> None:
                with cursor.copy("COPY play.copied FROM STDIN") as copy:
                    copy.write(b"1\tx\n")

            def given_up() -> None:
                with cursor.copy("COPY play.copied FROM STDIN") as copy:
                    copy.write_row((1, "x", b""))
                    raise ValueError("changed my mind")

            for failing in (broken, given_up):
                with pytest.raises((psycopg.Error, ValueError)), connection.transaction():
                    failing()
            out.append(cursor.execute("SELECT count(*) FROM play.copied").fetchall())
            connection.rollback()
        return out

    pair.compare(run)


def test_async_notifications_and_cancel(pair: Pair) -> None:
    async def scene(place: Place) -> list[Any]:
        out: list[Any] = []
        async with await psycopg.AsyncConnection.connect(f"{place.dsn} sslmode=disable", autocommit=True) as connection:
            await connection.execute("LISTEN news")
            await connection.execute("NOTIFY news, 'hello'")
            async for notification in connection.notifies(stop_after=1):
                out.append((notification.channel, notification.payload))
            sleeping = asyncio.create_task(connection.execute("SELECT pg_sleep(60)"))
            while connection.info.transaction_status != pq.TransactionStatus.ACTIVE:
                await asyncio.sleep(0)
            while not sleeping.done():
                await connection.cancel_safe(timeout=20)
                await asyncio.wait([sleeping], timeout=0.2)
            out.append(type(sleeping.exception()).__name__)
            async with connection.cursor() as cursor:
                await cursor.executemany(PHONE, [(i,) for i in range(1, 50)], returning=True)
                out.append(await cursor.fetchall())
            async with connection.cursor("c") as named, connection.transaction():
                await named.execute(PHONE, [3])
                out.append(await named.fetchall())
        return out

    pair.compare(lambda place: asyncio.run(scene(place)))


def test_errors_have_their_fields(pair: Pair) -> None:
    statements = [
        "SELECT * FROM shop.people WHERE nothing = 1",
        "INSERT INTO shop.branches VALUES ('BJ', 'again')",
        "INSERT INTO shop.branches VALUES ('XX', NULL)",
        "SELECT 'x'::shop.mood",
        "SELECT (-1)::shop.amount",
        "SELEKT",
        "SELECT 1/0",
        "SELECT shop.twice('x')",
        "UPDATE shop.branches SET code = 'toolong'",
    ]

    def run(place: Place) -> list[Any]:
        out = []
        with connect(place, autocommit=True) as connection:
            for statement in statements:
                for prepare in (False, True):
                    with pytest.raises(psycopg.Error) as caught:
                        connection.execute(sql.SQL(statement), prepare=prepare)  # type: ignore[arg-type]
                    d = caught.value.diag
                    out.append((type(caught.value).__name__, d.sqlstate, d.severity, d.message_primary, d.statement_position))
                    out.append((d.schema_name, d.table_name, d.column_name, d.datatype_name, d.constraint_name, d.message_hint))
        return out

    pair.compare(run)


def plain(row: Sequence[object]) -> list[object]:
    return [bytes(value) if isinstance(value, memoryview) else value for value in row]


def test_psycopg2(pair: Pair) -> None:
    def run(place: Place) -> list[Any]:
        out: list[Any] = []
        with closing(psycopg2.connect(place.dsn, sslmode="disable")) as connection:
            with connection, connection.cursor() as cursor:
                cursor.execute("LISTEN news; NOTIFY news, 'x'")
            connection.poll()
            out += [(n.channel, n.payload) for n in connection.notifies]
            with connection.cursor("named", withhold=True) as named:
                named.itersize = 5
                named.execute("SELECT id, phone FROM shop.people ORDER BY id")
                connection.commit()
                out.append(list(named))
            with connection, connection.cursor(cursor_factory=psycopg2.extras.DictCursor) as cursor:
                cursor.execute(EVERYTHING)
                out += [plain(row) for row in cursor.fetchall()]
                out.append([tuple(column) for column in cursor.description])
                cursor.execute("CREATE TABLE play.two (a int, b text)")
                psycopg2.extras.execute_values(cursor, "INSERT INTO play.two VALUES %s", [(i, str(i)) for i in range(500)])
                psycopg2.extras.execute_batch(cursor, "UPDATE play.two SET b = %s WHERE a = %s", [("x", i) for i in range(50)])
                text = io.StringIO()
                cursor.copy_expert("COPY (SELECT id, phone FROM shop.people ORDER BY id) TO STDOUT WITH CSV", text)
                out.append(text.getvalue())
                cursor.copy_expert("COPY play.two FROM STDIN", io.StringIO("1\tone\n2\t\\N\n"))
                cursor.execute("SELECT count(*), count(b), min(b) FROM play.two")
                out.append(cursor.fetchall())
                cursor.execute("DROP TABLE play.two")
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.callproc("shop.twice", [3])
                out.append(cursor.fetchall())
                connection.set_client_encoding("LATIN1")
                cursor.execute("SELECT phone, 'ü' FROM shop.people WHERE id = 1")
                out.append(cursor.fetchall())
                connection.reset()
                connection.set_session(isolation_level="SERIALIZABLE", readonly=True, autocommit=False)
                cursor.execute("SHOW transaction_isolation")
                out += [cursor.fetchall(), connection.get_parameter_status("server_version"), connection.encoding]
                connection.rollback()
                connection.tpc_begin("psycopg2-gid")
                cursor.execute(PHONE, [1])
                out.append(cursor.fetchall())
                connection.tpc_commit()
        return out

    pair.compare(run)


def test_psycopg2_without_blocking(pair: Pair) -> None:
    def wait(connection: Any) -> None:
        while (state := connection.poll()) != psycopg2.extensions.POLL_OK:
            reading = state == psycopg2.extensions.POLL_READ
            ready = select.select([connection] if reading else [], [] if reading else [connection], [], 60)
            assert ready != ([], [], []), "no answer"

    def run(place: Place) -> list[Any]:
        out = []
        with closing(psycopg2.connect(place.dsn, sslmode="disable", async_=True)) as connection:
            wait(connection)
            with connection.cursor() as cursor:
                for statement in (EVERYTHING, "SELECT 1; SELECT phone FROM shop.people WHERE id = 2", "SELECT 1/0"):
                    cursor.execute(statement)
                    try:
                        wait(connection)
                        out.append([plain(row) for row in cursor.fetchall()])
                    except psycopg2.Error as e:
                        out.append((e.pgcode, str(e)))
        psycopg2.extensions.set_wait_callback(wait)
        try:
            with closing(psycopg2.connect(place.dsn, sslmode="disable")) as green, green.cursor() as cursor:
                cursor.execute(PHONE, [4])
                out.append(cursor.fetchall())
        finally:
            psycopg2.extensions.set_wait_callback(None)
        return out

    pair.compare(run)
