"""How a refusal leaves the passes over a statement: an exception inside one planning run; the planner makes a Plan of it."""

from __future__ import annotations

from rewrite.plan import Need, Plan, Refusal


class Refused(Exception):
    """Raised inside one planning run; the planner turns it into a Plan."""

    def __init__(self, refusal: Refusal | None, need: Need | None = None) -> None:
        super().__init__(refusal.message if refusal else str(need))
        self.refusal = refusal
        self.need = need or Need(0)
        self.before: Plan | None = None
        """How the statements of the text run that come before."""


def refuse(sqlstate: str, message: str, hint: str | None = None) -> Refused:
    return Refused(Refusal(sqlstate, message, hint))
