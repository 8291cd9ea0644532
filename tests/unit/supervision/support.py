"""Builds records of a trail and shows them to an engine."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from policies.language import Alert
from proxy.supervision.alarm import Alarm
from proxy.supervision.engine import Engine
from proxy.supervision.state import Store
from tests.unit.policies.support import policy

HEAD = (
    "version: 1\nclasses: { phone: { level: C2, mask: null }, card: { level: C3, mask: null } }\n"
    "columns: { b.c.phone: phone, b.c.card: card }\n"
)
BEGIN = datetime(2026, 3, 2, 1, tzinfo=UTC).timestamp()
"""A Monday; 9 in Shanghai."""
DAY = 86400.0
HOUR = 3600.0
PHONE = {"relation": "b.c", "column": "phone", "class": "phone", "level": "C2", "use": "output", "show": "clear", "rule": "r"}
CARD = {**PHONE, "column": "card", "class": "card", "level": "C3"}
FILTER = {**PHONE, "use": "filter", "show": "mask"}


def alerts_of(text: str) -> tuple[Alert, ...]:
    return policy(f"{HEAD}alerts: [{text}]").alerts


def digest(value: object) -> str:
    return f"{hash(('v', value)) & 0xFFFFFFFFFFFFFFFF:016x}"


class Trail:
    """An engine, and what happened, one record after the other."""

    def __init__(self, directory: Path, *alerts: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.store = Store(directory / "state.sqlite")
        self.engine = Engine(self.store, alerts_of(", ".join(alerts)))
        self.seq = 0
        self.as_one = False

    def line(self, at: float, kind: str, worker: str = "main", **fields: Any) -> bytes:
        self.seq += 1
        moment = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        record = {"v": 1, "seq": self.seq, "kind": kind, "time": moment, "worker": worker, **fields, "mac": "0" * 64}
        return json.dumps(record).encode()

    def feed(self, at: float, kind: str, worker: str = "main", **fields: Any) -> int:
        self.engine.feed(worker, self.line(at, kind, worker, **fields))
        return self.seq

    def did(
        self, at: float, user: str = "u", touches: list[dict[str, Any]] | None = None, rows: int = 1, values: Any = (),
        tag: str | None = "SELECT", **fields: Any,
    ) -> None:  # fmt: skip
        """A decision and its outcome: in one record, and in two, by turns."""
        who = {
            "login": user,
            "person": user,
            "client": "10.0.0.1",
            "application": "app",
            "roles": [user, "staff"],
            "asserted": {},
        }
        who |= {"touches": [PHONE] if touches is None else touches, "values": [digest(v) for v in values], **fields}
        self.as_one = not self.as_one
        if self.as_one:
            self.feed(at, "decision", **who, tag=tag, rows=rows)
        else:
            seq = self.feed(at, "decision", **who, tag=None, rows=None)
            self.feed(at + 0.01, "outcome", decision=seq, tag=tag, rows=rows)

    def login(self, at: float, user: str = "u", client: str = "10.0.0.1", application: str = "app", kind: str = "login") -> None:
        self.feed(at, kind, login=user, person=user, client=client, application=application, roles=[user])

    def told(self) -> list[Alarm]:
        out, self.engine.alarms = self.engine.alarms, []
        return out

    def names(self) -> list[tuple[str, str, int]]:
        return [(a.name, a.key, a.amount) for a in self.told()]
