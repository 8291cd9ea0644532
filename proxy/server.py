"""The sessions of one process: how they begin, what becomes of them, and how they are sent home.

One `Server` is one event loop's worth of proxy. It owns no process-wide resource: the audit writer, the control plane and
the metrics are handed in, so that several workers can share a port (SO_REUSEPORT), each with its own. Clients come from
`reception`, `admission` counts them, `sweep` looks for those that take too long.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Coroutine
from hmac import compare_digest
from typing import Any, cast

from proxy.admission import Admission, TurnedAway
from proxy.arrival import Arrival, read_arrival
from proxy.aside import Aside
from proxy.committing import Committer
from proxy.config import Config
from proxy.control.errors import ControlUnavailable
from proxy.control.plane import ControlPlane
from proxy.errors import PgveilError, ShuttingDown
from proxy.evidence import Evidence
from proxy.greeting import Door, Greeting
from proxy.ledger import Ledger
from proxy.logs import event
from proxy.meter import SessionMeter
from proxy.metrics import Connections, Metrics
from proxy.reception import SPARE_SOCKETS, Reception, error_response
from proxy.replication import ReplicationWatch
from proxy.session.auth import startup_refusal
from proxy.session.effects import SessionOptions
from proxy.session.machine import Session
from proxy.sweep import Sweep
from proxy.transport import WAITING, Link
from proxy.upstream import Upstream, certificate_of
from proxy.wire.startup import CancelRequest, wants_replication
from proxy.wire.startup import encode as encode_packet
from rewrite.plan import Refusal

log = logging.getLogger("pgveil.server")

ADMIN_SHUTDOWN = ("57P01", "terminating connection due to administrator command")
REFRESH_TRIES = 5
LOOK_DELAY = 0.2
"""Seconds between DDL of a clear session and the next look at the catalog that nobody waits for."""
CANCELS_AT_ONCE = 64


class StartupRefused(PgveilError):
    """A start-up packet that a session with masked columns may not send, such as one for replication."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message, hint=refusal.hint)
        self.sqlstate = refusal.sqlstate


