"""Dates in the forms that tables hold, and whether a column of them looks like dates of birth."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass

_ORDERS = (
    re.compile(r"(?P<y>\d{4})-(?P<m>\d{1,2})-(?P<d>\d{1,2})(?:[ T](?P<t>\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?.*))?"),
    re.compile(r"(?P<y>\d{4})[/.](?P<m>\d{1,2})[/.](?P<d>\d{1,2})(?:[ T](?P<t>\d{1,2}:\d{2}.*))?"),
    re.compile(r"(?P<y>\d{4})(?P<m>\d{2})(?P<d>\d{2})"),
    re.compile(r"(?P<y>\d{4})年(?P<m>\d{1,2})月(?:(?P<d>\d{1,2})日?)?"),
    re.compile(r"(?P<d>\d{1,2})[/.-](?P<m>\d{1,2})[/.-](?P<y>\d{4})"),
    re.compile(r"(?P<m>\d{1,2})[/.-](?P<d>\d{1,2})[/.-](?P<y>\d{4})"),
    re.compile(r"(?P<d>\d{1,2})[- ](?P<b>[A-Za-z]{3})[a-z]*[-, ]+(?P<y>\d{4})"),
    re.compile(r"(?P<y>(?:19|20)\d{2})-?(?P<m>0[1-9]|1[0-2])"),
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MIDNIGHT = re.compile(r"0?0:00(?::00(?:\.0+)?)?(?:[+-]\d.*|Z)?")


def read_date(text: str) -> tuple[datetime.date, bool] | None:
    """The date, and whether a time of day other than midnight stands beside it."""
    if not 6 <= len(text) <= 40 or not text[0].isdigit():
        return None
    for form in _ORDERS:
        found = form.fullmatch(text)
        if found is None:
            continue
        parts = found.groupdict()
        try:
            month = int(parts["m"]) if parts.get("m") else _MONTHS.index(parts["b"].lower()) + 1
            date = datetime.date(int(parts["y"]), month, int(parts.get("d") or 1))
        except ValueError:
            continue
        time = parts.get("t")
        return date, time is not None and _MIDNIGHT.fullmatch(time.strip()) is None
    return None


@dataclass(frozen=True, slots=True)
class Ages:
    """What the dates of a column say, as of the day of the scan."""

    count: int
    timed: float
    """Share with a time of day."""
    youngest: float
    """Age in years, of the last twentieth; negative for dates to come."""
    median: float
    spread: float
    """Years between the first and the last tenth."""

    @property
    def may_be_births(self) -> bool:
        """Nothing speaks against dates of birth, where the column's name speaks for them."""
        return self.timed < 0.3 and self.youngest > -0.1 and (self.median > 5 or self.spread > 10)

    @property
    def look_like_births(self) -> bool:
        """Decades of days that end about when the youngest customers were born."""
        return self.count >= 20 and self.timed == 0 and self.youngest > 10 and 20 < self.median < 80 and self.spread > 18


def ages(dates: Sequence[tuple[datetime.date, bool]], today: datetime.date) -> Ages | None:
    if not dates:
        return None
    years = sorted((today - d).days / 365.25 for d, _ in dates)
    youngest, first, median, last = (years[int(len(years) * share)] for share in (0.05, 0.1, 0.5, 0.9))
    return Ages(len(years), sum(t for _, t in dates) / len(dates), youngest, median, last - first)
