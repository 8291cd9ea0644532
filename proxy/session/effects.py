"""What a session needs from the world, and what it tells the world: values and protocols, no behaviour.

The session core does no IO. It is handed an `Authority` (what this login may see now), an `AuditSink` (where evidence
goes), a clock and its limits; it leaves bytes in `to_server` and `to_client` for the transport to write.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Protocol

from policies.failure import Exemption
from policies.model import Profile
from rewrite.catalog import Catalog
from rewrite.plan import Command, Plan, PlanContext, Refusal, Touch

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the session is: the login and where it comes from. SET ROLE does not change it."""

    user: str
    """Login name, cut to 63 bytes as the server cuts it."""
    database: str
    application_name: str = ""
    """As the server last reported it."""
    client_address: str = ""
    client_port: int = 0
    tls: bool = False
    asserted: tuple[tuple[str, str], ...] = ()
    """What the session says of the person it acts for, by name: settings veil.<name> as the server has them. Only what the policy
    lets the login assert."""
    spent: bool = False
    """It has seen as much in clear as the policy's `limits` allow: whatever would be clear is masked."""
    startup: tuple[tuple[str, str], ...] = ()
    """Parameters of the StartupMessage in order, duplicates kept (the last one wins)."""


class Planner(Protocol):
    def plan(self, text: str, context: PlanContext) -> Plan:
        """Synchronous, cached, never raises."""

    def recall(self, text: str, context: PlanContext) -> Plan | None:
        """The plan of a long text if that needs no thinking."""

    def keep(self, text: str, context: PlanContext, plan: Plan, seconds: float) -> None:
        """A plan has been made elsewhere, in so many seconds."""


@dataclass(frozen=True, slots=True, eq=False)
class PlanRequest:
    """A text to be planned where it keeps no other session waiting."""

    planner: Planner
    text: str
    context: PlanContext

    def is_same(self, other: PlanRequest) -> bool:
        """Whether its plan is also the other's."""
        a, b = self.context, other.context
        return (
            self.text == other.text
            and a.catalog.version == b.catalog.version
            and a.profile.key == b.profile.key
            and (a.resolution, a.standard_strings, a.extended, a.parameters, a.transient)
            == (b.resolution, b.standard_strings, b.extended, b.parameters, b.transient)
        )


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A command for pgveil itself, with its arguments."""

    identity: Identity
    command: Command
    values: tuple[str | int | None, ...]
    last: Plan | None
    """Of the session's last statement."""
    sid: str


LEASE = Command("lease")
"""Not a client's: rows of grants are to be set aside for this process before a statement draws on them. The values are the
grants' numbers, the answer is empty."""


class View(Protocol):
    """One consistent picture of catalog and policy for one session context."""

    @property
    def catalog(self) -> Catalog: ...
    @property
    def profile(self) -> Profile: ...
    @property
    def planner(self) -> Planner: ...
    @property
    def epoch(self) -> int:
        """The authority's epoch at which the view was made."""

    @property
    def pooler(self) -> bool:
        """The control connection goes by way of a pooler."""

    @property
    def origin(self) -> tuple[str, int] | None:
        """System identifier and database OID of the catalog; None where nobody asked for them (no pooling)."""

    @property
    def roles(self) -> frozenset[str]:
        """The roles that the login counts as."""

    def is_confirmed(self, max_age: float) -> bool:
        """Whether the catalog was found right by a look at most `max_age` seconds ago, after any DDL we saw."""


class Authority(Protocol):
    @property
    def epoch(self) -> int:
        """Changes whenever any view may be out of date; compared before every statement."""

    def current(self, identity: Identity, now: float) -> View:
        """May raise when there is no view to be had. If the exception has `sqlstate` and `message` (and `hint`), the client
        is told these; the session ends either way."""


class TextDigest(Protocol):
    """Computes the digest of a text that comes in pieces."""

    def update(self, data: bytes) -> None: ...

    def hexdigest(self) -> str: ...


UNTOLD = "\0"
"""In place of what a parameter says that cannot be read. No text of the server's has such a character."""
Binds = Sequence[str | None] | None
"""Digests of parameters: None for NULL, empty for one that cannot be told. None altogether: there are none, or nobody knows."""


class Unrecorded(Exception):
    """A sink cannot take a record in, and the session cannot go on without. The text is fit for clients."""


