"""Writes: nothing masked is stored, nothing raw is read through a write, nothing masked is destroyed."""

from __future__ import annotations

import pytest

from rewrite.plan import Verdict
from tests.support.minibank import context, plan

PASSES = [
    "INSERT INTO bank.watchlist (id) VALUES (1) RETURNING hotline",
    "INSERT INTO bank.watchlist (id) VALUES (1) RETURNING *",
    "UPDATE bank.customers SET vip = true RETURNING phone",
    "INSERT INTO bank.branches VALUES ('A', 'B') ON CONFLICT DO NOTHING",
    "INSERT INTO bank.customers (id, name, email) VALUES (1, 'a', 'b')",
    "INSERT INTO bank.branches SELECT branch, branch FROM bank.customers",
    "UPDATE bank.customers SET vip = true WHERE id = 1 RETURNING id, vip",
    "UPDATE bank.customers c SET branch = b.code FROM bank.branches b WHERE c.branch = b.name",
    "UPDATE bank.customers SET vip = true WHERE id IN (SELECT id FROM public.customers WHERE phone = 'x' AND name = 'y')",
    "UPDATE bank.customers c SET vip = true FROM public.customers p WHERE p.phone = 'x' AND p.id = c.id",
    "DELETE FROM bank.customers WHERE id = 1",
    "DELETE FROM bank.accounts WHERE status = 'closed'",
    "MERGE INTO bank.branches b USING public.customers p ON p.name = b.code WHEN NOT MATCHED THEN INSERT VALUES (p.phone, '')",
    "INSERT INTO bank.watchlist (id, reason) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET reason = excluded.reason",
    "TRUNCATE bank.branches",
    "CREATE TABLE public.t (a int)",
    "CREATE TABLE public.t AS SELECT id, branch FROM bank.customers",
    "CREATE TEMP TABLE t AS SELECT * FROM bank.customers",
    "CREATE INDEX ON bank.branches (lower(name))",
    "ALTER TABLE bank.branches ADD COLUMN x int DEFAULT 1",
    "ALTER TABLE bank.branches RENAME TO offices",
    "DROP TABLE IF EXISTS public.nothing, bank.branches CASCADE",
    "DROP SCHEMA archive",
    "COMMENT ON TABLE bank.branches IS 'x'",
    "GRANT SELECT ON bank.branches TO public",
    "LOCK TABLE bank.customers IN ACCESS SHARE MODE",
    "LOCK TABLE bank.wealth, bank.wealth_low IN ACCESS SHARE MODE",
    "ANALYZE bank.customers",
    "EXPLAIN (VERBOSE) UPDATE bank.watchlist SET reason = 'x' WHERE id = 1",
    "EXPLAIN (VERBOSE) DELETE FROM bank.watchlist",
    "EXPLAIN (VERBOSE) INSERT INTO bank.branches SELECT reason, reason FROM bank.watchlist",
]

RETURNED = [
    "UPDATE bank.customers SET vip = true FROM bank.branches b RETURNING phone",
    "UPDATE bank.customers SET vip = true RETURNING lower(phone)",
    "UPDATE bank.customers SET vip = true RETURNING customers.*, customers",
    "WITH u AS (UPDATE bank.customers SET vip = true RETURNING id) UPDATE bank.customers SET vip = false FROM u RETURNING phone",
    "INSERT INTO bank.watchlist (id) VALUES (1) RETURNING watchlist",
    "UPDATE bank.customers SET vip = true RETURNING customers",
    "UPDATE bank.customers SET vip = true RETURNING row_to_json(customers.*)",
    "UPDATE bank.customers SET vip = true RETURNING bank.customers.phone",
    "UPDATE bank.customers SET vip = true RETURNING (SELECT phone)",
    "DELETE FROM bank.customers RETURNING old.*",
    "WITH x AS (UPDATE bank.customers SET vip = true RETURNING phone) SELECT * FROM x",
    "WITH u AS (UPDATE bank.customers SET vip = true RETURNING phone) SELECT * FROM u",
    "WITH u AS (UPDATE bank.branches SET name = 'x' RETURNING code) SELECT phone FROM bank.customers, u",
    "UPDATE bank.branches SET name = 'x' RETURNING (SELECT max(phone) FROM bank.customers)",
    "INSERT INTO bank.customers (id, name) SELECT id, name FROM (VALUES (1, 'x')) AS v(id, name) RETURNING name",
    "DELETE FROM bank.customers USING bank.accounts a JOIN bank.branches b ON status = code RETURNING phone",
]

