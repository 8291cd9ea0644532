"""`filters`: what a comparison with a masked column compares. With the mask's result, unless the dictionary says otherwise.

`equality` lets a statement look rows up by the full stored value while it is shown the masked one; each distinct value that a
person tries counts against a probing budget. What has to be told apart for that is the value itself, not how it is written:
`canonical` and `elements` turn constants of statements and parameters into one form.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final

from policies.document import Entry
from policies.keywords import Key, either, mapping, whole, words

PROBES_PER_HOUR: Final = 60
"""Distinct values a person may try on a column in an hour, where the policy names no number."""
MOST_PROBES: Final = 10_000
MAX_ELEMENTS: Final = 10_000
"""Values in one array; beyond any budget."""


class FilterKind(enum.Enum):
    MASKED = "masked"
    EQUALITY = "equality"
    REFUSE = "refuse"


EQUALITY_KEYS = {
    "probes_per_hour": Key(
        "Distinct values that a person may look for in an hour; limits may allow less.", whole(1, MOST_PROBES), needed=True
    ),
}
FILTERS_KEYS = {
    "equality": Key("As the word equality, with a budget of its own.", mapping(EQUALITY_KEYS), needed=True),
}
FILTERS = Key(
    "What comparisons compare: masked values, the stored ones (equality, with constants only), or nothing (refuse).",
    either(words(k.value for k in FilterKind), mapping(FILTERS_KEYS)),
)


@dataclass(frozen=True, slots=True)
class Filters:
    kind: FilterKind = FilterKind.MASKED
    probes_per_hour: int = PROBES_PER_HOUR

    def told(self) -> str:
        """For people, behind what the column shows; empty when comparisons see what is shown."""
        words = {
            FilterKind.EQUALITY: f"looked up by the stored value, {self.probes_per_hour} different ones an hour",
            FilterKind.REFUSE: "not to be compared",
        }
        return words.get(self.kind, "")


MASKED: Final = Filters()

FAMILIES: Final = {
    "text": "text", "varchar": "text", "bpchar": "text",
    "int2": "number", "int4": "number", "int8": "number", "numeric": "number",
    "date": "date", "uuid": "uuid",
}  # fmt: skip
"""Types on which `equality` is possible -> the family of types whose constants may be compared with them. Left out is what a
single constant could ask about many values (floating point: rounding), what has few values, and what a setting of the session
reads in another way each time (timestamps)."""


def parse_filters(entry: Entry) -> Filters:
    """The value of `filters` in the dictionary. Raises DocumentError."""
    if not entry.is_mapping:
        return Filters(FilterKind(entry.choice(k.value for k in FilterKind)))
    section = entry.mapping(FILTERS_KEYS).require("equality").mapping(EQUALITY_KEYS)
    return Filters(FilterKind.EQUALITY, section.require("probes_per_hour").int(1, MOST_PROBES))


_DATE = re.compile(r"\s*([0-9]{4}-[0-9]{2}-[0-9]{2})\s*", re.ASCII)
_HEX = re.compile(r"[0-9a-f]{32}")


def canonical(family: str, text: str) -> str | None:
    """One form for every way to write a value; None when the text does not say for certain which value it is.

    Texts that may mean different values must never have the same form. That one value has several only costs its owner.
    """
    if family == "number":
        return _number(text)
    if family == "date":
        found = _DATE.fullmatch(text)
        return found[1] if found is not None else None
    if family == "uuid":
        bare = text.strip().lower().replace("-", "").removeprefix("{").removesuffix("}")
        return bare if _HEX.fullmatch(bare) else None
    return text


def _number(text: str) -> str | None:
    try:
        sign, digits, exponent = Decimal(text.strip()).as_tuple()
    except InvalidOperation:
        return None
    if not isinstance(exponent, int):
        return f"{sign}{exponent}"  # NaN, Infinity
    shown = "".join(map(str, digits)).lstrip("0")
    bare = shown.rstrip("0")
    if not bare:
        return "0"
    return f"{'-' if sign else ''}{bare}e{exponent + len(shown) - len(bare)}"


def elements(text: str) -> list[str | None] | None:
    """The members of a one-dimensional array, written as PostgreSQL reads it (None for NULL); None when it is anything else.

    Manual: arrays, "Array Input and Output Syntax".
    """
    text = text.strip(" \t\n\r\v\f")
    if len(text) < 2 or text[0] != "{" or text[-1] != "}":
        return None
    out: list[str | None] = []
    at, end = 1, len(text) - 1
    if not text[1:end].strip(" \t\n\r\v\f"):
        return []
    while True:
        found = _element(text, at, end)
        if found is None or len(out) >= MAX_ELEMENTS:
            return None
        value, at = found
        out.append(value)
        if at == end:
            return out
        if text[at] != ",":
            return None
        at += 1


def _element(text: str, at: int, end: int) -> tuple[str | None, int] | None:
    """One member from `at` on, and where what follows it begins."""
    while at < end and text[at] in " \t\n\r\v\f":
        at += 1
    start = at
    quoted = at < end and text[at] == '"'
    out: list[str] = []
    kept = 0
    """Characters that blanks at the end do not belong to."""
    at += quoted
    while at < end:
        c = text[at]
        if c == "\\":
            if at + 1 >= end:
                return None
            out.append(text[at + 1])
            kept = len(out)
            at += 2
            continue
        if quoted and c == '"':
            at += 1
            while at < end and text[at] in " \t\n\r\v\f":
                at += 1
            return "".join(out), at
        if not quoted and c == ",":
            break
        if not quoted and c in '{}"':
            return None
        out.append(c)
        at += 1
        if c not in " \t\n\r\v\f":
            kept = len(out)
    if quoted:
        return None
    value = "".join(out[:kept])
    if not value:
        return None
    return (None if value.lower() == "null" and "\\" not in text[start:at] else value), at
