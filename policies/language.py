"""The policy language as values: classes, dictionary entries, rules. `policies.load` makes them from YAML.

Everything here is immutable and knows the place (`file:line`) it came from, for `pgveil check` and `pgveil explain`.
"""

from __future__ import annotations

import enum
import ipaddress
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from policies.attributes import Attributes
from policies.failure import Exemption
from policies.filters import MASKED, Filters
from policies.limits import Limit
from policies.masks.base import BaseMask
from policies.model import Show
from policies.names import Pattern
from policies.predicate import Predicate
from policies.schedule import DEFAULT_ZONE, Schedule

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

UNCLASSIFIED = "unclassified"
"""Class of the columns that `unclassified.new_columns_of` catches."""
ANY = "*"
"""As a value of an attribute: whatever it is, as long as there is one."""
PUBLIC = "public"
"""Written in the dictionary for a column that was reviewed and found harmless."""


@dataclass(frozen=True, slots=True)
class DataClass:
    """A kind of sensitive data."""

    name: str
    level: str
    mask: BaseMask
    place: str
    show: Show = Show.MASK
    """What is shown where no rule matches; DENY only for `unclassified: {show: deny}`."""


@dataclass(frozen=True, slots=True)
class ColumnEntry:
    """One line of the dictionary."""

    pattern: Pattern
    data_class: str
    """Name of a class, or `public`."""
    mask: BaseMask | None
    """Overrides the class's mask for these columns."""
    place: str
    order: int
    filters: Filters = MASKED

    @property
    def rank(self) -> tuple[int, int]:
        """Sorts the winner first: fewest wildcards, then the later line."""
        return (self.pattern.wildcards, -self.order)


@dataclass(frozen=True, slots=True)
class Unclassified:
    relations: tuple[Pattern, ...]
    data_class: DataClass
    place: str


@dataclass(frozen=True, slots=True)
class Override:
    """Something that a later file says otherwise than an earlier one."""

    what: str
    place: str
    """Of what counts."""
    replaced: str
    """Of what does not."""


class SelectorKind(enum.Enum):
    ALL = "all"
    LEVEL = "level"
    CLASS = "class"
    NAME = "name"


_COMPARE = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt, "=": operator.eq}


@dataclass(frozen=True, slots=True)
class Selector:
    """Which sensitive columns a rule speaks of: `*`, `level<=C2`, `class=phone` or a name pattern."""

    source: str
    kind: SelectorKind
    compare: str = "="
    value: str = ""
    pattern: Pattern | None = None

    def selects(self, data_class: DataClass, schema: str, relation: str, column: str) -> bool:
        """Whether it speaks of this column, which is of that class."""
        if self.pattern is not None:
            return self.pattern.matches(schema, relation, column)
        return self.selects_class(data_class)

    def selects_class(self, data_class: DataClass) -> bool:
        """For every kind but NAME."""
        if self.kind is SelectorKind.LEVEL:
            return bool(_COMPARE[self.compare](level_key(data_class.level), level_key(self.value)))
        return self.kind is SelectorKind.ALL or (self.kind is SelectorKind.CLASS and self.value == data_class.name)


def level_key(level: str) -> tuple[object, ...]:
    """Natural order of level names: C1 < C2 < C10, 1 < 2 < 5; `unclassified` is above every level."""
    if level == UNCLASSIFIED:
        return ((2, ""),)
    return tuple((0, int(t)) if t.isdigit() else (1, t) for t in re.findall(r"[0-9]+|[^0-9]+", level))


@dataclass(frozen=True, slots=True)
class Rule:
    """Who sees which columns how, and when. Conditions left out hold for everybody."""

    name: str
    roles: frozenset[str]
    users: frozenset[str]
    databases: frozenset[str]
    applications: tuple[str, ...]
    """Shell-style patterns of application_name."""
    networks: tuple[Network, ...]
    tls: bool | None
    """The client's connection is encrypted, or is not; None: either."""
    schedule: Schedule | None
    claims: tuple[tuple[str, frozenset[str]], ...]
    """Attributes of the person and the values that hold, one of each; ANY for any value."""
    columns: tuple[Selector, ...]
    rows: Predicate | None
    show: Show
    mask: BaseMask | None
    """For Show.MASK: the rule's own mask; None means the mask of the column's class."""
    place: str

    @property
    def unconditional(self) -> bool:
        """Matches every session."""
        who = self.roles or self.users or self.databases or self.applications or self.networks or self.claims
        return not who and self.tls is None and self.schedule is None


