"""What a masked session may not leave on a server connection that others get after the transaction."""

from __future__ import annotations

import pytest

from rewrite.pgtree import parse
from rewrite.pooled import left_behind

LEAVES = (
    "CREATE TEMP TABLE t (a int)",
    "CREATE TEMP TABLE t (a int) ON COMMIT DELETE ROWS",
    "CREATE TABLE pg_temp.t (a int)",
    "CREATE TEMP TABLE t AS SELECT 1",
    "SELECT 1 AS a INTO TEMP t",
    "EXPLAIN ANALYZE CREATE TEMP TABLE t AS SELECT 1",
    "CREATE TEMP VIEW v AS SELECT 1",
    "CREATE TEMP SEQUENCE s",
    "CREATE DOMAIN pg_temp.d AS int",
    "CREATE TYPE pg_temp.e AS ENUM ('a')",
    "CREATE TYPE pg_temp.c AS (a int)",
    "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    "LISTEN c",
    "SELECT pg_advisory_lock(1)",
    "SELECT a FROM (SELECT pg_catalog.pg_try_advisory_lock(a, 1) FROM t) s",
    "WITH l AS (SELECT pg_advisory_lock_shared(1)) SELECT 1",
    "SET ROLE r",
    "SET role = 'r'",
    "SET SESSION ROLE r",
    "SELECT set_config('role', 'r', false)",
    "SELECT set_config('ROLE', r, false) FROM roles",
    "SET search_path = pg_temp, public",
    "SELECT set_config('search_path', 'pg_temp', false)",
)
STAYS_CLEAN = (
    "CREATE TEMP TABLE t (a int) ON COMMIT DROP",
    "CREATE TEMP TABLE t ON COMMIT DROP AS SELECT 1",
    "CREATE TABLE t (a int)",
    "CREATE VIEW v AS SELECT 1",
    "CREATE DOMAIN d AS int",
    "DECLARE c CURSOR FOR SELECT 1",
    "UNLISTEN *",
    "NOTIFY c",
    "SELECT pg_advisory_xact_lock(1), pg_advisory_unlock_all()",
    "SET LOCAL ROLE r",
    "RESET ROLE",
    "SET ROLE NONE",
    "SET search_path = public",
    "SET LOCAL search_path = pg_temp",
    "RESET search_path",
    "SELECT set_config('role', 'r', true), set_config('search_path', '', false)",
    "SELECT set_config(name, 'view', false) FROM pg_settings",
)


@pytest.mark.parametrize("text", LEAVES)
def test_refused(text: str) -> None:
    (statement,) = parse(text)
    assert left_behind(statement.kind, statement.body) is not None


@pytest.mark.parametrize("text", STAYS_CLEAN)
def test_allowed(text: str) -> None:
    (statement,) = parse(text)
    assert left_behind(statement.kind, statement.body) is None
