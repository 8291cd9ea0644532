"""The built-in dictionary of what PostgreSQL's own catalogs and functions would tell about masked data (policies/system.yaml)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from importlib.resources import files
from typing import Any

import yaml

from policies.model import COMPANION, Branch, Decision, Show
from rewrite.catalog import Catalog, Function, Relation
from rewrite.masks import WITHHELD
from rewrite.pgtree import quote_ident, quote_literal

FIRST_USER_OID = 16384


@dataclass(frozen=True, slots=True)
class Guard:
    """A function that tells something about the object its first argument names."""

    objects: tuple[str, ...]
    """Kinds of withheld objects for which it gives NULL (`SourceBook.withheld`)."""
    type: str
    """The type to which the argument is brought: oid, or regclass where it may be a name."""


@dataclass(frozen=True)
class SystemRules:
    withhold: Mapping[str, tuple[Mapping[str, Any], ...]]
    refuse: frozenset[str]
    readable: frozenset[str]
    deny: tuple[str, ...]
    stable: tuple[str, ...]
    volatile: tuple[str, ...]
    definitions: Mapping[str, Guard]
    extensions: Mapping[str, tuple[str, ...]]
    settings: frozenset[str]


@lru_cache(maxsize=1)
def rules() -> SystemRules:
    data = yaml.safe_load(files("policies").joinpath("system.yaml").read_text("utf-8"))
    relations, functions = data["relations"], data["functions"]
    return SystemRules(
        withhold={k: tuple(v) if isinstance(v, list) else (v,) for k, v in relations["withhold"].items()},
        refuse=frozenset(relations["refuse"]),
        readable=frozenset(f"{schema}.{name}" for schema, names in relations["readable"].items() for name in names),
        deny=tuple(functions["deny"]),
        stable=tuple(functions["stable"]),
        volatile=tuple(functions["volatile"]),
        definitions={k: Guard(tuple(v["objects"]), v.get("type", "oid")) for k, v in functions["definitions"].items()},
        extensions={k: tuple(v) for k, v in data["extensions"].items()},
        settings=frozenset(data["settings"]["refuse"]),
    )


def is_system(relation: Relation) -> bool:
    return relation.schema in ("pg_catalog", "information_schema")


def unreadable(relation: Relation) -> str | None:
    """Why a masked session may not read a system relation at all; None when it may, or when it is none of the system's."""
    name = f"{relation.schema}.{relation.name}"
    if name in rules().refuse or relation.schema.startswith(("pg_toast", "pg_temp")):
        return "it shows data of all tables"
    if relation.schema == COMPANION:
        return "it belongs to pgveil"
    if is_system(relation) and name not in rules().readable and name not in rules().withhold:
        return "pgveil does not know this system relation"
    return None


def is_allowed(function: Function, allowed: frozenset[str], extensions: frozenset[str] = frozenset()) -> bool:
    """Whether a masked session may call the function.

    `allowed` (functions, as schema.name) and `extensions` (trusted beyond the built-in list) come from the policy.
    """
    r = rules()
    if function.schema == COMPANION:
        return False
    if function.schema == "pg_catalog" and function.extension is None and function.oid < FIRST_USER_OID:
        return is_harmless(function.name, function.volatility)
    if function.schema == "information_schema" and function.oid < FIRST_USER_OID:
        return True
    if f"{function.schema}.{function.name}" in allowed or function.extension in extensions:
        return True
    exceptions = r.extensions.get(function.extension or "")
    return exceptions is not None and not any(fnmatchcase(function.name, p) for p in exceptions)


def computes(function: Function, extensions: frozenset[str] = frozenset()) -> bool:
    """Whether a function that comes with the server or an extension does nothing but compute, or look at what anybody may see."""
    if not is_allowed(function, frozenset(), extensions):
        return False
    if function.extension in rules().extensions:
        return True
    return function.volatility in "is" or function.name in _VOLATILE


_VOLATILE = frozenset("clock_timestamp timeofday random random_normal gen_random_uuid uuidv4 uuidv7".split())
"""Volatile builtin functions that leave nothing behind."""


