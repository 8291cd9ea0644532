"""Fixtures of the audit tests: a key, a clock that ticks, a builder of small trails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxy.audit.record import Kind
from proxy.audit.writer import AuditWriter, Io, Mode

KEY = bytes(range(32))


def ticking() -> Callable[[], float]:
    """A clock that moves on by a bit more than a second with every look."""
    now = 1_800_000_000.0

    def clock() -> float:
        nonlocal now
        now += 1.000123
        return now

    return clock


NO_SYNC = Io(sync=lambda fd: None)
Make = Callable[..., AuditWriter]


@pytest.fixture
def key() -> bytes:
    return KEY


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes writers that are let go at the end, as a kill would."""
    made: list[AuditWriter] = []

    def make(directory: Path, worker: str = "w1", key: bytes = KEY, mode: Mode = Mode.BEFORE_RESULT, **kw: object) -> AuditWriter:
        writer = AuditWriter(directory, worker, key, mode, ticking(), **{"io": NO_SYNC, **kw})  # type: ignore[arg-type]
        made.append(writer)
        return writer

    yield make
    for writer in made:
        writer._release()


@pytest.fixture
def kill() -> Callable[[AuditWriter], None]:
    """Lets a writer go without a word, as kill -9 does."""
    return lambda writer: writer._release()


def note(writer: AuditWriter, text: str) -> int:
    return writer.append(Kind.EVENT, {"event": text, "detail": {"n": 1}})


@pytest.fixture
def say() -> Callable[[AuditWriter, str], int]:
    return note


@pytest.fixture
def trail(tmp_path: Path, make: Make) -> Path:
    """Worker w1 with four segments: rotated, killed, stopped, and stopped."""
    directory = tmp_path / "trail"
    first = make(directory, segment_bytes=900)
    for n in range(3):
        note(first, f"first {n} 张三")
        first.flush()
    first._release()
    for run in ("second", "third"):
        writer = make(directory)
        for n in range(3):
            note(writer, f"{run} {n}")
        writer.flush()
        writer.close()
    return directory
