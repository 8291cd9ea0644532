"""Control connections are counted as the server counts them, and while one is being opened everybody knows."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import asyncpg
import pytest

from proxy.completeness.watch import count_opening, own_connections, prepare
from proxy.counts import Counts


@pytest.fixture
def home(tmp_path: Path) -> Path:
    prepare(Counts(tmp_path, time.time))
    return tmp_path


def test_one_that_is_opened(home: Path) -> None:
    with count_opening(home)("bank"):
        assert own_connections(home) == ({}, {"bank": 1})
    assert own_connections(home) == ({"bank": 1}, {})


@pytest.mark.parametrize(
    ("problem", "counted"),
    [
        (TimeoutError(), {"bank": 1}),
        (asyncio.CancelledError(), {"bank": 1}),
        (ConnectionRefusedError(), {}),
        (asyncpg.InvalidPasswordError("no"), {}),
    ],
)
def test_one_that_fails(home: Path, problem: BaseException, counted: dict[str, int]) -> None:
    with pytest.raises(type(problem)), count_opening(home)("bank"):
        raise problem
    assert own_connections(home) == (counted, {})


def test_before_the_first_proxy_nobody_counts(tmp_path: Path) -> None:
    with count_opening(tmp_path)("bank"):
        pass
    assert own_connections(tmp_path) == ({}, {})
    assert not list(tmp_path.iterdir())
