"""The database side of the conformance run: PostgreSQL 15 with the raw database, its masked copy, and their templates.

Does what the conformance set's cluster.sh does, as root or not, in any directory, without writing into the set's own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from proxy.demo.embedded import PostgresServer, find_binaries

RAW, MASKED = "coredb", "coredb_masked"
CONTROL_USER, CONTROL_PASSWORD = "pgveil_control", "control"

SETTINGS = {
    "unix_socket_directories": "/tmp",
    "max_connections": "120",
    "shared_buffers": "256MB",
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track_utility": "on",
    "wal_level": "logical",
    "max_wal_senders": "8",
    "max_replication_slots": "8",
    "max_prepared_transactions": "8",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "autovacuum": "off",
    "jit": "off",
}

HBA = """\
local all         postgres              trust
host  all         postgres 127.0.0.1/32 trust
host  replication postgres 127.0.0.1/32 trust
host  all         all      127.0.0.1/32 scram-sha-256
host  replication all      127.0.0.1/32 scram-sha-256
local all         all                   scram-sha-256
"""


class ClusterError(RuntimeError):
    """The server or its data could not be made; the text says why."""


def binaries() -> Path:
    """Server binaries of PostgreSQL 15 with psql beside them, or ClusterError that says what to install."""
    bin_dir = find_binaries()
    version = subprocess.run([str(bin_dir / "postgres"), "--version"], capture_output=True, text=True).stdout
    if " 15" not in version or not (bin_dir / "psql").is_file():
        found = version.strip() or f"nothing usable in {bin_dir}"
        raise ClusterError(f"needs PostgreSQL 15 with contrib and psql (Debian: postgresql-15), found: {found}")
    return bin_dir


def server(home: Path, port: int | None) -> PostgresServer:
    return PostgresServer(home / "data", binaries(), port=port, settings=SETTINGS, hba=HBA)


def load(running: PostgresServer, conformance: Path) -> None:
    """Roles, the raw template, its masked copy, and the two databases the harness works on."""
    _psql(running, "postgres", "-f", str(conformance / "sql" / "roles.sql"))
    _psql(running, "postgres", "-c", f"CREATE DATABASE {RAW}_tpl OWNER bank_owner")
    data = running.data_dir.parent / "data.sql"
    with data.open("wb") as out:
        subprocess.run([sys.executable, str(conformance / "gen_data.py")], stdout=out, check=True, env=_environment())
    schema = [str(conformance / "schema.sql"), str(data), str(conformance / "sql" / "post_data.sql")]
    variables = ("-v", f"port={running.port}", "-v", f"dbname={RAW}")
    _psql(running, f"{RAW}_tpl", *variables, *(word for name in schema for word in ("-f", name)))
    _psql(running, "postgres", "-c", f"CREATE DATABASE {MASKED}_tpl TEMPLATE {RAW}_tpl OWNER bank_owner")
    _psql(running, f"{MASKED}_tpl", "-v", f"dbname={MASKED}", "-f", str(conformance / "masked_copy.sql"))
    for database in (RAW, MASKED):
        copy = f"CREATE DATABASE {database} TEMPLATE {database}_tpl OWNER bank_owner STRATEGY FILE_COPY"
        _psql(running, "postgres", "-c", copy)
        _psql(running, "postgres", "-c", f"GRANT ALL ON DATABASE {database} TO analysts, auditor, admin")
    _psql(running, "postgres", "-c", f"CREATE ROLE {CONTROL_USER} LOGIN PASSWORD '{CONTROL_PASSWORD}'")


def superuser(port: int, database: str) -> str:
    """A libpq connection string; the harness takes it in this form."""
    return f"host=127.0.0.1 port={port} user=postgres dbname={database}"


def _psql(running: PostgresServer, database: str, *arguments: str) -> None:
    command = [str(running.bin_dir / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", running.dsn(dbname=database)]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, env=_environment())
    if done.returncode != 0:
        raise ClusterError(f"psql {' '.join(arguments)} failed:\n{done.stderr.strip()[-2000:]}")


def _environment() -> dict[str, str]:
    return {**os.environ, "PGCLIENTENCODING": "UTF8", "PGOPTIONS": "-c client_min_messages=error"}
