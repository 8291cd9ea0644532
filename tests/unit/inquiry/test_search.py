"""The command: its forms of output, what it takes for a time, and what the trail may not do to whoever reads it."""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner

from proxy.audit.record import Kind
from proxy.audit.writer import AuditWriter, Mode
from proxy.cli import cli
from proxy.inquiry.output import cell, table, told
from proxy.inquiry.times import BadTime, read_span
from tests.unit.inquiry.conftest import KEY, Made
from tests.unit.inquiry.test_who import decision, run

NOW = datetime(2026, 11, 22, 14, 30, tzinfo=ZoneInfo("Asia/Shanghai"))


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2026", "2026-01-01 00:00+08", "2027-01-01 00:00+08"),
        ("2026-10", "2026-10-01 00:00+08", "2026-11-01 00:00+08"),
        ("2026-12", "2026-12-01 00:00+08", "2027-01-01 00:00+08"),
        ("2026-10-31", "2026-10-31 00:00+08", "2026-11-01 00:00+08"),
        ("2026-10-31 08:15", "2026-10-31 08:15+08", "2026-10-31 08:16+08"),
        ("2026-10-31T08:15:30Z", "2026-10-31 08:15:30+00", "2026-10-31 08:15:31+00"),
        ("2026-10-31 08:15:30.5 -03:30", "2026-10-31 11:45:30.5+00", "2026-10-31 11:45:30.6+00"),
        ("2026-10-31 08:15+09", "2026-10-31 08:15+09", "2026-10-31 08:16+09"),
        ("last  month", "2026-10-01 00:00+08", "2026-11-01 00:00+08"),
        ("this month", "2026-11-01 00:00+08", "2026-12-01 00:00+08"),
        ("last week", "2026-11-09 00:00+08", "2026-11-16 00:00+08"),
        ("this week", "2026-11-16 00:00+08", "2026-11-23 00:00+08"),
        ("last year", "2025-01-01 00:00+08", "2026-01-01 00:00+08"),
        ("yesterday", "2026-11-21 00:00+08", "2026-11-22 00:00+08"),
        ("today", "2026-11-22 00:00+08", "2026-11-23 00:00+08"),
        ("7d", "2026-11-15 14:30+08", "2026-11-22 14:30+08"),
        ("2 weeks ago", "2026-11-08 14:30+08", "2026-11-22 14:30+08"),
        ("90min", "2026-11-22 13:00+08", "2026-11-22 14:30+08"),
        ("9 months", "2026-02-22 14:30+08", "2026-11-22 14:30+08"),
        ("1y", "2025-11-22 14:30+08", "2026-11-22 14:30+08"),
    ],
)
def test_times(text: str, start: str, end: str) -> None:
    assert read_span(text, NOW) == (datetime.fromisoformat(start), datetime.fromisoformat(end))


def test_a_month_back_ends_with_the_month() -> None:
    assert read_span("1 month", NOW.replace(month=3, day=31))[0] == NOW.replace(month=2, day=28)


def test_a_day_of_summer_time_is_a_day() -> None:
    berlin = datetime(2026, 3, 29, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    start, end = read_span("today", berlin)
    assert (end.timestamp() - start.timestamp()) == 23 * 3600
    assert berlin.timestamp() - read_span("12h", berlin)[0].timestamp() == 12 * 3600


@pytest.mark.parametrize(
    "text", ["", "soon", "2026-13", "2026-02-30", "10/31/2026", "2026-10-31 25:00", "-1d", "999999y", "٢٠٢٦"]
)
def test_what_is_no_time_is_told(text: str) -> None:
    with pytest.raises(BadTime):
        read_span(text, NOW)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", " =1", "＝1", "|calc", "%x"])
def test_cells_are_no_formulas(text: str) -> None:
    assert cell(text).startswith("'")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(-1, "-1"), (-1.5, "-1.5"), (True, "true"), (None, ""), (["a", 1], '["a", 1]'), ("a=b", "a=b"), ("\t=1", "\\t=1")],
)
def test_other_cells_are_as_they_are(value: object, expected: str) -> None:
    assert cell(value) == expected


