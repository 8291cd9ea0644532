"""What statements can be made over: relations, columns, keys and allowed functions, read from a database's catalog."""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import psycopg


class Kind(enum.Enum):
    """Types as far as the generator tells them apart."""

    INT = "int4"
    NUM = "numeric(20,2)"
    TEXT = "text"
    BOOL = "bool"
    DATE = "date"
    TIME = "timestamptz"
    JSON = "jsonb"
    ARRAY = "text[]"
    COMPOSITE = "composite"
    BYTES = "bytea"
    OTHER = "other"


_KINDS = {
    "int2": Kind.INT, "int4": Kind.INT, "int8": Kind.INT, "numeric": Kind.NUM, "text": Kind.TEXT, "varchar": Kind.TEXT,
    "bpchar": Kind.TEXT, "bool": Kind.BOOL, "date": Kind.DATE, "timestamptz": Kind.TIME, "timestamp": Kind.TIME,
    "jsonb": Kind.JSON, "_text": Kind.ARRAY, "bytea": Kind.BYTES,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Column:
    """A column by the name a query knows it by."""

    name: str
    kind: Kind
    fields: tuple[str, ...] = ()
    """Text fields of a composite."""
    sortable: bool = True
    writable: bool = False
    masked: bool = False


@dataclass(frozen=True, slots=True)
class Relation:
    schema: str
    name: str
    kind: str
    """pg_class.relkind"""
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    whole: bool = True
    """The whole row may be used: no column is denied."""
    child: bool = False
    """Is a partition or inherits."""
    clear: bool = False
    """Has no masked column and is written freely."""


@dataclass(frozen=True, slots=True)
class Schema:
    relations: tuple[Relation, ...]
    rare: tuple[Relation, ...]
    """Relations that the product refuses whatever is asked of them."""
    taken: frozenset[str]
    """Names of functions and types: not to be used in functional notation."""


_RELATIONS = """
SELECT c.oid::int8, n.nspname::text, c.relname::text, c.relkind::text,
       EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid),
       coalesce((SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_catalog.pg_index x
                 JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (x.indkey)
                 WHERE x.indrelid = c.oid AND x.indisprimary), '{}')
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence = 'p' AND n.nspname !~ '^pg_|^information_schema$'
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
  AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"
"""
_COLUMNS = """
SELECT a.attname::text, coalesce(b.typname, t.typname)::text, a.attgenerated::text,
       coalesce((SELECT array_agg(f.attname::text ORDER BY f.attnum) FROM pg_catalog.pg_attribute f
                 WHERE f.attrelid = t.typrelid AND t.typrelid <> 0 AND f.attnum > 0 AND f.atttypid = 'text'::regtype), '{}'),
       t.typtype::text
FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
_TAKEN = "SELECT proname::text FROM pg_catalog.pg_proc UNION SELECT typname::text FROM pg_catalog.pg_type"


def read(
    connection: psycopg.Connection,
    masked: Mapping[tuple[str, str], Collection[str]],
    denied: Collection[tuple[str, str, str]],
    refused: Collection[tuple[str, str]],
    left_out: Collection[tuple[str, str]] = (),
) -> Schema:
    """`masked`: the masked columns of each relation; `denied`: columns left out; `refused`: relations that cannot be read."""
    usual, rare = [], []
    for oid, schema, name, kind, child, key in connection.execute(_RELATIONS).fetchall():
        if (schema, name) in left_out or (kind == "v" and not _readable(connection, schema, name)):
            continue
        found = connection.execute(_COLUMNS, (oid,)).fetchall()
        hidden = masked.get((schema, name), ())
        columns = tuple(_column(*row, row[0] in hidden) for row in found if (schema, name, row[0]) not in denied)
        clear = (schema, name) not in masked and kind == "r" and not child
        relation = Relation(schema, name, kind, columns, tuple(key), len(columns) == len(found), child, clear)
        (rare if (schema, name) in refused else usual).append(relation)
    taken = frozenset(name for (name,) in connection.execute(_TAKEN).fetchall())
    return Schema(tuple(usual), tuple(rare), taken)


def _readable(connection: psycopg.Connection, schema: str, name: str) -> bool:
    """Whether reading all of a view raises no error: whether one is raised otherwise depends on the plan."""
    try:
        connection.execute(f'SELECT count(v::text) FROM "{schema}"."{name}" v'.encode())
    except psycopg.Error:
        return False
    return True


def _column(name: str, base: str, generated: str, fields: list[str], typtype: str, masked: bool) -> Column:
    kind = Kind.COMPOSITE if typtype == "c" and fields else _KINDS.get(base, Kind.OTHER)
    return Column(name, kind, tuple(fields), base not in ("json", "xml"), not generated, masked)
