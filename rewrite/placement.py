"""sqlglot's view of a statement: where it names relations. Used when it agrees with PostgreSQL's own parser to the byte."""

from __future__ import annotations

import logging

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from rewrite.survey import Survey

logging.getLogger("sqlglot").setLevel(logging.ERROR)


def relations(text: str) -> list[tuple[int, int]] | None:
    """Byte spans [start, end) of every relation name in the text, sorted; None when sqlglot cannot read the text."""
    try:
        trees = sqlglot.parse(text, dialect="postgres")
    except (SqlglotError, RecursionError, ValueError, IndexError, KeyError, AttributeError, TypeError):
        return None
    spans = []
    for tree in trees:
        if tree is None:
            continue
        if isinstance(tree, exp.Command) or tree.find(exp.Command) is not None:
            return None
        for table in tree.find_all(exp.Table):
            parts = table.parts
            if not parts or not all(isinstance(p, exp.Identifier) for p in parts):
                continue
            start, end = parts[0].meta.get("start"), parts[-1].meta.get("end")
            if start is None or end is None:
                return None
            spans.append((start, end + 1))
    if not text.isascii():
        spans = [(len(text[:a].encode()), len(text[:b].encode())) for a, b in spans]
    return sorted(set(spans))


def agrees(text: str, survey: Survey, spans: dict[int, int]) -> bool:
    """Whether sqlglot names relations at exactly the places where libpg_query does.

    `spans` maps the start byte of every relation name to its end byte, as libpg_query and the tokens have it.
    """
    seen = relations(text)
    return seen is not None and dict(seen) == spans
