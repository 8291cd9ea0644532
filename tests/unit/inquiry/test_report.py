"""Reports: their figures are what plain Python counts, their pages are safe to open, and a changed file is noticed."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from proxy.audit.record import Kind
from proxy.audit.writer import AuditWriter, Mode
from proxy.cli import cli
from proxy.inquiry.report.command import BadHours, read_hours
from proxy.inquiry.report.figures import Hours
from tests.unit.inquiry.conftest import KEY, Made
from tests.unit.inquiry.test_who import MONTH, decision, run, touch

FILES = {"report.html", "snapshot.html", "snapshot.json", "snapshot.csv", "manifest.json", "tables"}


@pytest.fixture(scope="module")
def report(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report") / "out"
    given = ["--month", "2026-10", "--key", str(made.key_file), "--organisation", "示例银行"]
    found = run(made, "report", *given, "--out", str(out))
    assert found.exit_code == 0, found.output
    return out


def table(report: Path, name: str) -> list[dict[str, str]]:
    with open(report / "tables" / f"{name}.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def exposed(d: dict[str, Any]) -> list[dict[str, Any]]:
    if d["verdict"] == "refuse" or d["rows"] == 0 or not MONTH[0] <= datetime.fromisoformat(d["time"]) < MONTH[1]:
        return []
    return [t for t in d["touches"] if t["use"] in ("output", "unknown") and t["show"] in ("clear", "conditional")]


def test_who_saw_what_by_which_authority(made: Made, report: Path) -> None:
    statements, rows = Counter[tuple[str, ...]](), Counter[tuple[str, ...]]()
    for d in made.decisions:
        for key in {(d["person"], t["class"], t["level"], t["rule"]) for t in exposed(d)}:
            statements[key] += 1
            rows[key] += d["rows"] or 0
    found = {(r["person"], r["class"], r["level"], r["authority"]): r for r in table(report, "in_clear")}
    assert {key: int(r["statements"]) for key, r in found.items()} == dict(statements)
    assert {key: int(r["rows"] or 0) for key, r in found.items()} == dict(rows)


def test_refusals_totals_and_hours(made: Made, report: Path) -> None:
    within = [d for d in made.decisions if MONTH[0] <= datetime.fromisoformat(d["time"]) < MONTH[1]]
    refused = Counter(d["refusal"]["message"] for d in within if d["verdict"] == "refuse")
    assert {r["reason"]: int(r["statements"]) for r in table(report, "refusals")} == dict(refused)
    snapshot = json.loads((report / "snapshot.json").read_text(encoding="utf-8"))
    shown = [d for d in within if exposed(d)]
    assert snapshot["totals"]["statements"] == len(within)
    assert snapshot["totals"]["in_clear"] == len(shown)
    assert snapshot["totals"]["rows_in_clear"] == sum(d["rows"] or 0 for d in shown)
    off = 0
    for d in shown:
        local = datetime.fromisoformat(d["time"]).astimezone(MONTH[0].tzinfo)
        off += local.weekday() >= 5 or not "08:30" <= local.strftime("%H:%M") < "18:00"
    assert snapshot["totals"]["off_hours"] == off > 0
    assert sum(int(r["statements"]) for r in table(report, "off_hours")) == off
    assert sum(int(r["in_clear"]) for r in table(report, "days")) == len(shown)


def test_approvals_and_their_use(made: Made, report: Path) -> None:
    found = {int(r["request"]): r for r in table(report, "approvals")}
    outcomes = Counter(r["outcome"] for r in found.values())
    assert {"used", "never used", "rejected"} <= set(outcomes)
    for number, row in found.items():
        used = [d for d in made.decisions for t in exposed(d)[:1] if t["grant"] == number]
        assert int(row["statements"]) == len(used)
        if used:
            assert row["outcome"] == "used"
            assert row["reason"]


def test_the_snapshot_is_dated_signed_and_says_what_it_rests_on(made: Made, report: Path) -> None:
    assert {path.name for path in report.iterdir()} == FILES
    snapshot = json.loads((report / "snapshot.json").read_text(encoding="utf-8"))
    assert snapshot["organisation"] == "示例银行"
    assert snapshot["verify"]["result"] == "intact"
    assert snapshot["trail"]["records"] == len(made.records)
    assert {w["worker"]: w["mac_of_its_last_record"] for w in snapshot["trail"]["workers"]} == {
        r["worker"]: r["mac"] for r in made.records
    }
    assert snapshot["not_covered"]
    assert {row["level"] for row in snapshot["usage"]} >= {"C2"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in report.rglob("*"))


class Page(HTMLParser):
    """What a browser would load or run."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.loads: list[str] = []
        self.ids: Counter[str] = Counter()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "action", "data") and value and not value.startswith("#"):
                self.loads.append(value)
            if name == "id" and value:
                self.ids[value] += 1
            assert not name.startswith("on")


def read_page(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


@pytest.mark.parametrize("name", ["report.html", "snapshot.html"])
def test_pages_load_nothing_and_run_nothing(report: Path, name: str) -> None:
    page = read_page(report / name)
    assert page.loads == []
    assert page.tags["script"] == page.tags["img"] == page.tags["iframe"] == 0
    assert max(page.ids.values(), default=1) == 1
    assert "@import" not in (report / name).read_text(encoding="utf-8")


def test_chinese_names_are_text_in_the_charts(report: Path) -> None:
    text = (report / "report.html").read_text(encoding="utf-8")
    charts = "".join(re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL))
    assert read_page(report / "report.html").tags["svg"] == 6
    assert re.search(r"<text[^>]*>core_banking/[\u4e00-\u9fff]+</text>", charts)


