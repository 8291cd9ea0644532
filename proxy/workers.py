"""`workers: N`: a small parent that keeps N processes of the same server running on one port.

The parent has no event loop, no connections and no data. It reserves the port, starts the workers one by one, passes
signals on and starts a worker again that has died. Workers share nothing but the count of what people look for
(`proxy.ledger`): each is a fresh interpreter with its own listening socket (SO_REUSEPORT), control connections, HTTP port
and audit trail. Between parent and worker there is one socket pair: the worker says on it that it listens, and either side
learns from its end that the other is gone. So a worker does not outlive its parent, whatever kills it. A worker also gives a
sign of life every second; one that has given none for `limits.hang_timeout` hangs (a stopped process, a defect of ours, a disk
that does not answer) and is killed. The parent counts its own turns for that and not the time on the clock, so that it accuses
nobody when the whole machine stood still.

A worker that cannot start (a bad configuration, a port that is taken) ends everything while the proxy is starting; the
first one does so before there is a second, so its reason is shown once. Later it is only tried again: the others serve.
"""

from __future__ import annotations

import logging
import math
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from proxy.config import Config
from proxy.errors import ConfigError
from proxy.ledger import Ledger
from proxy.listen import reserve
from proxy.logs import event

log = logging.getLogger("pgveil.workers")

MIN_DELAY = 0.1
MAX_DELAY = 10.0
"""Seconds before a worker that died is started again; doubles with every death until one has lived for STEADY seconds."""
STEADY = 30.0
BEAT = 1.0
"""Seconds between two signs of life, and between two turns of the parent when nothing happens."""
_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StartFailed(Exception):
    """A worker could not start. It has said why."""


def worker_name(number: int) -> str:
    """Of worker `number` (from 1), in the log and as its trail's name."""
    return f"worker-{number}"


def worker_config(config: Config, number: int, port: int) -> Config:
    """The configuration of one worker: the port that the parent found, and an HTTP port of its own."""
    http = config.http
    if http is not None and http.port:
        http = replace(http, port=http.port + number - 1)
    return replace(config, listen=replace(config.listen, port=port), http=http)


def worker_ports(port: int, name: str, workers: int) -> tuple[int, ...]:
    """HTTP ports of all workers, seen from the one called so that has `port`; of itself alone where ports are picked freely."""
    number = name.removeprefix("worker-")
    if not port or not number.isdigit():
        return (port,)
    first = port - int(number) + 1
    return tuple(range(first, first + workers))


def run_workers(config: Config, options: Sequence[str] = ()) -> int:
    """Run until a signal ends it; answers the exit status. `options`: what the command line had before `serve`.

    Raises ConfigError when the port cannot be had.
    """
    host, port = config.listen.host, config.listen.port
    try:
        sockets, port = reserve(host, port)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    try:
        command = [sys.executable, "-P", "-m", "proxy.cli", *options, "serve-worker", "-c", str(config.path), "--port", str(port)]
        return _Parent(config.workers, command, config.limits.hang_timeout, sockets).run()
    finally:
        for sock in sockets:
            sock.close()


