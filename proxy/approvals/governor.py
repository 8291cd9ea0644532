"""Policies that need a second approver (`policy_changes`): what the files say is a proposal, what has been approved is in force.

As soon as a policy with `policy_changes` is in force, its texts are in the store, as approved. From then on every other text
that a proxy finds in its files becomes a request, which people of the policy in force decide about; the policy that was approved
last runs on all proxies, from the store, after a restart too. It ends with an approved policy that has no `policy_changes`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import asyncpg

from policies.language import Policy
from proxy.approvals import store
from proxy.control.connection import Target, connect

PATIENCE = 10.0
"""Seconds. New pictures of the catalog wait meanwhile."""
Texts = tuple[tuple[str, str], ...]
"""Names and contents of the files."""


_LAST = """\
SELECT id, version FROM pgveil.request WHERE kind = 'policy' AND state = 'granted' ORDER BY decided DESC, id DESC LIMIT 1"""
_WAITING = f"""\
SELECT id, version FROM pgveil.request
WHERE kind = 'policy' AND state = 'pending' AND version = $1 AND made > now() - interval '{store.WAITS_DAYS} days'
ORDER BY id DESC LIMIT 1"""


class Approved(NamedTuple):
    request: int
    version: str


class Governor:
    def __init__(self, target: Callable[[], Target], database: str) -> None:
        self._target = target
        self._database = database

    async def in_force(self) -> tuple[Approved, Texts] | None:
        """The policy that was approved last; None: there is none. Raises FAILURES."""
        async with self._connected() as connection:
            if not await store.is_installed(connection):
                return None
            row = await connection.fetchrow(
                "SELECT r.id, p.version, p.texts::text FROM pgveil.request r JOIN pgveil.policy p USING (version)"
                " WHERE r.kind = 'policy' AND r.state = 'granted' ORDER BY r.decided DESC, r.id DESC LIMIT 1"
            )
        if row is None:
            return None
        return Approved(row["id"], row["version"]), tuple((str(n), str(t)) for n, t in json.loads(row["texts"]))

    async def begin(self, policy: Policy) -> None:
        """The policy is the first one with `policy_changes`: nobody has to approve it. Raises FAILURES; ValueError without the
        tables."""
        async with self._connected() as connection:
            if not await store.is_installed(connection):
                raise ValueError("policy_changes needs the tables of requests: an administrator runs pgveil install")
            await self._request(connection, policy, "granted", "the first policy with policy_changes")

    async def propose(self, policy: Policy) -> int:
        """The number of the request, new or not. Raises FAILURES."""
        async with self._connected() as connection:
            names = ", ".join(name for name, _ in policy.texts)
            return await self._request(connection, policy, "pending", f"policy {policy.version}: {names}")

    async def _request(self, connection: asyncpg.Connection, policy: Policy, state: str, reason: str) -> int:
        async with connection.transaction():
            await connection.execute(store.CAREFULLY)
            await connection.execute("LOCK TABLE pgveil.policy IN SHARE ROW EXCLUSIVE MODE")
            await connection.execute(
                "INSERT INTO pgveil.policy (version, texts) VALUES ($1, $2::text::jsonb) ON CONFLICT DO NOTHING",
                policy.version,
                json.dumps([list(x) for x in policy.texts]),
            )
            there = await (connection.fetchrow(_LAST) if state == "granted" else connection.fetchrow(_WAITING, policy.version))
            if there is not None and there["version"] == policy.version:
                return int(there["id"])
            number = await connection.fetchval(
                """INSERT INTO pgveil.request (kind, version, database, login, person, roles, attributes, targets, seconds,
                     reason, state, decided)
                   VALUES ('policy', $1, '', '', '', '{}', '{}', '[]', 0, $2, $3, CASE $3 WHEN 'granted' THEN now() END)
                   RETURNING id""",
                policy.version,
                reason,
                state,
            )
            await store.tell(connection)
            return int(number)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[asyncpg.Connection]:
        async with asyncio.timeout(PATIENCE):
            connection = await connect(self._target(), self._database)
            try:
                yield connection
            finally:
                connection.terminate()


def approved(picture: store.Picture) -> Approved | None:
    """The policy that was approved last, as far as the picture shows."""
    found = [r for r in picture.requests.values() if r.kind == "policy" and r.state == "granted" and r.decided is not None]
    last = max(found, key=lambda r: (r.decided, r.id), default=None)
    return Approved(last.id, last.version) if last is not None and last.version is not None else None
