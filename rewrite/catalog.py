"""What pgveil knows about one database: an immutable picture of its system catalogs.

Read by `proxy.control.catalog` on a control connection, swapped whole, never changed in place. Pure data: no sockets here.
Names are PostgreSQL's (pg_class, pg_attribute, pg_proc, ...). Schemas named pg_temp_* and pg_toast* are not part of the
picture: temporary relations belong to a session (`rewrite.plan.Resolution`), TOAST tables are refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property


@dataclass(frozen=True, slots=True)
class Column:
    """A live column (attnum > 0, not dropped) of a relation."""

    attnum: int
    name: str
    type_oid: int
    typmod: int
    type_sql: str
    """The type as it can be written in a cast from any search_path, with typmod: `pg_catalog.bpchar(18)`, `bank.phone_t`."""
    base_sql: str
    """The same with every domain taken off: `pg_catalog.text` for a domain over text. Arrays keep their brackets."""
    base_type: str
    """Name of the base type without typmod, as pg_type.typname has it: `text`, `bpchar`, `numeric`, `_text`, `jsonb`."""
    category: str
    """pg_type.typcategory of the base type (S string, N numeric, D date/time, A array, C composite, ...)."""
    domain_checked: bool = False
    """The type is a domain that carries a CHECK or NOT NULL (a masked value may not satisfy it)."""
    not_null: bool = False
    generated: bool = False
    """GENERATED ALWAYS AS (expression): stored or virtual."""
    loose: bool = False
    """Different values may be equal: its collation is nondeterministic."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A column of a foreign key, and the column it refers to."""

    attnum: int
    target: int
    """OID of the relation referred to."""
    target_attnum: int


@dataclass(frozen=True, slots=True)
class Literal:
    """A definition in the system catalogs that embeds a literal value."""

    catalog: str
    """Where it is: pg_index, pg_constraint, pg_attrdef, pg_proc, ...; `view` for the definition of a view, by the view's OID;
    `generated` for the expression of a generated column, by the table's."""
    oid: int
    schema: str
    name: str
    """As the views that have no OIDs name it: of the index, the constraint, the function (information_schema's specific_name),
    of the table for defaults."""
    relations: frozenset[int] = frozenset()
    """What the definition is about; empty: cannot be told."""
    data: bool = True
    """The literal looks like somebody's data. Otherwise it may be one where it stands next to a masked column."""
    words: frozenset[str] = frozenset()
    """Words of the definition, column names among them; only where `data` is false."""


@dataclass(frozen=True, slots=True)
class Relation:
    oid: int
    schema: str
    name: str
    kind: str
    """pg_class.relkind: r table, p partitioned, v view, m materialized view, f foreign table, S sequence, i index, c type."""
    owner: str
    columns: tuple[Column, ...]
    parents: tuple[int, ...] = ()
    """OIDs of direct inheritance or partition parents (pg_inherits)."""
    primary_key: tuple[int, ...] = ()
    """attnums of the primary key, empty when there is none."""
    unique: frozenset[int] = frozenset()
    """attnums that take part in any unique or exclusion index, the primary key included; 0 stands for an expression."""
    partition_key: frozenset[int] = frozenset()
    """attnums of the partition key of a partitioned table; 0 stands for an expression."""
    view_sql: str | None = None
    """pg_get_viewdef() of a view or materialized view, read with an empty search_path: every name is qualified."""
    security_invoker: bool = False
    security_barrier: bool = False
    row_security: bool = False
    rules: bool = False
    """Has rewrite rules other than a view's own ON SELECT rule."""
    readers: frozenset[str] = frozenset()
    """Role names (and 'public') that hold SELECT on the whole relation; the owner included."""
    literals: bool = False
    """A default, index predicate or expression, check constraint or comment of this relation embeds data, or cannot be read."""
    references: tuple[Reference, ...] = ()
    """Its foreign keys, column by column: a value is accepted only when it exists there."""
    checked_together: frozenset[frozenset[int]] = frozenset()
    """Sets of attnums that one constraint, generation expression, row-security policy, or unique, partial or expression index
    looks at: whether a new value of one of them is accepted tells something about the others."""
    conditional_triggers: bool = False
    """Has triggers with a WHEN condition."""
    partition: bool = False
    """Is a partition."""
    generated_as: tuple[tuple[int, str], ...] = ()
    """Generation expressions by attnum; empty text for one that could not be read."""
    sets_off: tuple[int, ...] = ()
    """OIDs of functions that may run when rows of it are written: of triggers, and functions of our users in defaults, generated
    columns, check constraints and index expressions."""


