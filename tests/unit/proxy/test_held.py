"""Decisions that are held back, and a disk that does not take what is in front of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.audit.record import AuditError, Kind
from proxy.audit.sink import Decided
from proxy.audit.writer import Io
from proxy.committing import Committer
from proxy.config import AuditSettings
from proxy.evidence import CountingAudit, Evidence
from proxy.session.effects import Identity
from rewrite.plan import Plan, StatementPlan, Verdict
from tests.support.disk import Disk

PLAN = Plan(Verdict.PASS, "", (StatementPlan("SELECT"),), shareable=True)


class Link:
    """A session that has data to deliver."""

    waiting = False
    needs = 0

    def __init__(self, audit: CountingAudit) -> None:
        self.release = audit.release
        self.answers: list[str] = []

    def hold(self) -> None:
        raise AssertionError("nobody syncs here")

    def deliver(self) -> None:
        self.answers.append("delivered")

    def withhold(self) -> None:
        self.answers.append("withheld")


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def evidence(tmp_path: Path, disk: Disk) -> Iterator[Evidence]:
    evidence = Evidence(AuditSettings(tmp_path / "audit", tmp_path / "audit.key"))
    evidence.writer._io = Io(write=disk.write)
    yield evidence
    disk.full = False
    evidence.close("test")


def decide(audit: CountingAudit, text: str = "select 1") -> Decided:
    return audit.decision("s", "statement", PLAN, 0, text, "simple")


def session(evidence: Evidence, sid: str) -> CountingAudit:
    return evidence.session(sid, Identity("u", "d"))


def written(evidence: Evidence) -> list[str]:
    (path,) = evidence.writer.directory.glob("audit-*.jsonl")
    records = [json.loads(line) for line in path.read_bytes().splitlines()]
    return [f"{r['kind']} {r['session']}" for r in records if r.get("session")]


def fill(evidence: Evidence, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full, and so is the room for what waits for it."""
    disk.full = True
    monkeypatch.setattr("proxy.audit.writer.MAX_PENDING", 3)
    for _ in range(3):
        evidence.writer.append(Kind.EVENT, {"event": "full"})
    with pytest.raises(AuditError, match="wait for a disk"):
        evidence.writer.append(Kind.EVENT, {"event": "full"})


def test_the_clock_ends_the_waiting(evidence: Evidence) -> None:
    decide(session(evidence, "a"))
    decide(session(evidence, "b"))
    evidence.writer.flush()
    assert written(evidence) == []
    evidence.settle()
    assert written(evidence) == ["decision a", "decision b"]
    assert evidence.holders == []


def test_a_full_backlog_is_written_when_there_is_room(evidence: Evidence, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    audit = session(evidence, "a")
    decide(audit)
    fill(evidence, disk, monkeypatch)
    evidence.settle()
    assert audit.holds
    disk.full = False
    evidence.settle()
    assert written(evidence) == ["decision a"]
    assert not evidence.writer.pending


@pytest.mark.parametrize("full", [False, True])
def test_data_behind_a_full_backlog(evidence: Evidence, disk: Disk, monkeypatch: pytest.MonkeyPatch, full: bool) -> None:
    audit = session(evidence, "a")
    decide(audit)
    link = Link(audit)
    fill(evidence, disk, monkeypatch)
    disk.full = full

    async def test() -> None:
        committer = Committer(evidence)
        committer.ask(link)
        await asyncio.sleep(0)
        assert link.answers == (["withheld"] if full else ["delivered"])
        assert written(evidence) == ([] if full else ["decision a"])
        assert await committer.secured(link) is not full

    asyncio.run(test())


def test_a_session_that_finds_no_room_keeps_nobody_elses_back(evidence: Evidence, monkeypatch: pytest.MonkeyPatch) -> None:
    short = evidence.session("a", Identity("u", "d", asserted=(("teller", "x" * 10_000),)))
    other = session(evidence, "b")
    decide(short)
    decide(other)
    with monkeypatch.context() as patch:
        patch.setattr("proxy.audit.writer.MAX_HELD", 8000)
        assert not evidence.release()
    evidence.writer.flush()
    assert written(evidence) == ["decision b"]
    assert evidence.holders == [short]
    evidence.settle()
    assert written(evidence) == ["decision b", "decision a"]


def test_nothing_is_held_while_the_trail_cannot_be_written(evidence: Evidence, disk: Disk) -> None:
    audit = session(evidence, "a")
    disk.full = True
    evidence.writer.append(Kind.EVENT, {"event": "full"})
    assert not evidence.secure()
    decide(audit)
    assert not audit.holds
    disk.full = False
    assert evidence.secure()
    assert written(evidence) == ["decision a"]


def test_nothing_long_is_held_and_not_much(evidence: Evidence) -> None:
    wordy = evidence.session("b", Identity("u", "d", asserted=(("teller", "x" * 20_000),)))
    decide(wordy)
    assert not wordy.holds
    evidence.writer.flush()
    audit = session(evidence, "a")
    for _ in range(1000):
        decide(audit)
    assert len(audit._held) < 100
    assert evidence.writer.pending_records + len(audit._held) == 1000


def test_endings_behind_a_full_backlog_are_told_as_a_gap(evidence: Evidence, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    audit, other, third = session(evidence, "a"), session(evidence, "b"), session(evidence, "c")
    audit.logged_in()
    evidence.writer.flush()
    decided = decide(audit)
    fill(evidence, disk, monkeypatch)
    audit.outcome(decided, None, 0, 0, 0.1, "08006")
    audit.ended(1.0, "client left")
    other.ended(1.0, "client left")
    with pytest.raises(AuditError):
        third.logged_in()
    third.turned_away("58030", "no room")
    disk.full = False
    evidence.settle()
    evidence.settle()
    assert written(evidence) == ["login a", "decision a"]
    (path,) = evidence.writer.directory.glob("audit-*.jsonl")
    gaps = [r["detail"]["lost"] for line in path.read_bytes().splitlines() if (r := json.loads(line)).get("event") == "gap"]
    assert gaps == [4]


def test_a_stop_behind_a_full_backlog(evidence: Evidence, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    decide(session(evidence, "a"))
    fill(evidence, disk, monkeypatch)
    disk.full = False
    evidence.close("test")
    assert written(evidence) == ["decision a"]
