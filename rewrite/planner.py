"""Text in, plan out: the one synchronous call between a session and everything that decides about a statement.

    parse (libpg_query) > survey > resolve > functions > sources > writes > edits > verify (parse again, compare)

Pure but for its cache. Never raises: what goes wrong inside becomes a refusal.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TypeVar

from policies.model import Profile
from rewrite import functions, statements, system, writes
from rewrite.catalog import Catalog, Relation
from rewrite.functions import Names, set_config_names
from rewrite.pgtree import Node, ParseError, Statement, parse, quote_ident, strip
from rewrite.plan import (
    Effect,
    Need,
    Plan,
    PlanContext,
    Refusal,
    Resolution,
    StatementPlan,
    Touch,
    Verdict,
)
from rewrite.rewriter import ByteEdit, Refused, Rewriter, apply_edits, refuse
from rewrite.source import Source, SourceBook, tree
from rewrite.spans import SpanError, Spans
from rewrite.template import Shape, cut, shape
from rewrite.verify import VerificationError, nothing_bare, same
from rewrite.views import ViewTexts

log = logging.getLogger(__name__)

_K = TypeVar("_K")
_V = TypeVar("_V")

_INNER = {"ExplainStmt": "query", "PrepareStmt": "query", "DeclareCursorStmt": "query", "ViewStmt": "query"}
"""Statements that wrap a query, and the field it is in."""


@dataclass(slots=True)
class _Run:
    """The statements of one text, planned in order; later ones see what earlier ones change."""

    context: PlanContext
    book: SourceBook
    text: str
    spans: Spans
    resolution: Resolution | None
    known: bool = True
    """False once an earlier statement of the same text changed name resolution in a way that cannot be followed."""


class _Space:
    """The plans of one profile, catalog and way of resolving names: by exact text, and by template."""

    __slots__ = ("plans", "shapes")

    def __init__(self) -> None:
        self.plans: OrderedDict[str, Plan] = OrderedDict()
        self.shapes: OrderedDict[str, Shape] = OrderedDict()


class Planner:
    """Plans statements and remembers plans, by exact text first, then by the text without its constants."""

    def __init__(self, cache_size: int = 4096, spaces: int = 64) -> None:
        self.cache_size = cache_size
        self.hits = 0
        self.misses = 0
        self._spaces: OrderedDict[tuple[object, ...], _Space] = OrderedDict()
        self._books: OrderedDict[tuple[str, str], SourceBook] = OrderedDict()
        self._limit = spaces
        self._contexts: dict[int, tuple[PlanContext, _Space]] = {}
        """By identity of the context, which is kept so that its id stays its own: sessions use one context many times."""

    def plan(self, text: str, context: PlanContext) -> Plan:
        kept = self._contexts.get(id(context))
        space = kept[1] if kept is not None else self._space(context)
        plan = space.plans.get(text)
        if plan is not None:
            self.hits += 1
            return plan
        cut_text = cut(text) if len(text) <= 8192 else None
        if cut_text is not None:
            known = space.shapes.get(cut_text.key)
            if known is not None:
                self.hits += 1
                return known.fill(text, cut_text)
        self.misses += 1
        plan = self._plan(text, context)
        if plan.shareable and cut_text is not None:
            reusable = shape(plan, cut_text)
            if reusable is not None:
                _remember(space.shapes, cut_text.key, reusable, self.cache_size)
                return plan
        if plan.verdict is not Verdict.NEED and len(text) <= 65536:
            _remember(space.plans, text, plan, self.cache_size)
        return plan

    def _space(self, context: PlanContext) -> _Space:
        key = (context.profile.key, context.catalog.version, context.resolution, context.standard_strings)
        space = self._spaces.get(key)
        if space is None:
            space = _Space()
            _remember(self._spaces, key, space, self._limit)
        if len(self._contexts) >= 4096:
            self._contexts.clear()
        self._contexts[id(context)] = (context, space)
        return space

    def book(self, catalog: Catalog, profile: Profile) -> SourceBook:
        key = (catalog.version, profile.key)
        book = self._books.get(key)
        if book is None:
            book = SourceBook(catalog, profile, ViewTexts())
            _remember(self._books, key, book, self._limit)
        return book

    def _plan(self, text: str, context: PlanContext) -> Plan:
        try:
            if not context.profile.masked:
                return _observe(text, context, self.book(context.catalog, context.profile))
            return _plan_masked(text, context, self.book(context.catalog, context.profile))
        except Refused as e:
            return Plan(Verdict.NEED if e.need else Verdict.REFUSE, "", refusal=e.refusal, need=e.need)
        except ParseError as e:
            return _syntax_error(text, e)
        except (VerificationError, SpanError) as e:
            log.error("a rewrite was not confirmed: %s", e)
            refusal = Refusal("0A000", "the rewritten statement could not be confirmed", "write the statement in another way")
            return Plan(Verdict.REFUSE, "", refusal=refusal)
        except RecursionError:
            return Plan(Verdict.REFUSE, "", refusal=Refusal("54001", "the statement is nested too deeply"))
        except Exception:
            log.exception("planning failed")
            refusal = Refusal("0A000", "pgveil could not read this statement", "this is a defect of pgveil; please report it")
            return Plan(Verdict.REFUSE, "", refusal=refusal)


def _remember(cache: OrderedDict[_K, _V], key: _K, value: _V, limit: int) -> None:
    """Keep a value; the oldest one goes when there are too many."""
    cache[key] = value
    if len(cache) > limit:
        cache.popitem(last=False)


def _syntax_error(text: str, error: ParseError) -> Plan:
    position = None
    if error.position is not None:
        position = len(text.encode()[: error.position].decode(errors="replace")) + 1
    return Plan(Verdict.REFUSE, "", refusal=Refusal("42601", error.message, None, position))


# -- sessions with nothing masked ----------------------------------------------------------------------------------------


def _observe(text: str, context: PlanContext, book: SourceBook) -> Plan:
    """Everything passes; what the statement touches is told as far as it can be read."""
    try:
        parsed = parse(text)
    except ParseError:
        return Plan(Verdict.PASS, text, (StatementPlan("UNPARSED"),))
    sensitive = {book.catalog.relations[o].schema for o in context.profile.decisions if o in book.catalog.relations}
    path = tuple(sorted(book.catalog.schemas, key=lambda s: (s not in sensitive, s)))
    resolution = context.resolution or Resolution(path)
    out = []
    for statement in parsed:
        effects = statements.effects(statement.kind, statement.body)
        touches: tuple[Touch, ...] = ()
        try:
            rewriter = Rewriter(
                text, statement.kind, statement.body, book, Names(book.catalog, resolution, frozenset()), Spans("")
            )
            rewriter.observe()
            touches = rewriter.touches()
        except (Refused, KeyError, RecursionError):
            log.debug("a statement of a clear session could not be analysed")
        prepared = statement.body.get("name") if statement.kind in ("PrepareStmt", "ExecuteStmt") else None
        shareable = statement.kind in statements.QUERIES
        out.append(StatementPlan(statements.kind_name(statement.kind), touches, effects, prepared, shareable))
    return Plan(Verdict.PASS, text, tuple(out), shareable=all(s.shareable for s in out))


# -- sessions with masked columns ----------------------------------------------------------------------------------------


def _plan_masked(text: str, context: PlanContext, book: SourceBook) -> Plan:
    if not context.standard_strings and "\\" in text:
        raise refuse(
            "0A000",
            "backslashes cannot be read while standard_conforming_strings is off",
            "SET standard_conforming_strings = on, or leave backslashes out",
        )
    parsed = parse(text)
    run = _Run(context, book, text, Spans(text), context.resolution)
    plans: list[StatementPlan] = []
    edits: list[ByteEdit] = []
    expected: list[Node] = []
    derived: list[Node] = []
    ways: set[str] = set()
    for statement in parsed:
        rewriter, plan, tree_ = _statement(run, statement)
        plans.append(plan)
        expected.append(tree_)
        if rewriter is not None and rewriter.edits:
            edits += rewriter.edits
            derived += rewriter.derived
            ways.add(rewriter.placed_by(text.encode()[statement.start : statement.end].decode(), statement.start))
        _follow(run, statement, plan)
    shareable = all(p.shareable for p in plans)
    if not edits:
        return Plan(Verdict.PASS, text, tuple(plans), shareable=shareable)
    new, char_edits = apply_edits(text, edits)
    same(new, expected)
    nothing_bare(new, book, derived)
    way = "sqlglot" if ways == {"sqlglot"} else "libpg_query"
    return Plan(Verdict.REWRITE, new, tuple(plans), char_edits, placed_by=way, shareable=shareable)


def _statement(run: _Run, statement: Statement) -> tuple[Rewriter | None, StatementPlan, Node]:
    """Plan one statement; raises Refused."""
    kind, body = statement.kind, statement.body
    name = statements.kind_name(kind)
    effects = statements.effects(kind, body)
    unchanged = {kind: strip(body)}
    if kind in statements.PLAIN:
        refusal = statements.plain_refusal(kind, body)
        if refusal is not None:
            raise Refused(refusal)
        return None, StatementPlan(name, (), effects), unchanged
    if kind in statements.QUERIES:
        rewriter = _query(run, kind, body)
        for select in rewriter.survey.into:
            writes.into(rewriter, select["intoClause"]["rel"])
            effects |= Effect.RESOLUTION | Effect.DDL
        return _done(rewriter, name, effects)
    if kind in _INNER or kind == "CreateTableAsStmt":
        return _wrapper(run, kind, body, name, effects)
    if kind == "CopyStmt":
        return _copy(run, body, name, effects)
    if kind in ("ExecuteStmt", "CallStmt"):
        if kind == "CallStmt":
            body = {**body, "funccall": {"FuncCall": body["funccall"]}}
        rewriter = _rewriter(run, kind, body)
        rewriter.analyse()
        _no_definitions(rewriter, kind)
        if rewriter.relations or rewriter.temporary:
            raise Refused(statements.not_supported(kind))
        prepared = body.get("name") if kind == "ExecuteStmt" else None
        return None, StatementPlan(name, (), effects, prepared), unchanged
    if kind in statements.DDL or kind in statements.HARMLESS_ON_PROTECTED:
        return _definition(run, kind, body, name, effects)
    raise Refused(statements.not_supported(kind))


def _rewriter(run: _Run, kind: str, body: Node) -> Rewriter:
    profile = run.context.profile
    names = Names(run.context.catalog, run.resolution, profile.functions, profile.extensions)
    return Rewriter(run.text, kind, body, run.book, names, run.spans)


def _analyse(run: _Run, rewriter: Rewriter) -> None:
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


def _query(run: _Run, kind: str, body: Node) -> Rewriter:
    rewriter = _rewriter(run, kind, body)
    _analyse(run, rewriter)
    writes.check(rewriter)
    rewriter.substitute()
    return rewriter


def _done(rewriter: Rewriter, name: str, effects: Effect, prepared: str | None = None) -> tuple[Rewriter, StatementPlan, Node]:
    survey = rewriter.survey
    if "search_path" in set_config_names(survey) or "role" in set_config_names(survey):
        effects |= Effect.RESOLUTION
    if survey.targets:
        effects |= Effect.WRITES
    shareable = not effects & ~Effect.WRITES and not rewriter.reads_constants and prepared is None
    return rewriter, StatementPlan(name, rewriter.touches(), effects, prepared, shareable), rewriter.expected()


def _wrapper(run: _Run, kind: str, body: Node, name: str, effects: Effect) -> tuple[Rewriter | None, StatementPlan, Node]:
    """EXPLAIN, PREPARE, DECLARE CURSOR, CREATE TABLE AS, CREATE VIEW: the query inside is rewritten in its place."""
    field = _INNER.get(kind, "query")
    ((inner_kind, inner),) = body[field].items()
    if inner_kind in _INNER or inner_kind in ("CreateTableAsStmt", "ExecuteStmt"):
        if kind == "ExplainStmt":
            _explained(run, body, None)
        if kind == "CreateTableAsStmt" and not writes.is_temporary(body["into"]["rel"]):
            raise refuse(
                "42501",
                "a permanent table may not be filled from a prepared statement in a session with masked columns",
                "create a temporary table, or write the query out",
            )
        rewriter, plan, inner_tree = _statement(run, Statement(inner_kind, inner, 0, 0))
        tree_ = {kind: {**strip(body), field: inner_tree}}
        effects |= plan.effects if kind == "ExplainStmt" else Effect.NONE
        return rewriter, StatementPlan(name, plan.touches, effects, plan.prepared), tree_
    rewriter = _query(run, inner_kind, inner)
    if rewriter.survey.into:
        raise Refused(statements.not_supported(kind))
    if kind == "ExplainStmt":
        _explained(run, body, rewriter)
    if kind == "CreateTableAsStmt":
        writes.into(rewriter, body["into"]["rel"])
        if body.get("objtype") == "OBJECT_MATVIEW" and rewriter.sources:
            raise Refused(statements.not_supported("CreateMaterializedViewStmt"))
    if kind == "ViewStmt" and rewriter.sources:
        raise refuse(
            "42501",
            "a view over protected relations cannot be created in a session with masked columns",
            "create a temporary table from the query instead",
        )
    prepared = body.get("name") if kind == "PrepareStmt" else None
    rewriter, plan, inner_tree = _done(rewriter, name, effects, prepared)
    return rewriter, plan, {kind: {**strip(body), field: inner_tree}}


def _explained(run: _Run, body: Node, rewriter: Rewriter | None) -> None:
    """EXPLAIN VERBOSE of an INSERT prints the defaults of the columns left out; ANALYZE tells which partition rows came from.

    Without a rewriter the statement explained is not known (EXECUTE): anything protected may be in it.
    """
    options = {o["DefElem"].get("defname", "").lower() for o in body.get("options", ())}
    known = run.context.catalog.relations
    relations = [known[o] for o in run.book.protected] if rewriter is None else list(rewriter.relations.values())
    targets = rewriter is None or bool(rewriter.survey.targets)
    if "verbose" in options and targets and any(r.literals and run.book.source(r) is not None for r in relations):
        raise refuse("42501", "EXPLAIN VERBOSE of this statement could show defaults that hold data", "leave VERBOSE out")
    if "analyze" in options and any(run.book.masked_partition_key(r) for r in relations):
        raise refuse("42501", "EXPLAIN ANALYZE would show the partitions, which a masked column decides", "leave ANALYZE out")


def _definition(run: _Run, kind: str, body: Node, name: str, effects: Effect) -> tuple[Rewriter | None, StatementPlan, Node]:
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
    rewriter = _rewriter(run, kind, surveyed)
    rewriter.allow_ddl = True
    _analyse(run, rewriter)
    _no_definitions(rewriter, kind)
    dropped = _dropped(run, body) if kind in ("DropStmt", "CommentStmt") else ()
    for relation in (*rewriter.relations.values(), *dropped):
        if kind in statements.HARMLESS_ON_PROTECTED:
            continue
        if _is_guarded(run, relation):
            raise refuse(
                "42501",
                f"{statements.kind_name(kind)} on {relation.schema}.{relation.name} is not possible with masked columns",
                "a definition could show or change masked data; run it from a session without masked columns",
            )
    rewriter.pin_names()
    tree_ = {kind: {**strip(body), **rewriter.expected()[kind]}}
    return rewriter, StatementPlan(name, (), effects), tree_


def _is_guarded(run: _Run, relation: Relation) -> bool:
    """Whether the relation, one behind it or one inheriting from it is protected, or the system's."""
    if run.book.source(relation) is not None or run.book.reaches_protected(relation) or system.is_system(relation):
        return True
    children = run.context.catalog.children.get(relation.oid, ())
    return any(_is_guarded(run, run.context.catalog.relations[c]) for c in children)


