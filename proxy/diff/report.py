"""The difference of two policies, to read aloud or for programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from policies.schedule import DAYS
from proxy.diff.compare import Change, Found, Met
from proxy.diff.sections import Edit
from proxy.diff.situations import Circumstance
from proxy.whatif import WEEK

_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Difference:
    old: str
    new: str
    """What the versions are called."""
    edits: tuple[Edit, ...]
    became: tuple[str, ...]
    """Columns that are sensitive now, with their class."""
    ceased: tuple[str, ...]
    found: tuple[Found, ...]
    members: Mapping[str, frozenset[str]]
    """Logins by role, of the roles that rules name."""
    looked_at: str
    left_out: tuple[str, ...]

    @property
    def same(self) -> bool:
        return not (self.edits or self.became or self.ceased or any(f.met for f in self.found))


def as_text(difference: Difference) -> Iterator[str]:
    yield f"from {difference.old} to {difference.new}"
    if difference.edits:
        yield ""
        yield "what is written:"
        yield from (f"  {edit}" for edit in difference.edits)
    if difference.became or difference.ceased:
        yield ""
        yield "what is sensitive:"
        yield from (f"  + {name}" for name in difference.became)
        yield from (f"  - {name}" for name in difference.ceased)
    groups = grouped(difference)
    if groups:
        yield ""
        yield "who sees what:"
    for logins, lines in groups:
        yield f"  {people(logins, difference.members)}:"
        yield from (f"    {line}" for line in lines)
    yield ""
    if not groups:
        yield f"nobody sees anything else, of what was looked at: {difference.looked_at}"
    else:
        yield f"looked at: {difference.looked_at}"
    yield from (f"not looked at: {reason}" for reason in difference.left_out)


def as_json(difference: Difference) -> dict[str, Any]:
    return {
        "same": difference.same,
        "old": difference.old,
        "new": difference.new,
        "written": [
            {"sign": e.sign, "part": e.part, "name": e.name.strip("'"), "in": e.what, "place": e.place} for e in difference.edits
        ],
        "sensitive": {"added": list(difference.became), "removed": list(difference.ceased)},
        "people": [
            {
                "logins": list(found.subject.logins),
                "roles": sorted(found.subject.roles),
                "changes": [
                    {
                        "database": m.change.database,
                        "column": m.change.column,
                        "old": m.change.old,
                        "new": m.change.new,
                        "rule": m.change.rule or None,
                        "was": m.change.was or None,
                        "only": only(m),
                    }
                    for m in found.met
                ],
            }
            for found in difference.found
            if found.met
        ],
        "looked_at": difference.looked_at,
        "left_out": list(difference.left_out),
    }


def grouped(difference: Difference) -> list[tuple[list[str], list[str]]]:
    """Logins for whom the same changes, together; most people first."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for found in difference.found:
        if found.met:
            groups.setdefault(tuple(_lines(found)), []).extend(found.subject.logins)
    return sorted(((sorted(logins), list(lines)) for lines, logins in groups.items()), key=lambda g: (-len(g[0]), g[0]))


def _lines(found: Found) -> Iterator[str]:
    """Columns that change alike on one line."""
    alike: dict[tuple[str, str, str, str, str], list[str]] = {}
    for met in found.met:
        c = met.change
        alike.setdefault((c.old, c.new, c.rule, c.was, only(met)), []).append(c.column)
    for (old, new, rule, was, when), columns in alike.items():
        reason = f"by rule '{rule}'" if rule else "by no rule"
        before = f", was by rule '{was}'" if was and was != rule else ""
        condition = f", only {when}" if when else ""
        names = _short(dict.fromkeys(columns))
        line = f"{names}: {old} → {new} {reason}{before}{condition}"
        if len(line) <= 120:
            yield line
            continue
        yield f"{names}:"
        yield f"  was {old}"
        yield f"  now {new}"
        yield f"  {reason}{before}{condition}"


def people(logins: Sequence[str], members: Mapping[str, frozenset[str]]) -> str:
    """`12 logins of role teller: …`."""
    mine = set(logins)
    whole = [role for role, all_of_it in members.items() if all_of_it and all_of_it == mine]
    inside = [role for role, all_of_it in members.items() if mine <= all_of_it and role not in mine]
    name = min(whole or inside, default=None, key=lambda role: (len(members[role]), role))
    count = f"{len(logins)} login{'s' if len(logins) > 1 else ''}"
    if name is not None:
        every = "all " if whole and len(logins) > 1 else ""
        return f"{every}{count} of role {name} ({_short(logins)})"
    return f"{count} ({_short(logins)})" if len(logins) > 1 else logins[0]


