"""Precision and recall of the detectors over a labelled set."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from policies.detect import PROPOSE, Finding, Subject, examine_table
from tests.discovery.generate import LabelledColumn, LabelledTable
from tests.discovery.values import TODAY

BASE_TYPES = {
    "int": "int4",
    "bigint": "int8",
    "smallint": "int2",
    "char": "bpchar",
    "boolean": "bool",
    "decimal": "numeric",
    "double": "float8",
    "real": "float4",
}
EVIDENCE = {"names and values": (True, True), "names only": (True, False), "values only": (False, True)}


@dataclass(frozen=True)
class Outcome:
    where: str
    column: LabelledColumn
    finding: Finding | None

    @property
    def proposed(self) -> str | None:
        return self.finding.kind if self.finding is not None and self.finding.confidence >= PROPOSE else None


@dataclass
class Score:
    """Counts of right, wrong and missed columns: as sensitive, and with the right class."""

    right: int = 0
    wrong: int = 0
    missed: int = 0
    by_class: dict[str, Counter[str]] = field(default_factory=dict)
    right_class: int = 0

    @property
    def precision(self) -> float:
        return self.right / (self.right + self.wrong) if self.right + self.wrong else 1.0

    @property
    def recall(self) -> float:
        return self.right / (self.right + self.missed) if self.right + self.missed else 1.0

    @property
    def class_precision(self) -> float:
        return self.right_class / (self.right + self.wrong) if self.right + self.wrong else 1.0

    @property
    def class_recall(self) -> float:
        return self.right_class / (self.right + self.missed) if self.right + self.missed else 1.0


def base_type(declared: str) -> tuple[str, bool]:
    """pg_type's name of a declared type, and whether it is an array."""
    word = declared.split("(")[0]
    array = word.endswith("[]")
    word = word.removesuffix("[]")
    return BASE_TYPES.get(word, word), array


def as_text(value: Any) -> str | None:
    """As the sampler gets it: the type's text form, arrays and documents as JSON."""
    if value is None:
        return None
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def run(
    tables: Iterable[LabelledTable], *, rows: int = 200, seed: int = 1, names: bool = True, values: bool = True
) -> list[Outcome]:
    out = []
    for table in tables:
        given = []
        for column in table.columns:
            kind, array = base_type(column.type)
            subject = Subject(table.schema, table.name, column.name, kind, column.comment, table.comment, array)
            given.append((subject, [as_text(v) for v in table.values(column, rows, seed)] if values else []))
        examined = examine_table(given, TODAY, names=names, use_values=values)
        out += [
            Outcome(f"{table.schema}.{table.name}.{c.name}", c, e.finding) for c, e in zip(table.columns, examined, strict=True)
        ]
    return out


def score(outcomes: Iterable[Outcome]) -> Score:
    total = Score()
    for outcome in outcomes:
        if not outcome.column.counted:
            continue
        labels, proposed = outcome.column.labels, outcome.proposed
        if labels and proposed:
            total.right += 1
            total.right_class += proposed in labels
        elif labels:
            total.missed += 1
        elif proposed:
            total.wrong += 1
        if proposed:
            total.by_class.setdefault(proposed, Counter())["right" if proposed in labels else "wrong"] += 1
        if labels and proposed not in labels:
            total.by_class.setdefault(min(labels), Counter())["missed"] += 1
    return total
