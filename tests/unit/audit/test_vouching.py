"""Workers, anchors and records of expiry vouch for trails: what one file cannot show about itself, others show."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.audit import upkeep, verify
from proxy.audit.anchor import decode_anchor, read_anchors
from proxy.audit.custody import Custody, state_path
from proxy.audit.record import Kind
from proxy.audit.upkeep import Upkeep, heads_of_others
from proxy.audit.verify import Report, verify_directory
from proxy.audit.walk import BadRecord, Walker
from proxy.audit.writer import AuditWriter

WORKERS = ("w1", "w2", "w3")


def grow(writer: AuditWriter, events: int) -> None:
    for n in range(events):
        writer.append(Kind.EVENT, {"event": f"{writer.worker} {n}", "detail": {"n": 1}})
        writer.flush()


def keeper(writer: AuditWriter, keep: float | None = None, now: float = 0.0) -> Upkeep:
    return Upkeep(writer, 60.0, keep, clock=lambda: now, monotonic=lambda: 0.0)


@pytest.fixture
def bank(tmp_path: Path, make: Callable) -> tuple[Path, Path]:
    """Three workers that have witnessed each other; the file of anchors is beside the trail."""
    directory, anchors = tmp_path / "bank", tmp_path / "anchors"
    writers = [make(directory, worker, segment_bytes=1800) for worker in WORKERS]
    lines = []
    for turn in range(3):
        for writer in writers:
            grow(writer, 3)
            keeper(writer).witness()
            line = writer.anchor()
            assert line is not None
            lines.append(line)
        if turn == 1:
            writers[1].close()
            writers[1] = make(directory, "w2", segment_bytes=1800)
    for writer in writers:
        keeper(writer).witness()
        writer.close()
        assert writer.last_anchor is not None
        lines.append(writer.last_anchor)
    anchors.write_bytes(b"".join(line + b"\n" for line in lines))
    return directory, anchors


def verified(directory: Path, key: bytes, anchors: Path | None = None, keep: float | None = None) -> Report:
    found = read_anchors(anchors, [key]) if anchors is not None else ()
    return verify_directory(directory, key, anchors=found, keep=keep, processes=1)


def test_statements_hold_in_an_intact_directory(bank: tuple[Path, Path], key: bytes) -> None:
    directory, anchors = bank
    report = verified(directory, key)
    assert report.ok, report.problems
    assert report.statements >= 20
    with_anchors = verified(directory, key, anchors)
    assert with_anchors.ok, with_anchors.problems
    assert with_anchors.statements == report.statements + 12
    assert all(w.segments > 1 for w in report.workers)


def test_heads_of_others_are_those_in_the_files(bank: tuple[Path, Path], key: bytes) -> None:
    directory, _ = bank
    found = dict(heads_of_others(directory, "w2"))
    assert sorted(found) == ["w1", "w3"]
    assert found["w1"].seq == next(w.records for w in verified(directory, key).workers if w.worker == "w1")
    (directory / "w1.head").write_bytes(b"torn")
    assert sorted(dict(heads_of_others(directory, "w2"))) == ["w3"]


@pytest.mark.parametrize("worker", WORKERS)
def test_a_worker_that_is_removed_as_a_whole_is_missed_by_the_others(bank: tuple[Path, Path], key: bytes, worker: str) -> None:
    directory, _ = bank
    for path in [*directory.glob(f"audit-{worker}-*"), directory / f"{worker}.head"]:
        path.unlink()
    report = verified(directory, key)
    assert not report.ok
    assert f"of worker {worker}, in audit-{worker}-0000" in report.problems[0].reason
    assert "the file is missing" in report.problems[0].reason


def cut_back(directory: Path, key: bytes, worker: str, seq: int) -> bool:
    """Make the worker's trail what it was when it had `seq` records, head included. False when that is now."""
    from proxy.audit.chain import Head, segment_key

    done = 0
    for path in sorted(directory.glob(f"audit-{worker}-*")):
        lines = path.read_bytes().splitlines(keepends=True)
        left = lines[: max(0, seq - done)]
        done += len(lines)
        if not left:
            path.unlink()
            continue
        path.write_bytes(b"".join(left))
        number = int(path.stem.rpartition("-")[2])
        mac = bytes.fromhex(json.loads(left[-1])["mac"])
        head = Head(number, json.loads(left[-1])["seq"], sum(map(len, left)), mac)
        (directory / f"{worker}.head").write_bytes(head.encode(worker, segment_key(key, worker, number)))
    return seq < done


