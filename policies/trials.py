"""Tests of a policy, as people write them: who asks, what is in the tables, and what must come out.

They stand in files of their own, `bank.test.yaml` beside `bank.yaml`, not in the policy: a policy's version is the digest of
its files, and changing a test must not make a new version, which is audited and may need approval. `proxy.trials` runs them.
"""

from __future__ import annotations

import ipaddress
import zoneinfo
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from policies.document import DocumentError, Entry, Section, read_document, suggest
from policies.keywords import (
    ANYTHING,
    COLUMN_PATTERN,
    DRAFT,
    FLAG,
    MASK,
    PLAIN_NAME,
    SCALAR,
    TEXT,
    Key,
    Schema,
    either,
    listed,
    mapping,
    named,
    some,
    words,
)
from policies.masks.base import BaseMask
from policies.masks.parse import parse_mask
from policies.masks.words import MASK_NAMES, WHOLE_MASK
from policies.names import split_name
from policies.values import Value, plain

SUFFIX = ".test.yaml"
SHOWN = ("clear", "mask", "deny", "conditional")
_ROW: Schema = named(ANYTHING)
_DECISIONS: Schema = {**named(either(words(SHOWN), MASK), COLUMN_PATTERN), "minProperties": 1}
TEST_KEYS = {
    "name": Key("What the test is called; its place without it.", TEXT),
    "as": Key("The login that asks.", TEXT, needed=True),
    "roles": Key("Roles that it counts as, beside those that it has on the server.", some(TEXT)),
    "database": Key("The database that it is connected to; without it, the one that is checked.", TEXT),
    "application_name": Key("What its client calls itself.", TEXT),
    "network": Key("The address it comes from; a Unix socket without it.", TEXT),
    "tls": Key("Whether the connection is encrypted; false without it.", FLAG),
    "time": Key("When: 2026-11-20T09:00 Asia/Shanghai (without a zone, UTC).", {"type": "string", "pattern": "^[0-9]{4}-"}),
    "attributes": Key("What the table of users says of the person.", named(SCALAR)),
    "asserted": Key("What the session asserts (SET veil.menu = …).", named(SCALAR)),
    "given": Key("Rows that stand in the tables, instead of the real ones.", named(listed(_ROW), PLAIN_NAME["pattern"])),
    "select": Key("The statement, without its SELECT.", SCALAR),
    "sql": Key("The whole statement.", TEXT),
    "expect": Key(
        "Rows; refused, perhaps with an SQLSTATE; allowed; or columns with clear, mask, deny, conditional or a mask.",
        either(listed(_ROW), {"type": "string", "pattern": "^(allowed|refused( [0-9A-Z]{5})?)$"}, _DECISIONS),
        needed=True,
    ),
}
"""`policies.keywords` says how a key is added."""
TEST = mapping(TEST_KEYS, apart=[("select", "sql")])
FILE_KEYS = {
    "version": Key("Always 1.", {"const": 1}, needed=True),
    "tests": Key("The tests.", listed(TEST), needed=True),
}


def schema_of_tests() -> Schema:
    return {
        "$schema": DRAFT,
        "title": "Tests of a pgveil policy",
        "description": "Run by pgveil check. docs/policy.md is the manual.",
        **mapping(FILE_KEYS),
        "definitions": {"mask": WHOLE_MASK},
    }


@dataclass(frozen=True, slots=True)
class Situation:
    """Who asks, from where and when, as far as it is said."""

    user: str
    roles: frozenset[str] = frozenset()
    """Beside those of the server."""
    database: str | None = None
    application_name: str = ""
    address: str = ""
    now: float | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    asserted: Mapping[str, str] = field(default_factory=dict)
    tls: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    sqlstate: str | None


@dataclass(frozen=True, slots=True)
class Allowed:
    pass


