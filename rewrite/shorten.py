"""A long list of constants is planned as a short one.

A bulk INSERT of ten thousand rows, an IN list of as many numbers: to the planner they say no more than their first rows. Of each
such list only the rows and items of different shape are kept, the short text is planned like any other, and its edits are carried
over. The server gets the client's whole text. What counts as a list: constants alone (strings, numbers, NULL, TRUE, FALSE,
DEFAULT), directly behind VALUES, IN or ARRAY. Texts whose tokens a glance cannot tell (comments, dollar quotes, prefixed strings)
are left as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from rewrite.plan import Edit, Plan, Refusal, Verdict
from rewrite.template import NUMBER, WORD

WORTH_IT = 8192
"""Texts below this many characters are planned as they are."""
FULL = 1 << 20
"""Texts with more characters than this outside string constants are not planned in masked sessions: it would take seconds."""
_STRING = r"'(?:[^']|'')*+'"
_CONSTANT = rf"(?:{_STRING}|[+-]?\s*+{NUMBER}|(?:NULL|TRUE|FALSE|DEFAULT)(?!{WORD}))"
_ROW = rf"\(\s*+{_CONSTANT}(?:\s*+,\s*+{_CONSTANT})*+\s*+\)"
_ITEM = rf"(?:{_CONSTANT}|{_ROW})"
_TOKEN = re.compile(
    rf"""(?<!{WORD})(?:
           VALUES\s*+(?P<rows>{_ROW}(?:\s*+,\s*+{_ROW}){{16,}}+)
         | IN\s*+\(\s*+(?P<items>{_ITEM}(?:\s*+,\s*+{_ITEM}){{16,}}+)(?=\s*+[,)])
         | ARRAY\s*+\[\s*+(?P<array>{_CONSTANT}(?:\s*+,\s*+{_CONSTANT}){{16,}}+)(?=\s*+[,\]])
         )
       | (?P<unclear>--|/\*|\$|\0|(?<!{WORD})(?:[ebxn]'|u&['"]))
       | {_STRING} | "(?:[^"]|"")*+"
       | (?P<open>['"])""",
    re.VERBOSE | re.IGNORECASE,
)
_PART = re.compile(_ITEM, re.IGNORECASE)
_STRINGS = re.compile(_STRING)
_NOTHING = re.compile(rf"{_STRING}|\s++")
_SHAPE = re.compile(rf"({_STRING})|{NUMBER}")


@dataclass(frozen=True, slots=True)
class Short:
    """A text with its lists shortened."""

    text: str
    lists: tuple[tuple[int, int, int], ...]
    """(where a list begins in the short text, where it ends there, how many characters it lacks)."""

    def whole(self, plan: Plan, text: str) -> Plan | None:
        """The plan of the client's text from that of the short one; None when it depends on what has been left out."""
        if plan.verdict is Verdict.NEED:
            return plan
        if plan.verdict is Verdict.REFUSE:
            return None if plan.refusal is None else Plan(Verdict.REFUSE, "", refusal=self._moved(plan.refusal), need=plan.need)
        if not plan.shareable or plan.probes:
            return None
        if plan.verdict is Verdict.PASS:
            return Plan(Verdict.PASS, text, plan.statements, shareable=True)
        edits = []
        for e in plan.edits:
            if any(begin < e.end and e.start < end for begin, end, _ in self.lists):
                return None
            moved = sum(lacking for begin, _, lacking in self.lists if begin <= e.start)
            edits.append(Edit(e.start + moved, e.end + moved, e.text))
        out: list[str] = []
        at = 0
        for e in edits:
            out += (text[at : e.start], e.text)
            at = e.end
        out.append(text[at:])
        return Plan(Verdict.REWRITE, "".join(out), plan.statements, tuple(edits), placed_by=plan.placed_by, shareable=True)

    def _moved(self, refusal: Refusal) -> Refusal:
        at = refusal.position
        if at is None:
            return refusal
        within = any(begin < at <= end for begin, end, _ in self.lists)
        moved = None if within else at + sum(lacking for _, end, lacking in self.lists if end < at)
        return replace(refusal, position=moved)


def shorten(text: str) -> Short | None:
    """The text with its long lists shortened; None when it has none, or cannot be read at a glance.

    Backslashes in strings stand for themselves: not for texts read with standard_conforming_strings off.
    """
    pieces: list[str] = []
    lists = []
    at = length = 0
    for token in _TOKEN.finditer(text):
        if token["unclear"] is not None or token["open"] is not None:
            return None
        group = token.lastgroup
        if group is None or _is_qualified(text, token.start()):
            continue
        whole = token[group]
        kept = ", ".join(_kept(whole))
        if len(kept) >= len(whole):
            continue
        begin = token.start(group)
        pieces += (text[at:begin], kept)
        length += begin - at
        lists.append((length, length + len(kept), len(whole) - len(kept)))
        length += len(kept)
        at = token.end(group)
    if not lists:
        return None
    pieces.append(text[at:])
    return Short("".join(pieces), tuple(lists))


def weight(text: str) -> int:
    """What there is to read in a text: characters that are neither blank nor in string constants."""
    return len(_NOTHING.sub("", text))


def is_too_long(text: str) -> bool:
    """Whether planning would keep everybody waiting: what counts is what is not in string constants."""
    return len(text) > FULL and len(_STRINGS.sub("", text)) > FULL


def _is_qualified(text: str, at: int) -> bool:
    """Behind a dot, VALUES, IN and ARRAY are the names of functions."""
    while at > 0 and text[at - 1].isspace():
        at -= 1
    return text[at - 1 : at] == "."


def _kept(items: str) -> Iterator[str]:
    """Two of each shape: one item is another thing than a list."""
    seen: dict[str, int] = {}
    for part in _PART.finditer(items):
        item = part.group()
        shape = _SHAPE.sub(_kind, item).upper()
        count = seen.get(shape, 0)
        if count < 2:
            seen[shape] = count + 1
            yield item


def _kind(constant: re.Match[str]) -> str:
    """As PostgreSQL types them: unknown, integer, and numbers that do not fit into one."""
    if constant[1] is not None:
        return "s"
    return "i" if constant[0].isdigit() and len(constant[0]) < 10 else "n"
