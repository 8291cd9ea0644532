"""Takes records in the order of their times, and shows each rule the moments it is about.

Pure but for the store: no clock of its own (the trail's counts), no network. What it raises it collects in `alarms`; who feeds
it commits them together with the positions (`proxy.supervision.state`), so nothing is told twice or lost.

Too many alerts are themselves an attack: somebody who wants one to be overlooked raises a thousand. Of one rule, so many an hour
are delivered; the next one says that there are more, and all are in the auditor's trail.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

import msgspec

from policies.alerts import SEVERITIES
from policies.language import Alert
from proxy.supervision import seen
from proxy.supervision.alarm import Alarm
from proxy.supervision.rules import Counting, Moment, Rule, day_of, make_rule
from proxy.supervision.seen import NOTHING, Record, decode, roles_of, seconds, short, touched
from proxy.supervision.state import Store

AT_MOST: Final = 20
"""Alerts of one rule in an hour that are delivered."""
AT_MOST_OF_ALL: Final = 500
"""Alerts of all rules together."""
OPEN: Final = 20_000
"""Decisions whose outcome is waited for."""
BACK: Final = 60.0
"""Seconds by which a clock may go back without anybody being told."""
_HOUR: Final = 3600
_MOST_ROWS: Final = 2**48


log = logging.getLogger("pgveil.auditor")


class Flood(msgspec.Struct):
    hour: int = -1
    count: int = 0


class Engine:
    def __init__(self, store: Store, alerts: Iterable[Alert]) -> None:
        self.store = store
        self.alarms: list[Alarm] = []
        """Raised since they were last taken."""
        self.unread = 0
        """Lines that are no record."""
        self.accepted: str | None = None
        """Version of the policy that the proxy has last taken up."""
        self._waiting: dict[str, Moment] = {}
        self._latest: dict[str, float] = {}
        """By worker, the time of the last record."""
        self._days: dict[str, int] = {}
        self._now = 0.0
        self.aim(alerts)

    def aim(self, alerts: Iterable[Alert]) -> None:
        """The alerts that hold from here on."""
        seen.forget_selections()
        self.rules = [make_rule(n, a, self.store, self.add) for n, a in enumerate(a for a in alerts if a.watch is not None)]
        kinds = {rule: rule.alert.kind for rule in self.rules}
        self._any = [r for r, k in kinds.items() if k.startswith("new_") or k == "dormant"]
        """Of those who are there, whatever they do."""
        self._rows = [r for r, k in kinds.items() if k == "rows" or r.watch.rows_at_most is not None]
        self._clear = [r for r, k in kinds.items() if k in ("clear", "customers", "first_access") and r not in self._rows]
        self._masked = [r for r, k in kinds.items() if k == "masked_filters"]
        self._peers = [r for r in self.rules if isinstance(r, Counting) and r.watch.times_peers is not None]
        self._only: dict[str, list[Rule]] = {
            kind: [r for r, k in kinds.items() if k == kind] for kind in ("refused", "login", "login_failed")
        }
        self._zones = sorted({r.watch.zone for r in self._peers})

    def feed(self, worker: str, line: bytes) -> None:
        """One record. Never raises for what is in it: a record that nobody understands is told, and the next one is looked at."""
        record = decode(line)
        try:
            if record is not None:
                self._feed(worker, record)
                return
        except (ValueError, TypeError, KeyError, OverflowError, ArithmeticError):
            log.debug("a record cannot be evaluated", exc_info=True)
        self.unread += 1
        number = line[13 : line.find(b",", 13)]
        place = f"{worker}#{number.decode() if number.isdigit() and len(number) < 19 else '?'}"
        text = f"A line in the trail of worker {worker!r} cannot be read as a record ({place}). Run pgveil audit verify."
        self.add(Alarm("trail", "trail", "critical", self._now, "worker", worker, 1, text, place, place))

    def _feed(self, worker: str, record: Record) -> None:
        at = seconds(record.time)
        before = self._latest.get(worker, at)
        if at < before - BACK:
            self._on_clock(worker, record, before - at, at)
        self._latest[worker] = at
        self._tick(at)
        kind = record.kind
        if kind == "decision":
            self._on_decision(worker, record, at)
        elif kind == "outcome":
            self._on_outcome(worker, record, at)
        elif kind in ("refused", "login", "login_failed"):
            moment = self._moment(worker, record, at)
            for rule in self._only[kind]:
                rule.see(moment)
            if kind == "login":
                for rule in self._any:
                    rule.see(moment)
        elif kind == "event":
            if record.event == "alert":
                self._on_alert(worker, record, at)
        elif kind == "policy":
            if record.accepted and record.policy:
                self.accepted = record.policy
        elif kind == "start":
            for place in [p for p in self._waiting if p.startswith(f"{worker}#")]:
                del self._waiting[place]  # the process that was to tell is gone

    def _tick(self, at: float) -> None:
        if self._now - 2 * _HOUR < at < self._now:
            return  # workers are not in step to the second; one whose clock was wrong must not stop the days
        hour, self._now = int(self._now // _HOUR), at
        if int(at // _HOUR) == hour:
            return
        for zone in self._zones:
            day = day_of(at, zone)
            last = self._days.get(zone)
            if last is None:
                last = self._days[zone] = day
            if day != last:
                self._days[zone] = day
                for rule in self._peers:
                    if rule.watch.zone == zone:
                        rule.day_ends(last, at)

    def _moment(self, worker: str, record: Record, at: float) -> Moment:
        login = short(record.login)
        return Moment(
            at, f"{worker}#{record.seq}", record.kind, short(record.person) or login, login, short(record.client),
            short(record.database), short(record.application), roles_of(record.roles), record.asserted or {}, NOTHING, [],
        )  # fmt: skip

    def _on_decision(self, worker: str, record: Record, at: float) -> None:
        found = touched(record.touches)
        moment = self._moment(worker, record, at)
        for rule in self._any:
            rule.see(moment)
        moment.touched = found
        if found.out:
            if self._clear or self._rows:
                moment.values = _values(record)
            for rule in self._clear:
                rule.see(moment)
            if self._rows and (any(rule.chosen(found) for rule in self._rows)):
                if record.rows is not None:
                    self._gave(moment, record.rows)
                else:
                    if len(self._waiting) >= OPEN:
                        del self._waiting[next(iter(self._waiting))]
                    self._waiting[moment.place] = moment
        for peers in self._peers:
            peers.join(moment)
        if found.compared:
            for rule in self._masked:
                rule.see(moment)

    def _on_outcome(self, worker: str, record: Record, at: float) -> None:
        if not self._waiting:
            return
        place = f"{worker}#{record.decision}"
        moment = self._waiting.get(place)
        if moment is None:
            return
        if record.tag != "SUSPENDED":
            del self._waiting[place]
        self._gave(moment, record.rows or 0)

    def _gave(self, moment: Moment, rows: int) -> None:
        moment.rows = min(rows, _MOST_ROWS)
        if rows > 0:
            for rule in self._rows:
                rule.see(moment)

    def _on_alert(self, worker: str, record: Record, at: float) -> None:
        """One that a worker has raised: passed on as it is, as far as it looks like one."""
        detail = record.detail or {}
        name, kind, severity = (str(detail.get(k, ""))[:100] for k in ("alert", "on", "severity"))
        per = str(detail.get("per", "user"))
        per = per if per in ("user", "address", "database", "application") else "user"
        count = detail.get("count")
        within = detail.get("within")
        count = count if isinstance(count, int) and 0 <= count < 2**53 else 1
        key = short(str(detail.get(per, "")))
        often = f"{count} times within {within} seconds" if count > 1 and isinstance(within, int) else "once"
        place = f"{worker}#{record.seq}"
        facts = {k: short(str(detail[k])) for k in ("user", "address", "database", "application") if k != per and detail.get(k)}
        text = f"{per.capitalize()} {key!r}: {kind or name} happened {often}."
        severity = severity if severity in SEVERITIES else "warning"
        self.add(Alarm(name or "alert", kind, severity, at, per, key, count, text, place, place, facts, raised_by="proxy"))

    def _on_clock(self, worker: str, record: Record, back: float, at: float) -> None:
        place = f"{worker}#{record.seq}"
        text = f"The clock of worker {worker!r} went back by {back:.0f} seconds: windows and hours of alerts are in doubt."
        self.add(Alarm("clock", "clock", "critical", at, "worker", worker, int(back), text, place, place))

    def add(self, alarm: Alarm) -> None:
        """Raise it; whether it is delivered depends on how many there are."""
        rule = f"flood\0{alarm.raised_by}\0{alarm.name}"
        flood = self.store.get(rule, "", Flood) or Flood()
        hour = int(alarm.at // _HOUR)
        if flood.hour != hour:
            flood = Flood(hour)
        flood.count += 1
        self.store.put(rule, "", flood, alarm.at)
        if flood.count <= AT_MOST:
            together = self.store.get("flood\0", "", Flood) or Flood()
            if together.hour != hour:
                together = Flood(hour)
            together.count += 1
            self.store.put("flood\0", "", together, alarm.at)
            if together.count <= AT_MOST_OF_ALL:
                self.alarms.append(alarm)
                return
            flood = together
        self.alarms.append(replace(alarm, held=True))
        count = flood.count
        if count in (AT_MOST + 1, AT_MOST_OF_ALL + 1, 100, 1000, 10_000, 100_000):
            most = AT_MOST_OF_ALL if count > AT_MOST_OF_ALL else AT_MOST
            text = (
                f"There are more than {count - 1} alerts within the hour, {alarm.name!r} the last; {most} were delivered, others "
                "are in the trail only. Somebody may want one of them to be overlooked."
            )
            severity = "critical" if alarm.severity == "critical" else "warning"
            self.alarms.append(
                Alarm("flood", "flood", severity, alarm.at, "rule", alarm.name, count, text, alarm.first, alarm.last)
            )

    # What has to outlive the process beside the store's own objects.

    def keep(self) -> dict[str, bytes]:
        encode = msgspec.msgpack.encode
        waiting = [
            (m.at, m.place, m.kind, m.person, m.login, m.address, m.database, m.application, sorted(m.roles),
             {k: str(v) for k, v in m.asserted.items()},
             [(t.relation, t.column, t.data_class, t.level, t.use, t.show) for t in m.touched.out], m.values)
            for m in self._waiting.values()
        ]  # fmt: skip
        return {"engine": encode((self._latest, self._days, self._now, self.accepted, waiting))}

    def restore(self, data: bytes | None) -> None:
        if data is None:
            return
        latest, days, now, accepted, waiting = msgspec.msgpack.decode(data)
        self._latest, self._days, self._now, self.accepted = latest, days, now, accepted
        for at, place, kind, person, login, address, database, application, roles, asserted, out, values in waiting:
            what = seen.Touched([seen.Touch(*t) for t in out])
            self._waiting[place] = Moment(
                at, place, kind, person, login, address, database, application, frozenset(roles), asserted, what, values
            )


def _values(record: Record) -> list[int]:
    out = []
    for digests in (record.values, record.binds):
        for digest in digests or ():
            if digest:
                try:
                    out.append(int(digest, 16) & 0xFFFFFFFFFFFFFFFF)
                except ValueError:
                    continue
    return out
