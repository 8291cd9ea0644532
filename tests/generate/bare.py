"""Does any text that reached the server read a protected relation as it is? A second opinion that shares no code with rewrite.

It knows the masks, PostgreSQL's grammar, and in which columns the views over masked tables show something else than on the masked
copy. Such a relation may stand in one place only: alone in the FROM of a SELECT that has nothing but a select list, in which each
masked column appears inside its mask (for a column of a view: inside one of the masks) and nowhere else. Targets of writes are
another matter (rewrite.writes).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from postgast.native import lib

Node = Any
_SELECT_PARTS = {"targetList", "fromClause", "limitOption", "op"}
_VIEWS = """
WITH RECURSIVE over(oid) AS (
  SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE (n.nspname || '.' || c.relname) = ANY (%s)
  UNION
  SELECT r.ev_class FROM over JOIN pg_catalog.pg_depend d ON d.refobjid = over.oid AND d.classid = 'pg_rewrite'::regclass
  JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid
)
SELECT n.nspname::text, c.relname::text FROM over JOIN pg_catalog.pg_class c ON c.oid = over.oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('v', 'm')
"""


@dataclass(frozen=True, slots=True)
class Guarded:
    """What has to be looked for."""

    masks: Mapping[tuple[str, str], Mapping[str, list[Node]]]
    """relation -> column -> the masks that may stand around it, as simplified trees"""
    names: frozenset[str]
    """Names of the relations, without schema."""


def guarded(admin: psycopg.Connection, direct: psycopg.Connection, masks: Mapping[tuple[str, str], Mapping[str, str]]) -> Guarded:
    """The protected tables with their masks, and the views over them that show something else on the masked copy (`direct`)."""
    trees: dict[tuple[str, str], dict[str, list[Node]]] = {}
    for relation, columns in masks.items():
        trees[relation] = {column: [_mask(mask, column)] for column, mask in columns.items()}
    every = {mask for columns in masks.values() for mask in columns.values()}
    for schema, name in admin.execute(_VIEWS, ([f"{s}.{t}" for s, t in masks],)).fetchall():
        found = {}
        for column in _columns(admin, schema, name):
            if _content(admin, schema, name, column) != _content(direct, schema, name, column):
                found[column] = [_mask(mask, column) for mask in every]
        if found:
            trees[schema, name] = found
    return Guarded(trees, frozenset(t for _, t in trees))


def _mask(mask: str, column: str) -> Node:
    quoted = '"' + column.replace('"', '""') + '"'
    return _plain(_parse(f"SELECT {mask.replace('$1', quoted)}")[0]["SelectStmt"]["targetList"][0]["ResTarget"]["val"])


def _columns(connection: psycopg.Connection, schema: str, name: str) -> list[str]:
    query = "SELECT attname::text FROM pg_catalog.pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
    return [c for (c,) in connection.execute(query, (f'"{schema}"."{name}"',)).fetchall()]


def _content(connection: psycopg.Connection, schema: str, name: str, column: str) -> object:
    """All values of a column in one; a new object when they cannot be read, equal to nothing."""
    quoted = f'v."{column}"::text'
    query = f'SELECT count(*), md5(string_agg({quoted}, \',\' ORDER BY {quoted})) FROM "{schema}"."{name}" v'
    try:
        with connection.transaction():
            return connection.execute(query.encode()).fetchone()
    except psycopg.Error:
        return object()


def violations(text: str, of: Guarded) -> list[str]:
    """What is wrong with a text that was sent upstream; empty when nothing is."""
    if not any(name.lower() in text.lower() for name in of.names) and '"' not in text:
        return []
    out: list[str] = []
    for statement in _parse(text):
        if "ViewStmt" in statement:  # a definition reads nothing yet
            continue
        _walk(statement, of, frozenset(), out)
    return out


def _parse(text: str) -> list[Node]:
    result = lib.pg_query_parse(text.encode())
    try:
        if result.error:
            return []
        return [s["stmt"] for s in json.loads(result.parse_tree).get("stmts", ())]
    finally:
        lib.pg_query_free_parse_result(result)


def _walk(node: Node, of: Guarded, tables: frozenset[str], out: list[str]) -> None:
    """`tables`: names of common table expressions in sight."""
    if isinstance(node, list):
        for item in node:
            _walk(item, of, tables, out)
    elif isinstance(node, dict):
        clause = node.get("withClause")
        if clause:
            tables |= {c["CommonTableExpr"]["ctename"] for c in clause["ctes"]}
        if "fromClause" in node and _is_source(node, of):
            return
        for key, value in node.items():
            if key in ("fromClause", "usingClause", "larg", "rarg", "sourceRelation"):
                for item in value if isinstance(value, list) else [value]:
                    _named(item, of, tables, out)
            _walk(value, of, tables, out)


def _named(item: Node, of: Guarded, tables: frozenset[str], out: list[str]) -> None:
    """Complain about a range item that is a protected relation as it is."""
    if not isinstance(item, dict):
        return
    if "RangeTableSample" in item:
        item = item["RangeTableSample"]["relation"]
    relation = item.get("RangeVar")
    if relation is None:
        return
    schema, name = relation.get("schemaname"), relation["relname"]
    if schema is None:
        if name not in tables and name in of.names:
            out.append(f"{name} is read without a schema")
    elif (schema, name) in of.masks:
        out.append(f"{schema}.{name} is read as it is")


def _is_source(select: Node, of: Guarded) -> bool:
    """Whether this is a SELECT that shows one protected table through its masks, and nothing else."""
    if set(select) - _SELECT_PARTS or len(select["fromClause"]) != 1:
        return False
    (item,) = select["fromClause"]
    if "RangeTableSample" in item:
        item = item["RangeTableSample"]["relation"]
    relation = item.get("RangeVar", {})
    masks = of.masks.get((relation.get("schemaname"), relation.get("relname")))
    if masks is None or "colnames" in relation.get("alias", {}):
        return False
    return all(_shown(t["ResTarget"], masks) for t in select.get("targetList", ()))


def _shown(target: Node, masks: Mapping[str, list[Node]]) -> bool:
    """A column that is not masked, or a masked one inside its mask (or inside a condition that lets some rows through)."""
    value = target.get("val", {})
    name = _column(value)
    if name is not None:
        return name not in masks
    if "A_Const" in value:
        return True
    wanted = masks.get(target.get("name", ""), [])
    shown = _plain(value)
    return any(_contains(shown, mask) for mask in wanted)


def _column(node: Node) -> str | None:
    fields = node.get("ColumnRef", {}).get("fields", ()) if isinstance(node, dict) else ()
    return fields[0]["String"]["sval"] if len(fields) == 1 and "String" in fields[0] else None


def _plain(node: Node) -> Node:
    """A tree without what the rewriter adds to a mask: schemas, casts, parentheses' subqueries, places."""
    if isinstance(node, list):
        return [_plain(n) for n in node]
    if not isinstance(node, dict):
        return node
    if "TypeCast" in node:
        return _plain(node["TypeCast"]["arg"])
    out = {k: _plain(v) for k, v in node.items() if not re.search(r"location|list_start|list_end", k)}
    for key in ("funcname", "name"):
        if isinstance(out.get(key), list) and len(out[key]) == 2 and out[key][0] == {"String": {"sval": "pg_catalog"}}:
            out[key] = out[key][1:]
    out.pop("funcformat", None)
    return out


def _contains(tree: Node, wanted: Node) -> bool:
    if tree == wanted:
        return True
    if isinstance(tree, dict):
        return any(_contains(v, wanted) for v in tree.values())
    return isinstance(tree, list) and any(_contains(v, wanted) for v in tree)


class Log:
    """The statements in the server's log, as they came."""

    _ENTRY = re.compile(r"^<(?P<who>[^>]*)> (?:LOG:  (?:statement|execute [^:]*): )?", re.M)

    def __init__(self, path: Any, role: str, database: str) -> None:
        self._path = path
        self._who = f"<{role}@{database}> LOG:  "
        self._at = path.stat().st_size

    def statements(self) -> Iterator[str]:
        """What the role has sent to the database since the last call."""
        with self._path.open("rb") as file:
            file.seek(self._at)
            raw = file.read()
            self._at += len(raw)
        for entry in re.split(r"\n(?=<[^\n>]*@[^\n>]*> )", raw.decode("utf-8", "replace")):
            if entry.startswith(self._who):
                found = re.match(r"(?:statement|execute [^:\n]*): (.*)", entry[len(self._who) :], re.S)
                if found:
                    yield found[1].rstrip("\n").replace("\n\t", "\n")
