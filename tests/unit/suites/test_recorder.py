"""The plugin that is loaded into a driver's test run, with a test run of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.suites import catalogue, outcomes, player
from tests.suites.outcomes import Status

TESTS = """\
import pytest

def test_passes(): pass
def test_fails(): assert 1 == 2, "one is not two"
def test_is_skipped(): pytest.skip("not here")
@pytest.mark.parametrize("word", ["a[b]", "c*"])
def test_words(word): pass
@pytest.mark.slow
def test_takes_long(): pass
@pytest.fixture
def broken(): raise RuntimeError("no fixture")
def test_has_no_fixture(broken): pass
"""


def record(home: Path, skip: list[str], only: list[str] | None) -> dict[str, outcomes.Outcome]:
    (home / "pytest.ini").write_text("[pytest]\nmarkers =\n    slow\n")
    (home / "test_one.py").write_text(TESTS)
    (home / "test_two.py").write_text("def test_other(): pass\n")
    (home / "selection.json").write_text(json.dumps({"skip": skip, "only": only}))
    environment = {
        **os.environ,
        "PYTHONPATH": str(player.HOOKS),
        "SUITES_SELECTION": str(home / "selection.json"),
        "SUITES_RECORD": str(home / "record.jsonl"),
    }
    subprocess.run([sys.executable, "-m", "pytest", "-p", "recorder", "-q"], cwd=home, env=environment, capture_output=True)
    return outcomes.read(home / "record.jsonl")


def test_every_end_is_recorded(tmp_path: Path) -> None:
    found = record(tmp_path, ["test_one.py::test_words[a[b]*", "mark:slow"], None)
    assert {test.removeprefix("test_one.py::"): outcome.status for test, outcome in found.items()} == {
        "test_passes": Status.PASSED,
        "test_fails": Status.FAILED,
        "test_is_skipped": Status.SKIPPED,
        "test_words[c*]": Status.PASSED,
        "test_has_no_fixture": Status.FAILED,
        "test_two.py::test_other": Status.PASSED,
    }
    assert found["test_one.py::test_fails"].error.startswith("call: AssertionError: one is not two")
    assert found["test_one.py::test_has_no_fixture"].error == "setup: RuntimeError: no fixture"


def test_single_modules_can_be_chosen(tmp_path: Path) -> None:
    assert list(record(tmp_path, [], ["test_two.py"])) == ["test_two.py::test_other"]


def test_every_suite_is_complete() -> None:
    for name, suite in catalogue.SUITES.items():
        assert suite.name == name
        assert suite.packages
        assert suite.keep
        for reason, patterns in catalogue.deselected(name).items():
            assert reason
            assert all(isinstance(pattern, str) for pattern in patterns)
