"""Who may come in, and how often: counts of sessions, rates of arrivals and of failed log-ins.

Nobody can be locked out by his name alone. What counts sessions of a user or a database is asked only when the server has
accepted the log-in, so that nobody fills a place that is not his; failed log-ins are counted for a user *at one address*;
everything else goes by address. Until the server has spoken the answers depend on nothing but what the client itself has
done before, so they tell nothing about which users or databases exist.

Memory is bounded: sessions are counted only while they last, and the tables of rates forget whoever has been quiet the
longest. An IPv6 client has a whole network to itself, so addresses are counted by /64. Pure but for its clock; one per
process, and processes share nothing.
"""

from __future__ import annotations

import ipaddress
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from proxy.errors import TooManyConnections

TABLE = 10_000
"""Entries a table of rates may have."""

_K = TypeVar("_K")


@dataclass(frozen=True, slots=True)
class Rate:
    """So many at once, and so many within `seconds` from then on."""

    count: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Ceilings:
    """0 and None: no limit."""

    connections: int = 500
    per_user: int = 0
    per_address: int = 0
    per_database: int = 0
    arrivals: Rate | None = None
    """New connections of one address."""
    failures: Rate | None = None
    """Failed log-ins of one user from one address."""
    address_failures: Rate | None = None
    """Failed log-ins from one address, whatever the names."""


class TurnedAway(TooManyConnections):
    """`limit` names the key of the configuration that did it."""

    def __init__(self, limit: str, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.limit = limit


class TooFast(TurnedAway):
    """PostgreSQL's configuration_limit_exceeded."""

    sqlstate = "53400"


class Bucket(Generic[_K]):
    """Tokens by key: one is taken for each event, and they come back at the rate's pace."""

    def __init__(self, rate: Rate, clock: Callable[[], float], table: int = TABLE) -> None:
        self._rate = rate
        self._clock = clock
        self._table = table
        self._left: OrderedDict[_K, tuple[float, float]] = OrderedDict()
        """Tokens, and when that was so. A key that is not there has all of them."""

    def __len__(self) -> int:
        return len(self._left)

    def is_empty(self, key: _K) -> bool:
        """Whether there is no token left."""
        return self._tokens(key) < 1.0

    def take(self, key: _K) -> None:
        left = max(0.0, self._tokens(key) - 1.0)
        self._left[key] = (left, self._clock())
        self._left.move_to_end(key)
        if len(self._left) > self._table:
            self._left.popitem(last=False)

    def fill(self, key: _K) -> None:
        self._left.pop(key, None)

    def _tokens(self, key: _K) -> float:
        known = self._left.get(key)
        if known is None:
            return float(self._rate.count)
        tokens, then = known
        return min(float(self._rate.count), tokens + (self._clock() - then) * self._rate.count / self._rate.seconds)


class Admission:
    """Calls come in pairs: `arrive` and `depart` around everything that has sent a start-up packet, `enter` and `leave`
    around every session that the server has accepted. What raises has counted nothing."""

    def __init__(self, ceilings: Ceilings, clock: Callable[[], float] = time.monotonic) -> None:
        self.ceilings = ceilings
        self._sessions = 0
        self._addresses: Counter[str] = Counter()
        self._users: Counter[str] = Counter()
        self._databases: Counter[str] = Counter()
        c = ceilings
        self._arrivals = Bucket[str](c.arrivals, clock) if c.arrivals else None
        self._failures = Bucket[tuple[str, str]](c.failures, clock) if c.failures else None
        self._address_failures = Bucket[str](c.address_failures, clock) if c.address_failures else None

    def arrive(self, address: str, user: str) -> None:
        """Somebody asks to be led to the server. Raises TurnedAway."""
        place = place_of(address)
        if self._arrivals is not None:
            if self._arrivals.is_empty(place):
                raise TooFast("connection_rate", "too many connection attempts from your address", "Try again later.")
            self._arrivals.take(place)
        if self._failures is not None and self._failures.is_empty((user, place)):
            raise TooFast("failed_logins", "too many failed logins from your address", "Try again later.")
        if self._address_failures is not None and self._address_failures.is_empty(place):
            raise TooFast("failed_logins_per_address", "too many failed logins from your address", "Try again later.")
        c = self.ceilings
        if self._sessions >= c.connections:
            raise TurnedAway("connections", "sorry, too many clients already")
        if c.per_address and self._addresses[place] >= c.per_address:
            raise TurnedAway("connections_per_address", "too many connections from your address")
        self._sessions += 1
        self._addresses[place] += 1

    def depart(self, address: str) -> None:
        self._sessions -= 1
        _drop(self._addresses, place_of(address))

    def enter(self, user: str, database: str) -> None:
        """The server has accepted the log-in. Raises TurnedAway, in PostgreSQL's own words."""
        c = self.ceilings
        if c.per_user and self._users[user] >= c.per_user:
            raise TurnedAway("connections_per_user", f'too many connections for role "{user}"')
        if c.per_database and self._databases[database] >= c.per_database:
            raise TurnedAway("connections_per_database", f'too many connections for database "{database}"')
        self._users[user] += 1
        self._databases[database] += 1

    def leave(self, user: str, database: str) -> None:
        _drop(self._users, user)
        _drop(self._databases, database)

    def failed(self, address: str, user: str) -> None:
        """The server has refused a password."""
        place = place_of(address)
        if self._failures is not None:
            self._failures.take((user, place))
        if self._address_failures is not None:
            self._address_failures.take(place)

    def succeeded(self, address: str, user: str) -> None:
        """The user has shown that he knows it; the address has to live with what came from it."""
        if self._failures is not None:
            self._failures.fill((user, place_of(address)))


def place_of(address: str) -> str:
    """What is counted as one address."""
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, 64), strict=False))


def _drop(counts: Counter[str], key: str) -> None:
    if counts[key] <= 1:
        del counts[key]
    else:
        counts[key] -= 1