@pytest.mark.parametrize("worker", WORKERS)
def test_every_rollback_of_a_worker_with_its_head_is_found(
    bank: tuple[Path, Path], tmp_path: Path, key: bytes, worker: str
) -> None:
    """By the others up to what they have witnessed; by anchors to the end."""
    directory, anchors = bank
    records = next(w.records for w in verified(directory, key).workers if w.worker == worker)
    witnessed = max(
        said["seq"]
        for path in directory.glob("*.jsonl")
        for line in path.read_bytes().splitlines()
        if (record := json.loads(line)).get("event") == "witness"
        for said in record["detail"]["heads"]
        if said["worker"] == worker
    )
    assert witnessed > records - 12
    for seq in range(1, records):
        changed = tmp_path / "changed"
        shutil.rmtree(changed, ignore_errors=True)
        shutil.copytree(directory, changed)
        assert cut_back(changed, key, worker, seq)
        assert verified(changed, key).ok == (seq >= witnessed), seq
        assert not verified(changed, key, anchors).ok, seq


def test_a_rollback_of_everything_is_found_by_anchors_alone(bank: tuple[Path, Path], key: bytes) -> None:
    directory, anchors = bank
    for worker in WORKERS:
        cut_back(directory, key, worker, 2)
    assert verified(directory, key).ok
    report = verified(directory, key, anchors)
    assert len([p for p in report.problems if p.file == "anchors"]) >= 9
    for path in directory.iterdir():
        path.unlink()
    assert not verified(directory, key, anchors).ok


@pytest.mark.parametrize("field", ["time", "worker", "key_id", "segment", "seq", "size", "mac", "hmac"])
def test_an_anchor_cannot_be_changed_where_it_is_kept(bank: tuple[Path, Path], key: bytes, field: str) -> None:
    directory, anchors = bank
    lines = anchors.read_bytes().splitlines()
    said = json.loads(lines[0])
    assert decode_anchor(lines[0], [key]) == {k: v for k, v in said.items() if k != "hmac"}
    wrong = {"time": "2020-01-01T00:00:00Z", "worker": "w2", "key_id": "0" * 16, "mac": "0" * 64, "hmac": "0" * 64}
    said[field] = wrong.get(field, said[field] + 1 if isinstance(said[field], int) else None)
    forged = json.dumps(said, separators=(",", ":")).encode()
    assert decode_anchor(forged, [key]) is None
    anchors.write_bytes(b"\n".join([forged, *lines[1:]]) + b"\n")
    (problem,) = verified(directory, key, anchors).problems
    assert (problem.file, problem.line, problem.reason) == ("anchors", 1, "the line is no anchor that was made with this key")


@pytest.mark.parametrize("line", [b"", b"x", b"{}", b'{"anchor":1,"hmac":"%b"}' % (b"0" * 64), b"\xff" * 5000])
def test_what_is_no_anchor_is_a_failure(bank: tuple[Path, Path], key: bytes, line: bytes) -> None:
    directory, anchors = bank
    anchors.write_bytes(anchors.read_bytes() + line + b"\n")
    report = verified(directory, key, anchors)
    assert {p.line for p in report.problems} >= {13}


# -- expiry -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def old(tmp_path: Path, make: Callable) -> tuple[Path, AuditWriter]:
    """A trail with many segments; the clock of the tests gives each record a second."""
    directory = tmp_path / "old"
    directory.mkdir()
    writer = make(directory, "w1", segment_bytes=1500)
    grow(writer, 60)
    return directory, writer


def numbers(directory: Path, worker: str = "w1") -> list[int]:
    return sorted(int(path.stem.rpartition("-")[2]) for path in directory.glob(f"audit-{worker}-*"))


def now_of(directory: Path, worker: str, number: int) -> float:
    """The time of a segment's last record."""
    from proxy.audit.chain import segment_path
    from proxy.audit.statements import read_last, seconds_of

    last = read_last(segment_path(directory, worker, number))
    assert last is not None
    seconds = seconds_of(last.time)
    assert seconds is not None
    return seconds