class Server:
    """Accepts clients until `drain`; keeps the links of all sessions."""

    def __init__(
        self,
        config: Config,
        door: Door,
        upstream: Upstream,
        control: ControlPlane,
        evidence: Evidence,
        metrics: Metrics,
        ledger: Ledger,
    ) -> None:
        self.ledger = ledger
        self.config = config
        self.door = door
        self.upstream = upstream
        self.control = control
        self.evidence = evidence
        self.metrics = metrics
        self.links: dict[Link, float] = {}
        """Every session and when it began (loop time)."""
        self.draining = False
        self.finished_bytes = [0, 0]
        """From clients and from the server, of links that are closed."""
        self.admission = Admission(config.limits.ceilings)
        self._reception = Reception(door, self._receive, metrics, config.tcp, config.limits.login_timeout, self._has_room)
        self._chores: set[asyncio.Task[None]] = set()
        self._cancels = asyncio.Semaphore(CANCELS_AT_ONCE)
        self.committer = Committer(evidence)
        self.on_evidence: Callable[[Link], None] = self.committer.ask
        """`transport.Keeper`, with no call in between."""
        self._looks: set[str] = set()
        """Databases whose catalog will be read in a moment."""
        self._aside = Aside()

    @property
    def listening(self) -> bool:
        return self._reception.listening

    def listen(self, host: str, port: int, *, share: bool = False) -> int:
        """Listen on every address of the host; returns the port. `share`: other processes may, too. Raises OSError."""
        port = self._reception.listen(host, port, share=share)
        self._chore(Sweep(self.config.limits, self.metrics, self._end).run(self.links.items))
        self._chore(ReplicationWatch(self.control, self._end, self.config.control.max_stale).run(self.links.keys))
        return port

    def _has_room(self, visits: int) -> bool:
        return visits + len(self.links) < self.config.limits.connections + SPARE_SOCKETS

    # Arrivals.

    async def _receive(self, greeting: Greeting, peer: tuple[str, int]) -> bool:
        if greeting.is_cancel:
            await self._cancel(greeting.packet)
            return False
        return await self._begin(greeting, peer)

    async def _cancel(self, packet: bytes) -> None:
        """Hand a cancel request on as it came. The client is told nothing, as by PostgreSQL: it only sees us hang up."""
        self.metrics.cancels.inc()
        for link in [link for link in self.links if compare_digest(link.session.cancel_key, packet[8:])]:
            link.session.cancel()
            link.pump()
        async with self._cancels:
            try:
                await self.upstream.cancel(packet)
            except PgveilError as error:
                event(log, "cancel_failed", logging.WARNING, reason=error.message)

    async def _begin(self, greeting: Greeting, peer: tuple[str, int]) -> bool:
        """Open a session; True when the link has taken the client's connection over."""
        if self.draining:
            raise ShuttingDown("the database system is shutting down")
        arrival = read_arrival(
            greeting.packet,
            peer,
            tls=greeting.visitor.secure,
            server_database=self.config.server_database,
            common_database=self.config.control.database,
        )
        identity = arrival.identity
        sid = secrets.token_hex(8)
        audit = self.evidence.session(sid, identity)
        try:
            self.admission.arrive(peer[0], identity.user)
        except TurnedAway as error:
            audit.turned_away(error.sqlstate, error.message)
            raise
        meter = SessionMeter(self.evidence.counts, self.control.desk.rations)
        options = SessionOptions(sid=sid, pooling=self.config.upstream.pooling, probes=self.ledger, meter=meter)
        session = Session(identity, self.control, audit, options)
        session.version, session.withheld = arrival.version, arrival.withheld
        link = Link(session, self, audit)
        try:
            transport = await self.upstream.connect(cast(asyncio.Protocol, link.server))
        except BaseException as error:
            if isinstance(error, PgveilError):
                audit.turned_away(error.sqlstate, error.message)
            self.admission.depart(peer[0])
            if link.open_sides:
                link.abort()
            else:
                link.let_go()
            raise
        session.certificates(greeting.visitor.certificate, certificate_of(transport))
        self.links[link] = asyncio.get_running_loop().time()
        await self._join(link, greeting, arrival)  # from here on, on_closed settles the accounts
        return True

    async def _join(self, link: Link, greeting: Greeting, arrival: Arrival) -> None:
        """Give the client's side to the link. The server's answer waits until there is somebody to give it to."""
        try:
            link.server.pause(WAITING)
            link.server.write([arrival.packet])
            await greeting.visitor.admit(lambda: cast(asyncio.Protocol, link.client))
            link.server.resume(WAITING)
        except BaseException:
            link.abort()
            raise

    # What links ask for (transport.Keeper).

    def on_admitted(self, link: Link) -> None:
        self._chore(self._admit(link))

    async def _admit(self, link: Link) -> None:
        """Let a client in whom the server has accepted, once we know the database; or tell it why not."""
        identity = link.session.identity
        try:
            self.admission.enter(identity.user, identity.database)
            link.counted = True
            self.admission.succeeded(identity.client_address, identity.user)
            await self.control.attach(identity.database)
            link.attached = True
            view = self.control.current(identity, time.time())
            link.audit.context(view.profile, view.roles)
            masked = view.profile.masked
            if wants_replication(identity.startup):
                masked = masked or await self.control.is_masked_anywhere(identity, time.time())
            refusal = startup_refusal(identity, masked)
            if refusal is not None:
                raise StartupRefused(refusal)
            link.audit.logged_in()
        except PgveilError as error:
            self._turn_away(link, error)
        except Exception:
            log.exception("unexpected failure of an arrival")
            self._turn_away(link, PgveilError("internal error of the proxy"))
        else:
            self.metrics.logins.labels("accepted").inc()
            link.enter()
        finally:
            if link not in self.links:  # gone meanwhile
                self._forget(link)

    def _turn_away(self, link: Link, error: PgveilError) -> None:
        if link.closing:
            return
        self.metrics.logins.labels("refused").inc()
        if isinstance(error, TurnedAway):
            self.metrics.turned_away.labels(error.limit).inc()
        event(log, "login_refused", sqlstate=error.sqlstate, reason=error.message, client=link.session.identity.client_address)
        link.audit.turned_away(error.sqlstate, error.message)
        link.turn_away(error_response(error))

    def on_attention(self, link: Link) -> None:
        session = link.session
        if session.ddl:
            session.ddl = False
            self.control.doubt(session.identity.database)
            if not session.masked and not session.wants_catalog:
                if not self._concerns_nobody(session.identity.database):  # else whoever comes next has it looked at first
                    self._look_soon(session.identity.database)
                return
            link.catalog_asked += 1
        if not link.refreshing:
            link.refreshing = True
            self._chore(self._refresh_for(link))

    def _look_soon(self, database: str) -> None:
        """Clear sessions wait for no catalog; a script of theirs is not to have it read for every statement."""
        if database in self._looks:
            return
        self._looks.add(database)

        async def look() -> None:
            await asyncio.sleep(LOOK_DELAY)
            self._looks.discard(database)
            await self.control.refresh(database)

        self._chore(look())

    def _concerns_nobody(self, database: str) -> bool:
        """Whether nothing can be masked for any session of the database: what its catalog holds can wait for the next look.

        Reading it holds a snapshot, which keeps VACUUM from its work.
        """
        sessions = (link.session for link in self.links if link.session.identity.database == database)
        return all(s.view is not None and s.view.profile.always_clear for s in sessions)

    async def _refresh_for(self, link: Link) -> None:
        """Read the catalog until the session has one that is younger than its last DDL; end the session if there is none,
        or none in time: a control connection that hangs is given up only after a while, and nobody is to wait for ever."""
        try:
            async with asyncio.timeout(self.config.control.max_stale):
                await self._reread(link)
        except TimeoutError:
            error = ControlUnavailable(link.session.identity.database, "it takes too long")
            self._end(link, (error.sqlstate, error.message))
        link.refreshing = False
        if not link.closing:
            link.session.catalog_refreshed()
            link.pump()

    async def _reread(self, link: Link) -> None:
        failures = 0
        while not link.closing:
            asked = link.catalog_asked
            try:
                await self.control.refresh(link.session.identity.database)
            except PgveilError as error:
                failures += 1
                if failures >= REFRESH_TRIES:
                    self._end(link, (error.sqlstate, error.message))
                await asyncio.sleep(0.2)
                continue
            if asked == link.catalog_asked:
                return

    def on_cut(self, link: Link) -> None:
        self._chore(self._cut(link))

    async def _cut(self, link: Link) -> None:
        """The server's own backend is asked to stop; it may also be done by now."""
        key = link.session.cancel_key  # behind a pooler its own, and not the backend's
        try:
            async with self._cancels:
                await self.upstream.cancel(encode_packet(CancelRequest(int.from_bytes(key[:4], "big"), key[4:])))
        except PgveilError as error:
            event(log, "cancel_failed", logging.WARNING, reason=error.message)
        finally:
            link.session.cancel_sent()
            if not link.closing:
                link.pump()

    def on_plan(self, link: Link) -> None:
        link.planning = self._chore(self._plan_for(link))

    async def _plan_for(self, link: Link) -> None:
        asked = link.session.wants_plan
        try:
            while asked is not None and not link.closing:
                plan = await self._aside.plan(asked)
                link.session.plan_made(asked, plan)
                if not link.closing:
                    link.pump()
                asked = link.session.wants_plan
        finally:
            link.planning = None

    def on_question(self, link: Link) -> None:
        link.answering = self._chore(self._answer_for(link))

    async def _answer_for(self, link: Link) -> None:
        """A command that has begun is carried out whatever becomes of its client."""
        asked = link.session.wants_answer
        try:
            while asked is not None and not link.closing:
                if not await self.committer.secured(link):
                    link.withhold()
                    return
                answer = await self.control.desk.answer(asked)
                link.session.answer_given(asked, answer)
                if not link.closing:
                    link.pump()
                asked = link.session.wants_answer
        finally:
            link.answering = None

    def on_closed(self, link: Link) -> None:
        if link.planning is not None:
            link.planning.cancel()
        began = self.links.pop(link, None)
        if began is None:
            return
        identity = link.session.identity
        self.admission.depart(identity.client_address)
        self._forget(link)
        if link.entrance is not None and link.entrance.refused:
            link.audit.turned_away(link.entrance.refused, "refused by the server")
            self.metrics.logins.labels("denied").inc()
            if link.entrance.refused[:2] == "28":
                self.admission.failed(identity.client_address, identity.user)
        self.finished_bytes[0] += link.from_client
        self.finished_bytes[1] += link.from_server
        try:
            link.audit.ended(asyncio.get_running_loop().time() - began, link.reason)
        finally:
            self.committer.soon()

    def _forget(self, link: Link) -> None:
        """Take back what `_admit` has counted."""
        identity = link.session.identity
        if link.attached:
            link.attached = False
            self.control.detach(identity.database)
        if link.counted:
            link.counted = False
            self.admission.leave(identity.user, identity.database)

    # Endings.

    async def drain(self, patience: float) -> None:
        """Send idle sessions home, wait for the others up to `patience` seconds, then end them too."""
        self.draining = True
        self._reception.stop_listening()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        while self.links and loop.time() < deadline:
            for link in [link for link in self.links if link.session.idle and not link.closing]:
                self._end(link, ADMIN_SHUTDOWN)
            await asyncio.sleep(0.02)
        for link in list(self.links):
            if not link.closing:
                self._end(link, ADMIN_SHUTDOWN)
        await self._emptied(1.0)

    async def close(self) -> None:
        """Drop what is left."""
        self.draining = True
        self._reception.stop_listening()
        for link in list(self.links):
            if not link.closing:
                self._end(link, ADMIN_SHUTDOWN)
        await self._emptied(0.5)
        for link in list(self.links):
            link.abort()
        await self._reception.close()
        for task in self._chores:
            task.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        await self._emptied(0.5)

    async def _emptied(self, patience: float) -> None:
        """Wait until every link is gone, for as long as that is likely to help."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        while self.links and loop.time() < deadline:
            await asyncio.sleep(0.01)

    def _end(self, link: Link, why: tuple[str, str]) -> None:
        link.reason = why[1]
        link.session.refuse(*why)
        link.pump()

    def connections(self) -> Connections:
        """Who is connected, for the metrics."""
        links = list(self.links)
        return Connections(
            open=len(links),
            active=sum(not link.session.idle for link in links if link.entrance is None),
            waiting=self._reception.waiting + sum(link.entrance is not None for link in links),
            server=sum(link.server.transport is not None for link in links),
            limit=self.config.limits.connections,
        )

    def traffic(self) -> tuple[int, int]:
        """Bytes from clients and from the server, so far."""
        sent = self.finished_bytes[0] + sum(link.from_client for link in self.links)
        return sent, self.finished_bytes[1] + sum(link.from_server for link in self.links)

    def _chore(self, work: Coroutine[Any, Any, object]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(_quietly(work))
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)
        return task


async def _quietly(work: Coroutine[Any, Any, object]) -> None:
    try:
        await work
    except PgveilError as error:
        event(log, "chore_failed", logging.WARNING, reason=error.message)
    except Exception:
        log.exception("unexpected failure of a background task")
