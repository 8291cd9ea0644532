"""From YAML files to a Policy. Everything that is not understood is refused, with file, line and key.

Several files make one policy: classes, dictionary and rules are taken in the order of the files. Keys of the language that
this version cannot carry out are refused as such, never ignored: a policy that promises approvals must not load without
them.
"""

from __future__ import annotations

import hashlib
import ipaddress
import zoneinfo
from collections.abc import Sequence
from pathlib import Path

from policies.attributes import Attributes, is_name, parse_attributes
from policies.document import DocumentError, Entry, Section, parse_document, read_text
from policies.language import (
    PUBLIC,
    UNCLASSIFIED,
    ColumnEntry,
    DataClass,
    Network,
    Policy,
    Rule,
    Selector,
    SelectorKind,
    Unclassified,
)
from policies.masks.base import BaseMask
from policies.masks.basic import Null
from policies.masks.parse import MASK_NAMES, parse_mask
from policies.model import Show
from policies.names import Pattern, split_name
from policies.predicate import Predicate, parse_predicate
from policies.schedule import DAYS, DEFAULT_ZONE, Schedule

TOP_KEYS = ("version", "classes", "columns", "unclassified", "rules", "functions", "attributes")
LATER_KEYS = ("approvals", "limits", "alerts", "on_failure")
CLASS_KEYS = ("level", "mask")
COLUMN_KEYS = ("class", "mask")
UNCLASSIFIED_KEYS = ("new_columns_of", "show")
RULE_KEYS = (
    "name",
    "role",
    "roles",
    "user",
    "database",
    "application_name",
    "network",
    "when",
    "columns",
    "rows",
    "show",
)
WHEN_KEYS = ("time", "days", "timezone", "network", "application_name", "app")
FUNCTION_KEYS = ("allow", "trust_extensions")
_COMPARISONS = ("<=", ">=", "<", ">", "=")


def load_policy(paths: Sequence[Path]) -> Policy:
    """Read the policy in these files. Raises DocumentError."""
    texts = [read_text(path) for path in paths]
    digest = hashlib.blake2b(digest_size=16)
    for text in texts:
        data = text.encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    documents = [parse_document(text, str(path)) for text, path in zip(texts, paths, strict=True)]
    return build_policy(documents, digest.hexdigest())


def build_policy(documents: Sequence[Entry], version: str) -> Policy:
    """The policy in these parsed documents."""
    reader = _Reader()
    sections = [_top(document) for document in documents]
    for section in sections:
        reader.announce(section)
    for section in sections:
        reader.read(section)
    return Policy(
        version=version,
        classes=reader.classes,
        entries=tuple(reader.entries),
        unclassified=reader.unclassified,
        rules=tuple(reader.rules),
        functions=frozenset(reader.functions),
        extensions=frozenset(reader.extensions),
        attributes=reader.attributes,
    )


def _top(document: Entry) -> Section:
    section = document.mapping()
    for key in LATER_KEYS:
        if key in section:
            raise section.key_error(key, "is not supported yet", "this key to be left out")
    section.only(TOP_KEYS)
    version = section.require("version")
    if version.int() != 1:
        raise version.wrong("1")
    return section


