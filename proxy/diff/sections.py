"""What two versions of a policy say differently, part by part: the text of the change, before it is asked whom it meets."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from policies.language import Policy

_PLACES = frozenset({"place", "order"})
_APART = frozenset({"version", "classes", "entries", "rules", "overrides", "texts"})
"""Fields of a policy that are told one by one, or are no part of what it says."""


@dataclass(frozen=True, slots=True)
class Edit:
    sign: str
    """+ added, - removed, ~ changed."""
    part: str
    """rule, class, column, or the name of a section."""
    name: str
    what: str = ""
    """Of a change: what it is in."""
    place: str = ""

    def __str__(self) -> str:
        where = f" ({self.place})" if self.place else ""
        name = f" {self.name}" if self.name else ""
        return f"{self.sign} {self.part}{name}{where}{': ' + self.what if self.what else ''}"


def edits(old: Policy, new: Policy) -> list[Edit]:
    """In the order of rules, classes, lines of the dictionary, other sections."""
    out = list(_named("rule", {f"'{r.name}'": r for r in old.rules}, {f"'{r.name}'": r for r in new.rules}))
    names = [r.name for r in new.rules]
    before = [r.name for r in old.rules if r.name in names]
    if before != [n for n in names if n in before]:
        out.append(Edit("~", "rules", "", "stand in another order"))
    out += _named("class", old.classes, new.classes)
    out += _named("column", _lines(old), _lines(new))
    for field in dataclasses.fields(Policy):
        if field.name in _APART:
            continue
        a, b = (bare(getattr(policy, field.name)) for policy in (old, new))
        if a != b:
            out.append(Edit("~", field.name, ""))
    return out


def _lines(policy: Policy) -> dict[str, object]:
    """The line that counts of each pattern."""
    return {e.pattern.source: e for e in policy.entries}


def _named(part: str, old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[Edit]:
    for name, value in old.items():
        if name not in new:
            yield Edit("-", part, name, place=getattr(value, "place", ""))
    for name, value in new.items():
        place = getattr(value, "place", "")
        if name not in old:
            yield Edit("+", part, name, place=place)
        elif bare(old[name]) != bare(value):
            yield Edit("~", part, name, _differing(old[name], value), place)


def _differing(old: object, new: object) -> str:
    assert dataclasses.is_dataclass(new)
    names = [f.name for f in dataclasses.fields(new) if f.name not in _PLACES]
    return ", ".join(_WORDS.get(n, n) for n in names if bare(getattr(old, n)) != bare(getattr(new, n)))


_WORDS = {
    "roles": "role",
    "users": "user",
    "databases": "database",
    "applications": "application_name",
    "networks": "network",
    "schedule": "time",
    "claims": "when",
    "data_class": "class",
}


def bare(value: object) -> object:
    """The value without places in files, comparable."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        inner = [(f.name, bare(getattr(value, f.name))) for f in dataclasses.fields(value) if f.name not in _PLACES]
        return (type(value).__name__, *inner)
    if isinstance(value, Mapping):
        return tuple(sorted((str(k), repr(bare(v))) for k, v in value.items()))
    if isinstance(value, frozenset | set):
        return tuple(sorted(repr(bare(v)) for v in value))
    if isinstance(value, tuple | list):
        return tuple(bare(v) for v in value)
    return value if isinstance(value, str | int | float | Decimal | bool | None) else repr(value)
