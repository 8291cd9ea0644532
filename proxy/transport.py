"""Two sockets and a session between them: bytes in, the session's answer out, nothing held that need not be.

The hot path is one call of the session per read and one write per direction. Back-pressure works both ways: a full
write buffer on one side stops reading on the other, so memory per connection stays within the buffers' limits whatever
the speed of the peers. What the session asks for beyond bytes (evidence, a catalog, an end) goes to the `Keeper`.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from proxy.entrance import Entrance, Stage
from proxy.evidence import CountingAudit
from proxy.session.machine import Session
from proxy.wire.client import TERMINATE

HIGH_WATER = 256 * 1024
LOW_WATER = 64 * 1024
EVIDENCE_LOST = ("58030", "could not write audit record")
LINGER = 10.0
"""Seconds a closed connection may take to deliver what is still in its buffer."""

_FULL = 1
"""Not reading: the other side's write buffer is full."""
_HELD = 2
"""Not reading: the session asked for it."""
WAITING = 4
"""Not reading: the other side is not connected yet."""
_UNSECURED = 8
"""Not reading: what was read before waits for its evidence to be on disk."""


class Keeper(Protocol):
    """What a link needs of the server it belongs to."""

    def on_evidence(self, link: Link) -> None:
        """There is data that needs its evidence written first: call `deliver` or `withhold` soon. Idempotent."""

    def on_admitted(self, link: Link) -> None:
        """The server has accepted the login and is ready; called once. Call `enter` or `turn_away` when that is decided."""

    def on_attention(self, link: Link) -> None:
        """The session wants its catalog read anew, or has seen DDL."""

    def on_plan(self, link: Link) -> None:
        """The session wants a long text planned. Idempotent."""

    def on_cut(self, link: Link) -> None:
        """The session wants the server to end what it is doing: call `Session.cancel_sent` when it knows, or cannot be told."""

    def on_question(self, link: Link) -> None:
        """The session wants an answer to a command for pgveil itself. Idempotent."""

    def on_closed(self, link: Link) -> None:
        """Both sockets are gone; called once."""


class Link:
    """One client, its server connection, and the session between them."""

    __slots__ = (
        "_linger",
        "_whole",
        "active",
        "answering",
        "attached",
        "audit",
        "catalog_asked",
        "client",
        "closing",
        "counted",
        "entrance",
        "from_client",
        "from_server",
        "held",
        "idle_since",
        "keeper",
        "needs",
        "open_sides",
        "planning",
        "reason",
        "refreshing",
        "server",
        "session",
        "stuck_since",
        "stuck_size",
        "unsecured",
        "waiting",
    )

    def __init__(self, session: Session, keeper: Keeper, audit: CountingAudit) -> None:
        self.session = session
        self.audit = audit
        self.keeper = keeper
        self.client = ClientSide(self)
        self.server = ServerSide(self)
        self.open_sides = 0
        self.closing = False
        self.held = False
        """The session has asked for no more input from the client."""
        self.waiting = False
        """Known to the keeper as waiting for evidence."""
        self.needs = 0
        """The last record that must be secured before `to_client` is delivered."""
        self.unsecured = False
        """Takes nothing in until then."""
        self._linger: asyncio.TimerHandle | None = None
        self.entrance: Entrance | None = Entrance()
        """Until the login is over."""
        self.attached = False
        """The keeper's mark: the control plane counts this session."""
        self.counted = False
        """The keeper's mark: it counts among the sessions of its user and database."""
        self.stuck_size = 0
        """Bytes that waited for the client when the sweep looked last."""
        self.stuck_since = 0.0
        self.reason = "client left"
        """Why the session ended, for the audit trail."""
        self._whole = True
        """What the client has got so far ends with a whole message."""
        self.active = True
        """Bytes came from the client since the idle sweep looked last."""
        self.idle_since = 0.0
        self.planning: asyncio.Task[None] | None = None
        """A long text is being planned for this session."""
        self.answering: asyncio.Task[None] | None = None
        """A command for pgveil itself is being carried out for this session."""
        self.refreshing = False
        """A catalog is being read for this session."""
        self.catalog_asked = 0
        """How often the session has asked for one."""
        self.from_client = 0
        self.from_server = 0

    def pump(self) -> None:
        """Do what the session's last call left to do: write, secure evidence, pause, close."""
        session = self.session
        out = session.to_server
        if out:
            self.server.write(out)
            out.clear()
        out = session.to_client
        if out:
            if session.evidence:
                self.keeper.on_evidence(self)
                if self.closing:
                    return
            else:
                self.client.write(out)
                out.clear()
                self._whole = session.whole
        if session.held != self.held:
            self._set_held(session.held)
        if session.wants_catalog or session.ddl:
            self.keeper.on_attention(self)
        if session.wants_plan is not None and self.planning is None:
            self.keeper.on_plan(self)
        if session.wants_cancel:
            session.wants_cancel = False
            self.keeper.on_cut(self)
        if session.wants_answer is not None and self.answering is None:
            self.keeper.on_question(self)
        if session.close and not out:
            self.close()

    def release(self) -> None:
        """What is held back of the evidence for `to_client` goes into the trail. Raises AuditError."""
        self.audit.release()

    def hold(self) -> None:
        """Evidence takes a while: neither side is read until it is there. Idempotent."""
        if not self.unsecured:
            self.unsecured = True
            self.client.pause(_UNSECURED)
            self.server.pause(_UNSECURED)

    def deliver(self) -> None:
        """The evidence for everything in `to_client` is where it should be: up to the record `needs`."""
        session = self.session
        session.evidence = self.audit.holds or self.audit.latest > self.needs
        self.client.write(session.to_client)
        session.to_client.clear()
        self._whole = session.whole
        if session.close:
            self.close()
        elif self.unsecured:
            self.unsecured = False
            self.client.resume(_UNSECURED)
            self.server.resume(_UNSECURED)

    def withhold(self) -> None:
        """Evidence cannot be written: the client gets an error instead of the data, where a message may begin."""
        session = self.session
        session.to_client.clear()
        session.evidence = False
        self.reason = "audit record could not be written"
        session.refuse(*EVIDENCE_LOST)
        self.server.write(session.to_server)
        if self._whole:
            self.client.write(session.to_client)
        self.close()

    def arrive(self, entrance: Entrance, data: bytes) -> None:
        """The server's bytes before the client has been let in."""
        passed = entrance.feed(data)
        if entrance.problem:
            self.session.server_violation(entrance.problem)
            self.pump()
        elif passed:
            self.session.server_data(passed)
            self.pump()
        if entrance.stage is Stage.ENTERED and not self.server.is_paused(WAITING):
            self.server.pause(WAITING)
            self.keeper.on_admitted(self)

    def enter(self) -> None:
        """Let the client in: from here on the session has all."""
        if self.closing or self.entrance is None:
            return
        kept, self.entrance = self.entrance.kept, None
        self.session.server_data(kept)
        self.pump()
        self.server.resume(WAITING)

    def turn_away(self, answer: bytes) -> None:
        """Neither the client nor its bytes get further; it is told why."""
        if self.closing:
            return
        self.server.write([TERMINATE])
        self.client.write([answer])
        self.close()

    def _set_held(self, held: bool) -> None:
        self.held = held
        if held:
            self.client.pause(_HELD)
        else:
            self.client.resume(_HELD)

    def close(self) -> None:
        """Deliver what is buffered, then close both sides. Idempotent."""
        if self.closing:
            return
        self.closing = True
        self.client.close()
        self.server.close()
        if self.open_sides:
            self._linger = asyncio.get_running_loop().call_later(LINGER, self.abort)

    def abort(self) -> None:
        """Drop both sides at once."""
        self.closing = True
        self.client.abort()
        self.server.abort()

    def side_lost(self) -> None:
        self.open_sides -= 1
        if self.open_sides == 0:
            if self._linger is not None:
                self._linger.cancel()
            try:
                self.keeper.on_closed(self)
            finally:
                self.let_go()

    def let_go(self) -> None:
        """Leave no circle of references: a session's memory, TLS state above all, is freed now and not when the collector of
        circles comes by, which is seldom."""
        self._linger = None
        for side in (self.client, self.server):
            side.transport = None
            del side.link


