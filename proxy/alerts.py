"""Raises the policy's alerts, from what passes into the audit trail.

Where no alert can come of a statement this costs one comparison; otherwise what the statement's plan has to do with alerts is
looked up once per plan, and what is counted is counted over all workers (`proxy.counts`). An alert that has been raised keeps
quiet for its window. When nothing can be counted, it is raised at once: once too often is better than not at all.

A raised alert goes to whoever is in `deliver`: the audit trail, the log and the metrics (`proxy.evidence`). Other ways out (a
command, a webhook) are further entries there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from policies.language import Alert, DataClass
from policies.masks.basic import Null
from proxy.counts import Counts, CountsError
from rewrite.plan import Plan, StatementPlan, Touch

_EVENTS: Final = {
    "on_failure": "failure", "probing_budget_exceeded": "probes", "rows_withheld": "limit", "values_withheld": "limit",
}  # fmt: skip
_BEGIN: Final = {"break_glass": "break_glass", "grant": "grant"}
_KEPT: Final = 4096


@dataclass(frozen=True, slots=True)
class Who:
    """Whom an alert is about, as far as it is known."""

    session: str | None = None
    user: str = ""
    """The login, or whom a trusted application acts for."""
    address: str = ""
    database: str = ""
    application: str = ""


@dataclass(frozen=True, slots=True)
class Raised:
    alert: Alert
    who: Who
    count: int
    """How often it has happened within the window."""

    @property
    def fields(self) -> Mapping[str, str | int]:
        alert, who = self.alert, self.who
        out: dict[str, str | int] = {
            "alert": alert.name, "on": alert.kind, "severity": alert.severity, "count": self.count, "within": int(alert.within),
            "per": alert.per, "user": who.user, "address": who.address, "database": who.database,
        }  # fmt: skip
        if alert.per == "application":
            out["application"] = who.application[:64]
        return out


def kind_of(event: str) -> str | None:
    """The kind of alert that an event of the audit trail belongs to."""
    return _EVENTS.get(event) or next((kind for start, kind in _BEGIN.items() if event.startswith(start)), None)


class Alerts:
    def __init__(self, counts: Counts, clock: Callable[[], float] = time.time) -> None:
        self.deliver: list[Callable[[Raised], None]] = []
        self.clear: tuple[Alert, ...] = ()
        """Those about statements that show something in clear: nothing else has to be looked at in a statement that passes."""
        self._counts = counts
        self._clock = clock
        self._by_kind: dict[str, list[Alert]] = {}
        self._plans: dict[int, tuple[tuple[StatementPlan, ...], tuple[tuple[Alert, ...], ...]]] = {}
        """By identity of a plan's statements, which are kept so that their id stays their own."""
        self._quiet: dict[tuple[str, str], float] = {}
        """Until when an alert has nothing more to say of somebody."""

    def aim(self, alerts: Iterable[Alert]) -> None:
        """The alerts of the policy that is in force from now on."""
        self._by_kind = {}
        for alert in alerts:
            if alert.watch is not None:  # the auditor's (`proxy.supervision`)
                continue
            self._by_kind.setdefault(alert.kind, []).append(alert)
        self.clear = tuple(self._by_kind.get("clear", ()))
        self._plans.clear()
        self._quiet.clear()

    def on_statement(self, plan: Plan, index: int, who: Callable[[], Who]) -> None:
        """A statement goes upstream. Only if there is any alert in `clear`."""
        statements = plan.statements
        kept = self._plans.get(id(statements))
        if kept is None:
            if len(self._plans) >= _KEPT:
                self._plans.clear()
            kept = statements, tuple(self._concerned(s.touches) for s in statements)
            self._plans[id(statements)] = kept
        for alert in kept[1][index] if index < len(kept[1]) else ():
            self._happened(alert, who())

    def on_kind(self, kind: str | None, who: Callable[[], Who]) -> None:
        for alert in self._by_kind.get(kind or "", ()):
            self._happened(alert, who())

    def _concerned(self, touches: Iterable[Touch]) -> tuple[Alert, ...]:
        shown = [touch for touch in touches if touch.is_out]
        return tuple(alert for alert in self.clear if any(_selects(alert, touch) for touch in shown))

    def _happened(self, alert: Alert, who: Who) -> None:
        key = str(getattr(who, alert.per))
        now = self._clock()
        if self._quiet.get((alert.name, key), 0.0) > now:
            return
        try:
            count = self._counts.exceeds("alert", f"{alert.name}\0{key}", alert.more_than, alert.within)
        except CountsError:
            count = 1
        if count is None:
            return
        if len(self._quiet) >= _KEPT:
            self._quiet.clear()
        self._quiet[alert.name, key] = now + alert.within
        raised = Raised(alert, who, count)
        for deliver in self.deliver:
            deliver(raised)


def _selects(alert: Alert, touch: Touch) -> bool:
    data_class = DataClass(touch.data_class, touch.level, Null(), "")
    parts = touch.relation.split(".")
    names = [(".".join(parts[:at]), ".".join(parts[at:])) for at in range(1, len(parts))]  # either name may have dots in it
    return any(s.selects(data_class, schema, relation, touch.column) for s in alert.columns for schema, relation in names)
