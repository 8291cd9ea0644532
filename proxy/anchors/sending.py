"""Sends the heads of one worker's trail to all targets, on the clock and apart from everything else.

Contract: nothing here is waited for by a session. Each target has a queue and a task of its own: what one does not take is
tried again after a while (RETRY, doubled up to MOST), the oldest anchors making room for the newest; the first failure and
the first success after it are told, for the log and the trail.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from proxy.anchors.settings import AnchorTarget
from proxy.anchors.targets import PATIENCE, AnchorError, Place, place_of

RETRY = 2.0
MOST = 300.0
KEPT = 1440
"""Anchors that wait for a target: a day of minutes."""
BATCH = 100

Tell = Callable[[str, Mapping[str, str | int]], None]
"""`anchor_failed` or `anchor_restored`, and what belongs to it."""


class Sender:
    """One target's queue."""

    def __init__(self, name: str, place: Place, tell: Tell, sleep: Callable[[float], object] = asyncio.sleep) -> None:
        self.name, self._place, self._tell, self._sleep = name, place, tell, sleep
        self._waiting: deque[bytes] = deque(maxlen=KEPT)
        self._news = asyncio.Event()
        self.sent = self.failures = 0
        self.failing = False
        self.since = time.time()
        """When an anchor got through last; until then, when it was tried first."""

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def offer(self, line: bytes) -> None:
        self._waiting.append(line)
        self._news.set()

    async def run(self) -> None:
        delay = RETRY
        while True:
            await self._news.wait()
            if await self.attempt():
                delay = RETRY
            else:
                await self._sleep(delay)  # type: ignore[misc]
                delay = min(2 * delay, MOST)

    async def attempt(self) -> bool:
        """Try to send what waits; False when the target did not take it."""
        batch = list(self._waiting)[:BATCH]
        if batch:
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._place.send(batch)
            except (AnchorError, TimeoutError) as error:
                self._failed(str(error) or "no answer")
                return False
            while self._waiting and self._waiting[0] in batch:
                self._waiting.popleft()
            self.sent += len(batch)
            self.since = time.time()
            if self.failing:
                self.failing = False
                self._tell("anchor_restored", {"target": self.name, "failures": self.failures})
        if not self._waiting:
            self._news.clear()
        return True

    def _failed(self, reason: str) -> None:
        self.failures += 1
        if not self.failing:
            self.failing = True
            self._tell("anchor_failed", {"target": self.name, "reason": reason})


class Anchoring:
    """Of one writer."""

    def __init__(self, targets: Sequence[AnchorTarget], interval: float, take: Callable[[], bytes | None], tell: Tell) -> None:
        """`take` makes an anchor of where the trail stands now."""
        self._interval, self._take = interval, take
        self.senders = [Sender(target.name, place_of(target), tell) for target in targets]
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        if self.senders:
            self._tasks = [asyncio.create_task(sender.run()) for sender in self.senders]
            self._tasks.append(asyncio.create_task(self._tick()))

    async def _tick(self) -> None:
        while True:
            self.offer(self._take())
            await asyncio.sleep(self._interval)

    def offer(self, line: bytes | None) -> None:
        if line is not None:
            for sender in self.senders:
                sender.offer(line)

    async def finish(self, last: bytes | None, patience: float = 5.0) -> None:
        """Send the last anchor, and what else waits, for so many seconds at most."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        self.offer(last)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await asyncio.gather(*(sender.attempt() for sender in self.senders))
