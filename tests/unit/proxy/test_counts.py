"""Counts: shared by processes, never more than there is, and readable after anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from proxy.counts import FILE, Counts, CountsError

TAKE = """
import sys, time
from pathlib import Path
from proxy.counts import Counts
counts = Counts(Path(sys.argv[1]), time.time)
print(sum(counts.take("rows", "li", 1, 1000, 3) for _ in range(200)))
"""


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_no_more_is_given_than_there_is(tmp_path: Path) -> None:
    counts = Counts(tmp_path, Clock())
    assert [counts.take("rows", "li", 1, 10, 4) for _ in range(4)] == [4, 4, 2, 0]
    assert (counts.left("rows", "li", 1, 10), counts.left("rows", "li", 2, 10), counts.left("rows", "wang", 1, 10)) == (0, 10, 10)
    counts.give_back("rows", "li", 1, 3)
    assert counts.left("rows", "li", 1, 10) == 3
    assert counts.left("rows", "li", 1, 5) == 0  # the policy has become stricter


def test_members_are_counted_once(tmp_path: Path) -> None:
    counts = Counts(tmp_path, Clock())
    assert counts.gather("values", "li", 1, 3, ["a", "b", "a"])
    assert not counts.gather("values", "li", 1, 3, ["a", "c", "d"]), "none of these counts"
    assert counts.gather("values", "li", 1, 3, ["b", "c"])
    assert counts.gather("values", "li", 1, 3, ["a", "b", "c"])
    assert counts.gathered("values", "li", 1) == 3
    assert not counts.gather("values", "li", 1, 2, ["a"]), "the policy has become stricter"
    assert (counts.gathered("values", "li", 2), counts.gathered("values", "wang", 1)) == (0, 0)
    assert Counts(tmp_path, Clock()).gathered("values", "li", 1) == 3


def test_processes_share_it_and_it_outlives_them(tmp_path: Path) -> None:
    running = [subprocess.Popen([sys.executable, "-c", TAKE, str(tmp_path)], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    given = [int(process.communicate(timeout=60)[0]) for process in running]
    assert sum(given) == 1000
    assert Counts(tmp_path, Clock()).left("rows", "li", 1, 1000) == 0
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_windows_slide(tmp_path: Path) -> None:
    clock = Clock()
    counts = Counts(tmp_path, clock)
    assert [counts.admit("f", "core", 2, 60.0) for _ in range(3)] == [True, True, False]
    clock.now += 61.0
    assert counts.admit("f", "core", 2, 60.0)
    assert not counts.admit("f", "other", 0, 60.0)


def test_what_has_begun_is_marked_until_it_is_over(tmp_path: Path) -> None:
    clock = Clock()
    counts = Counts(tmp_path, clock)
    counts.mark("k", "one")
    clock.now += 10
    counts.mark("k", "one")
    counts.mark("k", "two")
    assert Counts(tmp_path, clock).marked("k", 60) == {"one": 2, "two": 1}
    counts.unmark("k", "one")
    assert counts.marked("k", 60) == {"one": 1, "two": 1}
    clock.now += 55
    counts.unmark("k", "two")
    counts.unmark("k", "two")
    assert counts.marked("k", 60) == {"one": 1}, "the older one of them was over"
    clock.now += 10
    assert counts.marked("k", 60) == {}


def test_somebody_is_told_once_per_window(tmp_path: Path) -> None:
    clock = Clock()
    counts = Counts(tmp_path, clock)
    assert [counts.exceeds("a", "li", 2, 60.0) for _ in range(5)] == [None, None, 3, None, None]
    clock.now += 61.0
    assert [counts.exceeds("a", "li", 2, 60.0) for _ in range(3)] == [None, None, 3]
    assert [counts.exceeds("a", "wang", 0, 60.0) for _ in range(2)] == [1, None]


def test_a_damaged_file_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"this is no database, whatever it was before " * 100)
    assert Counts(tmp_path, Clock()).take("rows", "li", 1, 5, 9) == 5
    assert (tmp_path / f"{FILE}.damaged").exists()


def test_what_cannot_be_counted_is_an_error_and_comes_back(tmp_path: Path) -> None:
    home = tmp_path / "gone"
    counts = Counts(home, Clock())
    with pytest.raises(CountsError):
        counts.take("rows", "li", 1, 5, 1)
    home.mkdir()
    assert counts.take("rows", "li", 1, 5, 1) == 1


def test_old_counts_are_forgotten(tmp_path: Path) -> None:
    clock = Clock()
    counts = Counts(tmp_path, clock)
    counts.take("rows", "li", 1, 5, 5)
    clock.now += 500 * 86400.0
    assert counts.left("rows", "li", 1, 5) == 0
    counts.close()  # and opened again
    assert counts.left("rows", "li", 1, 5) == 5
