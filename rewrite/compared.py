"""`filters: refuse`: columns that are shown masked and may not be compared, grouped or sorted by.

This is for the people who write statements, who would take comparisons of masks for comparisons of values; nothing leaks without
it. So it is looked for in the query that reads the relation, and not further out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from policies.filters import FilterKind
from rewrite.pgtree import Node
from rewrite.refused import refuse
from rewrite.source import Origin
from rewrite.survey import Site

if TYPE_CHECKING:
    from rewrite.rewriter import Rewriter


def columns_with(rewriter: Rewriter, site: Site, kind: FilterKind) -> dict[str, Origin]:
    """Masked columns of the relation with that way of filtering, by name."""
    source = rewriter.sources[site]
    return {n: o for n, o in source.origins.items() if n in source.masked and o.decision.filters.kind is kind}


def refused_uses(rewriter: Rewriter) -> None:
    """`filters: refuse`: no comparison at all."""
    for site in rewriter.sources:
        for name in columns_with(rewriter, site, FilterKind.REFUSE):
            usage = rewriter.usage(site)
            uses = usage.clauses(name) & {"filter", "join", "group", "sort"}
            if not uses and "output" in usage.clauses(name) and _is_sorted_out(rewriter, site, name):
                uses = {"group"}
            if uses:
                where = f"{rewriter.relations[site].schema}.{rewriter.relations[site].name}"
                raise refuse(
                    "42501",
                    f"column {where}.{name} may not be compared, grouped or sorted by (filters: refuse)",
                    "leave the column out of WHERE, ON, GROUP BY, DISTINCT and ORDER BY",
                )


def _is_sorted_out(rewriter: Rewriter, site: Site, name: str) -> bool:
    """Whether an output column is also compared: DISTINCT, a set operation, ORDER BY and GROUP BY by number or by output name."""
    refs = {id(r.node): r for r in rewriter.usage(site).refs if r.fields[-1] == seen_as(rewriter, site, name)}
    stars = {id(r.node) for r in rewriter.usage(site).stars}
    for level in rewriter.survey.levels:
        body = level.body
        targets = body.get("targetList", [])
        mine = [i for i, t in enumerate(targets) if _holds(t, refs.keys() | stars)]
        if not mine:
            continue
        if body.get("distinctClause") or (level.parent is not None and level.parent.body.get("op", "SETOP_NONE") != "SETOP_NONE"):
            return True
        named = {targets[i]["ResTarget"].get("name") for i in mine}
        for item in (*body.get("sortClause", []), *body.get("groupClause", [])):
            node = item.get("SortBy", {}).get("node", item)
            if "A_Const" in node or _named(node.get("ColumnRef", {})) in {(n,) for n in named if n}:
                return True
        if any(_holds_key(targets[i], ("agg_order", "agg_filter", "over", "agg_distinct")) for i in mine):
            return True
    return False


def _named(reference: Node) -> tuple[str, ...]:
    return tuple(f["String"].get("sval", "") for f in reference.get("fields", ()) if "String" in f)


def seen_as(rewriter: Rewriter, site: Site, name: str) -> str:
    """What the query calls the relation's column."""
    relation = rewriter.relations[site]
    at = next(i for i, c in enumerate(relation.columns) if c.name == name)
    return rewriter.usage(site).names[at]


def _holds(node: Node, ids: Iterable[int]) -> bool:
    if isinstance(node, dict):
        return id(node) in ids or any(_holds(v, ids) for v in node.values())
    return isinstance(node, list) and any(_holds(v, ids) for v in node)


def _holds_key(node: Node, keys: tuple[str, ...]) -> bool:
    if isinstance(node, dict):
        return any(k in node for k in keys) or any(_holds_key(v, keys) for v in node.values())
    return isinstance(node, list) and any(_holds_key(v, keys) for v in node)
