"""Views and temporary relations of masked sessions, end to end: they are read masked, and nothing masked becomes real."""

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
rules:
  - { name: support sees phones, user: support, columns: [class=phone], show: clear }
"""
SECRET = "13812345678"
MASKED = "138****5678"
SETUP = f"""\
CREATE ROLE {CONTROL} LOGIN PASSWORD 'control';
CREATE ROLE analyst LOGIN;
CREATE ROLE colleague LOGIN;
CREATE ROLE support LOGIN;
CREATE SCHEMA shop;
CREATE SCHEMA work;
CREATE TABLE shop.people (id int PRIMARY KEY, name text, phone char(11));
INSERT INTO shop.people VALUES (1, 'Zhang', '{SECRET}'), (2, 'Ann', '13987654321');
CREATE VIEW shop.list AS SELECT id, phone FROM shop.people WHERE id < 3;
CREATE TABLE work.notes (id int, note text);
GRANT USAGE ON SCHEMA shop TO PUBLIC;
GRANT USAGE, CREATE ON SCHEMA work TO PUBLIC;
GRANT SELECT ON shop.people TO analyst, support;
GRANT SELECT ON shop.list TO PUBLIC;
GRANT SELECT, INSERT, UPDATE ON work.notes TO PUBLIC;
CREATE TABLE work.rates (rate text);
INSERT INTO work.rates VALUES ('1.5');
GRANT SELECT ON work.rates TO PUBLIC;
ALTER ROLE analyst SET search_path = work, public;
SET search_path = work;
CREATE FUNCTION work.rate() RETURNS text LANGUAGE sql STABLE AS 'SELECT max(rate::text) FROM rates';
CREATE FUNCTION work.rate_path() RETURNS text LANGUAGE sql STABLE SET search_path = work AS 'SELECT max(rate::text) FROM rates';
RESET search_path;
CREATE FUNCTION work.fill() RETURNS trigger LANGUAGE plpgsql
  AS $$ BEGIN NEW.note := (SELECT max(rate) FROM rates); RETURN NEW; END $$;
CREATE TABLE work.rated (id int, note text);
CREATE TRIGGER t BEFORE INSERT ON work.rated FOR EACH ROW EXECUTE FUNCTION work.fill();
GRANT SELECT, INSERT ON work.rated TO PUBLIC;
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
    with ProxyProcess(tmp_path_factory.mktemp("temporary") / "home", server, policy=POLICY) as proxy:
        yield proxy


def connect(proxy: ProxyProcess, user: str = "analyst", **more: object) -> Connection:
    return psycopg.connect(
        host="127.0.0.1", port=proxy.port, user=user, dbname="postgres", autocommit=True, connect_timeout=20, **more
    )  # type: ignore[call-overload,no-any-return]


@pytest.fixture
def connection(proxy: ProxyProcess) -> Iterator[Connection]:
    with connect(proxy) as connection:
        yield connection


def strings(connection: Connection, text: str) -> list[list[tuple[bytes | None, ...]]]:
    """The rows of every result of one query string."""
    pg = connection.pgconn
    pg.send_query(text.encode())
    out = []
    while (result := pg.get_result()) is not None:
        if result.status == psycopg.pq.ExecStatus.FATAL_ERROR:
            raise AssertionError(result.error_message)
        if result.nfields:
            out.append([tuple(result.get_value(r, c) for c in range(result.nfields)) for r in range(result.ntuples)])
    return out