class _Reader:
    def __init__(self) -> None:
        self.classes: dict[str, DataClass] = {}
        self.entries: list[ColumnEntry] = []
        self.unclassified: Unclassified | None = None
        self.rules: list[Rule] = []
        self.functions: set[str] = set()
        self.extensions: set[str] = set()
        self.attributes = Attributes()
        self._attributes: Entry | None = None
        self._sources: dict[str, Entry] = {}
        self._pending: list[str] = []

    def announce(self, section: Section) -> None:
        """Note the names of classes and attributes first: they may be named further up, or in another file."""
        found = section.section("attributes")
        if found is not None:
            if self._attributes is not None:
                raise section.key_error("attributes", f"is also at {self._attributes.place}", "attributes once")
            self._attributes = found.entry
            self.attributes = parse_attributes(found)
        classes = section.section("classes")
        for name, entry in classes or ():
            assert classes is not None
            if name in (PUBLIC, UNCLASSIFIED):
                raise classes.key_error(name, "is a word of the language", "another name for the class")
            if name in self._sources:
                raise classes.key_error(name, f"is also at {self._sources[name].place}", "each class once")
            self._sources[name] = entry

    def read(self, section: Section) -> None:
        for name in self._sources:
            self._class(name)
        for source, entry in section.section("columns") or ():
            self.entries.append(self._column(source, entry))
        if (new := section.section("unclassified", UNCLASSIFIED_KEYS)) is not None:
            if self.unclassified is not None:
                raise new.entry.error(f"is also at {self.unclassified.place}", "unclassified once")
            self.unclassified = _unclassified(new)
        rules = section.get("rules")
        for entry in rules.items() if rules is not None and not rules.is_null else ():
            rule = self._rule(entry.mapping())
            same = next((r for r in self.rules if r.name == rule.name), None)
            if same is not None:
                raise entry.mapping().require("name").error(f"is also the name at {same.place}", "each rule name once")
            self.rules.append(rule)
        functions = section.section("functions", FUNCTION_KEYS)
        if functions is not None:
            self.functions.update(_function(e) for e in _list(functions, "allow"))
            self.extensions.update(e.string() for e in _list(functions, "trust_extensions"))

    def _class(self, name: str) -> DataClass:
        if name in self.classes:
            return self.classes[name]
        section = self._sources[name].mapping(CLASS_KEYS)
        if name in self._pending:
            raise section.require("mask").error(f"goes round in circles: {' → '.join([*self._pending, name])}")
        self._pending.append(name)
        mask = parse_mask(section.require("mask"), self._inner_lookup(section.require("mask")))
        self._pending.pop()
        made = DataClass(name, section.require("level").text(), mask, section.entry.place)
        self.classes[name] = made
        return made

    def _inner_lookup(self, entry: Entry) -> _Lookup | None:
        """Classes may be named inside json and each, not in place of the mask itself."""
        return _Lookup(self) if entry.is_mapping else None

    def class_mask(self, name: str) -> BaseMask | None:
        return self._class(name).mask if name in self._sources else None

    def _known(self, entry: Entry, extra: tuple[str, ...] = ()) -> str:
        if entry.is_scalar and entry.node.value in (*self._sources, *extra):
            return entry.text()
        entry.choice([*self._sources, *extra])
        raise AssertionError

    def _mask(self, entry: Entry) -> BaseMask:
        return parse_mask(entry, self._inner_lookup(entry))

    def _column(self, source: str, entry: Entry) -> ColumnEntry:
        pattern = _pattern(source, 3, entry, "schema.table.column, each part a name or a pattern such as *")
        if not entry.is_mapping:
            return ColumnEntry(pattern, self._known(entry, (PUBLIC,)), None, entry.place, len(self.entries))
        section = entry.mapping()
        if "filters" in section:
            raise section.key_error("filters", "is not supported yet", "this key to be left out")
        section.only(COLUMN_KEYS)
        name = self._known(section.require("class"))
        mask = self._mask(section.entries["mask"]) if "mask" in section else None
        return ColumnEntry(pattern, name, mask, entry.place, len(self.entries))

    def _rule(self, section: Section) -> Rule:
        section.only(RULE_KEYS)
        when = section.section("when")
        if when is not None:
            self._check_conditions(when)
        show, mask = self._show(section.require("show"))
        columns = tuple(self._selector(e) for e in section.require("columns").items_or_one())
        if not columns:
            raise section.require("columns").wrong("at least one column")
        return Rule(
            name=section.require("name").string(),
            roles=frozenset(_one_of(section, "role", "roles")),
            users=frozenset(_strings(section, "user")),
            databases=frozenset(_strings(section, "database")),
            applications=_application(section, when),
            networks=_networks(section, when),
            schedule=_schedule(when),
            claims=_claims(when),
            columns=columns,
            rows=_rows(section.get("rows")),
            show=show,
            mask=mask,
            place=section.entry.place,
        )

    def _check_conditions(self, when: Section) -> None:
        declared = self.attributes.declared
        if declared is None:  # the table of users may have more columns than the policy names
            declared = frozenset(key for key, _ in when if is_name(key))
        when.only((*WHEN_KEYS, *sorted(declared)))

    def _show(self, entry: Entry) -> tuple[Show, BaseMask | None]:
        if entry.is_scalar and not entry.is_null:
            if entry.node.value in ("clear", "mask", "deny"):
                return Show(entry.node.value), None
            if entry.node.value not in MASK_NAMES:
                entry.choice(("clear", "mask", "deny", *MASK_NAMES))
        return Show.MASK, self._mask(entry)

    def _selector(self, entry: Entry) -> Selector:
        text = entry.string().strip()
        if text == "*":
            return Selector(text, SelectorKind.ALL)
        if text.startswith("level"):
            rest = text[5:].strip()
            symbol = next((c for c in _COMPARISONS if rest.startswith(c)), None)
            if symbol is not None:
                level = rest[len(symbol) :].strip()
                if not level:
                    raise entry.wrong("a level, as in level<=C2")
                return Selector(text, SelectorKind.LEVEL, symbol, level)
        if text.startswith("class") and text[5:].lstrip().startswith("="):
            name = text[5:].lstrip()[1:].strip()
            if name not in self._sources and name != UNCLASSIFIED:
                raise entry.error(f"found no class '{name}'", f"one of {', '.join([*self._sources, UNCLASSIFIED])}")
            return Selector(text, SelectorKind.CLASS, value=name)
        wanted = "*, level<=C2, class=phone or schema.table.column"
        return Selector(text, SelectorKind.NAME, pattern=_pattern(text, 3, entry, wanted))