class _Side:
    """What both sides have in common: a transport, its peer, and the reasons not to read.

    An asyncio.Protocol in all but its base: a compiled class has no base that is not compiled.
    """

    __slots__ = ("_pauses", "link", "transport")
    __deletable__ = ("link",)

    def __init__(self, link: Link) -> None:
        self.link = link
        self.transport: asyncio.Transport | None = None
        self._pauses = 0

    @property
    def peer(self) -> _Side:
        raise NotImplementedError

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = whole = cast(asyncio.Transport, transport)
        self.link.open_sides += 1
        whole.set_write_buffer_limits(HIGH_WATER, LOW_WATER)

    @property
    def waiting(self) -> int:
        """Bytes that the system has not taken yet."""
        return 0 if self.transport is None else self.transport.get_write_buffer_size()

    def write(self, chunks: list[bytes]) -> None:
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        if len(chunks) == 1:
            transport.write(chunks[0])
        else:
            transport.writelines(chunks)

    def pause(self, reason: int) -> None:
        if not self._pauses and self.transport is not None:
            self.transport.pause_reading()
        self._pauses |= reason

    def is_paused(self, reason: int) -> bool:
        return bool(self._pauses & reason)

    def resume(self, reason: int) -> None:
        if not self._pauses & reason:
            return
        self._pauses &= ~reason
        if not self._pauses and self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def pause_writing(self) -> None:
        self.peer.pause(_FULL)

    def resume_writing(self) -> None:
        self.peer.resume(_FULL)

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()


class ClientSide(_Side):
    __slots__ = ()

    @property
    def peer(self) -> _Side:
        return self.link.server

    def data_received(self, data: bytes) -> None:
        link = self.link
        if link.closing:
            return
        link.active = True
        link.from_client += len(data)
        link.session.client_data(data)
        link.pump()

    def eof_received(self) -> bool:
        """A client that closes its sending half is gone, as it is for PostgreSQL."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The session goes on for as long as what the client sent before has to be executed."""
        link = self.link
        try:
            if not link.closing:
                link.session.client_eof()
                link.pump()
                link.server.resume(_FULL)
        except BaseException:
            link.abort()  # nobody is there to go on with the other side
            raise
        finally:
            link.side_lost()


class ServerSide(_Side):
    __slots__ = ()

    @property
    def peer(self) -> _Side:
        return self.link.client

    def data_received(self, data: bytes) -> None:
        link = self.link
        if link.closing:
            return
        link.from_server += len(data)
        if link.entrance is not None:
            link.arrive(link.entrance, data)
            return
        link.session.server_data(data)
        link.pump()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        link = self.link
        try:
            if not link.closing:
                if not (link.session.leaving or link.session.client_gone):
                    link.reason = "server closed the connection"
                link.session.server_eof()
                link.pump()
        except BaseException:
            link.abort()
            raise
        finally:
            link.side_lost()
