"""One planning run: what the statements of a text are planned with, and what one of them means for the next."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rewrite import writes
from rewrite.functions import Names, may_write, set_config_names
from rewrite.pgtree import Node, Statement
from rewrite.plan import Effect, Need, PlanContext, Resolution, StatementPlan
from rewrite.rewriter import Refused, Rewriter, refuse
from rewrite.source import SourceBook
from rewrite.spans import Spans

_STORAGE = frozenset({"pg_column_size", "pg_column_compression", "pg_column_toast_chunk_id"})


@dataclass(slots=True)
class Run:
    """The statements of one text, planned in order; later ones see what earlier ones change."""

    context: PlanContext
    book: SourceBook
    text: str
    spans: Spans
    resolution: Resolution | None
    known: bool = True
    """False once an earlier statement of the same text changed name resolution in a way that cannot be followed."""


def rewriter_for(run: Run, kind: str, body: Node) -> Rewriter:
    profile = run.context.profile
    names = Names(run.context.catalog, run.resolution, profile.functions, profile.extensions)
    return Rewriter(run.text, kind, body, run.book, names, run.spans)


def analyse(run: Run, rewriter: Rewriter) -> None:
    try:
        rewriter.analyse()
    except Refused as e:
        if Need.RESOLUTION in e.need and not run.known:
            raise refuse(
                "0A000",
                "an earlier statement of the same query string changes what names mean",
                "send the statements one by one, or write names with their schema",
            ) from None
        raise


def query(run: Run, kind: str, body: Node) -> Rewriter:
    rewriter = rewriter_for(run, kind, body)
    analyse(run, rewriter)
    writes.check(rewriter)
    _no_storage(rewriter)
    rewriter.substitute()
    return rewriter


def _no_storage(rewriter: Rewriter) -> None:
    """How a value is stored (its size on disk, its compression) cannot be told of one that is masked on its way out."""
    for call in rewriter.survey.calls:
        if call.names[-1] in _STORAGE and rewriter.reads_masked():
            raise refuse(
                "0A000",
                f"{call.names[-1]}() next to masked columns would not tell how values are stored",
                "leave the masked columns out, or use pg_relation_size(), octet_length()",
            )


def done(rewriter: Rewriter, name: str, effects: Effect, prepared: str | None = None) -> tuple[Rewriter, StatementPlan, Node]:
    survey = rewriter.survey
    if set_config_names(survey):
        effects |= Effect.RESOLUTION
    if survey.targets or may_write(survey, rewriter.names):
        effects |= Effect.WRITES
    shareable = not effects & ~Effect.WRITES and not rewriter.reads_constants and prepared is None
    return rewriter, StatementPlan(name, rewriter.touches(), effects, prepared, shareable), rewriter.expected()


def follow(run: Run, statement: Statement, plan: StatementPlan) -> None:
    """Follow changes of name resolution inside one query string where they are plain to see; otherwise stop knowing."""
    if not plan.effects & (Effect.RESOLUTION | Effect.TRANSACTION_END):
        return
    kind, body = statement.kind, statement.body
    new: Resolution | None = None
    if kind == "VariableSetStmt":
        new = _set_path(run, body)
    elif (kind in ("CreateStmt", "CreateTableAsStmt") or "intoClause" in body) and run.resolution is not None:
        into = body.get("into") or body.get("intoClause")
        relation = into["rel"] if into else body["relation"]
        new = run.resolution
        if writes.is_temporary(relation):
            path = new.path if "pg_temp" in new.path else ("pg_temp", *new.path)
            new = replace(new, path=path, temp=new.temp | {relation["relname"]})
    elif plan.effects & Effect.TRANSACTION_END and run.known and run.resolution == run.context.resolution:
        new = run.resolution  # nothing changed in this text that could be undone; the session watches the rest
    run.resolution = new
    run.known = run.known and new is not None


def _set_path(run: Run, body: Node) -> Resolution | None:
    if body.get("name", "").lower() != "search_path" or body.get("kind") != "VAR_SET_VALUE":
        return None
    names = [a.get("A_Const", {}).get("sval", {}).get("sval", "") for a in body.get("args", [])]
    if (len(names) == 1 and "," in names[0]) or "$user" in names or ("" in names and len(names) > 1):
        return None
    temp = run.resolution.temp if run.resolution is not None else frozenset()
    if run.resolution is None:
        return None if not run.known else _path(run, names, None)
    return _path(run, names, temp)


def _path(run: Run, names: list[str], temp: frozenset[str] | None) -> Resolution | None:
    if temp is None:
        # Whether there are temporary relations is not known; without them unqualified names would be read wrongly.
        raise Refused(None, Need.RESOLUTION)
    path = [n for n in names if n == "pg_temp" or n in run.context.catalog.schemas]
    if "pg_catalog" not in path:
        path.insert(0, "pg_catalog")
    if temp and "pg_temp" not in path:
        path.insert(0, "pg_temp")
    return Resolution(tuple(path), temp)
