"""PostgreSQL's own `pg_regress` (and its isolation tester) over one schedule, on several ways to the same kind of server.

    direct        psql talks to PostgreSQL
    pgbouncer     through PgBouncer in session mode, for comparison
    clear         through pgveil, with nothing masked for anybody
    masked        through pgveil, with masked columns in a table that no file knows. The set-up, which loads files of the server's
                  machine and a library in C, goes around it, as a DBA would

pg_regress compares what psql prints with the expected files, byte for byte: `\\d`, error positions, DETAIL, notices. Every way
starts with the same fresh data directory. A test that passes directly has to pass through pgveil with nothing masked; of one that
fails directly already (the files know another minor version's psql) the output is compared with that of the direct run.

Needs Debian's postgresql-server-dev-15 (pg_regress, isolationtester, headers) and a C compiler: the files load a library of
their own, regress.c.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from proxy.demo.embedded import PostgresServer, find_binaries, free_port
from proxy.demo.launch import ProxyProcess
from tests.bench.servers import pgbouncer

_SETUP = "test_setup"
WAYS = ("direct", "pgbouncer", "clear", "masked")
LOGIN = "postgres"
_HBA = "host all all 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust\n"
_SETTINGS = {
    "max_prepared_transactions": "2",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "log_min_messages": "panic",
    "jit": "off",
}
_DATABASE = """\
CREATE DATABASE "{0}" TEMPLATE template0;
ALTER DATABASE "{0}" SET lc_messages TO 'C';
ALTER DATABASE "{0}" SET lc_monetary TO 'C';
ALTER DATABASE "{0}" SET lc_numeric TO 'C';
ALTER DATABASE "{0}" SET lc_time TO 'C';
ALTER DATABASE "{0}" SET bytea_output TO 'hex';
ALTER DATABASE "{0}" SET timezone_abbreviations TO 'Default';
\\c "{0}"
CREATE SCHEMA vault;
CREATE TABLE vault.secrets (id int, phone text);
INSERT INTO vault.secrets VALUES (1, '13812345678');
"""
_VERDICT = re.compile(r"^(?:test|    )\s*(\S+)\s+\.\.\. (ok|FAILED|failed)", re.MULTILINE)
_ROLES = re.compile(r"\bCREATE\s+(?:ROLE|USER|GROUP)\s+\"?(\w+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Suite:
    """One of PostgreSQL's suites, as pg_regress is told to run it."""

    name: str
    program: str
    """Below the directory of PGXS."""
    database: str
    schedule: str


REGRESS = Suite("regress", "src/test/regress/pg_regress", "regression", "parallel_schedule")
ISOLATION = Suite("isolation", "src/test/isolation/pg_isolation_regress", "isolation_regression", "isolation_schedule")


@dataclass(frozen=True, slots=True)
class Outcome:
    passed: bool
    output: str
    """What psql printed."""


def run(suite: Suite, source: Path, home: Path, ways: Sequence[str], only: Sequence[str], out: Path | None) -> int:
    """Run the suite on every way and print what passes where. 0: `clear` passes whatever `direct` does."""
    results: dict[str, dict[str, Outcome]] = {}
    library = _library(source, home)
    for way in ways:
        started = time.monotonic()
        results[way] = _one(suite, source, home, library, way, only, out)
        passed = sum(o.passed for o in results[way].values())
        print(f"{suite.name:10} {way:10} {passed} of {len(results[way])} pass  {time.monotonic() - started:.0f} s", flush=True)
    return report(results)


def report(results: dict[str, dict[str, Outcome]]) -> int:
    """Print the tests that do not pass everywhere, a column for each way."""
    ways = list(results)
    names = list(dict.fromkeys(name for way in ways for name in results[way]))
    verdicts = {name: [_verdict(results, way, name) for way in ways] for name in names}
    print(f"\n{'test':32} " + " ".join(f"{way:10}" for way in ways))
    for name, row in verdicts.items():
        if set(row) != {"ok"}:
            print(f"{name:32} " + " ".join(f"{verdict:10}" for verdict in row))
    print(f"{'passed':32} " + " ".join(f"{sum(row[i] == 'ok' for row in verdicts.values()):<10}" for i in range(len(ways))))
    print(
        f"{'or as directly':32} "
        + " ".join(f"{sum(row[i] != 'FAILED' for row in verdicts.values()):<10}" for i in range(len(ways)))
    )
    if "direct" not in results or "clear" not in results:
        return 0
    return 1 if any(row[ways.index("clear")] == "FAILED" for row in verdicts.values()) else 0


def _verdict(results: dict[str, dict[str, Outcome]], way: str, name: str) -> str:
    found, direct = results[way].get(name), results.get("direct", {}).get(name)
    if found is None:
        return "FAILED"
    if found.passed:
        return "ok"
    return "as direct" if direct is not None and not direct.passed and direct.output == found.output else "FAILED"


