"""Alert rules over the trail: each takes moments (what one record says) and raises alarms.

A rule keeps its counts under a name made of what it counts, and for whom; its threshold, severity and quiet time can change
without its history being lost. `proxy.supervision.engine` decides which rules see which moments.
"""

from __future__ import annotations

import fnmatch
import hashlib
import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from policies.language import Alert, DataClass, Watch
from policies.masks.basic import Null
from proxy.supervision.alarm import Alarm
from proxy.supervision.counting import (
    DAY,
    MOST_MEMBERS,
    MOST_VALUES,
    Counted,
    Distinct,
    Group,
    Known,
    Last,
    Told,
    Usual,
    Window,
    usual,
    usual_days,
)
from proxy.supervision.seen import Touch, Touched
from proxy.supervision.state import Store

Facts = Mapping[str, str | int | float]
AGAIN = 10
"""Within the quiet time, something that has grown so many times is told again."""
NOBODY = frozenset[str]()
_HOUR = 3600
_ORIGIN = date(1970, 1, 1).toordinal()


@dataclass(slots=True)
class Moment:
    """What one record says, or a decision together with its outcome."""

    at: float
    place: str
    """worker#seq."""
    kind: str
    person: str
    login: str
    address: str
    database: str
    application: str
    roles: frozenset[str]
    asserted: Mapping[str, object]
    touched: Touched
    values: list[int]
    rows: int = 0


