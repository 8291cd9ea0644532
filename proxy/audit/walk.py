"""Walks a worker's segments record by record and believes nothing: the strict reader under `verify` and a restart.

Contract: memory is bounded by one chunk and one line (MAX_LINE); the first thing that is not exactly what the writer
would have written raises BadRecord. The one thing tolerated is what a killed writer leaves: bytes without a newline at
the end of a file, which begin like the next record would, in a segment that was not stopped cleanly. Once the writer
has started again these bytes are fixed too: the next segment's header states their number and their SHA-256.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from proxy.audit.chain import GENESIS, Head, Hmac, key_id, next_key, segment_path, worker_key
from proxy.audit.record import MAX_LINE, TAIL, Kind, prefix, tail

CHUNK = 1 << 20


class BadRecord(Exception):
    """The first thing wrong: `file`:`line`, the sequence number expected there, and why."""

    def __init__(self, file: Path, line: int | None, seq: int | None, reason: str) -> None:
        super().__init__(reason)
        self.file, self.line, self.seq, self.reason = file, line, seq, reason


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_scan: Callable[[str, int], tuple[Any, int]] = vars(json.JSONDecoder(parse_constant=_no_constant))["scan_once"]
"""The decoder's C scanner without the Python around it: (value, end), or StopIteration where no value begins."""


