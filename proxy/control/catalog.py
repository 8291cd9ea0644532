"""Reads a `rewrite.catalog.Catalog` from a server: one transaction, one query per system catalog.

The login needs CONNECT and nothing else. All rows come from one snapshot (REPEATABLE READ, READ ONLY). Definition
texts are deparsed by the server from its newest state, which may be ahead of that snapshot; the caller re-reads when
the change stamp has moved meanwhile (`proxy.control.database`).

What is locked at the moment is left out (`proxy.control.build` says how); `CatalogRead.incomplete` asks for another
read soon.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

import asyncpg

from proxy.control import queries
from proxy.control.build import FIRST_USER_OID, Memo, Raw, Rows, Stamp, ViewText, build, type_rows
from proxy.control.roles import Roles
from proxy.control.texts import fetch_unlocked
from proxy.control.types import modifier_pairs
from rewrite.catalog import Catalog, Relation

_TABLES = frozenset("rpfm")


async def read_stamp(connection: asyncpg.Connection, last: Stamp | None = None, identify: bool = False) -> Stamp:
    """The change stamp of now; `last` itself when no transaction has ended since it was taken.

    `identify`: a pooler is in between. Then everything is in a transaction: asyncpg takes two round trips for a query, and only a
    transaction keeps them on one server connection.
    """
    if not identify:
        if last is not None and await connection.fetchval(queries.SNAPSHOT) == last.snapshot:
            return last
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            await connection.fetch(queries.SESSION)
            return Stamp(*await connection.fetchrow(queries.STAMP))
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.fetch(queries.SESSION)
        origin = tuple(await connection.fetchrow(queries.ORIGIN))
        if last is not None and last.origin == origin and await connection.fetchval(queries.SNAPSHOT) == last.snapshot:
            return last
        return replace(Stamp(*await connection.fetchrow(queries.STAMP)), origin=origin)


@dataclass(frozen=True, slots=True)
class CatalogRead:
    """What one read gave, and the change stamp of the same database snapshot."""

    catalog: Catalog
    roles: Roles
    stamp: Stamp
    incomplete: bool


class CatalogReader:
    """Reads one database again and again.

    Remembers view definitions, for when a view is locked, and the rows that take longest to read and seldom change.
    """

    def __init__(self) -> None:
        self._views: Mapping[int, ViewText] = {}
        self._last: Catalog | None = None
        self._rows: dict[str, tuple[tuple[str, ...], Rows]] = {}
        self._memo = Memo()

    async def read(self, connection: asyncpg.Connection, identify: bool = False) -> CatalogRead:
        """Raises what asyncpg raises when the connection or the server fails."""
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            raw = await self._fetch(connection)
            if identify:
                raw.stamp = replace(raw.stamp, origin=tuple(await connection.fetchrow(queries.ORIGIN)))
        catalog, roles = await asyncio.to_thread(build, raw, self._memo)
        self._views, self._last = raw.views, catalog
        return CatalogRead(catalog, roles, raw.stamp, raw.incomplete)

    async def _fetch(self, connection: asyncpg.Connection) -> Raw:
        fetch = connection.fetch
        await fetch(queries.SESSION)
        [stamp] = await fetch(queries.STAMP)
        [server] = await fetch(queries.SERVER)
        raw = Raw(Stamp(*stamp), server)
        raw.schemas = await fetch(queries.SCHEMAS)
        raw.extensions = await fetch(queries.EXTENSIONS)
        raw.relations = await fetch(queries.RELATIONS)
        parts = raw.stamp.parts()

        async def seldom(query: str, *catalogs: str, of: list[int] | None = None) -> Rows:
            """The rows of the last read, if nothing has changed in the system catalogs that the query reads."""
            now = tuple(parts[c] for c in catalogs)
            known = self._rows.get(query)
            if known is None or known[0] != now:
                known = self._rows[query] = now, await (fetch(query) if of is None else fetch(query, of))
            return known[1]

        columned = [r[0] for r in raw.relations if r[3] not in ("i", "I")]
        builtin = [oid for oid in columned if oid < FIRST_USER_OID]
        raw.builtin_attributes = await seldom(queries.ATTRIBUTES, "builtin pg_attribute", "builtin pg_type", of=builtin)
        raw.attributes = await fetch(queries.ATTRIBUTES, [oid for oid in columned if oid >= FIRST_USER_OID])
        raw.inherits = await fetch(queries.INHERITS)
        raw.foreign_keys = await fetch(queries.FOREIGN_KEYS)
        raw.checked_together = await fetch(queries.CHECKED_TOGETHER)
        raw.storage = await fetch(queries.STORAGE)
        raw.bodies = await seldom(queries.BODIES, "pg_proc", "pg_namespace", "pg_language", "pg_depend")
        raw.triggers = await fetch(queries.TRIGGERS)
        raw.trees = await fetch(queries.TREES)
        if server[0] >= 140000:
            raw.trees += await fetch(queries.SQL_BODIES)
        if server[0] >= 150000:
            raw.trees += await fetch(queries.PUBLICATION_FILTERS)
        raw.indexes = await fetch(queries.INDEXES)
        raw.partitioned = await fetch(queries.PARTITIONED)
        raw.rules = await fetch(queries.RULES)
        raw.sets_off = await fetch(queries.SETS_OFF)
        raw.domain_checks = await fetch(queries.DOMAIN_CHECKS)
        raw.comments = await fetch(queries.COMMENTS)
        raw.types = await fetch(queries.TYPES)
        pairs = sorted(modifier_pairs(type_rows(raw), {(a[3], a[4]) for a in (*raw.builtin_attributes, *raw.attributes)}))
        raw.formatted = await fetch(queries.FORMATTED_TYPES, [p[0] for p in pairs], [p[1] for p in pairs])
        made = ("pg_namespace", "pg_language", "pg_extension", "pg_depend")
        raw.builtin_functions = await seldom(queries.SYSTEM_FUNCTIONS, "builtin pg_proc", *made)
        raw.functions = await seldom(queries.FUNCTIONS, "pg_proc", *made)
        raw.operators = await seldom(queries.OPERATORS, "pg_operator", "pg_namespace")
        raw.casts = await seldom(queries.CASTS, "pg_cast")
        raw.roles = await fetch(queries.ROLES)
        raw.memberships = await fetch(queries.MEMBERSHIPS)
        raw.search_paths = await fetch(queries.SEARCH_PATHS)
        await self._fetch_definitions(connection, raw)
        await self._fetch_bodies(connection, raw)
        await self._fetch_views(connection, raw)
        return raw

    async def _fetch_definitions(self, connection: asyncpg.Connection, raw: Raw) -> None:
        tables = [r[0] for r in raw.relations if r[0] >= FIRST_USER_OID and r[3] in _TABLES]
        texts = [queries.DEFINITIONS]
        if raw.server[0] >= 140000:
            texts.append(queries.STATISTICS_DEFINITIONS)
        for text in texts:
            rows, unread = await fetch_unlocked(connection, text, tables)
            raw.definitions += rows
            raw.unread |= unread
        raw.incomplete |= bool(raw.unread)

    async def _fetch_bodies(self, connection: asyncpg.Connection, raw: Raw) -> None:
        functions = [f[0] for f in raw.functions if f[6] == "sql"]
        if raw.server[0] < 140000 or not functions:
            return
        rows, unread = await fetch_unlocked(connection, queries.STANDARD_BODIES, functions)
        raw.standard_bodies = {**dict.fromkeys(unread), **{r[0]: r[1] for r in rows}}
        raw.incomplete |= bool(unread)

    async def _fetch_views(self, connection: asyncpg.Connection, raw: Raw) -> None:
        """All view definitions: those of system views are kept from the last time, what is locked may be."""
        rules = {r[0]: f"{r[1]}:{r[2]}" for r in await connection.fetch(queries.VIEW_RULES)}
        wanted = [r[0] for r in raw.relations if r[3] in ("v", "m") and r[0] in rules]
        for oid in wanted:
            if oid < FIRST_USER_OID and oid in self._views and self._views[oid].rule == rules[oid]:
                raw.views[oid] = self._views[oid]
        rows, locked = await fetch_unlocked(connection, queries.VIEW_TEXTS, [o for o in wanted if o not in raw.views])
        raw.views.update((r[0], ViewText(rules[r[0]], r[1])) for r in rows if r[1] is not None)
        if locked:
            raw.incomplete = True
            await self._keep_locked_views(connection, raw, rules, locked)

    async def _keep_locked_views(
        self, connection: asyncpg.Connection, raw: Raw, rules: Mapping[int, str], locked: frozenset[int]
    ) -> None:
        """A locked view keeps its last text when neither its rule nor any name it mentions has changed."""
        sources: dict[int, set[int]] = {}
        for view, source in await connection.fetch(queries.VIEW_SOURCES, sorted(locked)):
            sources.setdefault(view, set()).add(source)
        now = _names(raw)
        for oid in locked:
            known = self._views.get(oid)
            if known is None or self._last is None or known.rule != rules[oid]:
                continue
            if all(now.get(s) == _names_of(self._last.relations.get(s)) for s in sources.get(oid, ())):
                raw.views[oid] = known


def _names(raw: Raw) -> dict[int, tuple[object, ...]]:
    columns: dict[int, list[tuple[int, str]]] = {}
    for a in (*raw.builtin_attributes, *raw.attributes):
        columns.setdefault(a[0], []).append((a[1], a[2]))
    return {r[0]: (r[1], r[2], tuple(columns.get(r[0], ()))) for r in raw.relations}


def _names_of(relation: Relation | None) -> tuple[object, ...] | None:
    if relation is None:
        return None
    return relation.schema, relation.name, tuple((c.attnum, c.name) for c in relation.columns)