def _no_definitions(rewriter: Rewriter, kind: str) -> None:
    """Where a call cannot be rewritten, it may not print a definition that embeds data."""
    name = functions.prints_definition(rewriter.survey, rewriter.names.catalog)
    if name is not None:
        raise refuse("42501", f"{name}() may not be used in {statements.kind_name(kind)}", "use it in a SELECT")


def _dropped(run: _Run, body: Node) -> tuple[Relation, ...]:
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
                        raise refuse("0A000", "an earlier statement of the same query string changes what names mean")
                    raise Refused(None, Need.RESOLUTION)
                for schema in run.resolution.path:
                    if schema == "pg_temp" and candidate[0] in run.resolution.temp:
                        break
                    relation = run.context.catalog.by_name.get((schema, candidate[0]))
                    if relation is not None:
                        out.append(relation)
                        break
    return tuple(out)


def _copy(run: _Run, body: Node, name: str, effects: Effect) -> tuple[Rewriter | None, StatementPlan, Node]:
    if body.get("is_program") or "filename" in body:
        raise refuse(
            "42501",
            "COPY with a file or program is not possible in a session with masked columns",
            "use STDIN or STDOUT",
        )
    if "query" in body:
        ((inner_kind, inner),) = body["query"].items()
        rewriter = _query(run, inner_kind, inner)
        if rewriter.survey.into:
            raise Refused(statements.not_supported("CopyStmt"))
        rewriter, plan, inner_tree = _done(rewriter, name, effects)
        return rewriter, plan, {"CopyStmt": {**strip(body), "query": inner_tree}}
    rewriter = _rewriter(run, "CopyStmt", body)
    _analyse(run, rewriter)
    site = rewriter.survey.sites[0]
    relation, source = rewriter.relations.get(site), rewriter.sources.get(site)
    columns = [c["String"].get("sval", "") for c in body.get("attlist", [])]
    if body.get("is_from") and relation is not None:
        if system.is_system(relation) or relation.rules or (relation.kind in "vf" and run.book.reaches_protected(relation)):
            raise Refused(statements.not_supported("CopyStmt"))
        if source is not None:
            writes.inserted(relation, source, columns or [c.name for c in relation.columns])
            if "whereClause" in body:
                raise refuse("0A000", "COPY FROM with WHERE on a protected table is not supported with masked columns")
    if source is None or relation is None or body.get("is_from"):
        _no_definitions(rewriter, "CopyStmt")
        rewriter.pin_names()
        return rewriter, StatementPlan(name, rewriter.touches(), effects), rewriter.expected()
    return _copy_to(run, rewriter, body, relation, source, columns, name, effects)


