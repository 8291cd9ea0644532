"""What the system catalogs, EXPLAIN and the success of writes would tell: on a real server, through the planner.

A table whose definitions hold raw values wherever PostgreSQL keeps texts: every one of them is a canary that nothing a masked
session reads from the catalogs may contain. And: every function and relation that the server itself brings is classified.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace

import asyncpg
import psycopg
import pytest

from policies.model import Branch, Decision, Profile, Show
from proxy.control.catalog import CatalogReader
from rewrite import system
from rewrite.catalog import Catalog
from rewrite.plan import Plan, PlanContext, Resolution, Verdict
from rewrite.planner import Planner
from tests.support.minibank import SqlMask
from tests.support.postgres import TestServer

ROLE = "catalog_leaks"
CANARIES = tuple(f"1370000{n:04d}" for n in range(1, 30))

SCHEMA = """
CREATE SCHEMA bank;
CREATE TABLE bank.customers (id int PRIMARY KEY, phone text UNIQUE DEFAULT '13700000001', branch text, used int, balance int,
  note text GENERATED ALWAYS AS ('n' || lower(phone)) STORED, surname text DEFAULT 'Smith',
  CONSTRAINT hot_check CHECK (phone <> '13700000002'), CONSTRAINT credit CHECK (used <= balance),
  CONSTRAINT plain_check CHECK (branch <> 'XX'));
INSERT INTO bank.customers SELECT i, '1380000000' || i, 'BJ', 10, 100 * i FROM generate_series(1, 9) i;
CREATE UNIQUE INDEX hot_index ON bank.customers (branch, id) WHERE phone = '13700000003';
CREATE TABLE bank.branches (code text PRIMARY KEY CHECK (code <> 'Q1'), hotline text DEFAULT '40012345678');
CREATE TABLE bank.calls (
  id int PRIMARY KEY, caller text REFERENCES bank.customers (phone), customer int REFERENCES bank.customers);
CREATE TABLE bank.wealth (id int, amount int) PARTITION BY RANGE (amount);
CREATE TABLE bank.wealth_low PARTITION OF bank.wealth FOR VALUES FROM (0) TO (500123);
CREATE TABLE bank.wealth_high PARTITION OF bank.wealth FOR VALUES FROM (500123) TO (900000);
INSERT INTO bank.wealth SELECT i, 500000 + i FROM generate_series(1, 777) i;
CREATE INDEX wealth_id ON bank.wealth (id);
CREATE TABLE bank.listed (id int, phone text) PARTITION BY LIST (phone);
CREATE TABLE bank.listed_1 PARTITION OF bank.listed FOR VALUES IN ('13700000021') PARTITION BY LIST (id);
CREATE TABLE bank.listed_1_1 PARTITION OF bank.listed_1 FOR VALUES IN (1);
COMMENT ON TABLE bank.customers IS 'by 13700000004';
COMMENT ON COLUMN bank.customers.branch IS 'by 13700000005';
COMMENT ON CONSTRAINT hot_check ON bank.customers IS 'by 13700000006';
CREATE VIEW bank.v_hot AS SELECT id, branch FROM bank.customers WHERE phone <> '13700000007';
CREATE VIEW bank.v_above AS SELECT id FROM bank.v_hot WHERE branch <> '13700000008';
CREATE MATERIALIZED VIEW bank.m_hot AS SELECT id FROM bank.customers WHERE phone <> '13700000009';
CREATE VIEW bank.v_cold AS SELECT code FROM bank.branches WHERE hotline <> '40000123456';
CREATE RULE hot_rule AS ON DELETE TO bank.customers WHERE old.phone = '13700000010' DO INSTEAD NOTHING;
CREATE FUNCTION bank.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER hot_when BEFORE UPDATE ON bank.customers
  FOR EACH ROW WHEN (old.phone = '13700000011') EXECUTE FUNCTION bank.touch();
CREATE TRIGGER hot_argument BEFORE UPDATE ON bank.customers FOR EACH ROW EXECUTE FUNCTION bank.touch('13700000012');
CREATE TABLE bank.secured (id int, phone text);
ALTER TABLE bank.secured ENABLE ROW LEVEL SECURITY;
CREATE POLICY hot_policy ON bank.secured USING (phone <> '13700000013') WITH CHECK (phone <> '13700000014');
CREATE FUNCTION bank.hot(text DEFAULT '13700000015') RETURNS bool STABLE LANGUAGE sql
  AS $$SELECT EXISTS (SELECT FROM bank.customers WHERE phone = '13700000016')$$;