@lru_cache(maxsize=8192)
def is_harmless(name: str, volatility: str) -> bool:
    """Whether a builtin function may be called: by what PostgreSQL says about it, and by name."""
    r = rules()
    if matches(name, r.deny):
        return False
    return matches(name, {"i": ("*",), "s": r.stable}.get(volatility, r.volatile))


def matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, p) for p in patterns)


def decisions(
    relation: Relation, catalog: Catalog, protected: frozenset[int], withheld: Mapping[str, frozenset[int]]
) -> Mapping[int, Decision]:
    """What a masked session sees of a relation of the system or an extension, attnum -> decision; empty: as it is.

    `protected` are the OIDs of the relations that have something masked for the session, `withheld` the objects that it may
    not see the definitions of, by catalog (`SourceBook.withheld`).
    """
    name = f"{relation.schema}.{relation.name}"
    specs = rules().withhold.get(name) or rules().withhold.get(f"*.{relation.name}", ())
    out: dict[int, Decision] = {}
    for spec in specs:
        predicate: str | None = spec.get("show")
        if "objects" in spec or "statistics_of" in spec:
            of = _other_objects if "objects" in spec else _other_tables
            predicate = of(spec, catalog, protected, withheld)
            if predicate is None:
                continue
        hidden = Branch(None, Show.MASK, WITHHELD, None)
        branches = (hidden,) if predicate is None else (Branch(predicate, Show.CLEAR, None, None), hidden)
        decision = Decision("system", "", branches)
        out.update((c.attnum, decision) for c in relation.columns if c.name in spec["columns"])
    return out


_Withheld = Mapping[str, frozenset[int]]


def _other_tables(spec: Mapping[str, Any], catalog: Catalog, protected: frozenset[int], withheld: _Withheld) -> str | None:
    """The predicate that holds for statistics of other tables; None when there is nothing to withhold."""
    named = {(r.schema, r.name) for o in protected if (r := catalog.relations.get(o)) is not None}
    # Statistics of indexed expressions are under the name of the index.
    schemas = {schema for schema, _ in named}
    named |= {(i.schema, i.name) for i in catalog.relations.values() if i.kind in "iI" and i.schema in schemas}
    # What is withheld of the catalogs themselves has statistics like any table.
    own = (r for r in catalog.relations.values() if r.kind == "r" and is_system(r))
    named |= {(r.schema, r.name) for r in own if f"{r.schema}.{r.name}" in rules().withhold.keys() | rules().refuse}
    return _other_names(spec["statistics_of"], named) if named else None


def _other_objects(spec: Mapping[str, Any], catalog: Catalog, protected: frozenset[int], withheld: _Withheld) -> str | None:
    """The predicate that holds for rows about other objects: by OID where the relation has it, otherwise by name."""
    objects = withheld.get(spec["objects"], frozenset())
    if "oid" in spec:
        if not objects:
            return None
        numbers = ",".join(str(o) for o in sorted(objects))
        return f"NOT ({quote_ident(spec['oid'])} = ANY ('{{{numbers}}}'::oid[]))"
    kind = spec["objects"]
    names = {(x.schema, x.name) for x in catalog.literals if x.catalog == kind and x.oid in objects}
    if kind == "pg_attrdef":  # those of a table that could not be read at all
        names |= {(r.schema, r.name) for o in protected if (r := catalog.relations.get(o)) is not None and r.literals}
    return _other_names(spec["names"], names) if names else None


def _other_names(columns: Mapping[str, str], names: Collection[tuple[str, str]]) -> str:
    schema, name = quote_ident(columns["schema"]), quote_ident(columns["name"])
    by_schema: dict[str, set[str]] = {}
    for s, n in names:
        by_schema.setdefault(s, set()).add(n)
    parts = (
        f"({schema} = {quote_literal(s)} AND {name} = ANY (ARRAY[{', '.join(map(quote_literal, sorted(found)))}]))"
        for s, found in sorted(by_schema.items())
    )
    return "NOT (" + " OR ".join(parts) + ")"
