"""Requests, approvals and grants as people use them: from any client, in the session that is open."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import asyncpg
import psycopg
import pytest
from click.testing import CliRunner

from proxy.cli import cli
from proxy.companion.install import install_approvals
from tests.support.postgres import TestServer
from tests.support.proxy import CONTROL, ProxyProcess, until

HBA = f"""\
host all postgres 127.0.0.1/32 trust
host all {CONTROL} 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
"""
POLICY = """\
version: 1
classes:
  phone: { level: C2, mask: { keep: { first: 3, last: 4 } } }
  balance: { level: C2, mask: { round: 10000 } }
  secret: { level: C3, mask: null }
  cvv: { level: C4, mask: null }
columns:
  bank.customers.phone: phone
  bank.customers.balance: balance
  bank.customers.secret: secret
  bank.customers.cvv: cvv
attributes:
  user: { from: bank.staff, names: [branch], on_behalf: teller }
  trusted_apps: { core: [teller, role] }
rules:
  - { name: chiefs see all, role: chief, columns: "*", show: clear }
approvals:
  - { columns: [level=C3], approvers: [dpo], need: 2, max: 4h, max_rows: 10 }
  - columns: [level<=C2]
    approvers: [manager]
    same: [branch]
    max: 1d
    break_glass: { roles: [oncall], max: 15m, review: 1d }
"""
SETUP = f"""\
CREATE ROLE {CONTROL} LOGIN PASSWORD 'control';
CREATE ROLE manager; CREATE ROLE dpo; CREATE ROLE chief; CREATE ROLE oncall;
CREATE ROLE ann LOGIN; CREATE ROLE bob LOGIN IN ROLE oncall;
CREATE ROLE mia LOGIN IN ROLE manager; CREATE ROLE max LOGIN IN ROLE manager;
CREATE ROLE dan LOGIN IN ROLE dpo; CREATE ROLE dora LOGIN IN ROLE dpo, manager;
CREATE ROLE carl LOGIN IN ROLE chief, manager;
CREATE ROLE core LOGIN;
CREATE SCHEMA bank;
CREATE TABLE bank.customers (id int PRIMARY KEY, name text, phone text, balance numeric, secret text, cvv text);
INSERT INTO bank.customers VALUES
 (1, '张伟', '13812345678', 1234567, 'eins', '111'), (2, '王芳', '13912345678', 42, 'zwei', '222');
CREATE TABLE bank.staff (login text, branch text);
INSERT INTO bank.staff VALUES ('ann', 'N'), ('bob', 'N'), ('mia', 'N'), ('max', 'S'), ('dora', 'N'), ('carl', 'N'), ('T1', 'N'),
 ('T2', 'N');
