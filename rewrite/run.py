"""One planning run: what the statements of a text are planned with, and what one of them means for the next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from rewrite import ration, spoken, writes
from rewrite.functions import STORAGE, asserts, may_change_settings, may_write, set_config_names
from rewrite.pgtree import Node, Statement
from rewrite.plan import Effect, Need, PlanContext, Resolution, StatementPlan
from rewrite.refused import Refused, refuse
from rewrite.resolve import is_own
from rewrite.rewriter import Rewriter
from rewrite.source import SourceBook
from rewrite.spans import Spans
from rewrite.touched import copies, touches


@dataclass(slots=True)
class Run:
    """The statements of one text, planned in order; later ones see what earlier ones change."""

    context: PlanContext
    book: SourceBook
    text: str
    spans: Spans
    resolution: Resolution | None
    made: set[str] = field(default_factory=set)
    """Temporary relations that the text has made so far."""
    taints: set[str] = field(default_factory=set)
    """Temporary relations into which the text has put masked values so far."""
    reads: set[str] = field(default_factory=set)
    """SQL-level prepared statements that the text has made and that write nothing."""
    lasting: bool = True
    """What the text has changed so far stays when the transaction is committed."""
    prompt: bool = True
    """No statement of the text has come yet that may wait for something."""
    known: bool = True
    """False once an earlier statement of the same text changed name resolution in a way that cannot be followed."""
    prepared: dict[str, Rewriter] = field(default_factory=dict)
    """What statements of the same text prepare, by name."""


def rewriter_for(run: Run, kind: str, body: Node) -> Rewriter:
    rewriter = Rewriter(run.text, kind, body, run.book, run.book.bodies.names(run.resolution), run.spans)
    rewriter.parameters = run.context.parameters
    return rewriter


def analyse(run: Run, rewriter: Rewriter) -> None:
    with resolving(run):
        rewriter.analyse()


@contextmanager
def resolving(run: Run) -> Iterator[None]:
    """Where a check that has no Run may find that it does not know how names resolve."""
    try:
        yield
    except Refused as e:
        if Need.RESOLUTION in e.need:
            raise unresolved(run) from None
        raise


def unresolved(run: Run) -> Refused:
    """How names resolve is not known: it can be asked, unless an earlier statement of the text changes it unseen."""
    if run.known or run.context.resolution is None:
        return Refused(None, Need.RESOLUTION)
    return refuse(
        "0A000",
        "an earlier statement of the same query string changes what names mean",
        "send the statements one by one, or write names with their schema",
    )


def query(run: Run, kind: str, body: Node) -> Rewriter:
    rewriter = rewriter_for(run, kind, body)
    rewriter.guarded = run.context.profile.masked
    rewriter.filtering = rewriter.guarded and run.context.profile.has_filters
    analyse(run, rewriter)
    with resolving(run):
        writes.check(rewriter)
    _no_storage(rewriter)
    rewriter.substitute()
    return rewriter


def _no_storage(rewriter: Rewriter) -> None:
    """How a value is stored (its size on disk, its compression) cannot be told of one that is masked on its way out."""
    for call in rewriter.survey.calls:
        if call.names[-1] in STORAGE and rewriter.reads_masked():
            raise refuse(
                "0A000",
                f"{call.names[-1]}() next to masked columns would not tell how values are stored",
                "leave the masked columns out, or use pg_relation_size(), octet_length()",
            )


def done(
    rewriter: Rewriter,
    name: str,
    effects: Effect,
    prepared: str | None = None,
    into: str | None = None,
) -> tuple[Rewriter, StatementPlan, Node]:
    """The plan of a query that has been rewritten; `into` names the temporary table it fills."""
    survey = rewriter.survey
    if rewriter.book.profile.rationed:
        ration.check(rewriter)
    taints = writes.tainted(rewriter)
    if into is not None and rewriter.reads_masked():
        taints = (*taints, into)
    if taints:
        effects |= Effect.TAINTS
    if asserts(survey):
        effects |= Effect.ASSERTS
    if set_config_names(survey) or may_change_settings(survey, rewriter.names):
        effects |= Effect.RESOLUTION
    if survey.targets or may_write(survey, rewriter.names):
        effects |= Effect.WRITES
    shareable = (
        not effects & ~(Effect.WRITES | Effect.TAINTS | Effect.OPENS) and not rewriter.reads_constants and prepared is None
    )
    plan = StatementPlan(name, touches(rewriter), effects, prepared, shareable, taints, says=spoken.says(rewriter))
    if copies(rewriter) or (into is not None and plan.touches):
        plan = replace(plan, copies=True)
    return rewriter, plan, rewriter.expected()


def fresh(run: Run, kind: str, rewriter: Rewriter | None) -> int:
    """How many of the relations that the text has made the statement may read."""
    if not run.made:
        return 0
    if rewriter is None:
        return len(run.made) if kind in ("ExecuteStmt", "FetchStmt") else 0
    return len({s.name for s in (*rewriter.temporary, *rewriter.fresh)} & run.made)


def creates(statement: Statement) -> bool:
    """Whether the statement makes a table."""
    return statement.kind in ("CreateStmt", "CreateTableAsStmt") or "intoClause" in statement.body


def follow(run: Run, statement: Statement, plan: StatementPlan) -> None:
    """Follow changes of name resolution inside one query string where they are plain to see; otherwise stop knowing."""
    run.taints |= set(plan.taints)
    try:
        _follow(run, statement, plan)
    finally:
        run.prompt = run.prompt and statement.body.get("kind") in ("TRANS_STMT_BEGIN", "TRANS_STMT_START")


def _follow(run: Run, statement: Statement, plan: StatementPlan) -> None:
    if plan.effects & Effect.PREPARES and plan.prepared is not None and not plan.effects & Effect.WRITES:
        run.reads.add(plan.prepared)
    if run.resolution is not None and not run.resolution.tainted >= set(plan.taints):
        run.resolution = replace(run.resolution, tainted=run.resolution.tainted | set(plan.taints))
    if not plan.effects & (Effect.RESOLUTION | Effect.TRANSACTION_END):
        return
    kind, body = statement.kind, statement.body
    if kind in ("IndexStmt", "AlterTableStmt"):
        return  # an index more or less: no other name of the text means something else
    new: Resolution | None = None
    if kind == "VariableSetStmt":
        run.lasting = False
        new = _set_path(run, body)
    elif creates(statement) and run.resolution is not None:
        into = body.get("into") or body.get("intoClause")
        certain = not body.get("if_not_exists") or _is_new(run, body)
        new = _created(run, into["rel"] if into else body["relation"], certain=certain)
        if (into or body).get("onCommit" if into else "oncommit") == "ONCOMMIT_DROP":
            run.lasting = False
    elif kind == "DropStmt" and run.resolution is not None:
        new = _dropped(run, body)
    elif plan.effects & Effect.TRANSACTION_END and run.known:
        unchanged = run.resolution == run.context.resolution  # the session watches the rest
        if unchanged or (run.lasting and body.get("kind") == "TRANS_STMT_COMMIT"):
            new = run.resolution
    run.resolution = new
    run.known = run.known and new is not None


def _is_new(run: Run, body: Node) -> bool:
    """IF NOT EXISTS: whether nothing of the name is where the relation would be made. Behind a statement that may wait (for a
    lock, for a second) somebody else may have made one by then."""
    if not run.prompt:
        return False
    into = body.get("into") or body.get("intoClause")
    relation = into["rel"] if into else body["relation"]
    schema = creation_schema(relation, run.resolution)
    return schema is not None and not _is_there(run, schema, relation["relname"])


def creation_schema(relation: Node, resolution: Resolution | None) -> str | None:
    """The schema in which a CREATE makes the relation; None when that is not known."""
    if writes.is_temporary(relation):
        return "pg_temp"
    if "schemaname" in relation or resolution is None:
        return str(relation["schemaname"]) if "schemaname" in relation else None
    if resolution.creates_temporary:
        return "pg_temp"
    return next((s for s in resolution.path if s not in ("pg_temp", "pg_catalog")), None)


def _created(run: Run, relation: Node, *, certain: bool) -> Resolution:
    """`certain`: what follows runs only if the relation has been made just here."""
    assert run.resolution is not None
    new = run.resolution
    if creation_schema(relation, new) == "pg_temp":
        name = relation["relname"]
        path = new.path if "pg_temp" in new.path else ("pg_temp", *new.path)
        new = replace(new, path=path, temp=new.temp | {name})
        run.made.add(name)
    elif certain and (schema := creation_schema(relation, new)) is not None:
        new = replace(new, fresh=new.fresh | {(schema, relation["relname"])})
        run.made.add(relation["relname"])
    return new


def dropped_names(body: Node) -> list[list[str]]:
    """The dotted names in a DROP of relations."""
    lists = [x["List"]["items"] for x in body.get("objects", []) if isinstance(x, dict) and "List" in x]
    return [[x["String"].get("sval", "") for x in items if "String" in x] for items in lists]


def _where(resolution: Resolution, parts: list[str]) -> tuple[str, ...]:
    """The schemas in which a relation is looked for."""
    if len(parts) == 1:
        return resolution.path
    return ("pg_temp",) if is_own(parts[-2], resolution) else (parts[-2],)


def temporary_names(run: Run, body: Node) -> list[str] | None:
    """The relations that a DROP names, when all are temporary or not there; None when one is not."""
    if run.resolution is None or body.get("removeType") not in ("OBJECT_TABLE", "OBJECT_VIEW", "OBJECT_SEQUENCE"):
        return None
    out = []
    known = run.context.catalog.by_name
    for parts in dropped_names(body):
        name = parts[-1] if parts else ""
        for schema in _where(run.resolution, parts):
            if schema == "pg_temp" and name in run.resolution.temp:
                out.append(name)
                break
            if schema.startswith("pg_temp_") or (schema, name) in known or (schema, name) in run.resolution.fresh:
                return None
    return out


def _dropped(run: Run, body: Node) -> Resolution | None:
    """What names mean after a DROP of relations: nothing else, unless a relation of the name is further on in the path."""
    old = run.resolution
    if old is None or body.get("removeType") not in _RELATIONS:
        return None
    gone = set()
    for parts in dropped_names(body):
        schemas = _where(old, parts)
        if any(s.startswith("pg_temp_") for s in schemas):
            return None
        there = [s for s in dict.fromkeys((*schemas, *old.path)) if _is_there(run, s, parts[-1])]
        if there[:1] == ["pg_temp"]:
            gone.add(parts[-1])
        elif len(there) > 1:
            return None
    views = tuple(v for v in old.views if v.name not in gone)
    return replace(old, temp=old.temp - gone, tainted=old.tainted - gone, views=views)


_RELATIONS = frozenset({"OBJECT_TABLE", "OBJECT_VIEW", "OBJECT_MATVIEW", "OBJECT_SEQUENCE", "OBJECT_INDEX"})


def _is_there(run: Run, schema: str, name: str) -> bool:
    assert run.resolution is not None
    if schema == "pg_temp":
        return name in run.resolution.temp
    return (schema, name) in run.context.catalog.by_name or (schema, name) in run.resolution.fresh


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
    first = path[:1] == ["pg_temp"]
    if "pg_catalog" not in path:
        path.insert(0, "pg_catalog")
    if temp and "pg_temp" not in path:
        path.insert(0, "pg_temp")
    old = run.resolution or Resolution(())
    return replace(old, path=tuple(path), temp=temp, creates_temporary=first)
