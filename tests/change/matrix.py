"""The matrix: every hold under every change, through pgveil and directly, and what is wrong with the answers."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from tests.change.changes import CHANGES, MASK, QUERIES, ROLES, WORLD, Change, connect
from tests.change.holds import HOLDS, Hold
from tests.change.wire import Answer, Wire
from tests.support.postgres import TestServer
from tests.support.proxy import CONTROL, ProxyProcess, until

HBA = f"""\
host all postgres 127.0.0.1/32 trust
host all {CONTROL} 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
"""
SETUP = f"CREATE ROLE {CONTROL} LOGIN PASSWORD 'control';\n" + ROLES
AGAIN = frozenset({"0A000", "26000"})
"""With these drivers prepare again, or the user does."""
NOT_BY_QUERY = frozenset({"in a failed transaction", "middle of a pipeline", "unnamed"})
"""A Query of the session itself would not reach it, or end it."""


@dataclass(frozen=True, slots=True)
class Finding:
    change: str
    hold: str
    query: str
    what: str

    def __str__(self) -> str:
        return f"{self.change} | {self.hold} | {self.query}: {self.what}"


@dataclass(frozen=True, slots=True)
class Result:
    cases: int
    findings: tuple[Finding, ...]
    seconds: tuple[tuple[str, float], ...]
    """How long after each change the decision followed."""


class Matrix:
    """One server, one proxy; `run` may be called again and again."""

    def __init__(self, server: TestServer, proxy: ProxyProcess) -> None:
        self.server = server
        self.proxy = proxy
        self.policy = MASK

    def put(self, policy: str) -> None:
        """In force for sessions when this returns."""
        if policy == self.policy:
            return
        before = self.proxy.text().count("event=policy_loaded")
        self.policy = policy
        self.proxy.policy.write_text(policy, encoding="utf-8")
        self.proxy.signal(signal.SIGHUP)
        until(lambda: self.proxy.text().count("event=policy_loaded") > before, "the policy is in force")

    def run(
        self, changes: Iterable[Change] = CHANGES, holds: Iterable[Hold] = HOLDS, queries: Mapping[str, str] = QUERIES
    ) -> Result:
        holds = tuple(holds)
        cases, findings, seconds = 0, [], []
        for change in changes:
            count, found, took = self._change(change, holds, queries)
            cases += count
            findings += found
            seconds.append((change.name, took))
        return Result(cases, tuple(findings), tuple(seconds))

    def _change(self, change: Change, holds: tuple[Hold, ...], queries: Mapping[str, str]) -> tuple[int, list[Finding], float]:
        self.server.execute_sql("postgres", WORLD)
        self.put(change.before)
        held: list[tuple[Hold, str, Wire, Wire]] = []
        with ExitStack() as stack, connect(self.proxy.port) as witness, connect(self.server.port) as direct_witness:
            self._settled(witness, change.before)
            for hold in holds:
                if hold.locks and (change.locks or (change.own and hold.begun)):
                    continue
                for query, sql in queries.items():
                    proxied = stack.enter_context(connect(self.proxy.port))
                    if not self._is_made(hold, proxied, sql):
                        continue
                    direct = stack.enter_context(connect(self.server.port))
                    assert self._is_made(hold, direct, sql), (hold.name, query)
                    held.append((hold, query, proxied, direct))
            began = time.monotonic()
            if change.sql:
                self.server.execute_sql("postgres", change.sql)
            if change.after:
                self.put(change.after)
            if change.locks:
                _caught_up(witness, direct_witness)
            else:
                self._settled(witness, change.after or change.before, change)
            took = time.monotonic() - began
            findings = []
            for hold, query, proxied, direct in held:
                if change.own and hold.name in NOT_BY_QUERY:
                    continue
                answers = []
                for wire in (proxied, direct):
                    if change.own:
                        assert wire.query(change.own).kind == "ok"
                    answers.append(hold.use(wire, QUERIES[query]))
                findings += [Finding(change.name, hold.name, query, what) for what in _wrong(change, hold, query, *answers)]
        return len(held), findings, took

    def _is_made(self, hold: Hold, wire: Wire, sql: str) -> bool:
        """False when today's policy already refuses it."""
        try:
            hold.make(wire, sql)
        except AssertionError as refused:
            answer = refused.args[0] if refused.args else None
            if isinstance(answer, Answer) and answer.error == "42501":
                return False
            raise
        return True

    def catch_up(self) -> None:
        """Wait until the catalog as it is now is known."""
        with connect(self.proxy.port) as witness, connect(self.server.port) as direct:
            _caught_up(witness, direct)

    def _settled(self, witness: Wire, policy: str, change: Change | None = None) -> None:
        """Until the decision can be seen by a session that asks without pause."""
        visible = (change.visible if change else frozenset()) or None

        def seen() -> bool:
            answer = witness.query(QUERIES["columns"])
            if answer.kind == "ok":
                shown = frozenset(row[1] or "" for row in answer.rows)
                return shown <= (visible or frozenset()) if change else shown <= Change("", policy).visible
            return not Change("", policy).visible and answer.error == "42501"

        until(seen, f"the change is in force: {change.name if change else policy}")


def _caught_up(witness: Wire, direct: Wire) -> None:
    """Until a session that prepares nothing gets what PostgreSQL answers: a catalog change counts at the next look."""

    def known() -> bool:
        pairs = [(witness.query(sql), direct.query(sql)) for sql in QUERIES.values()]
        return all((a.kind, [len(r) for r in a.rows]) == (b.kind, [len(r) for r in b.rows]) for a, b in pairs)

    until(known, "the catalog is known")


def _wrong(change: Change, hold: Hold, query: str, proxied: list[Answer], direct: list[Answer]) -> list[str]:
    out = []
    for mine, theirs in zip(proxied, direct, strict=True):
        values = {value for row in mine.rows for value in row if value}
        if leaked := values & change.gone:
            out.append(f"shows {sorted(leaked)} of the decision before")
        if mine.error == "0A000" and "cached plan" in mine.message and mine.routine != "RevalidateCachedQuery":
            out.append("0A000 that no driver recognizes")
        if mine.kind == theirs.kind:
            continue
        if mine.error == "42501" and (not change.visible or "SET ROLE" in change.name):
            continue
        if not hold.renews and mine.error in AGAIN:
            continue
        if theirs.error == "0A000" and mine.kind == "ok":
            continue  # a cached result type that has not changed after all
        out.append(f"{mine.kind} {mine.message!r}, PostgreSQL: {theirs.kind} {theirs.message!r}")
    return out


def proxy_for(server: TestServer, home: object, **more: object) -> ProxyProcess:
    return ProxyProcess(home, server, policy=MASK, **more)  # type: ignore[arg-type]
