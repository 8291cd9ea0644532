"""Where a sink without a memory of its own goes on: a small file, replaced as a whole."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from proxy.audit.follow import Position


class Places:
    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[str, Position]:
        """Empty when there is no file. Raises ValueError for one that cannot be read, OSError."""
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        try:
            return {worker: Position(*map(int, place)) for worker, place in json.loads(text).items()}
        except (ValueError, TypeError, AttributeError):
            raise ValueError(f"{self._path} is not what was written there") from None

    def write(self, places: Mapping[str, Position]) -> None:
        """Raises OSError; the old file is there then."""
        text = json.dumps({worker: [p.segment, p.offset, p.seq] for worker, p in places.items()})
        new = self._path.with_suffix(".new")
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, text.encode())
            os.fsync(fd)
        finally:
            os.close(fd)
        new.replace(self._path)
