"""Keeps the auditor alive beside `pgveil serve`: a thread that starts it, hears its signs of life and starts it again.

As with workers (`proxy.workers`) there is one socket pair between the two: neither outlives the other unnoticed. An auditor that
cannot start, or dies, is tried again; the proxy serves on, and the log says what happened.
"""

from __future__ import annotations

import logging
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from proxy.config import Config
from proxy.logs import event

log = logging.getLogger("pgveil.auditor")

MIN_DELAY = 0.2
MAX_DELAY = 10.0
STEADY = 30.0
"""Seconds after which the next death counts as the first."""
PATIENCE = 10.0
"""Seconds for an auditor to end after it was told to."""


class _Keeper(threading.Thread):
    def __init__(self, command: Sequence[str], hang_timeout: float) -> None:
        super().__init__(name="auditor", daemon=True)
        self._command = command
        self._hang_timeout = hang_timeout or None
        self._wake, self._woken = socket.socketpair()

    def run(self) -> None:
        delay = MIN_DELAY
        while True:
            began = time.monotonic()
            cause = self._once()
            if cause is None:
                return
            if time.monotonic() - began >= STEADY:
                delay = MIN_DELAY
            event(log, "auditor_died", logging.ERROR, cause=cause, again_in=delay)
            if select.select([self._woken], [], [], delay)[0]:
                return
            delay = min(delay * 2, MAX_DELAY)

    def _once(self) -> str | None:
        """One life of the auditor: what it died of, or None when we were told to end it."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                fd = theirs.fileno()
                try:
                    process = subprocess.Popen(
                        [*self._command, "--parent", str(fd)],
                        stdin=subprocess.DEVNULL,
                        pass_fds=[fd],
                        process_group=0,  # Ctrl-C reaches us only
                    )
                except OSError as error:
                    return error.strerror or str(error)
            return self._listen(process, ours)

    def _listen(self, process: subprocess.Popen[bytes], channel: socket.socket) -> str | None:
        alive = False
        while True:
            ready, _, _ = select.select([channel, self._woken], [], [], self._hang_timeout if alive else None)
            if self._woken in ready:
                process.terminate()
                self._wait(process)
                return None
            if not ready:
                event(log, "auditor_hangs", logging.ERROR, pid=process.pid, seconds=self._hang_timeout)
                process.kill()
                process.wait()
                return "no sign of life"
            try:
                said = channel.recv(64)
            except OSError:
                said = b""
            if not said:
                status = self._wait(process)
                return signal.Signals(-status).name if status < 0 else f"exit status {status}"
            alive = True

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        try:
            return process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def end(self) -> None:
        self._wake.send(b".")
        self.join()
        self._wake.close()
        self._woken.close()


@contextmanager
def auditor_beside(config: Config, options: Sequence[str] = ()) -> Iterator[None]:
    """An auditor, when the configuration wants one, for as long as the block runs. `options`: what stood before `serve`."""
    if config.supervision is None:
        yield
        return
    command = [sys.executable, "-P", "-m", "proxy.cli", *options, "audit", "beside", "-c", str(config.path)]
    keeper = _Keeper(command, config.limits.hang_timeout)
    keeper.start()
    try:
        yield
    finally:
        keeper.end()
