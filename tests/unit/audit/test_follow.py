"""The follower hands out every record once, in order, and says where a trail cannot be read on."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.audit.chain import segment_path
from proxy.audit.follow import Batch, Follower, Position
from proxy.audit.writer import AuditWriter
from tests.unit.audit.conftest import Make

Say = Callable[[AuditWriter, str], int]
Kill = Callable[[AuditWriter], None]


def numbers(batches: list[Batch]) -> list[int]:
    return [record["seq"] for batch in batches for record in batch.records()]


def drain(follower: Follower) -> list[int]:
    out: list[int] = []
    while batches := follower.turn():
        out += numbers(batches)
    return out


def fresh(follower: Follower) -> list[Batch]:
    """A turn that also looks for new workers."""
    follower._listed = float("-inf")
    return follower.turn()


def test_everything_across_segments(trail: Path) -> None:
    follower = Follower(trail)
    found = drain(follower)
    assert found == list(range(1, len(found) + 1))
    assert len(list(trail.glob("*.jsonl"))) >= 4
    assert follower.broken == []
    assert follower.lag().bytes == 0


@pytest.mark.parametrize("block", [1, 97, 1000, 1 << 20])
def test_any_block_and_a_new_follower_after_each_record(trail: Path, block: int) -> None:
    want = drain(Follower(trail))
    found: list[int] = []
    positions: dict[str, Position] = {}
    while batches := Follower(trail, positions, block=block).turn():
        (batch,) = batches
        found += [r["seq"] for r in batch.records()[:1]]
        positions = {batch.worker: batch.upto(1)}
    assert found == want


def test_it_follows_what_is_written(tmp_path: Path, make: Make, say: Say, kill: Kill) -> None:
    writer = make(tmp_path, segment_bytes=900)
    follower = Follower(tmp_path)
    seen = drain(follower)
    for n in range(30):
        say(writer, f"event {n}")
        assert follower.turn() == []
        writer.flush()
        seen += drain(follower)
    kill(writer)
    with open(segment_path(tmp_path, "w1", writer._segment), "ab") as file:
        file.write(b'{"v":1,"seq":%d,"ki' % (writer.seq + 1))
    assert follower.turn() == []
    again = make(tmp_path)
    say(again, "after the crash")
    again.close()
    seen += drain(follower)
    assert seen == list(range(1, again.seq + 1))
    assert follower.broken == []


def test_workers_are_merged_by_time(tmp_path: Path, make: Make, say: Say) -> None:
    one, two = make(tmp_path, "w1"), make(tmp_path, "w2")
    for n in range(200):
        say(one, f"{n}")
        if n < 50:
            say(two, f"{n}")
    one.flush(), two.flush()
    follower = Follower(tmp_path, block=3000)
    latest = ""
    total = 0
    while batches := follower.turn():
        times = [r["time"] for b in batches for r in b.records()]
        assert min(times) >= latest
        latest = max(times)
        total += len(times)
    assert total == one.seq + two.seq


def test_a_new_worker_is_found(tmp_path: Path, make: Make, say: Say) -> None:
    first = make(tmp_path)
    follower = Follower(tmp_path, leave_out=["auditor"])
    drain(follower)
    make(tmp_path, "w2")
    make(tmp_path, "auditor")
    assert [b.worker for b in fresh(follower)] == ["w2"]
    assert first.seq == 1


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def test_a_gap_is_told_and_only_skipped_on_demand(trail: Path) -> None:
    path = segment_path(trail, "w1", 3)
    lines = lines_of(path)
    before = drain(Follower(trail))
    path.write_bytes(b"".join(lines[:1] + lines[2:]))
    follower = Follower(trail)
    good = drain(follower)
    (broken,) = follower.broken
    assert good == before[: len(good)]
    assert (broken.worker, broken.file, broken.seq) == ("w1", path, good[-1] + 1)
    assert broken.offset == len(lines[0])
    assert "missing, repeated or out of order" in broken.reason
    assert follower.turn() == []
    assert broken.resume is not None
    follower.skip(broken)
    assert drain(follower) == before[len(good) + 1 :]
    assert follower.broken == []


def test_an_unreadable_line(trail: Path) -> None:
    path = segment_path(trail, "w1", 1)
    lines = lines_of(path)
    path.write_bytes(b"".join([lines[0], b"\0" * 40 + b"\n", *lines[2:]]))
    follower = Follower(trail)
    assert drain(follower) == [1]
    (broken,) = follower.broken
    assert broken.reason == "the line is not an audit record"
    follower.skip(broken)
    assert drain(follower)[0] == 3


def test_a_cut(trail: Path) -> None:
    follower = Follower(trail)
    drain(follower)
    path = sorted(trail.glob("*.jsonl"))[-1]
    os.truncate(path, 100)
    follower.turn()
    assert [b.reason for b in follower.broken] == ["the file has become shorter"]


def test_a_missing_segment(trail: Path) -> None:
    segment_path(trail, "w1", 2).unlink()
    follower = Follower(trail)
    drain(follower)
    (broken,) = follower.broken
    assert "is found" in broken.reason or "missing" in broken.reason
    follower.skip(broken)
    assert drain(follower)


def test_a_segment_that_has_expired_after_it_was_read(trail: Path) -> None:
    path = segment_path(trail, "w1", 1)
    count = len(lines_of(path))
    position = Position(1, path.stat().st_size, count)
    path.unlink()
    follower = Follower(trail, {"w1": position})
    assert drain(follower)[0] == count + 1
    assert follower.broken == []
    one_less = Follower(trail, {"w1": Position(1, 10, count - 1)})
    assert drain(one_less) == []
    assert [b.reason for b in one_less.broken] == ["the segment is missing"]


def test_a_copy_that_comes_in_pieces(trail: Path, tmp_path: Path) -> None:
    """The next segment is there before the end of the one before: a break, which mends itself."""
    want = drain(Follower(trail))
    path = segment_path(trail, "w1", 3)
    whole = path.read_bytes()
    lines = lines_of(path)
    path.write_bytes(b"".join(lines[:2]))
    follower = Follower(trail)
    found = drain(follower)
    assert [b.file for b in follower.broken] == [path]
    path.write_bytes(whole)
    assert found + drain(follower) == want
    assert follower.broken == []


def test_bytes_between_segments_that_no_crash_explains(trail: Path) -> None:
    path = segment_path(trail, "w1", 1)
    with open(path, "ab") as file:
        file.write(b"smuggled")
    follower = Follower(trail)
    drain(follower)
    header = segment_path(trail, "w1", 2).read_bytes().splitlines()[0]
    assert b'"found":"crashed"' not in header
    assert [b.reason for b in follower.broken] == ["bytes that are no record"]


def test_lag(tmp_path: Path, make: Make, say: Say) -> None:
    writer = make(tmp_path)
    follower = Follower(tmp_path)
    drain(follower)
    say(writer, "x")
    writer.flush()
    lag = follower.lag(now=1_800_000_100.0)
    assert lag.bytes > 0
    assert 90 < lag.seconds < 100
    drain(follower)
    assert (follower.lag().bytes, follower.lag().seconds) == (0, 0.0)


def test_a_directory_that_is_not_there_yet(tmp_path: Path) -> None:
    assert Follower(tmp_path / "later").turn() == []


def test_what_is_no_file_makes_nobody_wait(tmp_path: Path, make: Make) -> None:
    make(tmp_path)
    os.mkfifo(segment_path(tmp_path, "w2", 1))
    follower = Follower(tmp_path)
    assert [b.worker for b in follower.turn()] == ["w1"]
    assert ["not a regular file" in b.reason for b in follower.broken] == [True]
