"""On PYTHONPATH this makes a pgveil that leaves no records of statements: the difference to one that does is what a trail costs.

There is no such setting, and there shall be none.
"""

from __future__ import annotations

from proxy.audit import sink


def _decision(*arguments: object, **named: object) -> int:
    return 0


def _nothing(*arguments: object, **named: object) -> None:
    return None


sink.SessionAudit.decision = _decision  # type: ignore[method-assign,assignment]
sink.SessionAudit.outcome = _nothing  # type: ignore[method-assign,assignment]
sink.DecisionEncoder.bound = _nothing  # type: ignore[method-assign,assignment]
