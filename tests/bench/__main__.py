"""Direct PostgreSQL, PgBouncer (session mode) and pgveil side by side, in one run on one machine.

    python -m tests.bench [--quick] [--rounds N] [--seconds S] [--rows N] [--out FILE] [-q]

Rounds are interleaved (every way once, then all again), so that noise from outside falls on all of them; medians are
printed with their ratios, and everything goes to a JSON file. Nothing is asserted: times belong to machines. pgveil runs
with `workers: auto`: as many processes as there are CPUs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from proxy.config import available_cpus
from tests.bench.measure import CLIENTS, THREADS, Series, bulk_reads, point_reads, trail_cost
from tests.bench.servers import running


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    home = Path(tempfile.mkdtemp(prefix="pgveil-bench-"))
    home.chmod(0o755)  # root: the server's own user has to get through

    def say(line: str) -> None:
        if not options.quiet:
            print(line, flush=True)

    try:
        with running(home, options.rows, options.scale) as servers:
            if servers.pgbouncer is None:
                say("PgBouncer is not installed: measuring without it")
            points = point_reads(servers, options.rounds, options.seconds, say)
            trail = trail_cost(servers, home, options.rounds, options.seconds, say)
            bulk = bulk_reads(servers, home, options.rounds, say)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    print(f"\npgbench -S, {CLIENTS} clients, {THREADS} threads, tps (median of {options.rounds})")
    print(_table(points, "pgbouncer", higher=True))
    print(f"\nwhat the audit trail costs, prepared statements, tps (median of {options.rounds})")
    for load in dict.fromkeys(s.load for s in trail):
        without, with_it = (s.median for s in trail if s.load == load)
        print(f"{load:<18}{without:>12,.0f} without{with_it:>12,.0f} with a trail{with_it / without:>10.2f}")
    print(f"\nreading {options.rows:,} masked rows, seconds (median of {options.rounds})")
    print(_table(bulk, "direct, masks in the query", higher=False))
    machine = {
        "cpus": os.cpu_count(),
        "workers": available_cpus(),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
    everything = {"machine": machine, "rows": options.rows, "series": [asdict(s) for s in [*points, *trail, *bulk]]}
    options.out.write_text(json.dumps(everything, indent=1))
    print(f"\nall values: {options.out}")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("--quick", action="store_true", help="one short round, for a first look")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of each pgbench run")
    parser.add_argument("--rows", type=int, help="of the masked table")
    parser.add_argument("--scale", type=int, help="of pgbench")
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "pgveil-bench.json")
    parser.add_argument("-q", "--quiet", action="store_true", help="print the tables only")
    options = parser.parse_args()
    defaults = {"rounds": 1, "seconds": 1, "rows": 200_000, "scale": 1} if options.quick else {
        "rounds": 3, "seconds": 3, "rows": 1_000_000, "scale": 10
    }  # fmt: skip
    for name, value in defaults.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


def _table(series: Sequence[Series], base: str, *, higher: bool) -> str:
    """One line a way, one pair of columns a load: the median, and how it stands to the way `base` (more is better)."""
    loads = list(dict.fromkeys(s.load for s in series))
    ways = list(dict.fromkeys(s.way for s in series))
    by = {(s.way, s.load): s.median for s in series}
    if base not in ways:
        base = ways[0]
    width = max(len(w) for w in ways)
    times = "× " + base.split(",")[0]
    of = max(12, len(times) + 2)
    lines = [" " * width + "".join(f"{load:>12}{times:>{of}}" for load in loads)]
    for way in ways:
        cells = ""
        for load in loads:
            value, reference = by[way, load], by[base, load]
            ratio = value / reference if higher else reference / value
            cells += f"{value:>12,.{0 if higher else 2}f}{ratio:>{of}.2f}"
        lines.append(f"{way:<{width}}{cells}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