@dataclass(frozen=True, slots=True)
class BreakGlass:
    """Who may see at once, and answer for it later."""

    roles: frozenset[str]
    max: float
    """Seconds for which it lasts at most."""
    review: float
    """Seconds within which somebody else has to look at it."""


@dataclass(frozen=True, slots=True)
class Approval:
    """Who may ask to see columns in clear, and who may say yes."""

    columns: tuple[Selector, ...]
    approvers: frozenset[str]
    """Roles."""
    requesters: frozenset[str]
    """Roles; empty: everybody."""
    same: tuple[str, ...]
    """Attributes that approver and requester must have in common, such as branch."""
    need: int
    """How many approvers."""
    max: float
    """Seconds for which it may be given at most."""
    asserted: bool
    """Roles that a trusted application asserts make approvers."""
    max_rows: int | None
    """A number of rows has to be asked for, at most this one; None: there need be none."""
    glass: BreakGlass | None
    place: str


DAY = 86400.0
LEARN = 30 * DAY
AFTER = 90 * DAY


@dataclass(frozen=True, slots=True)
class Hours:
    """Working hours."""

    schedule: Schedule
    holidays: frozenset[date]


@dataclass(frozen=True, slots=True)
class Watch:
    """What the auditor needs to know of an alert (`policies.watching`). Conditions that are left out hold for everything."""

    roles: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    not_users: frozenset[str] = frozenset()
    databases: frozenset[str] = frozenset()
    applications: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    outside: Hours | None = None
    zone: str = DEFAULT_ZONE
    rows_at_most: int | None = None
    times_usual: float | None = None
    times_peers: float | None = None
    peers: int = 5
    days: int = 1
    learn: float = LEARN
    after: float = AFTER
    of: str = "class"
    quiet: float = 3600.0


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that somebody has to be told of (`policies.alerts`)."""

    name: str
    kind: str
    columns: tuple[Selector, ...]
    """For the kind `clear`: which columns, shown in clear."""
    more_than: int
    within: float
    """Seconds: the window in which it is counted, and for which nothing more is said after an alert."""
    per: str
    """user, address, database or application."""
    severity: str
    place: str
    watch: Watch | None = None
    """What only the auditor can tell, from the trail; None: the proxy raises it at once."""


@dataclass(frozen=True, slots=True)
class PolicyChanges:
    """Who has to agree before another policy takes effect."""

    approvers: frozenset[str]
    need: int
    place: str

    @property
    def approval(self) -> Approval:
        return Approval((), self.approvers, frozenset(), (), self.need, 0.0, False, None, None, self.place)


@dataclass(frozen=True, slots=True)
class Policy:
    """A whole policy, from one or more files."""

    version: str
    """Digest of the files' content."""
    classes: Mapping[str, DataClass]
    entries: tuple[ColumnEntry, ...]
    unclassified: Unclassified | None
    rules: tuple[Rule, ...]
    functions: frozenset[str]
    """Functions outside pg_catalog that masked sessions may call, as schema.name."""
    extensions: frozenset[str]
    """Extensions whose functions masked sessions may call."""
    attributes: Attributes = field(default_factory=Attributes)
    limits: tuple[Limit, ...] = ()
    on_failure: Mapping[str, Exemption] = field(default_factory=dict)
    """By login."""
    alerts: tuple[Alert, ...] = ()
    overrides: tuple[Override, ...] = ()
    """For people: what later files replaced."""
    approvals: tuple[Approval, ...] = ()
    changes: PolicyChanges | None = None
    texts: tuple[tuple[str, str], ...] = field(default=(), compare=False, repr=False)
    """Names and contents of the files it is from."""
    notice: bool = True
    """The first masked result of a session says so."""

    def may_classify(self, schema: str, relation: str) -> bool:
        """Whether some column of the relation, one that it does not have yet perhaps, may be sensitive."""
        patterns = [e.pattern for e in self.entries if e.data_class != PUBLIC]
        patterns += self.unclassified.relations if self.unclassified is not None else ()
        return any(p.reaches(schema) and p.parts[1].matcher()(relation) for p in patterns)

    def data_class(self, name: str) -> DataClass:
        if name == UNCLASSIFIED and self.unclassified is not None:
            return self.unclassified.data_class
        return self.classes[name]
