"""What a run of the suites is printed as."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.suites.outcomes import Verdict
from tests.suites.servers import Way


@dataclass(frozen=True, slots=True)
class Report:
    suite: str
    version: str
    tests: int
    direct: int
    """Tests that pass direct, the flaky ones left out."""
    flaky: tuple[str, ...]
    verdicts: Mapping[Way, Verdict]


TOGETHER = 50
"""So many tests with one error are told in one line."""


def lines(report: Report) -> str:
    """A line for each test that passes direct and not some other way."""
    out = []
    for way, verdict in report.verdicts.items():
        often = Counter(d.error for d in verdict.differences)
        out += [f"{report.suite}, {way.value}: {n} tests: {error}" for error, n in often.items() if n >= TOGETHER]
        rest = (d for d in verdict.differences if often[d.error] < TOGETHER)
        out += [f"{report.suite}, {way.value}: {d.test}: {d.error}" for d in rest]
    out += [f"{report.suite}, flaky direct: {test}" for test in report.flaky]
    return "\n".join(out)


def table(reports: Sequence[Report], ways: Sequence[Way]) -> str:
    head = ["suite", "tests", "direct", *(way.value for way in ways)]
    rows = [
        [f"{r.suite} {r.version}", str(r.tests), str(r.direct), *(str(r.verdicts[way].passed) for way in ways)] for r in reports
    ]
    rows = [head, ["---"] * len(head), *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return "\n".join("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows)


def as_json(report: Report) -> dict[str, object]:
    return {
        "suite": report.suite,
        "version": report.version,
        "tests": report.tests,
        "direct": report.direct,
        "flaky": report.flaky,
        "ways": {
            way.value: {"passed": v.passed, "differences": {d.test: d.error for d in v.differences}, "extra": v.extra}
            for way, v in report.verdicts.items()
        },
    }
