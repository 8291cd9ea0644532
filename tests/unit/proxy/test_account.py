"""What the trail says the server has counted."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.completeness.trail import ALONE, Account


def line(seq: int, kind: str, minute: int, **fields: Any) -> bytes:
    begin = {"v": 1, "seq": seq, "kind": kind, "time": f"2026-01-01T10:{minute:02}:00.000000Z", "session": "s"}
    return json.dumps({**begin, **fields}, separators=(",", ":")).encode() + b"\n"


def trail(merged: bool, sqlstate: str | None) -> list[bytes]:
    decision = {"login": "u", "database": "d", "protocol": "simple", "statement": "INSERT"}
    result = {"tag": None if sqlstate else "INSERT 0 1", "rows": 0, "bytes": 0, "seconds": 60.0, "sqlstate": sqlstate}
    if merged:
        return [line(1, "decision", 2, **decision, **result)]
    return [line(1, "decision", 1, **decision, **dict.fromkeys(result)), line(2, "outcome", 2, decision=1, **result)]


@pytest.mark.parametrize("merged", [True, False])
@pytest.mark.parametrize(
    ("sqlstate", "minutes"),
    [(None, {1, 2}), ("23505", set()), ("57014", set()), *((s, {*range(1, 13)}) for s in ("08006", "57P01", "58030", "53400"))],
)
def test_when_a_statement_may_have_been_counted(merged: bool, sqlstate: str | None, minutes: set[int]) -> None:
    assert ALONE.total_seconds() == 600
    moments: Any = [
        SimpleNamespace(began=f"2026-01-01T10:{m:02}:{s}.000000Z", ended=f"2026-01-01T10:{m:02}:{s}.000000Z")
        for m in range(30)
        for s in (10, 50)
    ]
    account = Account(moments, lambda name: name)
    account._read(iter([line(0, "start", 0), *trail(merged, sqlstate), line(9, "logout", 20, login="u", database="d")]))
    between = {m for m in range(1, 30) if account.statements.between(("u", "d"), 2 * m - 1, 2 * m)}
    assert between == minutes
