"""The state of requests and grants in the `pgveil` schema of one database, as `pgveil install` made it.

Every change is one transaction that locks the request it is about and tells all proxies (NOTIFY). Times are the server's.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from datetime import datetime

import asyncpg

from policies.approvals import Grant, Target, Vote
from policies.predicate import Predicate, parse_predicate
from proxy.control import queries

CHANNEL = "pgveil_grants"
CAREFULLY = "SET LOCAL search_path = pg_catalog; SET LOCAL lock_timeout = '3s'"
"""Begins a transaction: whoever holds a lock on the tables keeps nobody waiting for long."""
KEPT_DAYS = 30
"""Requests older than this are only read while they are in force or wait for a review."""
WAITS_DAYS = 7
"""A request that nobody decides lapses after this."""
READ_MOST = 20_000
"""What is in force or waits for a review comes first: no number of other requests hides it."""
_CLOCKS_AGREE = 0.5
"""Seconds; less is the way of the answer."""

_COLUMNS = """r.id, r.made, r.kind, r.database, r.login, r.person, r.roles, r.attributes::text, r.targets::text, r.rows,
 r.most, r.used, r.seconds, r.reason, r.state, r.decided, r.version, r.until, r.review_by, r.reviewed"""
_REQUESTS = f"""\
SELECT {_COLUMNS},
  r.state = 'granted' AND r.until > now() AS holds,
  r.state = 'pending' AND r.made < now() - interval '{WAITS_DAYS} days' AS lapsed,
  r.reviewed IS NULL AND r.review_by < now() AS overdue
FROM pgveil.request r
WHERE r.made > now() - interval '{KEPT_DAYS} days' OR r.until > now() OR (r.kind = 'glass' AND r.reviewed IS NULL)
  OR r.kind = 'policy'
ORDER BY (r.kind = 'policy' OR (r.kind = 'glass' AND r.reviewed IS NULL) OR (r.state = 'granted' AND r.until > now())) IS TRUE
  DESC, r.id DESC LIMIT {READ_MOST}"""
_VOTES = """\
SELECT v.request, v.person, v.login, v.made, v.verdict, v.roles, v.attributes::text, v.note
FROM pgveil.vote v WHERE v.request = ANY($1::bigint[]) ORDER BY v.made"""


@dataclass(frozen=True, slots=True)
class Ballot:
    """One person's word on a request."""

    verdict: str
    """approve, reject, revoke or review."""
    vote: Vote
    login: str
    made: datetime
    note: str | None


@dataclass(frozen=True, slots=True)
class Request:
    id: int
    made: datetime
    kind: str
    """columns, glass (taken at once) or policy."""
    database: str
    login: str
    person: str
    roles: frozenset[str]
    """Those that the policy asks of people who request."""
    attributes: Mapping[str, str]
    targets: tuple[Target, ...]
    rows: str | None
    most: int | None
    used: int
    seconds: float
    reason: str
    state: str
    """pending, granted, rejected or revoked, as stored."""
    decided: datetime | None
    version: str | None
    """Of the policy that it is about."""
    until: datetime | None
    review_by: datetime | None
    reviewed: str | None
    holds: bool
    """Granted, and the time is not over."""
    lapsed: bool
    overdue: bool
    """Taken at once, and nobody has looked at it in time."""
    ballots: tuple[Ballot, ...] = ()

    @property
    def subject(self) -> str:
        """For whom it is, as `policies.attributes.subject` says."""
        return self.login if self.person in ("", self.login) else f"{self.login}/{self.person}"

    @property
    def votes(self) -> tuple[Vote, ...]:
        return tuple(b.vote for b in self.ballots if b.verdict == "approve")

    @property
    def left(self) -> int | None:
        return None if self.most is None else max(0, self.most - self.used)

    @property
    def status(self) -> str:
        """The state for people."""
        if self.state == "pending":
            return "lapsed" if self.lapsed else "pending"
        if self.state == "granted" and self.kind != "policy":
            if not self.holds:
                return "expired"
            return "used up" if self.left == 0 else "granted"
        return self.state

    @property
    def to_review(self) -> bool:
        return self.kind == "glass" and self.reviewed is None