def _copy_to(
    run: _Run,
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
    return rewriter, StatementPlan(name, rewriter.touches(), effects), {"CopyStmt": {**rest, "query": tree(select)}}


# -- what one statement of a text means for the next ---------------------------------------------------------------------


def _follow(run: _Run, statement: Statement, plan: StatementPlan) -> None:
    """Follow changes of name resolution inside one query string where they are plain to see; otherwise stop knowing."""
    if not plan.effects & (Effect.RESOLUTION | Effect.TRANSACTION_END):
        return
    kind, body = statement.kind, statement.body
    new: Resolution | None = None
    if kind == "VariableSetStmt":
        new = _set_path(run, body)
    elif kind in ("CreateStmt", "CreateTableAsStmt") and run.resolution is not None:
        relation = body["relation"] if kind == "CreateStmt" else body["into"]["rel"]
        new = run.resolution
        if writes.is_temporary(relation):
            path = new.path if "pg_temp" in new.path else ("pg_temp", *new.path)
            new = replace(new, path=path, temp=new.temp | {relation["relname"]})
    elif plan.effects & Effect.TRANSACTION_END and run.known and run.resolution == run.context.resolution:
        new = run.resolution  # nothing changed in this text that could be undone; the session watches the rest
    run.resolution = new
    run.known = run.known and new is not None


def _set_path(run: _Run, body: Node) -> Resolution | None:
    if body.get("name", "").lower() != "search_path" or body.get("kind") != "VAR_SET_VALUE":
        return None
    names = [a.get("A_Const", {}).get("sval", {}).get("sval", "") for a in body.get("args", [])]
    if (len(names) == 1 and "," in names[0]) or "$user" in names or ("" in names and len(names) > 1):
        return None
    temp = run.resolution.temp if run.resolution is not None else frozenset()
    if run.resolution is None:
        return None if not run.known else _path(run, names, None)
    return _path(run, names, temp)


def _path(run: _Run, names: list[str], temp: frozenset[str] | None) -> Resolution | None:
    if temp is None:
        # Whether there are temporary relations is not known; without them unqualified names would be read wrongly.
        raise Refused(None, Need.RESOLUTION)
    path = [n for n in names if n in run.context.catalog.schemas]
    if "pg_catalog" not in path:
        path.insert(0, "pg_catalog")
    if temp and "pg_temp" not in path:
        path.insert(0, "pg_temp")
    return Resolution(tuple(path), temp)
