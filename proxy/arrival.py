"""From start-up packet to identity: who wants in, to which database, and what the server is told.

Pure. The server behind us sees the packet exactly as it came, unless the database is mapped to another name, or the client
asks for a later protocol than we know.
Manual: protocol-message-formats, StartupMessage.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from proxy.errors import InvalidAuthorization, PgveilError, ProtocolViolation
from proxy.session.effects import Identity
from proxy.wire.startup import LATEST, MAJOR, StartupError, StartupMessage, decode, encode, is_physical, understood

_NAME_BYTES = 63
"""NAMEDATALEN - 1: where the server cuts longer names, within a character if it so happens (ProcessStartupPacket)."""


class UnsupportedProtocol(PgveilError):
    sqlstate = "0A000"

    def __init__(self, major: int, minor: int) -> None:
        newest = f"{MAJOR}.{LATEST}"
        super().__init__(f"unsupported frontend protocol {major}.{minor}: server supports {MAJOR}.0 to {newest}")
        self.untagged = major < MAJOR


class UnknownDatabase(PgveilError):
    sqlstate = "3D000"


@dataclass(frozen=True, slots=True)
class Arrival:
    identity: Identity
    packet: bytes
    """What the server gets."""
    version: int = 0
    """The protocol version it is asked for."""
    withheld: tuple[bytes, ...] | None = None
    """Protocol options that it does not get; None when it is told all that the client said."""


def read_arrival(
    packet: bytes, peer: tuple[str, int], *, tls: bool, server_database: Callable[[str], str | None], common_database: str
) -> Arrival:
    """`common_database` stands for the server as a whole, when the client asks for no database.

    Raises ProtocolViolation, UnsupportedProtocol, InvalidAuthorization or UnknownDatabase, as the server would.
    """
    try:
        message = decode(packet)
    except StartupError as error:
        raise ProtocolViolation(str(error)) from None
    if not isinstance(message, StartupMessage):  # an encryption request where there can be none: a version to the server
        code = int.from_bytes(packet[4:8], "big")
        raise UnsupportedProtocol(code >> 16, code & 0xFFFF)
    if message.major != MAJOR:
        raise UnsupportedProtocol(message.major, message.minor)
    parameters = message.parameters
    user = _cut(parameters.get("user", ""))
    if not user:
        raise InvalidAuthorization("no PostgreSQL user name specified in startup packet")
    asked = _cut(parameters.get("database") or user)
    physical = is_physical(message.pairs)
    database = server_database(asked)
    if database is None:
        raise UnknownDatabase("this proxy does not serve the requested database")
    identity = Identity(
        user=user,
        database=common_database if physical else database,
        application_name=parameters.get("application_name", ""),
        client_address=peer[0],
        client_port=peer[1],
        tls=tls,
        startup=message.pairs,
    )
    told, withheld = understood(message)
    if database != asked:
        told = _with_database(told, database)
    version = told.major << 16 | told.minor
    return Arrival(identity, packet if told is message else encode(told), version, withheld)


def _cut(name: str) -> str:
    return name.encode("utf-8", "surrogateescape")[:_NAME_BYTES].decode("utf-8", "surrogateescape")


def _with_database(message: StartupMessage, database: str) -> StartupMessage:
    others = tuple(pair for pair in message.raw if pair[0] != b"database")
    return replace(message, raw=(*others, (b"database", database.encode("utf-8", "surrogateescape"))))
