"""The packets that come before the tagged protocol: StartupMessage, SSLRequest, GSSENCRequest, CancelRequest.

They have a length and a code but no tag. `decode` takes one whole packet, length word included, and believes nothing
that does not add up. `take` finds the packet at the beginning of a stream and refuses bytes glued behind an encryption
request: someone in the middle put them there, and they would be read as if they had come encrypted (CVE-2021-23222,
CVE-2021-3935).

Manual: protocol-flow "Start-up", protocol-message-formats. Limits as in the server's ProcessStartupPacket.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Final

MAX_PACKET: Final = 10_000
CANCEL_CODE: Final = 80877102
SSL_CODE: Final = 80877103
GSSENC_CODE: Final = 80877104
MAJOR: Final = 3
LATEST: Final = 2
"""The newest minor version of the protocol that we know."""
OPTION: Final = b"_pq_."
"""What names of protocol options begin with. We know none."""
TLS_RECORD: Final = 0x16
"""First byte of a client that starts TLS without asking (sslnegotiation=direct)."""

_two = Struct(">II").unpack_from
_pack_two = Struct(">II").pack
_pack_three = Struct(">III").pack


_LAYOUT: Final = "invalid startup packet layout: expected terminator as last byte"


class StartupError(ValueError):
    """A packet that PostgreSQL would not take either. SQLSTATE 08P01."""


@dataclass(frozen=True, slots=True)
class SSLRequest:
    pass


@dataclass(frozen=True, slots=True)
class GSSENCRequest:
    pass


@dataclass(frozen=True, slots=True)
class CancelRequest:
    pid: int
    key: bytes
    """4 bytes in protocol 3.0, up to 256 in 3.2."""


@dataclass(frozen=True, slots=True)
class StartupMessage:
    major: int
    minor: int
    raw: tuple[tuple[bytes, bytes], ...]
    """Parameters in order, duplicates kept, as the client encoded them (nobody knows how yet). None when the major version is
    not ours."""

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Parameters as text; bytes that are not UTF-8 survive as surrogate escapes."""
        return tuple((_text(k), _text(v)) for k, v in self.raw)

    @property
    def parameters(self) -> dict[str, str]:
        """Of a key that is given twice the last value counts, as in the server."""
        return dict(self.pairs)


Packet = SSLRequest | GSSENCRequest | CancelRequest | StartupMessage


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def take(stream: bytes) -> tuple[Packet, bytes] | None:
    """The first packet of a stream and the bytes behind it; None while it is incomplete. Raises StartupError."""
    if len(stream) < 4:
        return None
    length = int.from_bytes(stream[:4], "big")
    if not 8 <= length <= MAX_PACKET:
        raise StartupError("invalid length of startup packet")
    if len(stream) < length:
        return None
    packet = decode(stream[:length])
    rest = stream[length:]
    if rest and isinstance(packet, SSLRequest | GSSENCRequest):
        raise StartupError("received unencrypted data after an encryption request")
    return packet, rest


def decode(packet: bytes) -> Packet:
    """One whole packet. Raises StartupError."""
    if not 8 <= len(packet) <= MAX_PACKET:
        raise StartupError("invalid length of startup packet")
    length, code = _two(packet, 0)
    if length != len(packet):
        raise StartupError("invalid length of startup packet")
    if code in (SSL_CODE, GSSENC_CODE):
        if length != 8:
            raise StartupError("invalid length of encryption request")
        return SSLRequest() if code == SSL_CODE else GSSENCRequest()
    if code == CANCEL_CODE:
        key = packet[12:]
        if not 4 <= len(key) <= 256:
            raise StartupError("invalid length of cancel request")
        return CancelRequest(int.from_bytes(packet[8:12], "big"), key)
    major = code >> 16
    return StartupMessage(major, code & 0xFFFF, _parameters(packet) if major == MAJOR else ())


def _parameters(packet: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """Name and value strings until an empty name, which must be the last byte of the packet."""
    if packet[-1]:
        raise StartupError(_LAYOUT)
    out = []
    at = 8
    last = len(packet) - 1
    while at < last:
        middle = packet.index(0, at)
        if middle == at:
            raise StartupError(_LAYOUT)
        end = packet.find(0, middle + 1)
        if end < 0 or end >= last:
            raise StartupError(_LAYOUT)
        out.append((packet[at:middle], packet[middle + 1 : end]))
        at = end + 1
    if at != last:
        raise StartupError(_LAYOUT)
    return tuple(out)


def encode(packet: Packet) -> bytes:
    if isinstance(packet, SSLRequest):
        return _pack_two(8, SSL_CODE)
    if isinstance(packet, GSSENCRequest):
        return _pack_two(8, GSSENC_CODE)
    if isinstance(packet, CancelRequest):
        return _pack_three(12 + len(packet.key), CANCEL_CODE, packet.pid) + packet.key
    body = b"".join(b"%b\0%b\0" % pair for pair in packet.raw) + b"\0"
    return _pack_two(8 + len(body), packet.major << 16 | packet.minor) + body


def understood(message: StartupMessage) -> tuple[StartupMessage, tuple[bytes, ...] | None]:
    """The message without what we do not know (a later minor version, protocol options), and the options left out.

    A server that knows more than we do would otherwise speak to the client in ways that we cannot follow. None: nothing had to
    be changed. Manual: protocol-flow, NegotiateProtocolVersion.
    """
    options = tuple(name for name, _ in message.raw if name.startswith(OPTION))
    if message.minor <= LATEST and not options:
        return message, None
    kept = tuple(pair for pair in message.raw if not pair[0].startswith(OPTION))
    return StartupMessage(message.major, min(message.minor, LATEST), kept), options


def wants_replication(pairs: tuple[tuple[str, str], ...]) -> bool:
    """The start-up asks for a walsender. Whatever is not plainly false counts, and of several values any."""
    return any(key == "replication" and not _is_false(value.lower()) for key, value in pairs)


def is_physical(pairs: tuple[tuple[str, str], ...]) -> bool:
    """A walsender that is connected to no database: the name that the client gave means nothing (libpq gives `replication`)."""
    return wants_replication(pairs) and not any(key == "replication" and value == "database" for key, value in pairs)


def _is_false(value: str) -> bool:
    """As parse_bool() of the server: unique prefixes will do."""
    return bool(value) and ("false".startswith(value) or "no".startswith(value) or value in ("0", "of", "off"))
