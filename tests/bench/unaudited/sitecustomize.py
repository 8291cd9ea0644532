"""On PYTHONPATH this makes a pgveil that leaves no records of statements: the difference to one that does is what a trail costs.

There is no such setting, and there shall be none. Everything else is as it is: metrics, alerts, records of log-ins.
"""

from __future__ import annotations

from typing import Any

from proxy import evidence, supervise


class _Silent:
    """A session's sink whose statements leave no record."""

    values = False

    def __init__(self, audit: evidence.CountingAudit, tally: Any) -> None:
        self._audit, self._tally = audit, tally

    def __getattr__(self, name: str) -> Any:
        return getattr(self._audit, name)

    def bound(self, values: object) -> None:
        return None

    def decision(self, sid: str, kind: str, plan: Any, index: int, text: str, protocol: str, binds: object = None) -> int:
        self._tally.passed(plan, index)
        return 0

    def outcome(self, seq: int, tag: str | None, rows: int, bytes_: int, seconds: float, sqlstate: str | None) -> None:
        self._tally.ended(rows, seconds, sqlstate is not None)


class _Evidence:
    """`proxy.evidence.Evidence` with such sinks."""

    def __init__(self, *arguments: Any) -> None:
        self._evidence = whole = evidence.Evidence(*arguments)
        self.secure, self.tally = whole.secure, whole.tally

    def __getattr__(self, name: str) -> Any:
        return getattr(self._evidence, name)

    def session(self, *arguments: Any) -> _Silent:
        return _Silent(self._evidence.session(*arguments), self.tally)


supervise.Evidence = _Evidence  # type: ignore[misc,assignment]
