"""Masks that do not look at the value: null, redact, constant; and the policy's own SQL expression."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from decimal import Decimal

from policies.masks.base import BaseMask, TextMask, literal, typmod, unless_null
from policies.masks.numbers import largest
from policies.model import ColumnType

_INTEGERS = ("int2", "int4", "int8")


@dataclass(frozen=True, slots=True)
class Null(BaseMask):
    """Every value shows as NULL. The one mask that suits every type."""

    def accepts(self, column: ColumnType) -> str | None:
        return None

    def sql(self, column: str, column_type: ColumnType) -> str:
        return "NULL"

    def apply(self, value: object) -> object:
        return None


@dataclass(frozen=True, slots=True)
class Redact(TextMask):
    """Every text shows as the same few characters."""

    replacement: str = "***"

    def sql(self, column: str, column_type: ColumnType) -> str:
        return unless_null(column, literal(self.replacement))

    def text(self, value: str) -> str:
        return self.replacement


@dataclass(frozen=True, slots=True)
class Constant(BaseMask):
    """Every value shows as the same value of the column's kind: text, number, boolean or date."""

    value: str | int | Decimal | bool

    def accepts(self, column: ColumnType) -> str | None:
        value = self.value
        if isinstance(value, bool):
            return None if column.base_type == "bool" else f"constant {value} does not suit {column.base_type}"
        if isinstance(value, int | Decimal):
            return self._accepts_number(Decimal(value), column)
        if column.category == "S":
            return None
        if column.base_type == "date" and _is_date(value):
            return None
        return f"constant {value!r} does not suit {column.base_type}"

    def _accepts_number(self, value: Decimal, column: ColumnType) -> str | None:
        if column.category != "N" or column.base_type == "oid" or column.base_type.startswith("reg"):
            return f"constant {value} does not suit {column.base_type}"
        if column.base_type in _INTEGERS and value != value.to_integral_value():
            return f"constant {value} is not a whole number"
        limit = largest(column)
        return f"constant {value} is out of range for the column" if limit is not None and abs(value) > limit else None

    def sql(self, column: str, column_type: ColumnType) -> str:
        if isinstance(self.value, bool):
            return unless_null(column, "true" if self.value else "false")
        if isinstance(self.value, str):
            kind = "pg_catalog.date" if column_type.base_type == "date" else "pg_catalog.text"
            return unless_null(column, literal(self.value).removesuffix("pg_catalog.text") + kind)
        return unless_null(column, f"'{self.value}'::pg_catalog.numeric")

    def apply(self, value: object) -> object:
        return None if value is None else self.value

    def apply_as(self, value: object, column_type: ColumnType) -> object:
        out = BaseMask.apply_as(self, value, column_type)
        if isinstance(out, str) and column_type.base_type == "date":
            return datetime.date.fromisoformat(out)
        if isinstance(out, int | Decimal) and not isinstance(out, bool):
            if column_type.base_type in ("float4", "float8"):
                return float(out)
            modifier = typmod(column_type)
            if column_type.base_type == "numeric" and modifier:
                return Decimal(out).quantize(Decimal(1).scaleb(-modifier[1]), rounding="ROUND_HALF_UP")
        return out


@dataclass(frozen=True, slots=True)
class Sql(BaseMask):
    """The policy's own SQL expression over `$1`. PostgreSQL alone can compute it."""

    expression: str

    @property
    def is_expression(self) -> bool:
        return True

    def accepts(self, column: ColumnType) -> str | None:
        return None

    def sql(self, column: str, column_type: ColumnType) -> str:
        return self.expression

    def apply(self, value: object) -> object:
        raise NotImplementedError("a mask written in SQL is computed by PostgreSQL only; it has no Python face")


def _is_date(text: str) -> bool:
    try:
        return datetime.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
