"""From start-up packet to identity: who wants in, to which database, and what the server is told.

Pure. The server behind us sees the packet exactly as it came, unless the database is mapped to another name.
Manual: protocol-message-formats, StartupMessage.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from proxy.errors import InvalidAuthorization, PgveilError, ProtocolViolation
from proxy.session.effects import Identity
from proxy.wire.startup import StartupError, StartupMessage, decode, encode

_NAME_BYTES = 63
"""NAMEDATALEN - 1: the server cuts longer names, and what it would cut to is not for us to guess."""


class UnsupportedProtocol(PgveilError):
    sqlstate = "0A000"


class UnknownDatabase(PgveilError):
    sqlstate = "3D000"


@dataclass(frozen=True, slots=True)
class Arrival:
    identity: Identity
    packet: bytes
    """What the server gets."""


def read_arrival(packet: bytes, peer: tuple[str, int], *, tls: bool, server_database: Callable[[str], str | None]) -> Arrival:
    """Raises ProtocolViolation, UnsupportedProtocol, InvalidAuthorization or UnknownDatabase, as the server would."""
    try:
        message = decode(packet)
    except StartupError as error:
        raise ProtocolViolation(str(error)) from None
    if not isinstance(message, StartupMessage):
        raise ProtocolViolation("an encryption request in an encrypted connection, or a second one")
    if message.major != 3:
        raise UnsupportedProtocol(f"unsupported frontend protocol {message.major}.{message.minor}: server supports 3.0 to 3.2")
    parameters = message.parameters
    user = parameters.get("user", "")
    if not user:
        raise InvalidAuthorization("no PostgreSQL user name specified in startup packet")
    asked = parameters.get("database") or user
    for kind, name in (("user", user), ("database", asked)):
        if len(name.encode("utf-8", "surrogateescape")) > _NAME_BYTES:
            raise InvalidAuthorization(f"{kind} name is longer than {_NAME_BYTES} bytes")
    database = server_database(asked)
    if database is None:
        raise UnknownDatabase("this proxy does not serve the requested database")
    identity = Identity(
        user=user,
        database=database,
        application_name=parameters.get("application_name", ""),
        client_address=peer[0],
        client_port=peer[1],
        tls=tls,
        startup=message.pairs,
    )
    return Arrival(identity, packet if database == asked else _with_database(message, database))


def _with_database(message: StartupMessage, database: str) -> bytes:
    others = tuple(pair for pair in message.raw if pair[0] != b"database")
    return encode(replace(message, raw=(*others, (b"database", database.encode("utf-8", "surrogateescape")))))
