"""Whoever goes round the proxy is noticed, and nobody who uses it, however hard, is taken for one who does."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.bouncer import Bouncer
from tests.support.postgres import TestServer
from tests.support.proxy import CONTROL, ProxyProcess, until

HBA = f"""\
host all postgres,counted_bob,{CONTROL} 127.0.0.1/32 trust
host all all 127.0.0.1/32 password
host all all 10.0.0.0/8 password
"""
SETUP = f"""\
CREATE ROLE {CONTROL} LOGIN; GRANT pg_read_all_stats TO {CONTROL};
GRANT EXECUTE ON FUNCTION pg_hba_file_rules() TO {CONTROL}; GRANT SELECT ON pg_hba_file_rules TO {CONTROL};
CREATE ROLE counted_staff; GRANT counted_staff TO {CONTROL};
CREATE ROLE counted_ann LOGIN PASSWORD 'pw' IN ROLE counted_staff;
CREATE ROLE counted_bob LOGIN PASSWORD 'pw';
CREATE SCHEMA shop; GRANT USAGE, CREATE ON SCHEMA shop TO PUBLIC; GRANT CREATE, TEMP ON DATABASE postgres TO PUBLIC;
CREATE TABLE shop.people (id int PRIMARY KEY, phone text);
INSERT INTO shop.people SELECT n, '1380000' || n FROM generate_series(1000, 1200) n;
GRANT ALL ON shop.people TO PUBLIC;
"""
EVERY = "completeness: { interval: 1s }"


def _server(settings: dict[str, str]) -> Iterator[TestServer]:
    with TestServer(settings, hba=HBA) as server:
        assert isinstance(server, TestServer)
        server.execute_sql("postgres", SETUP)
        yield server


@pytest.fixture(scope="module")
def plain() -> Iterator[TestServer]:
    yield from _server({})


@pytest.fixture(scope="module")
def counting() -> Iterator[TestServer]:
    for server in _server({"shared_preload_libraries": "pg_stat_statements"}):
        server.execute_sql("postgres", "CREATE EXTENSION pg_stat_statements")
        yield server


@pytest.fixture(params=["plain", "counting"])
def server(request: pytest.FixtureRequest) -> TestServer:
    found: TestServer = request.getfixturevalue(request.param)
    return found


@contextmanager
def start(server: TestServer, tmp_path: Path, extra: str = EVERY, **options: Any) -> Iterator[ProxyProcess]:
    with ProxyProcess(tmp_path / "home", server, extra=extra, **options) as proxy:
        until(lambda: '"event":"server_counts"' in proxy.trail(), "the first snapshot")
        yield proxy


def dsn(port: int, user: str = "counted_bob") -> str:
    return f"host=127.0.0.1 port={port} user={user} password=pw dbname=postgres"


def complete(proxy: ProxyProcess, *options: str) -> tuple[int, str]:
    command = [sys.executable, "-P", "-m", "proxy.cli", "audit", "complete", "-c", str(proxy.config), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def honest(port: int, user: str) -> None:
    """What drivers do, and what makes pgveil ask questions of its own."""
    with psycopg.connect(dsn(port, user), autocommit=True) as c:
        for n in range(12):
            c.execute("SELECT phone FROM shop.people WHERE id = %s", (1000 + n,), prepare=True).fetchall()
        with c.pipeline():
            for n in range(20):
                c.execute("SELECT %s::int, phone FROM shop.people LIMIT 3", (n,))
        with pytest.raises(psycopg.Error):
            c.execute("SELECT 1 / 0")
        with pytest.raises(psycopg.Error):
            c.execute("SELECT nothing FROM shop.nowhere")
        c.execute("SELECT 1; SELECT count(*) FROM shop.people; SET search_path = shop; SELECT phone FROM people LIMIT 1")
        c.execute("CREATE TEMP TABLE mine (n int)")
        c.execute("INSERT INTO mine SELECT generate_series(1, 3)")
        c.execute("SELECT * FROM mine, people LIMIT 2").fetchall()
        with c.cursor() as cursor, cursor.copy("COPY mine FROM STDIN") as copy:
            copy.write("1\n2\n")
        with c.cursor() as cursor, cursor.copy("COPY (SELECT id FROM shop.people) TO STDOUT") as copy:
            assert len(list(copy)) == 201
        with c.transaction(), c.cursor("named") as named:
            named.execute("SELECT phone FROM shop.people")
            while named.fetchmany(60):
                continue
        c.execute("PREPARE p AS SELECT phone FROM shop.people WHERE id = $1")
        for _ in range(3):
            c.execute("EXECUTE p(1001)")
        c.execute("DO $$ BEGIN PERFORM 1; PERFORM count(*) FROM pg_catalog.pg_class; END $$") if user == "counted_ann" else None
        if user == "counted_ann":
            c.execute("SET ROLE counted_staff")
            c.execute("SELECT count(*) FROM shop.people")
        c.execute("/* route:list */ BEGIN")
        c.execute("SELECT 1")
        c.execute("COMMIT")


def crowd(port: int) -> None:
    threads = [threading.Thread(target=honest, args=(port, user)) for user in ("counted_ann", "counted_bob") * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_nobody_went_round(server: TestServer, tmp_path: Path) -> None:
    with start(server, tmp_path) as proxy, closing(psycopg.connect(dsn(proxy.port))) as kept:
        crowd(proxy.port)
        kept.execute("SELECT 1")
        code, text = complete(proxy)
        assert code == 0, text
        assert "way   pg_hba.conf line 3: all to all from 10.0.0.0" in text
    with proxy:  # it starts again
        crowd(proxy.port)
        told = json.loads(complete(proxy, "--json")[1])
    assert told["verdict"] == "none", told
    assert {f["witness"] for f in told["findings"]} >= {"sessions"}


def test_somebody_goes_round_for_a_moment(server: TestServer, tmp_path: Path) -> None:
    with start(server, tmp_path) as proxy:
        crowd(proxy.port)
        with closing(psycopg.connect(dsn(server.port, "counted_ann"))) as direct:
            direct.execute("SELECT phone FROM shop.people LIMIT 1").fetchall()
        code, text = complete(proxy)
        assert code == 1, text
        assert "FOUND sessions    postgres: 1 that the trail does not know" in text


def test_the_server_names_the_login(counting: TestServer, tmp_path: Path) -> None:
    with start(counting, tmp_path, "completeness: { interval: 1h, direct_roles: [postgres] }") as proxy:
        crowd(proxy.port)
        counting.execute_sql("postgres", "SELECT count(*) FROM shop.people")
        code, text = complete(proxy)
        assert code == 0, text
        with closing(psycopg.connect(dsn(counting.port, "counted_ann"), autocommit=True)) as direct:
            for _ in range(20):
                direct.execute("SELECT phone FROM shop.people LIMIT 7")
        code, text = complete(proxy)
        assert code == 1, text
        assert "FOUND statements  postgres: counted_ann:" in text


def test_without_pg_stat_statements_roles_that_may_connect_hide_others(plain: TestServer, tmp_path: Path) -> None:
    with start(plain, tmp_path, "completeness: { interval: 1h, direct_roles: postgres }") as proxy:
        assert complete(proxy)[0] == 0
        plain.execute_sql("postgres", "SELECT 1")
        code, text = complete(proxy)
        assert code == 2, text
        assert "of roles that may connect themselves or of others" in text


def test_a_connection_that_is_still_there(plain: TestServer, tmp_path: Path) -> None:
    with (
        start(plain, tmp_path, "completeness: { interval: 1h, direct_roles: [postgres] }") as proxy,
        closing(psycopg.connect(dsn(proxy.port))),
    ):
        assert complete(proxy)[0] == 0
        with closing(psycopg.connect(dsn(plain.port))):
            code, text = complete(proxy)
            assert code == 1, text
            assert "counted_bob had 1 connections more than the trail has sessions" in text


def test_counters_that_begin_anew_prove_nothing(counting: TestServer, tmp_path: Path) -> None:
    with start(counting, tmp_path, "completeness: { interval: 1h, direct_roles: [postgres] }") as proxy:
        honest(proxy.port, "counted_bob")
        counting.execute_sql("postgres", "SELECT pg_stat_statements_reset()")
        counting.execute_sql("postgres", "SELECT pg_stat_reset()")
        code, text = complete(proxy)
        assert code == 2, text
        assert "pg_stat_statements began to count anew" in text
        assert "the server began to count anew" in text


def test_behind_a_pooler_statements_tell(counting: TestServer, tmp_path: Path) -> None:
    extra = "completeness: { interval: 1h, direct_roles: [postgres] }"
    with (
        Bouncer(counting.port, "transaction", users=("counted_bob", CONTROL)) as bouncer,
        start(counting, tmp_path, extra, server_port=bouncer.port, pooling="transaction") as proxy,
    ):
        with closing(psycopg.connect(dsn(proxy.port), autocommit=True, prepare_threshold=None)) as c:
            for n in range(30):
                c.execute("SELECT phone FROM shop.people WHERE id = %s", (1000 + n,)).fetchall()
        code, text = complete(proxy)
        assert code == 0, text
        with closing(psycopg.connect(dsn(bouncer.port))) as direct:
            direct.execute("SELECT phone FROM shop.people")
        code, text = complete(proxy)
        assert code == 1, text
        assert "counted_bob: 1 statements that the trail does not know" in text


def test_no_snapshots_no_answer(plain: TestServer, tmp_path: Path) -> None:
    with ProxyProcess(tmp_path / "home", plain, extra="completeness: { interval: 0s }") as proxy:
        assert complete(proxy)[0] == 2
        assert complete(proxy, "--until", "2020-01-01")[0] == 1
