"""The index of a trail: a DuckDB file of the auditor's own, made from the segments and kept up to date piece by piece.

Contract: the segments are the evidence, the index never is. A segment whose file, size, time or last mac is another than when
it was read is read again; one that is gone goes from the index too; of the one that grows only what is new is read, up to its
last whole line. Memory is bounded by a stretch of STRETCH bytes and DuckDB's own limit. One process changes the index at a
time; while others read it, it is left as it is, and `behind` says so.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from proxy.audit.chain import parse_segment_name
from proxy.errors import PgveilError
from proxy.inquiry.load import Loaded, Stretch, load
from proxy.inquiry.tables import BASE, FORMAT, HOLDING, VIEWS

STRETCH = 256 << 20
MEMORY = "1GB"
_COPY = 4 << 20
_FILES = 500
"""Segments that are read at a time: many are small, because one begins every hour."""
_TAIL = re.compile(rb',"mac":"([0-9a-f]{64})"\}\n?\Z')
_SAFE: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False, "autoload_known_extensions": False, "allow_community_extensions": False,
    "python_enable_replacements": False, "memory_limit": MEMORY,
}  # fmt: skip

Progress = Callable[[int, int], None]
"""Bytes read, bytes to read."""


class IndexProblem(PgveilError):
    """The index cannot be made or used."""

    sqlstate = "58030"


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment's file as it is now, up to its last whole line."""

    path: Path
    worker: str
    number: int
    size: int
    mtime: int
    inode: int
    mac: str


@dataclass(frozen=True, slots=True)
class _Part:
    """What is read of a segment at a time."""

    of: Segment
    segment: int
    """Its number in the index."""
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class State:
    """What an update has found."""

    bytes_read: int = 0
    removed: int = 0
    """Segments taken out: changed, or gone."""
    bad: int = 0
    """Lines in the index that are no records."""
    behind: str | None = None
    """Why the index was left as it was."""


def default_home(trail: Path) -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    name = hashlib.sha256(os.fsencode(trail.resolve())).hexdigest()[:16]
    return Path(cache) / "pgveil" / "index" / name


def last_line_end(path: Path, size: int) -> tuple[int, str]:
    """Where the last whole line within the first `size` bytes ends, and the mac it ends with (empty: none)."""
    with open(path, "rb") as file:
        at, rest = size, b""
        while at > 0:
            step = min(1 << (12 if at == size else 16), at)
            at -= step
            file.seek(at)
            rest = file.read(step) + rest[:200]
            newline = rest.rfind(b"\n")
            if newline >= 0:
                end = at + newline + 1
                file.seek(max(0, end - 100))
                found = _TAIL.search(file.read(end - max(0, end - 100)))
                return end, found[1].decode() if found else ""
    return 0, ""


def segments_in(trail: Path) -> list[Segment]:
    """Raises OSError when the trail cannot be read."""
    out = []
    for name in sorted(os.listdir(trail)):
        parsed = parse_segment_name(name)
        if parsed is None:
            continue
        path = trail / name
        with contextlib.suppress(FileNotFoundError):  # expired between the listing and now
            found = path.stat()
            size, mac = last_line_end(path, found.st_size)
            out.append(Segment(path, *parsed, size, found.st_mtime_ns, found.st_ino, mac))
    return out


