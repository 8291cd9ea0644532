"""A short run of the soak. The long one is a command: `python -m tests.soak`."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.soak.bank import phone
from tests.soak.watch import Sample, Watch


def test_everything_at_once() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak", "--quick", "--seed", "1"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert done.stdout.rstrip().endswith("PASS")


@pytest.mark.parametrize(("under", "shown"), [(None, "13800000042"), (0, "138****0042"), (1, "1**********"), (2, "*********42")])
def test_the_soak_knows_what_is_right(under: int | None, shown: str) -> None:
    assert phone(42, under) == shown


def test_growth_is_seen_and_a_peak_is_not() -> None:
    def watch(*rss: float) -> Watch:
        return Watch(None, samples=[Sample(float(i), mb, 10, 0.0) for i, mb in enumerate(rss)])  # type: ignore[arg-type]

    assert watch(10, 50, 100, 100, 100, 100, 100, 400, 100).growth() == 0
    assert watch(10, 50, 100, 100, 100, 100, 150, 160, 170).growth() == 60
