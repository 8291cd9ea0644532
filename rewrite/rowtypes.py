"""Whole rows cast to the row type of their own table: `c::bank.customers`, `c.*::bank.customers` (so PostgreSQL prints views).

On the table itself such a cast does nothing. On the derived table it makes a row of the table's type from a record of masked
values; a domain that checks its values does not take them, so the cast is left out where a masked column has such a type.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rewrite.pgtree import Node, quote_ident, strings
from rewrite.survey import Site, Use

if TYPE_CHECKING:
    from rewrite.rewriter import Rewriter


def drop_casts(rewriter: Rewriter) -> None:
    """Take the casts of derived whole rows to their own row type off, where masked values may not fit it."""
    sites = {alias: site for site in rewriter.sources if (alias := _checked(rewriter, site)) is not None}
    if not sites:
        return
    for node in _casts(rewriter.body):
        cast = node["TypeCast"]
        fields = cast["arg"]["ColumnRef"]["fields"]
        names = strings(cast["typeName"].get("names", []))
        alias = fields[0].get("String", {}).get("sval", "")
        site = sites.get(alias)
        if site is None or len(fields) > 2 or (len(fields) == 2 and "A_Star" not in fields[1]):
            continue
        relation = rewriter.relations[site]
        if names != (relation.schema, relation.name) or "arrayBounds" in cast["typeName"]:
            continue
        if not rewriter.spans.next_is(cast["location"], "::") or _is_column(rewriter, alias):
            continue
        end = rewriter.spans.name_end(cast["typeName"]["location"], len(names))
        rewriter.edit(cast["arg"]["ColumnRef"]["location"], end, quote_ident(alias))
        rewriter.replacements[id(node)] = {"ColumnRef": {"fields": [{"String": {"sval": alias}}]}}


def _checked(rewriter: Rewriter, site: Site) -> str | None:
    """The alias of a derived relation that has a masked column of a checked domain."""
    source = rewriter.sources[site]
    if site.use is not Use.SOURCE or not any(c.domain_checked and c.name in source.masked for c in source.relation.columns):
        return None
    return rewriter.aliases.get(site, site.alias)


def _is_column(rewriter: Rewriter, alias: str) -> bool:
    """Whether the alias alone may mean a column here."""
    return any(alias in rewriter.usage(s).names for s in rewriter.relations)


def _casts(node: Node) -> Iterator[Node]:
    if isinstance(node, dict):
        cast = node.get("TypeCast")
        if cast is not None and "ColumnRef" in cast.get("arg", {}):
            yield node
        for value in node.values():
            yield from _casts(value)
    elif isinstance(node, list):
        for value in node:
            yield from _casts(value)
