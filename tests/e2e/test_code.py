"""Code that a masked session may run without anybody's leave, and code that would run without a call in sight.

As in test_names: whatever is in the schema `evil` reads the raw table, and everything is usable by the masked login.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg.pq import ExecStatus

from tests.e2e.test_names import HBA, POLICY, SECRET, SETUP, Connection, connect
from tests.support.postgres import TestServer
from tests.support.proxy import ProxyProcess

MORE = """\
CREATE SCHEMA util;
GRANT USAGE ON SCHEMA util TO PUBLIC;
CREATE TABLE util.rates (ccy text, rate numeric);
INSERT INTO util.rates VALUES ('EUR', 1.5);
GRANT SELECT ON util.rates TO PUBLIC;
CREATE VIEW util.v_rates AS SELECT * FROM util.rates;
CREATE VIEW util.v_people AS SELECT id, phone FROM shop.people;
GRANT SELECT ON util.v_rates, util.v_people TO PUBLIC;

CREATE FUNCTION util.fmt(x numeric) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT to_char(x, 'FM990.00') $$;
CREATE FUNCTION util.atomic(x int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT x + 1; SELECT x + 2; END;
CREATE FUNCTION util.returns(x int) RETURNS int LANGUAGE sql RETURN util.atomic(x) + 10;
CREATE FUNCTION util.rate(c text) RETURNS numeric LANGUAGE sql STABLE AS $$ SELECT rate FROM util.v_rates WHERE ccy = c $$;
CREATE FUNCTION util.rate_atomic(c text) RETURNS numeric LANGUAGE sql STABLE
  BEGIN ATOMIC SELECT rate FROM util.rates WHERE ccy = c; END;
CREATE FUNCTION util.rate_path(c text) RETURNS numeric LANGUAGE sql STABLE SET search_path = util
  AS $$ SELECT max(rate) FROM rates WHERE ccy = c $$;
CREATE FUNCTION util.nested(c text) RETURNS text LANGUAGE sql STABLE AS $$ SELECT util.fmt(util.rate(c)) $$;
CREATE FUNCTION util.first_of(a text, b text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT coalesce(a, b) $$;
CREATE AGGREGATE util.first(text) (SFUNC = util.first_of, STYPE = text);
CREATE FUNCTION util.over(a int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a';
CREATE FUNCTION util.over(a int, b int) RETURNS text LANGUAGE sql AS $$ SELECT evil.secret() $$;

CREATE FUNCTION util.reads(i int) RETURNS text LANGUAGE sql STABLE AS $$ SELECT phone::text FROM shop.people WHERE id = i $$;
CREATE FUNCTION util.reads_atomic(i int) RETURNS text LANGUAGE sql STABLE
  BEGIN ATOMIC SELECT phone::text FROM shop.people WHERE id = i; END;
CREATE FUNCTION util.reads_view(i int) RETURNS text LANGUAGE sql AS $$ SELECT phone::text FROM util.v_people WHERE id = i $$;
CREATE FUNCTION util.reads_path(i int) RETURNS text LANGUAGE sql SET search_path = shop
  AS $$ SELECT phone::text FROM people WHERE id = i $$;
SET check_function_bodies = off;
CREATE FUNCTION util.reads_unqualified(i int) RETURNS text LANGUAGE sql AS $$ SELECT phone::text FROM people WHERE id = i $$;
CREATE FUNCTION util.reads_later() RETURNS text LANGUAGE sql AS $$ SELECT util.reads(1) $$;
CREATE FUNCTION util.reads_shadowed(t text) RETURNS text LANGUAGE sql AS $$ SELECT lower(t) $$;
CREATE FUNCTION util.reads_operator(t text) RETURNS bool LANGUAGE sql AS $$ SELECT t LIKE '138%' $$;
CREATE FUNCTION util.reads_definer() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ SELECT 'x' $$;
CREATE FUNCTION util.reads_dynamic(q text) RETURNS xml LANGUAGE sql AS $$ SELECT query_to_xml(q, true, true, '') $$;
CREATE FUNCTION util.reads_language() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN 'x'; END $$;
CREATE FUNCTION util.writes(t text) RETURNS void LANGUAGE sql AS $$ INSERT INTO shop.notes VALUES (9, t) $$;
CREATE FUNCTION util.sets() RETURNS text LANGUAGE sql AS $$ SELECT set_config('search_path', 'evil', false) $$;
CREATE FUNCTION util.row_of(p shop.people) RETURNS text LANGUAGE sql AS $$ SELECT p.phone::text $$;
CREATE FUNCTION util.step(a text, b int) RETURNS text LANGUAGE sql AS $$ SELECT util.reads(b) $$;
CREATE AGGREGATE util.phones(int) (SFUNC = util.step, STYPE = text);

CREATE TYPE evil.s AS (id int, v text);
CREATE TYPE evil.a AS (id int, v text);
CREATE TYPE evil.e AS (id int, v text);
CREATE FUNCTION evil.to_s(int) RETURNS evil.s LANGUAGE sql AS $$ SELECT ROW($1, evil.secret())::evil.s $$;
CREATE FUNCTION evil.to_a(int) RETURNS evil.a LANGUAGE sql AS $$ SELECT ROW($1, evil.secret())::evil.a $$;
CREATE FUNCTION evil.e_text(evil.e) RETURNS text LANGUAGE sql AS $$ SELECT evil.secret() $$;
CREATE CAST (int AS evil.s) WITH FUNCTION evil.to_s(int) AS IMPLICIT;
CREATE CAST (int AS evil.a) WITH FUNCTION evil.to_a(int) AS ASSIGNMENT;
CREATE CAST (evil.e AS text) WITH FUNCTION evil.e_text(evil.e) AS IMPLICIT;
CREATE FUNCTION util.show(x evil.s) RETURNS text LANGUAGE sql AS $$ SELECT x.v $$;
CREATE TABLE shop.assigned (a evil.a, b text);
CREATE TABLE shop.implicit (e evil.e, b text);
INSERT INTO shop.implicit VALUES (ROW(1, 'x'), 'y');
CREATE FUNCTION evil.ok(text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '%', evil.secret(); END $$;
CREATE DOMAIN shop.code AS text CHECK (evil.ok(VALUE));
CREATE TABLE shop.coded (c shop.code, d int);
CREATE FUNCTION shop.copies() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
  AS $$ BEGIN SELECT phone INTO NEW.note FROM shop.people WHERE id = NEW.id; RETURN NEW; END $$;
CREATE FUNCTION shop.stamps() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := upper(NEW.note); RETURN NEW; END $$;
CREATE FUNCTION shop.number() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 4711; END $$;
CREATE FUNCTION shop.reader() RETURNS text LANGUAGE plpgsql
  AS $$ BEGIN RETURN (SELECT phone FROM shop.people WHERE id = 1); END $$;
CREATE TABLE shop.copied (id int, note text);
CREATE TRIGGER t BEFORE INSERT ON shop.copied FOR EACH ROW EXECUTE FUNCTION shop.copies();
CREATE TABLE shop.stamped (id int DEFAULT shop.number(), note text);
CREATE TRIGGER t BEFORE INSERT ON shop.stamped FOR EACH ROW EXECUTE FUNCTION shop.stamps();
CREATE TABLE shop.defaulted (id int, note text DEFAULT shop.reader());
CREATE TABLE shop.checked (id int, note text CHECK (note <> shop.reader()));
CREATE TABLE shop.parted (id int, note text) PARTITION BY LIST (id);
CREATE TABLE shop.part PARTITION OF shop.parted FOR VALUES IN (1);
CREATE TRIGGER t BEFORE INSERT ON shop.part FOR EACH ROW EXECUTE FUNCTION shop.copies();
CREATE VIEW shop.v_copied AS SELECT * FROM shop.copied;
GRANT SELECT, INSERT, UPDATE ON shop.copied, shop.stamped, shop.defaulted, shop.checked, shop.parted, shop.v_copied TO PUBLIC;
GRANT SELECT, INSERT, UPDATE ON shop.assigned, shop.implicit, shop.coded TO PUBLIC;
"""


@pytest.fixture(scope="module")
def server() -> Iterator[TestServer]:
    with TestServer(hba=HBA) as server:
        assert isinstance(server, TestServer)
        server.execute_sql("postgres", SETUP + MORE)
        yield server


@pytest.fixture(scope="module")
def proxy(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    with ProxyProcess(tmp_path_factory.mktemp("code") / "home", server, policy=POLICY) as proxy:
        yield proxy


@pytest.fixture
def connection(proxy: ProxyProcess) -> Iterator[Connection]:
    with connect(proxy) as connection:
        yield connection


@pytest.mark.parametrize(
    ("sql", "answer"),
    [
        ("SELECT util.fmt(2)", "2.00"),
        ("SELECT util.atomic(1)", 3),
        ("SELECT util.returns(1)", 13),
        ("SELECT util.rate('EUR')::text", "1.5"),
        ("SELECT util.rate_atomic('EUR')::text", "1.5"),
        ("SELECT util.rate_path('EUR')::text", "1.5"),
        ("SELECT util.nested('EUR')", "1.50"),
        ("SELECT util.first(name ORDER BY id) FROM shop.people", "Zhang"),
        ("SELECT util.first_of(phone, '') FROM shop.people WHERE id = 1", "138****5678"),
        ("SELECT util.over(3)", 3),
        ("SELECT b FROM shop.implicit", "y"),
        ("SELECT b FROM shop.assigned UNION SELECT 'z'", "z"),
        ("SELECT 17::text", "17"),
        ("SELECT d FROM shop.coded UNION SELECT 1", 1),
    ],
)
def test_what_can_be_seen_through_runs(connection: Connection, sql: str, answer: object) -> None:
    assert connection.execute(sql).fetchone() == (answer,)
    connection.execute("SET search_path = evil, pg_catalog")
    assert connection.execute(sql, prepare=True).fetchone() == (answer,)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT util.reads(1)",
        "SELECT util.reads_atomic(1)",
        "SELECT util.reads_view(1)",
        "SELECT util.reads_path(1)",
        "SELECT util.reads_unqualified(1)",
        "SELECT util.reads_later()",
        "SELECT util.reads_shadowed('ABC')",
        "SELECT util.reads_operator('ABC')",
        "SELECT util.reads_definer()",
        "SELECT util.reads_dynamic('SELECT phone FROM shop.people')",
        "SELECT util.reads_language()",
        "SELECT util.writes('x')",
        "SELECT util.sets()",
        "SELECT util.row_of(p) FROM shop.people p",
        "SELECT util.phones(id) FROM shop.people",
        "SELECT util.over(1, 2)",
        "SELECT util.over(a => 1, b => 2)",
        "SELECT util.over(VARIADIC ARRAY[1])",
    ],
)
def test_what_cannot_does_not(connection: Connection, sql: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT util.show(17)",
        "SELECT util.show(id) FROM shop.people",
        "INSERT INTO shop.assigned (a) VALUES (17)",
        "INSERT INTO shop.assigned (a) SELECT id FROM shop.people RETURNING a",
        "UPDATE shop.assigned SET a = 17",
        "CREATE TEMP TABLE t (a evil.a DEFAULT 17)",
        "PREPARE p(evil.a) AS SELECT ($1).v",
        "SELECT (17::evil.a).v",
        "SELECT CAST(17 AS evil.s)",
        "SELECT length(e) FROM shop.implicit",
        "SELECT e::text FROM shop.implicit",
        "INSERT INTO shop.notes (note) SELECT e FROM shop.implicit",
        "INSERT INTO shop.coded VALUES ('x', 1)",
        "SELECT 'x'::shop.code",
    ],
)
def test_casts_and_checks_that_would_run(connection: Connection, sql: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO shop.copied VALUES (1) RETURNING note",
        "INSERT INTO shop.v_copied VALUES (1)",
        "COPY shop.copied FROM STDIN",
        "INSERT INTO shop.defaulted (id) VALUES (1) RETURNING note",
        "INSERT INTO shop.checked VALUES (1, 'x')",
        "INSERT INTO shop.parted VALUES (1) RETURNING note",
    ],
)
def test_what_a_write_would_set_off(connection: Connection, sql: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="runs function shop"):
        connection.execute(sql)


def test_what_a_write_may_set_off(connection: Connection) -> None:
    assert connection.execute("INSERT INTO shop.stamped (note) VALUES ('x') RETURNING *").fetchone() == (4711, "X")


def test_a_parameter_of_a_type_that_converts_by_itself(connection: Connection, server: TestServer) -> None:
    oid = int(server.execute_sql("postgres", "SELECT 'evil.e'::regtype::oid"))
    result = connection.pgconn.exec_params(b"SELECT lower($1)", [b"(1,x)"], [oid])
    assert result.status == ExecStatus.FATAL_ERROR
    assert SECRET.encode() not in result.error_message
    assert b"evil.e" in result.error_message
    assert connection.pgconn.exec_params(b"SELECT lower($1)", [b"X"], [25]).get_value(0, 0) == b"x"