@dataclass(frozen=True, slots=True)
class Picture:
    """What was there at one moment."""

    requests: Mapping[int, Request]
    grants: tuple[Grant, ...]


NOTHING = Picture({}, ())


@dataclass(frozen=True, slots=True)
class New:
    """A request to be made."""

    kind: str
    database: str
    login: str
    person: str
    roles: frozenset[str]
    attributes: Mapping[str, str]
    targets: tuple[Target, ...]
    rows: str | None
    most: int | None
    seconds: float
    reason: str
    review: float | None = None
    """Seconds within which somebody has to look at it; it is granted at once."""


async def is_installed(connection: asyncpg.Connection) -> bool:
    return bool(await connection.fetchval("SELECT pg_catalog.to_regclass('pgveil.request') IS NOT NULL"))


async def read(connection: asyncpg.Connection, ahead: float) -> tuple[Picture, float]:
    """All that matters now, and by how many seconds the server's clock is ahead of ours, which is `ahead` unless it has moved."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.fetch(queries.SESSION)
        found = float(await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")) - time.time()
        ahead = found if abs(found - ahead) > _CLOCKS_AGREE else ahead
        rows = await connection.fetch(_REQUESTS)
        votes = await connection.fetch(_VOTES, [r["id"] for r in rows])
    ballots: dict[int, list[Ballot]] = {}
    for v in votes:
        ballots.setdefault(v["request"], []).append(_ballot(v))
    requests = {r["id"]: _request(r, tuple(ballots.get(r["id"], ()))) for r in rows}
    grants = tuple(g for r in requests.values() if r.holds and r.kind != "policy" and (g := _grant(r, ahead)) is not None)
    return Picture(requests, grants), ahead


def _ballot(row: asyncpg.Record) -> Ballot:
    vote = Vote(row["person"], frozenset(row["roles"]), json.loads(row["attributes"]))
    return Ballot(row["verdict"], vote, row["login"], row["made"], row["note"])


def _target(stored: list[str | int]) -> Target:
    schema, relation, column, data_class, level, oid, attnum = stored
    return Target(str(schema), str(relation), str(column), str(data_class), str(level), int(oid), int(attnum))


def _request(row: asyncpg.Record, ballots: tuple[Ballot, ...] = ()) -> Request:
    targets = tuple(_target(t) for t in json.loads(row["targets"]))
    fields = {k: v for k, v in row.items() if k not in ("attributes", "targets", "roles")}
    attributes = json.loads(row["attributes"])
    return Request(roles=frozenset(row["roles"]), attributes=attributes, targets=targets, ballots=ballots, **fields)


def _grant(request: Request, ahead: float) -> Grant | None:
    """None for what cannot be read: it shows nothing. `ahead`: by how many seconds the server's clock differs from ours."""
    predicate: Predicate | None = None
    if request.rows is not None:
        read = parse_predicate(request.rows)
        if not isinstance(read, Predicate):
            return None
        predicate = read
    assert request.until is not None
    return Grant(
        id=request.id,
        person=request.subject,
        database=request.database,
        targets=request.targets,
        rows=predicate,
        until=request.until.timestamp() - ahead,
        left=request.left,
        glass=request.kind == "glass",
    )


async def make(connection: asyncpg.Connection, new: New) -> Request:
    """Store a request; one with `review` is granted at once."""
    granted = new.review is not None
    row = await connection.fetchrow(
        """INSERT INTO pgveil.request
           (kind, database, login, person, roles, attributes, targets, rows, most, seconds, reason, state, decided, until,
            review_by)
           VALUES ($1, $2, $3, $4, $14, $5::text::jsonb, $6::text::jsonb, $7, $8, $9, $10, $11,
             CASE WHEN $12 THEN now() END, CASE WHEN $12 THEN now() + make_interval(secs => $9) END,
             CASE WHEN $12 THEN now() + make_interval(secs => $13) END)
           RETURNING id""",
        new.kind, new.database, new.login, new.person, json.dumps(dict(new.attributes)),
        json.dumps([astuple(t) for t in new.targets]),
        new.rows, new.most, new.seconds, new.reason, "granted" if granted else "pending", granted, new.review or 0.0,
        sorted(new.roles),
    )  # fmt: skip
    assert row is not None
    await tell(connection)
    made = await lock(connection, row["id"])
    assert made is not None
    return made


