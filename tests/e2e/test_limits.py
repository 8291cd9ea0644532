"""Limits: how many sessions, how fast, how often wrong; and that nobody is locked out by what others do in his name."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.postgres import TestServer
from tests.support.proxy import CONTROL, ProxyProcess, until
from tests.support.wire import WireClient, fields, query, startup

HBA = f"""\
host all postgres 127.0.0.1/32 trust
host all {CONTROL} 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 password
"""
SETUP = f"""\
CREATE ROLE {CONTROL} LOGIN PASSWORD 'control';
CREATE ROLE limits_ann LOGIN PASSWORD 'pw';
CREATE ROLE limits_bob LOGIN PASSWORD 'pw';
CREATE SCHEMA shop;
CREATE TABLE shop.people (phone text);
"""
HERE, THERE = "127.0.0.1", "127.0.0.2"


@pytest.fixture(scope="module")
def server() -> Iterator[TestServer]:
    with TestServer(hba=HBA) as server:
        assert isinstance(server, TestServer)
        server.execute_sql("postgres", SETUP)
        server.execute_sql("postgres", "CREATE DATABASE limits_other")
        yield server


def start(server: TestServer, tmp_path: Path, limits: str) -> ProxyProcess:
    return ProxyProcess(tmp_path / "home", server, extra=f"limits: {{ {limits} }}")


def attempt(proxy: ProxyProcess, user: str = "limits_ann", password: str = "pw", source: str = HERE) -> str | None:
    """Log in and leave again; the SQLSTATE when that does not work."""
    with WireClient(proxy.port, source) as client:
        return client.login(user, password)


def test_sessions_of_a_user_and_a_database(server: TestServer, tmp_path: Path) -> None:
    with start(server, tmp_path, "connections_per_user: 2, connections_per_database: 3") as proxy, ExitStack() as stack:

        def enter(user: str, database: str = "postgres") -> str | None:
            return stack.enter_context(WireClient(proxy.port)).login(user, "pw", database)

        assert [enter("limits_ann") for _ in range(3)] == [None, None, "53300"]
        assert [enter("limits_bob") for _ in range(2)] == [None, "53300"], "the database is full"
        assert enter("limits_bob", "limits_other") is None
        assert proxy.metric('pgveil_turned_away_total{limit="connections_per_user"}') == 1
        assert proxy.metric('pgveil_turned_away_total{limit="connections_per_database"}') == 1
        until(lambda: proxy.metric("pgveil_connections") == 4, "those turned away are gone")
        stack.close()
        until(lambda: proxy.metric("pgveil_connections") == 0, "sessions gone")
        assert attempt(proxy) is None


def test_places_are_not_taken_by_name(server: TestServer, tmp_path: Path) -> None:
    """Whoever has not shown a password fills nobody's places."""
    with start(server, tmp_path, "connections_per_user: 1") as proxy, ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(WireClient(proxy.port)).send(startup("limits_ann"))
        until(lambda: proxy.metric("pgveil_connections") == 5, "five at the password")
        assert attempt(proxy) is None


def test_sessions_of_an_address(server: TestServer, tmp_path: Path) -> None:
    with start(server, tmp_path, "connections_per_address: 1") as proxy, WireClient(proxy.port) as first:
        assert first.login("limits_ann", "pw") is None
        assert attempt(proxy) == "53300"
        assert attempt(proxy, source=THERE) is None
        assert proxy.metric('pgveil_turned_away_total{limit="connections_per_address"}') == 1


def test_connection_rate(server: TestServer, tmp_path: Path) -> None:
    with start(server, tmp_path, "connection_rate: 3/h") as proxy:
        assert [attempt(proxy) for _ in range(4)] == [None, None, None, "53400"]
        assert attempt(proxy, source=THERE) is None
        until(lambda: '"sqlstate":"53400"' in proxy.trail(), "the refused log-in is in the audit trail")


def test_failed_logins(server: TestServer, tmp_path: Path) -> None:
    """Of a user at one address: others come in from there, and the user from elsewhere; strangers are treated alike."""
    with start(server, tmp_path, "failed_logins: 2/h") as proxy:
        for user in ("limits_ann", "limits_nobody"):
            assert [attempt(proxy, user, "wrong") for _ in range(3)] == ["28P01", "28P01", "53400"]
        assert attempt(proxy) == "53400"
        assert attempt(proxy, source=THERE) is None
        assert attempt(proxy, "limits_bob") is None
        assert attempt(proxy, "limits_bob", "wrong") == "28P01"
        assert attempt(proxy, "limits_bob") is None, "a right password makes good for the wrong ones"
        assert [attempt(proxy, "limits_bob", "wrong") for _ in range(3)] == ["28P01", "28P01", "53400"]
        assert proxy.metric('pgveil_logins_total{result="denied"}') == 7


def test_failed_logins_of_an_address(server: TestServer, tmp_path: Path) -> None:
    """Trying one password on many names."""
    with start(server, tmp_path, "failed_logins_per_address: 3/h") as proxy:
        assert [attempt(proxy, f"limits_{n}", "wrong") for n in range(4)] == ["28P01"] * 3 + ["53400"]
        assert attempt(proxy) == "53400"
        assert attempt(proxy, source=THERE) is None


def test_leaving_at_the_password_is_no_failure(server: TestServer, tmp_path: Path) -> None:
    """libpq asks for the password only when the server does, and connects again with it."""
    with start(server, tmp_path, "failed_logins: 1/h") as proxy:
        for _ in range(3):
            with WireClient(proxy.port) as client:
                client.send(startup("limits_ann"))
                assert client.next()[0] == b"R"
        assert attempt(proxy) is None


def test_the_silent_make_room(server: TestServer, tmp_path: Path) -> None:
    """An address that opens connections and says nothing does not keep another one out."""
    with start(server, tmp_path, "connections: 1") as proxy, ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection((HERE, proxy.port), 20)) for _ in range(205)]
        until(lambda: proxy.metric('pgveil_logins_total{result="overflow"}') == 4, "the door is full")
        assert attempt(proxy, source=THERE) is None
        assert silent[0].recv(1) == b"", "the oldest has made room"


def test_a_client_that_does_not_read(server: TestServer, tmp_path: Path) -> None:
    """It is let go after `write_timeout`; one that reads slowly is not."""
    with start(server, tmp_path, "write_timeout: 2s") as proxy, WireClient(proxy.port) as slow, WireClient(proxy.port) as stuck:
        for client in (slow, stuck):
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
            assert client.login("limits_ann", "pw") is None
            client.send(query("SELECT repeat('x', 1000) FROM generate_series(1, 100000)"))
        rows = 0
        while proxy.metric("pgveil_connections") == 2:  # 100 MB would take far longer than two seconds at this pace
            for _ in range(50):
                rows += slow.next()[0] == b"D"
            time.sleep(0.01)
        proxy.wait_for("event=client_does_not_read")
        assert rows < 100000
        rows += sum(tag == b"D" for tag, _ in slow.until(b"Z"))
        assert rows == 100000


@pytest.mark.parametrize("user", ["limits_ann", "limits_nobody"])
def test_unknown_users_are_answered_like_wrong_passwords(server: TestServer, tmp_path: Path, user: str) -> None:
    """Message by message what the server itself says."""

    def conversation(port: int) -> list[tuple[bytes, object]]:
        with WireClient(port) as client:
            client.send(startup(user))
            first = client.next()
            client.send(b"p\0\0\0\x0awrong\0")
            return [first, *((tag, fields(body)) for tag, body in client.end())]

    with start(server, tmp_path, "connections: 5") as proxy:
        assert conversation(proxy.port) == conversation(server.port)
