"""Appends records to a worker's segments: numbers them, chains them, writes them in batches.

Contract:
* `append` only puts text in memory; `flush` puts everything pending into the file with one write and then moves the
  head. Who must not show data before its evidence is written calls `flush` first (mode `before-result`); in mode
  `strict` flush returns only when the disk has it; in mode `async` the caller flushes when it likes, and a kill
  loses at most what is pending.
* When flush cannot write it raises AuditError and forgets nothing: every later flush goes on exactly where the file
  ended. `failure` and the `on_failure` hook tell the outside. After a failed sync there is no way to know what the disk
  has, so every later flush fails too until a restart.
* A file is never altered or reopened: every start makes a new segment.
"""

from __future__ import annotations

import contextlib
import enum
import fcntl
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from proxy.audit.anchor import encode_anchor
from proxy.audit.chain import GENESIS, WORKER, Head, Hmac, head_path, segment_path
from proxy.audit.custody import Custody
from proxy.audit.key import create_whole
from proxy.audit.record import MAX_LINE, TAIL, AuditError, Kind, Stamp, encode_fields, quote, tail
from proxy.audit.recover import Resume, read_head, recover, segments_of
from proxy.audit.walk import ROTATED

Begin = Callable[[int, int, bytes, Callable[[int], None]], bytes]
"""Takes the key of a segment: number, last record before it and its mac, sync."""

DEFAULT_SEGMENT_BYTES = 256 << 20
MAX_PENDING = 200_000
"""Records kept in memory while the disk refuses them; beyond it append fails, or they are lost (`lossy`)."""
MAX_HELD = 256 << 20
"""Characters of them."""


class Mode(enum.Enum):
    ASYNC = "async"  # flushed by the clock: a kill loses at most one interval
    BEFORE_RESULT = "before-result"  # handed to the operating system before data flows: survives kill -9
    STRICT = "strict"  # on disk before data flows: survives loss of power


@dataclass(frozen=True, slots=True)
class Io:
    """The system calls that can fail, so that tests can make them fail."""

    write: Callable[[int, bytes], int] = os.write
    pwrite: Callable[[int, bytes, int], int] = os.pwrite
    sync: Callable[[int], None] = os.fdatasync


