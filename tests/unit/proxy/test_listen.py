"""Listening sockets: all addresses of a name, one port for all, sharing only where it is meant."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator, Sequence

import pytest

from proxy import listen


@contextlib.contextmanager
def closing(sockets: Sequence[socket.socket]) -> Iterator[None]:
    try:
        yield
    finally:
        for sock in sockets:
            sock.close()


def resolver(*addresses: tuple[socket.AddressFamily, str]) -> object:
    def getaddrinfo(host: str | None, port: int, **_: object) -> list[object]:
        return [(family, socket.SOCK_STREAM, 6, "", (address, port)) for family, address in addresses]

    return getaddrinfo


def test_every_address_with_the_same_port(monkeypatch: pytest.MonkeyPatch) -> None:
    v4 = socket.AF_INET
    monkeypatch.setattr(socket, "getaddrinfo", resolver((v4, "127.0.0.1"), (v4, "127.0.0.2"), (v4, "127.0.0.1")))
    sockets = listen.bind("name", 0)
    with closing(sockets):
        listen.start(sockets)
        port = listen.port_of(sockets)
        assert [s.getsockname() for s in sockets] == [("127.0.0.1", port), ("127.0.0.2", port)]
        for address in ("127.0.0.1", "127.0.0.2"):
            with socket.socket() as client:
                client.settimeout(10)
                client.connect((address, port))


def test_an_address_that_is_not_here_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    v4 = socket.AF_INET
    monkeypatch.setattr(socket, "getaddrinfo", resolver((v4, "192.0.2.1"), (v4, "127.0.0.1")))
    sockets = listen.bind("name", 0)
    with closing(sockets):
        assert [s.getsockname()[0] for s in sockets] == ["127.0.0.1"]
    monkeypatch.setattr(socket, "getaddrinfo", resolver((v4, "192.0.2.1")))
    with pytest.raises(OSError, match=os.strerror(errno.EADDRNOTAVAIL)):
        listen.bind("name", 0)


def test_sharing_is_meant_by_all_or_refused() -> None:
    reserved, port = listen.reserve("127.0.0.1", 0)
    with closing(reserved):
        first = listen.bind("127.0.0.1", port, share=True)
        with closing(first):
            listen.start(first)
            second = listen.bind("127.0.0.1", port, share=True)
            with closing(second):
                listen.start(second)
            with pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE)):
                listen.bind("127.0.0.1", port)
            with pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE)):
                listen.reserve("127.0.0.1", port)
