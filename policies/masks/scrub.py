"""scrub: what looks like a phone, ID or card number or an e-mail address inside prose is replaced by ***.

What counts, half-width and full-width digits alike, with up to three of the usual separators (space, dash, dot,
brackets) between two digits:

* 11 digits or more in a row, a following X included: mobile numbers, international numbers, ID numbers of 15 and 18
  places, card and account numbers;
* a number with its area code in brackets: (0755) 12345678, (555) 123-4567;
* a Chinese land line with its area code: 010-1234567;
* a North American number in its usual grouping: 555-123-4567;
* name@domain.

Amounts, dates, times and short numbers stay. Each pattern is a pass of its own and has one longest match at every
place, so PostgreSQL (longest match) and Python (greedy) find the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from policies.masks.base import TextMask, as_text, call, literal
from policies.model import ColumnType

_D = r"[0-9\uff10-\uff19]"
_S = (
    r"[\u0009\u0020().\u002d\u00a0\u00ad\u200b-\u2015\u2060\u2212\u3000\ufe58\ufe63\uff08\uff09\uff0d\uff0e\ufeff]"
    r"{0,3}"
)
_PATTERNS = (
    r"[A-Za-z0-9._%+\u002d]+[@\uff20][A-Za-z0-9\u002d]+(?:[.\uff0e][A-Za-z0-9\u002d]+)*",
    rf"[(\uff08]{_D}{{2,4}}[)\uff09]{_S}{_D}(?:{_S}{_D}){{6,}}",
    rf"[+\uff0b]?{_D}(?:{_S}{_D}){{10,}}(?:{_S}[Xx\uff38\uff58])?",
    rf"[0\uff10]{_D}{{2,3}}{_S}{_D}{{7,8}}",
    rf"{_D}{{3}}{_S}{_D}{{3}}{_S}{_D}{{4}}",
)
_REPLACEMENT = "***"


@dataclass(frozen=True, slots=True)
class Scrub(TextMask):
    """Personal numbers and addresses inside prose become ***; the prose stays."""

    def sql(self, column: str, column_type: ColumnType) -> str:
        out = as_text(column)
        for pattern in _PATTERNS:
            out = call("regexp_replace", out, literal(pattern), literal(_REPLACEMENT), literal("g"))
        return out

    def text(self, value: str) -> str:
        for pattern in _PATTERNS:
            value = re.sub(pattern, _REPLACEMENT, value)
        return value
