"""Errors of the server: whose they are, what the client may read of them, and which entries of the queue they cancel."""

from __future__ import annotations

from typing import Final

from proxy.session import expect, gates, poison, pooling, scrub
from proxy.session import state as st
from proxy.session.asides import fields as fields_of
from proxy.session.asides import is_rest
from proxy.session.expect import Expected
from proxy.session.state import State
from proxy.wire import codec, tags
from rewrite.plan import Refusal

_WHOLE: Final = frozenset({expect.QUERY, expect.FUNCTION, expect.SYNC, expect.REFUSED_QUERY})
"""Their errors are followed by ReadyForQuery and cancel nothing."""


def on_error(s: State, head: Expected | None) -> None:
    if is_rest(s):
        return
    fields = fields_of(s)
    code = scrub.field(fields, "C")
    state = code.decode("ascii", "replace")
    severity = scrub.field(fields, "V") or scrub.field(fields, "S")
    if severity in (b"FATAL", b"PANIC"):
        s.fatal = True
    if s.violation is not None and code == b"08P01" and _is_turned_out(s, head, s.violation, fields):
        return
    if s.dirty:
        s.set_resolution(None)
    if s.asserting:
        s.gate |= st.ASSERTED
    if head is None or s.fatal:
        _relay_error(s, head, fields)
        if head is not None:
            s.abandon(head, state)
        return
    if head.tripped and head.behind:
        s.mute()
    elif head.replace is not None and code == head.provokes and head.index >= head.behind:
        state = head.replace_state
        if head.align:
            s.mute()
        elif head.looked_at_last and s.tx == tags.FAILED:
            state = gates.ABORTED.sqlstate
            s.instead(poison.error(gates.ABORTED, s.codec))
        else:
            s.instead(head.replace)
    elif head.alone:
        s.mute()
        if s.arriving:
            raise st.Unavailable(pooling.MUTE)
        message = scrub.field(scrub.clean_error(fields, None), "M").decode(s.codec or "ascii", "replace")
        s.probe_error = Refusal(state, message)
    elif head.tripped:
        s.mute()
    else:
        _relay_error(s, head, fields)
    s.abandon(head, state)
    if head.copying and s.leaving:
        s.to_server.append(codec.TERMINATE)  # the COPY has taken the client's for a wrong message
    if head.kind in _WHOLE:
        head.failed = True
        s.gate &= ~st.COPY_IN
        if head.copying:
            _spare_syncs(s, 1)
        return
    s.poison_due = False
    _skip_to_sync(s, head, state)
    if head.alone and s.own_batch:  # nobody else is going to send a Sync
        s.gate &= ~st.SKIPPING
        s.batch_open = s.own_batch = False
        entry = Expected(expect.SYNC)
        entry.swallow = entry.last = True
        s.wait = st.PROBE
        s.to_server.append(codec.SYNC)
        s.queue.append(entry)


def _is_turned_out(s: State, head: Expected | None, violation: Refusal, fields: codec.Fields) -> bool:
    """The server has come to the nonsense that took the place of the client's violation: its complaint is about the client's
    message. In a COPY it is an error, and the end follows; otherwise it is the end."""
    s.violation = None
    if s.fatal:
        s.instead(poison.error(violation, s.codec, b"FATAL"))
        if head is not None:
            s.abandon(head, "08P01")
        return True
    text = violation.message.encode("ascii", "replace")
    _relay_error(s, head, tuple((key, text if key == "M" else value) for key, value in fields), changed=True)
    if head is not None:
        s.abandon(head, "08P01")
    return True


def _relay_error(s: State, head: Expected | None, fields: codec.Fields, changed: bool = False) -> None:
    plan = head.plan if head is not None else None
    if s.masked:
        s.instead(codec.encode_error(scrub.clean_error(fields, plan, head is not None and head.quiet)))
    elif changed:
        s.instead(codec.encode_error(fields))


def _skip_to_sync(s: State, head: Expected, state: str) -> None:
    """After an error in the extended protocol nothing up to the next Sync is answered."""
    queue = s.queue
    s.gate &= ~st.COPY_IN
    if s.transient:
        s.statements.doubt()
    while queue and queue[0].kind != expect.SYNC:
        s.abandon(queue.popleft(), state)
    _spare_syncs(s, 0)
    s.trim()
    if not queue:
        s.gate |= st.SKIPPING
        if (head.probe or head.renews) and s.held and s.client.buf[s.client.start] == tags.QUERY:
            s.probe_broke = state
        s.wait = st.NOTHING if s.wait == st.PROBE else s.wait
    elif s.wait == st.PROBE and not any(e.last for e in queue):
        s.wait = st.NOTHING


def _spare_syncs(s: State, place: int) -> None:
    """A copy has failed: the Syncs sent while it ran may have been swallowed, or may be answered now."""
    queue = s.queue
    s.spare = 0
    while len(queue) > place and queue[place].maybe:
        del queue[place]
        s.spare += 1
