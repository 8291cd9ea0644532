"""The writer: batches, modes, rotation, a full disk, and who may write."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.audit.record import MAX_LINE, AuditError, Kind, Stamp, decimal
from proxy.audit.verify import verify_directory
from proxy.audit.writer import AuditWriter, Io, Mode
from tests.support.disk import Disk


def records(directory: Path, worker: str = "w1") -> list[dict]:
    return [
        json.loads(line)
        for path in sorted(directory.glob(f"audit-{worker}-*.jsonl"))
        for line in path.read_bytes().split(b"\n")[:-1]
    ]


def test_append_is_in_memory_and_flush_is_one_write(tmp_path: Path, make: Callable, say: Callable) -> None:
    writes: list[int] = []

    def write(fd: int, data: bytes) -> int:
        writes.append(len(data))
        return os.write(fd, data)

    writer = make(tmp_path / "t", io=Io(write, os.pwrite, lambda fd: None))
    writes.clear()
    numbers = [say(writer, str(n)) for n in range(50)]
    assert numbers == list(range(2, 52))
    assert writer.pending
    assert writer.pending_records == 50
    assert not writes
    writer.flush()
    assert len(writes) == 1
    assert not writer.pending
    writer.flush()
    assert len(writes) == 1


def test_records_read_as_documented(tmp_path: Path, make: Callable) -> None:
    writer = make(tmp_path / "t")
    writer.append(Kind.START, {"version": "0.1", "pid": 1})
    writer.close("drained")
    header, start, stop = records(tmp_path / "t")
    assert list(header)[:5] == ["v", "seq", "kind", "time", "worker"]
    assert (header["found"], header["segment"], header["previous"], header["torn"]) == ("new", 1, "0" * 64, [])
    assert start | {"mac": ""} == {
        "v": 1, "seq": 2, "kind": "start", "time": start["time"], "worker": "w1", "version": "0.1", "pid": 1, "host": None,
        "listen": None, "mode": None, "mac": "",
    }  # fmt: skip
    assert start["time"] == "2027-01-15T08:00:02.000246Z"
    assert (stop["kind"], stop["reason"]) == ("stop", "drained")


def test_undocumented_fields_are_refused(tmp_path: Path, make: Callable) -> None:
    with pytest.raises(ValueError, match="undocumented field of audit kind event: secret"):
        make(tmp_path / "t").append(Kind.EVENT, {"secret": 1})


def test_rotation_keeps_the_numbers_and_the_chain(tmp_path: Path, key: bytes, make: Callable, say: Callable) -> None:
    writer = make(tmp_path / "t", segment_bytes=2000)
    for n in range(40):
        say(writer, f"event {n}")
        writer.flush()
    writer.close()
    report = verify_directory(tmp_path / "t", key)
    assert report.ok
    assert report.workers[0].segments > 3
    found = records(tmp_path / "t")
    assert [r["seq"] for r in found] == list(range(1, len(found) + 1))
    assert {r["found"] for r in found[1:] if r["kind"] == "segment"} == {"rotated"}


def test_a_rotation_that_cannot_make_its_file_is_tried_again(tmp_path: Path, key: bytes, make: Callable, say: Callable) -> None:
    told: list[str] = []
    writer = make(tmp_path / "t", segment_bytes=1000, on_failure=told.append)
    obstacle = tmp_path / "t" / "audit-w1-000002.jsonl"
    obstacle.write_bytes(b"")
    for n in range(10):
        say(writer, f"event {n}")
        writer.flush()
    assert told
    assert len(list((tmp_path / "t").glob("*.jsonl"))) == 2
    obstacle.unlink()
    say(writer, "last")
    writer.flush()
    writer.close()
    report = verify_directory(tmp_path / "t", key)
    assert report.ok
    assert report.workers[0].segments == 2


@pytest.mark.parametrize("room", [0, 1, 300, 5000])
def test_a_full_disk_stops_data_and_loses_nothing(tmp_path: Path, key: bytes, make: Callable, say: Callable, room: int) -> None:
    space = 10**9
    told: list[str] = []

    def write(fd: int, data: bytes) -> int:
        nonlocal space
        part = data[: min(space, 100)]  # and every write is a partial one
        if not part:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        space -= len(part)
        return os.write(fd, part)

    writer = make(tmp_path / "t", io=Io(write, os.pwrite, lambda fd: None), on_failure=told.append, segment_bytes=3000)

    def fill(writer: AuditWriter) -> None:
        for _ in range(100):
            writer.flush()
            say(writer, "more")

    space = room
    for n in range(20):
        say(writer, f"event {n}")
        if n in (3, 4, 19):
            with pytest.raises(AuditError, match="No space left"):
                fill(writer)
            assert writer.pending
            assert writer.failure is not None
    assert len(told) == writer.failures == 3
    assert verify_directory(tmp_path / "t", key).ok  # at most a torn line
    space = 10**9
    writer.flush()
    assert writer.failure is None
    assert not writer.pending
    expected = writer.seq
    writer.close()
    report = verify_directory(tmp_path / "t", key)
    assert report.ok
    assert report.workers[0].records == expected + 1
    assert report.workers[0].torn_bytes == 0


def test_a_start_on_a_full_disk_leaves_nothing_behind(tmp_path: Path, key: bytes, make: Callable, trail: Path) -> None:
    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = sorted(p.name for p in trail.iterdir())
    for _ in range(3):
        with pytest.raises(AuditError):
            make(trail, io=Io(full, os.pwrite, lambda fd: None))
    assert sorted(p.name for p in trail.iterdir()) == before
    make(trail).close()
    assert verify_directory(trail, key).ok


def test_a_close_that_cannot_write_says_so(tmp_path: Path, key: bytes, make: Callable, say: Callable) -> None:
    broken = False

    def write(fd: int, data: bytes) -> int:
        if broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return os.write(fd, data)

    writer = make(tmp_path / "t", io=Io(write, os.pwrite, lambda fd: None))
    broken = True
    say(writer, "a")
    with pytest.raises(AuditError):
        writer.close()
    assert make(tmp_path / "t").resumed.found == "crashed"


def test_a_head_that_cannot_be_written_is_a_failure(tmp_path: Path, make: Callable, say: Callable) -> None:
    broken = False

    def pwrite(fd: int, data: bytes, at: int) -> int:
        if broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return os.pwrite(fd, data, at)

    writer = make(tmp_path / "t", io=Io(os.write, pwrite, lambda fd: None))
    broken = True
    say(writer, "a")
    with pytest.raises(AuditError):
        writer.flush()
    assert writer.pending
    broken = False
    writer.flush()
    assert not writer.pending
    assert len(records(tmp_path / "t")) == 2


def test_strict_syncs_before_the_head_moves(tmp_path: Path, make: Callable, say: Callable) -> None:
    calls: list[str] = []

    def named(name: str, call: Callable) -> Callable:
        def run(*args: object) -> object:
            calls.append(name)
            return call(*args)

        return run

    io = Io(named("write", os.write), named("head", os.pwrite), named("sync", os.fdatasync))
    writer = make(tmp_path / "t", mode=Mode.STRICT, io=io)
    calls.clear()
    say(writer, "a")
    writer.flush()
    assert calls == ["write", "sync", "head"]
    for mode in (Mode.ASYNC, Mode.BEFORE_RESULT):
        writer = make(tmp_path / mode.value, mode=mode, io=io)
        calls.clear()
        say(writer, "a")
        writer.flush()
        assert calls == ["write", "head"]


def test_a_failed_sync_is_never_forgotten(tmp_path: Path, key: bytes, make: Callable, say: Callable) -> None:
    fail = False

    def sync(fd: int) -> None:
        if fail:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    writer = make(tmp_path / "t", mode=Mode.STRICT, io=Io(os.write, os.pwrite, sync))
    fail = True
    say(writer, "a")
    with pytest.raises(AuditError):
        writer.flush()
    fail = False
    for _ in range(2):
        assert writer.pending
        with pytest.raises(AuditError, match="until a restart"):
            writer.flush()
    writer._release()
    make(tmp_path / "t").close()
    assert verify_directory(tmp_path / "t", key).ok


def test_two_workers_share_a_directory(tmp_path: Path, key: bytes, make: Callable, say: Callable) -> None:
    one, two = make(tmp_path / "t", "w1", segment_bytes=800), make(tmp_path / "t", "w-1-000001", segment_bytes=800)
    for n in range(8):
        say(one, f"one {n}")
        say(two, f"two {n}")
        one.flush()
        two.flush()
    one.close()
    report = verify_directory(tmp_path / "t", key, ["w1", "w-1-000001"])
    assert report.ok
    assert {w.worker: w.stopped for w in report.workers} == {"w1": True, "w-1-000001": False}
    missing = verify_directory(tmp_path / "t", key, ["w3"])
    assert not missing.ok


def test_one_process_writes_at_a_time(tmp_path: Path, make: Callable) -> None:
    first = make(tmp_path / "t")
    with pytest.raises(AuditError, match="another process"):
        make(tmp_path / "t")
    first.close()
    make(tmp_path / "t")


@pytest.mark.parametrize("name", ["", "a/b", "..", ".x", "x-", "张", "a" * 65, "a\n"])
def test_worker_names_are_file_names(tmp_path: Path, make: Callable, name: str) -> None:
    with pytest.raises(AuditError, match="worker name"):
        make(tmp_path / "t", name)


def test_files_are_for_the_owner_only(tmp_path: Path, make: Callable) -> None:
    make(tmp_path / "t")
    assert (tmp_path / "t").stat().st_mode & 0o777 == 0o700
    assert {p.stat().st_mode & 0o777 for p in (tmp_path / "t").iterdir()} == {0o600}


def test_a_directory_that_cannot_be_made_is_an_audit_error(tmp_path: Path, make: Callable) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AuditError, match="cannot open the audit trail"):
        make(tmp_path / "file" / "t")


def test_oversized_records_are_refused(tmp_path: Path, key: bytes, make: Callable, say: Callable) -> None:
    writer = make(tmp_path / "t")
    with pytest.raises(AuditError, match="more than"):
        say(writer, "x" * MAX_LINE)
    say(writer, "张" * (MAX_LINE // 4))
    writer.close()
    assert verify_directory(tmp_path / "t", key).ok


def test_lone_surrogates_and_controls_stay_json(tmp_path: Path, key: bytes, make: Callable, say: Callable) -> None:
    writer = make(tmp_path / "t")
    for text in ("\udc80\ud800", "\0\n\r\x1b", '"\\', "\u2028", "𝄞"):
        say(writer, text)
    writer.close()
    assert verify_directory(tmp_path / "t", key).ok
    assert [r["event"] for r in records(tmp_path / "t")[1:-1]] == ["\udc80\ud800", "\0\n\r\x1b", '"\\', "\u2028", "𝄞"]


def test_what_is_lost_is_counted_and_recorded(
    tmp_path: Path, key: bytes, make: Callable, say: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk()
    monkeypatch.setattr("proxy.audit.writer.MAX_PENDING", 5)
    writer = make(tmp_path / "t", io=Io(disk.write, os.pwrite, lambda fd: None), lossy=True, segment_bytes=1500)
    expected = []
    for turn in range(3):
        disk.full = True
        numbers = []
        for n in range(12):
            numbers.append(say(writer, f"{turn} {n}"))
            with pytest.raises(AuditError):
                writer.flush()
        assert numbers[-1] == 0
        lost = numbers.count(0)
        expected.append(lost)
        assert 0 < lost < 12
        disk.full = False
        writer.flush()
        assert writer.failure is None
    assert writer.lost == sum(expected)
    writer.close()
    report = verify_directory(tmp_path / "t", key)
    assert report.ok, report.problems
    found = records(tmp_path / "t")
    assert [r["detail"]["lost"] for r in found if r.get("event") == "gap"] == expected
    assert all(r["detail"]["since"] <= r["detail"]["until"] for r in found if r.get("event") == "gap")
    kept = sum(1 for r in found if r["kind"] == "event" and r["event"] != "gap")
    assert kept + sum(expected) == 36


def test_the_memory_for_pending_records_has_a_limit(
    tmp_path: Path, make: Callable, say: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.audit.writer.MAX_HELD", 5000)
    writer = make(tmp_path / "t", lossy=True)
    numbers = [say(writer, "x" * 1000) for _ in range(10)]
    assert numbers.count(0) == 6
    writer.flush()
    assert say(writer, "x" * 1000) > 0
    stopping = make(tmp_path / "s")
    for _ in range(4):
        say(stopping, "x" * 1000)
    with pytest.raises(AuditError, match="wait for a disk"):
        say(stopping, "x" * 1000)


def test_a_close_after_a_full_backlog_keeps_all_of_it(
    tmp_path: Path, key: bytes, make: Callable, say: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk()
    writer = make(tmp_path / "t", io=Io(disk.write, os.pwrite, lambda fd: None))
    disk.full = True
    monkeypatch.setattr("proxy.audit.writer.MAX_PENDING", 5)
    for n in range(5):
        say(writer, str(n))
    with pytest.raises(AuditError, match="wait for a disk"):
        say(writer, "one too many")
    disk.full = False
    writer.close()
    report = verify_directory(tmp_path / "t", key)
    assert report.ok, report.problems
    assert [r["kind"] for r in records(tmp_path / "t")][-6:] == ["event"] * 5 + ["stop"]


@given(st.integers(0, 4 * 10**15))
def test_times_are_written_to_the_microsecond(micros: int) -> None:
    seconds = micros / 1_000_000
    assert abs(float(decimal(seconds)) - seconds) <= 1e-6
    assert re.fullmatch(r"\d+\.\d{6}", decimal(seconds))


def test_durations() -> None:
    assert [decimal(x) for x in (0.0, 1e-7, 0.000_000_6, 0.123_456_4, 0.999_999_9, 59.5, 86_400.000_001)] == [
        "0.000000", "0.000000", "0.000001", "0.123456", "1.000000", "59.500000", "86400.000001",
    ]  # fmt: skip


def test_stamps() -> None:
    times = [0.0, 0.000_001_5, 1_700_000_000.25, 1_700_000_000.999_999, 1_700_000_001.0]
    stamp = Stamp(iter(times).__next__)
    assert [stamp() for _ in times] == [
        "1970-01-01T00:00:00.000000Z", "1970-01-01T00:00:00.000001Z", "2023-11-14T22:13:20.250000Z",
        "2023-11-14T22:13:20.999999Z", "2023-11-14T22:13:21.000000Z",
    ]  # fmt: skip
