"""An alert that the auditor raises or passes on: what it says, to people and to machines. It never holds data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

SEVERITIES = ("info", "warning", "critical")


@dataclass(frozen=True, slots=True)
class Alarm:
    name: str
    """Of the policy's alert; `trail` and `clock` are the auditor's own."""
    kind: str
    severity: str
    at: float
    per: str
    key: str
    """Whom it is about: a user, an address, a database or an application."""
    amount: int
    text: str
    """What happened, in plain English."""
    first: str
    last: str
    """The records that show it, as worker#seq."""
    facts: Mapping[str, str | int | float] = field(default_factory=dict)
    """The numbers in it: threshold, usual …"""
    raised_by: str = "auditor"
    """Or `proxy`, which has logged and recorded it already."""
    held: bool = False
    """One of so many that it is recorded, and not delivered."""

    @property
    def id(self) -> str:
        """The same alert has the same one, however often it is raised or delivered."""
        said = "\0".join((self.name, self.key, self.first, self.last, self.raised_by, str(self.amount), self.text))
        return hashlib.blake2b(said.encode("utf-8", "backslashreplace"), digest_size=12).hexdigest()

    @property
    def time(self) -> str:
        return datetime.fromtimestamp(self.at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def detail(self) -> dict[str, object]:
        """As the trail, webhooks and commands have it."""
        return {
            "id": self.id, "alert": self.name, "on": self.kind, "severity": self.severity, "time": self.time, "per": self.per,
            self.per: self.key, "count": self.amount, "text": self.text, **self.facts, "first": self.first, "last": self.last,
            "raised_by": self.raised_by,
        }  # fmt: skip

    def body(self) -> bytes:
        return json.dumps(self.detail(), ensure_ascii=True).encode()
