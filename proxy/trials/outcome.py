"""What came of a policy test, in lines for a person.

A value is printed only when the test itself gave it: what comes out of real tables is compared and never shown.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation

from policies.decide import Step
from policies.language import Policy
from policies.masks.describe import describe
from policies.model import Branch, Decision, Show
from policies.trials import Shown, Trial

MOST_OTHERS = 3
"""Rules that did not match, of one column."""
MOST_LINES = 16
"""Of one failure."""


class Status(enum.Enum):
    PASSED = "passed"
    FAILED = "failed"
    LEFT_OUT = "left out"


@dataclass(frozen=True, slots=True)
class Outcome:
    status: Status
    lines: tuple[str, ...] = ()
    """What was expected and what came; for LEFT_OUT the reason."""


PASSED = Outcome(Status.PASSED)


def failed(*lines: str) -> Outcome:
    return Outcome(Status.FAILED, lines)


def left_out(reason: str) -> Outcome:
    return Outcome(Status.LEFT_OUT, (reason,))


@dataclass(frozen=True, slots=True)
class Result:
    trial: Trial
    outcome: Outcome


def told(results: Sequence[Result]) -> list[str]:
    """All that failed or was left out, and the numbers."""
    lines: list[str] = []
    for result in results:
        trial = result.trial
        title = f"test '{trial.name}'" if trial.name != trial.place else "test"
        if result.outcome.status is Status.FAILED:
            lines.append(f"{trial.place}: error: {title} as {trial.situation.user} failed")
            lines += [f"    {line}" for line in result.outcome.lines]
        elif result.outcome.status is Status.LEFT_OUT:
            lines.append(f"{trial.place}: {title} left out: {result.outcome.lines[0]}")
    count = {status: sum(r.outcome.status is status for r in results) for status in Status}
    ran = count[Status.PASSED] + count[Status.FAILED]
    lines.append(f"tests: {ran} ran, {count[Status.FAILED]} failed, {count[Status.LEFT_OUT]} left out")
    return lines


def rule_of(policy: Policy, branch: Branch, decision: Decision) -> str:
    """Which rule decided, and where it stands."""
    rule = next((r for r in policy.rules if r.name == branch.rule), None)
    if rule is not None:
        return f"rule '{rule.name}' ({rule.place})"
    return f"no rule, class {decision.data_class}"


def shown(branch: Branch) -> str:
    """clear, deny, or the mask."""
    return describe(branch.mask) if branch.show is Show.MASK and branch.mask is not None else branch.show.value


def reasons(policy: Policy, decision: Decision, branches: Sequence[Branch], steps: Iterable[Step]) -> list[str]:
    """By which rules a column shows what it shows, and which rules for it do not speak of this session."""
    others = [
        f"not      rule '{s.rule}' ({s.place}): {s.why}"
        for s in steps
        if s.rule is not None and not s.matched and not s.why.startswith(("for columns", "an earlier rule"))
    ]
    return [
        *(f"by       {line}" for line in dict.fromkeys(rule_of(policy, b, decision) for b in branches)),
        *others[:MOST_OTHERS],
    ]


def compare_decision(policy: Policy, wanted: Shown, decision: Decision | None, steps: Callable[[], Iterable[Step]]) -> list[str]:
    """Lines that say what is not as expected; none when it is. `steps`: how it was decided."""
    if decision is None:
        if wanted.word == "clear":
            return []
        return [f"expected {wanted.name}: {_wanted(wanted)}", "got      clear, by no rule: the column is not sensitive"]
    word = decision.show
    same = wanted.word == word and (wanted.mask is None or decision.branches[0].mask == wanted.mask)
    if same:
        return []
    got = ", otherwise ".join(shown(b) + (f" where {b.rows}" if b.rows is not None else "") for b in decision.branches)
    return [
        f"expected {wanted.name}: {_wanted(wanted)}",
        f"got      {got}",
        *reasons(policy, decision, decision.branches, steps()),
    ]


def _wanted(wanted: Shown) -> str:
    return wanted.word if wanted.mask is None else describe(wanted.mask)


def compare_rows(
    expected: Sequence[Mapping[str, object]],
    got: Sequence[Mapping[str, object]],
    by: Callable[[str], Sequence[str]],
    *,
    ordered: bool,
    given: bool,
) -> list[str]:
    """Lines that say what is not as expected. `by`: how a column was decided, by its label. `given`: all values came from the
    test, so they may be shown."""
    if not ordered:
        got = _aligned(expected, got)
    lines: list[str] = []
    if len(expected) != len(got):
        lines.append(f"expected {len(expected)} rows")
        lines.append(f"got      {len(got) if len(got) < MOST_ROWS else f'{MOST_ROWS} or more'}")
    for number, (want, have) in enumerate(zip(expected, got, strict=False), 1):
        for label, value in want.items():
            if label not in have:
                lines.append(f"expected row {number}, a column {label}: the result has {', '.join(have) or 'none'}")
                continue
            if same(value, have[label]):
                continue
            lines.append(f"expected row {number}, {label}: {_text(value)}")
            lines.append(f"got      {_text(have[label]) if given else 'something else (not shown: it is not from the test)'}")
            lines += by(label)
    return lines if len(lines) <= MOST_LINES else [*lines[:MOST_LINES], "…"]


MOST_ROWS = 1000
"""That are fetched."""


def _aligned(expected: Sequence[Mapping[str, object]], got: Sequence[Mapping[str, object]]) -> list[Mapping[str, object]]:
    """The rows of the result in the order in which they are expected, those that nobody expects last."""
    left = list(got)
    out: list[Mapping[str, object] | None] = []
    for want in expected:
        fits = next((i for i, have in enumerate(left) if all(k in have and same(v, have[k]) for k, v in want.items())), None)
        out.append(left.pop(fits) if fits is not None else None)
    rest: Iterable[Mapping[str, object]] = iter(left)
    filled = [row if row is not None else next(iter(rest), None) for row in out]
    return [row for row in filled if row is not None] + list(rest)


def same(expected: object, got: object) -> bool:
    """A value as YAML has it, and one as the server or a mask has it."""
    if expected is None or got is None:
        return expected is got
    if isinstance(expected, bool) or isinstance(got, bool):
        return str(expected).lower() == str(got).lower()
    if isinstance(expected, dict | list):
        return _plain(expected) == _plain(json.loads(got, parse_float=Decimal) if isinstance(got, str) else got)
    if isinstance(expected, int | Decimal):
        try:
            return Decimal(expected) == Decimal(str(got))
        except InvalidOperation:
            return False
    return str(expected) == _text(got) or str(expected) == str(got)


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return Decimal(str(value)) if isinstance(value, int | float | Decimal) and not isinstance(value, bool) else value


def _text(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    return format(value, "f") if isinstance(value, Decimal) else str(value)
