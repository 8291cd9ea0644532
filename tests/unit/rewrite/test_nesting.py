"""Statements nested so deeply that a parser runs out of stack are told before they are parsed; long flat ones are not refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rewrite.pgtree import DEEPEST, SHALLOW, nesting, parse
from rewrite.plan import Verdict
from tests.support import minibank

NESTED: dict[str, Callable[[int], str]] = {
    "operators": lambda n: "SELECT " + "1+" * n + "1",
    "not": lambda n: "SELECT " + "NOT " * n + "true",
    "functions": lambda n: "SELECT " + "abs(" * n + "1" + ")" * n,
    "casts": lambda n: "SELECT 1" + "::int" * n,
    "tests": lambda n: "SELECT 1" + " ISNULL" * n,
    "between and tests": lambda n: "SELECT 1" + " BETWEEN 1 AND 2 ISNULL" * n,
    "case": lambda n: "SELECT " + "CASE WHEN a AND b OR c THEN 1 ELSE " * n + "1" + " END" * n,
    "subqueries": lambda n: "SELECT * FROM " + "(SELECT 1, * FROM " * n + "a" + ") q" * n,
    "set operations": lambda n: " UNION ALL ".join(["SELECT 1, 2, a AND b"] * (n + 1)),
    "joins": lambda n: "SELECT 1 FROM a" + " JOIN b ON a AND b OR c" * n,
    "joins to the right": lambda n: "SELECT 1 FROM " + "a JOIN " * n + "a" + " ON a AND b" * n,
    "alternating": lambda n: "SELECT " + "(a AND (b OR " * n + "c" + "))" * n,
    "in": lambda n: "SELECT " + "1 IN (1, 2, " * n + "1" + ")" * n,
    "arrays": lambda n: "SELECT " + "ARRAY[1, " * n + "1" + "]" * n,
    "collations": lambda n: "SELECT a" + ' COLLATE "C"' * n,
}
FLAT: dict[str, Callable[[int], str]] = {
    "values": lambda n: "INSERT INTO bank.branches VALUES " + ", ".join(["('x,(y', 'z')"] * n),
    "in": lambda n: "SELECT phone FROM bank.customers WHERE id IN (" + ", ".join(["1"] * n) + ")",
    "and": lambda n: "SELECT phone FROM bank.customers WHERE " + " AND ".join(["id = 1"] * n),
    "or": lambda n: "SELECT phone FROM bank.customers WHERE " + " OR ".join(["(id = 1 AND branch BETWEEN 'a' AND 'b')"] * n),
    "statements": lambda n: ";".join(["SELECT 1"] * n),
    "comments": lambda n: "SELECT phone FROM bank.customers " + "-- (\n" * n,
}


def _levels(node: Any) -> int:
    """How many typed nodes are in each other."""
    deepest, todo = 0, [(node, 0)]
    while todo:
        value, depth = todo.pop()
        deepest = max(deepest, depth)
        if isinstance(value, dict):
            todo += [(v, depth + (k[0].isupper() or k in ("larg", "rarg"))) for k, v in value.items()]
        elif isinstance(value, list):
            todo += [(v, depth) for v in value]
    return deepest


@pytest.mark.parametrize("make", NESTED.values(), ids=NESTED)
def test_the_bound_holds(make: Callable[[int], str]) -> None:
    text = make(40)
    (statement,) = parse(text)
    assert nesting(text) >= 40
    assert nesting(text) * 3 >= _levels(statement.body) > 10


@pytest.mark.parametrize("make", NESTED.values(), ids=NESTED)
def test_beyond_any_stack(make: Callable[[int], str]) -> None:
    for count in (4_000, 60_000):
        refusal = minibank.plan(make(count)).refusal
        assert refusal is not None
        assert refusal.sqlstate in ("54000", "54001", "42601")
        assert minibank.plan(make(count), minibank.context(of=minibank.CLEAR)).verdict is Verdict.PASS


@pytest.mark.parametrize("make", FLAT.values(), ids=FLAT)
def test_long_is_not_deep(make: Callable[[int], str]) -> None:
    text = make(3_000)
    assert len(text) > SHALLOW or text.startswith("SELECT phone") or ";" in text
    assert nesting(text) < DEEPEST / 100
    assert minibank.plan(text).refusal is None


def test_hundreds_of_operators_are_everyday() -> None:
    columns = " || ',' || ".join(["name"] * 300)
    assert minibank.plan(f"SELECT {columns} FROM bank.customers").verdict is Verdict.REWRITE
    union = " UNION ALL ".join(["SELECT phone FROM bank.customers"] * 1000)
    assert minibank.plan(union).verdict is Verdict.REWRITE


def test_strings_go_on_behind_comments() -> None:
    for comment in ("-- x 'y'\n", "--\n--/*\r\n", "-- 客户\n"):
        plan = minibank.plan(f"SELECT 'a' {comment} 'b', phone FROM bank.customers")
        assert plan.verdict is Verdict.REWRITE
        assert f"SELECT 'a' {comment} 'b', phone FROM (SELECT" in plan.text
    refusal = minibank.plan("SELECT 'a' /* \n */ 'b' -- x\n FROM bank.customers").refusal
    assert refusal is not None
    assert refusal.sqlstate == "42601"
