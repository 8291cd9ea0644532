"""The verdict on a statement: whatever a client could tell apart is told apart."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from tests.regress.client import Outcome, Result
from tests.regress.judge import Verdict, judge

ROWS = Result((b"a", b"b"), ((b"1", b"x"), (b"2", None)), b"SELECT 2")
ERROR = Result(sqlstate="42P01", message='relation "t" does not exist', position="15")
CANARY = re.compile("RAW~")


def verdict(got: Result, want: Result, twin: Result | None = None, sql: str = "select 1") -> Verdict:
    return judge(sql, Outcome((got,)), Outcome((want,)), Outcome((twin or want,)), CANARY).verdict


@pytest.mark.parametrize("result", [ROWS, ERROR, Result(tag=b"SET")])
def test_equal_answers_are_the_same(result: Result) -> None:
    assert verdict(result, result) is Verdict.SAME


@pytest.mark.parametrize(
    "other",
    [
        replace(ROWS, rows=((b"1", b"x"), (b"2", b"y"))),
        replace(ROWS, rows=ROWS.rows[:1]),
        replace(ROWS, columns=(b"a", b"c")),
        replace(ROWS, tag=b"SELECT 3"),
        ERROR,
    ],
)
def test_another_answer_differs(other: Result) -> None:
    assert verdict(other, ROWS) is Verdict.DIFFERS
    assert verdict(ROWS, other) is Verdict.DIFFERS


@pytest.mark.parametrize(
    "other", [replace(ERROR, sqlstate="42501"), replace(ERROR, message="no such thing"), replace(ERROR, position="1")]
)
def test_another_error_differs(other: Result) -> None:
    assert verdict(other, ERROR) is Verdict.DIFFERS


def test_our_prefix_is_no_difference() -> None:
    assert verdict(replace(ERROR, message="pgveil: " + ERROR.message), ERROR) is Verdict.SAME


def test_a_withheld_text_is_counted() -> None:
    assert verdict(replace(ERROR, message="error (message withheld by pgveil)"), ERROR) is Verdict.WITHHELD


def test_order_plan_and_chance() -> None:
    turned = replace(ROWS, rows=ROWS.rows[::-1])
    assert verdict(turned, ROWS) is Verdict.ORDER
    assert verdict(turned, ROWS, sql="-- why\nexplain (costs off) select 1") is Verdict.PLAN
    assert verdict(ROWS, ROWS, twin=turned) is Verdict.UNSTABLE


def test_a_raw_value_anywhere_is_a_leak() -> None:
    assert verdict(replace(ROWS, rows=((b"1", b"a RAW~1"),)), ROWS) is Verdict.LEAKED
    assert verdict(replace(ERROR, others="Failing row contains (RAW~1)."), ERROR) is Verdict.LEAKED


def test_a_lost_connection_and_a_state_of_its_own() -> None:
    same = Outcome((ROWS,), transaction=2)
    assert judge("x", Outcome((), died="gone"), same, same, CANARY).verdict is Verdict.DIED
    assert judge("x", Outcome((ROWS,), transaction=3), same, same, CANARY).verdict is Verdict.DIFFERS
