"""The rules of a policy: who sees which columns how, under which conditions. `policies.load` reads the rest."""

from __future__ import annotations

import ipaddress
import zoneinfo
from collections.abc import Callable, Collection
from dataclasses import dataclass

from policies.attributes import Attributes, is_name
from policies.document import Entry, Section, suggest
from policies.keywords import COLUMN_PATTERN, FLAG, MASK, SCALAR, TEXT, Key, either, mapping, some, words
from policies.language import UNCLASSIFIED, Network, Rule, Selector, SelectorKind
from policies.masks.base import BaseMask
from policies.masks.words import MASK_NAMES
from policies.model import Show
from policies.names import Pattern, split_name
from policies.predicate import Predicate, parse_predicate
from policies.schedule import DAYS, DEFAULT_ZONE, Schedule

WINDOW = r"^\s*[0-9]{1,2}:[0-9]{2}\s*-\s*[0-9]{1,2}:[0-9]{2}\s*$"
_DAY = "([mM][oO][nN]|[tT][uU][eE]|[wW][eE][dD]|[tT][hH][uU]|[fF][rR][iI]|[sS][aA][tT]|[sS][uU][nN])"
DAY_RANGE = rf"^\s*{_DAY}\s*(-\s*{_DAY}\s*)?$"
SELECTOR = rf"^\s*\*\s*$|^\s*(level\s*(<=|>=|<(?!=)|>(?!=)|=)|class\s*=)\s*\S|{COLUMN_PATTERN}"
_APPLICATION = some(TEXT)
_NETWORK = some(TEXT)
_VALUES = some(SCALAR)
WHEN_KEYS = {
    "time": Key("From and to, such as 08:30-17:30; the end is not included.", {"type": "string", "pattern": WINDOW}),
    "days": Key("mon-fri, sat, or a list of days.", some({"type": "string", "pattern": DAY_RANGE})),
    "timezone": Key("A name such as Asia/Shanghai, for time and days; UTC without it.", TEXT),
    "network": Key("The client's address is in one of these networks.", _NETWORK),
    "tls": Key("The client's connection is encrypted (true), or is not (false).", FLAG),
    "application_name": Key("The client calls itself so; * and ? are wildcards. Any client can set it.", _APPLICATION),
    "app": Key("Short for application_name.", _APPLICATION),
}
"""`policies.keywords` says how a key is added. Attributes of the person stand beside these."""
RULE_KEYS = {
    "name": Key("Each name once; it is in the audit record.", TEXT, needed=True),
    "role": Key("The login is a member of one of these PostgreSQL roles, or is one itself.", some(TEXT)),
    "roles": Key("The same as role.", some(TEXT)),
    "user": Key("The login is one of these.", some(TEXT)),
    "database": Key("The session is in one of these databases.", some(TEXT)),
    "application_name": WHEN_KEYS["application_name"],
    "network": WHEN_KEYS["network"],
    "tls": WHEN_KEYS["tls"],
    "when": Key(
        "Times, days, networks and attributes of the person; all of them must hold.",
        mapping(WHEN_KEYS, others=_VALUES, apart=[("app", "application_name")]),
    ),
    "columns": Key(
        "Which sensitive columns: *, level<=C2, class=phone or schema.table.column with wildcards; one or a list.",
        some({"type": "string", "pattern": SELECTOR}),
        needed=True,
    ),
    "rows": Key("An SQL condition over the table's own columns; :user.branch is an attribute of the person.", TEXT),
    "show": Key("clear, mask (the class's), deny, or a mask.", either(words(s.value for s in Show), MASK), needed=True),
}
RULE = mapping(RULE_KEYS, apart=[("role", "roles")])
_COMPARISONS = ("<=", ">=", "<", ">", "=")


@dataclass(frozen=True, slots=True)
class Scope:
    """What rules may name."""

    classes: Collection[str]
    attributes: Attributes
    mask: Callable[[Entry], BaseMask]
    """Reads a mask, in which classes may be named."""


