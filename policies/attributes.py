"""What is known of the person behind a session beyond the login: where it comes from, and who may say it.

Attributes of logins stand in a table of the database (branch, grade, region). Others belong to a session or to a single
statement and are asserted by the client (teller, menu, purpose): by trusted application logins, and what `anyone` lists by
everybody. What a login may not assert is not even read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from policies.document import Entry, Section
from policies.keywords import PLAIN_NAME, TEXT, Key, mapping, named, several
from policies.names import Part, split_name

PREFIX = "veil."
"""Of the settings by which a session asserts: SET veil.menu = '0412'."""
LOGIN = "login"
"""What everybody has: the login, or whom it acts for."""
ROLE = "role"
"""Asserted, it names roles (with commas between) that count beside the login's own."""
NAME = r"[a-z][a-z0-9_]{0,62}"
_ONE = {"type": "string", "pattern": f"^{NAME}$"}
USER_KEYS = {
    "from": Key("The table with one row for each person, as schema.table.", PLAIN_NAME, needed=True),
    "login": Key("Its column with the login's name; `login` without it.", TEXT),
    "names": Key("Its columns that are attributes; all others without it.", several(_ONE)),
    "on_behalf": Key("The asserted attribute that names the person a trusted application acts for.", _ONE),
}
KEYS = {
    "user": Key("A table with attributes of logins.", mapping(USER_KEYS)),
    "trusted_apps": Key("Logins of applications, and the attributes that each may assert.", named(several(_ONE))),
    "anyone": Key("Attributes that every login may state about itself; they prove nothing.", several(_ONE)),
    "comments": Key("Which of these may also be asserted by a comment at the end of a statement.", several(_ONE)),
}
"""`policies.keywords` says how a key is added."""
_TAKEN = frozenset({"time", "days", "timezone", "network", "tls", "application_name", "app", "access", "why", "requests"})
"""Words that mean something else, in `when` or behind SHOW veil."""
_NAME = re.compile(NAME)


@dataclass(frozen=True, slots=True)
class UserTable:
    """The table that has the attributes of logins: one row each."""

    schema: str
    relation: str
    login: str
    """The column with the login's name."""
    names: frozenset[str] | None
    """Columns that are attributes; None: all others."""
    on_behalf: str | None
    """The asserted attribute that names the person a trusted application acts for: that row counts, not the application's own."""
    place: str


@dataclass(frozen=True, slots=True)
class Attributes:
    table: UserTable | None = None
    trusted: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Attributes that each trusted application login may assert."""
    anyone: frozenset[str] = frozenset()
    """Attributes that every login may state."""
    comments: frozenset[str] = frozenset()
    """Those of them that may also be asserted for one statement, in a comment at its end."""

    def assertable(self, user: str) -> frozenset[str]:
        """What a login may assert."""
        return self.anyone | self.trusted.get(user, frozenset())

    @property
    def declared(self) -> frozenset[str] | None:
        """Every attribute there may be; None when the table may have others."""
        if self.table is not None and self.table.names is None:
            return None
        named = self.table.names or () if self.table is not None else ()
        return self.anyone.union(*self.trusted.values(), named, {LOGIN})


def parse_attributes(section: Section) -> Attributes:
    """The policy's `attributes`. Raises DocumentError."""
    section.only(KEYS)
    trusted: dict[str, frozenset[str]] = {}
    for user, entry in section.section("trusted_apps") or ():
        trusted[user] = _names(entry)
    anyone, comments = section.get("anyone"), section.get("comments")
    table = section.section("user", USER_KEYS)
    found = Attributes(
        _table(table) if table is not None else None,
        trusted,
        _names(anyone) if anyone is not None else frozenset(),
        _names(comments) if comments is not None else frozenset(),
    )
    if anyone is not None and ROLE in found.anyone:
        raise anyone.error("found role", "attributes that prove nothing: a role may be asserted by trusted applications only")
    if comments is not None and (unknown := found.comments - found.anyone.union(*trusted.values())):
        raise comments.error(f"found {', '.join(sorted(unknown))}", "attributes of trusted_apps or anyone")
    if found.table is not None and found.table.on_behalf is not None:
        assert table is not None
        if not any(found.table.on_behalf in names for names in trusted.values()):
            raise table.entries["on_behalf"].wrong("an attribute that a trusted application may assert")
        if found.table.on_behalf in found.anyone:  # everybody could have everybody's budget, grants and vote
            raise table.entries["on_behalf"].wrong("an attribute that only trusted applications may assert")
    return found


