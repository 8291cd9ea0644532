"""The planner as a whole: it always answers, what it lets through parses, and nothing protected is read in the open."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from policies.model import Branch, Decision, Profile, Show
from rewrite.pgtree import ParseError, parse
from rewrite.plan import Effect, Need, Verdict
from rewrite.planner import Planner
from tests.fixtures.rewrite import cases
from tests.support import minibank
from tests.support.minibank import CATALOG, CLEAR, MASKED, context, plan
from tests.unit.rewrite.oracle import bare

STATEMENTS = sorted({c.statement for c in cases()})
WORDS = sorted({w for s in STATEMENTS for w in s.replace("(", " ( ").replace(")", " ) ").replace(",", " , ").split()})
PLANNER = Planner()


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A statement of the fixtures with a few words taken out, put in, swapped or replaced."""
    words = draw(st.sampled_from(STATEMENTS)).split(" ")
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(words)))
        match draw(st.sampled_from("xiwrc")):
            case "x":
                del words[at : at + 1]
            case "i":
                words.insert(at, draw(st.sampled_from(WORDS)))
            case "w":
                words[at : at + 2] = reversed(words[at : at + 2])
            case "r":
                words[at : at + 1] = [draw(st.sampled_from(WORDS))]
            case "c":
                words.insert(at, draw(st.text(max_size=3)))
    return " ".join(words)


CONTEXTS = {"public": MASKED, "bank": context(path=("pg_catalog", "bank")), "unknown": context(path=None)}


@given(mutated(), st.sampled_from(sorted(CONTEXTS)))
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example("SELECT " + "(" * 3000 + "1" + ")" * 3000, "public")
@example("SELECT 1\0", "public")
@example("\ufeffSELECT phone FROM bank.customers", "public")
@example("SELECT '\ud800'", "public")
def test_always_answers(text: str, names: str) -> None:
    got = PLANNER.plan(text, CONTEXTS[names])
    if got.verdict is Verdict.REFUSE:
        assert got.refusal is not None
        assert len(got.refusal.sqlstate) == 5
        assert got.text == ""
    elif got.verdict is Verdict.NEED:
        assert got.need
    else:
        parse(got.text)
        assert bare(got.text, CATALOG) == []


@pytest.mark.parametrize("text", STATEMENTS)
def test_nothing_protected_in_the_open(text: str) -> None:
    for path in (minibank.PATH, ("pg_catalog", "bank", "archive")):
        got = plan(text, context(path=path))
        if got.verdict in (Verdict.PASS, Verdict.REWRITE):
            assert bare(got.text, CATALOG) == []


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1 FROM bank.customers",
        "SELECT 1 FROM (SELECT upper(phone) FROM bank.customers) c",
        "SELECT 1 FROM (SELECT phone FROM bank.customers) c",
        "SELECT 1 FROM (SELECT *, left(phone, 1) FROM bank.customers) c",
        "COPY (TABLE bank.watchlist) TO STDOUT",
        "INSERT INTO bank.branches SELECT name, name FROM bank.customers",
        "WITH x AS (SELECT 1 FROM customers) SELECT 1",
    ],
)
def test_the_oracle_sees(text: str) -> None:
    assert bare(text, CATALOG)


def test_clear_sessions_pass_everything() -> None:
    for text in [*STATEMENTS, "not even SQL"]:
        got = plan(text, context(of=CLEAR))
        assert got.verdict is Verdict.PASS
        assert got.text == text


def test_sensitive_columns_of_clear_sessions_are_told() -> None:
    clear = minibank.profile(key="audited")
    from dataclasses import replace

    got = plan("SELECT phone FROM bank.customers WHERE email = 'x'", context(of=replace(clear, masked=False)))
    assert {(t.column, t.use) for t in got.statements[0].touches} == {("phone", "output"), ("email", "filter")}


def test_touches_of_a_masked_read() -> None:
    got = plan("SELECT phone, memo FROM bank.v_contact, bank.transactions WHERE name = 'x'")
    assert {(t.relation, t.column, t.show) for t in got.statements[0].touches} >= {
        ("bank.customers", "phone", "mask"),
        ("bank.customers", "name", "mask"),
        ("bank.transactions", "memo", "conditional"),
    }


@pytest.mark.parametrize(
    ("text", "used"),
    [
        ("SELECT phone FROM bank.v_contact", {("phone", "output")}),
        ("SELECT id FROM bank.v_contact WHERE phone = 'x'", {("phone", "filter")}),
        ("SELECT tel FROM bank.v_again", {("phone", "output")}),
        ("SELECT id FROM bank.v_label", {("name", "output"), ("phone", "output")}),
        ("SELECT id FROM bank.v_rich", {("balance", "filter")}),
        ("SELECT n FROM bank.v_rich_count", {("balance", "filter")}),
        ("SELECT id FROM bank.v_contact", set()),
        ("SELECT tel FROM bank.mv_report", {("phone", "output")}),
    ],
)
@pytest.mark.parametrize("seen", ["masked", "clear here", "clear"])
def test_columns_behind_views_are_told(text: str, used: set[tuple[str, str]], seen: str) -> None:
    clear = Decision("data", "C2", (Branch(None, Show.CLEAR, None, "managers"),))
    decisions = {oid: dict.fromkeys(columns, clear) for oid, columns in minibank.profile().decisions.items()}
    profiles = {
        "masked": minibank.profile(),
        "clear here": Profile("clear here", "p1", decisions, minibank.ALLOWED, masked=True),
        "clear": Profile("clear all", "p1", decisions, minibank.ALLOWED, masked=False),
    }
    got = plan(text, context(of=profiles[seen]))
    told = {(t.column, t.use) for t in got.statements[0].touches if t.relation == "bank.customers"}
    assert told == used, got.refusal


