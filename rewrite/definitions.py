"""DDL and the like in sessions with masked columns: fine as long as nothing protected and nothing of the system is named."""

from __future__ import annotations

from rewrite import cascade, fired, functions, seal, shadows, spoken, statements, system, writes
from rewrite.catalog import Relation
from rewrite.pgtree import Node, ParseError, Statement, strip
from rewrite.plan import Effect, Says, StatementPlan
from rewrite.refused import Refused, refuse
from rewrite.resolve import is_temporary
from rewrite.rewriter import Rewriter
from rewrite.run import Run, analyse, creation_schema, resolving, rewriter_for, temporary_names, unresolved
from rewrite.spans import SpanError
from rewrite.touched import touches
from rewrite.views import analysed, is_opened

_COPIES_NO_DEFINITION = 1 << 1 | 1 << 5 | 1 << 8
"""CREATE TABLE (LIKE … INCLUDING COMPRESSION, IDENTITY, STORAGE): the bits of TableLikeOption that bring no expression along."""


def definition(run: Run, kind: str, body: Node, name: str, effects: Effect) -> tuple[Rewriter | None, StatementPlan, Node]:
    """DDL and the like: fine as long as nothing protected and nothing of the system is named."""
    refusal = statements.ddl_refusal(kind, body)
    if refusal is not None:
        raise Refused(refusal)
    if kind == "DropStmt":
        cascade.dropped(run, body)
    surveyed = body
    if kind == "CreateStmt" or kind in ("CreateSeqStmt",):
        key = "relation" if kind == "CreateStmt" else "sequence"
        created = body[key]
        if not writes.is_temporary(created) and created.get("schemaname") in ("pg_catalog", "information_schema"):
            raise Refused(statements.not_supported(kind))
        surveyed = {k: v for k, v in body.items() if k != key}
        effects = effects & ~Effect.DDL | writes.created(created)
    if kind in ("VacuumStmt", "ClusterStmt", "ReindexStmt") and run.book.withheld.get("partitions") and _is_verbose(body):
        raise refuse("42501", "VERBOSE would count rows by partition, which a masked column decides", "leave VERBOSE out")
    rewriter = rewriter_for(run, kind, surveyed)
    rewriter.allow_ddl = True
    if kind == "CreateStmt" and (schema := creation_schema(body["relation"], run.resolution)) is not None:
        rewriter.creates = (schema, body["relation"]["relname"])
    analyse(run, rewriter)
    no_definitions(rewriter, kind)
    if kind in ("AlterTableStmt", "RefreshMatViewStmt"):
        with resolving(run):
            writes.no_code_between(rewriter)
    gone = dropped(run, body) if kind in ("DropStmt", "CommentStmt") else ()
    permanent = [r for r in rewriter.relations.values() if not is_temporary(r)]
    copied = {id(c["relation"]) for c in _likes(body)} if kind == "CreateStmt" else frozenset()
    concerned = [r for s, r in rewriter.relations.items() if not is_temporary(r) and id(s.node) not in copied]
    for relation in (*concerned, *gone):
        _not_unseen(run, kind, body, relation)
        if kind in statements.HARMLESS_ON_PROTECTED or (relation.kind == "v" and _about_a_view(run, kind, body, relation)):
            continue
        if kind == "RefreshMatViewStmt":
            _refreshed(run, relation, body)
            continue
        if _is_guarded(run, relation):
            raise refuse(
                "42501",
                f"{statements.kind_name(kind)} on {relation.schema}.{relation.name} is not possible with masked columns",
                "a definition could show or change masked data; run it from a session without masked columns",
            )
    if copied:
        _like(run, rewriter, body)
    if kind == "TruncateStmt" and body.get("behavior") == "DROP_CASCADE":
        cascade.truncated(run, permanent)
    alone = temporary_names(run, body) if kind == "DropStmt" else None
    if alone or (not rewriter.fresh and len(rewriter.relations) + len(rewriter.temporary) > len(permanent) == 0):
        effects &= ~Effect.DDL  # about the session's own temporary relations only
    taints: tuple[str, ...] = ()
    if kind == "RenameStmt" and any(is_temporary(r) for r in rewriter.relations.values()):
        _no_reader(run, body.get("newname", ""))
    if kind == "RenameStmt" and rewriter.tainted():
        taints = (body.get("newname", ""),)
        effects |= Effect.TAINTS
    rewriter.pin_names()
    tree_ = {kind: {**strip(body), **rewriter.expected()[kind]}}
    return rewriter, StatementPlan(name, (), effects, taints=taints, says=_says(run, kind, rewriter, gone)), tree_


