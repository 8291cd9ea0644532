"""docs/audit.md names every field that is written, under its kind, and none that is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxy.audit.chain import HEAD_SIZE
from proxy.audit.record import COMMON, FIELDS, NESTED, RESULT, Kind
from proxy.audit.shape import SHAPES

TEXT = (Path(__file__).parents[3] / "docs" / "audit.md").read_text(encoding="utf-8")
_, *_SECTIONS = re.split(r"^### `(\w+)`\n", TEXT.partition("## No secrets inside")[0], flags=re.MULTILINE)
SECTIONS = dict(zip(_SECTIONS[::2], _SECTIONS[1::2], strict=True))


def rows(text: str) -> list[str]:
    """The names in the first column of the tables."""
    cells = re.findall(r"^\| (`[^|]*`) \|", text, flags=re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]


def test_every_kind_has_a_section() -> None:
    assert set(SECTIONS) == {kind.value for kind in Kind}


@pytest.mark.parametrize("kind", list(Kind))
def test_every_field_of_a_kind_is_documented_in_order(kind: Kind) -> None:
    expected = list(FIELDS[kind])
    if kind is Kind.DECISION:
        expected += NESTED["touches"]
    elif kind is Kind.REFUSED:
        expected = list(NESTED["refusal"])  # the rest is said by reference
        assert (*FIELDS[Kind.REFUSED], *RESULT) == FIELDS[Kind.DECISION]
    elif kind is Kind.SEGMENT:
        expected += NESTED["torn"]
    assert rows(SECTIONS[kind.value]) == expected


def test_the_common_fields_are_documented() -> None:
    before = TEXT.partition("### `decision`")[0].partition("## Fields")[2]
    assert rows(before) == list(COMMON)


def test_every_field_has_a_shape_and_nothing_else() -> None:
    assert set(SHAPES) == {*COMMON, *(name for fields in FIELDS.values() for name in fields)}


def test_the_size_of_a_head_is_right() -> None:
    assert f"they are {HEAD_SIZE} bytes" in TEXT
