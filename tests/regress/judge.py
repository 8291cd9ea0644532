"""What became of a statement: the answer through pgveil beside that of the masked copy."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from tests.regress.client import Outcome, Result


class Verdict(enum.Enum):
    SAME = "same"
    REFUSED = "refused"
    WITHHELD = "same error, text withheld"  # it was raised within a function
    ORDER = "same rows, other order"  # the query does not say which order it wants
    PLAN = "other plan"  # EXPLAIN: the plan of a masked query is another one
    UNSTABLE = "not comparable"  # two copies of the masked database already differ: clock, process numbers, random()
    DIFFERS = "differs"
    DIED = "connection died"
    LEAKED = "raw value seen"


BAD = frozenset({Verdict.DIFFERS, Verdict.DIED, Verdict.LEAKED})


@dataclass(frozen=True, slots=True)
class Judgement:
    verdict: Verdict
    reason: str = ""
    """The refusal without names, or what differs."""


def judge(sql: str, got: Outcome, copy: Outcome, twin: Outcome, canary: re.Pattern[str]) -> Judgement:
    """`copy` and `twin` are the answers of two equal masked copies."""
    if (seen := canary.search(got.everything())) is not None:
        return Judgement(Verdict.LEAKED, seen[0])
    if got.died and not copy.died:
        return Judgement(Verdict.DIED, got.died.strip())
    if compare(sql, copy, twin) is not None:
        return Judgement(Verdict.UNSTABLE)
    found = compare(sql, got, copy) or Judgement(Verdict.SAME)
    if found.verdict is Verdict.DIFFERS and _is_ours(got) and copy.error is not None:
        return refusal(got)  # an error here and there; which one is found first may differ
    return found


def refusal(got: Outcome) -> Judgement:
    assert got.error is not None
    return Judgement(Verdict.REFUSED, f"{got.error.sqlstate} {reason(got.error.message)}")


def reason(message: str) -> str:
    """A refusal's message without the names in it."""
    text = message.removeprefix("pgveil: ")
    text = re.sub(r'"[^"]*"', "X", text)
    text = re.sub(r"\b(function|operator|sampling method|parameter|type) (\S*[^\w\s,]\S*|\w+(?= may not))", r"\1 X", text)
    text = re.sub(r"\b[\w$]+(\.[\w$~!@#%^&|`?+*/<>=-]+)+\(?\)?", "X", text)
    text = re.sub(r"\bX\.", "X", text)
    return re.sub(r"\w+\(\)", "X()", text)


def compare(sql: str, got: Outcome, want: Outcome) -> Judgement | None:
    """None: the same for a client."""
    if bool(got.died) != bool(want.died):
        return Judgement(Verdict.DIED if got.died else Verdict.DIFFERS, got.died or "the other connection died")
    if len(got.results) != len(want.results):
        return _error_or("number of results", got, want)
    weaker: Judgement | None = None
    for mine, theirs in zip(got.results, want.results, strict=True):
        found = _result(sql, mine, theirs)
        if found is not None and found.verdict is Verdict.DIFFERS:
            return found
        weaker = weaker or found
    if got.transaction != want.transaction:
        return Judgement(Verdict.DIFFERS, f"transaction state {got.transaction}, not {want.transaction}")
    return weaker


def _is_ours(got: Outcome) -> bool:
    return got.error is not None and got.error.message.startswith("pgveil: ")


def _error_or(what: str, got: Outcome, want: Outcome) -> Judgement:
    mine, theirs = got.error, want.error
    if mine is not None and theirs is None:
        return Judgement(Verdict.DIFFERS, f"error {mine.sqlstate} {mine.message}")
    if mine is None and theirs is not None:
        return Judgement(Verdict.DIFFERS, f"no error, but there: {theirs.sqlstate} {theirs.message}")
    return Judgement(Verdict.DIFFERS, what)


def _result(sql: str, mine: Result, theirs: Result) -> Judgement | None:
    if mine.sqlstate != theirs.sqlstate:
        found = f"error {mine.sqlstate} {mine.message}" if mine.sqlstate else "no error"
        wanted = f"error {theirs.sqlstate} {theirs.message}" if theirs.sqlstate else "none"
        return Judgement(Verdict.DIFFERS, f"{found}; there: {wanted}")
    if mine.sqlstate:
        return _error(mine, theirs)
    if mine.columns != theirs.columns:
        return Judgement(Verdict.DIFFERS, f"columns {mine.columns!r}; there: {theirs.columns!r}")
    if mine.tag != theirs.tag:
        return Judgement(Verdict.DIFFERS, f"tag {mine.tag!r}; there: {theirs.tag!r}")
    if mine.rows != theirs.rows:
        if re.match(r"\s*(explain|execute explain|select explain|--.*\n)*\s*(select \w*explain|explain)", sql, re.I):
            return Judgement(Verdict.PLAN)
        if sorted(mine.rows, key=repr) == sorted(theirs.rows, key=repr):
            return Judgement(Verdict.ORDER)
        return Judgement(Verdict.DIFFERS, _first_row(mine, theirs))
    return None


def _error(mine: Result, theirs: Result) -> Judgement | None:
    """Two errors of the same SQLSTATE."""
    if mine.message.startswith("pgveil: function ") and mine.sqlstate == "42883":
        return None  # the same error without the types of the arguments
    if mine.message.endswith("(message withheld by pgveil)"):
        return Judgement(Verdict.WITHHELD)
    if mine.message.removeprefix("pgveil: ") != theirs.message:
        return Judgement(Verdict.DIFFERS, f"message: {mine.message}; there: {theirs.message}")
    if mine.position != theirs.position:
        return Judgement(Verdict.DIFFERS, f"error position {mine.position}; there: {theirs.position}")
    return None


def _first_row(mine: Result, theirs: Result) -> str:
    if len(mine.rows) != len(theirs.rows):
        return f"{len(mine.rows)} rows; there: {len(theirs.rows)}"
    for a, b in zip(mine.rows, theirs.rows, strict=True):
        if a != b:
            return f"row {a!r}; there: {b!r}"[:600]
    return "rows"
