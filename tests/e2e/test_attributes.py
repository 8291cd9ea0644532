"""Who stands behind a session: attributes of logins from a table, and what sessions assert of the person they act for."""

from __future__ import annotations

import json
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

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
columns:
  shop.people.phone: phone
attributes:
  user: { from: staff.users, names: [branch, grade], on_behalf: teller }
  trusted_apps: { attr_app: [teller, role, menu, channel] }
  anyone: [purpose]
  comments: [teller, menu, role]
rules:
  - { name: nobody by telephone, when: { channel: phone }, columns: "*", show: deny }
  - name: their own branch
    when: { grade: [A, B], menu: ["0412", "0413"] }
    rows: branch = :user.branch
    columns: "*"
    show: clear
  - { name: managers, role: attr_manager, columns: "*", show: clear }
  - { name: whoever says why, user: attr_clerk, when: { purpose: "*" }, columns: "*", show: clear }
  - { name: their own branch without a menu, user: attr_ann, columns: "*", rows: "branch = :user.branch", show: clear }
"""
SETUP = f"""\
CREATE ROLE {CONTROL} LOGIN PASSWORD 'control';
CREATE ROLE attr_manager;
CREATE ROLE attr_app LOGIN;
CREATE ROLE attr_ann LOGIN;
CREATE ROLE attr_clerk LOGIN;
CREATE ROLE attr_boss LOGIN IN ROLE attr_manager;
CREATE SCHEMA shop;
CREATE TABLE shop.people (id int, branch text, phone text);
INSERT INTO shop.people VALUES (1, 'N', '13812345678'), (2, 'S', '13912345678');
CREATE SCHEMA staff;
CREATE TABLE staff.users (login text, branch text, grade text, shoe_size int);
INSERT INTO staff.users VALUES ('attr_ann', 'S', 'C', 38), ('t1', 'N', 'A', 40), ('t2', 'S', 'C', 44);
GRANT USAGE ON SCHEMA shop, staff TO PUBLIC;
GRANT SELECT ON shop.people TO PUBLIC;
GRANT SELECT ON staff.users TO {CONTROL};
"""
PHONES = "SELECT phone FROM shop.people ORDER BY id"
MASKED = [("138****5678",), ("139****5678",)]
SQLSTATE = psycopg.pq.DiagnosticField.SQLSTATE
CLEAR = [("13812345678",), ("13912345678",)]
NORTH = [("13812345678",), ("139****5678",)]
SOUTH = [("138****5678",), ("13912345678",)]


@pytest.fixture(scope="module")
def server() -> Iterator[TestServer]:
    with TestServer(hba=HBA) as server:
        assert isinstance(server, TestServer)
        server.execute_sql("postgres", SETUP)
        yield server


@pytest.fixture(scope="module")
def proxy(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    with ProxyProcess(tmp_path_factory.mktemp("attributes") / "home", server, policy=POLICY) as proxy:
        yield proxy


def connect(proxy: ProxyProcess, user: str, **options: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(host="127.0.0.1", port=proxy.port, user=user, dbname="postgres", autocommit=True, **options)  # type: ignore[arg-type]


def phones(session: psycopg.Connection[tuple[object, ...]], **options: bool) -> list[tuple[object, ...]]:
    return session.execute(PHONES, **options).fetchall()


def test_attributes_of_the_login(proxy: ProxyProcess, server: TestServer) -> None:
    """A change of the table counts in the open session, for what it has prepared too."""
    with connect(proxy, "attr_ann") as ann:
        assert phones(ann, prepare=True) == SOUTH
        try:
            server.execute_sql("postgres", "UPDATE staff.users SET branch = 'N' WHERE login = 'attr_ann'")
            until(lambda: phones(ann, prepare=True) == NORTH, "the change counts", 5)
            server.execute_sql("postgres", "DELETE FROM staff.users WHERE login = 'attr_ann'")
            until(lambda: phones(ann, prepare=True) == MASKED, "the change counts", 5)
        finally:
            server.execute_sql("postgres", "DELETE FROM staff.users WHERE login = 'attr_ann'")
            server.execute_sql("postgres", "INSERT INTO staff.users VALUES ('attr_ann', 'S', 'C', 38)")
        until(lambda: phones(ann, prepare=True) == SOUTH, "the change counts", 5)


@pytest.mark.parametrize("prepare", [False, True])
def test_a_trusted_application_says_for_whom_it_acts(proxy: ProxyProcess, prepare: bool) -> None:
    with connect(proxy, "attr_app") as app:
        for statements, seen in (
            (["SET veil.teller = 't1'", "SET veil.menu = '0412'"], NORTH),
            (["SET veil.menu = '9999'"], MASKED),
            (["SET veil.menu TO '0413'"], NORTH),
            (["SET veil.teller = 't2'"], MASKED),
            (["SET veil.role = 'attr_boss'"], CLEAR),
            (["SET veil.role = 'attr_clerk, attr_manager'"], CLEAR),
            (["RESET veil.role"], MASKED),
            (["SELECT set_config('veil.teller', 't1', false)"], NORTH),
            (["RESET ALL"], MASKED),
            (["SET veil.role = attr_manager", "DISCARD ALL"], MASKED),
        ):
            for statement in statements:
                app.execute(sql.SQL(statement), prepare=False)
            assert phones(app, prepare=prepare) == seen, statements


def test_parameters(proxy: ProxyProcess) -> None:
    with connect(proxy, "attr_app") as app:
        app.execute("SELECT set_config('veil.role', %s, false)", ["attr_manager"])
        assert phones(app) == CLEAR
        app.execute("SELECT set_config('veil.role', %s, false)", ["attr_clerk"])
        assert phones(app) == MASKED


def test_transactions(proxy: ProxyProcess) -> None:
    """What a session asserts comes and goes as the server has it."""
    with connect(proxy, "attr_app") as app:
        app.execute("SET veil.role = 'attr_manager'")
        app.execute("BEGIN")
        app.execute("SET LOCAL veil.role = 'attr_app'")
        assert phones(app) == MASKED
        app.execute("COMMIT")
        assert phones(app) == CLEAR
        app.execute("BEGIN")
        app.execute("SET veil.role = 'attr_app'")
        assert phones(app) == MASKED
        app.execute("ROLLBACK")
        assert phones(app) == CLEAR
        app.execute("BEGIN")
        app.execute("SAVEPOINT s")
        app.execute("SET veil.role = 'attr_app'")
        assert phones(app) == MASKED
        with pytest.raises(psycopg.errors.DivisionByZero):
            app.execute("SELECT 1/0")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            phones(app)
        app.execute("ROLLBACK TO s")
        assert phones(app) == CLEAR
        app.execute("ROLLBACK")
        assert phones(app) == CLEAR


def test_in_a_pipeline(proxy: ProxyProcess) -> None:
    with connect(proxy, "attr_app") as app, app.pipeline():
        seen = []
        for role in ("attr_manager", "attr_app", "attr_manager"):
            app.execute(sql.SQL("SET veil.role = {}").format(role))
            seen.append(app.execute(PHONES))
        assert [cursor.fetchall() for cursor in seen] == [CLEAR, MASKED, CLEAR]


def test_in_one_query_string(proxy: ProxyProcess) -> None:
    """The whole string has been decided upon before its first statement runs."""
    with connect(proxy, "attr_app") as app:
        for before in ("attr_manager", "attr_app"):
            app.execute(sql.SQL("SET veil.role = {}").format(before))
            with pytest.raises(psycopg.errors.FeatureNotSupported, match="acts for"):
                app.execute(f"SET veil.role = 'attr_clerk'; {PHONES}")
            app.execute("SET veil.menu = 'x'; SELECT 1")
            assert phones(app) == (CLEAR if before == "attr_manager" else MASKED)


def test_what_a_query_string_does_not_show(proxy: ProxyProcess) -> None:
    """The end of a transaction, and EXECUTE, may take back what was asserted before the rest of the string is read."""
    with connect(proxy, "attr_app") as app:
        for end in ("COMMIT", "ROLLBACK"):
            app.execute("BEGIN")
            app.execute("SET LOCAL veil.role = 'attr_manager'")
            assert phones(app) == CLEAR
            with pytest.raises(psycopg.errors.FeatureNotSupported, match="acts for"):
                app.execute(f"{end}; {PHONES}")  # type: ignore[arg-type]
            app.execute("ROLLBACK")
            assert phones(app) == MASKED
        app.execute("SET veil.role = 'attr_manager'")
        app.execute("PREPARE change AS SELECT set_config('veil.role', 'attr_app', false)")
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="acts for"):
            app.execute(f"EXECUTE change; {PHONES}")
        app.execute("EXECUTE change")
        assert phones(app) == MASKED


def test_a_comment_is_for_its_own_statement(proxy: ProxyProcess) -> None:
    """Not for a call, a cursor or an unreadable text behind it."""
    with connect(proxy, "attr_app") as app:
        manager = f"{PHONES} /*role='attr_manager'*/"
        app.execute("BEGIN")
        app.execute("DECLARE c CURSOR FOR SELECT phone FROM shop.people ORDER BY id")
        assert app.execute(manager).fetchall() == CLEAR  # type: ignore[arg-type]
        assert app.execute("FETCH ALL c").fetchall() == MASKED
        app.execute("COMMIT")
        assert app.execute(manager).fetchall() == CLEAR  # type: ignore[arg-type]
        found = app.pgconn.exec_(b"SELECT phone, '\xff' FROM shop.people")
        assert found.error_field(SQLSTATE) == b"22021"
        assert app.execute(manager).fetchall() == CLEAR  # type: ignore[arg-type]
        long = PHONES.encode() + b" -- " + b"x" * (65 << 20)
        found = app.pgconn.exec_(long)
        assert found.error_field(SQLSTATE) == b"54000"


def test_at_the_start(proxy: ProxyProcess) -> None:
    with connect(proxy, "attr_app", options="-c veil.role=attr_manager") as app:
        assert phones(app) == CLEAR
        app.execute("RESET veil.role")
        assert phones(app) == CLEAR, "what it began with"


@pytest.mark.parametrize(
    "statement", ["SET veil.role = 'attr_manager'", "SELECT set_config('veil.menu', '0412', false)", "SET veil.x = 1"]
)
def test_others_may_not(proxy: ProxyProcess, statement: str) -> None:
    with connect(proxy, "attr_ann") as ann:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            ann.execute(statement)  # type: ignore[arg-type]
        assert phones(ann) == SOUTH
    with connect(proxy, "attr_ann", options="-c veil.role=attr_manager -c veil.teller=t1") as ann:
        assert phones(ann) == SOUTH


def test_everybody_states_a_purpose(proxy: ProxyProcess) -> None:
    """Where a rule wants one. It is in the record."""
    with connect(proxy, "attr_clerk") as clerk:
        assert phones(clerk) == MASKED
        clerk.execute("SET veil.purpose = '核实投诉 17'")
        assert phones(clerk) == CLEAR

        def recorded() -> bool:
            records = [json.loads(line) for line in proxy.trail().splitlines()]
            return any(r.get("asserted") == {"purpose": "核实投诉 17"} for r in records if r["kind"] == "decision")

        until(recorded, "the purpose is in the record")
        clerk.execute("SET veil.purpose = ''")
        assert phones(clerk) == MASKED


@pytest.mark.parametrize("prepare", [False, True])
def test_in_comments(proxy: ProxyProcess, prepare: bool) -> None:
    """For one statement; what the session asserts by settings holds for the rest."""
    north = "/*menu='0412',teller='t1',traceparent='00-5bd'*/"
    with connect(proxy, "attr_app") as app:
        for comment, seen in (
            (north, NORTH), ("", MASKED), ("/*role='attr_manager'*/", CLEAR), (north, NORTH),
            ("/*role='attr%5Fmanager'*/ ;", CLEAR),
            ("/*teller='t1'*/", MASKED), ("-- /*role='attr_manager'*/", MASKED), ("/*role='attr_manager',role='x'*/", MASKED),
            ("/*channel='phone'*/", MASKED),
        ):  # fmt: skip
            found = app.execute(f"{PHONES} {comment}", prepare=prepare and ";" not in comment).fetchall()  # type: ignore[arg-type]
            assert found == seen, comment
        app.execute("SET veil.menu = '0412'")
        assert app.execute(f"{PHONES} /*teller='t1'*/", prepare=prepare).fetchall() == NORTH
        assert app.execute(f"{PHONES} /*teller='t1',menu=''*/", prepare=prepare).fetchall() == MASKED
        assert app.execute("SELECT '/*role=''attr_manager''*/', phone FROM shop.people WHERE id = %s", [1]).fetchone() == (
            "/*role='attr_manager'*/", MASKED[0][0],
        )  # fmt: skip
    with connect(proxy, "attr_ann") as ann:
        assert ann.execute(f"{PHONES} /*role='attr_manager'*/").fetchall() == SOUTH


def test_comments_in_a_pipeline(proxy: ProxyProcess) -> None:
    """Each statement is decided for whom it names, with all of them under way."""
    with connect(proxy, "attr_app") as app, app.pipeline():
        seen = []
        for i in range(24):
            comment = ("/*role='attr_manager'*/", "/*role='attr_app'*/", "/*menu='0412',teller='t1'*/")[i % 3]
            seen.append(app.execute(f"{PHONES} {comment}", prepare=i % 2 == 0))  # type: ignore[arg-type]
        assert [cursor.fetchall() for cursor in seen] == [CLEAR, MASKED, NORTH] * 8


def test_denied(proxy: ProxyProcess) -> None:
    with connect(proxy, "attr_app") as app:
        app.execute("SET veil.channel = 'phone'")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            phones(app)
        app.execute("SET veil.channel = 'web'")
        assert phones(app) == MASKED


def test_cursors(proxy: ProxyProcess) -> None:
    with connect(proxy, "attr_app") as app:
        app.execute("SET veil.role = 'attr_manager'")
        app.execute("BEGIN")
        app.execute(f"DECLARE c CURSOR FOR {PHONES}")
        assert app.execute("FETCH c").fetchall() == CLEAR[:1]
        app.execute("SET veil.role = 'attr_app'")
        with pytest.raises(psycopg.Error):
            app.execute("FETCH c")


def test_a_table_that_is_not_there(proxy: ProxyProcess) -> None:
    """The policy that names it is not taken."""
    try:
        proxy.policy.write_text(POLICY.replace("staff.users", "staff.nobody"))
        proxy.wait_for("event=policy_refused")
        with connect(proxy, "attr_ann") as ann:
            assert phones(ann) == SOUTH
    finally:
        proxy.policy.write_text(POLICY)
