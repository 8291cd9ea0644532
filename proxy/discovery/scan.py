"""Goes through a database, table by table: the catalog, samples, verdicts. Values stay in here."""

from __future__ import annotations

import asyncio
import datetime
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import asyncpg

from policies.decide import column_type
from policies.detect import Examined, Finding, Subject, examine_table
from policies.detect.dictionary import Found
from policies.detect.persons import beside_persons, keys_of_persons
from policies.names import SYSTEM_SCHEMAS
from proxy.control.catalog import CatalogReader
from proxy.control.connection import FAILURES
from proxy.discovery.sample import Bounds, element_type, is_array, readable, sample
from rewrite.catalog import Column, Relation

_KINDS = "rpfm"
_OWN_SCHEMA = "pgveil"
_ENOUGH = 30
"""Filled rows from which a column without any finding may be called harmless."""

_COMMENTS = """
SELECT c.oid, pg_catalog.obj_description(c.oid, 'pg_class'), c.relispartition,
       c.relrowsecurity AND pg_catalog.row_security_active(c.oid)
FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'p', 'f', 'm') AND c.oid >= 16384"""
_COLUMN_COMMENTS = """
SELECT a.attrelid, a.attnum, pg_catalog.col_description(a.attrelid, a.attnum), a.attinhcount = 0 OR a.attislocal,
       pg_catalog.has_schema_privilege(c.relnamespace, 'USAGE')
         AND pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'SELECT')
FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
WHERE c.relkind IN ('r', 'p', 'f', 'm') AND c.oid >= 16384 AND a.attnum > 0 AND NOT a.attisdropped"""


@dataclass(frozen=True, slots=True)
class Scanned:
    """One column, as far as it could be looked at."""

    relation: Relation
    column: Column
    found: Found
    note: str = ""
    """Why its values were not looked at: `not readable`, `out of time`."""

    @property
    def finding(self) -> Finding | None:
        return self.found.finding


@dataclass(frozen=True, slots=True)
class Scan:
    """Everything that one run saw."""

    database: str
    relations: tuple[Relation, ...]
    columns: tuple[Scanned, ...]
    tables: int
    rows: int
    unread: tuple[str, ...] = ()
    """Tables of which nothing, or not everything, could be read, with the reason; no data in it."""


Progress = Callable[[int, int, str, int], None]
"""(tables done, tables in all, name of the table, rows read)"""
Chosen = Callable[[str, str], bool]
"""Whether a table (schema, name) is to be looked at."""


async def scan(connection: asyncpg.Connection, bounds: Bounds, progress: Progress, chosen: Chosen = lambda *_: True) -> Scan:
    """Look at every table of the connected database. Raises what asyncpg raises when the connection is lost."""
    await connection.execute(
        "SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', false), "
        "pg_catalog.set_config('application_name', 'pgveil discover', false), "
        "pg_catalog.set_config('default_transaction_read_only', 'on', false), "
        "pg_catalog.set_config('datestyle', 'ISO, YMD', false)"
    )
    catalog = (await CatalogReader().read(connection)).catalog
    tables = {r[0]: r for r in await connection.fetch(_COMMENTS)}
    columns = {(a[0], a[1]): a for a in await connection.fetch(_COLUMN_COMMENTS)}
    relations = [r for r in catalog.relations.values() if _wanted(r) and chosen(r.schema, r.name)]
    looked = [r for r in relations if r.oid in tables and not tables[r.oid][2]]
    looked.sort(key=lambda r: (r.schema, r.name))
    worker = _Worker(connection, bounds, catalog.encoding == "SQL_ASCII", time.monotonic() + bounds.seconds)
    looked_at: list[_Looked] = []
    for number, relation in enumerate(looked):
        comment = tables[relation.oid][1]
        own = [c for c in relation.columns if (relation.oid, c.attnum) in columns and columns[relation.oid, c.attnum][3]]
        permitted = {c.attnum for c in own if columns[relation.oid, c.attnum][4]}
        comments = {c.attnum: columns[relation.oid, c.attnum][2] for c in own}
        looked_at.append(await worker.table(relation, own, permitted, comments, comment))
        if tables[relation.oid][3]:
            worker.unread.append(f"{relation.schema}.{relation.name}: row security shows this login only some rows")
        progress(number + 1, len(looked), f"{relation.schema}.{relation.name}", worker.last)
    keys = keys_of_persons((each.subjects, each.examined) for each in looked_at)
    out = [column for each in looked_at for column in each.judged(keys)]
    every = tuple(catalog.relations.values())
    return Scan(catalog.database, every, tuple(out), len(looked), worker.total, tuple(worker.unread))


