"""Segments checked in pieces, by one process or several, say exactly what one walk from the beginning says."""

from __future__ import annotations

import hashlib
import hmac
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.audit import lines, pieces
from proxy.audit.chain import GENESIS, Hmac, next_key, worker_key
from proxy.audit.crew import check_all
from proxy.audit.record import tail
from proxy.audit.verify import Report, verify_directory
from proxy.audit.walk import Walker


@pytest.fixture
def long_trail(tmp_path: Path, make: Callable, say: Callable, kill: Callable) -> Path:
    """Two workers, three segments each; the first is killed with a torn line in between."""
    directory = tmp_path / "long"
    for worker in ("w1", "w2"):
        writer = make(directory, worker, segment_bytes=4000)
        for n in range(24):
            say(writer, f"event {n} 张三 {'x' * (n * 37 % 200)}")
            writer.flush()
        kill(writer)
        if worker == "w1":
            with open(sorted(directory.glob("audit-w1-*"))[-1], "ab") as file:
                file.write(b'{"v":1,"seq":%d,"ki' % (writer.seq + 1))
        writer = make(directory, worker)
        say(writer, "last")
        writer.close()
    return directory


def walked(directory: Path, key: bytes, monkeypatch: pytest.MonkeyPatch) -> Report:
    """The report of walks alone."""
    with monkeypatch.context() as patch:
        patch.setattr(Walker, "take", lambda self, pieces: False)
        return verify_directory(directory, key, processes=1)


def changes(files: list[Path], data: st.DataObject) -> None:
    """One or two changes of bytes, lines or ends."""
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(files))
        text = path.read_bytes()
        at = data.draw(st.integers(0, len(text)))
        whole = text.splitlines(keepends=True)
        line = data.draw(st.integers(0, max(0, len(whole) - 1)))
        kind = data.draw(st.sampled_from(["flip", "cut", "insert", "drop", "repeat", "swap", "graft"]))
        if kind == "flip" and at < len(text):
            text = text[:at] + bytes([text[at] ^ data.draw(st.sampled_from([1, 0x20, 0x80]))]) + text[at + 1 :]
        elif kind == "cut":
            text = text[:at]
        elif kind == "insert":
            text = text[:at] + data.draw(st.sampled_from([b"\n", b"x", b"{}\n", b"\0", b'{"v":1,"seq":3,'])) + text[at:]
        elif kind == "drop":
            text = b"".join(whole[:line] + whole[line + 1 :])
        elif kind == "repeat":
            text = b"".join(whole[: line + 1] + whole[line:])
        elif kind == "swap" and whole:
            other = data.draw(st.integers(0, len(whole) - 1))
            whole[line], whole[other] = whole[other], whole[line]
            text = b"".join(whole)
        elif kind == "graft":
            text = data.draw(st.sampled_from(files)).read_bytes()
        path.write_bytes(text)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_pieces_say_what_a_walk_says(
    long_trail: Path, tmp_path: Path, key: bytes, monkeypatch: pytest.MonkeyPatch, data: st.DataObject
) -> None:
    directory = tmp_path / "changed"
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(long_trail, directory)
    changes(sorted(directory.glob("*.jsonl")), data)
    expected = walked(directory, key, monkeypatch)
    for size, chunk in ((100, 100), (1500, 64), (1 << 20, 333)):
        with monkeypatch.context() as patch:
            patch.setattr(pieces, "PIECE", size)
            patch.setattr(pieces, "CHUNK", chunk)
            patch.setattr(lines, "CHUNK", chunk)
            assert verify_directory(directory, key, processes=1) == expected


@pytest.mark.parametrize("size", [1, 77, 400, 5000])
def test_an_intact_trail_is_taken_in_pieces_alone(
    long_trail: Path, key: bytes, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    for path in [*long_trail.glob("audit-w1-*"), long_trail / "w1.head"]:  # a torn end may be walked
        path.unlink()
    expected = walked(long_trail, key, monkeypatch)
    assert expected.ok
    monkeypatch.setattr(pieces, "PIECE", size)
    monkeypatch.setattr(Walker, "next_segment", lambda self: pytest.fail("walked"))
    assert verify_directory(long_trail, key, processes=1) == expected


def test_several_processes_find_the_same(long_trail: Path, key: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", 600)
    expected = verify_directory(long_trail, key, processes=1)
    assert verify_directory(long_trail, key, processes=2) == expected
    path = sorted(long_trail.glob("audit-w2-*"))[1]
    path.write_bytes(path.read_bytes().replace(b"event 1", b"event 2", 1))
    found = verify_directory(long_trail, key, processes=2)
    assert found == walked(long_trail, key, monkeypatch)
    (problem,) = found.problems
    assert problem.file == path.name


def test_answers_come_in_order_whatever_is_left_out(long_trail: Path) -> None:
    paths = sorted(long_trail.glob("*.jsonl"))
    groups = [tuple(pieces.tasks_of(path, bytes(32), -1)) for path in paths for _ in range(5)]
    for number, (answer, group) in enumerate(zip(check_all(groups, 2), groups, strict=True)):
        if number % 3:
            assert len(answer()) == len(group)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b'{"v":1,"seq":1,"kind":"event","a":NaN', lines.Fault.JSON),
        (b'{"v":1,"seq":1,"kind":"event","a":01', lines.Fault.JSON),
        (b'{"v":1,"seq":1,"kind":"event","a":"\xff"', lines.Fault.JSON),
        (b'{"v":1,"seq":1,"kind":"event","a":"\x01"', lines.Fault.JSON),
        (b'{"v":1,"seq":1,"kind":"event"}{"a":1', lines.Fault.MORE),
        (b'{"v":1,"seq":1,"kind":"event","a":[1,]', lines.Fault.JSON),
        (b'{"v":1,"seq":1,"kind":"event","a":"\\ud800"', None),
        (b'{"v":1,"seq":1,"kind":7', lines.Fault.CHAIN),
        (b'{"v":1,"seq":1,"kind":"event","a":"\xe5\xbc\xa0"', None),
    ],
)
def test_a_right_mac_does_not_make_json(tmp_path: Path, line: bytes, fault: lines.Fault | None) -> None:
    (tmp_path / "f").write_bytes(line + tail(Hmac(bytes(32)).digest(GENESIS + line)) + b"\n")
    with open(tmp_path / "f", "rb", buffering=0) as file:
        assert lines.Lines(file, bytes(32), 0, GENESIS, 0).read() is fault


def test_macs_are_as_documented() -> None:
    """docs/audit-chain.md, in an auditor's own words."""
    initial, previous, line = bytes(range(32)), bytes(reversed(range(32))), b'{"v":1'
    first = hmac.new(initial, b"pgveil audit 1 worker main", hashlib.sha256).digest()
    assert worker_key(initial, "main") == first
    assert next_key(first) == hmac.new(first, b"next", hashlib.sha256).digest()
    assert Hmac(first).digest(previous, line) == hmac.new(first, previous + line, hashlib.sha256).digest()
