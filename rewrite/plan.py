"""What the planner answers: a plan is a value, a refusal is a plan.

The session hands the planner one client text (a simple Query string or the text of a Parse) and gets back what to send
upstream, what to tell the auditor, and what the statement will change in the session. Nothing here touches a socket.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from policies.model import Profile
from rewrite.catalog import Catalog, Function


@dataclass(frozen=True, slots=True)
class TempView:
    """A temporary view of the session, as the server told it."""

    name: str
    columns: tuple[str, ...]
    sql: str
    """pg_get_viewdef() under the search_path of the `Resolution` it belongs to: names are to be read with that."""
    own: bool = True
    """Its owner is the role that the session acts as."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """How the server resolves unqualified names in this session right now, as the server itself told us."""

    path: tuple[str, ...]
    """Effective schemas in order (current_schemas(true)); the session's temporary schema appears as `pg_temp`."""
    temp: frozenset[str] = frozenset()
    """Names of the relations in the session's temporary schema."""
    fresh: frozenset[tuple[str, str]] = frozenset()
    """Tables, materialized views, sequences and indexes, as (schema, name), that the open transaction has made: nobody else can
    know them yet."""
    unread: frozenset[tuple[str, str]] = frozenset()
    """The same of views and foreign tables, whose definitions have not been read."""
    renamed: frozenset[tuple[str, str, int]] = frozenset()
    """Relations of the catalog that the open transaction has given another name: schema and name of now, OID."""
    altered: frozenset[int] = frozenset()
    """OIDs of relations of the catalog whose columns the open transaction has added, changed or dropped."""
    views: tuple[TempView, ...] = ()
    """Those of them that are views."""
    tainted: frozenset[str] = frozenset()
    """Names of temporary relations that may hold masked values."""
    creates_temporary: bool = False
    """The setting itself names pg_temp first: what is made without a schema is temporary. Otherwise pg_temp is only looked in."""
    temp_schema: str | None = None
    """The session's temporary schema by its number, pg_temp_5; empty when there is none. None: not told, because plans are shared
    by sessions as long as no text has such a number in it."""
    types: frozenset[tuple[str, str]] = frozenset()
    """Types, as (schema, name), that the open transaction has made, row types of tables among them."""
    functions: tuple[Function, ...] = ()
    """Functions that the open transaction has made or changed: the catalog does not have them yet."""
    strange: frozenset[str] = frozenset()
    """Names of temporary relations that somebody else has left on a pooled server connection."""


@dataclass(frozen=True, slots=True)
class PlanContext:
    """Everything a plan depends on besides the text. Hashable parts form the cache key."""

    catalog: Catalog
    profile: Profile
    resolution: Resolution | None
    """None: unknown at the moment; a plan that needs it answers NEED."""
    standard_strings: bool = True
    """standard_conforming_strings as the server last reported it."""
    extended: bool = False
    """The text came in a Parse message."""
    parameters: tuple[int, ...] = ()
    """OIDs of types outside pg_catalog that the client gave to parameters."""
    transient: bool = False
    """The server connection is another client's after the transaction: nothing may be left on it, nothing is found again."""


POISON = "SELECT 'refused by pgveil'::pg_catalog.int4"
"""A statement that must fail, with POISON_STATE, in any session and whatever its objects are called."""
POISON_STATE = "22P02"


class Verdict(enum.Enum):
    PASS = "pass"  # goes upstream as it came
    REWRITE = "rewrite"
    REFUSE = "refuse"
    NEED = "need"  # cannot be planned before the session has fetched what `need` names


class Need(enum.Flag):
    RESOLUTION = enum.auto()  # run the resolution probe on the session's own server connection
    CATALOG = enum.auto()  # refresh the catalog: the text names something we have not seen


