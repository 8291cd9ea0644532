"""Reads a `rewrite.catalog.Catalog` from a server: one transaction, one query per system catalog.

The login needs CONNECT and nothing else. All rows come from one snapshot (REPEATABLE READ, READ ONLY). Definition
texts are deparsed by the server from its newest state, which may be ahead of that snapshot; the caller re-reads when
the change stamp has moved meanwhile (`proxy.control.database`).

What is locked at the moment is left out (`proxy.control.build` says how); `CatalogRead.incomplete` asks for another
read soon.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import asyncpg

from proxy.control import queries
from proxy.control.build import FIRST_USER_OID, Memo, Raw, Rows, Stamp, ViewText, build, type_rows
from proxy.control.roles import Roles
from proxy.control.texts import fetch_unlocked
from proxy.control.types import modifier_pairs
from rewrite.catalog import Catalog, Relation

_TABLES = frozenset("rpfm")


async def is_current(connection: asyncpg.Connection, stamp: Stamp, identify: bool = False) -> bool:
    """Whether no transaction has ended since the stamp was taken.

    `identify`: a pooler is in between. Then everything is in a transaction: asyncpg takes two round trips for a query, and only a
    transaction keeps them on one server connection.
    """
    if not identify:
        return bool(await connection.fetchval(queries.SNAPSHOT) == stamp.snapshot)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        origin = tuple(await connection.fetchrow(queries.ORIGIN))
        return bool(stamp.origin == origin and await connection.fetchval(queries.SNAPSHOT) == stamp.snapshot)


async def read_stamp(connection: asyncpg.Connection, last: Stamp | None = None, identify: bool = False) -> Stamp:
    """The change stamp of now; `last` itself when no transaction has ended since it was taken."""
    if last is not None and await is_current(connection, last, identify):
        return last
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return await _stamp(connection, identify)


async def _stamp(connection: asyncpg.Connection, identify: bool) -> Stamp:
    await connection.fetch(queries.SESSION)
    origin = tuple(await connection.fetchrow(queries.ORIGIN)) if identify else None
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
        self._rows: dict[str, tuple[tuple[str, ...], tuple[str, ...], Rows]] = {}
        self._memo = Memo()
        self._wordings = Wordings()
        self._no_statistics = ""
        """The stamp of pg_statistic_ext with which no statistics of an expression were there."""
        self._of: Callable[[], asyncpg.Connection | None] = lambda: None
        self._server: Rows = []

    async def read(self, connection: asyncpg.Connection, last: CatalogRead | None = None, identify: bool = False) -> CatalogRead:
        """Today's picture; `last` with today's stamp when it is still right. `identify`: see `is_current`.

        Raises what asyncpg raises when the connection or the server fails.
        """
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            stamp = await _stamp(connection, identify)
            if last is not None and not last.incomplete and stamp.same_content(last.stamp):
                return replace(last, stamp=stamp)
            if identify:
                self._of = lambda: None
                if last is None or stamp.origin != last.stamp.origin:
                    self._rows.clear()
            raw = await self._fetch(connection, stamp)
        catalog, roles = await asyncio.to_thread(build, raw, self._memo)
        self._views, self._last = raw.views, catalog
        return CatalogRead(catalog, roles, raw.stamp, raw.incomplete)

    async def _once(self, connection: asyncpg.Connection, query: str) -> Rows:
        """What cannot change as long as the connection lasts."""
        if self._of() is not connection:
            self._of, self._server = weakref.ref(connection), await connection.fetch(query)
        return self._server

    async def _fetch(self, connection: asyncpg.Connection, stamp: Stamp) -> Raw:
        """Everything that `build` needs, within one snapshot."""
        fetch = connection.fetch
        raw = Raw(stamp, (await self._once(connection, queries.SERVER))[0])
        parts = stamp.parts()

        async def seldom(query: str, *catalogs: str, of: list[int] | None = None, beside: tuple[str, ...] = ()) -> Rows:
            """The rows of the last read, if nothing has changed in the system catalogs that the query reads.

            `beside`: catalogs that only add to the rows of the others, so that there are none as long as there were none.
            """
            now = tuple(parts[c] for c in catalogs)
            around = tuple(parts[c] for c in beside)
            known = self._rows.get(query)
            if known is None or known[0] != now or (known[2] and known[1] != around):
                known = self._rows[query] = now, around, await (fetch(query) if of is None else fetch(query, of))
            return known[2]

        owned = ("pg_namespace", "roles")
        raw.schemas = await seldom(queries.SCHEMAS, *owned)
        raw.extensions = await seldom(queries.EXTENSIONS, "pg_extension")
        raw.builtin_relations = await seldom(queries.SYSTEM_RELATIONS, "builtin pg_class", *owned)
        raw.relations = [*raw.builtin_relations, *await seldom(queries.RELATIONS, "pg_class", *owned)]
        columned = [r[0] for r in raw.relations if r[3] not in ("i", "I")]
        builtin = [oid for oid in columned if oid < FIRST_USER_OID]
        raw.builtin_attributes = await seldom(queries.ATTRIBUTES, "builtin pg_attribute", "builtin pg_type", of=builtin)
        raw.attributes = await fetch(queries.ATTRIBUTES, [oid for oid in columned if oid >= FIRST_USER_OID])
        raw.inherits = await seldom(queries.INHERITS, "pg_inherits")
        raw.foreign_keys = await fetch(queries.FOREIGN_KEYS)
        raw.checked_together = await fetch(queries.CHECKED_TOGETHER)
        raw.storage = await fetch(queries.STORAGE)
        raw.bodies = await seldom(queries.BODIES, "pg_proc", "pg_namespace", "pg_language", "pg_depend")
        named = ("pg_class", "pg_namespace")
        raw.triggers = await seldom(queries.TRIGGERS, "pg_trigger", beside=named)
        raw.trees = [*await fetch(queries.TREES)]
        if raw.server[0] >= 140000:
            raw.trees += await seldom(queries.SQL_BODIES, "pg_proc", "pg_namespace", "pg_language", "pg_depend")
        if raw.server[0] >= 150000:
            raw.trees += await seldom(queries.PUBLICATION_FILTERS, "pg_publication_rel", beside=named)
        raw.builtin_indexes = await seldom(queries.SYSTEM_INDEXES, "builtin pg_index")
        raw.indexes = await seldom(queries.INDEXES, "pg_index")
        raw.partitioned = await seldom(queries.PARTITIONED, "pg_partitioned_table")
        raw.rules = await seldom(queries.RULES, "pg_rewrite")
        raw.view_rules = await seldom(queries.VIEW_RULES, "pg_rewrite")
        raw.sets_off = await fetch(queries.SETS_OFF)
        raw.domain_checks = await fetch(queries.DOMAIN_CHECKS)
        raw.comments = await seldom(queries.COMMENTS, "pg_description")
        raw.builtin_types = await seldom(queries.SYSTEM_TYPES, "builtin pg_type", "pg_namespace")
        raw.types = [*raw.builtin_types, *await fetch(queries.TYPES)]
        pairs = sorted(
            modifier_pairs(type_rows(raw, self._memo), {(a[3], a[4]) for a in (*raw.builtin_attributes, *raw.attributes)})
        )
        raw.formatted = await fetch(queries.FORMATTED_TYPES, [p[0] for p in pairs], [p[1] for p in pairs])
        made = ("pg_namespace", "pg_language", "pg_extension", "pg_depend")
        raw.builtin_functions = await seldom(queries.SYSTEM_FUNCTIONS, "builtin pg_proc", *made)
        raw.functions = await seldom(queries.FUNCTIONS, "pg_proc", *made)
        raw.operators = await seldom(queries.OPERATORS, "pg_operator", "pg_namespace")
        raw.casts = await seldom(queries.CASTS, "pg_cast")
        raw.roles = await seldom(queries.ROLES, "roles")
        raw.memberships = await seldom(queries.MEMBERSHIPS, "roles")
        raw.search_paths = await seldom(queries.SEARCH_PATHS, "roles")
        await self._fetch_definitions(connection, raw)
        await self._fetch_bodies(connection, raw)
        await self._fetch_views(connection, raw)
        return raw

    async def _fetch_definitions(self, connection: asyncpg.Connection, raw: Raw) -> None:
        tables = [r[0] for r in raw.relations if r[0] >= FIRST_USER_OID and r[3] in _TABLES]
        raw.definitions, raw.unread = await fetch_unlocked(connection, queries.DEFINITIONS, tables)
        statistics = raw.stamp.parts()["pg_statistic_ext"]
        if raw.server[0] >= 140000 and statistics != self._no_statistics:
            rows, unread = await fetch_unlocked(connection, queries.STATISTICS_DEFINITIONS, tables)
            self._no_statistics = "" if rows or unread else statistics
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
        """All view definitions. Those of system views are kept from the last time, all others as long as nothing that they may
        name has another name; what is locked may be."""
        rules = {r[0]: f"{r[1]}:{r[2]}" for r in raw.view_rules}
        wanted = [r[0] for r in raw.relations if r[3] in ("v", "m") and r[0] in rules]
        same_words = self._wordings.still_hold(raw)
        for oid in wanted:
            if (same_words or oid < FIRST_USER_OID) and oid in self._views and self._views[oid].rule == rules[oid]:
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
            known_sources = (s for s in sources.get(oid, ()) if s >= FIRST_USER_OID)
            if all(now.get(s) == _names_of(self._last.relations.get(s)) for s in known_sources):
                raw.views[oid] = known


class Wordings:
    """Whether a definition would be printed as it was the last time: it names relations, columns, functions, operators, types."""

    def __init__(self) -> None:
        self._parts: tuple[str, ...] = ()
        self._relations: dict[int, tuple[object, ...]] = {}
        self._types: dict[int, tuple[str, str]] = {}

    def still_hold(self, raw: Raw) -> bool:
        """Nothing has another name, or other columns, than at the last call. New things and those that are gone do not count: a
        definition names none of them."""
        parts, relations = raw.stamp.parts(), _names(raw)
        now = tuple(parts[p] for p in _NAMED_BY_DEFINITIONS)
        types = {t[0]: (t[1], t[2]) for t in raw.types[len(raw.builtin_types) :]}
        same = (
            now == self._parts
            and all(relations.get(oid, names) == names for oid, names in self._relations.items())
            and all(types.get(oid, names) == names for oid, names in self._types.items())
        )
        self._parts, self._relations, self._types = now, relations, types
        return same


_NAMED_BY_DEFINITIONS = ("pg_proc", "builtin pg_proc", "pg_operator", "pg_namespace", "builtin pg_type", "builtin pg_class")


def _names(raw: Raw) -> dict[int, tuple[object, ...]]:
    """Of relations that are not builtin."""
    columns: dict[int, list[tuple[int, str]]] = {}
    for a in raw.attributes:
        columns.setdefault(a[0], []).append((a[1], a[2]))
    return {r[0]: (r[1], r[2], tuple(columns.get(r[0], ()))) for r in raw.relations[len(raw.builtin_relations) :]}


def _names_of(relation: Relation | None) -> tuple[object, ...] | None:
    if relation is None:
        return None
    return relation.schema, relation.name, tuple((c.attnum, c.name) for c in relation.columns)
