"""The bank: who works there, and what they ask for on a day. Deterministic by its seed; written by the real record encoder."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from policies.model import Profile
from proxy.audit.record import Kind
from proxy.audit.sink import DecisionEncoder, SessionAudit
from proxy.audit.values import DigestKeys
from proxy.audit.writer import AuditWriter, Io, Mode
from proxy.session.effects import Identity
from rewrite.plan import Plan, Refusal, StatementPlan, Touch, Verdict

ZONE = ZoneInfo("Asia/Shanghai")
FIRST = date(2026, 1, 1)
HOLIDAYS = {date(2026, 1, 1), date(2026, 2, 17), date(2026, 2, 18), date(2026, 5, 1), date(2026, 10, 1)}
KEY = bytes(range(32))
CUSTOMERS = 200_000
INSIDERS = ("slow", "bulk", "bisect", "dormant")


def workday(day: int) -> int:
    """The day, or the next one on which the bank works."""
    today = FIRST + timedelta(days=day)
    return day if today.weekday() < 5 and today not in HOLIDAYS else workday(day + 1)


def plan(*touches: Touch, kind: str = "SELECT") -> Plan:
    return Plan(Verdict.REWRITE, "…", (StatementPlan(kind, touches),), placed_by="sqlglot")


def column(name: str, of: str, show: str, use: str = "output", level: str = "C2", rule: str | None = None) -> Touch:
    return Touch("bank.customers", name, of, level, use, show, rule)


LOOK_UP = plan(column("full_name", "name", "clear", rule="counter"), column("phone", "phone", "clear", rule="counter"))
LOOK_UP_SQL = "SELECT full_name, phone FROM bank.customers WHERE id = $1"
CASE = plan(column("full_name", "name", "clear", rule="risk"), column("id_card", "id_card", "clear", rule="risk"))
CASE_SQL = "SELECT full_name, id_card FROM bank.customers WHERE id = $1"
REPORT = plan(column("balance", "balance", "mask", use="group"))
REPORT_SQL = "SELECT branch, sum(balance) FROM bank.customers GROUP BY branch"
LIST = plan(column("full_name", "name", "clear", rule="marketing"), column("phone", "phone", "clear", rule="marketing"))
LIST_SQL = "SELECT full_name, phone FROM bank.customers WHERE branch = $1 LIMIT 100"
MASKED = plan(column("phone", "phone", "mask"), column("balance", "balance", "mask", use="filter"))
MASKED_SQL = "SELECT count(phone) FROM bank.customers WHERE balance > $1"
BATCH = plan(column("phone", "phone", "clear", rule="batch"), column("card_no", "card_no", "clear", level="C3", rule="batch"))
BATCH_SQL = "COPY (SELECT phone, card_no FROM bank.customers) TO STDOUT"
HARMLESS = Plan(Verdict.PASS, "…", (StatementPlan("SELECT"),))
HARMLESS_SQL = "SELECT name FROM bank.branches WHERE id = $1"
DENIED = Plan(Verdict.REFUSE, "", refusal=Refusal("42501", "bank.cards.cvv is not shown", "hint"))


@dataclass(slots=True)
class Person:
    name: str
    kind: str
    """teller, risk, marketing, analyst, manager or batch."""
    address: str
    application: str
    login: str = ""
    """The application's, when it acts for him."""
    hired: int = 0
    """Day."""
    away: set[int] = field(default_factory=set)
    session: SessionAudit | None = None
    day: int = -1


