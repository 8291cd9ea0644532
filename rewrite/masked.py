"""Statements of sessions with masked columns: each kind is rewritten, passed or refused here (docs/statements.md)."""

from __future__ import annotations

from dataclasses import replace

from rewrite import casts, code, constants, dialect, explained, filters, objects, pooled, spoken, statements, writes
from rewrite.copy import copy
from rewrite.definitions import create_view, definition, no_definitions, no_settings
from rewrite.pgtree import Node, Statement, parse, strings, strip
from rewrite.plan import ASSERTED_BEFORE, POISON, Effect, Explain, Need, Plan, PlanContext, Probe, Says, StatementPlan, Verdict
from rewrite.refused import Refused, refuse
from rewrite.resolve import temporary_view
from rewrite.rewriter import ByteEdit, Rewriter, apply_edits
from rewrite.run import Run, creates, done, follow, fresh, query, resolving, rewriter_for
from rewrite.source import SourceBook
from rewrite.spans import Spans
from rewrite.verify import look_ups, nothing_bare, same

READS_LATER = frozenset({"ExecuteStmt", "FetchStmt"})
"""Statements that read what an earlier one has named."""
_INNER = {"ExplainStmt": "query", "PrepareStmt": "query", "DeclareCursorStmt": "query"}
"""Statements that wrap a query, and the field it is in."""


def plan_masked(text: str, context: PlanContext, book: SourceBook) -> Plan:
    if not context.standard_strings and "\\" in text:
        raise refuse(
            "0A000",
            "backslashes cannot be read while standard_conforming_strings is off",
            "SET standard_conforming_strings = on, or leave backslashes out",
        )
    parsed = parse(text)
    spans = Spans(text)
    otherwise = dialect.refusal(text, spans.tokens, context.catalog)
    if otherwise is not None:
        raise Refused(otherwise)
    run = Run(context, book, text, spans, context.resolution)
    plans: list[StatementPlan] = []
    edits: list[ByteEdit] = []
    expected: list[Node] = []
    derived: list[Node] = []
    ways: set[str] = set()
    probes: list[Probe] = []
    asserted = False
    for statement in parsed:
        try:
            rewriter, plan, tree_ = _statement(run, statement)
        except Refused as e:
            if not plans or not _fails_in_its_place(e):
                raise
            before = _before(run, parsed[: len(plans)], plans, edits, expected, derived)
            e.before = replace(before, probes=tuple(probes))
            raise
        if asserted and (plan.touches or statement.kind in READS_LATER):
            raise Refused(ASSERTED_BEFORE)
        asserted = asserted or bool(context.profile.assertable and plan.effects & Effect.ASSERTS)
        if rewriter is not None and rewriter.chosen:
            probes += filters.probes(rewriter, len(plans))
        plan = statements.with_cursor(plan, statement.kind, statement.body)
        made = fresh(run, statement.kind, rewriter)
        plans.append(replace(plan, fresh=made) if made else plan)
        expected.append(tree_)
        if rewriter is not None and rewriter.edits:
            edits += rewriter.edits
            derived += rewriter.derived
            ways.add(rewriter.placed_by(text.encode()[statement.start : statement.end].decode(), statement.start))
        if statement is not parsed[-1] and run.resolution is context.resolution is None and creates(statement):
            raise Refused(None, Need.RESOLUTION)  # what follows may use it, and nobody else knows it yet
        follow(run, statement, plan)
    shareable = all(p.shareable for p in plans)
    if not edits:
        return Plan(Verdict.PASS, text, tuple(plans), shareable=shareable)
    new, char_edits = apply_edits(text, edits)
    same(new, expected)
    nothing_bare(new, book, derived, _opened_views(context, book))
    look_ups(derived, book)
    way = "sqlglot" if ways == {"sqlglot"} else "libpg_query"
    return Plan(Verdict.REWRITE, new, tuple(plans), char_edits, placed_by=way, shareable=shareable, probes=tuple(probes))


