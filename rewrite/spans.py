"""Where in the client's text a relation is named: the exact bytes an edit may replace.

libpg_query gives the byte where a name starts; the tokens give the rest: qualified names, `ONLY`, the old-style `*`, the column
list of COPY, `TABLE name`.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

from rewrite.pgtree import Token, tokens


class SpanError(Exception):
    """The text around a name is not what the parse tree says; the statement is refused."""


@dataclass(frozen=True, slots=True)
class NameSpan:
    """Bytes of a relation's name [start, end), and of the whole construct [outer_start, outer_end) with ONLY, `*`, TABLE."""

    start: int
    end: int
    outer_start: int
    outer_end: int
    table_command: bool
    """The construct is the command `TABLE name`."""


class Spans:
    def __init__(self, text: str) -> None:
        self.tokens: list[Token] = tokens(text)
        self.starts = [t.start for t in self.tokens]

    def at(self, offset: int) -> int:
        """Index of the token that starts at the byte offset."""
        i = bisect_left(self.starts, offset)
        if i == len(self.starts) or self.starts[i] != offset:
            raise SpanError("no token at the place of a name")
        return i

    def _word(self, i: int) -> str:
        return self.tokens[i].text.lower() if 0 <= i < len(self.tokens) else ""

    def _name_end(self, i: int, parts: int) -> int:
        """Index of the last token of a name of `parts` parts that starts at token i."""
        for _ in range(parts - 1):
            i = self._identifier_end(i)
            if self._word(i + 1) != ".":
                raise SpanError("a qualified name is not written as expected")
            i += 2
        return self._identifier_end(i)

    def _identifier_end(self, i: int) -> int:
        text = self.tokens[i].text
        if text[:3].lower() == 'u&"' and self._word(i + 1) == "uescape":
            return i + 2
        return i

    def relation(self, location: int, parts: int, *, only: bool = False) -> NameSpan:
        first = self.at(location)
        last = self._name_end(first, parts)
        outer_first, outer_last = first, last
        if only:
            if self._word(first - 1) == "only":
                outer_first = first - 1
            elif self._word(first - 1) == "(" and self._word(first - 2) == "only" and self._word(last + 1) == ")":
                outer_first, outer_last = first - 2, last + 1
            else:
                raise SpanError("ONLY is not written as expected")
        elif self._word(last + 1) == "*":
            outer_last = last + 1
        table = self._word(outer_first - 1) == "table"
        if table:
            outer_first -= 1
        t = self.tokens
        return NameSpan(t[first].start, t[last].end, t[outer_first].start, t[outer_last].end, table)

    def at_or_after(self, offset: int) -> int:
        """Index of the first token that starts at or after the byte offset."""
        return bisect_left(self.starts, offset)

    def part_start(self, first: int, skip: int) -> int:
        """Byte where part number `skip` (from 0) of the dotted name begins whose first token is number `first`."""
        i = first
        for _ in range(skip):
            i = self._identifier_end(i)
            if self._word(i + 1) != ".":
                raise SpanError("a qualified name is not written as expected")
            i += 2
        return self.tokens[i].start

    def first_argument(self, location: int, parts: int) -> tuple[int, int]:
        """Bytes of the first argument of the call whose function name starts at the byte offset."""
        i = self._name_end(self.at(location), parts) + 1
        if self._word(i) != "(":
            raise SpanError("a call is not written as expected")
        start = i + 1
        depth = 0
        i = start
        while i < len(self.tokens):
            word = self.tokens[i].text
            if depth == 0 and word in (",", ")"):
                return self.tokens[start].start, self.tokens[i - 1].end
            depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(word, 0)
            i += 1
        raise SpanError("a call is not closed")

    def closing(self, offset: int) -> int:
        """Byte after the parenthesis that closes the one which is the next token at or after the byte offset."""
        i = self.at_or_after(offset)
        if self._word(i) != "(":
            raise SpanError("no parenthesis where one is expected")
        depth = 0
        while i < len(self.tokens):
            depth += {"(": 1, ")": -1}.get(self.tokens[i].text, 0)
            if depth == 0:
                return self.tokens[i].end
            i += 1
        raise SpanError("a parenthesis is not closed")

    def unwrapped(self, location: int, parts: int) -> tuple[int, int]:
        """Bytes of the name of `parts` parts that starts at the byte offset, with all parentheses around nothing but it."""
        first = self.at(location)
        last = self._name_end(first, parts)
        while self._word(first - 1) == "(" and self._word(last + 1) == ")":
            first, last = first - 1, last + 1
        return self.tokens[first].start, self.tokens[last].end

    def item_end(self, location: int) -> int:
        """Byte after the list item that starts at the byte offset: before the next comma, closing parenthesis or semicolon."""
        i = self.at(location)
        depth = 0
        while i < len(self.tokens):
            word = self.tokens[i].text
            if depth == 0 and word in (",", ")", ";"):
                break
            depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(word, 0)
            i += 1
        return self.tokens[i - 1].end

    def next_is(self, offset: int, word: str) -> bool:
        """Whether the first token at or after the byte offset is `word`."""
        return self._word(self.at_or_after(offset)) == word

    def name_end(self, location: int, parts: int) -> int:
        """Byte after a name of `parts` parts that starts at the byte offset."""
        return self.tokens[self._name_end(self.at(location), parts)].end

    def group_by(self, before: int) -> int:
        """Byte after the GROUP BY [ALL | DISTINCT] that comes last before the byte offset."""
        i = bisect_left(self.starts, before)
        while i >= 2:
            i -= 1
            if self._word(i) == "by" and self._word(i - 1) == "group":
                if self._word(i + 1) in ("all", "distinct"):
                    i += 1
                return self.tokens[i].end
        raise SpanError("GROUP BY is not where it is expected")
