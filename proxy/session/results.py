"""Descriptions of results: what the guard makes of them, and what the client thereby knows of a statement.

Each RowDescription passes `guard.judge` once per stamp; its bytes are remembered together with its shape, so that the
thousandth execution costs one look-up. When the guard stops a result, the client gets our error in its place and sees
nothing of whatever else the batch brings.
"""

from __future__ import annotations

from typing import Final

from proxy.session import expect, guard, poison, refusing, renewal
from proxy.session import state as st
from proxy.session.asides import ServerViolation, body
from proxy.session.expect import Expected
from proxy.session.state import State
from proxy.wire import codec

_KNOWN_MAX: Final = 512
_KNOWN_SIZE: Final = 8192
"""Longest description that is remembered, in bytes."""


def look(s: State, fresh: int = 0) -> bytes | guard.Trip:
    """The shape of the server's current RowDescription, or why it must not be shown. `fresh`: see `guard.judge`."""
    data = body(s)
    found = s.judged.get(data)
    if found is not None:
        return found
    fields = codec.decode_row_description(data)
    if s.masked:
        view = s.view or s.refresh_view()
        own = s.temp_oids | s.altered if s.altered else s.temp_oids
        trip = guard.judge(fields, view.catalog, view.profile, own, fresh)
        if trip is not None:
            return trip
    shape = renewal.shape(fields)
    if len(data) <= _KNOWN_SIZE and not fresh and not s.altered:
        if len(s.judged) >= _KNOWN_MAX:
            s.judged.clear()
        s.judged[data] = shape
    return shape


def on_parameters(s: State, head: Expected) -> None:
    """ParameterDescription: the row description is still to come."""
    if head.swallow:
        s.mute()
        if head.last:
            renewal.compare_inputs(head, body(s))
    elif head.record is not None:
        head.record.inputs = body(s)
        head.record.known_under = renewal.known_under(s)


def on_no_rows(s: State, head: Expected) -> None:
    _described(s, head, renewal.NO_ROWS)


def on_description(s: State, head: Expected) -> None:
    """RowDescription as the reply to Describe."""
    found = look(s) if not _is_exempt(head) else renewal.shape(codec.decode_row_description(body(s)))
    if isinstance(found, bytes):
        _described(s, head, found)
        return
    if head.last:
        s.wait = st.NOTHING
    report(s, found)
    s.instead(poison.error(found.refusal, s.codec))
    s.pop()
    _stop_batch(s, found)


def _described(s: State, head: Expected, shape: bytes) -> None:
    record = head.record
    if head.swallow:
        s.mute()
        if head.last:
            renewal.compare(s, head, shape)
    elif record is not None:
        record.shape = shape
        if s.transient:
            record.known_under = renewal.known_under(s)
    if record is not None:
        record.judged = True
    s.pop()


def on_result(s: State, head: Expected) -> None:
    """RowDescription in a simple query."""
    if head.behind and head.index >= head.behind and not head.failed:
        raise ServerViolation("a statement that must fail has given a result")
    if head.tripped:
        s.mute()
    elif s.masked and not _is_exempt(head) and isinstance(trip := look(s, _fresh(head)), guard.Trip):
        report(s, trip)
        s.instead(poison.error(trip.refusal, s.codec))
        s.abandon(head, trip.refusal.sqlstate)
        head.tripped = head.failed = True


def _is_exempt(head: Expected) -> bool:
    """The statement is one that could not be read and that `on_failure` lets pass. What its result looks like is not remembered:
    that of another statement may look the same."""
    plan = head.record.plan if head.record is not None else head.plan
    return plan is not None and plan.failure is not None


def _fresh(head: Expected) -> int:
    statements = head.plan.statements if head.plan is not None else ()
    return statements[head.index].fresh if head.index < len(statements) else 0


def report(s: State, trip: guard.Trip) -> None:
    s.audit.event("guard", {"sid": s.sid, "table": trip.table, "attnum": trip.attnum, "unknown": trip.unknown})
    s.evidence = True
    if trip.unknown:
        s.ddl = True
        s.ddl_unread = True
        s.gate |= st.DDL


def _stop_batch(s: State, trip: guard.Trip) -> None:
    for entry in s.queue:
        if entry.kind == expect.SYNC and not entry.maybe:
            entry.tripped = True
            return
        s.abandon(entry, trip.refusal.sqlstate)
        entry.swallow = entry.tripped = True
        entry.decided = ()
        entry.record = None
    if not s.between:
        s.end(trip.refusal)
        return
    s.gate |= st.SKIPPING
    s.tripped_batch = True
    data, provokes = refusing.poison_for(s, expect.BIND)
    s.to_server.append(data)
    entry = Expected(expect.REFUSED)
    entry.swallow = True
    entry.replace = b""
    entry.align = True
    entry.provokes = provokes
    s.queue.append(entry)
