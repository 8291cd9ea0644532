"""pytest plugin that is loaded into a driver's own test run: chooses the tests and writes down how each one ended.

Runs in the driver's virtual environment, so it imports nothing of pgveil. SUITES_SELECTION names a JSON
file {"skip": [pattern or "mark:name"], "only": [module] or null}; SUITES_RECORD a file that gets one JSON line when a test
begins and one when it has ended. A test that has begun and not ended took the process down with it.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

_SELECTION = json.loads(Path(os.environ["SUITES_SELECTION"]).read_text())
_MARKS = [pattern.removeprefix("mark:") for pattern in _SELECTION["skip"] if pattern.startswith("mark:")]
_SKIP = [re.compile(re.escape(pattern).replace(r"\*", ".*") + r"\Z", re.DOTALL) for pattern in _SELECTION["skip"]]
_ONLY = _SELECTION["only"]
_ends: dict[str, tuple[str, str]] = {}
_seconds: dict[str, float] = {}


def _write(**line: str | float) -> None:
    with open(os.environ["SUITES_RECORD"], "a", encoding="utf-8") as record:
        record.write(json.dumps(line) + "\n")


def wanted(name: str) -> bool:
    if _ONLY is not None and name.split("::")[0] not in _ONLY:
        return False
    return not any(pattern.match(name) for pattern in _SKIP)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kept = [item for item in items if wanted(item.nodeid) and not any(item.get_closest_marker(mark) for mark in _MARKS)]
    if len(kept) < len(items):
        dropped = sorted(set(items) - set(kept), key=lambda item: item.nodeid)
        items[:] = kept
        config.hook.pytest_deselected(items=dropped)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        _write(test=f"{report.nodeid} (collection)", outcome="failed", error=str(report.longrepr)[-500:])


def pytest_runtest_logstart(nodeid: str) -> None:
    _write(test=nodeid, outcome="begun", error="")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _seconds[report.nodeid] = _seconds.get(report.nodeid, 0.0) + report.duration
    if report.failed:
        _ends.setdefault(report.nodeid, ("failed", f"{report.when}: {_error(report)}"))
    elif report.skipped:
        _ends.setdefault(report.nodeid, ("skipped", ""))
    if report.when == "teardown":
        outcome, error = _ends.pop(report.nodeid, ("passed", ""))
        _write(test=report.nodeid, outcome=outcome, error=error, seconds=round(_seconds.pop(report.nodeid), 3))


def _error(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message if crash is not None else report.longrepr)[-2000:]
