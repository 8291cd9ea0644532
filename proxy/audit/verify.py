"""Checks a directory of trails against the key and names the first bad record of each.

Contract: strict (nothing unreadable is skipped, nothing missing is a warning), read-only, bounded memory. A trail that
is being written can be verified: heads are read before the records they vouch for.

Three things are checked: each trail by itself (`walk`, its pieces in several processes); what trails and anchors say of each
other (`statements`); and that whoever begins after segment 1 has somebody to vouch for what is gone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from proxy.audit.chain import HEAD_SIZE, WORKER, Head, InitialKeys, open_head, parse_segment_name, segment_path
from proxy.audit.crew import check_all
from proxy.audit.pieces import PIECE, Piece, Task, processors, tasks_of
from proxy.audit.record import Kind
from proxy.audit.recover import read_head, segments_of
from proxy.audit.statements import Doubt, Source, Statements, seconds_of
from proxy.audit.walk import BadRecord, Walker

SMALL = 2 * PIECE
"""Trails of fewer bytes are checked in one process."""


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
    """Number of the last intact record, counted from the beginning."""
    beyond_head: int = 0
    """Intact records that the head does not know yet: written, but the process died (or runs) before its head moved."""
    torn_bytes: int = 0
    """What a killed writer left of the record it was writing."""
    stopped: bool = False
    """The trail ends with a stop record: a clean end, not a running or killed process."""
    problem: Problem | None = None
    expired: int = 0
    """Segments before the first one that is left; records in the chain, or anchors, vouch for them."""


@dataclass(frozen=True, slots=True)
class Report:
    workers: tuple[WorkerReport, ...]
    strays: tuple[Problem, ...] = ()
    """Files that no writer makes, workers that should be there and are not, statements that do not hold."""
    statements: int = 0
    """Heads stated by other workers and by anchors that were looked up."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        return tuple(w.problem for w in self.workers if w.problem is not None) + self.strays

    @property
    def ok(self) -> bool:
        return bool(self.workers) and not self.problems


@dataclass(slots=True)
class _Trail:
    """One worker's trail as it was found, before its records are read."""

    worker: str
    present: list[int]
    head: Head | None
    head_problem: str | None
    last: int
    walker: Walker
    problem: Problem | None = None
    waiting: list[int] = field(default_factory=list)
    """Segments still to be walked."""


def verify_directory(
    directory: Path,
    keys: bytes | Sequence[bytes],
    expected: Collection[str] = (),
    *,
    anchors: Iterable[tuple[Source, object | None]] = (),
    keep: float | None = None,
    processes: int | None = None,
) -> Report:
    """Verify every trail in the directory; `expected` workers must have one. Raises OSError when unreadable.

    `anchors`: heads that were anchored, None for what is no genuine anchor (`anchor.read_anchors`). `keep`: seconds for which
    segments should have been kept; what was stated later than that may not have expired."""
    keys = [keys] if isinstance(keys, bytes) else list(keys)
    anchors = list(anchors)
    while True:
        before = _beginnings(directory)
        report = _verify(directory, keys, expected, anchors, keep, processes)
        if report.ok or _beginnings(directory) == before:
            return report  # else segments have expired while they were read


def _beginnings(directory: Path) -> dict[str, int]:
    """The first segment of each worker."""
    found: dict[str, int] = {}
    for name in os.listdir(directory):
        segment = parse_segment_name(name)
        if segment is not None:
            found[segment[0]] = min(segment[1], found.get(segment[0], segment[1]))
    return found


def _verify(
    directory: Path,
    keys: Sequence[bytes],
    expected: Collection[str],
    anchors: Sequence[tuple[Source, object | None]],
    keep: float | None,
    processes: int | None,
) -> Report:
    strays = []
    found: set[str] = set()
    for name in sorted(os.listdir(directory)):
        worker = _worker_of(name)
        if worker is not None:
            found.add(worker)
        elif name.startswith("audit-") or name.endswith((".head", ".jsonl")):
            strays.append(Problem(name, None, None, "the file is not part of any trail"))
    strays += [Problem(w, None, None, "no trail of this worker") for w in sorted(set(expected) - found)]
    trails = [_find(directory, worker, keys) for worker in sorted(found)]
    statements = Statements(directory)
    _walk(directory, trails, statements, processes)
    for source, said in anchors:
        if said is None:
            strays.append(Problem(source.file, source.line, None, "the line is no anchor that was made with this key"))
        else:
            statements.of_head(source, said)
    begun = {}
    for trail in trails:
        _vouch(directory, trail, statements)
        begun[trail.worker] = trail.walker.began.segment if trail.walker.began is not None else 0
    strays += _doubts(statements, begun, keep)
    return Report(tuple(map(_report, trails)), tuple(strays), statements.checked)


def verify_worker(directory: Path, worker: str, key: bytes) -> WorkerReport:
    """Verify one worker's trail by itself, from its first record to its last."""
    trail = _find(directory, worker, [key])
    statements = Statements(directory)
    _walk(directory, [trail], statements, 1)
    _vouch(directory, trail, statements)
    return _report(trail)


