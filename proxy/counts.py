"""Counts that all workers of a proxy share, and that outlive them: a small SQLite file beside the audit trail.

Rows that somebody has seen today, statements let through in the last hour, what has led to an alert: with one count per worker,
somebody with N connections would have N times as much, and nothing at all after a restart. Every call is one short transaction
(some ten microseconds; nothing is synced to disk, so a machine that dies may forget the last moments), so what two workers do at
the same time is never more than there is. Only sessions that something is counted of come here.

    counts   (kind, key, period)   a number: of a day, of an hour
    marks    (kind, key, at)       moments, for windows that slide
    members  (kind, key, period, member)   what has been seen of a kind in a day, each once

`kind` says whose counts they are (`limits`, `failing`, `alerts` …); whoever else counts takes a kind of its own. A file that
cannot be read is put aside, and counting begins anew (event `counts_lost`). When the file cannot be used at the moment (disk
full, locked for longer than PATIENCE), `CountsError` is raised: whoever counts in order to forbid must forbid then.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from proxy.logs import event

log = logging.getLogger("pgveil.counts")

FILE = "counts.sqlite"
PATIENCE = 0.25
"""Seconds for which another worker may keep the file to itself."""
_KEPT = 400 * 86400.0
"""Seconds after which a count is of no use to anybody."""
_DAYS_OF_MEMBERS = 3 * 86400.0
_MAKE = """
CREATE TABLE IF NOT EXISTS counts (
  kind text NOT NULL, key text NOT NULL, period integer NOT NULL, amount integer NOT NULL, touched real NOT NULL,
  PRIMARY KEY (kind, key, period)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS marks (kind text NOT NULL, key text NOT NULL, at real NOT NULL);
CREATE INDEX IF NOT EXISTS marks_of ON marks (kind, key, at);
CREATE TABLE IF NOT EXISTS members (
  kind text NOT NULL, key text NOT NULL, period integer NOT NULL, member text NOT NULL, at real NOT NULL,
  PRIMARY KEY (kind, key, period, member)) WITHOUT ROWID;
"""


class CountsError(Exception):
    """Nothing can be counted at the moment."""


class Counts:
    def __init__(self, directory: Path, clock: Callable[[], float]) -> None:
        """`clock`: Unix time. The directory is there. Opened when it is first used."""
        self.path = directory / FILE
        self._clock = clock
        self._connection: sqlite3.Connection | None = None
        self._failed = False

    def left(self, kind: str, key: str, period: int, most: int) -> int:
        """What of `most` nobody has taken."""
        with self._transaction(reading=True) as db:
            return max(0, most - _amount(db, kind, key, period))

    def take(self, kind: str, key: str, period: int, most: int, wanted: int) -> int:
        """Take as much of `wanted` as there is left of `most`; answers how much that is."""
        with self._transaction() as db:
            taken = _amount(db, kind, key, period)
            granted = max(0, min(wanted, most - taken))
            self._put(db, kind, key, period, taken + granted)
            return granted

    def give_back(self, kind: str, key: str, period: int, amount: int) -> None:
        """Some of what has been taken was not needed."""
        with self._transaction() as db:
            self._put(db, kind, key, period, max(0, _amount(db, kind, key, period) - amount))

    def gather(self, kind: str, key: str, period: int, most: int, members: Iterable[str]) -> bool:
        """Add the members that are new. False: there would be more than `most`; then none of them is added."""
        of = (kind, key, period)
        with self._transaction() as db:
            (there,) = db.execute("SELECT count(*) FROM members WHERE kind = ? AND key = ? AND period = ?", of).fetchone()
            known = "SELECT 1 FROM members WHERE kind = ? AND key = ? AND period = ? AND member = ?"
            new = [m for m in dict.fromkeys(members) if db.execute(known, (*of, m)).fetchone() is None]
            if there + len(new) > most:
                return False
            now = self._clock()
            db.executemany("INSERT INTO members VALUES (?, ?, ?, ?, ?)", [(*of, m, now) for m in new])
            return True

    def gathered(self, kind: str, key: str, period: int) -> int:
        """How many members there are."""
        with self._transaction(reading=True) as db:
            of = (kind, key, period)
            (there,) = db.execute("SELECT count(*) FROM members WHERE kind = ? AND key = ? AND period = ?", of).fetchone()
            return int(there)

    def add(self, kind: str, key: str, period: int, amount: int) -> None:
        """So many more."""
        with self._transaction() as db:
            self._put(db, kind, key, period, _amount(db, kind, key, period) + amount)

    def amounts(self, kind: str, period: int) -> dict[str, int]:
        """All counts of a kind in a period, by key."""
        with self._transaction(reading=True) as db:
            rows = db.execute("SELECT key, amount FROM counts WHERE kind = ? AND period = ?", (kind, period))
            return {str(key): int(amount) for key, amount in rows}

    def admit(self, kind: str, key: str, most: int, within: float) -> bool:
        """Whether this is one of the first `most` in any window of `within` seconds. Those that are not do not count."""
        now = self._clock()
        with self._transaction() as db:
            db.execute("DELETE FROM marks WHERE kind = ? AND key = ? AND at <= ?", (kind, key, now - within))
            (there,) = db.execute("SELECT count(*) FROM marks WHERE kind = ? AND key = ?", (kind, key)).fetchone()
            if there >= most:
                return False
            db.execute("INSERT INTO marks VALUES (?, ?, ?)", (kind, key, now))
            return True

    def exceeds(self, kind: str, key: str, more_than: int, within: float) -> int | None:
        """Count one more. Its number when it is more than `more_than` within so many seconds, and nobody has been told so for as
        long; otherwise None."""
        now = self._clock()
        with self._transaction() as db:
            told = db.execute("SELECT touched FROM counts WHERE kind = ? AND key = ? AND period = 0", (kind, key)).fetchone()
            if told is not None and told[0] > now - within:
                return None
            db.execute("DELETE FROM marks WHERE kind = ? AND key = ? AND at <= ?", (kind, key, now - within))
            db.execute("INSERT INTO marks VALUES (?, ?, ?)", (kind, key, now))
            (there,) = db.execute("SELECT count(*) FROM marks WHERE kind = ? AND key = ?", (kind, key)).fetchone()
            if there <= more_than:
                return None
            db.execute("DELETE FROM marks WHERE kind = ? AND key = ?", (kind, key))
            self._put(db, kind, key, 0, there)
            return int(there)

    def mark(self, kind: str, key: str) -> None:
        """Something begins."""
        with self._transaction() as db:
            db.execute("INSERT INTO marks VALUES (?, ?, ?)", (kind, key, self._clock()))

    def unmark(self, kind: str, key: str) -> None:
        """One of those that have begun is over."""
        with self._transaction() as db:
            one = "SELECT min(at) FROM marks WHERE kind = ?1 AND key = ?2"
            db.execute(f"DELETE FROM marks WHERE kind = ?1 AND key = ?2 AND at = ({one})", (kind, key))

    def marked(self, kind: str, within: float) -> dict[str, int]:
        """What has begun in the last `within` seconds and is not over, by key."""
        since = self._clock() - within
        with self._transaction(reading=True) as db:
            rows = db.execute("SELECT key, count(*) FROM marks WHERE kind = ? AND at > ? GROUP BY key", (kind, since))
            return {str(key): int(amount) for key, amount in rows}

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _put(self, db: sqlite3.Connection, kind: str, key: str, period: int, amount: int) -> None:
        db.execute("INSERT OR REPLACE INTO counts VALUES (?, ?, ?, ?, ?)", (kind, key, period, amount, self._clock()))

    @contextmanager
    def _transaction(self, reading: bool = False) -> Iterator[sqlite3.Connection]:
        try:
            db = self._connection or self._open()
            db.execute("BEGIN" if reading else "BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")
            self._failed = False
        except (sqlite3.Error, OSError) as error:
            if not self._failed:
                event(log, "counts_failed", logging.ERROR, reason=str(error))
            self._failed = True
            self.close()
            raise CountsError(str(error)) from None

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            event(log, "counts_lost", logging.ERROR, reason=str(error))
            for suffix in ("", "-wal", "-shm"):
                path = self.path.with_name(FILE + suffix)
                if path.exists():
                    path.replace(self.path.with_name(f"{FILE}{suffix}.damaged"))
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        # Never open a file that is there: closing it would drop the locks that other connections of this process have on it.
        with suppress(FileExistsError):
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = OFF")
            db.executescript(_MAKE)
            old = self._clock() - _KEPT
            db.execute("DELETE FROM counts WHERE touched < ?", (old,))
            db.execute("DELETE FROM marks WHERE at < ?", (old,))
            db.execute("DELETE FROM members WHERE at < ?", (self._clock() - _DAYS_OF_MEMBERS,))
        except sqlite3.Error:
            db.close()
            raise
        self._connection = db
        return db


def _amount(db: sqlite3.Connection, kind: str, key: str, period: int) -> int:
    found = db.execute("SELECT amount FROM counts WHERE kind = ? AND key = ? AND period = ?", (kind, key, period)).fetchone()
    return int(found[0]) if found is not None else 0
