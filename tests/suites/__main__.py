"""Run drivers' own test suites direct, through PgBouncer and through pgveil, and compare how each test ends.

    python -m tests.suites --work DIR [--only psycopg,asyncpg] [--ways "pgveil clear,pgveil masked"] [--out FILE]

Sources, virtual environments and what the runs left (logs, records) stay below DIR. Ends with status 0 only when every test that
passes direct passes through pgveil with nothing masked for the login.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

from tests.suites import outcomes, player, report, servers
from tests.suites.catalogue import SUITES
from tests.suites.outcomes import Run
from tests.suites.player import Installed
from tests.suites.servers import Way


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    work: Path = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    work.chmod(0o755)  # root: the server's own user has to get through
    given = dict(pair.split("=", 1) for pair in options.source)
    names = options.only.split(",") if options.only else list(SUITES)
    ways = [Way(name) for name in options.ways.split(",")] if options.ways else [way for way in Way if way is not Way.DIRECT]
    only = options.modules.split(",") if options.modules else None
    runs = work / f"runs-{os.getpid()}"
    template = runs / "template"
    runs.mkdir(mode=0o755)
    servers.prepare(template)
    reports = []
    try:
        for name in names:
            found = Path(given[name]).resolve() if name in given else None
            installed = player.install(SUITES[name], work, found)
            reports.append(_compare(installed, ways, template, runs / name, only, options.again))
            print(report.lines(reports[-1]), flush=True)
    finally:
        shutil.rmtree(template, ignore_errors=True)
    print(report.table(reports, ways))
    if options.out:
        options.out.write_text(json.dumps([report.as_json(r) for r in reports], indent=1))
    return 1 if any(r.verdicts[Way.CLEAR].differences for r in reports if Way.CLEAR in r.verdicts) else 0


def _compare(
    installed: Installed, ways: list[Way], template: Path, home: Path, only: list[str] | None, again: int
) -> report.Report:
    home.mkdir(mode=0o755)
    results: dict[Way, list[Run]] = {}

    def play(way: Way, modules: list[str] | None) -> None:
        before = time.monotonic()
        place = home / f"{way.name.lower()}-{len(results.get(way, ()))}"
        run = player.play(installed, way, template, place, modules)
        shutil.rmtree(place / "data", ignore_errors=True)
        results.setdefault(way, []).append(run)
        took = time.monotonic() - before
        print(
            f"{installed.suite.name} {installed.version} {way.value}: {len(outcomes.passed(run))} of {len(run)}, {took:.0f} s",
            flush=True,
        )

    for way in (Way.DIRECT, *ways):
        play(way, only)
    for _ in range(again):
        open_ = {way: outcomes.modules(_open(results, way)) for way in ways}
        if not any(open_.values()):
            break
        play(Way.DIRECT, sorted({module for modules in open_.values() for module in modules}))
        for way in ways:
            if open_[way]:
                play(way, open_[way])
    verdicts = {way: outcomes.judge(results[Way.DIRECT], results[way]) for way in ways}
    return report.Report(
        installed.suite.name,
        installed.version,
        len(results[Way.DIRECT][0]),
        len(outcomes.passed(results[Way.DIRECT][0]) - outcomes.flaky(results[Way.DIRECT])),
        tuple(sorted(outcomes.flaky(results[Way.DIRECT]))),
        verdicts,
    )


def _open(results: dict[Way, list[Run]], way: Way) -> list[str]:
    return [difference.test for difference in outcomes.judge(results[Way.DIRECT], results[way]).differences]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.suites", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="where sources, environments and logs go")
    parser.add_argument("--only", help=f"suites, with commas [{','.join(SUITES)}]")
    parser.add_argument("--ways", help="besides direct, with commas [pgbouncer,pgveil clear,pgveil masked]")
    parser.add_argument("--modules", help="modules of the tests as they are named in the report, with commas")
    parser.add_argument("--source", action="append", default=[], metavar="SUITE=DIR", help="an unpacked source to use instead")
    parser.add_argument("--again", type=int, default=2, help="how often modules with differences are run again, at most [2]")
    parser.add_argument("--out", type=Path, help="everything as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
