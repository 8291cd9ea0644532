"""Times and weekdays of a rule, and the moment at which they next change their answer.

A window is half open: `08:30-17:30` holds from 08:30:00 to just before 17:30:00. A window that wraps midnight
(`22:00-06:00`) belongs to the day on which it begins: with `days: fri` it reaches into Saturday morning. Local time is
the rule's time zone; where clocks are put forward or back, what the wall clock shows decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DEFAULT_ZONE = "UTC"
"""For rules that name no time zone: the same on every machine."""
_HORIZON_DAYS = 9
_DAY = 86400


@dataclass(frozen=True, slots=True)
class Schedule:
    start: int | None
    """Minute of the day at which the window opens; None: the whole day."""
    end: int | None
    """Minute of the day at which it closes (exclusive, 1440 is midnight)."""
    days: frozenset[int]
    """0 is Monday. All seven: every day."""
    zone: str

    def holds(self, now: float) -> bool:
        local = datetime.fromtimestamp(now, ZoneInfo(self.zone))
        minute = local.hour * 60 + local.minute
        day = local.weekday()
        if self.start is None or self.end is None:
            return day in self.days
        if self.start < self.end:
            return day in self.days and self.start <= minute < self.end
        if minute >= self.start:
            return day in self.days
        return minute < self.end and (day - 1) % 7 in self.days

    def next_change(self, now: float) -> float | None:
        """The first moment after `now` at which `holds` answers differently; None when it never does."""
        held = self.holds(now)
        return next((t for t in self._candidates(now) if self.holds(t) != held), None)

    def _candidates(self, now: float) -> list[float]:
        zone = ZoneInfo(self.zone)
        minutes = {0} | {m for m in (self.start, self.end) if m is not None and m < 1440}
        first = datetime.fromtimestamp(now, zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
        out: set[float] = set()
        for day in range(_HORIZON_DAYS):
            midnight = first + timedelta(days=day)
            for minute in minutes:
                wall = midnight + timedelta(minutes=minute)
                out.update(wall.replace(tzinfo=zone, fold=fold).timestamp() for fold in (0, 1))
        out.update(_shifts(self.zone, int(now) // _DAY))
        return sorted(t for t in out if t > now)

    def wall(self, now: float) -> str:
        """What clocks show there: mon 09:00."""
        local = datetime.fromtimestamp(now, ZoneInfo(self.zone))
        return f"{DAYS[local.weekday()]} {local:%H:%M}"

    def __str__(self) -> str:
        parts = []
        if self.start is not None and self.end is not None:
            parts.append(f"{self.start // 60:02}:{self.start % 60:02}-{self.end // 60:02}:{self.end % 60:02}")
        if len(self.days) < 7:
            parts.append(",".join(DAYS[d] for d in sorted(self.days)))
        return " ".join([*parts, self.zone])


@lru_cache(maxsize=64)
def _shifts(name: str, day: int) -> tuple[float, ...]:
    """Moments (to the second) at which the zone's clocks are put forward or back, from this UTC day on."""
    zone = ZoneInfo(name)
    out: list[float] = []
    step = _DAY // 4
    for low in range(day * _DAY, (day + 1 + _HORIZON_DAYS) * _DAY, step):
        high = low + step
        if _offset(zone, low) == _offset(zone, high):
            continue
        while high - low > 1:
            middle = (low + high) // 2
            if _offset(zone, middle) == _offset(zone, low):
                low = middle
            else:
                high = middle
        out.append(float(high))
    return tuple(out)


def _offset(zone: ZoneInfo, at: int) -> timedelta | None:
    return datetime.fromtimestamp(at, UTC).astimezone(zone).utcoffset()
