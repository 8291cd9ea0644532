"""The index says what the segments say, whatever happens to them, and is a prison for the SQL of strangers."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path

import duckdb
import pytest

from proxy.inquiry.index import Index, IndexProblem
from tests.trail.make import Trail
from tests.unit.inquiry.conftest import KEY, Made, read


@pytest.fixture
def own(made: Made, tmp_path: Path) -> Index:
    """A copy that a test may spoil."""
    shutil.copytree(made.directory, tmp_path / "trail")
    index = Index(tmp_path / "trail", tmp_path / "index")
    index.update()
    return index


def kinds(index: Index) -> Counter[str]:
    with index.reading() as connection:
        return Counter(dict(connection.execute("SELECT kind, count(*) FROM records GROUP BY kind").fetchall()))


def written(directory: Path) -> Counter[str]:
    return Counter(r["kind"] for r in read(directory))


def test_every_record_is_there(made: Made) -> None:
    assert kinds(made.index) == Counter(r["kind"] for r in made.records)


def test_decisions_have_what_their_records_say(made: Made) -> None:
    names = (
        "session",
        "login",
        "person",
        "client",
        "application",
        "policy",
        "verdict",
        "clear",
        "text",
        "values",
        "binds",
        "roles",
    )
    listed = ", ".join(f'"{name}"' for name in names)
    with made.index.reading() as connection:
        found = connection.execute(f"SELECT worker, seq, rows, sqlstate, outcomes, {listed} FROM decisions").fetchall()
        late = connection.execute("SELECT count(*) FROM late").fetchall()[0][0]
    assert late > 0, "no outcome stood in a later segment"
    by_place = {(row[0], row[1]): row[2:] for row in found}
    assert len(by_place) == len(found) == len(made.decisions)
    for d in made.decisions:
        rows, sqlstate, outcomes, *rest = by_place[d["worker"], d["seq"]]
        assert (rows, sqlstate) == (d["rows"], d["sqlstate"])
        assert outcomes == (d["rows"] is not None)
        assert rest == [d[name] for name in names]


def test_touches_are_those_of_the_records(made: Made) -> None:
    with made.index.reading() as connection:
        found = connection.execute(
            'SELECT worker, seq, relation, "column", class, level, "use", "show", rule, "grant", rows FROM touches'
        ).fetchall()
    expected = [
        (
            d["worker"],
            d["seq"],
            *(t[k] for k in ("relation", "column", "class", "level", "use", "show", "rule", "grant")),
            d["rows"],
        )
        for d in made.decisions
        for t in d["touches"]
    ]
    assert Counter(found) == Counter(expected)


def test_nothing_new_is_not_read_again(own: Index) -> None:
    assert own.update().bytes_read == 0


def test_a_growing_trail_is_followed_to_its_last_whole_line(tmp_path: Path) -> None:
    whole, growing = tmp_path / "whole", tmp_path / "growing"
    Trail(whole, "w1", KEY, 1500, days=5).write()
    data = (whole / "audit-w1-000001.jsonl").read_bytes()
    growing.mkdir()
    path = growing / "audit-w1-000001.jsonl"
    index = Index(growing, tmp_path / "index")
    read_in_all = 0
    for share in (0.2, 0.5, 0.51, 0.9, 1):
        with open(path, "ab") as file:
            file.write(data[file.tell() : int(len(data) * share)])
        state = index.update()
        assert state.removed == 0
        read_in_all += state.bytes_read
        assert sum(kinds(index).values()) == path.read_bytes().count(b"\n")
    assert read_in_all == len(data)
    with index.reading() as connection:
        once = connection.execute("SELECT worker, seq, rows, outcomes, sqlstate FROM decisions ORDER BY 1, 2").fetchall()
        assert connection.execute("SELECT count(*) FROM late").fetchall() != [(0,)]
    at_once = Index(growing, tmp_path / "at once")
    at_once.update()
    with at_once.reading() as connection:
        assert connection.execute("SELECT worker, seq, rows, outcomes, sqlstate FROM decisions ORDER BY 1, 2").fetchall() == once


def test_files_without_a_line_wait_for_one(own: Index) -> None:
    path = own.trail / "audit-w3-000001.jsonl"
    line = (own.trail / "audit-w1-000001.jsonl").read_bytes().partition(b"\n")[0]
    for data, records in (
        (b"", 0),
        (line[:50], 0),
        (line + b"\n", 1),
        (line + b"\n" + line[:9], 1),
        (line + b"\n" + line + b"\n", 2),
    ):
        path.write_bytes(data)
        own.update()
        with own.reading() as connection:
            found = connection.execute("SELECT list(records) FROM segments WHERE worker = 'w3'").fetchall()
            (there,) = connection.execute("SELECT count(*) FROM records WHERE worker = 'w3'").fetchall()[0]
            assert (there, found) == (records, [([records],)])
        assert own.update().bytes_read == 0
    assert kinds(own) == written(own.trail)


def test_many_small_segments_are_read_together(tmp_path: Path) -> None:
    whole, many = tmp_path / "whole", tmp_path / "many"
    Trail(whole, "w1", KEY, 900, days=5).write()
    many.mkdir()
    lines = (whole / "audit-w1-000001.jsonl").read_bytes().splitlines(keepends=True)
    for n in range(0, len(lines), 7):
        (many / f"audit-w1-{n // 7 + 1:06d}.jsonl").write_bytes(b"".join(lines[n : n + 7]))
    answers = []
    for trail in (whole, many):
        index = Index(trail, tmp_path / f"index of {trail.name}")
        index.update()
        with index.reading() as connection:
            answers.append(connection.execute("SELECT * EXCLUDE (touched) FROM decisions ORDER BY worker, seq").fetchall())
            found = connection.execute("SELECT list(DISTINCT records ORDER BY records) FROM segments").fetchall()
    assert answers[0] == answers[1]
    assert found == [(sorted({len(lines) % 7 or 7, 7}),)]
    first = many / "audit-w1-000010.jsonl"
    first.unlink()
    assert index.update().removed == 1
    assert kinds(index) == written(many)


def test_a_changed_segment_is_read_again(own: Index) -> None:
    path = sorted(own.trail.glob("audit-w1-*.jsonl"))[1]
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:10] + lines[11:]))
    assert own.update().removed == 1
    assert kinds(own) == written(own.trail)


def test_a_segment_of_the_same_size_and_time_but_another_end_is_read_again(own: Index) -> None:
    path = sorted(own.trail.glob("audit-w1-*.jsonl"))[1]
    before = path.stat()
    data = path.read_bytes()
    path.write_bytes(data[:-6] + bytes([data[-6] ^ 1]) + data[-5:])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert own.update().removed == 1


def test_an_expired_segment_goes(own: Index) -> None:
    next(iter(sorted(own.trail.glob("audit-w1-*.jsonl")))).unlink()
    assert own.update().removed == 1
    assert kinds(own) == written(own.trail)


def test_lines_that_are_no_records_are_counted(own: Index) -> None:
    path = sorted(own.trail.glob("audit-w2-*.jsonl"))[-1]
    with open(path, "ab") as file:
        file.write(b'not json\n[1]\n{"v":1}\n\n{"seq":"x","kind":5,"time":"yesterday"}\n')
    state = own.update()
    assert state.bad == 5 - 1, "an empty line is none"
    assert own.update().bad == state.bad


@pytest.mark.parametrize("damage", [b"", b"not a database", None])
def test_a_spoilt_index_is_made_anew(own: Index, damage: bytes | None) -> None:
    if damage is None:
        with duckdb.connect(str(own.path)) as connection:
            connection.execute("UPDATE about SET format = 'older'")
    else:
        own.path.write_bytes(damage)
    assert own.update().bytes_read > 0
    assert kinds(own) == written(own.trail)


def test_an_index_in_use_is_left_alone_and_says_so(own: Index) -> None:
    with own.reading() as connection:
        path = sorted(own.trail.glob("audit-w1-*.jsonl"))[0]
        path.write_bytes(path.read_bytes() + b"{}\n")
        state = own.update()
        assert state.behind is not None
        assert connection.execute("SELECT count(*) > 0 FROM records").fetchall() == [(True,)]
    assert own.update().behind is None


def test_an_index_that_others_may_change_is_not_used(made: Made, tmp_path: Path) -> None:
    home = tmp_path / "index"
    home.mkdir()
    home.chmod(0o777)
    with pytest.raises(IndexProblem, match="others may change"):
        Index(made.directory, home)


def test_the_index_is_for_its_owner_only(made: Made) -> None:
    assert made.index.home.stat().st_mode & 0o077 == 0
    assert made.index.path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('{secret}')",
        "SELECT * FROM '{secret}'",
        "SELECT * FROM read_csv('{secret}')",
        "SELECT * FROM read_json('{secret}')",
        "SELECT * FROM glob('{folder}/*')",
        "SELECT * FROM sniff_csv('{secret}')",
        "COPY (SELECT 1) TO '{folder}/out.csv'",
        "EXPORT DATABASE '{folder}/out'",
        "ATTACH '{folder}/other.duckdb' AS other",
        "ATTACH ':memory:' AS other",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "RESET enable_external_access",
        "SET temp_directory = '{folder}'",
        "CREATE TABLE t (i INTEGER)",
        "DELETE FROM decision",
        "DROP VIEW decisions",
        "CREATE SECRET s (TYPE http, BEARER_TOKEN 'x')",
        "SELECT * FROM secret",
    ],
)
def test_strange_sql_reaches_nothing(made: Made, tmp_path: Path, sql: str) -> None:
    file = tmp_path / "secret.csv"
    file.write_text("canary\n1\n")
    secret = 17  # noqa: F841 - DuckDB can read Python's variables, unless it is forbidden
    with made.index.reading() as connection:
        with pytest.raises(duckdb.Error):
            connection.execute(sql.format(secret=file, folder=tmp_path)).fetchall()
        assert connection.execute("SELECT count(*) > 0 FROM records").fetchall() == [(True,)]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["secret.csv"]
