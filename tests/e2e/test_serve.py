"""`pgveil serve` as a process, in front of a real server, with real clients: logins, data both ways, limits, endings."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import asyncpg
import psycopg
import pytest

from proxy.wire import codec
from tests.change.wire import Wire
from tests.support.postgres import TestServer
from tests.support.proxy import CONTROL, DEADLINE, ProxyProcess, until

HBA = f"""\
host all postgres 127.0.0.1/32 trust
host all {CONTROL} 127.0.0.1/32 scram-sha-256
host all serve_md5 127.0.0.1/32 md5
host all serve_plain 127.0.0.1/32 password
host all serve_trust 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
"""
SETUP = f"""\
CREATE ROLE {CONTROL} LOGIN PASSWORD 'control';
CREATE ROLE pgveil_test_staff;
CREATE ROLE serve_scram LOGIN PASSWORD 'pw 密码';
CREATE ROLE serve_plain LOGIN PASSWORD 'pw';
CREATE ROLE serve_trust LOGIN;
CREATE ROLE serve_staff LOGIN PASSWORD 'pw' IN ROLE pgveil_test_staff;
SET password_encryption = md5;
CREATE ROLE serve_md5 LOGIN PASSWORD 'pw';
CREATE SCHEMA shop;
CREATE TABLE shop.people (id int PRIMARY KEY, name text, phone text);
INSERT INTO shop.people VALUES (1, '张三', '13812345678'), (2, 'Ann', '13987654321');
CREATE TABLE shop.blobs (id int, body text);
GRANT USAGE ON SCHEMA shop TO PUBLIC;
GRANT SELECT ON ALL TABLES IN SCHEMA shop TO PUBLIC;
GRANT INSERT, DELETE ON shop.blobs TO PUBLIC;
"""
MASKED = [("138****5678",), ("139****4321",)]
PHONES = "SELECT phone FROM shop.people ORDER BY id"
READY = b"Z\0\0\0\x05I"
MEGABYTE = 1 << 20
QUERY_TO_XML = 2924
"""OID of the builtin function query_to_xml, the same everywhere."""


@pytest.fixture(scope="module")
def server() -> Iterator[TestServer]:
    with TestServer({"max_connections": "250"}, hba=HBA) as server:
        assert isinstance(server, TestServer)
        server.execute_sql("postgres", SETUP)
        for name in ("second", "untouched"):
            server.execute_sql("postgres", f"CREATE DATABASE {name}")
        yield server


@pytest.fixture(scope="module")
def proxy(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    with ProxyProcess(tmp_path_factory.mktemp("proxy") / "home", server) as proxy:
        yield proxy


def connect(
    proxy: ProxyProcess, user: str = "serve_scram", password: str = "pw 密码", dbname: str = "postgres", **more: object
) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(
        host="127.0.0.1", port=proxy.port, user=user, password=password, dbname=dbname,
        client_encoding="utf8", connect_timeout=20, **more,
    )  # fmt: skip


def farewell(connection: psycopg.Connection[tuple[object, ...]]) -> str | None:
    """The SQLSTATE with which an idle connection is ended. To libpq an error that answers nothing is a notice."""
    said: list[str | None] = []
    connection.add_notice_handler(lambda diagnostic: said.append(diagnostic.sqlstate))
    with closing(connection), pytest.raises(psycopg.OperationalError):
        list(connection.notifies(timeout=20))
    return said[0] if said else None


@pytest.mark.parametrize(
    ("user", "password"),
    [("serve_scram", "pw 密码"), ("serve_md5", "pw"), ("serve_plain", "pw"), ("serve_trust", "")],
)
def test_logins_are_relayed(proxy: ProxyProcess, user: str, password: str) -> None:
    with connect(proxy, user, password) as connection:
        assert connection.execute("SELECT session_user").fetchone() == (user,)
        assert connection.execute(PHONES).fetchall() == MASKED


@pytest.mark.parametrize("user", ["serve_scram", "serve_md5", "serve_plain", "serve_nobody"])
def test_wrong_passwords_are_refused_by_the_server(proxy: ProxyProcess, user: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(proxy, user, "wrong")


def test_roles_decide(proxy: ProxyProcess) -> None:
    with connect(proxy, "serve_staff", "pw") as connection:
        assert connection.execute(PHONES).fetchall() == [("13812345678",), ("13987654321",)]


def test_asyncpg(proxy: ProxyProcess) -> None:
    async def scene() -> list[tuple[object, ...]]:
        connection = await asyncpg.connect(
            host="127.0.0.1", port=proxy.port, user="serve_scram", password="pw 密码", database="postgres", ssl=False
        )
        try:
            return [tuple(r) for r in await connection.fetch(PHONES)]
        finally:
            await connection.close()

    assert asyncio.run(scene()) == MASKED


def test_psql(proxy: ProxyProcess, server: TestServer) -> None:
    done = subprocess.run(
        [server.psql_path, "-XAt", "-h", "127.0.0.1", "-p", str(proxy.port), "-U", "serve_scram", "postgres"],
        input=PHONES + ";\n\\d shop.people\n",
        env={**os.environ, "PGPASSWORD": "pw 密码", "PGCLIENTENCODING": "UTF8"},
        capture_output=True, encoding="utf-8", timeout=60,
    )  # fmt: skip
    assert [line[:6] for line in done.stderr.splitlines()] == ["NOTICE", "HINT: "]
    assert done.stdout.splitlines()[:2] == [row[0] for row in MASKED]
    assert any(line.startswith("phone|text") for line in done.stdout.splitlines())


def test_several_databases_on_one_upstream(proxy: ProxyProcess) -> None:
    with connect(proxy, dbname="second") as connection:
        assert connection.execute("SELECT current_database()").fetchone() == ("second",)


def test_the_last_user_in_the_packet_counts(proxy: ProxyProcess) -> None:
    """For the server and for us. The query comes glued to the start-up packet, as an impatient client may send it."""
    body = b"user\0serve_staff\0user\0serve_trust\0database\0postgres\0\0"
    startup = struct.pack("!ii", len(body) + 8, 196608) + body
    query = b"SELECT phone FROM shop.people WHERE id = 1\0"
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as sock:
        sock.sendall(startup + b"Q" + struct.pack("!i", len(query) + 4) + query)
        answer = b""
        while answer.count(READY) < 2 and (more := sock.recv(65536)):
            answer += more
    assert b"138****5678" in answer
    assert b"13812345678" not in answer


class TestStrangers:
    """Nobody makes us connect anywhere, or learns what exists, before the server has let him in."""

    @pytest.mark.parametrize("dbname", ["untouched", "there_is_none"])
    def test_a_wrong_password_tells_nothing_about_databases(self, server: TestServer, tmp_path: Path, dbname: str) -> None:
        with ProxyProcess(tmp_path / "home", server) as proxy:
            with pytest.raises(psycopg.OperationalError) as error:
                connect(proxy, password="wrong", dbname=dbname)
            assert 'password authentication failed for user "serve_scram"' in str(error.value)
            assert dbname not in proxy.text()
            assert dbname not in proxy.get("/metrics")[1]
            sql = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{CONTROL}' AND datname = '{dbname}'"
            assert server.execute_sql("postgres", sql) == "0"

    def test_an_unknown_database_is_told_by_the_server(self, proxy: ProxyProcess) -> None:
        with pytest.raises(psycopg.OperationalError, match='database "there_is_none" does not exist'):
            connect(proxy, dbname="there_is_none")
        assert "there_is_none" not in proxy.text()
        assert "there_is_none" not in proxy.get("/metrics")[1]

    def test_a_database_that_we_may_not_read(self, server: TestServer, proxy: ProxyProcess) -> None:
        """The server lets the client in, but not our control login: nobody can say what is to be masked."""
        server.execute_sql("postgres", "CREATE DATABASE closed")
        server.execute_sql("postgres", "REVOKE CONNECT ON DATABASE closed FROM PUBLIC")
        server.execute_sql("postgres", "GRANT CONNECT ON DATABASE closed TO serve_scram")
        with pytest.raises(psycopg.OperationalError, match='cannot read the catalog of database "closed"'):
            connect(proxy, dbname="closed")
        until(lambda: proxy.metric("pgveil_connections") == 0, "session gone")


def test_what_was_sent_before_goodbye_is_executed(proxy: ProxyProcess, server: TestServer) -> None:
    """A client that pipelines its work, says goodbye and hangs up without reading, as one that talks to the server may."""

    def message(tag: bytes, body: bytes) -> bytes:
        return tag + struct.pack("!i", len(body) + 4) + body

    body = b"user\0serve_trust\0database\0postgres\0\0"
    insert = b"INSERT INTO shop.blobs SELECT 4712, 'x' FROM pg_sleep(0.3), generate_series(1, 3)\0"
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as sock:
        sock.sendall(struct.pack("!ii", len(body) + 8, 196608) + body)
        answer = b""
        while READY not in answer:
            answer += sock.recv(65536)
        sock.sendall(message(b"Q", insert) + message(b"X", b""))
    until(lambda: server.execute_sql("postgres", "SELECT count(*) FROM shop.blobs WHERE id = 4712") == "3", "the rows")
    until(lambda: proxy.metric("pgveil_connections") == 0, "session gone")
    server.execute_sql("postgres", "DELETE FROM shop.blobs")


def test_a_database_that_is_not_served(server: TestServer, tmp_path: Path) -> None:
    extra = "databases: { shop: postgres }"
    with ProxyProcess(tmp_path / "home", server, extra=extra) as proxy:
        with connect(proxy, dbname="shop") as connection:
            assert connection.execute("SELECT current_database()").fetchone() == ("postgres",)
            assert connection.execute(PHONES).fetchall() == MASKED
        with pytest.raises(psycopg.OperationalError, match="does not serve the requested database"):
            connect(proxy, dbname="postgres")


def test_too_many_connections(server: TestServer, tmp_path: Path) -> None:
    with ProxyProcess(tmp_path / "home", server, extra="limits: { connections: 2 }") as proxy:
        with connect(proxy), connect(proxy), pytest.raises(psycopg.OperationalError, match="too many clients already"):
            connect(proxy)
        until(lambda: proxy.metric("pgveil_connections") == 0, "sessions gone")
        with connect(proxy) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_client_that_says_nothing_is_sent_away(server: TestServer, tmp_path: Path) -> None:
    with ProxyProcess(tmp_path / "home", server, extra="limits: { login_timeout: 1s }") as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as silent:
            assert silent.recv(100) == b""
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as slow:
            slow.sendall(b"\0\0\0")
            assert slow.recv(100) == b""


def test_idle_sessions_end(server: TestServer, tmp_path: Path) -> None:
    with ProxyProcess(tmp_path / "home", server, extra="limits: { idle_timeout: 1s }") as proxy:
        connection = connect(proxy, autocommit=True)
        connection.execute("SELECT 1")
        assert farewell(connection) == "57P05"


def test_upstream_down(server: TestServer, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    proxy = ProxyProcess(tmp_path / "home", server, server_port=port).start(ready=False)
    try:
        assert proxy.get("/healthz") == (200, "ok\n")
        status, reasons = proxy.get("/readyz")
        assert status == 503
        assert "postgres" in reasons
        with pytest.raises(psycopg.OperationalError, match="FATAL"):
            connect(proxy)
    finally:
        proxy.stop()


def test_the_catalog_cannot_be_read_any_more(server: TestServer, tmp_path: Path) -> None:
    """Nobody can say what is to be masked: sessions that might see masked data end, and come back when it can be read."""
    with ProxyProcess(tmp_path / "home", server) as proxy:
        connection = connect(proxy, autocommit=True)
        assert connection.execute(PHONES).fetchall() == MASKED
        server.execute_sql("postgres", f"ALTER ROLE {CONTROL} NOLOGIN")
        try:
            server.execute_sql("postgres", f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{CONTROL}'")
            proxy.wait_for("level=warning event=catalog_unavailable")
            with pytest.raises(psycopg.OperationalError, match="cannot read the catalog"):
                connect(proxy)
            with pytest.raises(psycopg.OperationalError) as error:
                connection.execute(PHONES)
            assert error.value.sqlstate == "57P03"
        finally:
            server.execute_sql("postgres", f"ALTER ROLE {CONTROL} LOGIN")
        connection.close()

        def back() -> bool:
            try:
                with connect(proxy) as again:
                    return again.execute(PHONES).fetchall() == MASKED
            except psycopg.OperationalError:
                return False

        until(back, "new sessions")


def test_http(proxy: ProxyProcess) -> None:
    with connect(proxy) as connection:
        connection.execute(PHONES).fetchall()
        assert proxy.get("/healthz") == (200, "ok\n")
        assert proxy.get("/readyz") == (200, "ready\n")
        assert proxy.metric("pgveil_connections") >= 1
        assert proxy.metric('pgveil_statements_total{verdict="rewrite"}') >= 1
        assert proxy.metric('pgveil_bytes_total{sender="server"}') > 0
        planned, misses = proxy.metric("pgveil_plan_seconds_count"), proxy.metric("pgveil_plan_cache_misses_total")
        assert planned == misses >= 1
        assert proxy.metric('pgveil_logins_total{result="accepted"}') >= 1
        assert proxy.metric('pgveil_catalog_age_seconds{database="postgres"}') < 30
        assert proxy.metric("pgveil_audit_errors_total") == 0
    assert proxy.get("/nothing")[0] == 404


def test_the_log_has_no_data(proxy: ProxyProcess) -> None:
    with connect(proxy) as connection, pytest.raises(psycopg.Error):
        connection.execute("SELECT 'canary-literal-4711'::int")
    with pytest.raises(psycopg.OperationalError):
        connect(proxy, password="canary-password-4711")
    assert "canary" not in proxy.text()


def test_a_table_that_comes_while_nothing_is_masked(proxy: ProxyProcess, server: TestServer) -> None:
    """The database had nothing sensitive when the session looked last; the table is masked in the next statement all the same."""
    server.execute_sql("postgres", "CREATE DATABASE bare")
    text = "SELECT phone FROM shop.people"
    with connect(proxy, dbname="bare", autocommit=True) as session:
        for prepare in (False, True):
            assert session.execute("SELECT 1").fetchone() == (1,)
            server.execute_sql(
                "bare",
                "CREATE SCHEMA shop; CREATE TABLE shop.people (phone text); INSERT INTO shop.people VALUES ('13812345678');"
                " GRANT USAGE ON SCHEMA shop TO PUBLIC; GRANT SELECT ON shop.people TO PUBLIC",
            )
            assert session.execute(text, prepare=prepare).fetchone() == ("138****5678",)
            server.execute_sql("bare", "DROP SCHEMA shop CASCADE")
            with pytest.raises(psycopg.errors.UndefinedTable):
                session.execute(text, prepare=prepare)


def test_such_a_table_is_not_read_by_a_function_call_either(proxy: ProxyProcess, server: TestServer) -> None:
    server.execute_sql("postgres", "CREATE DATABASE bare_too")
    arguments = (b"SELECT phone FROM shop.people", b"t", b"f", b"")
    call = struct.pack("!ihh", QUERY_TO_XML, 0, len(arguments))
    call += b"".join(struct.pack("!i", len(a)) + a for a in arguments) + struct.pack("!h", 0)
    with Wire(proxy.port, "serve_trust", "bare_too") as wire:
        assert wire.query("SELECT 1").kind == "ok"
        server.execute_sql(
            "bare_too",
            "CREATE SCHEMA shop; CREATE TABLE shop.people (phone text); INSERT INTO shop.people VALUES ('13812345678');"
            " GRANT USAGE ON SCHEMA shop TO PUBLIC; GRANT SELECT ON shop.people TO PUBLIC",
        )
        wire.send(codec.message(ord("F"), call))
        replies = wire.until(ord("Z"))
        assert [tag for tag, _ in replies] == [ord("E"), ord("Z")]
        assert b"C42501" in replies[0][1]


def test_policy_reload(server: TestServer, tmp_path: Path) -> None:
    with ProxyProcess(tmp_path / "home", server) as proxy, connect(proxy, autocommit=True) as connection:
        good = proxy.policy.read_text()

        def phone() -> object:
            row = connection.execute(PHONES, prepare=False).fetchone()
            assert row is not None
            return row[0]

        assert phone() == "138****5678"
        proxy.policy.write_text(good.replace("last: 4", "last: 2"))
        proxy.signal(signal.SIGHUP)
        until(lambda: phone() == "138******78", "the new policy")
        proxy.policy.write_text(good.replace("keep:", "kep:"))
        proxy.signal(signal.SIGHUP)
        proxy.wait_for("event=policy_refused")
        assert phone() == "138******78"
        assert proxy.metric('pgveil_policy_reloads_total{result="rejected"}') >= 1
        proxy.policy.write_text(good)
        until(lambda: phone() == "138****5678", "the policy file is watched")


def rss(proxy: ProxyProcess) -> int:
    """Resident memory of the proxy in bytes."""
    assert proxy.process is not None
    for line in Path(f"/proc/{proxy.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


def test_a_slow_reader_does_not_fill_the_proxy(proxy: ProxyProcess) -> None:
    """400 MB wait at the server, not with us."""
    sql = "SELECT repeat('x', 10000) FROM generate_series(1, 40000)"
    with connect(proxy) as connection:
        connection.execute("SELECT 1")
        before = rss(proxy)
        received = proxy.metric('pgveil_bytes_total{sender="server"}')
        connection.pgconn.send_query(sql.encode())
        connection.pgconn.flush()

        def stalled() -> bool:
            """Bytes have come, and no more come although nobody has read."""
            nonlocal received
            last, received = received, proxy.metric('pgveil_bytes_total{sender="server"}')
            return received > 100_000 and received == last

        until(stalled, "the relay stops")
        assert rss(proxy) - before < 24 * MEGABYTE
        result = connection.pgconn.get_result()
        assert result is not None
        assert result.ntuples == 40000
        assert connection.pgconn.get_result() is None
        assert rss(proxy) - before < 48 * MEGABYTE


def test_copy_both_ways(proxy: ProxyProcess) -> None:
    """50 MB in and out again, unchanged."""
    line = "".join(hashlib.sha256(str(i).encode()).hexdigest() for i in range(16))
    rows = 50 * MEGABYTE // (len(line) + 8)
    with connect(proxy, autocommit=True) as connection:
        before = rss(proxy)
        with connection.cursor() as cursor:
            with cursor.copy("COPY shop.blobs FROM STDIN") as copy:
                for i in range(0, rows, 100):
                    copy.write("".join(f"{n}\t{line}\n" for n in range(i, min(i + 100, rows))))
            assert cursor.rowcount == rows
            count = size = 0
            with cursor.copy("COPY shop.blobs TO STDOUT") as copy:
                for block in copy:
                    count += bytes(block).count(line.encode())
                    size += len(block)
        assert count == rows
        assert size >= 50 * MEGABYTE - 10 * rows
        assert rss(proxy) - before < 48 * MEGABYTE
        connection.execute("DELETE FROM shop.blobs")


def test_many_sessions_at_once(server: TestServer, tmp_path: Path) -> None:
    count = 200
    everybody = threading.Barrier(count)
    with ProxyProcess(tmp_path / "home", server) as proxy:

        def session(_: int) -> list[tuple[object, ...]]:
            with connect(proxy) as connection:
                everybody.wait(DEADLINE)
                return [connection.execute(PHONES).fetchall()[i % 2] for i in range(10)]

        with ThreadPoolExecutor(count) as pool:
            results = list(pool.map(session, range(count)))
        assert results == [[MASKED[i % 2] for i in range(10)]] * count
        until(lambda: proxy.metric("pgveil_connections") == 0, "sessions gone")


def test_vanished_clients_leave_nothing(proxy: ProxyProcess, server: TestServer) -> None:
    before = proxy.metric("pgveil_connections")
    connections = [connect(proxy) for _ in range(5)]
    for connection in connections:
        with socket.socket(fileno=os.dup(connection.fileno())) as sock:
            sock.shutdown(socket.SHUT_RDWR)
        connection.close()
    until(lambda: proxy.metric("pgveil_connections") == before, "sessions gone")
    sql = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'serve_scram'"
    until(lambda: server.execute_sql("postgres", sql) == "0", "server sessions gone")


class TestDrain:
    @pytest.fixture
    def own(self, server: TestServer, tmp_path: Path) -> Iterator[ProxyProcess]:
        with ProxyProcess(tmp_path / "home", server, extra="limits: { drain_timeout: 20s }") as proxy:
            yield proxy

    def test_idle_goes_and_busy_finishes(self, own: ProxyProcess) -> None:
        idle = connect(own, autocommit=True)
        idle.execute("SELECT 1")
        busy = connect(own)
        busy.execute("SELECT 1")  # opens a transaction
        own.signal(signal.SIGTERM)
        assert farewell(idle) == "57P01"
        with pytest.raises(psycopg.OperationalError):
            connect(own)
        assert busy.execute(PHONES).fetchall() == MASKED
        busy.commit()
        assert own.wait() == 0
        busy.close()

    def test_patience_has_an_end(self, server: TestServer, tmp_path: Path) -> None:
        with ProxyProcess(tmp_path / "home", server, extra="limits: { drain_timeout: 1s }") as proxy:
            busy = connect(proxy)
            busy.execute("SELECT 1")
            proxy.signal(signal.SIGTERM)
            assert proxy.wait() == 0
            with pytest.raises(psycopg.OperationalError):
                busy.execute("SELECT 1")
            busy.close()

    def test_a_second_signal_stops_at_once(self, own: ProxyProcess) -> None:
        busy = connect(own)
        busy.execute("SELECT 1")
        own.signal(signal.SIGTERM)
        own.wait_for("event=draining")
        began = time.monotonic()
        own.signal(signal.SIGTERM)
        assert own.wait() == 0
        assert time.monotonic() - began < 15
        busy.close()

    def test_readiness_goes_first(self, own: ProxyProcess) -> None:
        busy = connect(own)
        busy.execute("SELECT 1")
        own.signal(signal.SIGTERM)
        until(lambda: own.get("/readyz") == (503, "not listening\n"), "not ready")
        busy.commit()
        busy.close()
        assert own.wait() == 0

    def test_the_trail_ends_with_a_stop_record(self, own: ProxyProcess) -> None:
        with connect(own) as connection:
            connection.execute(PHONES)
        own.stop()
        done = subprocess.run(
            [sys.executable, "-m", "proxy.cli", "audit", "verify", "-c", str(own.config)],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert "stopped cleanly" in done.stdout


@pytest.mark.parametrize("mode", ["strict", "before-result"])
class TestEvidenceFirst:
    def test_the_decision_is_in_the_file_when_the_result_arrives(self, server: TestServer, tmp_path: Path, mode: str) -> None:
        audit = f"{{ directory: audit, mode: {mode} }}"
        with ProxyProcess(tmp_path / "home", server, audit=audit) as proxy, connect(proxy, autocommit=True) as connection:
            for number in range(20):
                connection.execute(f"SELECT phone AS evidence_{number} FROM shop.people").fetchall()
                assert f"evidence_{number}" in proxy.trail()

    def test_no_evidence_no_data(self, server: TestServer, tmp_path: Path, mode: str) -> None:
        """The audit directory's file system refuses to take more: the client gets an error, never a row."""
        audit = f"{{ directory: audit, mode: {mode} }}"
        proxy = ProxyProcess(tmp_path / "home", server, file_limit=64 * 1024, audit=audit)
        with proxy, connect(proxy, autocommit=True) as connection:
            seen: list[object] = []
            states: list[str | None] = []

            def lost() -> bool:
                try:
                    seen.extend(connection.execute("SELECT 1 -- " + "x" * 2000).fetchall())
                except psycopg.Error as error:
                    states.append(error.sqlstate)
                    return True
                return False

            until(lost, "the audit trail is full")
            assert states == ["58030"]
            assert connection.closed
            assert set(seen) == {(1,)}
            assert proxy.metric("pgveil_audit_errors_total") >= 1
            assert proxy.get("/readyz")[0] == 503


class TestEvidenceLater:
    def test_the_decision_follows(self, server: TestServer, tmp_path: Path) -> None:
        audit = "{ directory: audit, mode: async }"
        with ProxyProcess(tmp_path / "home", server, audit=audit) as proxy, connect(proxy, autocommit=True) as connection:
            connection.execute("SELECT phone AS evidence_later FROM shop.people").fetchall()
            until(lambda: "evidence_later" in proxy.trail(), "the record")

    def test_data_goes_on_without(self, server: TestServer, tmp_path: Path) -> None:
        """The choice of somebody to whom service is worth more than evidence; it is reported all the same."""
        proxy = ProxyProcess(tmp_path / "home", server, file_limit=64 * 1024, audit="{ directory: audit, mode: async }")
        with proxy, connect(proxy, autocommit=True) as connection:

            def lost() -> bool:
                assert connection.execute("SELECT 1 -- " + "x" * 2000).fetchall() == [(1,)]
                return proxy.metric("pgveil_audit_errors_total") >= 1

            until(lost, "the audit trail is full")
            assert connection.execute(PHONES).fetchall() == MASKED
            assert proxy.get("/readyz") == (503, "the audit trail cannot be written\n")
