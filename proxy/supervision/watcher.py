"""The consumer that raises alerts: feeds the engine, commits, writes what was raised into the auditor's own trail and the log."""

from __future__ import annotations

import heapq
import json
import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from policies.document import DocumentError
from policies.language import Policy
from policies.load import load_policy, load_texts
from proxy.audit.chain import segment_path
from proxy.audit.follow import Batch, Broken, Position, time_of
from proxy.audit.record import AuditError, Kind
from proxy.audit.recover import segments_of
from proxy.audit.tail import last_lines
from proxy.audit.upkeep import Upkeep
from proxy.audit.writer import AuditWriter
from proxy.control.policy import PolicyFiles
from proxy.logs import event
from proxy.supervision.alarm import SEVERITIES, Alarm
from proxy.supervision.engine import Engine
from proxy.supervision.settings import Target
from proxy.supervision.state import Store

log = logging.getLogger("pgveil.auditor")

COMMIT: Final = 1.0
"""Seconds between two commits while there is much to read; at once when there is nothing."""
LOOK: Final = 1.0
"""Seconds between two looks at the policy files."""
TIDY: Final = 3600.0
_KEPT: Final = 400 * 86400.0
_ALERTS_KEPT: Final = 90 * 86400.0
_OWN: Final = re.compile(r"main|worker-[1-9][0-9]*")
_LOOKED_BACK: Final = 5000
_NAMES: Final = 1000


def in_order(batches: Sequence[Batch]) -> Iterator[tuple[str, bytes]]:
    """(worker, line) of all batches of a turn by time; a worker's own order stays."""
    if len(batches) == 1:
        batch = batches[0]
        return ((batch.worker, line) for line in batch.lines)
    return ((worker, line) for _, worker, line in heapq.merge(*(_timed(b) for b in batches), key=lambda t: t[0]))


def _timed(batch: Batch) -> Iterator[tuple[bytes, str, bytes]]:
    latest = b""
    for line in batch.lines:
        latest = max(latest, time_of(line))
        yield latest, batch.worker, line


