"""GROUP BY a primary key: the columns that depend on the key are added to the list.

PostgreSQL lets a query that groups by a table's primary key use the table's other columns (functional dependency). A derived
table has no key, so the columns used are grouped by as well; that changes no group, since the key decides them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rewrite.catalog import Relation
from rewrite.pgtree import Node, quote_ident
from rewrite.survey import Level

if TYPE_CHECKING:
    from rewrite.rewriter import Rewriter

_UNGROUPABLE = frozenset({"json", "xml", "point", "polygon", "path", "box", "line", "lseg"})


def add_keyed_columns(rewriter: Rewriter, level: Level) -> None:
    """Grouping by a primary key lets a query use the other columns; a derived table has no key, so they are added."""
    items = level.body.get("groupClause")
    if not items or any("GroupingSet" in i for i in items):
        return
    grouped = [_group_item(rewriter, level, i) for i in items]
    location = min((_leftmost(i) for i in items), default=-1)
    for site in level.sites:
        source = rewriter.sources.get(site)
        relation = rewriter.relations.get(site)
        if source is None or relation is None or not relation.primary_key or source.view is not None:
            continue
        if any("A_Const" in i for i in items):
            rewriter.reads_constants = True
        usage = rewriter.usage(site)
        mine = [r for r in usage.refs if r.node in grouped]
        have = {r.fields[-1] for r in mine}
        key = {c.name for c in relation.columns if c.attnum in relation.primary_key}
        if not key <= have or key & source.masked:
            continue
        wanted = [
            c.name
            for c in relation.columns
            if c.name not in have | source.denied and usage.clauses(c.name) and c.base_type not in _UNGROUPABLE
        ]
        if not wanted:
            continue
        alias = rewriter.aliases.get(site, site.alias)
        at = rewriter.spans.group_by(location)
        names = [f"{quote_ident(alias)}.{quote_ident(usage.names[_index(relation, n)])}" for n in wanted]
        rewriter.edit(at, at, " " + ", ".join(names) + ",")
        added = [
            {"ColumnRef": {"fields": [{"String": {"sval": alias}}, {"String": {"sval": usage.names[_index(relation, n)]}}]}}
            for n in wanted
        ]
        previous = rewriter.replacements.get(id(level.body))
        rewriter.replacements[id(level.body)] = _grouping(added, previous)


def _group_item(rewriter: Rewriter, level: Level, item: Node) -> Node:
    constant = item.get("A_Const", {}).get("ival")
    if constant is not None:
        targets = level.body.get("targetList", [])
        number = constant.get("ival", 0)
        if 1 <= number <= len(targets):
            return targets[number - 1]["ResTarget"].get("val", {}).get("ColumnRef")
        return None
    fields = item.get("ColumnRef", {}).get("fields", [])
    if len(fields) == 1 and "String" in fields[0]:
        name = fields[0]["String"].get("sval", "")
        if not any(name in rewriter.usage(s).names for s in level.sites if s in rewriter.relations):
            for target in level.body.get("targetList", []):  # the name of an output column
                if target["ResTarget"].get("name") == name:
                    return target["ResTarget"].get("val", {}).get("ColumnRef")
    return item.get("ColumnRef")


def _index(relation: Relation, name: str) -> int:
    return next(i for i, c in enumerate(relation.columns) if c.name == name)


def _leftmost(node: Node) -> int:
    """The smallest location in a node."""
    best = 1 << 60
    if isinstance(node, dict):
        location = node.get("location")
        if isinstance(location, int) and location >= 0:
            best = location
        for value in node.values():
            best = min(best, _leftmost(value))
    elif isinstance(node, list):
        for value in node:
            best = min(best, _leftmost(value))
    return best


def _grouping(added: list[Node], previous: Node | Callable[[Node], Node] | None) -> Callable[[Node], Node]:
    def apply(copy: Node) -> Node:
        copy = {**copy, "groupClause": [*added, *copy["groupClause"]]}
        return previous(copy) if callable(previous) else copy

    return apply
