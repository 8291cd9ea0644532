"""What stands in for a protected relation: the derived table that a session reads instead of it.

For a table it selects every column in order, the masked ones through their mask; also for a view that only passes masked columns
through. For any other view it is the view's own definition with the protected relations in it replaced in turn, so that the view
shows what it would show over masked tables.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from policies.model import COMPANION, ColumnType, Decision, Profile
from rewrite import fired, shadows, system
from rewrite.bodies import Bodies
from rewrite.catalog import Catalog, Column, Function, Literal, Relation
from rewrite.expression import columns_of
from rewrite.functions import is_usable
from rewrite.generated import generated_decisions
from rewrite.masks import column_type, decision_sql
from rewrite.pgtree import Node, parse, quote_ident, strip
from rewrite.plan import Refusal, Resolution, Touch
from rewrite.survey import Survey


@dataclass(frozen=True, slots=True)
class Origin:
    """A sensitive column where it is decided upon, and how what the decision needs is named where the column is seen."""

    relation: Relation
    column: Column
    decision: Decision
    names: Mapping[str, str]
    """Columns of `relation` whose stored values are seen -> their names there."""

    @property
    def column_type(self) -> ColumnType:
        return column_type(self.column)

    def sql(self, prefix: str = "") -> str | None:
        """The expression that stands for the column; None when it is denied. `prefix` is put before each column's name."""
        names = {own: prefix + quote_ident(here) for own, here in self.names.items()}
        return decision_sql(self.column, self.decision, names)


@dataclass(frozen=True, slots=True)
class Source:
    """How one relation is read in one profile."""

    relation: Relation
    items: Mapping[str, str]
    """Select list of the derived table by column name; empty for a view that is opened: its text is in `view`."""
    view: str | None
    masked: frozenset[str]
    """Names of the columns whose values are not the stored ones."""
    denied: frozenset[str]
    decisions: Mapping[str, Decision]
    """Sensitive columns by name."""
    touches: tuple[Touch, ...] = ()
    """For a view: the sensitive columns its definition uses."""
    deciding: frozenset[str] = frozenset()
    """Columns whose values decide, by the row predicates of rules, what the session sees of a row."""
    origins: Mapping[str, Origin] = field(default_factory=dict)
    """Sensitive columns that hold stored values, by name."""
    decides: bool = False
    """Which rows a view has may depend on masked columns."""
    stored: frozenset[str] = frozenset()
    """Columns of a materialized view that store what was computed from masked columns: they cannot be masked."""
    refusal: Refusal | None = None
    """The relation cannot be read in this profile at all."""

    @property
    def qualified(self) -> str:
        return f"{quote_ident(self.relation.schema)}.{quote_ident(self.relation.name)}"

    def select(
        self,
        *,
        only: bool = False,
        alias: str = "",
        sample: str = "",
        extra: tuple[str, ...] = (),
        columns: Collection[str] | None = None,
        counted: bool = False,
    ) -> str:
        """The SELECT that stands for the relation, with the given columns (default: all) in the relation's order.

        `counted`: every column has its place, because an alias list counts them; those that cannot be shown are NULL.

        `extra` are system columns, appended at the end. `alias` names the relation inside, so that EXPLAIN shows the client's
        own name for it.
        """
        if self.view is not None:
            return self.view
        if counted:
            wanted = [self.items.get(c.name, f"NULL AS {quote_ident(c.name)}") for c in self.relation.columns]
        else:
            wanted = [sql for name, sql in self.items.items() if columns is None or name in columns]
        items = ", ".join((*wanted, *extra)) or ("NULL" if self.relation.columns else "")  # a table may have no columns
        named = f" AS {quote_ident(alias)}" if alias else ""
        return f"SELECT {items + ' ' if items else ''}FROM {'ONLY ' if only else ''}{self.qualified}{named}{sample}"


def tree(select: str) -> Node:
    """The parse tree of a generated SELECT, without locations, as it appears in RangeSubselect.subquery."""
    (statement,) = parse(select)
    return {statement.kind: strip(statement.body)}


class ViewReader(Protocol):
    """What the book needs to know about a view's definition (rewrite.views)."""

    def read(self, relation: Relation, explicit: Mapping[int, Decision], book: SourceBook) -> Source:
        """How the view is read and written; `explicit` are decisions on columns of its own that the policy names."""

    def temporary(self, relation: Relation, resolution: Resolution, book: SourceBook) -> Source | None:
        """How a temporary view is read; None: as it is."""

    def temporary_leads(self, relation: Relation, resolution: Resolution, book: SourceBook) -> bool:
        """Whether a temporary view may lead to a permanent relation."""


