"""The shape of a policy's answer: what one session may see of each sensitive column.

`policies` is pure: no sockets, no SQL parsing. The catalog is handed in as plain values (relation OID, attnum, names, types).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from policies.failure import Exemption
from policies.filters import MASKED, Filters
from policies.limits import NO_CAPS, Caps

COMPANION = "pgveil"
"""The schema that `pgveil install` makes: functions of keyed masks and their keys. Masked sessions may use nothing of it."""


class Show(enum.Enum):
    CLEAR = "clear"
    MASK = "mask"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class ColumnType:
    """What a mask needs to know of the column it masks."""

    base_type: str
    """pg_type.typname of the base type, domains taken off: text, bpchar, varchar, numeric, date, jsonb, _text, ..."""
    category: str
    """pg_type.typcategory of the base type."""
    base_sql: str
    """How the base type is written in a cast, with typmod and schema: `pg_catalog.numeric(18,2)`."""


class Mask(Protocol):
    """A masking function with two faces that give the same result: an SQL expression and a Python function."""

    @property
    def name(self) -> str: ...

    def accepts(self, column: ColumnType) -> str | None:
        """None when the mask can be used on the type, otherwise a sentence that says why not."""

    def sql(self, column: str, column_type: ColumnType) -> str:
        """An expression over `column` (already quoted SQL), of any type assignable to the column's own; NULL stays NULL.

        Uses builtin functions only and names everything in full (`pg_catalog.left`, `OPERATOR(pg_catalog.||)`).
        A mask whose `is_expression` is true instead returns the policy's own SQL text, with `$1` for the column, which
        `rewrite` pins to pg_catalog before use.
        """

    @property
    def is_expression(self) -> bool: ...

    @property
    def companions(self) -> frozenset[str]:
        """Names of the functions in `COMPANION` that the SQL face calls."""

    def apply(self, value: object) -> object:
        """The Python face, on the value as Python has it (str, int, Decimal, date, datetime, dict/list for json, bytes)."""


@dataclass(frozen=True, slots=True)
class Branch:
    """One step of a decision: where `rows` holds for the row (or always, when None), the column shows like this."""

    rows: str | None
    """SQL predicate over the relation's own columns, `:user.*` already replaced by literals; None: every row."""
    show: Show
    mask: Mask | None
    """The mask for Show.MASK; None otherwise."""
    rule: str | None
    """Name of the rule that matched; None when the class's default applies."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a session sees of one column. The last branch has no predicate."""

    data_class: str
    level: str
    branches: tuple[Branch, ...]
    filters: Filters = MASKED
    """What a comparison with the column compares; its budget is the one of this session's person."""

    @property
    def is_clear(self) -> bool:
        return self.branches[0].show is Show.CLEAR and self.branches[0].rows is None

    @property
    def is_denied(self) -> bool:
        return any(b.show is Show.DENY for b in self.branches)

    @property
    def show(self) -> str:
        """clear, mask, deny, or conditional when the row decides whether it is clear."""
        if len(self.branches) == 1:
            return self.branches[0].show.value
        if any(b.show is Show.CLEAR for b in self.branches):
            return "conditional"
        return Show.DENY.value if self.is_denied else Show.MASK.value

    @property
    def rule(self) -> str | None:
        """The rule that decides first; where the row decides, the first that shows some rows in clear."""
        branches = self.branches
        if len(branches) > 1:
            return next((b.rule for b in branches if b.show is Show.CLEAR), branches[0].rule)
        return branches[0].rule

    @property
    def other_rules(self) -> tuple[str, ...]:
        """Further rules that show some rows in clear."""
        named = dict.fromkeys(b.rule for b in self.branches if b.show is Show.CLEAR and b.rule is not None)
        return tuple(name for name in named if name != self.rule)


@dataclass(frozen=True)
class Profile:
    """What the policy says about every sensitive column of one database for one session context."""

    key: str
    """Digest of everything that decides: sessions with equal keys see the same and share cached plans."""
    policy_version: str
    decisions: Mapping[int, Mapping[int, Decision]]
    """relation OID -> attnum -> decision. Columns that are not sensitive are absent."""
    functions: frozenset[str] = frozenset()
    """Functions outside pg_catalog that masked sessions may call, as schema.name."""
    extensions: frozenset[str] = frozenset()
    """Extensions, beyond the built-in list, whose functions masked sessions may call."""
    valid_until: float | None = None
    """Unix time at which a time condition of a rule changes the answer; None: until policy, roles or catalog change."""
    masked: bool = field(default=False)
    """At least one column of an ordinary (not system) relation is masked, conditional or denied for this session."""
    always_clear: bool = False
    """Nothing can be masked for this session while the policy stays, whatever relations and roles there may be."""
    may_mask: bool = False
    """Nothing is masked now, but a relation that comes may be."""
    assertable: frozenset[str] = frozenset()
    """Attributes that the session may assert (SET veil.<name>)."""
    commented: frozenset[str] = frozenset()
    """Those that it may assert in a comment, for one statement."""
    caps: Caps = NO_CAPS
    """How much the person may learn."""
    exemption: Exemption | None = None
    """Statements that cannot be read go upstream as they came."""
    broken: bool = False
    """What the policy says could not be computed: no statement can be read. Of exempt logins only; others get no profile."""
    metered: bool = False
    """Rows are counted as they are shown (`proxy.session.metering`)."""
    notice: bool = False
    """The first masked result of a session is to say so."""
    person: str = field(default="", compare=False)
    """Whom the session acts for: the login, or who a trusted application says it is. Not part of `key`."""
    has_filters: bool = False
    """A masked column has other `filters` than comparisons with masked values."""
    rationed: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    """Columns, as (schema.table, column), that grants show for a number of rows only, and the names of these grants."""
    may_classify: Callable[[str, str], bool] = field(default=lambda schema, relation: True, compare=False)
    """Whether a column that the relation gets may be sensitive, by its schema and name: an entry of the policy reaches it."""
