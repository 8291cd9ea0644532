"""From a decision to SQL: the expression that stands for a column in a generated derived table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from policies.model import ColumnType, Decision, Mask, Show
from rewrite.catalog import Column
from rewrite.expression import ExpressionError, pin


@dataclass(frozen=True, slots=True)
class _Withheld:
    """NULL for values of the system catalogs."""

    name: str = "withheld"
    is_expression: bool = False
    companions: frozenset[str] = frozenset()

    def accepts(self, column: ColumnType) -> str | None:
        return None

    def sql(self, column: str, column_type: ColumnType) -> str:
        return "NULL"

    def apply(self, value: object) -> object:
        return None


WITHHELD: Mask = _Withheld()


def column_type(column: Column) -> ColumnType:
    return ColumnType(column.base_type, column.category, column.base_sql)


def result_type(column: Column) -> str:
    """The type of the masked column: its own, unless that is a domain whose checks a masked value may not pass."""
    return column.base_sql if column.domain_checked else column.type_sql


def mask_sql(column: Column, mask: Mask, names: Mapping[str, str]) -> str:
    """The masked value of a column, or NULL when the mask cannot be used on it (the policy check reports that)."""
    value = names[column.name]
    if column.type_sql != column.base_sql:
        value = f"({value})::{column.base_sql}"
    if mask.accepts(column_type(column)) is not None:
        return "NULL"
    expression = mask.sql(value, column_type(column))
    if not mask.is_expression:
        return f"({expression})"
    try:
        return pin(expression, names, value)
    except ExpressionError:
        return "NULL"


def decision_sql(column: Column, decision: Decision, names: Mapping[str, str]) -> str | None:
    """The expression for a column under a decision, cast to its type; None when the column is denied.

    `names` says how the relation's columns are written. Row predicates become CASE branches; a predicate that is NULL for a row
    does not hold. When a predicate cannot be read, the column is NULL (the policy check reports it).
    """
    if decision.is_denied:
        return None
    out = "NULL"
    for branch in reversed(decision.branches):
        value = names[column.name] if branch.show is Show.CLEAR else "NULL"
        if branch.show is Show.MASK and branch.mask is not None:
            value = mask_sql(column, branch.mask, names)
        if branch.rows is None:
            out = value
            continue
        try:
            predicate = pin(branch.rows, names)
        except ExpressionError:
            out = "NULL"
            break
        out = f"CASE WHEN {predicate} THEN {value} ELSE {out} END"
    if column.category == "P":  # anyarray in pg_stats and pg_attribute: a pseudo-type cannot be cast to
        return out if out.strip("()") != "NULL" else f"CASE WHEN false THEN {names[column.name]} END"
    return f"({out})::{result_type(column)}"
