"""The table that has the attributes of logins (the policy's `attributes: user`), read over a connection of its own.

It is read whole, every `interval`, as one statement; so a change counts within about a second, in open sessions too. A table that
takes long to read is read less often. The login of the control connection needs SELECT on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Mapping

import asyncpg

from policies.attributes import UserTable
from proxy.control import queries
from proxy.control.connection import FAILURES, Target, connect

People = Mapping[str, Mapping[str, str]]
"""Attributes by login and name."""

SPARE = 20
"""Read no more often than this many times the time it takes."""


async def read_people(connection: asyncpg.Connection, table: UserTable) -> People:
    """Raises FAILURES. A login with more than one row has the attributes in which its rows agree."""
    quoted = [name.replace('"', '""') for name in (table.login, table.schema, table.relation)]
    async with connection.transaction(readonly=True):
        await connection.fetch(queries.SESSION)
        rows = await connection.fetch(queries.PEOPLE.format(*quoted), table.login)
    out: dict[str, dict[str, str]] = {}
    for login, text in rows:
        found = {
            n: _written(v) for n, v in json.loads(text).items() if v is not None and (table.names is None or n in table.names)
        }
        known = out.get(login)
        out[login] = found if known is None else {n: v for n, v in known.items() if found.get(n) == v}
    return out


def _written(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class PeopleWatch:
    """Keeps them up to date. `changed` is called after every change."""

    def __init__(
        self,
        target: Target,
        database: str,
        interval: float,
        changed: Callable[[], None],
        failed: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._target = target
        self._database = database
        self._interval = interval
        self._changed = changed
        self._failed = failed
        self._clock = clock
        self._table: UserTable | None = None
        self._task: asyncio.Task[None] | None = None
        self.people: People = {}
        self._checked = float("-inf")
        self._reported = ""

    def retarget(self, target: Target) -> None:
        self._target = target

    @property
    def age(self) -> float:
        """Seconds since the table was last read; 0 where there is none."""
        return 0.0 if self._table is None else self._clock() - self._checked

    async def try_out(self, table: UserTable | None) -> People | None:
        """What a table that a new policy names says. Raises FAILURES."""
        if table is None:
            return None
        connection = await connect(self._target, self._database)
        try:
            return await read_people(connection, table)
        finally:
            await connection.close(timeout=1.0)

    def aim(self, table: UserTable | None, people: People | None) -> None:
        """The policy in force names this table; `people` is what it says, where it has been tried out just now."""
        if people is not None:
            self.people, self._checked = people, self._clock()
        if table == self._table:
            return
        if people is None:
            self.people, self._checked = {}, float("-inf")
        self._table = table
        if self._task is not None:
            self._task.cancel()
        self._task = asyncio.create_task(self._run(table), name="attributes of users") if table is not None else None

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self, table: UserTable) -> None:
        connection: asyncpg.Connection | None = None
        try:
            while True:
                began = self._clock()
                try:
                    if connection is None or connection.is_closed():
                        connection = await connect(self._target, self._database)
                    people = await read_people(connection, table)
                except FAILURES as problem:
                    self._tell(problem.args[0] if isinstance(problem, asyncpg.PostgresError) else type(problem).__name__)
                else:
                    self._checked, self._reported = began, ""
                    if people != self.people:
                        self.people = people
                        self._changed()
                await asyncio.sleep(max(self._interval, (self._clock() - began) * SPARE))
        finally:
            if connection is not None:
                connection.terminate()

    def _tell(self, reason: str) -> None:
        if reason != self._reported:
            self._reported = reason
            self._failed(reason)
