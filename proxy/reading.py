"""What commands read before they answer: the policy of a configuration, and a database's catalog, roles and people."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from policies.document import DocumentError, suggest
from policies.language import Policy
from policies.load import load_policy
from policies.standards import PREFIX, STANDARDS
from proxy.config import Config
from proxy.control.catalog import CatalogReader
from proxy.control.connection import FAILURES, connect
from proxy.control.people import People, read_people
from proxy.errors import ConfigError, UpstreamUnavailable
from proxy.supervise import control_target, watched_databases
from proxy.whatif import World


@dataclass(frozen=True, slots=True)
class Report:
    """Lines for a person, and whether all is well."""

    lines: tuple[str, ...]
    ok: bool


def read_policy(paths: Sequence[Path]) -> Policy:
    """Raises ConfigError."""
    try:
        return load_policy(paths)
    except DocumentError as error:
        raise ConfigError(str(error)) from None


def policy_paths(names: Sequence[str]) -> list[Path]:
    """Files, or standards as the configuration names them: `standard:jrt-0171`. Raises ConfigError."""
    out = []
    for name in names:
        known = STANDARDS.get(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else Path(name)
        if known is None:
            words = [PREFIX + n for n in STANDARDS]
            raise ConfigError(f"there is no {name}{suggest(name, words)}: one of {', '.join(words)}")
        out.append(known)
    return out


def one_database(config: Config, name: str | None) -> str:
    """What the server calls the database with this name; without a name, the only one there is. Raises ConfigError."""
    if name is not None:
        found = config.server_database(name)
        if found is None:
            raise ConfigError(f"database {name} is not among `databases` in {config.path}")
        return found
    databases = watched_databases(config)
    if len(databases) != 1:
        raise ConfigError(f"name the database with --database: one of {', '.join(databases)}")
    return databases[0]


async def read_world(config: Config, policy: Policy, database: str) -> World:
    """One look at the live catalog, and at the table of users. Raises UpstreamUnavailable."""
    async with connected(config, database) as connection:
        read = await CatalogReader().read(connection)
    return World.of(policy, database, read, await people_of(config, policy))


async def people_of(config: Config, policy: Policy) -> People:
    table = policy.attributes.table
    if table is None:
        return {}
    what = f"the table of users {table.schema}.{table.relation} in"
    async with connected(config, config.control.database, what) as connection:
        return await read_people(connection, table)


@asynccontextmanager
async def connected(config: Config, database: str, what: str = "the catalog of") -> AsyncIterator[asyncpg.Connection]:
    """A control connection of our own. What goes wrong with it is told as UpstreamUnavailable."""
    target = control_target(config)
    try:
        connection = await connect(target, database)
        try:
            yield connection
        finally:
            await connection.close()
    except FAILURES as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UpstreamUnavailable(
            f"cannot read {what} database {database} on {target.host}:{target.port} as {config.control.user}: {reason}"
        ) from None
