"""Names and what they mean where: identifiers as people write them, and PostgreSQL's scoping of them.

A name is only written where it means what was intended: `Scope` looks names up as parse_relation.c does (innermost level first, a
column before a whole row), so that random aliases may shadow tables and columns without making statements ambiguous.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.generate.schema import Column, Kind, Relation

_PLAIN = re.compile(r"[a-z_\u0080-\uffff][a-z0-9_\u0080-\uffff]*")
_RESERVED = frozenset(
    """all analyse analyze and any array as asc asymmetric authorization between bigint binary bit boolean both case cast char
    character check coalesce collate collation column concurrently constraint create cross current_catalog current_date
    current_role
    current_schema current_time current_timestamp current_user dec decimal default deferrable desc distinct do else end except
    exists
    extract false fetch float for foreign freeze from full grant greatest group grouping having ilike in initially inner inout int
    integer intersect interval into is isnull join lateral leading least left level like limit localtime localtimestamp
    national natural
    nchar none normalize not notnull null nullif numeric offset on only or order out outer overlaps overlay placing position
    precision
    primary real references returning right row select session_user setof similar smallint some substring symmetric system_user
    table
    tablesample text then time timestamp to trailing treat trim true union unique user using values varchar variadic verbose
    when where
    window with xmlattributes xmlconcat xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable
    json json_array json_arrayagg json_object json_objectagg json_scalar json_serialize json_table json_query json_value
    json_exists
    merge_action""".split()
)
_ALIASES = (
    "t", "c", "x", "q", "s1", "a_b", "customers", "accounts", "phone", "name", "id", "branch", "balance", "bank", "public",
    "excluded",
    "Customers", "select", "Mixed Case", 'quo"te', "表", "from", "new", "value", "row", "pg_class", "email_lower", "tableoid_",
    "u", "T",
)  # fmt: skip


def written(rng: random.Random, name: str) -> str:
    """An identifier as somebody might write it: plain, in other case, quoted, or in Unicode escapes."""
    plain = _PLAIN.fullmatch(name) and name not in _RESERVED
    style = rng.random()
    if plain and style < 0.75:
        return name
    if plain and name.isascii() and style < 0.85:
        return name.upper() if style < 0.8 else name.capitalize()
    if style > 0.97:
        escaped = "".join(f"\\{ord(c):04X}" if rng.random() < 0.3 and ord(c) < 0xFFFF else c for c in name.replace('"', '""'))
        return f'U&"{escaped}"' if '"' not in name and "\\" not in name else _quoted(name)
    return _quoted(name)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@dataclass(slots=True, eq=False)
class Item:
    """One entry of a FROM clause."""

    alias: str
    columns: list[Column]
    relation: Relation | None = None
    aliased: bool = True
    row: bool = True
    """A whole-row reference is possible."""
    key: tuple[str, ...] = ()
    """Names of columns that are unique and not null together."""


@dataclass(slots=True, eq=False)
class Scope:
    """A query level."""

    parent: Scope | None = None
    items: list[Item] = field(default_factory=list)
    merged: set[str] = field(default_factory=set)
    """Columns merged by USING and NATURAL: their bare name is not ambiguous."""
    leaves: list[tuple[str, Kind]] | None = None
    """After grouping: the only expressions that may be used of this level."""

    def up(self) -> Iterator[Scope]:
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.parent

    def by_alias(self, alias: str) -> Item | None:
        return next((i for s in self.up() for i in s.items if i.alias == alias), None)

    def by_column(self, name: str) -> list[Item]:
        """The items whose column a bare name may mean: more than one, ambiguous."""
        for scope in self.up():
            found = [i for i in scope.items if any(c.name == name for c in i.columns)]
            if found:
                return found[:1] if name in scope.merged else found
        return []

    def alias(self, rng: random.Random) -> str:
        """A free alias for a new item of this level."""
        used = {i.alias for i in self.items}
        free = [a for a in _ALIASES if a not in used]
        return rng.choice(free) if free else f"t{len(used)}"


def output_name(rng: random.Random, used: set[str]) -> str:
    """A name for an output column, often one that some table has too."""
    free = [a for a in _ALIASES if a not in used]
    name = rng.choice(free) if free else f"c{len(used)}"
    used.add(name)
    return name
