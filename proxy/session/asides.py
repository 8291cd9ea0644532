"""Messages of the server that may come at any time: notices, notifications, parameter reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from proxy.session import scrub
from proxy.session import state as st
from proxy.session.state import State
from proxy.wire import codec, tags


class ServerViolation(Exception):
    """The server said something that does not follow from what it was asked."""


def body(s: State) -> bytes:
    """Of the server's current message."""
    scan = s.server
    return scan.buf[scan.body : scan.end]


_HUGE: Final = b"message withheld by pgveil: it is too long to be looked at"


def fields(s: State) -> codec.Fields:
    """Of the server's current error or notice. Of one that is too long to be held, those that come first, before its text:
    severity and SQLSTATE."""
    if not s.server.large:
        return codec.decode_fields(body(s))
    return (*codec.decode_first_fields(body(s)), ("M", _HUGE))


def is_rest(s: State) -> bool:
    """The current event is a further piece of an error or notice too long to be held: it goes where the first one went."""
    if s.server.count:
        s.mute_rest = False
        return False
    if s.mute_rest:
        s.mute()
    return True


def on_notice(s: State) -> None:
    if s.phase == st.AUTHENTICATING or is_rest(s):
        return
    if s.masked:
        head = s.queue[0] if s.queue else None
        plan, quiet = (head.plan, head.quiet) if head is not None else (None, False)
        s.instead(codec.encode_notice(scrub.clean_notice(fields(s), plan, quiet)))


def on_notification(s: State) -> None:
    """The payload may carry a row: another session's, or one that a trigger saw. What a client itself says comes back to it."""
    if s.masked:
        n = codec.decode_notification(body(s))
        if n.payload and (s.fires or s.transient or n.pid != s.backend):
            s.instead(codec.encode_notification(codec.Notification(n.pid, n.channel, b"")))


def on_parameter_status(s: State) -> None:
    s.on_parameter(*codec.decode_parameter_status(body(s)))


HANDLERS: Final[dict[int, Callable[[State], None]]] = {
    tags.NOTICE_RESPONSE: on_notice,
    tags.NOTIFICATION_RESPONSE: on_notification,
    tags.PARAMETER_STATUS: on_parameter_status,
}
