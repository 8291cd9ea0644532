"""A text that passes in pieces because it is too long to be held (`session.unread` says when)."""

from __future__ import annotations

from typing import Final

from proxy.session.effects import TextDigest
from rewrite.plan import EVERYTHING, Plan, StatementPlan, Verdict

_STATEMENTS: Final = (StatementPlan("UNREAD", effects=EVERYTHING),)


class Unread:
    """A text that is passing."""

    def __init__(self, name: bytes, digest: TextDigest) -> None:
        self.name = name
        """Of the statement, if it comes in a Parse."""
        self.digest = digest
        self.size = 0
        self.over = False
        """The text has ended; what follows of the message is something else."""

    def feed(self, data: bytes) -> None:
        if self.over:
            return
        end = data.find(0)
        if end >= 0:
            data = data[:end]
            self.over = True
        self.digest.update(data)
        self.size += len(data)

    def plan(self) -> Plan:
        return Plan(Verdict.PASS, "", _STATEMENTS, digest=self.digest.hexdigest())

    @property
    def note(self) -> str:
        """What stands in the record for the text."""
        return f"({self.size} bytes)"
