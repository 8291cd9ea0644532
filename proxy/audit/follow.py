"""Follows the trails of all workers of a directory from a stored place, whole records at a time, and never skips.

For whoever consumes the trail as it grows: alert rules, sinks. Reads only, needs no key, proves nothing (that is `verify`'s
job), but what it hands out is complete: the numbers of a worker's records are 1, 2, 3 … A gap, a file that has become shorter,
a missing segment or a line that is no record is a `Broken`, with the place; the other workers go on. What a killed writer left
behind its last newline is passed over when the next segment's header says so.

The place is the consumer's to keep: `Position` by worker. Stored together with what was made of the records, every record counts
once; stored afterwards, at least once.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import time
from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from proxy.audit.chain import parse_segment_name, segment_path
from proxy.audit.record import MAX_LINE, prefix

BLOCK = 1 << 20
"""Bytes read of a worker in one turn; more only when a single record is longer."""
LISTING = 1.0
"""Seconds between two looks for workers that are new."""
_BEGIN = b'{"v":1,"seq":'
_TIME = b'"time":"'


@dataclass(frozen=True, slots=True)
class Position:
    """Everything of a worker's trail up to record `seq` has been read; the next one is in `segment` at `offset`."""

    segment: int
    offset: int
    seq: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive records of one worker."""

    worker: str
    segment: int
    offset: int
    """Of the first line."""
    first: int
    """Number of the first record."""
    lines: Sequence[bytes]
    """Without their newlines."""

    @property
    def after(self) -> Position:
        return self.upto(len(self.lines))

    def upto(self, count: int) -> Position:
        """Where reading goes on when the first `count` records are done."""
        lines = self.lines[:count]
        return Position(self.segment, self.offset + sum(map(len, lines)) + len(lines), self.first + len(lines) - 1)

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


@dataclass(frozen=True, slots=True)
class Broken:
    """A trail that cannot be read on, and where."""

    worker: str
    file: Path
    offset: int
    seq: int
    """Number of the record that is expected there."""
    reason: str
    resume: Position | None = None
    """Where the trail goes on. Only who has told somebody of the break should `skip` there."""

    def __str__(self) -> str:
        return f"{self.file.name}, byte {self.offset}, record {self.seq}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a follower is behind."""

    bytes: int
    seconds: float
    """Age of the oldest record that has not been read; 0 when there is none."""


class _Break(Exception):
    def __init__(self, path: Path, offset: int, seq: int, reason: str) -> None:
        super().__init__(reason)
        self.path, self.offset, self.seq, self.reason = path, offset, seq, reason


@dataclass(slots=True)
class _Worker:
    name: str
    segment: int
    offset: int
    """Of the next byte to read from the file."""
    seq: int | None
    """Last number read; None: the first record decides."""
    lines: list[bytes] = field(default_factory=list)
    """Read and not handed out. They end at `offset`, or are all of a segment before."""
    times: list[bytes] = field(default_factory=list)
    """Of each line, never falling: a clock that was set back does not change the order."""
    where: tuple[int, int, int] = (0, 0, 0)
    """Segment, offset and number of the first of them."""
    latest: bytes = b""
    more: bool = False
    """There was more to read than was read."""
    last: int = 0
    """The last segment that was there at the last look."""
    broken: Broken | None = None


