"""Alerts over what happens in the long run: what the auditor needs to know beyond `policies.alerts`.

A rule of this kind counts something (`on`) for somebody (`per`), of what it speaks of (columns, people, hours), and has one of
three measures: a number (`more_than`), what is usual for the same person (`times_usual`), or what is usual among people with the
same roles (`times_peers`). The others speak of what has never been before: a network, an application, a class, or a login
after a long time.
"""

from __future__ import annotations

from datetime import date

from policies.document import Section
from policies.keywords import DURATION, TEXT, Key, Schema, listed, mapping, some, whole, words
from policies.language import AFTER, DAY, LEARN, Hours, Watch
from policies.rules import DAY_RANGE, WINDOW, parse_days, parse_window, parse_zone
from policies.schedule import DEFAULT_ZONE, Schedule

COUNTED = ("rows", "customers", "masked_filters", "clear", "refused", "login", "login_failed")
"""Kinds that are counted."""
FIRST = ("new_network", "new_address", "new_application", "first_access")
"""Kinds that speak of what has not been before."""
WATCHED = ("rows", "customers", "masked_filters", "login", *FIRST, "dormant")
"""Kinds that only the auditor knows."""
OF = ("class", "level", "column")
_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_NUMBER: Schema = {"type": "number", "minimum": 1}
OUTSIDE = {
    "time": Key("From and to, such as 08:30-17:30.", {"type": "string", "pattern": WINDOW}),
    "days": Key("mon-fri, sat, or a list of days.", some({"type": "string", "pattern": DAY_RANGE})),
    "holidays": Key("Dates such as 2026-10-01 that are no working days.", listed({"type": "string", "pattern": _DATE})),
}
KEYS = {
    "role": Key("Of members of one of these roles only.", some(TEXT)),
    "user": Key("Of these people only: logins, or whoever a trusted application acts for.", some(TEXT)),
    "not_user": Key("Not of these people.", some(TEXT)),
    "database": Key("In these databases only.", some(TEXT)),
    "application_name": Key("By these applications only; * and ? are wildcards.", some(TEXT)),
    "without": Key("Only what is done without these attributes, such as purpose.", some(TEXT)),
    "outside": Key("Only outside of these working hours.", mapping(OUTSIDE)),
    "timezone": Key("For working hours and days; UTC without it.", TEXT),
    "rows_at_most": Key("Only statements that gave no more rows than this: single look-ups.", whole(1, 10**9)),
    "times_usual": Key("More than so many times what is usual for the same person on a day.", _NUMBER),
    "times_peers": Key("More than so many times what is usual among people with the same roles.", _NUMBER),
    "peers": Key("With times_peers: how many others there must be; 5 without it.", whole(1, 10**6)),
    "days": Key("Days on which there must have been something: 10 with times_usual, 1 with times_peers.", whole(1, 10**4)),
    "learn": Key("For how long somebody has to be known before something is new; 30d without it.", DURATION),
    "after": Key("With dormant: after so long without a log-in; 90d without it.", DURATION),
    "of": Key("With first_access: first access to a class (without it), a level or a column.", words(OF)),
    "quiet": Key("For how long nothing more is said of the same; the window without it, and an hour at least.", DURATION),
}
"""`policies.keywords` says how a key is added."""

_ONLY = {
    "times_usual": COUNTED, "times_peers": COUNTED, "peers": COUNTED, "days": COUNTED,
    "rows_at_most": ("rows", "customers", "clear"),
    "outside": COUNTED, "without": COUNTED, "learn": FIRST, "after": ("dormant",), "of": ("first_access",),
}  # fmt: skip
"""Keys that make sense with some kinds only."""


def parse_watch(section: Section, kind: str, within: float) -> Watch | None:
    """What a rule says for the auditor; None when the proxy can raise it alone. Raises DocumentError."""
    said = [key for key in KEYS if key in section]
    if kind not in WATCHED and not said:
        return None
    if kind not in WATCHED and kind not in COUNTED:
        raise section.key_error(said[0], f"found with on: {kind}", f"on: {', '.join(COUNTED)}")
    for key in said:
        if kind not in _ONLY.get(key, (kind,)):
            raise section.key_error(key, f"found with on: {kind}", f"on: {', '.join(_ONLY[key])}")
    if kind in ("rows", "customers", "masked_filters") and not {"more_than", "times_usual", "times_peers"} & set(section.entries):
        raise section.entry.error("found no measure", "more_than, times_usual or times_peers")
    if "times_usual" in section and "times_peers" in section:
        raise section.key_error("times_peers", "found beside times_usual", "one of the two; make two alerts")
    if "times_usual" in section and "within" in section:
        raise section.key_error("within", "found with times_usual, which compares days", "no within")
    for key in ("peers",):
        if key in section and "times_peers" not in section:
            raise section.key_error(key, "found without times_peers", "times_peers beside it")
    if "days" in section and not {"times_usual", "times_peers"} & set(section.entries):
        raise section.key_error("days", "found without times_usual or times_peers", "working days go into outside")
    if kind not in COUNTED:
        for key in ("more_than", "within"):
            if key in section:
                raise section.key_error(key, f"found with on: {kind}", "a kind that is counted")
    zone = parse_zone(section.entries["timezone"]) if "timezone" in section else DEFAULT_ZONE
    return Watch(
        roles=_names(section, "role"),
        users=_names(section, "user"),
        not_users=_names(section, "not_user"),
        databases=_names(section, "database"),
        applications=tuple(sorted(_names(section, "application_name"))),
        without=tuple(sorted(_names(section, "without"))),
        outside=_hours(section.section("outside", OUTSIDE), zone),
        zone=zone,
        rows_at_most=section.int("rows_at_most", 1, 1, 10**9) if "rows_at_most" in section else None,
        times_usual=_times(section, "times_usual"),
        times_peers=_times(section, "times_peers"),
        peers=section.int("peers", 5, 1, 10**6),
        days=section.int("days", 10 if "times_usual" in section else 1, 1, 10**4),
        learn=section.duration("learn", LEARN),
        after=section.duration("after", AFTER),
        of=section.choice("of", OF, "class"),
        quiet=section.duration("quiet", max(3600.0, DAY if "times_usual" in section else within)),
    )


def _names(section: Section, key: str) -> frozenset[str]:
    entry = section.get(key)
    if entry is None:
        return frozenset()
    out = frozenset(e.string() for e in entry.items_or_one())
    if not out:
        raise entry.wrong("at least one name")
    return out


def _times(section: Section, key: str) -> float | None:
    entry = section.get(key)
    return None if entry is None else entry.number(1)


def _hours(section: Section | None, zone: str) -> Hours | None:
    if section is None:
        return None
    if "time" not in section and "days" not in section:
        raise section.entry.error("found no working hours", "time or days")
    start, end = parse_window(section.entries["time"]) if "time" in section else (None, None)
    days = parse_days(section.entries["days"]) if "days" in section else frozenset(range(7))
    holidays = set()
    for item in section.entries["holidays"].items() if "holidays" in section else ():
        try:
            holidays.add(date.fromisoformat(item.text()))
        except ValueError:
            raise item.wrong("a date such as 2026-10-01") from None
    return Hours(Schedule(start, end, days, zone), frozenset(holidays))
