"""The audit trail as the server uses it: one writer per process, one sink per session, and what happens when it fails.

In the modes `strict` and `before-result` no byte of a result goes to a client before `secure` has returned True. In mode
`async` it always does; the records are written on the clock.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from proxy.alerts import Alerts, Raised, Who, kind_of
from proxy.audit.custody import take_custody
from proxy.audit.measure import Measured, room
from proxy.audit.record import AuditError, Kind
from proxy.audit.sink import Decided, DecisionEncoder, SessionAudit
from proxy.audit.upkeep import Upkeep
from proxy.audit.writer import AuditWriter, Mode
from proxy.config import AuditSettings
from proxy.counts import Counts
from proxy.logs import event
from proxy.metrics import Trail
from proxy.session.effects import Binds, Identity
from proxy.tally import Tally
from rewrite.plan import Plan

log = logging.getLogger("pgveil.audit")

HEAD_LAG = 0.05
"""Seconds the trail's head may stay behind its records while the proxy is busy (docs/audit.md, what it does not prove)."""


TOLD_AGAIN = 60.0
"""Seconds between two events in the log about the same trouble."""


class Evidence:
    """Raises AuditError when the trail cannot be opened."""

    def __init__(self, settings: AuditSettings, worker: str = "main") -> None:
        custody = take_custody(Path(settings.directory), settings.key_file, worker)
        heir = custody.heir
        self.errors = 0
        self.flows = settings.on_failure == "flow"
        """Data goes on when evidence cannot be written."""
        self.aside = settings.mode == Mode.STRICT.value
        """Securing takes a sync, which `proxy.committing` has done apart."""
        self.troubled: list[Callable[[str, Mapping[str, object]], None]] = []
        """Told when evidence cannot be written any more (`audit_failed`), and when it can (`audit_restored`)."""
        self._told = -TOLD_AGAIN
        self._failing = False
        self.tally = Tally()
        mode = Mode(settings.mode)
        lag = 0.0 if mode is Mode.STRICT else HEAD_LAG
        self.measured = Measured()
        self._settled = time.monotonic()
        """When nothing was pending for the last time, as far as the clock has looked."""
        self.writer = AuditWriter(
            settings.directory,
            worker,
            custody,
            mode,
            segment_seconds=settings.segment_time,
            lossy=settings.on_failure == "flow",
            on_failure=self._on_failure,
            head_lag=lag,
            io=self.measured.io,
        )
        self._upkeep = Upkeep(self.writer, settings.witness, settings.keep)
        self._encoder = DecisionEncoder(custody.digests, settings.text, settings.values)
        self.counts = Counts(Path(settings.directory), time.time)
        self.alerts = Alerts(self.counts)
        self.alerts.deliver.append(self._on_alert)
        self.holders: list[CountingAudit] = []
        """Sinks that may hold decisions back."""
        self._must = settings.mode != Mode.ASYNC.value
        if heir is not None:
            event(log, "audit_key_rotated", key_id=heir.key_id)
        damage = self.writer.resumed.damage
        if damage:
            event(log, "audit_damage", logging.ERROR, reason=damage)

    def session(self, sid: str, identity: Identity) -> CountingAudit:
        return CountingAudit(self, self._encoder, sid, identity)

    @property
    def seq(self) -> int:
        return self.writer.seq

    def secure(self) -> bool:
        """Bring everything handed over to where the mode wants it; False when data must not flow."""
        if self._must:
            if self.flows and self._failing:
                return True  # the clock tries again
            try:
                self.writer.flush()
            except AuditError:
                return self.flows
        return True

    def release(self) -> bool:
        """Put what the sessions hold back into the trail: on the clock, and before what is to come after it. False when there
        was not room for all of it; the others' is there all the same."""
        short: list[CountingAudit] = []
        for audit in self.holders:
            try:
                audit.release()
                audit.holding = False
            except AuditError:
                short.append(audit)
        self.holders[:] = short
        return not short

    def begin(self) -> Callable[[], None] | None:
        """`AuditWriter.begin_commit`."""
        work = self.writer.begin_commit()
        if work is None:
            self._in_order()
        return work

    def end(self, error: OSError | None) -> None:
        """`AuditWriter.end_commit`."""
        self.writer.end_commit(error)
        self._in_order()

    def settle(self) -> None:
        """Write what is pending and move the trail's head up to it; called on the clock."""
        try:
            if not self.release():
                self.writer.flush()
                self.release()
            self.writer.flush()
        except AuditError:
            log.debug("the audit trail could not be settled; the failure has been reported")
            return
        self._in_order()
        self.keep_up()

    def keep_up(self) -> None:
        """What is due besides: the head, the age of the segment, statements about the other workers, expiry."""
        try:
            self.writer.settle()
            self._upkeep.tick()
        except OSError as error:
            event(log, "audit_upkeep_failed", logging.WARNING, reason=error.strerror or str(error))
        except AuditError:
            log.debug("the audit trail could not be kept up; the failure has been reported")

    def record(self, kind: Kind, fields: Mapping[str, object]) -> None:
        """A record of the process itself, written before any later data flows. Raises AuditError."""
        self.release()
        self.writer.append(kind, fields)
        if kind is Kind.POLICY and fields.get("accepted"):
            self.alerts.on_kind("policy_changed", Who)
        elif kind is Kind.EVENT:
            self.tally.events[str(fields.get("event"))] += 1
            who = _who(fields)
            self.alerts.on_kind(kind_of(str(fields.get("event"))), lambda: who)
        if not self.aside:  # else the clock does it, and no later data is delivered before
            self.writer.flush()

    def trail(self) -> Trail:
        """Where the trail stands, for the metrics."""
        writer = self.writer
        return Trail(
            worker=writer.worker,
            pending=writer.pending_records,
            lag=time.monotonic() - self._settled if writer.pending else 0.0,
            records=writer.seq,
            head_lag=writer.head_lag,
            errors=self.errors,
            failing=writer.failure is not None,
            lost=writer.lost,
            segment=writer.head.segment,
            room=room(writer.directory, writer.worker),
        )

    def anchor(self) -> bytes | None:
        """The head as a line that can be kept elsewhere; None when there is none yet."""
        return self.writer.anchor()

    def close(self, reason: str) -> None:
        self.counts.close()
        with contextlib.suppress(AuditError, OSError):
            if not self.release():
                self.writer.flush()
                self.release()
        with contextlib.suppress(AuditError, OSError):
            self._upkeep.witness()
        try:
            self.writer.close(reason)
        except AuditError as error:
            event(log, "audit_failed", logging.ERROR, reason=error.message)

    def _on_alert(self, raised: Raised) -> None:
        """Written with the evidence of what it is about; told at once."""
        alert = raised.alert
        self.tally.alerts[alert.name, alert.severity] += 1
        level = logging.ERROR if alert.severity == "critical" else logging.WARNING
        event(log, "alert", level, session=raised.who.session or "", **raised.fields)
        self.release()
        self.writer.append(Kind.EVENT, {"event": "alert", "session": raised.who.session, "detail": raised.fields})

    def _on_failure(self, reason: str) -> None:
        """Called at every attempt; told when it begins, and every minute that it lasts."""
        self.errors += 1
        writer, now = getattr(self, "writer", None), time.monotonic()  # it may fail while it is being made
        begins = not self._failing and writer is not None and writer.failure is not None
        if begins or writer is None or now - self._told >= TOLD_AGAIN:
            self._told = now
            event(log, "audit_failed", logging.ERROR, reason=reason, lost=0 if writer is None else writer.lost)
        if begins:
            self._failing = True
            for tell in self.troubled:
                tell("audit_failed", {"reason": reason})

    def _in_order(self) -> None:
        self._settled = time.monotonic()
        if self._failing and self.writer.failure is None:
            self._failing = False
            event(log, "audit_restored", lost=self.writer.lost)
            for tell in self.troubled:
                tell("audit_restored", {"lost": self.writer.lost})