def _fails_in_its_place(e: Refused) -> bool:
    """What PostgreSQL itself, or the policy, has against a statement stops a query string there. What pgveil cannot carry (0A000)
    it refuses whole: the hint is to send the statements one by one, and then none of them may have run."""
    return e.refusal is not None and e.refusal.sqlstate != "0A000" and Need.RESOLUTION not in e.need


def _before(
    run: Run,
    parsed: list[Statement],
    plans: list[StatementPlan],
    edits: list[ByteEdit],
    expected: list[Node],
    derived: list[Node],
) -> Plan:
    """The plan of the statements before one that is refused, with the poison behind them."""
    (poison,) = parse(POISON)
    rest = ByteEdit(parsed[-1].end, len(run.text.encode()), f";\n{POISON}")
    new, char_edits = apply_edits(run.text, [*edits, rest])
    same(new, [*expected, {poison.kind: strip(poison.body)}])
    nothing_bare(new, run.book, derived, _opened_views(run.context, run.book))
    look_ups(derived, run.book)
    return Plan(Verdict.REWRITE, new, tuple(plans), char_edits, placed_by="libpg_query")


def _opened_views(context: PlanContext, book: SourceBook) -> frozenset[str]:
    resolution = context.resolution
    if resolution is None:
        return frozenset()
    return frozenset(v.name for v in resolution.views if book.temporary(temporary_view(v), resolution) is not None)


def _statement(run: Run, statement: Statement) -> tuple[Rewriter | None, StatementPlan, Node]:
    """Plan one statement; raises Refused."""
    kind, body = statement.kind, statement.body
    name = statements.kind_name(kind)
    effects = statements.effects(kind, body)
    unchanged = {kind: strip(body)}
    if run.context.transient and (refusal := pooled.left_behind(kind, body)) is not None:
        raise Refused(refusal)
    if kind in statements.PLAIN:
        refusal = statements.plain_refusal(kind, body, run.context.profile.assertable)
        if refusal is not None:
            raise Refused(refusal)
        says = Says.DETAILS if kind in statements.SAID_IN_FULL else Says.LITTLE
        return None, StatementPlan(name, (), effects, statements.prepared_name(kind, body), says=says), unchanged
    if kind in statements.QUERIES:
        rewriter = query(run, kind, body)
        for select in rewriter.survey.into:
            with resolving(run):
                writes.into(rewriter, select["intoClause"]["rel"])
            no_settings(rewriter, kind)
            effects |= writes.created(select["intoClause"]["rel"])
        return done(rewriter, name, effects)
    if kind == "ViewStmt":
        return create_view(run, statement, name, effects)
    if kind in _INNER or kind == "CreateTableAsStmt":
        return _wrapper(run, kind, body, name, effects)
    if kind == "CopyStmt":
        return copy(run, body, name, effects)
    if kind == "ExecuteStmt" and run.taints and body.get("name") not in run.reads:
        raise refuse(
            "0A000",
            "an earlier statement of the same query string puts masked values into a temporary table",
            "send the statements one by one",
        )
    if kind in ("ExecuteStmt", "CallStmt"):
        if kind == "CallStmt":
            body = {**body, "funccall": {"FuncCall": body["funccall"]}}
        rewriter = rewriter_for(run, kind, body)
        rewriter.analyse()
        no_definitions(rewriter, kind)
        if rewriter.relations or rewriter.temporary or rewriter.fresh:
            raise Refused(statements.not_supported(kind))
        prepared = statements.prepared_name(kind, body)
        says = spoken.says(rewriter) if kind == "CallStmt" else Says.LITTLE
        given = constants.arguments(body.get("params", [])) if kind == "ExecuteStmt" else ()
        return None, StatementPlan(name, (), effects, prepared, says=says, arguments=given), unchanged
    if kind == "CreateFunctionStmt":
        return code.create_function(run, kind, body, name)
    if kind == "DoStmt":
        return code.do(run, kind, body, name, _statement)
    if kind in objects.KINDS or objects.is_about_a_type(kind, body):
        return objects.define(run, kind, body, name)
    if kind in statements.DDL or kind in statements.HARMLESS_ON_PROTECTED:
        return definition(run, kind, body, name, effects)
    raise Refused(statements.not_supported(kind))


