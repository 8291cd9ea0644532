"""The independent check: what goes upstream is what was meant.

The edited text is parsed again by PostgreSQL's own grammar. Its tree must equal the original statement's tree with each protected
relation exchanged for its derived table and each name pinned; outside the derived tables no protected relation may be left.
"""

from __future__ import annotations

from policies.filters import FilterKind
from rewrite.pgtree import Node, ParseError, parse, strip
from rewrite.source import SourceBook
from rewrite.survey import Survey, Use


class VerificationError(Exception):
    """The edited text does not say what was meant. Always a defect of pgveil, never let through."""


def same(text: str, expected: list[Node]) -> None:
    """Raise VerificationError unless the statements of `text` have exactly the expected trees."""
    try:
        got = parse(text)
    except ParseError as e:
        raise VerificationError(f"the rewritten text does not parse: {e.message}") from e
    if len(got) != len(expected):
        raise VerificationError("the rewritten text has another number of statements")
    for statement, tree in zip(got, expected, strict=True):
        if {statement.kind: strip(statement.body)} != tree:
            raise VerificationError("the rewritten text has another meaning than intended")


def nothing_bare(text: str, book: SourceBook, derived: list[Node], opened: frozenset[str] = frozenset()) -> None:
    """Raise VerificationError when a protected relation is read outside the given derived tables' trees.

    `opened` names temporary views that may not be read as they are.
    Works from the text alone: any relation outside a known derived table must be named with its schema and need no mask.
    """
    for statement in parse(text):
        body = strip(statement.body)
        _forget({statement.kind: body}, derived)
        for site in Survey(statement.kind, body).sites:
            if site.cte or site.use is not Use.SOURCE:
                continue
            if site.schema is None:
                raise VerificationError(f"relation {site.name} is not pinned to a schema")
            if statement.kind == "ViewStmt":  # a definition reads nothing
                continue
            if site.schema.startswith("pg_temp") and site.name in opened:
                raise VerificationError(f"temporary view {site.name} is read directly")
            relation = book.catalog.by_name.get((site.schema, site.name))
            if relation is not None and book.source(relation) is not None:
                raise VerificationError(f"protected relation {site.schema}.{site.name} is read directly")


def look_ups(derived: list[Node], book: SourceBook) -> None:
    """Raise VerificationError when a derived table selects rows by anything but columns that may be looked up, compared with
    constants (`filters: equality`)."""
    for query in derived:
        body = query.get("SelectStmt", {})
        items = body.get("fromClause", [])
        if len(items) != 1 or "whereClause" not in body:
            continue
        (item,) = items
        named = item.get("RangeVar") or item.get("RangeTableSample", {}).get("relation", {}).get("RangeVar")
        relation = book.catalog.by_name.get((named.get("schemaname", ""), named["relname"])) if named is not None else None
        source = book.source(relation) if relation is not None else None
        if source is None or source.view is not None:
            continue
        names = {n for n, o in source.origins.items() if n in source.masked and o.decision.filters.kind is FilterKind.EQUALITY}
        if not _is_look_up(body["whereClause"], names):
            raise VerificationError("a derived table selects rows by something else than constants")


def _is_look_up(node: Node, names: set[str]) -> bool:
    if "BoolExpr" in node:
        return node["BoolExpr"]["boolop"] in ("AND_EXPR", "OR_EXPR") and all(
            _is_look_up(n, names) for n in node["BoolExpr"]["args"]
        )
    expression = node.get("A_Expr", {})
    if expression.get("kind") not in ("AEXPR_OP", "AEXPR_OP_ANY"):
        return False
    operator = [n.get("String", {}).get("sval") for n in expression["name"]]
    fields = [f.get("String", {}).get("sval") for f in expression["lexpr"].get("ColumnRef", {}).get("fields", [])]
    constant = expression["rexpr"]
    if "TypeCast" in constant:
        if [n["String"]["sval"] for n in constant["TypeCast"]["typeName"]["names"]][:1] != ["pg_catalog"]:
            return False
        constant = constant["TypeCast"]["arg"]
    plain = "A_Const" in constant or "ParamRef" in constant
    return operator == ["pg_catalog", "="] and len(fields) == 1 and fields[0] in names and plain


def _forget(node: Node, derived: list[Node]) -> None:
    """Take every known derived table's subquery out of the tree, in place."""
    if isinstance(node, dict):
        for key, value in node.items():
            if (key == "subquery" and any(value == d for d in derived)) or (key == "query" and any(value == d for d in derived)):
                node[key] = {"SelectStmt": {}}
            else:
                _forget(value, derived)
    elif isinstance(node, list):
        for value in node:
            _forget(value, derived)
