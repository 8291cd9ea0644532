"""The little that is ours before the session is ready: channel binding and replication.

Authentication is relayed: the server decides, pgveil never sees a password it could use. Channel binding ties SCRAM to
the TLS connection it runs in; ours ends at the proxy, so SCRAM-SHA-256-PLUS is not offered. Manual:
sasl-authentication.
"""

from __future__ import annotations

from proxy.session.effects import Identity, View
from proxy.wire import codec, startup
from rewrite.plan import Refusal


def strip_channel_binding(body: bytes) -> bytes | None:
    """A whole AuthenticationSASL without the -PLUS mechanisms; None when the body should be relayed as it is."""
    kind, data = codec.decode_authentication(body)
    if kind != codec.AUTH_SASL:
        return None
    offered = codec.decode_sasl(data)
    kept = [m for m in offered if not m.endswith(b"-PLUS")]
    return codec.encode_sasl(kept) if kept and len(kept) < len(offered) else None


def is_authenticated(body: bytes) -> bool:
    return codec.decode_authentication(body)[0] == codec.AUTH_OK


def startup_refusal(identity: Identity, view: View) -> Refusal | None:
    """Why this login may not even start a session; to be asked before the start-up packet goes upstream."""
    if view.profile.masked and startup.wants_replication(identity.startup):
        return Refusal(
            "42501",
            "replication is not allowed for a login that sees masked data",
            "Replication streams carry every column as it is stored.",
        )
    return None