class Effect(enum.Flag):
    """What executing the statement may change that the session has to know about."""

    NONE = 0
    RESOLUTION = enum.auto()  # search_path, role or temporary relations may be different afterwards
    DDL = enum.auto()  # the catalog may be different afterwards
    TRANSACTION_END = enum.auto()  # COMMIT, ROLLBACK, ROLLBACK TO: undoes SET LOCAL, SET, CREATE TEMP ...
    PREPARES = enum.auto()  # SQL-level PREPARE
    EXECUTES = enum.auto()  # SQL-level EXECUTE of an earlier PREPARE
    COPY_IN = enum.auto()
    COPY_OUT = enum.auto()
    WRITES = enum.auto()
    TAINTS = enum.auto()  # masked values may be in temporary relations afterwards
    OPENS = enum.auto()  # DECLARE CURSOR
    FETCHES = enum.auto()  # FETCH or MOVE: goes on with a query that was decided when its cursor was opened
    COMMAND = enum.auto()  # it is addressed to pgveil itself
    ASSERTS = enum.auto()  # what the session asserts of the person behind it (SET veil.…) may be different afterwards


SHOWN = frozenset({"clear", "conditional"})
OUT = frozenset({"output", "unknown"})


@dataclass(frozen=True, slots=True)
class Touch:
    """A sensitive column that a statement reads or writes, for the auditor."""

    relation: str
    column: str
    data_class: str
    level: str
    use: str
    """output, filter, join, group, sort, write or unknown."""
    show: str
    """clear, mask, conditional or deny; raw for a comparison with the stored values of a column that is masked otherwise."""
    rule: str | None
    others: tuple[str, ...] = ()
    """Where the row decides: further rules that show some rows in clear."""

    @property
    def is_out(self) -> bool:
        """Its value leaves in clear, for some rows at least."""
        return self.show in SHOWN and self.use in OUT


@dataclass(frozen=True, slots=True)
class Value:
    """A constant that a statement compares with stored values of a masked column (`filters: equality`)."""

    text: str | None = None
    """Of a literal, what it says; None for a parameter, and for NULL."""
    parameter: int = 0
    """Number of the parameter; 0 for a literal."""
    many: bool = False
    """An array, of which each member counts."""
    cast: str = ""
    """The type it is cast to before it is compared; the same text may then mean another value."""
    type: str = ""
    """The type that the parameter has been given, which may do the same."""
    certain: bool = True
    """A parameter to which the client gives no type has that of what it is compared with."""
    start: int = 0
    end: int = 0
    """Characters of the literal in the client's text."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A comparison with stored values. Every distinct value counts, before the statement runs."""

    column: str
    """schema.table.column: whose budget it is."""
    base_type: str
    """pg_type.typname of the column's base type."""
    family: str
    """policies.filters.FAMILIES"""
    limit: int
    """Distinct values that the session's person may try in an hour."""
    values: tuple[Value, ...]
    statement: int
    """Place in `Plan.statements`."""


@dataclass(frozen=True, slots=True)
class Refusal:
    sqlstate: str
    """42501 for what the policy forbids, 0A000 for what pgveil cannot carry, or the state PostgreSQL itself would use."""
    message: str
    hint: str | None = None
    position: int | None = None
    """1-based character position in the client's text, as PostgreSQL's P field."""
    verbatim: bool = False
    """In the server's own words: no word of pgveil's in front of it."""
    failure: bool = False
    """Neither the policy nor PostgreSQL has anything against the statement, as far as anybody knows: pgveil cannot read it, or
    cannot carry it through. For logins that the policy's `on_failure` names it goes upstream as it came."""


@dataclass(frozen=True, slots=True)
class Edit:
    """The characters [start, end) of the client's text became `text`."""

    start: int
    end: int
    text: str
    parts: tuple[str | tuple[int, int], ...] = ()
    """Where `text` repeats constants of the client's text: what it is made of, these as [start, end) of their characters."""


class Explain(enum.Flag):
    """What an EXPLAIN shows."""

    NONE = 0
    PLAN = enum.auto()
    VERBOSE = enum.auto()
    COSTS = enum.auto()
    ANALYZE = enum.auto()


class Says(enum.IntEnum):
    """How much of what the server says about a statement its client may read (`proxy.session.scrub`)."""

    LITTLE = 0  # no DETAIL, no CONTEXT, no text that code wrote
    DETAILS = 1  # as it is, unless code had a part in it: the statement touches nothing protected
    ALL = 2  # as it is: all code that it runs has been seen through as well


@dataclass(frozen=True, slots=True)
class Parameter:
    """$1 as an argument of a command."""

    number: int
    place: int
    """Of the argument, from 0."""


Argument = str | int | Parameter | None


