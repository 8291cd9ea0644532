"""Types, functions and blocks that a masked session makes itself, what it is told about them, and what they are no way to.

`support` sees everything: it is the one on whose values other people's code could work.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

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
notice: false
classes:
  phone: { level: C2, mask: { keep: { first: 3, last: 4 } } }
columns:
  shop.people.phone: phone
  shop.orders.phone: phone
  shop.calls.phone: phone
functions: { allow: [shop.shown] }
rules:
  - { name: support sees phones, user: support, columns: [class=phone], show: clear }
"""
SECRET, MASKED = "13812345678", "138****5678"
SETUP = f"""\
CREATE ROLE {CONTROL} LOGIN PASSWORD 'control';
CREATE ROLE analyst LOGIN;
CREATE ROLE support LOGIN;
CREATE SCHEMA shop;
CREATE DOMAIN shop.number AS varchar;
CREATE TABLE shop.people (id int PRIMARY KEY, phone shop.number);
INSERT INTO shop.people VALUES (1, '{SECRET}');
CREATE TABLE shop.groups (id int PRIMARY KEY);
CREATE TABLE shop.orders (phone text PRIMARY KEY, g int REFERENCES shop.groups ON DELETE CASCADE);
CREATE TABLE shop.calls (phone text REFERENCES shop.orders);
INSERT INTO shop.groups VALUES (1);
INSERT INTO shop.orders VALUES ('{SECRET}', 1);
INSERT INTO shop.calls VALUES ('{SECRET}');
CREATE TABLE shop.notes (id int PRIMARY KEY, note text CHECK (note <> 'bad'));
INSERT INTO shop.notes VALUES (1, 'a');
CREATE TABLE shop.told (id int PRIMARY KEY, note text);
CREATE FUNCTION shop.tells() RETURNS trigger LANGUAGE plpgsql
  AS $$ BEGIN NEW.note := 'set by a trigger'; RAISE NOTICE 'seen %', NEW.id; RETURN NEW; END $$;
CREATE TRIGGER t BEFORE INSERT ON shop.told FOR EACH ROW EXECUTE FUNCTION shop.tells();
CREATE FUNCTION shop.short(x text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT substr(x, 1, 1)';
CREATE FUNCTION shop.shown(i int) RETURNS text LANGUAGE plpgsql
  AS $$ BEGIN RETURN (SELECT left(phone, 3) || md5(phone) || short(phone) FROM shop.people WHERE id = i); END $$;
GRANT USAGE, CREATE ON SCHEMA shop, public TO PUBLIC;
GRANT ALL ON ALL TABLES IN SCHEMA shop TO PUBLIC;
ALTER FUNCTION shop.short OWNER TO analyst;
ALTER DOMAIN shop.number OWNER TO analyst;
ALTER ROLE analyst SET search_path = public, shop;
ALTER ROLE support SET search_path = public, shop;
"""
Connection = psycopg.Connection[tuple[object, ...]]
Refused = psycopg.errors.InsufficientPrivilege


@pytest.fixture(scope="module")
def server() -> Iterator[TestServer]:
    with TestServer(hba=HBA) as server:
        assert isinstance(server, TestServer)
        server.execute_sql("postgres", SETUP)
        yield server


