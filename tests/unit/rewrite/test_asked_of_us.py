"""What is addressed to pgveil itself, and the query that yields the answer."""

from __future__ import annotations

import pytest

from rewrite.commands import CALLED, SHOWN, answer, command_plan
from rewrite.pgtree import parse
from rewrite.plan import Command, Parameter, Verdict


def command(text: str) -> Command | None:
    plan = command_plan(text)
    if plan is None:
        return None
    assert plan.own
    assert plan.verdict is Verdict.REWRITE, plan.refusal
    (statement,) = plan.statements
    assert len(parse(plan.text)) == 1
    return statement.command


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SHOW veil.access", Command("access")),
        (" /* x */ show VEIL.requests ; -- y", Command("requests")),
        ("SELECT * FROM veil.why", Command("why")),
        ("CALL veil.approve(7)", Command("approve", (7, None), (True, False))),
        ("CALL veil.approve('7', $1)", Command("approve", (7, Parameter(1, 1)), (True, False))),
        ("CALL veil.reject(note => 'no', request => 7::int)", Command("reject", (7, "no"), (True, False))),
        ("SELECT * FROM veil.revoke($2) AS result", Command("revoke", (Parameter(2, 0), None), (True, False))),
        (
            "CALL veil.request('a.b.c', E'it\\'s', '2 h'::interval, max_rows => 5)",
            Command("request", ("a.b.c", "it's", "2 h", None, 5), (False, False, False, False, True)),
        ),
        ("CALL veil.break_glass('a.b.c', 'r', '1 h')", Command("break_glass", ("a.b.c", "r", "1 h", None), (False,) * 4)),
    ],
)
def test_commands(text: str, expected: Command) -> None:
    assert command(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "SHOW veil.teller",
        "SHOW search_path",
        'CALL "VEIL".approve(7)',
        "CALL veil.nothing(1)",
        "CALL approve(7)",
        "SELECT veil.approve(7)",
        "SELECT * FROM veil.approve(7), t",
        "SELECT * FROM veil.approve(7) WHERE true",
        "SELECT * FROM veil.requests r WHERE r.state = 'pending'",
        'SELECT 1 AS "veil."',
        "SELECT veil.x FROM veil",
        "not sql veil.",
    ],
)
def test_anything_else_is_the_servers(text: str) -> None:
    assert command_plan(text) is None


@pytest.mark.parametrize("name", sorted({*SHOWN, *CALLED}))
def test_the_answer_can_be_read_whatever_is_in_it(name: str) -> None:
    columns = (CALLED.get(name) or SHOWN[name]).columns
    for value in (None, "it's", "\\", "\\'; DROP TABLE x; --", "张伟\U0001f600", "a\0b\n\r\t\x7f\x85", ""):
        row = [7 if type_ == "pg_catalog.int8" else None if type_ == "pg_catalog.timestamptz" else value for _, type_ in columns]
        text = answer(columns, [row, row])
        assert text.isascii()
        (statement,) = parse(text)
        (values,) = statement.body["fromClause"]
        lists = values["RangeSubselect"]["subquery"]["SelectStmt"]["valuesLists"]
        assert [len(x["List"]["items"]) for x in lists] == [len(columns)] * 2
        if value is not None:
            found = [i["TypeCast"]["arg"]["A_Const"].get("sval") for i in lists[0]["List"]["items"]]
            assert {f.get("sval", "") for f in found if f is not None} == {value.replace("\0", "")}