@dataclass(frozen=True, slots=True)
class Function:
    oid: int
    schema: str
    name: str
    kind: str
    """pg_proc.prokind: f function, a aggregate, w window, p procedure."""
    volatility: str
    """pg_proc.provolatile: i, s or v."""
    extension: str | None = None
    """Name of the extension that owns it, if any."""
    language: str = ""
    """pg_language.lanname."""
    definer: bool = False
    """SECURITY DEFINER."""
    settings: tuple[str, ...] = ()
    """pg_proc.proconfig: `name=value` as stored."""
    body: str | None = None
    """Source text of a function of our users; of a SQL-standard body as the server prints it with an empty search_path (every
    name is qualified); the symbol behind one that is internal. None: in C, or not to be had at the moment."""
    standard_body: bool = False
    """The body is SQL-standard: RETURN ... or BEGIN ATOMIC ... END."""
    types: tuple[int, ...] = ()
    """OIDs of the types of its arguments and results, for functions of our users."""
    parts: tuple[int, ...] = ()
    """OIDs of the functions that an aggregate of our users is made of."""
    arguments: int = -1
    """How many it takes at most, without what a variadic one may take more; -1: not known."""
    defaults: int = 0
    """How many of its arguments may be left out."""
    variadic: bool = False
    given: str | None = None
    """The defaults of its arguments, for functions of our users, read with an empty search_path: they run where it is called."""


@dataclass(frozen=True, slots=True)
class Operator:
    schema: str
    name: str
    function: int
    """OID of the function behind it."""
    types: tuple[int, ...] = ()
    """OIDs of the types of its operands and result."""


@dataclass(frozen=True, slots=True)
class Cast:
    source: int
    target: int
    function: int
    """OID of the function of a user-defined cast (casts without function and builtin casts are left out)."""
    context: str = "e"
    """pg_cast.castcontext: e only when asked for, a in assignments, i anywhere."""


@dataclass(frozen=True, slots=True)
class TypeName:
    oid: int
    schema: str
    name: str
    functions: tuple[int, ...] = ()
    """OIDs of non-builtin functions that check a value of the type, or of a part of it (domains)."""
    parts: tuple[int, ...] = ()
    """OIDs of the types it is made of: a domain's base, an array's element, the fields of a composite type."""


@dataclass(frozen=True)
class Catalog:
    """One database at one moment. `version` is a digest of the content: equal content, equal version."""

    database: str
    version: str
    server_version: int
    """server_version_num, e.g. 150018."""
    relations: Mapping[int, Relation]
    functions: Mapping[int, Function]
    operators: tuple[Operator, ...] = ()
    """Operators outside pg_catalog."""
    types: tuple[TypeName, ...] = ()
    schemas: frozenset[str] = frozenset()
    extensions: frozenset[str] = frozenset()
    literals: tuple[Literal, ...] = ()
    storage: Mapping[int, frozenset[int]] = field(default_factory=dict)
    """OIDs of the indexes and the TOAST table of each partition."""
    casts: tuple[Cast, ...] = ()
    encoding: str = "UTF8"
    """The database's own encoding, in which the server cuts and folds names."""

    def with_functions(self, made: tuple[Function, ...], version: str) -> Catalog:
        """The catalog as a transaction sees it that has made or changed these functions."""
        return replace(self, version=version, functions={**self.functions, **{f.oid: f for f in made}})

    @cached_property
    def by_name(self) -> Mapping[tuple[str, str], Relation]:
        return {(r.schema, r.name): r for r in self.relations.values()}

    @cached_property
    def relations_by_word(self) -> Mapping[str, tuple[Relation, ...]]:
        """Relations by their name, whatever the schema; indexes left out."""
        out: dict[str, list[Relation]] = {}
        for r in self.relations.values():
            if r.kind not in "iI":
                out.setdefault(r.name, []).append(r)
        return {k: tuple(v) for k, v in out.items()}

    @cached_property
    def functions_by_name(self) -> Mapping[str, tuple[Function, ...]]:
        out: dict[str, list[Function]] = {}
        for f in self.functions.values():
            out.setdefault(f.name, []).append(f)
        return {k: tuple(v) for k, v in out.items()}

    @cached_property
    def operators_by_name(self) -> Mapping[str, tuple[Operator, ...]]:
        out: dict[str, list[Operator]] = {}
        for o in self.operators:
            out.setdefault(o.name, []).append(o)
        return {k: tuple(v) for k, v in out.items()}

    @cached_property
    def types_by_name(self) -> Mapping[str, tuple[TypeName, ...]]:
        out: dict[str, list[TypeName]] = {}
        for t in self.types:
            out.setdefault(t.name, []).append(t)
        return {k: tuple(v) for k, v in out.items()}

    @cached_property
    def types_by_oid(self) -> Mapping[int, TypeName]:
        return {t.oid: t for t in self.types}

    @cached_property
    def column_names(self) -> frozenset[str]:
        """Names of all columns and composite type fields."""
        return frozenset(c.name for r in self.relations.values() for c in r.columns)

    @cached_property
    def children(self) -> Mapping[int, tuple[int, ...]]:
        """Direct inheritance children of each relation OID."""
        out: dict[int, list[int]] = {}
        for r in self.relations.values():
            for p in r.parents:
                out.setdefault(p, []).append(r.oid)
        return {k: tuple(v) for k, v in out.items()}