@pytest.fixture(scope="module")
def proxy(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    with ProxyProcess(tmp_path_factory.mktemp("own-code") / "home", server, policy=POLICY) as proxy:
        yield proxy


def connect(proxy: ProxyProcess, user: str = "analyst") -> Connection:
    return psycopg.connect(host="127.0.0.1", port=proxy.port, user=user, dbname="postgres", autocommit=True, connect_timeout=20)


@pytest.fixture
def connection(proxy: ProxyProcess) -> Iterator[Connection]:
    with connect(proxy) as connection:
        yield connection


class Heard(NamedTuple):
    sqlstate: str | None
    message: str | None
    detail: str | None
    hint: str | None
    context: str | None


def heard(connection: Connection, text: str) -> list[Heard]:
    """The notices and the error that a statement brings."""
    out: list[Heard] = []

    def note(d: psycopg.errors.Diagnostic) -> None:
        out.append(Heard(d.sqlstate, d.message_primary, d.message_detail, d.message_hint, d.context))

    connection.add_notice_handler(note)
    try:
        connection.execute(text)
    except psycopg.Error as error:
        note(error.diag)
    finally:
        connection.remove_notice_handler(note)
    return out


def test_types_of_ones_own(connection: Connection) -> None:
    connection.execute("CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TYPE pair AS (a int, m mood)")
    connection.execute("ALTER TYPE mood ADD VALUE 'glad'")
    connection.execute("CREATE TYPE span AS RANGE (subtype = float8, subtype_diff = float8mi)")
    connection.execute("CREATE DOMAIN positive AS int CHECK (value > 0)")
    connection.execute("CREATE TABLE public.felt (p pair, s span, n positive, t mood[])")
    connection.execute("CREATE STATISTICS felt_stats ON n, s FROM public.felt")
    connection.execute("INSERT INTO felt VALUES (ROW(1, 'ok'), span(1, 2), 3, '{sad,glad}')")
    row = connection.execute("SELECT (p).m, s @> 1.5::float8, n + 1, t[2], multirange(s)::text FROM felt").fetchone()
    assert row == ("ok", True, 4, "glad", "{[1,2)}")
    with pytest.raises(psycopg.errors.CheckViolation):
        connection.execute("INSERT INTO felt (n) VALUES (-1)")
    connection.execute("DROP TABLE felt; DROP TYPE pair, span; DROP DOMAIN positive; DROP TYPE mood CASCADE")


def test_changing_a_type_asks_nothing(server: TestServer, connection: Connection) -> None:
    """The server would look at every stored value."""
    for text in (
        f"ALTER DOMAIN number ADD CHECK (value <> '{SECRET}')",
        "ALTER DOMAIN shop.number SET NOT NULL",
        "DROP DOMAIN number CASCADE",
        "ALTER DOMAIN number RENAME TO other",
    ):
        with pytest.raises(Refused, match="pgveil"):
            connection.execute(text)
    assert server.execute_sql("postgres", "SELECT phone FROM shop.people").strip() == SECRET


def test_functions_of_ones_own(connection: Connection) -> None:
    connection.execute("CREATE FUNCTION twice(a int) RETURNS int LANGUAGE sql AS 'SELECT a * 2'")
    connection.execute("CREATE FUNCTION twice(a text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN a || a; END $$")
    assert connection.execute("SELECT twice(4), twice('x'::text)").fetchone() == (8, "xx")
    assert connection.execute("SELECT twice(phone::text) FROM people").fetchone() == (MASKED * 2,)
    connection.execute("CREATE OR REPLACE FUNCTION twice(a int) RETURNS int LANGUAGE sql AS 'SELECT a * 3'")
    assert connection.execute("SELECT twice(4)").fetchone() == (12,)
    connection.execute("DROP FUNCTION twice(int), twice(text)")


def test_functions_of_the_open_transaction(connection: Connection) -> None:
    connection.execute("BEGIN")
    connection.execute("CREATE FUNCTION soon() RETURNS int LANGUAGE sql AS 'SELECT 7'")
    assert connection.execute("SELECT soon(), public.soon()").fetchone() == (7, 7)
    connection.execute("SAVEPOINT s")
    connection.execute("CREATE OR REPLACE FUNCTION soon() RETURNS int LANGUAGE sql AS 'SELECT 8'")
    assert connection.execute("SELECT soon()").fetchone() == (8,)
    with pytest.raises(Refused):
        connection.execute("CREATE OR REPLACE FUNCTION soon() RETURNS int LANGUAGE sql AS 'SELECT id FROM notes'")
    connection.execute("ROLLBACK TO s")
    assert connection.execute("SELECT soon()").fetchone() == (7,)
    connection.execute("ROLLBACK")
    with pytest.raises(psycopg.errors.UndefinedFunction):
        connection.execute("SELECT soon()")


@pytest.mark.parametrize(
    "text",
    [
        "CREATE FUNCTION public.left(varchar, int) RETURNS text LANGUAGE sql AS 'SELECT $1::text'",
        "CREATE FUNCTION public.left(number, int) RETURNS text LANGUAGE sql AS 'SELECT $1::text'",
        "CREATE DOMAIN public.md5 AS varchar",
        "CREATE TYPE public.md5 AS ENUM ('a')",
        "CREATE TYPE public.other AS RANGE (subtype = text, multirange_type_name = md5)",
        "CREATE OR REPLACE FUNCTION shop.short(x text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT x'",
        "CREATE FUNCTION public.short(x varchar) RETURNS text LANGUAGE sql AS 'SELECT x::text'",
        "DROP FUNCTION shop.short(text)",
        "CREATE FUNCTION shop.shown(text) RETURNS text LANGUAGE sql AS 'SELECT $1'",
        "CREATE FUNCTION peek() RETURNS text LANGUAGE sql AS 'SELECT max(phone::text) FROM shop.people'",
        "CREATE FUNCTION peek() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT phone FROM shop.people); END $$",
        "CREATE FUNCTION peek() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN shop.shown(1); END $$",
        "CREATE FUNCTION keep(x text) RETURNS void LANGUAGE sql AS 'INSERT INTO shop.notes VALUES (9, x)'",
        "CREATE FUNCTION keep(x text) RETURNS text LANGUAGE sql AS $$ SELECT pg_notify('a', x)::text $$",
        "DO $$ BEGIN PERFORM phone FROM shop.people; END $$",
        "DO $$ BEGIN PERFORM shop.shown(1); END $$",
        "DO $$ BEGIN EXECUTE 'SELECT phone FROM shop.' || 'people'; END $$",
        "DO $$ BEGIN INSERT INTO shop.notes SELECT id + 10, phone FROM shop.people; END $$",
        "DO $$ DECLARE p text; BEGIN p := (SELECT max(phone) FROM shop.people); RAISE NOTICE '%', p; END $$",
    ],
)
def test_code_is_no_way_to_the_stored_values(proxy: ProxyProcess, connection: Connection, text: str) -> None:
    before = connection.execute("SELECT shop.shown(1)").fetchone()
    with pytest.raises(Refused, match="pgveil"):
        connection.execute(text)
    assert connection.execute("SELECT shop.shown(1)").fetchone() == before


def test_blocks(connection: Connection) -> None:
    make = "DO $$ BEGIN CREATE TYPE colour AS ENUM ('red'); EXCEPTION WHEN duplicate_object THEN NULL; END $$"
    connection.execute(make)
    connection.execute(make)
    assert connection.execute("SELECT 'red'::colour").fetchone() == ("red",)
    connection.execute("DO $$ BEGIN FOR i IN 50..52 LOOP INSERT INTO shop.notes VALUES (i, 'loop'); END LOOP; END $$")
    assert connection.execute("SELECT count(*) FROM notes WHERE note = 'loop'").fetchone() == (3,)
    connection.execute("DELETE FROM notes WHERE note = 'loop'; DROP TYPE colour")


def test_masked_values_take_no_way_round_through_a_block(connection: Connection) -> None:
    connection.execute("CREATE TEMP TABLE t AS SELECT phone FROM people")
    with pytest.raises(Refused):
        connection.execute(
            "DO $$ DECLARE v text; BEGIN v := (SELECT phone FROM t); INSERT INTO shop.notes VALUES (60, v); END $$"
        )


def test_what_the_server_says_about_open_tables(connection: Connection) -> None:
    (error,) = heard(connection, "INSERT INTO notes VALUES (1, 'b')")
    assert error.detail == "Key (id)=(1) already exists."
    (error,) = heard(connection, "INSERT INTO notes VALUES (2, 'bad')")
    assert error.detail == "Failing row contains (2, bad)."
    (error,) = heard(connection, "SELECT 1; SELECT 'x'::jsonb")
    assert (error.detail, error.context) == ('Token "x" is invalid.', "JSON data, line 1: x")
    connection.execute("CREATE TABLE public.under (id int); CREATE VIEW public.over AS SELECT id FROM under")
    (error,) = heard(connection, "DROP TABLE under")
    assert error.detail == "view over depends on table under"
    (notice,) = heard(connection, "DROP TABLE under CASCADE")
    assert notice.message == "drop cascades to view over"


def test_what_open_code_says(connection: Connection) -> None:
    connection.execute(
        "CREATE FUNCTION say(a text) RETURNS text LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE NOTICE 'said %', a; "
        "IF a = 'x' THEN RAISE EXCEPTION 'no %', a USING detail = 'd', hint = 'h'; END IF; RETURN a; END $$"
    )
    notice, error = heard(connection, "SELECT say('x')")
    assert (notice.message, error.message) == ("said x", "no x")
    assert (error.detail, error.hint) == ("d", "h")
    (notice,) = heard(connection, "SELECT say(phone) FROM people")
    assert notice.message == "message withheld by pgveil"
    (notice,) = heard(connection, "DO $$ BEGIN RAISE NOTICE 'hi %', 1; END $$")
    assert notice.message == "hi 1"
    connection.execute("DROP FUNCTION say(text)")


def test_what_is_said_about_protected_rows_is_withheld(connection: Connection) -> None:
    for text in (
        "DELETE FROM groups WHERE id = 1",  # deletes orders, which calls refer to
        f"INSERT INTO orders VALUES ('{MASKED}', 7)",
        "INSERT INTO people VALUES (1, 'x')",
        "INSERT INTO told VALUES (1, 'a'), (1, 'b')",
        "SELECT phone::int FROM people",
        "INSERT INTO notes SELECT 1, phone FROM people",
    ):
        found = heard(connection, text)
        assert found, text
        assert SECRET not in str(found), text
        assert all(d.detail is None and d.context is None for d in found), text
    (error,) = heard(connection, "DELETE FROM groups WHERE id = 1")
    assert error.sqlstate == "23503"


def test_rows_of_tables_that_the_policy_does_not_reach_have_their_type(connection: Connection) -> None:
    connection.execute("CREATE TABLE plain (a int, b text); INSERT INTO plain VALUES (1, 'x')")
    cursor = connection.execute("SELECT p, (SELECT q FROM plain q).b, p::text FROM plain p")
    assert cursor.fetchone() == ("(1,x)", "x", "(1,x)")
    oid = connection.execute("SELECT 'plain'::regtype::oid").fetchone()
    assert cursor.description is not None
    assert (cursor.description[0].type_code,) == oid
    assert connection.execute("SELECT (unnest(array_agg(p))).b FROM plain p").fetchone() == ("x",)
    cursor = connection.execute("SELECT p FROM people p")
    assert cursor.description is not None
    assert cursor.description[0].type_code == 2249  # record
    connection.execute("DROP TABLE plain; CREATE TABLE nothing (); INSERT INTO nothing DEFAULT VALUES")
    cursor = connection.execute("SELECT * FROM nothing")
    assert (cursor.description, cursor.rowcount) == ([], 1)
    connection.execute("DROP TABLE nothing")


def test_catalogs_that_show_no_rows(connection: Connection) -> None:
    assert connection.execute("SELECT count(*) FROM pg_replication_slots").fetchone() == (0,)