@pytest.mark.parametrize(
    ("text", "need"),
    [
        ("SELECT phone FROM customers", Need.RESOLUTION),
        ("SELECT get_phone(1)", Need.RESOLUTION),
        ("SELECT 1 ~> 'x'", Need.RESOLUTION),
        ("SELECT (1).get_phone", Need.RESOLUTION),
        ("DROP TABLE customers", Need.RESOLUTION),
        ("SELECT * FROM bank.unheard_of", Need.CATALOG),
    ],
)
def test_what_has_to_be_known_first(text: str, need: Need) -> None:
    got = plan(text, context(path=None))
    assert got.verdict is Verdict.NEED
    assert got.need & need


def test_qualified_names_need_nothing() -> None:
    assert plan("SELECT upper(phone) FROM bank.customers", context(path=None)).verdict is Verdict.REWRITE


def test_backslashes_without_standard_strings() -> None:
    off = context(standard_strings=False)
    assert plan(r"SELECT '\' || phone FROM bank.customers --'", off).verdict is Verdict.REFUSE
    assert plan("SELECT phone FROM bank.customers", off).verdict is Verdict.REWRITE


def test_a_syntax_error_has_its_place() -> None:
    got = plan("SELECT '中文' FRM bank.customers WHERE")
    assert got.refusal is not None
    assert got.refusal.sqlstate == "42601"
    assert got.refusal.position == len("SELECT '中文' FRM ") + 1


@pytest.mark.parametrize(
    ("text", "effects"),
    [
        ("SELECT phone FROM bank.customers", Effect.NONE),
        ("SET search_path = bank", Effect.RESOLUTION),
        ("SET work_mem = '1MB'", Effect.NONE),
        ("SELECT set_config('search_path', 'x', true)", Effect.RESOLUTION),
        ("SET ROLE x", Effect.RESOLUTION),
        ("RESET ALL", Effect.RESOLUTION),
        ("ROLLBACK TO a", Effect.TRANSACTION_END),
        ("PREPARE p AS SELECT 1", Effect.PREPARES),
        ("EXECUTE p", Effect.EXECUTES),
        ("DELETE FROM bank.branches", Effect.WRITES),
        ("WITH x AS (DELETE FROM bank.branches RETURNING 1) SELECT 1", Effect.WRITES),
        ("COPY bank.branches FROM STDIN", Effect.COPY_IN | Effect.WRITES),
        ("COPY bank.branches TO STDOUT", Effect.COPY_OUT),
        ("CREATE TEMP TABLE t (a int)", Effect.RESOLUTION),
        ("CREATE TABLE public.t (a int)", Effect.RESOLUTION | Effect.DDL),
        ("EXPLAIN ANALYZE DELETE FROM bank.branches", Effect.WRITES),
    ],
)
def test_effects(text: str, effects: Effect) -> None:
    got = plan(text)
    assert got.verdict is not Verdict.REFUSE, got.refusal
    assert got.effects & effects == effects
    if effects is Effect.NONE:
        assert got.effects is Effect.NONE


def test_plans_are_remembered_by_text_and_by_template() -> None:
    planner = Planner()
    first = planner.plan("SELECT phone FROM bank.customers WHERE id = 1", MASKED)
    assert planner.plan("SELECT phone FROM bank.customers WHERE id = 1", MASKED).text == first.text
    assert planner.plan("SELECT phone FROM bank.customers WHERE id = 22", MASKED).text == first.text.replace("= 1", "= 22")
    assert planner.misses == 1
    other = context(of=CLEAR)
    assert planner.plan("SELECT phone FROM bank.customers WHERE id = 1", other).verdict is Verdict.PASS
    assert planner.misses == 2


def test_a_text_that_is_not_sql_has_no_tree() -> None:
    with pytest.raises(ParseError):
        parse("SELECT FROM WHERE")


def test_pictures_of_the_catalog_that_are_gone_are_not_kept() -> None:
    planner = Planner()
    pictures = []
    for number in range(20):
        catalog = replace(CATALOG, version=f"version {number}")
        assert planner.plan("SELECT phone FROM bank.customers", replace(MASKED, catalog=catalog)).verdict is Verdict.REWRITE
        pictures.append(weakref.ref(catalog))
        del catalog
    gc.collect()
    assert sum(p() is not None for p in pictures) <= 4


def test_the_plans_of_all_spaces_together_have_a_budget() -> None:
    planner = Planner(budget=500_000)
    for number in range(40):
        for path in (("bank",), ("bank", "public")):
            planner.plan(f"COPY (SELECT phone, {number} FROM bank.customers) TO STDOUT -- {'x' * 10_000}", context(path=path))
    kept = sum(len(space.plans) for space in planner._spaces.values())
    assert 5 < kept < 30
    newest = [list(space.plans)[-1] for space in planner._spaces.values()]
    assert all("phone, 39" in text for text in newest)
