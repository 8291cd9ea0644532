"""What the control plane works with: the policy package as it sees it, its settings, and what it keeps of each database."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from policies.approvals import Grant
from policies.attributes import UserTable
from policies.matching import Context
from policies.model import Profile
from proxy.control.database import DatabaseWatch
from proxy.control.people import People
from proxy.control.roles import Roles
from proxy.control.ruling import Loader
from proxy.session.effects import Identity, Planner
from rewrite.catalog import Catalog, Relation

Granted = Callable[[str, str], tuple[Grant, ...]]
"""What has been approved for a person in a database."""


class Engine(Loader, Protocol):
    """The policy package, as the control plane uses it."""

    def classify(self, policy: Any, relations: Mapping[int, Relation], before: Any = None) -> Any:
        """`before` is the last answer for the same database and policy: what was sensitive stays so under another name."""

    def profile(
        self,
        policy: Any,
        classification: Any,
        relations: Mapping[int, Relation],
        identity: Identity,
        roles: Callable[[str], frozenset[str]],
        now: float,
        people: People,
        grants: Granted,
    ) -> tuple[Profile, frozenset[str]]:
        """The profile, and the roles that count. `roles`: whom a role counts as; `people`: the attributes of logins."""

    def broken_profile(self, policy: Any, identity: Identity, now: float) -> Profile | None:
        """When `profile` has raised: what a login gets that may go on all the same (`on_failure`); None: it may not."""

    def people_table(self, policy: Any) -> UserTable | None:
        """Where the attributes of logins are."""

    def context(
        self, policy: Any, identity: Identity, roles: Callable[[str], frozenset[str]], people: People, grants: Granted
    ) -> Context:
        """Who the session is now, as the rules see it."""


@dataclass(frozen=True, slots=True)
class Options:
    """Seconds."""

    interval: float = 1.0
    """Between two looks at a database."""
    max_stale: float = 30.0
    """How long a picture that cannot be confirmed may still be used."""
    linger: float = 1.0
    """How long the connection to a database outlives its last session; it would keep DROP DATABASE from working."""
    idle: float = 600.0
    """What is known about a database that no session uses is let go after this."""


DEFAULTS = Options()


@dataclass(frozen=True, slots=True)
class View:
    """What `current` answers."""

    catalog: Catalog
    profile: Profile
    planner: Planner
    epoch: int
    watch: DatabaseWatch
    roles: frozenset[str]

    @property
    def pooler(self) -> bool:
        return self.watch.pooler

    @property
    def origin(self) -> tuple[str, int] | None:
        return self.watch.origin

    def is_confirmed(self, max_age: float) -> bool:
        """Whether the catalog was found right by a look at most `max_age` seconds ago, after the last DDL we saw."""
        return self.watch.is_confirmed(max_age)


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything that belongs together for one database."""

    catalog: Catalog
    roles: Roles
    policy: Any
    classification: Any


@dataclass(frozen=True, slots=True)
class DatabaseStatus:
    """For /readyz and /metrics."""

    database: str
    usable: bool
    age: float
    """Seconds since the picture was last confirmed."""
    sessions: int
    relations: int
    reason: str


ProfileKey = tuple[str, str, str, bool, tuple[tuple[str, str], ...], bool]


@dataclass(slots=True)
class Served:
    """What the control plane keeps for one database."""

    planner: Planner
    watch: DatabaseWatch
    pinned: bool
    picture: Picture | None = None
    profiles: OrderedDict[ProfileKey, tuple[Profile, frozenset[str]]] = field(default_factory=OrderedDict)
    sessions: int = 0
    used: float = 0.0
    usable: bool = False
    """What the sessions were last told, by way of the epoch."""
    reported: str = ""
    """The failure that was last told to `on_event`."""
    pooler: bool = False
    """A pooler that the configuration does not name has been told to `on_event`."""