class AuditWriter:
    """One worker's trail. Not thread-safe; one process at a time, which a lock on the head file enforces."""

    def __init__(
        self,
        directory: Path,
        worker: str,
        key: bytes | Custody,
        mode: Mode = Mode.BEFORE_RESULT,
        clock: Callable[[], float] = time.time,
        *,
        segment_bytes: int = DEFAULT_SEGMENT_BYTES,
        segment_seconds: float = 0.0,
        lossy: bool = False,
        head_lag: float = 0.0,
        on_failure: Callable[[str], None] | None = None,
        io: Io | None = None,
    ) -> None:
        """Opens the trail and writes the header of a new segment. Raises AuditError when it cannot.

        `key`: what the process holds of the keys; an initial key alone leaves no state behind (tests, and trails that nobody
        has to go on with). `segment_seconds`: age at which `settle` ends a segment with records in it; 0: never.
        `lossy`: records for which there is no room any more are lost and counted, and `append` answers 0; as soon as
        writing works again, the event `gap` says how many. `head_lag`: seconds for which the head may stay behind the records
        under load; `settle` moves it up.
        """
        if not WORKER.fullmatch(worker):
            raise AuditError(f"not a worker name: {worker!r}", hint="letters, digits, '_', '.', '-'; at most 64")
        self.directory, self.worker, self.mode = directory, worker, mode
        self.failure: str | None = None
        """Why the last flush failed; None when it did not."""
        self.failures = 0
        """Flushes that failed so far."""
        self.last_anchor: bytes | None = None
        """Of the closed trail."""
        self._on_failure = on_failure
        self._io = io or Io()
        self._limit = segment_bytes
        self._head_lag = head_lag
        self._head_time = 0.0
        self._head_seq = -1
        self._told = Head(0, 0, 0, GENESIS)
        self._stamp = Stamp(clock)
        self._middle = f'","worker":{quote(worker)},'
        self._pending: list[str] = []
        self._unwritten = b""
        self._broken: str | None = None
        self._commit: Head | None = None
        """How far the records reach that are being put on disk."""
        self._aside = False
        """Between `begin_commit` and `end_commit`: the file is in use by somebody else."""
        self._lossy, self._lost, self._lost_since = lossy, 0, ""
        self.lost = 0
        """Records that were lost so far (`lossy`)."""
        self._held = 0
        """Characters pending."""
        self._fd = self._head_fd = -1
        self._size = self._sealed = 0
        self._new = True
        self._closing = False
        self._clock = clock
        self._seconds = segment_seconds
        self._began = 0.0
        self._first = 0
        """Number of the present segment's header."""
        try:
            self._custody = key if isinstance(key, Custody) else Custody(worker, key)
            self._head_fd = self._take(directory, worker)
            self.resumed: Resume = recover(directory, worker, self._custody.keys, self._custody.joint)
            """How the trail was found; `resumed.damage` deserves an alert."""
            self._seq, self._previous = self.resumed.seq, self.resumed.previous
            self._sealed = self._seq
            self._segment = self.resumed.segment - 1
            self._settle_end()
            self._open(self.resumed, self._custody.begin)
            self._first_flush()
            if self._custody.heir is not None:
                self._hand_over(self._custody.heir.key_id)
        except OSError as error:
            self._release()
            raise AuditError(f"cannot open the audit trail in {directory}: {error.strerror}") from None
        except BaseException:
            self._release()
            raise

    def _first_flush(self) -> None:
        try:
            self.flush()
        except AuditError:
            if os.fstat(self._fd).st_size == 0:  # leave no empty segment behind for every attempt to start
                os.unlink(segment_path(self.directory, self.worker, self._segment))
            raise

    @property
    def pending(self) -> bool:
        """No successful flush stands behind everything appended: do not let data flow before one does."""
        return bool(self._pending or self._unwritten) or self.failure is not None or self._commit is not None

    @property
    def pending_records(self) -> int:
        """Records in memory that are not in the file yet, a batch that was written in part not counted."""
        return len(self._pending)

    @property
    def seq(self) -> int:
        """Number of the last record appended."""
        return self._seq

    @property
    def head_lag(self) -> int:
        """Records that are in the file and that the head does not know yet."""
        return max(0, self._sealed - self._head_seq)

    def append(self, kind: Kind, fields: Mapping[str, object]) -> int:
        """Take in a record and answer its number. Raises ValueError for fields that docs/audit.md does not know."""
        return self.append_encoded(kind.value, encode_fields(kind, fields))

    def append_encoded(self, kind: str, rest: str, end: str = "") -> int:
        """As append, with the kind's fields already encoded: `"a":1,"b":null`, in one piece or two. The hot path."""
        size = len(rest) + len(end)
        self._held += size
        if (size > MAX_LINE // 8 or len(self._pending) >= MAX_PENDING or self._held > MAX_HELD) and self._refuses(rest + end):
            return 0
        self._seq = seq = self._seq + 1
        self._pending.append(f'{{"v":1,"seq":{seq},"kind":"{kind}","time":"{self._stamp()}{self._middle}{rest}{end}')
        return seq

    def flush(self) -> None:
        """Write everything pending. Raises AuditError when that is not possible now; nothing is lost by it."""
        if not self.pending:
            return
        self._write_all()
        if self._size >= self._limit and self._is_due():
            self._rotate()

    def _write_all(self) -> None:
        try:
            self._drain()
        except OSError as error:
            self._fail(f"cannot write the audit trail in {self.directory}: {error.strerror or error}")
        self._written()

    def _written(self) -> None:
        """Writing works. If it did not, and records were lost meanwhile, that is the next record."""
        self.failure = None
        if self._lost:
            detail = {"lost": self._lost, "since": self._lost_since, "until": self._stamp()}
            self._lost = 0
            self.append(Kind.EVENT, {"event": "gap", "detail": detail})

    def settle(self) -> None:
        """Move the head up to the records written, and end a segment that is old enough; to be called on the clock. Raises
        AuditError when that is not possible."""
        if self._fd < 0 or self._unwritten or self._aside or self._broken is not None:
            return
        if self._head_seq != self._sealed:
            try:
                self._move_head()
            except OSError as error:
                self._fail(f"cannot write the audit trail in {self.directory}: {error.strerror or error}")
        if self._seconds and self._is_due():
            self._rotate()

    @property
    def head(self) -> Head:
        """As the head file says. What others may state: the record is in the file, in `strict` on disk."""
        return self._told

    def anchor(self) -> bytes | None:
        """The head as a line that can be kept elsewhere (`proxy.audit.anchor`); None when there is none at the moment."""
        head = self.head
        return (
            encode_anchor(self.worker, head, self._key, self._custody.key_id, self._stamp())
            if head.segment == self._segment
            else None
        )

    def sync(self) -> None:
        """Put on disk what is in the file, whatever the mode. Raises AuditError."""
        try:
            self._io.sync(self._fd)
        except OSError as error:
            raise AuditError(f"cannot put the audit trail on disk: {error.strerror}") from None

    def close(self, reason: str = "shutdown") -> None:
        """Write a stop record, put everything on disk and let go. Raises AuditError when evidence could not be written;
        the files are closed in any case."""
        if self._fd < 0:
            return
        try:
            self.flush()  # then there is room for one more
            self._closing = True
            self.append(Kind.STOP, {"reason": reason})
            self.flush()
            self._io.sync(self._fd)
            self._io.sync(self._head_fd)
            self.last_anchor = self.anchor()
            self._custody.begin(self._segment + 1, self._sealed, self._previous, self._io.sync)  # nobody needs this key again
        except OSError as error:
            raise AuditError(f"cannot put the audit trail on disk: {error.strerror}") from None
        finally:
            self._release()

    def _take(self, directory: Path, worker: str) -> int:
        """The head file, made when the trail is new, locked against a second writer."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path, custody = head_path(directory, worker), self._custody
        if read_head(directory, worker) is None and not segments_of(directory, worker):
            key = custody.keys.segment(custody.key_id, 1)
            if key is not None and (custody.joint is None or custody.joint.seq == 0):
                with contextlib.suppress(FileExistsError):
                    create_whole(path, Head(0, 0, 0, GENESIS).encode(worker, key))
        # When segments are there but the head is not, the file made here is empty: recover() takes that for damage.
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise AuditError(f"another process writes the audit trail of worker {worker} in {directory}") from None
        return fd

    def _settle_end(self) -> None:
        """Let the head name the last record that was found while its key is still known."""
        if self.resumed.end is None:
            return
        head, name = self.resumed.end
        key = self._custody.keys.segment(name, head.segment)
        if key is not None and read_head(self.directory, self.worker) != (data := head.encode(self.worker, key)):
            if self._io.pwrite(self._head_fd, data, 0) != len(data):
                raise OSError("the head file was written in part")
            self._io.sync(self._head_fd)

    def _open(self, resume: Resume, begin: Begin) -> None:
        """Make the next segment's file, take its key, and put its header in front of what is pending next. Nothing has changed
        when this raises OSError."""
        number = self._segment + 1
        path = segment_path(self.directory, self.worker, number)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            key = begin(number, self._sealed, self._previous, self._io.sync)
        except OSError:
            os.close(fd)
            os.unlink(path)
            raise
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._size, self._new, self._segment, self._key = fd, 0, True, number, key
        self._hmac = Hmac(key)
        self._began = self._clock() if self._seconds else 0.0
        header = {
            "segment": number, "previous": self._previous.hex(), "key_id": self._custody.key_id, "found": resume.found,
            "torn": list(resume.torn), "damage": resume.damage,
        }  # fmt: skip
        self._first = self.append(Kind.SEGMENT, header)

    def _rotate(self) -> None:
        """Go on in the next segment. When its file cannot be made the present one just grows, and we try again."""
        try:
            if self._pending:  # the header is the first record of its file
                self._drain()
            if self._head_seq != self._sealed:
                self._move_head()
            self._open(Resume(self._segment + 1, self._seq, self._previous, "rotated"), self._custody.begin)
        except OSError as error:
            if self._on_failure is not None:
                self._on_failure(f"cannot make the next audit segment in {self.directory}: {error.strerror or error}")
            return
        self._write_all()

    def _hand_over(self, key_id: str) -> None:
        """The last record under the old key names the new one."""
        self.append(Kind.EVENT, {"event": ROTATED, "detail": {"key_id": key_id}})
        self._write_all()
        if self._head_seq != self._sealed:
            self._move_head()
        self._open(Resume(self._segment + 1, self._seq, self._previous, "rotated"), self._custody.begin_heir)
        self._write_all()

    def _drain(self) -> None:
        self._write_pending()
        if self.mode is Mode.STRICT:
            self._sync()
            self._commit = None  # it is on disk, whatever becomes of that sync
        now = time.monotonic() if self._head_lag else 0.0
        if self._new or self._closing or self.failure is not None or now - self._head_time >= self._head_lag:
            self._head_time = now
            self._move_head()
        self._new = False

    def _write_pending(self) -> None:
        """Bring everything to the operating system. What a full disk has refused stays one batch: it is not copied for every
        attempt, and what comes after it is counted by its records."""
        if self._broken is not None:
            raise OSError(self._broken)
        while self._unwritten or self._pending:
            if not self._unwritten:
                self._seal()
            while self._unwritten:
                written = self._io.write(self._fd, self._unwritten)
                if written <= 0:
                    raise OSError("nothing was written")
                self._unwritten = self._unwritten[written:]

    def begin_commit(self) -> Callable[[], None] | None:
        """In `strict`: write what is pending. The answer puts it on disk; it may be called in another thread, then `end_commit`
        in this one. None when all is on disk. Raises AuditError. One at a time."""
        if not self.pending:
            return None
        try:
            self._write_pending()
        except OSError as error:
            self._fail(f"cannot write the audit trail in {self.directory}: {error.strerror or error}")
        self._commit = Head(self._segment, self._sealed, self._size, self._previous)
        self._aside = True
        fd, new = self._fd, self._new
        return lambda: self._sync_file(fd, new)

    def end_commit(self, error: OSError | None) -> None:
        """What was written before `begin_commit` answered is on disk, or nobody knows. Raises AuditError."""
        commit, self._commit, self._aside = self._commit, None, False
        if error is not None:
            self._break(error)
            self._fail(f"cannot write the audit trail in {self.directory}: {error.strerror or error}")
        if commit is not None:
            try:
                self._write_head(commit)
            except OSError as failed:
                self._fail(f"cannot write the audit trail in {self.directory}: {failed.strerror or failed}")
            self._new = False
        self._written()
        if self._is_due():
            self._rotate()

    def _is_due(self) -> bool:
        """The segment is full, or old enough; and nobody else uses its file."""
        if self._closing or self._aside:
            return False
        if self._size >= self._limit:
            return True
        return self._seconds > 0 and self._sealed > self._first and self._clock() - self._began >= self._seconds

    def _move_head(self) -> None:
        self._write_head(Head(self._segment, self._sealed, self._size, self._previous))

    def _write_head(self, head: Head) -> None:
        data = head.encode(self.worker, self._key)
        if self._io.pwrite(self._head_fd, data, 0) != len(data):
            raise OSError("the head file was written in part")
        self._head_seq, self._told = head.seq, head

    def _seal(self) -> None:
        """Chain what is pending; from here on its bytes are fixed."""
        hmac, previous = self._hmac, self._previous
        out: list[bytes] = []
        for text in self._pending:
            try:
                body = text.encode("utf-8")
            except UnicodeEncodeError:
                body = text.encode("utf-8", "backslashreplace")  # a lone surrogate becomes the JSON escape \udcXX
            previous = hmac.digest(previous, body)
            out.append(body)
            out.append(tail(previous))
            out.append(b"\n")
        batch = b"".join(out)
        self._previous, self._sealed = previous, self._seq
        self._size += len(batch)
        self._pending.clear()
        self._held = 0
        self._unwritten = self._unwritten + batch if self._unwritten else batch

    def _sync(self) -> None:
        try:
            self._sync_file(self._fd, self._new)
        except OSError as error:
            self._break(error)
            raise

    def _sync_file(self, fd: int, new: bool) -> None:
        self._io.sync(fd)
        if new:
            directory = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)

    def _break(self, error: OSError) -> None:
        self._broken = f"a sync failed ({error.strerror}); what the disk holds is unknown until a restart"

    def _refuses(self, rest: str) -> bool:
        """Whether there is no room for the record and it is lost; raises AuditError when records may not be."""
        if len(self._pending) >= MAX_PENDING or self._held > MAX_HELD:
            reason = f"{len(self._pending)} audit records wait for a disk that does not take them"
        elif len(rest.encode("utf-8", "backslashreplace")) > MAX_LINE - TAIL - 4096:
            reason = f"an audit record of more than {MAX_LINE} bytes"
        else:
            return False
        self._held -= len(rest)
        if not self._lossy:
            raise AuditError(reason)
        self.lose()
        return True

    def lose(self) -> None:
        """A record is given up for which there was no room. That it is missing is recorded as soon as there is."""
        if not self._lost:
            self._lost_since = self._stamp()
        self._lost += 1
        self.lost += 1

    def _fail(self, reason: str) -> NoReturn:
        self.failure = reason
        self.failures += 1
        if self._on_failure is not None:
            self._on_failure(reason)
        raise AuditError(reason, hint="check space and rights")

    def _release(self) -> None:
        """Close the files without a stop record; what is pending is gone, as after a kill."""
        for fd in (self._fd, self._head_fd):
            if fd >= 0:
                with contextlib.suppress(OSError):
                    os.close(fd)
        self._fd = self._head_fd = -1
