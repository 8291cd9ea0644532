"""What a client says before its session begins: TLS or GSS requests, a cancel request, the start-up packet.

The bare socket is read to the exact length of each packet. So whatever follows an SSLRequest stays in the kernel: it is
refused when it is already there, and otherwise reaches the TLS layer, never the protocol (the injection of
CVE-2021-23222 and its kin in proxies, CVE-2021-3935). Every length is capped before it is believed, and the caller puts
a time limit on the whole, so a slow client holds nothing but its socket. Manual: protocol-flow.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, cast

from proxy.errors import InvalidAuthorization, ProtocolViolation
from proxy.tls import ALPN, Alerts, ClientMode
from proxy.wire.startup import CANCEL_CODE, GSSENC_CODE, MAX_PACKET, SSL_CODE, TLS_RECORD


class Visitor(Protocol):
    """A client at the door, over a bare socket or over TLS."""

    @property
    def secure(self) -> bool: ...

    @property
    def certificate(self) -> bytes | None:
        """The certificate (DER) that the client was shown; None without TLS."""

    @property
    def certified(self) -> bool:
        """The client has shown a certificate of its own, and it is good."""

    async def read(self, size: int) -> bytes:
        """Exactly `size` bytes. Raises ConnectionError when the client leaves before."""

    async def send(self, data: bytes) -> None: ...

    async def admit(self, factory: Callable[[], asyncio.Protocol]) -> asyncio.Transport:
        """Give the connection to a protocol of its own; `connection_made` has been called on return."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Greeting:
    visitor: Visitor
    packet: bytes
    """The start-up packet or the cancel request, length word included, as it came."""
    is_cancel: bool


class Door:
    """Receives visitors. One per listener; what it is made of is swapped on reload."""

    def __init__(self, context: ssl.SSLContext | None, mode: ClientMode, certificate: bytes | None = None) -> None:
        """`certificate`: the one in the context, as DER."""
        self.context = context
        self.mode = mode
        self.certificate = certificate

    async def receive(self, sock: socket.socket, keep: Callable[[Visitor], None]) -> Greeting:
        """Answer what comes before the start-up packet. `keep` learns whom to answer or close when this raises.

        Raises ProtocolViolation, InvalidAuthorization, or OSError (ssl.SSLError included) for a client that left.
        """
        visitor: Visitor = BareVisitor(sock)
        keep(visitor)
        if await _peek(sock) == TLS_RECORD:
            visitor = await self._direct_tls(sock, keep)
        offers = {SSL_CODE, GSSENC_CODE}
        """Each may be asked for once, in either order; after a yes neither."""
        while True:
            packet = await _packet(visitor)
            code = int.from_bytes(packet[4:8], "big")
            if len(packet) == 8 and code in offers:
                offers.discard(code)
                if code == SSL_CODE and self.context is not None and not visitor.secure:
                    visitor = await self._requested_tls(sock)
                    keep(visitor)
                    offers.clear()
                else:
                    if not visitor.secure:
                        _refuse_glued(sock, code)
                    await visitor.send(b"N")
                continue
            if code == CANCEL_CODE:
                return Greeting(visitor, packet, is_cancel=True)
            if self.mode is ClientMode.REQUIRE and self.context is not None and not visitor.secure:
                raise InvalidAuthorization(
                    "this server accepts encrypted connections only", hint="Connect with sslmode=require or stronger."
                )
            if self.context is not None and self.context.verify_mode is not ssl.CERT_NONE and not visitor.certified:
                raise InvalidAuthorization("connection requires a valid client certificate")
            return Greeting(visitor, packet, is_cancel=False)

    async def _requested_tls(self, sock: socket.socket) -> Visitor:
        _refuse_glued(sock, SSL_CODE)
        await asyncio.get_running_loop().sock_sendall(sock, b"S")
        return await self._handshake(sock)

    async def _direct_tls(self, sock: socket.socket, keep: Callable[[Visitor], None]) -> Visitor:
        if self.context is None:
            raise ConnectionAbortedError("TLS is not configured")
        visitor = await self._handshake(sock)
        keep(visitor)
        if visitor.alpn != ALPN:
            raise ProtocolViolation("direct TLS connections must negotiate the ALPN protocol 'postgresql'")
        return visitor

    async def _handshake(self, sock: socket.socket) -> SecureVisitor:
        loop = asyncio.get_running_loop()
        visitor = SecureVisitor(self.certificate)
        with sock.dup() as line, Alerts() as alerts:  # the loop closes the socket when the handshake fails
            try:
                await loop.connect_accepted_socket(lambda: visitor, sock, ssl=self.context)
            except ssl.SSLError:
                with suppress(OSError):
                    line.setblocking(False)
                    line.send(alerts.read())
                raise
        return visitor