def _says(run: Run, kind: str, rewriter: Rewriter, gone: tuple[Relation, ...]) -> Says:
    """VACUUM without names, and what runs the definition of a view, may speak of anything."""
    if kind == "RefreshMatViewStmt" or (kind in _REBUILDS and not rewriter.relations):
        return Says.LITTLE
    concerned = (*gone, *rewriter.relations.values())
    if any(_computes_unseen(run, r) or (kind == "ReindexStmt" and r.kind in "iI") for r in concerned):
        return Says.LITTLE
    return Says.LITTLE if any(is_temporary(r) or run.book.is_guarded(r) for r in concerned) else Says.DETAILS


_REBUILDS = frozenset({"VacuumStmt", "ClusterStmt", "ReindexStmt"})
_CHECKS = frozenset({"AT_ValidateConstraint", "AT_AlterColumnType"})


def _computes_unseen(run: Run, relation: Relation) -> bool:
    """Whether checks, indexes and the like of the relation call what the session may not, or not any more."""
    names = run.book.bodies.names(run.resolution)
    return any(not functions.is_usable(f.oid, names) for f in fired.defaults(run.book, relation))


def _not_unseen(run: Run, kind: str, body: Node, relation: Relation) -> None:
    """What an index or check calls could be allowed when it was made, and read something protected by now. Raises Refused."""
    looks = kind in ("ClusterStmt", "ReindexStmt") or any(
        c["AlterTableCmd"].get("subtype") in _CHECKS for c in body.get("cmds", ())
    )
    if looks and _computes_unseen(run, relation):
        raise refuse(
            "42501",
            f"{statements.kind_name(kind)} on {relation.schema}.{relation.name} would run what may read protected data",
            "drop the index or constraint that uses it, or ask a DBA to allow it in the policy (functions: allow)",
        )


_VIEW_STATEMENTS = frozenset({"DropStmt", "GrantStmt", "CommentStmt"})


def _about_a_view(run: Run, kind: str, body: Node, view: Relation) -> bool:
    """Whether the statement may be about a view over protected tables. PostgreSQL asks for the view's owner.

    Not where the policy names the view's own columns, nor where other things go with it. A view may go, but it may not come under
    another name, nor may its columns: a statement of another session that was planned before, and waits, would read it raw.
    """
    if kind not in _VIEW_STATEMENTS or body.get("behavior") == "DROP_CASCADE":
        return False
    if body.get("removeType") in ("OBJECT_TRIGGER", "OBJECT_RULE"):
        return False
    return not (view.oid in run.context.profile.decisions or system.is_system(view) or view.rules)


def _refreshed(run: Run, relation: Relation, body: Node) -> None:
    """REFRESH stores what the definition reads, for its owner, and shows nothing. What it calls must be harmless."""
    if relation.kind != "m":
        raise refuse("42809", f'"{relation.name}" is not a materialized view')
    try:
        analysed(relation, run.book)
    except (Refused, ParseError, SpanError):
        raise refuse(
            "42501",
            f"the definition of {relation.schema}.{relation.name} runs something pgveil cannot see into",
            "run it from a session without masked columns",
        ) from None
    if body.get("skipData") and _is_guarded(run, relation):
        raise refuse(
            "42501", f"REFRESH would empty {relation.schema}.{relation.name}, which holds masked data", "leave NO DATA out"
        )


def create_view(run: Run, statement: Statement, name: str, effects: Effect) -> tuple[Rewriter | None, StatementPlan, Node]:
    """CREATE VIEW: the query is checked like any other, and its names are pinned, but nothing in it is replaced.

    A view is a definition: whoever reads it through pgveil gets it masked by a policy of his own. But a statement of another
    session may have been planned when the name meant something else, and wait: pg_sleep(9), then SELECT from the name. So a
    permanent view may hold only what its maker sees. A temporary view is read by its own session alone, in order; against code
    that reads it, it is sealed (`rewrite.seal`).
    """
    body = statement.body
    ((inner_kind, inner),) = body["query"].items()
    if inner_kind != "SelectStmt":
        raise Refused(statements.not_supported("ViewStmt"))
    rewriter = rewriter_for(run, inner_kind, inner)
    analyse(run, rewriter)
    no_definitions(rewriter, "ViewStmt")
    if rewriter.survey.into or rewriter.survey.targets:
        raise Refused(statements.not_supported("ViewStmt"))
    effects = (effects & ~Effect.DDL) | writes.created(body["view"])
    if not writes.is_temporary(body["view"]):
        if rewriter.reads_masked():
            raise refuse(
                "42501",
                "a permanent view may not use masked columns in a session with masked columns: statements already under way in "
                "other sessions could read it unmasked",
                "create a temporary view, or leave the masked columns out",
            )
        for relation in _replaced(run, body["view"]) if body.get("replace") else ():
            if _is_guarded(run, relation):
                raise refuse(
                    "42501",
                    f"{relation.schema}.{relation.name} leads to masked columns and cannot be replaced by this session",
                    "run it from a session without masked columns, or use another name",
                )
    elif rewriter.reads_masked():
        _no_reader(run, body["view"]["relname"])
    rewriter.pin_names()
    query = rewriter.expected()
    if writes.is_temporary(body["view"]) and is_opened(rewriter):
        query = seal.close(run, rewriter, statement, query)
    tree_ = {"ViewStmt": {**strip(body), "query": query}}
    return rewriter, StatementPlan(name, touches(rewriter), effects, says=spoken.says(rewriter)), tree_


