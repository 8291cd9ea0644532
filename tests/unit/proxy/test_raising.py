"""Alerts: what raises them, how often, and how much is done where none can be raised."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.alerts import Alerts, Raised, Who, kind_of
from proxy.counts import Counts
from rewrite.plan import Plan, StatementPlan, Touch, Verdict
from tests.unit.policies.support import policy

POLICY = """
version: 1
classes: { phone: { level: C2, mask: null }, card: { level: C3, mask: null } }
alerts:
  - { on: clear, level: C3 }
  - { name: phones, on: clear, columns: [class=phone, a."b.c".*], more_than: 2, within: 1m }
  - { on: refused, more_than: 1, within: 1m, per: address }
  - { on: grant, severity: info }
"""


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def touch(data_class: str = "phone", level: str = "C2", show: str = "clear", use: str = "output", relation: str = "s.t") -> Touch:
    return Touch(relation, "c", data_class, level, use, show, None)


def plan(*touches: Touch) -> Plan:
    return Plan(Verdict.PASS, "x", (StatementPlan("SELECT", touches),))


LI, WANG = Who("s1", "li", "10.0.0.1", "bank"), Who("s2", "wang", "10.0.0.1", "bank")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def told() -> list[Raised]:
    return []


def aimed(home: Path, clock: Clock, told: list[Raised]) -> Alerts:
    alerts = Alerts(Counts(home, clock), clock)
    alerts.deliver.append(told.append)
    alerts.aim(policy(POLICY).alerts)
    return alerts


def names(told: list[Raised]) -> list[tuple[str, str, int]]:
    return [(raised.alert.name, raised.who.user, raised.count) for raised in told]


@pytest.mark.parametrize(
    ("seen", "raised"),
    [
        (touch("card", "C3"), ["clear"]), (touch("card", "C10"), ["clear"]), (touch("card", "C3", "conditional"), ["clear"]),
        (touch("card", "C3", "mask"), []), (touch("card", "C3", use="filter"), []), (touch(), []),
    ],
)  # fmt: skip
def test_what_is_shown(tmp_path: Path, clock: Clock, told: list[Raised], seen: Touch, raised: list[str]) -> None:
    aimed(tmp_path, clock, told).on_statement(plan(seen), 0, lambda: LI)
    assert [name for name, _, _ in names(told)] == raised


@pytest.mark.parametrize("seen", [touch(), touch("card", "C1", relation="a.b.c")])
def test_windows(tmp_path: Path, clock: Clock, told: list[Raised], seen: Touch) -> None:
    """Over processes: two of them have one count, and one alert between them."""
    both = [aimed(tmp_path, clock, told), aimed(tmp_path, clock, told)]
    shown = plan(seen)
    for alerts in (*both, *both, *both):
        alerts.on_statement(shown, 0, lambda: LI)
    assert names(told) == [("phones", "li", 3)]
    both[0].on_statement(shown, 0, lambda: WANG)
    clock.now += 61.0
    for alerts in (*both, both[0]):
        alerts.on_statement(shown, 0, lambda: LI)
    assert names(told) == [("phones", "li", 3), ("phones", "li", 3)]


def test_per_address(tmp_path: Path, clock: Clock, told: list[Raised]) -> None:
    alerts = aimed(tmp_path, clock, told)
    alerts.on_kind("refused", lambda: LI)
    alerts.on_kind("refused", lambda: WANG)
    assert names(told) == [("refused", "wang", 2)]
    assert told[0].fields["address"] == "10.0.0.1"


def test_events_have_their_kinds(tmp_path: Path, clock: Clock, told: list[Raised]) -> None:
    events = ("grant_approved", "break_glass", "on_failure", "probing_budget_exceeded", "rows_withheld", "guard")
    assert [kind_of(event) for event in events] == ["grant", "break_glass", "failure", "probes", "limit", None]
    alerts = aimed(tmp_path, clock, told)
    for event in events:
        alerts.on_kind(kind_of(event), lambda: LI)
    assert names(told) == [("grant", "li", 1)]


def test_without_alerts_nothing_is_looked_at(tmp_path: Path, clock: Clock, told: list[Raised]) -> None:
    def who() -> Who:
        raise AssertionError

    alerts = aimed(tmp_path, clock, told)
    alerts.on_statement(plan(touch(show="mask")), 0, who)
    alerts.on_kind("login_failed", who)
    alerts.aim(())
    assert alerts.clear == ()
    alerts.on_kind("refused", who)


def test_once_too_often_when_nothing_can_be_counted(tmp_path: Path, clock: Clock, told: list[Raised]) -> None:
    alerts = aimed(tmp_path / "gone", clock, told)
    for _ in range(3):
        alerts.on_statement(plan(touch()), 0, lambda: LI)
    assert names(told) == [("phones", "li", 1)]
