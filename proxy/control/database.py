"""Keeps the picture of one database up to date over one control connection.

One task per database. It makes *passes*: compare the change stamp, read again when it has moved, publish. A pass is
made every `interval`, at once when somebody asks (`refresh`) and at once when the connection breaks. Whoever asks
during a pass gets the next one, so that a pass always sees everything committed before the request; requests share
passes.

The connection may break at any moment: databases are dropped WITH (FORCE) and created again under the same name. Then
the next pass opens a new one, after a delay that doubles up to MAX_DELAY while that fails, or at once when somebody
asks.

PostgreSQL refuses DROP DATABASE, and CREATE DATABASE from a template, while anybody is connected (it waits five seconds for
them to go). So the connection of a database that nobody uses is given up (`rest`) until somebody asks again; the last
read is kept, and an unchanged stamp makes it good again.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import asyncpg

from proxy.control.catalog import CatalogRead, CatalogReader, is_current, read_stamp
from proxy.control.connection import FAILURES, Target, connect, is_pooled
from proxy.control.errors import ControlUnavailable, UnknownDatabase

MIN_DELAY = 0.1
MAX_DELAY = 1.0
SPARE = 20
"""Unasked, look no more often than this many times the time a look takes: a huge catalog is not to keep the server busy."""
LEAVE_TIMEOUT = 1.0
MAX_VANISHED = 5
"""How often a read begins again because something was dropped under it."""
MAX_REREADS = 3
"""How often one pass reads again because the catalog moved while it was being read."""

Publish = Callable[[CatalogRead], Awaitable[None]]
Failed = Callable[[str], None]


class DatabaseWatch:
    """The task, its connection and its last read. `publish` is awaited with every new read before it counts as done."""

    def __init__(
        self,
        name: str,
        target: Target,
        interval: float,
        publish: Publish,
        failed: Failed,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.read: CatalogRead | None = None
        self.origin: tuple[str, int] | None = None
        """System identifier and database OID, where sessions come by way of a pooler."""
        self._identify = target.identify
        self.pooler = False
        """The connection goes by way of a pooler, which may run each transaction on another server connection."""
        self.checked = float("-inf")
        """When (on `clock`) the last successful pass began: the picture was right then."""
        self._doubted = float("-inf")
        self.reason = "not connected yet"
        """Why the last pass failed; empty when it did not."""
        self._target = target
        self._interval = interval
        self._publish = publish
        self._failed = failed
        self._clock = clock
        self._pause = interval
        self._connection: asyncpg.Connection | None = None
        self.resting = False
        """The connection is given up, or about to be, until somebody asks."""
        self._reader = CatalogReader()
        self._wake = asyncio.Event()
        self._next: asyncio.Future[ControlUnavailable | None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(), name=f"control {name}")

    @property
    def connected(self) -> bool:
        return self._connection is not None and not self._connection.is_closed()

    def is_confirmed(self, max_age: float) -> bool:
        """Whether a pass that began at most `max_age` seconds ago, and after the last `doubt`, has found the picture right."""
        return self.checked > self._doubted and self._clock() - self.checked <= max_age

    def doubt(self) -> None:
        """The catalog has probably changed just now: nothing is confirmed before the next pass."""
        self._doubted = self._clock()

    def rest(self) -> None:
        """Nobody uses the database: no passes and no connection before the next `refresh`. Idempotent."""
        if not self.resting:
            self.resting = True
            self._wake.set()

    def retarget(self, target: Target) -> None:
        """For the next connection."""
        self._target = target

    async def refresh(self) -> None:
        """Return when a pass that began after this call has succeeded; raise ControlUnavailable when it failed."""
        if self._task.done():
            raise ControlUnavailable(self.name, "closed")
        self.resting = False
        self._wake.set()
        error = await asyncio.shield(self._next)
        if error is not None:
            raise error

    async def close(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        await self._disconnect()
        if not self._next.done():
            self._next.set_result(ControlUnavailable(self.name, "closed"))

    async def _run(self) -> None:
        delay = MIN_DELAY
        while True:
            self._wake.clear()
            if self.resting:
                await self._leave()
                await self._wake.wait()
                continue
            waiting, self._next = self._next, asyncio.get_running_loop().create_future()
            error: ControlUnavailable | None = None
            try:
                await self._attempt()
            except BaseException as problem:
                self.reason = _reason(problem)
                unknown = isinstance(problem, asyncpg.InvalidCatalogNameError)
                error = (UnknownDatabase if unknown else ControlUnavailable)(self.name, self.reason)
                if not isinstance(problem, Exception):
                    raise
                self._failed(self.reason)
                await self._disconnect()
            finally:
                if not waiting.done():
                    waiting.set_result(error)
            if error is None:
                self.reason, delay = "", MIN_DELAY
            await self._sleep(self._pause if error is None else delay)
            if error is not None:
                delay = min(delay * 2, MAX_DELAY)

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _attempt(self) -> None:
        """One pass; a connection left from before gets a second chance as a new one."""
        if self.connected:
            try:
                return await self._pass()
            except FAILURES:
                await self._disconnect()
        self._connection = await connect(self._target, self.name)
        self.pooler = await is_pooled(self._connection)
        self._identify = self.pooler or self._target.identify
        self._connection.add_termination_listener(self._on_termination)
        await self._pass()

    async def _pass(self) -> None:
        connection = self._connection
        assert connection is not None
        began = self._clock()
        last = self.read
        if last is None or last.incomplete or not await is_current(connection, last.stamp, self._identify):
            read = await self._read(connection, last)
            if last is not None and read.catalog is last.catalog and read.roles is last.roles:
                self._pause = max(self._interval, (self._clock() - began) * SPARE)
            else:
                for _ in range(MAX_REREADS):
                    stamp = await read_stamp(connection, read.stamp, self._identify)
                    if stamp.same_content(read.stamp):
                        read = replace(read, stamp=stamp)
                        break
                    began = self._clock()
                    read = await self._read(connection, read)
                await self._publish(read)
            self.read = read
            self.origin = read.stamp.origin
        self.checked = began

    async def _read(self, connection: asyncpg.Connection, last: CatalogRead | None) -> CatalogRead:
        """Definitions are printed from the newest state: one that is dropped meanwhile is an internal error of the server's."""
        for _ in range(MAX_VANISHED):
            with contextlib.suppress(asyncpg.InternalServerError):
                return await self._reader.read(connection, last, self._identify)
        return await self._reader.read(connection, last, self._identify)

    async def _leave(self) -> None:
        """Disconnect in good order, so that the server's log has nothing to say about it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*FAILURES):
                await connection.close(timeout=LEAVE_TIMEOUT)

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    def _on_termination(self, connection: asyncpg.Connection) -> None:
        if connection is self._connection:
            self._wake.set()


def _reason(problem: BaseException) -> str:
    """For the log: the kind of failure and its SQLSTATE, never a server's text (it may quote a name or a value)."""
    if isinstance(problem, asyncpg.PostgresError):
        return f"{type(problem).__name__} ({problem.sqlstate})"
    return type(problem).__name__
