"""What records and anchors say about trails, and whether the trails bear it out.

    witness   another worker's head, as it was seen: the record that it names is still where it was
    anchor    the same, kept outside the host (`proxy.audit.anchors`)
    expired   segments 1 … n of a worker were removed by its proxy, and the last mac in them was this: a trail that begins after
              segment n, or earlier, is whole when that mac is where it should be

A head names a record by file, offset of its end, and mac. In an intact trail no mac stands twice, so looking at that one
place is enough; whether the trail is intact is for the walk to say.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from proxy.audit.chain import WORKER, Head, segment_path
from proxy.audit.record import MAX_LINE, TAIL, prefix, tail
from proxy.audit.tail import last_lines

MAX_DOUBTS = 10_000
"""Statements that do not hold which are kept for a second look; nobody reads more."""


@dataclass(frozen=True, slots=True)
class Source:
    """Who says so: a record, or a line of a file of anchors."""

    file: str
    line: int | None
    seq: int | None
    time: str


@dataclass(frozen=True, slots=True)
class Expired:
    """Segments up to `through` of the worker's trail were removed by its proxy."""

    worker: str
    through: int
    seq: int
    mac: bytes
    time: str
    """When it was said."""


@dataclass(frozen=True, slots=True)
class Doubt:
    source: Source
    worker: str
    head: Head
    file: str
    reason: str


class Statements:
    """Takes statements in as they are found, and checks those about heads at once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.expired: list[Expired] = []
        self.doubts: list[Doubt] = []
        self.checked = 0
        """Heads that were looked up."""
        self.latest: dict[str, tuple[str, Head]] = {}
        """The newest statement about each worker's head: its time, and the head."""

    def of_records(self, file: str, found: Iterable[tuple[int, bytes]]) -> None:
        """Statements in records, each with its number."""
        for seq, line in found:
            record = json.loads(line)
            detail = record.get("detail")
            if record.get("session") is not None or not isinstance(detail, dict):
                continue
            source = Source(file, None, seq, str(record.get("time")))
            if record["event"] == "expired":
                expired = read_expired(detail, source.time)
                if expired is not None:
                    self.expired.append(expired)
                else:
                    self._doubt(source, str(detail.get("worker")), Head(0, 0, 0, b""), file, "a statement that cannot be read")
                continue
            for said in detail.get("heads") or ():
                self.of_head(source, said)

    def of_head(self, source: Source, said: object) -> None:
        read = read_statement(said)
        if read is None:
            self._doubt(source, "?", Head(0, 0, 0, b""), source.file, "a statement that cannot be read")
            return
        worker, head = read
        self.checked += 1
        if source.time >= self.latest.get(worker, ("",))[0]:
            self.latest[worker] = source.time, head
        reason = self._missing(worker, head)
        if reason is not None:
            self._doubt(source, worker, head, segment_path(self._directory, worker, head.segment).name, reason)

    def _doubt(self, source: Source, worker: str, head: Head, file: str, reason: str) -> None:
        if len(self.doubts) < MAX_DOUBTS:
            self.doubts.append(Doubt(source, worker, head, file, reason))

    def _missing(self, worker: str, head: Head) -> str | None:
        """Why the record is not where the head says; None when it is there."""
        if head.segment == 0:
            return None
        try:
            with open(segment_path(self._directory, worker, head.segment), "rb") as file:
                for reach in (4096, MAX_LINE):
                    start = max(0, head.size - reach)
                    file.seek(start)
                    data = file.read(head.size - start)
                    if start + len(data) < head.size:
                        return "the file ends before it"
                    if not data.endswith(tail(head.mac) + b"\n") or len(data) <= TAIL:
                        return "another record stands in its place"
                    line = data[data.rfind(b"\n", 0, -1) + 1 :]
                    if len(line) < len(data) or start == 0:
                        return None if line.startswith(prefix(head.seq)) else "the record there has another number"
        except FileNotFoundError:
            return "the file is missing"
        except OSError as error:
            return f"the file cannot be read: {error.strerror}"
        return "no record stands there"


def read_statement(said: object) -> tuple[str, Head] | None:
    """(worker, head) of an object with worker, segment, seq, size and mac."""
    if not isinstance(said, dict):
        return None
    try:
        worker, numbers = said["worker"], [said[name] for name in ("segment", "seq", "size")]
        mac = bytes.fromhex(said["mac"])
    except (KeyError, TypeError, ValueError):
        return None
    if not isinstance(worker, str) or not WORKER.fullmatch(worker) or any(type(n) is not int or n < 0 for n in numbers):
        return None
    return (worker, Head(numbers[0], numbers[1], numbers[2], mac)) if len(mac) == 32 else None


def statement(worker: str, head: Head) -> dict[str, object]:
    """What `read_statement` reads."""
    return {"worker": worker, "segment": head.segment, "seq": head.seq, "size": head.size, "mac": head.mac.hex()}


def read_expired(detail: dict[str, Any], time: str) -> Expired | None:
    read = read_statement({**detail, "segment": detail.get("through"), "size": 0})
    return None if read is None else Expired(read[0], read[1].segment, read[1].seq, read[1].mac, time)


@dataclass(frozen=True, slots=True)
class Last:
    """A segment's last complete record."""

    seq: int
    mac: bytes
    time: str


def read_last(path: Path) -> Last | None:
    """None when there is no complete record. Raises OSError."""
    found = last_lines(path, 1)
    if not found:
        return None
    try:
        record = json.loads(found[0])
        return Last(int(record["seq"]), bytes.fromhex(record["mac"]), str(record["time"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def seconds_of(time: str) -> float | None:
    """Unix time of a record's time."""
    try:
        return datetime.fromisoformat(time).timestamp()
    except ValueError:
        return None
