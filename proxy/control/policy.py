"""The policy files: loaded as a whole, watched, and never replaced by something that does not load.

A change is taken up when the files have looked the same in two polls running, so that a file caught half-written is
not taken for a policy. A rename over the old file (what editors and configuration management do) is always safe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Generic, TypeVar

P = TypeVar("P")

Fingerprint = tuple[tuple[int, int, int] | None, ...]


class PolicyFiles(Generic[P]):
    """Finds out when to load. `load` reads the files and returns a policy, or raises with a text for a person."""

    def __init__(self, paths: Sequence[Path], load: Callable[[Sequence[Path]], P]) -> None:
        self.paths = tuple(paths)
        self._load = load
        self._polled: Fingerprint = ()
        self._settled: Fingerprint = ()
        """The fingerprint that was last looked into, loaded or refused."""
        self._content = ""

    def load(self) -> P:
        """Load now, changed or not."""
        self._polled = self._settled = self._fingerprint()
        self._content = self._digest()
        return self._load(self.paths)

    def is_due(self) -> bool:
        """Whether `load` has something new to look at: the files differ from the last time, and hold still."""
        last, self._polled = self._polled, self._fingerprint()
        if self._polled == self._settled or self._polled != last:
            return False
        self._settled = self._polled
        return self._digest() != self._content

    def _fingerprint(self) -> Fingerprint:
        return tuple(_stat(path) for path in self.paths)

    def _digest(self) -> str:
        digest = blake2b(digest_size=16)
        for path in self.paths:
            try:
                content = path.read_bytes()
            except OSError:
                content = b"\0missing"
            digest.update(len(content).to_bytes(8) + content)
        return digest.hexdigest()


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
