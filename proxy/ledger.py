"""What people have looked for in masked columns (`filters: equality`), counted over all workers of a proxy.

Shared memory that the parent of the workers makes and they inherit: a hash table of fixed size. An entry says that somebody
(a digest of person, database and column) has looked for some value (a digest) at some time. The key of both digests is made at
the start and is in that memory only; values are never kept. An entry counts for an hour. When the table is full of entries that
count, nothing more may be looked for.

One lock of the file guards it; the system frees it when a process dies. An entry is complete before it is linked to, so a process
that is killed on the way loses at most its own entry, until the table is swept.
"""

from __future__ import annotations

import fcntl
import math
import mmap
import os
import secrets
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from struct import Struct
from typing import Final

HOUR: Final = 3600.0
PATIENCE: Final = 0.25
"""Seconds to wait for the lock."""
ENTRIES: Final = 1 << 18
_HEADS: Final = 1 << 16
_KEY: Final = 32
_header = Struct("<32sII")
"""Key of the digests, entries ever used, first of the free ones."""
_head = Struct("<I")
_entry = Struct("<Id16s16s")
"""Number of the next entry of the chain (0: none), time, whose, which value. Entries are numbered from 1."""


class Ledger:
    """Counts synchronously: some microseconds for an entry."""

    def __init__(self, fd: int, entries: int = ENTRIES, heads: int = _HEADS) -> None:
        """On memory that `create` has made with the same sizes; the descriptor is taken over."""
        self.fd = fd
        self._entries = entries
        self._heads = heads
        self._first = _header.size + heads * _head.size
        self._map = mmap.mmap(fd, self._first + entries * _entry.size)
        self._digest_key: bytes = _header.unpack_from(self._map, 0)[0]

    @classmethod
    def create(cls, entries: int = ENTRIES, heads: int = _HEADS) -> Ledger:
        """New and empty. The system gives memory for what is used only."""
        if hasattr(os, "memfd_create"):
            fd = os.memfd_create("pgveil-probes")
        else:
            with tempfile.TemporaryFile() as file:
                fd = os.dup(file.fileno())
        os.ftruncate(fd, _header.size + heads * _head.size + entries * _entry.size)
        os.pwrite(fd, _header.pack(secrets.token_bytes(_KEY), 0, 0), 0)
        return cls(fd, entries, heads)

    def close(self) -> None:
        self._map.close()
        os.close(self.fd)

    def spend(self, person: str, column: str, values: Sequence[str], limit: int, now: float) -> float | None:
        """As `proxy.session.effects.Probes` says. `column` names the database too."""
        whose = self._digest(b"whose", person, column)
        wanted = {self._digest(whose, value) for value in values}
        if not wanted:
            return None
        with self._locked() as locked:
            if not locked:
                return now + PATIENCE
            times = []
            for _, when, value in self._mine(whose, now):
                times.append(when)
                wanted.discard(value)
            excess = len(times) + len(wanted) - limit
            if not wanted:
                return None
            if excess > 0:
                return sorted(times)[excess - 1] + HOUR if excess <= len(times) else math.inf
            if not self._has_room(len(wanted), now):
                return now + HOUR
            for value in sorted(wanted):
                self._add(whose, value, now)
        return None

    def _digest(self, salt: bytes, *parts: str) -> bytes:
        out = blake2b(key=self._digest_key, digest_size=16)
        for part in (salt, *(p.encode("utf-8", "surrogatepass") for p in parts)):
            out.update(len(part).to_bytes(8, "big") + part)
        return out.digest()

    @contextmanager
    def _locked(self) -> Iterator[bool]:
        """False when somebody has held the lock for too long: a process that was stopped within those microseconds."""
        until = time.monotonic() + PATIENCE
        while not self._lock():
            if time.monotonic() >= until:
                yield False
                return
            time.sleep(0.0005)
        try:
            yield True
        finally:
            fcntl.lockf(self.fd, fcntl.LOCK_UN)

    def _lock(self) -> bool:
        try:
            fcntl.lockf(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def _place_of_head(self, whose: bytes) -> int:
        return _header.size + int.from_bytes(whose[:4], "little") % self._heads * _head.size

    def _place(self, number: int) -> int:
        return self._first + (number - 1) * _entry.size

    def _mine(self, whose: bytes, now: float) -> Iterator[tuple[int, float, bytes]]:
        """The entries of that digest that count; those of its chain that do not are taken out."""
        link = self._place_of_head(whose)
        """Where the number of the next entry stands."""
        number = _head.unpack_from(self._map, link)[0]
        for _ in range(self._entries):
            if not number:
                return
            place = self._place(number)
            following, when, who, value = _entry.unpack_from(self._map, place)
            if when <= now - HOUR:
                _head.pack_into(self._map, link, following)
                self._free(number)
            else:
                link = place
                if who == whose:
                    yield number, when, value
            number = following

    def _counts(self) -> tuple[int, int]:
        _, used, free = _header.unpack_from(self._map, 0)
        return used, free

    def _free(self, number: int) -> None:
        used, free = self._counts()
        _head.pack_into(self._map, self._place(number), free)
        _header.pack_into(self._map, 0, self._digest_key, used, number)

    def _has_room(self, count: int, now: float) -> bool:
        if self._available(count):
            return True
        self._sweep(now)
        return self._available(count)

    def _available(self, count: int) -> bool:
        used, free = self._counts()
        found = self._entries - used
        while free and found < count:
            found += 1
            free = _head.unpack_from(self._map, self._place(free))[0]
        return found >= count

    def _add(self, whose: bytes, value: bytes, now: float) -> None:
        used, free = self._counts()
        if free:
            number, free = free, _head.unpack_from(self._map, self._place(free))[0]
        else:
            number, used = used + 1, used + 1
        _header.pack_into(self._map, 0, self._digest_key, used, free)
        head = self._place_of_head(whose)
        first = _head.unpack_from(self._map, head)[0]
        _entry.pack_into(self._map, self._place(number), first, now, whose, value)
        _head.pack_into(self._map, head, number)

    def _sweep(self, now: float) -> None:
        """Make the table anew of the entries that count."""
        kept = []
        linked = set()
        for head in range(self._heads):
            number = _head.unpack_from(self._map, _header.size + head * _head.size)[0]
            while number and number not in linked:
                linked.add(number)
                number, when, whose, value = _entry.unpack_from(self._map, self._place(number))
                if when > now - HOUR:
                    kept.append((whose, value, when))
        self._map[_header.size : self._first] = bytes(self._first - _header.size)
        _header.pack_into(self._map, 0, self._digest_key, 0, 0)
        for whose, value, when in kept:
            self._add(whose, value, when)
