"""EXPLAIN EXECUTE: the session knows what a name stands for, and lets it be explained like the query itself."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.support.postgres import TestServer
from tests.support.proxy import CONTROL, ProxyProcess

HBA = f"""\
host all postgres 127.0.0.1/32 trust
host all {CONTROL} 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
"""
POLICY = """\
version: 1
classes:
  amount: { level: C2, mask: { round: 10000 } }
columns:
  shop.wealth.amount: amount
"""
SETUP = f"""\
CREATE ROLE {CONTROL} LOGIN PASSWORD 'control';
CREATE ROLE analyst LOGIN;
CREATE SCHEMA shop;
CREATE TABLE shop.wealth (id int, amount int) PARTITION BY RANGE (amount);
CREATE TABLE shop.low PARTITION OF shop.wealth FOR VALUES FROM (0) TO (100000);
CREATE TABLE shop.high PARTITION OF shop.wealth FOR VALUES FROM (100000) TO (10000000);
CREATE TABLE shop.people (id int PRIMARY KEY, name text);
GRANT USAGE ON SCHEMA shop TO PUBLIC;
GRANT SELECT ON ALL TABLES IN SCHEMA shop TO PUBLIC;
"""
Connection = psycopg.Connection[tuple[object, ...]]


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    with TestServer(hba=HBA) as server:
        assert isinstance(server, TestServer)
        server.execute_sql("postgres", SETUP)
        with ProxyProcess(tmp_path_factory.mktemp("explain") / "home", server, policy=POLICY) as proxy:
            yield proxy


@pytest.fixture
def connection(proxy: ProxyProcess) -> Iterator[Connection]:
    with psycopg.connect(
        host="127.0.0.1", port=proxy.port, user="analyst", dbname="postgres", autocommit=True, connect_timeout=20
    ) as connection:
        connection.execute("PREPARE cold AS SELECT name FROM shop.people")
        connection.execute("PREPARE hot AS SELECT amount FROM shop.wealth WHERE id > $1")
        yield connection


@pytest.mark.parametrize(
    "text",
    [
        "EXPLAIN EXECUTE cold",
        "EXPLAIN (ANALYZE, VERBOSE) EXECUTE cold",
        "EXPLAIN (COSTS OFF) EXECUTE hot(1)",
        "EXPLAIN CREATE TEMP TABLE t AS EXECUTE cold",
    ],
)
def test_explained(connection: Connection, text: str) -> None:
    assert "Scan" in str(connection.execute(text).fetchall())


@pytest.mark.parametrize(
    "text",
    [
        "EXPLAIN EXECUTE hot(1)",
        "EXPLAIN (ANALYZE, COSTS OFF) EXECUTE hot(1)",
        "EXPLAIN CREATE TEMP TABLE t AS EXECUTE hot(1)",
        "SELECT 1; EXPLAIN EXECUTE hot(1)",
        "DEALLOCATE cold; PREPARE cold AS SELECT amount FROM shop.wealth; EXPLAIN EXECUTE cold",
    ],
)
def test_refused(connection: Connection, text: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="partition"):
        connection.execute(text)


def test_prepared_again_under_the_same_name(connection: Connection) -> None:
    connection.execute("DEALLOCATE cold")
    connection.execute("PREPARE cold AS TABLE shop.wealth")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="partition"):
        connection.execute("EXPLAIN EXECUTE cold")


def test_unknown_to_session_and_server(connection: Connection) -> None:
    with pytest.raises(psycopg.errors.InvalidSqlStatementName):
        connection.execute("EXPLAIN EXECUTE unheard_of")


def test_made_by_parse(connection: Connection) -> None:
    connection.execute("SELECT amount FROM shop.wealth", prepare=True)
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="made by SQL's PREPARE only"):
        connection.execute("EXPLAIN EXECUTE _pg3_0")
