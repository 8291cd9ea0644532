"""Pure rules for the time before the session is ready: channel binding and replication.

Authentication is relayed: the server decides, pgveil never sees a password it could use. SCRAM's channel binding
(tls-server-end-point, RFC 5929) is a hash of the certificate that the client was shown, signed together with the
client's proof (RFC 5802 section 6): a relay can neither make it fit another certificate nor change the flag by which a
client says that it could have bound its channel. So it holds across pgveil only if both TLS connections show the same
certificate; otherwise SCRAM-SHA-256-PLUS is not offered. A client on TLS that could have used it then says so (flag
`y`, libpq's channel_binding=prefer), and a server on TLS refuses that as a downgrade: src/backend/libpq/auth-scram.c,
read_client_first_message. The client must be told not to say so. Manual: sasl-authentication.
"""

from __future__ import annotations

from typing import Final

from proxy.session.effects import Identity
from proxy.wire import codec, startup
from rewrite.plan import Refusal

PLAIN_SCRAM: Final = b"SCRAM-SHA-256"
BINDING_MESSAGE: Final = "SCRAM channel binding is not possible through pgveil"
BINDING_DETAIL: Final = (
    "TLS ends at pgveil, so the server's SCRAM-SHA-256-PLUS was not offered to the client. The client said that it "
    "supports channel binding, and the server takes this for an attack."
)
BINDING_HINT: Final = (
    "Connect with channel_binding=disable (libpq, psql, psycopg; or PGCHANNELBINDING=disable in the environment; "
    "pgjdbc: channelBinding=disable)."
)


def strip_channel_binding(body: bytes) -> bytes | None:
    """A whole AuthenticationSASL without the -PLUS mechanisms; None when the body should be relayed as it is."""
    kind, data = codec.decode_authentication(body)
    if kind != codec.AUTH_SASL:
        return None
    offered = codec.decode_sasl(data)
    kept = [m for m in offered if not m.endswith(b"-PLUS")]
    return codec.encode_sasl(kept) if kept and len(kept) < len(offered) else None


def could_have_bound(body: bytes) -> bool:
    """A SASLInitialResponse of a client that supports channel binding and believes that the server does not."""
    mechanism, _, rest = body.partition(b"\0")
    return mechanism == PLAIN_SCRAM and rest[4:6] == b"y,"


def explain_binding(fields: codec.Fields, encoding: str | None) -> codec.Fields:
    """The server's refusal of such a client, with what to do about it."""
    texts = {"M": BINDING_MESSAGE, "D": BINDING_DETAIL, "H": BINDING_HINT}
    kept = tuple((code, value) for code, value in fields if code in "SVC")
    return kept + tuple((code, text.encode(encoding or "ascii")) for code, text in texts.items())


def is_question(body: bytes) -> bool:
    """An Authentication message that the client has to answer."""
    return codec.decode_authentication(body)[0] not in (codec.AUTH_OK, codec.AUTH_SASL_FINAL)


def startup_refusal(identity: Identity, masked: bool) -> Refusal | None:
    """Why this login may not even start a session. `masked`: something is, for replication in any database of the server.

    Every walsender, also one that is connected to a database, can send the files of all databases (BASE_BACKUP, physical
    START_REPLICATION).
    """
    if masked and startup.wants_replication(identity.startup):
        return Refusal(
            "42501",
            "replication is not allowed for a login that sees masked data",
            "Replication streams carry every column as it is stored.",
        )
    return None
