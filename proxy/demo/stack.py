"""Server, bank and proxy of one demo, started in order and stopped in reverse.

Everything lives in one directory: `data/` (PostgreSQL), `audit/`, `policy.yaml`, `pgveil.yaml`, `proxy.log`. A directory
that already holds a bank is used as it is, its policy too; the configuration is written anew: the ports may differ.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from proxy.demo.bank import CONTROL, is_loaded, load_bank, mark_loaded, resource
from proxy.demo.embedded import PostgresServer, find_binaries, free_port

READY_TIMEOUT = 30.0
STOP_TIMEOUT = 10.0


class DemoError(RuntimeError):
    """The demo cannot start or go on; the text is for the person at the terminal."""


@dataclass(frozen=True)
class Stack:
    """A running demo."""

    directory: Path
    server: PostgresServer
    proxy: subprocess.Popen[bytes]
    port: int
    http_port: int

    @property
    def config(self) -> Path:
        return self.directory / "pgveil.yaml"

    @property
    def policy(self) -> Path:
        return self.directory / "policy.yaml"

    @property
    def psql(self) -> str:
        """The system's psql, otherwise the one that comes with the server."""
        bundled = self.server.bin_dir / "psql"
        return "psql" if shutil.which("psql") else str(bundled)


@contextmanager
def running(directory: Path, port: int) -> Iterator[Stack]:
    """Start everything in `directory`, proxy on `port`; stop it on the way out."""
    with PostgresServer(directory / "data", find_binaries(wheel_first=True)) as server:
        if not is_loaded(server.data_dir):
            load_bank(server.dsn())
            mark_loaded(server.data_dir)
        http_port = free_port()
        config = _write_files(directory, server.port, port, http_port)
        proxy = _start_proxy(directory, config)
        try:
            _wait_ready(proxy, http_port, directory / "proxy.log")
            yield Stack(directory, server, proxy, port, http_port)
        finally:
            _stop(proxy)


def pick_port(wanted: int, *, fixed: bool) -> int:
    """`wanted` when it is free; otherwise another one, or DemoError when the person asked for exactly this one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError as error:
            if fixed:
                raise DemoError(f"port {wanted} on 127.0.0.1 is taken: choose another with --port") from error
            return free_port()
    return wanted


def _write_files(directory: Path, server_port: int, port: int, http_port: int) -> Path:
    (directory / "audit").mkdir(mode=0o700, exist_ok=True)
    if not (directory / "policy.yaml").exists():
        (directory / "policy.yaml").write_text(resource("policy.yaml"), encoding="utf-8")
    config = directory / "pgveil.yaml"
    text = resource("pgveil.yaml")
    for name, value in (("SERVER_PORT", server_port), ("HTTP_PORT", http_port), ("PORT", port), ("CONTROL", CONTROL)):
        text = text.replace(f"@{name}@", str(value))
    config.write_text(text, encoding="utf-8")
    return config


def _start_proxy(directory: Path, config: Path) -> subprocess.Popen[bytes]:
    """`pgveil serve` in a session of its own, so that Ctrl-C reaches us first and we stop things in order."""
    with (directory / "proxy.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "proxy.cli", "serve", "-c", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )


def _wait_ready(proxy: subprocess.Popen[bytes], http_port: int, log: Path) -> None:
    deadline = time.monotonic() + READY_TIMEOUT
    while not _is_ready(http_port):
        if proxy.poll() is not None:
            raise DemoError(f"the proxy did not start:\n{_tail(log)}")
        if time.monotonic() > deadline:
            raise DemoError(f"the proxy was not ready after {READY_TIMEOUT:g} s:\n{_tail(log)}")
        time.sleep(0.05)


def _is_ready(http_port: int) -> bool:
    """Ask /readyz by hand: the answer's first line is all we need."""
    try:
        with socket.create_connection(("127.0.0.1", http_port), timeout=2) as s:
            s.sendall(b"GET /readyz HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
            return b" 200 " in s.recv(200).split(b"\r\n", 1)[0]
    except OSError:
        return False


def _stop(proxy: subprocess.Popen[bytes]) -> None:
    if proxy.poll() is None:
        proxy.terminate()
        try:
            proxy.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            proxy.kill()
            proxy.wait()


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
