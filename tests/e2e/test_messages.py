"""Messages of a real server through the proxy: whatever a masked session provokes, no stored value comes with it.

The table's triggers fail, warn and notify with the raw row; the session lowers its message level and asks for plans.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.support.postgres import TestServer
from tests.support.proxy import CONTROL, ProxyProcess

CANARY = "13899990000"
ROLE = "pgveil_test_messages"
POLICY = """\
version: 1
classes:
  phone: { level: C2, mask: { keep: { first: 3, last: 0 } } }
columns:
  shop.people.phone: phone
  shop.parts.phone: phone
rules: []
functions: { allow: [shop.act] }
"""
SCHEMA = f"""
CREATE SCHEMA shop;
CREATE TABLE shop.people (id int PRIMARY KEY, phone text, branch text, used int CHECK (used < 100), CHECK (branch <> 'none'));
INSERT INTO shop.people VALUES (1, '{CANARY}', 'BJ', 1);
CREATE TABLE shop.parts (id int, phone text) PARTITION BY RANGE (id);
CREATE TABLE shop.parts_1 PARTITION OF shop.parts FOR VALUES FROM (0) TO (10);
INSERT INTO shop.parts VALUES (1, '{CANARY}');
CREATE TABLE shop.log (id int PRIMARY KEY, phone_was int);
CREATE FUNCTION shop.act() RETURNS trigger LANGUAGE plpgsql AS $f$
BEGIN
  CASE NEW.branch
    WHEN 'raise' THEN RAISE EXCEPTION 'it is %', OLD.phone USING HINT = OLD.phone, DETAIL = OLD.phone;
    WHEN 'state' THEN RAISE EXCEPTION 'it is %', OLD.phone USING ERRCODE = '23505', CONSTRAINT = 'c';
    WHEN 'warn' THEN RAISE WARNING 'it is %', OLD.phone;
    WHEN 'cast' THEN NEW.used := ('x' || OLD.phone)::int;
    WHEN 'execute' THEN EXECUTE format('DROP TABLE %I', OLD.phone);
    WHEN 'skip' THEN EXECUTE format('DROP TABLE IF EXISTS %I', OLD.phone);
    WHEN 'notify' THEN PERFORM pg_notify('people', OLD.phone);
    WHEN 'insert' THEN INSERT INTO shop.log VALUES (1, 1 / (length(OLD.phone) - 11));
    ELSE NULL;
  END CASE;
  RETURN NEW;
END $f$;
CREATE TRIGGER act BEFORE UPDATE ON shop.people FOR EACH ROW EXECUTE FUNCTION shop.act();
CREATE ROLE {ROLE} LOGIN PASSWORD '{ROLE}';
GRANT USAGE ON SCHEMA shop TO {ROLE};
GRANT ALL ON ALL TABLES IN SCHEMA shop TO {ROLE};
CREATE ROLE {CONTROL} LOGIN PASSWORD 'control';
"""


@pytest.fixture(scope="module")
def server() -> Iterator[TestServer]:
    with TestServer() as running:
        assert isinstance(running, TestServer)
        running.execute_sql("postgres", SCHEMA)
        yield running


@pytest.fixture(scope="module")
def proxy(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    with ProxyProcess(tmp_path_factory.mktemp("messages"), server, policy=POLICY) as running:
        yield running


@pytest.fixture
def client(proxy: ProxyProcess) -> Iterator[tuple[psycopg.Connection, list[str]]]:
    """A connection of a masked session, and everything that notices and notifications have brought."""
    dsn = f"host=127.0.0.1 port={proxy.port} user={ROLE} password={ROLE} dbname=postgres sslmode=disable"
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as connection:
        heard: list[str] = []
        connection.add_notice_handler(lambda n: heard.append(_everything(n)))
        connection.add_notify_handler(lambda n: heard.append(f"notification {n.payload}"))
        yield connection, heard


def _everything(diag: psycopg.errors.Diagnostic) -> str:
    names = [n for n in dir(diag) if not n.startswith("_")]
    return " ".join(f"{n}={getattr(diag, n)}" for n in names if isinstance(getattr(diag, n), str))


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("UPDATE shop.people SET branch = 'raise'", "P0001"),
        ("UPDATE shop.people SET branch = 'state'", "23505"),
        ("UPDATE shop.people SET branch = 'cast'", "22P02"),
        ("UPDATE shop.people SET branch = 'execute'", "42P01"),
        ("UPDATE shop.people SET branch = 'insert'", "22012"),
        ("UPDATE shop.people SET used = 100", "23514"),
        ("UPDATE shop.people SET branch = 'none'", "23514"),
        ("UPDATE shop.parts_1 SET id = 10", "23514"),
        ("UPDATE shop.parts SET id = 10", "23514"),
        ("INSERT INTO shop.people (id) VALUES (1)", "23505"),
        ("SELECT phone::int FROM shop.people WHERE phone = '138'", None),
        ("SELECT ('x' || phone)::int FROM shop.people", "22P02"),
    ],
)
def test_errors(client: tuple[psycopg.Connection, list[str]], text: str, state: str | None) -> None:
    connection, heard = client
    for level in ("notice", "debug5"):
        connection.execute(f"SET client_min_messages = {level}".encode())
        error = _error(connection, text)
        if error is not None:
            assert CANARY not in _everything(error.diag)
            assert error.diag.message_detail is None
        assert (error.sqlstate if error is not None else None) == state
    assert CANARY not in " ".join(heard)


def _error(connection: psycopg.Connection, text: str) -> psycopg.Error | None:
    try:
        connection.execute(text.encode())
    except psycopg.Error as e:
        return e
    return None


@pytest.mark.parametrize("branch", ["raise", "cast", "execute"])
def test_without_the_proxy_they_tell(server: TestServer, branch: str) -> None:
    with psycopg.connect(server.dsn(ROLE, "postgres", ROLE), autocommit=True) as connection:
        error = _error(connection, f"UPDATE shop.people SET branch = '{branch}'")
        assert error is not None
        assert CANARY in _everything(error.diag)


@pytest.mark.parametrize("branch", ["warn", "skip", "notify"])
def test_notices_and_notifications(client: tuple[psycopg.Connection, list[str]], branch: str) -> None:
    connection, heard = client
    connection.execute("LISTEN people")
    connection.execute(f"UPDATE shop.people SET branch = '{branch}'".encode())
    connection.execute("SELECT 1")
    assert heard
    assert CANARY not in " ".join(heard)


def test_plans_in_the_log_messages(client: tuple[psycopg.Connection, list[str]]) -> None:
    connection, heard = client
    for setting in ("debug_print_plan", "debug_print_parse", "debug_print_rewritten"):
        connection.execute(f"SET {setting} = on".encode())
    connection.execute("SET client_min_messages = log")
    connection.execute("SELECT count(*) FROM shop.people")
    assert len(heard) > 2
    assert not [h for h in heard if "message_primary=message withheld by pgveil" not in h]
    assert not [h for h in heard if "PLANNEDSTMT" in h or "QUERY" in h]


def test_a_copy_names_the_clients_own_line(client: tuple[psycopg.Connection, list[str]]) -> None:
    connection, _ = client
    with (
        pytest.raises(psycopg.errors.InvalidTextRepresentation) as caught,
        connection.cursor() as cursor,
        cursor.copy("COPY shop.people (id, branch) FROM STDIN") as copy,
    ):
        copy.write("seven\tBJ\n")
    assert 'invalid input syntax for type integer: "seven"' in str(caught.value)
