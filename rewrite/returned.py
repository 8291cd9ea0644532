"""RETURNING on a protected table: masked columns are masked in their place, wherever in it they stand.

The target of a write is no derived table, so its columns are raw there. A reference that can only mean a masked column of the
target (or of its old or new row) becomes the mask over it; a star becomes the list of columns with their masks; the whole row
becomes a row of them. What is not certain stays a reference to the raw column, and `writes` refuses it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rewrite.columns import visible_names
from rewrite.pgtree import Node, parse, quote_ident, strings, strip
from rewrite.stars import Shown, shown
from rewrite.survey import Level, Ref, Site

if TYPE_CHECKING:
    from rewrite.catalog import Relation
    from rewrite.rewriter import Rewriter

_ROW = "pgveil"
"""Alias of the row that stands for the target's row."""


@dataclass(frozen=True, slots=True, eq=False)
class ReturnedMask:
    """A reference that is masked in its place; `columns` are the real names it stands for, in order."""

    site: Site
    clause: Node
    ref: Ref
    columns: tuple[str, ...]
    row: str
    """The name by which the row is known there: the target's own, or that of its old or new row."""
    index: int | None
    """Place in the clause's `exprs`, when it is all of an item."""
    shown: tuple[Shown, ...] = ()
    """For a star over several relations: what it shows, the target's columns one by one."""


def choose(rewriter: Rewriter) -> None:
    """Take the references that can be masked in place out of the survey's; all others stay as they are."""
    survey = rewriter.survey
    for kind, body in survey.targets:
        clause = body.get("returningClause")
        site = next(s for s in survey.sites if s.node is body["relation"])
        relation = rewriter.relations.get(site)
        source = rewriter.source(relation) if relation is not None else None
        if clause is None or relation is None or source is None or source.refusal is not None or source.view is not None:
            continue
        items = {id(item["ResTarget"].get("val", {}).get("ColumnRef")): i for i, item in enumerate(clause["exprs"])}
        opened = _opened(clause, frozenset(c.name for c in relation.columns))
        unlabelled = _unlabelled(clause)
        for ref in [r for r in survey.refs if ("returning", id(body)) in r.path]:
            row = _row(rewriter, ref, site)
            if row is None:
                continue
            index = items.get(id(ref.node))
            columns = _columns(relation, ref, row, site, direct=index is not None)
            if not source.masked & set(columns) or source.denied & set(columns):
                continue
            if id(ref.node) in unlabelled or (ref.fields[-1] not in columns and id(ref.node) in opened):
                continue
            if len(ref.fields) == 1 and _elsewhere(rewriter, site, ref.fields[0]):
                continue
            seen = _beside(rewriter, site, kind) if ref.fields == ("*",) else ()
            if seen is None:
                continue
            rewriter.returning.append(ReturnedMask(site, clause, ref, columns, row, index, seen))
            survey.refs.remove(ref)
            others = {e.alias: None for e in seen if e.alias != site.alias}
            survey.refs += [Ref((a or "", "*"), ref.level, ref.clause, {"fields": []}, None, ref.path) for a in others]


def _row(rewriter: Rewriter, ref: Ref, site: Site) -> str | None:
    """By which name the target's row is meant by the reference; None where it may mean something else."""
    *qualifier, name = ref.fields
    relation = rewriter.relations[site]
    if len(qualifier) > 1 and ("alias" in site.node or tuple(qualifier[-2:]) != (relation.schema, relation.name)):
        return None
    row = qualifier[-1] if qualifier else site.alias
    if ref.level is not site.level and not qualifier and ref.clause in ("sort", "group"):
        return None  # an output column of the inner query may have that name
    level: Level | None = ref.level
    sees = ref.sees
    while level is not None and level is not site.level:
        if sees is not None or name == "*" or level.joins or not _passes(rewriter, level, row):
            return None
        if not qualifier and not _passes(rewriter, level, name, column=True):
            return None
        sees = level.sees
        level = level.parent
    if level is None or sees is not None:
        return None
    if row == site.alias:
        return row
    taken = row in level.others or row in level.joins or any(s.alias == row for s in level.sites)
    return row if row in level.rows and not taken else None


