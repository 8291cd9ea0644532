"""The matrix by hand, on the server of PGVEIL_TEST_PG_BIN or the one that is installed.

    python -m tests.change [--change REGEX] [--hold REGEX]

Prints what is wrong, and how long after each change the first session followed it. Status 0: nothing is wrong.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from pathlib import Path

from tests.change.changes import CHANGES
from tests.change.holds import HOLDS
from tests.change.matrix import HBA, SETUP, Matrix, proxy_for
from tests.support.postgres import TestServer


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.change")
    parser.add_argument("--change", default="", help="only changes whose name matches")
    parser.add_argument("--hold", default="", help="only what is held whose name matches")
    options = parser.parse_args()
    changes = [c for c in CHANGES if re.search(options.change, c.name)]
    holds = [h for h in HOLDS if re.search(options.hold, h.name)]
    with tempfile.TemporaryDirectory(prefix="pgveil-change-") as home, TestServer({"max_connections": "400"}, HBA) as server:
        assert isinstance(server, TestServer)
        server.execute_sql("postgres", SETUP)
        with proxy_for(server, Path(home) / "proxy") as proxy:
            result = Matrix(server, proxy).run(changes, holds)
    for finding in result.findings:
        print(finding)
    for name, seconds in result.seconds:
        print(f"{seconds:6.2f} s  {name}")
    print(f"{result.cases} cases, {len(result.findings)} findings")
    return 1 if result.findings else 0


if __name__ == "__main__":
    sys.exit(main())
