"""Portals and cursors: queries that were decided when they were opened, and go on giving rows.

A portal cannot be opened again on the client's behalf: its parameters are the server's, and it has a place. So when what it
was decided under has changed, today's plan of its statement is compared with what the server was given. Where both are the
same text it goes on, otherwise it gives no more rows: in masked sessions because they would show too much, in clear ones because
they would be masked ones that pass for real.

Bind and DECLARE make names in one name space; FETCH and Execute both read by them. A name that neither has made can only be a
cursor that a function has opened. Its query is nobody's text, so it is good for the policy under which it was opened only.
Most of them end with their transaction; whether this one is younger than it is asked of the server.
"""

from __future__ import annotations

from typing import Final

from proxy.session import expect, gates, plans
from proxy.session import state as st
from proxy.session.renewal import STALE, outdated
from proxy.session.state import State
from proxy.session.statements import MIXED, Portal
from rewrite.plan import Effect, Plan, Refusal, StatementPlan

_CHANGED: Final = Refusal(
    "0A000", "what you may see has changed since the cursor was opened", "CLOSE the cursor and open it again."
)


_NOT_OURS: Final = Refusal(
    "0A000",
    "behind a pooler that shares server connections, only cursors that the same transaction has declared can be read",
    "DECLARE the cursor in the same transaction.",
)


def check(s: State, portal: Portal) -> bool | Refusal:
    """Before a message reads from it. False: it may. True: the message is held. Otherwise why it may not."""
    if portal.before is not None and portal.batch != s.batch and s.queue:
        return gates.wait(s, st.DRAIN)  # whether its Bind has succeeded is still to be told
    record = portal.record
    refusal = _CHANGED if portal.cursor else STALE
    if portal.holds and portal.era != s.era:
        return refusal
    if portal.stamp == s.stamp:
        return False
    if record is None or portal.stamp == MIXED:
        return refusal
    if portal.view_stamp == s.view_stamp and all(map(_is_read_when_opened, record.plan.statements)):
        portal.stamp = s.stamp
        return False
    answer = outdated(s, record)
    if answer is False:
        portal.stamp = s.stamp
        portal.view_stamp = s.view_stamp
    return refusal if isinstance(answer, Plan) or answer is STALE else answer


def _is_read_when_opened(statement: StatementPlan) -> bool:
    """A query that the server does not read again when its portal is executed, and that stores nothing anywhere."""
    return statement.kind in ("SELECT", "DECLARE CURSOR") and not statement.effects & (Effect.WRITES | Effect.RESOLUTION)


def check_fetches(s: State, plan: Plan) -> bool | Refusal:
    """The same for the statements of a text that read from cursors."""
    opened = set()
    for statement in plan.statements:
        name = statement.cursor
        if name is None:
            continue
        if statement.effects & Effect.OPENS:
            opened.add(name)
        elif statement.effects.value & plans.FETCHES and name not in opened:
            portal = s.statements.portals.get(s.sql_name(name))
            answer = check(s, portal) if portal is not None else unknown_cursor(s, name)
            if answer is not False:
                return answer
    return False


def unknown(s: State, name: bytes) -> bool | Refusal:
    """Before an Execute of a name that no Bind and no DECLARE has made."""
    if not s.era or _is_refused(s):
        return False
    shown = name.decode(s.codec or "ascii", "replace")
    return unknown_cursor(s, shown)


def _is_refused(s: State) -> bool:
    """A message before in the same batch is refused: the server will skip this one."""
    for entry in reversed(s.queue):
        if entry.kind in (expect.SYNC, expect.QUERY, expect.REFUSED_QUERY):
            return False
        if entry.kind == expect.REFUSED:
            return True
    return False


def unknown_cursor(s: State, name: str) -> bool | Refusal:
    """Before a cursor is read that no DECLARE has opened: a function may have."""
    if not s.masked or not s.era:
        return False
    if s.transient:
        return _NOT_OURS
    if s.era_in_tx:
        return _CHANGED
    if s.held_cursors is None:
        if s.probe_error is not None:
            return s.probe_error
        return gates.ask_server(s)
    return _CHANGED if name in s.held_cursors else False
