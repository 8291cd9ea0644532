"""`python -m tests.soak`: hundreds of mixed clients through pgveil for some minutes, with everything going wrong that can.

Exit status 0: no wrong answer, nobody stuck, nobody dropped without a word, nothing left behind, memory and file
descriptors flat, and the audit trail intact. `--quick` is the short run of the test suite.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop

from tests.soak.adversity import Adversity
from tests.soak.bank import HBA, PEOPLE, SETUP, policy
from tests.soak.clients import crowd
from tests.soak.cutter import Cutter
from tests.soak.watch import Watch
from tests.soak.world import World
from tests.support.certificates import Authority
from tests.support.postgres import TestServer
from tests.support.proxy import ProxyProcess


class Options(argparse.Namespace):
    minutes: float
    connections: int
    workers: int
    kill: bool
    quick: bool
    seed: int
    growth: float
    home: Path | None


def options(arguments: list[str] | None = None) -> Options:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--connections", type=int, default=200)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--kill", action="store_true", help="kill -9 a worker now and then (needs --workers 2 or more)")
    parser.add_argument("--quick", action="store_true", help="20 seconds with 40 connections")
    parser.add_argument("--seed", type=int, default=None, help="for another course of events")
    parser.add_argument("--growth", type=float, default=16.0, help="megabytes that memory may grow after the first third")
    parser.add_argument("--home", type=Path, help="where log, policy and trail are kept (default: a temporary directory)")
    found = parser.parse_args(arguments, namespace=Options())
    if found.kill and found.workers < 2:
        parser.error("--kill needs --workers 2 or more")
    if found.quick:
        found.minutes, found.connections, found.growth = 20 / 60, 40, 64.0
    if found.seed is None:
        found.seed = random.randrange(10**6)
    return found


async def soak(given: Options, home: Path, server: TestServer) -> World:
    chance = random.Random(given.seed)
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(given.connections))
    async with AsyncExitStack() as stack:
        upstream = stack.enter_context(Cutter(server.port, given.seed, cut=1.0, stall=8.0))
        cert, key = Authority(home).issue("localhost")
        extra = f"""\
tls: {{ cert: {cert}, key: {key}, mode: allow }}
workers: {given.workers}
limits: {{ connections: {given.connections + 50}, login_timeout: 20s }}
"""
        proxy = ProxyProcess(home, server, policy=policy(0), server_port=upstream.port, extra=extra)
        stack.push_async_callback(asyncio.to_thread, proxy.stop)
        await asyncio.to_thread(proxy.start)
        if given.workers > 1:
            await asyncio.to_thread(proxy.wait_for, "event=workers_listening")
        cutter = stack.enter_context(Cutter(proxy.port, given.seed + 1, cut=0.5, stall=8.0))
        seconds = given.minutes * 60
        world = World(proxy.port, cutter.port, seconds, chance, tolerant=given.kill)
        adversity = Adversity(world, proxy, server.dsn(), given.workers, given.kill)
        watch = Watch(proxy, every=max(0.5, seconds / 600))
        at_rest = watch.look()
        watching = asyncio.create_task(watch.run())
        everybody = [asyncio.create_task(client.live()) for client in crowd(world, given.connections)]
        everybody.append(asyncio.create_task(adversity.run()))
        began = time.monotonic()
        await _until_over(world, everybody, seconds)
        watching.cancel()
        seconds = time.monotonic() - began
        await _after(world, adversity, watch, proxy, at_rest.files, given)
        for name, one in (("server", upstream), ("client", cutter)):
            world.counts.update({f"adversity {name} side {what}": count for what, count in one.stop().items()})
        _tell(world, watch, given, seconds)
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "proxy.cli", "audit", "verify", "-c", str(proxy.config)], capture_output=True, text=True,
    )  # fmt: skip
    print(done.stdout.strip())
    if done.returncode != 0:
        world.find(f"the audit trail does not verify: {done.stdout}{done.stderr}")
    for bad in ("Traceback", "event=protocol_error", "unexpected failure"):
        if bad in proxy.text():
            world.find(f"{bad} in pgveil's log")
    return world


async def _until_over(world: World, everybody: list[asyncio.Task[None]], seconds: float) -> None:
    end = time.monotonic() + seconds
    told = time.monotonic()
    while time.monotonic() < end:
        await asyncio.sleep(0.2)
        for task in everybody:
            if task.done():
                task.result()  # a bug of ours
        if time.monotonic() - told > 60:
            told = time.monotonic()
            done, bad = sum(world.counts.values()), len(world.findings)
            print(f"{end - told:.0f} s to go, {done} done, {bad} findings", flush=True)
    world.over.set()
    world.over_thread.set()
    done, late = await asyncio.wait(everybody, timeout=world.deadline + 15)
    for task in done:
        task.result()
    for task in late:
        task.cancel()
    if late:
        world.find(f"{len(late)} clients did not come to an end: {sorted(set(world.busy.values()))}")


def _tell(world: World, watch: Watch, given: Options, seconds: float) -> None:
    done = sum(count for name, count in world.counts.items() if not name.startswith("adversity"))
    print(f"seed {given.seed}, {given.connections} connections, {seconds:.0f} s, {PEOPLE} people: {done} steps checked")
    for name, count in sorted(world.counts.items()):
        print(f"  {count:8d} {name}")
    for kind, took in zip(("clear", "masked"), world.took, strict=True):
        if len(took) > 1:
            cuts = statistics.quantiles(took, n=100, method="inclusive")
            print(
                f"seconds a step, {kind}: median {cuts[49]:.3f}, 95 % {cuts[94]:.3f}, 99 % {cuts[98]:.3f}, most {max(took):.1f}"
            )
    print("ends by SQLSTATE:", dict(sorted(world.errors.items())))
    print("\n".join(watch.lines()))


async def _after(world: World, adversity: Adversity, watch: Watch, proxy: ProxyProcess, files: int, given: Options) -> None:
    """Nothing may be left."""
    left = await adversity.nobody_is_left(20)
    if left:
        world.find(f"{left} sessions are left at the server")
    if not given.kill:
        end = time.monotonic() + 20
        while (sessions := await asyncio.to_thread(proxy.metric, "pgveil_connections")) and time.monotonic() < end:
            await asyncio.sleep(0.1)
        if sessions:
            world.find(f"pgveil still reports {sessions:.0f} sessions")
        end = time.monotonic() + 20
        while (now := watch.look().files) > files + 2 * given.workers and time.monotonic() < end:
            await asyncio.sleep(0.1)
        print(f"file descriptors: {files} before, {now} after")
        if now > files + 2 * given.workers:
            world.find(f"{now} file descriptors are open, {files} were at the start")
        growth = watch.growth()
        print(f"memory: {growth:+.1f} MB between the second third and the last")
        if growth > given.growth:
            world.find(f"memory has grown by {growth:.1f} MB")


def main(arguments: list[str] | None = None) -> int:
    given = options(arguments)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 8192), hard), hard))
    with tempfile.TemporaryDirectory(prefix="pgveil-soak-") as made:
        home = given.home or Path(made)
        home.mkdir(parents=True, exist_ok=True)
        settings = {"max_connections": str(given.connections + 100), "shared_buffers": "64MB"}
        with TestServer(settings, hba=HBA) as server:
            assert isinstance(server, TestServer)
            server.execute_sql("postgres", SETUP)
            world = uvloop.run(soak(given, home, server))
    for finding in world.findings[:50]:
        print("FINDING", finding)
    print("PASS" if not world.findings else f"FAIL: {len(world.findings)} findings")
    return 1 if world.findings else 0


if __name__ == "__main__":
    sys.exit(main())