class Follower:
    def __init__(
        self,
        directory: Path,
        positions: Mapping[str, Position] | None = None,
        *,
        leave_out: Collection[str] = (),
        block: int = BLOCK,
    ) -> None:
        """`positions`: from where, by worker; whoever is not named is read from his first segment that is there."""
        self.directory = directory
        self._leave_out = frozenset(leave_out)
        self._block = block
        self._workers = {n: _Worker(n, p.segment, p.offset, _known(p)) for n, p in (positions or {}).items()}
        self._listed = float("-inf")

    @property
    def broken(self) -> list[Broken]:
        """What cannot be read on at the moment. It is tried again in every turn."""
        return [w.broken for w in self._workers.values() if w.broken is not None]

    def skip(self, broken: Broken) -> None:
        """Go on behind a break, where it says. What is between is not read."""
        assert broken.resume is not None
        worker = self._workers[broken.worker]
        worker.segment, worker.offset = broken.resume.segment, broken.resume.offset
        worker.seq = None
        worker.broken = None

    def turn(self) -> list[Batch]:
        """What is new: at most one batch of each worker. Empty when nothing is.

        Whoever sorts a turn's records by time has all workers' records in the order of time: a worker is not handed out beyond
        the point to which another one has been read that has more.
        """
        self._look()
        for worker in self._workers.values():
            if not worker.lines:
                self._fill(worker)
        waiting = [w.times[-1] for w in self._workers.values() if w.more and w.times]
        horizon = min(waiting, default=None)
        out = []
        for worker in self._workers.values():
            count = len(worker.lines) if horizon is None else bisect_right(worker.times, horizon)
            if count:
                segment, offset, first = worker.where
                batch = Batch(worker.name, segment, offset, first, worker.lines[:count])
                del worker.lines[:count], worker.times[:count]
                after = batch.after
                worker.where = after.segment, after.offset, after.seq + 1
                out.append(batch)
        return out

    def lag(self, now: float | None = None) -> Lag:
        """By the files as they are now."""
        size, oldest = 0, None
        for worker in self._workers.values():
            size += sum(map(len, worker.lines)) + len(worker.lines)
            numbers = [worker.segment]
            while os.path.exists(segment_path(self.directory, worker.name, numbers[-1] + 1)):
                numbers.append(numbers[-1] + 1)
            unread = sum(self._size(worker.name, n) for n in numbers) - worker.offset
            size += max(0, unread)
            first = worker.times[0] if worker.times else self._next_time(worker) if unread > 0 else b""
            if first:
                oldest = first if oldest is None else min(oldest, first)
        if oldest is None:
            return Lag(size, 0.0)
        return Lag(size, max(0.0, (time.time() if now is None else now) - seconds_of(oldest)))

    def _next_time(self, worker: _Worker) -> bytes:
        """Of the next record to be read; the last one's when it is in a segment to come."""
        try:
            with open(_open(segment_path(self.directory, worker.name, worker.segment)), "rb") as file:
                file.seek(worker.offset)
                return time_of(file.read(128)) or worker.latest
        except OSError:
            return worker.latest

    def _size(self, worker: str, segment: int) -> int:
        try:
            return os.stat(segment_path(self.directory, worker, segment)).st_size
        except OSError:
            return 0

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._listed < LISTING:
            return
        self._listed = now
        firsts: dict[str, int] = {}
        lasts: dict[str, int] = {}
        try:
            names = os.listdir(self.directory)
        except FileNotFoundError:
            return
        for name in names:
            found = parse_segment_name(name)
            if found is not None and found[0] not in self._leave_out:
                firsts[found[0]] = min(found[1], firsts.get(found[0], found[1]))
                lasts[found[0]] = max(found[1], lasts.get(found[0], 0))
        for name, segment in sorted(firsts.items()):
            if name not in self._workers:
                self._workers[name] = _Worker(name, segment, 0, 0 if segment == 1 else None)
            self._workers[name].last = lasts[name]

    def _fill(self, worker: _Worker) -> None:
        worker.more = False
        try:
            if not self._read(worker):
                self._move_on(worker)
            worker.broken = None
        except _Break as found:
            resume = self._resume(worker, found)
            worker.broken = Broken(worker.name, found.path, found.offset, found.seq, found.reason, resume)

    def _read(self, worker: _Worker) -> bool:
        """Read a block of whole lines from where the worker stands. False when there is none."""
        path = segment_path(self.directory, worker.name, worker.segment)
        seq = worker.seq
        expected = 0 if seq is None else seq + 1
        try:
            with open(_open(path), "rb", buffering=0) as file:
                if os.fstat(file.fileno()).st_size < worker.offset:
                    raise _Break(path, worker.offset, expected, "the file has become shorter")
                file.seek(worker.offset)
                data = file.read(self._block)
                full = len(data) == self._block
                end = data.rfind(b"\n")
                while end < 0 and full and len(data) <= MAX_LINE:
                    more = file.read(self._block)
                    full = len(more) == self._block
                    data += more
                    end = data.rfind(b"\n")
        except FileNotFoundError:
            later = self._later(worker)
            if worker.offset == 0 and not later:
                return False
            if later and seq is not None and _first_number(segment_path(self.directory, worker.name, later[0])) == seq + 1:
                worker.segment, worker.offset = later[0], 0  # it was read to its end, and has expired since
                return self._read(worker)
            raise _Break(path, worker.offset, expected, "the segment is missing") from None
        except OSError as error:
            raise _Break(path, worker.offset, expected, f"the segment cannot be read: {error.strerror}") from None
        if end < 0:
            if len(data) > MAX_LINE:
                raise _Break(path, worker.offset, expected, f"a line of more than {MAX_LINE} bytes")
            return False
        lines = data[:end].split(b"\n")
        if seq is None:
            seq = _number(lines[0], path, worker.offset) - 1
        self._check(lines, seq, path, worker)
        worker.where = worker.segment, worker.offset, seq + 1
        worker.lines, worker.times = lines, self._times(lines, worker)
        worker.offset += end + 1
        worker.seq = seq + len(lines)
        worker.more = full
        if not full:  # whether it may hold others up: there is another segment
            worker.more = os.path.exists(segment_path(self.directory, worker.name, worker.segment + 1))
        return True

    def _check(self, lines: list[bytes], seq: int, path: Path, worker: _Worker) -> None:
        for at, line in enumerate(lines):
            seq += 1
            if not line.startswith(prefix(seq)) or not line.endswith(b'"}'):
                if at:  # hand out what is good; the bad one comes first in the next turn
                    del lines[at:]
                    end = sum(map(len, lines)) + len(lines)
                    worker.where = worker.segment, worker.offset, seq - at
                    worker.lines, worker.times = lines, self._times(lines, worker)
                    worker.offset += end
                    worker.seq = seq - 1
                raise _Break(path, worker.offset, seq, _why(line, seq))

    def _times(self, lines: list[bytes], worker: _Worker) -> list[bytes]:
        latest, out = worker.latest, []
        for line in lines:
            moment = time_of(line)
            if moment > latest:
                latest = moment
            out.append(latest)
        worker.latest = latest
        return out

    def _later(self, worker: _Worker) -> list[int]:
        names = (parse_segment_name(name) for name in os.listdir(self.directory))
        return sorted(n[1] for n in names if n is not None and n[0] == worker.name and n[1] > worker.segment)

    def _move_on(self, worker: _Worker) -> None:
        """Read from the next segment, when there is one: then nothing is written to this one any more."""
        expected = 0 if worker.seq is None else worker.seq + 1
        number = worker.segment + 1
        following = segment_path(self.directory, worker.name, number)
        if not os.path.exists(following):
            if worker.last > number:
                raise _Break(following, 0, expected, "the segment is missing")
            return
        if self._read(worker):  # what came between the read and the look
            return
        path = segment_path(self.directory, worker.name, worker.segment)
        torn = self._size(worker.name, worker.segment) > worker.offset
        while (header := _header(following)) is None:  # not written yet, or never written by a process that was killed
            number += 1
            following = segment_path(self.directory, worker.name, number)
            if not os.path.exists(following):
                return
            torn = True
        found = header.get("found")
        if found == "damaged":
            raise _Break(path, worker.offset, expected, f"pgveil found the trail damaged: {header.get('damage')}")
        if torn and found != "crashed":
            raise _Break(path, worker.offset, expected, "bytes that are no record")
        if worker.seq is not None and header.get("seq") != expected:  # a copy may not have brought all of this one yet
            raise _Break(path, worker.offset, expected, f"the next segment begins with record {header.get('seq')}")
        worker.segment, worker.offset = number, 0
        self._read(worker)

    def _resume(self, worker: _Worker, found: _Break) -> Position | None:
        """The next record that can be read: in the same file, or the first of a later one."""
        offset = found.offset
        try:
            with open(_open(found.path), "rb") as file:
                file.seek(offset)
                rest = file.read(1 << 16)  # where there is one break there may be many
                if rest.find(b"\n" + _BEGIN) < 0:
                    rest += file.read(2 * MAX_LINE)
        except OSError:
            rest = b""
        if rest.startswith(_BEGIN) and not rest.startswith(prefix(found.seq)):
            return Position(worker.segment, offset, 0)
        at = rest.find(b"\n" + _BEGIN)
        if at >= 0:
            return Position(worker.segment, offset + at + 1, 0)
        later = self._later(worker)
        return Position(later[0], 0, 0) if later else None


