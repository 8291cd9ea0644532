"""A failing case made smaller: tokens are dropped as long as it fails in the same way.

Works on the text, so that failures which hang on how a statement was written survive. What PostgreSQL's grammar does not
accept is
not tried (unless it did not accept the statement to begin with).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from rewrite.pgtree import ParseError, parse, tokens
from tests.generate.statements import Case, Step

Fails = Callable[[Case], bool]


def shrink(case: Case, fails: Fails, tries: int = 300) -> Case:
    """The smallest case found that still fails, after at most `tries` runs."""
    left = [tries]

    def still(candidate: Case) -> bool:
        left[0] -= 1
        return left[0] >= 0 and fails(candidate)

    case = _drop_steps(case, still)
    for number, step in enumerate(case.steps):
        if step.parameters is not None and still(inlined := _with_step(case, number, _inline(step))):
            case = inlined
    if case.path and still(plain := replace(case, path=())):
        case = plain
    for number in range(len(case.steps)):
        case = _shrink_step(case, number, still, left)
    return case


def _drop_steps(case: Case, still: Fails) -> Case:
    for number in reversed(range(len(case.steps))):
        steps = case.steps[:number] + case.steps[number + 1 :]
        if steps and still(shorter := replace(case, steps=steps)):
            case = shorter
    return case


def _with_step(case: Case, number: int, step: Step) -> Case:
    return replace(case, steps=(*case.steps[:number], step, *case.steps[number + 1 :]))


def _inline(step: Step) -> Step:
    text = step.text
    for number, value in reversed(list(enumerate(step.parameters or (), 1))):
        text = text.replace(f"${number}::", f"'{value}'::")
    return replace(step, text=text, parameters=None)


def _shrink_step(case: Case, number: int, still: Fails, left: list[int]) -> Case:
    step = case.steps[number]
    strict = _parses(step.text)
    try:
        pieces = _pieces(step.text)
    except ParseError:
        return case
    plain = [f" {word}" for word in _plain(pieces)]
    if still(candidate := _with_step(case, number, replace(step, text="".join(plain).strip()))):
        case, pieces = candidate, plain
    again = True
    while again and left[0] > 0:
        again = False
        for start, end, put in _cuts(pieces):
            fewer = [*pieces[:start], *put, *pieces[end:]]
            text = "".join(fewer).strip()
            if strict and not _parses(text):
                continue
            candidate = _with_step(case, number, replace(step, text=text))
            if still(candidate):
                case, pieces, again = candidate, fewer, True
                break
            if left[0] <= 0:
                break
    return case


def _parses(text: str) -> bool:
    try:
        return bool(parse(text))
    except ParseError:
        return False


def _pieces(text: str) -> list[str]:
    """The tokens, each with the white space and comments before it."""
    raw = text.encode()
    out, at = [], 0
    for token in tokens(text):
        out.append(raw[at : token.end].decode())
        at = token.end
    return [*out, raw[at:].decode()] if at < len(raw) else out


def _plain(pieces: list[str]) -> list[str]:
    """The tokens alone."""
    return [t.text for t in tokens("".join(pieces))]


def _cuts(pieces: list[str]) -> Iterator[tuple[int, int, list[str]]]:
    """Ranges to drop, with what comes in their place: the biggest first, then what stands in parentheses, then
    simplifications."""
    count = len(pieces)
    closing = _closing(pieces)
    size = count // 2
    while size >= 1:
        for start in range(0, count - size + 1, max(1, size // 2)):
            yield start, start + size, []
        size = size * 2 // 3
    for start, end in closing:
        yield start, end + 1, pieces[start + 1 : end]
        yield start, end + 1, [" 1"]
        yield start, end + 1, [" NULL"]
        if start:
            yield start - 1, end + 1, [" 1"]
            yield start - 1, end + 1, [" NULL"]


def _closing(pieces: list[str]) -> list[tuple[int, int]]:
    """Pairs of matching parentheses, the outermost first."""
    open_, out = [], []
    for index, piece in enumerate(pieces):
        word = piece.strip()
        if word.endswith("("):
            open_.append(index)
        elif word.endswith(")") and open_:
            out.append((open_.pop(), index))
    return sorted(out, key=lambda p: p[0] - p[1])
