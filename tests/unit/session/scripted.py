"""A scripted world: a planner whose verdicts can be read off the text, one policy, one catalog, a list of evidence.

secret      refused with 42501                    phone       rewritten to mask(phone); profile lax: not, strict: refused
local_t     needs the resolution, then becomes <first schema of the path>.local_t, or pg_temp.local_t
shady()     needs the resolution, refused with 42501 when the path has the schema evil
garbled     cannot be read
fresh_t     needs a catalog that knows it (`DO catalog fresh`)
SET, RESET, CREATE TEMP   effect RESOLUTION       other CREATE, ALTER, DROP   effect DDL
DECLARE c [WITH HOLD] FOR, FETCH [n] c, MOVE c, CLOSE c   cursors
COMMIT, ROLLBACK, END     effect TRANSACTION_END  PREPARE x AS, EXECUTE x     as in SQL
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any

from policies.failure import Exemption
from policies.model import Branch, Decision, Profile, Show
from proxy.session.effects import Binds, Identity, SessionOptions
from proxy.session.machine import Session
from rewrite.catalog import Catalog, Column, Relation
from rewrite.plan import POISON, Edit, Effect, Need, Plan, PlanContext, Refusal, StatementPlan, Touch, Verdict

CUSTOMERS = 16400


def column(attnum: int, name: str) -> Column:
    return Column(attnum, name, 25, -1, "pg_catalog.text", "pg_catalog.text", "text", "S")


RELATION = Relation(CUSTOMERS, "bank", "customers", "r", "owner", (column(1, "id"), column(2, "phone")))
MASKED = Decision("phone", "C2", (Branch(None, Show.MASK, None, None),))
CLEAR = Decision("phone", "C2", (Branch(None, Show.CLEAR, None, "all"),))


def make_catalog(version: str = "v1", *names: str) -> Catalog:
    return Catalog("bank", version, 150000, {CUSTOMERS: RELATION}, {}, schemas=frozenset(names))


def make_profile(name: str) -> Profile:
    if name == "counted":
        return Profile("lax", "p1", {CUSTOMERS: {2: CLEAR}}, masked=True, metered=True)
    if name == "exempt":
        exemption = Exemption("ana", None, 3600.0, "p.yaml:1")
        return Profile("exempt", "p1", {CUSTOMERS: {2: MASKED}}, masked=True, exemption=exemption)
    if name == "clear":
        return Profile("clear", "p1", {CUSTOMERS: {2: CLEAR}}, masked=False)
    return Profile(name, "p1", {CUSTOMERS: {2: MASKED}}, masked=True)


def effect_of(words: list[str]) -> tuple[Effect, str | None]:
    first = words[0] if words else ""
    second = words[1] if len(words) > 1 else ""
    if first in ("SET", "RESET") or (first == "CREATE" and second == "TEMP"):
        return Effect.RESOLUTION, None
    if first in ("CREATE", "ALTER", "DROP"):
        return Effect.DDL, None
    if first in ("COMMIT", "ROLLBACK", "END"):
        return Effect.TRANSACTION_END, None
    if first in ("PREPARE", "EXECUTE", "DEALLOCATE"):
        effects = {"PREPARE": Effect.PREPARES, "EXECUTE": Effect.EXECUTES, "DEALLOCATE": Effect.NONE}
        return effects[first], second.lower()
    if first == "DECLARE":
        return Effect.OPENS, None
    if first in ("FETCH", "MOVE"):
        return Effect.FETCHES, None
    if first in ("INSERT", "UPDATE", "DELETE"):
        return Effect.WRITES, None
    return Effect.NONE, None


class ScriptedPlanner:
    def __init__(self) -> None:
        self.kept: list[str] = []

    def recall(self, text: str, context: PlanContext) -> Plan | None:
        return None

    def keep(self, text: str, context: PlanContext, plan: Plan, seconds: float) -> None:
        self.kept.append(text)

    def _before(self, text: str, context: PlanContext) -> Plan | None:
        if ";" not in text:
            return None
        plan = self.plan(text.rpartition(";")[0], context)
        return replace(plan, text=f"{plan.text};\n{POISON}", verdict=Verdict.REWRITE)

    def plan(self, text: str, context: PlanContext) -> Plan:
        if "garbled" in text:
            return Plan(Verdict.REFUSE, "", refusal=Refusal("0A000", "cannot be read", failure=True))
        if "secret" in text:
            refusal = Refusal("42501", "secret is not for you", "Ask for access.", text.index("secret") + 1)
            return Plan(Verdict.REFUSE, "", refusal=refusal, before=self._before(text[: text.index("secret")], context))
        if "phone" in text and context.profile.key == "strict":
            return Plan(Verdict.REFUSE, "", refusal=Refusal("42501", "phone is not for you"))
        if "fresh_t" in text and "fresh_t" not in context.catalog.schemas:
            return Plan(Verdict.NEED, "", need=Need.CATALOG)
        if "shady" in text:
            if context.resolution is None:
                return Plan(Verdict.NEED, "", need=Need.RESOLUTION)
            if "evil" in context.resolution.path:
                return Plan(Verdict.REFUSE, "", refusal=Refusal("42501", "evil.shady is not for you"))
        edits = []
        if "local_t" in text:
            if context.resolution is None:
                return Plan(Verdict.NEED, "", need=Need.RESOLUTION)
            schema = "pg_temp" if "local_t" in context.resolution.temp else context.resolution.path[0]
            at = text.index("local_t")
            edits.append(Edit(at, at, schema + "."))
        if "phone" in text and context.profile.key != "lax":
            at = text.index("phone")
            edits.append(Edit(at, at + 5, "mask(phone)"))
        out = text
        for edit in sorted(edits, key=lambda e: -e.start):
            out = out[: edit.start] + edit.text + out[edit.end :]
        statements = []
        for part in text.split(";"):
            words = part.upper().split()
            if words:
                effects, prepared = effect_of(words)
                touches = (Touch("bank.customers", "phone", "phone", "C2", "output", "mask", None),)
                cursor = None
                if words[0] in ("DECLARE", "FETCH", "MOVE", "CLOSE"):
                    cursor = words[1 if words[0] == "DECLARE" else -1].lower()
                kind = {"DECLARE": "DECLARE CURSOR", "BEGIN": "TRANSACTION", "COMMIT": "TRANSACTION"}.get(words[0], words[0])
                statements.append(
                    StatementPlan(
                        kind, touches if "phone" in part else (), effects,
                        prepared, cursor=None if cursor == "all" else cursor, holds="HOLD" in words,
                    )
                )  # fmt: skip
        verdict = Verdict.REWRITE if edits else Verdict.PASS
        return Plan(verdict, out, tuple(statements), tuple(sorted(edits, key=lambda e: e.start)))


@dataclass(frozen=True)
class FixedView:
    catalog: Catalog
    profile: Profile
    epoch: int
    planner: ScriptedPlanner = field(default_factory=ScriptedPlanner)
    authority: ScriptedAuthority | None = None
    origin: tuple[str, int] | None = ("7", 5)
    pooler: bool = False
    roles: frozenset[str] = frozenset()

    def is_confirmed(self, max_age: float) -> bool:
        if self.authority is None:
            return True
        self.authority.ages.append(max_age)
        return self.authority.confirmed


class ScriptedAuthority:
    def __init__(self, profile: str = "masked") -> None:
        self.epoch = 1
        self.profile = make_profile(profile)
        self.catalog = make_catalog()
        self.asked: list[Identity] = []
        self.confirmed = True
        self.ages: list[float] = []
        """How old a look at the catalog might be, each time somebody asked."""

    def current(self, identity: Identity, now: float) -> FixedView:
        self.asked.append(identity)
        return FixedView(self.catalog, self.profile, self.epoch, authority=self)

    def change(self, profile: str | None = None, catalog: str | None = None) -> None:
        self.epoch += 1
        if profile is not None:
            self.profile = make_profile(profile)
        if catalog is not None:
            self.catalog = make_catalog("v" + str(self.epoch), catalog)


class ListedAudit:
    """Evidence as lines of text."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.contexts: list[tuple[str, str]] = []
        """Profile and policy version that decide, each time they may have changed."""
        self.seq = 0
        self.open: set[int] = set()
        self.binds: list[Binds] = []
        self.digests: list[str] = []
        """Of texts too long to be kept."""

    def identity(self, identity: Identity) -> None:
        self.lines.append(f"identity {identity.application_name}")

    def context(self, profile: Profile, roles: Iterable[str]) -> None:
        self.contexts.append((profile.key, profile.policy_version))

    values = True

    def bound(self, values: Sequence[str | None] | None) -> Binds:
        return values

    def named(self, plan: Plan, index: int, text: str, binds: Binds) -> Set[str] | None:
        return {b for b in binds or () if b}

    def decision(self, sid: str, kind: str, plan: Plan, index: int, text: str, protocol: str, binds: Binds = None) -> int:
        self.seq += 1
        self.binds.append(binds)
        self.open.add(self.seq)
        if plan.digest:
            self.digests.append(plan.digest)
        what = plan.statements[index].kind if index < len(plan.statements) else "-"
        what += " on_failure" if plan.failure is not None else ""
        if kind == "refusal":
            assert plan.refusal is not None
            what = plan.refusal.sqlstate
        self.lines.append(f"decision {self.seq} {kind} {protocol} {what}")
        return self.seq

    def digest(self, codec: str | None) -> hashlib._Hash:
        return hashlib.sha256()

    def outcome(self, seq: int, tag: str | None, rows: int, bytes_: int, seconds: float, sqlstate: str | None) -> None:
        self.open.remove(seq)  # exactly one outcome each
        assert (tag is None) == (sqlstate is not None)
        self.lines.append(f"outcome {seq} {sqlstate if tag is None else repr(tag)} {rows}")

    def event(self, kind: str, fields: Mapping[str, str | int | bool]) -> None:
        self.lines.append(f"event {kind}")


