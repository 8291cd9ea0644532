"""Which columns of a database are sensitive: the dictionary laid over the catalog.

For each column the most specific entry counts. Inheritance goes both ways: rows of a partition or child table are rows of
its parent too, so a column that is sensitive in one of them is sensitive, under the same name, in the whole tree, unless an
entry without wildcards says otherwise.

The dictionary goes by names, and names can be changed around pgveil. So what a column was when it was first seen under a policy,
it stays, whatever it or its table is called later, until the policy itself changes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from policies.language import PUBLIC, ColumnEntry, DataClass, Policy, level_key
from policies.masks.base import BaseMask
from policies.names import Part

_BASE_KINDS = frozenset("rpfm")


class ColumnLike(Protocol):
    """What `policies` needs to know of a column; rewrite.catalog.Column is one."""

    @property
    def attnum(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def base_type(self) -> str: ...
    @property
    def category(self) -> str: ...
    @property
    def base_sql(self) -> str: ...


class RelationLike(Protocol):
    """What `policies` needs to know of a relation; rewrite.catalog.Relation is one."""

    @property
    def oid(self) -> int: ...
    @property
    def schema(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def columns(self) -> Sequence[ColumnLike]: ...
    @property
    def parents(self) -> Sequence[int]: ...


Relations = Iterable[RelationLike] | Mapping[int, RelationLike]


@dataclass(frozen=True, slots=True)
class Classified:
    """A sensitive column."""

    data_class: DataClass
    mask: BaseMask
    """What it shows as where no rule matches: the mask of the class, or of the dictionary entry."""
    entry: ColumnEntry | None
    """The dictionary entry that decided; None for unclassified columns."""
    inherited: bool = False
    """Taken from a parent or child table."""


@dataclass(frozen=True)
class Classification:
    """The sensitive columns of a database by (relation OID, attnum), and the dictionary entries that match no column."""

    columns: Mapping[tuple[int, int], Classified]
    unmatched: tuple[ColumnEntry, ...] = ()
    first: Mapping[tuple[int, int], Classified] = field(default_factory=dict)
    """The columns that were sensitive when they were first seen under the policy."""
    seen: frozenset[tuple[int, int]] = frozenset()
    """All columns that have been looked at under the policy."""
    kept: tuple[str, ...] = ()
    """Columns that no entry matches any more, by the names they have now: renamed since they were first seen."""

    def __getitem__(self, key: tuple[int, int]) -> Classified:
        return self.columns[key]

    def __contains__(self, key: object) -> bool:
        return key in self.columns

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    def get(self, key: tuple[int, int]) -> Classified | None:
        return self.columns.get(key)


def listed(relations: Relations) -> Iterable[RelationLike]:
    """The relations themselves, from a list or from a catalog's mapping by OID."""
    return relations.values() if isinstance(relations, Mapping) else relations


def classify(policy: Policy, relations: Relations, before: Classification | None = None) -> Classification:
    """Lay the policy's dictionary over these relations. `before` is the last answer for the same database and policy."""
    tables = [r for r in listed(relations) if r.kind in _BASE_KINDS or r.kind == "v"]
    lookup = _Lookup(sorted(policy.entries, key=lambda e: e.rank))
    found: dict[tuple[int, int], Classified] = {}
    harmless: set[tuple[int, int]] = set()
    settled: set[tuple[int, int]] = set()
    for relation in tables:
        candidates = lookup.of_relation(relation)
        for column in relation.columns if candidates else ():
            entry = lookup.of_column(candidates, column.name)
            if entry is None:
                continue
            key = (relation.oid, column.attnum)
            if entry.data_class != PUBLIC:
                data_class = policy.data_class(entry.data_class)
                found[key] = Classified(data_class, entry.mask or data_class.mask, entry)
            else:
                harmless.add(key)
                if entry.pattern.wildcards == 0:
                    settled.add(key)
    _inherit(tables, found, settled)
    if policy.unclassified is not None:
        _add_unclassified(policy, tables, found, harmless)
        _inherit(tables, found, settled | harmless)
    unmatched = tuple(e for e in policy.entries if e.order not in lookup.used)
    return _remembering(found, unmatched, tables, before or Classification({}))


