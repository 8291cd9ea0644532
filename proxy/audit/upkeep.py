"""What a running trail does from time to time besides growing: it states the heads of the others, and lets old segments go.

Contract: `tick` is called on the clock and does at most what is due; a failure is told and tried again. Records come before
what they are about: segments are removed when the record of it is on disk, so that a crash in between is harmless.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from proxy.audit.chain import Head, claimed_head, head_path, parse_segment_name, segment_path
from proxy.audit.record import Kind
from proxy.audit.recover import read_head, segments_of
from proxy.audit.statements import read_last, seconds_of, statement
from proxy.audit.writer import AuditWriter

EXPIRY_INTERVAL = 3600.0
FIRST_EXPIRY = 60.0
"""Seconds after the start; then hourly."""


def heads_of_others(directory: Path, worker: str) -> list[tuple[str, Head]]:
    """What the head files of all other workers say. One that is being replaced is read again until it holds still."""
    found = []
    for name in sorted(os.listdir(directory)):
        other = name.removesuffix(".head")
        if other in (name, worker) or parse_segment_name(f"audit-{other}-000001.jsonl") is None:
            continue
        data: bytes | None = None
        for _ in range(10):
            last, data = data, read_head(directory, other)
            if data is not None and data == last:
                break
        head = claimed_head(data) if data is not None and data == last else None
        if head is not None and head.segment > 0:
            found.append((other, head))
    return found


class Upkeep:
    """Of one writer."""

    def __init__(
        self,
        writer: AuditWriter,
        witness: float,
        keep: float | None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`witness`: seconds between statements about the other workers. `keep`: seconds for which segments are kept."""
        self._writer, self._interval, self._keep = writer, witness, keep
        self._clock, self._monotonic = clock, monotonic
        self._witness_due = 0.0
        self._expiry_due = monotonic() + FIRST_EXPIRY
        self.removed = 0
        """Segments removed so far."""

    def tick(self) -> None:
        """Raises AuditError when a record cannot be written; OSError when files cannot be read or removed."""
        now = self._monotonic()
        if now >= self._witness_due:
            self._witness_due = now + self._interval
            self.witness()
        if self._keep is not None and now >= self._expiry_due:
            self._expiry_due = now + EXPIRY_INTERVAL
            self.expire()

    def witness(self) -> None:
        """State where the others' trails stand; no record when there are no others. It is written with what comes next."""
        heads = heads_of_others(self._writer.directory, self._writer.worker)
        if heads:
            said = [statement(worker, head) for worker, head in heads]
            self._writer.append(Kind.EVENT, {"event": "witness", "detail": {"heads": said}})

    def expire(self) -> None:
        """Remove the segments of this worker whose last record is older than `keep`, and those of workers that are gone; the last
        segment of each stays."""
        writer, directory = self._writer, self._writer.directory
        self._expire(writer.worker, writer.head.segment)
        named = (parse_segment_name(name) for name in os.listdir(directory))
        for worker in sorted({name[0] for name in named if name is not None and name[0] != writer.worker}):
            with _left_alone(directory, worker) as alone:
                if alone:
                    self._expire(worker, max(segments_of(directory, worker), default=0))

    def _expire(self, worker: str, stays: int) -> None:
        assert self._keep is not None
        old, last = [], None
        for number in segments_of(self._writer.directory, worker):
            found = read_last(segment_path(self._writer.directory, worker, number))
            written = seconds_of(found.time) if found is not None else None
            if number >= stays or (found is not None and (written is None or written + self._keep >= self._clock())):
                break
            old.append(number)
            last = found or last
        if not old or last is None:
            return
        detail = {"worker": worker, "through": old[-1], "seq": last.seq, "mac": last.mac.hex(), "last": last.time}
        self._writer.append(Kind.EVENT, {"event": "expired", "detail": {**detail, "keep": self._keep}})
        self._writer.flush()
        self._writer.sync()
        for number in old:  # the oldest first: what a crash leaves is still in one piece
            os.unlink(segment_path(self._writer.directory, worker, number))
            self.removed += 1


@contextlib.contextmanager
def _left_alone(directory: Path, worker: str) -> Iterator[bool]:
    """Whether nobody writes this worker's trail, for as long as the context lasts."""
    try:
        fd = os.open(head_path(directory, worker), os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(fd)