CREATE VIEW bank.customers_seen AS SELECT * FROM bank.customers;
CREATE FUNCTION bank.sees(int) RETURNS text LANGUAGE sql AS 'SELECT secret FROM bank.customers WHERE id = $1';
GRANT USAGE ON SCHEMA bank TO PUBLIC;
GRANT SELECT ON ALL TABLES IN SCHEMA bank TO PUBLIC;
GRANT UPDATE ON bank.customers TO PUBLIC;
"""
PHONES = "SELECT phone FROM bank.customers ORDER BY id"
MASKED = [("138****5678",), ("139****5678",)]
CLEAR = [("13812345678",), ("13912345678",)]
FIRST = [("13812345678",), ("139****5678",)]

Session = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture(scope="module")
def server() -> Iterator[TestServer]:
    with TestServer(hba=HBA) as server:
        assert isinstance(server, TestServer)
        server.execute_sql("postgres", SETUP)
        asyncio.run(_install(server))
        yield server


async def _install(server: TestServer) -> None:
    connection = await asyncpg.connect(host="127.0.0.1", port=server.port, user="postgres", database="postgres")
    try:
        await install_approvals(connection, CONTROL)
        await install_approvals(connection, CONTROL)
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def proxy(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    with ProxyProcess(tmp_path_factory.mktemp("approvals") / "home", server, policy=POLICY) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def clean(server: TestServer, proxy: ProxyProcess) -> Iterator[None]:
    """Nothing is granted when the test is over, and the proxy knows."""
    yield
    server.execute_sql("postgres", "UPDATE pgveil.request SET state = 'revoked', reviewed = coalesce(reviewed, 'justified')")
    with connect(proxy, "ann") as ann, connect(proxy, "bob") as bob:
        until(lambda: phones(ann) == phones(bob) == MASKED, "nothing is granted", 5)


def connect(proxy: ProxyProcess, user: str, **options: Any) -> Session:
    return psycopg.connect(host="127.0.0.1", port=proxy.port, user=user, dbname="postgres", autocommit=True, **options)


def ask(session: Session, text: str, *values: object, **options: Any) -> tuple[Any, ...]:
    """The one row that a command answers."""
    (row,) = session.execute(text, values or None, **options).fetchall()  # type: ignore[arg-type]
    return row


def phones(session: Session, **options: Any) -> list[tuple[Any, ...]]:
    return session.execute(PHONES, **options).fetchall()


def test_ask_approve_see_revoke(proxy: ProxyProcess) -> None:
    with connect(proxy, "ann") as ann, connect(proxy, "mia") as mia:
        assert phones(ann, prepare=True) == MASKED
        number, state, until_, message = ask(ann, "CALL veil.request('bank.customers.phone', 'case 123', '2 hours')")
        assert (state, until_, message) == ("pending", None, "waits for 1 more of manager")
        assert phones(ann, prepare=True) == MASKED
        assert ask(mia, f"CALL veil.approve({number})")[1] == "granted"
        assert phones(ann, prepare=True) == CLEAR
        assert phones(mia) == MASKED
        assert ann.execute("SELECT balance FROM bank.customers WHERE id = 2").fetchall() == [(0,)]
        assert ask(mia, f"CALL veil.revoke({number}, 'done')")[1] == "revoked"
        assert phones(ann, prepare=True) == MASKED


def test_parameters_of_a_prepared_command(proxy: ProxyProcess) -> None:
    with connect(proxy, "ann") as ann, connect(proxy, "mia") as mia:
        for binary in (False, True):
            text = "CALL veil.request(%s, reason => %s, duration => %s, rows => %s)"
            number = ask(ann, text, "bank.customers.phone", "张伟的案子", "30 min", "id = 1", prepare=True, binary=binary)[0]
            assert ask(mia, "CALL veil.approve(%s)", number, prepare=True, binary=binary)[1] == "granted"
            assert phones(ann) == FIRST
            assert ask(mia, "SELECT * FROM veil.revoke(%s)", number, binary=binary)[1] == "revoked"
            assert phones(ann) == MASKED


def test_asyncpg(proxy: ProxyProcess) -> None:
    async def run() -> None:
        ann = await asyncpg.connect(host="127.0.0.1", port=proxy.port, user="ann", database="postgres")
        mia = await asyncpg.connect(host="127.0.0.1", port=proxy.port, user="mia", database="postgres")
        try:
            made = await ann.fetchrow("CALL veil.request($1, $2, $3)", "class=phone", "case 7", "1 h")
            asking = await mia.prepare("SHOW veil.requests")
            assert [(r["request"], r["person"], r["columns"]) for r in await asking.fetch() if r["state"] == "pending"] == [
                (made["request"], "ann", "bank.customers.phone")
            ]
            done = await mia.fetchrow("CALL veil.approve($1)", made["request"])
            assert done["state"] == "granted"
            assert [r["state"] for r in await asking.fetch() if r["request"] == made["request"]] == ["granted"]
            seen = {r["column"]: r for r in await ann.fetch("SHOW veil.access")}
            assert seen["bank.customers.phone"]["shown"] == "clear"
            assert seen["bank.customers.phone"]["rule"] == f"grant {made['request']}"
            assert seen["bank.customers.phone"]["until"] == done["until"]
            assert seen["bank.customers.balance"]["shown"].startswith("masked (")
        finally:
            await ann.close()
            await mia.close()

    asyncio.run(run())


def test_only_whom_the_policy_names(proxy: ProxyProcess) -> None:
    with (
        connect(proxy, "mia") as mia,
        connect(proxy, "max") as max_,
        connect(proxy, "dan") as dan,
        connect(proxy, "carl") as carl,
    ):
        number = ask(mia, "CALL veil.request('bank.customers.phone', 'case 1', '1 h')")[0]
        for session, why in (
            (mia, "nobody decides about a request of their own"),
            (max_, "it takes somebody with the same branch"),
            (dan, "it takes a member of manager"),
        ):
            for verb in ("approve", "reject"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege, match=why):
                    session.execute(f"CALL veil.{verb}({number})")
        assert number not in [r[0] for r in max_.execute("SHOW veil.requests").fetchall()]
        assert ask(carl, f"CALL veil.approve({number})")[1] == "granted"
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="is granted"):
            carl.execute(f"CALL veil.reject({number})")
        assert ask(mia, f"CALL veil.revoke({number})")[1] == "revoked"
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="is revoked"):
            carl.execute(f"CALL veil.approve({number})")


def test_two_of_them(proxy: ProxyProcess) -> None:
    with connect(proxy, "ann") as ann, connect(proxy, "dan") as dan, connect(proxy, "dora") as dora:
        number = ask(ann, "CALL veil.request('bank.customers.secret', 'audit', '1 h', max_rows => 5)")[0]
        assert ask(dan, f"CALL veil.approve({number})")[1:] == ("pending", None, "waits for 1 more of dpo")
        assert ask(dan, f"CALL veil.approve({number})")[1] == "pending"
        assert ann.execute("SELECT secret FROM bank.customers").fetchall() == [(None,), (None,)]
        assert ask(dora, f"CALL veil.approve({number})")[1] == "granted"


@pytest.mark.parametrize(
    ("arguments", "sqlstate", "message"),
    [
        ("'bank.customers.cvv', 'x', '1 h'", "42501", "offers you no approval for bank.customers.cvv"),
        ("'bank.customers.name', 'x', '1 h'", "22023", "is no sensitive column"),
        ("'bank.customers', 'x', '1 h'", "22023", "expected"),
        ("'class=nix', 'x', '1 h'", "22023", "no class"),
        ("'', 'x', '1 h'", "22023", "needs columns"),
        ("'bank.customers.phone', ' ', '1 h'", "22023", "needs a reason"),
        ("'bank.customers.phone', 'x', '25 h'", "22023", "1 day at most"),
        ("'bank.customers.phone', 'x', 'ever'", "22023", "cannot be read"),
        ("'bank.customers.secret', 'x', '1 h'", "22023", "at most 10 rows"),
        ("'bank.customers.secret', 'x', '1 h', max_rows => 11", "22023", "at most 10 rows"),
        ("'bank.customers.phone', 'x', '1 h', 'balance > 5'", "42501", "which you do not see"),
        ("'bank.customers.phone', 'x', '1 h', 'id = length(name)'", "22023", "call nothing"),
        ("'bank.customers.phone', 'x', '1 h', 'id = (select 1)'", "22023", "sub-select"),
        ("'bank.customers.phone', 'x', '1 h', 'nix = 1'", "22023", "nix"),
        ("'bank.customers.phone', 'x', '1 h', 'id = 1) or (true'", "22023", "closes nothing"),
        ("'bank.customers.phone', 'x', '1 h', ''';'", "22023", "closed"),
        ("'bank.customers.phone', 'x'", "22023", "needs the argument duration"),
        ("'bank.customers.phone', 'x', '1 h', wann => 1", "42883", "no argument wann"),
        ("'bank.customers.phone', current_user, '1 h'", "0A000", "constants"),
    ],
)
@pytest.mark.parametrize("prepare", [False, True])
def test_refused(proxy: ProxyProcess, arguments: str, sqlstate: str, message: str, prepare: bool) -> None:
    with connect(proxy, "ann") as ann:
        before = len(ann.execute("SHOW veil.requests").fetchall())
        with pytest.raises(psycopg.Error, match=message) as caught:
            ann.execute(f"CALL veil.request({arguments})", prepare=prepare)  # type: ignore[arg-type]
        assert caught.value.sqlstate == sqlstate
        assert len(ann.execute("SHOW veil.requests").fetchall()) == before


def test_break_glass(proxy: ProxyProcess, server: TestServer) -> None:
    with connect(proxy, "ann") as ann, connect(proxy, "bob") as bob, connect(proxy, "mia") as mia:
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="is for oncall"):
            ann.execute("CALL veil.break_glass('bank.customers.phone', 'fire', '10 min')")
        number, state, _, message = ask(bob, "CALL veil.break_glass('bank.customers.phone', 'fire', '10 min')")
        assert state == "granted"
        assert "has to review it by" in message
        assert phones(bob) == CLEAR
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="of their own"):
            bob.execute(f"CALL veil.review({number}, 'justified')")
        assert [r[9] for r in mia.execute("SHOW veil.requests").fetchall() if r[0] == number] == ["review"]
        server.execute_sql("postgres", f"UPDATE pgveil.request SET review_by = now() - interval '1 s' WHERE id = {number}")
        until(
            lambda: "overdue" in next(r[9] for r in mia.execute("SHOW veil.requests").fetchall() if r[0] == number), "overdue", 5
        )
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="has not been reviewed in time"):
            bob.execute("CALL veil.break_glass('bank.customers.phone', 'again', '10 min')")
        assert ask(mia, f"CALL veil.review({number}, 'unjustified', 'there was no fire')")[3] == "reviewed: unjustified"
        assert ask(bob, "CALL veil.break_glass('bank.customers.phone', 'again', '10 min')")[1] == "granted"


def test_it_ends_by_itself(proxy: ProxyProcess) -> None:
    with connect(proxy, "ann") as ann, connect(proxy, "mia") as mia:
        number = ask(ann, "CALL veil.request('bank.customers.phone', 'quick look', '2 s')")[0]
        ask(mia, f"CALL veil.approve({number})")
        assert phones(ann, prepare=True) == CLEAR
        until(lambda: phones(ann, prepare=True) == MASKED, "the grant ends", 10)
        assert [r[1] for r in ann.execute("SHOW veil.requests").fetchall() if r[0] == number] == ["expired"]


def test_the_person_behind_an_application(proxy: ProxyProcess) -> None:
    """What is granted to one teller is not for another one of the same application, nor for the login without a teller."""
    with connect(proxy, "core") as core, connect(proxy, "mia") as mia, connect(proxy, "core") as other:
        core.execute("SET veil.teller = 'T1'")
        number = ask(core, "CALL veil.request('bank.customers.phone', 'case 9', '1 h')")[0]
        core.execute("SET veil.role = 'manager'")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="of their own"):
            core.execute(f"CALL veil.approve({number})")
        core.execute("RESET veil.role")
        assert ask(mia, f"CALL veil.approve({number})")[1] == "granted"
        assert phones(core) == CLEAR
        assert phones(other) == MASKED
        other.execute("SET veil.teller = 'T2'")
        assert phones(other) == MASKED
        core.execute("SET veil.teller = 'T2'")
        assert phones(core) == MASKED


def test_a_person_behind_an_application_is_no_login(proxy: ProxyProcess) -> None:
    """An application that may say for whom it acts gets no grant for somebody who logs in, and cannot approve for two."""
    with connect(proxy, "core") as core, connect(proxy, "ann") as ann, connect(proxy, "mia") as mia:
        core.execute("SET veil.teller = 'ann'")
        number = ask(core, "CALL veil.request('bank.customers.phone', 'case 40', '1 h')")[0]
        assert number not in [r[0] for r in ann.execute("SHOW veil.requests").fetchall()]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            ann.execute(f"CALL veil.revoke({number})")
        assert ask(mia, f"CALL veil.approve({number})")[1] == "granted"
        assert phones(core) == CLEAR
        assert phones(ann) == MASKED
        mine = ask(mia, "CALL veil.request('bank.customers.phone', 'case 41', '1 h')")[0]
        core.execute("SET veil.teller = 'T1'")
        core.execute("SET veil.role = 'manager'")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="a member of manager"):
            core.execute(f"CALL veil.approve({mine})")


@pytest.fixture(scope="module")
def asserting(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    text = POLICY.replace("approvers: [manager]", "approvers: [manager]\n    asserted: true")
    with ProxyProcess(tmp_path_factory.mktemp("asserting") / "home", server, policy=text) as proxy:
        yield proxy


def test_approvers_whom_an_application_names(asserting: ProxyProcess) -> None:
    """Where the policy says so; still nobody approves for themselves, under whatever name."""
    with connect(asserting, "core") as core, connect(asserting, "ann") as ann, connect(asserting, "mia") as mia:
        number = ask(ann, "CALL veil.request('bank.customers.phone', 'case 42', '1 h')")[0]
        own = ask(mia, "CALL veil.request('bank.customers.phone', 'case 43', '1 h')")[0]
        core.execute("SET veil.teller = 'mia'")
        core.execute("SET veil.role = 'manager'")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="of their own"):
            core.execute(f"CALL veil.approve({own})")
        assert ask(core, f"CALL veil.approve({number})")[1] == "granted"
        assert phones(ann) == CLEAR


def test_in_a_transaction(proxy: ProxyProcess) -> None:
    """A command acts at once; in a failed transaction it does not act."""
    with connect(proxy, "ann") as ann, connect(proxy, "mia") as mia:
        before = len(ann.execute("SHOW veil.requests").fetchall())
        with ann.transaction(force_rollback=True):
            number = ask(ann, "CALL veil.request('bank.customers.phone', 'kept', '1 h')")[0]
        ann.execute("BEGIN")
        with pytest.raises(psycopg.errors.DivisionByZero):
            ann.execute("SELECT 1 / 0")
        for prepare in (False, True):
            with pytest.raises(psycopg.errors.InFailedSqlTransaction):
                ann.execute("CALL veil.request('bank.customers.phone', 'not made', '1 h')", prepare=prepare)
        ann.execute("ROLLBACK")
        assert len(ann.execute("SHOW veil.requests").fetchall()) == before + 1
        with ann.transaction():
            assert phones(ann) == MASKED
            ask(mia, f"CALL veil.approve({number})")
            assert phones(ann) == CLEAR


def test_in_a_pipeline(proxy: ProxyProcess) -> None:
    with connect(proxy, "ann") as ann, connect(proxy, "mia") as mia:
        with ann.pipeline():
            first = ann.execute(PHONES)
            made = ann.execute("CALL veil.request(%s, %s, '1 h')", ("bank.customers.phone", "case 3"))
            wrong = ann.execute("CALL veil.request('bank.customers.cvv', 'x', '1 h')")
            lost = ann.execute(PHONES)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                wrong.fetchall()
            with pytest.raises(psycopg.Error):
                lost.fetchall()  # behind a failure there is no result
        assert first.fetchall() == MASKED
        ((number, state, _, _),) = made.fetchall()
        assert state == "pending"
        assert ask(mia, f"CALL veil.approve({number})")[1] == "granted"


def test_alone_in_its_text(proxy: ProxyProcess) -> None:
    with connect(proxy, "ann") as ann, connect(proxy, "carl") as carl:
        for session in (ann, carl):
            with pytest.raises(psycopg.errors.FeatureNotSupported, match="whole query string"):
                session.execute("SELECT 1; SHOW veil.access")
            assert session.execute("SELECT 1").fetchall() == [(1,)]


def test_why(proxy: ProxyProcess) -> None:
    with connect(proxy, "ann") as ann:
        ann.execute("SELECT id, phone FROM bank.customers WHERE balance > 5")
        assert [r[0::3] for r in ann.execute("SHOW veil.why").fetchall()] == [
            ("bank.customers.phone", "output"),
            ("bank.customers.balance", "filter"),
        ]
        with pytest.raises(psycopg.Error):
            ann.execute("UPDATE bank.customers SET name = phone")
        ((_, _, _, _, text, _),) = ann.execute("SHOW veil.why").fetchall()
        assert text.startswith("refused (42501): ")


@pytest.mark.parametrize("prepare", [False, True])
@pytest.mark.parametrize(("user", "told"), [("ann", [2]), ("carl", [])])
def test_one_notice(proxy: ProxyProcess, user: str, told: list[int], prepare: bool) -> None:
    """The first masked result says so; nothing before it and nothing after it does, and no clear session hears of it."""
    heard: list[str | None] = []
    found = []
    with connect(proxy, user) as session:
        session.add_notice_handler(lambda diagnostic: heard.append(diagnostic.message_hint))
        for number, text in enumerate(
            ["SELECT id FROM bank.customers", "SELECT phone FROM bank.customers WHERE false", PHONES, PHONES]
        ):
            session.execute(text, prepare=prepare)  # type: ignore[arg-type]
            if heard:
                assert "SHOW veil.access" in str(heard.pop())
                found.append(number)
    assert (found, heard) == (told, [])


def simply(session: Session, text: str) -> list[tuple[Any, ...]]:
    """By a Query message, as psql sends it."""
    result = session.pgconn.exec_(text.encode())
    assert result.status == psycopg.pq.ExecStatus.TUPLES_OK, result.error_message
    return [tuple((result.get_value(r, c) or b"").decode() for c in range(result.nfields)) for r in range(result.ntuples)]


@pytest.mark.parametrize("where", ["idle", "transaction"])
@pytest.mark.parametrize("how", ["simple", "extended", "prepared"])
def test_what_sql_has_prepared(proxy: ProxyProcess, how: str, where: str) -> None:
    """PREPARE is followed too: EXECUTE shows what may be seen now, in both directions, and keeps its parameters."""
    with connect(proxy, "ann") as ann, connect(proxy, "mia") as mia:

        def seen() -> list[tuple[Any, ...]]:
            if how == "simple":
                return simply(ann, "EXECUTE p(1)")
            return ann.execute("EXECUTE p(1)", prepare=how == "prepared").fetchall()

        ann.execute("PREPARE p (int) AS SELECT phone FROM bank.customers WHERE id >= $1 ORDER BY id")
        if where == "transaction":
            ann.execute("BEGIN")
        for _ in range(2):
            assert seen() == MASKED
            number = ask(ann, "CALL veil.request('bank.customers.phone', 'case 31', '1 h')")[0]
            ask(mia, f"CALL veil.approve({number})")
            assert seen() == CLEAR
            assert seen() == CLEAR
            ask(mia, f"CALL veil.revoke({number})")
        assert seen() == MASKED
        ann.execute("COMMIT")  # psycopg takes ROLLBACK for a reason to DEALLOCATE ALL
        assert seen() == MASKED
        ann.execute("DEALLOCATE p")
        with pytest.raises(psycopg.errors.InvalidSqlStatementName):
            ann.execute("EXECUTE p(1)")


def test_what_sql_has_prepared_and_cannot_be_prepared_again(proxy: ProxyProcess, server: TestServer) -> None:
    server.execute_sql("postgres", "CREATE TABLE bank.more (phone text); GRANT SELECT ON bank.more TO PUBLIC")
    with connect(proxy, "ann") as ann, connect(proxy, "mia") as mia:
        ann.execute("PREPARE p AS SELECT c.phone FROM bank.customers c, bank.more WHERE id = 1")
        assert ann.execute("EXECUTE p").fetchall() == []
        server.execute_sql("postgres", "DROP TABLE bank.more")
        number = ask(ann, "CALL veil.request('bank.customers.phone', 'case 32', '1 h')")[0]
        ask(mia, f"CALL veil.approve({number})")
        with pytest.raises(psycopg.Error) as caught:
            ann.execute("EXECUTE p")
        assert caught.value.sqlstate in ("42P01", "42501")
        assert phones(ann) == CLEAR


SECRETS = "SELECT secret FROM bank.customers ORDER BY id"


@pytest.fixture
def rationed(proxy: ProxyProcess, server: TestServer) -> Iterator[tuple[Session, int]]:
    """A session that may see three rows of secrets, and the grant's number."""
    server.execute_sql("postgres", "INSERT INTO bank.customers SELECT n, 'x', 'x', 1, 's' || n FROM generate_series(3, 9) n")
    try:
        with connect(proxy, "ann") as ann, connect(proxy, "dan") as dan, connect(proxy, "dora") as dora:
            number = ask(ann, "CALL veil.request('bank.customers.secret', 'audit', '1 h', max_rows => 3)")[0]
            ask(dan, f"CALL veil.approve({number})")
            ask(dora, f"CALL veil.approve({number})")
            yield ann, number
    finally:
        server.execute_sql("postgres", "DELETE FROM bank.customers WHERE id > 2")


