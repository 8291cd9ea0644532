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


def on_notice(s: State) -> None:
    if s.masked and s.phase != st.AUTHENTICATING:
        plan = s.queue[0].plan if s.queue else None
        s.instead(codec.encode_notice(scrub.clean_notice(codec.decode_fields(body(s)), plan)))


def on_notification(s: State) -> None:
    """The payload may carry a row: another session's, or one that a trigger saw. What a client itself says comes back to it."""
    if s.masked:
        n = codec.decode_notification(body(s))
        if n.payload and (s.fires or n.pid != s.backend):
            s.instead(codec.encode_notification(codec.Notification(n.pid, n.channel, b"")))


def on_parameter_status(s: State) -> None:
    s.on_parameter(*codec.decode_parameter_status(body(s)))


HANDLERS: Final[dict[int, Callable[[State], None]]] = {
    tags.NOTICE_RESPONSE: on_notice,
    tags.NOTIFICATION_RESPONSE: on_notification,
    tags.PARAMETER_STATUS: on_parameter_status,
}