def test_what_is_older_is_removed_and_the_trail_is_whole(old: tuple[Path, AuditWriter], key: bytes) -> None:
    directory, writer = old
    before = numbers(directory)
    for through in (2, 3, 6):
        keeper(writer, keep=100.0, now=now_of(directory, "w1", through) + 100.01).expire()
        assert numbers(directory) == [n for n in range(1, writer.head.segment + 1) if n > through]
        report = verified(directory, key)
        assert report.ok, report.problems
        assert report.workers[0].expired == through
    keeper(writer, keep=100.0, now=10.0**11).expire()
    assert len(numbers(directory)) <= 2, "the one in use stays, and the record of it may begin another"
    assert verified(directory, key).ok
    grow(writer, 5)
    writer.close()
    assert verified(directory, key).ok
    assert len(before) > 5


def test_the_trail_goes_on_after_expiry_and_a_restart(old: tuple[Path, AuditWriter], key: bytes, make: Callable) -> None:
    directory, writer = old
    keeper(writer, keep=100.0, now=now_of(directory, "w1", 3) + 100.01).expire()
    writer.close()
    writer = make(directory, "w1")
    assert writer.resumed.found == "stopped"
    writer.close()
    assert verified(directory, key).ok


class Cut(BaseException):
    pass


@pytest.mark.parametrize("left", [0, 1, 2, 3])
def test_a_crash_between_record_and_removal_is_harmless(
    old: tuple[Path, AuditWriter], key: bytes, make: Callable, monkeypatch: pytest.MonkeyPatch, left: int
) -> None:
    directory, writer = old
    budget = itertools.count()
    plain = os.unlink

    def unlink(path: Path) -> None:
        if next(budget) == left:
            raise Cut
        plain(path)

    with monkeypatch.context() as patch:
        patch.setattr(upkeep.os, "unlink", unlink)
        with pytest.raises(Cut):
            keeper(writer, keep=100.0, now=now_of(directory, "w1", 4) + 100.01).expire()
    writer._release()
    assert numbers(directory)[0] == left + 1
    assert verified(directory, key).ok
    writer = make(directory, "w1")
    keeper(writer, keep=100.0, now=now_of(directory, "w1", 4) + 100.01).expire()
    assert numbers(directory)[0] == 5
    writer.close()
    assert verified(directory, key).ok


