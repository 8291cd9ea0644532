"""Writes a trail: the records that sessions of the made-up bank would leave in one worker's trail, through pgveil's own writer.

Equal arguments give equal bytes. Sessions run side by side; most decisions have their outcome in them, of others it comes some
records later; the day has its hours and the week its weekend. Somebody looks up a few customers a day, for the whole time; one
analyst gets a grant and copies the table; grants are asked for, used, revoked and forgotten; the policy changes.
"""

from __future__ import annotations

import heapq
import itertools
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from proxy.audit.chain import Hmac
from proxy.audit.record import Kind, encode
from proxy.audit.values import DigestKeys, ValueDigest
from proxy.audit.writer import DEFAULT_SEGMENT_BYTES, AuditWriter, Io, Mode
from tests.trail.people import (
    CUSTOMERS,
    EXPORT,
    LEVELS,
    LISTS,
    Person,
    Question,
    card_of,
    id_card_of,
    make_staff,
    phone_of,
    weighted,
)  # fmt: skip

END = datetime(2026, 11, 1, tzinfo=UTC)
DAYS = 365
NO_RESULT = '"tag":null,"rows":null,"bytes":null,"seconds":null,"sqlstate":null'
SIDE_BY_SIDE = 48
_HOURS = (1, 1, 1, 1, 1, 1, 2, 5, 24, 40, 44, 40, 24, 30, 42, 40, 36, 24, 8, 5, 4, 3, 2, 1)
_EXPOSED = ("clear", "conditional")


