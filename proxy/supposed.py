"""Tables as a policy supposes them, where there is no catalog to look at: the columns that it names, of a type that fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from policies.decide import column_type
from policies.dictionary import classify
from policies.language import Policy
from policies.masks.base import BaseMask
from rewrite.catalog import Column, Relation

_TYPES = {
    "text": ("text", "S"),
    "numeric": ("numeric", "N"),
    "int8": ("int8", "N"),
    "date": ("date", "D"),
    "timestamp": ("timestamp", "D"),
    "time": ("time", "D"),
    "bool": ("bool", "B"),
    "jsonb": ("jsonb", "U"),
    "_text": ("_text", "A"),
    "inet": ("inet", "I"),
}
Name = tuple[str, str]
Tables = dict[Name, Relation]
Named = dict[Name, dict[str, list[object]]]
"""Columns of tables, each with values that are known of it."""


def suppose(policies: Sequence[Policy], names: Named, *, more: bool = False) -> Tables:
    """The tables of `names`, with the columns that dictionaries and rules name beside; with `more`, every table that the
    dictionaries name. A type suits the masks of all the policies, if there is such a one."""
    for policy in policies:
        for entry in policy.entries:
            schema, relation, column = (p.text for p in entry.pattern.parts)
            if entry.pattern.wildcards == 0 and (more or (schema, relation) in names):
                names.setdefault((schema, relation), {}).setdefault(column, [])
    for policy in policies:
        for rule in policy.rules:
            for columns in names.values():
                for column in rule.rows.names if rule.rows is not None else ():
                    columns.setdefault(column, [])
    return {table: _table(policies, number, table, columns) for number, (table, columns) in enumerate(names.items(), 1)}


def _table(policies: Sequence[Policy], oid: int, name: Name, columns: Mapping[str, Sequence[object]]) -> Relation:
    made = Relation(oid, *name, "r", "", tuple(_column(n, c, "text") for n, c in enumerate(columns, 1)))
    found = [classify(policy, [made]) for policy in policies]
    typed = []
    for column in made.columns:
        classified = [c for one in found if (c := one.get((oid, column.attnum))) is not None]
        typed.append(_column(column.attnum, column.name, _type(columns[column.name], [c.mask for c in classified])))
    return Relation(oid, *name, "r", "", tuple(typed))


def _type(values: Sequence[object], masks: Sequence[BaseMask]) -> str:
    """One that the values fit, and for which the masks are, if there is such a one."""
    first = next((v for v in values if v is not None), None)
    fitting: Sequence[str] = tuple(_TYPES)
    if isinstance(first, bool):
        fitting = ("bool",)
    elif isinstance(first, int | Decimal):
        fitting = ("numeric", "int8") if any(isinstance(v, Decimal) for v in values) else ("int8", "numeric")
    elif isinstance(first, list):
        fitting = ("_text", "jsonb")
    elif isinstance(first, dict):
        fitting = ("jsonb",)
    elif isinstance(first, str):
        fitting = ("text", "date", "timestamp", "time", "inet")
    for name in fitting:
        if all(mask.accepts(column_type(_column(1, "x", name))) is None for mask in masks):
            return name
    return fitting[0]


def _column(attnum: int, name: str, kind: str) -> Column:
    base, category = _TYPES[kind]
    sql = "pg_catalog.text[]" if kind == "_text" else f"pg_catalog.{base}"
    return Column(attnum, name, 0, -1, sql, sql, base, category)
