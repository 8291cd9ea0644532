"""Turns the rows of a catalog read into a `rewrite.catalog.Catalog` and `Roles`: pure, and in a thread of its own.

Fail closed: a view whose definition could not be had has `view_sql` None; a relation whose defaults and predicates
could not be had counts as embedding data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from typing import Any, TypeVar

import asyncpg

from proxy.control.definitions import literals
from proxy.control.queries import STAMP_PARTS
from proxy.control.roles import Roles, build_roles
from proxy.control.types import TypeNames, TypeRow, array_element
from rewrite.catalog import Cast, Catalog, Column, Function, Operator, Reference, Relation, TypeName

Rows = list[asyncpg.Record]
_T = TypeVar("_T")

FIRST_USER_OID = 16384
_OF_TABLES = frozenset({"pg_attrdef", "pg_index", "pg_constraint", "pg_statistic_ext", "pg_description"})


@dataclass(frozen=True, slots=True)
class Stamp:
    """Equal parts, equal content: `catalog` and `roles` are digests over row versions."""

    snapshot: str
    catalog: str
    roles: str
    origin: tuple[str, int] | None = None
    """System identifier and database OID; asked for behind a pooler, where one name may come to stand for another database."""

    def parts(self) -> dict[str, str]:
        """The digest of each system catalog, by `queries.STAMP_PARTS`, and that of the roles."""
        return dict(zip(STAMP_PARTS, self.catalog.split(","), strict=True)) | {"roles": self.roles}

    def same_content(self, other: Stamp) -> bool:
        return self.catalog == other.catalog and self.roles == other.roles and self.origin == other.origin


@dataclass(frozen=True, slots=True)
class ViewText:
    """A view's definition as last read, and the xmin of the rule it was read from."""

    rule: str
    sql: str


@dataclass(slots=True)
class Raw:
    """Rows as they came, before anything is built from them (asyncpg records, in the order of the query's columns)."""

    stamp: Stamp
    server: asyncpg.Record
    schemas: Rows = field(default_factory=list)
    extensions: Rows = field(default_factory=list)
    builtin_relations: Rows = field(default_factory=list)
    relations: Rows = field(default_factory=list)
    """All: the builtin ones first."""
    builtin_attributes: Rows = field(default_factory=list)
    attributes: Rows = field(default_factory=list)
    """Those of other relations."""
    inherits: Rows = field(default_factory=list)
    foreign_keys: Rows = field(default_factory=list)
    checked_together: Rows = field(default_factory=list)
    storage: Rows = field(default_factory=list)
    bodies: Rows = field(default_factory=list)
    triggers: Rows = field(default_factory=list)
    sets_off: Rows = field(default_factory=list)
    trees: Rows = field(default_factory=list)
    builtin_indexes: Rows = field(default_factory=list)
    indexes: Rows = field(default_factory=list)
    """Those of other relations."""
    partitioned: Rows = field(default_factory=list)
    rules: Rows = field(default_factory=list)
    view_rules: Rows = field(default_factory=list)
    views: dict[int, ViewText] = field(default_factory=dict)
    definitions: Rows = field(default_factory=list)
    unread: frozenset[int] = frozenset()
    domain_checks: Rows = field(default_factory=list)
    comments: Rows = field(default_factory=list)
    builtin_types: Rows = field(default_factory=list)
    types: Rows = field(default_factory=list)
    """All: the builtin ones first."""
    formatted: Rows = field(default_factory=list)
    builtin_functions: Rows = field(default_factory=list)
    functions: Rows = field(default_factory=list)
    """All others."""
    standard_bodies: dict[int, str | None] = field(default_factory=dict)
    """SQL-standard bodies by function; None: could not be had."""
    operators: Rows = field(default_factory=list)
    casts: Rows = field(default_factory=list)
    roles: Rows = field(default_factory=list)
    memberships: Rows = field(default_factory=list)
    search_paths: Rows = field(default_factory=list)
    incomplete: bool = False


