"""The server's half of the session: what happens to each message the server sends.

REPLIES is the table of the machine: (kind of the entry at the head of the queue, tag of the message) → handler. A pair
that is not in it is a server out of step, and the session ends rather than guess. ASYNC holds the messages that may
come at any time. A message is relayed as it is unless its handler mutes or replaces it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from proxy.session import auth, expect, guard, plans, poison, probe, scrub
from proxy.session import state as st
from proxy.session.expect import Expected
from proxy.session.state import State
from proxy.wire import codec, startup, tags
from rewrite.plan import Refusal


class ServerViolation(Exception):
    """The server said something that does not follow from what it was asked."""


Handler = Callable[[State, Expected], None]


def _pop(s: State) -> None:
    s.queue.popleft()
    if s.queue and s.queue[0].kind == expect.COPY_END:
        _trim(s)


def _trim(s: State) -> None:
    """CopyDone and CopyFail that no copy has taken are ignored by the server."""
    queue = s.queue
    while queue and queue[0].kind == expect.COPY_END:
        queue.popleft()


def _body(s: State) -> bytes:
    scan = s.server
    return scan.buf[scan.body : scan.end]


# Replies in the extended protocol.


def on_done(s: State, head: Expected) -> None:
    """BindComplete."""
    if head.swallow:
        s.mute()
    _pop(s)


def on_parsed(s: State, head: Expected) -> None:
    if head.swallow:
        s.mute()
    elif head.slot is not None and head.record is not None:
        head.slot.confirm(head.record)
        head.slot = None
    _pop(s)


def on_closed(s: State, head: Expected) -> None:
    if head.swallow:
        s.mute()
        if head.last:
            s.wait = st.NOTHING
    elif head.slot is not None:
        head.slot.close()
        s.statements.tidy(head.slot)
    _pop(s)


def on_parameters(s: State, head: Expected) -> None:
    """ParameterDescription: the row description is still to come."""
    if head.swallow:
        s.mute()


def on_no_rows(s: State, head: Expected) -> None:
    if head.swallow:
        s.mute()
    if head.record is not None:
        head.record.judged = True
    _pop(s)


def on_description(s: State, head: Expected) -> None:
    """RowDescription as the reply to Describe."""
    if s.masked and (trip := _judge(s)) is not None:
        _trip_batch(s, head, trip)
        return
    if head.swallow:
        s.mute()
    if head.record is not None:
        head.record.judged = True
    _pop(s)


def on_rows(s: State, head: Expected) -> None:
    """A run of DataRow or CopyData, or a piece of one."""
    scan = s.server
    if head.swallow or head.tripped:
        s.mute()
        if head.probe:
            if len(s.probe_answer) + scan.end - scan.start > probe.MAX_ANSWER:
                raise ServerViolation("the server's answer about name resolution is too long")
            s.probe_answer += scan.buf[scan.start : scan.end]
        return
    head.rows += scan.count
    head.bytes += scan.end - scan.start


def on_execute_done(s: State, head: Expected) -> None:
    """CommandComplete of an Execute."""
    tag = _tag(s)
    if head.swallow:
        s.mute()
        if head.probe:
            _answered(s)
    if head.changes:
        _settle_effects(s, head, tag)
    s.conclude(head, tag)
    if head.copying:
        _copy_over(s)
    _pop(s)


def on_suspended(s: State, head: Expected) -> None:
    if head.swallow:
        s.mute()
    s.conclude(head, "SUSPENDED")
    _pop(s)


def on_empty(s: State, head: Expected) -> None:
    if head.swallow or head.tripped:
        s.mute()
    s.conclude(head, "")
    if head.kind == expect.EXECUTE:
        _pop(s)


# Simple queries.


def on_result(s: State, head: Expected) -> None:
    """RowDescription in a simple query."""
    if head.tripped:
        s.mute()
    elif s.masked and (trip := _judge(s)) is not None:
        _report_trip(s, trip)
        s.instead(poison.error(trip.refusal, s.codec))
        s.abandon(head, trip.refusal.sqlstate)
        head.tripped = head.failed = True


def on_query_part(s: State, head: Expected) -> None:
    """CommandComplete of one statement of a simple query."""
    tag = _tag(s)
    if head.changes:
        _settle_effects(s, head, tag)
    if head.tripped:
        s.mute()
        return
    s.conclude(head, tag)
    if head.copying:
        head.copying = False
        _copy_over(s)


def on_mutable(s: State, head: Expected) -> None:
    """Messages within a result that carry nothing for us: CopyOutResponse, CopyDone, FunctionCallResponse."""
    if head.swallow or head.tripped:
        s.mute()


def on_copy_in(s: State, head: Expected) -> None:
    """The server now reads CopyData; it swallows Syncs sent before CopyDone or CopyFail, unless the copy fails first."""
    head.copying = True
    s.spare = 0
    queue = s.queue
    for place in range(1, len(queue)):
        entry = queue[place]
        if entry.kind == expect.COPY_END:
            del queue[place]
            return
        if entry.kind != expect.SYNC:
            return
        entry.maybe = True
    s.gate |= st.COPY_IN


def _copy_over(s: State) -> None:
    """The copy has ended well: it has swallowed every Sync that came before CopyDone."""
    queue = s.queue
    while len(queue) > 1 and queue[1].maybe:
        del queue[1]


# ReadyForQuery.


def on_ready(s: State, head: Expected) -> None:
    status = codec.decode_ready(_body(s))
    queue = s.queue
    _pop(s)
    s.tx = status
    while head.index < len(head.seqs):
        s.conclude(head, "")
    if head.changes & plans.DDL:
        s.ddl_over(head, not head.failed)
    if s.tx_ddl and status == tags.IDLE and not queue:
        s.tx_ddl = False
        if head.kind == expect.SYNC:  # the batch with the DDL has only now been committed
            s.ddl = True
            s.ddl_unread = s.masked
            if s.masked:
                s.gate |= st.DDL
    if head.swallow:
        s.mute()
        if head.last:
            s.wait = st.NOTHING
    elif head.tripped and status == tags.IN_TRANSACTION and not queue and not s.batch_open:
        s.mute()
        entry = Expected(expect.REFUSED_QUERY)
        entry.align = True
        entry.replace = b""
        entry.provokes = b"42601"
        queue.append(entry)
        s.to_server.append(poison.BY_KIND[expect.QUERY][0])
        return
    if not queue and not s.batch_open:
        s.gate &= ~st.UNSETTLED
        if status == tags.IDLE:
            s.dirty = False
            if s.statements.portals:
                s.statements.portals.clear()


# Errors.


def on_error(s: State, head: Expected | None) -> None:
    fields = codec.decode_fields(_body(s))
    code = scrub.field(fields, "C")
    state = code.decode("ascii", "replace")
    severity = scrub.field(fields, "V") or scrub.field(fields, "S")
    if severity in (b"FATAL", b"PANIC"):
        s.fatal = True
    if s.dirty:
        s.set_resolution(None)
    if head is None or s.fatal:
        _relay_error(s, head, fields)
        if head is not None:
            s.abandon(head, state)
        return
    if head.replace is not None and code == head.provokes:
        if head.align:
            s.mute()
        else:
            s.instead(head.replace)
        state = head.replace_state
    elif head.alone:
        s.mute()
        message = scrub.field(scrub.clean_error(fields, None), "M").decode(s.codec or "ascii", "replace")
        s.probe_error = Refusal(state, message)
    elif head.tripped:
        s.mute()
    else:
        _relay_error(s, head, fields)
    s.abandon(head, state)
    if head.kind in _WHOLE:
        head.failed = True
        s.gate &= ~st.COPY_IN
        return
    _skip_to_sync(s, head, state)


def _relay_error(s: State, head: Expected | None, fields: codec.Fields) -> None:
    plan = head.plan if head is not None else None
    if s.masked:
        s.instead(codec.encode_error(scrub.clean_error(fields, plan)))


def _skip_to_sync(s: State, head: Expected, state: str) -> None:
    """After an error in the extended protocol nothing up to the next Sync is answered."""
    queue = s.queue
    s.gate &= ~st.COPY_IN
    while queue and queue[0].kind != expect.SYNC:
        s.abandon(queue.popleft(), state)
    maybe = 0
    while queue and queue[0].maybe:
        queue.popleft()
        maybe += 1
    s.spare = maybe
    _trim(s)
    if not queue:
        s.gate |= st.SKIPPING
        s.wait = st.NOTHING if s.wait == st.PROBE else s.wait
    elif s.wait == st.PROBE and not any(e.last for e in queue):
        s.wait = st.NOTHING


def on_idle_error(s: State) -> None:
    """An error although nothing was asked: the server is going down, or an idle timeout has struck."""
    on_error(s, None)


# The guard.


def _judge(s: State) -> guard.Trip | None:
    body = _body(s)
    if body in s.judged:
        return None
    view = s.view or s.refresh_view()
    trip = guard.judge(codec.decode_row_description(body), view.catalog, view.profile, s.temp_oids)
    if trip is None:
        if len(s.judged) >= st.JUDGED_MAX:
            s.judged.clear()
        s.judged.add(body)
    return trip


def _report_trip(s: State, trip: guard.Trip) -> None:
    s.audit.event("guard", {"sid": s.sid, "table": trip.table, "attnum": trip.attnum, "unknown": trip.unknown})
    s.evidence = True
    if trip.unknown:
        s.ddl = True
        s.ddl_unread = True
        s.gate |= st.DDL


def _trip_batch(s: State, head: Expected, trip: guard.Trip) -> None:
    """Our error instead of the description; of whatever else the batch brings the client sees nothing."""
    _report_trip(s, trip)
    s.instead(poison.error(trip.refusal, s.codec))
    _pop(s)
    for entry in s.queue:
        if entry.kind == expect.SYNC and not entry.maybe:
            entry.tripped = True
            return
        s.abandon(entry, trip.refusal.sqlstate)
        entry.swallow = entry.tripped = True
        entry.seqs = ()
        entry.record = None
    s.gate |= st.SKIPPING
    s.tripped_batch = True
    data, provokes = poison.BY_KIND[expect.BIND]
    s.to_server.append(data)
    entry = Expected(expect.REFUSED)
    entry.swallow = True
    entry.replace = b""
    entry.align = True
    entry.provokes = provokes
    s.queue.append(entry)


# Effects.


def _tag(s: State) -> str:
    scan = s.server
    if not scan.buf[scan.end - 1] and scan.end > scan.body:
        return scan.buf[scan.body : scan.end - 1].decode("ascii", "replace")
    raise codec.CodecError("invalid string in CommandComplete")


def _settle_effects(s: State, head: Expected, tag: str) -> None:
    changes = head.changes
    if changes & plans.PREPARES:
        for index, slot, record in head.prepares:
            if index == head.index:
                slot.confirm(record)
        head.prepares = tuple(p for p in head.prepares if p[0] != head.index)
    if changes & plans.DEALLOCATES:
        if tag in ("DEALLOCATE ALL", "DISCARD ALL"):
            s.statements.close_all()
        elif tag == "DEALLOCATE" and head.plan is not None and head.index < len(head.plan.statements):
            name = head.plan.statements[head.index].prepared
            found = s.statements.find(name.encode(s.codec or "utf-8", "replace")) if name else None
            if found is not None:
                found.close()
                s.statements.tidy(found)
    if changes & plans.DDL and head.kind == expect.EXECUTE:
        s.ddl_over(head, True)


def _answered(s: State) -> None:
    answer = probe.read(bytes(s.probe_answer), s.codec)
    s.probe_answer.clear()
    if answer is None:
        raise ServerViolation("the server's answer about name resolution cannot be read")
    s.on_parameter(b"client_encoding", answer.encoding.encode("ascii", "replace"))
    if answer.standard_strings != s.standard_strings:
        s.on_parameter(b"standard_conforming_strings", b"on" if answer.standard_strings else b"off")
    s.temp_oids |= answer.temp_oids
    s.set_resolution(answer.resolution)
    s.gate &= ~st.UNSETTLED


# Messages that come at any time.


def on_notice(s: State) -> None:
    if s.masked and s.phase != st.AUTHENTICATING:
        plan = s.queue[0].plan if s.queue else None
        s.instead(codec.encode_notice(scrub.clean_notice(codec.decode_fields(_body(s)), plan)))


def on_notification(s: State) -> None:
    """The payload may carry a row of another session."""
    if s.masked:
        n = codec.decode_notification(_body(s))
        if n.payload:
            s.instead(codec.encode_notification(codec.Notification(n.pid, n.channel, b"")))


def on_parameter_status(s: State) -> None:
    s.on_parameter(*codec.decode_parameter_status(_body(s)))


# Before the session is ready.


def on_authentication(s: State) -> None:
    body = _body(s)
    if s.options.strip_channel_binding:
        stripped = auth.strip_channel_binding(body)
        if stripped is not None:
            s.instead(stripped)
            return
    if auth.is_authenticated(body):
        s.refresh_view()


def on_login_error(s: State) -> None:
    s.fatal = True


def on_first_ready(s: State) -> None:
    s.tx = codec.decode_ready(_body(s))
    if startup.wants_replication(s.identity.startup):
        view = s.refresh_view()
        if view.profile.masked:
            raise ServerViolation("replication is not allowed for a login that sees masked data")
        s.audit.event("replication", {"sid": s.sid})
        s.evidence = True
        s.phase = st.RAW
        return
    s.refresh_view()
    s.phase = st.READY
    if s.wait == st.AUTHENTICATION:
        s.wait = st.NOTHING


def on_relayed(s: State) -> None:
    """BackendKeyData, NegotiateProtocolVersion: as they are."""


_WHOLE: Final = frozenset({expect.QUERY, expect.FUNCTION, expect.SYNC, expect.REFUSED_QUERY})

LOGIN: Final[dict[int, Callable[[State], None]]] = {
    tags.AUTHENTICATION: on_authentication,
    tags.BACKEND_KEY_DATA: on_relayed,
    tags.NEGOTIATE_PROTOCOL_VERSION: on_relayed,
    tags.NOTICE_RESPONSE: on_notice,
    tags.PARAMETER_STATUS: on_parameter_status,
    tags.ERROR_RESPONSE: on_login_error,
    tags.READY_FOR_QUERY: on_first_ready,
}
ASYNC: Final[dict[int, Callable[[State], None]]] = {
    tags.NOTICE_RESPONSE: on_notice,
    tags.NOTIFICATION_RESPONSE: on_notification,
    tags.PARAMETER_STATUS: on_parameter_status,
}
_REPLIES: Final[dict[int, dict[int, Handler]]] = {
    expect.PARSE: {tags.PARSE_COMPLETE: on_parsed},
    expect.BIND: {tags.BIND_COMPLETE: on_done},
    expect.CLOSE: {tags.CLOSE_COMPLETE: on_closed},
    expect.DESCRIBE_STATEMENT: {
        tags.PARAMETER_DESCRIPTION: on_parameters,
        tags.ROW_DESCRIPTION: on_description,
        tags.NO_DATA: on_no_rows,
    },
    expect.DESCRIBE_PORTAL: {tags.ROW_DESCRIPTION: on_description, tags.NO_DATA: on_no_rows},
    expect.EXECUTE: {
        tags.DATA_ROW: on_rows,
        tags.COPY_DATA: on_rows,
        tags.COMMAND_COMPLETE: on_execute_done,
        tags.PORTAL_SUSPENDED: on_suspended,
        tags.EMPTY_QUERY_RESPONSE: on_empty,
        tags.COPY_IN_RESPONSE: on_copy_in,
        tags.COPY_OUT_RESPONSE: on_mutable,
        tags.COPY_DONE: on_mutable,
    },
    expect.SYNC: {tags.READY_FOR_QUERY: on_ready},
    expect.QUERY: {
        tags.ROW_DESCRIPTION: on_result,
        tags.DATA_ROW: on_rows,
        tags.COPY_DATA: on_rows,
        tags.COMMAND_COMPLETE: on_query_part,
        tags.EMPTY_QUERY_RESPONSE: on_empty,
        tags.COPY_IN_RESPONSE: on_copy_in,
        tags.COPY_OUT_RESPONSE: on_mutable,
        tags.COPY_DONE: on_mutable,
        tags.READY_FOR_QUERY: on_ready,
    },
    expect.FUNCTION: {tags.FUNCTION_CALL_RESPONSE: on_mutable, tags.READY_FOR_QUERY: on_ready},
    expect.REFUSED: {},
    expect.REFUSED_QUERY: {tags.READY_FOR_QUERY: on_ready},
}
REPLIES: Final[dict[int, Handler]] = {
    kind << 8 | tag: handler for kind, handlers in _REPLIES.items() for tag, handler in handlers.items()
} | {kind << 8 | tags.ERROR_RESPONSE: on_error for kind in _REPLIES}


def dispatch(s: State, tag: int) -> None:
    """One event of the server's stream, in the phase READY."""
    queue = s.queue
    if queue:
        head = queue[0]
        handler = REPLIES.get(head.kind << 8 | tag)
        if handler is not None:
            handler(s, head)
            return
    elif tag == tags.ERROR_RESPONSE:
        on_idle_error(s)
        return
    other = ASYNC.get(tag)
    if other is not None:
        other(s)
    elif tag == tags.READY_FOR_QUERY and s.spare:
        s.spare -= 1
        s.tx = codec.decode_ready(_body(s))
        s.gate &= ~st.SKIPPING
    else:
        expected = expect.NAMES[queue[0].kind] if queue else "nothing"
        raise ServerViolation(f"unexpected {tags.SERVER_NAMES[tag]}, the server owes the reply to {expected}")
