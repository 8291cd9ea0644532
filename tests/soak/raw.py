"""A client without a driver: what it says and hears is known byte by byte. For simple queries in quick succession, as
pgbench sends them, extended batches, and for hanging up in the middle of a message."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from dataclasses import dataclass, field

SSL_REQUEST = struct.pack("!ii", 8, 80877103)


class Dropped(Exception):
    """The connection has ended without an error message."""


class Told(Exception):
    """The connection has ended, and we have been told why."""

    def __init__(self, sqlstate: str, text: str) -> None:
        super().__init__(text)
        self.sqlstate = sqlstate


def message(tag: bytes, body: bytes) -> bytes:
    return tag + struct.pack("!i", len(body) + 4) + body


def query(text: str) -> bytes:
    return message(b"Q", text.encode() + b"\0")


def batch(text: str, *values: str, name: str = "") -> bytes:
    """Parse, Bind, Describe, Execute; without Sync."""
    statement = name.encode() + b"\0"
    given = struct.pack("!hh", 0, len(values)) + b"".join(struct.pack("!i", len(v.encode())) + v.encode() for v in values)
    return (
        message(b"P", statement + text.encode() + b"\0" + struct.pack("!h", 0))
        + message(b"B", b"\0" + statement + given + struct.pack("!h", 0))
        + message(b"D", b"P\0")
        + message(b"E", b"\0" + struct.pack("!i", 0))
    )


SYNC = message(b"S", b"")
TERMINATE = message(b"X", b"")


@dataclass
class Answer:
    """What came up to one ReadyForQuery."""

    rows: list[tuple[str | None, ...]] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    errors: list[tuple[str, str]] = field(default_factory=list)
    status: str = ""


class _Reader(asyncio.StreamReader):
    """What has come before a reset is there to be read, as it is for libpq."""

    def set_exception(self, exc: BaseException) -> None:
        self.feed_eof()


class RawClient:
    def __init__(self) -> None:
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None

    async def open(self, address: tuple[str, int], user: str, database: str = "postgres", *, tls: bool = False) -> None:
        """Log in without a password. Raises Told or Dropped."""
        loop = asyncio.get_running_loop()
        self._reader = _Reader(limit=1 << 20)
        protocol = asyncio.StreamReaderProtocol(self._reader)
        transport, _ = await loop.create_connection(lambda: protocol, *address)
        self._writer = asyncio.StreamWriter(transport, protocol, self._reader, loop)
        if tls:
            self._writer.write(SSL_REQUEST)
            try:
                if await self._reader.readexactly(1) != b"S":
                    raise Dropped("no TLS")
                context = ssl.create_default_context()
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                await self._writer.start_tls(context)
            except (OSError, asyncio.IncompleteReadError) as error:
                raise Dropped(type(error).__name__) from None
        body = b"user\0" + user.encode() + b"\0database\0" + database.encode() + b"\0\0"
        self._writer.write(struct.pack("!ii", len(body) + 8, 196608) + body)
        answer = await self.answer()
        if answer.errors:
            raise Told(*answer.errors[0])

    def send(self, data: bytes) -> None:
        """What has become of the connection is told by `answer`."""
        if self._writer is not None and not self._writer.transport.is_closing():
            self._writer.write(data)

    async def ask(self, text: str) -> Answer:
        self.send(query(text))
        return await self.answer()

    async def answer(self) -> Answer:
        """Everything up to ReadyForQuery. Raises Told or Dropped when the connection ends before."""
        answer = Answer()
        fatal: tuple[str, str] | None = None
        while True:
            try:
                head = await self._reader.readexactly(5)
                body = await self._reader.readexactly(int.from_bytes(head[1:], "big") - 4)
            except (OSError, asyncio.IncompleteReadError) as error:
                if fatal:
                    raise Told(*fatal) from None
                raise Dropped(type(error).__name__) from None
            tag = head[:1]
            if tag == b"D":
                answer.rows.append(_row(body))
            elif tag == b"C":
                answer.tags.append(body[:-1].decode())
            elif tag == b"E":
                fields = {part[:1]: part[1:].decode("utf-8", "replace") for part in body.split(b"\0") if part}
                error_ = (fields[b"C"], fields[b"M"])
                answer.errors.append(error_)
                if fields[b"V"] in ("FATAL", "PANIC"):
                    fatal = error_
            elif tag == b"Z":
                answer.status = body.decode()
                return answer

    def reset(self) -> None:
        """Hang up so that the other side gets a reset."""
        if self._writer is None:
            return
        sock = self._writer.get_extra_info("socket")
        if sock is not None and not self._writer.transport.is_closing():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _row(body: bytes) -> tuple[str | None, ...]:
    count = int.from_bytes(body[:2], "big")
    at, values = 2, []
    for _ in range(count):
        size = int.from_bytes(body[at : at + 4], "big", signed=True)
        at += 4
        if size < 0:
            values.append(None)
        else:
            values.append(body[at : at + size].decode())
            at += size
    return tuple(values)