def _wrapper(run: Run, kind: str, body: Node, name: str, effects: Effect) -> tuple[Rewriter | None, StatementPlan, Node]:
    """EXPLAIN, PREPARE, DECLARE CURSOR, CREATE TABLE AS: the query inside is rewritten in its place."""
    field = _INNER.get(kind, "query")
    ((inner_kind, inner),) = body[field].items()
    if inner_kind in _INNER or inner_kind in ("CreateTableAsStmt", "ExecuteStmt"):
        if kind == "CreateTableAsStmt" and not writes.is_temporary(body["into"]["rel"]):
            raise refuse(
                "42501",
                "a permanent table may not be filled from a prepared statement in a session with masked columns",
                "create a temporary table, or write the query out",
            )
        rewriter, plan, inner_tree = _statement(run, Statement(inner_kind, inner, 0, 0))
        explains = _explained(run, body, rewriter, plan.prepared) if kind == "ExplainStmt" else Explain.NONE
        tree_ = {kind: {**strip(body), field: inner_tree}}
        effects |= plan.effects if kind == "ExplainStmt" else plan.effects & Effect.EXECUTES
        taints = plan.taints
        if kind == "CreateTableAsStmt":  # what the prepared statement reads is not looked up
            taints = (body["into"]["rel"]["relname"],)
            effects = (effects & ~Effect.DDL) | Effect.TAINTS
        explained_ = StatementPlan(name, plan.touches, effects, plan.prepared, taints=taints, explains=explains, says=plan.says)
        explained_ = replace(explained_, arguments=plan.arguments)
        return rewriter, explained_, tree_
    rewriter = query(run, inner_kind, inner)
    if kind == "PrepareStmt":
        types = [strings(t["TypeName"]["names"]) for t in body.get("argtypes", ())]
        finding = casts.parameters(rewriter.names.catalog, types, rewriter.names)
        if finding is not None:
            raise Refused(finding.refusal, finding.need)
        filters.prepared_types(rewriter, body.get("argtypes", []))
    if rewriter.survey.into and kind != "ExplainStmt":
        raise Refused(statements.not_supported(kind))
    if kind == "ExplainStmt":
        for select in rewriter.survey.into:
            writes.into(rewriter, select["intoClause"]["rel"])
            no_settings(rewriter, kind)
            effects |= writes.created(select["intoClause"]["rel"])
        _explained(run, body, rewriter)
    if kind in ("PrepareStmt", "DeclareCursorStmt", "CreateTableAsStmt"):
        no_settings(rewriter, kind)
    into = None
    if kind == "CreateTableAsStmt":
        into = body["into"]["rel"]["relname"]
        with resolving(run):
            writes.into(rewriter, body["into"]["rel"])
        effects = effects & ~Effect.DDL | writes.created(body["into"]["rel"])
        if body.get("objtype") == "OBJECT_MATVIEW" and any(
            rewriter.source(rewriter.relations[s]) is not None for s in rewriter.sources
        ):
            raise refuse(
                "42501",
                "a materialized view over protected relations cannot be created in a session with masked columns",
                "create a view or a temporary table instead",
            )
    prepared = statements.prepared_name(kind, body)
    if kind == "PrepareStmt" and prepared is not None:
        run.prepared[prepared] = rewriter
    rewriter, plan, inner_tree = done(rewriter, name, effects, prepared, into)
    if kind == "PrepareStmt":
        plan = replace(plan, hides=explained.hidden(run, rewriter))
    return rewriter, plan, {kind: {**strip(body), field: inner_tree}}


def _explained(run: Run, body: Node, rewriter: Rewriter | None, prepared: str | None = None) -> Explain:
    """Raises Refused. What the session has to look at: whether the prepared statement may be explained like this."""
    if rewriter is None:
        rewriter = run.prepared.get(prepared or "")
    if rewriter is None:
        return explained.asked(body)
    refusal = explained.refusal(run, body, rewriter)
    if refusal is not None:
        raise Refused(refusal)
    return Explain.NONE
