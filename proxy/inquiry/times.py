"""Times as people write them: `2026-10`, `2026-10-31 08:15`, `last month`, `7d`, in the zone of whoever asks.

Each means a span: `2026-10` is a month, `2026-10-31` a day, `08:15` a minute, `7d` the last seven days up to now. `since`
takes the beginning of the span and `until` its end, so that both name what is included.
"""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from proxy.errors import PgveilError

Span = tuple[datetime, datetime]
"""From, and up to but not with."""

_ISO = re.compile(
    r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2})(?:[T ]"
    r"(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,6}))?)?)?)?)?\s*(Z|UTC|[+-]\d{2}(?::?\d{2})?)?",
    re.IGNORECASE | re.ASCII,
)
_AGO = re.compile(r"(\d{1,6})\s*(m|min|minutes?|h|hours?|d|days?|w|weeks?|months?|y|years?)(?:\s+ago)?", re.IGNORECASE | re.ASCII)
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_HINT = "for example 2026-10-31, '2026-10-31 08:15', 2026-10, yesterday, 'last month', 7d, 12h"


class BadTime(PgveilError):
    """A time that nobody can read."""

    sqlstate = "22007"


def local_zone(name: str | None = None) -> ZoneInfo:
    """The zone called `name`, or this machine's. Raises BadTime."""
    if name is None:
        name = os.environ.get("TZ", "").lstrip(":") or _zone_of_host()
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise BadTime(f"there is no time zone {name}", hint="for example Asia/Shanghai") from None


def _zone_of_host() -> str:
    where = os.path.realpath("/etc/localtime")
    _, found, name = where.partition("/zoneinfo/")
    if found:
        return name.removeprefix("posix/").removeprefix("right/")
    try:
        return Path("/etc/timezone").read_text(encoding="ascii").strip() or "UTC"
    except (OSError, ValueError):
        return "UTC"


def read_span(text: str, now: datetime) -> Span:
    """What `text` means to somebody in the zone of `now`. Raises BadTime."""
    text = " ".join(text.split())
    word = text.lower()
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if word == "now":
        return now, now
    if word in ("today", "yesterday"):
        start = day if word == "today" else _days(day, -1)
        return start, _days(start, 1)
    if (found := re.fullmatch(r"(this|last) (week|month|year)", word)) is not None:
        return _calendar(day, found[2], last=found[1] == "last")
    if (found := _AGO.fullmatch(word)) is not None:
        return _ago(int(found[1]), found[2], now), now
    iso = _ISO.fullmatch(text)
    if iso is None:
        raise BadTime(f"not a time: {text}", hint=_HINT)
    try:
        return _written(iso, now)
    except (ValueError, OverflowError):
        raise BadTime(f"there is no such time: {text}", hint=_HINT) from None


def _days(day: datetime, count: int) -> datetime:
    """Midnight so many days on, whatever summer time does."""
    return day + timedelta(days=count)


def _months(month: datetime, count: int) -> datetime:
    number = month.year * 12 + month.month - 1 + count
    return month.replace(year=number // 12, month=number % 12 + 1, day=1)


def _calendar(day: datetime, unit: str, last: bool) -> Span:
    if unit == "week":
        start = _days(day, -day.weekday() - (7 if last else 0))
        return start, _days(start, 7)
    step = 1 if unit == "month" else 12
    start = _months(day if unit == "month" else day.replace(month=1), -step if last else 0)
    return start, _months(start, step)


def _ago(count: int, unit: str, now: datetime) -> datetime:
    try:
        if unit.startswith(("month", "y")):
            return _shift(now, -count * (1 if unit.startswith("month") else 12))
        name = _UNITS[unit[0]]
        if name in ("days", "weeks"):
            return now - timedelta(**{name: count})
        return (now.astimezone(UTC) - timedelta(**{name: count})).astimezone(now.tzinfo)
    except (OverflowError, ValueError):
        raise BadTime(f"too long ago: {count} {unit}", hint=_HINT) from None


def _shift(now: datetime, months: int) -> datetime:
    """The same day of another month, or its last."""
    first = _months(now, months)
    last = _months(first, 1) - timedelta(days=1)
    return first.replace(day=min(now.day, last.day))


def _written(iso: re.Match[str], now: datetime) -> Span:
    year, month, day, hour, minute, second, fraction, zone = iso.groups()
    where = now.tzinfo if zone is None else _zone(zone)
    start = datetime(
        int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0), int(second or 0),
        int((fraction or "").ljust(6, "0")), tzinfo=where,
    )  # fmt: skip
    if month is None:
        return start, _months(start, 12)
    if day is None:
        return start, _months(start, 1)
    if hour is None:
        return start, _days(start, 1)
    if second is None:
        return start, start + timedelta(minutes=1)
    return start, start + (timedelta(seconds=1) if fraction is None else timedelta(microseconds=10 ** (6 - len(fraction))))


def _zone(text: str) -> tzinfo:
    if text.upper() in ("Z", "UTC"):
        return UTC
    offset = datetime.strptime(text.replace(":", "").ljust(5, "0"), "%z").tzinfo
    assert offset is not None
    return offset
