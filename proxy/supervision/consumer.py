"""Who reads the trails of all workers in the auditor process: alert rules, and sinks.

    class Table:                                  # a sink
        name = "table"
        async def begin(self): return positions   # where reading goes on, from where the consumer keeps it
        async def take(self, batches): ...        # everything new of one turn; keeps batch.after, best with the records
        async def rest(self): ...                 # nothing new at the moment: whatever is held back goes out
        async def tell(self, broken): return ...  # a trail cannot be read on; True: go on behind the break
        async def close(self): ...

Each consumer has a follower of its own, so a sink that is down holds nobody up. What `begin` or `take` raises is logged, and
after a pause, which doubles, the consumer begins again from where `begin` says: what it has not taken to heart comes again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from proxy.audit.follow import BLOCK, Batch, Broken, Follower, Lag, Position
from proxy.logs import event

log = logging.getLogger("pgveil.auditor")

POLL = 0.2
"""Seconds between two looks when nothing is new."""
GRACE = 3.0
"""Seconds for which reading goes on after the end was asked for, as long as there is anything to read."""
PATIENCE = 3.0
"""Seconds for which a break may mend itself: a trail that is copied may come in pieces."""
MIN_PAUSE = 0.5
MAX_PAUSE = 30.0
"""Seconds after a failure."""


class Consumer(Protocol):
    @property
    def name(self) -> str: ...

    async def begin(self) -> Mapping[str, Position]: ...

    async def take(self, batches: Sequence[Batch]) -> None: ...

    async def rest(self) -> None: ...

    async def tell(self, broken: Broken) -> bool: ...

    async def close(self) -> None: ...


class Drive:
    """Leads one consumer through the trails until it is told to stop."""

    def __init__(self, consumer: Consumer, directory: Path, *, leave_out: Collection[str] = (), block: int = BLOCK) -> None:
        self.consumer = consumer
        self.failures = 0
        """How often the consumer has failed."""
        self.failing = False
        self.records = 0
        """Taken since the start."""
        self._directory = directory
        self._leave_out = leave_out
        self._block = block
        self._follower: Follower | None = None
        self._since: dict[str, tuple[tuple[str, str], float]] = {}
        """By worker: a break, and since when it has been there."""
        self._told: set[tuple[str, str]] = set()

    def lag(self) -> Lag:
        follower = self._follower
        return follower.lag() if follower is not None else Lag(0, 0.0)

    async def run(self, stop: asyncio.Event) -> None:
        """Returns when `stop` is set and everything that was there has been read, or cannot be taken within GRACE."""
        pause = MIN_PAUSE
        loop = asyncio.get_running_loop()
        stopping: float | None = None
        while True:
            try:
                positions = await self.consumer.begin()
                self._follower = Follower(self._directory, positions, leave_out=self._leave_out, block=self._block)
                while await self._turn(self._follower) or not stop.is_set():
                    self.failing, pause = False, MIN_PAUSE
                    if stop.is_set():
                        stopping = stopping or loop.time()
                        if loop.time() - stopping > GRACE:
                            break
                await self.consumer.close()
                return
            except Exception as error:
                self.failures += 1
                self.failing = True
                reason = f"{type(error).__name__}: {error}"
                event(log, "consumer_failed", logging.ERROR, consumer=self.consumer.name, reason=reason, again_in=pause)
                log.debug("consumer failed", exc_info=True)
            if stop.is_set() or await waited(stop, pause):
                return
            pause = min(pause * 2, MAX_PAUSE)

    async def _turn(self, follower: Follower) -> bool:
        """Whether there was anything to do."""
        batches = follower.turn()
        for broken in follower.broken:
            await self._tell(follower, broken)
        if batches:
            await self.consumer.take(batches)
            self.records += sum(len(batch.lines) for batch in batches)
            await asyncio.sleep(0)
            return True
        await self.consumer.rest()
        await asyncio.sleep(POLL)
        return False

    async def _tell(self, follower: Follower, broken: Broken) -> None:
        """Each break once, when it stays."""
        place = broken.worker, str(broken)
        if place in self._told:
            return
        now = time.monotonic()
        if self._since.setdefault(broken.worker, (place, now))[0] != place:
            self._since[broken.worker] = place, now
        if now - self._since[broken.worker][1] < PATIENCE:
            return
        event(log, "trail_broken", logging.ERROR, consumer=self.consumer.name, worker=broken.worker, place=str(broken))
        if await self.consumer.tell(broken) and broken.resume is not None:
            follower.skip(broken)
        else:
            self._told.add(place)


async def waited(stop: asyncio.Event, seconds: float) -> bool:
    """Whether `stop` was set before so many seconds were over."""
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return False
    return True
