"""round and bucket: numbers to a multiple of a step.

Computed in numeric, exactly. Near the end of a type's range, where the rounded value would not fit (and PostgreSQL
would raise an error that tells about the value), numbers are cut towards zero instead.
"""

from __future__ import annotations

import decimal
import math
from dataclasses import dataclass
from decimal import Decimal

from policies.masks.base import BaseMask, as_stored, call, op, typmod
from policies.model import ColumnType

_EXACT = decimal.Context(prec=150_000, rounding=decimal.ROUND_HALF_UP, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)
_INTEGER_LIMITS = {"int2": 2**15 - 1, "int4": 2**31 - 1, "int8": 2**63 - 1}
_FLOAT_CAPS = {"float4": 1e38, "float8": 1e300}
_TYPES = ("int2", "int4", "int8", "numeric", "money", "float4", "float8")


def largest(column: ColumnType) -> Decimal | None:
    """The largest magnitude a column of the type can hold, or None when there is no practical end."""
    if column.base_type in _INTEGER_LIMITS:
        return Decimal(_INTEGER_LIMITS[column.base_type])
    if column.base_type == "money":
        return Decimal("9223372036854775.807")  # eight bytes, up to three decimals by locale
    if column.base_type == "numeric":
        modifier = typmod(column)
        if modifier:
            precision, scale = modifier
            return (Decimal(10**precision) - 1).scaleb(-scale, _EXACT)
    if column.base_type in _FLOAT_CAPS:
        return Decimal(_FLOAT_CAPS[column.base_type])
    return None


@dataclass(frozen=True, slots=True)
class _Stepped(BaseMask):
    step: Decimal

    def accepts(self, column: ColumnType) -> str | None:
        if column.base_type not in _TYPES:
            kind = "an array: use { each: … }" if column.category == "A" else column.base_type
            return f"{self.name} masks numbers, not {kind}"
        scale = 0 if column.base_type in _INTEGER_LIMITS else None
        modifier = typmod(column)
        if column.base_type == "numeric" and modifier:
            scale = modifier[1]
        if scale is not None and self.step <= Decimal(1).scaleb(-scale):
            return f"{self.name} to {self.step} hides nothing in {column.base_sql.removeprefix('pg_catalog.')}"
        return None

    def sql(self, column: str, column_type: ColumnType) -> str:
        cap = _FLOAT_CAPS.get(column_type.base_type)
        if cap is None:
            return self._stepped_sql(f"(({column})::pg_catalog.numeric)", column_type)
        value = f"(({column})::pg_catalog.float8)"
        nan, infinity = "'NaN'::pg_catalog.float8", "'Infinity'::pg_catalog.float8"
        high, low = f"'{cap:.0e}'::pg_catalog.float8", f"'-{cap:.0e}'::pg_catalog.float8"
        stepped = self._stepped_sql(f"({value}::pg_catalog.numeric)", column_type)
        return (
            f"(CASE WHEN {op(value, '=', nan)} THEN {nan} WHEN {op(value, '>=', high)} THEN {infinity} "
            f"WHEN {op(value, '<=', low)} THEN '-Infinity'::pg_catalog.float8 ELSE {stepped}::pg_catalog.float8 END)"
        )

    def _stepped_sql(self, value: str, column_type: ColumnType) -> str:
        step = _numeric(self.step)
        cut = op(value, "-", call("mod", value, step))
        limit = largest(column_type)
        if limit is not None and column_type.base_type not in _FLOAT_CAPS:
            near = op(call("abs", value), ">", _numeric(_EXACT.subtract(limit, self.step)))
            return f"(CASE WHEN {near} THEN {cut} ELSE {self._exact_sql(value, step)} END)"
        if column_type.base_type in _FLOAT_CAPS:
            return self._exact_sql(value, step)
        # NaN, and from PostgreSQL 14 on the infinities: mod() is NaN, and they stay what they are.
        special = op(call("mod", value, step), "=", "'NaN'::pg_catalog.numeric")
        return f"(CASE WHEN {special} THEN {value} ELSE {self._exact_sql(value, step)} END)"

    def _exact_sql(self, value: str, step: str) -> str:
        raise NotImplementedError

    def _exact(self, value: Decimal) -> Decimal:
        raise NotImplementedError

    def apply(self, value: object) -> object:
        return self.apply_as(value, ColumnType("float8" if isinstance(value, float) else "numeric", "N", "numeric"))

    def apply_as(self, value: object, column_type: ColumnType) -> object:
        if value is None:
            return None
        if isinstance(value, float):
            value = as_stored(value, column_type)
            cap = _FLOAT_CAPS.get(column_type.base_type, math.inf)
            if math.isnan(value):
                return value
            if abs(value) >= cap:
                return math.copysign(math.inf, value)
            return as_stored(float(self._exact(Decimal(f"{value:.15g}"))), column_type)
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            raise TypeError(f"expected a number, got {type(value).__name__}")
        number = Decimal(value)
        if not number.is_finite():
            return number
        limit = largest(column_type)
        if limit is not None and number.copy_abs() > _EXACT.subtract(limit, self.step):
            out = _EXACT.subtract(number, _EXACT.remainder(number, self.step))
        else:
            out = self._exact(number)
        return int(out) if isinstance(value, int) and out == out.to_integral_value() else out


@dataclass(frozen=True, slots=True)
class Round(_Stepped):
    """The nearest multiple of the step; halves go away from zero."""

    def _exact_sql(self, value: str, step: str) -> str:
        places = _power_of_ten(self.step)
        if places is not None:
            return call("round", value, f"'{-places}'::pg_catalog.int4")
        rest = call("mod", call("abs", value), step)
        up = f"(CASE WHEN {op(op(rest, '*', '2'), '>=', step)} THEN {step} ELSE 0 END)"
        return op(call("sign", value), "*", op(op(call("abs", value), "-", rest), "+", up))

    def _exact(self, value: Decimal) -> Decimal:
        rest = _EXACT.remainder(value.copy_abs(), self.step)
        base = _EXACT.subtract(value.copy_abs(), rest)
        if _EXACT.add(rest, rest) >= self.step:
            base = _EXACT.add(base, self.step)
        return base.copy_sign(value) if base else Decimal(0)


@dataclass(frozen=True, slots=True)
class Bucket(_Stepped):
    """The lower end of the bucket of this size that holds the number."""

    def _exact_sql(self, value: str, step: str) -> str:
        rest = call("mod", value, step)
        down = f"(CASE WHEN {op(rest, '<', '0')} THEN {step} ELSE 0 END)"
        return op(op(value, "-", rest), "-", down)

    def _exact(self, value: Decimal) -> Decimal:
        rest = _EXACT.remainder(value, self.step)
        base = _EXACT.subtract(value, rest)
        return _EXACT.subtract(base, self.step) if rest < 0 else base


def _numeric(value: Decimal) -> str:
    return f"'{value:f}'::pg_catalog.numeric"


def _power_of_ten(step: Decimal) -> int | None:
    """n when step is 10**n."""
    _, digits, exponent = step.normalize().as_tuple()
    return exponent if digits == (1,) and isinstance(exponent, int) else None
