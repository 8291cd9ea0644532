"""A TCP relay that does to connections what networks do: cuts them in mid-message, holds them up, delivers them in crumbs.

Runs in the event loop of its user. What a peer said right before it closed may get lost when the other side writes at that
moment: whoever wants to hear every last word connects directly.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from typing import cast

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class _End(asyncio.Protocol):
    """One side of a relayed connection."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.transport: asyncio.Transport | None = None
        self.left = -1
        """Bytes that may still pass before the connection is cut; -1: any number."""
        self.waiting = b""
        self._full = False

    @property
    def peer(self) -> _End:
        return self.pair.near if self is self.pair.far else self.pair.far

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        pair = self.pair
        if pair.stalled:
            self.waiting += data
            self.settle()
            return
        if self.left >= 0:
            data = data[: self.left]
            self.left -= len(data)
            self.peer.write(data)
            if self.left == 0:
                pair.cut()
            return
        self.peer.write(data)

    def write(self, data: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def pause_writing(self) -> None:
        self.peer._full = True
        self.peer.settle()

    def resume_writing(self) -> None:
        self.peer._full = False
        self.peer.settle()

    def settle(self) -> None:
        """Read, or do not."""
        if self.transport is None or self.transport.is_closing():
            return
        if self._full or self.pair.stalled:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.peer.transport is not None:
            self.peer.transport.close()
        self.pair.relay.pairs.discard(self.pair)

    def reset(self) -> None:
        """Close so that the other side gets a reset."""
        if self.transport is not None:
            sock = self.transport.get_extra_info("socket")
            if sock is not None and not self.transport.is_closing():
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.transport.abort()


class Pair:
    """A relayed connection: `near` is the side that connected to the relay."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.near = _End(self)
        self.far = _End(self)
        self.stalled = True
        """Nothing passes: for a while, or because the far side is not connected yet."""

    def cut(self) -> None:
        """Both sides see a reset."""
        self.near.reset()
        self.far.reset()

    def cut_after(self, count: int, *, from_near: bool) -> None:
        """Cut when `count` more bytes of one side have passed: in the middle of whatever is said then."""
        (self.near if from_near else self.far).left = count

    def stall(self, seconds: float) -> None:
        """Nothing passes for a while; nobody is told."""
        if self.stalled:
            return
        self.stalled = True
        self.near.settle()
        self.far.settle()
        asyncio.get_running_loop().call_later(seconds, self.go_on)

    def go_on(self) -> None:
        self.stalled = False
        for end in (self.near, self.far):
            data, end.waiting = end.waiting, b""
            if data:
                end.data_received(data)
            end.settle()


class Relay:
    """Listens on a port of its own; use `async with`."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.target = (host, port)
        self.port = 0
        self.pairs: set[Pair] = set()
        self.open = True
        """Otherwise new connections are reset."""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Relay:
        loop = asyncio.get_running_loop()

        def arrive() -> _End:
            pair = Pair(self)

            class Near(_End):
                def connection_made(self, transport: asyncio.BaseTransport) -> None:
                    super().connection_made(transport)
                    task = loop.create_task(pair.relay._join(pair))
                    pair.relay._tasks.add(task)
                    task.add_done_callback(pair.relay._tasks.discard)

            pair.near = Near(pair)
            return pair.near

        self._server = await loop.create_server(arrive, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def _join(self, pair: Pair) -> None:
        self.pairs.add(pair)
        try:
            if not self.open:
                raise OSError("closed")
            await asyncio.get_running_loop().create_connection(lambda: pair.far, *self.target)
        except OSError:
            self.pairs.discard(pair)
            pair.near.reset()
            return
        if pair.near.transport is None or pair.near.transport.is_closing():
            pair.far.reset()
        else:
            pair.go_on()

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for pair in list(self.pairs):
            pair.near.reset()
            pair.far.reset()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)

    def any(self, chance: random.Random) -> Pair | None:
        """Any connection at all."""
        pairs = [p for p in self.pairs if p.far.transport is not None]
        return chance.choice(pairs) if pairs else None
