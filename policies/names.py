"""Qualified names with wildcards: `bank.customers.phone`, `*.*.id_card*`, `bank."KYC Records"."姓名"`.

Each part is a shell-style pattern (`*`, `?`, `[…]`), matched case-sensitively. A part in double quotes is taken
literally, as in SQL: dots, capitals and wildcard characters in it stand for themselves, `""` is one quote. Schemas of
the server itself match only when their part is written out, so that `*.*.name` never reaches into pg_catalog.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

SYSTEM_SCHEMAS = frozenset({"pg_catalog", "information_schema"})
_WRITTEN_OUT = SYSTEM_SCHEMAS | {"pgveil"}
"""Schemas that only a name without wildcards means: those of the server, and pgveil's own."""
_PART = re.compile(r'"((?:[^"]|"")+)"|([^".\s]+)')
_WILD = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Part:
    text: str
    literal: bool

    @property
    def wildcards(self) -> int:
        return 0 if self.literal else len(_WILD.findall(self.text))

    def matcher(self) -> Callable[[str], object]:
        return _matcher(self)


@lru_cache(maxsize=4096)
def _matcher(part: Part) -> Callable[[str], object]:
    if part.wildcards == 0:
        return part.text.__eq__
    if part.text == "*":
        return lambda _: True
    return re.compile(fnmatch.translate(part.text)).match


@dataclass(frozen=True, slots=True)
class Pattern:
    """A name of two or three parts, outermost first."""

    source: str
    parts: tuple[Part, ...]

    @property
    def wildcards(self) -> int:
        return sum(p.wildcards for p in self.parts)

    def reaches(self, schema: str) -> bool:
        """The schema part may mean this schema: system schemas only when written out."""
        head = self.parts[0]
        if schema in _WRITTEN_OUT and head.wildcards:
            return False
        return bool(head.matcher()(schema))

    def matches(self, *names: str) -> bool:
        return self.reaches(names[0]) and all(p.matcher()(n) for p, n in zip(self.parts[1:], names[1:], strict=True))


def split_name(text: str) -> tuple[Part, ...] | None:
    """The parts of a dotted name, or None when it is not well formed."""
    parts: list[Part] = []
    at = 0
    while True:
        found = _PART.match(text, at)
        if found is None:
            return None
        quoted = found[1]
        parts.append(Part(quoted.replace('""', '"'), True) if quoted is not None else Part(found[2], False))
        at = found.end()
        if at == len(text):
            return tuple(parts)
        if text[at] != ".":
            return None
        at += 1