def _wanted(relation: Relation) -> bool:
    system = relation.schema in SYSTEM_SCHEMAS or relation.schema.startswith("pg_") or relation.schema == _OWN_SCHEMA
    return relation.kind in _KINDS and not system


@dataclass(frozen=True, slots=True)
class _Looked:
    """One table with what was found in it by itself. No values."""

    relation: Relation
    columns: Sequence[Column]
    subjects: Sequence[Subject]
    examined: Sequence[Examined]
    rows: int
    note: str
    permitted: set[int]

    def judged(self, keys: frozenset[str]) -> Iterator[Scanned]:
        """The verdicts, in the light of the columns by which tables about persons are referred to."""
        examined = beside_persons(self.subjects, self.examined, keys)
        for column, each in zip(self.columns, examined, strict=True):
            harmless = each.finding is None and _harmless(each, column)
            relation = self.relation
            found = Found(relation.schema, relation.name, column.name, column_type(column), each.finding, self.rows, harmless)
            readable = column.attnum in self.permitted
            yield Scanned(relation, column, found, self.note or ("" if readable else "not readable"))


class _Worker:
    def __init__(self, connection: asyncpg.Connection, bounds: Bounds, octets: bool, deadline: float) -> None:
        self.connection, self.bounds, self.octets, self.deadline = connection, bounds, octets, deadline
        self.unread: list[str] = []
        self.last = 0
        self.total = 0

    async def table(
        self,
        relation: Relation,
        columns: Sequence[Column],
        permitted: set[int],
        comments: dict[int, str | None],
        comment: str | None,
    ) -> _Looked:
        name = f"{relation.schema}.{relation.name}"
        note, rows = "", 0
        values: dict[int, list[str | None]] = {}
        wanted = [c for c in columns if c.attnum in permitted and readable(c)]
        if len(permitted) < len(columns):
            self.unread.append(f"{name}: this login may not read {'it' if not permitted else 'some columns'}")
        if relation.kind == "f" and not self.bounds.foreign:
            note = "foreign table"
        elif time.monotonic() > self.deadline:
            note = "out of time"
        elif wanted:
            try:
                got = await sample(self.connection, relation, wanted, self.bounds, self.octets)
                rows, values = got.rows, got.values
            except (asyncpg.PostgresError, asyncpg.InternalClientError, UnicodeDecodeError, TimeoutError) as error:
                if self.connection.is_closed():
                    raise
                note = f"SQLSTATE {getattr(error, 'sqlstate', None) or type(error).__name__}"
        if note:
            self.unread.append(f"{name}: {note}")
        self.last = rows
        self.total += rows
        return await asyncio.to_thread(self._judge, relation, columns, values, rows, comments, comment, note, permitted)

    def _judge(
        self,
        relation: Relation,
        columns: Sequence[Column],
        values: dict[int, list[str | None]],
        rows: int,
        comments: dict[int, str | None],
        comment: str | None,
        note: str,
        permitted: set[int],
    ) -> _Looked:
        given = [
            (
                Subject(
                    relation.schema,
                    relation.name,
                    column.name,
                    element_type(column),
                    comments.get(column.attnum),
                    comment,
                    is_array(column),
                ),
                values.pop(column.attnum, []),
            )
            for column in columns
        ]
        subjects = [subject for subject, _ in given]
        return _Looked(relation, columns, subjects, examine_table(given, datetime.date.today()), rows, note, permitted)


def _harmless(examined: Examined, column: Column) -> bool:
    """Enough was looked at, and it is of the kind that hides nothing: flags, dates, counters, codes from a short list."""
    s = examined.summary
    if column.base_type == "bool":
        return True
    if s.filled < _ENOUGH or s.inside:
        return False
    if column.base_type in ("date", "timestamp", "timestamptz", "time", "timetz"):
        return True
    if s.serial and s.lengths[2] <= 9:
        return True
    return s.distinct * 10 <= s.filled and s.lengths[2] <= 20 and not s.marks.get("name_zh") and not s.marks.get("known_latin")


__all__ = ["FAILURES", "Bounds", "Chosen", "Progress", "Scan", "Scanned", "scan"]
