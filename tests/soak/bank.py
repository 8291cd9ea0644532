"""The data of the soak, and what every login must see of it under every policy that is in force at some time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

PEOPLE = 4000
CONTROL = "pgveil_test_control"
PASSWORD = "soak"
MASKED, CLEAR = "soak_masked", "soak_clear"
"""Logins with a password; their namesakes with `_trust` need none."""

HBA = f"""\
host all postgres 127.0.0.1/32 trust
host all {MASKED}_trust 127.0.0.1/32 trust
host all {CLEAR}_trust 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
"""

SETUP = f"""\
CREATE ROLE {CONTROL} LOGIN PASSWORD 'control';
CREATE ROLE soak_staff;
CREATE ROLE {MASKED} LOGIN PASSWORD '{PASSWORD}';
CREATE ROLE {CLEAR} LOGIN PASSWORD '{PASSWORD}' IN ROLE soak_staff;
CREATE ROLE {MASKED}_trust LOGIN;
CREATE ROLE {CLEAR}_trust LOGIN IN ROLE soak_staff;
CREATE SCHEMA soak;
CREATE TABLE soak.people (id int PRIMARY KEY, name text, phone text, pad text);
INSERT INTO soak.people
    SELECT i, 'person ' || i, '138' || lpad(i::text, 8, '0'), repeat('p', 200) FROM generate_series(1, {PEOPLE}) i;
CREATE TABLE soak.ledger (owner text, n int, note text);
CREATE INDEX ON soak.ledger (owner);
GRANT USAGE, CREATE ON SCHEMA soak TO PUBLIC;
GRANT SELECT ON ALL TABLES IN SCHEMA soak TO PUBLIC;
GRANT INSERT, DELETE ON soak.ledger TO PUBLIC;
"""

_POLICY = """\
version: 1
classes:
  phone: {{ level: C2, mask: {{ keep: {{ {keep} }} }} }}
columns:
  soak.people.phone: phone
rules:
  - {{ name: staff see it, role: soak_staff, columns: [class=phone], show: clear }}
"""

KEPT = ("first: 3, last: 4", "first: 1", "last: 2")
"""What the masks of the three policies leave."""


def policy(number: int) -> str:
    return _POLICY.format(keep=KEPT[number])


def phone(person: int, under: int | None) -> str:
    """As stored, or as the policy `under` shows it."""
    raw = f"138{person:08d}"
    if under is None:
        return raw
    return (f"{raw[:3]}****{raw[-4:]}", raw[0] + "*" * 10, "*" * 9 + raw[-2:])[under]


@dataclass(slots=True)
class InForce:
    """Which policies may have been met, from the beginning on."""

    history: list[frozenset[int]] = field(default_factory=lambda: [frozenset({0})])

    def now(self) -> int:
        """A moment, for `rows`."""
        return len(self.history) - 1

    def change(self, *policies: int) -> None:
        self.history.append(frozenset(policies))

    def rows(self, people: Iterable[int], masked: bool, since: int) -> list[list[tuple[int, str]]]:
        """The answers that are right for `SELECT id, phone` in a statement that began at the moment `since`."""
        under: Iterable[int | None] = sorted(frozenset().union(*self.history[since:])) if masked else [None]
        wanted = list(people)
        return [[(person, phone(person, number)) for person in wanted] for number in under]
