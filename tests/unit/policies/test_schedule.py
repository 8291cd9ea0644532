"""Times and weekdays, over midnight and over the change of clocks."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from policies.schedule import Schedule

SHANGHAI, BERLIN = "Asia/Shanghai", "Europe/Berlin"
WORK = Schedule(8 * 60 + 30, 17 * 60 + 30, frozenset(range(5)), SHANGHAI)
NIGHT = Schedule(22 * 60, 6 * 60, frozenset({4}), SHANGHAI)


def at(text: str, zone: str = SHANGHAI, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


@pytest.mark.parametrize(
    ("schedule", "moment", "holds", "until"),
    [
        (WORK, "2024-01-15 08:29:59", False, "2024-01-15 08:30"),  # a Monday
        (WORK, "2024-01-15 08:30", True, "2024-01-15 17:30"),
        (WORK, "2024-01-15 17:29:59.9", True, "2024-01-15 17:30"),
        (WORK, "2024-01-15 17:30", False, "2024-01-16 08:30"),
        (WORK, "2024-01-19 18:00", False, "2024-01-22 08:30"),
        (WORK, "2024-01-20 12:00", False, "2024-01-22 08:30"),
        (NIGHT, "2024-01-19 21:59", False, "2024-01-19 22:00"),  # Friday
        (NIGHT, "2024-01-19 22:00", True, "2024-01-20 06:00"),
        (NIGHT, "2024-01-20 05:59", True, "2024-01-20 06:00"),
        (NIGHT, "2024-01-20 22:30", False, "2024-01-26 22:00"),
        (NIGHT, "2024-01-19 05:00", False, "2024-01-19 22:00"),  # belongs to Thursday
    ],
)
def test_windows(schedule: Schedule, moment: str, holds: bool, until: str) -> None:
    assert schedule.holds(at(moment)) is holds
    assert schedule.next_change(at(moment)) == at(until)


def test_until_midnight() -> None:
    evening = Schedule(18 * 60, 1440, frozenset(range(7)), SHANGHAI)
    assert evening.holds(at("2024-01-15 23:59:59"))
    assert evening.next_change(at("2024-01-15 20:00")) == at("2024-01-16 00:00")


def test_always_never_changes() -> None:
    assert Schedule(None, None, frozenset(range(7)), SHANGHAI).next_change(at("2024-01-15 12:00")) is None


def test_days_only() -> None:
    weekend = Schedule(None, None, frozenset({5, 6}), SHANGHAI)
    assert not weekend.holds(at("2024-01-19 23:59"))
    assert weekend.next_change(at("2024-01-15 12:00")) == at("2024-01-20 00:00")
    assert weekend.next_change(at("2024-01-20 12:00")) == at("2024-01-22 00:00")


def test_clocks_put_forward() -> None:
    """On 2024-03-31 Berlin jumps from 02:00 to 03:00: a window that opens at 02:30 opens at 03:00."""
    schedule = Schedule(150, 300, frozenset(range(7)), BERLIN)
    assert schedule.next_change(at("2024-03-31 01:30", BERLIN)) == at("2024-03-31 03:00", BERLIN)
    closed = Schedule(60, 150, frozenset(range(7)), BERLIN)
    assert closed.next_change(at("2024-03-31 01:30", BERLIN)) == at("2024-03-31 03:00", BERLIN)


def test_clocks_put_back() -> None:
    """On 2024-10-27 Berlin has 02:00 to 03:00 twice: a window from 02:30 opens, closes and opens again."""
    schedule = Schedule(150, 300, frozenset(range(7)), BERLIN)
    first = at("2024-10-27 02:30", BERLIN)
    assert schedule.next_change(at("2024-10-27 01:00", BERLIN)) == first
    back = schedule.next_change(first)
    assert back == at("2024-10-27 02:00", BERLIN, fold=1)
    assert schedule.next_change(back) == at("2024-10-27 02:30", BERLIN, fold=1)


@given(
    st.integers(1_600_000_000, 1_900_000_000),
    st.integers(0, 1439),
    st.integers(1, 1440),
    st.sets(st.integers(0, 6), min_size=1),
    st.sampled_from([SHANGHAI, BERLIN, "America/New_York", "Australia/Lord_Howe", "UTC"]),
    st.lists(st.floats(0, 1), min_size=10, max_size=10),
)
def test_the_answer_holds_until_then(now: int, start: int, end: int, days: set[int], zone: str, between: list[float]) -> None:
    assume(start != end)
    assume(not (start == 0 and end == 1440 and len(days) == 7))
    schedule = Schedule(start, end, frozenset(days), zone)
    change = schedule.next_change(now)
    assert change is not None
    assert change > now
    assert schedule.holds(change) != schedule.holds(now)
    for part in [*between, 1 - 1e-9]:
        moment = now + (change - now) * part
        if moment < change - 0.001:
            assert schedule.holds(moment) == schedule.holds(now)
