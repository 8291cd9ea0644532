"""The watcher loses no alert and raises none twice, wherever it is killed; the policy's approval counts; breaks are told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.audit.follow import Follower
from proxy.audit.record import Kind
from proxy.audit.writer import AuditWriter, Io
from proxy.supervision.settings import Target
from proxy.supervision.state import Store
from proxy.supervision.watcher import Watcher
from tests.unit.supervision.support import BEGIN, HEAD, PHONE

KEY = bytes(32)
NO_SYNC = Io(sync=lambda fd: None)
TARGETS = [Target("all", "webhook"), Target("grave", "webhook", severity="critical"), Target("named", "webhook", alerts=("bu*",))]
RULES = HEAD + "alerts: [{ name: bulk, on: rows, more_than: 5, quiet: 1s, within: 1d }]\n"


class Killed(BaseException):
    pass


class Place:
    """A trail with forty statements, and watchers over it that can be killed."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.trail = home / "trail"
        self.policy = home / "policy.yaml"
        self.policy.write_text(RULES)
        self.now = BEGIN
        self.writer = AuditWriter(self.trail, "main", KEY, clock=lambda: self.now, io=NO_SYNC)
        self.own: AuditWriter | None = None

    def work(self, count: int = 40) -> None:
        for n in range(count):
            self.now += 2.0
            seq = self.writer.append(Kind.DECISION, {"login": f"u{n}", "touches": [PHONE]})
            self.writer.append(Kind.OUTCOME, {"decision": seq, "tag": "SELECT 9", "rows": 9})
        self.writer.flush()

    def watcher(self, prepare: Callable[[Watcher], None] = lambda watcher: None) -> Watcher:
        if self.own is not None:
            self.own._release()
        self.own = AuditWriter(self.trail, "auditor", KEY, io=NO_SYNC)
        watcher = Watcher(lambda: Store(self.home / "state.sqlite"), self.own, [self.policy], TARGETS)
        prepare(watcher)
        return watcher

    async def run(self, watcher: Watcher) -> None:
        follower = Follower(self.trail, await watcher.begin(), leave_out=["auditor"], block=2000)
        while batches := follower.turn():
            for broken in follower.broken:
                if await watcher.tell(broken):
                    follower.skip(broken)
            await watcher.take(batches)
        for broken in follower.broken:
            await watcher.tell(broken)
        await watcher.rest()

    def told(self) -> list[dict]:
        """What our own trail has."""
        out = []
        for path in sorted(self.trail.glob("audit-auditor-*.jsonl")):
            records = [json.loads(line) for line in path.read_bytes().splitlines()]
            out += [r["detail"] for r in records if r["kind"] == "event" and r["event"] == "alert"]
        return out

    def queue(self, target: str) -> int:
        store = Store(self.home / "state.sqlite")
        (count,) = store.db.execute("SELECT count(*) FROM deliveries WHERE target = ?", (target,)).fetchone()
        store.close()
        return int(count)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_alerts_are_recorded_and_queued_by_severity_and_name(place: Place) -> None:
    place.work(3)
    asyncio.run(place.run(place.watcher()))
    assert [(d["alert"], d["user"], d["count"]) for d in place.told()] == [("bulk", f"u{n}", 9) for n in range(3)]
    assert [place.queue(t.name) for t in TARGETS] == [3, 0, 3]


@pytest.mark.parametrize("moment", ["commit", "write", "mark"])
def test_killed_at_any_moment(place: Place, moment: str) -> None:
    """Before a commit, before alerts are in our trail, before that is noted: each time at the first, second … occasion."""
    place.work(12)
    lives = 0
    for life in range(30):
        left = [life]

        def strike(left: list[int] = left) -> None:
            if left[0] == 0:
                raise Killed
            left[0] -= 1

        def prepare(watcher: Watcher, strike: Callable[[], None] = strike) -> None:
            if moment == "write":
                append = watcher._writer.append
                watcher._writer.append = lambda *a: (strike(), append(*a))[1]  # type: ignore[method-assign,func-returns-value]
                return
            begin = watcher.begin

            async def begun() -> object:
                positions = await begin()
                store = watcher.store
                assert store is not None
                if moment == "commit":
                    commit = store.commit
                    store.commit = lambda *a: (strike(), commit(*a))[1]  # type: ignore[method-assign,func-returns-value]
                else:
                    settle = watcher._writer.settle
                    watcher._writer.settle = lambda: (settle(), strike())[0]  # type: ignore[method-assign,func-returns-value]
                return positions

            watcher.begin = begun  # type: ignore[method-assign,assignment]

        try:
            asyncio.run(place.run(place.watcher(prepare)))
        except Killed:
            lives += 1
            continue
        break
    assert lives >= 1
    asyncio.run(place.run(place.watcher()))
    assert [d["user"] for d in place.told()] == [f"u{n}" for n in range(12)]
    assert place.queue("all") == 12


