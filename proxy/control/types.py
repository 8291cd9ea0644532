"""How a column's type is written so that it means the same from any search_path.

Pure: works on rows of pg_type and on `format_type` results that were read with an empty search_path.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_PLAIN = re.compile(r"^[a-z_][a-z0-9_]*$")
_MODIFIER = re.compile(r"\([^()]*\)")


@dataclass(frozen=True, slots=True)
class TypeRow:
    """A row of pg_type; `schema` and `name` as they are, `quoted` as `quote_ident` writes both."""

    oid: int
    schema: str
    name: str
    quoted: str
    kind: str
    """typtype: b base, c composite, d domain, e enum, p pseudo, r range, m multirange."""
    category: str
    element: int
    array: int
    base: int
    base_typmod: int
    checked: bool
    """A domain with NOT NULL or CHECK of its own."""
    relation: int
    """pg_class OID of a composite type's columns."""


class TypeNames:
    """Spells types. `modifiers` holds `format_type(oid, typmod)` for each (element) type that is used with a typmod."""

    def __init__(self, types: Mapping[int, TypeRow], modifiers: Mapping[tuple[int, int], str]) -> None:
        self._types = types
        self._modifiers = modifiers

    def sql(self, oid: int, typmod: int) -> str:
        element = array_element(self._types, oid)
        if element:
            return self.sql(element, typmod) + "[]"
        row = self._types[oid]
        name = _qualified(row)
        if typmod < 0:
            return name
        formatted = self._modifiers[oid, typmod]
        if row.schema != "pg_catalog":
            return name + formatted.removeprefix(row.quoted)
        if row.name == "interval":
            return formatted  # `interval day to second(3)`: the fields can be written only in this keyword syntax
        found = _MODIFIER.search(formatted)
        return name + (found[0] if found else "")

    def base(self, oid: int, typmod: int) -> tuple[int, int]:
        """The type with every domain taken off, elements of arrays included."""
        row = self._types[oid]
        if row.kind == "d":
            return self.base(row.base, row.base_typmod)
        element = array_element(self._types, oid)
        if element:
            plain, plain_typmod = self.base(element, typmod)
            if plain != element and self._types[plain].array:
                return self._types[plain].array, plain_typmod
        return oid, typmod

    def checked(self, oid: int) -> bool:
        """A domain with a condition is somewhere in the type."""
        row = self._types[oid]
        if row.kind == "d":
            return row.checked or self.checked(row.base)
        element = array_element(self._types, oid)
        return bool(element) and self.checked(element)


def array_element(types: Mapping[int, TypeRow], oid: int) -> int:
    """Element type of a true array type, else 0 (oidvector and the like have a typelem too)."""
    element = types[oid].element
    return element if element and element in types and types[element].array == oid else 0


def modifier_pairs(types: Mapping[int, TypeRow], used: Iterable[tuple[int, int]]) -> set[tuple[int, int]]:
    """The (type, typmod) pairs whose `format_type` is needed to spell the used ones and their base types."""
    domains = ((row.base, row.base_typmod) for row in types.values() if row.kind == "d")
    out = set()
    for oid, typmod in (*used, *domains):
        if typmod >= 0:
            out.add((array_element(types, oid) or oid, typmod))
    return out


def _qualified(row: TypeRow) -> str:
    """Builtin names are left plain where the grammar takes them after a schema; `char` would be another type."""
    if row.schema == "pg_catalog" and row.name != "char" and _PLAIN.match(row.name):
        return f"pg_catalog.{row.name}"
    return row.quoted
