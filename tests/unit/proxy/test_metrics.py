"""Metrics: counted right, named by convention, documented; rules and dashboard ask for nothing that does not exist."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from proxy.audit.measure import Room
from proxy.metrics import Connections, Metrics, Readings, Trail, names
from proxy.tally import SECONDS, Durations, Tally
from rewrite.plan import Plan, Refusal, StatementPlan, Touch, Verdict

ROOT = Path(__file__).parents[3]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def touch(column: str, level: str, show: str, use: str = "output") -> Touch:
    return Touch("s.t", column, "phone", level, use, show, None)


def test_every_metric_is_documented_and_nothing_else() -> None:
    rows = [line.split("|")[1] for line in OPERATIONS.splitlines() if line.startswith("| `pgveil_")]
    documented = [re.match(r"\w+", name)[0] for row in rows for name in re.findall(r"`([^`]*)`", row)]  # type: ignore[index]
    assert len(documented) == len(set(documented))
    assert set(documented) == names()


def test_labels_are_documented() -> None:
    tally = Tally()
    tally.passed(Plan(Verdict.PASS, "x", (StatementPlan("SELECT", (touch("a", "C2", "clear"),)),)), 0)
    tally.refused(Plan(Verdict.REFUSE, "", refusal=Refusal("42501", "no")), 0)
    tally.alerts["a", "critical"] += 1
    tally.events["guard"] += 1
    readings = Readings(
        tally=tally, catalog_age={"d": 1.0}, control_up={"d": True}, approvals={("columns", "pending"): 1},
        certificates={"clients": 1.0}, anchors={"file a": (True, 2, 3)}, trail=Trail(room=Room(1, 1)),
    )  # fmt: skip
    metrics = Metrics(lambda: readings)
    metrics.logins.labels("accepted")
    metrics.turned_away.labels("connections")
    documented = {name: set(labels.split(",")) for name, labels in re.findall(r"`(\w+)\{([\w,]+)\}`", OPERATIONS)}
    for family in text_string_to_metric_families(generate_latest(metrics.registry).decode()):
        for sample in family.samples:
            labels = set(sample.labels) - {"le"}
            if sample.name.startswith("pgveil_") and labels:
                assert documented.get(sample.name) == labels, sample.name


def test_names_end_with_their_unit() -> None:
    assert [n for n in names() if not re.fullmatch(r"pgveil(_[a-z]+)+", n)] == []
    for name in names():
        assert not re.search(r"_(ms|milliseconds|kb|mb|count|sum|bucket)(_|$)", name)


def test_statements_count_by_verdict_class_and_what_they_showed() -> None:
    tally = Tally()
    shown = (touch("a", "C2", "mask"), touch("a", "C2", "mask"), touch("b", "C3", "clear"), touch("c", "C3", "clear", "filter"))
    plan = Plan(Verdict.REWRITE, "x", (StatementPlan("SELECT", shown), StatementPlan("INSERT")))
    for _ in range(3):
        tally.passed(plan, 0)
    tally.passed(plan, 1)
    tally.passed(Plan(Verdict.PASS, "x", plan.statements), 0)
    tally.passed(Plan(Verdict.PASS, "x"), 0)
    tally.refused(Plan(Verdict.REFUSE, "", refusal=Refusal("0A000", "no")), 0)
    assert tally.statements() == {
        ("rewrite", "SELECT"): 3, ("rewrite", "INSERT"): 1, ("pass", "SELECT"): 1, ("pass", ""): 1, ("refuse", ""): 1,
    }  # fmt: skip
    assert tally.columns() == {("C2", "mask"): 4, ("C3", "clear"): 4}
    assert tally.refusals == {"0A000": 1}


def test_no_plan_is_lost_when_there_are_very_many() -> None:
    tally = Tally()
    for _ in range(10_000):
        tally.passed(Plan(Verdict.PASS, "x", (StatementPlan("SELECT", (touch("a", "C1", "clear"),)),)), 0)
    assert tally.statements() == {("pass", "SELECT"): 10_000}
    assert tally.columns() == {("C1", "clear"): 10_000}


def test_durations_fall_into_the_bucket_that_holds_them() -> None:
    for n, bound in enumerate(SECONDS):
        durations = Durations()
        for seconds in (0.0, bound, bound * 1.01, 1000.0):
            durations.observe(seconds)
        buckets = dict(durations.cumulated())
        assert buckets[str(bound)] == 2
        assert buckets[str(SECONDS[n + 1]) if n + 1 < len(SECONDS) else "+Inf"] == (3 if n + 1 < len(SECONDS) else 4)
        assert buckets[str(SECONDS[-1])] == (3 if n + 1 < len(SECONDS) else 2)
        assert buckets["+Inf"] == 4


def test_a_scrape_reads_the_moment() -> None:
    open_now = [0]
    metrics = Metrics(lambda: Readings(connections=Connections(open=open_now[0])))
    open_now[0] = 7
    assert metrics.registry.get_sample_value("pgveil_connections") == 7
