"""Columns that a grant shows for a number of rows: what a statement may do with them, so that counting its rows counts theirs.

Each row of the result shows what one row of one table holds, and nothing else in the statement depends on it: a plain SELECT that
puts the columns out as they are. Anything else (an aggregate, a filter, an order, a second table with such columns, the same one
again, an expression, a view, a write) could tell of rows that are not counted.
"""

from __future__ import annotations

from typing import Final

from rewrite.pgtree import Node
from rewrite.refused import refuse
from rewrite.rewriter import Rewriter
from rewrite.touched import touches

_PARTS: Final = frozenset(
    "targetList fromClause whereClause sortClause limitOffset limitCount limitOption op lockingClause".split()
)
_PUT_OUT: Final = frozenset({"ColumnRef", "A_Const", "ParamRef"})
_TABLES: Final = frozenset("rpf")


def check(rewriter: Rewriter) -> None:
    """Raises Refused."""
    rationed = rewriter.book.profile.rationed
    used = [t for t in touches(rewriter) if (t.relation, t.column) in rationed]
    if not used:
        return
    tables = {f"{r.schema}.{r.name}" for r in rewriter.relations.values() if r.kind in _TABLES}
    through = any(r.kind not in _TABLES and rewriter.sources.get(s) is not None for s, r in rewriter.relations.items())
    shown = all(t.use == "output" and t.relation in tables for t in used)
    grants = ", ".join(sorted({name for t in used for name in rationed[t.relation, t.column]}))
    if shown and _sites(rewriter) > 1:
        raise refuse(
            "42501",
            f"{grants} shows a number of rows, and each row of this result would show several",
            "read such columns of one table at a time, and name it once",
        )
    if through or not shown or rewriter.kind != "SelectStmt" or len(rewriter.survey.levels) != 1 or not _is_plain(rewriter.body):
        column = f"{used[0].relation}.{used[0].column}"
        raise refuse(
            "42501",
            f"{grants} shows a number of rows of {column}, in a plain SELECT only: straight from its table, and nowhere else",
            "write SELECT with the columns themselves, and choose rows by other columns",
        )


def _is_plain(body: Node) -> bool:
    return (
        not body.keys() - _PARTS
        and body.get("op", "SETOP_NONE") == "SETOP_NONE"
        and all(t["ResTarget"].get("val", {}).keys() <= _PUT_OUT for t in body.get("targetList", ()))
        and all(_is_table(f) for f in body.get("fromClause", ()))
        and all(_is_ordered_by_column(s["SortBy"]["node"], body) for s in body.get("sortClause", ()))
    )


def _sites(rewriter: Rewriter) -> int:
    """From how many places of the statement such columns come: a join of a table with itself shows several rows in one."""
    rationed = rewriter.book.profile.rationed
    return sum(
        any((f"{r.schema}.{r.name}", c.name) in rationed and rewriter.usage(site).clauses(c.name) for c in r.columns)
        for site, r in rewriter.relations.items()
    )


def _is_ordered_by_column(node: Node, body: Node) -> bool:
    """By a column of a table, whose use is known: not by the number or the name of a column of the result, whatever that is."""
    fields = node.get("ColumnRef", {}).get("fields", ())
    names = {t["ResTarget"].get("name") for t in body.get("targetList", ())}
    return bool(fields) and not (len(fields) == 1 and fields[0].get("String", {}).get("sval") in names)


def _is_table(item: Node) -> bool:
    join = item.get("JoinExpr")
    if join is not None:
        return _is_table(join["larg"]) and _is_table(join["rarg"])
    return "RangeVar" in item
