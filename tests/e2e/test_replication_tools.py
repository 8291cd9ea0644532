"""Replication through the proxy, with PostgreSQL's own tools, and what ends it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support.postgres import TestServer
from tests.support.proxy import CONTROL, ProxyProcess, until

HBA = "host all all 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust\n"
POLICY = """\
version: 1
classes:
  phone: { level: C2, mask: { keep: { first: 3, last: 4 } } }
columns:
  shop.people.phone: phone
rules:
  - { name: staff see it, role: repl_staff, columns: [class=phone], show: clear }
  - { name: some see it here, role: repl_here, database: postgres, columns: [class=phone], show: clear }
"""
SCHEMA = "CREATE SCHEMA shop; CREATE TABLE shop.people (id int PRIMARY KEY, phone text);"


@pytest.fixture(scope="module")
def server() -> Iterator[TestServer]:
    with TestServer({"wal_level": "logical"}, HBA) as running:
        assert isinstance(running, TestServer)
        roles = "".join(f"CREATE ROLE {name} LOGIN REPLICATION;" for name in ("repl_staff", "repl_here"))
        running.execute_sql("postgres", f"CREATE ROLE {CONTROL} LOGIN; {roles} {SCHEMA}")
        running.execute_sql("postgres", "CREATE DATABASE elsewhere")
        running.execute_sql("elsewhere", SCHEMA)
        running.execute_sql("postgres", "GRANT USAGE ON SCHEMA shop TO PUBLIC; GRANT ALL ON shop.people TO PUBLIC")
        yield running


@pytest.fixture(scope="module")
def proxy(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    with ProxyProcess(tmp_path_factory.mktemp("replication"), server, policy=POLICY) as running:
        yield running


def command(server: TestServer, proxy: ProxyProcess, tool: str, user: str, *arguments: str) -> list[str]:
    return [str(server.bin_dir / tool), "-h", "127.0.0.1", "-p", str(proxy.port), "-U", user, "-w", *arguments]


def run(server: TestServer, proxy: ProxyProcess, tool: str, user: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    words = command(server, proxy, tool, user, *arguments)
    return subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=120, env={**os.environ, "LC_ALL": "C"})


def _end_of_log(server: TestServer) -> str:
    """Everything before it is on disk."""
    server.execute_sql("postgres", "SELECT pg_switch_wal()")
    server.execute_sql("postgres", "CHECKPOINT")
    return server.execute_sql("postgres", "SELECT pg_current_wal_flush_lsn()")


def test_a_base_backup(server: TestServer, proxy: ProxyProcess, tmp_path: Path) -> None:
    done = run(server, proxy, "pg_basebackup", "repl_staff", "-D", str(tmp_path / "copy"), "-X", "stream", "-c", "fast")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "copy" / "PG_VERSION").read_text() == (server.data_dir / "PG_VERSION").read_text()
    assert list((tmp_path / "copy" / "pg_wal").glob("0000*"))


def test_the_write_ahead_log(server: TestServer, proxy: ProxyProcess, tmp_path: Path) -> None:
    wal = tmp_path / "wal"
    wal.mkdir()
    slot = ("-D", str(wal), "--slot", "physical")
    assert run(server, proxy, "pg_receivewal", "repl_staff", *slot, "--create-slot").returncode == 0
    receiver = subprocess.Popen(command(server, proxy, "pg_receivewal", "repl_staff", *slot))
    try:
        until(lambda: list(wal.iterdir()), "the log begins to come")
        _end_of_log(server)
        until(lambda: [f for f in wal.iterdir() if not f.suffix], "a whole segment")
    finally:
        receiver.send_signal(signal.SIGINT)
    assert receiver.wait(60) == 0
    assert run(server, proxy, "pg_receivewal", "repl_staff", "--slot", "physical", "--drop-slot").returncode == 0


def test_logical_decoding(server: TestServer, proxy: ProxyProcess) -> None:
    logical = ("-d", "postgres", "--slot", "logical")
    assert run(server, proxy, "pg_recvlogical", "repl_staff", *logical, "--create-slot", "-P", "pgoutput").returncode == 0
    options = ("-o", "proto_version=1", "-o", "publication_names=p")
    server.execute_sql("postgres", "CREATE PUBLICATION p FOR TABLE shop.people; INSERT INTO shop.people VALUES (1, '1380013')")
    end = _end_of_log(server)
    start = ("--start", "--endpos", end, "--no-loop", "-f", "-", *options)
    done = run(server, proxy, "pg_recvlogical", "repl_staff", *logical, *start)
    assert done.returncode == 0, done.stderr
    assert "1380013" in done.stdout
    assert run(server, proxy, "pg_recvlogical", "repl_staff", *logical, "--drop-slot").returncode == 0


def test_who_sees_something_masked_elsewhere_gets_none(server: TestServer, proxy: ProxyProcess, tmp_path: Path) -> None:
    """The stream is the whole server's, whatever database it was begun in."""
    for tool, more in (
        ("pg_basebackup", ("-D", str(tmp_path / "copy"))),
        ("pg_receivewal", ("-D", str(tmp_path))),
        ("pg_recvlogical", ("-d", "postgres", "--slot", "no", "--create-slot", "-P", "pgoutput")),
    ):
        done = run(server, proxy, tool, "repl_here", *more)
        assert done.returncode != 0
        assert "replication is not allowed for a login that sees masked data" in done.stderr


def test_a_stream_ends_when_the_policy_begins_to_mask(server: TestServer, proxy: ProxyProcess) -> None:
    parameters = f"host=127.0.0.1 port={proxy.port} user=repl_staff dbname=elsewhere replication=database sslmode=disable"
    pgconn = psycopg.pq.PGconn.connect(parameters.encode())
    assert pgconn.status == psycopg.pq.ConnStatus.OK
    assert pgconn.exec_(b"IDENTIFY_SYSTEM").ntuples == 1
    proxy.policy.write_text(POLICY.replace("role: repl_staff", "role: repl_nobody"), encoding="utf-8")
    proxy.wait_for("event=replication_ended")
    until(lambda: pgconn.exec_(b"IDENTIFY_SYSTEM").status != psycopg.pq.ExecStatus.TUPLES_OK, "the connection ends")
    pgconn.finish()
    proxy.policy.write_text(POLICY, encoding="utf-8")
