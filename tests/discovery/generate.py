"""Reads the labelled schemas (`sets/*.txt`) and fills their columns with values, the same ones for the same seed."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.discovery.values import GENERATORS, SERIALS, from_faker

SETS = Path(__file__).parent / "sets"
UNCOUNTED = "?"
HARMLESS = "-"


@dataclass(frozen=True)
class LabelledColumn:
    name: str
    type: str
    generator: str
    labels: frozenset[str]
    """Classes that are right; empty: harmless."""
    counted: bool
    nulls: float
    comment: str | None


@dataclass(frozen=True)
class LabelledTable:
    schema: str
    name: str
    comment: str | None
    empty: bool
    columns: list[LabelledColumn] = field(default_factory=list)

    def values(self, column: LabelledColumn, rows: int, seed: int) -> list[Any]:
        """The column's values from top to bottom."""
        r = random.Random(f"{seed}/{self.schema}.{self.name}.{column.name}")
        if self.empty:
            return []
        if column.generator in SERIALS:
            make = SERIALS[column.generator]()
        elif column.generator.startswith("faker_"):
            make = lambda r: from_faker(column.generator, r)  # noqa: E731
        else:
            make = GENERATORS[column.generator]
        return [None if r.random() < column.nulls else make(r) for _ in range(rows)]


def read_set(name: str) -> list[LabelledTable]:
    """The tables of one set: `dev`, `heldout` or `sealed`."""
    return list(_tables((SETS / f"{name}.txt").read_text(encoding="utf-8")))


def _tables(text: str) -> Iterator[LabelledTable]:
    schema = ""
    table: LabelledTable | None = None
    for raw in text.splitlines():
        line, _, comment = raw.partition(" -- ")
        line = re.sub(r"(^|\s)#.*", "", line)
        words = line.split()
        if not words:
            continue
        if words[0] == "schema":
            schema = words[1]
        elif words[0] == "table":
            if table is not None:
                yield table
            table = LabelledTable(schema, words[1], comment.strip() or None, "empty" in words[2:])
        else:
            assert table is not None
            table.columns.append(_column(words, comment.strip() or None))
    if table is not None:
        yield table


def _column(words: list[str], comment: str | None) -> LabelledColumn:
    name, kind, generator, label, *options = words
    assert generator.startswith("faker_") or generator in GENERATORS or generator in SERIALS, f"no generator {generator}"
    nulls = next((float(o.removeprefix("nulls=")) for o in options if o.startswith("nulls=")), 0.0)
    counted = label != UNCOUNTED
    labels = frozenset(label.split("|")) if counted and label != HARMLESS else frozenset()
    return LabelledColumn(name, kind, generator, labels, counted, nulls, comment)
