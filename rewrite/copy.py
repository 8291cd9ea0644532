"""COPY in sessions with masked columns: a table becomes a masked query, a query is rewritten, files are refused."""

from __future__ import annotations

from rewrite import fired, spoken, statements, system, telling
from rewrite.catalog import Relation
from rewrite.definitions import no_definitions
from rewrite.pgtree import Node, quote_ident, strip
from rewrite.plan import Effect, StatementPlan
from rewrite.refused import Refused, refuse
from rewrite.resolve import is_temporary
from rewrite.rewriter import Rewriter
from rewrite.run import Run, analyse, done, query, rewriter_for
from rewrite.source import Source, tree
from rewrite.touched import touches


def copy(run: Run, body: Node, name: str, effects: Effect) -> tuple[Rewriter | None, StatementPlan, Node]:
    if body.get("is_program") or "filename" in body:
        raise refuse(
            "42501",
            "COPY with a file or program is not possible in a session with masked columns",
            "use STDIN or STDOUT",
        )
    if "query" in body:
        ((inner_kind, inner),) = body["query"].items()
        rewriter = query(run, inner_kind, inner)
        if rewriter.survey.into:
            raise Refused(statements.not_supported("CopyStmt"))
        rewriter, plan, inner_tree = done(rewriter, name, effects)
        return rewriter, plan, {"CopyStmt": {**strip(body), "query": inner_tree}}
    rewriter = rewriter_for(run, "CopyStmt", body)
    analyse(run, rewriter)
    site = rewriter.survey.sites[0]
    relation, source = rewriter.relations.get(site), rewriter.sources.get(site)
    columns = [c["String"].get("sval", "") for c in body.get("attlist", [])]
    if relation is not None and is_temporary(relation):
        raise refuse("42809", f'cannot copy from or to view "{relation.name}"', "use COPY (SELECT ...) TO")
    if body.get("is_from") and relation is not None:
        if system.is_system(relation) or relation.rules or (relation.kind in "vf" and run.book.reaches_protected(relation)):
            raise Refused(statements.not_supported("CopyStmt"))
        every = columns or [c.name for c in relation.columns]
        refusal = fired.refusal(run.book, relation, rewriter.names) or telling.references(run.book, relation, every)
        if refusal is None and source is not None:
            refusal = telling.inserted(run.book, relation, source, every)
        if refusal is not None:
            raise Refused(refusal)
        if source is not None and "whereClause" in body:
            raise refuse(
                "0A000",
                "COPY FROM with WHERE on a protected table is not supported with masked columns",
                "leave WHERE out, or COPY into a temporary table first",
            )
    if source is None or relation is None or body.get("is_from"):
        shows(rewriter, body)
        no_definitions(rewriter, "CopyStmt")
        rewriter.pin_names()
        return rewriter, StatementPlan(name, touches(rewriter), effects, says=spoken.says(rewriter)), rewriter.expected()
    return _copy_to(run, rewriter, body, relation, source, columns, name, effects)


def shows(rewriter: Rewriter, body: Node) -> None:
    """Note which columns COPY table TO puts out, for the auditor."""
    if "relation" not in body or body.get("is_from"):
        return
    named = [c["String"].get("sval", "") for c in body.get("attlist", [])]
    for site, relation in rewriter.relations.items():
        for column in relation.columns:
            if column.name in named or not (named or column.generated):
                rewriter.usage(site).columns.setdefault(column.name, set()).add("output")


def _copy_to(
    run: Run,
    rewriter: Rewriter,
    body: Node,
    relation: Relation,
    source: Source,
    columns: list[str],
    name: str,
    effects: Effect,
) -> tuple[Rewriter | None, StatementPlan, Node]:
    """COPY table TO becomes COPY (query) TO: the same columns, without generated ones and without children, as COPY does."""
    site = rewriter.survey.sites[0]
    if relation.kind != "r":
        raise refuse("42809", f'cannot copy from "{relation.name}": it is not a table', "use COPY (SELECT ...) TO")
    chosen = columns or [c.name for c in relation.columns if not c.generated]
    for column in chosen:
        if column in source.denied:
            raise refuse("42501", f"column {relation.schema}.{relation.name}.{column} is denied", "name the columns you need")
    derived = source.select(only=True, columns=chosen)
    select = f"SELECT {', '.join(quote_ident(c) for c in chosen)} FROM ({derived}) AS {quote_ident(relation.name)}"
    span = run.spans.relation(site.location, site.parts)
    end = run.spans.closing(span.outer_end) if "attlist" in body else span.outer_end
    rewriter.edit(span.outer_start, end, f"({select})")
    rewriter.derived.append(tree(select))
    rewriter.usage(site).columns.update({c: {"output"} for c in chosen})
    rest = {k: v for k, v in strip(body).items() if k not in ("relation", "attlist")}
    return rewriter, StatementPlan(name, touches(rewriter), effects), {"CopyStmt": {**rest, "query": tree(select)}}
