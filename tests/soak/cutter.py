"""A cutting relay in a process of its own, so that it is not slowed down by the clients: connections through it are reset, cut in
the middle of whatever is said, or held up, at random moments.

`python -m tests.soak.cutter PORT SEED CUT STALL` relays to PORT; CUT and STALL are mean seconds between two events. It prints its
own port, serves until standard input is closed, and then prints how often it did what.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from types import TracebackType

import uvloop

from tests.support.relay import Pair, Relay

LONGEST_STALL = 1.5


class Cutter:
    """The process, as its user sees it. Use as a context manager."""

    def __init__(self, port: int, seed: int, cut: float, stall: float) -> None:
        command = [sys.executable, "-m", "tests.soak.cutter", str(port), str(seed), str(cut), str(stall)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def __enter__(self) -> Cutter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> dict[str, int]:
        """End it; how often it did what."""
        if self._process.poll() is not None:
            return {}
        out, _ = self._process.communicate()
        counts: dict[str, int] = json.loads(out)
        return counts


async def serve(port: int, seed: int, cut: float, stall: float) -> None:
    chance = random.Random(seed)
    counts: Counter[str] = Counter()

    def on_cut(pair: Pair) -> None:
        if chance.random() < 0.3:
            pair.cut()
        else:
            pair.cut_after(chance.randint(1, 4000), from_near=chance.random() < 0.4)
        counts["cut"] += 1

    def on_stall(pair: Pair) -> None:
        pair.stall(chance.random() * LONGEST_STALL)
        counts["stalled"] += 1

    async with Relay(port) as relay:
        print(relay.port, flush=True)
        tasks = []
        for seconds, work in ((cut, on_cut), (stall, on_stall)):
            tasks.append(asyncio.create_task(_now_and_then(relay, chance, seconds, work)))
        await asyncio.to_thread(sys.stdin.read)
        for task in tasks:
            task.cancel()
    print(json.dumps(counts))


async def _now_and_then(relay: Relay, chance: random.Random, seconds: float, work: Callable[[Pair], None]) -> None:
    while True:
        await asyncio.sleep(chance.expovariate(1 / seconds))
        pair = relay.any(chance)
        if pair is not None:
            work(pair)


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])))
