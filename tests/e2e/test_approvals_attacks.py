"""Attempts to see, approve or stop more than the policy lets people, by what an insider with SQL at hand may try."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import psycopg
import pytest

from tests.e2e.test_approvals import HBA as HBA
from tests.e2e.test_approvals import POLICY, SETUP, Session, _install, ask, connect, left
from tests.support.postgres import TestServer
from tests.support.proxy import ProxyProcess, until

MORE = """\
CREATE ROLE dba LOGIN SUPERUSER;
CREATE ROLE cora LOGIN IN ROLE manager; INSERT INTO bank.staff VALUES ('cora', 'N'), ('t1', 'N');
CREATE TABLE bank.open (id int PRIMARY KEY, phone text); INSERT INTO bank.open VALUES (1, '13000000001');
CREATE TABLE bank.vip (id int PRIMARY KEY, phone text); INSERT INTO bank.vip VALUES (1, '13300001111');
CREATE FUNCTION bank.looks(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
CREATE DOMAIN bank.looked AS text CHECK (bank.looks(VALUE));
GRANT SELECT ON ALL TABLES IN SCHEMA bank TO PUBLIC;
INSERT INTO bank.customers SELECT n, 'x', 'x', 1, 's' || n FROM generate_series(3, 9) n;
"""
COLUMNS = "  bank.open.phone: phone\n  bank.vip.phone: phone\nattributes:"


@pytest.fixture(scope="module")
def server() -> Iterator[TestServer]:
    with TestServer(hba=HBA) as server:
        assert isinstance(server, TestServer)
        server.execute_sql("postgres", SETUP)
        server.execute_sql("postgres", MORE)
        asyncio.run(_install(server))
        yield server


@pytest.fixture(scope="module")
def proxy(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    home = tmp_path_factory.mktemp("attacks") / "home"
    with ProxyProcess(home, server, policy=POLICY.replace("attributes:", COLUMNS, 1)) as proxy:
        yield proxy


def granted(proxy: ProxyProcess, user: str, arguments: str, *approvers: str) -> int:
    with connect(proxy, user) as session:
        number = ask(session, f"CALL veil.request({arguments})")[0]
    for approver in approvers:
        with connect(proxy, approver) as session:
            ask(session, f"CALL veil.approve({number})")
    assert isinstance(number, int)
    return number


@pytest.fixture
def rationed(proxy: ProxyProcess) -> Iterator[tuple[Session, int]]:
    number = granted(proxy, "ann", "'bank.customers.secret', 'audit', '1 h', max_rows => 4", "dan", "dora")
    with connect(proxy, "ann") as ann:
        yield ann, number
        ask(ann, f"CALL veil.revoke({number})")


@pytest.mark.parametrize(
    "text",
    [
        "SELECT a.secret, b.secret FROM bank.customers a JOIN bank.customers b ON b.id = a.id + 1",
        "SELECT a, b FROM bank.customers a, bank.customers b",
        "SELECT a.*, b.secret FROM bank.customers a CROSS JOIN bank.customers b",
        "SELECT secret FROM bank.customers ORDER BY 1 LIMIT 1",
        "SELECT * FROM bank.customers ORDER BY 5 DESC LIMIT 1",
        "TABLE bank.customers ORDER BY 5 LIMIT 1",
        "SELECT secret AS s FROM bank.customers ORDER BY s LIMIT 1",
        "SELECT secret AS id FROM bank.customers ORDER BY id LIMIT 1",
        "SELECT c FROM bank.customers c ORDER BY 1 LIMIT 1",
        "COPY (SELECT secret FROM bank.customers ORDER BY 1 LIMIT 1) TO STDOUT",
        "EXPLAIN SELECT a.secret, b.secret FROM bank.customers a, bank.customers b",
    ],
)
def test_more_than_one_row_of_the_table_in_a_row(rationed: tuple[Session, int], text: str) -> None:
    ann, number = rationed
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match=f"grant {number} shows a number of rows"):
        ann.execute(text)  # type: ignore[arg-type]
    assert left(ann, number) == 4


def test_one_row_at_a_time_is_still_shown(rationed: tuple[Session, int]) -> None:
    ann, number = rationed
    text = "SELECT a.secret, b.id FROM bank.customers a JOIN bank.customers b ON b.id = a.id ORDER BY a.id DESC LIMIT 1"
    assert ann.execute(text).fetchall() == [("s9", 9)]
    until(lambda: left(ann, number) == 3, "it is counted", 5)


def test_another_table_under_the_name(proxy: ProxyProcess, server: TestServer) -> None:
    """What was approved is that table and that column, not the name: renamed, dropped and made again, it is another one."""
    number = granted(proxy, "ann", "'bank.open.phone', 'x', '1 h'", "mia")
    with connect(proxy, "ann") as ann:
        assert ann.execute("SELECT phone FROM bank.open").fetchall() == [("13000000001",)]
        server.execute_sql("postgres", "ALTER TABLE bank.open RENAME TO was_open; ALTER TABLE bank.vip RENAME TO open")
        try:
            until(lambda: ann.execute("SELECT phone FROM bank.open").fetchall() == [("133****1111",)], "it is masked", 5)
        finally:
            server.execute_sql("postgres", "ALTER TABLE bank.open RENAME TO vip; ALTER TABLE bank.was_open RENAME TO open")
        until(lambda: ann.execute("SELECT phone FROM bank.open").fetchall() == [("13000000001",)], "it counts again", 5)
        server.execute_sql(
            "postgres",
            "ALTER TABLE bank.open RENAME phone TO was; ALTER TABLE bank.open ADD phone text; UPDATE bank.open SET phone = was",
        )
        until(lambda: ann.execute("SELECT phone FROM bank.open").fetchall() == [("130****0001",)], "it is masked", 5)
        ask(ann, f"CALL veil.revoke({number})")


@pytest.mark.parametrize("teller", ["t1", " T1 ", "Ｔ１"])
def test_one_person_by_another_spelling(proxy: ProxyProcess, teller: str) -> None:
    with connect(proxy, "core") as core, connect(proxy, "core") as same:
        core.execute("SET veil.teller = 'T1'")
        number = ask(core, "CALL veil.request('bank.customers.phone', 'x', '1 h')")[0]
        same.execute(f"SET veil.teller = '{teller}'")  # type: ignore[arg-type]
        same.execute("SET veil.role = 'manager'")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="of their own"):
            same.execute(f"CALL veil.approve({number})")  # type: ignore[arg-type]
        ask(core, f"CALL veil.revoke({number})")


@pytest.mark.parametrize(
    ("rows", "sqlstate"),
    [
        ("not " * 120 + "id = 1", None),
        ("not " * 300 + "id = 1", "54000"),
        ("id = 1" + " or id = 2" * 5000, "54000"),
        ("phone::int4 = 1", "22023"),
        ("phone::bank.looked = 'x'", "22023"),
        ("phone = 'x'::bank.looked", "22023"),
        ("id = '1'::int4", None),
    ],
)
def test_rows_that_nobody_can_carry_out(proxy: ProxyProcess, rows: str, sqlstate: str | None) -> None:
    """Each is answered, and the session goes on. A cast of a column would tell its values in the error, or to a function."""
    with connect(proxy, "ann") as ann:
        text = "CALL veil.request('bank.customers.phone', 'x', '1 h', rows => %s)"
        if sqlstate is None:
            ask(ann, f"CALL veil.revoke({ask(ann, text, rows)[0]})")
        else:
            with pytest.raises(psycopg.Error) as caught:
                ann.execute(text, (rows,))  # type: ignore[arg-type]
            assert caught.value.sqlstate == sqlstate
        assert ann.execute("SELECT 1").fetchall() == [(1,)]


@pytest.mark.parametrize("number", ["9" * 30, "9" * 5000, "-1", "7e3"])
def test_numbers_that_are_none(proxy: ProxyProcess, number: str) -> None:
    with connect(proxy, "ann") as ann:
        for text in ("CALL veil.approve(%s)", "CALL veil.request('bank.customers.phone', 'x', '1 h', max_rows => %s)"):
            with pytest.raises(psycopg.errors.InvalidParameterValue, match="whole number"):
                ann.execute(text, (number,))  # type: ignore[arg-type]
        assert ann.execute("SELECT 1").fetchall() == [(1,)]


def test_many_names(proxy: ProxyProcess) -> None:
    with connect(proxy, "ann") as ann:
        for names in (",".join(f"a{n}.b.c" for n in range(60)), ",".join(f"bank.customers.c{n}" for n in range(3000))):
            with pytest.raises(psycopg.Error) as caught:
                ann.execute("CALL veil.request(%s, 'x', '1 h')", (names,))
            assert caught.value.sqlstate == "54000"


@pytest.mark.parametrize(
    "text",
    [
        "UPDATE pgveil.request SET state = 'granted'",
        "SELECT * FROM pgveil.vote",
        "LOCK TABLE pgveil.request IN ACCESS EXCLUSIVE MODE",
        "DROP TABLE pgveil.vote",
        "TRUNCATE pgveil.vote",
        "COPY pgveil.request FROM STDIN",
        "GRANT UPDATE ON pgveil.request TO ann",
        "GRANT pgveil_owner TO ann",
        "DO 'BEGIN UPDATE pgveil.request SET used = 0; END'",
    ],
)
def test_a_superuser_who_sees_masks(proxy: ProxyProcess, text: str) -> None:
    """By way of pgveil nobody with masked columns touches the state of requests, or keeps the proxies from it."""
    with connect(proxy, "dba") as dba:
        dba.execute("BEGIN")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="pgveil: "):
            dba.execute(text)  # type: ignore[arg-type]
        dba.execute("ROLLBACK")


def test_a_lock_on_the_state(proxy: ProxyProcess, server: TestServer) -> None:
    """Who has locked the tables keeps those waiting who ask pgveil for something, for a while; nobody else."""
    address = {"host": "127.0.0.1", "port": server.port, "user": "postgres", "dbname": "postgres"}
    with psycopg.connect(**address) as holder, connect(proxy, "ann") as ann, connect(proxy, "bob") as bob:  # type: ignore[arg-type]
        holder.execute("LOCK TABLE pgveil.request IN SHARE MODE")
        with pytest.raises(psycopg.errors.CannotConnectNow, match="at the moment"):
            ann.execute("CALL veil.request('bank.customers.phone', 'x', '1 h')")
        assert bob.execute("SELECT phone FROM bank.customers WHERE id = 1").fetchall() == [("138****5678",)]
        assert ann.execute("SELECT phone FROM bank.customers WHERE id = 1").fetchall() == [("138****5678",)]


def test_what_is_open_when_the_grant_ends(proxy: ProxyProcess) -> None:
    number = granted(proxy, "ann", "'bank.customers.phone', 'x', '1 h'", "mia")
    with connect(proxy, "ann") as ann, connect(proxy, "mia") as mia:
        with ann.transaction():
            ann.execute("DECLARE held CURSOR WITH HOLD FOR SELECT phone FROM bank.customers ORDER BY id")
        ann.execute("PREPARE made AS SELECT phone FROM bank.customers ORDER BY id LIMIT 1")
        ann.execute("CREATE TEMP VIEW looked AS SELECT phone FROM bank.customers")
        assert ann.execute("FETCH 1 FROM held").fetchall() == [("13812345678",)]
        ask(mia, f"CALL veil.revoke({number})")
        for text in ("FETCH 1 FROM held", "FETCH FIRST FROM held"):
            with pytest.raises(psycopg.errors.FeatureNotSupported):
                ann.execute(text)  # type: ignore[arg-type]
        assert ann.execute("EXECUTE made").fetchall() == [("138****5678",)]
        assert ann.execute("SELECT phone FROM looked WHERE phone LIKE '138%'").fetchall() == [("138****5678",)]
