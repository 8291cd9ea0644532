"""Definitions of types, domains, statistics, collations and extensions in sessions with masked columns.

Making a type reads nothing and shows nothing; what matters is the code that a value of it will run, in sessions with nothing
masked too, on values this session may not see. So nothing may come along with a type but expressions over builtin functions
without effects. Changing a type may read: ALTER DOMAIN … ADD CHECK looks at every stored value, and fails on one it does not
like. So a type that a column of a protected relation has, or is made of, stays as it is.

Manual: sql-createtype, sql-createdomain, sql-alterdomain, sql-createstatistics, sql-createextension.
"""

from __future__ import annotations

from collections.abc import Iterable

from policies.model import COMPANION
from rewrite import functions, relied, statements, system
from rewrite.catalog import Catalog, Relation
from rewrite.pgtree import Node, strings, strip
from rewrite.plan import Effect, Says, StatementPlan
from rewrite.refused import Refused, refuse
from rewrite.rewriter import Rewriter
from rewrite.run import Run, analyse, creation_schema, rewriter_for, unresolved

KINDS = frozenset(
    """CompositeTypeStmt CreateEnumStmt CreateRangeStmt CreateDomainStmt AlterDomainStmt AlterEnumStmt CreateStatsStmt
    AlterStatsStmt DefineStmt AlterTSConfigurationStmt CreateExtensionStmt""".split()
)
RENAMED = frozenset({"OBJECT_TYPE", "OBJECT_DOMAIN", "OBJECT_ATTRIBUTE", "OBJECT_DOMCONSTRAINT"})

_OF_RANGE = frozenset({"subtype", "multirange_type_name", "collation", "subtype_diff"})
_DEFINED = frozenset({"OBJECT_COLLATION", "OBJECT_TSCONFIGURATION"})
_RESERVED_SCHEMAS = ("pg_catalog", "information_schema", "pg_toast", COMPANION)


def is_about_a_type(kind: str, body: Node) -> bool:
    """Whether a statement that is not in KINDS changes a type."""
    if kind == "RenameStmt":
        return body.get("renameType") in RENAMED
    return kind == "AlterTableStmt" and body.get("objtype") == "OBJECT_TYPE"


def define(run: Run, kind: str, body: Node, name: str) -> tuple[Rewriter | None, StatementPlan, Node]:
    """Plan one statement of KINDS, or one that `is_about_a_type`; raises Refused."""
    effects = Effect.DDL | (Effect.RESOLUTION if kind in ("CompositeTypeStmt", "CreateExtensionStmt") else Effect.NONE)
    rewriter: Rewriter | None = None
    if kind == "CreateExtensionStmt":
        _extension(run, kind, body)
    elif kind == "AlterEnumStmt":
        _unused_by_protected(run, body["typeName"], kind)
    elif kind == "AlterDomainStmt":
        _unused_by_protected(run, body["typeName"], kind)
        rewriter = _expressions(run, kind, body.get("def", {}))
        if "Constraint" in body.get("def", {}):
            _computes_only(rewriter, kind)
    elif kind in ("RenameStmt", "AlterTableStmt"):
        _changed_type(run, kind, body)
        rewriter = _expressions(run, kind, body.get("cmds", []))
    elif kind == "CreateStatsStmt":
        return _statistics(run, kind, body, name)
    elif kind not in ("AlterStatsStmt", "AlterTSConfigurationStmt"):
        rewriter = _made(run, kind, body)
    return None, StatementPlan(name, (), effects, says=Says.DETAILS), {kind: strip(body)}


