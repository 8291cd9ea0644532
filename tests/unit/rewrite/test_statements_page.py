"""docs/statements.md says what the program does: examples for every row, and a decision for every statement PostgreSQL has."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from postgast.pg_query_pb2 import Node

from rewrite import objects, statements
from rewrite.pgtree import ParseError, parse
from rewrite.plan import Verdict
from tests.support import minibank

TOP = Path(__file__).parent.parent.parent.parent
PAGE = TOP / "docs" / "statements.md"
EXAMPLES = TOP / "tests" / "fixtures" / "statements.yaml"
OUTCOMES = {"rewritten": Verdict.REWRITE, "as it is": Verdict.PASS}
ELSEWHERE = frozenset(
    {
        "a temporary view",
        "writes that set off a trigger, default, generated column, check or index expression with a function that may read "
        "protected data",
        "writes to relations with rules, or through views over such",
        "a column that refers by a foreign key to a masked column",
        "UPDATE of a column that a constraint, a unique, partial or expression index, a policy, a partition key or a generated "
        "column looks at together with a masked one",
        "conditions `column = constant`, `IN (…)`, `= ANY (array)` on a column with `filters: equality`, joined by AND, in WHERE "
        "or ON",
        "other comparisons with such a column",
        "a column with `filters: refuse` in WHERE, ON, GROUP BY, DISTINCT, ORDER BY",
        "UPDATE and DELETE WHERE a column of the target with `filters: equality` equals a constant",
        "EXPLAIN over views, policies, generated columns or SQL functions whose definitions hold data",
    }
)
"""Rows about what the bank does not have: their tests are in test_writes.py, e2e/test_filters.py and the like."""

PARTS = frozenset("RawStmt SetOperationStmt ReturnStmt PLAssignStmt ReplicaIdentityStmt".split())
"""Nodes of the grammar that are parts of statements, or come from other parsers."""


class Example(NamedTuple):
    row: str
    sql: str
    outcome: str
    says: str


def rows() -> list[str]:
    """The first cells of the page's tables."""
    lines = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| ")]
    return [line.split(" | ")[0].removeprefix("| ") for line in lines if not line.startswith("| statement |")]


def examples() -> list[Example]:
    out = []
    for row, listed in yaml.safe_load(EXAMPLES.read_text("utf-8")).items():
        for item in listed:
            says = item.pop("says", "")
            ((outcome, sql),) = item.items()
            out.append(Example(row, sql, outcome, says))
    return out


def kinds() -> frozenset[str]:
    """Every statement of PostgreSQL's grammar."""
    names = {field.message_type.name for field in Node.DESCRIPTOR.fields}
    return frozenset(n for n in names if n.endswith("Stmt")) - PARTS


def test_every_row_has_examples() -> None:
    assert len(rows()) == len(set(rows())) > 50
    assert {e.row for e in examples()} | ELSEWHERE == set(rows())


@pytest.mark.parametrize("example", examples(), ids=lambda e: e.sql[:60])
def test_example(example: Example) -> None:
    plan = minibank.plan(example.sql)
    if example.outcome == "refused":
        assert plan.verdict in (Verdict.REFUSE, Verdict.NEED), plan.text
        assert plan.refusal is not None
        assert f"{plan.refusal.sqlstate} {plan.refusal.message}".startswith(example.says)
        assert len(example.says) > len("42501 ")
    else:
        assert plan.verdict is OUTCOMES[example.outcome], plan.refusal


def test_every_statement_of_the_grammar_is_on_the_page() -> None:
    shown = set()
    for example in examples():
        try:
            shown |= {s.kind for s in parse(example.sql)}
        except ParseError:
            continue
    assert shown == kinds()


def test_nothing_is_decided_by_accident() -> None:
    decided = [
        statements.QUERIES,
        statements.PLAIN.keys(),
        statements.DDL.keys() - statements.WRAPPERS,
        statements.HARMLESS_ON_PROTECTED,
        statements.WRAPPERS,
        statements.REFUSED.keys(),
        objects.KINDS,
        ("CreateFunctionStmt", "DoStmt"),  # rewrite.code
    ]
    counted = [kind for group in decided for kind in group]
    assert sorted(counted) == sorted(kinds())


def test_what_is_refused_always_is_never_run() -> None:
    """An example of a kind in REFUSED is refused for that kind's reason."""
    checked = 0
    for example in examples():
        if example.outcome == "refused" and not example.says.startswith("42601"):
            kind = parse(example.sql)[0].kind
            if kind in statements.REFUSED:
                assert example.says == f"42501 {statements.not_supported(kind).message}"
                checked += 1
    assert checked >= len(statements.REFUSED)
