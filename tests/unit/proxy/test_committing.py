"""Nothing is delivered before its evidence is on disk, one sync serves many, and the loop turns while a disk is slow."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.audit.record import AuditError, Kind
from proxy.audit.verify import verify_directory
from proxy.audit.writer import AuditWriter, Io, Mode
from proxy.committing import Committer

KEY = bytes(range(32))


class Disk:
    """Syncs that end when the test says so; what a loss of power would leave is known at every moment."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.safe: dict[int, int] = {}
        """Bytes of each file that are on disk, by inode."""
        self.failing: OSError | None = None
        self.full = False

    def write(self, fd: int, data: bytes) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.write(fd, data)

    def sync(self, fd: int) -> None:
        size = os.fstat(fd)
        if self.failing is not None:
            raise self.failing
        self.safe[size.st_ino] = size.st_size

    def records(self) -> int:
        """Number of the last record that would survive."""
        last = 0
        for path in sorted(self.directory.glob("*.jsonl")):
            last += path.read_bytes()[: self.safe.get(path.stat().st_ino, 0)].count(b"\n")
        return last


class Hand:
    """An executor that does its work when the test says so."""

    def __init__(self) -> None:
        self.work: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, work: Callable[[], Any], /, *args: Any, **kw: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.work.append((future, work))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        return

    def finish(self) -> None:
        future, work = self.work.pop(0)
        try:
            future.set_result(work())
        except OSError as error:
            future.set_exception(error)


class Trail:
    aside = True

    def __init__(self, directory: Path, flows: bool = False) -> None:
        self.disk = Disk(directory)
        io = Io(write=self.disk.write, sync=self.disk.sync)
        self.writer = AuditWriter(directory, "w1", KEY, Mode.STRICT, io=io, segment_bytes=3000, lossy=flows)
        self.flows = flows

    @property
    def seq(self) -> int:
        return self.writer.seq

    def secure(self) -> bool:
        raise AssertionError("a sync in the loop")

    settle = secure
    released = 0

    def release(self) -> bool:
        self.released += 1
        return True

    def begin(self) -> Callable[[], None] | None:
        return self.writer.begin_commit()

    def end(self, error: OSError | None) -> None:
        self.writer.end_commit(error)

    def keep_up(self) -> None:
        self.writer.settle()


class Link:
    def __init__(self, trail: Trail) -> None:
        self.trail = trail
        self.waiting = self.held = False
        self.back = 0
        """Records held back."""
        self.needs = self.last = self.delivered = self.withheld = 0

    def work(self, committer: Committer) -> None:
        self.back += 1
        committer.ask(self)

    def release(self) -> None:
        while self.back:
            self.last = self.trail.writer.append(Kind.EVENT, {"event": "data", "detail": {"x": "y" * 50}})
            self.back -= 1

    def hold(self) -> None:
        self.held = True

    def deliver(self) -> None:
        assert self.trail.disk.records() >= self.last or self.trail.flows
        self.held = False
        self.delivered += 1

    def withhold(self) -> None:
        self.withheld += 1


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


async def turn() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


@pytest.fixture
def trail(tmp_path: Path) -> Trail:
    return Trail(tmp_path / "t")


def test_one_sync_serves_all_that_came_meanwhile(trail: Trail) -> None:
    async def test() -> None:
        hand = Hand()
        committer = Committer(trail, hand)  # type: ignore[arg-type]
        links = [Link(trail) for _ in range(50)]
        links[0].work(committer)
        await turn()
        for link in links[1:]:
            link.work(committer)
            await turn()
        assert len(hand.work) == 1
        assert all(link.held for link in links)
        assert not any(link.delivered for link in links)
        hand.finish()
        await turn()
        assert [link.delivered for link in links] == [1] + 49 * [0]
        assert len(hand.work) == 1
        hand.finish()
        await turn()
        assert all(link.delivered == 1 and not link.held for link in links)
        assert not hand.work

    run(test)