def left(session: Session, number: int) -> int:
    return next(r[8] for r in session.execute("SHOW veil.requests").fetchall() if r[0] == number)


@pytest.mark.parametrize("prepare", [False, True])
def test_so_many_rows(rationed: tuple[Session, int], proxy: ProxyProcess, prepare: bool) -> None:
    ann, number = rationed
    assert ann.execute(f"{SECRETS} LIMIT 2", prepare=prepare).fetchall() == [("eins",), ("zwei",)]
    until(lambda: left(ann, number) == 1, "what has been shown is written down", 5)
    with pytest.raises(psycopg.Error, match="no more of them are left") as caught:
        ann.execute(SECRETS, prepare=prepare)
    assert caught.value.sqlstate == "53400"
    until(lambda: left(ann, number) == 0, "it is used up", 5)
    assert ann.execute(SECRETS, prepare=prepare).fetchall() == [(None,)] * 9
    assert [r[1] for r in ann.execute("SHOW veil.requests").fetchall() if r[0] == number] == ["used up"]


def test_rows_of_two_proxies(rationed: tuple[Session, int], server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What one proxy has set aside another does not show; what it does not need comes back when it ends."""
    ann, number = rationed
    second = ProxyProcess(tmp_path_factory.mktemp("rows") / "home", server, policy=POLICY)
    with second, connect(second, "ann") as elsewhere:
        until(
            lambda: elsewhere.execute("SELECT secret FROM bank.customers WHERE id = 1").fetchall() == [("eins",)], "it knows", 5
        )
        with pytest.raises(psycopg.Error, match="no more of them are left"):
            ann.execute(SECRETS)
    until(lambda: left(ann, number) == 2, "one row has been shown", 5)
    with pytest.raises(psycopg.Error, match="no more of them are left"):
        ann.execute(SECRETS).fetchall()
    until(lambda: left(ann, number) == 0, "all rows have been shown", 5)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT string_agg(secret, ',') FROM bank.customers",
        "SELECT upper(secret) FROM bank.customers",
        "SELECT secret || 'x' FROM bank.customers",
        "SELECT id FROM bank.customers WHERE secret < 'm'",
        "SELECT id FROM bank.customers ORDER BY secret",
        "SELECT a.id FROM bank.customers a JOIN bank.customers b USING (secret)",
        "SELECT a.id FROM bank.customers a JOIN (VALUES ('eins')) v (s) ON a.secret = v.s",
        "SELECT count(*) FROM bank.customers GROUP BY secret",
        "SELECT DISTINCT secret FROM bank.customers",
        "SELECT DISTINCT ON (secret) id FROM bank.customers",
        "SELECT array(SELECT secret FROM bank.customers)",
        "SELECT (SELECT secret FROM bank.customers WHERE id = 1)",
        "SELECT id FROM bank.customers c WHERE EXISTS (SELECT FROM bank.customers WHERE secret = 'eins')",
        "WITH x AS (SELECT * FROM bank.customers) SELECT count(secret) FROM x",
        "SELECT * FROM (SELECT secret FROM bank.customers) x",
        "SELECT secret FROM bank.customers UNION SELECT 'x'",
        "SELECT max(secret) OVER () FROM bank.customers",
        "SELECT row_to_json(c) FROM bank.customers c",
        "SELECT c FROM bank.customers c",
        "SELECT c.* IS NULL FROM bank.customers c",
        "SELECT length(c::text) FROM bank.customers c",
        "SELECT secret FROM bank.customers_seen",
        "SELECT count(*) FROM bank.customers_seen WHERE secret = 'eins'",
        "SELECT bank.sees(1)",
        "CREATE TEMP TABLE t AS SELECT secret FROM bank.customers",
        "SELECT secret INTO TEMP t FROM bank.customers",
        "CREATE TEMP VIEW v AS SELECT secret FROM bank.customers",
        "UPDATE bank.customers SET name = secret",
        "UPDATE bank.customers SET name = 'x' WHERE secret = 'eins'",
        "UPDATE bank.customers SET name = name RETURNING secret",
        "DELETE FROM bank.customers WHERE secret = 'eins'",
        "EXPLAIN ANALYZE SELECT id FROM bank.customers WHERE secret = 'eins'",
        "COPY (SELECT upper(secret) FROM bank.customers) TO STDOUT",
        "DO $$BEGIN PERFORM 1 FROM bank.customers WHERE secret = 'eins'; END$$",
    ],
)
def test_rows_that_would_not_be_counted(rationed: tuple[Session, int], text: str) -> None:
    ann, number = rationed
    if text == "SELECT c FROM bank.customers c":  # one row each: counted like any other
        with pytest.raises(psycopg.Error, match="no more of them are left"):
            ann.execute(text)
        return
    with pytest.raises(psycopg.Error) as caught:
        ann.execute(text)  # type: ignore[arg-type]
    assert caught.value.sqlstate in ("42501", "0A000"), caught.value
    assert left(ann, number) == 3


def test_rows_by_copy_and_cursor(rationed: tuple[Session, int]) -> None:
    ann, number = rationed
    with ann.cursor() as cursor, cursor.copy("COPY (SELECT secret FROM bank.customers WHERE id = 1) TO STDOUT") as copy:
        assert b"".join(bytes(x) for x in copy) == b"eins\n"
    until(lambda: left(ann, number) == 2, "it is counted", 5)
    with ann.transaction(force_rollback=True):
        ann.execute("DECLARE c CURSOR FOR SELECT secret FROM bank.customers ORDER BY id")
        assert ann.execute("FETCH 1 FROM c").fetchall() == [("eins",)]
        assert ann.execute("FETCH 1 FROM c").fetchall() == [("zwei",)]
        with pytest.raises(psycopg.Error, match="no more of them are left"):
            ann.execute("FETCH 1 FROM c")


def test_two_proxies_and_a_restart(proxy: ProxyProcess, server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("second") / "home"
    with ProxyProcess(home, server, policy=POLICY) as second:
        with connect(proxy, "ann") as ann, connect(second, "ann") as elsewhere, connect(proxy, "mia") as mia:
            number = ask(ann, "CALL veil.request('bank.customers.phone', 'case 5', '1 h')")[0]
            assert phones(elsewhere, prepare=True) == MASKED
            ask(mia, f"CALL veil.approve({number})")
            until(lambda: phones(elsewhere, prepare=True) == CLEAR, "the other proxy knows", 2)
        second.stop()
        with ProxyProcess(home, server, policy=POLICY) as again, connect(again, "ann") as ann, connect(proxy, "mia") as mia:
            until(lambda: phones(ann) == CLEAR, "the grant is still known", 2)
            ask(mia, f"CALL veil.revoke({number})")
            until(lambda: phones(ann) == MASKED, "the other proxy knows", 2)


def test_evidence(proxy: ProxyProcess) -> None:
    with connect(proxy, "ann") as ann, connect(proxy, "mia") as mia:
        number = ask(ann, "CALL veil.request('bank.customers.phone', 'case 11', '1 h')")[0]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            ann.execute(f"CALL veil.approve({number})")
        ask(mia, f"CALL veil.approve({number}, 'seen')")
        phones(ann)
        records = [json.loads(line) for line in proxy.trail().splitlines()]
    events = [r for r in records if r["kind"] == "event" and r["event"].startswith("grant_")]
    mine = [(r["event"], r["detail"]["login"]) for r in events if r["detail"].get("request") == number]
    assert mine == [("grant_requested", "ann"), ("grant_approved", "mia")]
    approved = next(r["detail"] for r in events if r["event"] == "grant_approved" and r["detail"]["request"] == number)
    assert (approved["for"], approved["columns"], approved["note"]) == ("ann", "bank.customers.phone", "seen")
    assert [r["detail"]["command"] for r in events if r["event"] == "grant_refused"][-1] == "approve"
    rules = [t["rule"] for r in records if r["kind"] == "decision" for t in r["touches"]]
    assert f"grant {number}" in rules


def test_from_a_shell(proxy: ProxyProcess) -> None:
    def run(user: str, *arguments: str) -> Any:
        url = f"postgresql://{user}@127.0.0.1:{proxy.port}/postgres"
        done = CliRunner().invoke(cli, ["grants", "--json", *arguments], env={"PGVEIL_URL": url}, obj=False)
        return json.loads(done.output) if done.exit_code == 0 else done.output

    ((made),) = run("ann", "request", "bank.customers.phone", "案件 17", "1 h", "--rows", "id = 1", "--max-rows", "2")
    assert made["state"] == "pending"
    assert "Error: pgveil: request" in run("ann", "approve", str(made["request"]))
    assert [r["reason"] for r in run("mia", "list") if r["request"] == made["request"]] == ["案件 17"]
    assert run("mia", "approve", str(made["request"]), "--note", "gut")[0]["state"] == "granted"
    assert "grant" in {r["column"]: r["rule"] for r in run("ann", "access")}["bank.customers.phone"]
    assert run("ann", "revoke", str(made["request"]))[0]["state"] == "revoked"


def test_without_tables(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing is shown, nothing else suffers, and the message says what to do."""
    server.execute_sql("postgres", "CREATE DATABASE bare")
    server.execute_sql("bare", "CREATE SCHEMA bank; CREATE TABLE bank.customers (id int, phone text)")
    server.execute_sql("bare", "CREATE TABLE bank.staff (login text, branch text)")
    server.execute_sql("bare", "GRANT USAGE ON SCHEMA bank TO PUBLIC; GRANT SELECT ON ALL TABLES IN SCHEMA bank TO PUBLIC")
    server.execute_sql("bare", "INSERT INTO bank.customers VALUES (1, '13812345678')")
    home = tmp_path_factory.mktemp("bare") / "home"
    with (
        ProxyProcess(home, server, policy=POLICY, database="bare") as proxy,
        psycopg.connect(host="127.0.0.1", port=proxy.port, user="ann", dbname="bare", autocommit=True) as ann,
    ):
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="not installed") as caught:
            ann.execute("CALL veil.request('bank.customers.phone', 'x', '1 h')")
        assert caught.value.diag.message_hint == "an administrator runs pgveil install"
        assert ann.execute("SELECT phone FROM bank.customers").fetchall() == [("138****5678",)]
        assert len(ann.execute("SHOW veil.access").fetchall()) == 1
