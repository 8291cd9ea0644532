"""The companion schema of keyed masks in a test's database."""

from __future__ import annotations

import asyncio

import asyncpg

from policies.keys import Keyring
from proxy.companion.install import Installed
from proxy.companion.install import install as put
from tests.support.postgres import TestServer


def install(server: TestServer, database: str, ring: Keyring, user: str = "postgres", password: str | None = None) -> Installed:
    """Raises what `pgveil install` has to deal with."""

    async def work() -> Installed:
        connection = await asyncpg.connect(host="127.0.0.1", port=server.port, user=user, password=password, database=database)
        try:
            return await put(connection, ring)
        finally:
            await connection.close()

    return asyncio.run(work())
