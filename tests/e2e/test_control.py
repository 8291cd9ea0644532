"""The control plane on a real PostgreSQL: what an unprivileged login reads, and how changes reach the sessions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from policies.model import Show
from proxy.control.catalog import CatalogRead, CatalogReader, read_stamp
from proxy.control.connection import Target, connect
from proxy.control.errors import ControlUnavailable
from proxy.control.picture import Options, View
from proxy.control.plane import ControlPlane
from proxy.engine import PolicyEngine
from proxy.session.effects import Identity
from rewrite.catalog import Catalog, Column, Reference
from rewrite.plan import Plan, PlanContext
from tests.support.postgres import TestServer

CONTROL = "control_test"
NOW = 1_700_000_000.0
DEADLINE = 10.0

SCHEMA = """
CREATE SCHEMA bank;
CREATE DOMAIN bank.phone_t AS text CONSTRAINT fmt CHECK (VALUE ~ '^1[0-9]{10}$');
CREATE DOMAIN bank.short_t AS varchar(10);
CREATE DOMAIN bank.vip_phone AS bank.phone_t;
CREATE DOMAIN bank.names_t AS varchar(7)[];
CREATE TYPE bank."Colour" AS ENUM ('red', 'green');
CREATE TYPE bank.pair AS (a int, b bank.phone_t);
CREATE SCHEMA "Nasty.Schema";
CREATE DOMAIN "Nasty.Schema"."type(3)" AS numeric(7,2);
CREATE DOMAIN "Nasty.Schema"."select" AS int NOT NULL;
CREATE TABLE bank.customers (
  id int PRIMARY KEY, gone text, phone bank.phone_t UNIQUE, "姓名" varchar(20) NOT NULL, balance numeric(18,2),
  lower_name text GENERATED ALWAYS AS (lower("姓名")) STORED, branch text DEFAULT 'main');