def _known(position: Position) -> int | None:
    """The last number read; None behind a break, where the next record decides."""
    return position.seq if position.seq or (position.segment, position.offset) == (1, 0) else None


def _open(path: Path) -> int:
    """Never waits, whatever somebody has put there."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file")
    return fd


def seconds_of(moment: bytes) -> float:
    """Unix time of a record's `time`; 0 for what is none."""
    try:
        return datetime.fromisoformat(moment.decode()).timestamp()
    except (ValueError, UnicodeDecodeError):
        return 0.0


def time_of(line: bytes) -> bytes:
    """The `time` of a record as it stands there; empty for what is none."""
    at = line.find(_TIME, 20, 96)
    return line[at + 8 : at + 35] if at >= 0 else b""


def _first_number(path: Path) -> int | None:
    header = _header(path)
    number = header.get("seq") if header else None
    return number if isinstance(number, int) else None


def _number(line: bytes, path: Path, offset: int) -> int:
    digits = line[len(_BEGIN) : line.find(b",", len(_BEGIN))]
    if not line.startswith(_BEGIN) or not digits.isdigit() or len(digits) > 18:
        raise _Break(path, offset, 0, "the line is not an audit record")
    return int(digits)


def _why(line: bytes, seq: int) -> str:
    digits = line[len(_BEGIN) : line.find(b",", len(_BEGIN))]
    if line.startswith(_BEGIN) and digits.isdigit() and len(digits) <= 18 and int(digits) != seq:
        return f"record {int(digits)} is found: records are missing, repeated or out of order"
    return "the line is not an audit record"


def _header(path: Path) -> dict[str, Any] | None:
    """The first record of a segment; None when it is not complete."""
    try:
        with open(_open(path), "rb") as file:
            line = file.readline(MAX_LINE)
    except OSError:
        return None
    if not line.endswith(b"\n"):
        return None
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
