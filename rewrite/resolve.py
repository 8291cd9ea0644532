"""From the name of a relation as written to the relation the server would take, or to what has to be known first."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from rewrite.catalog import Catalog, Relation
from rewrite.plan import Need, Refusal, Resolution
from rewrite.survey import Site


class Special(enum.Enum):
    TEMP = "temp"  # a relation in the session's own temporary schema


@dataclass(frozen=True, slots=True)
class Unresolved:
    refusal: Refusal | None = None
    need: Need = Need(0)


Target = Relation | Special | Unresolved


def resolve(site: Site, catalog: Catalog, resolution: Resolution | None) -> Target:
    """Follow PostgreSQL's RangeVarGetRelid: a schema as written, else the first schema of the effective path that has it."""
    database = site.node.get("catalogname")
    if database is not None and database != catalog.database:
        return Unresolved(
            Refusal("0A000", f"cross-database references are not implemented: {database}", "connect to that database")
        )
    schema, name = site.schema, site.name
    if schema is not None:
        if schema == "pg_temp":
            return Special.TEMP
        if schema.startswith(("pg_temp_", "pg_toast")):
            return Unresolved(
                Refusal(
                    "42501",
                    f"schema {schema} may not be used in a session with masked columns",
                    "your own temporary tables are in pg_temp; TOAST tables hold raw values",
                )
            )
        relation = catalog.by_name.get((schema, name))
        return relation if relation is not None else _missing(f"{schema}.{name}")
    if resolution is None:
        return Unresolved(need=Need.RESOLUTION)
    for candidate in resolution.path:
        if candidate == "pg_temp":
            if name in resolution.temp:
                return Special.TEMP
            continue
        relation = catalog.by_name.get((candidate, name))
        if relation is not None:
            return relation
    return _missing(name)


def _missing(name: str) -> Unresolved:
    return Unresolved(Refusal("42P01", f'relation "{name}" does not exist'), Need.CATALOG)
