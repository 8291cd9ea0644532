"""What the trail says, in a form that can be held against the server's counters: how many sessions and statements can have been
under way between two moments, by login and database.

A session or a statement is an interval (log-in to log-out, decision to outcome). Between the moments `i` and `j` all those count
that had begun by `j` and had not ended before `i`, each moment a little wider than it was: never fewer than the server can have
counted, and hardly more.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from proxy.audit.chain import segment_path
from proxy.audit.recover import segments_of
from proxy.audit.tail import workers_of
from proxy.completeness.snapshot import HARMLESS_KINDS, Snapshot

GRACE: Final = timedelta(seconds=3)
"""By how much a moment is widened: what the server has counted may be in the trail a moment later."""
REFUSED_BY_THE_SERVER: Final = "refused by the server"
_KIND: Final = re.compile(rb'\{"v":1,"seq":(\d+),"kind":"(\w+)","time":"([^"]+)"')
_OUTCOME: Final = re.compile(rb'"decision":(\d+),')
_CUT: Final = re.compile(rb',"sqlstate":"(?:08...|57P01|58030|53400|XX000)"')
"""How a statement ended for pgveil that the server may have carried out all the same: its client has gone, or was sent away."""
ALONE: Final = timedelta(minutes=10)
"""For how long a server may work on such a statement."""
_OPEN: Final = "9999"
"""A time after all others."""
_UNREAD: Final = frozenset({"UNREAD", "UNPARSED"})

Key = tuple[str, str]
"""Login and database, as the server calls it."""


class Intervals:
    """Counts intervals by key between any two of a few moments, without keeping the intervals."""

    def __init__(self, begins: Sequence[str], ends: Sequence[str]) -> None:
        """Of the moments, ascending: where each begins, and where it ends."""
        self._begins, self._ends = begins, ends
        self._late: dict[Key, list[int]] = {}
        self._early: dict[Key, list[int]] = {}
        self._all: dict[Key, int] = {}

    def add(self, key: Key, begin: str, end: str = _OPEN) -> None:
        if key not in self._all:
            self._all[key] = 0
            self._late[key] = [0] * (len(self._ends) + 1)
            self._early[key] = [0] * (len(self._begins) + 1)
        self._all[key] += 1
        self._late[key][bisect_left(self._ends, begin)] += 1
        self._early[key][bisect_right(self._begins, end)] += 1

    def between(self, key: Key, i: int, j: int) -> int:
        if key not in self._all:
            return 0
        return self._all[key] - sum(self._late[key][j + 1 :]) - sum(self._early[key][: i + 1])

    def __iter__(self) -> Iterator[Key]:
        return iter(self._all)


@dataclass(frozen=True, slots=True)
class _Running:
    """A statement."""

    counts: tuple[Intervals, ...]
    """Where it counts."""
    key: Key
    begin: str
    cursor: bool
    """It opens a cursor, whose query the server counts once more when it is closed."""


class Account:
    """The trail, held against some snapshots in the order of their times."""

    def __init__(self, snapshots: Sequence[Snapshot], server_database: Callable[[str], str | None]) -> None:
        begins = [_shift(s.began, -GRACE) for s in snapshots]
        ends = [_shift(s.ended, GRACE) for s in snapshots]
        self._from = begins[0]
        self.sessions = Intervals(begins, ends)
        self.logins = Intervals(begins, ends)
        """Each as one moment."""
        self.possible = Intervals(begins, ends)
        """Logins that the proxy turned away, some of them after the server had accepted them."""
        self.statements = Intervals(begins, ends)
        """Those that the server counts, if they ended well."""
        self.unread = Intervals(begins, ends)
        """Texts of which nobody knows how many statements they hold."""
        self.records = 0
        self._server_database = server_database

    def read(self, directory: Path) -> None:
        """Raises OSError, and ValueError for a line that is no record."""
        for worker in workers_of(directory):
            self._read(_lines(directory, worker))

    def _read(self, lines: Iterator[bytes]) -> None:
        sessions: dict[str, tuple[Key, str]] = {}
        running: dict[int, tuple[str, _Running]] = {}
        lasting: dict[str, list[_Running]] = {}
        """By session, what the server may count as late as its end."""
        time = ""
        for line in lines:
            head = _KIND.match(line)
            if head is None:
                raise ValueError("a line that is no record; run `pgveil audit verify`")
            kind, time = head[2], head[3].decode()
            self.records += 1
            if kind == b"outcome":
                number = _OUTCOME.search(line)
                entry = running.pop(int(number[1]), None) if number is not None else None
                if entry is None:
                    continue
                sid, known = entry
                if b',"tag":"SUSPENDED"' in line:
                    lasting.setdefault(sid, []).append(known)
                else:
                    self._ended(line, known, time, lasting.setdefault(sid, []))
            elif kind == b"decision":
                record = json.loads(line)
                found = self._decided(record, time)
                if found is None:
                    continue
                if record.get("seconds") is None:
                    running[int(head[1])] = record["session"], found
                else:
                    self._ended(line, found, time, lasting.setdefault(record["session"], []))
            elif kind in (b"login", b"logout", b"login_failed"):
                record = json.loads(line)
                self._session(kind, record, time, sessions)
                for known in lasting.pop(record["session"], ()) if kind == b"logout" else ():
                    _add(known, time)
            elif kind == b"start":
                self._over(sessions, running, lasting, time)
        self._over(sessions, running, lasting, _OPEN)

    def _ended(self, line: bytes, statement: _Running, time: str, lasting: list[_Running]) -> None:
        if b',"sqlstate":null' in line:
            _add(statement, time)
            if statement.cursor:
                lasting.append(statement)
        elif _CUT.search(line):
            _add(statement, _shift(time, ALONE))

    def _session(self, kind: bytes, record: dict[str, Any], time: str, sessions: dict[str, tuple[Key, str]]) -> None:
        key = self._key(record)
        if key is None:
            return
        if kind == b"login":
            sessions[record["session"]] = key, time
            self.logins.add(("", key[1]), time, time)
        elif kind == b"logout":
            known = sessions.pop(record["session"], None)
            if known is not None:
                self.sessions.add(*known, time)
        elif record["reason"] != REFUSED_BY_THE_SERVER:
            self.possible.add(("", key[1]), time, time)

    def _decided(self, record: dict[str, Any], time: str) -> _Running | None:
        key, kind = self._key(record), record["statement"]
        if key is None or kind in HARMLESS_KINDS or record["protocol"] == "function":
            return None
        counts = (self.statements, self.unread) if kind in _UNREAD else (self.statements,)
        if record.get("seconds"):
            time = _shift(time, -timedelta(seconds=record["seconds"]))
        return _Running(counts, key, time, kind == "DECLARE CURSOR")

    def _key(self, record: dict[str, Any]) -> Key | None:
        database = self._server_database(str(record["database"]))
        return None if database is None else (str(record["login"]), database)

    def _over(
        self,
        sessions: dict[str, tuple[Key, str]],
        running: dict[int, tuple[str, _Running]],
        lasting: dict[str, list[_Running]],
        time: str,
    ) -> None:
        """The process is gone, and what it had open with it; or the trail ends here."""
        for key, begin in sessions.values():
            self.sessions.add(key, begin, time)
        for known in (*(r for _, r in running.values()), *(r for kept in lasting.values() for r in kept)):
            _add(known, time)
        sessions.clear()
        running.clear()
        lasting.clear()


def snapshots_in(directory: Path, event: str) -> Iterator[dict[str, Any]]:
    """The details of the events of this name."""
    mark = f'"event":"{event}"'.encode()
    for worker in workers_of(directory):
        for line in _lines(directory, worker):
            if mark in line:
                record = json.loads(line)
                if record.get("event") == event:
                    yield record["detail"]


def _add(running: _Running, end: str) -> None:
    for intervals in running.counts:
        intervals.add(running.key, running.begin, end)


def _lines(directory: Path, worker: str) -> Iterator[bytes]:
    """Complete lines of a worker's segments, oldest first."""
    for number in segments_of(directory, worker):
        with open(segment_path(directory, worker, number), "rb") as file:
            yield from (line for line in file if line.endswith(b"\n"))


def _shift(time: str, by: timedelta) -> str:
    return (datetime.fromisoformat(time) + by).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
