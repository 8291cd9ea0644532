"""Writes: nothing masked is stored as if it were real, and nothing raw is read through the back door of a write.

The target of a write cannot be replaced by a derived table. So a masked column of it may be neither read nor, in an UPDATE,
assigned; an INSERT may give it a value of the client's own. What a write would tell by failing: `rewrite.telling`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from rewrite import fired, functions, resolve, system, telling
from rewrite.catalog import Function, Relation
from rewrite.pgtree import Node, parse
from rewrite.plan import Effect, Need, Refusal
from rewrite.refused import Refused
from rewrite.rewriter import Rewriter
from rewrite.source import Source
from rewrite.survey import Site, Survey, Use


def check(rewriter: Rewriter) -> None:
    """Refuse every INSERT, UPDATE, DELETE and MERGE in the statement that would launder or destroy data. Raises Refused."""
    for kind, body in rewriter.survey.targets:
        site = next(s for s in rewriter.survey.sites if s.node is body["relation"])
        if site in rewriter.temporary:
            continue
        no_code_between(rewriter)
        if site not in rewriter.fresh:
            _target(rewriter, kind, body, site)
        source = rewriter.sources.get(site)
        if (source is not None and source.decides) or _depends_on_masked(rewriter, ("write", id(body)), set()):
            _from_tainted(rewriter)
            raise _refuse(
                "a write may not depend on masked columns: masked values would be stored as if they were real",
                "leave the masked columns out, or write into a temporary table",
            )


def _depends_on_masked(rewriter: Rewriter, place: tuple[str, int], seen: set[tuple[str, int]]) -> bool:
    """Whether what stands in a place of the statement, or in a common table expression it names, reads a masked column.

    For a write that is everything but its WITH, of which it depends on what it names, and its RETURNING, which nothing is
    stored from.
    """
    seen.add(place)
    if place[0] == "cte" and any(place in r.ref.path for r in rewriter.returning):
        return True
    for site in rewriter.survey.sites:
        if place not in site.path:
            continue
        if site.refers is not None:
            further = ("cte", id(site.refers))
            if further not in seen and _depends_on_masked(rewriter, further, seen):
                return True
        if site in rewriter.temporary and site.name in rewriter.held() and (place[0] == "cte" or site.use is not Use.TARGET):
            return True
        source = rewriter.sources.get(site)
        if source is None or site.use is Use.TARGET:
            continue
        usage = rewriter.usage(site)
        hidden = source.masked | source.denied
        used = usage.whole or any(usage.clauses(name) for name in hidden)
        if place[0] == "write":
            used = "*" in usage.stored or bool(hidden & usage.stored)
        if source.decides or (hidden and used):
            return True
    return False


def no_code_between(rewriter: Rewriter) -> None:
    """Code may not carry masked values from a temporary table into a permanent one: its body names the table. Raises Refused."""
    book, resolution = rewriter.book, rewriter.names.resolution
    called = functions.called(rewriter.survey, rewriter.names)
    called += [f for r in rewriter.relations.values() for f in fired.defaults(book, r)]
    called += [f for r in rewriter.relations.values() for f in in_definition(rewriter, r)]
    if not any(f.oid >= system.FIRST_USER_OID and f.extension is None for f in called):
        return
    if resolution is None:
        raise Refused(None, Need.RESOLUTION)
    for name in sorted(resolution.tainted):
        function = book.reader(name)
        if function is not None:
            raise _refuse(
                f"temporary table {name} holds masked values, and function {function.schema}.{function.name} may read it: in a "
                "permanent table they would be stored as if they were real",
                "DROP the temporary table first, or give it another name",
            )


def in_definition(rewriter: Rewriter, relation: Relation, depth: int = 0) -> Iterator[Function]:
    """The functions in the definition of a view, and of those behind it."""
    if relation.kind not in "vm" or not relation.view_sql or system.is_system(relation) or depth > 64:
        return
    for statement in parse(relation.view_sql):
        yield from functions.called(Survey(statement.kind, statement.body), rewriter.names)
    for base in rewriter.book.bases(relation):
        yield from in_definition(rewriter, base, depth + 1)


def into(rewriter: Rewriter, relation: Node) -> None:
    """CREATE TABLE AS and SELECT INTO: masked values may go into temporary tables only."""
    if not is_temporary(relation):
        no_code_between(rewriter)
    if not is_temporary(relation) and rewriter.reads_masked():
        _from_tainted(rewriter)
        raise _refuse(
            "a permanent table may not be filled from masked columns: masked values would be stored as if they were real",
            "leave the masked columns out, or create a temporary table",
        )


def _from_tainted(rewriter: Rewriter) -> None:
    for name in rewriter.tainted():
        raise _refuse(
            f"temporary table {name} holds masked values: in a permanent table they would be stored as if they were real",
            "fill a temporary table of its own from what is not masked, and write from that",
        )


def tainted(rewriter: Rewriter) -> tuple[str, ...]:
    """Temporary tables into which the statement may put masked values."""
    names = {s.name for s in rewriter.temporary if s.use is Use.TARGET}
    names |= {select["intoClause"]["rel"]["relname"] for select in rewriter.survey.into}
    return tuple(sorted(names)) if names and rewriter.reads_masked() else ()


def is_temporary(relation: Node) -> bool:
    """Whether a CREATE names a temporary relation."""
    return bool(relation.get("relpersistence") == "t" or relation.get("schemaname", "").startswith("pg_temp"))


def created(relation: Node) -> Effect:
    """What making a relation changes: a temporary one is no part of the catalog that sessions share."""
    return Effect.RESOLUTION if is_temporary(relation) else Effect.RESOLUTION | Effect.DDL


def _target(rewriter: Rewriter, kind: str, body: Node, site: Site) -> None:
    relation = rewriter.relations[site]
    name = f"{relation.schema}.{relation.name}"
    resolution = rewriter.names.resolution
    if resolve.is_temporary(relation) and (resolution is None or rewriter.book.temporary_leads(relation, resolution)):
        raise _refuse(f"temporary view {relation.name} leads to a permanent table", "write to the table itself")
    if resolve.is_temporary(relation):
        return
    if system.is_system(relation):
        raise _refuse(
            f"{name} is a system catalog and cannot be written in a session with masked columns",
            "run it from a session without masked columns",
        )
    if rewriter.book.has_rules(relation):
        raise _refuse(f"{name} has rewrite rules, which may read masked columns", "write to the table itself")
    if relation.kind == "f" and rewriter.book.reaches_protected(relation):
        raise _refuse(f"{name} leads to a table with masked columns", "write to the table itself")
    book = rewriter.book
    source = book.target(relation)
    if source is not None and source.view is not None:
        raise _refuse(f"{name} computes with masked columns of the tables behind it", "write to the table itself")
    new, changed = _written(kind, body, relation)
    _not(fired.refusal(book, relation, rewriter.names))
    _not(telling.references(book, relation, new | changed))
    if source is None:
        return
    _not(telling.inserted(book, relation, source, new))
    _assigned(name, changed, source)
    _not(telling.together(book, relation, changed, only=site.only))
    usage = rewriter.usage(site)
    hidden = source.masked | source.denied
    if "tableoid" in usage.system and rewriter.book.masked_partition_key(relation):
        raise _refuse(f"the partitions of {name} are told apart by a masked column", "leave tableoid out")
    for column in sorted(hidden):
        if usage.clauses(column):
            raise _refuse(
                f"column {name}.{column} is masked and the target of a write cannot be read through a mask",
                "name unmasked columns only in WHERE and SET; in RETURNING write masked columns plainly: phone, upper(phone)",
            )
    if kind == "InsertStmt":
        for column in sorted(hidden & usage.excluded):
            raise _refuse(
                f"excluded.{column} may be the default of masked column {name}.{column}", "write the value again instead"
            )
        for element in body.get("onConflictClause", {}).get("infer", {}).get("indexElems", []):
            if element["IndexElem"].get("name") in hidden:
                raise _refuse(
                    f"ON CONFLICT on masked column {name}.{element['IndexElem']['name']} would tell its values",
                    "use a unique column that is not masked",
                )


def _written(kind: str, body: Node, relation: Relation) -> tuple[frozenset[str], frozenset[str]]:
    """Names of the columns that a write gives values in new rows, and of those it changes in rows that are there."""
    new: set[str] = set()
    changed: set[str] = set()
    every = [c.name for c in relation.columns]
    if kind == "InsertStmt" and "selectStmt" in body:
        new.update([c["ResTarget"]["name"] for c in body.get("cols", [])] or every)
    changed.update(_names(body.get("onConflictClause", {})))
    if kind == "UpdateStmt":
        changed.update(_names(body))
    for clause in body.get("mergeWhenClauses", []):
        when = clause["MergeWhenClause"]
        if when["commandType"] == "CMD_INSERT":
            new.update(_names(when) or every)
        else:
            changed.update(_names(when))
    return frozenset(new), frozenset(changed)


def _names(body: Node) -> list[str]:
    return [t["ResTarget"].get("name", "") for t in body.get("targetList", [])]


def _not(refusal: Refusal | None) -> None:
    if refusal is not None:
        raise Refused(refusal)


def _assigned(name: str, columns: Collection[str], source: Source) -> None:
    for column in sorted(columns):
        if column in source.deciding:
            raise _refuse(
                f"column {name}.{column} decides what this session may see of the row and cannot be changed by it",
                "a session for which no row condition applies to this table can change it",
            )
        if column in source.masked | source.denied:
            raise _refuse(
                f"masked column {name}.{column} cannot be changed by a session that does not see its real value",
                "a session that sees the column in clear can change it",
            )


def _refuse(message: str, hint: str) -> Refused:
    return Refused(Refusal("42501", message, hint))