class Index:
    """Of one directory of trails."""

    def __init__(self, trail: Path, home: Path | None = None) -> None:
        """Raises IndexProblem when others could change the place of the index."""
        self.trail = trail
        self.home = home or default_home(trail)
        try:
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self.home.stat()
        except OSError as error:
            raise IndexProblem(
                f"cannot make the index in {self.home}: {error.strerror}", hint="name another place: --index DIR"
            ) from None
        if found.st_uid not in (os.geteuid(), 0) or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise IndexProblem(f"others may change the index in {self.home}", hint=f"chmod 700 {self.home}")
        self.path = self.home / "index.duckdb"
        self._scratch = self.home / "scratch"
        self._readers = -1

    def update(self, progress: Progress = lambda done, total: None, wait: Callable[[], None] = lambda: None) -> State:
        """Bring the index up to date. `wait` is called once when another process is at it. Raises IndexProblem, OSError."""
        with self._lock("update", wait):
            now = segments_in(self.trail)
            known, bad = self._known()
            if known is not None and known == {(s.worker, s.number): (s.size, s.mtime, s.inode, s.mac) for s in now}:
                return State(bad=bad)
            try:
                with self._lock("readers", None):
                    return self._bring(now, progress)
            except BlockingIOError:
                if known is None:
                    raise IndexProblem(
                        "another search uses an index that has to be made anew", hint="try again when it has ended"
                    ) from None
                return State(bad=bad, behind="another search is using the index: what has been written since is not in it")

    def remake(self) -> None:
        """Forget everything."""
        with self._lock("update", lambda: None), self._lock("readers", lambda: None):
            self._discard()

    @contextlib.contextmanager
    def reading(self, zone: str = "UTC", macros: str = "") -> Iterator[duckdb.DuckDBPyConnection]:
        """The index for questions, also those of strangers: it reads no file, loads and changes nothing, and stays so.
        `macros` are statements that make macros for this connection."""
        with self._lock("readers", lambda: None, shared=True):
            connection = self._connect(read_only=True)
            try:
                connection.execute(f"SET TimeZone = '{zone}'")
                if macros:
                    connection.execute(macros)
                connection.execute("SET enable_external_access = false; SET lock_configuration = true")
                yield connection
            finally:
                connection.close()

    def _connect(self, read_only: bool) -> duckdb.DuckDBPyConnection:
        return duckdb.connect(str(self.path), read_only=read_only, config={**_SAFE, "temp_directory": str(self._scratch)})

    @contextlib.contextmanager
    def _lock(self, name: str, wait: Callable[[], None] | None, shared: bool = False) -> Iterator[None]:
        """Without `wait` BlockingIOError when somebody else has it."""
        fd = os.open(self.home / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            try:
                fcntl.flock(fd, how | fcntl.LOCK_NB)
            except BlockingIOError:
                if wait is None:
                    raise
                wait()
                fcntl.flock(fd, how)
            yield
        finally:
            os.close(fd)

    def _known(self) -> tuple[dict[tuple[str, int], tuple[int, int, int, str]] | None, int]:
        """The segments as they were read, None when there is no index that can be used; and lines in it that are no records."""
        if not self.path.exists():
            return None, 0
        try:
            with contextlib.closing(self._connect(read_only=True)) as connection:
                about = connection.execute("SELECT format FROM about").fetchall()
                if about != [(FORMAT,)]:
                    return None, 0
                rows = connection.execute("SELECT worker, number, size, mtime, inode, mac, bad FROM piece").fetchall()
        except duckdb.Error:
            return None, 0
        known = {(worker, number): (size, mtime, inode, mac) for worker, number, size, mtime, inode, mac, _ in rows}
        return known, sum(row[-1] for row in rows)

    def _discard(self) -> None:
        for path in (self.path, self.path.with_name(self.path.name + ".wal")):
            path.unlink(missing_ok=True)
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _bring(self, now: list[Segment], progress: Progress) -> State:
        known, _ = self._known()
        if known is None:
            self._discard()
            known = {}
        self._scratch.mkdir(mode=0o700, exist_ok=True)
        before = os.umask(0o077)
        try:
            with contextlib.closing(self._connect(read_only=False)) as connection:
                connection.execute("SET preserve_insertion_order = true; SET wal_autocheckpoint = '1TB'")
                if not known:
                    connection.execute("BEGIN; " + BASE + VIEWS + "; COMMIT") if not self._has_tables(connection) else None
                    connection.execute("DELETE FROM about")
                    connection.execute("INSERT INTO about VALUES (?, ?)", [FORMAT, str(self.trail.resolve())])
                removed = self._remove(connection, now, known)
                read = self._read(connection, now, progress)
                (bad,) = connection.execute("SELECT COALESCE(sum(bad), 0)::BIGINT FROM piece").fetchall()[0]
        except duckdb.Error as error:
            raise IndexProblem(f"the index in {self.home} cannot be made: {error}") from None
        finally:
            os.umask(before)
            shutil.rmtree(self._scratch, ignore_errors=True)
        return State(read, removed, bad)

    @staticmethod
    def _has_tables(connection: duckdb.DuckDBPyConnection) -> bool:
        return bool(connection.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = 'about'").fetchall())

    def _remove(
        self, connection: duckdb.DuckDBPyConnection, now: list[Segment], known: dict[tuple[str, int], tuple[int, int, int, str]]
    ) -> int:
        """Take out the segments that are gone, or whose part that was read is not the same any more."""
        present = {(s.worker, s.number): s for s in now}
        out = []
        for key, (size, mtime, inode, mac) in known.items():
            there = present.get(key)
            if there is not None:
                if (there.size, there.mtime, there.inode, there.mac) == (size, mtime, inode, mac):
                    continue
                if there.inode == inode and there.size > size and last_line_end(there.path, size) == (size, mac):
                    continue  # it has grown
                if there.inode == inode and (there.size, there.mac) == (size, mac) and self._is_growing(there, now):
                    continue  # a line is being written behind what was read
            out.append(key)
        if out:
            connection.execute("BEGIN")
            for worker, number in out:
                (segment,) = connection.execute(
                    "SELECT segment FROM piece WHERE worker = ? AND number = ?", [worker, number]
                ).fetchall()[0]
                for table in HOLDING:
                    connection.execute(f"DELETE FROM {table} WHERE segment = ?", [segment])
            connection.execute("COMMIT")
        return len(out)

    @staticmethod
    def _is_growing(segment: Segment, now: list[Segment]) -> bool:
        """It is its worker's last, and has bytes behind its last whole line."""
        is_last = segment.number == max(s.number for s in now if s.worker == segment.worker)
        return is_last and segment.path.stat().st_size > segment.size

    def _read(self, connection: duckdb.DuckDBPyConnection, now: list[Segment], progress: Progress) -> int:
        rows = connection.execute("SELECT worker, number, segment, size, mtime, inode FROM piece").fetchall()
        known = {(worker, number): tuple(rest) for worker, number, *rest in rows}
        nothing = (0, 0, 0, 0)
        following = max((segment for segment, *_ in known.values()), default=0)
        total = sum(s.size - known.get((s.worker, s.number), nothing)[1] for s in now)
        done = 0
        progress(done, total)
        batch: list[_Part] = []
        for found in now:
            segment, at, *times = known.get((found.worker, found.number), nothing)
            if segment and at == 0:
                connection.execute("DELETE FROM piece WHERE segment = ?", [segment])
            if not segment:
                following += 1
                segment = following
            if at == found.size and (at == 0 or times != [found.mtime, found.inode]):  # no new line in it
                self._note(connection, _Part(found, segment, at, at), None)
            while at < found.size:
                room = STRETCH - sum(part.end - part.start for part in batch)
                end = found.size if found.size - at <= room else last_line_end(found.path, at + room)[0]
                if end <= at:  # not one line of it has room
                    end = found.size if not batch else at
                if end > at:
                    batch.append(_Part(found, segment, at, end))
                if end < found.size or len(batch) >= _FILES:
                    done += self._take(connection, batch)
                    batch = []
                    progress(done, total)
                at = end
        done += self._take(connection, batch)
        progress(done, total)
        return done

    def _take(self, connection: duckdb.DuckDBPyConnection, batch: Sequence[_Part]) -> int:
        """Take in parts of segments, at once; how many bytes."""
        if not batch:
            return 0
        stretches = []
        for part in batch:
            lines = self._scratch / f"{part.segment}.jsonl"
            _copy(part.of.path, part.start, part.end, lines)
            stretches.append(Stretch(lines, part.of.worker, part.segment))
        connection.execute("BEGIN")
        loaded = load(connection, stretches)
        for part in batch:
            self._note(connection, part, loaded.get(part.segment))
        connection.execute("COMMIT; CHECKPOINT")  # what waits in the write-ahead log would be read again at every start
        for stretch in stretches:
            stretch.lines.unlink()
        return sum(part.end - part.start for part in batch)

    @staticmethod
    def _note(connection: duckdb.DuckDBPyConnection, part: _Part, got: Loaded | None) -> None:
        """How far the segment has been read, and what came of this part."""
        of = part.of
        mac = of.mac if part.end == of.size else last_line_end(of.path, part.end)[1]
        found = [got.records, got.bad, got.first, got.last] if got else [0, 0, None, None]
        if part.start == 0:
            connection.execute(
                "INSERT INTO piece VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [part.segment, of.worker, of.number, part.end, of.mtime, of.inode, mac, *found],
            )
            return
        connection.execute(
            "UPDATE piece SET size = ?, mtime = ?, inode = ?, mac = ?, records = records + ?, bad = bad + ?, first = "
            "least(first, ?), "
            "last = greatest(last, ?) WHERE segment = ?",
            [part.end, of.mtime, of.inode, mac, *found, part.segment],
        )


def _copy(path: Path, start: int, end: int, into: Path) -> None:
    with open(path, "rb") as source, open(into, "wb") as out:
        source.seek(start)
        left = end - start
        while left > 0 and (data := source.read(min(_COPY, left))):
            out.write(data)
            left -= len(data)
