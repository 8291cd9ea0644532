"""A PgBouncer for tests: in front of a server, or of anything that speaks like one.

The program is that of PGVEIL_TEST_PGBOUNCER, or `pgbouncer` (Debian: package pgbouncer).
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from proxy.demo.embedded import free_port
from tests.support.proxy import until


class Bouncer:
    """Use as a context manager. `users` get in without a password; without them it is SCRAM for all, by `auth_query`."""

    def __init__(
        self,
        server_port: int,
        mode: str,
        *,
        users: tuple[str, ...] = (),
        settings: dict[str, str] | None = None,
        databases: dict[str, str] | None = None,
    ) -> None:
        """`mode`: session or transaction. The secrets are read from the server as `postgres`. `databases`: other names."""
        trust = bool(users)
        self.port = free_port()
        self.home = Path(tempfile.mkdtemp(prefix="pgveil-bouncer-"))
        self.home.chmod(0o755)
        values = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(self.port),
            "unix_socket_dir": "",
            "pool_mode": mode,
            "default_pool_size": "40",
            "max_client_conn": "500",
            "auth_type": "trust" if trust else "scram-sha-256",
            "auth_file": str(self.home / "users.txt"),
            "ignore_startup_parameters": "extra_float_digits,options,search_path",
            "logfile": str(self.home / "bouncer.log"),
            "admin_users": "postgres",
            "server_login_retry": "1",
        }
        values |= {} if trust else {"auth_user": "postgres"}
        values |= settings or {}
        where = f"host=127.0.0.1 port={server_port}"
        named = [f"{name} = {where} dbname={other}" for name, other in (databases or {}).items()]
        lines = ["[databases]", *named, f"* = {where}", "[pgbouncer]"]
        (self.home / "users.txt").write_text("".join(f'"{user}" ""\n' for user in ("postgres", *users)))
        (self.home / "bouncer.ini").write_text("\n".join([*lines, *(f"{k} = {v}" for k, v in values.items())]) + "\n")
        self.process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def program() -> str | None:
        return os.environ.get("PGVEIL_TEST_PGBOUNCER") or shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")

    def text(self) -> str:
        log = self.home / "bouncer.log"
        return log.read_text(errors="replace") if log.exists() else ""

    def __enter__(self) -> Bouncer:
        self.start()
        return self

    def start(self) -> None:
        program = self.program()
        assert program is not None, "needs pgbouncer"
        command = [program, "-q", str(self.home / "bouncer.ini")]
        if os.geteuid() == 0:
            shutil.chown(self.home, "nobody")
            command[1:1] = ["-u", "nobody"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(self._listens, f"pgbouncer listens\n{self.text()}")

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"pgbouncer ended:\n{self.text()}"
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def stop(self) -> None:
        """Without waiting for its clients."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait(20)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
        shutil.rmtree(self.home, ignore_errors=True)
