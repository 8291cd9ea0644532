"""Messages of both sides before the session is ready: authentication is relayed, everything else waits.

The rules are in `auth`; here is what they do to the stream.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from proxy.session import asides, auth, gates, pooling
from proxy.session import state as st
from proxy.session.asides import ServerViolation
from proxy.session.state import State
from proxy.wire import codec, startup, tags


def on_client_message(s: State, tag: int) -> bool:
    """Only the answers to authentication requests pass; True: the message waits."""
    if tag == tags.PASSWORD:
        scan = s.client
        s.asked = False
        s.unbound = s.stripped and auth.could_have_bound(scan.buf[scan.body : scan.end])
        return False
    if s.asked:
        raise _no_answer(tag)
    s.wait = st.AUTHENTICATION
    return True


def _no_answer(tag: int) -> gates.Violation:
    return gates.Violation(f"expected password response, got message type {tag}")


def negotiate(s: State, version: int | None = None, more: tuple[bytes, ...] = ()) -> None:
    """Tell the client, once, which version and which of its options it does not get. `version`, `more`: what the server says."""
    withheld = s.withheld or ()
    s.withheld = None
    if version is None:
        version = s.version
    s.to_client.append(codec.encode_negotiation(codec.Negotiation(version, (*withheld, *more))))


def on_authentication(s: State) -> None:
    body = asides.body(s)
    s.unbound = False
    s.asked = auth.is_question(body)
    s.accepted = s.accepted or codec.decode_authentication(body)[0] == codec.AUTH_OK
    if s.asked and s.held:
        raise _no_answer(s.client.buf[s.client.end])
    if not s.same_certificate:
        stripped = auth.strip_channel_binding(body)
        if stripped is not None:
            s.stripped = True
            s.instead(stripped)
            return


def on_error(s: State) -> None:
    """The login has failed. An error right behind a SCRAM message that the relay has spoilt is explained."""
    s.fatal = True
    if s.unbound:
        fields = codec.decode_fields(asides.body(s))
        if dict(fields).get("C") in (b"28000", b"08P01"):
            s.instead(codec.encode_error(auth.explain_binding(fields, s.codec)))


def on_first_ready(s: State) -> None:
    if s.fatal:
        raise ServerViolation("ready after a fatal error")
    if not s.accepted:
        raise ServerViolation("ready before the login is accepted")
    s.tx = codec.decode_ready(asides.body(s))
    if startup.wants_replication(s.identity.startup):
        view = s.refresh_view()
        if view.profile.masked:
            raise ServerViolation("replication is not allowed for a login that sees masked data")
        s.audit.event("replication", {"sid": s.sid})
        s.evidence = True
        s.phase = st.RAW
        return
    view = s.refresh_view()
    s.phase = st.READY
    s.server.reclass(st.SERVER_CLASSES)
    if s.wait == st.AUTHENTICATION:
        s.wait = st.NOTHING
    pooling.begin(s, view)


def on_backend_key(s: State) -> None:
    """Relayed as it is; the process number tells which notifications are the session's own, the whole which cancel requests."""
    s.cancel_key = asides.body(s)
    s.backend = int.from_bytes(s.cancel_key[:4], "big")


def on_negotiation(s: State) -> None:
    """As it is, unless the server has not heard all that the client has said."""
    if s.withheld is not None:
        found = codec.decode_negotiation(asides.body(s))
        s.mute()
        negotiate(s, found.version, found.options)


SERVER: Final[dict[int, Callable[[State], None]]] = {
    tags.AUTHENTICATION: on_authentication,
    tags.BACKEND_KEY_DATA: on_backend_key,
    tags.NEGOTIATE_PROTOCOL_VERSION: on_negotiation,
    tags.NOTICE_RESPONSE: asides.on_notice,
    tags.PARAMETER_STATUS: asides.on_parameter_status,
    tags.ERROR_RESPONSE: on_error,
    tags.READY_FOR_QUERY: on_first_ready,
}
