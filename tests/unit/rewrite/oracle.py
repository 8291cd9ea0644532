"""Independent of `rewrite.survey` and `rewrite.verify`: which protected relations does a text read in the open?

Written against libpg_query's JSON tree only. A protected relation may stand in the FROM clause of exactly one kind of place: a
derived table that selects from it alone, each masked column of it as an expression.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from postgast.native import lib

from rewrite.catalog import Catalog
from tests.support.minibank import MASKS

MASKED = {key: frozenset(columns) for key, columns in MASKS.items()}
TARGETS = {"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt", "CopyStmt", "LockStmt", "VacuumRelation", "TableLikeClause"}


def tree(text: str) -> Any:
    # libpg_query stumbles over a comment between words that the grammar reads together: NOT /* */ IN
    result = lib.pg_query_parse(re.sub(r"/\*[^*']*\*/|--[^\n']*(?=\n)", " ", text).encode())
    try:
        assert not result.error, result.error.contents.message
        return json.loads(result.parse_tree)
    finally:
        lib.pg_query_free_parse_result(result)


def bare(text: str, catalog: Catalog) -> list[str]:
    """Relations with masked columns that the text reads other than through a derived table. A view's definition reads nothing."""
    return [f"{s}.{n}" for s, n in _walk(tree(text), "", frozenset()) if (s, n) in MASKED and (s, n) in catalog.by_name]


def _walk(node: Any, key: str, ctes: frozenset[str]) -> Iterator[tuple[str, str]]:
    if isinstance(node, list):
        for item in node:
            yield from _walk(item, key, ctes)
    elif isinstance(node, dict):
        if "relname" in node and "relpersistence" in node and key not in ("relation:write", "rel", "view"):
            if "schemaname" not in node and node["relname"] not in ctes:
                yield from (k for k in MASKED if k[1] == node["relname"])  # not pinned: could be any of them
            yield node.get("schemaname", ""), node["relname"]
            return
        if "ctes" in node.get("withClause", {}):
            ctes = ctes | {c["CommonTableExpr"]["ctename"] for c in node["withClause"]["ctes"]}
        if key == "subquery" and _is_mask(node.get("SelectStmt", {})):
            return
        if key == "ViewStmt":
            yield from _unpinned(node["query"], ctes)
            return
        for name, value in node.items():
            if name == "lockedRels":  # FOR UPDATE OF: aliases of FROM items, which cannot have a schema
                continue
            inner = "relation:write" if name == "relation" and key in TARGETS else name
            yield from _walk(value, inner, ctes)


def _unpinned(node: Any, ctes: frozenset[str]) -> Iterator[tuple[str, str]]:
    """What relations without a schema could mean."""
    if isinstance(node, list):
        for item in node:
            yield from _unpinned(item, ctes)
    elif isinstance(node, dict):
        if "relname" in node and "schemaname" not in node and node["relname"] not in ctes:
            yield from (k for k in MASKED if k[1] == node["relname"])
        if "ctes" in node.get("withClause", {}):
            ctes = ctes | {c["CommonTableExpr"]["ctename"] for c in node["withClause"]["ctes"]}
        for value in node.values():
            yield from _unpinned(value, ctes)


def _names(node: Any) -> Iterator[Any]:
    """The names of all functions and operators: in a derived table of ours they carry their schema."""
    if isinstance(node, list):
        for item in node:
            yield from _names(item)
    elif isinstance(node, dict):
        if "funcname" in node or ("kind" in node and "name" in node):
            yield node.get("funcname") or node["name"]
        for value in node.values():
            yield from _names(value)


def _is_mask(node: Any) -> bool:
    """A SELECT, all names pinned, over one protected relation, that names its masked columns inside expressions only."""
    items, sources = node.get("targetList", []), node.get("fromClause", [])
    if len(sources) != 1 or not set(node) <= {"targetList", "fromClause", "limitOption", "op"}:
        return False
    source = sources[0].get("RangeTableSample", {}).get("relation", sources[0]).get("RangeVar", {})
    masked = MASKED.get((source.get("schemaname", ""), source.get("relname", "")))
    if masked is None or not items:
        return False
    for item in items:
        value = item["ResTarget"].get("val", {})
        while "TypeCast" in value:
            value = value["TypeCast"]["arg"]
        if any(len(n) != 2 or n[0] != {"String": {"sval": "pg_catalog"}} for n in _names(value)):
            return False
        fields = value.get("ColumnRef", {}).get("fields", [])
        if fields and ("A_Star" in fields[-1] or fields[-1]["String"]["sval"] in masked):
            return False
    return True
