"""`pgveil serve` as a child process, for the demo, the conformance run and the benchmark."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

READY_TIMEOUT = 30.0
STOP_TIMEOUT = 10.0


class LaunchError(RuntimeError):
    """The proxy did not start; the text ends with its log."""


class ProxyProcess:
    """One proxy with one configuration file, whose `http` section listens on `http_port` of 127.0.0.1.

    It runs in a session of its own: Ctrl-C at the terminal reaches the parent only, which then stops things in order.
    """

    def __init__(self, config: Path, http_port: int, log: Path, environment: Mapping[str, str] | None = None) -> None:
        self.config = config
        self.log = log
        self._http_port = http_port
        self._environment = environment or {}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ProxyProcess:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    @property
    def status(self) -> int | None:
        """Exit status, None while it runs."""
        return self._process.poll() if self._process is not None else None

    def start(self) -> None:
        """Return when /readyz says ready; raise LaunchError when it never does."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "proxy.cli", "serve", "-c", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self._environment},
            )
        try:
            self._wait_ready(self._process)
        except BaseException:
            self.stop()
            raise

    def wait(self) -> int:
        """Until it ends by itself."""
        assert self._process is not None
        return self._process.wait()

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def log_tail(self) -> str:
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])

    def _wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + READY_TIMEOUT
        while not self._is_ready():
            if process.poll() is not None:
                raise LaunchError(f"the proxy did not start:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise LaunchError(f"the proxy was not ready after {READY_TIMEOUT:g} s:\n{self.log_tail()}")
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        """Ask /readyz by hand: the first line of the answer is all we need."""
        try:
            with socket.create_connection(("127.0.0.1", self._http_port), timeout=2) as s:
                s.sendall(b"GET /readyz HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
                return b" 200 " in s.recv(200).split(b"\r\n", 1)[0]
        except OSError:
            return False
