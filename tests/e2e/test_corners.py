"""Corners in which a proxy is apt to differ from PostgreSQL, in sessions that see everything and in masked ones."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import pq

from tests.support.postgres import TestServer
from tests.support.proxy import CONTROL, ProxyProcess

LONG = "u" * 63
SETUP = f"""\
CREATE ROLE {CONTROL} LOGIN PASSWORD 'control';
CREATE ROLE pgveil_test_staff;
CREATE ROLE staff SUPERUSER LOGIN PASSWORD 'secret' IN ROLE pgveil_test_staff;
CREATE ROLE {LONG} LOGIN PASSWORD 'secret';
CREATE SCHEMA shop;
CREATE TABLE shop.people (id int PRIMARY KEY, name text, phone char(11));
INSERT INTO shop.people VALUES (1, 'Ann', '13812345678');
CREATE TABLE shop.sizes (id int);
INSERT INTO shop.sizes VALUES (1);
"""
HUGE = 20_000_000
"""Characters: more than is held of any message."""

Session = psycopg.Connection[tuple[object, ...]]


@pytest.fixture(scope="module")
def server() -> Iterator[TestServer]:
    with TestServer() as running:
        assert isinstance(running, TestServer)
        running.execute_sql("postgres", SETUP)
        yield running


@pytest.fixture(scope="module")
def proxy(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    with ProxyProcess(tmp_path_factory.mktemp("corners") / "home", server) as running:
        yield running


def connect(proxy: ProxyProcess, user: str) -> Session:
    return psycopg.connect(
        f"host=127.0.0.1 port={proxy.port} user={user} password=secret dbname=postgres", connect_timeout=20, autocommit=True
    )


@pytest.fixture
def masked(proxy: ProxyProcess) -> Iterator[Session]:
    with connect(proxy, "postgres") as session:
        yield session


@pytest.fixture(params=["postgres", "staff"])
def either(proxy: ProxyProcess, request: pytest.FixtureRequest) -> Iterator[Session]:
    with connect(proxy, request.param) as session:
        yield session


def results(session: Session, text: str) -> list[str]:
    """What libpq gets for a query string: the command tag, or the SQLSTATE of an error."""
    found = []
    session.pgconn.send_query(text.encode())
    while (result := session.pgconn.get_result()) is not None:
        if result.status == pq.ExecStatus.FATAL_ERROR:
            found.append((result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode())
        else:
            found.append((result.command_status or b"").decode())
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT 1; SELECT * FROM nonexistent; SELECT 2", ["SELECT 1", "42P01"]),
        ("SELECT 1; SELECT nonexistent(1); SELECT 2", ["SELECT 1", "42883"]),
        ("SELECT 1; SELECT * FROM nonexistent.t", ["SELECT 1", "42P01"]),
        ("SELECT 1; SELEKT 2", ["42601"]),
        ("SELECT 1; SELECT 'a'::int; SELECT nonexistent(1)", ["SELECT 1", "22P02"]),
        ("CREATE TABLE IF NOT EXISTS shop.maybe (a int); INSERT INTO shop.maybe VALUES (1); DROP TABLE shop.maybe",
         ["CREATE TABLE", "INSERT 0 1", "DROP TABLE"]),
    ],
)  # fmt: skip
def test_a_query_string_runs_up_to_its_error(either: Session, text: str, expected: list[str]) -> None:
    assert results(either, text) == expected
    assert results(either, "SELECT 1") == ["SELECT 1"]


def test_what_runs_before_a_refusal_is_masked_and_rolled_back(masked: Session) -> None:
    text = "CREATE TABLE shop.gone (a int); SELECT phone FROM shop.people; CREATE ROLE shop_boss; SELECT 1"
    masked.pgconn.send_query(text.encode())
    found = []
    while (result := masked.pgconn.get_result()) is not None:
        found.append(result.get_value(0, 0) if result.ntuples else result.error_field(pq.DiagnosticField.SQLSTATE))
    assert found == [None, b"138****5678", b"42501"]
    with pytest.raises(psycopg.errors.UndefinedTable):
        masked.execute("SELECT * FROM shop.gone")


def test_a_refusal_behind_a_failed_transaction_is_not_reached(masked: Session) -> None:
    assert results(masked, "BEGIN; SELECT 1/0") == ["BEGIN", "22012"]
    assert results(masked, "SELECT 1; CREATE ROLE shop_boss") == ["25P02"]
    assert results(masked, "ROLLBACK; SELECT 1; CREATE ROLE shop_boss") == ["ROLLBACK", "SELECT 1", "42501"]


def test_the_sessions_own_temporary_schema_goes_by_its_number(masked: Session) -> None:
    masked.execute("CREATE TEMP TABLE box (a text)")
    row = masked.execute("SELECT nspname FROM pg_namespace WHERE oid = pg_my_temp_schema()").fetchone()
    assert row is not None
    own = row[0]
    masked.execute(f"INSERT INTO {own}.box SELECT phone FROM shop.people")
    assert masked.execute(f"SELECT * FROM {own}.box").fetchall() == [("138****5678",)]
    masked.execute("CREATE TEMP VIEW peephole AS SELECT phone FROM shop.people")
    assert masked.execute(f"SELECT * FROM {own}.peephole").fetchall() == [("138****5678",)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        masked.execute(f"CREATE TABLE shop.stolen AS SELECT * FROM {own}.box")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        masked.execute("SELECT * FROM pg_temp_77.box")
    masked.execute(f"DROP TABLE {own}.box")


def test_a_temporary_table_does_not_make_new_objects_temporary(masked: Session) -> None:
    masked.execute("CREATE TEMP TABLE box (a int)")
    masked.execute("CREATE FUNCTION shop_two() RETURNS int LANGUAGE sql AS 'SELECT 2'")
    assert masked.execute("SELECT public.shop_two()").fetchall() == [(2,)]
    masked.execute("DROP FUNCTION public.shop_two()")
    masked.execute("SET search_path = pg_temp, public")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        masked.execute("CREATE FUNCTION shop_two() RETURNS int LANGUAGE sql AS 'SELECT 2'")
    masked.execute("CREATE TABLE own_box (a int)")
    assert masked.execute("SELECT * FROM pg_temp.own_box").fetchall() == []


def test_a_materialized_view_is_read_in_the_transaction_that_makes_it(masked: Session) -> None:
    with masked.transaction(force_rollback=True):
        masked.execute("CREATE MATERIALIZED VIEW shop.numbers AS SELECT id, 2 AS two FROM shop.sizes")
        assert masked.execute("SELECT * FROM shop.numbers").fetchall() == [(1, 2)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege), masked.transaction():
        masked.execute("CREATE MATERIALIZED VIEW shop.numbers AS SELECT phone FROM shop.people")


@pytest.mark.parametrize("user", ["postgres", "staff"])
def test_messages_of_any_length(proxy: ProxyProcess, user: str) -> None:
    with connect(proxy, user) as session:
        texts: list[tuple[str | None, str]] = []
        session.add_notice_handler(lambda n: texts.append((n.severity, n.message_primary or "")))
        session.execute(f"DO $$ BEGIN RAISE NOTICE '%', repeat('x', {HUGE}); END $$")
        with pytest.raises(psycopg.errors.RaiseException) as failed:
            session.execute(f"DO $$ BEGIN RAISE EXCEPTION '%', repeat('x', {HUGE}); END $$")
        texts.append((failed.value.diag.severity, failed.value.diag.message_primary or ""))
        assert [severity for severity, _ in texts] == ["NOTICE", "ERROR"]
        for _, text in texts:
            assert text == "x" * HUGE if user == "staff" else "withheld" in text
        assert session.execute("SELECT 1").fetchall() == [(1,)]


def test_a_long_user_name_is_cut_as_the_server_cuts_it(proxy: ProxyProcess) -> None:
    with connect(proxy, LONG + "vwxyz") as session:
        assert session.execute("SELECT session_user::text").fetchall() == [(LONG,)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute("SELECT * FROM shop.people")


@pytest.mark.parametrize(
    ("definition", "use", "expected"),
    [
        ("CREATE TYPE span AS RANGE (subtype = float8)", "SELECT span(1, 2) = public.span(1, 2, '[)')", True),
        ("CREATE DOMAIN small AS int CHECK (VALUE < 10)", "SELECT small(3) + 1", 4),
        ("CREATE TYPE mood AS ENUM ('low', 'high')", "SELECT mood('low') < 'high'", True),
        ("CREATE TYPE pair AS (a int, b int)", "SELECT (ROW(1, 2)::pair).b", 2),
    ],
)
def test_a_type_is_used_in_the_transaction_that_makes_it(masked: Session, definition: str, use: str, expected: object) -> None:
    with masked.transaction(force_rollback=True):
        masked.execute("SELECT 1 FROM shop.sizes")
        masked.execute(definition)
        assert masked.execute(use.encode()).fetchall() == [(expected,)]
        with pytest.raises(psycopg.errors.UndefinedFunction), masked.transaction():
            masked.execute("SELECT nothing_of_the_kind(1)")
    with pytest.raises((psycopg.errors.UndefinedFunction, psycopg.errors.UndefinedObject)):
        masked.execute(use.encode())


def test_settings_by_parameter(masked: Session) -> None:
    query = "SELECT set_config(%s, %s, false)"
    assert masked.execute(query, ["work_mem", "8MB"]).fetchall() == [("8MB",)]
    assert masked.execute(query, ["shop.branch", "north"]).fetchall() == [("north",)]
    assert masked.execute("SELECT current_setting('work_mem'), current_setting('shop.branch')").fetchall() == [("8MB", "north")]
    masked.execute(query, ["search_path", "shop"])
    assert masked.execute("SELECT phone FROM people").fetchall() == [("138****5678",)]


@pytest.mark.parametrize(
    "call",
    [
        "set_config(%s, 'off', false)",
        "pg_catalog.set_config(%s || '', 'off', true)",
        "set_config((SELECT max(n) FROM (VALUES (%s), ('')) v (n)), 'off', false)",
        "set_config(setting_name => %s, new_value => 'off', is_local => false)",
        "set_config(new_value => 'off', setting_name => %s, is_local => false)",
    ],
)
def test_settings_that_decide_how_texts_are_read_stay(masked: Session, call: str) -> None:
    for name in ("standard_conforming_strings", "STANDARD_Conforming_Strings"):
        with pytest.raises((psycopg.errors.NullValueNotAllowed, psycopg.errors.InsufficientPrivilege)):
            masked.execute(f"SELECT {call}", [name])
    assert masked.execute("SHOW standard_conforming_strings").fetchall() == [("on",)]


def test_explain_of_select_into(masked: Session) -> None:
    masked.execute("EXPLAIN (COSTS OFF) SELECT id INTO shop.copied FROM shop.sizes")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        masked.execute("EXPLAIN (ANALYZE) SELECT phone INTO shop.copied FROM shop.people")


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1 FETCH FIRST 2 ROWS WITH TIES",
        "SELECT 1 FROM pg_class ORDER BY oid FETCH FIRST 1 ROW WITH TIES FOR UPDATE SKIP LOCKED",
        "CREATE TABLE shop.parts (a int) PARTITION BY magic (a)",
        "CREATE SCHEMA IF NOT EXISTS shop CREATE TABLE abc (a int)",
        "SELECT 1 FROM pg_class TABLESAMPLE nonexistent (1)",
        "SELECT '日', nothing FROM shop.people WHERE",
    ],
)
def test_errors_of_the_grammar_are_the_servers_own(server: TestServer, masked: Session, text: str) -> None:
    said = []
    with psycopg.connect(server.dsn("postgres", "postgres"), autocommit=True) as direct:
        for session in (direct, masked):
            with pytest.raises(psycopg.Error) as failed:
                session.execute(text.encode())
            diag = failed.value.diag
            said.append((diag.sqlstate, diag.message_primary, diag.statement_position))
    assert said[0] == said[1]


def test_junk_behind_a_number(server: TestServer, masked: Session) -> None:
    if server.version == 15:
        with pytest.raises(psycopg.errors.SyntaxError, match="trailing junk after numeric literal") as failed:
            masked.execute("SELECT 'x', 1_2_3")
        assert failed.value.diag.statement_position == "13"