def _one(
    suite: Suite, source: Path, home: Path, library: Path, way: str, only: Sequence[str], out: Path | None
) -> dict[str, Outcome]:
    place = home / f"{suite.name}-{way}"
    inputs = home / suite.name
    if not inputs.exists():
        shutil.copytree(source.parent / suite.name, inputs)
    place.mkdir()
    place.chmod(0o755)
    with _server(suite, place, inputs, way) as (port, server):
        for name in ("results", "testtablespace"):
            (place / name).mkdir()
            (place / name).chmod(0o777)
        around = suite is REGRESS and way == "masked"
        if around:
            _pg_regress(suite, place, inputs, library, server, server.port, [_SETUP])
        if only:
            wanted = [*([_SETUP] if suite is REGRESS and not around else []), *only]
        else:
            schedule = place / "schedule"
            lines = (inputs / suite.schedule).read_text().splitlines(keepends=True)
            schedule.write_text("".join(line for line in lines if not around or line.strip() != f"test: {_SETUP}"))
            wanted = [f"--schedule={schedule}"]
        done = _pg_regress(suite, place, inputs, library, server, port, wanted)
    if out is not None:
        (out / f"{suite.name}-{way}").mkdir(parents=True, exist_ok=True)
        (out / f"{suite.name}-{way}" / "output").write_text(done.stdout + done.stderr)
        for name in ("regression.diffs", "output_iso/regression.diffs", "proxy.log"):
            if (place / name).exists():
                shutil.copy(place / name, out / f"{suite.name}-{way}" / Path(name).name)
        shutil.copytree(place / "results", out / f"{suite.name}-{way}" / "results", dirs_exist_ok=True)
    results = {n: Outcome(verdict == "ok", _output(place, n)) for n, verdict in _VERDICT.findall(done.stdout)}
    if not results:
        print(done.stdout[-2000:], done.stderr[-2000:], file=sys.stderr)
    return results


def _pg_regress(
    suite: Suite, place: Path, inputs: Path, library: Path, server: PostgresServer, port: int, wanted: Sequence[str]
) -> subprocess.CompletedProcess[str]:
    command = [
        str(_pgxs() / suite.program),
        f"--inputdir={inputs}",
        f"--outputdir={place}",
        f"--bindir={server.bin_dir}",
        f"--dlpath={library}",
        "--use-existing",
        f"--dbname={suite.database}",
        "--host=127.0.0.1",
        f"--port={port}",
        f"--user={LOGIN}",
        "--max-concurrent-tests=20",
        *wanted,
    ]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, errors="replace")


def _output(place: Path, name: str) -> str:
    """The test's own output, without what differs from run to run: the working directory."""
    found = place / "results" / f"{name}.out"
    return found.read_text("utf-8", "replace").replace(str(place), "") if found.exists() else ""


@contextmanager
def _server(suite: Suite, place: Path, inputs: Path, way: str) -> Iterator[tuple[int, PostgresServer]]:
    """A fresh server, and the port on which the suite is to find it."""
    with ExitStack() as stack:
        settings = _SETTINGS | ({"max_prepared_transactions": "10"} if suite is ISOLATION else {})
        server = stack.enter_context(PostgresServer(place / "data", find_binaries(), settings=settings, hba=_HBA))
        script = "CREATE ROLE control LOGIN;\n" + _DATABASE.format(suite.database)
        psql = [str(server.bin_dir / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", server.dsn()]
        subprocess.run(psql, input=script, text=True, check=True, stdout=subprocess.DEVNULL)
        if way == "direct":
            yield server.port, server
        elif way == "pgbouncer":
            files = [*inputs.glob("sql/*.sql"), *inputs.glob("specs/*.spec")]
            roles = {r for path in files for r in _ROLES.findall(path.read_text("utf-8", "replace"))}
            bouncer = stack.enter_context(pgbouncer(place, server.port, (LOGIN, *sorted(roles))))
            if bouncer is None:
                raise SystemExit("pgbouncer is not installed: leave it out with --ways")
            yield bouncer, server
        else:
            port, http_port = free_port(), free_port()
            config = _configuration(suite, place, way, server.port, port, http_port)
            stack.enter_context(ProxyProcess(config, http_port, place / "proxy.log"))
            yield port, server


def _configuration(suite: Suite, place: Path, way: str, server_port: int, port: int, http_port: int) -> Path:
    rules = "rules:\n  - { name: nothing masked, columns: ['*'], show: clear }\n" if way == "clear" else ""
    (place / "policy.yaml").write_text(
        "version: 1\nnotice: false\nclasses:\n  phone: { level: C2, mask: { keep: { first: 3, last: 4 } } }\n"
        f"columns:\n  vault.secrets.phone: phone\n{rules}"
    )
    config = place / "pgveil.yaml"
    config.write_text(f"""\
listen: {{ host: 127.0.0.1, port: {port} }}
upstream: {{ host: 127.0.0.1, port: {server_port}, tls: {{ mode: disable }} }}
control: {{ user: control, database: {suite.database} }}
policy: policy.yaml
audit: {{ directory: audit }}
http: {{ host: 127.0.0.1, port: {http_port} }}
""")
    return config


def _library(source: Path, home: Path) -> Path:
    """A directory with the libraries that the files load: regress.so, built here, and two of contrib."""
    library = home / "library"
    library.mkdir()
    library.chmod(0o755)
    include = _config("--includedir-server")
    compiler = ["cc", "-O1", "-fPIC", "-shared", "-w", f"-I{include}", f"-I{source}"]
    subprocess.run([*compiler, "-o", str(library / "regress.so"), str(source / "regress.c")], check=True)
    for name in ("autoinc.so", "refint.so"):
        shutil.copy(Path(_config("--pkglibdir")) / name, library / name)
    return library


def _pgxs() -> Path:
    return Path(_config("--pkglibdir")) / "pgxs"


def _config(what: str) -> str:
    program = find_binaries() / "pg_config"
    done = subprocess.run([str(program), what], capture_output=True, text=True, check=True, env=dict(os.environ))
    return done.stdout.strip()
