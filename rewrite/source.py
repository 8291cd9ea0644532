"""What stands in for a protected relation: the derived table that a session reads instead of it.

For a table it selects every column in order, the masked ones through their mask. For a view it is the view's own definition with
the protected relations in it replaced in turn, so that the view shows what it would show over masked tables.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from policies.model import Decision, Profile
from rewrite import system
from rewrite.catalog import Catalog, Relation
from rewrite.expression import columns_of
from rewrite.masks import decision_sql
from rewrite.pgtree import Node, parse, quote_ident, strip
from rewrite.plan import Refusal, Touch
from rewrite.survey import Survey


@dataclass(frozen=True, slots=True)
class Source:
    """How one relation is read in one profile."""

    relation: Relation
    items: Mapping[str, str]
    """Select list of the derived table by column name; empty for a view, whose text is in `view`."""
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
    ) -> str:
        """The SELECT that stands for the relation, with the given columns (default: all) in the relation's order.

        `extra` are system columns, appended at the end. `alias` names the relation inside, so that EXPLAIN shows the client's
        own name for it.
        """
        if self.view is not None:
            return self.view
        wanted = [sql for name, sql in self.items.items() if columns is None or name in columns]
        items = ", ".join((*wanted, *extra)) or "NULL"
        named = f" AS {quote_ident(alias)}" if alias else ""
        return f"SELECT {items} FROM {'ONLY ' if only else ''}{self.qualified}{named}{sample}"


def tree(select: str) -> Node:
    """The parse tree of a generated SELECT, without locations, as it appears in RangeSubselect.subquery."""
    (statement,) = parse(select)
    return {statement.kind: strip(statement.body)}


class ViewReader(Protocol):
    """What the book needs to know about a view's definition (rewrite.views)."""

    def read(self, relation: Relation, book: SourceBook) -> Source | None:
        """How the view is read; None: as it is."""

    def masked_columns(self, relation: Relation, book: SourceBook) -> frozenset[str]:
        """Columns of the view whose values may come from masked columns."""


class SourceBook:
    """The sources of one catalog and profile, made when first asked for."""

    def __init__(self, catalog: Catalog, profile: Profile, views: ViewReader) -> None:
        self.catalog = catalog
        self.profile = profile
        self._views = views
        self._sources: dict[int, Source | None] = {}
        self._open: set[int] = set()
        self.protected = frozenset(
            oid
            for oid, columns in profile.decisions.items()
            if oid in catalog.relations and any(not d.is_clear for d in columns.values())
        )

    @cached_property
    def _stored(self) -> frozenset[int]:
        """Materialized views that may store masked columns."""
        views = (r for r in self.catalog.relations.values() if r.kind == "m")
        return frozenset(r.oid for r in views if r.view_sql is None or self.reaches_protected(r))

    def decisions(self, relation: Relation) -> Mapping[int, Decision]:
        own = self.profile.decisions.get(relation.oid, {})
        if own or not self.profile.masked:
            return own
        return system.decisions(relation, self.catalog, self.protected | self._stored)

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
            return None
        qualified = f"{relation.schema}.{relation.name}"
        if qualified in system.rules().refuse or relation.schema.startswith(("pg_toast", "pg_temp")):
            return self._refuse(relation, "it shows data of all tables")
        decisions = self.decisions(relation)
        if any(not d.is_clear for d in decisions.values()):
            if relation.kind in "vm" and relation.oid in self.profile.decisions:
                named = {c.name for c in relation.columns if c.attnum in decisions}
                left = self._views.masked_columns(relation, self) - named
                if left:
                    return self._refuse(relation, f"the policy names some of its columns but not {', '.join(sorted(left))}")
            return self._table(relation, decisions)
        if relation.kind in ("v", "m") and not system.is_system(relation):
            return self._views.read(relation, self)
        ancestor = self._masked_partition_key(relation)
        if ancestor is not None:
            return self._refuse(relation, f"its rows are chosen by a masked column of {ancestor}")
        return None

    def _table(self, relation: Relation, decisions: Mapping[int, Decision]) -> Source:
        ancestor = self._masked_partition_key(relation)
        if ancestor is not None:
            return self._refuse(relation, f"its rows are chosen by a masked column of {ancestor}")
        names = {c.name: quote_ident(c.name) for c in relation.columns}
        items: dict[str, str] = {}
        masked, denied = set(), set()
        deciding: set[str] = set()
        by_name = {}
        for column in relation.columns:
            decision = decisions.get(column.attnum)
            if decision is not None:
                by_name[column.name] = decision
                for branch in decision.branches:
                    if branch.rows is not None:
                        used = columns_of(branch.rows)
                        deciding |= names.keys() if used is None else used
            if decision is None or decision.is_clear:
                items[column.name] = quote_ident(column.name)
                continue
            expression = decision_sql(column, decision, names)
            if expression is None:
                denied.add(column.name)
                continue
            masked.add(column.name)
            items[column.name] = f"{expression} AS {quote_ident(column.name)}"
        return Source(
            relation, items, None, frozenset(masked), frozenset(denied), by_name, deciding=frozenset(deciding & names.keys())
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

    def refused(self, relation: Relation, why: str) -> Source:
        return self._refuse(relation, why)

    def _refuse(self, relation: Relation, why: str) -> Source:
        refusal = Refusal(
            "42501",
            f"{relation.schema}.{relation.name} cannot be read in a session with masked columns: {why}",
            "read the tables behind it, or ask a DBA to name its columns in the policy",
        )
        return Source(relation, {}, None, frozenset(), frozenset(), {}, refusal=refusal)
