"""The initial key can be taken away: the state goes on with the trail, and tells nothing about what was before."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.audit.chain import InitialKeys, segment_key
from proxy.audit.custody import Custody, State, decode_state, load_state, save_state, seal, state_path
from proxy.audit.record import AuditError, Kind
from proxy.audit.recover import recover
from proxy.audit.values import DigestKeys
from proxy.audit.verify import verify_directory
from proxy.audit.writer import AuditWriter, Io

OTHER = bytes(range(100, 132))


class Killed(BaseException):
    pass


def custody(directory: Path, initial: bytes | None, worker: str = "w1") -> Custody:
    directory.mkdir(exist_ok=True)
    return Custody(worker, initial, state_path(directory, worker))


def life(directory: Path, initial: bytes | None, make: Callable, events: int = 3, **kw: object) -> None:
    writer = make(directory, key=custody(directory, initial), **kw)
    for n in range(events):
        writer.append(Kind.EVENT, {"event": f"event {n}"})
        writer.flush()
    writer.close()


def test_it_goes_on_without_the_initial_key(tmp_path: Path, key: bytes, make: Callable, kill: Callable) -> None:
    directory = tmp_path / "t"
    life(directory, key, make, segment_bytes=900)
    life(directory, None, make)
    writer = make(directory, key=custody(directory, None), segment_bytes=900)
    assert writer.resumed.found == "stopped"
    for n in range(9):
        writer.append(Kind.EVENT, {"event": f"more {n}"})
        writer.flush()
    kill(writer)
    with open(sorted(directory.glob("*.jsonl"))[-1], "ab") as file:
        file.write(b'{"v":1,')
    writer = make(directory, key=custody(directory, None))
    assert writer.resumed.found == "crashed"
    writer.close()
    life(directory, key, make)
    report = verify_directory(directory, key)
    assert report.ok, report.problems
    assert report.workers[0].segments > 6


def test_the_state_holds_no_key_of_the_past(tmp_path: Path, key: bytes, make: Callable) -> None:
    directory = tmp_path / "t"
    writer = make(directory, key=custody(directory, key), segment_bytes=900)
    path = state_path(directory, "w1")
    last = 0
    for n in range(12):
        writer.append(Kind.EVENT, {"event": f"event {n}"})
        writer.flush()
        state = load_state(path, "w1")
        assert state is not None
        assert state.segment == len(list(directory.glob("*.jsonl")))
        assert state.key == segment_key(key, "w1", state.segment)
        for number in range(1, state.segment):
            assert segment_key(key, "w1", number).hex() not in path.read_text()
        assert key.hex() not in path.read_text()
        last = max(last, state.segment)
    assert last > 3
    assert path.stat().st_mode & 0o777 == 0o600
    writer.close()
    after = load_state(path, "w1")
    assert after is not None
    assert after.segment == last + 1, "a clean stop gives up the key of what it has written"


def test_the_old_state_is_overwritten(tmp_path: Path, key: bytes) -> None:
    path = tmp_path / "w1.state"
    one = State("w1", "ab", 1, key, 0, bytes(32), DigestKeys.of(key))
    save_state(path, one)
    with open(path, "rb") as old:
        save_state(path, State("w1", "ab", 2, OTHER, 5, key, DigestKeys.of(key)))
        assert set(old.read()) == {0}
    state = load_state(path, "w1")
    assert state is not None
    assert (state.segment, state.key, state.seq, state.previous) == (2, OTHER, 5, key)
    assert [p.name for p in tmp_path.iterdir()] == ["w1.state"]


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"x", b'{"v":2}', b'{"v":1,"worker":"w2"}'])
def test_a_damaged_state_is_said_so(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "w1.state"
    path.touch(0o600)
    path.write_bytes(data)
    with pytest.raises(AuditError, match="damaged"):
        load_state(path, "w1")
    path.chmod(0o640)
    with pytest.raises(AuditError, match="other users"):
        load_state(path, "w1")


def test_neither_key_nor_state_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="neither an audit key nor the state of worker w1"):
        custody(tmp_path / "t", None)


@pytest.mark.parametrize("cut", ["tail", "segment", "all", "head", "rollback", "nothing but the state"])
def test_what_is_cut_while_it_is_down_is_seen_without_the_initial_key(
    tmp_path: Path, key: bytes, make: Callable, cut: str
) -> None:
    directory = tmp_path / "t"
    life(directory, key, make)
    before = {path: path.read_bytes() for path in directory.iterdir() if path.suffix != ".state"}
    life(directory, None, make)
    last = sorted(directory.glob("*.jsonl"))[-1]
    if cut == "tail":
        last.write_bytes(b"".join(last.read_bytes().splitlines(keepends=True)[:-1]))
    elif cut == "segment":
        last.unlink()
    elif cut == "head":
        (directory / "w1.head").unlink()
    else:
        for path in directory.iterdir():
            if path.suffix != ".state":
                path.unlink()
        for path, data in before.items():
            if cut == "rollback" or (cut == "all" and path.suffix == ".head"):
                path.write_bytes(data)
    for initial in (None, key):
        found = recover(directory, "w1", custody(directory, initial).keys, custody(directory, initial).joint)
        assert found.found == "damaged", initial
    life(directory, None, make)
    assert not verify_directory(directory, key).ok


class Doom:
    """Dies at the n-th system call that writes or syncs."""

    def __init__(self, budget: int) -> None:
        self.left = budget

    def _step(self) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1

    def write(self, fd: int, data: bytes) -> int:
        self._step()
        if self.left == 0:  # half of it
            os.write(fd, data[: len(data) // 2])
            raise Killed
        return os.write(fd, data)

    def pwrite(self, fd: int, data: bytes, at: int) -> int:
        self._step()
        return os.pwrite(fd, data, at)

    def sync(self, fd: int) -> None:
        self._step()

    def io(self) -> Io:
        return Io(self.write, self.pwrite, self.sync)


@pytest.mark.parametrize("again", [1, 2, 3])
def test_death_at_every_call_with_nothing_but_the_state(tmp_path: Path, key: bytes, make: Callable, again: int) -> None:
    """Deaths in several lives in a row, at any call, also of those that replace the state; a new key takes over meanwhile."""
    budget, finished = 0, False
    while not finished:
        directory = tmp_path / str(budget)
        directory.mkdir()
        seal(directory, "w1", key)
        promised, finished = 0, True
        for turn in range(again + 1):
            made: list[AuditWriter] = []
            doom = Doom(budget if turn == 0 else budget % 7) if turn < again else Doom(10**6)
            if turn == 1:
                seal(directory, "w1", OTHER)
            try:
                writer = make(directory, key=custody(directory, None), io=doom.io(), segment_bytes=1100)
                made.append(writer)
                assert writer.resumed.found != "damaged", (budget, turn, writer.resumed.damage)
                for n in range(3):
                    seq = writer.append(Kind.EVENT, {"event": f"event {n}"})
                    writer.flush()
                    promised = seq
                writer.close()
            except Killed:
                finished = finished and turn > 0
            for writer in made:
                writer._release()
            for path in directory.glob("*.jsonl"):
                assert path.stat().st_mode & 0o777 == 0o600
            report = verify_directory(directory, [key, OTHER])
            if promised:
                assert report.ok, (budget, turn, report.problems)
                assert report.workers[0].records >= promised
        assert report.workers[0].stopped
        budget += 1
    assert budget > 17


def test_sealing_a_trail_that_is_there(tmp_path: Path, key: bytes, make: Callable, say: Callable) -> None:
    directory = tmp_path / "t"
    writer = make(directory, segment_bytes=600)
    for n in range(5):
        say(writer, f"event {n}")
        writer.flush()
    with pytest.raises(AuditError, match="is running"):
        seal(directory, "w1", key)
    writer.close()
    assert seal(directory, "w1", key) == "made"
    assert seal(directory, "w1", key) == "kept"
    life(directory, None, make)
    assert verify_directory(directory, key).ok
    last = sorted(directory.glob("*.jsonl"))[-1]
    last.write_bytes(last.read_bytes()[:-10])
    state_path(directory, "w1").unlink()
    with pytest.raises(AuditError, match="damaged"):
        seal(directory, "w1", key)


def test_a_new_key_takes_over(tmp_path: Path, key: bytes, make: Callable) -> None:
    directory = tmp_path / "t"
    life(directory, key, make)
    life(directory, OTHER, make)
    life(directory, OTHER, make)
    life(directory, None, make)
    assert custody(directory, None).digests == DigestKeys.of(OTHER)
    assert verify_directory(directory, [key, OTHER]).ok
    assert verify_directory(directory, [OTHER, key]).ok
    for keys in ([key], [OTHER]):
        report = verify_directory(directory, keys)
        assert not report.ok
        assert "another key" in report.problems[0].reason
    lines = [json.loads(line) for path in sorted(directory.glob("*.jsonl")) for line in path.read_bytes().splitlines()]
    ids = [record["key_id"] for record in lines if record["kind"] == "segment"]
    assert len(set(ids)) == 2
    change = next(n for n, record in enumerate(lines) if record.get("event") == "key_rotated")
    assert lines[change]["detail"] == {"key_id": ids[-1]}
    assert lines[change + 1]["key_id"] == ids[-1]


def test_a_key_that_nobody_named_is_no_heir(tmp_path: Path, key: bytes, make: Callable) -> None:
    """The owner of one key cannot go on where another key's trail ends."""
    directory = tmp_path / "t"
    life(directory, key, make)
    state = load_state(state_path(directory, "w1"), "w1")
    assert state is not None
    usurper = State("w1", InitialKeys([OTHER], "w1").ids[0], state.segment, segment_key(OTHER, "w1", state.segment),
                    state.seq, state.previous, DigestKeys.of(OTHER))  # fmt: skip
    save_state(state_path(directory, "w1"), usurper)
    life(directory, None, make)
    report = verify_directory(directory, [key, OTHER])
    assert report.problems[0].reason.endswith("key_id")


def test_the_age_of_a_segment_ends_it(tmp_path: Path, key: bytes, make: Callable, say: Callable) -> None:
    directory = tmp_path / "t"
    writer = make(directory, segment_seconds=10.0)  # the clock ticks more than a second with every look
    for _ in range(30):
        writer.settle()
    assert len(list(directory.glob("*.jsonl"))) == 1, "nothing but a header does not age"
    for n in range(30):
        say(writer, f"event {n}")
        writer.flush()
        writer.settle()
    assert len(list(directory.glob("*.jsonl"))) >= 4
    writer.close()
    assert verify_directory(directory, key).ok


def test_decode_refuses_what_is_out_of_range(key: bytes) -> None:
    good = State("w1", "ab", 1, key, 0, bytes(32), DigestKeys.of(key))
    assert decode_state(good.encode(), "w1") == good
    for name, value in (("segment", 0), ("seq", -1), ("key", "00"), ("previous", "zz"), ("heir", {"key_id": "x"})):
        with pytest.raises((ValueError, KeyError, TypeError)):
            decode_state(json.dumps({**json.loads(good.encode()), name: value}).encode(), "w1")