def _passes(rewriter: Rewriter, level: Level, name: str, *, column: bool = False) -> bool:
    """Whether an inner query level cannot have an item (or a column) of the name."""
    if name in level.others or any(s.alias == name for s in level.sites) or (column and level.others):
        return False
    relations = [rewriter.relations.get(s) for s in level.sites]
    return not column or all(
        r is not None and name not in {*visible_names(s, r), *(c.name for c in r.columns)}
        for s, r in zip(level.sites, relations, strict=True)
    )


def _elsewhere(rewriter: Rewriter, site: Site, name: str) -> bool:
    """Whether another relation beside the target has a column of the name, so that PostgreSQL calls it ambiguous."""
    beside = (rewriter.relations.get(s) for s in site.level.sites if s is not site)
    return any(r is not None and name in {c.name for c in r.columns} for r in beside)


def _columns(relation: Relation, ref: Ref, row: str, site: Site, *, direct: bool) -> tuple[str, ...]:
    every = tuple(c.name for c in relation.columns)
    name = ref.fields[-1]
    if name in every:
        return (name,)
    whole = name == "*" or (len(ref.fields) == 1 and name == site.alias and _ROW not in (*every, row))
    others = site.level.others - {"excluded"}
    if not direct and name == "*" and _ROW in (*every, row):
        return ()
    if name != "*" and (others or site.level.joins or len(site.level.sites) > 1):
        return ()  # another relation may have a column of that name
    return every if whole and (row == site.alias or direct) else ()


def _beside(rewriter: Rewriter, site: Site, kind: str) -> tuple[Shown, ...] | None:
    """What `*` shows in RETURNING besides the target; None where that is not plain. Empty when the target is all."""
    body = site.level.body
    items = [*body.get("fromClause", ()), *body.get("usingClause", ())]
    if "sourceRelation" in body:
        items.append(body["sourceRelation"])
    if not items:
        return ()
    target = {"RangeVar": site.node}
    ordered = [*items, target] if kind == "MergeStmt" else [target, *items]  # parse_merge.c, analyze.c
    entries = shown(rewriter, site.level, ordered, {site: tuple(c.name for c in rewriter.relations[site].columns)})
    return None if entries is None else tuple(entries)


def _opened(node: Node, columns: frozenset[str]) -> set[int]:
    """id() of the references to rows whose fields are taken; a row in their place has none: (c).phone, phone(c), ROW(c.*)."""
    found: set[int] = set()
    if isinstance(node, dict):
        arguments = list(node.get("RowExpr", {}).get("args", ()))
        if "A_Indirection" in node:
            arguments.append(node["A_Indirection"]["arg"])
        if "FuncCall" in node and strings(node["FuncCall"]["funcname"])[-1] in columns:
            arguments += node["FuncCall"].get("args", ())
        found |= {id(a["ColumnRef"]) for a in arguments if "ColumnRef" in a}
        node = list(node.values())
    if isinstance(node, list):
        for value in node:
            found |= _opened(value, columns)
    return found


def _unlabelled(node: Node) -> set[int]:
    """id() of the references that XMLFOREST and XMLATTRIBUTES take a name from: nothing else may stand in their place."""
    found: set[int] = set()
    if isinstance(node, dict):
        elements = [e["ResTarget"] for e in node.get("XmlExpr", {}).get("named_args", ())]
        found |= {id(e["val"]["ColumnRef"]) for e in elements if "name" not in e and "ColumnRef" in e["val"]}
        node = list(node.values())
    if isinstance(node, list):
        for value in node:
            found |= _unlabelled(value)
    return found


# -- changing -----------------------------------------------------------------------------------------------------------


