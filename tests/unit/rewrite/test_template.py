"""Texts that differ in constants share a plan: filling a template gives what planning afresh gives."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rewrite.plan import Verdict
from rewrite.planner import Planner
from rewrite.template import cut
from tests.support.minibank import CATALOG, MASKED, PATH, context, plan, profile

CONSTANTS = st.one_of(
    st.integers(0, 99999999999).map(str),
    st.sampled_from(["1", "2", "3", "1.5", "2e3", "0", "''", "'中文'", "'it''s'", "'--'", "'/*'", "'\"'", "'bank.customers'"]),
    st.text(alphabet="ab ;('\"", max_size=5).map(lambda t: "'" + t.replace("'", "''") + "'"),
)
TEXTS = st.sampled_from(
    [
        "SELECT {} FROM bank.customers WHERE id = {}",
        "SELECT id, phone, {} AS x FROM bank.customers c WHERE name = {} AND id<{}",
        "SELECT id, name FROM bank.customers GROUP BY {}, {}",
        "SELECT name, id FROM bank.customers GROUP BY {}",
        "SELECT branch, count(*) FROM bank.customers GROUP BY {} ORDER BY {} LIMIT {}",
        "SELECT memo FROM bank.transactions WHERE amount > {} UNION ALL SELECT {} FROM bank.branches",
        "SELECT set_config({}, {}, true)",
        "SELECT pg_get_indexdef({})",
        "SELECT phone FROM bank.customers TABLESAMPLE system ({}) WHERE id = {}",
        'SELECT "Phone" AS "{}" FROM bank."Customers" WHERE "ID" = {}',
        "SELECT phone FROM bank.customers WHERE id = {};SELECT {}",
        "EXPLAIN SELECT phone FROM bank.customers WHERE id = {}",
        "INSERT INTO bank.branches VALUES ({}, {})",
        "UPDATE bank.customers SET branch = {} WHERE id = {}",
        "SELECT {}::text || phone FROM bank.v_contact FETCH FIRST {} ROWS ONLY",
        "SELECT -{} + {} FROM bank.wealth",
        "SELECT {}{} FROM bank.customers",
        "SELECT phone p{} FROM bank.customers",
    ]
)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[str, str]:
    """Two texts of the same outline with different constants."""
    outline = draw(TEXTS)
    count = outline.count("{}")
    return outline.format(*[draw(CONSTANTS) for _ in range(count)]), outline.format(*[draw(CONSTANTS) for _ in range(count)])


@given(pairs())
@settings(max_examples=600, deadline=None)
@example(("SELECT name, id FROM bank.customers GROUP BY 1", "SELECT name, id FROM bank.customers GROUP BY 2"))
@example(("SELECT set_config('a', 'b', true)", "SELECT set_config('role', 'b', true)"))
def test_filling_equals_planning_afresh(texts: tuple[str, str]) -> None:
    planner = Planner()
    planner.plan(texts[0], MASKED)
    second = planner.plan(texts[1], MASKED)
    fresh = plan(texts[1])
    assert (second.verdict, second.text, second.edits) == (fresh.verdict, fresh.text, fresh.edits)
    assert (second.effects, second.refusal) == (fresh.effects, fresh.refusal)


@given(pairs())
@settings(max_examples=300, deadline=None)
def test_equal_templates_differ_in_constants_only(texts: tuple[str, str]) -> None:
    first, second = cut(texts[0]), cut(texts[1])
    for text, c in zip(texts, (first, second), strict=True):
        if c is not None:
            joined = "".join(a + b for a, b in zip(c.segments, [*c.constants, ""], strict=True))
            assert joined == text
    if first is not None and second is not None and first.key == second.key:
        assert first.segments == second.segments
        assert len(first.constants) == len(second.constants)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT phone FROM bank.customers",
        "SELECT E'a'",
        "SELECT $1, 2",
        "SELECT $$a$$, 1",
        "SELECT 1 -- x",
        "SELECT 1 /* x */",
        "SELECT 'a\\'",
        "SELECT U&'a', 1",
        "SELECT x'ff', 1",
        "SELECT 'open",
        'SELECT 1 AS "open',
        "SELECT 1\0",
    ],
)
def test_not_cut(text: str) -> None:
    assert cut(text) is None


def test_digits_in_names_are_not_constants() -> None:
    c = cut('SELECT t1.c2, "3", x4_5, 6 FROM t7')
    assert c is not None
    assert c.constants == ["6"]


@pytest.mark.parametrize("letter", ["€", "\u00a0", "\u200b", "①", "–", "长", "\U0001f512"])
def test_digits_beside_any_letter_are_part_of_a_name(letter: str) -> None:
    for text in (f"SELECT * FROM t{letter}1", f"SELECT * FROM {letter}1", f"SELECT 1{letter}"):
        assert cut(text) is None
    c = cut(f"SELECT '{letter}' || 2 FROM t{letter}1")
    assert c is not None
    assert c.constants == [f"'{letter}'", "2"]


def test_only_equal_contexts_share() -> None:
    planner = Planner()
    planner.plan("SELECT phone FROM bank.customers WHERE id = 1", MASKED)
    for other in (
        context(path=("pg_catalog", "bank")),
        context(standard_strings=False),
        context(of=profile(CATALOG, "other")),
        context(path=PATH, temp=["x"]),
    ):
        before = planner.misses
        assert planner.plan("SELECT phone FROM bank.customers WHERE id = 1", other).verdict is Verdict.REWRITE
        assert planner.misses == before + 1
