"""The verdicts over drivers' test suites: what counts, what is run again, what is reported."""

from __future__ import annotations

import json
from pathlib import Path

from tests.suites import outcomes, report
from tests.suites.outcomes import Outcome, Status
from tests.suites.servers import Way


def run(**ends: str) -> dict[str, Outcome]:
    return {f"m.py::{test}": Outcome(Status(end), f"{test} said no" if end == "failed" else "") for test, end in ends.items()}


def names(verdict: outcomes.Verdict) -> list[str]:
    return [difference.test for difference in verdict.differences]


def test_a_difference_is_what_passes_direct_only() -> None:
    direct = run(a="passed", b="passed", c="failed", d="skipped")
    verdict = outcomes.judge([direct], [run(a="passed", b="failed", c="failed", d="skipped")])
    assert verdict.passed == 1
    assert verdict.differences == (outcomes.Difference("m.py::b", "b said no"),)
    assert verdict.extra == ()


def test_skipped_and_missing_tests_are_differences() -> None:
    verdict = outcomes.judge([run(a="passed", b="passed")], [run(a="skipped")])
    assert names(verdict) == ["m.py::a", "m.py::b"]
    assert "was not run" in verdict.differences[1].error


def test_what_passes_when_it_is_run_again_has_only_been_unlucky() -> None:
    direct, way = run(a="passed", b="passed"), run(a="failed", b="failed")
    verdict = outcomes.judge([direct, direct], [way, run(a="passed", b="failed")])
    assert (verdict.passed, names(verdict)) == (1, ["m.py::b"])


def test_what_is_flaky_direct_counts_nowhere() -> None:
    first, again = run(a="passed", b="passed", c="failed"), run(a="passed", b="failed", c="passed")
    assert outcomes.flaky([first, again]) == {"m.py::b", "m.py::c"}
    verdict = outcomes.judge([first, again], [run(a="failed", b="failed", c="passed")])
    assert (verdict.passed, names(verdict), verdict.extra) == (0, ["m.py::a"], ())


def test_passing_only_through_the_proxy_is_told_too() -> None:
    assert outcomes.judge([run(a="failed")], [run(a="passed")]).extra == ("m.py::a",)


def test_a_record_is_read_with_its_abrupt_end(tmp_path: Path) -> None:
    record = tmp_path / "record.jsonl"
    lines = [("x::a", "begun", ""), ("x::a", "failed", "call: one\n\n  two"), ("x::b", "begun", "")]
    record.write_text("".join(json.dumps({"test": t, "outcome": o, "error": e}) + "\n" for t, o, e in lines))
    found = outcomes.read(record)
    assert found["x::a"] == Outcome(Status.FAILED, "call: one | two")
    assert found["x::b"].status is Status.DIED
    assert outcomes.read(tmp_path / "none") == {}


def test_modules_are_run_again_as_a_whole() -> None:
    assert outcomes.modules(["b.py::one", "a.py::C::two", "b.py::three"]) == ["a.py", "b.py"]


def test_many_tests_with_one_error_are_one_line() -> None:
    direct = {f"m.py::t{n}": Outcome(Status.PASSED) for n in range(report.TOGETHER)}
    result = report.Report("drv", "1", 50, 50, (), {Way.MASKED: outcomes.judge([direct], [{}])})
    [line] = report.lines(result).splitlines()
    assert line.startswith(f"drv, pgveil masked: {report.TOGETHER} tests: was not run")


def test_the_report_names_way_test_and_error() -> None:
    verdict = outcomes.judge([run(a="passed", b="passed")], [run(a="passed", b="failed")])
    result = report.Report("drv", "1.2", 2, 2, ("m.py::f",), {Way.MASKED: verdict})
    assert report.lines(result).splitlines() == ["drv, pgveil masked: m.py::b: b said no", "drv, flaky direct: m.py::f"]
    assert report.table([result], [Way.MASKED]).splitlines()[-1].split("|")[1:-1] == [
        " drv 1.2 ",
        " 2     ",
        " 2      ",
        " 1             ",
    ]
