"""Cancel requests: the server's own keys reach the client, so they work through any pgveil, with and without TLS."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psycopg
import pytest

from tests.support.certificates import Authority
from tests.support.postgres import TestServer
from tests.support.proxy import CONTROL, ProxyProcess, until


@pytest.fixture(scope="module")
def server() -> Iterator[TestServer]:
    with TestServer() as server:
        assert isinstance(server, TestServer)
        server.execute_sql(
            "postgres",
            f"CREATE ROLE {CONTROL} LOGIN PASSWORD 'control'; CREATE ROLE cancel_user LOGIN PASSWORD 'pw'; "
            "CREATE SCHEMA shop; CREATE TABLE shop.people (phone text)",
        )
        yield server


@pytest.fixture(scope="module", params=["plain", "tls"])
def proxy(request: pytest.FixtureRequest, server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    home = tmp_path_factory.mktemp("cancel") / "home"
    extra = ""
    if request.param == "tls":
        home.mkdir()
        cert, key = Authority(home).issue("localhost")
        extra = f"tls: {{ cert: {cert}, key: {key} }}"
    with ProxyProcess(home, server, extra=extra) as proxy:
        yield proxy


def connect(proxy: ProxyProcess) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(
        host="localhost", port=proxy.port, user="cancel_user", password="pw", dbname="postgres", autocommit=True
    )


def sleeping(server: TestServer) -> bool:
    sql = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'cancel_user' AND wait_event = 'PgSleep'"
    return server.execute_sql("postgres", sql) == "1"


@pytest.mark.parametrize("way", ["cancel", "cancel_safe"])
def test_psycopg(proxy: ProxyProcess, server: TestServer, way: str) -> None:
    with connect(proxy) as connection:

        def cancel() -> None:
            until(lambda: sleeping(server), "the statement runs")
            getattr(connection, way)()

        canceller = threading.Thread(target=cancel)
        canceller.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SELECT pg_sleep(60)")
        canceller.join()
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert proxy.metric("pgveil_cancel_requests_total") >= 1


def test_asyncpg_timeout(proxy: ProxyProcess, server: TestServer) -> None:
    """asyncpg cancels by itself when a statement times out."""

    async def scene() -> object:
        connection = await asyncpg.connect(
            host="localhost", port=proxy.port, user="cancel_user", password="pw", database="postgres"
        )
        try:
            with pytest.raises(asyncio.TimeoutError):
                await connection.execute("SELECT pg_sleep(60)", timeout=1)
            return await connection.fetchval("SELECT 1")
        finally:
            await connection.close()

    assert asyncio.run(scene()) == 1


def test_a_wrong_key_cancels_nothing(proxy: ProxyProcess, server: TestServer) -> None:
    """The request is taken in the clear even where TLS is required, as by PostgreSQL, and the client is told nothing."""
    with connect(proxy) as connection:
        done: list[object] = []
        runner = threading.Thread(target=lambda: done.append(connection.execute("SELECT pg_sleep(2)").fetchone()))
        runner.start()
        until(lambda: sleeping(server), "the statement runs")
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as sock:
            sock.sendall(struct.pack("!iiii", 16, 80877102, connection.info.backend_pid, 12345))
            assert sock.recv(100) == b""
        runner.join()
        assert done == [("",)]


def test_cancel_when_the_server_is_away(server: TestServer, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    proxy = ProxyProcess(tmp_path / "home", server, server_port=port).start(ready=False)
    try:
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as sock:
            sock.sendall(struct.pack("!iiii", 16, 80877102, 4711, 12345))
            assert sock.recv(100) == b""
        proxy.wait_for("event=cancel_failed")
    finally:
        proxy.stop()