def test_tables_count_wide_characters() -> None:
    lines = table(("a", "b"), [("张晓明", 1), ("x", 22)]).splitlines()
    assert lines == ["a        b", "------  --", "张晓明   1", "x       22"]
    assert told("\x1b[31m\u202e") == "\\x1b[31m\\u202e"


@pytest.fixture
def nasty(tmp_path: Path) -> Made:
    """A trail of somebody who knows that it will be read."""
    writer = AuditWriter(tmp_path / "trail", "w1", KEY, Mode.ASYNC)
    for application in ("=HYPERLINK(1)", "\x1b]0;owned\x07", "a\nb", "\u202egnp", 'x","y', "'; DROP VIEW decisions; --"):
        writer.append(Kind.DECISION, decision(application=application))
    writer.close()
    from proxy.inquiry.index import Index

    return Made(tmp_path / "trail", tmp_path / "none", Index(tmp_path / "trail", tmp_path / "index"), [])


@pytest.mark.parametrize("form", ["table", "csv", "json", "jsonl"])
def test_nothing_in_the_trail_steers_what_shows_it(nasty: Made, form: str) -> None:
    found = run(nasty, "search", "--format", form, "--order", "oldest")
    assert found.exit_code == 0, found.output
    assert all(c.isprintable() or c == "\n" for c in found.stdout)
    if form == "csv":
        cells = [row["application"] for row in csv.DictReader(io.StringIO(found.stdout))]
        assert cells[0] == "'=HYPERLINK(1)"
        assert cells[4] == 'x","y'
    if form == "json":
        assert [row["application"] for row in json.loads(found.stdout)][2:4] == ["a\nb", "\u202egnp"]
    if form == "jsonl":
        assert [json.loads(line)["application"] for line in found.stdout.splitlines()][1] == "\x1b]0;owned\x07"


def test_values_in_filters_are_values(nasty: Made) -> None:
    found = run(nasty, "search", "--application", "'; DROP VIEW decisions; --", "--format", "jsonl")
    assert len(found.stdout.splitlines()) == 1


def test_sql_of_ones_own(made: Made) -> None:
    found = run(
        made, "search", "--format", "jsonl", "--sql", "SELECT verdict, count(*) AS n FROM decisions GROUP BY verdict ORDER BY 1"
    )
    assert {r["verdict"] for r in map(json.loads, found.stdout.splitlines())} == {"pass", "rewrite", "refuse"}
    sql = "SELECT count(*) AS n FROM decisions WHERE list_has_any(digests, wanted())"
    found = run(made, "search", "--key", str(made.key_file), "--value", "4711", "--format", "csv", "--sql", sql)
    assert int(found.stdout.splitlines()[1]) > 0


@pytest.mark.parametrize(
    "sql", ["SELECT 1; SELECT 2", "DROP VIEW decisions", "COPY decisions TO 'x.csv'", "PRAGMA database_list", "", "SELECT"]
)
def test_sql_is_one_select(made: Made, sql: str) -> None:
    found = run(made, "search", "--sql", sql)
    assert found.exit_code == 1
    assert found.stdout == ""


def test_usage(made: Made, tmp_path: Path) -> None:
    assert run(made, "search", "--sql", "SELECT 1", "--user", "x").exit_code == 2
    assert run(made, "search", "--since", "2026", "--during", "2026").exit_code == 2
    assert run(made, "search", "--since", "soon").exit_code == 1
    assert CliRunner().invoke(cli, ["audit", "search"]).exit_code == 2
    found = run(made, "search", "--limit", "2")
    assert "2 of " in found.stderr
    assert len(found.stdout.splitlines()) == 4
