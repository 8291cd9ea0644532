"""`pgveil install` and `pgveil keygen`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import asyncpg
import click

from proxy.companion.install import Installed, install_approvals
from proxy.companion.install import install as put
from proxy.companion.secrets import read_keys, write_new
from proxy.config import Config, load_config
from proxy.control.connection import FAILURES, Target, connect
from proxy.errors import UpstreamUnavailable
from proxy.people import for_people
from proxy.supervise import control_target, watched_databases

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option("-c", "--config", "path", required=True, type=_FILE, help="Configuration file: where the server is.")
@click.option("--keys", "keys", type=_FILE, help="File that says where the secrets of keyed masks are (docs/keys.md).")
@click.option("--as", "user", required=True, metavar="USER", help="A superuser, or the databases' owner with CREATEROLE.")
@click.option("--password-env", default="PGPASSWORD", show_default=True, help="Environment variable with its password.")
@click.option("--database", "databases", multiple=True, help="Where keys go. [default: `databases` of the configuration]")
@click.pass_obj
def install(debug: bool, path: Path, keys: Path | None, user: str, password_env: str, databases: tuple[str, ...]) -> None:
    """Make the companion schema: the tables of requests and grants, and with --keys the keys of keyed masks. Safe to repeat."""
    for line in for_people(
        debug, lambda: asyncio.run(_install(load_config(path), keys, user, os.environ.get(password_env), databases))
    ):
        click.echo(line)


async def _install(config: Config, keys: Path | None, user: str, password: str | None, databases: tuple[str, ...]) -> list[str]:
    target = replace(control_target(config), user=user, password=password)
    home, control = config.control.database, config.control.user

    async def approvals(connection: asyncpg.Connection) -> list[str]:
        await install_approvals(connection, control)
        return [f"database {home}: tables of requests and grants, for the login {control}"]

    lines = await _in_database(target, home, approvals)
    if keys is None:
        return lines
    ring = read_keys(keys)
    for database in databases or watched_databases(config):

        async def store(connection: asyncpg.Connection, database: str = database) -> list[str]:
            return _told(database, await put(connection, ring))

        lines += await _in_database(target, database, store)
    return lines


async def _in_database(target: Target, database: str, work: Callable[[asyncpg.Connection], Awaitable[list[str]]]) -> list[str]:
    try:
        connection = await connect(target, database)
        try:
            return await work(connection)
        finally:
            await connection.close()
    except FAILURES as problem:
        detail = problem.message if isinstance(problem, asyncpg.PostgresError) else type(problem).__name__
        raise UpstreamUnavailable(f"database {database}: {detail}") from problem


def _told(database: str, done: Installed) -> list[str]:
    added = ", ".join(done.added) or "none"
    lines = [f"database {database}: keys added: {added}; there before: {done.present}"]
    if not done.native:
        lines.append(
            f"database {database}: without pgcrypto fpe is some fifteen times slower; CREATE EXTENSION pgcrypto, then again"
        )
    return lines


@click.command()
@click.argument("file", type=_FILE)
@click.pass_obj
def keygen(debug: bool, file: Path) -> None:
    """Write a new secret for keyed masks into FILE, which must not exist yet."""
    for_people(debug, lambda: write_new(file))
    click.echo(f"{file}: keep a copy in a safe place. Without it masked values cannot be made again.")
