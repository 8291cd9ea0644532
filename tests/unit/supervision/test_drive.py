"""A consumer gets every record, also when it fails on the way, and is told of a broken trail."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from proxy.audit.follow import Batch, Broken, Position
from proxy.audit.record import Kind
from proxy.audit.writer import AuditWriter, Io
from proxy.supervision import consumer as module
from proxy.supervision.consumer import Drive

KEY = bytes(32)


class Collector:
    name = "collector"

    def __init__(self, stop: asyncio.Event, want: int, fail_at: Sequence[int] = (), skip: bool = False) -> None:
        self.stop, self.want, self.fail_at, self.skip = stop, want, list(fail_at), skip
        self.seen: list[int] = []
        self.positions: dict[str, Position] = {}
        self.told: list[Broken] = []
        self.closed = False

    async def begin(self) -> Mapping[str, Position]:
        return self.positions

    async def take(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            numbers = [record["seq"] for record in batch.records()]
            if self.fail_at and self.fail_at[0] in numbers:
                self.fail_at.pop(0)
                raise OSError("the sink is down")
            self.seen += numbers
            self.positions[batch.worker] = batch.after
        if len(self.seen) >= self.want:
            self.stop.set()

    async def rest(self) -> None:
        if self.told and not self.skip:
            self.stop.set()

    async def tell(self, broken: Broken) -> bool:
        self.told.append(broken)
        return self.skip

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def written(tmp_path: Path) -> AuditWriter:
    writer = AuditWriter(tmp_path, "w1", KEY, io=Io(sync=lambda fd: None))
    for n in range(50):
        writer.append(Kind.EVENT, {"event": f"e{n}"})
    writer.flush()
    return writer


async def run(directory: Path, want: int, fail_at: Sequence[int] = (), skip: bool = False) -> tuple[Collector, Drive]:
    stop = asyncio.Event()
    collector = Collector(stop, want, fail_at, skip)
    drive = Drive(collector, directory, block=500)
    await asyncio.wait_for(drive.run(stop), 30)
    return collector, drive


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MIN_PAUSE", 0.001)
    monkeypatch.setattr(module, "POLL", 0.001)
    monkeypatch.setattr(module, "PATIENCE", 0.0)


def test_everything_once_though_it_fails(tmp_path: Path, written: AuditWriter) -> None:
    collector, drive = asyncio.run(run(tmp_path, written.seq, fail_at=[7, 20, 20]))
    assert collector.seen == list(range(1, written.seq + 1))
    assert collector.closed
    assert drive.failures == 3
    assert drive.records == written.seq


def test_it_is_told_of_a_break_and_stays_there(tmp_path: Path, written: AuditWriter) -> None:
    path = next(tmp_path.glob("*.jsonl"))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:10] + lines[11:]))
    collector, _ = asyncio.run(run(tmp_path, 10**9))
    assert collector.seen == list(range(1, 11))
    assert [b.seq for b in collector.told] == [11]


def test_or_goes_on_behind_it(tmp_path: Path, written: AuditWriter) -> None:
    path = next(tmp_path.glob("*.jsonl"))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:10] + lines[11:]))
    os.utime(path)
    collector, _ = asyncio.run(run(tmp_path, written.seq - 1, skip=True))
    assert collector.seen == [n for n in range(1, written.seq + 1) if n != 11]
