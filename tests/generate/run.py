"""Many cases, one after the other: counts, and every failure once, made small."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import psycopg

from tests.generate.banks import Bank
from tests.generate.bare import Log, guarded, violations
from tests.generate.shrink import shrink
from tests.generate.statements import Case
from tests.generate.trial import Outcome, Trial, Verdict


@dataclass(frozen=True, slots=True)
class Failure:
    case: Case
    outcome: Outcome
    small: Case
    again: Outcome

    def __str__(self) -> str:
        return f"== {self.outcome.verdict.value} ({self.case.origin}): {self.again.reason}\n{self.small}\n-- from:\n{self.case}\n"


@dataclass(slots=True)
class Report:
    verdicts: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    examples: dict[str, Case] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    """SQLSTATEs that both sides gave alike."""
    failures: list[Failure] = field(default_factory=list)
    upstream: int = 0
    """Texts that reached the server and were looked at."""
    succeeded: int = 0

    @property
    def refused_share(self) -> float:
        """Of the cases that the masked copy answers."""
        return self.refusals.total() / max(1, self.succeeded)

    def text(self) -> str:
        total = sum(self.verdicts.values())
        lines = [
            f"{total} cases, {self.succeeded} of them answered by the masked copy; "
            + ", ".join(f"{n} {v}" for v, n in self.verdicts.most_common()),
            f"{self.upstream} texts upstream looked at; refused {self.refused_share:.2%} of what the masked copy answers",
            "errors alike: " + ", ".join(f"{s} {n}" for s, n in self.errors.most_common(12)),
        ]
        lines += [f"  refused {n:5}  {reason}" for reason, n in self.refusals.most_common(40)]
        return "\n".join(lines)


class Runner:
    """Runs cases against a bank."""

    def __init__(self, bank: Bank, *, shrinking: bool = True, tell: Callable[[Failure], None] | None = None) -> None:
        """`tell` is called with every failure as it is found."""
        self.bank = bank
        self._tell = tell
        self.shrinking = shrinking
        self.report = Report()
        self._seen: set[str] = set()
        with psycopg.connect(bank.admin) as admin, psycopg.connect(bank.direct) as direct:
            self._guarded = guarded(admin, direct, bank.masks)

    def run(self, cases: Iterable[Case]) -> Report:
        log = Log(self.bank.log, self.bank.role, self.bank.database)
        with Trial(self.bank) as trial:
            for case in cases:
                self._count(case, self._one(trial, log, case), trial, log)
        return self.report

    def _one(self, trial: Trial, log: Log, case: Case) -> Outcome:
        outcome = trial.run(case)
        for text in log.statements():
            self.report.upstream += 1
            found = violations(text, self._guarded)
            if found and not outcome.verdict.failed:
                outcome = Outcome(Verdict.BARE, f"{found[0]} in: {text}", outcome.succeeded)
        return outcome

    def _count(self, case: Case, outcome: Outcome, trial: Trial, log: Log) -> None:
        report = self.report
        report.verdicts[outcome.verdict.value] += 1
        report.succeeded += outcome.succeeded
        if outcome.verdict is Verdict.EQUAL and outcome.reason:
            report.errors[outcome.reason] += 1
        if outcome.verdict is Verdict.REFUSED and outcome.succeeded:
            reason = general(outcome.reason)
            report.refusals[reason] += 1
            if len(str(case)) < len(str(report.examples.get(reason, case))) or reason not in report.examples:
                report.examples[reason] = case
        if not outcome.verdict.failed:
            return
        kind = f"{outcome.verdict.value} {general(outcome.reason.splitlines()[-1]) if outcome.reason else ''}"[:60]
        if self.shrinking and kind not in self._seen:
            self._seen.add(kind)
            small = shrink(case, lambda c: _alike(self._one(trial, log, c), outcome))
            failure = Failure(case, outcome, small, self._one(trial, log, small))
        else:
            failure = Failure(case, outcome, case, outcome)
        report.failures.append(failure)
        if self._tell is not None:
            self._tell(failure)


def _alike(one: Outcome, other: Outcome) -> bool:
    """Whether two outcomes tell of the same failure."""
    a, b = (re.findall(r"error (\S+) .* instead of (\S+)", o.reason) for o in (one, other))
    return one.verdict is other.verdict and a == b


def general(reason: str) -> str:
    """A reason without the names in it."""
    reason = re.sub(r'"[^"]+"|\b[\w\u0080-\uffff]+(\.[\w "\u0080-\uffff]+?)+(?= |$|:|,)', "…", reason)
    reason = re.sub(r"whole row .* cannot", "whole row … cannot", reason)
    return re.sub(r"\d+", "N", reason)
