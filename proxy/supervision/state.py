"""What the auditor remembers: where it is in the trails, what rules have counted, alerts and their deliveries. One SQLite file.

One transaction (`commit`) takes positions, counts and alerts together, so an auditor that is killed at any moment goes on from
its last commit: no record counts twice or not at all, and no alert is lost or raised twice. Counts are held in memory as objects
and written when they have changed; those of people who have not been seen for a while are dropped from memory and read again when
they are needed. A file that cannot be read is put aside, and the trail is read again from its beginning.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from proxy.audit.follow import Position
from proxy.logs import event

log = logging.getLogger("pgveil.auditor")

FILE = "supervision.sqlite"
KEPT = 20_000
"""Objects in memory after a commit."""
_MAKE = """
CREATE TABLE IF NOT EXISTS positions (
  worker text PRIMARY KEY, segment integer NOT NULL, place integer NOT NULL, seq integer NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS state (
  rule text NOT NULL, key text NOT NULL, touched real NOT NULL, data blob NOT NULL, PRIMARY KEY (rule, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta (name text PRIMARY KEY, data blob NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alerts (
  number integer PRIMARY KEY AUTOINCREMENT, id text NOT NULL UNIQUE, at real NOT NULL, written integer NOT NULL,
  body blob NOT NULL);
CREATE INDEX IF NOT EXISTS alerts_unwritten ON alerts (written) WHERE written = 0;
CREATE TABLE IF NOT EXISTS deliveries (
  target text NOT NULL, number integer NOT NULL, since real NOT NULL, tries integer NOT NULL, due real NOT NULL,
  PRIMARY KEY (target, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counters (target text NOT NULL, what text NOT NULL, amount integer NOT NULL,
  PRIMARY KEY (target, what)) WITHOUT ROWID;
"""

T = TypeVar("T")


class Store:
    """Raises sqlite3.Error when the file cannot be used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._decoders: dict[type, msgspec.msgpack.Decoder[Any]] = {}
        self._encode = msgspec.msgpack.Encoder().encode
        self._objects: dict[tuple[str, str], Any] = {}
        self._dirty: dict[tuple[str, str], float] = {}
        self.db = self._open()

    def get(self, rule: str, key: str, kind: type[T]) -> T | None:
        """The object of a rule for somebody; None when there is none yet."""
        at = rule, key
        found = self._objects.get(at)
        if found is not None:
            return found  # type: ignore[no-any-return]
        row = self.db.execute("SELECT data FROM state WHERE rule = ? AND key = ?", at).fetchone()
        if row is None:
            return None
        decoder = self._decoders.get(kind)
        if decoder is None:
            decoder = self._decoders[kind] = msgspec.msgpack.Decoder(kind)
        made = self._objects[at] = decoder.decode(row[0])
        return made  # type: ignore[no-any-return]

    def put(self, rule: str, key: str, value: object, now: float) -> None:
        """Keep a new or changed object. It is written by the next commit."""
        at = rule, key
        self._objects[at] = value
        self._dirty[at] = now

    def keys(self, rule: str) -> set[str]:
        """Of every object of a rule."""
        found = {key for (key,) in self.db.execute("SELECT key FROM state WHERE rule = ?", (rule,))}
        return found | {key for name, key in self._objects if name == rule}

    @property
    def size(self) -> int:
        """Objects in memory."""
        return len(self._objects)

    def meta(self, name: str) -> bytes | None:
        row = self.db.execute("SELECT data FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def positions(self) -> dict[str, Position]:
        rows = self.db.execute("SELECT worker, segment, place, seq FROM positions")
        return {worker: Position(segment, place, seq) for worker, segment, place, seq in rows}

    def commit(
        self,
        positions: Mapping[str, Position],
        alerts: Iterable[tuple[str, float, bool, bytes, Iterable[str]]] = (),
        meta: Mapping[str, bytes] | None = None,
        now: float = 0.0,
    ) -> None:
        """All or nothing. `alerts`: id, time, whether it is to be written to our own trail, body, and targets to deliver to."""
        db, encode = self.db, self._encode
        db.execute("BEGIN IMMEDIATE")
        try:
            rows = [(rule, key, touched, encode(self._objects[rule, key])) for (rule, key), touched in self._dirty.items()]
            db.executemany("INSERT OR REPLACE INTO state VALUES (?, ?, ?, ?)", rows)
            db.executemany(
                "INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?)",
                [(worker, p.segment, p.offset, p.seq) for worker, p in positions.items()],
            )
            db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", list((meta or {}).items()))
            for uid, at, write, body, targets in alerts:
                made = db.execute(
                    "INSERT OR IGNORE INTO alerts (id, at, written, body) VALUES (?, ?, ?, ?)", (uid, at, int(not write), body)
                )
                if made.rowcount:
                    number = made.lastrowid
                    db.executemany("INSERT INTO deliveries VALUES (?, ?, ?, 0, 0)", [(t, number, now) for t in targets])
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")
        self._dirty.clear()
        if len(self._objects) > KEPT:
            for gone in list(self._objects)[: len(self._objects) - KEPT // 2]:
                del self._objects[gone]

    def forget(self, before: float, alerts_before: float) -> None:
        """Drop what has not been touched, and alerts that have been delivered, for so long (Unix time)."""
        self.db.execute("DELETE FROM state WHERE touched < ?", (before,))
        self.db.execute(
            "DELETE FROM alerts WHERE at < ? AND written = 1 AND number NOT IN (SELECT number FROM deliveries)", (alerts_before,)
        )

    def close(self) -> None:
        self.db.close()

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            event(log, "supervision_state_lost", logging.ERROR, reason=str(error))
            for suffix in ("", "-wal", "-shm"):
                path = self.path.with_name(self.path.name + suffix)
                if path.exists():
                    path.replace(path.with_name(path.name + ".damaged"))
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(self.path, timeout=5.0, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.executescript(_MAKE)
        except sqlite3.Error:
            db.close()
            raise
        return db
