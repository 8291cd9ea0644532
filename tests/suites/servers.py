"""The four ways to one PostgreSQL: direct, through PgBouncer in session mode, and through pgveil with nothing masked for the
login or with a table masked that no test names.

Every run of a suite gets a new server, a copy of the same data directory, so that nothing a run leaves behind meets the next.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

from proxy.demo.embedded import PostgresServer, find_binaries, free_port
from proxy.demo.launch import ProxyProcess
from tests.suites.catalogue import DATABASE, USER

HBA = "host all all 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust\n"
SETTINGS = {
    "max_connections": "200",
    "max_prepared_transactions": "10",
    "wal_level": "logical",
    "autovacuum": "off",
    "jit": "off",
    "shared_buffers": "64MB",
}
_SCHEMA = """\
CREATE ROLE pgveil_control LOGIN;
CREATE SCHEMA unrelated;
CREATE TABLE unrelated.people (id int PRIMARY KEY, phone text);
INSERT INTO unrelated.people VALUES (1, '13812345678');
"""
"""Goes into template1: databases that a suite makes have the masked table too."""
_POLICY = """\
version: 1
notice: false
classes:
  phone: { level: C2, mask: { keep: { first: 3, last: 4 } } }
columns:
  unrelated.people.phone: phone
"""
_CLEAR = f"rules:\n  - {{ name: nothing masked, user: {USER}, columns: ['*'], show: clear }}\n"


class Way(Enum):
    DIRECT = "direct"
    PGBOUNCER = "pgbouncer"
    CLEAR = "pgveil clear"
    MASKED = "pgveil masked"


def prepare(template: Path) -> None:
    """Make the data directory that every run starts from."""
    with PostgresServer(template, find_binaries(), settings=SETTINGS, hba=HBA) as server:
        psql = [str(server.bin_dir / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1"]
        subprocess.run([*psql, "-d", server.dsn(dbname="template1")], input=_SCHEMA, text=True, check=True)
        drop = f"DROP DATABASE postgres; CREATE DATABASE postgres; CREATE DATABASE {DATABASE}; CREATE DATABASE {DATABASE}_other;"
        for statement in drop.rstrip(";").split(";"):
            subprocess.run([*psql, "-d", server.dsn(dbname="template1"), "-c", statement], check=True)


@contextmanager
def running(way: Way, template: Path, home: Path, setup: str) -> Iterator[int]:
    """The port to connect to, `setup` having been run in the database."""
    home.mkdir(mode=0o755)
    shutil.copytree(template, home / "data")
    owner = template.stat()
    for path in [home / "data", *(home / "data").rglob("*")]:
        shutil.chown(path, owner.st_uid, owner.st_gid)
    with PostgresServer(home / "data", find_binaries(), settings=SETTINGS, hba=HBA) as server:
        psql = [str(server.bin_dir / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", server.dsn(dbname=DATABASE)]
        subprocess.run(psql, input=setup, text=True, check=True)
        if way is Way.DIRECT:
            yield server.port
        elif way is Way.PGBOUNCER:
            with _pgbouncer(home, server.port) as port:
                yield port
        else:
            with _pgveil(home, server.port, masked=way is Way.MASKED) as port:
                yield port


@contextmanager
def _pgveil(home: Path, server_port: int, *, masked: bool) -> Iterator[int]:
    port, http_port = free_port(), free_port()
    (home / "policy.yaml").write_text(_POLICY + ("" if masked else _CLEAR))
    config = home / "pgveil.yaml"
    config.write_text(f"""\
listen: {{ host: 127.0.0.1, port: {port} }}
upstream: {{ host: 127.0.0.1, port: {server_port}, tls: {{ mode: disable }} }}
control: {{ user: pgveil_control }}
policy: policy.yaml
audit: {{ directory: audit }}
http: {{ host: 127.0.0.1, port: {http_port} }}
""")
    with ProxyProcess(config, http_port, home / "proxy.log") as proxy:
        yield port
        if proxy.status is not None:
            raise RuntimeError(f"pgveil ended:\n{proxy.log_tail()}")


@contextmanager
def _pgbouncer(home: Path, server_port: int) -> Iterator[int]:
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        raise RuntimeError("PgBouncer is not installed")
    port = free_port()
    (home / "users.txt").write_text(f'"{USER}" ""\n')
    ini = home / "pgbouncer.ini"
    ini.write_text(f"""\
[databases]
* = host=127.0.0.1 port={server_port} auth_user={USER}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {home}/users.txt
pool_mode = session
max_client_conn = 400
default_pool_size = 150
ignore_startup_parameters = extra_float_digits,options,search_path,statement_timeout,lock_timeout
""")
    account = _unprivileged()
    with (home / "pgbouncer.log").open("wb") as log:
        process = subprocess.Popen(
            [program, str(ini)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
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


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("PgBouncer did not start") from None
            time.sleep(0.02)
        else:
            return
