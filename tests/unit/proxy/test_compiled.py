"""The compiled modules pass the same tests as their source, and an installation without them works."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("setuptools")  # not in the virtual environments of Python 3.12 and later, unless something needs it

ROOT = Path(__file__).resolve().parents[3]
TESTS = [
    "tests/unit/wire",
    "tests/unit/session",
    *(f"tests/unit/audit/test_{name}.py" for name in ("sink", "values", "writer")),
    *(f"tests/unit/proxy/test_{name}.py" for name in ("committing", "held")),
]
RUN = """
import sys
sys.path[:0] = sys.argv[1:3]
import proxy.audit.writer as writer
import proxy.transport as transport
import proxy.session.machine as machine
import proxy.wire._scan as scan
for module in (scan, machine, writer, transport):
    assert not module.__file__.endswith(".py"), module.__file__
import pytest
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", *sys.argv[3:]]))
"""


def build(home: Path, **environment: str) -> tuple[Path, str]:
    """A copy of the project with its extension built in; the place of the packages, and what was said."""
    source, target = home / "source", home / "built"
    source.mkdir()
    for package in ("policies", "rewrite", "proxy"):
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for name in ("setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    # The build isolated from pyproject.toml: the setuptools of the environment may be older than pip's own would be.
    done = subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--build-lib", str(target)],
        cwd=source, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    target.mkdir(exist_ok=True)
    for package in ("policies", "rewrite", "proxy"):
        shutil.copytree(source / package, target / package, dirs_exist_ok=True)
    return target, done.stderr


def compiled(target: Path) -> list[str]:
    return sorted({p.name.split(".")[0] for p in target.rglob("*.so")} & {"_scan", "machine", "writer"})


def test_same_tests_compiled(tmp_path: Path) -> None:
    target, said = build(tmp_path)
    if not compiled(target) and "no C compiler" in said:
        pytest.skip("there is no C compiler with Python's headers here")
    assert compiled(target) == ["_scan", "machine", "writer"], said
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(target), str(ROOT), *TESTS], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


@pytest.mark.parametrize("environment", [{"PGVEIL_PURE": "1"}, {"CC": "/bin/false"}], ids=["asked for", "no compiler"])
def test_plain_python(tmp_path: Path, environment: dict[str, str]) -> None:
    target, said = build(tmp_path, **environment)
    assert compiled(target) == []
    assert ("installing as plain Python" in said) == ("CC" in environment)


def test_a_compiler_that_breaks_half_way(tmp_path: Path) -> None:
    """One of the two modules links, the other does not: neither is installed."""
    broken = tmp_path / "cc"
    broken.write_text('#!/bin/sh\ncase "$*" in *-shared*__mypyc*) exit 1 ;; esac\nexec cc "$@"\n')
    broken.chmod(0o755)
    target, said = build(tmp_path, CC=str(broken), LDSHARED=f"{broken} -shared")
    assert compiled(target) == []
    assert "installing as plain Python" in said
