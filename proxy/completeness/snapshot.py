"""What the server has counted so far, read over a control connection: connections, sessions, statements by login and database.

Nothing of anybody's data or statements leaves the server: texts are compared there, and only numbers come back. What the login
may not see is left out, with the reason. The counters and what they are worth: manual, "The Cumulative Statistics System" and
"pg_stat_statements".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg

from proxy.control import queries
from proxy.session import probe

HARMLESS: Final = (
    "begin start commit end rollback abort savepoint release set reset show discard prepare deallocate close listen unlisten "
)
"""First words of statements that show nothing to anybody. Drivers and poolers send them by themselves."""
HARMLESS_KINDS: Final = frozenset(
    {"TRANSACTION", "SET", "SHOW", "DISCARD", "PREPARE", "DEALLOCATE", "CLOSE", "LISTEN", "UNLISTEN"}
)
"""The same by statement class of the trail."""
_MOST: Final = 2000
"""Entries of a list in a snapshot."""

SERVER = """
SELECT pg_catalog.current_setting('server_version_num')::int4, pg_catalog.pg_postmaster_start_time(),
       (SELECT p.system_identifier::text FROM pg_catalog.pg_control_system() p),
       pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')
"""
DATABASES = """
SELECT d.datname::text, (pg_catalog.to_jsonb(d)->>'sessions')::int8, d.stats_reset
FROM pg_catalog.pg_stat_database d WHERE d.datname IS NOT NULL ORDER BY 1
"""
BACKENDS = """
SELECT a.usename::text, a.datname::text, pg_catalog.host(a.client_addr), pg_catalog.count(*)::int8,
       pg_catalog.count(*) FILTER (WHERE a.backend_start >
         pg_catalog.now() - CASE a.usename WHEN CURRENT_USER THEN '0.5 s' ELSE '11 s' END::interval)::int8
FROM pg_catalog.pg_stat_activity a
WHERE a.usename IS NOT NULL AND a.datname IS NOT NULL AND COALESCE(a.backend_type, 'client backend') = 'client backend'
  AND a.pid <> pg_catalog.pg_backend_pid()
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
"""With those whose session the server may not have counted yet: each is counted when it is ready for the first time, but up to
ten seconds later (PGSTAT_IDLE_INTERVAL) when many come at once. Control connections see to it that they are counted."""
EXTENSION = """
SELECT n.nspname::text, pg_catalog.current_setting('pg_stat_statements.track', true),
       pg_catalog.current_setting('pg_stat_statements.track_utility', true)
FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_stat_statements'
"""
STATEMENTS = r"""
SELECT COALESCE(r.rolname::text, s.userid::text), COALESCE(d.datname::text, s.dbid::text), pg_catalog.sum(s.calls)::int8
FROM "{schema}".pg_stat_statements s
LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.userid LEFT JOIN pg_catalog.pg_database d ON d.oid = s.dbid
WHERE {top} AND s.query IS NOT NULL
  AND pg_catalog.regexp_replace(s.query, '^(\s|--[^\n]*\n|/\*((?!/\*|\*/).)*\*/)*', '') !~* '^({harmless})\M'
  AND pg_catalog.regexp_replace(pg_catalog.regexp_replace(s.query, '\$[0-9]+', '?', 'g'),
        '\[\?( /\*, \.\.\. \*/)?(, ?\?)*\]', '[?]', 'g') <> ALL ($1::text[])
GROUP BY 1, 2 ORDER BY 1, 2
"""
RESET = 'SELECT i.stats_reset, i.dealloc FROM "{schema}".pg_stat_statements_info i'


@dataclass(frozen=True, slots=True)
class Database:
    sessions: int | None
    """Since the server began to count; None before PostgreSQL 14."""
    unsettled: int
    """Connections that may not be among them yet."""
    own: int
    """Control connections that all proxies and commands beside this trail have opened."""
    reset: str | None
    opening: int = 0
    """Control connections that may be among them already, and are not among `own` yet."""