class SourceBook:
    """The sources of one catalog and profile, made when first asked for."""

    def __init__(self, catalog: Catalog, profile: Profile, views: ViewReader) -> None:
        self.catalog = catalog
        self.profile = profile
        self._views = views
        self._sources: dict[int, Source | None] = {}
        self._targets: dict[int, Source] = {}
        self._open: set[int] = set()
        self._readers: dict[str, Function | None] = {}
        self._computed: dict[int, Mapping[int, Decision]] = {}
        self._computes: frozenset[int] | None = None
        self.protected = frozenset(
            oid
            for oid, columns in profile.decisions.items()
            if oid in catalog.relations and any(not d.is_clear for d in columns.values())
        )

    @cached_property
    def bodies(self) -> Bodies:
        return Bodies(self, self.profile.functions, self.profile.extensions)

    @cached_property
    def pure(self) -> Bodies:
        """The same for functions that leave nothing behind, and rely on nobody's leave."""
        return Bodies(self, frozenset(), self.profile.extensions, pure=True)

    def is_guarded(self, relation: Relation) -> bool:
        """Whether the relation, one behind it or one inheriting from it is protected or withholds something."""
        if self.source(relation) is not None or self.reaches_protected(relation):
            return True
        children = self.catalog.children.get(relation.oid, ())
        return any(self.is_guarded(self.catalog.relations[c]) for c in children)

    @cached_property
    def _stored(self) -> frozenset[int]:
        """Materialized views that may store masked columns."""
        views = (r for r in self.catalog.relations.values() if r.kind == "m")
        return frozenset(r.oid for r in views if r.view_sql is None or self.reaches_protected(r))

    def _computing(self) -> frozenset[int]:
        """Tables over which a function computes that the session may not use, or not any more: ANALYZE runs it, and statistics of
        an index show what it gives."""
        if self._computes is None:
            self._computes = frozenset()  # while these functions are looked at, which may read statistics themselves
            names = self.bodies.names(None)
            having = (r for r in self.catalog.relations.values() if r.sets_off)
            self._computes = frozenset(
                r.oid for r in having if not all(is_usable(f.oid, names) for f in fired.defaults(self, r, alone=True))
            )
        return self._computes

    @cached_property
    def withheld(self) -> Mapping[str, frozenset[int]]:
        """Objects that a masked session is not shown, by the catalog they are in: definitions that embed data of protected
        relations, and (`partitions`) what is stored where a masked column has chosen the place."""
        out: dict[str, set[int]] = {}
        for literal in self.catalog.literals:
            if self._is_withheld(literal):
                out.setdefault(literal.catalog, set()).add(literal.oid)
                if literal.catalog == "pg_class":  # the constraint of a partition repeats those of the ones above it
                    partition = self.catalog.relations[literal.oid]
                    out.setdefault("partition_constraints", set()).update(r.oid for r in (partition, *self.below(partition)))
        for relation in self.catalog.relations.values():
            if relation.partition and self._masked_partition_key(relation) is not None:
                out.setdefault("partitions", set()).update({relation.oid} | self.catalog.storage.get(relation.oid, frozenset()))
        return {catalog: frozenset(oids) for catalog, oids in out.items()}

    def _is_withheld(self, literal: Literal) -> bool:
        about = [self.catalog.relations[o] for o in literal.relations if o in self.catalog.relations]
        if literal.catalog == "pg_description" or not about:
            return True
        if literal.catalog == "pg_class":  # the bounds of a partition
            return any(self._masked_partition_key(r) is not None for r in about)
        if literal.data:
            return any(self.reaches_protected(r) for r in about)
        return any(c.name in literal.words and not d.is_clear for r in about for c, d in self._decided(r))

    def _decided(self, relation: Relation) -> Iterator[tuple[Column, Decision]]:
        decisions = self.profile.decisions.get(relation.oid, {})
        return ((c, decisions[c.attnum]) for c in relation.columns if c.attnum in decisions)

    def holds_literals(self, relation: Relation) -> bool:
        """Whether a default or the like of the relation is withheld."""
        if relation.literals and relation.oid in self.protected:
            return True
        withheld = self.withheld.get("pg_attrdef", frozenset())
        return any(x.oid in withheld and relation.oid in x.relations for x in self.catalog.literals if x.catalog == "pg_attrdef")

    def decisions(self, relation: Relation) -> Mapping[int, Decision]:
        own = self.profile.decisions.get(relation.oid, {})
        if own or not self.profile.masked:
            return {**self._generated(relation, own), **own} if relation.generated_as else own
        return system.decisions(relation, self.catalog, self.protected | self._stored | self._computing(), self.withheld)

    def _generated(self, relation: Relation, own: Mapping[int, Decision]) -> Mapping[int, Decision]:
        """Generated columns show what their expression gives over the masked columns, unless the policy decides on them."""
        if relation.oid not in self._computed:
            self._computed[relation.oid] = generated_decisions(relation, own)
        return self._computed[relation.oid]

    def source(self, relation: Relation) -> Source | None:
        """None when the relation can be read as it is."""
        if relation.oid not in self._sources:
            if relation.oid in self._open:
                return self._refuse(relation, "a view refers to itself")
            self._open.add(relation.oid)
            try:
                self._sources[relation.oid] = self._make(relation)
            finally:
                self._open.discard(relation.oid)
        return self._sources[relation.oid]

    def temporary(self, relation: Relation, resolution: Resolution) -> Source | None:
        """How a temporary view is read. Nothing is remembered: it belongs to one session."""
        return self._views.temporary(relation, resolution, self)

    def reader(self, name: str) -> Function | None:
        """A function whose body may mean a temporary relation of that name (rewrite.shadows)."""
        if name not in self._readers:
            self._readers[name] = shadows.reader(self.catalog, name)
        return self._readers[name]

    def temporary_leads(self, relation: Relation, resolution: Resolution) -> bool:
        return self._views.temporary_leads(relation, resolution, self)

    def target(self, relation: Relation) -> Source | None:
        """How the relation is written; None when nothing of it, or behind it, is protected. Differs from `source` for views."""
        source = self.source(relation)
        return source if source is not None else self._targets.get(relation.oid)

    def deciding(self, relation: Relation) -> frozenset[str]:
        """Columns whose values decide what the session sees of a row."""
        target = self.target(relation)
        return target.deciding if target is not None else frozenset()

    def plain(self, relation: Relation) -> Source:
        """An unprotected relation with exactly the columns we know: one that was added meanwhile does not show."""
        items = {c.name: quote_ident(c.name) for c in relation.columns}
        return Source(relation, items, None, frozenset(), frozenset(), {})

    def reaches_protected(self, relation: Relation, seen: frozenset[int] = frozenset()) -> bool:
        """Whether the relation is protected or a view (or foreign table) that may lead to a protected one."""
        if relation.oid in self.protected or relation.oid in seen:
            return relation.oid in self.protected
        if relation.kind not in "vm":
            return False
        if relation.view_sql is None:  # not known at the moment: a table behind it is locked
            return True
        return any(self.reaches_protected(r, seen | {relation.oid}) for r in self.bases(relation))

    def has_rules(self, relation: Relation) -> bool:
        """Whether writing to the relation, or to what is behind the view, runs rewrite rules."""
        return relation.rules or (relation.kind == "v" and any(self.has_rules(r) for r in self.bases(relation)))

    def bases(self, relation: Relation) -> tuple[Relation, ...]:
        """The relations that a view's definition names."""
        if relation.view_sql is None:
            return ()
        found = []
        for statement in parse(relation.view_sql):
            for site in Survey(statement.kind, statement.body).sites:
                base = self.catalog.by_name.get((site.schema or "pg_catalog", site.name))
                if base is not None and not site.cte:
                    found.append(base)
        return tuple(found)

    def _make(self, relation: Relation) -> Source | None:
        if not self.profile.masked:
            if relation.kind in "vm" and not system.is_system(relation):  # what it shows is told to the auditor
                self._targets[relation.oid] = self._views.read(relation, self.decisions(relation), self)
            return None
        why = system.unreadable(relation)
        if why is not None:
            return self._refuse(relation, why)
        decisions = self.decisions(relation)
        if relation.kind in "vm" and not system.is_system(relation):
            found = self._views.read(relation, decisions, self)
            if found.refusal is None and found.view is None and not (found.masked or found.denied or found.stored):
                self._targets[relation.oid] = found
                return None
            return found
        if any(not d.is_clear for d in decisions.values()):
            return self.table(relation, decisions)
        ancestor = self._masked_partition_key(relation)
        if ancestor is not None:
            return self._refuse(relation, f"its rows are chosen by a masked column of {ancestor}")
        return None

    def table(self, relation: Relation, decisions: Mapping[int, Decision]) -> Source:
        """A relation whose own columns have these decisions."""
        ancestor = self._masked_partition_key(relation)
        if ancestor is not None:
            return self._refuse(relation, f"its rows are chosen by a masked column of {ancestor}")
        names = {c.name: c.name for c in relation.columns}
        origins = {c.name: Origin(relation, c, decisions[c.attnum], names) for c in relation.columns if c.attnum in decisions}
        deciding: set[str] = set()
        for origin in origins.values():
            for branch in origin.decision.branches:
                if branch.rows is not None:
                    used = columns_of(branch.rows)
                    deciding |= names.keys() if used is None else used
        return self.masked_outputs(relation, origins, frozenset(deciding & names.keys()))

    def masked_outputs(
        self,
        relation: Relation,
        origins: Mapping[str, Origin],
        deciding: frozenset[str],
        stored: frozenset[str] = frozenset(),
    ) -> Source:
        """A relation that is read as it is, its sensitive columns through their decisions."""
        if not self._has_companions(origins.values()):
            return self._refuse(relation, "its masks need keys, and pgveil install has not been run in this database")
        items: dict[str, str] = {}
        masked, denied = set(), set()
        for name in (c.name for c in relation.columns):
            origin = origins.get(name)
            if name in stored:
                continue
            if origin is None or origin.decision.is_clear:
                items[name] = quote_ident(name)
                continue
            expression = origin.sql()
            if expression is None:
                denied.add(name)
                continue
            masked.add(name)
            items[name] = f"{expression} AS {quote_ident(name)}"
        return Source(
            relation,
            items,
            None,
            frozenset(masked),
            frozenset(denied),
            {name: o.decision for name, o in origins.items()},
            deciding=deciding,
            origins=origins,
            stored=stored,
        )

    def masked_partition_key(self, relation: Relation) -> bool:
        """Whether a masked column decides in which partition a row of the relation (or of one behind the view) is."""
        if relation.kind == "v":
            return any(self.masked_partition_key(r) for r in self.bases(relation))
        decisions = self.profile.decisions.get(relation.oid, {})
        hidden = {n for n, d in decisions.items() if not d.is_clear}
        return relation.kind == "p" and bool(hidden & relation.partition_key or (0 in relation.partition_key and hidden))

    def _masked_partition_key(self, relation: Relation) -> str | None:
        """Name of a partitioned ancestor whose partition key is masked: the partition tells the raw value's range."""
        for oid in relation.parents:
            parent = self.catalog.relations.get(oid)
            if parent is None:
                continue
            decisions = self.profile.decisions.get(oid, {})
            hidden = {n for n, d in decisions.items() if not d.is_clear}
            if parent.kind == "p" and (hidden & parent.partition_key or (0 in parent.partition_key and hidden)):
                return f"{parent.schema}.{parent.name}"
            further = self._masked_partition_key(parent)
            if further is not None:
                return further
        return None

    def hidden(self, relation: Relation) -> frozenset[int]:
        """attnums of the relation's columns that the session does not see as they are."""
        source = self.source(relation)
        if source is None:
            return frozenset()
        everything = source.refusal is not None
        return frozenset(c.attnum for c in relation.columns if everything or c.name in source.masked | source.denied)

    def below(self, relation: Relation) -> Iterator[Relation]:
        """The relation's partitions and inheritance children, and theirs."""
        for oid in self.catalog.children.get(relation.oid, ()):
            child = self.catalog.relations.get(oid)
            if child is not None:
                yield child
                yield from self.below(child)

    def refused(self, relation: Relation, why: str) -> Source:
        return self._refuse(relation, why)

    def _has_companions(self, origins: Iterable[Origin]) -> bool:
        """Whether the functions that keyed masks call are there."""
        masks = (b.mask for o in origins for b in o.decision.branches if b.mask is not None)
        wanted = frozenset().union(*(m.companions for m in masks))
        there = (f.name for name in wanted for f in self.catalog.functions_by_name.get(name, ()) if f.schema == COMPANION)
        return wanted <= set(there)

    def _refuse(self, relation: Relation, why: str) -> Source:
        refusal = Refusal(
            "42501",
            f"{relation.schema}.{relation.name} cannot be read in a session with masked columns: {why}",
            "read the tables behind it, or ask a DBA to name its columns in the policy",
        )
        return Source(relation, {}, None, frozenset(), frozenset(), {}, refusal=refusal)