REFUSED = [
    "EXPLAIN (VERBOSE) INSERT INTO bank.watchlist (id) VALUES (1)",
    "EXPLAIN (VERBOSE) UPDATE bank.watchlist SET reason = DEFAULT",
    "EXPLAIN (VERBOSE) UPDATE bank.watchlist SET (reason) = ROW(DEFAULT)",
    "PREPARE p AS UPDATE bank.watchlist SET reason = DEFAULT; EXPLAIN (VERBOSE) EXECUTE p",
    "UPDATE bank.customers SET vip = true RETURNING (customers).phone",
    "UPDATE bank.customers SET vip = true RETURNING phone(customers)",
    "UPDATE bank.customers SET vip = true RETURNING ROW(customers.*)",
    "UPDATE bank.customers SET vip = true RETURNING new",
    "UPDATE bank.customers SET vip = true RETURNING (SELECT phone FROM generate_series(1, 2) LIMIT 1)",
    "UPDATE bank.accounts SET status = 'x' RETURNING accounts",
    "WITH u AS (UPDATE bank.customers SET vip = true RETURNING phone) INSERT INTO public.customers (phone) SELECT phone FROM u",
    "WITH u AS (UPDATE bank.watchlist SET id = 1 RETURNING hotline), v AS (TABLE u) INSERT INTO bank.branches TABLE v",
    "WITH u AS (UPDATE bank.customers SET vip = true RETURNING phone) SELECT * INTO public.t FROM u",
    "WITH RECURSIVE r AS (SELECT id FROM bank.v_contact WHERE phone <> '' UNION TABLE r) DELETE FROM bank.branches USING r",
    "UPDATE bank.transactions SET amount = 1 WHERE id = 7",  # amount < 100 would show the memo
    "UPDATE bank.customers SET vip = true FROM generate_series(1, 2) RETURNING *",
    "INSERT INTO bank.customers (id, phone) VALUES (1, '13000000000')",
    "INSERT INTO bank.customers VALUES (1)",
    "INSERT INTO bank.branches SELECT name, phone FROM bank.customers",
    "INSERT INTO bank.branches SELECT branch, branch FROM bank.customers WHERE phone LIKE '13%'",
    "INSERT INTO bank.branches SELECT branch, branch FROM bank.customers ORDER BY balance LIMIT 1",
    "INSERT INTO bank.branches SELECT label, label FROM bank.v_label",
    "INSERT INTO bank.watchlist (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET reason = excluded.hotline",
    "INSERT INTO bank.watchlist (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET reason = excluded::text",
    "INSERT INTO bank.watchlist (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET reason = watchlist.hotline",
    "INSERT INTO bank.watchlist (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET hotline = 'x'",
    "INSERT INTO bank.customers (id, name) VALUES (1, 'x') ON CONFLICT (phone) DO NOTHING",
    "UPDATE bank.customers SET phone = '13000000000' WHERE id = 1",
    "UPDATE bank.customers SET (vip, phone) = (true, 'x')",
    "UPDATE bank.customers SET contact.phone = 'x'",
    "UPDATE bank.customers SET branch = phone",
    "UPDATE bank.customers SET vip = true WHERE phone = 'x'",
    "UPDATE bank.branches SET name = c.phone FROM bank.customers c",
    "UPDATE bank.corporate SET phone = 'x'",
    "UPDATE bank.transactions_1 SET memo = 'x'",
    "DELETE FROM bank.customers WHERE balance > 1000",
    "DELETE FROM bank.branches WHERE code IN (SELECT name FROM bank.customers)",
    "MERGE INTO bank.customers c USING bank.branches b ON c.phone = b.code WHEN MATCHED THEN DELETE",
    "MERGE INTO bank.customers c USING bank.branches b ON c.branch = b.code WHEN MATCHED THEN UPDATE SET phone = 'x'",
    "MERGE INTO bank.customers c USING bank.branches b ON c.branch = b.code WHEN MATCHED AND c.phone = 'x' THEN DELETE",
    "MERGE INTO bank.branches b USING bank.customers c ON true WHEN NOT MATCHED THEN INSERT VALUES (c.phone, c.name)",
    "CREATE TABLE public.t AS SELECT phone FROM bank.customers",
    "CREATE TABLE public.t AS SELECT id FROM bank.customers WHERE phone LIKE '13%'",
    "CREATE TABLE public.t AS EXECUTE p",
    "CREATE MATERIALIZED VIEW public.m AS SELECT phone FROM bank.customers",
    "CREATE VIEW public.v AS SELECT bank.get_phone(1)",
    "CREATE VIEW public.v AS SELECT phone FROM bank.customers",
    "CREATE OR REPLACE VIEW bank.v_contact AS SELECT 1 AS id, 'x' AS name, NULL::bank.phone_t AS phone, 'x' AS email",
    "ALTER TABLE bank.v_contact RENAME TO other",
    "ALTER VIEW bank.v_contact RENAME COLUMN phone TO tel",
    "CREATE VIEW public.v AS SELECT pg_get_indexdef(1)",
    "CREATE VIEW public.v AS SELECT pin FROM bank.accounts",
    "CREATE MATERIALIZED VIEW public.m AS SELECT tel FROM bank.mv_report",
    "CREATE TABLE public.t (LIKE bank.watchlist INCLUDING ALL)",
    "CREATE TABLE public.t () INHERITS (bank.customers)",
    "CREATE TABLE public.t PARTITION OF bank.wealth DEFAULT",
    "CREATE TABLE public.t (a text REFERENCES bank.accounts (number))",
    "CREATE UNIQUE INDEX ON bank.customers (phone)",
    "ALTER TABLE bank.customers ADD CHECK (phone <> 'x')",
    "ALTER TABLE public.customers INHERIT bank.customers",
    "ALTER TABLE bank.customers RENAME TO other",
    "ALTER SCHEMA bank RENAME TO other",
    "ALTER TYPE bank.contact_t RENAME TO other",
    "ALTER TYPE bank.contact_t DROP ATTRIBUTE phone",
    "ALTER FUNCTION bank.get_phone(int) RENAME TO band",
    "ALTER ROLE a RENAME TO b",
    "DROP TABLE bank.customers",
    "DROP VIEW bank.v_contact CASCADE",
    "DROP MATERIALIZED VIEW bank.mv_report",
    "DROP SCHEMA bank CASCADE",
    "DROP TYPE bank.contact_t CASCADE",
    "DROP DOMAIN bank.phone_t CASCADE",
    "DROP OWNED BY owner",
    "TRUNCATE bank.customers",
    "TRUNCATE bank.branches CASCADE",
    "COMMENT ON COLUMN bank.customers.phone IS 'x'",
    "GRANT SELECT ON bank.customers TO public",
    "GRANT owner TO analyst",
    "REFRESH MATERIALIZED VIEW bank.mv_phones WITH NO DATA",
    "CREATE RULE r AS ON SELECT TO public.customers DO INSTEAD SELECT * FROM bank.customers",
    "CREATE TRIGGER t BEFORE INSERT ON bank.branches EXECUTE FUNCTION f()",
    "CREATE POLICY p ON bank.branches USING (true)",
    "CREATE STATISTICS s ON phone, name FROM bank.customers",
    "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS 'SELECT phone FROM bank.customers'",
    "CREATE CAST (int AS text) WITH INOUT",
    "CREATE AGGREGATE a (int) (SFUNC = bank.attr, STYPE = text)",
    "CREATE DOMAIN d AS int CHECK (bank.get_phone(VALUE) <> '')",
    "CREATE FOREIGN TABLE f (a int) SERVER s",
    "IMPORT FOREIGN SCHEMA s FROM SERVER x INTO public",
    "CREATE EXTENSION dblink",
    "CREATE PUBLICATION p FOR TABLE bank.customers",
    "SECURITY LABEL ON TABLE bank.customers IS 'x'",
    "DO $$ begin execute 'select 1'; end $$",
    "LOAD 'x'",
    "REASSIGN OWNED BY a TO b",
    "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO public",
    "ALTER SYSTEM SET work_mem = '1MB'",
    "ALTER DATABASE minibank SET search_path = bank",
    "COPY bank.customers (id, phone) FROM STDIN",
    "INSERT INTO pg_catalog.pg_class (oid) VALUES (1)",
    "CREATE TABLE pg_catalog.x (a int)",
]