async def made_today(connection: asyncpg.Connection, login: str) -> int:
    """Requests of a login in the last 24 hours."""
    return int(
        await connection.fetchval(
            "SELECT count(*) FROM pgveil.request WHERE login = $1 AND made > now() - interval '1 day'", login
        )
    )


async def lock(connection: asyncpg.Connection, number: int) -> Request | None:
    """The request as it is now; it stays so until the transaction ends."""
    row = await connection.fetchrow(
        f"""SELECT {_COLUMNS}, r.state = 'granted' AND r.until > now() AS holds,
              r.state = 'pending' AND r.made < now() - interval '{WAITS_DAYS} days' AS lapsed,
              r.reviewed IS NULL AND r.review_by < now() AS overdue
            FROM pgveil.request r WHERE r.id = $1 FOR UPDATE""",
        number,
    )
    if row is None:
        return None
    votes = await connection.fetch(_VOTES, [number])
    return _request(row, tuple(_ballot(v) for v in votes))


async def vote(connection: asyncpg.Connection, number: int, verdict: str, by: Vote, login: str, note: str | None) -> None:
    await connection.execute(
        """INSERT INTO pgveil.vote (request, person, login, verdict, roles, attributes, note)
           VALUES ($1, $2, $3, $4, $5, $6::text::jsonb, $7)
           ON CONFLICT (request, person, verdict)
           DO UPDATE SET login = excluded.login, made = clock_timestamp(), roles = excluded.roles,
             attributes = excluded.attributes, note = excluded.note""",
        number, by.person, login, verdict, sorted(by.roles), json.dumps(dict(by.attributes)), note,
    )  # fmt: skip
    await tell(connection)


async def settle(connection: asyncpg.Connection, number: int, state: str) -> None:
    """granted (from now on), rejected or revoked."""
    await connection.execute(
        """UPDATE pgveil.request SET state = $2, decided = now(),
             until = CASE WHEN $2 = 'granted' THEN now() + make_interval(secs => seconds) ELSE until END
           WHERE id = $1""",
        number,
        state,
    )


async def review(connection: asyncpg.Connection, number: int, finding: str) -> None:
    """What somebody thinks of a request that was granted at once."""
    await connection.execute("UPDATE pgveil.request SET reviewed = $2 WHERE id = $1", number, finding)


async def texts(connection: asyncpg.Connection, version: str) -> list[tuple[str, str]]:
    """Names and contents of the files of a policy that has been proposed."""
    found = await connection.fetchval("SELECT texts::text FROM pgveil.policy WHERE version = $1", version)
    return [(str(name), str(text)) for name, text in json.loads(found or "[]")]


async def lease(connection: asyncpg.Connection, number: int) -> int:
    """Set aside all rows that are left of a grant; how many."""
    row = await connection.fetchrow(
        """SELECT most - used - leased AS free, state = 'granted' AND until > now() AS holds
           FROM pgveil.request WHERE id = $1 AND most IS NOT NULL FOR UPDATE""",
        number,
    )
    if row is None or not row["holds"] or row["free"] <= 0:
        return 0
    await connection.execute("UPDATE pgveil.request SET leased = leased + $2 WHERE id = $1", number, row["free"])
    return int(row["free"])


async def settle_rows(connection: asyncpg.Connection, number: int, shown: int, leased: int) -> None:
    """So many rows of those that were set aside have been shown; so many are set aside no longer."""
    await connection.execute(
        "UPDATE pgveil.request SET used = used + $2, leased = leased - $3 WHERE id = $1", number, shown, leased
    )
    await tell(connection)


async def tell(connection: asyncpg.Connection) -> None:
    """All proxies, when the transaction has ended."""
    await connection.execute(f"NOTIFY {CHANNEL}")
