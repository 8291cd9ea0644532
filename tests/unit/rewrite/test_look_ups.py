"""Look-ups by stored values: what moves, where to, what is counted of it, and that nothing else passes for one."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.filters import MASKED as UNFILTERED
from policies.filters import FilterKind, Filters
from policies.model import Profile
from rewrite.plan import Plan, Value, Verdict
from rewrite.planner import Planner
from rewrite.source import tree
from rewrite.verify import VerificationError, look_ups
from tests.support import minibank

EQUALITY = Filters(FilterKind.EQUALITY, 20)
KINDS = {
    "phone": EQUALITY, "id_card": EQUALITY, "number": EQUALITY, "birthday": EQUALITY, "balance": EQUALITY,
    "email": Filters(FilterKind.REFUSE),
}  # fmt: skip


def profile() -> Profile:
    """The minibank's, with `filters`."""
    made = {}
    for oid, columns in minibank.MASKED.profile.decisions.items():
        names = {c.attnum: c.name for c in minibank.CATALOG.relations[oid].columns} if oid in minibank.CATALOG.relations else {}
        made[oid] = {n: dataclasses.replace(d, filters=KINDS.get(names.get(n, ""), UNFILTERED)) for n, d in columns.items()}
    return dataclasses.replace(minibank.MASKED.profile, key="with filters", decisions=made, has_filters=True)


CONTEXT = dataclasses.replace(minibank.MASKED, profile=profile())
PLANNER = Planner()


def plan(text: str) -> Plan:
    return PLANNER.plan(text, CONTEXT)


def values(text: str) -> list[tuple[str, list[Value]]]:
    return [(p.column, list(p.values)) for p in plan(text).probes]


DERIVED = """(SELECT "id" FROM "bank"."customers" AS "c" WHERE {}) c"""


@pytest.mark.parametrize(
    ("condition", "inside", "outside"),
    [
        ("c.phone = '1'", """("phone" OPERATOR(pg_catalog.=) '1')""", "(TRUE)"),
        ("'1' = c.phone", """("phone" OPERATOR(pg_catalog.=) '1')""", "(TRUE)"),
        ("(c.phone) = ('1')", """("phone" OPERATOR(pg_catalog.=) '1')""", "(TRUE)"),
        ("((c.phone) = '1')", """("phone" OPERATOR(pg_catalog.=) '1')""", "((TRUE))"),
        ("(c.phone = '1' AND (c.id > 2))", """("phone" OPERATOR(pg_catalog.=) '1')""", "((TRUE) AND (c.id > 2))"),
        ("c.phone='1'AND c.id>2", """("phone" OPERATOR(pg_catalog.=) '1')""", "(TRUE)AND c.id>2"),
        ("c.phone = 'it''s 中'", """("phone" OPERATOR(pg_catalog.=) 'it''s 中')""", "(TRUE)"),
        ("c.phone /* x */ = -- y\n '1' ", """("phone" OPERATOR(pg_catalog.=) '1')""", "(TRUE) "),
        ("phone = $1::varchar(20)", """("phone" OPERATOR(pg_catalog.=) $1::pg_catalog.varchar(20))""", "(TRUE)"),
        ("phone IN ('1', $2, NULL)",
         """("phone" OPERATOR(pg_catalog.=) '1' OR "phone" OPERATOR(pg_catalog.=) $2 OR "phone" OPERATOR(pg_catalog.=) NULL)""",
         "(TRUE)"),
        ("phone = ANY ($1)", """("phone" OPERATOR(pg_catalog.=) ANY ($1))""", "(TRUE)"),
        ("phone = ANY (CAST('{1}' AS text[]))", """("phone" OPERATOR(pg_catalog.=) ANY ('{1}'::pg_catalog.text[]))""", "(TRUE)"),
        ("phone = ANY (ARRAY['1']::varchar[])", """("phone" OPERATOR(pg_catalog.=) '1'::pg_catalog.varchar)""", "(TRUE)"),
        ("balance = -5.5", """("balance" OPERATOR(pg_catalog.=) (-5.5))""", "(TRUE)"),
        ("balance = 5::int", """("balance" OPERATOR(pg_catalog.=) 5::pg_catalog.int4)""", "(TRUE)"),
        ("c.phone = '1' AND c.id_card = '2'",
         """("phone" OPERATOR(pg_catalog.=) '1') AND ("id_card" OPERATOR(pg_catalog.=) '2')""", "(TRUE) AND (TRUE)"),
    ],
)  # fmt: skip
def test_moves(condition: str, inside: str, outside: str) -> None:
    found = plan(f"SELECT c.id FROM bank.customers c WHERE {condition}")
    assert found.verdict is Verdict.REWRITE, found.refusal
    assert found.text == f"SELECT c.id FROM {DERIVED.format(inside)} WHERE {outside}"


