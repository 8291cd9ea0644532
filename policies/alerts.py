"""What somebody has to be told of: things that happen, or happen too often.

`proxy.alerts` raises at once what a statement alone says; what takes more (`policies.watching`) the auditor raises from the trail
(`proxy.supervision`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from policies.document import Entry
from policies.keywords import DURATION, SCALAR, TEXT, Key, mapping, some, whole, words
from policies.language import Alert, Selector, SelectorKind
from policies.rules import SELECTOR, parse_selector
from policies.watching import FIRST, WATCHED, parse_watch
from policies.watching import KEYS as WATCH_KEYS

KINDS = ("clear", "refused", "failure", "probes", "limit", "break_glass", "grant", "login_failed", "policy_changed")
WITH_COLUMNS = ("clear", "rows", "customers", "masked_filters", "first_access")
"""Kinds that are about columns."""
PER = ("user", "address", "database", "application")
SEVERITIES = ("info", "warning", "critical")
WITHIN = 600.0
"""Seconds, where the policy does not say."""
KEYS = {
    "on": Key("What it is about.", words((*KINDS, *WATCHED)), needed=True),
    "name": Key("What it is called in records, logs and metrics; the kind without it.", TEXT),
    "level": Key("Of what is about columns: those of this level and above.", SCALAR),
    "columns": Key("Of what is about columns: these, as in a rule.", some({"type": "string", "pattern": SELECTOR})),
    "more_than": Key("Not before it has happened more often than this in the window; 0 without it.", whole(0, 10**9)),
    "within": Key(
        "The window, and for how long nothing more is said after an alert; 10m, or 1d for the auditor's kinds.", DURATION
    ),
    "per": Key("Counted for each user, address, database or application; user without it.", words(PER)),
    "severity": Key("info, warning or critical; warning without it.", words(SEVERITIES)),
    **WATCH_KEYS,
}
"""`policies.keywords` says how a key is added."""
ALERT = mapping(KEYS, apart=[("level", "columns")])


def parse_alerts(entry: Entry, classes: Collection[str], before: Sequence[Alert] = ()) -> tuple[Alert, ...]:
    """The `alerts` of one file; `before`: those of the files before it. Raises DocumentError."""
    out: list[Alert] = []
    for item in entry.items():
        section = item.mapping(KEYS)
        kind = section.require("on").choice((*KINDS, *WATCHED))
        for key in ("level", "columns"):
            if key in section and kind not in WITH_COLUMNS:
                raise section.key_error(key, f"found with on: {kind}", f"on: {', '.join(WITH_COLUMNS)}, which are about columns")
        if "level" in section and "columns" in section:
            raise section.key_error("columns", "found beside level", "one of the two, such as columns: [level>=C3]")
        within = section.duration("within", 86400.0 if kind in WATCHED else WITHIN)
        if within <= 0:
            raise section.require("within").error("found an empty window", "a duration such as 10m or 1h")
        if "per" in section and kind in (*FIRST, "dormant"):
            raise section.key_error("per", f"found with on: {kind}, which is about users", "no per")
        made = Alert(
            name=section.string("name", kind),
            kind=kind,
            columns=_columns(section.get("level"), section.get("columns"), classes),
            more_than=section.int("more_than", 0, 0, 10**9),
            within=within,
            per=section.choice("per", PER, "user"),
            severity=section.choice("severity", SEVERITIES, "warning"),
            place=item.place,
            watch=parse_watch(section, kind, within),
        )
        same = next((x for x in (*before, *out) if x.name == made.name), None)
        if same is not None:
            where = section.get("name") or item
            raise where.error(f"is called {made.name!r} like the one at {same.place}", "a name of its own for each alert")
        out.append(made)
    return tuple(out)


def _columns(level: Entry | None, columns: Entry | None, classes: Collection[str]) -> tuple[Selector, ...]:
    if level is not None:
        return (Selector(f"level>={level.text()}", SelectorKind.LEVEL, ">=", level.text()),)
    if columns is not None:
        found = tuple(parse_selector(e, classes) for e in columns.items_or_one())
        if not found:
            raise columns.wrong("at least one column")
        return found
    return (Selector("*", SelectorKind.ALL),)
