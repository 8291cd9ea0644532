"""Walks a worker's segments record by record and believes nothing: the strict reader under `verify` and a restart.

Contract: memory is bounded by one chunk and one line (MAX_LINE); the first thing that is not exactly what the writer
would have written raises BadRecord. The one thing tolerated is what a killed writer leaves: bytes without a newline at
the end of a file, which begin like the next record would, in a segment that was not stopped cleanly. Once the writer
has started again these bytes are fixed too: the next segment's header states their number and their SHA-256.

A trail may begin after segment 1 when earlier ones have expired. The walk then takes the first header's word for what was
before it, and it is for verify to see that somebody vouches for that (`began`).
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxy.audit.chain import GENESIS, Head, Keys, segment_path
from proxy.audit.lines import Fault, Lines
from proxy.audit.pieces import Piece
from proxy.audit.record import MAX_LINE, TAIL, Kind, prefix, tail

_KEY_ID = re.compile(rb'"key_id":"([0-9a-f]{16})"')
_HEADER = 4096
ROTATED = "key_rotated"
"""The event that is the last record under an old key; its detail names the new one."""


class BadRecord(Exception):
    """The first thing wrong: `file`:`line`, the sequence number expected there, and why."""

    def __init__(self, file: Path, line: int | None, seq: int | None, reason: str) -> None:
        super().__init__(reason)
        self.file, self.line, self.seq, self.reason = file, line, seq, reason


@dataclass(frozen=True, slots=True)
class Joint:
    """Where one segment ends and the next begins."""

    segment: int
    """The one that ends there."""
    seq: int
    mac: bytes


class Walker:
    """Where a walk stands: everything up to record `seq` in segment `segment` is intact."""

    def __init__(self, directory: Path, worker: str, keys: Keys, head: Head | None = None) -> None:
        self.directory, self.worker, self.head = directory, worker, head
        self.segment = 0
        self.seq = 0
        self.size = 0
        """Bytes of complete records in the current segment."""
        self.previous = GENESIS
        self.end = Head(0, 0, 0, GENESIS)
        """The last complete record, as a head names it."""
        self.last_kind: str | None = None
        self.torn: list[dict[str, object]] = []
        """What crashes left since the last complete record, as a header states it."""
        self._torn_at: tuple[Path, int] | None = None
        self.head_seen = head is not None and head.seq == 0
        self.began: Joint | None = None
        """What the first header says of the segments that are gone; None when the trail begins with segment 1."""
        self.joints: list[Joint] = []
        """Ends of the segments walked, of a trail that does not begin with segment 1."""
        self.statements: list[tuple[int, bytes]] = []
        """What the records of the last segment say about trails (`lines.STATEMENTS`)."""
        self._keys = keys
        self.key_id = keys.ids[-1] if keys.ids else ""
        """Of the segment the walk is in."""
        self._heir: str | None = None
        """The key that the last record hands the chain over to."""

    def resume(self, head: Head, key_id: str) -> None:
        """Continue behind the record that `head` names, after checking that it stands there. Raises BadRecord.

        When the key of the head's segment is gone nothing but a torn rest may be behind that record."""
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
            self._ended_with(line)
        except (ValueError, RecursionError, KeyError, TypeError):
            raise BadRecord(path, None, head.seq, "the record that the head names has been changed") from None
        self.key_id = key_id
        self.segment, self.seq, self.size, self.previous, self.end = head.segment, head.seq, head.size, head.mac, head
        self._read(path, self._keys.segment(key_id, head.segment), header=False)

    def begin_at(self, segment: int) -> None:
        """Begin with this segment's header, and its word for what was before. Raises BadRecord."""
        path = segment_path(self.directory, self.worker, segment)
        try:
            record = json.loads(_first_line(path))
            joint = Joint(segment - 1, record["seq"] - 1, bytes.fromhex(record["previous"]))
        except (OSError, ValueError, RecursionError, KeyError, TypeError):
            raise BadRecord(path, 1, None, "the trail does not begin with the header of a segment") from None
        self.segment, self.seq, self.previous, self.began = joint.segment, joint.seq, joint.mac, joint

    def next_segment(self) -> None:
        """Walk the following segment from its header to its end. Raises BadRecord."""
        self.segment += 1
        self.size = 0
        path = segment_path(self.directory, self.worker, self.segment)
        self._read(path, self.key_of(self.segment), header=True)
        self._note_end()

    def take(self, pieces: Sequence[Piece]) -> bool:
        """Walk the following segment by what was found in its pieces, each checked from its own claims. False, with nothing
        changed, when they do not join without doubt: `next_segment` then says what is wrong, if anything is. Raises BadRecord."""
        seq, previous, size, first, last = self.seq, self.previous, 0, b"", b""
        marked: tuple[int, bytes] | None = None
        for piece in pieces:
            if not piece.intact:
                return False
            if piece.count:
                if (piece.begin, piece.before, piece.previous) != (size, seq, previous):
                    return False
                seq, previous, size = piece.seq, piece.mac, piece.size
                first, last = first or piece.first, piece.last
                marked = piece.marked or marked
            elif piece.rest and piece.begin != size:
                return False
        if not first:
            return False
        number, head = self.segment + 1, self.head
        path = segment_path(self.directory, self.worker, number)
        if marked is not None and (head is None or (number, *marked) != (head.segment, head.size, head.mac)):
            return False
        self.segment = number
        self._check_header(path, json.loads(first), self.seq + 1)
        self.torn = []
        self.statements = [said for piece in pieces for said in piece.statements]
        self.head_seen = self.head_seen or marked is not None
        self.seq, self.previous, self.size = seq, previous, size
        self.end = Head(number, seq, size, previous)
        self._ended_with(last)
        if pieces[-1].rest:
            self._leave_torn(path, sum(piece.count for piece in pieces), pieces[-1].rest, has_records=True)
        self._note_end()
        return True

    def key_of(self, segment: int) -> bytes | None:
        """The key of a segment by what its header says of it; that of the chain so far when it says nothing that helps."""
        try:
            match = _KEY_ID.search(_first_line(segment_path(self.directory, self.worker, segment), _HEADER))
        except OSError:
            match = None
        claimed = match[1].decode() if match is not None else self.key_id
        return self._keys.segment(claimed if claimed in self._keys.ids else self.key_id, segment)

    def _note_end(self) -> None:
        if self.began is not None:
            self.joints.append(Joint(self.segment, self.seq, self.previous))

    def _ended_with(self, line: bytes) -> None:
        record = json.loads(line)
        self.last_kind = str(record["kind"])
        detail = record.get("detail") if record.get("event") == ROTATED and self.last_kind == Kind.EVENT.value else None
        self._heir = str(detail["key_id"]) if isinstance(detail, dict) and "key_id" in detail else None

    def _read(self, path: Path, key: bytes | None, header: bool) -> None:
        head_seq = self.head.seq if self.head is not None else -1
        try:
            file = open(path, "rb", buffering=0)  # noqa: SIM115
        except FileNotFoundError:
            raise BadRecord(path, None, self.seq + 1, "the segment is missing") from None
        except OSError as error:
            raise BadRecord(path, None, self.seq + 1, f"the segment cannot be read: {error.strerror}") from None
        with file:
            file.seek(self.size)
            run = Lines(file, key or secrets.token_bytes(32), self.seq, self.previous, self.size, head_seq)
            fault = run.read()
        seq, self.statements = self.seq, run.statements
        if header and run.count:
            self._check_header(path, json.loads(run.first), seq + 1)
            header = False
            self.torn = []
        if run.marked is not None and self.head is not None:
            number, size, mac = run.marked
            if (self.head.segment, self.head.size, self.head.mac) != (self.segment, size, mac):
                self.seq = head_seq - 1
                raise BadRecord(path, number, head_seq, "the record is not the one that the head names")
            self.head_seen = True
        self.seq, self.previous, self.size = run.seq, run.previous, run.size
        if fault is not None:
            number, expected = run.count + 1, run.seq + 1
            if fault is Fault.CHAIN:
                if key is None:
                    raise BadRecord(path, number, expected, "records of a segment whose key is gone")
                if header and self._ends_wrong(run.bad, expected):
                    raise self._torn_changed()
                raise BadRecord(path, number, expected, self._diagnose(run.bad, expected))
            raise BadRecord(path, number, expected, _FAULTS[fault])
        if run.last:
            self._ended_with(run.last)
            self.end = Head(self.segment, run.seq, run.size, run.previous)
        if run.rest or header:
            self._leave_torn(path, run.count, run.rest, has_records=not header)

    def _check_header(self, path: Path, record: dict[str, Any], seq: int) -> None:
        """`self.previous` and `self.last_kind` are still those of the segment before."""
        found = record.get("found")
        if found == "damaged":
            reason = f"when pgveil started here it found the trail before this record damaged: {record.get('damage')}"
            raise BadRecord(path, 1, seq, reason)
        named = record.get("key_id")
        key_id = named if named == self._heir or self.seq == 0 or self.began_here else self.key_id
        stated = {
            "kind": Kind.SEGMENT.value, "worker": self.worker, "segment": self.segment, "key_id": key_id,
            "previous": self.previous.hex(),
        }  # fmt: skip
        if not self.began_here:
            if seq == 1:
                expected = "crashed" if self.torn else "new"
            elif self.torn:
                expected = "crashed"
            elif self.last_kind == Kind.STOP.value:
                expected = "stopped"
            else:
                expected = "crashed" if found == "crashed" else "rotated"
            stated |= {"found": expected, "torn": self.torn}
        for name, value in stated.items():
            if record.get(name) != value:
                if name == "torn" and self.torn:
                    raise self._torn_changed()
                raise BadRecord(path, 1, seq, f"the segment's header does not fit what is before it: {name}")
        self.key_id = str(named)

    @property
    def began_here(self) -> bool:
        """The header at hand is the first one that is left."""
        return self.began is not None and self.began.segment == self.segment - 1

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
            if record.get("key_id") not in self._keys.ids:
                return "the segment was written with another key"
            if record.get("found") == "damaged":
                return f"when pgveil started here it found the trail damaged: {record.get('damage')}"
        return "the record does not match its mac: it was changed, moved, or comes from elsewhere"


_FAULTS = {
    Fault.JSON: "the line is not JSON",
    Fault.MORE: "the line is more than one JSON value",
    Fault.LONG: f"a line of more than {MAX_LINE} bytes",
}


def _first_line(path: Path, most: int = MAX_LINE) -> bytes:
    with open(path, "rb") as file:
        return file.readline(most)
