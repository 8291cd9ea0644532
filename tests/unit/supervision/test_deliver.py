"""Alerts reach webhooks, Alertmanager and commands; what cannot be delivered waits, is tried again, and is given up at last."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from proxy.supervision.alarm import Alarm
from proxy.supervision.deliver import LONGEST, MOST, Deliverer, run_command, signature
from proxy.supervision.settings import Target
from proxy.supervision.state import Store
from tests.support.proxy import until
from tests.unit.supervision.support import BEGIN

ALARM = Alarm("bulk", "rows", "critical", BEGIN, "user", "张三\n\"'", 7, "much", "main#1", "main#2", {"more_than": 5})


class Clock:
    now = BEGIN

    def __call__(self) -> float:
        return self.now


class Lab:
    """A state file with one alert for one target, and a receiver that answers what it is told."""

    def __init__(self, home: Path, target: Target) -> None:
        self.path = home / "state.sqlite"
        self.clock = Clock()
        self.target = target
        self.add(ALARM)
        self.db = sqlite3.connect(self.path, isolation_level=None)
        self.deliverer = Deliverer([target], lambda: self.db, self.clock)

    def add(self, alarm: Alarm) -> None:
        store = Store(self.path)
        store.commit({}, [(alarm.id, BEGIN, True, alarm.body(), [self.target.name])], now=BEGIN)
        store.close()

    async def once(self) -> bool:
        async with aiohttp.ClientSession() as http:
            return await self.deliverer.once(self.target, self.db, http)

    def waiting(self) -> list[tuple[int, float]]:
        return self.db.execute("SELECT tries, due FROM deliveries").fetchall()

    def counters(self) -> dict[str, int]:
        return dict(self.db.execute("SELECT what, amount FROM counters").fetchall())


Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def with_receiver(answer: Answer, work: Callable[[str], Awaitable[None]]) -> None:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        await work(f"http://127.0.0.1:{runner.addresses[0][1]}")
    finally:
        await runner.cleanup()


def receive(tmp_path: Path, statuses: list[int], way: str = "webhook", **settings: Any) -> tuple[Lab, list[Any]]:
    """One attempt for each status; 0 hangs."""
    got: list[Any] = []
    labs: list[Lab] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        got.append((request.path, dict(request.headers), await request.read()))
        status = statuses[len(got) - 1]
        if status == 0:
            await asyncio.Event().wait()
        return web.Response(status=status, headers={"Location": "/elsewhere"} if status == 302 else None)

    async def work(address: str) -> None:
        lab = Lab(tmp_path, Target("t", way, address=address, **settings))
        labs.append(lab)
        for _ in statuses:
            assert await lab.once()
            lab.clock.now += LONGEST
        assert len(got) == len(statuses)

    asyncio.run(with_receiver(answer, work))
    return labs[0], got


def test_a_webhook_gets_it_signed(tmp_path: Path) -> None:
    lab, [(_, headers, body)] = receive(tmp_path, [200], secret=b"s3cret")
    assert json.loads(body) == ALARM.detail()
    assert headers["Pgveil-Alert"] == ALARM.id
    assert headers["Pgveil-Signature"] == "sha256=" + signature(b"s3cret", headers["Pgveil-Timestamp"], body)
    assert lab.waiting() == []
    assert lab.counters() == {"delivered": 1}


def test_without_a_secret_nothing_is_signed(tmp_path: Path) -> None:
    _, [(_, headers, _)] = receive(tmp_path, [204])
    assert "Pgveil-Signature" not in headers


def test_it_is_tried_again_until_it_is_taken(tmp_path: Path) -> None:
    lab, got = receive(tmp_path, [500, 302, 404, 0, 200], timeout=0.2)
    assert len({body for *_, body in got}) == 1
    assert lab.waiting() == []
    assert lab.counters() == {"failed": 4, "delivered": 1}


def test_pauses_grow(tmp_path: Path) -> None:
    lab = Lab(tmp_path, Target("t", "webhook", address="http://127.0.0.1:9"))
    pauses = []
    for _ in range(12):
        assert asyncio.run(lab.once())
        ((_, due),) = lab.waiting()
        pauses.append(due - lab.clock.now)
        assert not asyncio.run(lab.once())
        lab.clock.now = due
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]


def test_it_is_given_up_and_counted(tmp_path: Path) -> None:
    lab = Lab(tmp_path, Target("t", "webhook", address="http://127.0.0.1:9", give_up=3600.0))
    asyncio.run(lab.once())
    lab.clock.now += 3601
    assert not asyncio.run(lab.once())
    assert lab.waiting() == []
    assert lab.counters() == {"failed": 1, "dropped": 1}


def test_the_queue_is_bounded(tmp_path: Path) -> None:
    lab = Lab(tmp_path, Target("t", "webhook", address="http://127.0.0.1:9"))
    lab.db.executemany("INSERT INTO deliveries VALUES ('t', ?, ?, 1, ?)", [(n, BEGIN, BEGIN + 1e9) for n in range(2, MOST + 50)])
    asyncio.run(lab.once())
    assert len(lab.waiting()) == MOST
    assert lab.counters()["dropped"] == 49


def test_alertmanager(tmp_path: Path) -> None:
    _, [(path, _, body)] = receive(tmp_path, [200], way="alertmanager")
    assert path == "/api/v2/alerts"
    (alert,) = json.loads(body)
    assert alert["labels"]["alertname"] == "bulk"
    assert (alert["labels"]["severity"], alert["labels"]["user"]) == ("critical", ALARM.key)
    assert alert["annotations"]["summary"] == "much"
    assert alert["startsAt"] == "2026-03-02T01:00:00Z" < alert["endsAt"]


def command(tmp_path: Path, script: str, timeout: float = 20.0) -> Lab:
    lab = Lab(tmp_path, Target("t", "command", command=(sys.executable, "-c", script, "$(touch x); *"), timeout=timeout))
    assert asyncio.run(lab.once())
    return lab


def test_a_command_gets_it_on_its_input(tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = f"import sys, os; open({str(out)!r}, 'w').write(sys.stdin.read() + sys.argv[1] + ' ' + ' '.join(sorted(os.environ)))"
    lab = command(tmp_path, script)
    said, _, rest = out.read_text().partition("\n")
    assert json.loads(said) == ALARM.detail()
    assert rest.startswith("$(touch x); * ")
    assert set(rest.split()[3:]) <= {"*", "PATH", "LC_CTYPE"}
    assert lab.counters() == {"delivered": 1}


@pytest.mark.parametrize("script", ["raise SystemExit(3)", "import os; os.kill(os.getpid(), 9)", "import time; time.sleep(600)"])
def test_a_command_that_fails_or_hangs(tmp_path: Path, script: str) -> None:
    lab = command(tmp_path, script, timeout=1.0 if "sleep" in script else 20.0)
    assert lab.waiting()[0][0] == 1
    assert lab.counters() == {"failed": 1}


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    lab = Lab(tmp_path, Target("t", "command", command=("/no/such/thing",)))
    assert asyncio.run(lab.once())
    assert lab.counters() == {"failed": 1}


def test_what_a_command_leaves_running_ends_with_it(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    child = "import time; time.sleep(600)"
    script = (
        f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {child!r}]); "
        f"open({str(pid)!r}, 'w').write(str(p.pid))"
    )
    asyncio.run(run_command(Target("t", "command", command=(sys.executable, "-c", script)), ALARM.detail()))
    status = Path("/proc") / pid.read_text() / "stat"
    until(lambda: not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z", "it is gone")
