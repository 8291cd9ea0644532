"""One serving process: everything started in order, signals, reload, everything stopped in reverse.

Start order is the order of trust: audit trail, policy, catalog, HTTP, and the listener last. A reload builds what is new
before it swaps anything; what is bad is logged and audited, and the old stays in force.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import uvloop

from proxy.anchors.sending import Anchoring
from proxy.audit.record import Kind
from proxy.completeness.watch import EVENT as SERVER_COUNTS
from proxy.completeness.watch import CountsWatch, count_opening, prepare
from proxy.config import Config
from proxy.control.connection import Target
from proxy.control.picture import Options
from proxy.control.plane import ControlPlane
from proxy.control.policy import PolicyFiles
from proxy.engine import Planners, PolicyEngine
from proxy.errors import ConfigError, PgveilError
from proxy.evidence import HEAD_LAG, Evidence
from proxy.greeting import Door
from proxy.http import HttpSide
from proxy.ledger import Ledger
from proxy.logs import event
from proxy.metrics import Metrics, Readings
from proxy.server import Server
from proxy.session.effects import Pooling
from proxy.tls import ClientMode, certificate_bytes, client_context, expiry, server_context
from proxy.upstream import Upstream
from proxy.workers import BEAT, worker_name, worker_ports

log = logging.getLogger("pgveil")

ControlEvent = Callable[[str, Mapping[str, str | int | bool]], None]


def control_plane(
    config: Config, planners: Planners, databases: tuple[str, ...], on_event: ControlEvent = lambda name, fields: None
) -> ControlPlane:
    """The control plane of a configuration, not started. Raises ConfigError for unusable TLS files."""
    options = Options(interval=config.control.interval, max_stale=config.control.max_stale)
    return ControlPlane(
        control_target(config),
        config.policy,
        PolicyEngine(),
        planners.make,
        databases,
        options,
        on_event,
        home=config.control.database,
    )


def control_target(config: Config) -> Target:
    """Where the control connections go, and as whom."""
    control, upstream = config.control, config.upstream
    tls = control.tls or upstream.tls
    return Target(
        host=control.host or upstream.host,
        port=control.port if control.host else upstream.port,
        identify=upstream.pooling in (Pooling.SESSION, Pooling.TRANSACTION),
        user=config.control.user,
        password=config.control.password,
        mode=tls.mode,
        context=server_context(tls),
        connect_timeout=config.upstream.connect_timeout,
        opening=count_opening(config.audit.directory),
    )


def watched_databases(config: Config) -> tuple[str, ...]:
    """The databases that make the proxy ready, by the server's names."""
    if config.databases is None:
        return (config.control.database,)
    return tuple(dict.fromkeys(config.databases.values()))


@dataclass(frozen=True, slots=True)
class Place:
    """Which of the serving processes this is: the only one, or one of the workers that `proxy.workers` keeps."""

    name: str = "main"
    """Name of its audit trail."""
    parent: socket.socket | None = None
    """Leads to the process that keeps the workers, which shares the port with them."""
    ledger: Ledger | None = None
    """Counts for all workers what people look for; None: there are no others."""