def _short(names: Iterable[str]) -> str:
    found = list(names)
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(found[:_SHOWN]) + more


def only(met: Met) -> str:
    """Under which conditions; empty: always."""
    if len(met.at) == len(met.of):
        return ""
    said: list[str] = []
    narrow: list[str] = []
    exact = whole = 1
    for axis in _axes(met.of):
        hit = dict.fromkeys(_value(c, axis) for c in met.at)
        every = dict.fromkeys(_value(c, axis) for c in met.of)
        exact *= len(hit)
        whole *= len(every)
        if len(hit) < len(every):
            said.append(_condition(axis, list(hit)))
            narrow += said[-1:] if "" not in hit else []
    times, every_time = {c.now for c in met.at}, sorted({c.now for c in met.of})
    exact *= len(times)
    whole *= len(every_time)
    if len(times) < len(every_time):
        said.append(_hours(times, every_time, met.zone))
    if exact != len(met.at) or whole != len(met.of) or not said:
        return ", ".join([*narrow, f"in {len(met.at)} of {len(met.of)} situations that were tried"])
    return ", ".join(said)


_CONDITIONS = {
    "application_name": ("with application_name", "with another application_name"),
    "network": ("from", "from elsewhere"),
    "tls": ("encrypted:", "not encrypted"),
    "database": ("in database", "in another database"),
    "role": ("asserting role", "asserting no role"),
}


def _condition(axis: str, values: Sequence[str]) -> str:
    """from 10.1.0.0/16; with another application_name; with menu 0412."""
    some, none = _CONDITIONS.get(axis, (f"with {axis}", f"with no or another {axis}"))
    named = [v for v in values if v]
    parts = [f"{some} {' or '.join(named)}"] if named else []
    return " or ".join([*parts, none] if "" in values else parts)


def _axes(tried: Sequence[Circumstance]) -> list[str]:
    return list(dict.fromkeys(name for c in tried for name, _ in c.said))


def _value(circumstance: Circumstance, axis: str) -> str:
    return dict(circumstance.said).get(axis, "")


def _hours(times: set[float], every: Sequence[float], zone: str) -> str:
    """at mon, tue 08:30-17:30 Asia/Shanghai: from each moment at which it holds to the next at which it does not.

    A week goes round: what holds at its end and at its beginning is one span.
    """
    first = next(i for i, moment in enumerate(every) if moment not in times)
    round_trip = [(t, t in times) for t in every[first:]] + [(t + WEEK, t in times) for t in every[: first + 1]]
    spans: dict[str, list[str]] = {}
    begin: float | None = None
    for moment, holds in round_trip:
        if holds and begin is None:
            begin = moment
        elif not holds and begin is not None:
            spans.setdefault(_span(_wall(begin, zone), _wall(moment, zone)), []).append(DAYS[_wall(begin, zone).weekday()])
            begin = None
    of_days: dict[str, list[str]] = {}
    for text, days in spans.items():
        of_days.setdefault(_days(days), []).append(text)
    return "at " + ", ".join(f"{days} {' and '.join(texts)}" for days, texts in of_days.items()) + f" {zone}"


def _days(names: Sequence[str]) -> str:
    """mon-fri; tue, sat."""
    numbers = sorted({DAYS.index(name) for name in names})
    if len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"{DAYS[numbers[0]]}-{DAYS[numbers[-1]]}"
    return ", ".join(DAYS[n] for n in numbers)


def _span(begin: datetime, end: datetime) -> str:
    if end - begin <= timedelta(days=1):
        return f"{begin:%H:%M}-{'24:00' if end.date() > begin.date() and f'{end:%H:%M}' == '00:00' else f'{end:%H:%M}'}"
    return f"{begin:%H:%M} to {DAYS[end.weekday()]} {end:%H:%M}"


def _wall(moment: float, zone: str) -> datetime:
    return datetime.fromtimestamp(moment, ZoneInfo(zone))


__all__ = ["Change", "Difference", "as_json", "as_text"]
