"""truncate: dates and times to the beginning of their year, month, day, hour …

timestamptz is truncated in UTC, whatever the session's time zone: the same moment shows the same for everybody.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from policies.masks.base import BaseMask, call, literal, op
from policies.model import ColumnType

UNITS = ("year", "quarter", "month", "week", "day", "hour", "minute")
_FOR_TYPE = {
    "date": UNITS[:4],
    "timestamp": UNITS,
    "timestamptz": UNITS,
    "time": UNITS[5:],
}


@dataclass(frozen=True, slots=True)
class Truncate(BaseMask):
    unit: str

    def accepts(self, column: ColumnType) -> str | None:
        units = _FOR_TYPE.get(column.base_type)
        if units is None:
            return f"truncate masks date, timestamp and time, not {column.base_type}"
        if self.unit not in units:
            return f"truncate to the {self.unit} does not hide anything, or has no meaning, in {column.base_type}"
        return None

    def sql(self, column: str, column_type: ColumnType) -> str:
        unit = literal(self.unit)
        if column_type.base_type == "time":
            return f"({call('date_trunc', unit, f'({column})::pg_catalog.interval')})::pg_catalog.time"
        if column_type.base_type == "timestamptz":
            utc = "'UTC'::pg_catalog.text"
            return call("timezone", utc, call("date_trunc", unit, call("timezone", utc, column)))
        if column_type.base_type == "timestamp":
            return call("date_trunc", unit, f"({column})::pg_catalog.timestamp")
        # Dates reach further than timestamps; one that cannot be truncated shows as NULL rather than as an error.
        far = op(f"({column})", ">", "'200000-01-01'::pg_catalog.date")
        too_far = f"({far} AND {call('isfinite', f'({column})')})"
        truncated = f"({call('date_trunc', unit, f'({column})::pg_catalog.timestamp')})::pg_catalog.date"
        return f"(CASE WHEN {too_far} THEN NULL ELSE {truncated} END)"

    def apply(self, value: object) -> object:
        if value is None:
            return None
        if isinstance(value, datetime):
            if value.tzinfo is not None:
                return _truncate(value.astimezone(UTC), self.unit)
            return _truncate(value, self.unit)
        if isinstance(value, date):
            return _truncate(datetime(value.year, value.month, value.day), self.unit).date()
        if isinstance(value, time):
            return value.replace(minute=value.minute if self.unit == "minute" else 0, second=0, microsecond=0)
        raise TypeError(f"expected a date or time, got {type(value).__name__}")


def _truncate(value: datetime, unit: str) -> datetime:
    out = value.replace(second=0, microsecond=0, fold=0)
    if unit == "minute":
        return out
    out = out.replace(minute=0)
    if unit == "hour":
        return out
    out = out.replace(hour=0)
    if unit == "day":
        return out
    if unit == "week":
        return out - timedelta(days=out.weekday())
    out = out.replace(day=1)
    if unit == "month":
        return out
    return out.replace(month=1 if unit == "year" else (out.month - 1) // 3 * 3 + 1)
