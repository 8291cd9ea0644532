"""What was checked is what runs: a search path that changes under a prepared statement, and functions nobody has allowed.

The schema `evil` is what an insider could wish for: prepared by a superuser, usable by the masked login, full of functions,
operators and casts that shadow the builtin ones and read the raw table.
"""

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
  phone: { level: C2, mask: { keep: { first: 3, last: 4 } } }
columns:
  shop.people.phone: phone
"""
SECRET = "13812345678"
SETUP = f"""\
CREATE ROLE {CONTROL} LOGIN PASSWORD 'control';
CREATE ROLE analyst LOGIN;
CREATE SCHEMA shop;
CREATE SCHEMA evil;
CREATE TABLE shop.people (id int PRIMARY KEY, name text, phone char(11));
INSERT INTO shop.people VALUES (1, 'Zhang', '{SECRET}'), (2, 'Ann', '13987654321');
CREATE TABLE shop.notes (id int, note text);
INSERT INTO shop.notes VALUES (1, 'one');
CREATE FUNCTION evil.secret() RETURNS text LANGUAGE sql STABLE SECURITY DEFINER
  AS $$ SELECT phone::text FROM shop.people WHERE id = 1 $$;
CREATE FUNCTION evil.lower(text) RETURNS text LANGUAGE sql STABLE AS $$ SELECT evil.secret() $$;
CREATE FUNCTION evil.eq(text, text) RETURNS bool LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN evil.secret() LIKE $2; END $$;
CREATE OPERATOR evil.~~ (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.eq);
CREATE TABLE evil.notes (id int, note text);
INSERT INTO evil.notes VALUES (1, 'other');
GRANT USAGE ON SCHEMA shop, evil TO PUBLIC;
GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA shop, evil TO PUBLIC;
"""
Connection = psycopg.Connection[tuple[object, ...]]


@pytest.fixture(scope="module")
def server() -> Iterator[TestServer]:
    with TestServer(hba=HBA) as server:
        assert isinstance(server, TestServer)
        server.execute_sql("postgres", SETUP)
        yield server


@pytest.fixture(scope="module")
def proxy(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    with ProxyProcess(tmp_path_factory.mktemp("names") / "home", server, policy=POLICY) as proxy:
        yield proxy


def connect(proxy: ProxyProcess, **more: object) -> Connection:
    return psycopg.connect(
        host="127.0.0.1", port=proxy.port, user="analyst", dbname="postgres", autocommit=True, connect_timeout=20, **more
    )  # type: ignore[call-overload,no-any-return]


@pytest.fixture
def connection(proxy: ProxyProcess) -> Iterator[Connection]:
    with connect(proxy, prepare_threshold=0) as connection:
        yield connection


SHADOWED = ["SELECT lower(%s::text)", "SELECT %s::text LIKE 'ABC%%'"]
GOOD = {SHADOWED[0]: "abc", SHADOWED[1]: True}
WAYS = {
    "set": "SET search_path = evil, pg_catalog",
    "schema": "SET SCHEMA 'evil'",
    "set_config": "SELECT set_config('search_path', 'evil, pg_catalog', false)",
    "time zone and path": "SET search_path TO 'evil', pg_catalog",
}


@pytest.mark.parametrize("sql", SHADOWED)
@pytest.mark.parametrize("way", WAYS)
def test_a_prepared_statement_under_another_path(connection: Connection, sql: str, way: str) -> None:
    assert connection.execute(sql, ("ABC",)).fetchone() == (GOOD[sql],)
    assert connection.execute(sql, ("ABC",)).fetchone() == (GOOD[sql],)
    connection.execute(WAYS[way])
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="evil"):
        connection.execute(sql, ("ABC",))
    connection.execute("RESET search_path")
    assert connection.execute(sql, ("ABC",)).fetchone() == (GOOD[sql],)


@pytest.mark.parametrize("sql", SHADOWED)
def test_in_a_pipeline(connection: Connection, sql: str) -> None:
    connection.execute(sql, ("ABC",))
    with connection.cursor() as cursor, connection.pipeline() as pipeline:
        connection.execute("SET search_path = evil, pg_catalog")
        cursor.execute(sql, ("ABC",))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            pipeline.sync()
    assert connection.execute(sql, ("ABC",)).fetchone() == (GOOD[sql],), "the pipeline has been undone"


def test_transactions_bring_the_path_back(connection: Connection) -> None:
    sql = SHADOWED[0]
    connection.execute("SET search_path = evil, pg_catalog")
    connection.execute("BEGIN")
    connection.execute("SET LOCAL search_path = shop")
    assert connection.execute(sql, ("ABC",)).fetchone() == ("abc",)
    connection.execute("SAVEPOINT s")
    connection.execute("SET LOCAL search_path = evil, pg_catalog")
    connection.execute("ROLLBACK TO s")
    assert connection.execute(sql, ("ABC",)).fetchone() == ("abc",)
    connection.execute("ROLLBACK")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(sql, ("ABC",))


def test_the_path_of_the_start_up_options(proxy: ProxyProcess, server: TestServer) -> None:
    with (
        connect(proxy, options="-c search_path=evil,pg_catalog") as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("SELECT lower('ABC')")
    server.execute_sql("postgres", "ALTER ROLE analyst SET search_path = evil, pg_catalog")
    try:
        with connect(proxy) as connection:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("SELECT lower('ABC')")
            connection.execute("SET search_path = shop")
            assert connection.execute("SELECT lower('ABC')", prepare=True).fetchone() == ("abc",)
            connection.execute("RESET search_path")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("SELECT lower('ABC')", prepare=True)
    finally:
        server.execute_sql("postgres", "ALTER ROLE analyst RESET search_path")


@pytest.mark.parametrize(
    "run", ["EXECUTE p", "EXPLAIN ANALYZE EXECUTE p", "CREATE TEMP TABLE t AS EXECUTE p", "SET x.y = 1; EXECUTE p"]
)
def test_sql_prepare(connection: Connection, run: str) -> None:
    connection.execute("PREPARE p AS SELECT lower('ABC') AS a", prepare=False)
    connection.execute("EXECUTE p", prepare=False)
    connection.execute("SET search_path = evil, pg_catalog")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(run, prepare=False)
    connection.execute("SET search_path = shop")
    assert connection.execute("EXECUTE p", prepare=False).fetchone() == ("abc",)


@pytest.mark.parametrize("run", ["EXECUTE p", "EXPLAIN ANALYZE EXECUTE p", "CREATE TEMP TABLE t AS EXECUTE p"])
@pytest.mark.parametrize("before", ["SET search_path = evil", "SELECT set_config('search_path', 'evil', false)"])
def test_sql_execute_behind_a_change_in_one_string(connection: Connection, run: str, before: str) -> None:
    connection.execute("PREPARE p AS SELECT lower('ABC') AS a", prepare=False)
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        connection.execute(f"{before}; {run}", prepare=False)
    assert connection.execute("EXECUTE p", prepare=False).fetchone() == ("abc",)


def test_relations_follow_the_path_as_in_postgresql(connection: Connection) -> None:
    sql = "SELECT note FROM notes WHERE id = %s"
    connection.execute("SET search_path = shop")
    assert connection.execute(sql, (1,)).fetchone() == ("one",)
    connection.execute("SET search_path = evil")
    assert connection.execute(sql, (1,)).fetchone() == ("other",)
    connection.execute("SET search_path = shop")
    assert connection.execute(sql, (1,)).fetchone() == ("one",)
    connection.execute("CREATE TEMP TABLE notes AS SELECT 1 AS id, 'mine' AS note")
    assert connection.execute(sql, (1,)).fetchone() == ("mine",)
    connection.execute("DROP TABLE pg_temp.notes")
    assert connection.execute(sql, (1,)).fetchone() == ("one",)


def test_somebody_else_lets_the_path_reach_a_schema(connection: Connection, server: TestServer) -> None:
    """USAGE granted or a schema made by another session changes what a path means that was set long ago."""
    server.execute_sql(
        "postgres",
        "CREATE SCHEMA late; CREATE FUNCTION late.lower(text) RETURNS text LANGUAGE sql STABLE AS 'SELECT evil.secret()'",
    )
    connection.execute("SET search_path = late, pg_catalog")
    sql = SHADOWED[0]
    assert connection.execute(sql, ("ABC",)).fetchone() == ("abc",)
    server.execute_sql("postgres", "GRANT USAGE ON SCHEMA late TO PUBLIC")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(sql, ("ABC",))
    server.execute_sql("postgres", "DROP SCHEMA late CASCADE")
    assert connection.execute(sql, ("ABC",)).fetchone() == ("abc",)


def test_somebody_else_makes_the_function(connection: Connection, server: TestServer) -> None:
    connection.execute("SET search_path = evil, pg_catalog")
    assert connection.execute("SELECT upper(%s::text)", ("abc",)).fetchone() == ("ABC",)
    server.execute_sql("postgres", "CREATE FUNCTION evil.upper(text) RETURNS text LANGUAGE sql AS 'SELECT evil.secret()'")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("SELECT upper(%s::text)", ("abc",))
    server.execute_sql("postgres", "DROP FUNCTION evil.upper(text)")
    assert connection.execute("SELECT upper(%s::text)", ("abc",)).fetchone() == ("ABC",)


@pytest.mark.parametrize(
    ("change", "back", "sql"),
    [
        ("ALTER TABLE shop.people RENAME TO gone", "ALTER TABLE shop.gone RENAME TO people", "SELECT phone FROM shop.gone"),
        (
            "ALTER TABLE shop.people RENAME phone TO tel",
            "ALTER TABLE shop.people RENAME tel TO phone",
            "SELECT tel FROM shop.people",
        ),
        (
            "ALTER TABLE shop.people SET SCHEMA evil",
            "ALTER TABLE evil.people SET SCHEMA shop",
            "SELECT phone FROM evil.people",
        ),
    ],
)
def test_a_renamed_column_stays_masked(
    server: TestServer, connection: Connection, proxy: ProxyProcess, change: str, back: str, sql: str
) -> None:
    assert SECRET not in str(connection.execute("SELECT phone FROM shop.people").fetchall())
    server.execute_sql("postgres", change)
    try:
        with connect(proxy) as fresh:
            for rows in (connection.execute(sql).fetchall(), fresh.execute(sql).fetchall()):
                assert len(rows) == 2
                assert SECRET not in str(rows)
    finally:
        server.execute_sql("postgres", back)
