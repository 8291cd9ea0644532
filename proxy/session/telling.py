"""The one notice of a session: the first result with something masked says so, and where to learn more.

It stands in front of the CommandComplete of that result, where the server's own notices stand.
"""

from __future__ import annotations

from typing import Final

from proxy.session.expect import Expected
from proxy.session.state import State
from proxy.wire import codec
from rewrite.plan import Plan

_MASKED: Final = codec.encode_notice(
    (
        ("S", b"NOTICE"),
        ("V", b"NOTICE"),
        ("C", b"00000"),
        ("M", b"pgveil: some of what this result shows is masked"),
        ("H", b"SHOW veil.access lists what you see of each column, SHOW veil.why explains the last statement."),
    )
)
_SYSTEM: Final = ("pg_catalog.", "information_schema.")


def tell(s: State, entry: Expected) -> None:
    """Before `conclude`, at the server's CommandComplete or PortalSuspended of the entry's statement."""
    view, plan = s.view, entry.plan
    if plan is None or not entry.rows or view is None or not view.profile.notice or not _is_masked(plan, entry.index):
        return
    s.untold = False
    s.precede(_MASKED)


def _is_masked(plan: Plan, index: int) -> bool:
    if index >= len(plan.statements):
        return False
    return any(
        t.use == "output" and t.show not in ("clear", "deny") and not t.relation.startswith(_SYSTEM)
        for t in plan.statements[index].touches
    )
