"""Finds where a worker's trail ends, so that a starting writer can go on with a new segment.

Contract: nothing is altered. Only what is behind the head is read (a batch at most, unless heads were lost), so a start
costs the same on a long trail. Damage never stops the writer from starting and is never papered over: the next header
says `found: damaged` and why, inside the chain, and `verify` fails there for good.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from proxy.audit.chain import GENESIS, HEAD_SIZE, decode_head, head_path, parse_segment_name
from proxy.audit.record import Kind
from proxy.audit.walk import BadRecord, Walker


@dataclass(frozen=True, slots=True)
class Resume:
    """What the header of the next segment says, and where the chain goes on."""

    segment: int
    """Number of the segment to make."""
    seq: int
    """Last number used."""
    previous: bytes
    found: str
    """new, stopped, crashed or damaged."""
    torn: tuple[dict[str, object], ...] = ()
    damage: str | None = None


def segments_of(directory: Path, worker: str) -> list[int]:
    """Numbers of the worker's segment files, sorted."""
    names = (parse_segment_name(name) for name in os.listdir(directory))
    return sorted(name[1] for name in names if name is not None and name[0] == worker)


def read_head(directory: Path, worker: str) -> bytes | None:
    """The head file as it is; None when there is none. At most one byte more than a head has is read."""
    try:
        with open(head_path(directory, worker), "rb") as file:
            return file.read(HEAD_SIZE + 1)
    except FileNotFoundError:
        return None


def recover(directory: Path, worker: str, key: bytes) -> Resume:
    """Where the trail ends. Raises OSError when the directory cannot be read."""
    present = segments_of(directory, worker)
    last = present[-1] if present else 0
    data = read_head(directory, worker)
    if data is None and not present:
        return Resume(1, 0, GENESIS, "new")
    if data is None or data == b"":
        return _damaged(last, 0, GENESIS, "the head file is missing")
    head = decode_head(data, worker, key)
    if head is None:
        return _damaged(last, 0, GENESIS, "the head file is forged, damaged or of another key")
    last = max(last, head.segment)
    missing = sorted(set(range(1, last + 1)) - set(present))
    if missing:
        return _damaged(last, head.seq, head.mac, f"segment {missing[0]} is missing; the head names record {head.seq}")
    walker = Walker(directory, worker, key)
    try:
        walker.resume(head)
        while walker.segment < last:
            walker.next_segment()
    except BadRecord as bad:
        seq = max(head.seq, walker.seq)
        reason = f"{bad.file.name}: {bad.reason}; the head names record {head.seq}"
        return _damaged(last, seq, walker.previous, reason)
    if walker.seq == 0 and not walker.torn:
        return Resume(last + 1, 0, GENESIS, "new")
    found = "stopped" if walker.last_kind == Kind.STOP.value and not walker.torn else "crashed"
    return Resume(last + 1, walker.seq, walker.previous, found, tuple(walker.torn))


def _damaged(last: int, seq: int, previous: bytes, reason: str) -> Resume:
    return Resume(last + 1, seq, previous, "damaged", (), reason)