def mask(rewriter: Rewriter) -> None:
    """The edits in the text, and the same changes in the tree."""
    clauses: dict[int, tuple[Node, dict[int, list[Node]], dict[int, str]]] = {}
    for chosen in rewriter.returning:
        clause, node = chosen.clause, chosen.ref.node
        _, items, labels = clauses.setdefault(id(clause), (clause, {}, {}))
        parts = len(node["fields"])
        name = chosen.ref.fields[-1]
        if name == "*" and chosen.index is not None:
            texts = _star(rewriter, chosen)
            rewriter.edit(*rewriter.spans.unwrapped(node["location"], parts), ", ".join(texts))
            items[chosen.index] = strip(parse("SELECT " + ", ".join(texts))[0].body)["targetList"]
            continue
        text = _expression(rewriter, chosen)
        rewriter.edit(node["location"], rewriter.spans.name_end(node["location"], parts), text)
        tree = strip(parse("SELECT " + text)[0].body)["targetList"][0]["ResTarget"]["val"]
        rewriter.replacements[id(_wrapper(clause, node))] = tree
        for index, item in enumerate(clause["exprs"]):
            target = item["ResTarget"]
            if "name" not in target and _named_after(target["val"]) is node:
                at = rewriter.spans.item_end(target["location"])
                rewriter.edit(at, at, f" AS {quote_ident(name)}")
                labels[index] = name
    for clause, items, labels in clauses.values():
        rewriter.replacements[id(clause)] = _replacement(items, labels)


def _star(rewriter: Rewriter, chosen: ReturnedMask) -> list[str]:
    """The columns that stand for a star."""
    columns = _masked(rewriter, chosen)
    if not chosen.shown:
        return list(columns.values())
    return [columns[e.name or ""] if e.alias == chosen.site.alias else e.text for e in chosen.shown]


def _expression(rewriter: Rewriter, chosen: ReturnedMask) -> str:
    """What stands for a column or row, in parentheses."""
    name = chosen.ref.fields[-1]
    if name in chosen.columns:
        return f"({_masked(rewriter, chosen, labelled=False)[name]})"
    return f"(SELECT {_ROW} FROM (SELECT {', '.join(_masked(rewriter, chosen).values())}) AS {_ROW})"


def _masked(rewriter: Rewriter, chosen: ReturnedMask, *, labelled: bool = True) -> dict[str, str]:
    """The columns as the session sees them, by name."""
    relation, source = rewriter.relations[chosen.site], rewriter.sources[chosen.site]
    prefix = quote_ident(chosen.row) + "."
    out = {}
    for name in (c.name for c in relation.columns if c.name in chosen.columns):
        text = prefix + quote_ident(name)
        if name in source.masked:
            text = source.origins[name].sql(prefix) or "NULL"
            text += f" AS {quote_ident(name)}" if labelled else ""
        out[name] = text
    return out


def _wrapper(node: Node, wanted: Node) -> Node:
    """The node {"ColumnRef": wanted} below the given one."""
    if isinstance(node, dict):
        if node.get("ColumnRef") is wanted:
            return node
        node = list(node.values())
    if isinstance(node, list):
        for value in node:
            found = _wrapper(value, wanted)
            if found is not None:
                return found
    return None


def _named_after(node: Node) -> Node:
    """The reference that an output column without a label takes its name from, if any (FigureColname in parse_target.c)."""
    ((kind, body),) = node.items()
    if kind == "ColumnRef":
        return body
    if kind in ("TypeCast", "CollateClause"):
        return _named_after(body["arg"])
    if kind == "A_Indirection" and not any("String" in i for i in body["indirection"]):
        return _named_after(body["arg"])
    if kind == "CaseExpr" and "defresult" in body:
        return _named_after(body["defresult"])
    if kind == "SubLink" and body.get("subLinkType") == "EXPR_SUBLINK":
        query = body["subselect"]["SelectStmt"]
        target = query.get("targetList", [{}])[0].get("ResTarget", {})
        return _named_after(target["val"]) if "val" in target and "name" not in target else None
    return None


def _replacement(items: dict[int, list[Node]], labels: dict[int, str]) -> Callable[[Node], Node]:
    def apply(copy: Node) -> Node:
        exprs: list[Node] = []
        for index, item in enumerate(copy["exprs"]):
            if index in labels:
                item = {"ResTarget": {**item["ResTarget"], "name": labels[index]}}
            exprs += items.get(index, [item])
        return {**copy, "exprs": exprs}

    return apply
