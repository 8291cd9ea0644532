"""What people look for is counted once, over all processes, in memory of a fixed size."""

from __future__ import annotations

import fcntl
import math
import os
from collections.abc import Iterator

import pytest

from proxy.ledger import HOUR, Ledger


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    made = Ledger.create(entries=64, heads=8)
    yield made
    made.close()


def test_distinct_values_of_the_last_hour(ledger: Ledger) -> None:
    for n in range(5):
        assert ledger.spend("ann", "c", [str(n)], 5, 1000.0 + n) is None
        assert ledger.spend("ann", "c", [str(n), "0"], 5, 1000.0 + n) is None
    assert ledger.spend("ann", "c", ["9"], 5, 1010.0) == 1000.0 + HOUR
    assert ledger.spend("ann", "c", ["9", "10"], 5, 1010.0) == 1001.0 + HOUR
    assert ledger.spend("ann", "c", ["9"] * 9, 0, 1010.0) == math.inf
    assert ledger.spend("ann", "c", ["4"], 5, 1010.0) is None
    assert ledger.spend("ann", "d", ["9"], 5, 1010.0) is None
    assert ledger.spend("bob", "c", ["9"], 5, 1010.0) is None
    assert ledger.spend("ann", "c", ["9"], 5, 1000.0 + HOUR) is None
    assert ledger.spend("ann", "c", ["8"], 5, 1000.5 + HOUR) == 1001.0 + HOUR
    assert ledger.spend("ann", "c", ["0"], 5, 1000.5 + HOUR) == 1001.0 + HOUR  # counts anew


def test_all_or_nothing(ledger: Ledger) -> None:
    assert ledger.spend("ann", "c", ["1", "2", "3"], 2, 0.0) == math.inf
    assert ledger.spend("ann", "c", ["1", "2"], 2, 0.0) is None
    assert ledger.spend("ann", "c", [], 0, 0.0) is None


def test_names_do_not_run_into_each_other(ledger: Ledger) -> None:
    assert ledger.spend("a", "bc", ["1"], 1, 0.0) is None
    assert ledger.spend("ab", "c", ["2"], 1, 0.0) is None


def test_a_full_table_counts_nobody_more(ledger: Ledger) -> None:
    for n in range(64):
        assert ledger.spend(f"p{n}", "c", ["1"], 5, float(n)) is None
    assert ledger.spend("one more", "c", ["1"], 5, 100.0) == 100.0 + HOUR
    assert ledger.spend("p7", "c", ["1"], 5, 100.0) is None  # not new
    assert ledger.spend("one more", "c", [str(n) for n in range(10)], 20, HOUR + 9) is None  # ten have gone
    assert ledger.spend("one more", "c", ["x"], 20, HOUR + 9) == HOUR + 9 + HOUR
    for n in range(10, 64):
        assert ledger.spend(f"p{n}", "c", ["1"], 1, HOUR + 9) is None
        assert ledger.spend(f"p{n}", "c", ["2"], 1, HOUR + 9) == n + HOUR


def test_room_is_made_again_and_again(ledger: Ledger) -> None:
    for hour in range(20):
        now = hour * 2 * HOUR
        for n in range(64):
            assert ledger.spend(f"p{hour}-{n % 8}", "c", [str(n)], 8, now) is None


def test_processes_count_together() -> None:
    ledger = Ledger.create()
    read, write = os.pipe()
    children = []
    for child in range(4):
        pid = os.fork()
        if not pid:
            try:
                mine = Ledger(os.dup(ledger.fd))
                accepted = sum(mine.spend("ann", "c", [f"{child}-{n}"], 50, 1.0) is None for n in range(50))
                os.write(write, bytes([accepted]))
            finally:
                os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)
    assert sum(os.read(read, 4)) == 50
    assert ledger.spend("ann", "c", ["new"], 50, 2.0) == 1.0 + HOUR
    for fd in (read, write):
        os.close(fd)
    ledger.close()


def test_no_value_is_in_the_memory() -> None:
    ledger = Ledger.create(entries=64, heads=8)
    ledger.spend("ann", "bank.customers.phone", ["13800000007"], 5, 1.0)
    content = os.pread(ledger.fd, 1 << 20, 0)
    assert not any(word in content for word in (b"13800000007", b"ann", b"phone"))
    ledger.close()


def test_a_process_that_keeps_the_lock(ledger: Ledger) -> None:
    """Nothing is counted then, and nothing allowed."""
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        try:
            fcntl.lockf(ledger.fd, fcntl.LOCK_EX)
            os.write(ready[1], b".")
            os.read(done[0], 1)
        finally:
            os._exit(0)
    os.read(ready[0], 1)
    assert ledger.spend("ann", "c", ["1"], 5, 1.0) is not None
    os.write(done[1], b".")
    os.waitpid(child, 0)
    assert ledger.spend("ann", "c", ["1"], 5, 1.0) is None
    for fd in (*ready, *done):
        os.close(fd)
