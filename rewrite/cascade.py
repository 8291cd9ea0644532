"""What DROP … CASCADE and TRUNCATE … CASCADE reach besides what they name: nothing protected, or they are refused.

CASCADE drops whatever depends, whoever owns it: tables in a schema, columns of a type, triggers and defaults that use a function,
rows of the tables that refer to one. What goes with a dropped sequence, index or constraint is not looked at: it holds no data,
shows none, and decides about none.

Manual: ddl-depend, sql-truncate.
"""

from __future__ import annotations

from collections.abc import Iterable

from rewrite import objects, relied, statements, system
from rewrite.catalog import Relation
from rewrite.pgtree import Node, strings
from rewrite.refused import Refused
from rewrite.run import Run

_CODE = frozenset({"OBJECT_FUNCTION", "OBJECT_PROCEDURE", "OBJECT_ROUTINE", "OBJECT_AGGREGATE"})
_ALONE = frozenset({"OBJECT_COLLATION", "OBJECT_TSCONFIGURATION", "OBJECT_EXTENSION"})


def dropped(run: Run, body: Node) -> None:
    """A DROP whose kind is allowed; raises Refused when it could reach something protected."""
    kind, objects_ = body["removeType"], body.get("objects", [])
    if kind == "OBJECT_EXTENSION":
        known = {*system.rules().extensions, *run.context.profile.extensions}
        if not known >= {o["String"]["sval"] for o in objects_}:
            raise Refused(statements.not_droppable(kind))
    if kind in _CODE:
        _relied(run, kind, {strings(o["ObjectWithArgs"]["objname"])[-1] for o in objects_})
    if body.get("behavior") != "DROP_CASCADE":
        return
    if kind == "OBJECT_SCHEMA":
        reached = _in_schemas(run, {o["String"]["sval"] for o in objects_})
    elif kind in ("OBJECT_TYPE", "OBJECT_DOMAIN"):
        reached = objects.protected_user(run, [strings(o["TypeName"]["names"]) for o in objects_]) is not None
    elif kind in _CODE:
        reached = _uses(run, {strings(o["ObjectWithArgs"]["objname"])[-1] for o in objects_})
    else:
        reached = kind in _ALONE
    if reached:
        raise Refused(statements.cascade())


def _relied(run: Run, kind: str, names: set[str]) -> None:
    """A function that is gone may be made again, as another one; raises Refused."""
    allowed = {a.rpartition(".")[2] for a in run.context.profile.functions}
    for name in sorted(names):
        there = run.context.catalog.functions_by_name.get(name, ())
        if there and (name in allowed or relied.on(run.book, name) is not None):
            raise Refused(statements.not_droppable(kind))


def truncated(run: Run, relations: Iterable[Relation]) -> None:
    """TRUNCATE … CASCADE of the relations; raises Refused when a protected one refers to them."""
    catalog = run.context.catalog
    found = {r.oid for r in relations}
    while True:
        found |= {c for oid in found for c in catalog.children.get(oid, ())}
        more = {r.oid for r in catalog.relations.values() if any(f.target in found for f in r.references)}
        if more <= found:
            break
        found |= more
    if any(run.book.is_guarded(catalog.relations[oid]) for oid in found if oid in catalog.relations):
        raise Refused(statements.cascade())


def _protected(run: Run) -> list[Relation]:
    return [r for r in run.context.catalog.relations.values() if not system.is_system(r) and run.book.is_guarded(r)]


def _in_schemas(run: Run, schemas: set[str]) -> bool:
    catalog = run.context.catalog
    protected = _protected(run)
    if any(r.schema in schemas or r.row_security for r in protected):
        return True
    for relation in protected:
        above = (catalog.relations.get(oid) for oid in relation.parents)
        functions = (catalog.functions.get(oid) for oid in relation.sets_off)
        if any(x is None or x.schema in schemas for x in (*above, *functions)):
            return True
    types = {t.oid for t in catalog.types if t.schema in schemas}
    return objects.protected_with_types(run, types) is not None


def _uses(run: Run, names: set[str]) -> bool:
    """Whether a protected relation sets off a function of one of the names, or has policies, which may."""
    functions = run.context.catalog.functions
    for relation in _protected(run):
        if relation.row_security or any(f is None or f.name in names for f in map(functions.get, relation.sets_off)):
            return True
    return False
