"""Code that runs without a call in sight because values change their type: casts, and the checks of domains.

A cast applies where a value of its source type meets its target type: everywhere (implicit), where a value is assigned, or
where it is asked for. pgveil does not infer the types of expressions; so a cast whose function the session may not call counts
as run when both types may be *in play*: types that the statement names, those of the columns it uses, of the functions and
operators it names, and what these are made of. Builtin types always are.

Casts of extensions count where they are asked for only: they come with the types, and convert.

Manual: sql-createcast, typeconv.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rewrite.catalog import Cast, Catalog, Relation
from rewrite.columns import Usage
from rewrite.functions import Finding, Names, forbidden, is_usable
from rewrite.survey import Site, Survey

_FIRST_USER_OID = 16384
_WRITES = frozenset({"SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})


def check(
    survey: Survey,
    kind: str,
    relations: Mapping[Site, Relation],
    usages: Mapping[Site, Usage],
    names: Names,
    *,
    given: Iterable[int] = (),
    assigned: Iterable[int] = (),
    temporary: bool = False,
) -> Finding | None:
    """The first cast or check that the statement may run and the session may not; None when there is none.

    `given`: types of parameters. `assigned`: types to which something is assigned besides the columns written. `temporary`: the
    statement uses temporary relations, whose columns are not known.
    """
    catalog = names.catalog
    targets = {id(body.get("relation")) for _, body in survey.targets}
    written = [r for s, r in relations.items() if id(s.node) in targets]
    assigned = closure(catalog, (*assigned, *(c.type_oid for r in written for c in r.columns)))
    finding = _checked(catalog, assigned, names)
    if finding is not None:
        return finding
    bad = [c for c in catalog.casts if not is_usable(c.function, names)]
    if not bad:
        return None
    asked = closure(catalog, _named(survey, catalog))
    used = (c.type_oid for s, r in relations.items() for c in r.columns if usages[s].whole or c.name in usages[s].columns)
    whole = (r for s, r in relations.items() if usages[s].whole)
    rows = (t.oid for r in whole for t in catalog.types_by_name.get(r.name, ()) if t.schema == r.schema)
    play = asked | assigned | closure(catalog, (*given, *used, *rows, *_of_functions(survey, catalog)))
    if kind not in _WRITES:  # ALTER COLUMN TYPE, DEFAULT, the arguments of EXECUTE
        assigned = play
    into_temporary = temporary and len(written) < len(targets)
    for cast in bad:
        source = plays(cast.source, play) or temporary
        if cast.context == "e" or _of_extension(cast, catalog):
            runs = source and cast.target in asked
        elif cast.context == "a":
            runs = source and (cast.target in assigned | asked or into_temporary)
        else:
            runs = source and (plays(cast.target, play) or temporary)
        if runs:
            return Finding(forbidden("a value of type", _name(catalog, cast)))
    return None


def closure(catalog: Catalog, types: Iterable[int]) -> frozenset[int]:
    """The types and everything they are made of."""
    found: set[int] = set()
    todo = list(types)
    while todo:
        oid = todo.pop()
        if oid not in found:
            found.add(oid)
            known = catalog.types_by_oid.get(oid)
            todo += known.parts if known is not None else ()
    return frozenset(found)


def parameters(catalog: Catalog, types: Iterable[tuple[str, ...]], names: Names) -> Finding | None:
    """The parameters of PREPARE: whatever EXECUTE gives is assigned to them."""
    assigned = closure(catalog, (t.oid for name in types for t in catalog.types_by_name.get(name[-1], ())))
    finding = _checked(catalog, assigned, names)
    if finding is not None:
        return finding
    for cast in catalog.casts:
        if cast.context != "e" and cast.target in assigned and not is_usable(cast.function, names):
            return Finding(forbidden("a parameter of type", _name(catalog, cast)))
    return None


def _checked(catalog: Catalog, types: Iterable[int], names: Names) -> Finding | None:
    for oid in types:
        known = catalog.types_by_oid.get(oid)
        if known is not None and not all(is_usable(f, names) for f in known.functions):
            return Finding(forbidden("a value of type", f"{known.schema}.{known.name} (a cast or check of it calls a function)"))
    return None


def _named(survey: Survey, catalog: Catalog) -> list[int]:
    """Types that the statement names, also in function or attribute notation, in whatever schema."""
    written = {t[-1] for t in survey.types} | {c.names[-1] for c in survey.calls} | set(survey.fields)
    written |= {r.fields[-1] for r in survey.refs if len(r.fields) > 1}
    return [t.oid for name in written for t in catalog.types_by_name.get(name, ())]


def _of_functions(survey: Survey, catalog: Catalog) -> list[int]:
    called = {c.names[-1] for c in survey.calls} | set(survey.fields) | {r.fields[-1] for r in survey.refs if len(r.fields) > 1}
    found = [oid for name in called for f in catalog.functions_by_name.get(name, ()) for oid in f.types]
    symbols = {o[-1] for o in survey.operators}
    return found + [oid for name in symbols for o in catalog.operators_by_name.get(name, ()) for oid in o.types]


def plays(oid: int, play: frozenset[int]) -> bool:
    """Whether a value of the type may be there: builtin types always are."""
    return oid < _FIRST_USER_OID or oid in play


def _of_extension(cast: Cast, catalog: Catalog) -> bool:
    function = catalog.functions.get(cast.function)
    return function is not None and function.extension is not None


def _name(catalog: Catalog, cast: Cast) -> str:
    one = next(
        (t for t in (catalog.types_by_oid.get(o) for o in (cast.target, cast.source)) if t and t.oid >= _FIRST_USER_OID), None
    )
    return f"{one.schema}.{one.name} (a cast or check of it calls a function)" if one is not None else "that a cast converts"
