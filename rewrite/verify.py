"""The independent check: what goes upstream is what was meant.

The edited text is parsed again by PostgreSQL's own grammar. Its tree must equal the original statement's tree with each protected
relation exchanged for its derived table and each name pinned; outside the derived tables no protected relation may be left.
"""

from __future__ import annotations

from rewrite.pgtree import Node, ParseError, parse, strip
from rewrite.source import SourceBook
from rewrite.survey import Survey, Use


class VerificationError(Exception):
    """The edited text does not say what was meant. Always a defect of pgveil, never let through."""


def same(text: str, expected: list[Node]) -> None:
    """Raise VerificationError unless the statements of `text` have exactly the expected trees."""
    try:
        got = parse(text)
    except ParseError as e:
        raise VerificationError(f"the rewritten text does not parse: {e.message}") from e
    if len(got) != len(expected):
        raise VerificationError("the rewritten text has another number of statements")
    for statement, tree in zip(got, expected, strict=True):
        if {statement.kind: strip(statement.body)} != tree:
            raise VerificationError("the rewritten text has another meaning than intended")


def nothing_bare(text: str, book: SourceBook, derived: list[Node], opened: frozenset[str] = frozenset()) -> None:
    """Raise VerificationError when a protected relation is read outside the given derived tables' trees.

    `opened` names temporary views that may not be read as they are.
    Works from the text alone: any relation outside a known derived table must be named with its schema and need no mask.
    """
    for statement in parse(text):
        body = strip(statement.body)
        _forget({statement.kind: body}, derived)
        for site in Survey(statement.kind, body).sites:
            if site.cte or site.use is not Use.SOURCE:
                continue
            if site.schema is None:
                raise VerificationError(f"relation {site.name} is not pinned to a schema")
            if statement.kind == "ViewStmt":  # a definition reads nothing
                continue
            if site.schema.startswith("pg_temp") and site.name in opened:
                raise VerificationError(f"temporary view {site.name} is read directly")
            relation = book.catalog.by_name.get((site.schema, site.name))
            if relation is not None and book.source(relation) is not None:
                raise VerificationError(f"protected relation {site.schema}.{site.name} is read directly")


def _forget(node: Node, derived: list[Node]) -> None:
    """Take every known derived table's subquery out of the tree, in place."""
    if isinstance(node, dict):
        for key, value in node.items():
            if (key == "subquery" and any(value == d for d in derived)) or (key == "query" and any(value == d for d in derived)):
                node[key] = {"SelectStmt": {}}
            else:
                _forget(value, derived)
    elif isinstance(node, list):
        for value in node:
            _forget(value, derived)
