"""Server, bank and proxy of one demo, started in order and stopped in reverse.

Everything lives in one directory: `data/` (PostgreSQL), `audit/`, `policy.yaml` and its tests, `pgveil.yaml`, `proxy.log`. A
directory that already holds a bank is used as it is, its policy too; the configuration is written anew: ports differ.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from proxy.demo.bank import CONTROL, is_loaded, load_bank, mark_loaded, resource
from proxy.demo.embedded import PostgresServer, find_binaries, free_port
from proxy.demo.launch import ProxyProcess


class PortTaken(RuntimeError):
    """The port the person asked for cannot be had."""


@dataclass(frozen=True)
class Stack:
    """A running demo."""

    directory: Path
    server: PostgresServer
    proxy: ProxyProcess
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
        with ProxyProcess(config, http_port, directory / "proxy.log") as proxy:
            yield Stack(directory, server, proxy, port, http_port)


def pick_port(wanted: int, *, fixed: bool) -> int:
    """`wanted` when it is free; otherwise another one, or PortTaken when the person asked for exactly this one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError as error:
            if fixed:
                raise PortTaken(f"port {wanted} on 127.0.0.1 is taken: choose another with --port") from error
            return free_port()
    return wanted


def _write_files(directory: Path, server_port: int, port: int, http_port: int) -> Path:
    (directory / "audit").mkdir(mode=0o700, exist_ok=True)
    if not (directory / "policy.yaml").exists():
        for name in ("policy.yaml", "policy.test.yaml"):
            (directory / name).write_text(resource(name), encoding="utf-8")
    config = directory / "pgveil.yaml"
    text = resource("pgveil.yaml")
    for name, value in (("SERVER_PORT", server_port), ("HTTP_PORT", http_port), ("PORT", port), ("CONTROL", CONTROL)):
        text = text.replace(f"@{name}@", str(value))
    config.write_text(text, encoding="utf-8")
    return config
