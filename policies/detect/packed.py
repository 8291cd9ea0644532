"""Several things in one text: `name|relation|phone`, `key=value;key=value`, XML. Taken apart, each is a column of its own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

_SEPARATORS = ("|", ";", "；", "^", "~", "#", "\t", "/", "，", ",")
_PAIR = re.compile(
    r"(?:^|(?<=[;&|,\s?]))([A-Za-z_\u4e00-\u9fff][\w\u4e00-\u9fff.-]{0,39})\s*[=:：]\s*([^;&|,=]{1,200}?)(?=\s*(?:[;&|,]|\s[A-Za-z_]\w*=|$))"
)
_TAG = re.compile(r"<([A-Za-z_][\w.:-]{0,39})(?:\s[^<>]*)?>([^<>]{1,200})</\1>")
_MOST_PARTS = 12
_SHARE = 0.8
_LONGEST = 600


def fields(values: Sequence[str]) -> dict[str, list[str | None]] | None:
    """The parts of values that are all built alike, by key or by place (`1`, `2`, …); None when they are not built like that."""
    short = [v for v in values if 3 <= len(v) <= _LONGEST]
    if len(short) < 3 or len(short) < _SHARE * len(values):
        return None
    return _keyed(short) or _placed(short)


def _keyed(values: Sequence[str]) -> dict[str, list[str | None]] | None:
    out: dict[str, list[str | None]] = {}
    hits = 0
    for value in values:
        found = _TAG.findall(value) if "<" in value else _PAIR.findall(value)
        hits += len(found) >= 2
        for key, part in found:
            if len(out) < 60 or key in out:
                out.setdefault(key, []).append(part.strip())
    return out if hits >= _SHARE * len(values) else None


def _placed(values: Sequence[str]) -> dict[str, list[str | None]] | None:
    for separator in _SEPARATORS:
        counts = Counter(v.count(separator) for v in values)
        number, often = counts.most_common(1)[0]
        if not 1 <= number < _MOST_PARTS or often < _SHARE * len(values):
            continue
        split = [v.split(separator) for v in values if v.count(separator) == number]
        if separator in "/,，" and any(len(p.strip()) > 40 for parts in split for p in parts):
            continue
        return {str(place + 1): [parts[place].strip() for parts in split] for place in range(number + 1)}
    return None
