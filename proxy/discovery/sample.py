"""Rows of one table, as text, within bounds: few rows, few bytes each, a time limit, read-only, no lock worth the name.

Only builtin functions and output functions of builtin types run. Large tables are sampled by pages (TABLESAMPLE SYSTEM), with
a fixed seed, so that two scans of the same data see the same rows. Long text is cut by the server, which reads only the first
pieces of it; other long values are skipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from rewrite.catalog import Column, Relation

_TEXT = frozenset({"text", "varchar", "bpchar", "name"})
_PLAIN = frozenset(
    "int2 int4 int8 numeric float4 float8 money date timestamp timestamptz time timetz inet cidr macaddr macaddr8 uuid".split()
)
_DOCUMENTS = frozenset({"json", "jsonb", "xml"})
_PAGES_TO_SAMPLE = 128
"""Tables of up to this many pages are read from the beginning."""
_SEED = 20200923
_COLUMNS_AT_ONCE = 40


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may be read, and for how long."""

    rows: int = 500
    """Per table."""
    seconds: float = 600.0
    """For the whole scan; tables that are not reached are judged by their names."""
    statement_seconds: float = 10.0
    characters: int = 1000
    """Of a text."""
    bytes: int = 65536
    """Of any other value, as it is stored; larger ones are skipped."""
    foreign: bool = False
    """Read foreign tables, which may be far away."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Values by attnum, as text. Arrays come as JSON."""

    rows: int
    values: dict[int, list[str | None]]


def readable(column: Column) -> bool:
    """Values of the type can be had as text without running anybody's code but the server's."""
    return _expression(column, Bounds(), octets=False) is not None


def is_array(column: Column) -> bool:
    return column.category == "A"


def element_type(column: Column) -> str:
    """pg_type's name of the base type; of an array's elements."""
    return column.base_type.lstrip("_") if is_array(column) else column.base_type


async def sample(
    connection: asyncpg.Connection, relation: Relation, columns: Sequence[Column], bounds: Bounds, octets: bool
) -> Sample:
    """Read the columns, in a read-only transaction of its own. `octets`: the database has no encoding, so bytes are fetched and
    read as UTF-8 or GB18030. Raises what asyncpg raises."""
    expressions = {c.attnum: e for c in columns if (e := _expression(c, bounds, octets=octets)) is not None}
    numbers = list(expressions)
    rows = 0
    values: dict[int, list[str | None]] = {}
    async with connection.transaction(readonly=True):
        milliseconds = int(bounds.statement_seconds * 1000)
        await connection.execute(f"SET LOCAL statement_timeout = {milliseconds}; SET LOCAL lock_timeout = 1000")
        source = await _source(connection, relation, bounds)
        for at in range(0, len(numbers), _COLUMNS_AT_ONCE):
            part = numbers[at : at + _COLUMNS_AT_ONCE]
            selected = ", ".join(expressions[n] for n in part)
            got = await connection.fetch(f"SELECT {selected} FROM {source} LIMIT {bounds.rows}")
            if not got and " TABLESAMPLE " in source:
                source = f"{_name(relation)} t"
                got = await connection.fetch(f"SELECT {selected} FROM {source} LIMIT {bounds.rows}")
            rows = max(rows, len(got))
            for place, number in enumerate(part):
                values[number] = [_text(row[place]) for row in got]
    return Sample(rows, values)


async def _source(connection: asyncpg.Connection, relation: Relation, bounds: Bounds) -> str:
    """The FROM clause: the table, or a sample of its pages that is likely to hold enough rows."""
    plain = f"{_name(relation)} t"
    if relation.kind not in "rpm":
        return plain
    pages, tuples = await connection.fetchrow(
        "SELECT (sum(pg_catalog.pg_relation_size(s.relid)) / pg_catalog.current_setting('block_size')::int8)::int8, "
        "sum(greatest(c.reltuples, 0))::float8 "
        "FROM (SELECT relid FROM pg_catalog.pg_partition_tree($1::oid::regclass) UNION SELECT $1::oid::regclass) s "
        "JOIN pg_catalog.pg_class c ON c.oid = s.relid",
        relation.oid,
    )
    if not pages or pages <= _PAGES_TO_SAMPLE:
        return plain
    per_page = tuples / pages if tuples else 20.0
    wanted = max(32.0, 3 * bounds.rows / max(per_page, 0.01))
    percent = min(100.0, 100.0 * wanted / pages)
    return f"{_name(relation)} t TABLESAMPLE SYSTEM ({percent:.9f}) REPEATABLE ({_SEED})"


def _expression(column: Column, bounds: Bounds, *, octets: bool) -> str | None:
    """SQL for one column's value as a short text; None when it is not worth or not safe to read."""
    name = "t." + quoted(column.name)
    builtin = column.base_sql.startswith("pg_catalog.")
    citext = column.base_type == "citext" and column.category == "S"
    if not builtin and not citext:
        return None
    base = element_type(column)
    if is_array(column):
        if base not in _TEXT | _PLAIN | _DOCUMENTS:
            return None
        text = f"pg_catalog.array_to_json({name})::pg_catalog.text"
    elif base in _TEXT or citext:
        text = f"pg_catalog.substr({name}::pg_catalog.text, 1, {bounds.characters})"
        return f"pg_catalog.convert_to({text}, 'SQL_ASCII')" if octets else text
    elif base in _PLAIN or base in _DOCUMENTS:
        text = f"{name}::pg_catalog.text"
    else:
        return None
    text = f"CASE WHEN pg_catalog.pg_column_size({name}) OPERATOR(pg_catalog.<=) {bounds.bytes} THEN {text} END"
    return f"pg_catalog.convert_to({text}, 'SQL_ASCII')" if octets else text


def _text(value: str | bytes | None) -> str | None:
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("gb18030", errors="ignore")


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _name(relation: Relation) -> str:
    only = "ONLY " if relation.kind == "r" else ""
    return f"{only}{quoted(relation.schema)}.{quoted(relation.name)}"