def test_a_changed_report_is_noticed(made: Made, report: Path, tmp_path: Path) -> None:
    check = ["audit", "report", "--check", str(report), "--key", str(made.key_file)]
    assert CliRunner().invoke(cli, check).exit_code == 0
    other = tmp_path / "other.key"
    other.write_text("22" * 32)
    other.chmod(0o600)
    assert "not signed with this key" in CliRunner().invoke(cli, [*check[:-1], str(other)]).output
    for path in sorted(p for p in report.rglob("*") if p.is_file()):
        data = path.read_bytes()
        path.write_bytes(data.replace(b"2026-10", b"2026-09", 1) if b"2026-10" in data else data + b" x")
        found = CliRunner().invoke(cli, check)
        path.write_bytes(data)
        assert found.exit_code == 1, path
        assert "changed" in found.output or "no manifest" in found.output
    (report / "tables" / "more.csv").write_text("x")
    assert "not part of the report" in CliRunner().invoke(cli, check).output
    (report / "tables" / "more.csv").unlink()
    assert CliRunner().invoke(cli, check).exit_code == 0


NASTY = '"><script>alert(1)</script><b onload=x>'


def test_what_stands_in_the_trail_is_text_in_the_report(tmp_path: Path) -> None:
    writer = AuditWriter(tmp_path / "trail", "w1", KEY, Mode.ASYNC)
    for person in (NASTY, "=cmd|' /C calc'!A0", "\x1b[31m\u202e", "{{ 7 * 7 }}"):
        fields = decision(login=person, person=person, application=person, clear="C2", touches=[touch(rule=person)])
        seq = writer.append(Kind.DECISION, {**fields, "touches": [touch(rule=person, level=NASTY, **{"class": NASTY})]})
        writer.append(Kind.OUTCOME, {"session": "s1", "decision": seq, "rows": 5, "bytes": 5, "seconds": 0.1})
        refusal = {"sqlstate": "42501", "message": person}
        writer.append(Kind.REFUSED, decision(person=person, verdict="refuse", refusal=refusal))
        detail = {"alert": person, "user": person}
        writer.append(Kind.EVENT, {"event": "alert", "detail": detail})
    writer.close()
    out = tmp_path / "out"
    given = ["audit", "report", str(tmp_path / "trail"), "--index", str(tmp_path / "index"), "--from", "1d", "--out", str(out)]
    found = CliRunner().invoke(cli, [*given, "--timezone", "UTC"])
    assert found.exit_code == 0, found.output
    assert "not verified" in found.stderr
    for name in ("report.html", "snapshot.html"):
        page = read_page(out / name)
        assert page.tags["script"] == page.tags["b"] - 9 == 0, "eight tiles and the stamp"
        assert page.loads == []
        text = (out / name).read_text(encoding="utf-8")
        assert "\x1b" not in text
        assert "\u202e" not in text
    for path in (out / "tables").glob("*.csv"):
        for row in csv.reader(path.read_text(encoding="utf-8").splitlines()):
            assert not any(cell.startswith(("=", "@", "\t")) for cell in row)


def test_an_empty_period_makes_a_report(made: Made, tmp_path: Path) -> None:
    found = run(made, "report", "--month", "2020-01", "--out", str(tmp_path / "out"), "--no-verify")
    assert found.exit_code == 0, found.output
    assert "None in this period" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    again = run(made, "report", "--month", "2020-01", "--out", str(tmp_path / "out"), "--no-verify")
    assert again.exit_code == 1
    assert "not empty" in again.output


def test_a_trail_that_is_not_intact_is_told_in_red(made: Made, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(made.directory, tmp_path / "trail")
    path = sorted((tmp_path / "trail").glob("audit-w1-*.jsonl"))[0]
    path.write_bytes(path.read_bytes().replace(b"10.8.1.", b"10.8.2.", 1))
    given = ["audit", "report", str(tmp_path / "trail"), "--index", str(tmp_path / "index"), "--month", "2026-10"]
    found = CliRunner().invoke(cli, [*given, "--key", str(made.key_file), "--out", str(tmp_path / "out")])
    assert found.exit_code == 1
    assert "NOT intact" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "out" / "snapshot.json").read_text(encoding="utf-8"))["verify"]["result"] == "not intact"


def test_working_hours() -> None:
    assert read_hours("09:00-17:30", "mon-wed,sat") == Hours(540, 1050, frozenset({0, 1, 2, 5}))
    assert read_hours("00:00-24:00", "sun").end == 1440


@pytest.mark.parametrize(("times", "days"), [("9-17", "mon"), ("18:00-08:00", "mon"), ("08:00-25:00", "mon"), ("08:00-09:60",
    "mon"), ("08:00-09:00", "monday"), ("08:00-09:00", "fri-mon"), ("08:00-09:00", "")])  # fmt: skip
def test_hours_that_nobody_can_read(times: str, days: str) -> None:
    with pytest.raises(BadHours):
        read_hours(times, days)


def test_usage_of_the_command(made: Made, tmp_path: Path) -> None:
    assert run(made, "report").exit_code == 2
    assert run(made, "report", "--out", str(tmp_path / "x"), "--to", "2026-10").exit_code == 2
    assert run(made, "report", "--out", str(tmp_path / "x"), "--from", "2026-10", "--to", "2026-09").exit_code == 2
    assert run(made, "report", "--out", str(tmp_path / "x"), "--from", "2026-10", "--month", "2026-09").exit_code == 2
