"""Grants as they are in the database, kept up to date over a connection of its own.

The database tells of every change (NOTIFY); it is asked once per interval all the same, because a pooler in between carries no
notifications and somebody may have changed a row by hand. When it cannot be asked for longer than `max_stale`, no grant
counts: people see less, and nobody sees more.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import replace

import asyncpg

from policies.approvals import Grant
from proxy.approvals import store
from proxy.control.connection import FAILURES, Target, connect

NOT_INSTALLED = "not installed"
PAUSE = 0.2
"""Seconds between two looks that notifications bring about: any login can send one."""


def _what_counts(grants: tuple[Grant, ...]) -> list[Grant]:
    """How many rows are left makes no difference before none are: or each row shown would have every profile made anew."""
    return [replace(g, left=min(g.left, 1)) if g.left is not None else g for g in grants]


class GrantWatch:
    """`changed` is called after every change, `failed` with the reason once per failure."""

    def __init__(
        self,
        target: Target,
        database: str,
        interval: float,
        max_stale: float,
        changed: Callable[[store.Picture], None],
        failed: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._target = target
        self.database = database
        self._interval = interval
        self._max_stale = max_stale
        self._changed = changed
        self._failed = failed
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._looked = asyncio.Condition()
        self._looks = 0
        self._later: asyncio.TimerHandle | None = None
        self._looked_at = float("-inf")
        self._checked = float("-inf")
        self._reported = ""
        self._ahead = 0.0
        self.picture = store.NOTHING
        self.reason = ""
        """Why nothing is known; empty: all is well."""
        self._by_person: dict[tuple[str, str], tuple[Grant, ...]] = {}

    @property
    def target(self) -> Target:
        return self._target

    def retarget(self, target: Target) -> None:
        self._target = target

    def wanted(self, wanted: bool) -> None:
        """Whether the policy in force offers grants at all; without, nothing is read and nothing counts."""
        if wanted and self._task is None:
            self._task = asyncio.create_task(self._run(), name="grants")
        elif not wanted and self._task is not None:
            self._task.cancel()
            self._task = None
            self._take(store.NOTHING)

    def of(self, person: str, database: str) -> tuple[Grant, ...]:
        """What holds for the person there."""
        return self._by_person.get((person, database), ())

    async def refresh(self) -> None:
        """Return when what was committed before this call is known, or cannot be."""
        if self._task is None:
            return
        async with self._looked:
            wanted = self._looks + 2  # a look may be under way that began before
            self._wake.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5):
                    while self._looks < wanted:
                        self._wake.set()
                        await self._looked.wait()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        connection: asyncpg.Connection | None = None
        try:
            while True:
                self._wake.clear()
                began = self._looked_at = self._clock()
                try:
                    if connection is None or connection.is_closed():
                        connection = await connect(self._target, self.database)
                        await self._listen(connection)
                    if await store.is_installed(connection):
                        picture, self._ahead = await store.read(connection, self._ahead)
                        self._take(picture)
                        self._checked, self._reported, self.reason = began, "", ""
                    else:
                        self._tell(NOT_INSTALLED)
                except FAILURES as problem:
                    text = str(problem.args[0]) if isinstance(problem, asyncpg.PostgresError) and problem.args else ""
                    self._tell(text or type(problem).__name__)
                if self._clock() - self._checked > self._max_stale:
                    self._take(store.NOTHING)
                async with self._looked:
                    self._looks += 1
                    self._looked.notify_all()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), self._interval)
        finally:
            if connection is not None:
                connection.terminate()

    async def _listen(self, connection: asyncpg.Connection) -> None:
        if self._target.identify:
            return  # by way of a pooler: it would not arrive
        await connection.add_listener(store.CHANNEL, lambda *_: self._told())

    def _told(self) -> None:
        """At once after a quiet time, otherwise a little later, and once for all that come until then."""
        if self._later is None:
            pause = max(0.0, self._looked_at + PAUSE - self._clock())
            self._later = asyncio.get_running_loop().call_later(pause, self._look_now)

    def _look_now(self) -> None:
        self._later = None
        self._wake.set()

    def _take(self, picture: store.Picture) -> None:
        if picture == self.picture:
            return
        grants_same = _what_counts(picture.grants) == _what_counts(self.picture.grants)
        self.picture = picture
        if grants_same:
            return
        by: dict[tuple[str, str], list[Grant]] = {}
        for grant in picture.grants:
            by.setdefault((grant.person, grant.database), []).append(grant)
        self._by_person = {key: tuple(grants) for key, grants in by.items()}
        self._changed(picture)

    def _tell(self, reason: str) -> None:
        self.reason = reason
        if reason != self._reported:
            self._reported = reason
            self._failed(reason)
