"""What became of each test, and what the ways have to say to each other.

A test counts where it passes direct every time it is run. A way that fails it at first gets it run again, together with its
module and with the direct way: what passes then has only been unlucky, and what fails direct then is flaky and counts nowhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class Status(Enum):
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    DIED = "died"
    """The test had begun when the process ended."""


@dataclass(frozen=True, slots=True)
class Outcome:
    status: Status
    error: str = ""
    """One line."""


@dataclass(frozen=True, slots=True)
class Difference:
    test: str
    error: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """One suite, one way."""

    passed: int
    """Of the tests that pass direct."""
    differences: tuple[Difference, ...]
    extra: tuple[str, ...]
    """Tests that pass this way but not direct."""


Run = Mapping[str, Outcome]

_MAX_ERROR = 400


def read(record: Path) -> dict[str, Outcome]:
    """The record that `hooks/recorder.py` wrote; empty when there is none."""
    run: dict[str, Outcome] = {}
    if not record.exists():
        return run
    for text in record.read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        status = Status.DIED if line["outcome"] == "begun" else Status(line["outcome"])
        error = "the test run ended here" if status is Status.DIED else one_line(line["error"])
        run[line["test"]] = Outcome(status, error)
    return run


def one_line(text: str) -> str:
    joined = " | ".join(part.strip() for part in text.splitlines() if part.strip())
    return joined if len(joined) <= _MAX_ERROR else joined[:_MAX_ERROR] + " …"


def passed(run: Run) -> set[str]:
    return {test for test, outcome in run.items() if outcome.status is Status.PASSED}


def suspects(direct: Run, way: Run) -> set[str]:
    """Passes direct and not this way."""
    return passed(direct) - passed(way)


def modules(tests: Iterable[str]) -> list[str]:
    """Tests are run again module by module: alone, some would miss what the one before has left."""
    return sorted({test.split("::")[0] for test in tests})


def judge(direct: list[Run], way: list[Run]) -> Verdict:
    """The first run of each way is the whole suite, the others are repetitions of a part of it."""
    sure = passed(direct[0]) - flaky(direct)
    open_ = sure - passed(way[0])
    for again in way[1:]:
        open_ -= passed(again)
    differences = tuple(Difference(test, way[0].get(test, _NOT_RUN).error) for test in sorted(open_))
    extra = passed(way[0]) - passed(direct[0]) - flaky(direct)
    return Verdict(len(sure) - len(open_), differences, tuple(sorted(extra)))


def flaky(direct: list[Run]) -> set[str]:
    """Tests that do not end the same way each time they are run direct."""
    found: set[str] = set()
    for again in direct[1:]:
        found |= {test for test, outcome in again.items() if test in direct[0] and outcome.status is not direct[0][test].status}
    return found


_NOT_RUN = Outcome(Status.DIED, "was not run: the test run ended before, or did not find it")
