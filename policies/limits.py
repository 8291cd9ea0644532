"""How much somebody may learn: rows with sensitive data in clear, values by which they are looked up, values probed by filters.

A limit speaks of roles, of logins, or of everybody; each person it speaks of has the whole of it. Where several speak of the
same person, the smallest number counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from policies.document import Entry
from policies.keywords import TEXT, Key, mapping, some, whole, words

OVER = ("refuse", "mask")
_MOST = 10**15
_ROWS = whole(0, _MOST)
KEYS = {
    "name": Key("What messages and audit records call it.", TEXT),
    "role": Key("For members of one of these PostgreSQL roles.", some(TEXT)),
    "roles": Key("The same as role.", some(TEXT)),
    "user": Key("For these logins.", some(TEXT)),
    "clear_rows_per_statement": Key("Rows with sensitive data in clear that one statement may show.", _ROWS),
    "clear_rows_per_session": Key("The same for a session.", _ROWS),
    "clear_rows_per_day": Key("The same for a person and day.", _ROWS),
    "clear_values_per_statement": Key("Different constants that one statement may name to show something in clear.", _ROWS),
    "clear_values_per_session": Key("The same for a session.", _ROWS),
    "clear_values_per_day": Key("The same for a person and day.", _ROWS),
    "probes_per_hour": Key("Distinct values that may be looked for in columns with filters: equality.", _ROWS),
    "over": Key("What becomes of the next statement in clear: refuse, or mask.", words(OVER)),
}
"""`policies.keywords` says how a key is added."""
LIMIT = mapping(KEYS, apart=[("role", "roles")])
ROWS = ("clear_rows_per_statement", "clear_rows_per_session", "clear_rows_per_day")
VALUES = ("clear_values_per_statement", "clear_values_per_session", "clear_values_per_day")
NUMBERS = (*ROWS, *VALUES, "probes_per_hour")


@dataclass(frozen=True, slots=True)
class Limit:
    """One line of `limits`. Without roles and users it is for everybody."""

    name: str
    """As the policy calls it, or by its place."""
    roles: frozenset[str]
    users: frozenset[str]
    numbers: Mapping[str, int]
    """By key of NUMBERS; what is not there does not limit."""
    over: str
    """What becomes of the next statement that would show data in clear: `refuse`, or `mask` (everything by its class's mask)."""
    place: str

    def is_for(self, user: str, roles: Set[str]) -> bool:
        """`roles`: all that the login counts as."""
        return user in self.users or not self.roles.isdisjoint(roles) or not (self.users or self.roles)


@dataclass(frozen=True, slots=True)
class Cap:
    """The smallest number of a kind that holds for somebody, and the limit that it is from."""

    most: int
    limit: Limit


@dataclass(frozen=True, slots=True)
class Caps:
    """What holds for one person."""

    statement: Cap | None = None
    session: Cap | None = None
    day: Cap | None = None
    probes: Cap | None = None
    values_statement: Cap | None = None
    values_session: Cap | None = None
    values_day: Cap | None = None

    @property
    def values(self) -> bool:
        """Values by which rows in clear are looked up are limited."""
        return self.values_statement is not None or self.values_session is not None or self.values_day is not None

    @property
    def rows(self) -> bool:
        """Rows in clear are limited."""
        return self.statement is not None or self.session is not None or self.day is not None

    @property
    def names(self) -> list[str | None]:
        """The limit that each number is from: with a policy's version, all that there is to know."""
        found = (
            self.statement, self.session, self.day, self.probes, self.values_statement, self.values_session, self.values_day,
        )  # fmt: skip
        return [None if cap is None else cap.limit.name for cap in found]


NO_CAPS = Caps()


def caps(limits: Sequence[Limit], user: str, roles: Set[str]) -> Caps:
    """The limits that speak of a login with these roles, each number at its smallest."""
    of = [limit for limit in limits if limit.is_for(user, roles)]
    if not of:
        return NO_CAPS
    found = {key: _smallest(of, key) for key in NUMBERS}
    return Caps(
        statement=found["clear_rows_per_statement"],
        session=found["clear_rows_per_session"],
        day=found["clear_rows_per_day"],
        probes=found["probes_per_hour"],
        values_statement=found["clear_values_per_statement"],
        values_session=found["clear_values_per_session"],
        values_day=found["clear_values_per_day"],
    )


def _smallest(of: Sequence[Limit], key: str) -> Cap | None:
    """Of equal ones the one that refuses, else the first in the policy."""
    found = [Cap(x.numbers[key], x) for x in of if key in x.numbers]
    return min(found, key=lambda cap: (cap.most, cap.limit.over == "mask")) if found else None


def parse_limits(entry: Entry, before: Sequence[Limit] = ()) -> tuple[Limit, ...]:
    """The `limits` of one file; `before`: those of the files before it. Raises DocumentError."""
    out: list[Limit] = []
    for item in entry.items():
        section = item.mapping(KEYS)
        if "role" in section and "roles" in section:
            raise section.key_error("roles", "means the same as 'role'", "one of the two")
        numbers = {key: section.entries[key].int(0, _MOST) for key in NUMBERS if key in section}
        if not numbers:
            raise item.error("found no number", f"at least one of {', '.join(NUMBERS)}")
        if "over" in section and numbers.keys() == {"probes_per_hour"}:
            raise section.key_error("over", "is about data in clear", f"{', '.join(NUMBERS[:-1])} beside it")
        made = Limit(
            name=section.string("name", item.place),
            roles=frozenset(_names(section.get("role") or section.get("roles"))),
            users=frozenset(_names(section.get("user"))),
            numbers=numbers,
            over=section.choice("over", OVER, "refuse"),
            place=item.place,
        )
        same = next((x for x in (*before, *out) if x.name == made.name), None)
        if same is not None:
            raise section.require("name").error(f"is also the name at {same.place}", "each name of a limit once")
        out.append(made)
    return tuple(out)


def _names(entry: Entry | None) -> tuple[str, ...]:
    if entry is None:
        return ()
    names = entry.strings()
    if not names:
        raise entry.wrong("at least one name")
    return names
