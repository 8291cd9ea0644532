"""A fixed part of the labelled sets, with thresholds. All of it, with more rows: `python -m tests.discovery`."""

from __future__ import annotations

import pytest

from tests.discovery.generate import read_set
from tests.discovery.measure import run, score


@pytest.mark.parametrize(
    ("name", "precision", "recall"), [("dev", 0.97, 0.97), ("heldout", 0.93, 0.95), ("fresh", 0.93, 0.95), ("terse", 0.93, 0.95)]
)
def test_precision_and_recall(name: str, precision: float, recall: float) -> None:
    got = score(run(read_set(name), rows=40, seed=7))
    assert got.class_precision >= precision
    assert got.class_recall >= recall


def test_names_alone_help_with_empty_tables() -> None:
    got = score(run([t for t in read_set("heldout") if t.empty], rows=0))
    assert got.class_precision >= 0.9
    assert got.class_recall >= 0.9


def test_misleading_names() -> None:
    got = score(run([t for t in read_set("dev") if t.schema == "traps"], rows=40, seed=7))
    assert got.class_precision >= 0.9
    assert got.class_recall >= 0.9
