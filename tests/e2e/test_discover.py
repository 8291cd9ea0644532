"""`pgveil discover` on a real server: what it finds, what it writes, and that no value leaves it."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from click.testing import CliRunner, Result
from psycopg.types.json import Jsonb

from policies.check import problems
from policies.dictionary import classify
from policies.load import load_policy
from proxy.cli import cli
from proxy.control.catalog import CatalogReader
from proxy.control.connection import Target, connect
from tests.discovery import values as v
from tests.support.postgres import TestServer

ROWS = 60
SCHEMA = '''
CREATE SCHEMA bank;
CREATE TABLE bank.customers (id int PRIMARY KEY, note1 text, nm varchar(40), mobile int8, phones text[], doc jsonb, born text,
  "Odd.Name ""x""" text, flag bool, big text, raw bytea);
CREATE TABLE bank.products (id int, name text, phone text);
CREATE TABLE bank.hidden (id_card text);
CREATE TABLE bank.log (at date, caller text) PARTITION BY RANGE (at);
CREATE TABLE bank.log_1 PARTITION OF bank.log FOR VALUES FROM ('2020-01-01') TO ('2030-01-01');
CREATE VIEW bank.v AS SELECT nm FROM bank.customers;
COMMENT ON COLUMN bank.hidden.id_card IS '身份证号';
CREATE FUNCTION bank.substr(text, int, int) RETURNS text LANGUAGE sql AS 'SELECT pg_catalog.pg_sleep(1000)::text';
'''
FOUND = {
    "bank.customers.note1": "id_card",
    "bank.customers.nm": "name",
    "bank.customers.mobile": "phone",
    "bank.customers.phones": "phone",
    "bank.customers.doc": "profile",
    "bank.customers.born": "birthday",
    'bank.customers."Odd.Name ""x"""': "email",
    "bank.hidden.id_card": "id_card",
    "bank.log.caller": "phone",
}


class World:
    def __init__(self, database: str, home: Path) -> None:
        self.database = database
        self.home = home
        self.secrets: set[str] = set()
        self.output = home / "dictionary.yaml"

    def fill(self) -> None:
        r = random.Random(3)
        columns = (v.id18, v.person_zh, v.mobile_int, v.phones, v.json_person, v.dob_text, v.email)
        with psycopg.connect(self.database) as connection:
            connection.execute(SCHEMA)
            for number in range(ROWS):
                row = [generator(r) for generator in columns]
                self.secrets |= {str(x) for x in (*row, *row[3], *row[4].values()) if len(str(x)) > 5 or not str(x).isdigit()}
                big = "x" * 3_000_000 if number == 0 else None
                given = [Jsonb(x) if isinstance(x, dict) else x for x in row]
                connection.execute(
                    "INSERT INTO bank.customers VALUES (%s, %s, %s, %s, %s, %s, %s, %s, true, %s, 'x')", [number, *given, big]
                )
                product = [number, v.GENERATORS["product_zh"](r), v.model_no(r)]
                connection.execute("INSERT INTO bank.products VALUES (%s, %s, %s)", product)
                connection.execute("INSERT INTO bank.log VALUES ('2024-02-03', %s)", [v.mobile(r)])
            connection.execute("INSERT INTO bank.hidden VALUES ('x')")
            connection.execute("DROP ROLE IF EXISTS finder")
            connection.execute("CREATE ROLE finder LOGIN PASSWORD 'p'")
            connection.execute("GRANT USAGE ON SCHEMA bank TO finder")
            connection.execute("GRANT SELECT ON bank.customers, bank.products, bank.log TO finder")

    def drop(self) -> None:
        with psycopg.connect(self.database, autocommit=True) as connection:
            connection.execute("DROP OWNED BY finder")
            connection.execute("DROP ROLE finder")

    def run(self, *options: str, status: int = 0) -> Result:
        at = urlsplit(self.database)
        where = ["--host", str(at.hostname), "--port", str(at.port), "--database", at.path.lstrip("/"), "--user", "finder"]
        got = CliRunner().invoke(cli, ["discover", *where, *options], env={"PGPASSWORD": "p"})
        assert got.exit_code == status, got.output
        text = got.output + "".join(p.read_text(encoding="utf-8") for p in self.home.iterdir())
        assert not [s for s in self.secrets if s in text]
        return got

    def execute(self, sql: str) -> None:
        with psycopg.connect(self.database, autocommit=True) as connection:
            connection.execute(sql)


@pytest.fixture
def world(postgres: TestServer, database: str, tmp_path: Path) -> Iterator[World]:
    made = World(database if "://" in database else postgres.dsn("postgres", database), tmp_path)
    made.fill()
    yield made
    made.drop()


async def findings(world: World) -> list[str]:
    """What `pgveil check` would say of the dictionary."""
    at = urlsplit(world.database)
    connection = await connect(Target(str(at.hostname), int(at.port or 0), "postgres"), at.path.lstrip("/"))
    try:
        relations = (await CatalogReader().read(connection)).catalog.relations
    finally:
        await connection.close()
    policy = load_policy([world.output])
    return [str(p) for p in problems(policy, classify(policy, relations), relations)]


def test_proposal_merge_and_drift(world: World) -> None:
    kept = world.home / "last.json"
    first = world.run("-o", str(world.output), "--save", str(kept))
    policy = load_policy([world.output])
    assert {e.pattern.source: e.data_class for e in policy.entries} == FOUND
    assert "bank.hidden: this login may not read it" in first.output
    assert "[1/4] bank.customers: 60 rows" in first.stderr
    assert asyncio.run(findings(world)) == []
    before = world.output.read_text(encoding="utf-8")
    world.run("-o", str(world.output))
    assert world.output.read_text(encoding="utf-8") == before

    edited = before.replace("bank.customers.nm: name", "bank.customers.nm: public")
    world.output.write_text(edited, encoding="utf-8")
    world.execute("ALTER TABLE bank.customers ADD mail text; ALTER TABLE bank.customers DROP born")
    world.run("-o", str(world.output))
    after = world.output.read_text(encoding="utf-8")
    assert [line for line in edited.splitlines() if line not in after.splitlines()] == []
    assert {e.pattern.source: e.data_class for e in load_policy([world.output]).entries} == {
        **FOUND,
        "bank.customers.nm": "public",
        "bank.customers.mail": "email",
    }


def test_drift_for_cron(world: World) -> None:
    config = world.home / "pgveil.yaml"
    kept = world.home / "last.json"
    world.run("-o", str(world.output), "--save", str(kept), "-q")
    at = urlsplit(world.database)
    config.write_text(
        f"upstream: {{ host: {at.hostname}, port: {at.port} }}\ncontrol: {{ user: x }}\npolicy: dictionary.yaml\n"
        "audit: { directory: audit }\ndiscovery: { user: finder, password: p }\n"
    )
    drifting = ["-c", str(config), "--drift", "--baseline", str(kept), "-q"]
    assert world.run(*drifting).output.endswith("0 findings\nnote: bank.hidden: this login may not read it\n")
    world.execute(
        "ALTER TABLE bank.customers ADD mobile2 text; ALTER TABLE bank.customers ADD colour text; "
        "ALTER TABLE bank.customers DROP born; ALTER TABLE bank.customers ALTER mobile TYPE text; "
        "UPDATE bank.products SET phone = (SELECT note1 FROM bank.customers c WHERE c.id = products.id)"
    )
    got = json.loads(world.run(*drifting, "--format", "json", status=1).output)
    assert {(d["what"], d["column"]) for d in got["drift"]} == {
        ("unclassified", "bank.customers.mobile2"),
        ("new", "bank.customers.colour"),
        ("gone", "bank.customers.born"),
        ("type changed", "bank.customers.mobile"),
        ("unclassified", "bank.products.phone"),
    }


@pytest.mark.parametrize("form", ["table", "json", "csv", "html", "yaml"])
def test_formats(world: World, form: str) -> None:
    out = world.run("--format", form, "--public", "--only", "bank.customers", "-q").output
    assert "note1" in out
    assert "products" not in out
    if form == "json":
        columns = {c["column"]: c for c in json.loads(out)["columns"]}
        assert (columns["note1"]["class"], columns["note1"]["status"], columns["note1"]["level"]) == ("id_card", "proposed", "C2")
    if form == "yaml":
        assert "bank.customers.flag: public" in out


def test_out_of_time_names_decide(world: World) -> None:
    out = world.run("--statement-time", "0.1", "--time", "1", "--rows", "5").output
    assert "bank.customers.note1" in out
    with psycopg.connect(world.database) as holder:
        holder.execute("LOCK TABLE bank.customers")
        locked = world.run("--only", "bank.customers", "-q").output
    assert "note: bank.customers: SQLSTATE" in locked
    assert "bank.customers.mobile" in locked


def test_large_tables_are_sampled(world: World) -> None:
    world.execute("CREATE TABLE bank.large AS SELECT n, repeat('z', 200) pad FROM generate_series(1, 60000) n")
    world.execute("GRANT SELECT ON bank.large TO finder; ANALYZE bank.large")
    out = json.loads(world.run("--only", "bank.large", "-q", "--format", "json").output)
    assert {c["rows"] for c in out["columns"]} == {500}


def test_a_database_without_an_encoding(world: World) -> None:
    at = urlsplit(world.database)
    name = at.path.lstrip("/") + "_ascii"
    world.execute(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    try:
        with psycopg.connect(world.database.replace(at.path, "/" + name), autocommit=True) as connection:
            connection.execute("CREATE TABLE k (a text, b text)")
            connection.execute("GRANT SELECT ON k TO finder")
            r = random.Random(4)
            for _ in range(ROWS):
                row = [v.person_zh(r).encode("gbk"), v.address_zh(r).encode()]
                sql = "INSERT INTO k VALUES (convert_from(%s, 'SQL_ASCII'), convert_from(%s, 'SQL_ASCII'))"
                connection.execute(sql, row)
        out = json.loads(world.run("--database", name, "-q", "--format", "json").output)
        assert {c["column"]: c["class"] for c in out["columns"]} == {"a": "name", "b": "address"}
    finally:
        world.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_no_login(tmp_path: Path) -> None:
    got = CliRunner().invoke(cli, ["discover", "--host", "127.0.0.1", "--database", "x"], env=dict(os.environ))
    assert got.exit_code == 1
    assert "no login to read tables with" in got.output


def test_standards_are_listed() -> None:
    got = CliRunner().invoke(cli, ["standards"])
    assert got.exit_code == 0
    assert "jrt-0171" in got.output
    assert CliRunner().invoke(cli, ["standards", "gdpr"]).output.startswith("# General Data Protection Regulation")