@dataclass(frozen=True, slots=True)
class Command:
    """Something that is asked of pgveil itself."""

    name: str
    """access, why, requests, request, approve, ..."""
    arguments: tuple[Argument, ...] = ()
    """One for each parameter."""
    numbers: tuple[bool, ...] = ()
    """Which of them are whole numbers; the others are texts."""


@dataclass(frozen=True, slots=True)
class StatementPlan:
    kind: str
    """Statement class in upper case: SELECT, INSERT, COPY, SET, ..."""
    touches: tuple[Touch, ...] = ()
    effects: Effect = Effect.NONE
    prepared: str | None = None
    """Name of the SQL-level prepared statement that this one makes or runs."""
    shareable: bool = False
    """The values of its constants do not matter to the plan."""
    taints: tuple[str, ...] = ()
    """Temporary relations into which the statement puts masked values, with Effect.TAINTS."""
    explains: Explain = Explain.NONE
    """Of EXPLAIN EXECUTE: what it shows of `prepared`, which the text does not make. The session has to look whether it may."""
    hides: tuple[tuple[Explain, Refusal], ...] = ()
    """Of PREPARE: what no EXPLAIN of the statement may show, and why."""
    cursor: str | None = None
    """Name of the cursor that the statement opens, reads or closes; None also for CLOSE ALL."""
    holds: bool = False
    """Of DECLARE CURSOR: WITH HOLD, it outlives its transaction."""
    fresh: int = 0
    """How many temporary relations, made earlier in the same text, the statement may read: their OIDs are not known."""
    says: Says = Says.LITTLE
    command: Command | None = None
    arguments: tuple[Value | None, ...] = ()
    """Of EXECUTE: what it gives to the parameters; None for what is no constant."""
    copies: bool = False
    """Puts values that it reads of sensitive columns, masked or not, into a relation."""


ASSERTED_BEFORE = Refusal(
    "0A000",
    "an earlier statement of the same query string changes who the session says it acts for",
    "send the statements one by one",
)
"""Of clear sessions too: what they may see may be less then."""


EVERYTHING = Effect.RESOLUTION | Effect.DDL | Effect.TRANSACTION_END | Effect.WRITES | Effect.ASSERTS
"""What a statement may change that nobody has read."""
UNPARSED = (StatementPlan("UNPARSED", effects=EVERYTHING),)


@dataclass(frozen=True, slots=True)
class Plan:
    verdict: Verdict
    text: str
    """What goes upstream; equals the client's text for PASS, empty for REFUSE and NEED."""
    statements: tuple[StatementPlan, ...] = ()
    edits: tuple[Edit, ...] = ()
    """Sorted, not overlapping."""
    refusal: Refusal | None = None
    need: Need = Need(0)
    placed_by: str = ""
    """Which parser placed the edits: sqlglot or libpg_query; empty when there are none."""
    shareable: bool = False
    """The values of the text's constants do not matter to the plan. Plans that share their `statements` tuple then belong to
    texts that differ in constants only."""
    before: Plan | None = None
    """Of a refusal in a query string of several statements: how those before the refused one run. In its place is POISON."""
    probes: tuple[Probe, ...] = ()
    """What of the text, or of the parameters, is compared with stored values of masked columns."""
    failure: Refusal | None = None
    """Why the statement should have been refused, when it goes upstream as it came because `on_failure` says so: what it shows is
    not masked."""
    digest: str = ""
    """Of the client's text, where that was too long to be kept."""
    constants: Sequence[str] | None = None
    """All constants of the text as they are written there, in order, where they had to be found anyway; None: nobody looked."""
    own: bool = False
    """It holds for sessions that see everything as well."""

    @property
    def effects(self) -> Effect:
        out = Effect.NONE
        for s in self.statements:
            out |= s.effects
        return out

    @property
    def says(self) -> Says:
        return min((s.says for s in self.statements), default=Says.LITTLE)

    def client_position(self, position: int) -> int | None:
        """Map a 1-based character position in `text` back to the client's text; None inside generated text."""
        shift = 0
        at = position - 1
        for e in self.edits:
            start = e.start + shift
            end = start + len(e.text)
            if at < start:
                break
            if at < end:
                return e.start + 1
            shift += len(e.text) - (e.end - e.start)
        return at - shift + 1
