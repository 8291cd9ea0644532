"""What a process counts while it works, for the metrics: plain numbers, read at a scrape.

What a statement's plan has to do with the metrics (its class, the sensitive columns it shows) is looked up once per plan; after
that a statement costs one look-up and one addition, whatever it touches.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from rewrite.plan import Plan, StatementPlan, Touch, Verdict

SECONDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
"""Upper bounds of the buckets for durations."""
_FIRST: Final = 0.0001
_SECOND: Final = 0.00025
_KEPT: Final = 4096
_REASONS: Final = {
    "42501": "forbidden", "0A000": "unsupported", "53400": "limit", "54000": "too_long", "54001": "too_long",
    "42601": "syntax", "42P01": "unknown_name", "42883": "unknown_name", "3F000": "unknown_name", "42703": "unknown_name",
    "22021": "encoding", "22P05": "encoding", "57P03": "not_ready", "58030": "no_evidence",
}  # fmt: skip


class Durations:
    """A histogram of seconds. `observe` is two additions and a search in sixteen numbers."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(SECONDS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[0 if seconds <= _FIRST else 1 if seconds <= _SECOND else bisect_left(SECONDS, seconds)] += 1
        self.total += seconds

    def cumulated(self) -> Sequence[tuple[str, float]]:
        """(upper bound, how many were no longer), as Prometheus wants it."""
        out, below = [], 0
        for bound, count in zip((*map(str, SECONDS), "+Inf"), self.counts, strict=True):
            below += count
            out.append((bound, float(below)))
        return out


class _Shape:
    """What the statements of one plan count for, and how often each has been decided."""

    __slots__ = ("counts", "statements")

    def __init__(self, statements: tuple[StatementPlan, ...]) -> None:
        self.statements = statements
        self.counts = [0] * len(statements)


class Tally:
    """Statements and what they showed, of one process."""

    __slots__ = (
        "_columns", "_shapes", "_statements", "alerts", "durations", "errors", "events", "let_through", "loop", "refusals",
        "rows",
    )  # fmt: skip

    def __init__(self) -> None:
        self.alerts: Counter[tuple[str, str]] = Counter()
        """Raised, by name and severity."""
        self.let_through = 0
        """Statements that could not be read and passed all the same (`on_failure`)."""
        self.refusals: Counter[str] = Counter()
        """Refused statements by SQLSTATE."""
        self.events: Counter[str] = Counter()
        """Records of kind `event` by name."""
        self.rows = 0
        """Rows sent to clients."""
        self.errors = 0
        """Statements that ended with an error of the server's."""
        self.durations = Durations()
        """Of statements, from decision to outcome."""
        self.loop = Durations()
        """By how much the event loop was late."""
        self._shapes: dict[tuple[int, bool], _Shape] = {}
        """By identity of a plan's statements, kept so that their id stays their own, and whether they were rewritten."""
        self._statements: Counter[tuple[str, str]] = Counter()
        self._columns: Counter[tuple[str, str]] = Counter()

    def passed(self, plan: Plan, index: int) -> None:
        """A statement goes upstream. The hot path."""
        statements = plan.statements
        key = id(statements), plan.verdict is Verdict.REWRITE
        shape = self._shapes.get(key)
        if shape is None:
            if len(self._shapes) >= _KEPT:
                self._fold()
            shape = self._shapes[key] = _Shape(statements)
        if index < len(shape.counts):
            shape.counts[index] += 1
        else:
            self._statements["rewrite" if key[1] else "pass", ""] += 1

    def refused(self, plan: Plan, index: int) -> None:
        kind = plan.statements[index].kind if index < len(plan.statements) else ""
        self._statements["refuse", kind] += 1
        if plan.refusal is not None:
            self.refusals[plan.refusal.sqlstate] += 1

    def ended(self, rows: int, seconds: float, failed: bool) -> None:
        """An outcome. The hot path."""
        self.rows += rows
        self.durations.observe(seconds)
        if failed:
            self.errors += 1

    def statements(self) -> Mapping[tuple[str, str], int]:
        """By verdict and statement class, which is empty where the statement was not understood."""
        self._fold()
        return self._statements

    def columns(self) -> Mapping[tuple[str, str], int]:
        """Sensitive columns in results, by level and how they were shown; a column counts once a statement."""
        self._fold()
        return self._columns

    def _fold(self) -> None:
        """Turn what has been counted by plan into numbers, and forget the plans."""
        for (_, rewritten), shape in self._shapes.items():
            verdict = "rewrite" if rewritten else "pass"
            for statement, count in zip(shape.statements, shape.counts, strict=True):
                if count:
                    self._statements[verdict, statement.kind] += count
                    for shown in _shown(statement.touches):
                        self._columns[shown] += count
        self._shapes.clear()


def reason_of(sqlstate: str) -> str:
    """The class of reasons for which a statement is refused with this SQLSTATE."""
    return _REASONS.get(sqlstate, "other")


def _shown(touches: Sequence[Touch]) -> list[tuple[str, str]]:
    """(level, how it was shown) of each column that leaves with the result."""
    seen = {(t.relation, t.column, t.level, t.show) for t in touches if t.use in ("output", "unknown")}
    return [(level, show) for _, _, level, show in seen]
