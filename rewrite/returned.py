"""RETURNING on a protected table: plain columns and stars are masked in their place.

The target of a write is no derived table, so its columns are raw there. An item that is nothing but a masked column becomes the
mask over it, a star becomes the list of columns with their masks. Only where the target is the one relation in sight; everything
else that uses a masked column is refused (`writes`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rewrite.pgtree import Node, parse, quote_ident, strip
from rewrite.survey import Returned, Site, Use

if TYPE_CHECKING:
    from rewrite.rewriter import Rewriter


@dataclass(frozen=True, slots=True, eq=False)
class ReturnedMask:
    """An item that is masked in its place; `columns` are the real names it stands for, in order."""

    site: Site
    item: Returned
    columns: tuple[str, ...]


def choose(rewriter: Rewriter) -> None:
    """Take the items that can be masked in place; all others become ordinary references."""
    for item in rewriter.survey.returned:
        columns = _columns(rewriter, item)
        if columns is None:
            rewriter.survey.refs.append(item.ref)
        else:
            rewriter.returning.append(ReturnedMask(item.level.sites[0], item, columns))


def _columns(rewriter: Rewriter, item: Returned) -> tuple[str, ...] | None:
    site = item.level.sites[0]
    relation = rewriter.relations.get(site)
    source = rewriter.book.source(relation) if relation is not None else None
    if relation is None or source is None or source.refusal is not None or source.view is not None or site.use is not Use.TARGET:
        return None
    *qualifier, name = item.ref.fields
    if len(qualifier) > 1 or (qualifier and qualifier[0] != site.alias):
        return None
    if name != "*":
        return (name,) if name in source.masked else None
    return None if source.denied else tuple(c.name for c in relation.columns)


def mask(rewriter: Rewriter) -> None:
    """The edits in the text, and the same changes in the tree."""
    clauses: dict[int, tuple[Node, dict[int, list[Node]]]] = {}
    for chosen in rewriter.returning:
        texts = _texts(rewriter, chosen)
        node = chosen.item.ref.node
        end = rewriter.spans.name_end(node["location"], len(node["fields"]))
        rewriter.edit(node["location"], end, ", ".join(texts))
        clause = chosen.item.clause
        clauses.setdefault(id(clause), (clause, {}))[1][chosen.item.index] = _trees(chosen, texts)
    for clause, places in clauses.values():
        rewriter.replacements[id(clause)] = _replacement(places)


def _texts(rewriter: Rewriter, chosen: ReturnedMask) -> list[str]:
    relation = rewriter.relations[chosen.site]
    source = rewriter.sources[chosen.site]
    prefix = quote_ident(chosen.site.alias) + "."
    names = {c.name: prefix + quote_ident(c.name) for c in relation.columns}
    out = []
    for column in relation.columns:
        if column.name not in chosen.columns:
            continue
        if column.name not in source.masked:
            out.append(names[column.name])
            continue
        expression = source.origins[column.name].sql(prefix) or "NULL"
        label = _label(chosen.item)
        out.append(expression if label is not None else f"{expression} AS {quote_ident(column.name)}")
    return out


def _label(item: Returned) -> str | None:
    """The name the client gave the output column, if any; it stays behind the edit."""
    name: str | None = item.clause["exprs"][item.index]["ResTarget"].get("name")
    return name


def _trees(chosen: ReturnedMask, texts: list[str]) -> list[Node]:
    targets: list[Node] = strip(parse("SELECT " + ", ".join(texts))[0].body)["targetList"]
    label = _label(chosen.item)
    if label is not None:
        targets[0]["ResTarget"]["name"] = label
    return targets


def _replacement(places: dict[int, list[Node]]) -> Callable[[Node], Node]:
    def apply(copy: Node) -> Node:
        exprs = []
        for index, item in enumerate(copy["exprs"]):
            exprs += places.get(index, [item])
        return {**copy, "exprs": exprs}

    return apply