def test_what_a_link_adds_while_it_waits_is_waited_for(trail: Trail) -> None:
    async def test() -> None:
        hand = Hand()
        committer = Committer(trail, hand)  # type: ignore[arg-type]
        link = Link(trail)
        link.work(committer)
        await turn()
        link.work(committer)  # a plan that was ready meanwhile, say
        hand.finish()
        await turn()
        assert link.delivered == 0
        hand.finish()
        await turn()
        assert link.delivered == 1

    run(test)


@pytest.mark.parametrize("flows", [False, True])
def test_a_failed_sync_delivers_nothing_unless_data_flows(tmp_path: Path, flows: bool) -> None:
    async def test() -> None:
        trail, hand = Trail(tmp_path / "t", flows), Hand()
        committer = Committer(trail, hand)  # type: ignore[arg-type]
        links = [Link(trail) for _ in range(3)]
        links[0].work(committer)
        await turn()
        links[1].work(committer)
        asked = asyncio.create_task(committer.secured(Link(trail)))
        trail.disk.failing = OSError(errno.EIO, os.strerror(errno.EIO))
        await turn()
        hand.finish()
        await turn()
        trail.disk.failing = None
        links[2].work(committer)
        await turn()
        assert [(link.delivered, link.withheld) for link in links] == 3 * [(1, 0) if flows else (0, 1)]
        assert await asked == flows
        assert trail.writer.failure is not None

    run(test)


def test_a_full_disk_is_told_at_once_and_everything_is_written_later(trail: Trail) -> None:
    async def test() -> None:
        hand = Hand()
        committer = Committer(trail, hand)  # type: ignore[arg-type]
        trail.disk.full = True
        link = Link(trail)
        link.work(committer)
        await turn()
        assert (link.delivered, link.withheld, hand.work) == (0, 1, [])
        trail.disk.full = False
        committer.settle()
        hand.finish()
        await turn()
        assert trail.disk.records() == trail.seq
        assert trail.writer.failure is None

    run(test)


def test_a_slow_disk_does_not_stop_the_loop(trail: Trail) -> None:
    """With a thread, as in earnest: the sync ends only after the loop has turned a hundred times."""
    go = threading.Event()
    plain = trail.disk.sync

    def sync(fd: int) -> None:
        assert go.wait(30)
        plain(fd)

    trail.writer._io = Io(write=trail.disk.write, sync=sync)

    async def test() -> None:
        committer = Committer(trail)
        link = Link(trail)
        link.work(committer)
        for _ in range(100):
            await asyncio.sleep(0)
        assert link.held
        assert link.delivered == 0
        committer.settle()
        assert trail.released == 1  # what others hold back does not wait for the disk
        asked = asyncio.create_task(committer.secured(Link(trail)))
        await asyncio.sleep(0)
        go.set()
        assert await asked
        assert link.delivered == 1
        await committer.finish()

    run(test)


STEPS = st.lists(st.sampled_from(["work 0", "work 1", "work 2", "turn", "sync", "settle", "full", "room", "break"]), max_size=60)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_no_order_of_events_delivers_too_early(tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> None:
    """`Link.deliver` checks it; and everybody gets an answer in the end."""
    directory = tmp_path_factory.mktemp("t")

    async def test() -> None:
        trail, hand = Trail(directory), Hand()
        committer = Committer(trail, hand)  # type: ignore[arg-type]
        links = [Link(trail) for _ in range(3)]
        for step in steps:
            if step.startswith("work"):
                link = links[int(step[-1])]
                if not link.held:
                    link.work(committer)
            elif step == "turn":
                await turn()
            elif step == "sync" and hand.work:
                hand.finish()
                await turn()
            elif step == "settle":
                committer.settle()
            elif step == "break":
                trail.disk.failing = OSError(errno.EIO, "broken")
            else:
                trail.disk.full = step == "full"
        trail.disk.full = False
        await turn()
        while hand.work:
            hand.finish()
            await turn()
        assert not any(link.waiting for link in links)
        trail.writer._release()
        (worker,) = verify_directory(directory, KEY).workers
        assert worker.problem is None

    run(test)


def test_a_closed_trail_says_so(trail: Trail) -> None:
    trail.disk.full = True
    trail.writer.append(Kind.EVENT, {"event": "x"})
    with pytest.raises(AuditError):
        trail.writer.begin_commit()
    with pytest.raises(AuditError):
        trail.writer.close()