def _local(now: float) -> tuple[int, bool]:
    """Hour in China, and whether it is a weekend (1970-01-01 was a Thursday)."""
    hours = int(now + 28800) // 3600
    return hours % 24, (hours // 24 + 3) % 7 >= 5


def rate(now: float) -> float:
    """How busy the bank is."""
    hour, weekend = _local(now)
    return _HOURS[hour] * (0.12 if weekend else 1.0)


def is_night(now: float) -> bool:
    hour, weekend = _local(now)
    return weekend or not 8 <= hour < 18


@dataclass(slots=True, eq=False)
class Session:
    sid: str
    who: Person
    client: str
    port: int
    left: int
    began: float
    facts: str
    context: str
    statements: int = 0


@dataclass
class Trail:
    """One worker's."""

    directory: Path
    worker: str
    key: bytes
    records: int
    seed: int = 1
    days: int = DAYS
    end: datetime = END
    segment_bytes: int = DEFAULT_SEGMENT_BYTES
    stop: bool = True
    _now: float = 0.0
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _touches: dict[tuple[int, str, int], tuple[str, str]] = field(default_factory=dict)
    _digests: dict[str, str] = field(default_factory=dict)

    def write(self) -> None:
        rng = self._rng = random.Random(f"{self.seed} {self.worker}")
        self._now = (self.end - timedelta(days=self.days)).timestamp()
        writer = self._writer = AuditWriter(
            self.directory, self.worker, self.key, Mode.ASYNC, lambda: self._now,
            segment_bytes=self.segment_bytes, head_lag=60.0, io=Io(sync=lambda fd: None),
        )  # fmt: skip
        self._digest = ValueDigest(DigestKeys.of(self.key).value)
        self._text_key = Hmac(self.key)
        staff = make_staff(random.Random(self.seed))
        self._day, self._night = weighted(staff.people, False), weighted(staff.people, True)
        self._policy = "2025-10-01 9f31"
        writer.append(
            Kind.START, {"version": "0.1.0", "pid": 4242, "host": "gate1", "listen": "0.0.0.0:6432", "mode": "before-result"}
        )
        self._load_policy()
        sessions: list[Session] = []
        waiting: list[tuple[int, int, str]] = []
        happenings = self._happenings(staff.people)
        hours = [self._now + 3600 * n for n in range(self.days * 24)]
        work = 3600 * sum(map(rate, hours)) / max(1, self.records)
        last, before = self.records - 3, 0
        while writer.seq < last:
            self._advance((writer.seq - before) * work * 2 * rng.random())
            before = writer.seq
            while waiting and waiting[0][0] <= writer.seq < last:
                writer.append_encoded("outcome", heapq.heappop(waiting)[2])
            if happenings and happenings[0][0] <= self._now:
                happenings.pop(0)[1]()
            if len(sessions) < SIDE_BY_SIDE and rng.random() < 0.5:
                sessions.append(self._login(rng.choice(self._night if is_night(self._now) else self._day)))
                continue
            session = sessions[rng.randrange(len(sessions))] if sessions else None
            if session is None:
                continue
            if session.left <= 0:
                sessions.remove(session)
                self._logout(session)
            else:
                self._ask(session, rng.choices(session.who.questions, cum_weights=session.who.weights)[0], waiting)
            if writer.pending_records >= 4000:
                writer.flush()
        while waiting and writer.seq < self.records - 1:
            writer.append_encoded("outcome", heapq.heappop(waiting)[2])
        while writer.seq < self.records - 1:
            writer.append(Kind.EVENT, {"event": "replication", "session": None, "detail": {}})
        if self.stop:
            writer.close()
        else:
            writer.append(Kind.EVENT, {"event": "replication", "session": None, "detail": {}})
            writer.flush()
            writer._release()

    def _advance(self, work: float) -> None:
        while True:
            left, busy = 3600 - self._now % 3600, rate(self._now)
            if work <= left * busy:
                self._now += work / busy
                return
            work -= left * busy
            self._now += left

    def _load_policy(self) -> None:
        fields = {"policy": self._policy, "files": ["/etc/pgveil/policy.yaml"], "accepted": True}
        self._writer.append(Kind.POLICY, fields)

    def _login(self, who: Person) -> Session:
        rng = self._rng
        number = next(self._numbers)
        client = f"{who.network}.{10 + hash_of(who.person) % 40}"
        sid = f"{hash_of(self.worker):08x}{number:08x}"
        facts = {
            "session": sid, "login": who.login, "person": who.person, "database": "bank", "client": client,
            "client_port": 20000 + number % 40000, "application": who.application, "tls": True, "asserted": dict(who.asserted),
        }  # fmt: skip
        context = {"roles": list(who.roles), "profile": f"{hash_of(who.login):016x}", "policy": self._policy}
        out = Session(sid, who, client, facts["client_port"], rng.randint(4, 60), self._now, _encode(facts), _encode(context))
        if rng.random() < 0.01:
            told = {k: v for k, v in facts.items() if k != "person"}
            told |= {"sqlstate": "28P01", "reason": "password authentication failed"}
            self._writer.append_encoded("login_failed", _encode(told))
        self._writer.append_encoded("login", f"{out.facts},{out.context}")
        return out

    def _logout(self, s: Session) -> None:
        rest = {"statements": s.statements, "seconds": round(self._now - s.began, 6), "reason": "client left"}
        self._writer.append_encoded("logout", f"{s.facts},{_encode(rest)}")

    def _value(self, kind: str, who: Person) -> str:
        rng = self._rng
        if kind == "word":
            return ("BJ01", "SH01", "done", "100", "2026-01-01")[rng.randrange(5)]
        customer = rng.randrange(1, CUSTOMERS)
        if who.favourite and rng.random() < 0.15:
            customer = who.favourite
        if kind == "customer":
            return str(customer)
        return {"phone": phone_of, "id_card": id_card_of, "card": card_of}[kind](customer)

    def _digested(self, kinds: tuple[str, ...], who: Person) -> str:
        found = []
        for kind in kinds:
            value = self._value(kind, who)
            if value not in self._digests:
                self._digests[value] = self._digest(value)
            found.append(f'"{self._digests[value]}"')
        return f"[{','.join(found)}]"

    def _ask(self, s: Session, q: Question, waiting: list[tuple[int, int, str]], grant: int = 0) -> None:
        rng, who = self._rng, s.who
        s.left -= 1
        s.statements += 1
        touches, clear = self._shown(q, who, grant)
        refusal = "null" if q.refusal is None else encode(dict(zip(("sqlstate", "message"), q.refusal, strict=True)))
        verdict = "refuse" if q.refusal else ("rewrite" if '"show":"mask"' in touches or '"conditional"' in touches else "pass")
        values, binds = self._digested(q.by, who), self._digested(q.binds, who)
        text_digest = self._text_key.digest((q.text + values).encode())[:8].hex()
        fields = (
            f'{s.facts},{s.context},"protocol":"{"extended" if q.binds else "simple"}","statement":"{q.text.split()[0]}",'
            f'"part":1,"parts":1,"verdict":"{verdict}","touches":{touches},"touches_more":0,"clear":{clear},"refusal":{refusal},'
            f'"on_failure":null,"placed_by":"{"sqlglot" if verdict == "rewrite" else ""}","text":{_text(q.text)},'
            f'"text_digest":"{text_digest}","values":{values},"values_whole":true,"binds":{binds if q.binds else "null"}'
        )
        if q.refusal:
            self._writer.append_encoded("refused", fields)
            return
        rows = 0 if q.failing else rng.randint(*q.rows)
        tag = "null" if q.failing else f'"{q.tag}"' if q.tag in ("BEGIN", "COMMIT") else f'"{q.tag} {rows}"'
        result = (
            f'"tag":{tag},"rows":{rows},"bytes":{rows * 90},'
            f'"seconds":{0.0004 + rows * 1e-5:.6f},"sqlstate":{json.dumps(q.failing)}'
        )
        if rng.random() < 0.7:
            self._writer.append_encoded("decision", f"{fields},{result}")
            return
        seq = self._writer.append_encoded("decision", f"{fields},{NO_RESULT}")
        after = seq + (rng.randrange(3) if rng.random() < 0.98 else rng.randrange(20000))
        text = f'"session":"{s.sid}","decision":{seq},{result}'
        heapq.heappush(waiting, (after, seq, text))

    def _shown(self, q: Question, who: Person, grant: int) -> tuple[str, str]:
        """`touches` and `clear`, encoded."""
        key = (id(q), who.person, grant)
        if key not in self._touches:
            listed, levels = [], []
            for use in q.uses:
                show, rule = ("clear", f"grant {grant}") if grant else who.shows[use.kind]
                level = LEVELS[use.kind]
                if q.refusal:
                    show, rule = "deny", "DBAs do not touch card verification values"
                if use.use != "output" and show == "conditional":
                    show = "mask"
                listed.append({
                    "relation": use.relation, "column": use.column, "class": use.kind, "level": level, "use": use.use,
                    "show": show, "rule": rule, "grant": grant or None, "others": [],
                })  # fmt: skip
                if use.use == "output" and show in _EXPOSED:
                    levels.append(level)
            self._touches[key] = encode(listed), encode(max(levels, default=None))
        return self._touches[key]

    def _event(self, name: str, session: str | None = None, **detail: object) -> None:
        self._writer.append(Kind.EVENT, {"event": name, "session": session, "detail": detail})

    def _happenings(self, people: list[Person]) -> list[tuple[float, Callable[[], None]]]:
        """What happens once, in order: grants, alerts, changes of the policy. Of the first worker only, but for the policy."""
        start, length = self._now, self.days * 86400.0
        out: list[tuple[float, Callable[[], None]]] = []
        for n in range(1, 5):
            out.append((start + length * n / 5, lambda n=n: self._change_policy(n)))  # type: ignore[misc]
        if self.worker.endswith("1"):
            analyst = next(p for p in people if p.login == "analyst03")
            for n in range(24):
                out.append((start + length * (n + 0.4) / 24, lambda n=n: self._grant(n + 1, analyst)))  # type: ignore[misc]
                out.append((start + length * (n + 0.7) / 24, self._alert))
        return sorted(out, key=lambda entry: entry[0])

    def _change_policy(self, n: int) -> None:
        self._policy = f"2026-0{n}-01 {hash_of(str(n)):04x}"[:15]
        self._load_policy()

    def _alert(self) -> None:
        detail = {"alert": "many refusals", "on": "refused", "severity": "warning", "count": 11, "within": 600, "per": "user",
                  "user": "analyst05", "address": "10.20.3.17", "database": "bank"}  # fmt: skip
        self._event("alert", None, **detail)

    def _grant(self, n: int, analyst: Person) -> None:
        """Asked for, approved, used (every third never; every fifth rejected), some revoked; number 20 copies the table."""
        columns = {"columns": "bank.customers.full_name, bank.customers.id_card, bank.customers.phone",
                   "classes": "id_card, name, phone", "levels": "C2"}  # fmt: skip
        asked = {"login": analyst.login, "database": "bank", "client": "10.20.3.12", "person": analyst.person}
        session = self._login(analyst)
        if n % 8 == 0:
            self._event("break_glass", session.sid, **asked, request=n, reason=f"outage {n}", **columns, seconds=1800)
            self._now += 30
        else:
            self._event(
                "grant_requested", session.sid, **asked, request=n, reason=f"campaign {n}, 客户回访", **columns, seconds=7200
            )
            self._now += 240
            by = {"login": "manager1", "database": "bank", "client": "10.8.1.20", "person": "manager1"}
            if n % 5 == 0 and n != 20:
                self._event("grant_rejected", None, **by, request=n, state="rejected", note="no need", **{"for": analyst.person})
                self._logout(session)
                return
            rest = {"for": analyst.person, "state": "granted", "note": "seen the file", **columns, "seconds": 7200}
            self._event("grant_approved", None, **by, request=n, **rest)
            self._now += 60
        if n % 3:
            for question in (EXPORT,) if n == 20 else LISTS[:1] + LISTS[2:]:
                waiting: list[tuple[int, int, str]] = []
                self._ask(session, question, waiting, grant=n)
                for _, _, text in waiting:
                    self._writer.append_encoded("outcome", text)
                self._now += 5
        if n % 4 == 1:
            self._now += 600
            self._event("grant_revoked", session.sid, **asked, request=n, state="revoked", note="done", **{"for": analyst.person})
        if n == 8:
            by = {"login": "auditor0", "database": "bank", "client": "10.30.0.11", "person": "auditor0"}
            self._event(
                "break_glass_reviewed", None, **by, request=n, state="granted", note="justified", **{"for": analyst.person}
            )
        self._logout(session)


_TEXTS: dict[str, str] = {}


def _text(text: str) -> str:
    if text not in _TEXTS:
        _TEXTS[text] = encode(text)
    return _TEXTS[text]


def _encode(fields: dict[str, object]) -> str:
    return encode(fields)[1:-1]


def hash_of(text: str) -> int:
    """A number of a text, the same in every process."""
    out = 0
    for byte in text.encode():
        out = (out * 131 + byte) & 0xFFFFFFFF
    return out


def write_trail(directory: Path, worker: str, key: bytes, records: int, seed: int, days: int) -> None:
    Trail(directory, worker, key, records, seed, days).write()
