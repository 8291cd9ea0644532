"""Keyed masks end to end: installed by the command, used by a client, told to nobody."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psycopg
import pytest

from policies.keys import Keyring
from proxy.companion.install import CompanionError
from tests.support.keys import install
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
  customer: { level: C1, mask: { token: { key: customers } } }
  card: { level: C3, mask: { fpe: { keep: { first: 6 } } } }
  birthday: { level: C2, mask: { shift: 90 } }
columns:
  shop.people.ref: customer
  shop.orders.ref: customer
  shop.people.card: card
  shop.people.born: birthday
rules:
  - { name: staff, user: keyed_staff, columns: "*", show: clear }
"""
REF, CARD = "C-00017", "6222021234567890"
SETUP = f"""\
CREATE ROLE {CONTROL} LOGIN PASSWORD 'control';
CREATE ROLE keyed_guest LOGIN;
CREATE ROLE keyed_staff LOGIN;
CREATE ROLE keyed_root LOGIN SUPERUSER;
CREATE SCHEMA shop;
CREATE TABLE shop.people (ref text PRIMARY KEY, card text, born date);
CREATE TABLE shop.orders (ref text, amount int);
INSERT INTO shop.people VALUES ('{REF}', '{CARD}', '1980-02-29'), ('C-00018', NULL, NULL);
INSERT INTO shop.orders VALUES ('{REF}', 5), ('{REF}', 7), ('C-00018', 1);
GRANT USAGE ON SCHEMA shop TO PUBLIC;
GRANT SELECT ON ALL TABLES IN SCHEMA shop TO PUBLIC;
"""
SECRETS = {"default": bytes(range(32)), "customers": bytes(range(100, 132))}


@pytest.fixture(scope="module")
def server() -> Iterator[TestServer]:
    with TestServer(hba=HBA) as server:
        assert isinstance(server, TestServer)
        server.execute_sql("postgres", SETUP)
        yield server