@pytest.mark.parametrize(
    "condition",
    [
        "phone = name", "phone = lower('1')", "phone = '1'::name", "phone = '1'::bytea", "phone = 1", "phone = '1'::evil.text",
        "phone <> '1'", "phone NOT IN ('1')", "phone > ANY ('{1}')", "phone = ALL ('{1}')", "phone IS NOT DISTINCT FROM '1'",
        "phone::text = '1'", "NOT phone = '1'", "phone = '1' OR true", "phone IN ('1', name)", "(phone, id) = ('1', 2)",
        "phone = (SELECT '1')", "phone = ANY (ARRAY[lower('1')])", "phone = '1' || ''", "phone OPERATOR(public.=) '1'",
        "balance = 5::float8", "balance = '5'::real", "birthday = '2000-01-01'::timestamp", "phone = '1'::text[]",
        "phone = ANY ('{{1}}'::text[][])", "birthday = 'x'::text",
    ],
)  # fmt: skip
def test_does_not_move(condition: str) -> None:
    found = plan(f"SELECT id FROM bank.customers WHERE {condition}")
    assert not found.probes
    assert found.verdict is Verdict.REFUSE or "WHERE" not in found.text[: found.text.index('AS "customers"')]


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("SELECT a.id FROM bank.accounts a LEFT JOIN bank.customers c ON true WHERE c.phone = '1'", "side of an outer join"),
        ("SELECT a.id FROM bank.accounts a FULL JOIN bank.customers c ON c.phone = '1'", "side of an outer join"),
        ("SELECT c.id FROM bank.customers c LEFT JOIN bank.accounts a ON c.phone = '1'", "side of an outer join"),
        (
            "SELECT a.id FROM (bank.accounts a LEFT JOIN bank.customers c ON true) JOIN bank.branches b ON c.phone = '1'",
            "outer join",
        ),
        ("SELECT 1 FROM bank.customers, (SELECT 1) s WHERE phone = '1'", "not certain"),
        ("SELECT 1 FROM archive.customers NATURAL JOIN bank.branches WHERE phone = '1'", "not certain"),
        ("SELECT 1 FROM bank.customers a JOIN bank.corporate b USING (phone) WHERE phone = '1'", "not certain"),
        ("SELECT 1 FROM bank.customers WHERE phone = U&'!0031' UESCAPE '!'", "not written plainly"),
        ("PREPARE p (float8) AS SELECT 1 FROM bank.customers WHERE balance = $1", "parameter $1"),
        ("PREPARE p (text) AS SELECT 1 FROM bank.customers WHERE balance = $1", "parameter $1"),
        ("PREPARE p (varchar(3)) AS SELECT 1 FROM bank.customers WHERE phone = $1", "parameter $1"),
        ("PREPARE p AS SELECT $1::text FROM bank.customers WHERE phone = $1", "parameter $1"),
    ],
)
def test_refused_rather_than_guessed(statement: str, why: str) -> None:
    found = plan(statement)
    assert found.verdict is Verdict.REFUSE
    assert found.refusal is not None
    assert why in found.refusal.message


def test_what_is_counted() -> None:
    text = "SELECT id FROM bank.customers WHERE phone IN ('中', $1) AND balance = -7 AND id_card = ANY ('{a}'::char(18)[])"
    assert values(text) == [
        ("bank.customers.phone", [Value("中", start=46, end=49), Value(parameter=1)]),
        ("bank.customers.balance", [Value("-7", start=69, end=71)]),
        ("bank.customers.id_card", [Value("{a}", many=True, cast="pg_catalog.bpchar(18)[]", start=91, end=96)]),
    ]
    (one,) = plan("SELECT tel FROM bank.v_again WHERE tel = '1'").probes
    assert (one.column, one.base_type, one.family, one.limit) == ("bank.customers.phone", "text", "text", 20)
    (heir,) = plan("SELECT id FROM bank.corporate WHERE phone = '1'").probes
    assert heir.column == "bank.customers.phone"


def test_a_parameter_that_is_used_elsewhere_is_not_certain() -> None:
    for other in ("$1::text IS NULL", "$1 = name", "c.id_card = $1"):
        found = values(f"SELECT c.id FROM bank.customers c WHERE c.phone = $1 AND {other}")
        assert not found[0][1][0].certain, other
    assert values("SELECT c.id FROM bank.customers c WHERE c.phone = $1 AND c.phone = $1")[0][1][0].certain


