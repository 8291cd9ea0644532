"""Statements that differ only in their constants share one plan.

A text is cut at its plain constants ('...' without backslash, unsigned numbers); what is left is the template. Two texts with the
same template have the same parse tree but for the values of those constants: a constant is one token whatever its value, and
texts with anything that could blur token borders (comments, dollar quotes, prefixed strings, parameters) have no template.
Plans in which a constant's value matters (GROUP BY ordinals, set_config) are not shared; the planner says which.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from rewrite.plan import Edit, Plan, Verdict

_UNSAFE = re.compile(r"""\\|\$|--|/\*|[eEbBxXnN]'|[uU]&|\0""")
WORD = r"[\w.\x80-\U0010ffff]"
"""What a digit beside it belongs to: to PostgreSQL every character beyond ASCII is a letter, spaces and signs included."""
NUMBER = rf"(?<!{WORD})[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?!{WORD})"
_CONSTANT = re.compile(rf"('(?:[^']|'')*'|{NUMBER})")
_TOKEN = re.compile(rf""" "(?:[^"]|"")*" | '(?:[^']|'')*' | {NUMBER} """, re.VERBOSE)


class Cut(NamedTuple):
    """A text cut at its constants: one more segment than constants."""

    key: str
    """The template itself: the segments, and whether each constant is a string or a number."""
    segments: list[str]
    constants: list[str]


def cut(text: str) -> Cut | None:
    """Cut a text at its constants; None when it has none or cannot be cut safely."""
    if _UNSAFE.search(text) is not None:
        return None
    parts = _CONSTANT.split(text) if '"' not in text else _split(text)
    segments, constants = parts[::2], parts[1::2]
    if not constants:
        return None
    bare = "".join(segments)
    if "'" in bare or bare.count('"') % 2:
        return None  # an unterminated string or identifier
    kinds = "".join(["s" if c[0] == "'" else "n" for c in constants])
    return Cut("\0".join(segments) + "\0" + kinds, segments, constants)


def _split(text: str) -> list[str]:
    """As re.split at the constants, where quoted identifiers may hold what looks like one."""
    parts, at = [], 0
    for m in _TOKEN.finditer(text):
        token = m.group()
        if token[0] == '"':
            continue
        parts.append(text[at : m.start()])
        parts.append(token)
        at = m.end()
    parts.append(text[at:])
    return parts


@dataclass(frozen=True, slots=True)
class Shape:
    """A plan made reusable for every text of its template."""

    plan: Plan
    pieces: tuple[str, ...]
    """What goes upstream between the constants."""
    edits: tuple[tuple[int, int, int, str], ...]
    """(segment, start, end, text) with offsets inside the segment."""

    def fill(self, text: str, c: Cut) -> Plan:
        """The plan for another text of the same template."""
        if self.plan.verdict is Verdict.PASS:
            return Plan(Verdict.PASS, text, self.plan.statements, shareable=True)
        out = [self.pieces[0]]
        for constant, piece in zip(c.constants, self.pieces[1:], strict=True):
            out.append(constant)
            out.append(piece)
        starts = [0]
        for segment, constant in zip(c.segments, c.constants, strict=False):
            starts.append(starts[-1] + len(segment) + len(constant))
        edits = tuple(Edit(starts[i] + a, starts[i] + b, t) for i, a, b, t in self.edits)
        placed_by = self.plan.placed_by
        return Plan(Verdict.REWRITE, "".join(out), self.plan.statements, edits, placed_by=placed_by, shareable=True)


def shape(plan: Plan, c: Cut) -> Shape | None:
    """Make a plan reusable; None when an edit does not lie within one segment."""
    if plan.verdict is Verdict.PASS:
        return Shape(plan, (), ())
    starts, at = [], 0
    for i, segment in enumerate(c.segments):
        starts.append(at)
        at += len(segment) + (len(c.constants[i]) if i < len(c.constants) else 0)
    placed = []
    pieces = []
    edits = list(plan.edits)
    for i, segment in enumerate(c.segments):
        begin, end = starts[i], starts[i] + len(segment)
        out, cursor = [], begin
        while edits and edits[0].start <= end and edits[0].end <= end:
            e = edits.pop(0)
            if e.start < begin:
                return None
            out.append(segment[cursor - begin : e.start - begin])
            out.append(e.text)
            cursor = e.end
            placed.append((i, e.start - begin, e.end - begin, e.text))
        out.append(segment[cursor - begin :])
        pieces.append("".join(out))
    return None if edits else Shape(plan, tuple(pieces), tuple(placed))
