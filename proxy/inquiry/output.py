"""Answers as text for people, and as CSV, JSON and JSON Lines for machines.

What stands in a trail was written by clients: it may steer a terminal, or be taken for a formula by whatever opens the CSV.
Control characters are shown escaped everywhere; a cell of CSV that begins like a formula gets an apostrophe before it, as
spreadsheets do.
"""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal

from proxy.audit.tail import safe

FORMATS = ("table", "json", "csv", "jsonl")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "|", "%")
_WIDEST = 60

Row = Sequence[object]


def told(value: object) -> str:
    """A value as text for people."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.isoformat(" ", "seconds" if value.microsecond == 0 else "milliseconds")
    if isinstance(value, float):
        return f"{value:.6f}".rstrip("0").rstrip(".")
    if isinstance(value, list | tuple):
        return ", ".join(map(told, value))
    if isinstance(value, dict):
        return ", ".join(f"{name}={told(item)}" for name, item in value.items())
    return safe(str(value))


def width(text: str) -> int:
    """Columns of a terminal."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 0 if unicodedata.combining(c) else 1 for c in text)


def _cut(text: str, widest: int) -> str:
    if width(text) <= widest:
        return text
    out, used = "", 0
    for c in text:
        used += width(c)
        if used > widest - 1:
            break
        out += c
    return out + "…"


def table(names: Sequence[str], rows: Iterable[Row], widest: int = _WIDEST, indent: str = "") -> str:
    """Columns under each other; numbers to the right."""
    rows = [tuple(row) for row in rows]
    cells = [[_cut(told(value), widest) for value in row] for row in rows]
    right = [bool(rows) and all(isinstance(row[n], int | float | Decimal | None) for row in rows) for n in range(len(names))]
    sizes = [max([width(name), *(width(row[n]) for row in cells)]) for n, name in enumerate(names)]

    def line(texts: Sequence[str]) -> str:
        out = (
            " " * (size - width(text)) + text if to_right else text + " " * (size - width(text))
            for text, size, to_right in zip(texts, sizes, right, strict=True)
        )
        return (indent + "  ".join(out)).rstrip()

    return "\n".join([line(list(names)), line(["-" * size for size in sizes]), *map(line, cells)])


def plain(value: object) -> object:
    """A value as JSON has it."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value)


def json_text(value: object, indent: int | None = None) -> str:
    """JSON in which nothing steers a terminal: what is not printable is escaped."""
    text = json.dumps(plain(value), ensure_ascii=False, indent=indent)
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def cell(value: object) -> str:
    """A value in a CSV file."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Decimal):
        return str(value)
    text = safe(json_text(value) if isinstance(value, dict | list | tuple) else str(plain(value)))
    return "'" + text if text.lstrip().startswith(_FORMULA) else text


def csv_lines(names: Sequence[str], rows: Iterable[Row]) -> Iterator[str]:
    """RFC 4180, without the last line end."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="")
    for row in _chain(names, rows):
        writer.writerow([cell(value) for value in row])
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()


def _chain(names: Sequence[str], rows: Iterable[Row]) -> Iterator[Row]:
    yield names
    yield from rows


def lines(form: str, names: Sequence[str], rows: Iterable[Row], widest: int = _WIDEST) -> Iterator[str]:
    """The answer in one of FORMATS, line by line."""
    if form == "table":
        yield table(names, rows, widest)
    elif form == "csv":
        yield from csv_lines(names, rows)
    elif form == "jsonl":
        for row in rows:
            yield json_text(dict(zip(names, row, strict=True)))
    else:
        first = True
        for row in rows:
            yield ("[" if first else ",") + json_text(dict(zip(names, row, strict=True)))
            first = False
        yield "[]" if first else "]"