def day_of(at: float, zone: str) -> int:
    """Days since 1970 on the calendar of that zone."""
    return _midnight(zone, int(at // _HOUR)) if zone != "UTC" else int(at // DAY)


@lru_cache(maxsize=4096)
def _midnight(zone: str, hour: int) -> int:
    """Offsets from UTC that are no whole hours are taken for the hour's beginning."""
    return datetime.fromtimestamp(hour * _HOUR, ZoneInfo(zone)).date().toordinal() - _ORIGIN


@lru_cache(maxsize=4096)
def _is_outside(watch: Watch, minute: int) -> bool:
    hours = watch.outside
    assert hours is not None
    at = minute * 60.0
    local = datetime.fromtimestamp(at, ZoneInfo(watch.zone))
    return local.date() in hours.holidays or not hours.schedule.holds(at)


class Rule:
    """One alert of the policy. `raise_` takes what it finds."""

    def __init__(self, number: int, alert: Alert, store: Store, raise_: Callable[[Alarm], None]) -> None:
        assert alert.watch is not None
        self.number = number
        self.alert = alert
        self.watch = alert.watch
        self.store = store
        self.name = f"{alert.name}\0{self._measure()}"
        """Of what it keeps."""
        self._raise = raise_

    def _measure(self) -> str:
        """What is counted, for whom; a history belongs to it."""
        a, w = self.alert, self.watch
        said = (
            a.kind, a.per, [s.source for s in a.columns], sorted(w.roles), sorted(w.users), sorted(w.not_users),
            sorted(w.databases), w.applications, w.without, str(w.outside), w.zone, w.rows_at_most, a.within, w.of,
        )  # fmt: skip
        return hashlib.blake2b(repr(said).encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()

    def concerns(self, m: Moment) -> bool:
        """Whether it speaks of this person, application and hour."""
        w = self.watch
        if w.users and m.person not in w.users and m.login not in w.users:
            return False
        if m.person in w.not_users or m.login in w.not_users:
            return False
        if w.roles and w.roles.isdisjoint(m.roles):
            return False
        if w.databases and m.database not in w.databases:
            return False
        if w.applications and not any(fnmatch.fnmatchcase(m.application, a) for a in w.applications):
            return False
        if w.without and any(m.asserted.get(name) for name in w.without):
            return False
        return w.outside is None or _is_outside(w, int(m.at // 60))

    def chosen(self, touched: Touched, compared: bool = False) -> tuple[Touch, ...]:
        """What it speaks of in a statement: columns shown in clear, or compared while masked."""
        found = touched.selected.get(self.number)
        if found is None:
            among = touched.compared if compared else touched.out
            found = touched.selected[self.number] = tuple(t for t in among if self._selects(t))
        return found

    def _selects(self, touch: Touch) -> bool:
        of = DataClass(touch.data_class, touch.level, Null(), "")
        parts = touch.relation.split(".")
        names = [(".".join(parts[:at]), ".".join(parts[at:])) for at in range(1, len(parts))]
        return any(s.selects(of, schema, relation, touch.column) for s in self.alert.columns for schema, relation in names)

    def see(self, m: Moment) -> None:
        raise NotImplementedError

    def day_ends(self, day: int, at: float) -> None:
        """The last record of `day` has been seen."""

    def key_of(self, m: Moment) -> str:
        per = self.alert.per
        return (
            m.person if per == "user" else m.address if per == "address" else m.database if per == "database" else m.application
        )

    def tell(
        self,
        key: str,
        at: float,
        amount: int,
        text: str,
        first: str,
        last: str,
        facts: Mapping[str, str | int | float] | None = None,
    ) -> None:
        """Raise it, unless that has been said not long ago; said again when it has grown tenfold."""
        told = self.store.get(f"told\0{self.alert.name}", key, Told)
        # a quiet time that lies too far ahead is from a clock that has been set back since
        if told is not None and at < told.until <= at + self.watch.quiet and amount < AGAIN * told.amount:
            return
        self.store.put(f"told\0{self.alert.name}", key, Told(at + self.watch.quiet, max(1, amount)), at)
        a = self.alert
        alarm = Alarm(a.name, a.kind, a.severity, at, a.per, key, amount, text, first, last, facts or {})
        self._raise(alarm)


_OF = {
    "rows": "rows with sensitive data in clear", "customers": "distinct values in statements that show sensitive data in clear",
    "masked_filters": "statements with a condition on masked columns", "clear": "statements that show sensitive data in clear",
    "refused": "refused statements", "login": "log-ins", "login_failed": "failed log-ins",
}  # fmt: skip


class Counting(Rule):
    """So many in a window; more than usual for the same person; more than peers."""

    def __init__(self, number: int, alert: Alert, store: Store, raise_: Callable[[Alarm], None]) -> None:
        super().__init__(number, alert, store, raise_)
        self._window = Window(alert.within)
        self._kind: type[Counted] | type[Distinct] = Distinct if alert.kind == "customers" else Counted
        self._most = MOST_VALUES
        if self.watch.times_usual is None and self.watch.times_peers is None:
            self._most = min(MOST_VALUES, AGAIN * (alert.more_than + 100))
        self._usual: dict[str, tuple[int, Usual | None]] = {}
        self._compared = alert.kind == "masked_filters"
        self._columns = alert.kind in ("rows", "customers", "clear", "masked_filters")
        self._peers = f"peers\0{self.name}"
        self._here: tuple[int, set[str]] = (-1, set())
        """Who has been seen on this day."""
        self._groups: set[str] = set()
        """With somebody who was there today."""

    def see(self, m: Moment) -> None:
        if self._columns and not self.chosen(m.touched, self._compared):
            return
        if self.watch.rows_at_most is not None and not 0 < m.rows <= self.watch.rows_at_most:
            return
        if not self.concerns(m):
            return
        key = self.key_of(m)
        day = day_of(m.at, self.watch.zone)
        bucket = self._window.bucket(m.at, day)
        if self._kind is Distinct:
            if not m.values:
                return
            seen = self.store.get(self.name, key, Distinct) or Distinct()
            total = seen.add(bucket, self._window.count, day, m.values, m.place, self._most)
            kept: Counted | Distinct = seen
        else:
            amount = m.rows if self.alert.kind == "rows" else 1
            if not amount:
                return
            counted = self.store.get(self.name, key, Counted) or Counted()
            total = counted.add(bucket, self._window.count, day, amount, m.place)
            kept = counted
        self.store.put(self.name, key, kept, m.at)
        if self.watch.times_usual is not None:
            self._against_usual(key, m, kept, day)
        elif self.watch.times_peers is None and total > self.alert.more_than:
            normal = usual_days(kept.days, day)
            self.tell(key, m.at, total, self._text(key, total, normal), kept.first, kept.last, self._facts(normal))

    def _against_usual(self, key: str, m: Moment, kept: Counted | Distinct, day: int) -> None:
        today = kept.today(day)
        if today <= self.alert.more_than:
            return
        known = self._usual.get(key)
        if known is None or known[0] != day:
            if len(self._usual) > 10_000:
                self._usual.clear()
            known = self._usual[key] = day, usual_days(kept.days, day)
        normal, times = known[1], self.watch.times_usual
        assert times is not None
        if normal is None or normal.of < self.watch.days or today <= times * normal.high:
            return
        text = (
            f"{_who(self.alert, key)}: {today} {_OF[self.alert.kind]} today{self._aside()}. Usual are {normal.middle:g} a day "
            f"(median of {normal.of} days; hardly ever more than {normal.high:.0f})."
        )
        self.tell(key, m.at, today, text, kept.firsts.get(kept.current, kept.first), kept.last, self._facts(normal))

    def _text(self, key: str, total: int, normal: Usual | None) -> str:
        told = f"{_who(self.alert, key)}: {total} {_OF[self.alert.kind]} within {span(self.alert.within)}{self._aside()}"
        if self.alert.more_than:
            told += f"; the rule allows {self.alert.more_than}"
        return told + (f". Usual are {normal.middle:g} a day (median of {normal.of} days)." if normal is not None else ".")

    def _aside(self) -> str:
        said = []
        if self.watch.outside is not None:
            said.append("outside of working hours")
        if self.watch.without:
            said.append(f"without {' and '.join(self.watch.without)}")
        if self.watch.rows_at_most is not None:
            said.append(f"in single look-ups (no more than {self.watch.rows_at_most} rows)")
        return (" " + ", ".join(said)) if said else ""

    def _facts(self, normal: Usual | None) -> dict[str, str | int | float]:
        out: dict[str, str | int | float] = {"more_than": self.alert.more_than, "within": int(self.alert.within)}
        if normal is not None:
            out |= {"usual": round(normal.middle, 1), "usual_high": round(normal.high, 1), "usual_of": normal.of}
        return out

    # Peers: people with the same roles, compared at the end of each day.

    def join(self, m: Moment) -> None:
        """Somebody is here, whatever he does."""
        day = day_of(m.at, self.watch.zone)
        if self._here[0] != day:
            self._here = day, set()
        if m.person in self._here[1]:
            return
        if len(self._here[1]) < 100_000:
            self._here[1].add(m.person)
        group = _group(m)
        found = self.store.get(self._peers, group, Group) or Group(day=day)
        key = m.person
        if key in found.today and found.day == day:
            return
        self._groups.add(group)
        found.day = day
        found.today.add(key)
        if key not in found.members and len(found.members) < MOST_MEMBERS:
            found.members[key] = (day, 0, 0)
        self.store.put(self._peers, group, found, m.at)

    def day_ends(self, day: int, at: float) -> None:
        if self.watch.times_peers is None:
            return
        for group in self._groups or self.store.keys(self._peers):
            found = self.store.get(self._peers, group, Group)
            if found is not None and found.today:
                self._compare(found, day, at)
                found.today = set()
                self.store.put(self._peers, group, found, at)
        self._groups.clear()

    def _compare(self, group: Group, day: int, at: float) -> None:
        count = self._window.count
        held: dict[str, Counted | Distinct] = {}
        now: dict[str, tuple[int, int]] = {}
        for person in group.today:
            kept = self.store.get(self.name, person, self._kind)
            amount = days = 0
            if kept is not None:
                held[person] = kept
                amount = self._in_window(kept, self._window.bucket(at, day), count)
                days = sum(1 for d, n in kept.days.items() if n and day - count < d <= day)
            now[person] = amount, days
            if person in group.members:
                group.members[person] = (day, amount, days)
        for gone in [p for p, (last, _, _) in group.members.items() if not day - count < last <= day]:
            del group.members[gone]
        times, w = self.watch.times_peers, self.watch
        assert times is not None
        for person, kept in sorted(held.items()):
            amount, days = now[person]
            if amount <= self.alert.more_than or days < w.days:
                continue
            peers = usual(a for p, (_, a, _) in group.members.items() if p != person)
            if peers is None or peers.of < w.peers or amount <= times * peers.high:
                continue
            text = (
                f"{_who(self.alert, person)}: {amount} {_OF[self.alert.kind]} within {span(self.alert.within)}, on {days} days"
                f"{self._aside()}. Usual among {peers.of} others with the same roles are {peers.middle:g} "
                f"(hardly ever more than {peers.high:.0f})."
            )
            facts = {
                **self._facts(None),
                "usual": round(peers.middle, 1),
                "usual_high": round(peers.high, 1),
                "usual_of": peers.of,
            }
            self.tell(person, at, amount, text, kept.first, kept.last, {**facts, "days": days})

    def _in_window(self, kept: Counted | Distinct, bucket: int, count: int) -> int:
        if isinstance(kept, Counted):
            return sum(n for b, n in kept.buckets.items() if bucket - count < b <= bucket)
        return len(set().union(*(v for b, v in kept.buckets.items() if bucket - count < b <= bucket)))


class New(Rule):
    """A network, an address or an application with which somebody has not been seen."""

    def __init__(self, number: int, alert: Alert, store: Store, raise_: Callable[[Alarm], None]) -> None:
        super().__init__(number, alert, store, raise_)
        self._checked: dict[tuple[str, str, str], int] = {}
        self._what = alert.kind.removeprefix("new_")

    def see(self, m: Moment) -> None:
        day = day_of(m.at, self.watch.zone)
        at = m.person, m.address, m.application
        if self._checked.get(at) == day:
            return
        if len(self._checked) > 20_000:
            self._checked.clear()
        self._checked[at] = day
        if not self.concerns(m):
            return
        name = m.application if self._what == "application" else m.address if self._what == "address" else network(m.address)
        self._note(m, name or "(none)", day)

    def _note(self, m: Moment, name: str, day: int) -> None:
        known = self.store.get(self.name, m.person, Known) or Known(m.at)
        before = len(known.names)
        if known.note(name, day) and m.at - known.since >= self.watch.learn:
            text = (
                f"User {m.person!r} comes from an {self._what} not seen with this user before: {name!r}. {before} "
                f"{'is' if before == 1 else 'are'} known from {(m.at - known.since) / DAY:.0f} days."
                if self._what != "network"
                else f"User {m.person!r} comes from a network not seen with this user before: {name}. {before} "
                f"{'is' if before == 1 else 'are'} known from {(m.at - known.since) / DAY:.0f} days."
            )
            self.tell(f"{m.person}\0{name}", m.at, 1, text, m.place, m.place, {self._what: name, "known": before})
        self.store.put(self.name, m.person, known, m.at)

    def tell(
        self,
        key: str,
        at: float,
        amount: int,
        text: str,
        first: str,
        last: str,
        facts: Mapping[str, str | int | float] | None = None,
    ) -> None:
        person, _, _ = key.partition("\0")
        a = self.alert
        self._raise(Alarm(a.name, a.kind, a.severity, at, "user", person, amount, text, first, last, facts or {}))


class FirstAccess(New):
    """A class, level or column that somebody has not been shown before."""

    def see(self, m: Moment) -> None:
        chosen = self.chosen(m.touched)
        if not chosen or not self.concerns(m):
            return
        of, day = self.watch.of, day_of(m.at, self.watch.zone)
        names = {t.data_class if of == "class" else t.level if of == "level" else f"{t.relation}.{t.column}" for t in chosen}
        known = self.store.get(self.name, m.person, Known)
        if known is not None and all(known.names.get(name) == day for name in names):
            return
        known = known or Known(m.at)
        new = sorted(name for name in names if known.note(name, day))
        if new and m.at - known.since >= self.watch.learn:
            told = ", ".join(new[:5]) + (f" and {len(new) - 5} more" if len(new) > 5 else "")
            text = (
                f"User {m.person!r} was shown {of} {told} in clear for the first time in "
                f"{(m.at - known.since) / DAY:.0f} days ({len(known.names) - len(new)} other known)."
            )
            self.tell(f"{m.person}\0{told}", m.at, len(new), text, m.place, m.place, {"of": of, "new": told})
        self.store.put(self.name, m.person, known, m.at)


class Dormant(Rule):
    """Somebody logs in who has not for a long time."""

    def __init__(self, number: int, alert: Alert, store: Store, raise_: Callable[[Alarm], None]) -> None:
        super().__init__(number, alert, store, raise_)
        self._checked: dict[str, int] = {}

    def see(self, m: Moment) -> None:
        hour = int(m.at // _HOUR)
        if self._checked.get(m.person) == hour:
            return
        if len(self._checked) > 20_000:
            self._checked.clear()
        self._checked[m.person] = hour
        if not self.concerns(m):
            return
        last = self.store.get(self.name, m.person, Last)
        if last is not None and m.at - last.at > self.watch.after:
            days = (m.at - last.at) / DAY
            text = (
                f"User {m.person!r} has logged in after {days:.0f} days without, from {m.address or 'a local connection'} "
                f"with {m.application or 'no application name'!r}."
            )
            self.tell(m.person, m.at, int(days), text, last.place, m.place, {"days": int(days)})
        if last is None or m.at > last.at or last.at > m.at + DAY:
            self.store.put(self.name, m.person, Last(m.at, m.place), m.at)


def make_rule(number: int, alert: Alert, store: Store, raise_: Callable[[Alarm], None]) -> Rule:
    kind = (
        Dormant if alert.kind == "dormant" else FirstAccess if alert.kind == "first_access"
        else New if alert.kind.startswith("new_") else Counting
    )  # fmt: skip
    return kind(number, alert, store, raise_)


@lru_cache(maxsize=4096)
def network(address: str) -> str:
    """An IPv4 address's /24, an IPv6 address's /64."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address or "local"
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return str(ipaddress.ip_network(f"{found}/{24 if found.version == 4 else 64}", strict=False))


def span(seconds: float) -> str:
    for size, word in ((DAY, "day"), (3600.0, "hour"), (60.0, "minute")):
        if seconds >= size and seconds % size == 0:
            count = int(seconds // size)
            return f"{count} {word}{'' if count == 1 else 's'}"
    return f"{seconds:g} seconds"


def _who(alert: Alert, key: str) -> str:
    return f"{alert.per.capitalize()} {key!r}"


def _group(m: Moment) -> str:
    roles = sorted(m.roles - {m.login, m.person})
    name = "\0".join([m.login if m.login != m.person else "", *roles])
    return name if len(name) < 200 else hashlib.blake2b(name.encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()


__all__ = ["Moment", "Rule", "day_of", "make_rule", "network"]