def test_what_expires_while_it_is_verified_is_no_failure(
    old: tuple[Path, AuditWriter], key: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, writer = old
    plain, now = verify.segments_of, now_of(directory, "w1", 3) + 100.01
    turns: list[int] = []

    def listed(where: Path, worker: str) -> list[int]:
        found = plain(where, worker)
        turns.append(1)
        if len(turns) == 1:
            keeper(writer, keep=100.0, now=now).expire()
        return found

    monkeypatch.setattr(verify, "segments_of", listed)
    report = verified(directory, key)
    assert report.ok, report.problems
    assert len(turns) == 2


def test_nothing_else_may_be_missing_at_the_beginning(old: tuple[Path, AuditWriter], key: bytes) -> None:
    directory, writer = old
    keeper(writer, keep=100.0, now=now_of(directory, "w1", 3) + 100.01).expire()
    writer.close()
    (directory / "audit-w1-000004.jsonl").unlink()
    (problem,) = verified(directory, key).problems
    assert (problem.file, problem.reason) == ("audit-w1-000004.jsonl", "the segment is missing")


def test_a_beginning_that_nobody_vouches_for_is_missing(old: tuple[Path, AuditWriter], key: bytes) -> None:
    directory, writer = old
    writer.close()
    (directory / "audit-w1-000001.jsonl").unlink()
    (problem,) = verified(directory, key).problems
    assert (problem.file, problem.seq, problem.reason) == ("audit-w1-000001.jsonl", 1, "the segment is missing")


def test_expiry_must_name_the_mac_that_was_there(old: tuple[Path, AuditWriter], key: bytes) -> None:
    directory, writer = old
    detail = {"worker": "w1", "through": 3, "seq": 7, "mac": "ab" * 32, "last": "2020-01-01T00:00:00Z", "keep": 1.0}
    writer.append(Kind.EVENT, {"event": "expired", "detail": detail})
    writer.close()
    assert verified(directory, key).ok, "as long as everything is there, nobody needs it"
    for number in (1, 2, 3):
        (directory / f"audit-w1-{number:06d}.jsonl").unlink()
    (problem,) = verified(directory, key).problems
    assert "did not end as was stated" in problem.reason


def test_a_session_cannot_vouch(old: tuple[Path, AuditWriter], key: bytes) -> None:
    directory, writer = old
    joint = json.loads((directory / "audit-w1-000002.jsonl").read_bytes().splitlines()[0])
    detail = {"worker": "w1", "through": 1, "seq": joint["seq"] - 1, "mac": joint["previous"]}
    writer.append(Kind.EVENT, {"event": "expired", "session": "s", "detail": detail})
    writer.close()
    (directory / "audit-w1-000001.jsonl").unlink()
    assert not verified(directory, key).ok


def test_what_was_removed_before_its_time_is_found_with_anchors(
    old: tuple[Path, AuditWriter], tmp_path: Path, key: bytes
) -> None:
    """Who holds the proxy can write a record of expiry; what was anchored shortly before shows that it came too early."""
    directory, writer = old
    anchor = writer.anchor()
    assert anchor is not None
    (tmp_path / "anchors").write_bytes(anchor + b"\n")
    grow(writer, 60)
    keeper(writer, keep=1.0, now=10.0**11).expire()
    writer.close()
    assert verified(directory, key, tmp_path / "anchors").ok
    assert verified(directory, key, tmp_path / "anchors", keep=1.0).ok
    (problem,) = verified(directory, key, tmp_path / "anchors", keep=86400.0).problems
    assert "removed before its time" in problem.reason


def test_a_worker_that_is_gone_is_cleared_up_by_another(tmp_path: Path, key: bytes, make: Callable) -> None:
    directory = tmp_path / "t"
    gone, here = make(directory, "w2", segment_bytes=1500), make(directory, "w1")
    grow(gone, 30)
    keeper(here).witness()
    keeper(here, keep=1.0, now=10.0**11).expire()
    assert numbers(directory, "w2")[0] == 1, "somebody writes it"
    gone.close()
    keeper(here, keep=1.0, now=10.0**11).expire()
    assert len(numbers(directory, "w2")) == 1
    here.close()
    report = verified(directory, key)
    assert report.ok, report.problems
    make(directory, "w2").close()
    assert verified(directory, key).ok


def test_a_walk_does_not_begin_with_anything_but_a_header(old: tuple[Path, AuditWriter], key: bytes) -> None:
    directory, writer = old
    writer.close()
    (directory / "audit-w1-000001.jsonl").unlink()
    path = directory / "audit-w1-000002.jsonl"
    path.write_bytes(b"{}\n" + path.read_bytes())
    from proxy.audit.chain import InitialKeys

    with pytest.raises(BadRecord, match="header of a segment"):
        Walker(directory, "w1", InitialKeys([key], "w1")).begin_at(2)
    assert not verified(directory, key).ok


# -- all of it --------------------------------------------------------------------------------------------------------------


def lives(directory: Path, anchors: Path, key: bytes, make: Callable, data: st.DataObject) -> None:
    """A generated history: writers grow, rotate, stop, are killed, witness, anchor and expire, with a new key now and then."""
    draw = data.draw
    other = bytes(range(100, 132))
    lines: list[bytes] = []
    writers: dict[str, AuditWriter] = {}
    initial = key
    for _ in range(draw(st.integers(6, 14))):
        worker = draw(st.sampled_from(WORKERS[:2]))
        writer = writers.get(worker)
        if writer is None:
            initial = other if initial == other or draw(st.integers(0, 9)) == 0 else key
            path = state_path(directory, worker)
            custody = Custody(worker, draw(st.sampled_from([initial, None])) if path.exists() else initial, path)
            writers[worker] = writer = make(directory, worker, key=custody, segment_bytes=1500)
            continue
        does = draw(st.sampled_from(["grow", "grow", "grow", "witness", "anchor", "stop", "kill", "expire"]))
        if does == "grow":
            grow(writer, draw(st.integers(1, 5)))
        elif does == "witness":
            keeper(writer).witness()
        elif does == "anchor":
            lines += filter(None, [writer.anchor()])
        elif does == "expire":
            keeper(writer, keep=5.0, now=now_of(directory, worker, max(1, numbers(directory, worker)[0])) + 5.01).expire()
        else:
            if does == "stop":
                writer.close()
            writer._release()
            del writers[worker]
    for writer in writers.values():
        keeper(writer).witness()
        writer.close()
        lines += filter(None, [writer.last_anchor])
    anchors.write_bytes(b"".join(line + b"\n" for line in lines))


def lines_of(directory: Path) -> dict[str, list[bytes]]:
    return {path.name: path.read_bytes().splitlines(keepends=True) for path in sorted(directory.glob("*.jsonl"))}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_single_change_of_a_generated_trail_is_detected(
    tmp_path: Path, key: bytes, make: Callable, data: st.DataObject
) -> None:
    directory, anchors, changed = tmp_path / "lives", tmp_path / "anchors", tmp_path / "changed"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    lives(directory, anchors, key, make, data)
    keys = [key, bytes(range(100, 132))]

    def check(where: Path) -> Report:
        return verify_directory(where, keys, anchors=read_anchors(anchors, keys), processes=1)

    untouched = check(directory)
    if not lines_of(directory):
        return
    assert untouched.ok, untouched.problems
    ends = {w.worker: w for w in untouched.workers}
    for _ in range(12):
        shutil.rmtree(changed, ignore_errors=True)
        shutil.copytree(directory, changed)
        files = lines_of(changed)
        name = data.draw(st.sampled_from(sorted(n for n in files if files[n]) or [""]))
        if not name:
            return
        lines = files[name]
        at = data.draw(st.integers(0, len(lines) - 1))
        path = changed / name
        does = data.draw(st.sampled_from(["edit", "delete", "insert", "swap", "truncate", "segment", "head", "worker"]))
        if does == "edit":
            byte = data.draw(st.integers(0, len(lines[at]) - 1))
            lines[at] = lines[at][:byte] + bytes([lines[at][byte] ^ data.draw(st.integers(1, 255))]) + lines[at][byte + 1 :]
        elif does == "delete":
            del lines[at]
        elif does == "insert":
            other = data.draw(st.sampled_from(sorted(n for n in files if files[n])))
            lines.insert(at, data.draw(st.sampled_from([*files[other], b"{}\n", b"\n"])))
        elif does == "swap":
            to = data.draw(st.integers(0, len(lines) - 1))
            if to == at:
                continue
            lines[at], lines[to] = lines[to], lines[at]
        elif does == "truncate":
            whole = b"".join(lines)
            lines[:] = [whole[: data.draw(st.integers(0, len(whole) - 1))]]
        worker = name.removeprefix("audit-").rpartition("-")[0]
        if does in ("segment", "worker", "head"):
            gone = [path] if does == "segment" else [changed / f"{worker}.head"]
            if does == "worker":
                gone += changed.glob(f"audit-{worker}-*")
            for file in gone:
                file.unlink()
        else:
            path.write_bytes(b"".join(lines))
        if does == "worker" and not _known(directory, anchors, worker):
            continue  # nobody has ever heard of it
        last = sorted(n for n in files if f"-{worker}-" in n)[-1]
        if name == last and not ends[worker].stopped and does in ("truncate", "edit", "delete"):
            kept = path.read_bytes()
            if b"".join(lines_of(directory)[name]).startswith(kept) or ends[worker].beyond_head or ends[worker].torn_bytes:
                continue  # a killed writer's records behind its head are the one thing that can be cut off
        assert not check(changed).ok, (does, name, at)


def _known(directory: Path, anchors: Path, worker: str) -> bool:
    texts = [anchors.read_bytes(), *(p.read_bytes() for p in directory.glob("*.jsonl") if f"-{worker}-" not in p.name)]
    return any(
        b'"worker":"%b","segment"' % worker.encode() in text or b'"worker":"%b","key_id"' % worker.encode() in text
        for text in texts
    )


def test_reports_are_plain_values(bank: tuple[Path, Path], key: bytes) -> None:
    report = verified(bank[0], key)
    assert dataclasses.replace(report) == report
