"""The built-in dictionary of what PostgreSQL's own catalogs and functions would tell about masked data (policies/system.yaml)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from importlib.resources import files
from typing import Any

import yaml

from policies.model import Branch, Decision, Show
from rewrite.catalog import Catalog, Function, Relation
from rewrite.masks import WITHHELD
from rewrite.pgtree import quote_ident, quote_literal


@dataclass(frozen=True)
class SystemRules:
    withhold: Mapping[str, Mapping[str, Any]]
    refuse: frozenset[str]
    deny: tuple[str, ...]
    volatile: tuple[str, ...]
    definitions: Mapping[str, str]
    extensions: Mapping[str, tuple[str, ...]]
    settings: frozenset[str]


@lru_cache(maxsize=1)
def rules() -> SystemRules:
    data = yaml.safe_load(files("policies").joinpath("system.yaml").read_text("utf-8"))
    return SystemRules(
        withhold=data["relations"]["withhold"],
        refuse=frozenset(data["relations"]["refuse"]),
        deny=tuple(data["functions"]["deny"]),
        volatile=tuple(data["functions"]["volatile"]),
        definitions=data["functions"]["definitions"],
        extensions={k: tuple(v) for k, v in data["extensions"].items()},
        settings=frozenset(data["settings"]["refuse"]),
    )


def is_system(relation: Relation) -> bool:
    return relation.schema in ("pg_catalog", "information_schema")


def is_allowed(function: Function, allowed: frozenset[str], extensions: frozenset[str] = frozenset()) -> bool:
    """Whether a masked session may call the function.

    `allowed` (functions, as schema.name) and `extensions` (trusted beyond the built-in list) come from the policy.
    """
    r = rules()
    if function.schema == "pg_catalog" and function.extension is None:
        if any(fnmatchcase(function.name, p) for p in r.deny):
            return False
        return function.volatility != "v" or any(fnmatchcase(function.name, p) for p in r.volatile)
    if function.schema == "information_schema":
        return True
    if f"{function.schema}.{function.name}" in allowed or function.extension in extensions:
        return True
    exceptions = r.extensions.get(function.extension or "")
    return exceptions is not None and not any(fnmatchcase(function.name, p) for p in exceptions)


def decisions(relation: Relation, catalog: Catalog, protected: frozenset[int]) -> Mapping[int, Decision]:
    """What a masked session sees of a system relation, attnum -> decision; empty when nothing of it is withheld.

    `protected` are the OIDs of the relations that have something masked for the session.
    """
    spec = rules().withhold.get(f"{relation.schema}.{relation.name}")
    if spec is None:
        spec = rules().withhold.get(f"*.{relation.name}")
    if spec is None:
        return {}
    objects = catalog.literal_objects.get(spec["objects"], frozenset()) if "objects" in spec else None
    if objects is not None and not objects:
        return {}
    predicate = None
    if "oid" in spec and objects is not None:
        numbers = ",".join(str(o) for o in sorted(objects))
        predicate = f"NOT ({quote_ident(spec['oid'])} = ANY ('{{{numbers}}}'::oid[]))"
    elif "other_than" in spec:
        schema, name = quote_ident(spec["other_than"]["schema"]), quote_ident(spec["other_than"]["name"])
        named = [catalog.relations[o] for o in sorted(protected) if o in catalog.relations]
        if objects is not None:
            named = [x for x in named if x.literals]
        if not named:
            return {}
        by_schema: dict[str, set[str]] = {x.schema: set() for x in named}
        # Statistics of indexed expressions are under the name of the index.
        indexes = (i for i in catalog.relations.values() if i.kind in "iI" and objects is None)
        for x in (*named, *indexes):
            if x.schema in by_schema:
                by_schema[x.schema].add(x.name)
        parts = (
            f"({schema} = {quote_literal(s)} AND {name} = ANY (ARRAY[{', '.join(map(quote_literal, sorted(found)))}]))"
            for s, found in sorted(by_schema.items())
        )
        predicate = "NOT (" + " OR ".join(parts) + ")"
    withheld = Branch(None, Show.MASK, WITHHELD, None)
    branches = (withheld,) if predicate is None else (Branch(predicate, Show.CLEAR, None, None), withheld)
    decision = Decision("system", "", branches)
    wanted = set(spec["columns"])
    return {c.attnum: decision for c in relation.columns if c.name in wanted}