class AuditSink(Protocol):
    """Takes evidence in order. Nothing is on disk until the transport has flushed the writer."""

    def identity(self, identity: Identity) -> None:
        """Who the session is from here on: the application name has changed."""

    def context(self, profile: Profile, roles: Iterable[str]) -> None:
        """What decides from here on: every later decision names this policy version, profile and these roles."""

    @property
    def values(self) -> bool:
        """Whether it wants to know what parameters say."""

    def bound(self, values: Sequence[str | None] | None) -> Binds:
        """Digests of the parameters of a Bind, for `decision` and `named`. `values`: None for NULL, UNTOLD for what cannot be
        read; None altogether when nobody knows."""

    def named(self, plan: Plan, index: int, text: str, binds: Binds) -> Set[str] | None:
        """Digests of all constants and parameters of a statement; None when there may be others."""

    def decision(self, sid: str, kind: str, plan: Plan, index: int, text: str, protocol: str, binds: Binds = None) -> object:
        """One record per statement, before any byte of its result is given to the client. The answer is for `outcome`.

        `kind` is `statement` (goes upstream) or `refusal` (an error is given in its place; `plan.refusal` says which).
        `index` is the statement's place in `plan.statements`, which may be shorter or empty for texts that were not
        understood. `text` is the client's own text. `protocol` is simple, extended or function. `binds`: its
        parameters, as `bound` has answered.
        """

    def digest(self, codec: str | None) -> TextDigest:
        """For a text in that encoding that is too long to be kept. The answer goes into `Plan.digest`."""

    def outcome(self, decided: object, tag: str | None, rows: int, bytes_: int, seconds: float, sqlstate: str | None) -> None:
        """How the statement ended. `tag` is None when it failed or was never reached; then `sqlstate` says why.

        A portal that stopped at its row limit has the tag `SUSPENDED`.
        """

    def event(self, kind: str, fields: Mapping[str, str | int | bool]) -> None:
        """Something that is not a statement: guard, protocol_error, replication. `fields` holds `sid` and no data."""


class Allowance(Protocol):
    """Rows that somebody may still get. Shared by whatever draws on it: asked for each run of rows before it is relayed, so that
    all that draw on it together never get more than there is."""

    def left(self) -> int:
        """Rows that may still go to the client."""

    def take(self, rows: int) -> int:
        """So many rows are to go to the client. How many of them may; these count from now on."""

    def give_back(self, rows: int) -> None:
        """Some of the rows taken last do not go to the client after all."""

    @property
    def lease(self) -> int:
        """Where rows have to be set aside first: the grant to be asked for (`Asked` of the command `lease`). 0: nothing."""

    @property
    def refusal(self) -> Refusal:
        """What the client is told when it may get no more."""

    @property
    def details(self) -> Mapping[str, str | int | bool]:
        """For the audit event `rows_withheld`; no data."""


class Meter(Protocol):
    """Counts what is shown, and says where it ends."""

    def allowances(self, identity: Identity, profile: Profile, touches: Sequence[Touch] | None) -> tuple[Allowance, ...]:
        """On what the rows of a statement with these touches draw; empty when they are not counted. Asked once for each statement
        of a session whose profile is `metered`. None: nobody knows what the
        rows show (a cursor that a function has opened)."""

    def is_spent(self, identity: Identity, profile: Profile) -> bool:
        """Whether everything has to be masked from now on, because enough has been seen. Asked before each statement of a session
        whose profile is `metered`."""

    def named(self, profile: Profile, digests: Set[str] | None) -> tuple[Refusal, Mapping[str, str | int | bool]] | None:
        """A statement that shows something in clear names these values (None: nobody knows which). Counts them, if that is within
        the limits; otherwise why it is refused, and the details of the event `values_withheld`."""

    def let_through(self, identity: Identity, exemption: Exemption) -> bool:
        """A statement that cannot be read is about to go upstream unmasked: counts it, and says whether it may."""


class Probes(Protocol):
    """Counts what people look for in masked columns, over all processes that serve them (`proxy.ledger`)."""

    def spend(self, person: str, column: str, values: Sequence[str], limit: int, now: float) -> float | None:
        """Count those of the values that are new to the person within the hour. None: that is within the limit. Otherwise none of
        them is counted, and this is the time from which on they may be, infinite for more than the limit ever allows."""


class Pooling(enum.Enum):
    """Whether the server connection is the session's own (docs/pooling.md)."""

    AUTO = "auto"
    """TRANSACTION if the control connection has met a pooler, otherwise NONE."""
    NONE = "none"
    SESSION = "session"
    """A pooler's, for as long as the session lasts; others have used it before."""
    TRANSACTION = "transaction"
    """Another client's after every transaction."""


@dataclass(frozen=True, slots=True)
class SessionOptions:
    sid: str = ""
    """Session id for the records."""
    max_statement: int = 64 * MIB
    """Longest Query or Parse message, in bytes."""
    max_backlog: int = 16 * MIB
    """Most client input kept while the session is held, in bytes. Reading should stop long before (`Session.held`)."""
    quiet: float = 0.003
    """Seconds without a word from the server after which a session counts as having been quiet."""
    confirmed: float = 0.25
    """Oldest look at the catalog, in seconds, on which a masked session may rely. When it has been quiet, or has just begun, the
    catalog must also have been looked at since: somebody else may have changed it before."""
    clock: Callable[[], float] = time.time
    """Wall clock, for rules that depend on the time."""
    pooling: Pooling = Pooling.NONE
    probes: Probes | None = None
    """None: nothing may be looked for."""
    meter: Meter | None = None
    """Counts the rows of those whose profile is `metered`; None: nobody's."""
    timer: Callable[[], float] = time.perf_counter
    """Monotonic clock, for durations."""