def _made(run: Run, kind: str, body: Node) -> Rewriter | None:
    """CREATE TYPE and CREATE DOMAIN."""
    if kind == "DefineStmt":
        if body.get("kind") not in _DEFINED:
            raise Refused(statements.not_supported(kind))
        in_own_schema(run, kind, strings(body["defnames"]))
        return None
    if kind == "CompositeTypeStmt":
        created = body["typevar"]
        in_own_schema(run, kind, tuple(created[k] for k in ("schemaname", "relname") if k in created))
        _no_function(run, kind, created["relname"])
        return _expressions(run, kind, body.get("coldeflist", []))
    parts = strings(body["domainname"] if kind == "CreateDomainStmt" else body["typeName"])
    in_own_schema(run, kind, parts)
    _no_function(run, kind, parts[-1])
    if kind == "CreateRangeStmt":
        return _range(run, kind, body)
    if kind == "CreateDomainStmt":
        constraints = [c["Constraint"] for c in body.get("constraints", ())]
        checks = [c["raw_expr"] for c in constraints if c["contype"] == "CONSTR_CHECK"]
        _computes_only(_expressions(run, kind, checks), kind)
        return _expressions(run, kind, {"typeName": body["typeName"], "constraints": body.get("constraints", [])})
    return None  # an enumeration


def _range(run: Run, kind: str, body: Node) -> Rewriter:
    """A range over any type, with a builtin function for differences at most: other code would run on every value."""
    parameters = {p["DefElem"]["defname"].lower(): p["DefElem"].get("arg", {}) for p in body["params"]}
    other = sorted(parameters.keys() - _OF_RANGE)
    if other:
        raise refuse(
            "42501",
            f"a range with {other[0]} cannot be created in a session with masked columns: it makes code run on every value",
            "leave it out, or run it from a session without masked columns",
        )
    if "subtype_diff" in parameters:
        called = _name(parameters["subtype_diff"])
        if not functions.computes_only(run.book.bodies.names(run.resolution), called):
            raise _runs_code(kind, called[-1])
    if "multirange_type_name" in parameters:
        in_own_schema(run, kind, _name(parameters["multirange_type_name"]))
        _no_function(run, kind, _name(parameters["multirange_type_name"])[-1])
    return _expressions(run, kind, parameters.get("subtype", {}))


def _name(value: Node) -> tuple[str, ...]:
    """A name as the value of an option: the grammar takes it for a type's, or for a string."""
    if "TypeName" in value:
        return strings(value["TypeName"]["names"])
    if "List" in value:
        return strings(value["List"]["items"])
    return (str(value.get("String", {}).get("sval", "")),)


def _expressions(run: Run, kind: str, node: Node) -> Rewriter:
    """The types, functions and operators in a part of a definition must be ones that the session could use itself."""
    rewriter = rewriter_for(run, kind, {"parts": node})
    rewriter.allow_ddl = True
    analyse(run, rewriter)
    if rewriter.relations or rewriter.temporary or rewriter.fresh:
        raise Refused(statements.not_supported(kind))
    if functions.set_config_names(rewriter.survey):
        raise _runs_code(kind, "set_config")
    return rewriter


def _computes_only(rewriter: Rewriter, kind: str) -> None:
    found = functions.effect(rewriter.survey, rewriter.names)
    if found is not None:
        raise _runs_code(kind, found)


def _runs_code(kind: str, function: str) -> Refused:
    return refuse(
        "42501",
        f"{statements.kind_name(kind)} with {function} is not possible in a session with masked columns: only builtin functions "
        "that do nothing but compute may run wherever a value is used",
        "leave the function out, or run it from a session without masked columns",
    )


def _no_function(run: Run, kind: str, name: str) -> None:
    """A call of a function could come to mean a cast to the type; raises Refused."""
    if relied.is_a_function(run.book, name):
        raise refuse(
            "42501",
            f"{statements.kind_name(kind)} is not possible in a session with masked columns: {name} is the name of a function",
            "give the type another name",
        )
    why = relied.on_type(run.book, name)
    if why is not None:
        raise refuse(
            "42501",
            f"{statements.kind_name(kind)} is not possible in a session with masked columns: {why}",
            "give the type another name",
        )


def in_own_schema(run: Run, kind: str, parts: tuple[str, ...]) -> None:
    """New objects are made in schemas that all sessions know, and not in the system's."""
    relation = dict(zip(("schemaname", "relname"), parts[-2:], strict=False)) if len(parts) > 1 else {"relname": parts[-1]}
    if "schemaname" not in relation and run.resolution is None:
        raise unresolved(run)
    schema = creation_schema(relation, run.resolution)
    if schema is not None and (schema in _RESERVED_SCHEMAS or schema.startswith("pg_temp")):
        raise refuse(
            "42501",
            f"{statements.kind_name(kind)} in schema {schema} is not possible in a session with masked columns",
            "make it in an ordinary schema",
        )


