"""What `discover --drift` reports."""

from __future__ import annotations

import pytest

from policies.detect import Finding
from policies.detect.drift import Current, Known, drift
from proxy.discovery.report import read_baseline

PHONE = Finding("phone", 0.95, "why", True, True)
CLASSES = ("phone", "email", "card_no", "account")


@pytest.mark.parametrize(
    ("column", "known", "what"),
    [
        (Current("a", "text", PHONE, None), None, "unclassified"),
        (Current("a", "text", None, None), None, "new"),
        (Current("a", "text", PHONE, "phone"), Known("text", "phone", 0.9), None),
        (Current("a", "text", None, None), Known("text", None, 0.0), None),
        (Current("a", "int8", PHONE, "phone"), Known("text", "phone", 0.9), "type changed"),
        (
            Current("a", "text", Finding("email", 0.8, "why", False, True), "phone"),
            Known("text", "phone", 0.9),
            "content changed",
        ),
        (Current("a", "text", None, "phone"), Known("text", "phone", 0.95), "content changed"),
        (Current("a", "text", PHONE, "email"), Known("text", "phone", 0.9), "disputed"),
        (Current("a", "text", PHONE, "public"), Known("text", "phone", 0.9), "disputed"),
        (Current("a", "text", Finding("card_no", 0.95, "why", True, True), "account"), Known("text", "card_no", 0.9), None),
        (Current("a", "text", Finding("phone", 0.4, "why", True), None), Known("text", None, 0.4), None),
    ],
)
def test_one_column(column: Current, known: Known | None, what: str | None) -> None:
    before = {"a": known} if known is not None else {}
    assert [d.what for d in drift([column], before, (), CLASSES)] == ([what] if what else [])


def test_gone() -> None:
    found = drift([], {"s.t.c": Known("text", None, 0.0)}, [("x.y.z", "p.yaml:3")], ())
    assert [(d.what, d.column) for d in found] == [("gone", "s.t.c"), ("gone", "x.y.z")]


def test_without_a_baseline_nothing_is_new() -> None:
    assert drift([Current("a", "text", None, None)], None, (), ()) == []


def test_what_happens_meanwhile_is_said() -> None:
    assert "shown in clear meanwhile" in drift([Current("a", "text", PHONE, None)], None, (), ())[0].detail
    assert "masked meanwhile" in drift([Current("a", "text", PHONE, None, True)], None, (), ())[0].detail


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 2}', '{"version": 1, "columns": {"a": 1}}', '{"version": 1}'])
def test_baselines_that_are_none(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        read_baseline(text)
