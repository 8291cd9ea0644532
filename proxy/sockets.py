"""Options of TCP connections, on both sides: no delay for small messages, and how a peer that has vanished is noticed.

Keepalive probes find a peer that is silent and gone. They are not sent while data is under way to it; then the kernel's own
retransmissions decide (some fifteen minutes on Linux), or TCP_USER_TIMEOUT. That is off by default, because Linux also counts
the time for which a living peer takes nothing: a pager that waits for a person, a server busy with a long statement while the
client sends ahead. Manual: tcp(7).
"""

from __future__ import annotations

import math
import socket
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TcpSettings:
    """Seconds; 0 for `user_timeout` leaves it to the kernel."""

    keepalive: float = 60.0
    """Silence after which probes begin."""
    keepalive_interval: float = 15.0
    keepalive_count: int = 6
    """Probes without an answer after which the peer is gone."""
    user_timeout: float = 0.0


def tune(sock: socket.socket, tcp: TcpSettings = TcpSettings()) -> None:
    """Make a socket ready for use. Options that the system does not have are left out."""
    sock.setblocking(False)
    if sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    values = {
        "TCP_KEEPIDLE": math.ceil(tcp.keepalive),
        "TCP_KEEPINTVL": math.ceil(tcp.keepalive_interval),
        "TCP_KEEPCNT": tcp.keepalive_count,
        "TCP_USER_TIMEOUT": math.ceil(tcp.user_timeout * 1000),
    }
    for option, value in values.items():
        if value and hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
