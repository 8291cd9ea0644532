"""The whole row of a protected relation in a view's definition, without the cast that PostgreSQL prints with it.

pg_get_viewdef writes `c AS row` as `c.*::bank.customers`. The row of a derived table is a record; the cast would make it a
row of the table again, and fail where a masked value does not pass the checks of a column's domain. A record shows, compares
and gives its fields just the same. In the server: ruleutils.c, get_variable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rewrite.pgtree import Node, quote_ident, strings

if TYPE_CHECKING:
    from rewrite.rewriter import Rewriter
    from rewrite.survey import Level, Ref, Site


def uncast(rewriter: Rewriter) -> None:
    """Take the casts out of the text, and out of the tree that is expected of it."""
    casts: dict[int, Node] = {}
    _find(rewriter.body, casts)
    for ref in rewriter.survey.refs:
        node = casts.get(id(ref.node))
        if node is None:
            continue
        site = _row(rewriter, ref, strings(node["TypeCast"]["typeName"]["names"]))
        if site is not None:
            start = ref.node["location"]
            type_name = node["TypeCast"]["typeName"]
            end = rewriter.spans.name_end(type_name["location"], len(type_name["names"]))
            rewriter.edit(start, end, quote_ident(site.alias))
            rewriter.replacements[id(node)] = {"ColumnRef": {"fields": [{"String": {"sval": site.alias}}]}}


def _find(node: Node, found: dict[int, Node]) -> None:
    """Casts of `alias.*` to a plain type, by id() of the reference."""
    if isinstance(node, dict):
        cast = node.get("TypeCast")
        if cast is not None and not cast["typeName"].keys() & {"arrayBounds", "typmods"}:
            reference = cast["arg"].get("ColumnRef")
            if reference is not None and len(reference["fields"]) == 2 and "A_Star" in reference["fields"][1]:
                found[id(reference)] = node
        node = list(node.values())
    if isinstance(node, list):
        for value in node:
            _find(value, found)


def _row(rewriter: Rewriter, ref: Ref, type_name: tuple[str, ...]) -> Site | None:
    """The relation whose row is meant, if its cast may fail and its alias alone cannot mean a column."""
    alias = ref.fields[0]
    site = next((s for s in ref.level.sites if s.alias == alias), None)
    if site is None or ref.sees is not None or site not in rewriter.sources or rewriter.alias(site) != alias:
        return None
    relation, source = rewriter.relations[site], rewriter.sources[site]
    if type_name != (relation.schema, relation.name):
        return None
    if not any(c.domain_checked and c.name in source.masked for c in relation.columns):
        return None
    level: Level | None = ref.level
    while level is not None:
        known = [rewriter.relations.get(s) for s in level.sites]
        if level.others or level.joins or any(r is None or alias in {c.name for c in r.columns} for r in known):
            return None
        level = level.parent
    return site
