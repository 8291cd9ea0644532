"""Listening sockets: every address that a host name stands for, alone or shared with other processes."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence

BACKLOG = 1024
_TRIES = 20
_ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT)

Address = tuple[int, int, int, tuple[object, ...]]


def bind(host: str, port: int, *, share: bool = False) -> list[socket.socket]:
    """Sockets bound to every address of the host, not listening yet. Raises OSError.

    Port 0: one free port for all of them. `share`: other processes of the same user may bind the port too
    (SO_REUSEPORT). Addresses of a family that this machine does not have are left out, unless nothing remains.
    """
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    addresses: list[Address] = list(dict.fromkeys((f, k, p, tuple(a)) for f, k, p, _, a in found))
    for last in (False,) * (_TRIES - 1) + (True,):
        try:
            return _bind_all(addresses, share)
        except OSError as error:  # the port that the first address got may be taken on the second
            if last or port or len(addresses) == 1 or error.errno != errno.EADDRINUSE:
                raise
    raise AssertionError("not reached")


def start(sockets: Sequence[socket.socket]) -> None:
    """Begin to listen. Raises OSError."""
    for sock in sockets:
        sock.listen(BACKLOG)


def reserve(host: str, port: int) -> tuple[list[socket.socket], int]:
    """Bind for processes that will share the port, and find it when it is 0. Raises OSError when somebody listens there.

    Keep the sockets open: they never listen, but the port stays ours while a worker is started again.
    """
    if port:  # SO_REUSEPORT alone would let two proxies of the same user share the port by mistake
        for sock in bind(host, port):
            sock.close()
    sockets = bind(host, port, share=True)
    return sockets, port_of(sockets)


def port_of(sockets: Sequence[socket.socket]) -> int:
    return int(sockets[0].getsockname()[1])


def _bind_all(addresses: Sequence[Address], share: bool) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    absent: OSError | None = None
    try:
        for family, kind, proto, address in addresses:
            if sockets and not address[1]:
                address = (address[0], port_of(sockets), *address[2:])
            try:
                sockets.append(_bind(family, kind, proto, address, share, alone=len(addresses) == 1))
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
                absent = error
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    if not sockets:
        raise absent or OSError(errno.EADDRNOTAVAIL, "no address")
    return sockets


def _bind(family: int, kind: int, proto: int, address: tuple[object, ...], share: bool, alone: bool) -> socket.socket:
    sock = socket.socket(family, kind, proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6 and not alone:  # the IPv4 address has a socket of its own
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return sock
