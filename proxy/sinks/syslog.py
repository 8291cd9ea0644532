"""The sink that sends records as syslog messages: UDP (RFC 5426) and Unix datagrams, TCP (RFC 6587) and TLS (RFC 5425).

At least once: the place is written down only when the peer's system has acknowledged what was sent, and the connection was still
there at the next look. What is in doubt after a break is sent again, and can be recognised by worker and seq. Datagrams are
acknowledged by nobody.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import socket
import ssl
import struct
import termios
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from proxy.audit.follow import Batch, Broken, Position
from proxy.errors import ConfigError
from proxy.sinks.message import encode
from proxy.sinks.places import Places
from proxy.sinks.settings import SyslogSink

CONNECT = 10.0
"""Seconds to connect."""
ACKNOWLEDGE = 30.0
"""Seconds for the peer to take a batch."""
_LOOK = 0.005


class SyslogConsumer:
    """A consumer of the auditor (`proxy.supervision.consumer`)."""

    def __init__(self, sink: SyslogSink, directory: Path) -> None:
        """`directory`: where its place is kept."""
        self.name = sink.name
        self._sink = sink
        self._places = Places(directory / f"sink-{sink.name}.json")
        self._kept: dict[str, Position] = {}
        self._sent: dict[str, Position] = {}
        """Behind what has been sent, and is not written down."""
        self._version = version("pgveil")
        self._datagrams: socket.socket | None = None
        self._stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def begin(self) -> Mapping[str, Position]:
        await self.close()
        self._kept = self._places.read()
        self._sent = dict(self._kept)
        async with asyncio.timeout(CONNECT):
            await self._connect()
        return dict(self._kept)

    async def take(self, batches: Sequence[Batch]) -> None:
        self._settle()
        messages = [
            encode(line, self._sink.form, self._sink.facility, self._sink.source, self._version, self._sink.max_size)
            for batch in batches
            for line in batch.lines
            if self._wanted(line)
        ]
        await self._send(messages)
        for batch in batches:
            self._sent[batch.worker] = batch.after

    async def rest(self) -> None:
        self._settle()

    async def tell(self, broken: Broken) -> bool:
        """Somebody reads there: they are told, and reading goes on behind the break."""
        detail = {"worker": broken.worker, "place": str(broken)}
        record = {
            "v": 1, "seq": broken.seq, "kind": "event", "time": _now(), "worker": broken.worker, "event": "trail_broken",
            "session": None, "detail": detail,
        }  # fmt: skip
        sink = self._sink
        line = json.dumps(record).encode()
        await self._send([encode(line, sink.form, sink.facility, sink.source, self._version, sink.max_size)])
        return True

    async def close(self) -> None:
        """What was sent and acknowledged is written down."""
        stream, self._stream = self._stream, None
        datagrams, self._datagrams = self._datagrams, None
        if datagrams is not None:
            datagrams.close()
            self._write_down()
        if stream is not None:
            if not stream[0].at_eof() and not stream[1].is_closing():
                self._write_down()
            stream[1].transport.abort() if stream[1].is_closing() else stream[1].close()

    def _settle(self) -> None:
        """The connection is still there: what was sent before has arrived. Raises ConnectionError when it is not."""
        if self._stream is not None and (self._stream[0].at_eof() or self._stream[1].is_closing()):
            raise ConnectionError("the other side has closed the connection")
        self._write_down()

    def _write_down(self) -> None:
        if self._sent != self._kept:
            self._places.write(self._sent)
            self._kept = dict(self._sent)

    def _wanted(self, line: bytes) -> bool:
        if not self._sink.kinds:
            return True
        at = line.find(b'"kind":"') + 8
        return line[at : line.find(b'"', at)].decode() in self._sink.kinds

    async def _connect(self) -> None:
        sink = self._sink
        if sink.scheme == "unix":
            self._datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._datagrams.setblocking(False)
            self._datagrams.connect(sink.host)
        elif sink.scheme == "udp":
            found = await asyncio.get_running_loop().getaddrinfo(sink.host, sink.port, type=socket.SOCK_DGRAM)
            self._datagrams = socket.socket(found[0][0], socket.SOCK_DGRAM)
            self._datagrams.setblocking(False)
            self._datagrams.connect(found[0][4])
        else:
            context = _context(sink) if sink.scheme == "tls" else None
            self._stream = await asyncio.open_connection(sink.host, sink.port, ssl=context)

    async def _send(self, messages: Sequence[bytes]) -> None:
        if self._datagrams is not None:
            loop = asyncio.get_running_loop()
            for message in messages:
                await loop.sock_sendall(self._datagrams, message)
        elif self._stream is not None:
            writer = self._stream[1]
            async with asyncio.timeout(ACKNOWLEDGE):
                for message in messages:
                    writer.write(b"%d " % len(message) + message)
                    await writer.drain()
                await self._acknowledged(writer)

    async def _acknowledged(self, writer: asyncio.StreamWriter) -> None:
        """Nothing waits here or in the system's buffer any more: the peer's system has it."""
        sock = writer.get_extra_info("socket")
        while writer.transport.get_write_buffer_size() or _unacknowledged(sock.fileno()):
            if writer.is_closing():
                raise ConnectionError("the connection was lost")
            await asyncio.sleep(_LOOK)


def _unacknowledged(fd: int) -> int:
    """Linux: SIOCOUTQ, bytes of a socket that the peer has not acknowledged."""
    return int(struct.unpack("i", fcntl.ioctl(fd, termios.TIOCOUTQ, b"\0\0\0\0"))[0])


def _context(sink: SyslogSink) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=None if sink.ca is None else str(sink.ca))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{sink.ca}: no CA certificates in it, as PEM ({error})") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
