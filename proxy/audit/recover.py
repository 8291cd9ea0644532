"""Finds where a worker's trail ends, so that a starting writer can go on with a new segment.

Contract: nothing is altered. Only what is behind the head is read (a batch at most, unless heads were lost), so a start
costs the same on a long trail. Damage never stops the writer from starting and is never papered over: the next header
says `found: damaged` and why, inside the chain, and `verify` fails there for good.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from proxy.audit.chain import GENESIS, HEAD_SIZE, Head, Keys, claimed_head, head_path, open_head, parse_segment_name
from proxy.audit.record import Kind
from proxy.audit.walk import BadRecord, Joint, Walker


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
    end: tuple[Head, str] | None = None
    """The last complete record, for the head to name it before the key of its segment goes; and that key's id."""


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


def recover(directory: Path, worker: str, keys: Keys, joint: Joint | None = None) -> Resume:
    """Where the trail ends. Raises OSError when the directory cannot be read.

    `joint`: where the last segment began whose key is known, when those before are gone (`proxy.audit.state`): a head that
    names exactly that place is genuine although nobody can check its HMAC any more.
    """
    present = segments_of(directory, worker)
    last = present[-1] if present else 0
    data = read_head(directory, worker)
    if data is None and not present and (joint is None or joint.seq == 0):
        return Resume(1, 0, GENESIS, "new")
    least = joint.segment if joint is not None else 0
    if data is None or data == b"":
        return _damaged(max(last, least), 0, GENESIS, "the head file is missing")
    opened = open_head(data, worker, keys) or _vouched(data, keys, joint)
    if opened is None:
        return _damaged(max(last, least), 0, GENESIS, "the head file is forged, damaged or of another key")
    head, name = opened
    last = max(last, head.segment)
    missing = sorted(set(range(present[0] if present else 1, last + 1)) - set(present))
    if missing:
        reason = f"segment {missing[0]} is missing; the head names record {head.seq}"
        return _damaged(max(last, least), head.seq, head.mac, reason)
    walker = Walker(directory, worker, keys)
    try:
        walker.resume(head, name)
        while walker.segment < last:
            walker.next_segment()
    except BadRecord as bad:
        seq = max(head.seq, walker.seq)
        reason = f"{bad.file.name}: {bad.reason}; the head names record {head.seq}"
        return _damaged(max(last, least), seq, walker.previous, reason)
    if joint is not None and walker.seq < joint.seq:
        reason = f"the trail ends with record {walker.seq}; when its last segment began it had {joint.seq}"
        return _damaged(max(last, least), joint.seq, walker.previous, reason)
    if walker.seq == 0 and not walker.torn:
        return Resume(last + 1, 0, GENESIS, "new")
    found = "stopped" if walker.last_kind == Kind.STOP.value and not walker.torn else "crashed"
    return Resume(last + 1, walker.seq, walker.previous, found, tuple(walker.torn), end=(walker.end, walker.key_id))


def _vouched(data: bytes, keys: Keys, joint: Joint | None) -> tuple[Head, str] | None:
    head = claimed_head(data)
    if head is None or joint is None or head.segment > joint.segment or (head.seq, head.mac) != (joint.seq, joint.mac):
        return None
    return head, keys.ids[-1]


def _damaged(last: int, seq: int, previous: bytes, reason: str) -> Resume:
    return Resume(last + 1, seq, previous, "damaged", (), reason)
