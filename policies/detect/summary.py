"""A column's sampled values, boiled down to counts. Values go in here and nowhere else; what comes out holds none of them."""

from __future__ import annotations

import datetime
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from policies.detect.dates import Ages, ages, read_date
from policies.detect.forms import marks, normal
from policies.detect.prose import personal_data_in

_CODE = re.compile(r"([A-Za-z_\-]*)(\d{1,19})")
_BARE_NUMBER = re.compile(r"[\d\s().+Xx/-]+")
_WHOLE = frozenset(("email", "name_zh", "name_latin", "address_zh", "address_latin", "uuid", "hex", "key", "stored_password"))
"""Marks of values that hold nothing else."""
_NOTHING = frozenset(
    ("", "-", "--", "/", "无", "暂无", "未知", "不详", "空", "n/a", "na", "null", "none", "nil", "unknown", "x", "0", "?", ".")
)


@dataclass(frozen=True, slots=True)
class Summary:
    """What is known of the values of one column. Shares are of distinct values: one filler word must not drown the rest."""

    sampled: int = 0
    """Rows."""
    filled: int = 0
    """Rows with a value that is more than a placeholder."""
    distinct: int = 0
    marks: Mapping[str, int] = field(default_factory=dict)
    """Distinct values that have the mark, by mark of `forms.marks`."""
    inside: Mapping[str, int] = field(default_factory=dict)
    """Distinct values that hold such data among other text, by kind."""
    lengths: tuple[int, int, int] = (0, 0, 0)
    """Of distinct values: shortest, median, longest."""
    serial: bool = False
    """The values count up, apart from a common beginning."""
    round_numbers: bool = False
    ages: Ages | None = None
    narrow: bool = False
    """Long numbers of one length that begin with the same four digits: numbered by a machine, if loosely."""
    small: bool = False
    """No number reaches 3: rates, shares, flags."""
    large: bool = False
    """Some number reaches 500."""
    degrees: bool = False
    """All numbers can be degrees of latitude or longitude."""
    dense: bool = False
    """Whole numbers of which hardly one is left out: a counter, or all there are."""

    def share(self, *names: str) -> float:
        """Distinct values with any one of these marks, taken as if no value had two of them; at most 1."""
        return min(sum(self.marks.get(n, 0) for n in names) / self.distinct, 1.0) if self.distinct else 0.0


def summarise(values: Iterable[str | None], today: datetime.date) -> Summary:
    """Boil values down, as text. `today` is what ages count from."""
    sampled = filled = 0
    distinct: set[str] = set()
    for value in values:
        sampled += 1
        text = normal(value) if value is not None else ""
        if text.lower() in _NOTHING:
            continue
        filled += 1
        distinct.add(text)
    counted: Counter[str] = Counter()
    inside: Counter[str] = Counter()
    dates: list[tuple[datetime.date, bool]] = []
    numbers: list[float] = []
    for text in distinct:
        own = marks(text)
        counted.update(own)
        if "date" in own and (date := read_date(text)) is not None:
            dates.append(date)
        if "number" in own:
            numbers.append(_number(text))
        if len(text) > 7 and not _BARE_NUMBER.fullmatch(text) and not own & _WHOLE:
            inside.update(personal_data_in(text))
    lengths = sorted(map(len, distinct))
    return Summary(
        sampled,
        filled,
        len(distinct),
        dict(counted),
        dict(inside),
        (lengths[0], lengths[len(lengths) // 2], lengths[-1]) if lengths else (0, 0, 0),
        _serial(distinct),
        bool(numbers) and all(n == int(n) for n in numbers),
        ages(dates, today),
        _narrow(distinct),
        max(map(abs, numbers), default=0.0) < 3,
        max(map(abs, numbers), default=0.0) >= 500,
        bool(numbers) and all(abs(n) <= 180 for n in numbers),
        len(numbers) == len(distinct) > 3 and 5 * (max(numbers) - min(numbers)) < 8 * len(numbers),
    )


def _number(text: str) -> float:
    digits = re.sub(r"[^\d.+-]", "", text)
    try:
        return float(digits)
    except ValueError:
        return 0.0


def _narrow(distinct: set[str]) -> bool:
    first = next(iter(distinct), "")
    return (
        len(distinct) >= 8
        and len(first) >= 9
        and all(len(t) == len(first) and t.isdigit() and t[:4] == first[:4] for t in distinct)
    )


def _serial(distinct: set[str]) -> bool:
    """Numbers, behind at most one common prefix, that lie close together: drawn from a counter rather than from people."""
    if len(distinct) < 3:
        return False
    prefixes: set[str] = set()
    numbers: list[int] = []
    for text in distinct:
        found = _CODE.fullmatch(text)
        if found is None:
            return False
        prefixes.add(found[1])
        numbers.append(int(found[2]))
    return len(prefixes) == 1 and max(numbers) - min(numbers) <= (50 if len(numbers) >= 8 else 3) * len(numbers)
