"""Statements that differ only in their constants share one plan.

A text is cut at its plain constants ('...' without backslash, unsigned numbers); what is left is the template. Two texts with the
same template have the same parse tree but for the values of those constants: a constant is one token whatever its value, and
texts with anything that could blur token borders (comments, dollar quotes, prefixed strings, parameters) have no template.
Plans in which a constant's value matters (GROUP BY ordinals, set_config) are not shared; the planner says which.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import NamedTuple

from rewrite.plan import Edit, Plan, Value, Verdict

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
    moved: Moved | None = None
    """Instead of both where edits take constants elsewhere."""
    apart: bool = True
    """No two strings have but white space between them, which PostgreSQL may read as one (manual section 4.1.2.1)."""

    def fill(self, text: str, c: Cut) -> Plan:
        """The plan for another text of the same template."""
        if self.moved is not None:
            return self.moved.fill(self.plan, text, c)
        constants = c.constants if self.apart else None
        if self.plan.verdict is Verdict.PASS:
            return Plan(Verdict.PASS, text, self.plan.statements, shareable=True, constants=constants)
        out = [self.pieces[0]]
        for constant, piece in zip(c.constants, self.pieces[1:], strict=True):
            out.append(constant)
            out.append(piece)
        starts = [0]
        for segment, constant in zip(c.segments, c.constants, strict=False):
            starts.append(starts[-1] + len(segment) + len(constant))
        edits = tuple(Edit(starts[i] + a, starts[i] + b, t) for i, a, b, t in self.edits)
        placed_by = self.plan.placed_by
        return Plan(
            Verdict.REWRITE, "".join(out), self.plan.statements, edits,
            placed_by=placed_by, shareable=True, constants=constants,
        )  # fmt: skip


Piece = str | int
"""Text that goes upstream, or the number of a constant."""


@dataclass(frozen=True, slots=True)
class Moved:
    """Constants go upstream in another place than they stand in, and are to be counted (`Plan.probes`)."""

    edits: tuple[tuple[int, int, int, int, tuple[Piece, ...]], ...]
    """(segment and offset in it where the edit begins, the same where it ends, what it is made of)."""
    values: tuple[tuple[int | None, ...], ...]
    """For each probe, and each of its values, the number of its constant."""

    def fill(self, plan: Plan, text: str, c: Cut) -> Plan:
        starts = _starts(c)
        out: list[str] = []
        edits = []
        at = 0
        for first, a, last, b, made in self.edits:
            start, end = starts[first] + a, starts[last] + b
            parts = tuple(p if isinstance(p, str) else _place(c, starts, p) for p in made)
            new = "".join(p if isinstance(p, str) else c.constants[p] for p in made)
            edits.append(Edit(start, end, new, parts if len(parts) > 1 else ()))
            out += (text[at:start], new)
            at = end
        out.append(text[at:])
        probes = tuple(
            replace(probe, values=tuple(_value(v, n, c, starts) for v, n in zip(probe.values, numbers, strict=True)))
            for probe, numbers in zip(plan.probes, self.values, strict=True)
        )
        return replace(plan, text="".join(out), edits=tuple(edits), probes=probes)


def _starts(c: Cut) -> list[int]:
    """Where each segment begins."""
    starts = [0]
    for segment, constant in zip(c.segments, c.constants, strict=False):
        starts.append(starts[-1] + len(segment) + len(constant))
    return starts


def _place(c: Cut, starts: list[int], number: int) -> tuple[int, int]:
    start = starts[number] + len(c.segments[number])
    return start, start + len(c.constants[number])


def _value(value: Value, number: int | None, c: Cut, starts: list[int]) -> Value:
    if number is None:
        return value
    start, end = _place(c, starts, number)
    constant = c.constants[number]
    sign = "-" if constant[0] != "'" and (value.text or "").startswith("-") else ""
    return replace(value, text=said(constant, sign), start=start - len(sign), end=end)


def said(constant: str, sign: str = "") -> str:
    """What a plain constant says."""
    return constant[1:-1].replace("''", "'") if constant[0] == "'" else sign + constant


def _moved(plan: Plan, c: Cut) -> Moved | None:
    starts = _starts(c)
    places = {_place(c, starts, n): n for n in range(len(c.constants))}
    edits = []
    for e in plan.edits:
        made: list[Piece] = []
        for part in e.parts or (e.text,):
            if isinstance(part, str):
                made.append(part)
                continue
            number = places.get(part)
            if number is None:
                return None
            made.append(number)
        first, last = bisect_right(starts, e.start) - 1, bisect_right(starts, e.end) - 1
        a, b = e.start - starts[first], e.end - starts[last]
        if a > len(c.segments[first]):
            return None
        if b > len(c.segments[last]):  # within, or right behind, the constant that follows
            if e.end != starts[last] + len(c.segments[last]) + len(c.constants[last]):
                return None
            last, b = last + 1, 0
        edits.append((first, a, last, b, tuple(made)))
    values = []
    for probe in plan.probes:
        numbers: list[int | None] = []
        for value in probe.values:
            if value.text is None:
                numbers.append(None)
                continue
            number = places.get((value.start, value.end))
            if number is None:
                number = places.get((value.start + 1, value.end)) if value.text.startswith("-") else None
            if number is None or said(c.constants[number], "-" if value.text.startswith("-") else "") != value.text:
                return None
            numbers.append(number)
        values.append(tuple(numbers))
    return Moved(tuple(edits), tuple(values))


def shape(plan: Plan, c: Cut) -> Shape | None:
    """Make a plan reusable; None when an edit does not lie within one segment."""
    apart = not any(segment.isspace() for segment in c.segments)
    if plan.verdict is Verdict.PASS:
        return Shape(plan, (), (), apart=apart)
    if plan.probes:
        moved = _moved(plan, c)
        return None if moved is None else Shape(plan, (), (), moved)
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
    return None if edits else Shape(plan, tuple(pieces), tuple(placed), apart=apart)
