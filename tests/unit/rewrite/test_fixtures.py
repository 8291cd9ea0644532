"""The SQL fixtures: what the planner makes of each statement, on the handmade catalog."""

from __future__ import annotations

import pytest

from rewrite.plan import Verdict
from tests.fixtures.rewrite import Case, cases, outcome, read
from tests.support import minibank


@pytest.mark.parametrize("case", list(cases()), ids=str)
def test_fixture(case: Case) -> None:
    plan = minibank.plan(case.statement, case.context())
    got = outcome(plan)
    if case.expected.startswith("REFUSE"):
        assert got.startswith(case.expected), got
    else:
        assert got == case.expected
    if plan.verdict is Verdict.REWRITE:
        assert plan.edits
    elif plan.verdict is Verdict.PASS:
        assert not plan.edits


def test_every_topic_has_its_file() -> None:
    topics = """copy ctes explain_prepare_cursor functions grouping joins lateral lexing multi names newer partitions projection
        returning select setops settings subqueries system_catalogs system_columns temp views whole_row windows writes""".split()
    assert {c.file for c in cases()} == set(topics)
    assert len(list(cases())) > 200


def test_cases_are_written_as_they_are_read() -> None:
    from tests.fixtures.rewrite import FOLDER

    for path in FOLDER.glob("*.sql"):
        assert "===\n".join(c.text(c.expected) for c in read(path)) == path.read_text("utf-8")