class Supervisor:
    """Made inside the running loop. `run` returns after a stop in good order; PgveilError when it cannot start."""

    def __init__(self, config: Config, place: Place = Place()) -> None:
        self.config = config
        self.place = place
        self._tls_files = PolicyFiles(_tls_files(config), lambda paths: None)
        self._tls_files.load()
        self.door = Door(*_door_parts(config))
        self.evidence = Evidence(config.audit, place.name)
        prepare(self.evidence.counts)
        self.metrics = Metrics(self._readings)
        self.planners = Planners(self.metrics.plan_seconds.observe)
        self.control = control_plane(config, self.planners, watched_databases(config), self._on_control)
        self.server = Server(
            config,
            self.door,
            _upstream(config),
            self.control,
            self.evidence,
            self.metrics,
            place.ledger or Ledger.create(),
        )
        self.http: HttpSide | None = None
        self._stop = asyncio.Event()
        self._stop_now = asyncio.Event()
        self._reason = "shutdown"
        self._policy_loaded = 0.0
        self._policy_good = True
        self._tasks: set[asyncio.Task[None]] = set()
        audit = config.audit
        self.anchoring = Anchoring(audit.anchors, audit.witness, self.evidence.anchor, self._on_anchor)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop, number.name)
        loop.add_signal_handler(signal.SIGHUP, self._on_reload)
        clocks = [asyncio.create_task(self._flush_on_the_clock()), asyncio.create_task(self._watch_certificates())]
        clocks += self._watch_server()
        try:
            await self._start()
            await self._stop.wait()
            await self._drain()
        finally:
            for clock in clocks:
                clock.cancel()
            await self.server.close()
            await self.control.close()
            if self.http is not None:
                await self.http.close()
            await self.server.committer.finish()
            self.evidence.close(self._reason)
            await self.anchoring.finish(self.evidence.writer.last_anchor)
            event(log, "stopped", reason=self._reason)

    async def _start(self) -> None:
        config = self.config
        event(log, "starting", pid=os.getpid())
        try:
            await self.control.start()
        except (ValueError, OSError) as error:
            raise ConfigError(str(error)) from None
        if config.http is not None:
            ports = worker_ports(config.http.port, self.place.name, config.workers)
            self.http = HttpSide(self.metrics.registry, self.obstacles, ports)
            try:
                port = await self.http.start(config.http.host, config.http.port)
            except OSError as error:
                raise ConfigError(f"cannot listen for HTTP on {config.http.host}:{config.http.port}: {_why(error)}") from None
            event(log, "http_listening", host=config.http.host, port=port)
        try:
            port = self.server.listen(config.listen.host, config.listen.port, share=self.place.parent is not None)
        except OSError as error:
            raise ConfigError(f"cannot listen on {config.listen.host}:{config.listen.port}: {_why(error)}") from None
        listen = f"{config.listen.host}:{port}"
        self.evidence.record(
            Kind.START,
            {
                "version": version("pgveil"),
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "listen": listen,
                "mode": config.audit.mode,
            },
        )
        self.anchoring.start()
        event(log, "listening", host=config.listen.host, port=port, upstream=f"{config.upstream.host}:{config.upstream.port}")
        if self.place.parent is not None:
            self._stay_with(self.place.parent)

    def _stay_with(self, parent: socket.socket) -> None:
        """Tell it that we listen; when it is gone, stop at once, so that the ports and trails are free for the next."""

        def gone() -> None:
            asyncio.get_running_loop().remove_reader(parent.fileno())
            self._on_stop("parent process gone")
            self._stop_now.set()

        def beat() -> None:
            try:
                parent.send(b".")
            except BlockingIOError:  # a parent that does not listen has other worries
                return
            except OSError:
                gone()

        parent.setblocking(False)
        asyncio.get_running_loop().add_reader(parent.fileno(), gone)
        beat()
        self._tasks.add(asyncio.create_task(self._beat(beat)))

    async def _beat(self, beat: Callable[[], None]) -> None:
        """A sign of life (`proxy.workers`): the loop turns."""
        while True:
            await asyncio.sleep(BEAT)
            beat()

    async def _drain(self) -> None:
        event(log, "draining", sessions=len(self.server.links), patience=self.config.limits.drain_timeout)
        drain = asyncio.create_task(self.server.drain(self.config.limits.drain_timeout))
        now = asyncio.create_task(self._stop_now.wait())
        await asyncio.wait((drain, now), return_when=asyncio.FIRST_COMPLETED)
        for task in (drain, now):
            task.cancel()

    def _on_stop(self, name: str) -> None:
        self._reason = name
        (self._stop_now if self._stop.is_set() else self._stop).set()

    def _on_reload(self) -> None:
        event(log, "reloading")
        task = asyncio.create_task(self._reload())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reload(self) -> None:
        """Policy and certificates, each on its own."""
        self._tls_files.load()
        self._reload_certificates()
        await self.control.reload()

    async def _watch_certificates(self) -> None:
        """Files that have changed and hold still are taken up by themselves, as policies are."""
        while True:
            await asyncio.sleep(1.0)
            if self._tls_files.is_due():
                self._reload_certificates()

    def _watch_server(self) -> list[asyncio.Task[None]]:
        """What the server counts is written down by one of the workers."""
        interval = self.config.completeness.interval
        if not interval or self.place.name not in ("main", worker_name(1)):
            return []

        def record(detail: Mapping[str, object]) -> None:
            self._record(Kind.EVENT, {"event": SERVER_COUNTS, "session": None, "detail": detail})

        config = self.config
        watch = CountsWatch(lambda: control_target(config), config.control.database, config.audit.directory, interval, record)
        return [asyncio.create_task(watch.run())]

    def _reload_certificates(self) -> None:
        """For connections that begin from now on; what cannot be used is logged, and the old stays."""
        if not self._tls_files.paths:
            return
        try:
            self.door.context, self.door.mode, self.door.certificate = _door_parts(self.config)
            event(log, "certificate_loaded", side="clients")
        except ConfigError as error:
            event(log, "certificate_refused", logging.ERROR, side="clients", problem=error.message)
        try:
            self.server.upstream = _upstream(self.config)
            self.control.retarget(control_target(self.config))
            event(log, "certificate_loaded", side="upstream")
        except ConfigError as error:
            event(log, "certificate_refused", logging.ERROR, side="upstream", problem=error.message)

    def _on_control(self, name: str, fields: Mapping[str, str | int | bool]) -> None:
        """What the control plane has to say goes to the log, and into the trail where it is about the policy."""
        bad = name.endswith(("refused", "failed", "unavailable", "stale", "not_named", "waiting"))
        event(log, name, logging.WARNING if bad else logging.INFO, **fields)
        if name.startswith("policy_"):
            self.metrics.reloads.labels("rejected" if bad else "accepted").inc()
            self._policy_good = not bad
            self._policy_loaded = self._policy_loaded if bad else time.time()
            files = [str(path) for path in self.config.policy]
            told = {"policy": fields.get("version"), "files": files, "accepted": not bad, "reason": fields.get("problem")}
            self._record(Kind.POLICY, told)
            if not bad:
                self.evidence.alerts.aim(self.control.alerts)
        elif name.startswith(("grant", "break_glass")):
            detail = {key: value for key, value in fields.items() if key != "sid"}
            self._record(Kind.EVENT, {"event": name, "session": fields.get("sid"), "detail": detail})

    def _on_anchor(self, name: str, fields: Mapping[str, str | int]) -> None:
        event(log, name, logging.WARNING if name.endswith("failed") else logging.INFO, **fields)
        self._record(Kind.EVENT, {"event": name, "detail": dict(fields)})

    def _record(self, kind: Kind, fields: Mapping[str, object]) -> None:
        try:
            self.evidence.record(kind, fields)
        except PgveilError as error:
            event(log, "audit_failed", logging.ERROR, reason=error.message)

    async def _flush_on_the_clock(self) -> None:
        """Log-ins and outcomes wait for nobody; this is when they are written at the latest."""
        loop, late = asyncio.get_running_loop(), self.evidence.tally.loop.observe
        while True:
            due = loop.time() + HEAD_LAG
            await asyncio.sleep(HEAD_LAG)
            late(max(0.0, loop.time() - due))
            self.server.committer.settle()

    def obstacles(self) -> list[str]:
        """What keeps this process from serving new sessions."""
        found = []
        if not self.server.listening or self.server.draining:
            found.append("not listening")
        if not self.control.is_ready:
            found += [
                f"database {s.database}: {s.reason or 'catalog out of date'}" for s in self.control.status() if not s.usable
            ]
            found = found or ["no policy"]
        if self.evidence.writer.failure is not None:
            found.append("the audit trail cannot be written")
        return found

    def _readings(self) -> Readings:
        sent, received = self.server.traffic()
        status = self.control.status()
        watched = watched_databases(self.config)
        return Readings(
            version=version("pgveil"),
            connections=self.server.connections(),
            bytes_from_clients=sent,
            bytes_from_server=received,
            cache_hits=self.planners.hits,
            cache_misses=self.planners.misses,
            cache_bytes=self.planners.weight,
            tally=self.evidence.tally,
            measured=self.evidence.measured,
            trail=self.evidence.trail(),
            policy_version=self.control.policy_version,
            policy_loaded=self._policy_loaded,
            policy_good=self._policy_good,
            catalog_age={s.database: s.age for s in status if s.usable},
            control_up={s.database: not s.reason for s in status if s.relations or s.database in watched},
            approvals=Counter((r.kind, r.status.replace(" ", "_")) for r in self.control.grants.picture.requests.values()),
            anchors={s.name: (s.failing, s.waiting, s.sent) for s in self.anchoring.senders},
            certificates=_expiries(self.config),
        )