def test_records_say_raw() -> None:
    (statement,) = plan("SELECT name FROM bank.customers WHERE phone = '1' AND name > 'x'").statements
    assert {(t.column, t.use, t.show) for t in statement.touches} == {
        ("phone", "filter", "raw"), ("name", "filter", "mask"), ("name", "output", "mask"),
    }  # fmt: skip


CONSTANTS = st.sampled_from(["'1'", "'it''s'", "'中'", "''", "'x,y'", "'{}'", "'2000-01-01'", "17", "3.5", "0"])
SHAPES = st.sampled_from(
    [
        "SELECT id, phone FROM bank.customers WHERE phone = {} AND id = {}",
        "SELECT {} AS x, phone FROM bank.customers c WHERE c.id < {} AND c.phone IN ({}, {})",
        "SELECT id FROM bank.customers WHERE phone = {} AND phone = ANY ({})",
        "SELECT a.id FROM bank.accounts a JOIN bank.customers c ON c.id = customer_id AND c.phone = {} WHERE number = {}",
        "SELECT id FROM bank.customers WHERE birthday = {} OR phone = {}",
        "UPDATE bank.customers SET branch = {} WHERE phone = {} AND id = {}",
        "DELETE FROM bank.customers WHERE phone IN ({}, {})",
        "SELECT id FROM bank.customers WHERE balance = {} AND balance = -{}",
        "SELECT id FROM bank.customers WHERE phone = {};SELECT id FROM bank.customers WHERE phone = {}",
        "EXPLAIN SELECT id FROM bank.customers WHERE phone = {}::text AND {} < id",
        "SELECT id FROM bank.customers WHERE phone = {}{}",
    ]
)


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_texts_that_differ_in_constants_are_counted_by_their_own(data: st.DataObject) -> None:
    shape = data.draw(SHAPES)
    planner = Planner()
    for _ in range(2):
        text = shape.format(*[data.draw(CONSTANTS) for _ in range(shape.count("{}"))])
        shared, fresh = planner.plan(text, CONTEXT), Planner().plan(text, CONTEXT)
        assert (shared.verdict, shared.text, shared.probes) == (fresh.verdict, fresh.text, fresh.probes)
        assert [(e.start, e.end, e.text) for e in shared.edits] == [(e.start, e.end, e.text) for e in fresh.edits]
        assert shared.statements == fresh.statements


def test_plans_are_shared() -> None:
    planner = Planner()
    for n in range(5):
        found = planner.plan(f"SELECT id FROM bank.customers WHERE phone = '{n}' AND id IN ({n}, 7)", CONTEXT)
        assert [v.text for p in found.probes for v in p.values] == [str(n)]
        assert f"= '{n}'))" in found.text.replace("(pg_catalog.=)", "=")
    assert (planner.misses, planner.hits) == (1, 4)


def test_long_lists_are_counted_whole() -> None:
    items = ", ".join(f"'{n:020}'" for n in range(1000))
    found = plan(f"SELECT id FROM bank.customers WHERE phone IN ({items}) AND id IN ({items})")
    assert len(found.probes[0].values) == 1000


@pytest.mark.parametrize(
    "condition",
    [
        "name OPERATOR(pg_catalog.=) '1'", "phone OPERATOR(pg_catalog.>) '1'", "phone = '1'", "phone OPERATOR(public.=) '1'",
        "phone OPERATOR(pg_catalog.=) name", "phone OPERATOR(pg_catalog.=) lower('1')", "NOT phone OPERATOR(pg_catalog.=) '1'",
        "phone OPERATOR(pg_catalog.=) '1'::text", "phone OPERATOR(pg_catalog.=) ALL ('{1}')", "true",
        "phone OPERATOR(pg_catalog.=) '1' OR id OPERATOR(pg_catalog.=) 1", "c.phone OPERATOR(pg_catalog.=) '1'",
        "phone OPERATOR(pg_catalog.=) (SELECT '1')", "phone::pg_catalog.text OPERATOR(pg_catalog.=) '1'",
    ],
)  # fmt: skip
def test_the_second_look_knows_nothing_else(condition: str) -> None:
    book = PLANNER.book(CONTEXT.catalog, CONTEXT.profile)
    good = tree("SELECT id FROM bank.customers c WHERE phone OPERATOR(pg_catalog.=) '1'::pg_catalog.text")
    look_ups([good], book)
    with pytest.raises(VerificationError):
        look_ups([good, tree(f"SELECT id FROM bank.customers c WHERE {condition}")], book)
