"""The measurements: pgbench -S throughput, what the trail costs, and the time to read a large masked table."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.bench.servers import CLEAR, MASKED, MASKS, OTHER, Servers

CLIENTS, THREADS = 8, 2
LIST = """\
\\set first random(1, 99900)
SELECT aid, bid, abalance, filler FROM pgbench_accounts WHERE aid BETWEEN :first AND :first + 99;
"""
"""A page of a list, for pgbench."""
_TPS = re.compile(r"^tps = ([0-9.]+)", re.MULTILINE)


@dataclass(slots=True)
class Series:
    """One way to the server, one kind of load: a value a round."""

    way: str
    load: str
    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return median(self.values)


@dataclass(frozen=True, slots=True)
class Way:
    name: str
    port: int
    user: str


def point_reads(servers: Servers, rounds: int, seconds: float, say: Callable[[str], None]) -> list[Series]:
    """pgbench -S in transactions a second: every way, both protocols, in interleaved rounds."""
    ways = [
        Way("direct", servers.direct, CLEAR),
        *([Way("pgbouncer", servers.pgbouncer, CLEAR)] if servers.pgbouncer else []),
        Way("pgveil, nothing masked", servers.pgveil, CLEAR),
        Way("the same without a trail", servers.unaudited, CLEAR),
        Way("pgveil, other tables masked", servers.pgveil, OTHER),
        Way("pgveil, pgbench_accounts masked", servers.pgveil, MASKED),
    ]
    series = [(way, Series(way.name, mode)) for mode in ("simple", "prepared") for way in ways]
    for number in range(rounds):
        for way, one in series:
            one.values.append(_pgbench(servers, way, one.load, seconds))
            say(f"round {number + 1}: pgbench -S -M {one.load}, {way.name}: {one.values[-1]:,.0f} tps")
    return [one for _, one in series]


def trail_cost(servers: Servers, home: Path, rounds: int, seconds: float, say: Callable[[str], None]) -> list[Series]:
    """Transactions a second with and without a trail: one row, a hundred rows, and pgbench's own five statements."""
    script = home / "list.sql"
    script.write_text(LIST)
    loads = {
        "one row, clear": (CLEAR, ["-S"]),
        "one row, masked": (MASKED, ["-S"]),
        "100 rows, clear": (CLEAR, ["-f", str(script)]),
        "100 rows, masked": (MASKED, ["-f", str(script)]),
        "TPC-B": (CLEAR, ["-b", "tpcb-like"]),
    }
    ports = {"without a trail": servers.unaudited, "with its trail": servers.pgveil}
    series = [
        (Way(name, port, user), options, Series(name, load))
        for load, (user, options) in loads.items()
        for name, port in ports.items()
    ]
    for number in range(rounds):
        for way, options, one in series:
            one.values.append(_pgbench(servers, way, "prepared", seconds, options))
            say(f"round {number + 1}: {one.load}, {way.name}: {one.values[-1]:,.0f} tps")
    return [one for _, _, one in series]


def _pgbench(servers: Servers, way: Way, mode: str, seconds: float, load: Sequence[str] = ("-S",)) -> float:
    command = [servers.program("pgbench"), "-n", *load, "-M", mode, "-c", str(CLIENTS), "-j", str(THREADS)]
    command += ["-T", str(max(1, round(seconds))), "-h", "127.0.0.1", "-p", str(way.port), "-U", way.user, "bench"]
    done = subprocess.run(command, capture_output=True, text=True)
    found = _TPS.search(done.stdout)
    if done.returncode != 0 or found is None:
        raise RuntimeError(f"pgbench through {way.name} failed:\n{done.stderr.strip()[-1000:]}")
    return float(found[1])


def bulk_reads(servers: Servers, home: Path, rounds: int, say: Callable[[str], None]) -> list[Series]:
    """Seconds to read all of bench.people: the masks in the client's query (direct), or put there by pgveil."""
    masked = f"SELECT id, {', '.join(_by_hand())}, city FROM bench.people"
    plain = "SELECT id, full_name, phone, balance, city FROM bench.people"
    ways = [
        (Way("direct, masks in the query", servers.direct, CLEAR), masked),
        *([(Way("pgbouncer, masks in the query", servers.pgbouncer, CLEAR), masked)] if servers.pgbouncer else []),
        (Way("pgveil masks", servers.pgveil, MASKED), plain),
        (Way("pgveil, nothing masked, masks in the query", servers.pgveil, CLEAR), masked),
    ]
    series = [(way, query, Series(way.name, load)) for load in ("COPY", "SELECT") for way, query in ways]
    for number in range(rounds):
        for way, query, one in series:
            one.values.append(_copy(servers, way, query) if one.load == "COPY" else _select(servers, home, way, query))
            say(f"round {number + 1}: {one.load}, {way.name}: {one.values[-1]:.2f} s")
    return [one for _, _, one in series]


def _by_hand() -> Iterable[str]:
    types = {"full_name": "text", "phone": "text", "balance": "numeric(18,2)"}
    return (f"({sql.replace('$1', name)})::{types[name]} AS {name}" for name, sql in MASKS.items())


def _copy(servers: Servers, way: Way, query: str) -> float:
    command = [servers.program("psql"), "-X", "-q", "-h", "127.0.0.1", "-p", str(way.port), "-U", way.user]
    return _timed([*command, "-d", "bench", "-c", f"COPY ({query}) TO STDOUT"], way)


def _select(servers: Servers, home: Path, way: Way, query: str) -> float:
    """pgbench as a client that fetches the rows and does nothing with them."""
    script = home / "select.sql"
    script.write_text(query + ";\n")
    command = [servers.program("pgbench"), "-n", "-t", "1", "-f", str(script), "-h", "127.0.0.1", "-p", str(way.port)]
    return _timed([*command, "-U", way.user, "bench"], way)


def _timed(command: list[str], way: Way) -> float:
    start = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} through {way.name} failed:\n{done.stderr.strip()[-1000:]}")
    return time.perf_counter() - start
