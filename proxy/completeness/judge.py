"""Holds the server's counters against the trail. Pure: snapshots and an account in, findings out.

Three witnesses, none of which sees everything:

* connections: at the moment of a snapshot, more connections of a login to a database than the trail has open sessions;
* sessions: between two snapshots, more sessions in a database than log-ins in the trail and control connections (from
  PostgreSQL 14 on);
* statements: between two snapshots, more calls of a login in a database than statements in the trail (pg_stat_statements).

Nobody went round as far as a database can be told when one of the last two can say so for the whole time without a gap. Where a
bound is open (a session that the server may have counted late), it is open in favour of the honest.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from proxy.completeness.snapshot import Snapshot
from proxy.completeness.trail import Account


class Verdict(enum.Enum):
    NONE = "ok"
    FOUND = "FOUND"
    UNKNOWN = "?"


@dataclass(frozen=True, slots=True)
class Finding:
    verdict: Verdict
    witness: str
    """connections, sessions, statements or snapshots."""
    database: str
    text: str


def judge(
    snapshots: Sequence[Snapshot],
    account: Account,
    exempt: Collection[str],
    direct: Collection[str],
    members: Mapping[str, Collection[str]],
    served: Callable[[str], bool],
    pooled: bool = False,
) -> list[Finding]:
    """`exempt`: pgveil's own logins. `direct`: roles that may connect to the server themselves. `members`: which roles a login
    may take on by SET ROLE. `pooled`: connections and sessions are a pooler's, and say nothing about those of its clients."""
    if len(snapshots) < 2:
        return [Finding(Verdict.UNKNOWN, "snapshots", "", "there is nothing to compare yet: less than two snapshots")]
    allowed = {*exempt, *direct}
    found: list[Finding] = []
    for database in sorted(name for name in snapshots[-1].databases if served(name)):
        if pooled:
            by_sessions = [Finding(Verdict.UNKNOWN, "sessions", database, "behind a pooler they are the pooler's")]
        else:
            found += connections(snapshots, account, allowed, database)
            by_sessions = list(sessions(snapshots, account, bool(direct), database))
        by_statements = list(statements(snapshots, account, allowed, members, database))
        found += _weighed(by_sessions, by_statements)
    return found


def _weighed(by_sessions: list[Finding], by_statements: list[Finding]) -> list[Finding]:
    """What one witness cannot say the other may have said."""
    verdicts = [{f.verdict for f in findings} for findings in (by_sessions, by_statements)]
    proven = {Verdict.NONE} in verdicts
    return [f for f in by_sessions + by_statements if f.verdict is not Verdict.UNKNOWN or not proven]


def connections(snapshots: Sequence[Snapshot], account: Account, allowed: Collection[str], database: str) -> Iterator[Finding]:
    """Once for each login: the first time it was seen."""
    told = set()
    for k, snapshot in enumerate(snapshots):
        there: dict[str, list[tuple[str, int]]] = {}
        for (user, name, address), count in (snapshot.backends or {}).items():
            if name == database and user not in allowed:
                there.setdefault(user, []).append((address, count))
        for user, seen in there.items():
            more = sum(n for _, n in seen) - account.sessions.between((user, database), k, k)
            if more > 0 and user not in told:
                told.add(user)
                places = ", ".join(f"{n} from {address}" for address, n in seen)
                text = f"{user} had {more} connections more than the trail has sessions at {snapshot.ended} ({places})"
                yield Finding(Verdict.FOUND, "connections", database, text)


