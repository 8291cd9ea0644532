"""Writes down, from time to time, what the server has counted: the event `server_counts` of the trail.

One process of a proxy does so: the only one, or the first worker. The connections that pgveil itself opens count on the server as
anybody's do; each process adds its own to the counts that all share (`proxy.counts`), commands too, where they may.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

import asyncpg

from proxy.completeness.snapshot import Snapshot, take
from proxy.control.connection import FAILURES, Target, connect
from proxy.counts import FILE, Counts, CountsError
from proxy.logs import event

log = logging.getLogger("pgveil.completeness")

EVENT: Final = "server_counts"
SETTLED: Final = 1.0
"""Seconds after the start, when the connections that it takes are there."""
TRIES: Final = 5
PAUSE: Final = 0.1
"""Seconds longer before each further try."""
OPENING_TAKES: Final = 60.0
"""Seconds after which a connection is not being opened any more: the process that did so is gone."""
OWN: Final = "control"
"""Kind of the shared counts."""


def count_opening(directory: Path) -> Callable[[str], AbstractContextManager[None]]:
    """For `Target.opening`. A process that may not write there, or comes before the first proxy, counts nothing."""
    counts = Counts(directory, time.time)

    def note(what: Callable[[], None]) -> None:
        if os.access(directory / FILE, os.W_OK):
            with contextlib.suppress(CountsError):
                what()
                counts.close()

    @contextlib.contextmanager
    def opening(database: str) -> Iterator[None]:
        note(lambda: counts.mark(OWN, database))
        opened = True
        try:
            yield
        except (TimeoutError, asyncio.CancelledError):
            raise  # perhaps it was
        except BaseException:
            opened = False
            raise
        finally:
            if opened:
                note(lambda: counts.add(OWN, database, 0, 1))
            note(lambda: counts.unmark(OWN, database))

    return opening


def prepare(counts: Counts) -> None:
    """Make the file before the first connection."""
    with contextlib.suppress(CountsError):
        counts.amounts(OWN, 0)


def own_connections(directory: Path) -> tuple[dict[str, int], dict[str, int]]:
    """Opened so far, and being opened, by the server's name of the database."""
    if not os.access(directory / FILE, os.W_OK):
        return {}, {}
    counts = Counts(directory, time.time)
    try:
        return counts.amounts(OWN, 0), counts.marked(OWN, OPENING_TAKES)
    except CountsError:
        return {}, {}
    finally:
        counts.close()


async def take_with(connection: asyncpg.Connection, directory: Path) -> Snapshot:
    """A snapshot during which we have opened no connection: nobody could say whether the server has counted it."""
    for turn in range(TRIES):
        await asyncio.sleep(turn * PAUSE)
        own, opening = own_connections(directory)
        snapshot = await take(connection, own, opening)
        if (own, opening) == own_connections(directory) and not opening:
            break
    return snapshot


class CountsWatch:
    """`record` gets the detail of an event. What cannot be asked is asked again at the next turn."""

    def __init__(
        self,
        target: Callable[[], Target],
        database: str,
        directory: Path,
        interval: float,
        record: Callable[[Mapping[str, Any]], None],
    ) -> None:
        """`interval`: seconds."""
        self._target = target
        self._database = database
        self._directory = directory
        self._interval = interval
        self._record = record
        self._failed = False

    async def run(self) -> None:
        await asyncio.sleep(SETTLED)
        while True:
            await self.once()
            await asyncio.sleep(self._interval)

    async def once(self) -> None:
        connection: asyncpg.Connection | None = None
        try:
            connection = await connect(self._target(), self._database)
            self._record((await take_with(connection, self._directory)).encode())
            await connection.close(timeout=1.0)
            self._failed = False
        except FAILURES as problem:
            if not self._failed:
                event(log, "server_counts_failed", logging.WARNING, reason=type(problem).__name__)
            self._failed = True
            if connection is not None:
                connection.terminate()
