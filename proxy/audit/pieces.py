"""A part of a segment checked on its own, so that processes can share the work of verify.

A piece is what begins between two offsets of a file. It starts from claims: the first line's own number, and the mac that the
line before it shows. Whether these are true is found by joining the pieces in order (`Walker.take`): each must begin with
exactly the state in which the one before it ended. So what a row of joined pieces says is what a walk would have said.
"""

from __future__ import annotations

import os
import re
from binascii import unhexlify
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from proxy.audit.chain import GENESIS
from proxy.audit.lines import CHUNK, Lines
from proxy.audit.record import MAX_LINE, TAIL

PIECE = 16 << 20
"""Bytes in a piece: enough to make its overhead vanish, little enough to keep several processes busy with one segment."""
_SEQ = re.compile(rb'\{"v":1,"seq":(\d{1,19}),')
_TAIL = re.compile(rb',"mac":"([0-9a-f]{64})"\}\n')
_PREVIOUS = re.compile(rb'"previous":"([0-9a-f]{64})"')


@dataclass(frozen=True, slots=True)
class Task:
    """What to check: the lines of a file that begin from `start` on and before `end` (None: to the end of the file)."""

    path: Path
    key: bytes
    """Of the segment."""
    start: int
    end: int | None
    mark: int
    """Number of the record that the head names, to be found; -1 for none."""


@dataclass(frozen=True, slots=True)
class Piece:
    intact: bool
    begin: int = 0
    """Offset where its first line begins."""
    before: int = 0
    """Number of the record before, as claimed."""
    previous: bytes = GENESIS
    """Mac of the record before, as claimed."""
    count: int = 0
    seq: int = 0
    mac: bytes = GENESIS
    size: int = 0
    """Offset behind its last line."""
    first: bytes = b""
    """The first line, of a piece that begins with the segment."""
    last: bytes = b""
    rest: bytes = b""
    """What is behind the last newline, at the end of the file."""
    marked: tuple[int, bytes] | None = None
    """Of the record `mark`: offset of its end, and mac."""
    statements: tuple[tuple[int, bytes], ...] = ()
    """Number and line of each record that says something about trails."""


BROKEN = Piece(intact=False)


def tasks_of(path: Path, key: bytes, mark: int) -> list[Task]:
    """The pieces of a segment as it is now; whatever is appended meanwhile belongs to the last."""
    size = path.stat().st_size
    starts = range(0, max(size, 1), PIECE)
    return [Task(path, key, at, at + PIECE if at + PIECE < size else None, mark) for at in starts]


def check_piece(task: Task) -> Piece:
    """Never raises: what cannot be read is not intact, and a walk will say why."""
    try:
        with open(task.path, "rb", buffering=0) as file:
            return _check(file, task)
    except OSError:
        return BROKEN


def _check(file: BinaryIO, task: Task) -> Piece:
    begin, previous = 0, GENESIS
    if task.start:
        found = _first_begin(file, task.start)
        if found is None:
            return BROKEN
        begin, previous = found
        if task.end is not None and begin >= task.end:
            return Piece(intact=True, begin=begin)
    file.seek(begin)
    beginning = file.read(CHUNK)
    match = _SEQ.match(beginning)
    if match is None:
        # Nothing but a torn rest, or nothing at all, may stand at the end of a file.
        torn = task.start > 0 and task.end is None and b"\n" not in beginning and len(beginning) < CHUNK
        return Piece(intact=True, begin=begin, size=begin, rest=beginning) if torn else BROKEN
    if not task.start:
        claim = _PREVIOUS.search(beginning, 0, 4096)
        if claim is None:
            return BROKEN
        previous = unhexlify(claim[1])
    file.seek(begin)
    run = Lines(file, task.key, int(match[1]) - 1, previous, begin, task.mark)
    if run.read(task.end) is not None:
        return BROKEN
    return Piece(
        intact=True,
        begin=begin,
        before=int(match[1]) - 1,
        previous=previous,
        count=run.count,
        seq=run.seq,
        mac=run.previous,
        size=run.size,
        first=run.first if begin == 0 else b"",
        last=run.last,
        rest=run.rest if task.end is None else b"",
        marked=run.marked[1:] if run.marked is not None else None,
        statements=tuple(run.statements),
    )


def _first_begin(file: BinaryIO, start: int) -> tuple[int, bytes] | None:
    """Where the first line at or behind `start` begins, and the mac of the line before it; None when no line ends."""
    at = max(0, start - 1 - TAIL)
    file.seek(at)
    data = file.read(TAIL + 1 + CHUNK)
    search = start - 1 - at
    while (newline := data.find(b"\n", search)) < 0:
        search = len(data)
        more = file.read(CHUNK)
        if not more or len(data) > MAX_LINE + CHUNK:
            return None
        data += more
    tail = _TAIL.fullmatch(data, max(0, newline - TAIL), newline + 1)
    return None if tail is None else (at + newline + 1, unhexlify(tail[1]))


def processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