class Rows:
    """An allowance of so many rows."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.refusal = Refusal("53400", "no more rows for you")
        self.details: Mapping[str, str | int | bool] = {"limit": "few"}
        self.lease = 0

    def left(self) -> int:
        return self.rows

    def take(self, rows: int) -> int:
        granted = min(rows, self.rows)
        self.rows -= granted
        return granted

    def give_back(self, rows: int) -> None:
        assert rows > 0
        self.rows += rows


class PhoneMeter:
    """Counts the rows of statements that use the column phone, all on one allowance."""

    def __init__(self, rows: int, failures: int = 1000) -> None:
        self.rows = Rows(rows)
        self.failures = failures

    def is_spent(self, identity: Identity, profile: Profile) -> bool:
        return False

    def let_through(self, identity: Identity, exemption: Exemption) -> bool:
        self.failures -= 1
        return self.failures >= 0

    def allowances(self, identity: Identity, profile: Profile, touches: Sequence[Touch] | None) -> tuple[Rows, ...]:
        return () if touches is not None and not touches else (self.rows,)


IDENTITY = Identity("ana", "bank", startup=(("user", "ana"), ("database", "bank")))
OPTIONS = SessionOptions(sid="s1", clock=lambda: 1000.0, timer=lambda: 0.0)


def make_session(profile: str = "masked", **options: Any) -> tuple[Session, ScriptedAuthority, ListedAudit]:
    authority, audit = ScriptedAuthority(profile), ListedAudit()
    return Session(IDENTITY, authority, audit, replace(OPTIONS, **options)), authority, audit
