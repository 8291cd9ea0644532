"""Texts that take seconds to read are read beside the sessions, not in front of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support.postgres import TestServer
from tests.support.proxy import CONTROL, ProxyProcess, until

HBA = f"""\
host all postgres 127.0.0.1/32 trust
host all {CONTROL} 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
"""
SETUP = f"""\
CREATE ROLE {CONTROL} LOGIN PASSWORD 'control';
CREATE ROLE pgveil_test_staff;
CREATE ROLE long_staff LOGIN IN ROLE pgveil_test_staff;
CREATE ROLE long_guest LOGIN;
CREATE SCHEMA shop;
CREATE TABLE shop.people (id int PRIMARY KEY, name text, phone char(11));
INSERT INTO shop.people VALUES (1, '张三', '13812345678');
CREATE TABLE shop.log (id int, note text);
GRANT USAGE ON SCHEMA shop TO PUBLIC;
GRANT SELECT ON shop.people TO PUBLIC;
GRANT ALL ON shop.log TO PUBLIC;
"""
SCRIPT = "".join(f"INSERT INTO shop.log VALUES ({i}, 'a line of the log');\n" for i in range(14_000))
SEEN = {"long_staff": "13812345678", "long_guest": "138****5678"}


@pytest.fixture(scope="module")
def server() -> Iterator[TestServer]:
    with TestServer(hba=HBA) as server:
        assert isinstance(server, TestServer)
        server.execute_sql("postgres", SETUP)
        yield server


@pytest.fixture(scope="module")
def proxy(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    with ProxyProcess(tmp_path_factory.mktemp("long") / "home", server) as proxy:
        yield proxy


def connect(proxy: ProxyProcess, user: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(host="127.0.0.1", port=proxy.port, user=user, dbname="postgres", autocommit=True)


def children(proxy: ProxyProcess) -> int:
    """Processes that the proxy has started, zombies included."""
    assert proxy.process is not None
    pid = proxy.process.pid
    return len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


@pytest.mark.parametrize("user", ["long_staff", "long_guest"])
def test_others_are_answered_meanwhile(proxy: ProxyProcess, server: TestServer, user: str) -> None:
    server.execute_sql("postgres", "TRUNCATE shop.log")
    answered = 0
    with connect(proxy, user) as writer, connect(proxy, "long_guest") as reader:
        done = threading.Event()

        def write() -> None:
            try:
                writer.execute(SCRIPT)
            finally:
                done.set()

        thread = threading.Thread(target=write)
        thread.start()
        until(lambda: children(proxy), "the text is being read in a process of its own")
        while children(proxy):
            assert reader.execute("SELECT phone FROM shop.people").fetchone() == ("138****5678",)
            answered += 1
        assert done.wait(60)
        thread.join()
        assert writer.execute("SELECT count(*) FROM shop.log").fetchone() == (14_000,)
    assert answered > 20


@pytest.mark.parametrize("user", ["long_staff", "long_guest"])
def test_the_answer_is_that_of_a_short_text(proxy: ProxyProcess, user: str) -> None:
    wanted = " OR ".join(f"id = {i}" for i in range(1, 4_000))
    with connect(proxy, user) as connection:
        for binary in (False, True):
            rows = connection.execute(f"SELECT phone FROM shop.people WHERE {wanted}", binary=binary, prepare=binary).fetchall()
            assert rows == [(SEEN[user],)]


def test_a_client_that_leaves_leaves_nothing_behind(proxy: ProxyProcess) -> None:
    connection = connect(proxy, "long_guest")
    connection.pgconn.send_query(("SELECT phone FROM shop.people;\n" * 2_500).encode())
    until(lambda: connection.pgconn.flush() == 0, "sent")
    until(lambda: children(proxy), "the text is being read")
    with connect(proxy, "long_guest") as other:
        connection.close()
        until(lambda: not children(proxy), "nobody reads any more")
        assert other.execute("SELECT phone FROM shop.people").fetchone() == ("138****5678",)
