"""The first bytes of a client, over real socket pairs: whole, in pieces, glued, and hostile."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress

import pytest
import uvloop

from proxy.errors import InvalidAuthorization, PgveilError, ProtocolViolation
from proxy.greeting import Door, Greeting, Visitor
from proxy.tls import ClientMode, ClientTls, client_context
from proxy.wire.startup import MAX_PACKET
from tests.support.certificates import Authority

SSL = struct.pack("!ii", 8, 80877103)
GSS = struct.pack("!ii", 8, 80877104)
CANCEL = struct.pack("!iiii", 16, 80877102, 4711, 42)
BODY = b"user\0alice\0database\0bank\0\0"
STARTUP = struct.pack("!ii", 8 + len(BODY), 196608) + BODY

Play = Callable[[socket.socket], Awaitable[None]]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def context(authority: Authority) -> ssl.SSLContext:
    cert, key = authority.issue("localhost")
    return client_context(ClientTls(cert, key))


async def greet(door: Door, play: Play) -> Greeting:
    """Receive one client that behaves as `play`; closes everything."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    known: list[Visitor] = []
    with closing(ours), closing(theirs):
        player = asyncio.ensure_future(play(theirs))
        try:
            async with asyncio.timeout(20):
                return await door.receive(ours, known.append)
        finally:
            await asyncio.wait([player])
            if known:
                known[-1].close()


def run(play: Play, context: ssl.SSLContext | None = None, mode: ClientMode = ClientMode.ALLOW) -> Greeting:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(greet(Door(context, mode), play))


def says(*parts: bytes) -> Play:
    """A client that sends the parts one after the other, each when the previous has left."""

    async def play(sock: socket.socket) -> None:
        for part in parts:
            await asyncio.get_running_loop().sock_sendall(sock, part)
            await asyncio.sleep(0)

    return play


def asks(*exchange: bytes) -> Play:
    """A client that waits for one byte of answer after each part but the last."""

    async def play(sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for part in exchange[:-1]:
            await loop.sock_sendall(sock, part)
            assert await loop.sock_recv(sock, 1) == b"N"
        await loop.sock_sendall(sock, exchange[-1])

    return play


def test_startup_whole() -> None:
    assert run(says(STARTUP)).packet == STARTUP


def test_startup_byte_by_byte() -> None:
    assert run(says(*(STARTUP[i : i + 1] for i in range(len(STARTUP))))).packet == STARTUP


def test_what_follows_the_startup_packet_stays_in_the_socket() -> None:
    async def scene() -> bytes:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with closing(ours), closing(theirs):
            theirs.sendall(STARTUP + b"more")
            await Door(None, ClientMode.ALLOW).receive(ours, lambda _: None)
            return ours.recv(100)

    assert asyncio.run(scene()) == b"more"


@pytest.mark.parametrize("requests", [(SSL,), (GSS,), (SSL, GSS), (GSS, SSL)])
def test_encryption_is_declined_without_a_certificate(requests: tuple[bytes, ...]) -> None:
    greeting = run(asks(*requests, STARTUP))
    assert greeting.packet == STARTUP
    assert not greeting.is_cancel


def test_cancel() -> None:
    greeting = run(says(CANCEL))
    assert greeting.is_cancel
    assert greeting.packet == CANCEL


def test_cancel_after_a_declined_request() -> None:
    assert run(asks(SSL, CANCEL)).is_cancel


def test_cancel_is_taken_in_the_clear_where_tls_is_required(context: ssl.SSLContext) -> None:
    assert run(says(CANCEL), context, ClientMode.REQUIRE).is_cancel


def test_plain_text_is_refused_where_tls_is_required(context: ssl.SSLContext) -> None:
    with pytest.raises(InvalidAuthorization, match="encrypted connections only"):
        run(says(STARTUP), context, ClientMode.REQUIRE)


@pytest.mark.parametrize("request_", [SSL, GSS])
@pytest.mark.parametrize("with_tls", [True, False])
def test_bytes_glued_behind_a_request_are_refused(request_: bytes, with_tls: bool, context: ssl.SSLContext) -> None:
    with pytest.raises(ProtocolViolation, match=r"unencrypted data after (SSL|GSSAPI encryption) request"):
        run(says(request_ + STARTUP), context if with_tls else None)


@pytest.mark.parametrize("length", [0, 7, MAX_PACKET + 1, 0x7FFFFFFF, 0xFFFFFFFF])
def test_lengths_are_checked_before_they_are_believed(length: int) -> None:
    with pytest.raises(ProtocolViolation, match="invalid length"):
        run(says(struct.pack("!I", length) + BODY))


def test_a_second_request_is_no_request() -> None:
    """PostgreSQL answers each kind once; the next is taken for a start-up packet of an unknown protocol."""
    assert run(asks(SSL, SSL)).packet == SSL


@pytest.mark.parametrize("text", [b"", STARTUP[:3], STARTUP[:-1]])
def test_a_client_that_leaves(text: bytes) -> None:
    async def play(sock: socket.socket) -> None:
        await asyncio.get_running_loop().sock_sendall(sock, text)
        sock.shutdown(socket.SHUT_WR)

    with pytest.raises(ConnectionError) as caught:
        run(play)
    assert not isinstance(caught.value, PgveilError)


def tls_client(authority: Authority, first: bytes, alpn: str | None, then: bytes) -> Play:
    """Asks for TLS (or not, when `first` is empty), shakes hands, and sends `then`."""

    async def play(sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        if first:
            await loop.sock_sendall(sock, first)
            assert await loop.sock_recv(sock, 1) == b"S"
        trust = ssl.create_default_context(cafile=str(authority.certificate))
        if alpn:
            trust.set_alpn_protocols([alpn])
        try:
            _, writer = await asyncio.open_connection(sock=sock, ssl=trust, server_hostname="localhost")
        except (ConnectionError, ssl.SSLError):
            return
        with suppress(ConnectionError, ssl.SSLError):
            writer.write(then)
            writer.close()
            await writer.wait_closed()

    return play


def test_requested_tls(authority: Authority, context: ssl.SSLContext) -> None:
    greeting = run(tls_client(authority, SSL, None, STARTUP), context, ClientMode.REQUIRE)
    assert greeting.visitor.secure
    assert greeting.packet == STARTUP


def test_direct_tls(authority: Authority, context: ssl.SSLContext) -> None:
    greeting = run(tls_client(authority, b"", "postgresql", STARTUP), context, ClientMode.REQUIRE)
    assert greeting.visitor.secure
    assert greeting.packet == STARTUP


def test_cancel_over_tls(authority: Authority, context: ssl.SSLContext) -> None:
    assert run(tls_client(authority, SSL, None, CANCEL), context, ClientMode.REQUIRE).is_cancel


@pytest.mark.parametrize("alpn", [None, "http/1.1"])
def test_direct_tls_needs_the_protocol_name(authority: Authority, context: ssl.SSLContext, alpn: str | None) -> None:
    with pytest.raises(ProtocolViolation, match="ALPN"):
        run(tls_client(authority, b"", alpn, STARTUP), context)


def test_direct_tls_without_a_certificate(authority: Authority) -> None:
    with pytest.raises(ConnectionAbortedError):
        run(says(b"\x16\x03\x01\x00\x00"))


def test_an_ssl_request_inside_tls_is_no_request(authority: Authority, context: ssl.SSLContext) -> None:
    assert run(tls_client(authority, SSL, None, SSL), context).packet == SSL