def parse_rule(section: Section, scope: Scope) -> Rule:
    """One rule. Raises DocumentError."""
    section.only(RULE_KEYS)
    when = section.section("when")
    if when is not None:
        _check_conditions(when, scope.attributes)
    show, mask = _show(section.require("show"), scope)
    columns = tuple(parse_selector(e, scope.classes) for e in section.require("columns").items_or_one())
    if not columns:
        raise section.require("columns").wrong("at least one column")
    return Rule(
        name=section.require("name").string(),
        roles=frozenset(_one_of(section, "role", "roles")),
        users=frozenset(_strings(section, "user")),
        databases=frozenset(_strings(section, "database")),
        applications=_application(section, when),
        networks=_networks(section, when),
        tls=_tls(section, when),
        schedule=_schedule(when),
        claims=_claims(when),
        columns=columns,
        rows=_rows(section.get("rows")),
        show=show,
        mask=mask,
        place=section.entry.place,
    )


def _check_conditions(when: Section, attributes: Attributes) -> None:
    declared = attributes.declared
    if declared is None:  # the table of users may have more columns than the policy names
        declared = frozenset(key for key, _ in when if is_name(key))
    when.only((*WHEN_KEYS, *sorted(declared)))


def _show(entry: Entry, scope: Scope) -> tuple[Show, BaseMask | None]:
    if entry.is_scalar and not entry.is_null:
        if entry.node.value in ("clear", "mask", "deny"):
            return Show(entry.node.value), None
        if entry.node.value not in MASK_NAMES:
            entry.choice(("clear", "mask", "deny", *MASK_NAMES))
    return Show.MASK, scope.mask(entry)


def parse_selector(entry: Entry, classes: Collection[str]) -> Selector:
    """What a rule says of columns: `*`, `level<=C2`, `class=phone` or a name. Raises DocumentError."""
    found = read_selector(entry.string(), classes)
    if isinstance(found, Selector):
        return found
    raise entry.error(*found)


def read_selector(source: str, classes: Collection[str]) -> Selector | tuple[str, str]:
    """The selector, or what was found instead and what is expected."""
    text = source.strip()
    if text == "*":
        return Selector(text, SelectorKind.ALL)
    if text.startswith("level"):
        rest = text[5:].strip()
        symbol = next((c for c in _COMPARISONS if rest.startswith(c)), None)
        if symbol is not None:
            level = rest[len(symbol) :].strip()
            if not level:
                return f"found {text!r}", "a level, as in level<=C2"
            return Selector(text, SelectorKind.LEVEL, symbol, level)
    if text.startswith("class") and text[5:].lstrip().startswith("="):
        name = text[5:].lstrip()[1:].strip()
        if name not in classes and name != UNCLASSIFIED:
            known = [*classes, UNCLASSIFIED]
            return f"found no class '{name}'{suggest(name, known)}", f"one of {', '.join(known)}"
        return Selector(text, SelectorKind.CLASS, value=name)
    parts = split_name(text)
    if parts is None or len(parts) != 3:
        return f"found the name {text!r}", "*, level<=C2, class=phone or schema.table.column"
    return Selector(text, SelectorKind.NAME, pattern=Pattern(text, parts))


def parse_pattern(source: str, parts: int, entry: Entry, wanted: str) -> Pattern:
    """A name of so many parts, with wildcards."""
    found = split_name(source)
    if found is None or len(found) != parts:
        raise entry.error(f"found the name {source!r}", wanted)
    return Pattern(source, found)


def _strings(section: Section, key: str) -> tuple[str, ...]:
    entry = section.get(key)
    if entry is None:
        return ()
    out = tuple(e.string() for e in entry.items_or_one())
    if not out:
        raise entry.wrong("at least one name")
    return out


def _one_of(section: Section | None, *keys: str) -> tuple[str, ...]:
    """The names under whichever of these synonyms is there; two of them at once are refused."""
    if section is None:
        return ()
    present = [k for k in keys if k in section]
    if len(present) > 1:
        raise section.key_error(present[1], f"means the same as '{present[0]}'", "one of the two")
    return _strings(section, present[0]) if present else ()