def _door_parts(config: Config) -> tuple[ssl.SSLContext | None, ClientMode, bytes | None]:
    if config.tls is None:
        return None, ClientMode.ALLOW, None
    return client_context(config.tls), config.tls.mode, certificate_bytes(config.tls)


def _upstream(config: Config) -> Upstream:
    upstream = config.upstream
    return Upstream(
        upstream.host,
        upstream.port,
        upstream.tls.mode,
        server_context(upstream.tls),
        upstream.connect_timeout,
        config.tcp,
    )


def _tls_files(config: Config) -> tuple[Path, ...]:
    return (config.tls.files if config.tls is not None else ()) + config.upstream.tls.files


def _expiries(config: Config) -> dict[str, float]:
    """When our own certificates end, by the side that we show them to."""
    shown = {"clients": config.tls.cert if config.tls is not None else None, "upstream": config.upstream.tls.cert}
    found = {side: expiry(cert) for side, cert in shown.items() if cert is not None}
    return {side: end for side, end in found.items() if end is not None}


def _why(error: OSError) -> str:
    return error.strerror or str(error)


def serve(config: Config, place: Place = Place()) -> None:
    """Run until a signal ends it. Raises PgveilError when it cannot start."""

    async def main() -> None:
        await Supervisor(config, place).run()

    gc.freeze()  # what is loaded now stays
    gc.set_threshold(20_000, 20, 50)  # sessions free their objects by reference count; cycles are rare
    uvloop.run(main())
