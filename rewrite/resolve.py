"""From the name of a relation as written to the relation the server would take, or to what has to be known first."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from rewrite.catalog import Catalog, Column, Relation
from rewrite.plan import Need, Refusal, Resolution, TempView
from rewrite.survey import Site, Use


class Special(enum.Enum):
    TEMP = "temp"  # a relation in the session's own temporary schema


@dataclass(frozen=True, slots=True)
class Unresolved:
    refusal: Refusal | None = None
    need: Need = Need(0)


@dataclass(frozen=True, slots=True)
class Fresh:
    """A table or sequence that the open transaction has made: it holds what this session has put there."""

    schema: str


Target = Relation | Special | Fresh | Unresolved


def resolve(site: Site, catalog: Catalog, resolution: Resolution | None) -> Target:
    """Follow PostgreSQL's RangeVarGetRelid: a schema as written, else the first schema of the effective path that has it."""
    database = site.node.get("catalogname")
    if database is not None and database != catalog.database:
        return Unresolved(
            Refusal("0A000", f"cross-database references are not implemented: {database}", "connect to that database")
        )
    schema, name = site.schema, site.name
    if schema is not None:
        if schema.startswith("pg_temp_") and (resolution is None or resolution.temp_schema is None):
            return Unresolved(need=Need.RESOLUTION)
        if schema == "pg_temp" or is_own(schema, resolution):
            return Unresolved(need=Need.RESOLUTION) if resolution is None else _temporary(name, resolution)
        if schema.startswith(("pg_temp_", "pg_toast")):
            return Unresolved(
                Refusal(
                    "42501",
                    f"schema {schema} may not be used in a session with masked columns",
                    "your own temporary tables are in pg_temp; TOAST tables hold raw values",
                )
            )
        found = _in_schema(schema, name, catalog, resolution)
        if found is None and site.use is Use.NAME and schema not in catalog.schemas:
            return Unresolved(Refusal("3F000", f'schema "{schema}" does not exist'), Need.CATALOG)
        return found if found is not None else _missing(f"{schema}.{name}")
    if resolution is None:
        return Unresolved(need=Need.RESOLUTION)
    for candidate in resolution.path:
        if candidate == "pg_temp":
            if name in resolution.temp:
                return _temporary(name, resolution)
            continue
        found = _in_schema(candidate, name, catalog, resolution)
        if found is not None:
            return found
    return _missing(name)


def is_own(schema: str, resolution: Resolution | None) -> bool:
    """Whether it is the number under which the session's own temporary schema goes."""
    return resolution is not None and schema != "" and schema == resolution.temp_schema


def _in_schema(schema: str, name: str, catalog: Catalog, resolution: Resolution | None) -> Target | None:
    """What the transaction itself has made comes first: where the catalog has the same name, it has been dropped."""
    if resolution is not None and (resolution.fresh or resolution.unread):
        if (schema, name) in resolution.fresh:
            return Fresh(schema)
        if (schema, name) in resolution.unread:
            message = f'relation "{name}" has been made in this transaction and cannot be read before it is committed'
            return Unresolved(Refusal("0A000", message, "COMMIT first, or make it before the transaction"))
    found = catalog.by_name.get((schema, name))
    if resolution is None or not resolution.renamed:
        return found
    for its_schema, its_name, oid in resolution.renamed:
        if (its_schema, its_name) == (schema, name):
            return replace(catalog.relations[oid], schema=schema, name=name)
        if found is not None and found.oid == oid:
            found = None
    return found


def is_temporary(relation: Relation) -> bool:
    """Whether it is a temporary view; temporary tables are no relations of ours."""
    return relation.schema == "pg_temp"


def _temporary(name: str, resolution: Resolution) -> Target:
    if name in resolution.strange:
        message = f'a temporary relation "{name}" that another client has left is in the way on the pooled server connection'
        return Unresolved(Refusal("0A000", message, "Write the name with its schema."))
    for view in resolution.views:
        if view.name == name:
            return temporary_view(view)
    return Special.TEMP


def temporary_view(view: TempView) -> Relation:
    """A temporary view as a relation. The types of its columns are not known: it is opened, not masked."""
    columns = (Column(i, name, 0, -1, "", "", "", "X") for i, name in enumerate(view.columns, 1))
    return Relation(0, "pg_temp", view.name, "v", "" if view.own else "another", tuple(columns), view_sql=view.sql)


def _missing(name: str) -> Unresolved:
    return Unresolved(Refusal("42P01", f'relation "{name}" does not exist'), Need.CATALOG)
