"""Long lists of constants: planned as short ones, with the same plan as the whole text has."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewrite.plan import Plan, Verdict
from rewrite.planner import Planner
from rewrite.shorten import FULL, WORTH_IT, shorten
from tests.support.minibank import MASKED

ITEMS = ", ".join(str(n) for n in range(10000, 13000))
ROWS = ", ".join(f"('{n}', {'NULL' if n % 3 else 'DEFAULT'}, -{n}.5)" for n in range(3000))


def both(text: str) -> tuple[Plan, Plan]:
    """The plan as it is made, and the one made without looking for lists."""
    assert len(text) > WORTH_IT
    planner = Planner()
    return planner.plan(text, MASKED), planner._plan(text, MASKED)


@pytest.mark.parametrize(
    "text",
    [
        f"SELECT phone FROM bank.customers WHERE id IN ({ITEMS}) AND email = 'x'",
        f"SELECT phone FROM bank.customers WHERE id IN (\n{ITEMS}) OR vip AND balance in ( {ITEMS} , 7)",
        f"SELECT c.phone FROM bank.customers c WHERE id = ANY (ARRAY[{ITEMS}]) ORDER BY c.phone",
        f"SELECT * FROM (VALUES {ROWS}) AS v(a, b, c), bank.customers",
        f"INSERT INTO bank.branches (code, name, area) VALUES {ROWS}",
        f"INSERT INTO bank.customers (id, phone) VALUES {ROWS} RETURNING phone",
        f"INSERT INTO bank.customers (id, branch) VALUES {ROWS} RETURNING *",
        f"""SELECT '(1), (2)', phone AS "IN (1, 2)" FROM bank.customers WHERE id IN ({ITEMS})""",
        f"SELECT id, phone FROM bank.customers WHERE (id, branch) IN (({ITEMS.replace(', ', ', 1), (')}, 2))",
        f"SELECT phone FROM bank.unheard_of WHERE id IN ({ITEMS})",
        f"SELECT phone FROM bank.customers WHERE id IN ({ITEMS}) AND pg_read_file('x') = ''",
        f"SELECT phone FROM bank.customers WHERE id IN ({ITEMS}) AND AND",
    ],
)
def test_the_same_plan(text: str) -> None:
    assert shorten(text) is not None
    got, full = both(text)
    assert (got.verdict, got.text, got.edits, got.statements, got.refusal) == (
        full.verdict,
        full.text,
        full.edits,
        full.statements,
        full.refusal,
    )


@pytest.mark.parametrize(
    "text",
    [
        f"SELECT bank.values ({ITEMS})",
        f"SELECT bank . in ({ITEMS})",
        f"SELECT bank.\n{' ' * 200}array[{ITEMS}]",
        f"SELECT €values ({ITEMS})",
        f"SELECT 1 -- IN (\n, phone FROM bank.customers WHERE id IN ({ITEMS})",
        f"SELECT $$ IN ({ITEMS}) $$",
        f"SELECT E'\\' IN ({ITEMS}) '",
        f"SELECT ' IN ({ITEMS}) '",
        f'SELECT " IN ({ITEMS}) "',
        f"SELECT phone FROM bank.customers WHERE id IN ({ITEMS}",
        f"SELECT phone FROM bank.customers WHERE id IN ({ITEMS} + balance)",
        f"SELECT phone FROM bank.customers WHERE id IN (id, {ITEMS})",
        f"SELECT phone FROM bank.customers WHERE id IN ({ITEMS}) AND name = 'x",
    ],
)
def test_left_as_it_is(text: str) -> None:
    assert shorten(text) is None
    got, full = both(text)
    assert (got.verdict, got.text, got.refusal) == (full.verdict, full.text, full.refusal)


def test_constants_that_matter_are_looked_at() -> None:
    text = f"SELECT id, phone FROM bank.customers WHERE id IN ({ITEMS}) GROUP BY 1"
    got, full = both(text)
    assert got.text == full.text
    assert "GROUP BY" in got.text


def test_an_error_is_told_at_its_place() -> None:
    got, full = both(f"SELECT x FROM bank.customers WHERE id IN ({ITEMS}) AND SELECT")
    assert full.refusal is not None
    assert got.refusal == full.refusal


CONSTANTS = st.one_of(
    st.integers(-(10**12), 10**12).map(str),
    st.text("a'€\n(),-中", max_size=5).map(lambda s: "'" + s.replace("'", "''") + "'"),
    st.sampled_from(["NULL", "null", "true", "1.5", "2e3", "+ 7"]),
)


@given(st.lists(CONSTANTS, min_size=20, max_size=30), st.sampled_from(["IN (%s)", "= ANY (ARRAY[%s])", "IN (VALUES (%s))"]))
@settings(max_examples=150, deadline=None)
def test_whatever_the_constants_are(items: list[str], form: str) -> None:
    separator = "), (" if "VALUES" in form else ", "
    text = f"SELECT phone FROM bank.customers WHERE name {form % separator.join(items)} AND email > 'x'"
    short = shorten(text)
    planner = Planner()
    full = planner._plan(text, MASKED)
    assert full.verdict is Verdict.REWRITE
    if short is not None:
        whole = short.whole(planner._plan(short.text, MASKED), text)
        assert whole is not None
        assert (whole.text, whole.edits, whole.statements) == (full.text, full.edits, full.statements)


def test_texts_that_would_keep_everybody_waiting() -> None:
    got = Planner().plan("SELECT phone FROM bank.customers WHERE " + " OR ".join(f"id = {n}" for n in range(FULL // 8)), MASKED)
    assert got.refusal is not None
    assert got.refusal.sqlstate == "54000"
    assert Planner().plan(f"SELECT phone, '{'x' * 2 * FULL}' FROM bank.customers", MASKED).verdict is Verdict.REWRITE


def test_a_text_that_is_long_by_blanks_and_strings_alone_is_planned_at_once() -> None:
    planner = Planner()
    for text in (f"SELECT phone{' ' * 20_000} FROM bank.customers", f"SELECT phone, '{'x y ' * 20_000}' FROM bank.customers"):
        plan = planner.recall(text, MASKED)
        assert plan is not None
        assert plan.verdict is Verdict.REWRITE
    assert (
        planner.recall("SELECT phone FROM bank.customers WHERE " + " OR ".join(f"id = {n}" for n in range(2000)), MASKED) is None
    )
