"""What rules keep for each person, address or application: amounts in a sliding window, and by day for what is usual.

A window is a row of buckets (48 of them, or days from a week on), so it slides to within a bucket. It belongs to the time of the
record that is counted: a clock that is set forward or back empties it (the auditor says so), and nobody is blind until the
old time is reached again.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping

import msgspec

HISTORY = 60
"""Days that say what is usual."""
MOST_VALUES = 20_000
"""Distinct values kept for a bucket; beyond it there are at least so many."""
MOST_MEMBERS = 20_000
"""People of a group with whom others are compared."""
MOST_NAMES = 1000
"""Networks, applications, classes … kept of one person."""
_BUCKETS = 48
DAY = 86400.0


class Window:
    """How time is cut for a rule."""

    __slots__ = ("by_day", "count", "size")

    def __init__(self, within: float) -> None:
        self.by_day = within >= 7 * DAY or within == DAY
        self.size = DAY if self.by_day else max(1.0, within / _BUCKETS)
        self.count = max(1, round(within / self.size))

    def bucket(self, at: float, day: int) -> int:
        """`day`: of that moment in the rule's time zone."""
        return day if self.by_day else int(at // self.size)


class Counted(msgspec.Struct):
    """Amounts."""

    buckets: dict[int, int] = {}
    firsts: dict[int, str] = {}
    """Where the first record of each bucket is."""
    days: dict[int, int] = {}
    """Amount of each day."""
    current: int = -1
    total: int = 0
    last: str = ""

    def add(self, bucket: int, count: int, day: int, amount: int, place: str) -> int:
        """Count; answers the amount in the window."""
        if bucket != self.current:
            self.current = bucket
            for old in [b for b in self.buckets if not bucket - count < b <= bucket]:
                del self.buckets[old], self.firsts[old]
            self.total = sum(self.buckets.values())
        if bucket not in self.buckets:
            self.buckets[bucket], self.firsts[bucket] = 0, place
        self.buckets[bucket] += amount
        self.total += amount
        self.last = place
        if day not in self.days:
            _trim(self.days, day)
            self.days[day] = 0
        self.days[day] += amount
        return self.total

    @property
    def first(self) -> str:
        return self.firsts[min(self.firsts)] if self.firsts else self.last

    def today(self, day: int) -> int:
        return self.days.get(day, 0)


class Distinct(msgspec.Struct):
    """Distinct values."""

    buckets: dict[int, set[int]] = {}
    firsts: dict[int, str] = {}
    days: dict[int, int] = {}
    current: int = -1
    current_day: int = -1
    last: str = ""
    seen: set[int] = set()
    """All of the window."""
    of_day: set[int] = set()

    def add(self, bucket: int, count: int, day: int, values: Iterable[int], place: str, most: int = MOST_VALUES) -> int:
        """`most`: distinct values that are kept of a bucket and of a day."""
        if bucket != self.current:
            self.current = bucket
            for old in [b for b in self.buckets if not bucket - count < b <= bucket]:
                del self.buckets[old], self.firsts[old]
            self.seen = set().union(*self.buckets.values())
        held = self.buckets.get(bucket)
        if held is None:
            held = self.buckets[bucket] = set()
            self.firsts[bucket] = place
        if len(held) < most:
            held.update(values)
            self.seen.update(values)
        self.last = place
        if day != self.current_day:
            self.current_day, self.of_day = day, set()
            _trim(self.days, day)
        if len(self.of_day) < most:
            self.of_day.update(values)
        self.days[day] = max(len(self.of_day), self.days.get(day, 0))
        return len(self.seen)

    @property
    def first(self) -> str:
        return self.firsts[min(self.firsts)] if self.firsts else self.last

    @property
    def total(self) -> int:
        return len(self.seen)

    def today(self, day: int) -> int:
        return self.days.get(day, 0)


def _trim(days: dict[int, int], day: int) -> None:
    for old in [d for d in days if not day - HISTORY <= d <= day]:
        del days[old]


class Known(msgspec.Struct):
    """What somebody has been seen with."""

    since: float
    names: dict[str, int] = {}
    """And the day of the last time."""

    def note(self, name: str, day: int) -> bool:
        """Whether it is new."""
        new = name not in self.names
        if new and len(self.names) >= MOST_NAMES:
            del self.names[min(self.names, key=self.names.__getitem__)]
        self.names[name] = day
        return new


class Last(msgspec.Struct):
    """When somebody was last there."""

    at: float
    place: str


class Group(msgspec.Struct):
    """People with the same roles: day of the last time, amount in the window, and days with any, at that day's end."""

    members: dict[str, tuple[int, int, int]] = {}
    today: set[str] = set()
    day: int = -1


class Told(msgspec.Struct):
    """What has been told of somebody."""

    until: float
    amount: int


class Usual(msgspec.Struct, frozen=True):
    """What is usual."""

    middle: float
    high: float
    """Hardly ever is there more."""
    of: int
    """Days, or people."""


def usual(amounts: Iterable[int]) -> Usual | None:
    """Median, and three deviations above it (median absolute deviation, scaled as for a normal distribution)."""
    found = sorted(amounts)
    if not found:
        return None
    middle = statistics.median(found)
    spread = 1.4826 * statistics.median(abs(a - middle) for a in found)
    return Usual(middle, max(middle + 3 * spread, 1.0), len(found))


def usual_days(days: Mapping[int, int], today: int) -> Usual | None:
    """Of the days before this one on which there was something."""
    return usual(amount for day, amount in days.items() if day < today and amount > 0)