def sessions(snapshots: Sequence[Snapshot], account: Account, others: bool, database: str) -> Iterator[Finding]:
    counted = [s.databases.get(database) for s in snapshots]
    if any(c is None or c.sessions is None for c in counted):
        yield Finding(Verdict.UNKNOWN, "sessions", database, "the server has not counted sessions for the whole time")
        return
    runs = list(
        _runs(snapshots, lambda s: (s.databases[database].reset, s.databases[database].sessions, s.databases[database].own))
    )
    if len(runs) > 1:
        yield Finding(Verdict.UNKNOWN, "sessions", database, f"the server began to count anew {len(runs) - 1} times")
    for i, j in runs:
        a, b = counted[i], counted[j]
        assert a is not None and b is not None and a.sessions is not None and b.sessions is not None  # noqa: PT018
        server = b.sessions - a.sessions
        own = b.own - a.own
        trail = account.logins.between(("", database), i, j)
        possible = account.possible.between(("", database), i, j)
        more = server - own - trail
        when = f"from {snapshots[i].began} to {snapshots[j].ended}"
        sums = f"{server} counted by the server, {trail} in the trail, {own} control connections"
        if more <= 0:
            yield Finding(Verdict.NONE, "sessions", database, f"{sums} {when}")
        elif more - possible - a.unsettled - b.opening > 0 and not others:
            yield Finding(Verdict.FOUND, "sessions", database, f"{more} that the trail does not know: {sums} {when}")
        elif others:
            text = f"{more} that the trail does not know, of roles that may connect themselves or of others: {sums} {when}"
            yield Finding(Verdict.UNKNOWN, "sessions", database, text)
        else:
            text = f"{more} may be missing in the trail, or were counted late: {sums}, {possible} turned away {when}"
            yield Finding(Verdict.UNKNOWN, "sessions", database, text)


def statements(
    snapshots: Sequence[Snapshot],
    account: Account,
    allowed: Collection[str],
    members: Mapping[str, Collection[str]],
    database: str,
) -> Iterator[Finding]:
    missing = next((s.statements.missing for s in snapshots if s.statements.missing), "")
    if missing:
        yield Finding(Verdict.UNKNOWN, "statements", database, missing)
        return
    runs = list(_runs(snapshots, lambda s: (s.statements.reset,)))
    if len(runs) > 1:
        yield Finding(Verdict.UNKNOWN, "statements", database, f"pg_stat_statements began to count anew {len(runs) - 1} times")
    for i, j in runs:
        before, after = snapshots[i].statements, snapshots[j].statements
        when = f"from {snapshots[i].began} to {snapshots[j].ended}"
        users = {u for u, d in after.calls if d == database} | {u for u, d in account.statements if d == database}
        more = {
            u: after.calls.get((u, database), 0)
            - before.calls.get((u, database), 0)
            - account.statements.between((u, database), i, j)
            for u in users
            if u not in allowed
        }
        told = False
        for user in sorted(u for u in more if more[u] > 0):
            spare = sum(-more[u] for u in more if more[u] < 0 and user in members.get(u, ()))
            if any(account.unread.between((u, database), i, j) for u in {user, *(m for m in members if user in members[m])}):
                text = f"{user}: texts that nobody has read may hold {more[user]} statements {when}"
                yield Finding(Verdict.UNKNOWN, "statements", database, text)
                told = True
            elif more[user] > spare:
                text = f"{user}: {more[user]} statements that the trail does not know {when}"
                yield Finding(Verdict.FOUND, "statements", database, text)
                told = True
        if after.evicted > before.evicted:
            times = after.evicted - before.evicted
            text = f"pg_stat_statements has forgotten the rarest statements {times} times (pg_stat_statements.max)"
            yield Finding(Verdict.UNKNOWN, "statements", database, text)
        elif not told:
            calls = sum(after.calls.get(k, 0) - before.calls.get(k, 0) for k in after.calls if k[1] == database and k[0] in more)
            trail = sum(account.statements.between((u, database), i, j) for u in more)
            text = f"{calls} counted by the server, {trail} in the trail {when}"
            yield Finding(Verdict.NONE, "statements", database, text)


def _runs(snapshots: Sequence[Snapshot], of: Callable[[Snapshot], tuple[str | int | None, ...]]) -> Iterator[tuple[int, int]]:
    """Stretches of snapshots whose counters go on from one to the next: the same server, not reset, never smaller."""
    begin = 0
    for k in range(1, len(snapshots) + 1):
        if k < len(snapshots):
            a, b = snapshots[k - 1], snapshots[k]
            (reset_a, *counts_a), (reset_b, *counts_b) = of(a), of(b)
            grown = all(x <= y for x, y in zip(counts_a, counts_b, strict=True))  # type: ignore[operator]
            if a.system == b.system and reset_a == reset_b and grown:
                continue
        yield begin, k - 1
        begin = k
