"""GROUP BY a primary key: the columns that depend on the key are added to the list.

PostgreSQL lets a query that groups by a table's primary key use the table's other columns (functional dependency,
parse_agg.c). A derived table has no key, so the columns used outside aggregates are grouped by as well; that changes no group,
since the key decides them. With grouping sets the key has to be in every set, and an added column comes into every set; a column
that is in one of the sets already is left alone, since it is NULL where it is not grouped by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rewrite.catalog import Relation
from rewrite.pgtree import Node, quote_ident, strings
from rewrite.survey import Level

if TYPE_CHECKING:
    from rewrite.columns import Usage
    from rewrite.rewriter import Rewriter

_UNGROUPABLE = frozenset({"json", "xml", "point", "polygon", "path", "box", "line", "lseg"})
_USED_IN = ("targetList", "havingClause", "sortClause", "distinctClause", "windowClause")
"""Where a column has to be grouped by or depend on what is."""


def add_keyed_columns(rewriter: Rewriter, level: Level) -> None:
    """Add to GROUP BY what depends on the primary keys in it."""
    items = level.body.get("groupClause")
    if not items:
        return
    everywhere, somewhere = _items(items)
    grouped = [_group_item(rewriter, level, i) for i in everywhere]
    mentioned = [_group_item(rewriter, level, i) for i in somewhere]
    location = _leftmost(items)
    used: set[int] | None = None
    for site in level.sites:
        source = rewriter.sources.get(site)
        relation = rewriter.relations.get(site)
        if source is None or relation is None or not relation.primary_key or source.view is not None:
            continue
        if any("A_Const" in i for i in somewhere):
            rewriter.reads_constants = True
        usage = rewriter.usage(site)
        have = {r.fields[-1] for r in usage.refs if any(r.node is g for g in mentioned)}
        common = {_real(relation, usage, r.fields[-1]) for r in usage.refs if any(r.node is g for g in grouped)}
        key = {c.name for c in relation.columns if c.attnum in relation.primary_key}
        if not key <= common or key & source.masked:
            continue
        used = _used(rewriter, level) if used is None else used
        row = any(id(r.node) in used and r.fields[-1] not in (*usage.names, *usage.system) for r in usage.refs)
        every = row or "output" in usage.whole
        names = {r.fields[-1] for r in usage.refs if id(r.node) in used}
        wanted = [
            name
            for name, column in zip(usage.names, relation.columns, strict=True)
            if name not in have
            and (every or name in names)
            and column.name not in source.denied
            and column.base_type not in _UNGROUPABLE
        ]
        wanted += sorted(usage.system & names)
        alias = rewriter.aliases.get(site, site.alias)
        fields: list[list[Node]] = [[{"String": {"sval": alias}}, {"String": {"sval": name}}] for name in wanted]
        texts = [f"{quote_ident(alias)}.{quote_ident(name)}" for name in wanted]
        if row:
            fields.append([{"String": {"sval": alias}}, {"A_Star": {}}])
            texts.append(f"{quote_ident(alias)}.*")
        if not texts:
            continue
        at = rewriter.spans.group_by(location)
        rewriter.edit(at, at, " " + ", ".join(texts) + ",")
        added = [{"ColumnRef": {"fields": f}} for f in fields]
        previous = rewriter.replacements.get(id(level.body))
        rewriter.replacements[id(level.body)] = _grouping(added, previous)


def _items(clause: list[Node]) -> tuple[list[Node], list[Node]]:
    """The expressions that are in every grouping set, and all expressions of the clause."""
    everywhere: list[Node] = []
    somewhere: list[Node] = []
    for item in clause:
        common, mentioned = _item(item)
        everywhere += common
        somewhere += mentioned
    return everywhere, somewhere


def _item(item: Node) -> tuple[list[Node], list[Node]]:
    if "RowExpr" in item:
        return _items(item["RowExpr"].get("args", []))
    if "GroupingSet" not in item:
        return [item], [item]
    content = item["GroupingSet"].get("content", [])
    parts = [_item(i) for i in content]
    mentioned = [e for _, all_ in parts for e in all_]
    if item["GroupingSet"].get("kind") != "GROUPING_SET_SETS" or not parts:
        return [], mentioned  # ROLLUP and CUBE hold the empty set
    common = [e for e in parts[0][0] if all(any(_names(e) == _names(f) for f in other) for other, _ in parts[1:])]
    return common, mentioned


def _names(item: Node) -> Node:
    return item.get("ColumnRef", {}).get("fields") or id(item)


def _used(rewriter: Rewriter, level: Level) -> set[int]:
    """id() of the column references that stand outside this level's aggregates."""
    aggregates = {n for n, fs in rewriter.names.catalog.functions_by_name.items() if any(f.kind == "a" for f in fs)}
    found: set[int] = set()

    def walk(node: Node, inside: bool) -> None:
        if isinstance(node, dict):
            call = node.get("FuncCall")
            if call is not None and not inside and "over" not in call and strings(call["funcname"])[-1] in aggregates:
                return
            if "ColumnRef" in node:
                found.add(id(node["ColumnRef"]))
            for key, value in node.items():
                walk(value, inside or key == "SubLink")
        elif isinstance(node, list):
            for value in node:
                walk(value, inside)

    for key in _USED_IN:
        walk(level.body.get(key), False)
    return found


def _real(relation: Relation, usage: Usage, name: str) -> str:
    return relation.columns[usage.names.index(name)].name if name in usage.names else name


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


def _locations(node: Node) -> Iterator[int]:
    if isinstance(node, dict):
        location = node.get("location")
        if isinstance(location, int) and location >= 0:
            yield location
        for value in node.values():
            yield from _locations(value)
    elif isinstance(node, list):
        for value in node:
            yield from _locations(value)


def _leftmost(items: list[Node]) -> int:
    """The smallest location in the items; GROUP BY stands before it."""
    return min(_locations(items), default=-1)


def _grouping(added: list[Node], previous: Node | Callable[[Node], Node] | None) -> Callable[[Node], Node]:
    def apply(copy: Node) -> Node:
        copy = {**copy, "groupClause": [*added, *copy["groupClause"]]}
        return previous(copy) if callable(previous) else copy

    return apply