@pytest.mark.parametrize("text", PASSES)
def test_goes_on(text: str) -> None:
    got = plan(text)
    assert got.verdict in (Verdict.PASS, Verdict.REWRITE), got.refusal


@pytest.mark.parametrize("text", RETURNED)
def test_what_is_returned_is_masked(text: str) -> None:
    got = plan(text)
    assert got.verdict is Verdict.REWRITE, got.refusal
    assert "overlay" in got.text or "pg_catalog" in got.text


@pytest.mark.parametrize("text", REFUSED)
def test_refused(text: str) -> None:
    got = plan(text)
    assert got.verdict is Verdict.REFUSE
    assert got.refusal is not None
    assert got.refusal.sqlstate in ("42501", "0A000")


def test_into_the_session_s_own_temporary_tables() -> None:
    own = context(path=("pg_temp", "pg_catalog", "public"), temp=["t"])
    for text in (
        "INSERT INTO t SELECT phone FROM bank.customers",
        "UPDATE t SET a = (SELECT phone FROM bank.customers LIMIT 1)",
        "DELETE FROM pg_temp.t WHERE a IN (SELECT phone FROM bank.customers)",
        "CREATE INDEX ON t (a)",
    ):
        assert plan(text, own).verdict is Verdict.REWRITE, text
    branch = (
        "WITH x AS (INSERT INTO bank.branches VALUES ('a', 'b') RETURNING code) INSERT INTO t SELECT phone FROM bank.customers, x"
    )
    assert plan(branch, own).verdict is Verdict.REWRITE
    phone = "WITH x AS (SELECT phone FROM bank.customers), y AS (INSERT INTO bank.branches TABLE x) INSERT INTO t VALUES (1)"
    assert plan(phone, own).verdict is Verdict.REFUSE