def _remembering(
    found: dict[tuple[int, int], Classified],
    unmatched: tuple[ColumnEntry, ...],
    tables: list[RelationLike],
    before: Classification,
) -> Classification:
    names = {(r.oid, c.attnum): f"{r.schema}.{r.name}.{c.name}" for r in tables for c in r.columns}
    lost = {key: made for key, made in before.first.items() if key in names and key not in found}
    first = {**{key: made for key, made in found.items() if key not in before.seen}, **before.first}
    kept = tuple(sorted(names[key] for key in lost))
    return Classification({**found, **lost}, unmatched, first, before.seen | names.keys(), kept)


class _Lookup:
    """Entries, best first, matched part by part; what a part matches is remembered."""

    def __init__(self, entries: list[ColumnEntry]) -> None:
        self._entries = entries
        self._matchers = {p: p.matcher() for e in entries for p in e.pattern.parts}
        self._schemas: dict[str, tuple[dict[str, list[ColumnEntry]], list[ColumnEntry]]] = {}
        self.used: set[int] = set()
        """Order numbers of entries that name at least one column, if only as a less specific one."""

    def of_relation(self, relation: RelationLike) -> list[ColumnEntry]:
        if relation.schema not in self._schemas:
            self._schemas[relation.schema] = self._of_schema(relation.schema)
        by_name, by_glob = self._schemas[relation.schema]
        named = by_name.get(relation.name, [])
        globs = [e for e in by_glob if relation.kind != "v" and self._part(e.pattern.parts[1], relation.name)]
        return sorted([*named, *globs], key=lambda e: e.rank) if globs else named

    def _of_schema(self, schema: str) -> tuple[dict[str, list[ColumnEntry]], list[ColumnEntry]]:
        """Entries that may mean a table of this schema: by the table's name, and those with a pattern for it."""
        by_name: dict[str, list[ColumnEntry]] = defaultdict(list)
        by_glob: list[ColumnEntry] = []
        for entry in self._entries:
            table = entry.pattern.parts[1]
            if not entry.pattern.reaches(schema):
                continue
            if table.wildcards == 0:
                by_name[table.text].append(entry)
            else:
                by_glob.append(entry)
        return dict(by_name), by_glob

    def of_column(self, candidates: list[ColumnEntry], name: str) -> ColumnEntry | None:
        matching = [e for e in candidates if self._part(e.pattern.parts[2], name)]
        self.used.update(e.order for e in matching)
        return matching[0] if matching else None

    def _part(self, part: Part, name: str) -> bool:
        return bool(self._matchers[part](name))


def _add_unclassified(
    policy: Policy,
    tables: list[RelationLike],
    found: dict[tuple[int, int], Classified],
    harmless: set[tuple[int, int]],
) -> None:
    new = policy.unclassified
    assert new is not None
    value = Classified(new.data_class, new.data_class.mask, None)
    for relation in tables:
        patterns = [p for p in new.relations if relation.kind != "v" or p.parts[1].wildcards == 0]
        if not any(p.matches(relation.schema, relation.name) for p in patterns):
            continue
        for column in relation.columns:
            key = (relation.oid, column.attnum)
            if key not in found and key not in harmless:
                found[key] = value


def _inherit(tables: list[RelationLike], found: dict[tuple[int, int], Classified], settled: set[tuple[int, int]]) -> None:
    """Spread classes to same-named columns of parents and children until nothing changes."""
    by_oid = {r.oid: r for r in tables}
    related: dict[int, set[int]] = defaultdict(set)
    for relation in tables:
        for parent in relation.parents:
            if parent in by_oid:
                related[relation.oid].add(parent)
                related[parent].add(relation.oid)
    numbers = {oid: {c.name: c.attnum for c in by_oid[oid].columns} for oid in related}
    changed = set(related)
    while changed:
        news: dict[tuple[int, int], Classified] = {}
        for oid in sorted({n for c in changed for n in related[c]}):
            for name, attnum in numbers[oid].items():
                key = (oid, attnum)
                if key in found or key in settled:
                    continue
                sources = [
                    found[other, numbers[other][name]]
                    for other in sorted(related[oid])
                    if name in numbers[other] and (other, numbers[other][name]) in found
                ]
                if sources:
                    best = max(sources, key=lambda s: (level_key(s.data_class.level), s.data_class.name))
                    news[key] = Classified(best.data_class, best.mask, best.entry, inherited=True)
        found.update(news)
        changed = {oid for oid, _ in news}