@dataclass(frozen=True, slots=True)
class Statements:
    """Calls by (user, database), without those that show nothing and without pgveil's own questions."""

    missing: str = ""
    """Why they are not known."""
    reset: str | None = None
    evicted: int = 0
    calls: Mapping[tuple[str, str], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Snapshot:
    began: str
    """Before the server was asked, and after it had answered: UTC, by our clock, as in the trail."""
    ended: str
    started: str
    """When the server was."""
    system: str | None
    version: int
    databases: Mapping[str, Database]
    backends: Mapping[tuple[str, str, str], int] | None
    """Connections by (user, database, address); None: the control login may not see them."""
    statements: Statements

    def encode(self) -> dict[str, Any]:
        """For the trail: JSON."""
        out = asdict(self)
        out["databases"] = {name: asdict(d) for name, d in self.databases.items()}
        if self.backends is not None:
            out["backends"] = [[*key, n] for key, n in list(self.backends.items())[:_MOST]]
        out["statements"]["calls"] = [[*key, n] for key, n in list(self.statements.calls.items())[:_MOST]]
        if len(self.statements.calls) > _MOST:
            out["statements"]["missing"] = f"more than {_MOST} pairs of user and database"
        return out


def decode(detail: Mapping[str, Any]) -> Snapshot:
    """Raises KeyError, TypeError or ValueError for what `encode` has not written."""
    told = dict(detail["statements"])
    told["calls"] = {(user, database): n for user, database, n in told["calls"]}
    backends = detail["backends"]
    return Snapshot(
        began=detail["began"], ended=detail["ended"], started=detail["started"], system=detail["system"],
        version=detail["version"], databases={name: Database(**d) for name, d in detail["databases"].items()},
        backends=None if backends is None else {(user, database, address): n for user, database, address, n in backends},
        statements=Statements(**told),
    )  # fmt: skip


async def take(connection: asyncpg.Connection, own: Mapping[str, int], opening: Mapping[str, int]) -> Snapshot:
    """`own`, `opening`: control connections opened so far, and being opened, by database. Raises one of
    `control.connection.FAILURES`."""
    began = _now()
    async with connection.transaction(readonly=True):
        await connection.fetch(queries.SESSION)
        version, started, system, sees = await connection.fetchrow(SERVER)
        rows = await connection.fetch(DATABASES)
        backends = await connection.fetch(BACKENDS)
        extension = await connection.fetchrow(EXTENSION)
    unsettled: dict[str, int] = {}
    for _, database, _, all_of_them, some in backends:
        unsettled[database] = unsettled.get(database, 0) + (some if sees else all_of_them)
    return Snapshot(
        statements=await _statements(connection, extension, version, sees),
        began=began,
        ended=_now(),
        started=started.isoformat(),
        system=system,
        version=version,
        databases={
            name: Database(sessions, unsettled.get(name, 0), own.get(name, 0), _iso(reset), opening.get(name, 0))
            for name, sessions, reset in rows
        },
        backends={(u, d, address or "local"): n for u, d, address, n, _ in backends} if sees else None,
    )


async def _statements(connection: asyncpg.Connection, extension: Sequence[Any] | None, version: int, sees: bool) -> Statements:
    if extension is None:
        return Statements("the extension pg_stat_statements is not in the control database")
    schema, track, utility = extension
    if track not in ("top", "all") or utility != "on" or (version < 140000 and track == "all"):
        return Statements(f"pg_stat_statements.track is {track}, track_utility is {utility}")
    if not sees:
        return Statements("the control login is no member of pg_read_all_stats")
    schema = schema.replace('"', '""')
    text = STATEMENTS.format(
        schema=schema, top="s.toplevel" if version >= 140000 else "true", harmless="|".join(HARMLESS.split())
    )
    try:
        async with connection.transaction(readonly=True):
            await connection.fetch(queries.SESSION)
            rows = await connection.fetch(text, [canonical(t) for t in probe.texts()])
            reset, evicted = (await connection.fetchrow(RESET.format(schema=schema))) if version >= 140000 else (None, 0)
    except asyncpg.ObjectNotInPrerequisiteStateError:
        return Statements("pg_stat_statements is not in shared_preload_libraries")
    return Statements("", _iso(reset), evicted, {(user, database): n for user, database, n in rows})


def canonical(text: str) -> str:
    """A text as pg_stat_statements shows it, but with `?` for each constant, and one for each list of them."""
    text = re.sub(r"'[^']*'|(?<![\w$\"])-?\d+\b|\b(?:true|false)\b", "?", text)
    return re.sub(r"\[\?(, ?\?)*\]", "[?]", re.sub(r"(?<=\[)\?(,\?)+(?=\])", "?", text))


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
