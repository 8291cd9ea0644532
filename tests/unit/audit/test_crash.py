"""A writer may die between any two bytes; what is left verifies, and the next start goes on from there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.audit.record import Kind
from proxy.audit.verify import verify_directory
from proxy.audit.writer import AuditWriter, Io


class Killed(BaseException):
    pass


class Doom:
    """An Io that writes `budget` bytes and then dies; a head is replaced whole or not at all."""

    def __init__(self, budget: int) -> None:
        self.left = budget

    def write(self, fd: int, data: bytes) -> int:
        part = data[: self.left]
        self.left -= len(part)
        if part:
            os.write(fd, part)
        if len(part) < len(data):
            raise Killed
        return len(part)

    def pwrite(self, fd: int, data: bytes, at: int) -> int:
        if self.left == 0:
            raise Killed
        self.left -= 1
        return os.pwrite(fd, data, at)

    def io(self) -> Io:
        return Io(self.write, self.pwrite, lambda fd: None)


def live(directory: Path, make: Callable, io: Io, said: list[int], made: list[AuditWriter]) -> None:
    """A life with a rotation, a stop and a second start; `said` holds what flush has promised."""
    writer = make(directory, io=io, segment_bytes=400)
    made.append(writer)
    for n in range(2):
        seq = writer.append(Kind.EVENT, {"event": f"张三 {n}"})
        writer.flush()
        said.append(seq)
    writer.close()
    writer = make(directory, io=io)
    made.append(writer)
    seq = writer.append(Kind.EVENT, {"event": "second"})
    writer.flush()
    said.append(seq)


def test_death_at_every_byte(tmp_path: Path, key: bytes, make: Callable) -> None:
    budget, finished, torn = 0, False, 0
    while not finished:
        directory = tmp_path / str(budget)
        made: list[AuditWriter] = []
        said: list[int] = []
        try:
            live(directory, make, Doom(budget).io(), said, made)
            finished = True
        except Killed:
            pass
        for writer in made:
            writer._release()
        for restart in range(2 if budget % 5 == 0 else 1):
            (worker,) = verify_directory(directory, key).workers
            assert worker.problem is None, (budget, restart)
            assert worker.records >= max(said, default=0)
            torn += worker.torn_bytes > 0
            writer = make(directory)
            assert writer.resumed.found != "damaged"
            writer.append(Kind.EVENT, {"event": "again"})
            writer.flush()
            writer._release()
        make(directory).close()
        (worker,) = verify_directory(directory, key).workers
        assert worker.problem is None
        assert worker.stopped
        budget += 1
    assert budget > 1500
    assert torn > 500


def torn_trail(directory: Path, make: Callable, kill: Callable, rest: bytes) -> Path:
    writer = make(directory)
    writer.append(Kind.EVENT, {"event": "a"})
    writer.flush()
    kill(writer)
    path = next(directory.glob("*.jsonl"))
    with open(path, "ab") as file:
        file.write(rest)
    return path


def test_a_torn_line_is_reported_and_then_fixed(tmp_path: Path, key: bytes, make: Callable, kill: Callable) -> None:
    directory = tmp_path / "t"
    path = torn_trail(directory, make, kill, b'{"v":1,"seq":3,"kind":"ev')
    (worker,) = verify_directory(directory, key).workers
    assert (worker.problem, worker.torn_bytes, worker.stopped) == (None, 25, False)
    make(directory).close()
    (worker,) = verify_directory(directory, key).workers
    assert (worker.problem, worker.torn_bytes, worker.stopped) == (None, 0, True)
    whole = path.read_bytes()
    for changed in (whole[:-1], whole[:-25], whole + b"x", whole[:-1] + b"w"):
        path.write_bytes(changed)
        assert not verify_directory(directory, key).ok


@pytest.mark.parametrize("rest", [b"x", b'{"v":1,"seq":4,', b'{"v":1,"seq":2,"kind":"ev', b" "])
def test_only_the_beginning_of_the_next_record_passes_for_torn(
    tmp_path: Path, key: bytes, make: Callable, kill: Callable, rest: bytes
) -> None:
    torn_trail(tmp_path / "t", make, kill, rest)
    assert not verify_directory(tmp_path / "t", key).ok


@pytest.mark.parametrize("rest", [b"\0" * 100, b'{"v":1,"se\0\0'])
def test_zeros_left_by_a_loss_of_power_pass_for_torn(
    tmp_path: Path, key: bytes, make: Callable, kill: Callable, rest: bytes
) -> None:
    torn_trail(tmp_path / "t", make, kill, rest)
    assert verify_directory(tmp_path / "t", key).ok


def test_nothing_may_follow_a_stop_record(trail: Path, key: bytes) -> None:
    path = sorted(trail.glob("*.jsonl"))[-1]
    seq = sum(p.read_bytes().count(b"\n") for p in trail.glob("*.jsonl")) + 1
    with open(path, "ab") as file:
        file.write(b'{"v":1,"seq":%d,' % seq)
    (problem,) = verify_directory(trail, key).problems
    assert problem.reason == "bytes after the stop record"


_CHILD = """
import sys
from pathlib import Path
from proxy.audit.record import Kind
from proxy.audit.writer import AuditWriter
writer = AuditWriter(Path(sys.argv[1]), "w1", bytes(range(32)), segment_bytes=20000)
while True:
    for n in range(7):
        seq = writer.append(Kind.EVENT, {"event": "x" * 200})
    writer.flush()
    print(seq, flush=True)
"""


def test_kill_9_of_a_real_process(tmp_path: Path, key: bytes, make: Callable) -> None:
    directory = tmp_path / "t"
    promised = 0
    for lines in (1, 17, 200):
        child = subprocess.Popen([sys.executable, "-c", _CHILD, str(directory)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        with child.stdout:
            for _ in range(lines):
                promised = int(child.stdout.readline())
            child.send_signal(signal.SIGKILL)
            rest = child.stdout.read().split("\n")
        child.wait(30)
        promised = max([promised, *(int(line) for line in rest[:-1] if line)])
        (worker,) = verify_directory(directory, key).workers
        assert worker.problem is None
        assert worker.records >= promised
    make(directory).close()
    assert verify_directory(directory, key).ok
