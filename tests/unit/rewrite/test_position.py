"""Error positions: from the text that went upstream back to the client's own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rewrite.plan import Edit, Plan, Verdict
from tests.support.minibank import plan


@st.composite
def edited(draw: st.DrawFn) -> tuple[str, tuple[Edit, ...]]:
    text = draw(st.text(alphabet="ab中 ", max_size=40))
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=8)))
    spans = list(zip(cuts[::2], cuts[1::2], strict=False))
    return text, tuple(Edit(a, b, draw(st.text(alphabet="XY文", max_size=6))) for a, b in spans)


def _apply(text: str, edits: tuple[Edit, ...]) -> tuple[str, list[int | None]]:
    """The edited text, and for each of its characters the client's position (1-based) or None for generated ones."""
    out, origin, at = "", list[int | None](), 0
    for e in edits:
        out += text[at : e.start] + e.text
        origin += [*range(at + 1, e.start + 1), *[None] * len(e.text)]
        at = e.end
    return out + text[at:], [*origin, *range(at + 1, len(text) + 1)]


@given(edited())
def test_every_character_of_the_client_maps_back(made: tuple[str, tuple[Edit, ...]]) -> None:
    text, edits = made
    new, origin = _apply(text, edits)
    plan = Plan(Verdict.REWRITE, new, (), edits)
    for position, expected in enumerate(origin, 1):
        got = plan.client_position(position)
        if expected is not None:
            assert got == expected
        else:
            assert got is None or got in {e.start + 1 for e in edits}


def test_after_a_derived_table() -> None:
    text = "SELECT '中文', phone FROM bank.customers WHERE nonsense"
    got = plan(text)
    where = got.text.index("nonsense") + 1
    assert got.client_position(where) == text.index("nonsense") + 1
    assert got.client_position(1) == 1
    inside = got.text.index("overlay") + 1
    assert got.client_position(inside) == text.index("bank.customers") + 1
