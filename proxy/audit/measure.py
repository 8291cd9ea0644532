"""How long the disk takes for the trail, and how much of it there is: the writer's system calls with a clock around them."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from proxy.audit.writer import Io
from proxy.tally import Durations


@dataclass(frozen=True, slots=True)
class Room:
    """Of the trail's directory, in bytes."""

    used: int
    """By the segments of this worker."""
    free: int


class Measured:
    """The system calls of one writer (`io`), and what they took."""

    def __init__(self) -> None:
        self.writes, self.syncs = Durations(), Durations()
        self.bytes = 0
        self.io = Io(write=self._write, sync=self._sync)

    def _write(self, fd: int, data: bytes) -> int:
        began = time.perf_counter()
        written = os.write(fd, data)
        self.writes.observe(time.perf_counter() - began)
        self.bytes += written
        return written

    def _sync(self, fd: int) -> None:
        began = time.perf_counter()
        os.fdatasync(fd)
        self.syncs.observe(time.perf_counter() - began)


def room(directory: Path, worker: str) -> Room | None:
    """None when the directory cannot be read."""
    used = 0
    begins = f"audit-{worker}-"
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name.startswith(begins) and entry.name.endswith(".jsonl"):
                    used += entry.stat(follow_symlinks=False).st_size
        there = os.statvfs(directory)
    except OSError:
        return None
    return Room(used, there.f_bavail * there.f_frsize)
