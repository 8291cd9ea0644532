"""Run PostgreSQL's regression files through pgveil and compare every answer with that of a masked copy.

    python -m tests.regress (--source DIR | --fetch DIR) [--only NAMES] [--masked TABLE] [--extended] [--out FILE]
    python -m tests.regress (--source DIR | --fetch DIR) (--pg-regress | --isolation) [--only NAMES] [--ways WAYS] [--out DIR]

DIR of --source is an unpacked src/test/regress of PostgreSQL 15; --fetch gets one through apt into DIR. Ends with status 0 only
when no connection died, no raw value was seen, no statement answered differently, and the raw values are all still there.

The second form has PostgreSQL's own pg_regress (its isolation tester) run the files: see `suite`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from tests.regress import fetch, suite
from tests.regress.client import Connection
from tests.regress.judge import BAD, Verdict
from tests.regress.player import Case, Player
from tests.regress.servers import DATABASE, ENVIRONMENT, LOGIN, TARGETS, Servers, Target, running


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    home = Path(tempfile.mkdtemp(prefix="pgveil-regress-"))
    home.chmod(0o755)  # root: the server's own user has to get through
    os.environ.update(ENVIRONMENT)
    try:
        source = fetch.fetch(options.fetch.resolve()) if options.fetch else options.source.resolve()
        if options.suite is not None:
            ways, only = options.ways.split(","), options.only.split(",") if options.only else ()
            return suite.run(options.suite, source, home, ways, only, options.out)
        readable = home / "source"
        shutil.copytree(source, readable)
        (readable / "results").mkdir(exist_ok=True)
        (readable / "results").chmod(0o777)
        target = TARGETS[options.masked]
        with running(home, readable, target) as servers, _log(options.out) as log:
            return _run(servers, target, readable, options, log)
    finally:
        if options.keep:
            print(f"kept: {home}")
        else:
            shutil.rmtree(home, ignore_errors=True)


@contextmanager
def _log(path: Path | None) -> Iterator[TextIO | None]:
    if path is None:
        yield None
    else:
        with path.open("w") as log:
            yield log


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.regress", description=__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--source", type=Path, help="an unpacked src/test/regress of PostgreSQL 15")
    where.add_argument("--fetch", type=Path, metavar="DIR", help="get it with apt-get source into DIR")
    parser.add_argument("--only", help="names of files, with commas")
    parser.add_argument("--masked", choices=sorted(TARGETS), default="tenk1", help="the table with masked columns [tenk1]")
    parser.add_argument("--extended", action="store_true", help="extended query protocol")
    parser.add_argument(
        "--out",
        type=Path,
        help="every statement not answered the same, as JSON lines; or a directory for the differences of pg_regress",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--pg-regress", dest="suite", action="store_const", const=suite.REGRESS, help="run pg_regress")
    which.add_argument("--isolation", dest="suite", action="store_const", const=suite.ISOLATION, help="run pg_isolation_regress")
    parser.add_argument("--ways", default=",".join(suite.WAYS), help=f"of --pg-regress and --isolation [{','.join(suite.WAYS)}]")
    parser.add_argument("--keep", action="store_true", help="leave the working directory (logs, data) behind")
    return parser.parse_args()


def schedule(source: Path) -> list[str]:
    """The files in the order of PostgreSQL's own parallel schedule; the set-up has been played already."""
    lines = (source / "parallel_schedule").read_text().splitlines()
    names = [n for line in lines if line.startswith("test:") for n in line.removeprefix("test:").split()]
    return [n for n in names if n != "test_setup"]


def _run(servers: Servers, target: Target, source: Path, options: argparse.Namespace, log: TextIO | None) -> int:
    counts: Counter[Verdict] = Counter()
    reasons: Counter[str] = Counter()
    skipped: Counter[str] = Counter()

    def report(case: Case) -> None:
        counts[case.judgement.verdict] += 1
        if case.judgement.verdict is Verdict.REFUSED:
            reasons[case.judgement.reason] += 1
        if case.judgement.verdict is not Verdict.SAME and log is not None:
            row = (case.file, case.line, case.judgement.verdict.value, case.judgement.reason, case.sql)
            log.write(json.dumps(dict(zip(("file", "line", "verdict", "reason", "sql"), row, strict=True))) + "\n")
            log.flush()

    variables = {
        "PG_ABS_SRCDIR": str(source),
        "PG_ABS_BUILDDIR": str(source),
        "PG_LIBDIR": str(source),
        "PG_DLSUFFIX": ".so",
        "DBNAME": DATABASE,
        "USER": LOGIN,
    }
    wanted = options.only.split(",") if options.only else schedule(source)
    canary = re.compile(target.canary)
    for name in wanted:
        before, started = counts.copy(), time.monotonic()
        player = Player(servers, canary, variables, extended=options.extended, report=report)
        try:
            player.play(source / "sql" / f"{name}.sql")
        finally:
            player.close()
        skipped += player.skipped
        lost = _lost(servers, target)
        found = ", ".join(f"{n} {v.value}" for v, n in (counts - before).items())
        print(f"{name:28} {time.monotonic() - started:6.1f} s  {found}{lost}", flush=True)
        counts[Verdict.LEAKED] += bool(lost)
        if servers.proxy.status is not None:
            print(f"pgveil ended:\n{servers.proxy.log_tail()}")
            return 1
    return _summary(counts, reasons, skipped)


def _lost(servers: Servers, target: Target) -> str:
    """What is wrong with the stored data: the raw table, masked, must be the copy's table."""
    raw = ", ".join(mask.replace("$1", column) for column, (_, mask) in target.columns.items())
    plain = ", ".join(target.columns)
    answers = []
    for port, columns in ((servers.raw, raw), (servers.copy, plain)):
        connection = Connection(port, LOGIN, DATABASE)
        answers.append(connection.run(f"SELECT {columns} FROM ONLY public.{target.table} ORDER BY 1").results)
        connection.close()
    return "" if answers[0] and answers[0][-1].rows == answers[1][-1].rows else "  STORED DATA DIFFERS"


def _summary(counts: Counter[Verdict], reasons: Counter[str], skipped: Counter[str]) -> int:
    print(f"\n{counts.total()} statements")
    for verdict in Verdict:
        print(f"{counts[verdict]:7} {verdict.value}")
    print("\nrefused:")
    for text, n in reasons.most_common():
        print(f"{n:7} {text}")
    print("\nnot sent (psql's own commands): " + ", ".join(f"{n} {name}" for name, n in skipped.most_common()))
    return 1 if any(counts[v] for v in BAD) else 0


if __name__ == "__main__":
    sys.exit(main())