@dataclass(frozen=True, slots=True)
class Rows:
    rows: tuple[Mapping[str, Value], ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """What a column must show: one of SHOWN, or this very mask."""

    column: tuple[str, str, str]
    word: str
    mask: BaseMask | None
    place: str

    @property
    def name(self) -> str:
        return ".".join(self.column)


@dataclass(frozen=True, slots=True)
class Decisions:
    columns: tuple[Shown, ...]


@dataclass(frozen=True, slots=True)
class Trial:
    name: str
    place: str
    """file:line."""
    situation: Situation
    given: Mapping[tuple[str, str], tuple[Mapping[str, Value], ...]]
    sql: str | None
    expect: Refused | Allowed | Rows | Decisions


def beside(policies: Sequence[Path]) -> list[Path]:
    """The files with tests that stand beside these policy files."""
    found = [path.with_name(path.stem + SUFFIX) for path in policies]
    return [path for path in dict.fromkeys(found) if path.is_file()]


def load_trials(paths: Sequence[Path]) -> list[Trial]:
    """Raises DocumentError."""
    return [trial for path in paths for trial in parse_trials(read_document(path))]


def parse_trials(document: Entry) -> list[Trial]:
    top = document.mapping(FILE_KEYS)
    if top.require("version").int() != 1:
        raise top.require("version").wrong("1")
    return [_trial(entry.mapping(TEST_KEYS)) for entry in top.require("tests").items()]


def _trial(section: Section) -> Trial:
    if "select" in section and "sql" in section:
        raise section.key_error("sql", "found a second statement", "select or sql")
    sql = section.entries["sql"].string() if "sql" in section else None
    if "select" in section:
        sql = "SELECT " + section.entries["select"].text()
    expect = _expect(section.require("expect"))
    if isinstance(expect, Decisions) and sql is not None:
        raise section.require("expect").error("found columns and a statement", "rows, refused or allowed for a statement")
    if not isinstance(expect, Decisions) and sql is None:
        raise section.entry.error("found no statement", "'select' or 'sql', or an `expect` with columns")
    return Trial(
        name=section.string("name", section.entry.place),
        place=section.entry.place,
        situation=_situation(section),
        given={_table(section.entries["given"], n): _rows(e) for n, e in section.section("given") or ()},
        sql=sql,
        expect=expect,
    )


def _situation(section: Section) -> Situation:
    address = section.string("network", "")
    if address:
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise section.entries["network"].wrong("an address such as 10.1.2.3") from None
    return Situation(
        user=section.require("as").string(),
        roles=frozenset(section.strings("roles")),
        database=section.optional_string("database"),
        application_name=section.string("application_name", ""),
        address=address,
        tls=section.bool("tls", False),
        now=_moment(section.entries["time"]) if "time" in section else None,
        attributes={name: entry.text() for name, entry in section.section("attributes") or ()},
        asserted={name: entry.text() for name, entry in section.section("asserted") or ()},
    )


def _moment(entry: Entry) -> float:
    found = parse_moment(entry.text())
    if isinstance(found, str):
        raise entry.error(f"found {entry.describe()}", found)
    return found


def parse_moment(text: str) -> float | str:
    """Unix time of `2026-11-20T09:00 Asia/Shanghai`, or what was expected."""
    wanted = "a time such as 2026-11-20T09:00 Asia/Shanghai"
    written, _, zone = text.strip().partition(" ")
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        return wanted
    try:
        info = zoneinfo.ZoneInfo(zone.strip() or "UTC")
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return wanted + suggest(zone.strip(), zoneinfo.available_timezones())
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=info)).timestamp()


def _table(entry: Entry, name: str) -> tuple[str, str]:
    parts = split_name(name)
    if parts is None or len(parts) != 2 or any(p.wildcards for p in parts):
        raise entry.error(f"found the name {name!r}", "schema.table")
    return parts[0].text, parts[1].text


def _rows(entry: Entry) -> tuple[Mapping[str, Value], ...]:
    out = []
    for item in entry.items():
        item.mapping()
        value = plain(item)
        assert isinstance(value, dict)
        out.append(value)
    return tuple(out)


def _expect(entry: Entry) -> Refused | Allowed | Rows | Decisions:
    if entry.is_list:
        return Rows(_rows(entry))
    if entry.is_mapping:
        found = tuple(_shown(name, value) for name, value in entry.mapping())
        if not found:
            raise entry.wrong("at least one column")
        return Decisions(found)
    word, _, state = (entry.text() if entry.is_scalar and not entry.is_null else "").partition(" ")
    if word == "allowed" and not state:
        return Allowed()
    if word == "refused" and (not state or (len(state) == 5 and state.isalnum())):
        return Refused(state or None)
    raise entry.wrong("a list of rows, allowed, refused, refused 42501, or columns with what they show")


def _shown(name: str, entry: Entry) -> Shown:
    parts = split_name(name)
    if parts is None or len(parts) != 3 or any(p.wildcards for p in parts):
        raise entry.error(f"found the name {name!r}", "schema.table.column")
    column = (parts[0].text, parts[1].text, parts[2].text)
    if entry.is_scalar and not entry.is_null:
        if entry.node.value in SHOWN:
            return Shown(column, entry.text(), None, entry.place)
        if entry.node.value not in MASK_NAMES:
            entry.choice((*SHOWN, *MASK_NAMES))
    return Shown(column, "mask", parse_mask(entry, None), entry.place)


__all__ = ["DocumentError", "Situation", "Trial", "beside", "load_trials", "parse_moment", "parse_trials", "schema_of_tests"]
