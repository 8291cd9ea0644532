"""A small trail of the made-up bank in several segments of two workers, its index, and the same records as plain Python."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from proxy.inquiry.index import Index
from tests.trail.make import Trail

KEY = bytes(range(32))


@dataclass(frozen=True)
class Made:
    directory: Path
    key_file: Path
    index: Index
    records: list[dict[str, Any]]

    @property
    def decisions(self) -> list[dict[str, Any]]:
        """With their outcomes added up, as the views have them."""
        results: dict[tuple[str, int], list[dict[str, Any]]] = {}
        for r in self.records:
            if r["kind"] == "outcome":
                results.setdefault((r["worker"], r["decision"]), []).append(r)
        out = []
        for r in self.records:
            if r["kind"] in ("decision", "refused"):
                found = results.get((r["worker"], r["seq"]), [r] if r.get("seconds") is not None else [])
                rows = sum(x["rows"] for x in found) if found else None
                out.append({**r, "rows": rows, "sqlstate": found[-1]["sqlstate"] if found else None})
        return out


def read(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(directory.glob("audit-*.jsonl")) for line in path.read_bytes().splitlines()]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    where = tmp_path_factory.mktemp("inquiry")
    for worker in ("w1", "w2"):
        Trail(where / "trail", worker, KEY, 5000, days=60, segment_bytes=500_000).write()
    key_file = where / "audit.key"
    key_file.write_text(KEY.hex() + "\n")
    key_file.chmod(0o600)
    index = Index(where / "trail", where / "index")
    index.update()
    return Made(where / "trail", key_file, index, read(where / "trail"))
