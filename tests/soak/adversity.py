"""What happens to the clients of the soak beside the cuts (`cutter`): server processes terminated, policies that change, tables
that come and go, and on demand workers that are killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import asyncpg

from tests.soak.bank import CLEAR, KEPT, MASKED, policy
from tests.soak.watch import worker_pids
from tests.soak.world import World
from tests.support.proxy import ProxyProcess


@dataclass
class Adversity:
    world: World
    proxy: ProxyProcess
    direct: str
    """DSN of a superuser at the server itself."""
    workers: int = 1
    kill: bool = False

    async def run(self) -> None:
        """Until the world is over. Everything happens at random moments, on average once in so many seconds."""
        plan: list[tuple[float, Callable[[], Awaitable[None]]]] = [
            (1.0, self.terminate),
            (6.0, self.change_policy),
            (10.0, self.come_and_go),
        ]
        if self.kill:
            plan.append((20.0, self.kill_worker))
        await asyncio.gather(*(self._now_and_then(seconds, work) for seconds, work in plan))

    async def _now_and_then(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        chance = random.Random(self.world.chance.random())
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(chance.expovariate(1 / seconds)):
                    await self.world.over.wait()
                    return
            await work()
            self.world.counts[f"adversity {work.__name__}"] += 1

    async def terminate(self) -> None:
        """Any session of a client, at the server."""
        connection = await asyncpg.connect(self.direct)
        try:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity WHERE usename LIKE 'soak%' "
                "ORDER BY random() LIMIT 1) s"
            )
        finally:
            await connection.close()

    async def change_policy(self) -> None:
        """Both count until every process says that it has the new one."""
        in_force = self.world.in_force
        [old] = in_force.history[-1]
        new = (old + 1) % len(KEPT)
        in_force.change(old, new)
        told = self.proxy.text().count("event=policy_loaded")
        self.proxy.policy.write_text(policy(new), encoding="utf-8")
        if self.kill:
            await asyncio.sleep(5)  # a worker may be starting: it is watched by nobody, but reads the file
        else:
            async with asyncio.timeout(30):
                while self.proxy.text().count("event=policy_loaded") < told + self.workers:
                    await asyncio.sleep(0.1)
        in_force.change(new)

    async def come_and_go(self) -> None:
        """DDL around the proxy: catalogs have to be read again."""
        connection = await asyncpg.connect(self.direct)
        try:
            await connection.execute("CREATE TABLE soak.passing (id int); GRANT SELECT ON soak.passing TO PUBLIC")
            await asyncio.sleep(1.5)
            await connection.execute("DROP TABLE soak.passing")
        finally:
            await connection.close()

    async def kill_worker(self) -> None:
        pids = worker_pids(self.proxy)
        os.kill(self.world.chance.choice(pids), signal.SIGKILL)

    async def nobody_is_left(self, seconds: float) -> int:
        """Sessions of clients at the server; waits for them to end."""
        connection = await asyncpg.connect(self.direct)
        try:
            for _ in range(int(seconds * 10)):
                sql = "SELECT count(*) FROM pg_stat_activity WHERE usename = ANY($1)"
                users = [MASKED, CLEAR, MASKED + "_trust", CLEAR + "_trust"]
                count = int(await connection.fetchval(sql, users))
                if not count:
                    return 0
                await asyncio.sleep(0.1)
            return count
        finally:
            await connection.close()