def _both(section: Section, when: Section | None, key: str) -> Section | None:
    """Where a condition stands that may be written in the rule or in its `when`."""
    if key in section:
        if when is not None and key in when:
            raise when.key_error(key, "stands in the rule as well", f"'{key}' once")
        return section
    return when


def _application(section: Section, when: Section | None) -> tuple[str, ...]:
    if "application_name" in section and when is not None and "app" in when:
        raise when.key_error("app", "means the same as 'application_name'", "one of the two")
    where = _both(section, when, "application_name")
    return _one_of(where, "application_name") if where is section else _one_of(where, "application_name", "app")


def _tls(section: Section, when: Section | None) -> bool | None:
    where = _both(section, when, "tls")
    entry = where.get("tls") if where is not None else None
    return None if entry is None else entry.bool()


def _networks(section: Section, when: Section | None) -> tuple[Network, ...]:
    where = _both(section, when, "network")
    entry = where.get("network") if where is not None else None
    if entry is None:
        return ()
    out = []
    for item in entry.items_or_one():
        try:
            out.append(ipaddress.ip_network(item.string()))
        except ValueError:
            raise item.wrong("a network such as 10.0.0.0/8 (host bits zero) or an address") from None
    if not out:
        raise entry.wrong("at least one network")
    return tuple(out)


def _schedule(when: Section | None) -> Schedule | None:
    if when is None:
        return None
    if "time" not in when and "days" not in when:
        if "timezone" in when:
            raise when.key_error("timezone", "found without time or days", "a time or days beside it")
        return None
    start, end = parse_window(when.entries["time"]) if "time" in when else (None, None)
    days = parse_days(when.entries["days"]) if "days" in when else frozenset(range(7))
    if "timezone" not in when:
        return Schedule(start, end, days, DEFAULT_ZONE)
    return Schedule(start, end, days, parse_zone(when.entries["timezone"]))


def parse_zone(entry: Entry) -> str:
    """The name of a time zone that there is. Raises DocumentError."""
    zone = entry.string()
    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        meant = suggest(zone, zoneinfo.available_timezones())
        raise entry.wrong(f"a time zone such as Asia/Shanghai{meant}") from None
    return zone


def parse_window(entry: Entry) -> tuple[int, int]:
    """Two minutes of the day. Raises DocumentError."""
    wanted = "a time of day from and to, such as 08:30-17:30"
    start, dash, end = entry.text().partition("-")
    first, last = _minute(start), _minute(end)
    if not dash or first is None or last is None or first == 1440:
        raise entry.wrong(wanted)
    if first == last:
        raise entry.error("found an empty window", wanted)
    return first, last


def _minute(text: str) -> int | None:
    hours, colon, minutes = text.strip().partition(":")
    if not (colon and len(minutes) == 2 and 1 <= len(hours) <= 2 and (hours + minutes).isascii()):
        return None
    if not (hours + minutes).isdigit() or int(minutes) > 59:
        return None
    minute = int(hours) * 60 + int(minutes)
    return minute if minute <= 1440 else None


def parse_days(entry: Entry) -> frozenset[int]:
    """Days of the week, 0 for Monday. Raises DocumentError."""
    out: set[int] = set()
    for item in entry.items_or_one():
        first, dash, last = (p.strip().lower() for p in item.string().partition("-"))
        last = last if dash else first
        if first not in DAYS or last not in DAYS:
            raise item.wrong("days such as mon, fri or mon-fri")
        day = DAYS.index(first)
        out.add(day)
        while DAYS[day] != last:
            day = (day + 1) % 7
            out.add(day)
    if not out:
        raise entry.wrong("at least one day")
    return frozenset(out)


def _claims(when: Section | None) -> tuple[tuple[str, frozenset[str]], ...]:
    if when is None:
        return ()
    return tuple((key, frozenset(e.text() for e in entry.items_or_one())) for key, entry in when if key not in WHEN_KEYS)


def _rows(entry: Entry | None) -> Predicate | None:
    if entry is None:
        return None
    found = parse_predicate(entry.string())
    if isinstance(found, str):
        raise entry.error(found, "an SQL condition over the table's columns")
    return found
