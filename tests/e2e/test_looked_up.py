"""Who looked for this person: whatever client and way a value comes by, the audit record has its digest, and never the value."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import asyncpg
import psycopg
import pytest
from jsonschema import Draft7Validator

from proxy.audit.key import load_key
from proxy.audit.shape import audit_schema
from proxy.audit.values import DigestKeys, ValueDigest
from tests.support.postgres import TestServer
from tests.support.proxy import CONTROL, ProxyProcess

HBA = f"""\
host all postgres 127.0.0.1/32 trust
host all {CONTROL} 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
"""
PHONE, NAME, BORN = "13912345678", "欧阳娜娜", date(1987, 6, 5)
CARD = UUID("3f2c8f5e-0a1b-4c2d-9e3f-123456789abc")
SETUP = f"""\
CREATE ROLE {CONTROL} LOGIN PASSWORD 'control';
CREATE ROLE pgveil_test_staff;
CREATE ROLE values_seer LOGIN IN ROLE pgveil_test_staff;
CREATE ROLE values_blind LOGIN;
CREATE SCHEMA shop;
CREATE TABLE shop.people (id bigint, phone text, name text, born date, card uuid, worth numeric(12,2));
INSERT INTO shop.people VALUES (8005551234567, '{PHONE}', '{NAME}', '{BORN}', '{CARD}', 98765.40);
GRANT USAGE ON SCHEMA shop TO PUBLIC;
GRANT SELECT ON shop.people TO PUBLIC;
"""
BY_PHONE = "SELECT name FROM shop.people WHERE phone = "
USERS = ("values_seer", "values_blind")


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    with TestServer(hba=HBA) as server:
        assert isinstance(server, TestServer)
        server.execute_sql("postgres", SETUP)
        with ProxyProcess(tmp_path_factory.mktemp("values") / "home", server) as proxy:
            yield proxy


class Watched:
    """Runs something and answers the decisions that it has left."""

    def __init__(self, proxy: ProxyProcess) -> None:
        self.proxy = proxy
        self.digest = ValueDigest(DigestKeys.of(load_key(proxy.home / "audit.key")).value)

    def records(self, run: Callable[[], object]) -> list[dict]:
        before = len(self.proxy.trail())
        run()
        records = [json.loads(line) for line in self.proxy.trail()[before:].splitlines()]
        return [r for r in records if r["kind"] in ("decision", "refused")]

    def digests(self, run: Callable[[], object]) -> set[str]:
        """Of all values of statements that touch the table."""
        return {d for r in self.records(run) if r["touches"] or r["refusal"] for d in (*(r["values"] or ()), *(r["binds"] or ()))}

    def dsn(self, user: str) -> str:
        return f"host=127.0.0.1 port={self.proxy.port} user={user} dbname=postgres"


@pytest.fixture
def watched(proxy: ProxyProcess) -> Watched:
    return Watched(proxy)


def psql(dsn: str, *texts: str, encoding: str = "UTF8", script: bytes | None = None) -> None:
    commands = [word for text in texts for word in ("-c", text)]
    environment = {"PGCLIENTENCODING": encoding, "PATH": "/usr/bin:/bin"}
    subprocess.run(["psql", "-X", "-q", *commands, dsn], input=script, check=True, capture_output=True, env=environment)


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize(
    "text",
    [
        f"{BY_PHONE}'{PHONE}'",
        f"{BY_PHONE}E'\\061{PHONE[1:]}'",
        f"{BY_PHONE}U&'\\0031{PHONE[1:]}'",
        f"{BY_PHONE}$${PHONE}$$",
        f"{BY_PHONE}'{PHONE[:5]}'\n'{PHONE[5:]}'",
        f"{BY_PHONE}ANY ('{{1,{PHONE}}}')",
        f"SELECT name FROM shop.people WHERE phone LIKE '%{PHONE}%'",
        f"SELECT name FROM shop.people WHERE phone IN ('1', '{PHONE}')",
        f"PREPARE p(text) AS {BY_PHONE}$1; EXECUTE p('{PHONE}')",
        f"SELECT 1; {BY_PHONE}'{PHONE[:3]}-{PHONE[3:7]}-{PHONE[7:]}'",
    ],
)
def test_literals(watched: Watched, user: str, text: str) -> None:
    assert watched.digest(PHONE) in watched.digests(lambda: psql(watched.dsn(user), text))


@pytest.mark.parametrize("user", USERS)
def test_a_gbk_client(watched: Watched, user: str) -> None:
    script = f"SELECT phone FROM shop.people WHERE name = '{NAME}';\n".encode("gbk")
    assert watched.digest(NAME) in watched.digests(lambda: psql(watched.dsn(user), encoding="GBK", script=script))


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("phone", PHONE, PHONE), ("id", 8005551234567, "8005551234567"), ("born", BORN, "1987-06-05"), ("card", CARD, str(CARD)),
        ("worth", Decimal("98765.40"), "98765.4"), ("name", NAME, NAME),
    ],
)  # fmt: skip
def test_parameters_of_psycopg(watched: Watched, user: str, binary: bool, column: str, value: object, said: str) -> None:
    def run() -> None:
        mark = "%b" if binary else "%t"
        with psycopg.connect(watched.dsn(user), autocommit=True) as connection:
            connection.execute(f"SELECT phone FROM shop.people WHERE {column} = {mark}", (value,))

    wanted = {watched.digest(said), watched.digest(str(value))}
    assert wanted & watched.digests(run)


@pytest.mark.parametrize("user", USERS)
def test_parameters_of_asyncpg(watched: Watched, user: str) -> None:
    """In binary form, of types that only the server has told."""

    async def run() -> None:
        connection = await asyncpg.connect(
            host="127.0.0.1", port=watched.proxy.port, user=user, database="postgres", statement_cache_size=10
        )
        try:
            for _ in range(2):
                await connection.fetch(BY_PHONE + "$1", PHONE)
            await connection.fetch(
                "SELECT phone FROM shop.people WHERE id = $1 AND born = $2 AND card = $3", 8005551234567, BORN, CARD
            )
            await connection.fetch(
                "SELECT phone FROM shop.people WHERE worth = $1 OR phone = ANY ($2)", Decimal("98765.40"), ["x", NAME]
            )
        finally:
            await connection.close()

    found = watched.digests(lambda: asyncio.run(run()))
    assert {watched.digest(v) for v in (PHONE, "8005551234567", "1987-06-05", str(CARD), "98765.4", NAME)} <= found


def test_null_and_pipelines(watched: Watched) -> None:
    def run() -> None:
        with psycopg.connect(watched.dsn("values_blind"), autocommit=True) as connection, connection.pipeline():
            for value in (PHONE, None, "2"):
                connection.execute(BY_PHONE + "%s", (value,))

    binds = [r["binds"] for r in watched.records(run) if r["touches"]]
    assert binds == [[watched.digest(PHONE)], [None], [watched.digest("2")]]


def test_nothing_of_it_is_in_the_trail_itself(watched: Watched) -> None:
    """After all that was looked for above."""
    trail = watched.proxy.trail()
    assert trail.count('"kind":"decision"') > 30
    assert not [v for v in (PHONE, PHONE[3:], NAME, "8005551234567", "98765", str(CARD)) if v in trail]


def test_every_record_has_the_documented_shape(watched: Watched) -> None:
    schema = Draft7Validator(audit_schema())
    records = [json.loads(line) for line in watched.proxy.trail().splitlines()]
    assert {r["kind"] for r in records} >= {"segment", "start", "policy", "login", "decision", "logout"}
    for record in records:
        schema.validate(record)


def test_people_behind_an_application_and_the_highest_level(watched: Watched) -> None:
    seen, masked = (watched.records(lambda u=user: psql(watched.dsn(u), f"{BY_PHONE}'x'")) for user in USERS)  # type: ignore[misc]
    assert [(r["person"], r["clear"]) for r in (*seen, *masked)] == [("values_seer", None), ("values_blind", None)]
    (out,) = watched.records(lambda: psql(watched.dsn("values_seer"), "SELECT phone FROM shop.people"))
    assert (out["clear"], out["touches"][0]["rule"]) == ("C2", "staff see it")


@pytest.mark.parametrize("user", USERS)
def test_what_stands_behind_a_name_is_told(watched: Watched, user: str) -> None:
    """EXECUTE and FETCH touch what the statement touches that they run."""

    def run() -> None:
        with psycopg.connect(watched.dsn(user)) as connection:
            connection.execute("PREPARE p AS SELECT phone FROM shop.people", prepare=False)
            connection.execute("EXECUTE p", prepare=False)
            connection.execute("DECLARE c CURSOR FOR SELECT phone FROM shop.people", prepare=False)
            connection.execute("FETCH c", prepare=False)
            connection.execute("FETCH 1 FROM c", (), binary=True)  # by the extended protocol
            connection.execute("CLOSE c", prepare=False)

    show = "clear" if user == "values_seer" else "mask"
    told = {r["statement"]: [(t["column"], t["use"], t["show"]) for t in r["touches"]] for r in watched.records(run)}
    assert told["EXECUTE"] == told["FETCH"] == [("phone", "output", show)]
    assert told["CLOSE"] == []


def test_full_texts_without_passwords(tmp_path: Path) -> None:
    with TestServer(hba=HBA) as server:
        assert isinstance(server, TestServer)
        server.execute_sql("postgres", SETUP)
        with ProxyProcess(tmp_path / "home", server, audit="{ directory: audit, text: full, values: none }") as proxy:
            dsn = f"host=127.0.0.1 port={proxy.port} user=postgres dbname=postgres"
            psql(dsn, f"{BY_PHONE}'{PHONE}'", "ALTER ROLE values_blind PASSWORD 'hush-hush'", "SELECT 'password', 'hush-hush'")
            trail = proxy.trail()
        assert PHONE in trail
        assert "hush" not in trail
        assert '"values":null,"values_whole":null,"binds":null' in trail