@pytest.fixture(scope="module")
def proxy(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    """The schema is installed while the proxy is running, as somebody would who has just written the policy."""
    home = tmp_path_factory.mktemp("keyed") / "home"
    with ProxyProcess(home, server, policy=POLICY) as proxy:
        with connect(proxy, "keyed_guest") as guest, pytest.raises(psycopg.errors.InsufficientPrivilege, match="pgveil install"):
            guest.execute("SELECT ref FROM shop.people")
        for name, secret in SECRETS.items():
            path = home / f"{name}.key"
            path.write_text(base64.b64encode(secret).decode())
            path.chmod(0o600)
        (home / "keys.yaml").write_text("keys: { default: { file: default.key }, customers: { 1: { file: customers.key } } }")
        done = pgveil("install", "-c", proxy.config, "--keys", home / "keys.yaml", "--as", "postgres")
        assert done.returncode == 0, done.stderr
        assert "keys added: default@1, customers@1" in done.stdout
        yield proxy


def pgveil(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "proxy.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, **environment})


def connect(proxy: ProxyProcess, user: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(host="127.0.0.1", port=proxy.port, user=user, dbname="postgres", autocommit=True)


def test_joins_and_groups_go_by_the_token(proxy: ProxyProcess) -> None:
    token = Keyring({"customers": {1: SECRETS["customers"]}}).versions()["customers"][1].digest(REF).hex()[:32]
    with connect(proxy, "keyed_guest") as guest:
        join = "SELECT p.ref, sum(o.amount) FROM shop.people p JOIN shop.orders o USING (ref) GROUP BY 1 ORDER BY 2 DESC"
        rows = guest.execute(join).fetchall()
        assert rows[0] == (token, 12)
        assert len(rows) == 2
        assert guest.execute("SELECT count(*) FROM shop.orders WHERE ref = %s", [token]).fetchone() == (2,)
        assert guest.execute("SELECT count(*) FROM shop.orders WHERE ref = %s", [REF]).fetchone() == (0,)
    with connect(proxy, "keyed_staff") as staff:
        assert staff.execute(join).fetchall()[0] == (REF, 12)


def test_form_is_kept(proxy: ProxyProcess) -> None:
    with connect(proxy, "keyed_guest") as guest:
        row = guest.execute("SELECT card, born FROM shop.people WHERE card IS NOT NULL", binary=True).fetchone()
        assert row is not None
        card, born = str(row[0]), row[1]
        assert (card[:6], len(card), card.isdigit()) == (CARD[:6], len(CARD), True)
        assert card != CARD
        assert str(born) != "1980-02-29"


@pytest.mark.parametrize("user", ["keyed_guest", "keyed_root"])
@pytest.mark.parametrize(
    "statement",
    [
        f"SELECT pgveil.digest('customers', 0, '{REF}')",
        f"SELECT p.card FROM shop.people p WHERE encode(pgveil.digest('customers', 1, '{REF}'), 'hex') LIKE p.ref || '%'",
        f"SELECT pgveil.fpe('default', 0, '{CARD}', '0123456789', 6, 0, '')",
        "SELECT pgveil.ff1(k, 10, '{1,2,3,4,5,6}', '') FROM pgveil.key k",
        "SELECT * FROM pgveil.key",
        "TABLE pgveil.key",
        "COPY pgveil.key TO STDOUT",
        "SELECT * FROM pgveil.keys()",
        "SET search_path = pgveil; SELECT digest('customers', 0, 'x')",
        "CREATE TEMP VIEW v AS SELECT * FROM pgveil.key",
        "DO $$ BEGIN PERFORM pgveil.digest('customers', 0, 'x'); END $$",
        "CREATE FUNCTION pg_temp.f() RETURNS bytea LANGUAGE sql AS $$ SELECT pgveil.digest('customers', 0, 'x') $$",
        "CREATE OR REPLACE FUNCTION pgveil.find_key(key_name text, key_version int) RETURNS pgveil.key"
        " LANGUAGE sql AS 'SELECT NULL::pgveil.key'",
        "INSERT INTO pgveil.key SELECT * FROM pgveil.key",
        "UPDATE pgveil.key SET version = 9",
        "DROP TABLE pgveil.key CASCADE",
        "ALTER TABLE pgveil.key OWNER TO CURRENT_USER",
        "GRANT SELECT ON pgveil.key TO PUBLIC",
        "GRANT pgveil_owner TO CURRENT_USER",
        "SET ROLE pgveil_owner; SELECT * FROM pgveil.key",
    ],
)
def test_masked_sessions_get_nowhere_near(proxy: ProxyProcess, user: str, statement: str) -> None:
    """With digests of guesses at hand, every phone number of the country would be known in a minute. Superusers too."""
    with connect(proxy, user) as session, pytest.raises(psycopg.Error) as error:
        session.execute(statement)
    assert error.value.sqlstate in ("42501", "0A000", "42883"), error.value


def test_keys_are_in_nobodys_sight(proxy: ProxyProcess, server: TestServer) -> None:
    """Neither for a login that goes around the proxy, nor in what the server shows of statements, nor in pgveil's own records."""
    with psycopg.connect(host="127.0.0.1", port=server.port, user="keyed_guest", dbname="postgres", autocommit=True) as around:
        for statement in ("SELECT * FROM pgveil.key", "SELECT pgveil.find_key('default', 0)", "SET ROLE pgveil_owner"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                around.execute(statement)  # type: ignore[arg-type]
    until(lambda: "customers" not in proxy.text(), "the log names no key")
    everything = proxy.trail() + proxy.text()
    for secret in SECRETS.values():
        for form in (secret.hex(), base64.b64encode(secret).decode()):
            assert form not in everything


def test_a_key_that_is_missing_is_an_error(proxy: ProxyProcess, server: TestServer) -> None:
    """Never a value in clear, nor a value under another key."""
    text = POLICY.replace("key: customers", "key: customers@7")
    with connect(proxy, "keyed_guest") as guest:
        try:
            proxy.policy.write_text(text)
            until(lambda: failing(guest), "the policy is in force")
        finally:
            proxy.policy.write_text(POLICY)
        until(lambda: not failing(guest), "the policy is in force again")


def failing(guest: psycopg.Connection[tuple[object, ...]]) -> bool:
    try:
        return "C-0" in str(guest.execute("SELECT ref FROM shop.orders").fetchall())
    except psycopg.errors.ConfigFileError:
        return True


def test_versions(server: TestServer) -> None:
    """The newest counts. What is there stays what it is, and installing again changes nothing."""
    server.execute_sql("postgres", "CREATE DATABASE keyed_versions")
    first = install(server, "keyed_versions", Keyring({"k": {1: bytes(32)}}))
    assert (first.added, first.present) == (("k@1",), 0)
    assert install(server, "keyed_versions", Keyring({"k": {1: bytes(32)}})).added == ()
    with pytest.raises(CompanionError, match="another one"):
        install(server, "keyed_versions", Keyring({"k": {1: b"x" * 32}}))
    assert install(server, "keyed_versions", Keyring({"k": {1: bytes(32), 2: b"x" * 32}})).added == ("k@2",)
    found = server.execute_sql(
        "keyed_versions", "SELECT pgveil.digest('k', 0, 'v') = pgveil.digest('k', 2, 'v'), pgveil.digest('k', 1, 'v') IS NULL"
    )
    assert "t" in found
    server.execute_sql("postgres", "DROP DATABASE keyed_versions")


def test_who_may_install(server: TestServer) -> None:
    """Nobody who could not make a schema; and not where the schema, or its owner, is somebody else's."""
    server.execute_sql("postgres", "CREATE DATABASE keyed_who; CREATE ROLE keyed_owner LOGIN CREATEROLE")
    ring = Keyring({"k": {1: bytes(32)}})
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        install(server, "keyed_who", ring, user="keyed_guest")
    server.execute_sql("keyed_who", "CREATE SCHEMA pgveil AUTHORIZATION keyed_guest")
    with pytest.raises(CompanionError, match="belongs to keyed_guest"):
        install(server, "keyed_who", ring)
    server.execute_sql("keyed_who", "DROP SCHEMA pgveil; GRANT pgveil_owner TO keyed_guest")
    with pytest.raises(CompanionError, match="has members"):
        install(server, "keyed_who", ring)
    server.execute_sql("keyed_who", "REVOKE pgveil_owner FROM keyed_guest")
    server.execute_sql("postgres", "DROP DATABASE keyed_who; DROP ROLE keyed_owner")


def test_keygen(tmp_path: Path) -> None:
    path = tmp_path / "new.key"
    assert pgveil("keygen", path).returncode == 0
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(base64.b64decode(path.read_text())) == 32
    again = pgveil("keygen", path)
    assert again.returncode == 1
    assert str(path) in again.stderr
