"""On PYTHONPATH this makes a pgveil that leaves no records of statements, and whose data waits for none: the difference to one
that does is what a trail costs.

There is no such setting, and there shall be none. Everything else is as it is: metrics, alerts, records of log-ins.
"""

from __future__ import annotations

from typing import Any

from proxy import server, supervise
from proxy.evidence import Evidence
from proxy.session.machine import Session
from proxy.transport import Link


class _Silent:
    """A session's sink whose statements leave no record."""

    values = False

    def __init__(self, audit: Any, tally: Any) -> None:
        self._audit, self._passed, self._ended = audit, tally.passed, tally.ended

    def __getattr__(self, name: str) -> Any:
        return getattr(self._audit, name)

    def bound(self, values: object) -> None:
        return None

    def decision(self, sid: str, kind: str, plan: Any, index: int, text: str, protocol: str, binds: object = None) -> int:
        self._passed(plan, index)
        return 0

    def outcome(self, seq: object, tag: str | None, rows: int, bytes_: int, seconds: float, sqlstate: str | None) -> None:
        self._ended(rows, seconds, sqlstate is not None)


def _evidence(*arguments: Any) -> Evidence:
    """A process has one."""
    evidence = Evidence(*arguments)

    def session(identity: Any, authority: Any, audit: Any, options: Any) -> Session:
        return Session(identity, authority, _Silent(audit, evidence.tally), options)

    server.Session = session  # type: ignore[misc,assignment]
    return evidence


class _Server(server.Server):
    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.on_evidence = Link.deliver


supervise.Evidence = _evidence  # type: ignore[misc,assignment]
supervise.Server = _Server  # type: ignore[misc]
