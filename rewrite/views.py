"""Views: read as they are when their definition uses nothing masked, else through their definition with its sources replaced.

The definition (pg_get_viewdef, every name qualified) goes through the same substitution and the same verification as a client's
statement; so a view on a view, a join or an aggregate shows what it would show over masked tables.
"""

from __future__ import annotations

from rewrite.catalog import Relation
from rewrite.functions import Names
from rewrite.pgtree import Node, ParseError, parse
from rewrite.plan import Resolution
from rewrite.rewriter import Refused, Rewriter, apply_edits
from rewrite.source import Source, SourceBook
from rewrite.spans import SpanError, Spans
from rewrite.verify import VerificationError, nothing_bare, same


class ViewTexts:
    """Reads views by their definition texts."""

    def read(self, relation: Relation, book: SourceBook) -> Source | None:
        if not relation.view_sql:
            return book.refused(relation, "its definition is not known")
        try:
            rewriter = _analysed(relation, book)
            if not rewriter.reads_masked():
                return None
            if relation.kind == "m":
                return book.refused(relation, "it stores values computed from masked columns")
            if any(r.row_security for r in rewriter.relations.values()) and not relation.security_invoker:
                return book.refused(relation, "tables behind it have row-level security")
            rewriter.substitute()
            text, _ = apply_edits(rewriter.text, rewriter.edits)
            same(text, [rewriter.expected()])
            nothing_bare(text, book, rewriter.derived)
        except Refused as e:
            return book.refused(relation, e.refusal.message if e.refusal else "its definition names something unknown")
        except (ParseError, SpanError, VerificationError) as e:
            return book.refused(relation, f"its definition cannot be rewritten ({e})")
        columns = frozenset(c.name for c in relation.columns)
        return Source(relation, {}, text, columns, frozenset(), {}, rewriter.touches())

    def masked_columns(self, relation: Relation, book: SourceBook) -> frozenset[str]:
        everything = frozenset(c.name for c in relation.columns)
        try:
            rewriter = _analysed(relation, book)
        except (Refused, ParseError, SpanError):
            return everything
        if not rewriter.reads_masked():
            return frozenset()
        targets = rewriter.body.get("targetList", [])
        if len(targets) != len(relation.columns) or "larg" in rewriter.body:
            return everything
        masked = {
            id(ref.node)
            for site, source in rewriter.sources.items()
            for ref in rewriter.usage(site).refs
            if source.masked & {ref.fields[-1]} or rewriter.usage(site).whole
        }
        return frozenset(
            column.name
            for column, target in zip(relation.columns, targets, strict=True)
            if _mentions(target["ResTarget"].get("val"), masked)
        )


def _analysed(relation: Relation, book: SourceBook) -> Rewriter:
    text = (relation.view_sql or "").rstrip().rstrip(";")
    (statement,) = parse(text)
    names = Names(book.catalog, Resolution(("pg_catalog",)), book.profile.functions, book.profile.extensions)
    rewriter = Rewriter(text, statement.kind, statement.body, book, names, Spans(text))
    rewriter.analyse()
    return rewriter


def _mentions(node: Node, masked: set[int]) -> bool:
    """Whether an expression refers to one of the nodes, or to something that cannot be followed (a star, a subquery)."""
    if isinstance(node, dict):
        if id(node) in masked or "SubLink" in node or "A_Star" in node:
            return True
        return any(_mentions(v, masked) for v in node.values())
    if isinstance(node, list):
        return any(_mentions(v, masked) for v in node)
    return False
