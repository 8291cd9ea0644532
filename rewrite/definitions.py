"""DDL and the like in sessions with masked columns: fine as long as nothing protected and nothing of the system is named."""

from __future__ import annotations

from rewrite import functions, statements, system, writes
from rewrite.catalog import Relation
from rewrite.pgtree import Node, strip
from rewrite.plan import Effect, Need, StatementPlan
from rewrite.rewriter import Refused, Rewriter, refuse
from rewrite.run import Run, analyse, rewriter_for


def definition(run: Run, kind: str, body: Node, name: str, effects: Effect) -> tuple[Rewriter | None, StatementPlan, Node]:
    """DDL and the like: fine as long as nothing protected and nothing of the system is named."""
    refusal = statements.ddl_refusal(kind, body)
    if refusal is not None:
        raise Refused(refusal)
    surveyed = body
    if kind == "CreateStmt" or kind in ("CreateSeqStmt",):
        key = "relation" if kind == "CreateStmt" else "sequence"
        created = body[key]
        if not writes.is_temporary(created) and created.get("schemaname") in ("pg_catalog", "information_schema"):
            raise Refused(statements.not_supported(kind))
        surveyed = {k: v for k, v in body.items() if k != key}
        effects = effects & ~Effect.DDL | writes.created(created)
    rewriter = rewriter_for(run, kind, surveyed)
    rewriter.allow_ddl = True
    analyse(run, rewriter)
    no_definitions(rewriter, kind)
    gone = dropped(run, body) if kind in ("DropStmt", "CommentStmt") else ()
    for relation in (*rewriter.relations.values(), *gone):
        if kind in statements.HARMLESS_ON_PROTECTED:
            continue
        if _is_guarded(run, relation):
            raise refuse(
                "42501",
                f"{statements.kind_name(kind)} on {relation.schema}.{relation.name} is not possible with masked columns",
                "a definition could show or change masked data; run it from a session without masked columns",
            )
    if rewriter.temporary and not rewriter.relations and not rewriter.fresh:
        effects &= ~Effect.DDL  # about the session's own temporary relations only
    rewriter.pin_names()
    tree_ = {kind: {**strip(body), **rewriter.expected()[kind]}}
    return rewriter, StatementPlan(name, (), effects), tree_


def _is_guarded(run: Run, relation: Relation) -> bool:
    """Whether the relation, one behind it or one inheriting from it is protected, or the system's."""
    if run.book.source(relation) is not None or run.book.reaches_protected(relation) or system.is_system(relation):
        return True
    children = run.context.catalog.children.get(relation.oid, ())
    return any(_is_guarded(run, run.context.catalog.relations[c]) for c in children)


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
                    if not run.known:
                        raise refuse(
                            "0A000",
                            "an earlier statement of the same query string changes what names mean",
                            "send the statements one by one, or write names with their schema",
                        )
                    raise Refused(None, Need.RESOLUTION)
                for schema in run.resolution.path:
                    if schema == "pg_temp" and candidate[0] in run.resolution.temp:
                        break
                    relation = run.context.catalog.by_name.get((schema, candidate[0]))
                    if relation is not None:
                        out.append(relation)
                        break
    return tuple(out)