def _no_reader(run: Run, name: str) -> None:
    """Code that looks the name up would read the temporary view as it is stored, unmasked. Raises Refused."""
    refusal = shadows.refusal(run.context.catalog, name)
    if refusal is not None:
        raise Refused(refusal)


def _replaced(run: Run, view: Node) -> list[Relation]:
    """Relations that CREATE OR REPLACE VIEW may mean."""
    known = run.context.catalog.by_name
    if "schemaname" in view:
        schemas: tuple[str, ...] = (view["schemaname"],)
    elif run.resolution is not None:
        schemas = run.resolution.path
    else:
        raise unresolved(run)
    return [known[s, view["relname"]] for s in schemas if (s, view["relname"]) in known]


def _likes(body: Node) -> list[Node]:
    return [e["TableLikeClause"] for e in body.get("tableElts", ()) if "TableLikeClause" in e]


def _like(run: Run, rewriter: Rewriter, body: Node) -> None:
    """LIKE copies names and types of columns, which are no secret. What INCLUDING copies may embed data; in the copy it shows."""
    options = {id(c["relation"]): c.get("options", 0) for c in _likes(body)}
    for site, relation in rewriter.relations.items():
        including = options.get(id(site.node), 0)
        if including & ~_COPIES_NO_DEFINITION and not is_temporary(relation) and _is_guarded(run, relation):
            raise refuse(
                "42501",
                f"INCLUDING would copy definitions of {relation.schema}.{relation.name}, which may embed data",
                "LIKE without INCLUDING copies the columns; write defaults and constraints out",
            )


def _is_verbose(body: Node) -> bool:
    options = (*body.get("options", ()), *body.get("params", ()))
    return any(o["DefElem"].get("defname", "").lower() == "verbose" for o in options)


def _is_guarded(run: Run, relation: Relation) -> bool:
    """Whether the relation, one behind it or one inheriting from it is protected, or the system's."""
    return run.book.is_guarded(relation) or system.is_system(relation)


def no_definitions(rewriter: Rewriter, kind: str) -> None:
    """Where a call cannot be rewritten, it may not print a definition that embeds data, nor change name resolution unseen."""
    no_settings(rewriter, kind)
    name = functions.tells_withheld(rewriter.survey, rewriter.book.withheld)
    if name is not None:
        raise refuse("42501", f"{name}() may not be used in {statements.kind_name(kind)}", "use it in a SELECT")


def no_settings(rewriter: Rewriter, kind: str) -> None:
    """What runs later, or beside a query, may not change settings: the session would not notice when it happens."""
    if functions.set_config_names(rewriter.survey):
        raise refuse("42501", f"set_config() may not be used in {statements.kind_name(kind)}", "use it in a SELECT, or SET")


def dropped(run: Run, body: Node) -> tuple[Relation, ...]:
    """The relations that DROP or COMMENT ON names (they are plain lists of strings there)."""
    objects = body.get("objects") or [body.get("object")]
    out = []
    for item in objects:
        if not isinstance(item, dict) or "List" not in item:
            continue
        parts = [x["String"].get("sval", "") for x in item["List"]["items"] if "String" in x]
        if not parts:
            continue
        for candidate in (parts, parts[:-1]):  # the last part may be a column or a trigger
            if len(candidate) >= 2:
                relation = run.context.catalog.by_name.get((candidate[-2], candidate[-1]))
                if relation is not None:
                    out.append(relation)
            elif len(candidate) == 1:
                if run.resolution is None:
                    raise unresolved(run)
                for schema in run.resolution.path:
                    if schema == "pg_temp" and candidate[0] in run.resolution.temp:
                        break
                    relation = run.context.catalog.by_name.get((schema, candidate[0]))
                    if relation is not None:
                        out.append(relation)
                        break
    return tuple(out)
