"""Statements that pgveil cannot read, of logins that the policy's `on_failure` names: they go upstream as they came.

`State.plan` makes the plan (`Plan.failure` says why the statement would have been refused). One statement is exempt, and exactly
that one: its result passes the guard unseen and unremembered, its decision record says `on_failure: clear`. What it has done at
the server nobody knows, so from the moment it is sent nothing that was known before is relied on:

* how names resolve, settings, who the session acts for, the catalog: asked again before the next statement (its effects);
* prepared statements: prepared again before they are used, those of SQL's PREPARE refused: the text may have made others of the
  same name;
* portals and cursors: they give no more rows, for the same reason. A cursor that the text has opened gives none either.

A text in an encoding that cannot be read is not kept: once something else has changed, it has to be sent again.
"""

from __future__ import annotations

from dataclasses import replace

from proxy.session.state import State
from proxy.session.statements import MIXED, Portal, Record
from rewrite.plan import UNPARSED, Plan, Refusal, Verdict


def unreadable(s: State, text: str, why: Refusal) -> Plan | None:
    """The plan of a text that cannot be read, where it may pass; None: it is refused. `text` is for the record."""
    if not is_exempt(s, why):
        return None
    return Plan(Verdict.PASS, text, UNPARSED, refusal=why, failure=why)


def before(s: State, plan: Plan) -> Refusal | None:
    """Before such a statement goes upstream: counts it. Why it may not go after all: there were too many."""
    view = s.view or s.renew_view()
    meter, exemption, why = s.options.meter, view.profile.exemption, plan.failure
    if exemption is None or why is None:
        return why
    if meter is not None and not meter.let_through(s.identity, exemption):
        return replace(why, hint="on_failure has let as many such statements pass as it may, for the time being.")
    return None


def is_exempt(s: State, why: Refusal) -> bool:
    view = s.view or s.renew_view()
    return why.failure and view.profile.exemption is not None


def doubt(s: State, record: Record | None = None, portal: Portal | None = None) -> None:
    """It goes upstream now. `record` and `portal` are its own: whatever takes their place is flagged as they are."""
    s.been_clear = True
    s.era += 1
    s.era_in_tx = True
    s.held_cursors = None
    for slot in s.statements.slots.values():
        for known in slot.candidates():
            if known is not record:
                known.link = -1
                known.stamp = MIXED
        slot.refresh()
    for other in s.statements.every_portal():
        if other is not portal:
            other.stamp = MIXED
            other.record = None