class Bank:
    """Writes days into a trail. `scale` multiplies the tellers' look-ups."""

    def __init__(self, directory: Path, seed: int, days: int, scale: float = 1.0, insiders: tuple[str, ...] = ()) -> None:
        self.random = random.Random(seed)
        self.days = days
        self.scale = scale
        self.insiders = insiders
        self.now = 0.0
        sync = Io(sync=lambda fd: None)
        self.writers = [AuditWriter(directory, f"worker-{n}", KEY, Mode.ASYNC, lambda: self.now, io=sync) for n in (1, 2)]
        self.encoders = [DecisionEncoder(DigestKeys.of(KEY)) for _ in self.writers]
        self.people = list(self._staff())
        self.sessions = 0
        self._port = 0
        self._pending: list[int] = [0, 0]

    def _staff(self) -> Iterator[Person]:
        r = self.random
        for kind, count, login, application in (
            ("teller", 40, "core_banking", "counter"), ("risk", 12, "", "case-tool"), ("marketing", 8, "", "DBeaver 24"),
            ("analyst", 8, "", "psql"), ("manager", 8, "core_banking", "counter"), ("batch", 1, "", "nightly"),
        ):  # fmt: skip
            for n in range(count):
                name = "night_batch" if kind == "batch" else f"{kind}{n + 1:02}"
                address = f"10.{20 + n % 4}.{len(kind)}.{10 + n}"
                person = Person(f"{login}/{name}" if login else name, kind, address, application, login or name)
                if kind in ("teller", "marketing") and n == count - 1:
                    person.hired = 120
                if kind != "batch":
                    begin = r.randrange(10, 330)
                    person.away = set(range(begin, begin + r.choice((7, 14, 21))))
                yield person

    def write(self) -> int:
        """Every day; answers the number of records."""
        for day in range(self.days):
            self._day(day)
        for writer in self.writers:
            writer.close()
        return sum(writer.seq for writer in self.writers)

    # What people do.

    def _day(self, day: int) -> None:
        r = self.random
        today = FIRST + timedelta(days=day)
        works = workday(day) == day
        deeds: list[tuple[float, int, Person, str, int]] = []

        def do(minute: float, person: Person, what: str, number: int = 0) -> None:
            deeds.append((minute, len(deeds), person, what, number))

        for person in self.people:
            if person.kind == "batch":
                do(150 + r.random(), person, "batch", 18_000 + r.randrange(2000))
                continue
            if not works or day in person.away or day < person.hired or r.random() < 0.04:
                continue
            busy = 1.6 if today.day >= 28 else 1.0
            for _ in range(self._how_many(person, busy)):
                do(r.uniform(8.5 * 60, 17.5 * 60), person, self._what(person))
        self._insiders(day, works, do)
        midnight = datetime(today.year, today.month, today.day, tzinfo=ZONE).timestamp()
        for minute, _, person, what, number in sorted(deeds, key=lambda d: d[:2]):
            self._do(day, midnight + minute * 60, person, what, number)
        for writer in self.writers:
            writer.flush()

    def _how_many(self, person: Person, busy: float) -> int:
        r = self.random
        mean = {"teller": 45 * self.scale, "risk": 5, "marketing": 6, "analyst": 12, "manager": 8}[person.kind] * busy
        return max(0, round(r.gauss(mean, mean / 4)))

    def _what(self, person: Person) -> str:
        r = self.random.random()
        if person.kind == "teller":
            return "look up" if r < 0.8 else "harmless"
        if person.kind == "risk":
            return "case" if r < 0.18 else "harmless"
        if person.kind == "marketing":
            return "list" if r < 0.25 else "report"
        if person.kind == "analyst":
            return "report" if r < 0.8 else "masked" if r < 0.98 else "denied"
        return "look up" if r < 0.5 else "report"

    def _insiders(self, day: int, works: bool, do) -> None:  # type: ignore[no-untyped-def]
        r = random.Random(day * 7919)
        by = {person.name: person for person in self.people}
        if "slow" in self.insiders and works and day not in by["risk07"].away:
            for _ in range(r.randrange(4, 7)):
                do(r.uniform(9 * 60, 17 * 60), by["risk07"], "case")
        if "bulk" in self.insiders and day == workday(self.days * 5 // 8):
            for part in range(8):
                do(15 * 60 + part, by["marketing03"], "export", 1000)
        if "bisect" in self.insiders and day == workday(self.days * 6 // 8):
            for n in range(120):
                do(14 * 60 + n / 4, by["analyst05"], "masked", n)
        if "dormant" in self.insiders:
            by["core_banking/manager06"].away = set(range(20, self.days))
            if day == self.days * 7 // 8:
                for n in range(12):
                    do(160 + n, by["core_banking/manager06"], "night")

    # How it is written.

    def _session(self, day: int, person: Person, night: bool) -> SessionAudit:
        if person.session is not None and person.day == day:
            return person.session
        self.sessions += 1
        self._port = 20_000 + self.sessions % 40_000
        at = self.sessions % len(self.writers)
        address, application = ("203.0.113.9", "python3") if night else (person.address, person.application)
        asserted = (("teller", person.name.rpartition("/")[2]),) if "/" in person.name else ()
        if person.kind == "risk":
            asserted = (("purpose", "case work"),)
        identity = Identity(person.login, "bank", application, address, self._port, True, asserted)
        session = SessionAudit(self.writers[at], self.encoders[at], f"s{self.sessions}", identity)
        roles = [person.login, person.kind]
        session.context(Profile(f"p{person.kind}", "v1", {}, person=person.name), roles)
        session.login()
        person.session, person.day = session, day
        return session

    def _do(self, day: int, at: float, person: Person, what: str, number: int) -> None:
        self.now = at
        r = self.random
        session = self._session(day, person, what == "night")
        customer = str(r.randrange(CUSTOMERS))
        if what == "denied":
            session.decision("", "refusal", DENIED, 0, "SELECT cvv FROM bank.cards", "simple")
            return
        chosen, sql, values, rows = {
            "look up": (LOOK_UP, LOOK_UP_SQL, [customer], 1), "night": (LOOK_UP, LOOK_UP_SQL, [customer], 1),
            "case": (CASE, CASE_SQL, [customer], 1), "report": (REPORT, REPORT_SQL, [], 30),
            "list": (LIST, LIST_SQL, [f"branch {number % 30}"], r.randrange(20, 100)),
            "export": (LIST, LIST_SQL, [f"branch {number}"], number), "masked": (MASKED, MASKED_SQL, [str(number * 1000)], 1),
            "batch": (BATCH, BATCH_SQL, [], number), "harmless": (HARMLESS, HARMLESS_SQL, [str(r.randrange(50))], 1),
        }[what]  # fmt: skip
        seq = session.decision("", "statement", chosen, 0, sql, "extended", session.bound(values) if values else "null")
        self.now += r.uniform(0.001, 0.02)
        session.outcome(seq, f"SELECT {rows}", rows, rows * 40, 0.004, None)


def write_year(directory: Path, seed: int, days: int, scale: float = 1.0, insiders: tuple[str, ...] = ()) -> int:
    directory.mkdir(parents=True, exist_ok=True)
    bank = Bank(directory, seed, days, scale, insiders)
    for writer in bank.writers:
        bank.now = datetime(2025, 12, 31, 23, 59, tzinfo=UTC).timestamp() - 8 * 3600
        writer.append(Kind.START, {"version": "test", "pid": 1, "host": "bank", "listen": "", "mode": "async"})
    return bank.write()


EXPECTED = {
    ("slow steady look-ups", "risk07"), ("bulk export", "marketing03"), ("more rows than usual", "marketing03"),
    ("searching by masked values", "analyst05"), ("dormant account", "core_banking/manager06"),
    ("new network", "core_banking/manager06"), ("new application", "core_banking/manager06"),
    ("outside of working hours", "core_banking/manager06"),
}  # fmt: skip
"""(alert, whom it is about) of a year with all insiders."""
