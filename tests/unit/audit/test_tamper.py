"""Nothing done to a trail without its key stays unseen, and the first bad record is the one that is named."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.audit.chain import Head, decode_head, segment_key
from proxy.audit.record import MAX_LINE
from proxy.audit.verify import Problem, Report, verify_directory

Files = dict[str, bytes]


def load(directory: Path) -> Files:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def store(directory: Path, files: Files) -> Path:
    if directory.exists():
        shutil.rmtree(directory)
    directory.mkdir()
    for name, data in files.items():
        (directory / name).write_bytes(data)
    return directory


def segments(files: Files) -> list[str]:
    return sorted(name for name in files if name.endswith(".jsonl"))


def first_problem(report: Report) -> Problem:
    assert not report.ok
    return report.problems[0]


def test_the_untouched_trail_is_intact(trail: Path, key: bytes) -> None:
    report = verify_directory(trail, key)
    assert report.ok
    (worker,) = report.workers
    assert (worker.segments, worker.stopped, worker.torn_bytes, worker.beyond_head) == (4, True, 0, 0)
    assert worker.records == sum(data.count(b"\n") for name, data in load(trail).items() if name.endswith(".jsonl"))


@pytest.mark.parametrize("flip", [0x01, 0x80])
def test_every_single_byte_edit_is_found_where_it_is(trail: Path, tmp_path: Path, key: bytes, flip: int) -> None:
    files = load(trail)
    for name, data in files.items():
        path = trail / name
        last = name == segments(files)[-1]
        for at in range(len(data)):
            edited = bytearray(data)
            edited[at] ^= flip
            path.write_bytes(edited)
            problem = first_problem(verify_directory(trail, key))
            assert problem.file == name, at
            if name.endswith(".head"):
                continue
            line = data[:at].count(b"\n") + 1
            if at == len(data) - 1:  # the file's last newline: a record that never ended
                assert problem.line in (None, line) if last else problem.line == line
            else:
                assert problem.line == line, at
        path.write_bytes(data)
    assert verify_directory(trail, key).ok


def test_every_deleted_line_is_found_where_it_was(trail: Path, tmp_path: Path, key: bytes) -> None:
    files = load(trail)
    names = segments(files)
    for name in names:
        lines = files[name].splitlines(keepends=True)
        for at in range(len(lines)):
            cut = {**files, name: b"".join(lines[:at] + lines[at + 1 :])}
            problem = first_problem(verify_directory(store(tmp_path / "t", cut), key))
            if at < len(lines) - 1 or (len(lines) == 1 and name != names[-1]):
                assert (problem.file, problem.line) == (name, at + 1)
            elif name != names[-1]:
                assert (problem.file, problem.line) == (names[names.index(name) + 1], 1)
            else:
                assert "cut" in problem.reason
                assert problem.file == name


def test_every_cut_tail_is_found(trail: Path, tmp_path: Path, key: bytes) -> None:
    files = load(trail)
    for name in segments(files):
        for length in range(len(files[name])):
            cut = {**files, name: files[name][:length]}
            first_problem(verify_directory(store(tmp_path / "t", cut), key))


def test_every_swap_and_duplicate_is_found(trail: Path, tmp_path: Path, key: bytes) -> None:
    files = load(trail)
    places = [(name, n) for name in segments(files) for n in range(files[name].count(b"\n"))]
    for i, (name, at) in enumerate(places):
        for other, to in places[i:]:
            lines = {n: files[n].splitlines(keepends=True) for n in segments(files)}
            if (name, at) == (other, to):
                lines[name].insert(at, lines[name][at])
                expected = (name, at + 2)
            else:
                lines[name][at], lines[other][to] = lines[other][to], lines[name][at]
                expected = (name, at + 1)
            changed = {**files, **{n: b"".join(ls) for n, ls in lines.items()}}
            problem = first_problem(verify_directory(store(tmp_path / "t", changed), key))
            assert (problem.file, problem.line) == expected


@pytest.mark.parametrize(
    "foreign",
    [b"\n", b"x\n", b"{}\n", b"[1]\n", b'{"v":1,"seq":2}\n', b'{"seq":true}\n', b"\xff\xfe\n", b"[" * 100_000 + b"\n", b"\0\n"],
    ids=range(9),
)
def test_every_foreign_line_is_found(trail: Path, tmp_path: Path, key: bytes, foreign: bytes) -> None:
    files = load(trail)
    for name in segments(files):
        lines = files[name].splitlines(keepends=True)
        for at in range(len(lines) + 1):
            changed = {**files, name: b"".join([*lines[:at], foreign, *lines[at:]])}
            problem = first_problem(verify_directory(store(tmp_path / "t", changed), key))
            assert (problem.file, problem.line) == (name, at + 1)


def test_records_of_another_worker_or_key_are_found(
    trail: Path, tmp_path: Path, key: bytes, make: Callable, say: Callable
) -> None:
    for worker, other_key in (("w2", key), ("w1", bytes(32))):
        writer = make(tmp_path / worker / "x", worker, other_key)
        say(writer, "first 0 张三")
        writer.close()
        lines = next((tmp_path / worker / "x").glob("*.jsonl")).read_bytes().splitlines(keepends=True)
        files = load(trail)
        name = segments(files)[0]
        own = files[name].splitlines(keepends=True)
        for at in (0, 1):
            changed = {**files, name: b"".join([*own[:at], lines[at], *own[at + 1 :]])}
            problem = first_problem(verify_directory(store(tmp_path / "t", changed), key))
            assert (problem.file, problem.line, problem.seq) == (name, at + 1, at + 1)


def test_another_key_is_named_as_such(trail: Path) -> None:
    assert "another key" in first_problem(verify_directory(trail, bytes(32))).reason


def test_missing_and_reordered_segments_are_found(trail: Path, tmp_path: Path, key: bytes) -> None:
    files = load(trail)
    names = segments(files)
    for name in names:
        without = {n: d for n, d in files.items() if n != name}
        problem = first_problem(verify_directory(store(tmp_path / "t", without), key))
        assert (problem.file, problem.reason) == (name, "the segment is missing")
    for i, name in enumerate(names):
        for other in names[i + 1 :]:
            swapped = {**files, name: files[other], other: files[name]}
            problem = first_problem(verify_directory(store(tmp_path / "t", swapped), key))
            assert (problem.file, problem.line) == (name, 1)
    renumbered = {n: d for n, d in files.items() if n != names[-1]}
    renumbered["audit-w1-000009.jsonl"] = files[names[-1]]
    assert first_problem(verify_directory(store(tmp_path / "t", renumbered), key)).file == names[-1]


def test_a_copied_segment_is_found(trail: Path, tmp_path: Path, key: bytes) -> None:
    files = load(trail)
    names = segments(files)
    for name in names:
        more = {**files, "audit-w1-000005.jsonl": files[name]}
        assert first_problem(verify_directory(store(tmp_path / "t", more), key)).file == "audit-w1-000005.jsonl"


@pytest.mark.parametrize("name", ["audit-w1-1.jsonl", "audit-w1-000005.jsonl.bak", "other.jsonl", "a b.head", "audit-"])
def test_stray_files_are_found(trail: Path, key: bytes, name: str) -> None:
    (trail / name).write_bytes(b"")
    report = verify_directory(trail, key)
    assert [p.file for p in report.problems] == [name]


def test_a_missing_forged_or_foreign_head_is_found(trail: Path, tmp_path: Path, key: bytes, make: Callable) -> None:
    files = load(trail)
    head = decode_head(files["w1.head"], "w1", key)
    assert head is not None
    make(tmp_path / "other", "w2").close()
    wrong_key = Head(head.segment, head.seq, head.size, head.mac).encode("w1", segment_key(bytes(32), "w1", head.segment))
    for forged in (b"", files["w1.head"][:-1], files["w1.head"] + b"\n", wrong_key, (tmp_path / "other/w2.head").read_bytes()):
        problem = first_problem(verify_directory(store(tmp_path / "t", {**files, "w1.head": forged}), key))
        assert problem.file == "w1.head"
    del files["w1.head"]
    assert "missing" in first_problem(verify_directory(store(tmp_path / "t", files), key)).reason


def test_a_head_that_names_another_record_is_found(trail: Path, tmp_path: Path, key: bytes) -> None:
    files = load(trail)
    head = decode_head(files["w1.head"], "w1", key)
    assert head is not None
    for wrong in (
        Head(head.segment, head.seq, head.size + 1, head.mac),
        Head(head.segment, head.seq, head.size, bytes(32)),
        Head(head.segment - 1, head.seq, head.size, head.mac),
        Head(head.segment, head.seq + 1, head.size, head.mac),
        Head(head.segment + 1, head.seq + 1, head.size, head.mac),
    ):
        data = wrong.encode("w1", segment_key(key, "w1", wrong.segment))
        first_problem(verify_directory(store(tmp_path / "t", {**files, "w1.head": data}), key))


def test_an_older_head_is_only_reported(trail: Path, tmp_path: Path, key: bytes, make: Callable, say: Callable) -> None:
    writer = make(trail)
    before = (trail / "w1.head").read_bytes()
    say(writer, "a")
    say(writer, "b")
    writer.flush()
    (trail / "w1.head").write_bytes(before)
    (worker,) = verify_directory(trail, key).workers
    assert worker.problem is None
    assert (worker.beyond_head, worker.stopped) == (2, False)


def test_cutting_the_trail_and_starting_again_hides_nothing(
    trail: Path, tmp_path: Path, key: bytes, make: Callable, kill: Callable
) -> None:
    files = load(trail)
    names = segments(files)
    last = files[names[-1]].splitlines(keepends=True)
    attacks: list[Files] = [
        {**files, names[-1]: b"".join(last[:-1])},
        {**files, names[-1]: b""},
        {n: d for n, d in files.items() if n != names[-1]},
        {n: d for n, d in files.items() if n != names[1]},
        {n: d for n, d in files.items() if n not in names},
        {n: d for n, d in files.items() if n != "w1.head"},
        {**files, "w1.head": b""},
        {**files, "w1.head": b"x" * len(files["w1.head"])},
        {**files, names[-1]: files[names[-1]] + b"garbage\n"},
        {**files, names[-1]: files[names[-1]] + b"garbage"},
    ]
    for attack in attacks:
        directory = store(tmp_path / "t", attack)
        writer = make(directory)
        assert writer.resumed.found == "damaged"
        assert writer.resumed.damage
        writer.close()
        first_problem(verify_directory(directory, key))
        writer = make(directory)
        assert writer.resumed.found in ("stopped", "damaged")  # damaged again where a segment is missing
        writer.close()
        first_problem(verify_directory(directory, key))


def test_a_line_without_end_is_not_held(trail: Path, key: bytes) -> None:
    path = sorted(trail.glob("*.jsonl"))[-1]
    with open(path, "ab") as file:
        file.truncate(0)
        os.truncate(path, 64 << 20)
    problem = first_problem(verify_directory(trail, key))
    assert str(MAX_LINE) in problem.reason


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_rearrangement_of_lines_passes(trail: Path, tmp_path: Path, key: bytes, data: st.DataObject) -> None:
    files = load(trail)
    names = segments(files)
    lines = [line for name in names for line in files[name].splitlines(keepends=True)]
    chosen = data.draw(st.lists(st.sampled_from(lines), max_size=len(lines) + 2) | st.permutations(lines))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(chosen)), min_size=len(names) - 1, max_size=len(names) - 1)))
    bounds = [0, *cuts, len(chosen)]
    changed = {name: b"".join(chosen[a:b]) for name, a, b in zip(names, bounds[:-1], bounds[1:], strict=True)}
    report = verify_directory(store(tmp_path / "t", {**files, **changed}), key)
    assert report.ok == all(changed[name] == files[name] for name in names)