class Walker:
    """Where a walk stands: everything up to record `seq` in segment `segment` is intact."""

    def __init__(self, directory: Path, worker: str, key: bytes, head: Head | None = None) -> None:
        self.directory, self.worker, self.head = directory, worker, head
        self.segment = 0
        self.seq = 0
        self.size = 0
        """Bytes of complete records in the current segment."""
        self.previous = GENESIS
        self.last_kind: str | None = None
        self.torn: list[dict[str, object]] = []
        """What crashes left since the last complete record, as a header states it."""
        self._torn_at: tuple[Path, int] | None = None
        self.head_seen = head is not None and head.seq == 0
        self._key = worker_key(key, worker)
        self._key_id = key_id(key)

    def resume(self, head: Head) -> None:
        """Continue behind the record that `head` names, after checking that it stands there. Raises BadRecord."""
        if head.segment == 0:
            return
        path = segment_path(self.directory, self.worker, head.segment)
        try:
            with open(path, "rb") as file:
                start = max(0, head.size - MAX_LINE)
                file.seek(start)
                line = file.read(head.size - start).rpartition(b"\n")[0].rpartition(b"\n")[2]
        except OSError as error:
            raise BadRecord(path, None, head.seq, f"the segment cannot be read: {error.strerror}") from None
        if not line.startswith(prefix(head.seq)) or line[-TAIL:] != tail(head.mac):
            raise BadRecord(path, None, head.seq, "the record that the head names is not there")
        try:
            self.last_kind = str(json.loads(line)["kind"])
        except (ValueError, RecursionError, KeyError, TypeError):
            raise BadRecord(path, None, head.seq, "the record that the head names has been changed") from None
        for _ in range(head.segment - 1):
            self._key = next_key(self._key)
        self.segment, self.seq, self.size, self.previous = head.segment, head.seq, head.size, head.mac
        self._read(path, header=False)

    def next_segment(self) -> None:
        """Walk the following segment from its header to its end. Raises BadRecord."""
        self.segment += 1
        if self.segment > 1:
            self._key = next_key(self._key)
        self.size = 0
        self._read(segment_path(self.directory, self.worker, self.segment), header=True)

    def _read(self, path: Path, header: bool) -> None:
        hmac = Hmac(self._key)
        inner_copy, outer_copy = hmac.inner.copy, hmac.outer.copy  # what follows is Hmac.digest, without the call
        head_seq = self.head.seq if self.head is not None else -1
        seq, previous, size, rest = self.seq, self.previous, self.size, b""
        number = 0
        record: Any = None
        try:
            file = open(path, "rb", buffering=0)  # noqa: SIM115
        except FileNotFoundError:
            raise BadRecord(path, None, seq + 1, "the segment is missing") from None
        except OSError as error:
            raise BadRecord(path, None, seq + 1, f"the segment cannot be read: {error.strerror}") from None
        try:
            with file:
                file.seek(size)
                while chunk := file.read(CHUNK):
                    lines = (rest + chunk).split(b"\n")
                    rest = lines.pop()
                    for line in lines:
                        seq += 1
                        number += 1
                        inner, outer = inner_copy(), outer_copy()
                        inner.update(previous + line[:-TAIL])
                        outer.update(inner.digest())
                        mac = outer.digest()
                        if not line.endswith(tail(mac)) or not line.startswith(prefix(seq)):
                            if header and self._ends_wrong(line, seq):
                                raise self._torn_changed()
                            raise BadRecord(path, number, seq, self._diagnose(line, seq))
                        try:
                            text = line.decode()
                            record, end = _scan(text, 0)
                        except (ValueError, StopIteration, RecursionError):
                            raise BadRecord(path, number, seq, "the line is not JSON") from None
                        if end != len(text):
                            raise BadRecord(path, number, seq, "the line is more than one JSON value")
                        if header:
                            self._check_header(path, record, seq)
                            header = False
                            self.torn = []
                        previous = mac
                        size += len(line) + 1
                        if seq == head_seq:
                            self._check_head(path, number, mac, size)
                    if len(rest) > MAX_LINE:
                        raise BadRecord(path, number + 1, seq + 1, f"a line of more than {MAX_LINE} bytes")
        except BadRecord:
            self.seq, self.previous = seq - 1, previous
            raise
        self.seq, self.previous, self.size = seq, previous, size
        if record is not None:
            self.last_kind = record["kind"]
        if rest or header:
            self._leave_torn(path, number, rest, has_records=not header)

    def _check_header(self, path: Path, record: dict[str, Any], seq: int) -> None:
        """`self.previous` and `self.last_kind` are still those of the segment before."""
        found = record.get("found")
        if found == "damaged":
            reason = f"when pgveil started here it found the trail before this record damaged: {record.get('damage')}"
            raise BadRecord(path, 1, seq, reason)
        if seq == 1:
            expected = "crashed" if self.torn else "new"
        elif self.torn:
            expected = "crashed"
        elif self.last_kind == Kind.STOP.value:
            expected = "stopped"
        else:
            expected = "crashed" if found == "crashed" else "rotated"
        stated = {
            "kind": Kind.SEGMENT.value, "worker": self.worker, "segment": self.segment, "key_id": self._key_id,
            "previous": self.previous.hex(), "found": expected, "torn": self.torn,
        }  # fmt: skip
        for name, value in stated.items():
            if record.get(name) != value:
                if name == "torn" and self.torn:
                    raise self._torn_changed()
                raise BadRecord(path, 1, seq, f"the segment's header does not fit what is before it: {name}")

    def _check_head(self, path: Path, number: int, mac: bytes, size: int) -> None:
        head = self.head
        assert head is not None
        if (head.segment, head.size, head.mac) != (self.segment, size, mac):
            raise BadRecord(path, number, head.seq, "the record is not the one that the head names")
        self.head_seen = True

    def _leave_torn(self, path: Path, number: int, rest: bytes, has_records: bool) -> None:
        begin = prefix(self.seq + 1)
        written = rest.rstrip(b"\0")  # a file system that lost power may leave zeros where data was to come
        if has_records and self.last_kind == Kind.STOP.value:
            raise BadRecord(path, number + 1, self.seq + 1, "bytes after the stop record")
        if not (written.startswith(begin) or begin.startswith(written)):
            raise BadRecord(path, number + 1, self.seq + 1, "bytes at the end that do not begin a record")
        if not self.torn:
            self._torn_at = path, number + 1
        self.torn.append({"segment": self.segment, "bytes": len(rest), "sha256": hashlib.sha256(rest).hexdigest()})

    def _ends_wrong(self, line: bytes, seq: int) -> bool:
        """The segment before ends without a newline, and this header counts the record there as a complete one."""
        try:
            return bool(self.torn) and json.loads(line)["seq"] > seq
        except (ValueError, RecursionError, KeyError, TypeError):
            return False

    def _torn_changed(self) -> BadRecord:
        assert self._torn_at is not None
        path, line = self._torn_at
        return BadRecord(path, line, self.seq + 1, "the line has no end, or not the end that the next start found")

    def _diagnose(self, line: bytes, seq: int) -> str:
        """Why a line that fails the chain is wrong, as far as its own content tells."""
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            return "the line is not JSON"
        if not isinstance(record, dict) or not isinstance(record.get("seq"), int):
            return "the line is not an audit record"
        if record["seq"] > seq:
            return f"record {seq} is expected, {record['seq']} is found: records are missing or out of order"
        if record["seq"] < seq:
            return f"record {seq} is expected, {record['seq']} is found: records are repeated or out of order"
        if record.get("kind") == Kind.SEGMENT.value:
            if record.get("key_id") != self._key_id:
                return "the segment was written with another key"
            if record.get("found") == "damaged":
                return f"when pgveil started here it found the trail damaged: {record.get('damage')}"
        return "the record does not match its mac: it was changed, moved, or comes from elsewhere"
