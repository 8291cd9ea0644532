"""How a refusal leaves the passes over a statement: an exception inside one planning run; the planner makes a Plan of it."""

from __future__ import annotations

from rewrite.plan import Need, Refusal


class Refused(Exception):
    """Raised inside one planning run; the planner turns it into a Plan."""

    def __init__(self, refusal: Refusal | None, need: Need | None = None) -> None:
        super().__init__(refusal.message if refusal else str(need))
        self.refusal = refusal
        self.need = need or Need(0)


def refuse(sqlstate: str, message: str, hint: str | None = None) -> Refused:
    return Refused(Refusal(sqlstate, message, hint))