class _Worker:
    """One place for a worker, and the process that holds it now."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.name = worker_name(number)
        self.process: subprocess.Popen[bytes] | None = None
        self.channel: socket.socket | None = None
        self.listening = False
        self.reload = False
        """SIGHUP came before its handlers were in place."""
        self.began = 0.0
        self.silent = 0
        """Beats since it was last heard of."""
        self.due = 0.0
        """When to start it again (monotonic clock)."""
        self.delay = MIN_DELAY

    def start(self, command: Sequence[str], ledger: int) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            fd = theirs.fileno()
            self.process = subprocess.Popen(
                [*command, "--number", str(self.number), "--parent", str(fd), "--ledger", str(ledger)],
                stdin=subprocess.DEVNULL,
                pass_fds=[fd, ledger],
                process_group=0,  # Ctrl-C reaches the parent only, which passes it on once
            )
        ours.setblocking(False)
        self.channel, self.listening, self.reload, self.began = ours, False, False, time.monotonic()
        self.silent = 0

    def send(self, number: int) -> None:
        if self.process is None:
            return
        if number == signal.SIGHUP and not self.listening:
            self.reload = True
        else:
            self.process.send_signal(number)


class _Parent:
    def __init__(self, count: int, command: Sequence[str], hang_timeout: float, reserved: Sequence[socket.socket] = ()) -> None:
        self.reserved = reserved
        """They keep the port for us; let go when we stop, so that the next proxy can have it while our workers drain."""
        self.patience = math.ceil(hang_timeout / BEAT)
        """Beats without a sign of life; 0: any number."""
        self.beat = time.monotonic()
        self.workers = [_Worker(number) for number in range(1, count + 1)]
        self.command = command
        self.ledger = Ledger.create()
        self.selector = selectors.DefaultSelector()
        self.stopping = False
        self.failed = False

    def run(self) -> int:
        with _signals() as wake:
            self.selector.register(wake, selectors.EVENT_READ)
            try:
                for worker in self.workers:
                    if not self.stopping:
                        self._start(worker)
                    while not worker.listening and not self.stopping:
                        self._turn(wake, starting=True)
                if not self.stopping:
                    event(log, "workers_listening", workers=len(self.workers), pid=os.getpid())
                while any(w.process is not None for w in self.workers) or not self.stopping:
                    self._turn(wake, starting=False)
            except StartFailed:
                self.failed = True
            finally:
                self._end()
        return 1 if self.failed else 0

    def _turn(self, wake: socket.socket, starting: bool) -> None:
        """Wait for something to happen and deal with it."""
        for key, _ in self.selector.select(self._patience()):
            if key.fileobj is wake:
                for number in wake.recv(64):
                    self._on_signal(number)
            else:
                self._on_channel(key.data, starting)
        now = time.monotonic()
        for worker in self.workers:
            if worker.process is None and worker.began and not self.stopping and worker.due <= now:
                self._start(worker)
        if now - self.beat >= BEAT:
            self.beat = now
            self._listen()

    def _patience(self) -> float:
        """Seconds until the next worker is due, or the next beat."""
        due = [w.due for w in self.workers if w.process is None and w.began and not self.stopping]
        return max(0.0, min([*due, self.beat + BEAT]) - time.monotonic())

    def _listen(self) -> None:
        """Kill whoever has been silent for too long. What follows is the same as after any other death."""
        for worker in self.workers:
            if worker.process is None or not worker.listening or not self.patience:
                continue
            worker.silent += 1
            if worker.silent > self.patience:
                event(log, "worker_hangs", logging.ERROR, worker=worker.name, pid=worker.process.pid, seconds=worker.silent - 1)
                worker.silent = 0
                worker.process.kill()

    def _start(self, worker: _Worker) -> None:
        worker.start(self.command, self.ledger.fd)
        assert worker.channel is not None
        self.selector.register(worker.channel, selectors.EVENT_READ, worker)

    def _on_signal(self, number: int) -> None:
        if number not in _PASSED_ON:
            return
        if number != signal.SIGHUP:
            self.stopping = True
            for sock in self.reserved:
                sock.close()
        for worker in self.workers:
            worker.send(number)

    def _on_channel(self, worker: _Worker, starting: bool) -> None:
        assert worker.channel is not None
        try:
            said = worker.channel.recv(16)
        except OSError:
            said = b""
        if said:
            worker.silent = 0
            if not worker.listening:
                worker.listening = True
                if worker.reload:
                    worker.send(signal.SIGHUP)
            return
        self._on_death(worker, self._reap(worker), starting)

    def _reap(self, worker: _Worker) -> int:
        """Exit status of a worker whose end of the channel is closed: it is gone, or as good as gone."""
        assert worker.channel is not None
        assert worker.process is not None
        self.selector.unregister(worker.channel)
        worker.channel.close()
        process, worker.process, worker.channel = worker.process, None, None
        try:
            return process.wait(1.0)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def _on_death(self, worker: _Worker, status: int, starting: bool) -> None:
        if self.stopping:
            self.failed = self.failed or (status != 0 and worker.listening)
            return
        if starting and status > 0 and not worker.listening:
            raise StartFailed
        now = time.monotonic()
        if now - worker.began >= STEADY:
            worker.delay = MIN_DELAY
        worker.due = now + worker.delay
        cause = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        event(log, "worker_died", logging.ERROR, worker=worker.name, cause=cause, again_in=round(worker.delay, 1))
        worker.delay = min(worker.delay * 2, MAX_DELAY)

    def _end(self) -> None:
        """Take along whoever is left, when we end before them."""
        for worker in self.workers:
            if worker.process is not None:
                worker.process.terminate()
        for worker in self.workers:
            if worker.process is not None:
                worker.process.wait()
            if worker.channel is not None:
                worker.channel.close()
        self.selector.close()
        self.ledger.close()


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """A socket on which the numbers of the signals we handle can be read."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    before = {number: signal.signal(number, lambda *_: None) for number in _PASSED_ON}
    previous = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    try:
        yield ours
    finally:
        signal.set_wakeup_fd(previous)
        for number, handler in before.items():
            signal.signal(number, handler)
        ours.close()
        theirs.close()