def test_a_view_needs_no_right_on_the_table(proxy: ProxyProcess) -> None:
    with connect(proxy, "colleague") as colleague:
        assert colleague.execute("SELECT phone FROM shop.list ORDER BY id").fetchall() == [(MASKED,), ("139****4321",)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            colleague.execute("SELECT phone FROM shop.people")


def test_a_permanent_view_holds_what_its_maker_sees(proxy: ProxyProcess, connection: Connection) -> None:
    connection.execute("CREATE VIEW work.mine AS SELECT id AS n, upper(name) AS x FROM shop.people WHERE id = 1")
    assert connection.execute("SELECT x FROM work.mine").fetchall() == [("ZHANG",)]
    connection.execute("GRANT SELECT ON work.mine TO support")
    with connect(proxy, "support") as support:
        assert support.execute("SELECT x FROM work.mine").fetchall() == [("ZHANG",)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="masked columns"):
        connection.execute("CREATE OR REPLACE VIEW work.mine AS SELECT id AS n, phone::text AS x FROM shop.people WHERE id = 1")
    connection.execute("DROP VIEW work.mine")


def test_a_view_made_by_one_who_sees_more(proxy: ProxyProcess, connection: Connection) -> None:
    with connect(proxy, "support") as support:
        support.execute("CREATE VIEW work.theirs AS SELECT id AS n, phone AS x FROM shop.people WHERE id = 1")
        support.execute("GRANT SELECT ON work.theirs TO PUBLIC")
        assert support.execute("SELECT x FROM work.theirs").fetchall() == [(SECRET,)]
        with connect(proxy, "colleague") as colleague:
            assert colleague.execute("SELECT x FROM work.theirs").fetchall() == [(MASKED,)]
            support.execute("CREATE OR REPLACE VIEW work.theirs AS SELECT id AS n, lower(phone)::char(11) AS x FROM shop.people")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):  # it is opened now
                colleague.execute("SELECT x FROM work.theirs")
        assert connection.execute("SELECT x FROM work.theirs WHERE n = 1").fetchall() == [(MASKED,)]
        support.execute("DROP VIEW work.theirs")


def test_temporary_views(connection: Connection) -> None:
    connection.execute("CREATE TEMP VIEW tv AS SELECT id, phone AS x FROM shop.people")
    assert connection.execute("SELECT x FROM tv WHERE id = 1").fetchall() == [(MASKED,)]
    assert connection.execute("SELECT x FROM pg_temp.tv WHERE x = %s", (MASKED,)).fetchall() == [(MASKED,)]
    connection.execute("CREATE TEMP VIEW tw AS SELECT x || '!' AS y FROM tv WHERE id = 1")
    assert connection.execute("SELECT y FROM tw", prepare=True).fetchall() == [(MASKED + "!",)]
    connection.execute("CREATE OR REPLACE TEMP VIEW tw AS SELECT x || '?' AS y FROM tv WHERE id = 1")
    assert connection.execute("SELECT y FROM tw", prepare=True).fetchall() == [(MASKED + "?",)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("INSERT INTO work.notes (note) SELECT y FROM tw")
    connection.execute("DROP VIEW tw; DROP VIEW tv")


def test_made_and_read_in_one_string(connection: Connection) -> None:
    read = "SELECT * FROM t ORDER BY 1"
    make = "CREATE TEMP TABLE t AS SELECT id, phone FROM shop.people WHERE id = 1"
    row = [(b"1", MASKED.encode())]
    assert strings(connection, f"{make}; {read}; {read}") == [row, row]
    assert strings(connection, f"DROP TABLE IF EXISTS t; {make}; {read}") == [row]
    assert strings(connection, f"DROP TABLE t; BEGIN; {make}; COMMIT; {read}") == [row]
    joined = "SELECT t.phone, p.name FROM t JOIN shop.people p USING (id)"
    assert strings(connection, f"DROP TABLE t; {make}; {joined}") == [[(MASKED.encode(), b"Zhang")]]
    assert strings(
        connection, "SELECT phone AS a INTO TEMP u FROM shop.people; PREPARE p AS SELECT min(a), count(*) FROM u; EXECUTE p"
    ) == [[(MASKED.encode(), b"2")]]
    assert strings(
        connection, "CREATE TEMP TABLE v (a int); CREATE TEMP TABLE w (b int); SELECT a, b FROM v, w; SELECT a FROM v"
    ) == [[], []]


def test_masked_values_stay_in_temporary_tables(connection: Connection) -> None:
    def refused(text: str) -> None:
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="masked"):
            connection.execute(text)

    connection.execute("CREATE TEMP TABLE t (a text)")
    connection.execute("CREATE TEMP TABLE clean (a text)")
    connection.execute("PREPARE copy AS INSERT INTO work.notes (note) SELECT a FROM t")
    with connection.cursor().copy("COPY clean FROM STDIN") as copy:
        copy.write_row(("mine",))
    connection.execute("INSERT INTO t SELECT a FROM clean")
    connection.execute("INSERT INTO work.notes (note) SELECT a FROM t")
    connection.execute("EXECUTE copy")
    connection.execute("INSERT INTO t SELECT phone FROM shop.people")
    refused("INSERT INTO work.notes (note) SELECT a FROM t")
    refused("EXECUTE copy")
    refused("CREATE TABLE work.notes_2 AS TABLE t")
    connection.execute("ALTER TABLE t RENAME TO u")
    refused("INSERT INTO work.notes (note) SELECT a FROM u")
    connection.execute("BEGIN; SAVEPOINT s; DROP TABLE u; ROLLBACK TO s; COMMIT")
    refused("INSERT INTO work.notes (note) SELECT a FROM u")
    connection.execute("CREATE TEMP TABLE second AS SELECT upper(a) AS a FROM u")
    refused("INSERT INTO work.notes (note) SELECT a FROM second")
    connection.execute("INSERT INTO work.notes (note) SELECT a FROM clean")
    connection.execute("DROP TABLE second; CREATE TEMP TABLE second AS SELECT 'new' AS a")
    connection.execute("INSERT INTO work.notes (note) SELECT a FROM second")
    connection.execute("CREATE TEMP TABLE parent (a text) PARTITION BY LIST (a)")
    connection.execute("CREATE TEMP TABLE part PARTITION OF parent DEFAULT")
    connection.execute("INSERT INTO parent SELECT phone FROM shop.people")
    refused("INSERT INTO work.notes (note) SELECT a FROM part")
    found = connection.execute("SELECT note FROM work.notes WHERE note LIKE '1%'").fetchall()
    assert found == []