ALTER TABLE bank.customers DROP COLUMN gone;
CREATE UNIQUE INDEX ON bank.customers (lower(branch), balance);
CREATE TABLE bank.corporate (tax_no text) INHERITS (bank.customers);
CREATE TABLE bank.tx (id int, ts date, amount numeric(10,2)) PARTITION BY RANGE (ts, (id % 2));
CREATE TABLE bank.tx_1 PARTITION OF bank.tx FOR VALUES FROM ('2024-01-01', 0) TO ('2024-02-01', 0);
CREATE VIEW bank.v WITH (security_barrier) AS SELECT id, phone FROM bank.customers;
CREATE VIEW bank.vv AS SELECT * FROM bank.v;
CREATE MATERIALIZED VIEW bank.mv AS SELECT id FROM bank.v;
CREATE RULE noop AS ON UPDATE TO bank.vv DO INSTEAD NOTHING;
ALTER TABLE bank.customers ENABLE ROW LEVEL SECURITY;
CREATE FUNCTION bank.label(int) RETURNS text LANGUAGE sql STABLE AS 'SELECT $1::text';
CREATE FUNCTION bank.to_pair(int) RETURNS bank.pair LANGUAGE sql STABLE AS 'SELECT ROW($1, NULL)::bank.pair';
CREATE CAST (int AS bank.pair) WITH FUNCTION bank.to_pair(int);
CREATE FUNCTION bank.is_even(int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT $1 % 2 = 0';
CREATE DOMAIN bank.even_t AS int CHECK (bank.is_even(VALUE));
CREATE OPERATOR bank.~> (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq);
CREATE EXTENSION pg_trgm SCHEMA public;
CREATE TABLE bank.watch (id int, hotline text DEFAULT '13800001234', code text CHECK (code <> '11010119900307123X'));
CREATE INDEX watch_hot ON bank.watch (id) WHERE hotline = '13912345678';
CREATE STATISTICS bank.watch_stat ON (hotline = '13712345678'), id FROM bank.watch;
CREATE TABLE bank.talked (id int);
COMMENT ON COLUMN bank.talked.id IS 'asked by 13800001234';
ALTER TABLE bank.talked ADD surname text DEFAULT 'Smith';
CREATE POLICY talked_policy ON bank.talked USING (surname <> '13700001111');
CREATE VIEW bank.v_hot AS SELECT id FROM bank.watch WHERE hotline <> '13700002222';
CREATE VIEW bank.v_cold AS SELECT id FROM bank.watch WHERE code <> 'cold';
CREATE RULE hot_rule AS ON DELETE TO bank.watch WHERE old.hotline = '13700003333' DO INSTEAD NOTHING;
CREATE RULE cold_rule AS ON DELETE TO bank.watch WHERE old.id = 42 DO INSTEAD NOTHING;
CREATE DOMAIN bank.hot_t AS text DEFAULT '13700004444';
CREATE FUNCTION bank.hot(text DEFAULT '13700005555') RETURNS bool LANGUAGE sql
  AS $$SELECT EXISTS (SELECT FROM bank.watch WHERE hotline = '13700006666')$$;
CREATE FUNCTION bank.cold(text DEFAULT 'x') RETURNS bool LANGUAGE sql AS $$SELECT $1 = 'cold'$$;
CREATE FUNCTION bank.quiet() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER hot_trigger AFTER UPDATE ON bank.watch
  FOR EACH ROW WHEN (old.hotline = '13700007777') EXECUTE FUNCTION bank.quiet();
CREATE TRIGGER hot_argument AFTER UPDATE ON bank.watch FOR EACH ROW EXECUTE FUNCTION bank.quiet('x', '13700008888');
CREATE PUBLICATION hot_publication FOR TABLE bank.watch WHERE (hotline = '13700009999') WITH (publish = 'insert');
CREATE INDEX ON bank.tx_1 (id);
CREATE TABLE bank.cards (id int PRIMARY KEY, number text UNIQUE, owner int, used numeric, sum numeric, CHECK (used <= sum));
CREATE TABLE bank.disputes (number text REFERENCES bank.cards (number), card int REFERENCES bank.cards);
CREATE UNIQUE INDEX cards_owner ON bank.cards (owner) WHERE number <> 'x';
"""

TYPES = """
int2 | bigint | real | double precision | numeric | numeric(18,2) | numeric(5) | money | boolean | text | varchar | varchar(19)
char | char(18) | bpchar | "char" | name | bytea | bit | bit(3) | bit varying | bit varying(5) | uuid | json | jsonb | xml
date | time | time(3) | time with time zone | time(2) with time zone | timestamp | timestamp(3)
timestamp with time zone | timestamp(3) with time zone | interval | interval(3) | interval year | interval day to second
interval day to second(3) | interval second(2) | interval day to second(3)[] | inet | cidr | macaddr | point | polygon
tsvector | oid | regclass | oidvector | int2vector | int4range | int[] | int[][] | varchar(10)[] | char(4)[]
numeric(9,3)[] | "char"[] | timestamp(0)[] | name[] | bank.phone_t | bank.short_t | bank.vip_phone | bank.names_t | bank.phone_t[]
bank.short_t[] | bank."Colour" | bank."Colour"[] | bank.pair | bank.pair[] | bank.customers | bank.customers[]
"Nasty.Schema"."type(3)" | "Nasty.Schema"."type(3)"[] | "Nasty.Schema"."select" | pg_catalog.pg_class
information_schema.sql_identifier | pg_lsn | jsonpath | txid_snapshot
""".replace("\n", "|").split("|")
TYPES = [t.strip() for t in TYPES if t.strip()]


class NoPlanner:
    def plan(self, text: str, context: PlanContext) -> Plan:
        raise AssertionError("nothing is planned here")


@pytest.fixture(scope="module")
def server(postgres: TestServer) -> Iterator[TestServer]:
    postgres.execute_sql("postgres", f"CREATE ROLE {CONTROL} LOGIN PASSWORD 'secret'")
    yield postgres
    postgres.execute_sql("postgres", f"DROP ROLE {CONTROL}")


@pytest.fixture(scope="module")
def bank(server: TestServer, module_database: str) -> str:
    server.execute_sql(module_database, schema(server))
    return module_database


def schema(server: TestServer) -> str:
    """SCHEMA as far as the server's version has it."""
    text = SCHEMA
    if server.version < 15:
        text = text.replace(" WHERE (hotline = '13700009999')", "")
    if server.version < 14:
        text = text.replace("(hotline = '13712345678'), id", "hotline, id")
    return text


def target(server: TestServer) -> Target:
    return Target("127.0.0.1", server.port, CONTROL, "secret")


def read(server: TestServer, database: str) -> CatalogRead:
    async def run() -> CatalogRead:
        connection = await connect(target(server), database)
        try:
            return await CatalogReader().read(connection)
        finally:
            await connection.close()

    return asyncio.run(run())


@pytest.fixture(scope="module")
def catalog(server: TestServer, bank: str) -> Catalog:
    return read(server, bank).catalog


def column(catalog: Catalog, schema: str, relation: str, name: str) -> Column:
    return next(c for c in catalog.by_name[schema, relation].columns if c.name == name)


# --- what is read ---------------------------------------------------------------------------------------------------------


def test_the_control_login_reads_no_data(server: TestServer, bank: str) -> None:
    with psycopg.connect(server.dsn(CONTROL, bank, "secret")) as connection:
        assert connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone() == (False,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT * FROM bank.customers")


def test_relations_and_columns(catalog: Catalog) -> None:
    customers = catalog.by_name["bank", "customers"]
    assert [(c.attnum, c.name) for c in customers.columns] == [
        (1, "id"),
        (3, "phone"),
        (4, "姓名"),
        (5, "balance"),
        (6, "lower_name"),
        (7, "branch"),
    ]
    assert (customers.kind, customers.owner, customers.primary_key) == ("r", "postgres", (1,))
    assert customers.unique == {0, 1, 3, 5}
    assert customers.row_security
    assert not customers.literals
    phone = column(catalog, "bank", "customers", "phone")
    assert (phone.type_sql, phone.base_sql, phone.base_type, phone.category) == (
        "bank.phone_t",
        "pg_catalog.text",
        "text",
        "S",
    )
    assert phone.domain_checked
    assert column(catalog, "bank", "customers", "姓名").type_sql == "pg_catalog.varchar(20)"
    assert column(catalog, "bank", "customers", "id").not_null
    assert column(catalog, "bank", "customers", "lower_name").generated
    assert not column(catalog, "bank", "customers", "branch").generated


def test_inheritance_partitions_and_views(catalog: Catalog) -> None:
    by_name = catalog.by_name
    customers, tx = by_name["bank", "customers"], by_name["bank", "tx"]
    assert by_name["bank", "corporate"].parents == (customers.oid,)
    assert by_name["bank", "tx_1"].parents == (tx.oid,)
    assert catalog.children[tx.oid] == (by_name["bank", "tx_1"].oid,)
    assert (tx.kind, tx.partition_key) == ("p", {0, 2})
    view = by_name["bank", "v"]
    assert view.security_barrier
    assert view.view_sql is not None
    assert "bank.customers" in view.view_sql
    assert by_name["bank", "mv"].view_sql is not None
    assert not view.rules
    assert by_name["bank", "vv"].rules


def test_system_relations_have_columns_and_toast_is_left_out(catalog: Catalog) -> None:
    stats = catalog.by_name["pg_catalog", "pg_stats"]
    assert {"schemaname", "tablename", "most_common_vals"} <= {c.name for c in stats.columns}
    assert ("information_schema", "columns") in catalog.by_name
    assert not [r for r in catalog.relations.values() if r.schema.startswith(("pg_toast", "pg_temp"))]
    assert catalog.schemas >= {"bank", "Nasty.Schema", "pg_catalog"}


def test_functions_operators_and_casts(catalog: Catalog) -> None:
    [label] = catalog.functions_by_name["label"]
    assert (label.schema, label.kind, label.volatility, label.extension) == ("bank", "f", "s", None)
    assert {f.extension for f in catalog.functions_by_name["show_trgm"]} == {"pg_trgm"}
    assert "pg_trgm" in catalog.extensions
    [arrow] = catalog.operators_by_name["~>"]
    assert (arrow.schema, catalog.functions[arrow.function].name) == ("bank", "int4eq")
    [to_pair] = catalog.functions_by_name["to_pair"]
    [pair] = catalog.types_by_name["pair"]
    assert to_pair.oid in {c.function for c in catalog.casts}
    assert to_pair.types[0] == pair.oid
    assert (to_pair.language, to_pair.definer, to_pair.arguments) == ("sql", False, 1)
    assert pair.functions == ()
    assert len(pair.parts) == 2
    [even] = catalog.types_by_name["even_t"]
    assert even.functions == (catalog.functions_by_name["is_even"][0].oid,)
    [int4] = catalog.types_by_name["int4"]
    assert int4.functions == ()


def test_literals(catalog: Catalog) -> None:
    watch, talked = catalog.by_name["bank", "watch"], catalog.by_name["bank", "talked"]
    assert {r.name for r in catalog.relations.values() if r.literals} == {"watch", "talked"}
    found = {(x.catalog, x.schema, x.name): x for x in catalog.literals if x.data}
    older = {"pg_publication_rel": 150000, "pg_statistic_ext": 140000}
    assert sorted(found) == [entry for entry in _literals(catalog) if catalog.server_version >= older.get(entry[0], 0)]
    assert found["pg_index", "bank", "watch_hot"].oid == catalog.by_name["bank", "watch_hot"].oid
    assert found["pg_proc", "bank", found_name(catalog)].relations == {watch.oid}
    assert found["view", "bank", "v_hot"].oid == catalog.by_name["bank", "v_hot"].oid
    assert found["pg_description", "", ""].oid == talked.oid
    [soft] = [x for x in catalog.literals if x.name == "talked" and not x.data]
    assert (soft.catalog, soft.relations) == ("pg_attrdef", {talked.oid})
    assert "surname" in soft.words
    assert watch.literals
    assert watch.conditional_triggers
    assert not talked.conditional_triggers


def _literals(catalog: Catalog) -> list[tuple[str, str, str]]:
    """What SCHEMA hides in definitions, as far as the version has such definitions."""
    return [
        ("pg_attrdef", "bank", "watch"),
        ("pg_constraint", "bank", "watch_code_check"),
        ("pg_description", "", ""),
        ("pg_index", "bank", "watch_hot"),
        ("pg_policy", "bank", "talked_policy"),
        ("pg_proc", "bank", f"hot_{catalog.functions_by_name['hot'][0].oid}"),
        ("pg_proc_arguments", "bank", f"hot_{catalog.functions_by_name['hot'][0].oid}"),
        ("pg_publication_rel", "bank", "watch"),
        ("pg_rewrite", "bank", "_RETURN"),
        ("pg_rewrite", "bank", "hot_rule"),
        ("pg_statistic_ext", "bank", "watch_stat"),
        ("pg_trigger", "bank", "hot_argument"),
        ("pg_trigger", "bank", "hot_trigger"),
        ("pg_type", "bank", "hot_t"),
        ("view", "bank", "v_hot"),
    ]


def found_name(catalog: Catalog) -> str:
    [function] = catalog.functions_by_name["hot"]
    return f"hot_{function.oid}"


def test_what_writes_can_tell(catalog: Catalog) -> None:
    cards, disputes = catalog.by_name["bank", "cards"], catalog.by_name["bank", "disputes"]
    assert disputes.references == (Reference(1, cards.oid, 2), Reference(2, cards.oid, 1))
    assert cards.checked_together == {frozenset({4, 5}), frozenset({2, 3})}
    customers = catalog.by_name["bank", "customers"]
    assert frozenset({4, 6}) in customers.checked_together
    tx = catalog.by_name["bank", "tx_1"]
    assert tx.partition
    assert not catalog.by_name["bank", "tx"].partition
    assert catalog.storage.keys() >= {tx.oid}


def test_readers(server: TestServer, database: str) -> None:
    server.execute_sql(
        database,
        f"CREATE TABLE t (); CREATE TABLE p (); GRANT SELECT ON t TO {CONTROL}; GRANT INSERT ON p TO {CONTROL};"
        "GRANT SELECT ON p TO PUBLIC",
    )
    catalog = read(server, database).catalog
    assert catalog.by_name["public", "t"].readers == {"postgres", CONTROL}
    assert catalog.by_name["public", "p"].readers == {"postgres", "public"}


@pytest.mark.parametrize("path", ["", "evil, pg_catalog"])
def test_types_mean_the_same_from_any_search_path(server: TestServer, bank: str, path: str) -> None:
    """`type_sql` in a cast gives the column's own type and typmod, also where other types have the builtins' names."""
    columns = ", ".join(f"c{i} {t}" for i, t in enumerate(TYPES))
    shadows = "".join(f'CREATE DOMAIN evil."{n}" AS text;' for n in ("int4", "numeric", "bpchar", "varchar", "text", "interval"))
    server.execute_sql(bank, f"DROP TABLE IF EXISTS samples; CREATE TABLE samples ({columns})")
    server.execute_sql(bank, f"DROP SCHEMA IF EXISTS evil CASCADE; CREATE SCHEMA evil; {shadows}")
    catalog = read(server, bank).catalog
    samples = catalog.by_name["public", "samples"].columns
    assert len(samples) == len(TYPES)
    with psycopg.connect(server.dsn("postgres", bank)) as connection:
        connection.execute("SELECT pg_catalog.set_config('search_path', %s, false)", (path,))
        for attribute in ("type_sql", "base_sql"):
            casts = ", ".join(f"NULL::{getattr(c, attribute)} AS c{i}" for i, c in enumerate(samples))
            connection.execute(f"DROP VIEW IF EXISTS public.spelled; CREATE VIEW public.spelled AS SELECT {casts}")
            rows = connection.execute(
                "SELECT a.atttypid, a.atttypmod, t.typname::text, t.typcategory::text, t.typtype::text"
                " FROM pg_catalog.pg_attribute a"
                " JOIN pg_catalog.pg_type t ON t.oid = a.atttypid WHERE a.attrelid = 'public.spelled'::regclass ORDER BY a.attnum"
            ).fetchall()
            for c, source, (oid, typmod, name, category, kind) in zip(samples, TYPES, rows, strict=True):
                if attribute == "type_sql":
                    assert (oid, typmod) == (c.type_oid, c.typmod), source
                else:
                    assert (name, category) == (c.base_type, c.category), source
                    assert kind != "d", source
        connection.rollback()


def test_objects_in_the_logins_search_path_are_never_used(server: TestServer, database: str) -> None:
    """Operators and functions that would match better than the builtin ones, in a path set for the control login."""
    server.execute_sql(
        database,
        f"""
        CREATE SCHEMA evil; GRANT USAGE ON SCHEMA evil TO PUBLIC; CREATE TABLE evil.calls (what text);
        CREATE FUNCTION evil.caught() RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'evil was called'; END $$;
        CREATE FUNCTION evil.eq(oid, oid) RETURNS bool LANGUAGE sql AS 'SELECT evil.caught()';
        CREATE OPERATOR evil.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = evil.eq);
        CREATE FUNCTION evil.neq("char", text) RETURNS bool LANGUAGE sql AS 'SELECT evil.caught()';
        CREATE OPERATOR evil.<> (LEFTARG = "char", RIGHTARG = text, FUNCTION = evil.neq);
        CREATE DOMAIN evil.text AS pg_catalog.text CHECK (evil.caught());
        CREATE VIEW evil.pg_class AS SELECT evil.caught();
        ALTER ROLE {CONTROL} IN DATABASE "{database}" SET search_path = evil, pg_catalog;
        """,
    )
    with psycopg.connect(server.dsn(CONTROL, database, "secret")) as connection, pytest.raises(psycopg.errors.RaiseException):
        connection.execute("SELECT 1::oid = 1::oid")
    found = read(server, database)
    assert ("evil", "pg_class") in found.catalog.by_name
    assert (CONTROL, database, "evil, pg_catalog") in found.roles.search_paths


def test_version_follows_content(server: TestServer, database: str) -> None:
    server.execute_sql(database, "CREATE TABLE a (x int)")
    first = read(server, database).catalog.version
    assert read(server, database).catalog.version == first
    server.execute_sql(database, "ALTER TABLE a ADD COLUMN y int")
    second = read(server, database).catalog.version
    assert second != first
    with psycopg.connect(server.dsn("postgres", database)) as connection:
        connection.execute("CREATE TEMP TABLE session_only (z int)")
        connection.commit()
        assert read(server, database).catalog.version == second


CHANGES = [
    "CREATE TABLE b (x int)",
    "ALTER TABLE child INHERIT a",
    "ALTER TABLE child NO INHERIT a",
    "ALTER TABLE a ADD COLUMN y int",
    "ALTER TABLE a ALTER COLUMN y SET DEFAULT 5",
    "ALTER TABLE a ALTER COLUMN y TYPE bigint",
    "ALTER TABLE a RENAME COLUMN y TO y2",
    "ALTER TABLE a DROP COLUMN y2",
    "ALTER TABLE a ADD CHECK (x > 0)",
    "ALTER TABLE a ENABLE ROW LEVEL SECURITY",
    "CREATE INDEX ON a (x)",
    "COMMENT ON TABLE a IS 'x'",
    "CREATE OR REPLACE VIEW v AS SELECT x + 1 AS x FROM a",
    "CREATE RULE r AS ON INSERT TO v DO INSTEAD NOTHING",
    "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 2'",
    "CREATE OPERATOR <+> (LEFTARG = int, RIGHTARG = int, FUNCTION = int4pl)",
    "CREATE DOMAIN d2 AS int",
    "ALTER DOMAIN d ADD CHECK (VALUE > 0)",
    "CREATE CAST (text AS d) WITH INOUT",
    "CREATE SCHEMA s2",
    "CREATE EXTENSION pg_trgm",
    "ALTER EXTENSION pg_trgm ADD FUNCTION f()",
    "CREATE STATISTICS st ON x, w FROM a",
    "GRANT SELECT ON a TO PUBLIC",
    "ALTER TABLE a RENAME TO a2",
    "ALTER TABLE a2 SET SCHEMA s",
    "DROP TABLE s.a2 CASCADE",
]


def test_the_stamp_sees_every_kind_of_change(server: TestServer, database: str) -> None:
    server.execute_sql(
        database,
        "CREATE SCHEMA s; CREATE TABLE a (x int, w int); CREATE TABLE child (x int, w int); CREATE VIEW v AS SELECT x FROM a;"
        "CREATE DOMAIN d AS int; CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    )

    async def run() -> list[str]:
        connection = await connect(target(server), database)
        missed = []
        try:
            with psycopg.connect(server.dsn("postgres", database), autocommit=True) as other:
                stamp = await read_stamp(connection)
                for change in CHANGES:
                    last = stamp
                    assert (await read_stamp(connection)).same_content(last)
                    other.execute(change)
                    stamp = await read_stamp(connection, last)
                    if stamp.same_content(last):
                        missed.append(change)
        finally:
            await connection.close()
        return missed

    assert asyncio.run(run()) == []


def test_temporary_tables_of_others_do_not_move_the_stamp(server: TestServer, database: str) -> None:
    async def run() -> None:
        connection = await connect(target(server), database)
        try:
            with psycopg.connect(server.dsn("postgres", database), autocommit=True) as other:
                other.execute("CREATE TEMP TABLE warm (x int)")  # creates the temporary schema itself
                before = await read_stamp(connection)
                other.execute("CREATE TEMP TABLE t (x int PRIMARY KEY DEFAULT 5, y text CHECK (y <> ''))")
                other.execute("CREATE TEMP VIEW tv AS SELECT x FROM t")
                other.execute("COMMENT ON TABLE t IS 'mine'")
                after = await read_stamp(connection, before)
            assert after.snapshot != before.snapshot
            assert after.same_content(before)
        finally:
            await connection.close()

    asyncio.run(run())


def test_locked_tables_do_not_hold_up_the_reading(server: TestServer, database: str) -> None:
    """A session in the middle of ALTER TABLE holds a lock that reading a view's definition would wait for."""
    server.execute_sql(
        database,
        "CREATE TABLE a (x int DEFAULT 7); CREATE VIEW v AS SELECT x FROM a; CREATE VIEW w AS SELECT 1 AS one;"
        "CREATE TABLE b (y int DEFAULT 7)",
    )

    async def run() -> None:
        connection = await connect(target(server), database)
        reader = CatalogReader()
        try:
            with psycopg.connect(server.dsn("postgres", database)) as other:
                other.execute("LOCK TABLE a IN ACCESS EXCLUSIVE MODE")
                first = await reader.read(connection)
                assert first.incomplete
                assert first.catalog.by_name["public", "v"].view_sql is None
                assert first.catalog.by_name["public", "w"].view_sql is not None
                assert not first.catalog.by_name["public", "b"].literals
                other.rollback()
                second = await reader.read(connection)
                assert not second.incomplete
                other.execute("LOCK TABLE a IN ACCESS EXCLUSIVE MODE")
                third = await reader.read(connection)
                assert third.incomplete
                assert third.catalog.by_name["public", "v"].view_sql == second.catalog.by_name["public", "v"].view_sql
                other.rollback()
                other.execute("ALTER TABLE a RENAME COLUMN x TO z")
                other.commit()
                other.execute("LOCK TABLE a IN ACCESS EXCLUSIVE MODE")
                fourth = await reader.read(connection)
                assert fourth.catalog.by_name["public", "v"].view_sql is None, "the old text names a column that is gone"
        finally:
            await connection.close()

    asyncio.run(run())


STEPS = [
    "CREATE TABLE a (x int DEFAULT 7, t text)",
    "CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT $1'",
    "CREATE OR REPLACE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT $1 + 1'",
    "ALTER FUNCTION f(int) SECURITY DEFINER",
    "CREATE FUNCTION g() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'",
    "CREATE OPERATOR ~~> (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)",
    "CREATE TYPE pair AS (a int, b text)",
    "CREATE FUNCTION to_pair(int) RETURNS pair LANGUAGE sql AS 'SELECT ROW($1, NULL)::pair'",
    "CREATE CAST (int AS pair) WITH FUNCTION to_pair(int)",
    "CREATE EXTENSION pg_trgm SCHEMA public",
    "ALTER EXTENSION pg_trgm ADD FUNCTION f(int)",
    "CREATE SCHEMA s; ALTER FUNCTION to_pair(int) SET SCHEMA s",
    "ALTER SCHEMA s RENAME TO s2",
    "ALTER FUNCTION pg_catalog.pg_ls_dir(text) COST 7; ALTER FUNCTION pg_catalog.lower(text) VOLATILE",
    "ALTER LANGUAGE plpgsql RENAME TO pl",
    "DROP CAST (int AS pair)",
    "DROP EXTENSION pg_trgm CASCADE",
    "DROP TABLE a",
]


def test_what_is_kept_from_the_last_read_is_what_a_new_reader_finds(server: TestServer, database: str) -> None:
    async def run() -> None:
        connection = await connect(target(server), database)
        reader = CatalogReader()
        try:
            versions = [(await reader.read(connection)).catalog.version]
            for change in STEPS:
                server.execute_sql(database, change)
                kept = (await reader.read(connection)).catalog
                fresh = (await CatalogReader().read(connection)).catalog
                assert kept.version == fresh.version, change
                assert kept.functions == fresh.functions, change
                assert kept.relations == fresh.relations, change
                assert (kept.operators, kept.casts, kept.types) == (fresh.operators, fresh.casts, fresh.types), change
                versions.append(kept.version)
            assert len(set(versions)) == len(versions)
        finally:
            await connection.close()

    asyncio.run(run())


def test_membership_is_what_the_server_calls_membership(server: TestServer, database: str) -> None:
    names = ["m_teller", "m_clerk", "m_lead", "m_none"]
    server.execute_sql(
        "postgres", "".join(f"CREATE ROLE {n} LOGIN;" for n in names) + "GRANT m_teller TO m_clerk; GRANT m_clerk TO m_lead"
    )
    server.execute_sql("postgres", f'ALTER ROLE m_lead NOINHERIT; ALTER DATABASE "{database}" OWNER TO m_clerk')
    try:
        roles = read(server, database).roles
        with psycopg.connect(server.dsn("postgres", database)) as connection:
            pairs = connection.execute(
                "SELECT a.rolname, b.rolname FROM pg_roles a, pg_roles b"
                " WHERE NOT a.rolsuper AND pg_has_role(a.oid, b.oid, 'MEMBER')"
            ).fetchall()
        expected: dict[str, set[str]] = {}
        for member, role in pairs:
            expected.setdefault(member, set()).add(role)
        assert {name: set(r.memberships) for name, r in roles.roles.items() if not r.superuser} == expected
        owner = {"pg_database_owner"} if server.version >= 14 else set()
        assert roles.of("m_lead") >= {"m_lead", "m_clerk", "m_teller"} | owner
    finally:
        server.execute_sql(
            "postgres", f'ALTER DATABASE "{database}" OWNER TO postgres; ' + "".join(f"DROP ROLE {n};" for n in names)
        )


# --- how changes arrive -----------------------------------------------------------------------------------------------------

POLICY = """\
version: 1
classes:
  phone: { level: C2, mask: { keep: { first: 3, last: 4 } } }
columns:
  public.people.phone: phone
  "*.*.id_card*": phone
rules:
  - name: auditors see everything
    role: p_auditor
    columns: ["*"]
    show: clear
"""


class Events(list[tuple[str, Mapping[str, str | int | bool]]]):
    def note(self, kind: str, fields: Mapping[str, str | int | bool]) -> None:
        self.append((kind, fields))

    def count(self, kind: str) -> int:  # type: ignore[override]
        return sum(1 for k, _ in self if k == kind)


@pytest.fixture
def people(server: TestServer, database: str) -> str:
    server.execute_sql(database, "CREATE TABLE people (id int PRIMARY KEY, phone text)")
    return database


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return path


@asynccontextmanager
async def plane_of(server: TestServer, policy: Path, **more: Any) -> AsyncIterator[tuple[ControlPlane, Events]]:
    events = Events()
    more.setdefault("options", Options(interval=0.05))
    plane = ControlPlane(target(server), [policy], PolicyEngine(), NoPlanner, on_event=events.note, **more)
    await plane.start()
    try:
        yield plane, events
    finally:
        await plane.close()


def view(plane: ControlPlane, database: str, user: str = "p_user") -> View:
    return plane.current(Identity(user, database, client_address="10.0.0.1"), NOW)


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


async def in_thread(work: Callable[[], object]) -> None:
    await asyncio.to_thread(work)


def masked(found: View) -> dict[str, Show]:
    names = {(r.oid, c.attnum): c.name for r in found.catalog.relations.values() for c in r.columns}
    return {names[oid, n]: d.branches[-1].show for oid, columns in found.profile.decisions.items() for n, d in columns.items()}


def play(script: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(script())  # type: ignore[arg-type]


def test_a_view_comes_with_catalog_and_profile(server: TestServer, people: str, policy: Path) -> None:
    async def script() -> None:
        async with plane_of(server, policy, databases=[people]) as (plane, events):
            await plane.attach(people)
            found = view(plane, people)
            assert masked(found) == {"phone": Show.MASK}
            assert found.profile.masked
            assert found.epoch == plane.epoch
            assert view(plane, people).profile is found.profile
            assert plane.is_ready
            [status] = plane.status()
            assert (status.database, status.usable, status.sessions) == (people, True, 1)
            assert [k for k, _ in events] == ["policy_loaded", "catalog_loaded"]

    play(script)


def test_a_column_added_behind_our_back_is_seen(server: TestServer, people: str, policy: Path) -> None:
    async def script() -> None:
        async with plane_of(server, policy) as (plane, _):
            await plane.attach(people)
            before = plane.epoch
            await in_thread(lambda: server.execute_sql(people, "ALTER TABLE people ADD COLUMN id_card_no char(18)"))
            await until(lambda: plane.epoch != before)
            assert masked(view(plane, people)) == {"phone": Show.MASK, "id_card_no": Show.MASK}

    play(script)


def test_refresh_sees_what_was_committed_before(server: TestServer, people: str, policy: Path) -> None:
    async def script() -> None:
        async with plane_of(server, policy, options=Options(interval=3600)) as (plane, _):
            await plane.attach(people)
            for i in range(5):
                await in_thread(lambda i=i: server.execute_sql(people, f"ALTER TABLE people ADD COLUMN id_card_{i} text"))
                await asyncio.gather(*(plane.refresh(people) for _ in range(20)))
                assert f"id_card_{i}" in masked(view(plane, people))

    play(script)


def test_membership_changes_arrive(server: TestServer, people: str, policy: Path) -> None:
    server.execute_sql(
        "postgres", "CREATE ROLE p_user LOGIN; CREATE ROLE p_auditor; CREATE ROLE p_middle; GRANT p_auditor TO p_middle"
    )

    async def script() -> None:
        async with plane_of(server, policy) as (plane, _):
            await plane.attach(people)
            assert view(plane, people).profile.masked
            await in_thread(lambda: server.execute_sql("postgres", "GRANT p_middle TO p_user"))
            await until(lambda: not view(plane, people).profile.masked)
            await in_thread(lambda: server.execute_sql("postgres", "REVOKE p_middle FROM p_user"))
            await until(lambda: view(plane, people).profile.masked)

    try:
        play(script)
    finally:
        server.execute_sql("postgres", "DROP ROLE p_user, p_auditor, p_middle")


def test_a_login_the_server_does_not_know_counts_as_itself(server: TestServer, people: str, policy: Path) -> None:
    async def script() -> None:
        async with plane_of(server, policy) as (plane, _):
            await plane.attach(people)
            assert view(plane, people, "nobody_knows").profile.masked

    play(script)


def test_a_database_dropped_and_created_again(server: TestServer, people: str, policy: Path) -> None:
    def recreate() -> None:
        server.execute_sql("postgres", f'DROP DATABASE "{people}" WITH (FORCE)')
        server.execute_sql("postgres", f'CREATE DATABASE "{people}" TEMPLATE template0')
        server.execute_sql(people, "CREATE TABLE people (id int, other text, phone text)")

    async def script() -> None:
        async with plane_of(server, policy, options=Options(interval=3600)) as (plane, _):
            await plane.attach(people)
            first = view(plane, people)
            plane.detach(people)
            await in_thread(recreate)
            await plane.attach(people)
            # What was found right within FRESH seconds is given out without another look, until it is known to be gone.
            await until(lambda: view(plane, people).catalog.version != first.catalog.version)
            await plane.refresh(people)
            second = view(plane, people)
            assert [c.name for c in second.catalog.by_name["public", "people"].columns] == ["id", "other", "phone"]
            assert masked(second) == {"phone": Show.MASK}

    play(script)


def test_an_open_session_gets_a_recreated_database_by_itself(server: TestServer, people: str, policy: Path) -> None:
    async def script() -> None:
        async with plane_of(server, policy, options=Options(interval=3600)) as (plane, events):
            await plane.attach(people)
            before = plane.epoch
            await in_thread(lambda: server.execute_sql("postgres", f'DROP DATABASE "{people}" WITH (FORCE)'))
            await until(lambda: events.count("catalog_unavailable") > 0)
            await in_thread(lambda: server.execute_sql("postgres", f'CREATE DATABASE "{people}" TEMPLATE template0'))
            await until(lambda: plane.epoch != before)
            assert ("public", "people") not in view(plane, people).catalog.by_name

    play(script)


def test_a_killed_control_connection_comes_back(server: TestServer, people: str, policy: Path) -> None:
    kill = f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = '{CONTROL}'"

    async def script() -> None:
        async with plane_of(server, policy, options=Options(interval=3600)) as (plane, _):
            await plane.attach(people)
            for i in range(3):
                await in_thread(lambda: server.execute_sql("postgres", kill))
                await in_thread(lambda i=i: server.execute_sql(people, f"ALTER TABLE people ADD COLUMN id_card_{i} text"))
                await plane.refresh(people)
                assert f"id_card_{i}" in masked(view(plane, people))

    play(script)


def test_an_unknown_database_is_refused_and_forgotten(server: TestServer, policy: Path) -> None:
    async def script() -> None:
        async with plane_of(server, policy) as (plane, _):
            for name in ("no_such_database", "with\0nul", ""):
                with pytest.raises(ControlUnavailable) as caught:
                    await plane.attach(name)
                assert caught.value.sqlstate == "3D000"
                assert caught.value.message == f'database "{name}" does not exist'
                with pytest.raises(ControlUnavailable):
                    view(plane, name)
            assert plane.status() == ()

    play(script)


def test_a_picture_out_of_date_is_not_used(server: TestServer, people: str, policy: Path) -> None:
    clock = {"shift": 0.0}

    async def script() -> None:
        async with plane_of(
            server,
            policy,
            options=Options(interval=0.05, max_stale=30),
            clock=lambda: time.monotonic() + clock["shift"],
        ) as (plane, events):
            await plane.attach(people)
            await in_thread(lambda: server.execute_sql("postgres", f'DROP DATABASE "{people}" WITH (FORCE)'))
            await until(lambda: events.count("catalog_unavailable") > 0)
            assert view(plane, people).profile.masked, "still fresh enough"
            before = plane.epoch
            clock["shift"] = 31
            with pytest.raises(ControlUnavailable):
                view(plane, people)
            await until(lambda: plane.epoch != before)
            assert events.count("catalog_stale") == 1
            await in_thread(lambda: server.execute_sql("postgres", f'CREATE DATABASE "{people}" TEMPLATE template0'))
            await until(lambda: plane.status()[0].usable)
            view(plane, people)

    play(script)


def test_a_database_nobody_uses_is_let_go(server: TestServer, people: str, policy: Path) -> None:
    async def script() -> None:
        async with plane_of(server, policy, options=Options(interval=0.05, idle=0.1)) as (plane, _):
            await plane.attach(people)
            plane.detach(people)
            await until(lambda: plane.status() == ())
            await in_thread(lambda: server.execute_sql("postgres", f'DROP DATABASE "{people}"'))

    play(script)


def test_a_database_nobody_uses_can_be_dropped_and_used_again(server: TestServer, people: str, policy: Path) -> None:
    """What is known of it stays: the picture serves again when its stamp has not changed."""
    connected = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{people}' AND usename = '{CONTROL}'"

    async def script() -> None:
        async with plane_of(server, policy, options=Options(interval=0.05, linger=0.0)) as (plane, events):
            await plane.attach(people)
            first = view(plane, people)
            for _ in range(2):
                plane.detach(people)
                await until(lambda: plane.status() == () and server.execute_sql("postgres", connected) == "0")
                await plane.attach(people)
                assert view(plane, people).profile is first.profile
                assert [s.database for s in plane.status()] == [people]
            assert events.count("catalog_loaded") == 1
            assert not events.count("catalog_stale")
            plane.detach(people)
            await in_thread(lambda: server.execute_sql("postgres", f'DROP DATABASE "{people}"'))

    play(script)


def test_a_column_renamed_while_nobody_used_the_database_stays_protected(server: TestServer, people: str, policy: Path) -> None:
    async def script() -> None:
        async with plane_of(server, policy, options=Options(interval=0.05, linger=0.0)) as (plane, _):
            await plane.attach(people)
            plane.detach(people)
            await until(lambda: plane.status() == ())
            await in_thread(lambda: server.execute_sql(people, "ALTER TABLE people RENAME COLUMN phone TO tel"))
            await plane.attach(people)
            assert masked(view(plane, people)) == {"tel": Show.MASK}

    play(script)


def test_policy_changes_take_effect_and_bad_ones_do_not(server: TestServer, people: str, policy: Path) -> None:
    async def script() -> None:
        async with plane_of(server, policy) as (plane, events):
            await plane.attach(people)
            first = view(plane, people)
            policy.write_text(POLICY.replace("people.phone: phone", "people.phone: nonsense"))
            await until(lambda: events.count("policy_refused") == 1)
            assert "nonsense" in str(events[-1][1]["problem"])
            assert view(plane, people).profile is first.profile
            policy.write_text(POLICY.replace("role: p_auditor", "user: p_user"))
            await until(lambda: not view(plane, people).profile.masked)
            assert plane.policy_version != first.profile.policy_version
            policy.write_text(POLICY)
            assert await plane.reload()
            assert view(plane, people).profile.masked
            policy.write_text("version: 1\nclasses: [")
            assert not await plane.reload()
            assert view(plane, people).profile.masked

    play(script)


def test_a_bad_policy_at_the_start_is_fatal(server: TestServer, policy: Path) -> None:
    policy.write_text("version: 1\nclasses: 5\n")

    async def script() -> None:
        async with plane_of(server, policy):
            pass

    with pytest.raises(ValueError, match=r"policy\.yaml"):
        play(script)


def test_time_conditions_expire(server: TestServer, people: str, policy: Path) -> None:
    policy.write_text(POLICY.replace("role: p_auditor", 'user: p_user\n    when: { time: "08:00-09:00", timezone: UTC }'))

    async def script() -> None:
        async with plane_of(server, policy) as (plane, _):
            await plane.attach(people)
            who = Identity("p_user", people)
            midnight = NOW - NOW % 86400
            shown = [not plane.current(who, midnight + h * 3600).profile.masked for h in (7.9, 8.1, 8.9, 9.1)]
            assert shown == [False, True, True, False]

    play(script)
