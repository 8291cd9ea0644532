"""Running one suite one way: a new server, a copy of the tests, the driver's virtual environment, the record read."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

from tests.suites import catalogue, outcomes, servers, sources
from tests.suites.catalogue import Suite
from tests.suites.servers import Way

HOOKS = Path(__file__).parent / "hooks"
LIMIT = 3600.0
"""Seconds for one run of one suite; what has not ended by then is stopped."""


@dataclass(frozen=True, slots=True)
class Installed:
    suite: Suite
    tree: Path
    version: str
    python: Path


def install(suite: Suite, work: Path, given: Path | None) -> Installed:
    """The suite's source and virtual environment below `work`, made when missing. `given`: an unpacked source."""
    tree = given or sources.fetch(suite.source, work / "sources" / suite.name)
    version = _version(suite, tree)
    python = work / "venvs" / f"{suite.name}-{version}" / "bin" / "python"
    done = python.parent.parent / "installed"
    packages = [package.format(version=version) for package in suite.packages]
    if not done.exists() or done.read_text() != "\n".join(packages):
        venv.create(python.parent.parent, with_pip=True, clear=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages], check=True)
        done.write_text("\n".join(packages))
    return Installed(suite, tree, version, python)


def _version(suite: Suite, tree: Path) -> str:
    if suite.version_file is None:
        return sources.version(tree)
    found = re.search(r'^version = "([\d.]+?)(\.dev\d+)?"', (tree / suite.version_file).read_text(), re.MULTILINE)
    if found is None:
        raise ValueError(f"no version in {suite.version_file}")
    return found[1]


def play(installed: Installed, way: Way, template: Path, home: Path, only: list[str] | None) -> dict[str, outcomes.Outcome]:
    """One run; `only`: these modules. The working directory `home` is left for the caller to look at or remove."""
    suite = installed.suite
    with servers.running(way, template, home, suite.setup) as port:
        place = home / "run"
        place.mkdir()
        for name in suite.keep:
            origin = installed.tree / name
            if origin.is_dir():
                shutil.copytree(origin, place / name)
            else:
                shutil.copy(origin, place / name)
        skip = [pattern for patterns in catalogue.deselected(suite.name).values() for pattern in patterns]
        (home / "selection.json").write_text(json.dumps({"skip": skip, "only": only}))
        values = {
            "host": "127.0.0.1",
            "port": str(port),
            "user": catalogue.USER,
            "database": catalogue.DATABASE,
            "version": installed.version,
        }
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "PYTHON", "PYTEST"))}
        environment = inherited | {k: v.format(**values) for k, v in suite.environment.items()}
        environment |= {
            "PATH": f"{installed.python.parent}:{os.environ.get('PATH', os.defpath)}",
            "PYTHONPATH": str(HOOKS),
            "PYTHONUNBUFFERED": "1",
            "SUITES_SELECTION": str(home / "selection.json"),
            "SUITES_RECORD": str(home / "record.jsonl"),
        }
        command = [str(installed.python), *(word.format(**values) for word in suite.command)]
        with (home / "output.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=place / suite.directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            try:
                process.wait(LIMIT)
            except subprocess.TimeoutExpired:
                print(f"{suite.name}, {way.value}: stopped after {LIMIT:g} s", file=sys.stderr)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
    run = outcomes.read(home / "record.jsonl")
    if not run and way is Way.DIRECT:
        tail = (home / "output.log").read_text(errors="replace").splitlines()[-20:]
        raise RuntimeError(f"{suite.name}, {way.value}: no test was run\n" + "\n".join(tail))
    return run
