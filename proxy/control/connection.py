"""Opening control connections: where to, as whom, and nothing that a client has said except the name of a database."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import asyncpg

from proxy.control import queries
from proxy.tls import ServerMode


@dataclass(frozen=True, slots=True)
class Target:
    """The server and the control login. `context` is what `proxy.tls.server_context` made for `mode`."""

    host: str
    port: int
    user: str
    password: str | None = field(default=None, repr=False)
    mode: ServerMode = ServerMode.DISABLE
    context: ssl.SSLContext | None = field(default=None, repr=False)
    identify: bool = False
    """Sessions come by way of a pooler, which may lead elsewhere: ask which database it is."""
    connect_timeout: float = 10.0
    application: str = "pgveil control"
    opening: Callable[[str], AbstractContextManager[None]] = field(default=lambda _: nullcontext(), repr=False, compare=False)
    """Entered with the database while a connection is opened, which the server may count as a session; raises out of it what
    goes wrong."""
    command_timeout: float = 30.0
    """Seconds a single catalog query may take before the connection is given up."""


FAILURES = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What may go wrong on a control connection without being a bug of ours."""


async def connect(target: Target, database: str) -> asyncpg.Connection:
    """A connection without prepared-statement names (a pooler may sit in between). Raises one of FAILURES."""
    if not database or "\0" in database:
        raise asyncpg.InvalidCatalogNameError("no such database")
    encryption: ssl.SSLContext | str | bool = False
    if target.mode is ServerMode.PREFER:
        encryption = "prefer"
    elif target.mode is not ServerMode.DISABLE:
        encryption = target.context if target.context is not None else "require"
    with target.opening(database):
        connection = await asyncpg.connect(
            host=target.host,
            port=target.port,
            user=target.user,
            password=target.password if target.password is not None else "",
            database=database,
            ssl=encryption,
            timeout=target.connect_timeout,
            command_timeout=target.command_timeout,
            statement_cache_size=0,
            server_settings={"application_name": target.application},
        )
        if connection.get_server_version() >= (15,):
            try:
                await connection.fetch(queries.COUNT_NOW)
            except BaseException:
                connection.terminate()
                raise
    return connection


async def is_pooled(connection: asyncpg.Connection) -> bool:
    """Whether a pooler is in between: it gives its clients process numbers of its own. Raises one of FAILURES."""
    async with connection.transaction(readonly=True):
        await connection.fetch(queries.SESSION)
        return bool(await connection.fetchval(queries.BACKEND) != connection.get_server_pid())
