"""What all masks share: the base class, and the few helpers that write SQL nobody's search_path can change.

A mask is a frozen dataclass. Its SQL face and its Python face give the same result for every value; the parity test
(tests/e2e/test_mask_parity.py) holds them to it on a real server. `repr()` of a mask is its canonical form: it goes
into profile keys.

SQL rules: builtin functions with their schema, operators as OPERATOR(pg_catalog.x), everything in parentheses, ASCII
only (other characters of regular expressions as \\uXXXX escapes), so that client encodings do not matter. Regular
expressions and searches that only decide something use COLLATE "C"; those that return text keep the column's own
collation, because the result must sort as the column does, and therefore use nothing that depends on a collation
(explicit ranges only).
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from policies.model import ColumnType

TEXT = ColumnType("text", "S", "pg_catalog.text")
NUMERIC = ColumnType("numeric", "N", "pg_catalog.numeric")
_TYPMOD = re.compile(r"\((\d+)(?:,\s*(-?\d+))?\)")
_LIMITED_TEXT = ("varchar", "bpchar")


@dataclass(frozen=True, slots=True)
class BaseMask:
    """Implements policies.model.Mask; subclasses give `accepts`, `sql` and `apply`."""

    @property
    def name(self) -> str:
        return type(self).__name__.lower()

    @property
    def is_expression(self) -> bool:
        return False

    @property
    def companions(self) -> frozenset[str]:
        """Functions of the companion schema that the SQL face calls."""
        return frozenset()

    def accepts(self, column: ColumnType) -> str | None:
        raise NotImplementedError

    def sql(self, column: str, column_type: ColumnType) -> str:
        raise NotImplementedError

    def apply(self, value: object) -> object:
        raise NotImplementedError

    def apply_as(self, value: object, column_type: ColumnType) -> object:
        """The Python face for a value of a column of this type: what PostgreSQL gives for `(sql)::type`.

        Beyond `apply` this knows that blanks at the end of char(n) are padding and that a text too long for its column
        is cut.
        """
        if isinstance(value, str) and column_type.base_type == "bpchar":
            value = value.rstrip(" ")
        out = self.apply(value)
        limit = typmod(column_type)
        if isinstance(out, str) and limit and column_type.base_type in _LIMITED_TEXT:
            out = out[: limit[0]]
        return out


class TextMask(BaseMask):
    """A mask of character data: text, varchar, char, name, citext and domains over them."""

    __slots__ = ()

    def accepts(self, column: ColumnType) -> str | None:
        if column.category == "S":
            return None
        if column.category == "A":
            return f"{self.name} masks text, not arrays: use {{ each: … }}"
        return f"{self.name} masks text, not {column.base_type}"

    def apply(self, value: object) -> object:
        return None if value is None else self.text(_text(value))

    def text(self, value: str) -> str:
        raise NotImplementedError


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {type(value).__name__}")
    return value


def as_stored(value: float, column: ColumnType) -> float:
    """The number as a column of the type holds it: float4 has fewer digits."""
    return float(struct.unpack("f", struct.pack("f", value))[0]) if column.base_type == "float4" else value


def typmod(column: ColumnType) -> tuple[int, int] | None:
    """The modifier of a type: (length, 0) or (precision, scale)."""
    found = _TYPMOD.search(column.base_sql)
    return (int(found[1]), int(found[2] or 0)) if found else None


def as_text(column: str) -> str:
    """The column as text. Trailing blanks of char(n) go away here."""
    return f"(({column})::pg_catalog.text)"


def literal(value: str) -> str:
    """A text literal. standard_conforming_strings is pinned to on, so a backslash stands for itself."""
    return "'" + value.replace("'", "''") + "'::pg_catalog.text"


def op(left: str, symbol: str, right: str) -> str:
    return f"({left} OPERATOR(pg_catalog.{symbol}) {right})"


def call(function: str, *arguments: str) -> str:
    return f"pg_catalog.{function}({', '.join(arguments)})"


def concat(*parts: str) -> str:
    out = parts[0]
    for part in parts[1:]:
        out = op(out, "||", part)
    return out


def plain(value: str) -> str:
    """For searches that decide something: independent of the column's collation."""
    return f'({value} COLLATE pg_catalog."C")'


def matches(value: str, pattern: str) -> str:
    return op(plain(value), "~", literal(pattern))


def unless_null(column: str, result: str) -> str:
    return f"(CASE WHEN ({column}) IS NULL THEN NULL ELSE {result} END)"