class Memo:
    """What has been made of rows that the next read may bring again: the very same list, then."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Rows, object, Any]] = {}

    def once(self, kind: str, rows: Rows, make: Callable[[], _T], beside: object = None) -> _T:
        """`beside`: what else it is made of, compared by value; of lists that another entry keeps, the id will do."""
        known = self._known.get(kind)
        if known is None or known[0] is not rows or known[1] != beside:
            known = self._known[kind] = rows, beside, make()
        made: _T = known[2]
        return made


def build(raw: Raw, memo: Memo) -> tuple[Catalog, Roles]:
    """Everything that costs time and needs no connection; runs in a thread."""
    types = type_rows(raw, memo)
    names = TypeNames(types, {(f[0], f[1]): f[2] for f in raw.formatted})
    columns = memo.once("columns", raw.builtin_attributes, lambda: _columns(raw.builtin_attributes, types, names))
    columns = columns | _columns(raw.attributes, types, names)
    found = tuple(literals(raw))
    about = frozenset(o for x in found if x.data and x.catalog in _OF_TABLES for o in x.relations)
    relations = _relations(raw, columns, about | raw.unread, memo)
    storage: dict[int, set[int]] = {}
    for table, part in raw.storage:
        storage.setdefault(table, set()).add(part)
    functions = memo.once("functions", raw.builtin_functions, lambda: {f[0]: _function(f, {}) for f in raw.builtin_functions})
    functions = functions | {f[0]: _function(f, raw.standard_bodies) for f in raw.functions}
    catalog = Catalog(
        database=raw.server[1],
        version=_digest(raw, memo),
        server_version=raw.server[0],
        encoding=raw.server[2],
        relations=relations,
        functions=functions,
        operators=tuple(Operator(o[0], o[1], o[2], tuple(o[3])) for o in raw.operators),
        types=_type_names(raw, types, columns, memo),
        schemas=frozenset(s[0] for s in raw.schemas),
        extensions=frozenset(e[0] for e in raw.extensions),
        literals=found,
        storage={table: frozenset(parts) for table, parts in storage.items()},
        casts=tuple(Cast(c[0], c[1], c[2], c[3]) for c in raw.casts),
    )
    return catalog, build_roles(raw.roles, raw.memberships, raw.search_paths)


def type_rows(raw: Raw, memo: Memo) -> dict[int, TypeRow]:
    checked = frozenset(c[1] for c in raw.domain_checks)

    def made(rows: Rows) -> dict[int, TypeRow]:
        return {
            t[0]: TypeRow(t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8], t[9], t[10] or t[0] in checked, t[11])
            for t in rows
        }

    beside = frozenset(oid for oid in checked if oid < FIRST_USER_OID)
    builtin = memo.once("types", raw.builtin_types, lambda: made(raw.builtin_types), beside)
    return builtin | made(raw.types[len(raw.builtin_types) :])


def _columns(rows: Rows, types: Mapping[int, TypeRow], names: TypeNames) -> dict[int, tuple[Column, ...]]:
    spelled: dict[tuple[int, int], tuple[str, str, str, str, bool]] = {}
    shared: dict[tuple[object, ...], Column] = {}  # partitions repeat their parent's columns
    out: dict[int, list[Column]] = {}
    for a in rows:
        key = tuple(a)[1:]
        column = shared.get(key)
        if column is None:
            _, attnum, name, type_oid, typmod, not_null, generated, loose = a
            spelling = spelled.get((type_oid, typmod))
            if spelling is None:
                base, base_typmod = names.base(type_oid, typmod)
                spelling = spelled[type_oid, typmod] = (
                    names.sql(type_oid, typmod),
                    names.sql(base, base_typmod),
                    types[base].name,
                    types[base].category,
                    names.checked(type_oid),
                )
            column = shared[key] = Column(attnum, name, type_oid, typmod, *spelling, not_null, generated, loose)
        out.setdefault(a[0], []).append(column)
    return {oid: tuple(cs) for oid, cs in out.items()}


def _relations(
    raw: Raw, columns: Mapping[int, tuple[Column, ...]], literal_relations: frozenset[int], memo: Memo
) -> dict[int, Relation]:
    parents: dict[int, list[int]] = {}
    for child, parent in raw.inherits:
        parents.setdefault(child, []).append(parent)
    primary: dict[int, tuple[int, ...]] = {}
    references: dict[int, list[Reference]] = {}
    for table, attnums, target, target_attnums in raw.foreign_keys:
        pairs = zip(attnums, target_attnums, strict=True)
        references.setdefault(table, []).extend(Reference(attnum, target, other) for attnum, other in pairs)
    together: dict[int, set[frozenset[int]]] = {}
    for table, attnums in raw.checked_together:
        group = frozenset(n for n in attnums if n > 0)
        if len(group) > 1:
            together.setdefault(table, set()).add(group)
    generated: dict[int, dict[int, str]] = {}
    for oid, own in columns.items():
        for column in own:
            if column.generated:
                generated.setdefault(oid, {})[column.attnum] = ""
    for definition in raw.definitions:
        if definition[6] is not None:
            generated[definition[2]][definition[6]] = definition[7] or ""
    sets_off: dict[int, list[int]] = {}
    for table, function in raw.sets_off:
        sets_off.setdefault(table, []).append(function)
    conditional = {t[1] for t in raw.triggers if t[4]}
    unique: dict[int, set[int]] = {}
    for _, table, is_primary, _, keys, attnums in (*raw.builtin_indexes, *raw.indexes):
        if is_primary:
            primary[table] = tuple(attnums[:keys])
        unique.setdefault(table, set()).update(attnums[:keys])
    partition_key = {p[0]: frozenset(p[1]) for p in raw.partitioned}
    rules = {r[0] for r in raw.rules}

    def made(rows: Rows) -> dict[int, Relation]:
        out = {}
        for oid, schema, name, kind, owner, options, row_security, partition, readers in rows:
            view = raw.views.get(oid)
            out[oid] = Relation(
                oid=oid,
                schema=schema,
                name=name,
                kind=kind,
                owner=owner,
                columns=columns.get(oid, ()),
                parents=tuple(parents.get(oid, ())),
                primary_key=primary.get(oid, ()),
                unique=frozenset(unique.get(oid, ())),
                references=tuple(references.get(oid, ())),
                checked_together=frozenset(together.get(oid, ())),
                conditional_triggers=oid in conditional,
                partition=partition,
                generated_as=tuple(generated.get(oid, {}).items()),
                sets_off=tuple(sets_off.get(oid, ())),
                partition_key=partition_key.get(oid, frozenset()),
                view_sql=view.sql if view else None,
                security_invoker=_is_on(options, "security_invoker"),
                security_barrier=_is_on(options, "security_barrier"),
                row_security=row_security,
                rules=oid in rules,
                readers=frozenset((*(readers or ()), owner)),
                literals=oid in literal_relations,
            )
        return out

    said: tuple[Iterable[int], ...] = (
        parents, references, together, conditional, generated, sets_off, partition_key, literal_relations
    )  # fmt: skip
    unusual = any(oid < FIRST_USER_OID for oids in said for oid in oids)
    texts = tuple(view for r in raw.builtin_relations if (view := raw.views.get(r[0])) is not None)
    ruled = frozenset(oid for oid in rules if oid < FIRST_USER_OID)
    beside = (unusual and object(), id(raw.builtin_attributes), id(raw.builtin_indexes), texts, ruled)
    builtin = memo.once("relations", raw.builtin_relations, lambda: made(raw.builtin_relations), beside)
    return builtin | made(raw.relations[len(raw.builtin_relations) :])


def _is_on(options: list[str], name: str) -> bool:
    """A boolean reloption, in any of the spellings that PostgreSQL takes (unambiguous prefixes included)."""
    for option in options:
        key, _, value = option.partition("=")
        if key == name:
            value = value.lower()
            return value in ("on", "1") or (bool(value) and ("true".startswith(value) or "yes".startswith(value)))
    return False


def _function(row: asyncpg.Record, standard_bodies: Mapping[int, str | None]) -> Function:
    oid, schema, name, kind, volatility, extension, language, definer, settings, body, types, parts, *arguments = row
    standard = oid in standard_bodies
    return Function(
        oid,
        schema,
        name,
        kind,
        volatility,
        extension,
        language,
        definer,
        tuple(settings or ()),
        standard_bodies[oid] if standard else body,
        standard,
        tuple(types or ()),
        tuple(p for p in parts or () if p),
        *arguments,
    )


def _type_names(
    raw: Raw, types: Mapping[int, TypeRow], columns: Mapping[int, tuple[Column, ...]], memo: Memo
) -> tuple[TypeName, ...]:
    """Types with what they are made of, and the functions that check values of them or of their parts."""

    def all_made_of(rows: Rows) -> dict[int, tuple[int, ...]]:
        return {t[0]: _parts(types[t[0]], types, columns) for t in rows}

    others = raw.types[len(raw.builtin_types) :]
    builtin = memo.once("parts", raw.builtin_types, lambda: all_made_of(raw.builtin_types), id(raw.builtin_attributes))
    parts = builtin | all_made_of(others)
    own: dict[int, set[int]] = {}
    for _, domain, _, functions, *_ in raw.domain_checks:
        own.setdefault(domain, set()).update(f for f in functions if f is not None and f >= FIRST_USER_OID)
    if own:
        users: dict[int, list[int]] = {}
        for oid, made_of in parts.items():
            for part in made_of:
                users.setdefault(part, []).append(oid)
        todo = list(own)
        while todo:
            part = todo.pop()
            for user in users.get(part, ()):
                known = own.setdefault(user, set())
                if not own[part] <= known:
                    known |= own[part]
                    todo.append(user)

    def named(rows: Rows) -> tuple[TypeName, ...]:
        return tuple(TypeName(t[0], t[1], t[2], tuple(sorted(own.get(t[0], ()))), parts[t[0]]) for t in rows if t[12])

    checked = tuple((oid, tuple(sorted(found))) for oid, found in sorted(own.items()) if oid < FIRST_USER_OID)
    beside = (id(builtin), checked)
    return memo.once("type names", raw.builtin_types, lambda: named(raw.builtin_types), beside) + named(others)


def _parts(row: TypeRow, types: Mapping[int, TypeRow], columns: Mapping[int, tuple[Column, ...]]) -> tuple[int, ...]:
    found = [row.base, array_element(types, row.oid)]
    if row.kind == "c" and row.schema != "pg_catalog":
        found += [c.type_oid for c in columns.get(row.relation, ())]
    return tuple(dict.fromkeys(p for p in found if p))


def _digest(raw: Raw, memo: Memo) -> str:
    """Equal content, equal digest; temporary objects of other sessions are no content."""
    digest = blake2b(digest_size=16)
    parts = (
        [raw.server],
        raw.schemas,
        raw.extensions,
        raw.relations[len(raw.builtin_relations) :],
        raw.attributes,
        raw.inherits,
        raw.foreign_keys,
        raw.checked_together,
        raw.storage,
        raw.bodies,
        raw.triggers,
        raw.sets_off,
        raw.trees,
        raw.indexes,
        raw.partitioned,
        raw.rules,
        raw.definitions,
        raw.domain_checks,
        raw.comments,
        [t for t in raw.types[len(raw.builtin_types) :] if t[12]],
        raw.formatted,
        raw.functions,
        raw.operators,
        raw.casts,
    )
    for kind, rows in (
        ("digest of relations", raw.builtin_relations),
        ("digest of columns", raw.builtin_attributes),
        ("digest of indexes", raw.builtin_indexes),
        ("digest of types", raw.builtin_types),
        ("digest of functions", raw.builtin_functions),
    ):
        digest.update(memo.once(kind, rows, partial(_digest_of, rows)))
    for rows in parts:
        digest.update(_digest_of(rows))
    digest.update(repr(sorted(raw.unread)).encode())
    digest.update(repr(sorted(raw.standard_bodies.items(), key=lambda b: b[0])).encode())
    digest.update(repr(sorted((oid, v.sql) for oid, v in raw.views.items())).encode())
    return digest.hexdigest()


def _digest_of(rows: Rows) -> bytes:
    digest = blake2b(digest_size=16)
    for start in range(0, len(rows), 500):  # in small steps: a long one would hold up the event loop's thread
        digest.update(repr([tuple(r) for r in rows[start : start + 500]]).encode())
    return digest.digest()