def test_a_broken_trail_is_an_alert_and_reading_goes_on_behind(place: Place) -> None:
    place.work(20)
    path = next(place.trail.glob("audit-main-*.jsonl"))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:10] + lines[12:]))
    asyncio.run(place.run(place.watcher()))
    told = place.told()
    (broken,) = [d for d in told if d["alert"] == "trail"]
    assert broken["severity"] == "critical"
    assert f"{path.name}, byte {sum(map(len, lines[:10]))}, record 11: record 13 is found" in broken["text"]
    assert len([d for d in told if d["alert"] == "bulk"]) == 18  # the outcome of one and the decision of another are gone
    asyncio.run(place.run(place.watcher()))
    assert len([d for d in place.told() if d["alert"] == "trail"]) == 1


def test_many_breaks_are_no_flood(place: Place) -> None:
    place.work(60)
    path = next(place.trail.glob("audit-main-*.jsonl"))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(line if n % 4 else b"{}\n" for n, line in enumerate(lines)))
    asyncio.run(place.run(place.watcher()))
    asyncio.run(place.run(place.watcher()))
    broken = [d for d in place.told() if d["alert"] == "trail"]
    assert len([d for d in broken if d["delivered"]]) == 20
    assert len(broken) == len(lines[::4])
    assert [d["rule"] for d in place.told() if d["alert"] == "flood" and d["rule"] == "trail"] == ["trail"]


def test_a_trail_of_nobody(place: Place) -> None:
    stranger = AuditWriter(place.trail, "evil", KEY, io=NO_SYNC)
    stranger.append(Kind.EVENT, {"event": "alert", "detail": {"alert": "bulk", "severity": "critical"}})
    stranger.flush()
    place.work(1)
    asyncio.run(place.run(place.watcher()))
    assert [d["worker"] for d in place.told() if d["alert"] == "trail"] == ["evil"]
    asyncio.run(place.run(place.watcher()))
    assert len([d for d in place.told() if d["alert"] == "trail"]) == 1


def test_a_damaged_state_is_put_aside_and_the_trail_read_again(place: Place) -> None:
    place.work(2)
    asyncio.run(place.run(place.watcher()))
    state = place.home / "state.sqlite"
    for path in place.home.glob("state.sqlite*"):
        path.write_bytes(b"no database" * 1000)
    asyncio.run(place.run(place.watcher()))
    assert state.with_name("state.sqlite.damaged").exists()
    assert [d["user"] for d in place.told()] == ["u0", "u1", "u0", "u1"]


def test_a_policy_that_needs_approval_counts_when_the_proxy_has_it(place: Place) -> None:
    place.policy.write_text(RULES + "policy_changes: { approvers: [dpo], need: 1 }\n")
    place.work(1)

    async def run() -> None:
        watcher = place.watcher()
        await watcher.begin()
        assert watcher._engine is not None
        place.policy.write_text(HEAD)
        for _ in range(3):
            watcher._looked = float("-inf")
            watcher._look()
        assert len(watcher._engine.rules) == 1
        assert watcher._proposed is not None
        watcher._engine.accepted = watcher._proposed.version
        watcher._looked = float("-inf")
        watcher._look()
        assert len(watcher._engine.rules) == 0

    asyncio.run(run())


def test_a_policy_with_an_error_replaces_nothing(place: Place) -> None:
    async def run() -> None:
        await place.watcher().begin()
        place.policy.write_text("version: 1\nalerts: [{ on: nonsense }]")
        watcher = place.watcher()
        await watcher.begin()
        assert watcher._engine is not None
        assert [rule.alert.name for rule in watcher._engine.rules] == ["bulk"]

    asyncio.run(run())
