"""The listening sockets and the clients at the door: from `accept` to the start-up packet, or to the word that ends it.

A client at the door costs a socket and a task, for `login_timeout` at most; there may be `SPARE_SOCKETS` more of them than
sessions. When all places are taken, whoever has been silent the longest at the address that holds the most of them makes room, so
that nobody keeps others out by opening connections and saying nothing. Manual: protocol-flow.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from proxy.admission import TurnedAway, place_of
from proxy.errors import PgveilError
from proxy.greeting import Door, Greeting, Visitor
from proxy.listen import bind, port_of
from proxy.listen import start as listen
from proxy.logs import event
from proxy.metrics import Metrics
from proxy.sockets import TcpSettings, tune
from proxy.transport import LINGER
from proxy.wire.codec import encode_error

log = logging.getLogger("pgveil.server")

SPARE_SOCKETS = 200
"""Sockets beyond the limit of sessions: clients at the door, cancel requests."""
_AT_ONCE = 64
"""Connections accepted before anybody else gets a turn."""

Receive = Callable[[Greeting, tuple[str, int]], Awaitable[bool]]


class Reception:
    """Accepts until `close`. `receive` gets whoever has said who he is, and answers whether it has taken the connection over;
    what it raises is told to the client."""

    def __init__(
        self, door: Door, receive: Receive, metrics: Metrics, tcp: TcpSettings, patience: float, has_room: Callable[[int], bool]
    ) -> None:
        """`patience`: seconds from the first byte to the end of `receive`. `has_room(n)`: with n clients at the door."""
        self._door = door
        self._receive = receive
        self._metrics = metrics
        self._tcp = tcp
        self._patience = patience
        self._has_room = has_room
        self._sockets: list[socket.socket] = []
        self._visits: dict[asyncio.Task[None], str] = {}
        self._waiting: dict[str, OrderedDict[asyncio.Task[None], None]] = {}
        """By address, the visits that have not said who they are, the oldest first."""

    @property
    def listening(self) -> bool:
        return bool(self._sockets)

    @property
    def waiting(self) -> int:
        """Clients at the door."""
        return len(self._visits)

    def listen(self, host: str, port: int, *, share: bool = False) -> int:
        """Listen on every address of the host; returns the port. `share`: other processes may, too. Raises OSError."""
        sockets = bind(host, port, share=share)
        try:
            listen(sockets)
        except BaseException:
            for sock in sockets:
                sock.close()
            raise
        self._sockets = sockets
        for sock in sockets:
            asyncio.get_running_loop().add_reader(sock.fileno(), self._accept, sock)
        return port_of(sockets)

    def stop_listening(self) -> None:
        """Whoever is in the kernel's queue still gets an answer, rather than a reset."""
        sockets, self._sockets = self._sockets, []
        for sock in sockets:
            asyncio.get_running_loop().remove_reader(sock.fileno())
            while self._accept(sock):
                continue
            sock.close()

    async def close(self) -> None:
        """Send whoever is at the door away."""
        self.stop_listening()
        visits = list(self._visits)
        for task in visits:
            task.cancel()
        await asyncio.gather(*visits, return_exceptions=True)

    def _accept(self, listener: socket.socket) -> bool:
        """Let in who is there; True when there may be more."""
        for _ in range(_AT_ONCE):
            try:
                sock, address = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return False
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    event(log, "accept_failed", logging.ERROR, reason=error.strerror)
                    self._rest(listener)
                return False
            place = place_of(address[0])
            if not self._has_room(len(self._visits)) and not self._make_room(place):
                sock.close()
                self._metrics.logins.labels("overflow").inc()
                continue
            tune(sock, self._tcp)
            task = asyncio.get_running_loop().create_task(self._visit(sock, (address[0], address[1]), place))
            self._visits[task] = place
            self._waiting.setdefault(place, OrderedDict())[task] = None
            task.add_done_callback(self._gone)
        return True

    def _rest(self, listener: socket.socket) -> None:
        """Out of file descriptors: look again in a moment instead of spinning."""
        if listener not in self._sockets:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener.fileno())

        def again() -> None:
            if listener in self._sockets:
                loop.add_reader(listener.fileno(), self._accept, listener)

        loop.call_later(0.5, again)

    def _make_room(self, place: str) -> bool:
        """End the oldest silent visit of the address that has most of them; False when the newcomer is from there."""
        if not self._waiting:
            return False
        most = max(self._waiting, key=lambda p: len(self._waiting[p]))
        if most == place or len(self._waiting[most]) < 2:
            return False
        oldest = next(iter(self._waiting[most]))
        self._greeted(oldest)
        oldest.cancel()
        self._metrics.logins.labels("overflow").inc()
        return True

    def _greeted(self, task: asyncio.Task[None] | None) -> None:
        """The visit is past the start-up packet, or over."""
        if task is None:
            return
        place = self._visits.get(task, "")
        waiting = self._waiting.get(place)
        if waiting is not None:
            waiting.pop(task, None)
            if not waiting:
                del self._waiting[place]

    def _gone(self, task: asyncio.Task[None]) -> None:
        self._greeted(task)
        self._visits.pop(task, None)

    async def _visit(self, sock: socket.socket, peer: tuple[str, int], place: str) -> None:
        """One client from its first byte to a running session, or to the door."""
        at_door: list[Visitor] = []
        taken = False
        try:
            async with asyncio.timeout(self._patience):
                greeting = await self._door.receive(sock, at_door.append)
                self._greeted(asyncio.current_task())
                taken = await self._receive(greeting, peer)
        except TimeoutError:
            self._metrics.logins.labels("timeout").inc()
            event(log, "login_timeout", client=peer[0])
        except PgveilError as error:
            self._metrics.logins.labels("refused").inc()
            if isinstance(error, TurnedAway):
                self._metrics.turned_away.labels(error.limit).inc()
            event(log, "login_refused", sqlstate=error.sqlstate, reason=error.message, client=peer[0])
            await _refuse(at_door[-1], error)
        except ssl.SSLError as error:
            self._metrics.logins.labels("left").inc()
            event(log, "tls_failed", reason=getattr(error, "verify_message", "") or error.reason or "unknown", client=peer[0])
        except OSError as error:
            self._metrics.logins.labels("left").inc()
            event(log, "client_left", logging.DEBUG, reason=type(error).__name__, client=peer[0])
        except Exception:
            self._metrics.logins.labels("failed").inc()
            log.exception("unexpected failure of an arrival")
            await _refuse(at_door[-1], PgveilError("internal error of the proxy"))
        finally:
            if not taken:
                if at_door:
                    at_door[-1].close()
                sock.close()


async def _refuse(visitor: Visitor, error: PgveilError) -> None:
    """Tell a client at the door why it is not let in. It may be gone already."""
    try:
        async with asyncio.timeout(LINGER):
            await visitor.send(error_response(error))
    except (OSError, TimeoutError):
        return


def error_response(error: PgveilError) -> bytes:
    """The FATAL ErrorResponse that a client without a session gets; before protocol 3 it was a letter and a line."""
    if error.untagged:
        return b"EFATAL:  " + error.message.encode() + b"\n\0"
    fields = [("S", b"FATAL"), ("V", b"FATAL"), ("C", error.sqlstate.encode()), ("M", error.message.encode())]
    if error.hint:
        fields.append(("H", error.hint.encode()))
    return encode_error(tuple(fields))
