"""The servers of a run: the raw database, the masked copy, a second masked copy, and pgveil before the raw one.

All three are copies of one data directory, so that OIDs and the order of rows agree. What the regression files know is the
masked copy: the raw database holds other values (canaries), and the policy's mask turns them back. So every statement does
through pgveil what PostgreSQL's developers meant it to do.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from proxy.demo.embedded import PostgresServer, find_binaries, free_port
from proxy.demo.launch import ProxyProcess

DATABASE = "regression"
LOGIN = "postgres"
"""The regression files need a superuser. Superusers are masked like everybody else."""

HBA = "host all all 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust\n"
SETTINGS = {
    "max_prepared_transactions": "2",
    "autovacuum": "off",
    "jit": "off",
    "shared_buffers": "64MB",
    "log_min_messages": "panic",
}
ENVIRONMENT = {"PGTZ": "PST8PDT", "PGDATESTYLE": "Postgres, MDY"}
_DATABASE_SETTINGS = """\
CREATE DATABASE regression TEMPLATE template0;
ALTER DATABASE regression SET lc_messages TO 'C';
ALTER DATABASE regression SET lc_monetary TO 'C';
ALTER DATABASE regression SET lc_numeric TO 'C';
ALTER DATABASE regression SET lc_time TO 'C';
ALTER DATABASE regression SET bytea_output TO 'hex';
ALTER DATABASE regression SET timezone_abbreviations TO 'Default';
CREATE ROLE control LOGIN;
"""


@dataclass(frozen=True, slots=True)
class Target:
    """A table of the regression database and the columns of it that are masked."""

    table: str
    columns: dict[str, tuple[str, str]]
    """Column -> (SQL that makes the raw value from $1, SQL that masks it)."""
    canary: str
    """Pattern of every raw value in text form."""


_NAME = ("('RAW~' || $1)::name", "(case when $1::text ~ '^R[A]W~' then substr($1::text, 5) else $1::text end)::name")
_TEXT = ("'RAW~' || $1", "case when $1 ~ '^R[A]W~' then substr($1, 5) else $1 end")
_INT4 = ("$1 + 1717000000", "case when $1 > 1716000000 then ($1 - 1716999999) - 1 else $1 end")
_INT8 = (
    "$1 + 8000000000000000000",
    "case when $1 > 7900000000000000000 then ($1 - 7999999999999999999) - 1 else $1 end",
)
"""The masks do not contain what they look for: EXPLAIN prints them."""
TARGETS = {
    t.table: t
    for t in (
        Target("onek", {"stringu1": _NAME, "unique1": _INT4}, r"RAW~|171700[0-9]{4}"),
        Target("tenk1", {"stringu1": _NAME, "hundred": _INT4}, r"RAW~|17170000[0-9]{2}"),
        Target("int8_tbl", {"q2": _INT8}, r"80045678901\d*|7995432109\d*|8000000000000000\d\d\d"),
        Target("person", {"name": _TEXT}, r"RAW~"),
        Target("text_tbl", {"f1": _TEXT}, r"RAW~"),
    )
}


@dataclass(frozen=True, slots=True)
class Servers:
    raw: int
    copy: int
    twin: int
    pgveil: int
    proxy: ProxyProcess
    policy: Path


@contextmanager
def running(home: Path, source: Path, target: Target) -> Iterator[Servers]:
    """`source` is an unpacked src/test/regress that the server's user can read."""
    with ExitStack() as stack:
        first = PostgresServer(home / "raw", find_binaries(), settings=SETTINGS, hba=HBA)
        with first:
            _psql(first, "postgres", _DATABASE_SETTINGS)
            script = (source / "sql" / "test_setup.sql").read_text()
            _psql(first, DATABASE, script, stop=False, env={"PG_ABS_SRCDIR": str(source)})
        servers = [first]
        for name in ("copy", "twin"):
            shutil.copytree(home / "raw", home / name)
            owner = (home / "raw").stat().st_uid
            for path in [home / name, *(home / name).rglob("*")]:
                shutil.chown(path, owner)
            servers.append(PostgresServer(home / name, find_binaries(), settings=SETTINGS, hba=HBA))
        for server in servers:
            stack.enter_context(server)
            changes = ", ".join(
                f"{column} = {raw.replace('$1', column) if server is first else column}"
                for column, (raw, _) in target.columns.items()
            )
            _psql(server, DATABASE, f"UPDATE {target.table} SET {changes}; VACUUM FULL ANALYZE {target.table};")
        port, http_port = free_port(), free_port()
        config = _configuration(home, target, first.port, port, http_port)
        proxy = stack.enter_context(ProxyProcess(config, http_port, home / "proxy.log"))
        yield Servers(first.port, servers[1].port, servers[2].port, port, proxy, home / "policy.yaml")


def _psql(server: PostgresServer, database: str, script: str, *, stop: bool = True, env: dict[str, str] | None = None) -> None:
    command = [str(server.bin_dir / "psql"), "-X", "-q", "-v", f"ON_ERROR_STOP={int(stop)}", "-d", server.dsn(dbname=database)]
    environment = {**os.environ, **ENVIRONMENT, **(env or {})}
    done = subprocess.run(command, input=script, capture_output=True, text=True, env=environment)
    if stop and done.returncode != 0:
        raise RuntimeError(f"psql failed:\n{done.stderr.strip()[-2000:]}")


def _configuration(home: Path, target: Target, server_port: int, port: int, http_port: int) -> Path:
    classes = "".join(f'  {c}: {{ level: C2, mask: {{ sql: "{mask}" }} }}\n' for c, (_, mask) in target.columns.items())
    columns = "".join(f"  public.{target.table}.{c}: {c}\n" for c in target.columns)
    (home / "policy.yaml").write_text(f"version: 1\nnotice: false\nclasses:\n{classes}columns:\n{columns}")
    config = home / "pgveil.yaml"
    config.write_text(f"""\
listen: {{ host: 127.0.0.1, port: {port} }}
upstream: {{ host: 127.0.0.1, port: {server_port}, tls: {{ mode: disable }} }}
control: {{ user: control, database: {DATABASE}, max_stale: 60s }}
policy: policy.yaml
audit: {{ directory: audit }}
http: {{ host: 127.0.0.1, port: {http_port} }}
""")
    return config