class _Lookup:
    """Finds the masks of classes for json and each."""

    def __init__(self, reader: _Reader) -> None:
        self._reader = reader

    def __call__(self, name: str) -> BaseMask | None:
        return self._reader.class_mask(name)


def _list(section: Section, key: str) -> tuple[Entry, ...]:
    entry = section.get(key)
    return () if entry is None or entry.is_null else entry.items_or_one()


def _pattern(source: str, parts: int, entry: Entry, wanted: str) -> Pattern:
    found = split_name(source)
    if found is None or len(found) != parts:
        raise entry.error(f"found the name {source!r}", wanted)
    return Pattern(source, found)


def _unclassified(section: Section) -> Unclassified:
    wanted = "schema.table, each part a name or a pattern such as *"
    relations = tuple(_pattern(e.string(), 2, e, wanted) for e in section.require("new_columns_of").items_or_one())
    show = Show(section.choice("show", ("mask", "deny"), "mask"))
    made = DataClass(UNCLASSIFIED, UNCLASSIFIED, Null(), section.entry.place, show)
    return Unclassified(relations, made, section.entry.place)


def _function(entry: Entry) -> str:
    parts = split_name(entry.string())
    if parts is None or len(parts) != 2 or any(p.wildcards for p in parts):
        raise entry.wrong("schema.function")
    return ".".join(p.text for p in parts)


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
    start, end = _window(when.entries["time"]) if "time" in when else (None, None)
    days = _days(when.entries["days"]) if "days" in when else frozenset(range(7))
    if "timezone" not in when:
        return Schedule(start, end, days, DEFAULT_ZONE)
    zone = when.entries["timezone"].string()
    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise when.entries["timezone"].wrong("a time zone such as Asia/Shanghai") from None
    return Schedule(start, end, days, zone)


def _window(entry: Entry) -> tuple[int, int]:
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


def _days(entry: Entry) -> frozenset[int]:
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


PolicyError = DocumentError