def _changed_type(run: Run, kind: str, body: Node) -> None:
    if body.get("behavior") == "DROP_CASCADE" or any(
        c["AlterTableCmd"].get("behavior") == "DROP_CASCADE" for c in body.get("cmds", ())
    ):
        raise Refused(statements.cascade())
    if "relation" in body:
        relation = body["relation"]
        parts = [{"String": {"sval": relation[k]}} for k in ("schemaname", "relname") if k in relation]
    else:
        parts = body["object"]["List"]["items"]
    _unused_by_protected(run, parts, kind)
    if kind == "RenameStmt" and body["renameType"] in ("OBJECT_TYPE", "OBJECT_DOMAIN"):
        _no_function(run, kind, body["newname"])


def _unused_by_protected(run: Run, parts: list[Node], kind: str) -> None:
    """Raises Refused when a column of a protected relation has the type, or one made of it."""
    user = protected_user(run, [strings(parts)])
    if user is not None:
        raise refuse(
            "42501",
            f"{'ALTER TYPE' if kind == 'AlterTableStmt' else statements.kind_name(kind)} is not possible with masked columns: "
            f"{user.schema}.{user.name} has the type",
            "run it from a session without masked columns",
        )


def protected_user(run: Run, names: Iterable[tuple[str, ...]]) -> Relation | None:
    """A protected relation with a column of one of the types (of that name in any schema, unless it is written with its own)."""
    catalog = run.context.catalog
    types = {t.oid for n in names for t in catalog.types_by_name.get(n[-1], ()) if len(n) < 2 or t.schema == n[-2]}
    return protected_with_types(run, types)


def protected_with_types(run: Run, types: Iterable[int]) -> Relation | None:
    made_of = _made_of(run.context.catalog, types)
    stored = (r for r in run.context.catalog.relations.values() if r.kind in "rpfm" and not system.is_system(r))
    having = (r for r in stored if any(c.type_oid in made_of for c in r.columns))
    return next((r for r in having if run.book.is_guarded(r)), None)


def _made_of(catalog: Catalog, types: Iterable[int]) -> frozenset[int]:
    """The types and all that are made of them: arrays, domains, composite types."""
    users: dict[int, list[int]] = {}
    for known in catalog.types:
        for part in known.parts:
            users.setdefault(part, []).append(known.oid)
    found: set[int] = set()
    todo = list(types)
    while todo:
        oid = todo.pop()
        if oid not in found:
            found.add(oid)
            todo += users.get(oid, ())
    return frozenset(found)


def _statistics(run: Run, kind: str, body: Node, name: str) -> tuple[Rewriter | None, StatementPlan, Node]:
    """Statistics hold values of the table they are about: not of one that is protected."""
    if "defnames" in body:
        in_own_schema(run, kind, strings(body["defnames"]))
    rewriter = rewriter_for(run, kind, {k: v for k, v in body.items() if k != "defnames"})
    rewriter.allow_ddl = True
    analyse(run, rewriter)
    _computes_only(rewriter, kind)
    for relation in rewriter.relations.values():
        if run.book.is_guarded(relation) or system.is_system(relation):
            raise refuse(
                "42501",
                f"CREATE STATISTICS on {relation.schema}.{relation.name} is not possible with masked columns: it holds values",
                "run it from a session without masked columns",
            )
    rewriter.pin_names()
    return rewriter, StatementPlan(name, (), Effect.DDL, says=Says.DETAILS), {kind: {**strip(body), **rewriter.expected()[kind]}}


def _extension(run: Run, kind: str, body: Node) -> None:
    """The extensions whose functions a masked session may call anyway; for one that is there, IF NOT EXISTS does nothing."""
    if body.get("if_not_exists") and body["extname"] in run.context.catalog.extensions:
        return
    if body["extname"] not in {*system.rules().extensions, *run.context.profile.extensions}:
        raise Refused(statements.not_supported(kind))
    for option in body.get("options", ()):
        if option["DefElem"]["defname"] == "schema":
            in_own_schema(run, kind, (option["DefElem"]["arg"]["String"]["sval"], "x"))
