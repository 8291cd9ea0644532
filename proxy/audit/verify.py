"""Checks a directory of trails against the key and names the first bad record of each.

Contract: strict (nothing unreadable is skipped, nothing missing is a warning), read-only, constant memory. A trail that
is being written can be verified: heads are read before the records they vouch for.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from proxy.audit.chain import HEAD_SIZE, WORKER, decode_head, parse_segment_name, segment_path
from proxy.audit.record import Kind
from proxy.audit.recover import read_head, segments_of
from proxy.audit.walk import BadRecord, Walker


@dataclass(frozen=True, slots=True)
class Problem:
    file: str
    line: int | None
    """1-based; None when the file as a whole is meant."""
    seq: int | None
    """The record expected there."""
    reason: str

    def __str__(self) -> str:
        line = "" if self.line is None else f":{self.line}"
        seq = "" if self.seq is None else f" record {self.seq}:"
        return f"{self.file}{line}:{seq} {self.reason}"


@dataclass(frozen=True, slots=True)
class WorkerReport:
    worker: str
    segments: int
    records: int
    """Intact records from the beginning."""
    beyond_head: int = 0
    """Intact records that the head does not know yet: written, but the process died (or runs) before its head moved."""
    torn_bytes: int = 0
    """What a killed writer left of the record it was writing."""
    stopped: bool = False
    """The trail ends with a stop record: a clean end, not a running or killed process."""
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Report:
    workers: tuple[WorkerReport, ...]
    strays: tuple[Problem, ...] = ()
    """Files that no writer makes, and workers that should be there and are not."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        return tuple(w.problem for w in self.workers if w.problem is not None) + self.strays

    @property
    def ok(self) -> bool:
        return bool(self.workers) and not self.problems


def verify_directory(directory: Path, key: bytes, expected: Collection[str] = ()) -> Report:
    """Verify every trail in the directory; `expected` workers must have one. Raises OSError when unreadable."""
    strays = []
    found: set[str] = set()
    for name in sorted(os.listdir(directory)):
        worker = _worker_of(name)
        if worker is not None:
            found.add(worker)
        elif name.startswith("audit-") or name.endswith((".head", ".jsonl")):
            strays.append(Problem(name, None, None, "the file is not part of any trail"))
    strays += [Problem(w, None, None, "no trail of this worker") for w in sorted(set(expected) - found)]
    return Report(tuple(verify_worker(directory, w, key) for w in sorted(found)), tuple(strays))


def verify_worker(directory: Path, worker: str, key: bytes) -> WorkerReport:
    """Verify one worker's trail from its first record to its last."""
    data = read_head(directory, worker)
    head = decode_head(data, worker, key) if data is not None else None
    head_problem = None
    if data is None:
        head_problem = "the head file is missing: nobody can tell where the trail should end"
    elif head is None:
        head_problem = "the head file is forged, damaged, or of another key" + _size_note(data)
    present = segments_of(directory, worker)
    last = max([*present, head.segment if head is not None else 0])
    walker = Walker(directory, worker, key, head)
    problem = None
    try:
        while walker.segment < last:
            walker.next_segment()
        if head is not None and not walker.head_seen:
            raise BadRecord(
                segment_path(directory, worker, head.segment), None, walker.seq + 1,
                f"the trail was cut: it ends with record {walker.seq}, the head names record {head.seq}",
            )  # fmt: skip
    except BadRecord as bad:
        problem = Problem(bad.file.name, bad.line, bad.seq, bad.reason)
    if problem is None and head_problem is not None:
        problem = Problem(f"{worker}.head", None, None, head_problem)
    return WorkerReport(
        worker,
        segments=len(present),
        records=walker.seq,
        beyond_head=walker.seq - head.seq if problem is None and head is not None else 0,
        torn_bytes=sum(int(str(t["bytes"])) for t in walker.torn),
        stopped=walker.last_kind == Kind.STOP.value and not walker.torn,
        problem=problem,
    )


def _worker_of(name: str) -> str | None:
    segment = parse_segment_name(name)
    if segment is not None:
        return segment[0]
    worker = name.removesuffix(".head")
    return worker if worker != name and WORKER.fullmatch(worker) else None


def _size_note(data: bytes) -> str:
    return "" if len(data) == HEAD_SIZE else " (it does not have a head's size)"