def test_bound_before_the_table_was_tainted(connection: Connection) -> None:
    connection.execute("CREATE TEMP TABLE b (a text)")
    with connection.pipeline() as pipeline:
        connection.execute("SELECT a FROM b")
        connection.execute("INSERT INTO b SELECT phone FROM shop.people")
        connection.execute("INSERT INTO work.notes (note) SELECT a FROM b")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            pipeline.sync()


def test_code_reads_no_temporary_view_over_masked_columns(server: TestServer, connection: Connection) -> None:
    """The unqualified names in a body mean temporary relations first, and a temporary view is stored as it was written."""
    over = "AS SELECT phone AS rate FROM shop.people"
    connection.execute(f"CREATE TEMP VIEW mine {over}")
    for text in (
        f"CREATE TEMP VIEW rates {over}",
        f'CREATE OR REPLACE TEMP VIEW "RATES" {over}',
        "ALTER VIEW mine RENAME TO rates",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="may read it"):
            connection.execute(text)
    connection.execute("CREATE TEMP VIEW rates AS SELECT name AS rate FROM shop.people")  # nothing masked
    assert connection.execute("SELECT work.rate(), work.rate_path()").fetchall() == [("Zhang", "Zhang")]
    connection.execute("DROP VIEW rates")
    connection.execute("BEGIN")
    connection.execute("DECLARE c CURSOR FOR SELECT work.rate() FROM generate_series(1, 3)")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(f"CREATE TEMP VIEW rates {over}")
    connection.execute("ROLLBACK")
    assert connection.execute("INSERT INTO work.rated (id) VALUES (1) RETURNING note").fetchall() == [("1.5",)]


def test_a_function_made_after_the_view(proxy: ProxyProcess, connection: Connection) -> None:
    connection.execute("CREATE TEMP VIEW later AS SELECT phone AS rate FROM shop.people")
    assert connection.execute("SELECT max(rate) FROM later").fetchall() == [("139****4321",)]
    body = "'SELECT max(rate::text) FROM later'"
    with connect(proxy, "support") as support:
        support.execute("SET check_function_bodies = off")
        support.execute(f"CREATE FUNCTION work.late() RETURNS text LANGUAGE sql AS {body}")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="leads to masked columns"):
            connection.execute("SELECT rate FROM later")
        connection.execute("DROP VIEW later")
        support.execute("DROP FUNCTION work.late()")