class Watcher:
    name = "alerts"

    def __init__(
        self,
        store: Callable[[], Store],
        writer: AuditWriter,
        policy: Sequence[Path],
        targets: Sequence[Target],
        upkeep: Upkeep | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`store` opens the state. `upkeep` is that of our own trail, which also witnesses the others."""
        self._open = store
        self.store: Store | None = None
        self.raised: Counter[tuple[str, str]] = Counter()
        """By name and severity, since the start."""
        self.unread = 0
        self._writer = writer
        self._upkeep = upkeep
        self._files: PolicyFiles[Policy] = PolicyFiles(policy, load_policy)
        self._policy: Policy | None = None
        self._proposed: Policy | None = None
        self._targets = targets
        self._clock = clock
        self._engine: Engine | None = None
        self._positions: dict[str, Position] = {}
        self._changed = False
        self._committed = self._looked = self._tidied = float("-inf")

    # As a consumer.

    async def begin(self) -> Mapping[str, Position]:
        if self.store is not None:
            self.store.close()
        self.store = store = self._open()
        self._positions = store.positions()
        engine = self._engine = Engine(store, ())
        engine.restore(store.meta("engine"))
        self._begin_policy(store)
        self._changed = False
        self._write_down(check=True)
        return dict(self._positions)

    async def take(self, batches: Sequence[Batch]) -> None:
        engine = self._engine
        assert engine is not None
        self._look()
        feed = engine.feed
        for worker, line in in_order(batches):
            feed(worker, line)
        for batch in batches:
            if batch.worker not in self._positions and not _OWN.fullmatch(batch.worker):
                self._on_stranger(batch)
            self._positions[batch.worker] = batch.after
        self.unread = engine.unread
        self._changed = True
        if engine.alarms or self._clock() - self._committed >= COMMIT:
            self._commit()

    async def rest(self) -> None:
        self._look()
        self._keep_up()
        if self._changed:
            self._commit()
        now = self._clock()
        if now - self._tidied >= TIDY and self.store is not None:
            self._tidied = now
            self._write_down()
            self.store.forget(now - _KEPT, now - _ALERTS_KEPT)

    async def tell(self, broken: Broken) -> bool:
        """The alert of a break is committed together with the place behind it."""
        assert self._engine is not None
        place = f"{broken.worker}#{broken.seq}"
        text = f"The trail of worker {broken.worker!r} cannot be read on at {broken}. Run pgveil audit verify."
        at = self._clock()
        self._engine.add(Alarm("trail", "trail", "critical", at, "worker", broken.worker, 1, text, place, place))
        if broken.resume is not None:
            self._positions[broken.worker] = broken.resume
        self._commit()
        return broken.resume is not None

    async def close(self) -> None:
        if self._changed:
            self._commit()
        if self.store is not None:
            self.store.close()
            self.store = None
        try:
            self._writer.close("shutdown")
        except AuditError as error:
            event(log, "audit_failed", logging.ERROR, reason=error.message)

    def _keep_up(self) -> None:
        """Our own trail, as a worker does with his."""
        if self._upkeep is None:
            return
        try:
            self._writer.flush()
            self._writer.settle()
            self._upkeep.tick()
        except OSError as error:
            event(log, "audit_upkeep_failed", logging.WARNING, reason=error.strerror or str(error))
        except AuditError as error:
            log.debug("the auditor's trail cannot be written: %s", error.message)

    # Alerts.

    def _on_stranger(self, batch: Batch) -> None:
        assert self._engine is not None
        place = f"{batch.worker}#{batch.first}"
        text = f"There is a trail of a worker {batch.worker!r}, which no proxy writes. Run pgveil audit verify."
        alarm = Alarm("trail", "trail", "critical", self._clock(), "worker", batch.worker, 1, text, place, place)
        self._engine.add(alarm)

    def _commit(self) -> None:
        store, engine = self.store, self._engine
        assert store is not None
        assert engine is not None
        now = self._clock()
        alarms = engine.alarms
        rows = [(a.id, now, a.raised_by == "auditor", _body(a), self._targets_of(a)) for a in alarms]
        store.commit(self._positions, rows, engine.keep(), now)
        self._committed, self._changed = now, False
        engine.alarms = []
        for alarm in alarms:
            self._on_raised(alarm)
        if alarms:
            self._write_down()

    def _targets_of(self, alarm: Alarm) -> list[str]:
        if alarm.held:
            return []
        grave = SEVERITIES.index(alarm.severity)
        return [
            t.name
            for t in self._targets
            if grave >= SEVERITIES.index(t.severity) and (not t.alerts or any(fnmatchcase(alarm.name, p) for p in t.alerts))
        ]

    def _on_raised(self, alarm: Alarm) -> None:
        label = alarm.name, alarm.severity
        if label not in self.raised and len(self.raised) >= _NAMES:
            label = "(others)", alarm.severity
        self.raised[label] += 1
        if alarm.raised_by == "auditor" and not alarm.held:
            level = logging.ERROR if alarm.severity == "critical" else logging.WARNING
            fields = {k: v for k, v in alarm.detail().items() if k not in ("time", "raised_by")}
            event(log, "alert", level, at=alarm.time, **fields)

    def _write_down(self, check: bool = False) -> None:
        """Into our own trail, each once. `check`: a process before us may have come as far as writing it."""
        assert self.store is not None
        db = self.store.db
        rows = db.execute("SELECT number, id, body FROM alerts WHERE written = 0 ORDER BY number").fetchall()
        if not rows:
            return
        there = self._there({uid for _, uid, _ in rows}) if check else set()
        try:
            for _, uid, body in rows:
                if uid not in there:
                    self._writer.append(Kind.EVENT, {"event": "alert", "session": None, "detail": json.loads(body)})
            self._writer.flush()
            self._writer.settle()
        except AuditError as error:
            event(log, "audit_failed", logging.ERROR, reason=error.message)
            return
        db.execute("UPDATE alerts SET written = 1 WHERE written = 0 AND number <= ?", (rows[-1][0],))

    def _there(self, wanted: set[str]) -> set[str]:
        """Which of these alerts our own trail has."""
        directory, worker = self._writer.directory, self._writer.worker
        found: set[str] = set()
        for number in segments_of(directory, worker)[-3:]:
            for line in last_lines(segment_path(directory, worker, number), _LOOKED_BACK):
                if b'"event":"alert"' in line:
                    found.add(str(json.loads(line)["detail"].get("id")))
        return found & wanted

    # Policy.

    def _begin_policy(self, store: Store) -> None:
        """The one we had, as long as the proxy has not taken up another one; at first, what the files say."""
        kept = store.meta("policy")
        self._looked = float("-inf")
        self._policy = None
        if kept is not None:
            try:
                self._adopt(load_texts([(str(name), str(text)) for name, text in json.loads(kept)]))
            except (DocumentError, ValueError):
                log.debug("the kept policy cannot be read any more", exc_info=True)
        try:
            found = self._files.load()
        except DocumentError as error:
            event(log, "policy_refused", logging.ERROR, problem=str(error))
            return
        self._propose(found)

    def _look(self) -> None:
        now = self._clock()
        if now - self._looked >= LOOK:
            self._looked = now
            if self._files.is_due():
                try:
                    self._propose(self._files.load())
                except DocumentError as error:
                    event(log, "policy_refused", logging.ERROR, problem=str(error))
            elif self._proposed is not None:
                self._propose(self._proposed)

    def _propose(self, policy: Policy) -> None:
        """Where changes of the policy need approval, alerts do not change before the proxy says that they were approved."""
        assert self._engine is not None
        old = self._policy
        self._proposed = None
        if old is not None and old.version == policy.version:
            return
        if old is not None and old.changes is not None and self._engine.accepted != policy.version:
            self._proposed = policy
            return
        self._adopt(policy)

    def _adopt(self, policy: Policy) -> None:
        assert self._engine is not None
        assert self.store is not None
        self._policy = policy
        self._engine.aim(policy.alerts)
        body = json.dumps([[name, text] for name, text in policy.texts]).encode()
        self.store.db.execute("INSERT OR REPLACE INTO meta VALUES ('policy', ?)", (body,))
        event(log, "alerts_loaded", rules=len(self._engine.rules), version=policy.version)


def _body(alarm: Alarm) -> bytes:
    return json.dumps({**alarm.detail(), "delivered": not alarm.held}, ensure_ascii=True).encode()
