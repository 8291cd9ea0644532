"""Connections to the PostgreSQL server behind us: addresses, time-outs, TLS negotiation.

TLS is negotiated on the bare socket, one byte read for one answer: whatever a man in the middle glued behind the `S`
stays in the kernel and becomes a broken TLS record, never a message (CVE-2021-23222).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass, field

from proxy.errors import UpstreamUnavailable
from proxy.sockets import TcpSettings, tune
from proxy.tls import ServerMode

SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"


@dataclass(frozen=True)
class Upstream:
    """Where the server is and how to talk to it. A host that begins with `/` is the directory of its Unix socket."""

    host: str
    port: int
    mode: ServerMode = ServerMode.DISABLE
    context: ssl.SSLContext | None = field(default=None, repr=False)
    timeout: float = 10.0
    """Seconds for everything up to the end of the TLS handshake."""
    tcp: TcpSettings = TcpSettings()

    @property
    def name(self) -> str:
        return f"{self.host}:{self.port}"

    async def connect(self, protocol: asyncio.Protocol) -> asyncio.Transport:
        """A connected transport with the protocol on it. Raises UpstreamUnavailable."""
        sock: socket.socket | None = None
        try:
            async with asyncio.timeout(self.timeout):
                sock = await self._open()
                loop = asyncio.get_running_loop()
                transport: asyncio.Transport
                if sock.family == socket.AF_UNIX:
                    transport, _ = await loop.create_unix_connection(lambda: protocol, sock=sock)
                elif await self._wants_tls(sock):
                    transport, _ = await loop.create_connection(
                        lambda: protocol, sock=sock, ssl=self.context, server_hostname=self.host
                    )
                else:
                    transport, _ = await loop.create_connection(lambda: protocol, sock=sock)
                return transport
        except BaseException as error:
            if sock is not None:
                sock.close()
            reason = _reason(error)
            if reason is None:
                raise
            raise UpstreamUnavailable(f"could not connect to the server behind the proxy: {reason}") from error

    async def cancel(self, packet: bytes) -> None:
        """Deliver a CancelRequest; returns once the server has closed the connection (its way to say done)."""
        courier = _Courier()
        transport = await self.connect(courier)
        try:
            transport.write(packet)
            async with asyncio.timeout(self.timeout):
                await courier.closed.wait()
        except TimeoutError:
            raise UpstreamUnavailable("the server did not take the cancel request in time") from None
        finally:
            transport.close()

    async def _open(self) -> socket.socket:
        loop = asyncio.get_running_loop()
        if self.host.startswith("/"):
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            return await _connect(sock, f"{self.host}/.s.PGSQL.{self.port}")
        addresses = await loop.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        failure: OSError | None = None
        for family, kind, proto, _, address in addresses:
            sock = socket.socket(family, kind, proto)
            tune(sock, self.tcp)
            try:
                return await _connect(sock, address)
            except OSError as error:
                failure = error
        raise failure or OSError("no address")

    async def _wants_tls(self, sock: socket.socket) -> bool:
        if self.context is None:
            return False
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(sock, SSL_REQUEST)
        answer = await loop.sock_recv(sock, 1)
        if answer == b"S":
            return True
        if answer == b"N":
            if self.mode is ServerMode.PREFER:
                return False
            raise UpstreamUnavailable("the server behind the proxy does not offer TLS, as upstream.tls.mode demands")
        raise ConnectionError("no answer to the TLS request")


def certificate_of(transport: asyncio.Transport) -> bytes | None:
    """The certificate (DER) that the server has shown; None without TLS."""
    secured: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    return secured.getpeercert(binary_form=True) if secured is not None else None


async def _connect(sock: socket.socket, address: object) -> socket.socket:
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, address)  # type: ignore[arg-type]
    except BaseException:
        sock.close()
        raise
    return sock


def _reason(error: BaseException) -> str | None:
    """Why a connection failed, without addresses; None for what is not a failure of the network."""
    if isinstance(error, UpstreamUnavailable):
        return None
    if isinstance(error, TimeoutError):
        return "timeout expired"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or 'protocol error'})"
    if isinstance(error, socket.gaierror):
        return "host name does not resolve"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, OSError):
        return error.strerror or str(error) or "connection lost"
    return None


class _Courier(asyncio.Protocol):
    def __init__(self) -> None:
        self.closed = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()
