"""The server's half of the session: what happens to each message the server sends.

REPLIES is the table of the machine: (kind of the entry at the head of the queue, tag of the message) → handler. A pair
that is not in it is a server out of step, and the session ends rather than guess. Messages that may come at any time
are in `asides`, those before the session is ready in `login`, descriptions of results and the guard in `results`, errors
in `failures`. A message is relayed as it is unless its handler mutes or replaces it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from proxy.session import asides, changes, expect, failures, metering, plans, poison, probe, results, telling
from proxy.session import state as st
from proxy.session.asides import ServerViolation, body
from proxy.session.expect import Expected
from proxy.session.state import State
from proxy.wire import codec, tags
from rewrite.plan import Refusal

Handler = Callable[[State, Expected], None]

_OUT_OF_STEP: Final = Refusal(
    "42501", "stopped a result that would have shown a masked column, in the middle of a message", "Connect again."
)


# Replies in the extended protocol.


def on_done(s: State, head: Expected) -> None:
    """BindComplete."""
    if head.swallow:
        s.mute()
    if head.portal is not None:
        head.portal.before = None
    s.pop()


def on_parsed(s: State, head: Expected) -> None:
    if head.swallow:
        s.mute()
    if head.slot is not None and head.record is not None:
        head.slot.confirm(head.record)
        head.slot = None
    s.pop()


def on_closed(s: State, head: Expected) -> None:
    if head.swallow:
        s.mute()
        if head.last:
            s.wait = st.CATALOG if s.wants_catalog else st.NOTHING
    if head.slot is not None:
        if head.renews:  # the slot's only where it is the client's statement that is closed
            head.slot.lose()
        else:
            head.slot.close()
            s.statements.tidy(head.slot)
    elif head.portal is not None:
        s.statements.close_portal(head.portal)
    s.pop()


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
    if head.allowances and not metering.may_pass(s, head):
        return
    head.rows += scan.count
    head.bytes += scan.end - scan.start


def on_execute_done(s: State, head: Expected) -> None:
    """CommandComplete of an Execute."""
    tag = _tag(s)
    if head.swallow:
        s.mute()
        if head.probe and not changes.answered(s):
            raise ServerViolation("the server's answer about name resolution cannot be read")
    if head.changes:
        changes.settle(s, head, tag)
    if s.untold and s.masked and not head.swallow:
        telling.tell(s, head)
    s.conclude(head, tag)
    if head.copying:
        _copy_over(s)
    s.pop()


def on_suspended(s: State, head: Expected) -> None:
    if head.swallow:
        s.mute()
    elif s.untold and s.masked:
        telling.tell(s, head)
    s.conclude(head, "SUSPENDED")
    if head.changes & plans.DDL:  # an unread statement
        s.ddl_over(head, True)
    s.pop()


def on_empty(s: State, head: Expected) -> None:
    if head.swallow or head.tripped:
        s.mute()
    s.conclude(head, "")
    if head.kind == expect.EXECUTE:
        s.pop()


# Simple queries.


def on_query_part(s: State, head: Expected) -> None:
    """CommandComplete of one statement of a simple query."""
    tag = _tag(s)
    if head.changes:
        changes.settle(s, head, tag)
    if head.tripped:
        s.mute()
        return
    if s.untold and s.masked:
        telling.tell(s, head)
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
    place = 1
    while place < len(queue):
        entry = queue[place]
        if entry.kind == expect.FLUSH:  # a copy ignores it, whatever is in it
            del queue[place]
            continue
        if entry.kind == expect.COPY_END:
            if entry.more:
                entry.more -= 1
            else:
                del queue[place]
            return
        if entry.kind != expect.SYNC:
            return
        entry.maybe = True
        place += 1
    s.gate |= st.COPY_IN


def _copy_over(s: State) -> None:
    """The copy has ended well: it has swallowed every Sync that came before CopyDone."""
    queue = s.queue
    while len(queue) > 1 and queue[1].maybe:
        del queue[1]


# ReadyForQuery.


def on_ready(s: State, head: Expected) -> None:
    if s.spare and head.kind == expect.QUERY and not head.index and not head.failed:
        _on_spare_ready(s)  # a Query is answered with more than this
        return
    status = codec.decode_ready(body(s))
    queue = s.queue
    s.pop()
    s.tx = status
    if not queue and head.kind != expect.SYNC:
        s.batch_open = False
    while head.index < len(head.decided):
        s.conclude(head, "")
    if head.changes & plans.DDL:
        s.ddl_over(head, not head.failed)
    if s.tx_ddl and status == tags.IDLE and not queue:
        s.tx_ddl = False
        s.altered = frozenset()
        if head.kind == expect.SYNC:  # the batch with the DDL has only now been committed
            s.ddl = True
            s.ddl_unread = s.masked
            if s.masked:
                s.gate |= st.DDL
    if head.swallow:
        s.mute()
        if head.last:
            s.wait = st.CATALOG if s.wants_catalog else st.NOTHING
            s.arriving = False
    elif head.tripped and status == tags.IN_TRANSACTION and not queue and not s.batch_open:
        s.mute()
        if not s.between:
            s.end(_OUT_OF_STEP)
            return
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
            s.dirty = s.asserting = s.era_in_tx = False
            if not head.swallow:
                s.held_cursors = None
            if s.statements.portals:
                s.statements.transaction_over()
            s.renames = False
            if s.transient:
                s.leave_link()


def _on_spare_ready(s: State) -> None:
    """The reply to a Sync that a failed copy has not swallowed."""
    s.spare -= 1
    s.tx = codec.decode_ready(body(s))
    s.gate &= ~st.SKIPPING
    if s.transient and s.tx == tags.IDLE:
        s.leave_link()


def _tag(s: State) -> str:
    scan = s.server
    if not scan.buf[scan.end - 1] and scan.end > scan.body:
        return scan.buf[scan.body : scan.end - 1].decode("ascii", "replace")
    raise codec.CodecError("invalid string in CommandComplete")


_REPLIES: Final[dict[int, dict[int, Handler]]] = {
    expect.PARSE: {tags.PARSE_COMPLETE: on_parsed},
    expect.BIND: {tags.BIND_COMPLETE: on_done},
    expect.CLOSE: {tags.CLOSE_COMPLETE: on_closed},
    expect.DESCRIBE_STATEMENT: {
        tags.PARAMETER_DESCRIPTION: results.on_parameters,
        tags.ROW_DESCRIPTION: results.on_description,
        tags.NO_DATA: results.on_no_rows,
    },
    expect.DESCRIBE_PORTAL: {tags.ROW_DESCRIPTION: results.on_description, tags.NO_DATA: results.on_no_rows},
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
        tags.ROW_DESCRIPTION: results.on_result,
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
    expect.FLUSH: {},
    expect.REFUSED_QUERY: {tags.READY_FOR_QUERY: on_ready},
}
REPLIES: Final[dict[int, Handler]] = {
    kind << 8 | tag: handler for kind, handlers in _REPLIES.items() for tag, handler in handlers.items()
} | {kind << 8 | tags.ERROR_RESPONSE: failures.on_error for kind in _REPLIES}


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
        failures.on_error(s, None)  # the server is going down, or an idle timeout has struck
        return
    other = asides.HANDLERS.get(tag)
    if other is not None:
        other(s)
    elif tag == tags.READY_FOR_QUERY and s.spare:
        _on_spare_ready(s)
    else:
        expected = expect.NAMES[queue[0].kind] if queue else "nothing"
        raise ServerViolation(f"unexpected {tags.SERVER_NAMES[tag]}, the server owes the reply to {expected}")
