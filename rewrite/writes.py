"""Writes: nothing masked is stored as if it were real, and nothing raw is read through the back door of a write.

The target of a write cannot be replaced by a derived table. So a masked column of it may be neither read nor, in an UPDATE,
assigned; an INSERT may give it a value of the client's own unless a unique index would tell whether the value is there already.
"""

from __future__ import annotations

from rewrite import system
from rewrite.catalog import Relation
from rewrite.pgtree import Node
from rewrite.plan import Effect, Refusal
from rewrite.rewriter import Refused, Rewriter
from rewrite.source import Source
from rewrite.survey import Site


def check(rewriter: Rewriter) -> None:
    """Refuse every INSERT, UPDATE, DELETE and MERGE in the statement that would launder or destroy data. Raises Refused."""
    permanent = False
    for kind, body in rewriter.survey.targets:
        site = next(s for s in rewriter.survey.sites if s.node is body["relation"])
        if site in rewriter.temporary:
            continue
        permanent = True
        _target(rewriter, kind, body, site)
    if permanent and rewriter.reads_masked():
        raise _refuse(
            "a write may not depend on masked columns: masked values would be stored as if they were real",
            "leave the masked columns out, or write into a temporary table",
        )


def into(rewriter: Rewriter, relation: Node) -> None:
    """CREATE TABLE AS and SELECT INTO: masked values may go into temporary tables only."""
    if not is_temporary(relation) and rewriter.reads_masked():
        raise _refuse(
            "a permanent table may not be filled from masked columns: masked values would be stored as if they were real",
            "leave the masked columns out, or create a temporary table",
        )


def is_temporary(relation: Node) -> bool:
    """Whether a CREATE names a temporary relation."""
    return bool(relation.get("relpersistence") == "t" or relation.get("schemaname", "").startswith("pg_temp"))


def created(relation: Node) -> Effect:
    """What making a relation changes: a temporary one is no part of the catalog that sessions share."""
    return Effect.RESOLUTION if is_temporary(relation) else Effect.RESOLUTION | Effect.DDL


def _target(rewriter: Rewriter, kind: str, body: Node, site: Site) -> None:
    relation = rewriter.relations[site]
    name = f"{relation.schema}.{relation.name}"
    if system.is_system(relation):
        raise _refuse(f"{name} is a system catalog and cannot be written in a session with masked columns")
    if rewriter.book.has_rules(relation):
        raise _refuse(f"{name} has rewrite rules, which may read masked columns", "write to the table itself")
    if relation.kind == "f" and rewriter.book.reaches_protected(relation):
        raise _refuse(f"{name} leads to a table with masked columns", "write to the table itself")
    source = rewriter.book.target(relation)
    if source is not None and source.view is not None:
        raise _refuse(f"{name} computes with masked columns of the tables behind it", "write to the table itself")
    if source is None:
        return
    usage = rewriter.usage(site)
    hidden = source.masked | source.denied
    if "tableoid" in usage.system and rewriter.book.masked_partition_key(relation):
        raise _refuse(f"the partitions of {name} are told apart by a masked column", "leave tableoid out")
    for column in sorted(hidden):
        if usage.clauses(column):
            raise _refuse(
                f"column {name}.{column} is masked and the target of a write cannot be read through a mask",
                "name unmasked columns only, also in WHERE and RETURNING (RETURNING * names them all)",
            )
    if kind in ("UpdateStmt", "DeleteStmt"):
        _assigned(name, body.get("targetList", []), source)
    elif kind == "InsertStmt":
        columns = [c["ResTarget"]["name"] for c in body.get("cols", [])]
        inserted(relation, source, columns or [c.name for c in relation.columns])
        for column in sorted(hidden & usage.excluded):
            raise _refuse(
                f"excluded.{column} may be the default of masked column {name}.{column}", "write the value again instead"
            )
        conflict = body.get("onConflictClause", {})
        _assigned(name, conflict.get("targetList", []), source)
        for element in conflict.get("infer", {}).get("indexElems", []):
            if element["IndexElem"].get("name") in hidden:
                raise _refuse(f"ON CONFLICT on masked column {name}.{element['IndexElem']['name']} would tell its values")
    else:
        for clause in body.get("mergeWhenClauses", []):
            when = clause["MergeWhenClause"]
            if when["commandType"] == "CMD_INSERT":
                columns = [c["ResTarget"]["name"] for c in when.get("targetList", [])]
                inserted(relation, source, columns or [c.name for c in relation.columns])
            else:
                _assigned(name, when.get("targetList", []), source)


def inserted(relation: Relation, source: Source, columns: list[str]) -> None:
    """The columns that new rows of a protected relation bring values for."""
    hidden = source.masked | source.denied
    for column in relation.columns:
        if column.name not in hidden or column.name not in columns:
            continue
        origin = source.origins[column.name]
        table = origin.relation
        if table.kind == "v":
            raise _refuse(f"column {relation.schema}.{relation.name}.{column.name} is masked", "write to the table itself")
        # 0: an expression in a unique index may use any column
        if origin.column.attnum in table.unique | table.foreign or 0 in table.unique:
            raise _refuse(
                f"column {relation.schema}.{relation.name}.{column.name} is masked and part of a unique index or foreign key: "
                "inserting into it would tell whether a value exists"
            )


def _assigned(name: str, targets: list[Node], source: Source) -> None:
    for target in targets:
        column = target["ResTarget"].get("name")
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


def _refuse(message: str, hint: str | None = None) -> Refused:
    return Refused(Refusal("42501", message, hint))