def _table(section: Section) -> UserTable:
    entry = section.require("from")
    parts = split_name(entry.string())
    if parts is None or len(parts) != 2 or any(p.wildcards for p in parts):
        raise entry.wrong("a table as schema.table")
    names = section.get("names")
    on_behalf = section.get("on_behalf")
    return UserTable(
        schema=_text(parts[0]),
        relation=_text(parts[1]),
        login=section.string("login", "login"),
        names=_names(names) if names is not None else None,
        on_behalf=_name(on_behalf) if on_behalf is not None else None,
        place=section.entry.place,
    )


def _text(part: Part) -> str:
    return part.text if part.literal else part.text.lower()


def _names(entry: Entry) -> frozenset[str]:
    return frozenset(_name(e) for e in entry.items_or_one())


def is_name(text: str) -> bool:
    """Whether it can be the name of an attribute."""
    return _NAME.fullmatch(text) is not None


def _name(entry: Entry) -> str:
    text = entry.string()
    if not is_name(text) or text in _TAKEN:
        raise entry.wrong("the name of an attribute: small letters, digits and _")
    return text


@dataclass(frozen=True, slots=True)
class Person:
    """What is known of the person behind a session."""

    name: str
    """The login, or the one it acts for."""
    attributes: Mapping[str, str]
    roles: frozenset[str]
    """Asserted."""


def person(attributes: Attributes, table: Mapping[str, Mapping[str, str]], login: str, asserted: Mapping[str, str]) -> Person:
    """Joins what the table says of the login, or of the one it acts for, with what the session asserts, which comes first.

    `asserted` must hold nothing that the login may not assert.
    """
    who = login
    if attributes.table is not None and attributes.table.on_behalf is not None:
        who = asserted.get(attributes.table.on_behalf, login)
    known = {LOGIN: who, **table.get(who, {}), **asserted}
    roles = frozenset(r.strip() for r in asserted.get(ROLE, "").split(",")) - {""}
    return Person(who, known, roles)


def subject(attributes: Attributes, login: str, person: str) -> str:
    """Who counts for grants, limits and budgets: the login; or whom a trusted application acts for, which is not somebody who
    logs in under that name."""
    table = attributes.table
    if table is None or table.on_behalf not in attributes.trusted.get(login, frozenset()) or person in ("", login):
        return login
    return f"{login}/{person}"


_PAIR = re.compile(r"\s*([^=,'\s]+)\s*=\s*'((?:[^'\\]|\\.)*)'\s*(,|\Z)")


def of_comment(text: str, names: frozenset[str]) -> tuple[tuple[str, str], ...]:
    """What the comment at the end of a statement asserts, of these names, in order of the names.

    The form is sqlcommenter's: /*menu='0412',purpose='loan%20review'*/, keys and values URL-encoded. Anything else is a comment
    like any other, and so is what stands behind -- in its line.
    """
    end = len(text.rstrip(" \t\r\n\f;"))
    if text[end - 2 : end] != "*/":
        return ()
    start = text.rfind("/*", 0, end - 2)
    if start < 0 or "--" in text[max(text.rfind("\n", 0, start), text.rfind("\r", 0, start)) + 1 : start]:
        return ()
    inside = text[start + 2 : end - 2]
    found: dict[str, str] = {}
    at = 0
    while at < len(inside):
        pair = _PAIR.match(inside, at)
        if pair is None or ((at := pair.end()) == len(inside) and pair[3]):
            return ()
        name, value = unquote(pair[1]), unquote(re.sub(r"\\(.)", r"\1", pair[2]))
        if name in found:
            return ()
        found[name] = value
    return tuple((name, found[name]) for name in sorted(names) if name in found)
