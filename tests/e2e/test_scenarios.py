"""docs/scenarios.md as a newcomer types it along, on a fresh demo: every command of the page is run, every answer compared."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from proxy.demo.embedded import find_binaries
from tests.e2e.test_demo import COMMAND, ROOT, Demo, _reachable, _read_until
from tests.support.proxy import until
from tests.support.story import Reader, Step, plain, steps

PAGE = (ROOT / "docs" / "scenarios.md").read_text(encoding="utf-8")
SHORT = ("30 s", "4 s")
"""What the page grants for 30 seconds is granted for 4 here; the end is waited for."""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    directory = _reachable(tmp_path_factory.mktemp("scenarios"))
    port = 1024 + os.getpid() % 20000 + 21000
    process = subprocess.Popen(
        [*COMMAND, "--directory", str(directory), "--port", str(port)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        yield Demo(directory, _read_until(process, "Ctrl-C stops the demo."), port, 0)
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_the_page(demo: Demo) -> None:
    """In one test: each step builds on those before it."""
    first, *rest = steps(PAGE.replace(*SHORT))
    prelude = re.sub(r"^DIRECTORY=.*", f"DIRECTORY={demo.directory}", first.commands).replace("6432", str(demo.port))
    path = f"{find_binaries(wheel_first=True)}{os.pathsep}{os.environ['PATH']}"
    reader = Reader(prelude, ROOT, {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)})
    compared = 0
    try:
        for step in rest:
            if step.language == "yaml":
                assert step.commands in (ROOT / "proxy/demo/policy.yaml").read_text(encoding="utf-8"), step
                continue
            answer = _do(reader, step)
            if step.answer is not None:
                assert answer == plain(step.answer), f"docs/scenarios.md {step}"
                compared += 1
    finally:
        reader.leave()
    assert compared > 20


def _do(reader: Reader, step: Step) -> list[str]:
    """The answer, when it is the one that is waited for, or at once."""
    answers: list[list[str]] = []

    def ask() -> bool:
        shift = _shift()
        answers.append(_ask(reader, step, shift))
        if answers[-1] == plain(step.answer or "") or not (step.until or shift != _shift() or "pgveil audit" in step.commands):
            return True
        threading.Event().wait(0.3)  # each question leaves records
        return False

    try:
        until(ask, f"docs/scenarios.md {step}", 20)
    except AssertionError:
        assert answers[-1] == plain(step.answer or ""), f"docs/scenarios.md {step}"
        raise
    return answers[-1]


def _ask(reader: Reader, step: Step, shift: str) -> list[str]:
    """At night the dealers of both shifts change places, as the page says."""
    commands = step.commands.replace(".venv/bin/pgveil", f"{sys.executable} -m proxy.cli")
    if shift == "night" and "fx_" in commands and "explain" not in commands:
        swap = {"fx_day": "fx_night", "fx_night": "fx_day"}
        commands = re.sub("fx_day|fx_night", lambda m: swap[m[0]], commands)
    return [line for line in plain(reader.do(replace(step, commands=commands))) if line not in ("SET", "PREPARE")]


def _shift() -> str:
    return "day" if 8 <= datetime.now(ZoneInfo("Asia/Shanghai")).hour < 20 else "night"
