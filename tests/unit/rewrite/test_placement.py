"""sqlglot's places are used when they are PostgreSQL's own, to the byte; otherwise PostgreSQL's parser carries the edits."""

from __future__ import annotations

import pytest

from rewrite import placement
from rewrite.plan import Verdict
from tests.support.minibank import plan


@pytest.mark.parametrize(
    "text",
    [
        "SELECT phone FROM bank.customers",
        "SELECT a.phone FROM bank.customers a JOIN bank.accounts b ON a.id = b.id",
        'SELECT "姓名" FROM "零售"."客户 表" AS 客',
        "WITH x AS (SELECT phone FROM bank.customers) SELECT * FROM x",
        "SELECT '中文' FROM bank.customers WHERE EXISTS (SELECT 1 FROM bank.watchlist)",
    ],
)
def test_both_agree(text: str) -> None:
    assert plan(text).placed_by == "sqlglot"


@pytest.mark.parametrize(
    "text",
    [
        "TABLE bank.watchlist",
        "SELECT phone FROM bank.customers *",
        "EXPLAIN (COSTS OFF) SELECT phone FROM bank.customers",
        "DECLARE c CURSOR FOR SELECT phone FROM bank.customers",
        "PREPARE p AS SELECT phone FROM bank.customers",
        "SELECT phone FROM bank.customers WHERE id OPERATOR(pg_catalog.=) 1 ORDER BY id USING <",
    ],
)
def test_postgresql_alone(text: str) -> None:
    got = plan(text)
    assert got.verdict is Verdict.REWRITE
    assert got.placed_by in ("libpg_query", "sqlglot")
    assert "overlay" in got.text


def test_nothing_to_place() -> None:
    assert plan("SELECT 1").placed_by == ""


def test_what_sqlglot_cannot_read_is_told() -> None:
    assert placement.relations("DECLARE c CURSOR FOR SELECT 1 FROM a") is None
    assert placement.relations("SELECT FROM WHERE (((") is None


def test_a_disagreement_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "relations", lambda text: [(0, 1)])
    got = plan("SELECT phone FROM bank.customers")
    assert got.verdict is Verdict.REWRITE
    assert got.placed_by == "libpg_query"