def _find(directory: Path, worker: str, keys: Sequence[bytes]) -> _Trail:
    source = InitialKeys(keys, worker)
    data = read_head(directory, worker)
    opened = open_head(data, worker, source) if data is not None else None
    problem = None
    if data is None:
        problem = "the head file is missing: nobody can tell where the trail should end"
    elif opened is None:
        problem = "the head file is forged, damaged, or of another key" + _size_note(data)
    head = None if opened is None else opened[0]
    present = segments_of(directory, worker)
    last = max([*present, head.segment if head is not None else 0])
    walker = Walker(directory, worker, source, head)
    trail = _Trail(worker, present, head, problem, last, walker)
    first = present[0] if present else 1
    trail.waiting = list(range(first, last + 1))
    return trail


def _walk(directory: Path, trails: list[_Trail], statements: Statements, processes: int | None) -> None:
    """Read every record of every trail."""
    plan = [(trail, number) for trail in trails for number in trail.waiting]
    paths = [segment_path(directory, trail.worker, number) for trail, number in plan]
    if processes is None:
        small = sum(path.stat().st_size for path in paths if path.exists()) < SMALL
        processes = 1 if small else processors()

    def tasks() -> Iterator[tuple[Task, ...]]:
        for (trail, number), path in zip(plan, paths, strict=True):
            key = None if trail.problem is not None else trail.walker.key_of(number)
            mark = trail.head.seq if trail.head is not None and trail.head.segment == number else -1
            try:
                yield tuple(tasks_of(path, key, mark)) if key is not None else ()
            except OSError:
                yield ()

    for (trail, number), answer in zip(plan, check_all(tasks(), processes), strict=True):
        if trail.problem is None:
            _step(trail, number, answer, statements)
    for trail in trails:
        head, walker = trail.head, trail.walker
        if trail.problem is None and head is not None and not walker.head_seen:
            path = segment_path(directory, trail.worker, head.segment)
            reason = f"the trail was cut: it ends with record {walker.seq}, the head names record {head.seq}"
            trail.problem = Problem(path.name, None, walker.seq + 1, reason)


def _step(trail: _Trail, number: int, answer: Callable[[], list[Piece]], statements: Statements) -> None:
    """Take one segment into the walk."""
    walker = trail.walker
    try:
        if walker.segment == 0 and number > 1:
            walker.begin_at(number)
        if not walker.take(answer()):
            walker.next_segment()  # it either says what is wrong, or finds nothing but a torn rest
        statements.of_records(segment_path(walker.directory, walker.worker, number).name, walker.statements)
    except BadRecord as bad:
        trail.problem = Problem(bad.file.name, bad.line, bad.seq, bad.reason)


def _vouch(directory: Path, trail: _Trail, statements: Statements) -> None:
    """Somebody must have said that what is missing at the beginning has expired, and with which mac it ended."""
    began = trail.walker.began
    if began is None:
        return
    sayings = [e for e in statements.expired if e.worker == trail.worker]
    ends = {(joint.segment, joint.seq, joint.mac) for joint in (began, *trail.walker.joints)}
    if any((e.through, e.seq, e.mac) in ends for e in sayings):
        return
    below = [e.through for e in sayings if e.through < began.segment]
    missing = segment_path(directory, trail.worker, max(below, default=0) + 1)
    first = Problem(missing.name, None, None if below else 1, "the segment is missing")
    if sayings and not below:
        first = Problem(missing.name, None, None, "what has expired did not end as was stated when it was removed")
    trail.problem, trail.walker.seq = first, 0


def _doubts(statements: Statements, begun: dict[str, int], keep: float | None) -> Iterator[Problem]:
    """Statements about heads that the trails do not bear out, but for those about what has expired."""
    when: dict[str, float] = {}
    for e in statements.expired:
        said = seconds_of(e.time)
        if said is not None:
            when[e.worker] = max(when.get(e.worker, said), said)
    for doubt in statements.doubts:
        source = doubt.source
        if 0 < doubt.head.segment <= begun.get(doubt.worker, 0):
            stated, removed = seconds_of(source.time), when.get(doubt.worker)
            if keep is None or stated is None or removed is None or stated + keep <= removed + 1:
                continue
            doubt = replace(doubt, reason=f"its segment was removed before its time (it was written after {source.time})")
        yield Problem(source.file, source.line, source.seq, _says(doubt))


def _says(doubt: Doubt) -> str:
    if not doubt.head.mac:
        return doubt.reason
    head = doubt.head
    return f"it names record {head.seq} of worker {doubt.worker}, in {doubt.file}: {doubt.reason}"


def _report(trail: _Trail) -> WorkerReport:
    walker, head, problem = trail.walker, trail.head, trail.problem
    if problem is None and trail.head_problem is not None:
        problem = Problem(f"{trail.worker}.head", None, None, trail.head_problem)
    return WorkerReport(
        trail.worker,
        segments=len(trail.present),
        records=walker.seq,
        beyond_head=walker.seq - head.seq if problem is None and head is not None else 0,
        torn_bytes=sum(int(str(t["bytes"])) for t in walker.torn),
        stopped=walker.last_kind == Kind.STOP.value and not walker.torn,
        problem=problem,
        expired=walker.began.segment if walker.began is not None else 0,
    )


def _worker_of(name: str) -> str | None:
    segment = parse_segment_name(name)
    if segment is not None:
        return segment[0]
    worker = name.removesuffix(".head")
    return worker if worker != name and WORKER.fullmatch(worker) else None


def _size_note(data: bytes) -> str:
    return "" if len(data) == HEAD_SIZE else " (it does not have a head's size)"