CREATE DOMAIN bank.hot_t AS text DEFAULT '13700000017' CONSTRAINT hot_domain CHECK (VALUE <> '13700000018');
CREATE STATISTICS bank.hot_stat ON (phone = '13700000019'), id FROM bank.customers;
PREPARE other AS SELECT '13700000020';
ANALYZE;
"""


@dataclass(frozen=True, slots=True)
class Bank:
    connection: psycopg.Connection
    catalog: Catalog
    profile: Profile

    def plan(self, text: str) -> Plan:
        return Planner().plan(text, PlanContext(self.catalog, self.profile, Resolution(("pg_catalog", "bank"))))

    def read(self, text: str) -> list[tuple[object, ...]]:
        plan = self.plan(text)
        assert plan.verdict in (Verdict.PASS, Verdict.REWRITE), plan.refusal
        return self.connection.execute(plan.text.encode()).fetchall()

    def refusal(self, text: str) -> str | None:
        plan = self.plan(text)
        return plan.refusal.message if plan.refusal is not None else None


@pytest.fixture(scope="module")
def bank(postgres: TestServer, module_database: str) -> Iterator[Bank]:
    postgres.execute_sql(module_database, SCHEMA)
    postgres.execute_sql(
        module_database,
        f"CREATE ROLE {ROLE} LOGIN PASSWORD '{ROLE}'; GRANT USAGE ON SCHEMA bank TO {ROLE};"
        f"GRANT ALL ON ALL TABLES IN SCHEMA bank TO {ROLE}; GRANT pg_read_all_stats TO {ROLE}",
    )
    catalog = asyncio.run(_catalog(postgres.dsn(ROLE, module_database, ROLE)))
    decisions: dict[int, dict[int, Decision]] = {}
    masked = {
        "customers": ("phone", "surname", "balance"),
        "secured": ("phone",),
        "listed": ("phone",),
        "listed_1": ("phone",),
        "listed_1_1": ("phone",),
        "wealth": ("amount",),
        "wealth_low": ("amount",),
        "wealth_high": ("amount",),
    }
    for table, columns in masked.items():
        relation = catalog.by_name["bank", table]
        for column in relation.columns:
            if column.name in columns:
                text = "left($1, 3)" if column.category == "S" else "0"
                branch = Branch(None, Show.MASK, SqlMask(text), "analysts")
                decisions.setdefault(relation.oid, {})[column.attnum] = Decision("data", "C2", (branch,))
    profile = Profile("masked", "p1", decisions, masked=True)
    with psycopg.connect(postgres.dsn(ROLE, module_database, ROLE), autocommit=True, prepare_threshold=None) as connection:
        connection.execute("SET search_path = bank")
        yield Bank(connection, catalog, profile)
    postgres.execute_sql(module_database, f"DROP OWNED BY {ROLE}; DROP ROLE {ROLE}")


async def _catalog(dsn: str) -> Catalog:
    connection = await asyncpg.connect(dsn)
    try:
        return (await CatalogReader().read(connection)).catalog
    finally:
        await connection.close()


# --- nothing slips in unseen ----------------------------------------------------------------------------------------------


def test_every_builtin_function_is_classified(bank: Bank) -> None:
    rules = system.rules()
    unknown = [
        f.name
        for f in bank.catalog.functions.values()
        if f.schema == "pg_catalog" and f.oid < 16384 and f.extension is None and f.volatility != "i"
        if not system.is_harmless(f.name, f.volatility) and not system.matches(f.name, rules.deny)
    ]
    assert sorted(set(unknown)) == []


def test_every_system_relation_is_classified(bank: Bank) -> None:
    rules = system.rules()
    names = {f"{r.schema}.{r.name}" for r in bank.catalog.relations.values() if system.is_system(r) and r.kind in "rv"}
    assert sorted(names - rules.readable - rules.refuse - rules.withhold.keys()) == []


def test_columns_that_are_withheld_exist_in_some_version(bank: Bank) -> None:
    """At least one column of each relation: a slip of the pen would withhold nothing."""
    for name, specs in system.rules().withhold.items():
        schema, _, relation = name.partition(".")
        if (schema, relation) not in bank.catalog.by_name:
            continue
        columns = {c.name for c in bank.catalog.by_name[schema, relation].columns}
        optional = {"prqual", "rowfilter", "stxexprs", "prosqlbody"}
        assert all(columns & set(s["columns"]) or set(s["columns"]) & optional for s in specs), name
        for spec in specs:
            assert "oid" not in spec or spec["oid"] in columns, name
            assert set({**spec.get("names", {}), **spec.get("statistics_of", {})}.values()) <= columns, name


def test_guarded_functions_exist(bank: Bank) -> None:
    names = bank.catalog.functions_by_name.keys()
    late = {"pg_stat_get_tuples_newpage_updated", "pg_get_function_sqlbody", "pg_get_statisticsobjdef_expressions"}
    assert system.rules().definitions.keys() - names <= late


# --- definitions ----------------------------------------------------------------------------------------------------------


def test_no_definition_shows_data(bank: Bank) -> None:
    """Every column of every relation of the system, as text."""
    read = 0
    for relation in bank.catalog.relations.values():
        if not system.is_system(relation) or relation.kind not in "rv":
            continue
        name = f"{relation.schema}.{relation.name}"
        plan = bank.plan(f"SELECT * FROM {name}")
        if plan.refusal is not None:
            assert name in system.rules().refuse, plan.refusal
            continue
        columns = ", ".join(f'"{c.name}"::text' for c in relation.columns)
        try:
            rows = bank.read(f"SELECT {columns} FROM {name}")
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.InternalError_):  # no NUMA here
            continue
        read += 1
        text = repr(rows)
        assert not [c for c in CANARIES if c in text or _as_tree(c) in text], name
    assert read > 150


def _as_tree(value: str) -> str:
    """As a pg_node_tree has it."""
    return " ".join(str(b) for b in value.encode())


def test_canaries_are_there(bank: Bank, postgres: TestServer) -> None:
    """What the test above looks for is what the server shows."""
    raw = postgres.execute_sql(
        bank.connection.info.dbname,
        "SELECT pg_get_viewdef('bank.v_hot'::regclass), pg_get_functiondef('bank.hot(text)'::regprocedure),"
        " (SELECT relpartbound::text FROM pg_class WHERE relname = 'listed_1'), (SELECT polqual::text FROM pg_policy)",
    )
    assert "13700000007" in raw
    assert "13700000016" in raw
    assert _as_tree("13700000013") in raw
    assert _as_tree("13700000021") in raw


@pytest.mark.parametrize(
    "text",
    [
        "SELECT pg_get_viewdef(oid) FROM pg_class WHERE relname IN ('v_hot', 'v_above', 'm_hot')",
        "SELECT pg_get_viewdef(oid, true) FROM pg_class WHERE relname IN ('v_hot', 'v_above', 'm_hot')",
        "SELECT pg_get_viewdef('bank.v_hot')",
        "SELECT pg_get_viewdef('v_hot'::regclass, 80)",
        "SELECT pg_get_ruledef(oid) FROM pg_rewrite WHERE oid > 16383 AND rulename = 'hot_rule'",
        "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname LIKE 'hot%'",
        "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE proname = 'hot'",
        "SELECT pg_get_function_arguments(oid) FROM pg_proc WHERE proname = 'hot'",
        "SELECT pg_get_function_arg_default(oid, 1) FROM pg_proc WHERE proname = 'hot'",
        "SELECT pg_get_indexdef(oid) FROM pg_class WHERE relname = 'hot_index'",
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname IN ('hot_check', 'hot_domain')",
        "SELECT pg_get_statisticsobjdef(oid) FROM pg_statistic_ext",
        "SELECT pg_get_partition_constraintdef(oid) FROM pg_class WHERE relname IN ('listed_1', 'listed_1_1')",
        "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = 'listed_1'",
        "SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = 'bank.customers'::regclass AND adnum = 2",
        "SELECT pg_get_expr(polqual, polrelid) FROM pg_policy",
        "SELECT obj_description('bank.customers'::regclass)",
        "SELECT col_description('bank.customers'::regclass, 3)",
        "SELECT pg_relation_size('bank.wealth_high')",
        "SELECT pg_total_relation_size('bank.wealth_high'::regclass)",
        "SELECT pg_table_size(c.oid) FROM pg_class c WHERE relname = 'wealth_high'",
        "SELECT pg_indexes_size('bank.wealth_high')",
        "SELECT pg_relation_size(indexrelid) FROM pg_index WHERE indrelid = 'bank.wealth_high'::regclass",
        "SELECT pg_stat_get_live_tuples('bank.wealth_high'::regclass)",
        "SELECT reltuples, relpages FROM pg_class WHERE relname = 'wealth_high'",
        "SELECT n_live_tup, n_tup_ins FROM pg_stat_user_tables WHERE relname = 'wealth_high'",
        "SELECT column_default FROM information_schema.columns WHERE table_name = 'customers' AND column_name = 'surname'",
    ],
)
def test_withheld(bank: Bank, text: str) -> None:
    rows = bank.read(text)
    assert rows
    assert {v for row in rows for v in row} == {None}


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("SELECT pg_get_viewdef('bank.v_cold'::regclass)", "40000123456"),
        ("SELECT definition FROM pg_views WHERE viewname = 'v_cold'", "40000123456"),
        (
            "SELECT column_default FROM information_schema.columns WHERE table_name = 'branches' AND column_name = 'hotline'",
            "400",
        ),
        ("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'plain_check'", "XX"),
        ("SELECT pg_get_functiondef(oid) FROM pg_proc WHERE proname = 'touch'", "RETURN NEW"),
        ("SELECT reltuples FROM pg_class WHERE relname = 'customers'", "9"),
        ("SELECT pg_relation_size('bank.customers')", "8192"),
        ("SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = 'wealth_low'", "(0) TO (500123)"),
        ("SELECT pg_get_partkeydef('bank.wealth'::regclass)", "RANGE (amount)"),
    ],
)
def test_the_rest_stays_readable(bank: Bank, text: str, part: str) -> None:
    assert part in str(bank.read(text)[0][0])


@pytest.mark.parametrize(
    "text",
    ["SELECT * FROM pg_prepared_statement()", "SELECT * FROM pg_cursor()", "SELECT * FROM pg_lock_status()"],
)
def test_functions_behind_views_are_refused(bank: Bank, text: str) -> None:
    assert "may not be used" in (bank.refusal(text) or "")


# --- generated columns ----------------------------------------------------------------------------------------------------


def test_a_generated_column_is_computed_from_masked_columns(bank: Bank) -> None:
    assert bank.read("SELECT DISTINCT note FROM customers") == [("n138",)]
    assert bank.read("SELECT DISTINCT c.note FROM customers c WHERE note LIKE 'n138_%'") == []


# --- EXPLAIN, VACUUM ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("EXPLAIN SELECT * FROM wealth", "sizes of partitions"),
        ("EXPLAIN (COSTS) SELECT * FROM wealth", "sizes of partitions"),
        ("EXPLAIN (ANALYZE, COSTS OFF) SELECT * FROM wealth", "count rows by partition"),
        ("EXPLAIN SELECT * FROM v_hot", "conditions of a definition"),
        ("EXPLAIN (COSTS OFF) SELECT * FROM v_above", "conditions of a definition"),
        ("EXPLAIN SELECT id FROM secured", "conditions of a definition"),
        ("VACUUM VERBOSE", "count rows by partition"),
        ("VACUUM (VERBOSE) wealth", "count rows by partition"),
        ("ANALYZE VERBOSE wealth", "count rows by partition"),
    ],
)
def test_plans_and_counts_that_tell(bank: Bank, text: str, reason: str) -> None:
    assert reason in (bank.refusal(text) or "")


@pytest.mark.parametrize(
    "text",
    [
        "EXPLAIN (COSTS OFF) SELECT * FROM wealth",
        "EXPLAIN (COSTS false) SELECT * FROM wealth",
        "EXPLAIN SELECT * FROM v_cold",
        "EXPLAIN SELECT id FROM customers",
    ],
)
def test_other_plans(bank: Bank, text: str) -> None:
    assert bank.refusal(text) is None


def test_conditions_of_triggers_are_not_counted(bank: Bank) -> None:
    without = _without_rules(bank)
    assert "conditions of triggers" in (without.refusal("EXPLAIN ANALYZE DELETE FROM customers WHERE id = 1") or "")
    assert without.refusal("EXPLAIN DELETE FROM customers WHERE id = 1") is None


# --- writes that tell by failing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("INSERT INTO calls (id, caller) VALUES (1, '13800000001')", "refers by a foreign key to a masked column"),
        ("INSERT INTO calls VALUES (1, '13800000001')", "refers by a foreign key to a masked column"),
        ("UPDATE calls SET caller = '13800000001'", "refers by a foreign key to a masked column"),
        ("INSERT INTO calls (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET caller = '1'", "refers by a foreign key"),
        ("COPY calls (caller) FROM STDIN", "refers by a foreign key to a masked column"),
        ("MERGE INTO calls USING branches ON false WHEN NOT MATCHED THEN INSERT (id, caller) VALUES (1, '1')", "foreign key"),
        ("UPDATE customers SET used = 50 WHERE id = 3", "is checked together with masked columns"),
        ("UPDATE customers SET branch = 'SH' WHERE id = 3", "is checked together with masked columns"),
        ("INSERT INTO customers (id) VALUES (3) ON CONFLICT (id) DO UPDATE SET used = 5", "is checked together"),
        ("INSERT INTO customers (id, phone) VALUES (30, '13800000001')", "part of a unique index"),
    ],
)
def test_writes_that_tell(bank: Bank, text: str, reason: str) -> None:
    assert reason in (_without_rules(bank).refusal(text) or "")


def _without_rules(bank: Bank) -> Bank:
    """Writes to a table with rewrite rules are refused before anything else is looked at."""
    relations = {o: replace(r, rules=False) for o, r in bank.catalog.relations.items()}
    return Bank(bank.connection, replace(bank.catalog, version="without rules", relations=relations), bank.profile)


@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO calls (id, customer) VALUES (1, 3)",
        "UPDATE calls SET customer = 3",
        "COPY calls (id, customer) FROM STDIN",
        "INSERT INTO customers (id, used) VALUES (30, 5)",
        "UPDATE branches SET hotline = '1'",
    ],
)
def test_writes_that_do_not(bank: Bank, text: str) -> None:
    assert _without_rules(bank).refusal(text) is None
