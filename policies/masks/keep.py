"""keep: the first and last characters stay, the rest is hidden."""

from __future__ import annotations

from dataclasses import dataclass

from policies.masks.base import TextMask, as_text, call, concat, literal, op
from policies.model import ColumnType


@dataclass(frozen=True, slots=True)
class Keep(TextMask):
    """Show `first` characters at the start and `last` at the end.

    As many fill characters as there are hidden ones stand between; with `fill_length` always that many, which hides the
    length too. A value of no more than first + last characters is hidden altogether: keep never shows a whole value.
    """

    first: int = 0
    last: int = 0
    fill: str = "*"
    fill_length: int | None = None

    def sql(self, column: str, column_type: ColumnType) -> str:
        value = as_text(column)
        length = call("length", value)
        shown = self.first + self.last
        if self.fill_length is None:
            middle = call("repeat", literal(self.fill), op(length, "-", str(shown)))
            whole = call("repeat", literal(self.fill), length)
        else:
            middle = whole = literal(self.fill * self.fill_length)
        parts = [call("left", value, str(self.first))] if self.first else []
        parts.append(middle)
        if self.last:
            parts.append(call("right", value, str(self.last)))
        # For NULL the comparison is not true, and NULL || x is NULL.
        return f"(CASE WHEN {op(length, '<=', str(shown))} THEN {whole} ELSE {concat(*parts)} END)"

    def text(self, value: str) -> str:
        shown = self.first + self.last
        hidden = len(value) if len(value) <= shown else len(value) - shown
        middle = self.fill * (hidden if self.fill_length is None else self.fill_length)
        if len(value) <= shown:
            return middle
        return value[: self.first] + middle + (value[-self.last :] if self.last else "")
