"""What the benchmark measures: one PostgreSQL, reached directly, through PgBouncer, and through pgveil."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from proxy.config import available_cpus
from proxy.demo.embedded import PostgresServer, find_binaries, free_port
from proxy.demo.launch import ProxyProcess

CLEAR, OTHER, MASKED = "bench_clear", "bench_other", "bench_masked"
"""Logins: nothing masked; something masked, but not in pgbench's tables; everything masked."""

MASKS = {
    "full_name": "left($1, 1) || '**'",
    "phone": "overlay($1 placing '****' from 4 for 4)",
    "balance": "round($1, -4)",
}
"""The masks of bench.people, as the policy has them and as they are run directly for comparison."""

UNAUDITED = Path(__file__).parent / "unaudited"
HBA = "host all all 127.0.0.1/32 trust\n"
SETTINGS = {"shared_buffers": "256MB", "max_connections": "100", "jit": "off", "autovacuum": "off"}


@dataclass(frozen=True, slots=True)
class Servers:
    bin_dir: Path
    direct: int
    pgbouncer: int | None
    """None: PgBouncer is not installed."""
    pgveil: int
    unaudited: int
    """Port of a pgveil that leaves no records."""

    def program(self, name: str) -> str:
        """Path of pgbench or psql: beside the server, else on PATH."""
        return str(self.bin_dir / name) if (self.bin_dir / name).exists() else name


@contextmanager
def running(home: Path, rows: int, scale: int) -> Iterator[Servers]:
    with ExitStack() as stack:
        postgres = stack.enter_context(PostgresServer(home / "data", find_binaries(), settings=SETTINGS, hba=HBA))
        servers = Servers(postgres.bin_dir, postgres.port, None, free_port(), free_port())
        _load(servers, rows, scale)
        bouncer = stack.enter_context(pgbouncer(home, postgres.port, (CLEAR, OTHER, MASKED)))
        for name, port, environment in (
            ("pgveil", servers.pgveil, {}), ("unaudited", servers.unaudited, {"PYTHONPATH": str(UNAUDITED)}),
        ):  # fmt: skip
            http_port = _free_run(available_cpus())
            (home / name).mkdir()
            config = _write_pgveil(home / name, postgres.port, port, http_port)
            stack.enter_context(ProxyProcess(config, http_port, home / name / "proxy.log", environment))
            for number in range(available_cpus()):
                _wait_for(http_port + number)
        yield Servers(postgres.bin_dir, postgres.port, bouncer, servers.pgveil, servers.unaudited)


def _load(servers: Servers, rows: int, scale: int) -> None:
    address = ["-h", "127.0.0.1", "-p", str(servers.direct), "-U", "postgres"]
    script = f"""
        CREATE ROLE {CLEAR} LOGIN; CREATE ROLE {OTHER} LOGIN; CREATE ROLE {MASKED} LOGIN; CREATE ROLE control LOGIN;
        CREATE DATABASE bench"""
    psql = [servers.program("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", *address]
    for statement in script.split(";"):
        subprocess.run([*psql, "-d", "postgres", "-c", statement], check=True)
    initialise = [servers.program("pgbench"), "-i", "-q", "-s", str(scale), *address, "bench"]
    subprocess.run(initialise, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    people = f"""
        CREATE SCHEMA bench;
        CREATE TABLE bench.people (id int PRIMARY KEY, full_name text, phone text, balance numeric(18,2), city text);
        INSERT INTO bench.people
            SELECT i, '欧阳' || i, '138' || lpad((i % 100000000)::text, 8, '0'), i * 12.34, 'city ' || i % 100
            FROM generate_series(1, {rows}) i;
        GRANT USAGE ON SCHEMA bench TO public;
        GRANT SELECT ON ALL TABLES IN SCHEMA bench, public TO {CLEAR}, {OTHER}, {MASKED};
        GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {CLEAR};
        VACUUM ANALYZE bench.people"""
    for statement in people.split(";"):
        subprocess.run([*psql, "-d", "bench", "-c", statement], check=True)


@contextmanager
def pgbouncer(home: Path, server_port: int, users: Sequence[str]) -> Iterator[int | None]:
    """PgBouncer in session mode for these users, without passwords: its port, None when it is not installed."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        yield None
        return
    port = free_port()
    (home / "users.txt").write_text("".join(f'"{user}" ""\n' for user in users))
    ini = home / "pgbouncer.ini"
    ini.write_text(
        f"[databases]\n* = host=127.0.0.1 port={server_port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {home}/users.txt\n"
        "pool_mode = session\nmax_client_conn = 100\ndefault_pool_size = 50\nlog_connections = 0\n"
        "log_disconnections = 0\nignore_startup_parameters = extra_float_digits,options\n"
    )
    user = _unprivileged()
    process = subprocess.Popen(
        [program, "-q", str(ini)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        user=user.pw_uid if user else None,
        group=user.pw_gid if user else None,
        extra_groups=[] if user else None,
    )
    try:
        _wait_for(port, process)
        yield port
    finally:
        process.terminate()
        process.wait()


def _unprivileged() -> pwd.struct_passwd | None:
    """PgBouncer does not run as root."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _free_run(count: int) -> int:
    """The first of `count` free ports in a row: every worker of pgveil has an HTTP port of its own."""
    while True:
        first = free_port()
        sockets: list[socket.socket] = []
        try:
            for port in range(first, first + count):
                sockets.append(socket.create_server(("127.0.0.1", port)))
        except (OSError, OverflowError):
            continue
        else:
            return first
        finally:
            for sock in sockets:
                sock.close()


def _wait_for(port: int, process: subprocess.Popen[bytes] | None = None) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if (process is not None and process.poll() is not None) or time.monotonic() > deadline:
                raise RuntimeError(f"nothing listens on port {port}") from None
            time.sleep(0.02)
        else:
            return


def _write_pgveil(home: Path, server_port: int, port: int, http_port: int) -> Path:
    classes = "".join(f'  {name}: {{ level: C2, mask: {{ sql: "{sql}" }} }}\n' for name, sql in MASKS.items())
    columns = "".join(f"  bench.people.{name}: {name}\n" for name in MASKS)
    (home / "policy.yaml").write_text(f"""\
version: 1
classes:
{classes}  filler: {{ level: C2, mask: {{ keep: {{ first: 1 }} }} }}
columns:
{columns}  public.pgbench_accounts.filler: filler
rules:
  - {{ name: nothing masked, user: {CLEAR}, columns: ['*'], show: clear }}
  - {{ name: other tables masked, user: {OTHER}, columns: [class=filler], show: clear }}
""")
    config = home / "pgveil.yaml"
    config.write_text(f"""\
listen: {{ host: 127.0.0.1, port: {port} }}
upstream: {{ host: 127.0.0.1, port: {server_port}, tls: {{ mode: disable }} }}
control: {{ user: control, database: bench }}
policy: policy.yaml
audit: {{ directory: audit }}
http: {{ host: 127.0.0.1, port: {http_port} }}
databases: [bench]
workers: auto
""")
    return config
