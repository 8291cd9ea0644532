"""The second look catches a text that does not say what was meant."""

from __future__ import annotations

import pytest

from rewrite import verify
from rewrite.pgtree import parse, strip
from rewrite.plan import Verdict
from rewrite.planner import Planner
from rewrite.rewriter import Rewriter
from tests.support.minibank import CATALOG, context, plan, profile

TEXT = "SELECT c.id, c.phone FROM bank.customers c JOIN bank.branches b ON b.code = c.branch WHERE c.id > 1"


def trees(text: str) -> list[object]:
    return [{s.kind: strip(s.body)} for s in parse(text)]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"pg_catalog"."overlay"', '"overlay"'),
        ("'****'", "'***'"),
        ("4, 4", "4, 0"),
        ('"bank"."customers"', '"archive"."customers"'),
        ('"bank"."customers"', '"customers"'),
        ("bank.branches", "branches"),
        ("bank.branches", "ONLY bank.branches"),
        (") c JOIN", ") c LEFT JOIN"),
        ("> 1", ">= 1"),
        ("c.phone", "c.phone, c.phone"),
        ("c.phone", "DISTINCT c.phone"),
        ("c.id > 1", "c.id > 1 OR true"),
        ("c.id > 1", "c.id > 1; SELECT 1"),
        ("c.id > 1", "c.id > 1 FOR UPDATE"),
    ],
)
def test_a_changed_text_is_caught(old: str, new: str) -> None:
    good = plan(TEXT)
    assert good.verdict is Verdict.REWRITE
    verify.same(good.text, trees(good.text))
    bad = good.text.replace(old, new, 1)
    assert bad != good.text
    with pytest.raises(verify.VerificationError):
        verify.same(bad, trees(good.text))


def test_a_text_that_does_not_parse_is_caught() -> None:
    with pytest.raises(verify.VerificationError):
        verify.same("SELECT FROM WHERE", trees("SELECT 1"))


@pytest.mark.parametrize(
    "text",
    [
        "SELECT phone FROM bank.customers",
        "SELECT 1 WHERE EXISTS (SELECT FROM bank.customers)",
        "WITH x AS (SELECT * FROM bank.watchlist) SELECT 1",
        "SELECT * FROM branches",
        "SELECT * FROM pg_catalog.pg_stats",
        "SELECT * FROM bank.v_contact",
        "SELECT * FROM (SELECT phone FROM bank.customers) c",
    ],
)
def test_protected_relations_in_the_open_are_caught(text: str) -> None:
    book = Planner().book(CATALOG, profile())
    with pytest.raises(verify.VerificationError):
        verify.nothing_bare(text, book, [])


def test_known_derived_tables_are_not_looked_into() -> None:
    book = Planner().book(CATALOG, profile())
    (statement,) = parse("SELECT phone FROM bank.customers")
    verify.nothing_bare("SELECT * FROM (SELECT phone FROM bank.customers) c", book, [{statement.kind: strip(statement.body)}])
    verify.nothing_bare("SELECT * FROM bank.branches", book, [])


@pytest.mark.parametrize(
    ("old", "new"),
    [('"pg_catalog"."overlay"', '"pg_catalog"."upper"'), ('"bank".', '"archive".'), ('"bank".', "")],
)
def test_a_defect_of_the_rewriter_becomes_a_refusal(monkeypatch: pytest.MonkeyPatch, old: str, new: str) -> None:
    """Edits that come out wrong, tree and text not the same, never reach the server."""
    original = Rewriter.edit

    def wrong(self: Rewriter, start: int, end: int, text: str) -> None:
        original(self, start, end, text.replace(old, new))

    monkeypatch.setattr(Rewriter, "edit", wrong)
    got = Planner().plan("SELECT c.phone FROM bank.customers c, branches", context(path=("pg_catalog", "bank")))
    assert got.verdict is Verdict.REFUSE
    assert got.refusal is not None
    assert got.refusal.sqlstate == "0A000"