async def _packet(visitor: Visitor) -> bytes:
    head = await visitor.read(4)
    length = int.from_bytes(head, "big")
    if not 8 <= length <= MAX_PACKET:
        raise ProtocolViolation("invalid length of startup packet")
    return head + await visitor.read(length - 4)


async def _peek(sock: socket.socket) -> int:
    """The first byte, left in the socket."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            data = sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            pass
        else:
            if not data:
                raise ConnectionResetError("client left")
            return data[0]
        ready = asyncio.Event()
        loop.add_reader(sock.fileno(), ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(sock.fileno())


def _refuse_glued(sock: socket.socket, code: int) -> None:
    """Nothing may come before our answer to an encryption request: a man in the middle would have put it there."""
    try:
        glued = sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return
    if glued:
        asked = "SSL request" if code == SSL_CODE else "GSSAPI encryption request"
        raise ProtocolViolation(f"received unencrypted data after {asked}")


class BareVisitor:
    """Reads the socket directly, so that nothing beyond what was asked for leaves the kernel."""

    secure = False
    certified = False
    certificate = None

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    async def read(self, size: int) -> bytes:
        loop = asyncio.get_running_loop()
        data = b""
        while len(data) < size:
            more = await loop.sock_recv(self._sock, size - len(data))
            if not more:
                raise ConnectionResetError("client left")
            data += more
        return data

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._sock, data)

    async def admit(self, factory: Callable[[], asyncio.Protocol]) -> asyncio.Transport:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_accepted_socket(factory, self._sock)
        return transport

    def close(self) -> None:
        self._sock.close()


class SecureVisitor(asyncio.Protocol):
    """The same over TLS. Holds at most two packets; what was read beyond the start-up packet goes to the session."""

    secure = True

    def __init__(self, certificate: bytes | None) -> None:
        self.certificate = certificate
        self._buffer = b""
        self._gone = False
        self._more: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None

    @property
    def transport(self) -> asyncio.Transport:
        assert self._transport is not None
        return self._transport

    @property
    def certified(self) -> bool:
        return self.transport.get_extra_info("ssl_object").getpeercert(binary_form=True) is not None

    @property
    def alpn(self) -> str | None:
        chosen: str | None = self.transport.get_extra_info("ssl_object").selected_alpn_protocol()
        return chosen

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) > MAX_PACKET:
            self.transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self._gone = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone = True
        self._wake()

    def _wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)

    async def read(self, size: int) -> bytes:
        while len(self._buffer) < size:
            if self._gone:
                raise ConnectionResetError("client left")
            self.transport.resume_reading()
            self._more = asyncio.get_running_loop().create_future()
            await self._more
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    async def send(self, data: bytes) -> None:
        self.transport.write(data)

    async def admit(self, factory: Callable[[], asyncio.Protocol]) -> asyncio.Transport:
        transport = self.transport
        if self._gone or transport.is_closing():
            raise ConnectionResetError("client left")
        protocol = factory()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if self._buffer:
            protocol.data_received(self._buffer)
            self._buffer = b""
        transport.resume_reading()
        return transport

    def close(self) -> None:
        self.transport.close()
