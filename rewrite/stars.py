"""Stars written out: `*` and `alias.*` become the list of columns they stand for, in PostgreSQL's order (parse_target.c).

Needed where a star may not show all that a relation in FROM now has (system columns added to its derived table), and where the
target of a write is one of several relations in sight (RETURNING). What a FROM clause shows is only listed where that is plain:
relations, and other items by their alias; not under the alias of a join, not with NATURAL, and with USING only between relations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rewrite.columns import visible_names
from rewrite.pgtree import Node, parse, quote_ident, strings, strip
from rewrite.survey import Level, Ref, Site

if TYPE_CHECKING:
    from rewrite.rewriter import Rewriter


@dataclass(frozen=True, slots=True)
class Shown:
    """One entry of a written-out star: a column (None: everything) of the item with the alias; no alias: a merged column."""

    alias: str | None
    name: str | None

    @property
    def text(self) -> str:
        column = "*" if self.name is None else quote_ident(self.name)
        return column if self.alias is None else f"{quote_ident(self.alias)}.{column}"


def shown(rewriter: Rewriter, level: Level, items: list[Node], listed: Mapping[Site, tuple[str, ...]]) -> list[Shown] | None:
    """What `*` shows of the given range items, the relations `listed` column by column; None where that is not plain."""
    sites = {id(s.node): s for s in level.sites}
    wanted = dict(listed)
    aliases: list[str] = []
    merged: list[str] = []
    out: list[Shown] = []
    for item in items:
        entries = _item(rewriter, sites, wanted, item, aliases, merged)
        if entries is None:
            return None
        out += entries
    if len(set(aliases)) != len(aliases):
        return None
    for name in merged:  # written without qualifier: only one of the items may have it
        having = {e.alias for e in out if e.name == name or e.name is None}
        if having != {None} or merged.count(name) > 1:
            return None
    return out


def _item(
    rewriter: Rewriter,
    sites: dict[int, Site],
    wanted: dict[Site, tuple[str, ...]],
    item: Node,
    aliases: list[str],
    merged: list[str],
) -> list[Shown] | None:
    ((kind, body),) = item.items()
    if kind == "RangeTableSample":
        body = body["relation"]["RangeVar"]
    if kind in ("RangeVar", "RangeTableSample"):
        site = sites.get(id(body))
        alias = body.get("alias", {}).get("aliasname") or (rewriter.alias(site) if site is not None else body["relname"])
        aliases.append(alias)
        if site is not None and site in wanted:
            return [Shown(alias, name) for name in wanted[site]]
        return [Shown(alias, None)]
    if kind != "JoinExpr":
        alias = body.get("alias", {}).get("aliasname")
        if alias is None:
            return None
        aliases.append(alias)
        return [Shown(alias, None)]
    if "alias" in body or body.get("isNatural"):
        return None
    if "usingClause" in body:
        wanted = {s: visible_names(s, rewriter.relations[s]) for s in sites.values() if s in rewriter.relations}
    left = _item(rewriter, sites, wanted, body["larg"], aliases, merged)
    right = _item(rewriter, sites, wanted, body["rarg"], aliases, merged)
    if left is None or right is None:
        return None
    using = strings(body.get("usingClause", []))
    if not using:
        return left + right
    if any(e.name is None for e in left + right) or any([e.name for e in s].count(n) != 1 for n in using for s in (left, right)):
        return None
    merged += [n for n in using if n not in merged]
    rest = [e for e in left + right if e.name not in using]
    return [Shown(None, n) for n in using] + rest


def write_out(rewriter: Rewriter, site: Site) -> bool:
    """Write out every star that shows the relation; False where one of them cannot be, and nothing has been changed."""
    usage = rewriter.usage(site)
    if usage.rows:
        return False
    plans = []
    for star in usage.stars:
        targets = star.level.body.get("targetList", [])
        values = [t["ResTarget"].get("val", {}).get("ColumnRef") for t in targets]
        index = next((i for i, v in enumerate(values) if v is star.node), None)
        if star.level is not site.level or index is None or len(star.fields) > 2:
            return False
        hiding = [s for s in site.level.sites if s in rewriter.sources and rewriter.usage(s).system]
        if len(star.fields) == 2:
            entries: list[Shown] | None = [Shown(rewriter.alias(site), n) for n in usage.names]
        else:
            entries = shown(rewriter, site.level, star.level.body["fromClause"], {s: rewriter.usage(s).names for s in hiding})
        if entries is None:
            return False
        plans.append((star, index, [e.text for e in entries]))
    for star, index, texts in plans:
        _put(rewriter, star, index, texts)
    return True


def _put(rewriter: Rewriter, star: Ref, index: int, texts: list[str]) -> None:
    places = rewriter.stars.setdefault(id(star.level.body), {})
    if index in places:
        return
    node = star.node
    start, end = rewriter.spans.unwrapped(node["location"], len(node["fields"]))
    rewriter.edit(start, end, ", ".join(texts))
    places[index] = strip(parse("SELECT " + ", ".join(texts))[0].body)["targetList"]
    if len(places) == 1:
        previous = rewriter.replacements.get(id(star.level.body))
        rewriter.replacements[id(star.level.body)] = _written(places, previous)


def _written(places: dict[int, list[Node]], previous: Node | Callable[[Node], Node] | None) -> Callable[[Node], Node]:
    def apply(copy: Node) -> Node:
        targets: list[Node] = []
        for index, item in enumerate(copy["targetList"]):
            targets += places.get(index, [item])
        copy = {**copy, "targetList": targets}
        return previous(copy) if callable(previous) else copy

    return apply