def _who(fields: Mapping[str, object]) -> Who:
    """Whom an event of the process is about."""
    session, detail = fields.get("session"), fields.get("detail")
    about = detail if isinstance(detail, Mapping) else {}
    user = str(about.get("person") or about.get("login") or "")
    return Who(session if isinstance(session, str) else None, user, str(about.get("client", "")), str(about.get("database", "")))


class CountingAudit(SessionAudit):
    """A session's sink that also counts verdicts and refusals for the metrics."""

    def __init__(self, evidence: Evidence, encoder: DecisionEncoder, sid: str, identity: Identity) -> None:
        super().__init__(evidence.writer, encoder, sid, identity)
        self._tally = evidence.tally
        self._alerts = evidence.alerts
        self._holders = evidence.holders
        self.holding = False
        """Among the holders."""
        self._let_in = False
        self._turned_away = False

    def logged_in(self) -> None:
        """The server has accepted the login."""
        self.login()
        self._let_in = True

    def turned_away(self, sqlstate: str | None, reason: str) -> None:
        """The login failed; the first reason given is the one recorded."""
        if not self._let_in and not self._turned_away:
            self._turned_away = True
            try:
                self.login_failed(sqlstate, reason)
            except AuditError:
                self._writer.lose()
            self._alerts.on_kind("login_failed", self._who)

    def event(self, kind: str, fields: Mapping[str, str | int | bool]) -> None:
        super().event(kind, fields)
        self._tally.events[kind] += 1
        self._alerts.on_kind(kind_of(kind), self._who)

    def _who(self) -> Who:
        facts = self._facts
        return Who(self._sid, self._person, str(facts["client"]), str(facts["database"]), str(facts["application"]))

    def ended(self, seconds: float, reason: str) -> None:
        """The connection is gone, `seconds` after it was accepted."""
        if self._let_in:
            try:
                self.logout(seconds, reason)
            except AuditError:
                self._writer.lose()
        else:
            self.turned_away(None, reason)

    def decision(self, sid: str, kind: str, plan: Plan, index: int, text: str, protocol: str, binds: Binds = None) -> Decided:
        if kind == "statement":
            self._tally.passed(plan, index)
            if plan.failure is not None:
                self._tally.let_through += 1
                self.event("on_failure", {"sqlstate": plan.failure.sqlstate, "reason": plan.failure.message})
        else:
            self._tally.refused(plan, index)
        if not self.holding:
            self.holding = True
            self._holders.append(self)
        decided = super().decision(sid, kind, plan, index, text, protocol, binds)
        if kind != "statement":
            self._alerts.on_kind("refused", self._who)
        elif self._alerts.clear:
            self._alerts.on_statement(plan, index, self._who)
        return decided

    def outcome(self, decided: object, tag: str | None, rows: int, bytes_: int, seconds: float, sqlstate: str | None) -> None:
        self._tally.ended(rows, seconds, sqlstate is not None)
        super().outcome(decided, tag, rows, bytes_, seconds, sqlstate)
