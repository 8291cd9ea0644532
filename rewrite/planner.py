"""Text in, plan out: the one synchronous call between a session and everything that decides about a statement.

    parse (libpg_query) > survey > resolve > functions > sources > writes > edits > verify (parse again, compare)

Pure but for its cache. Never raises: what goes wrong inside becomes a refusal.
"""

from __future__ import annotations

import logging
import re
import sys
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from policies.model import Profile
from rewrite import statements
from rewrite.catalog import Catalog, Function
from rewrite.commands import command_plan
from rewrite.copy import shows
from rewrite.functions import Names, asserts
from rewrite.masked import READS_LATER, plan_masked
from rewrite.pgtree import ParseError, parse
from rewrite.plan import ASSERTED_BEFORE, Effect, Need, Plan, PlanContext, Refusal, Resolution, StatementPlan, Touch, Verdict
from rewrite.refused import Refused
from rewrite.rewriter import Rewriter
from rewrite.shorten import WORTH_IT, is_too_long, shorten, weight
from rewrite.source import SourceBook
from rewrite.spans import SpanError, Spans
from rewrite.template import Shape, cut, shape
from rewrite.touched import touches
from rewrite.verify import VerificationError
from rewrite.views import ViewTexts

log = logging.getLogger(__name__)

GLANCE = 262_144
"""Characters that are searched for lists while everybody waits: some tens of milliseconds."""

FRAMES = 4000
"""Calls within calls while a statement is planned: about a thousand operators in a row."""

_K = TypeVar("_K")
_V = TypeVar("_V")


_PLAN_BYTES = 2000
"""What a plan takes beside its texts."""
_CATALOGS = 4
"""Pictures of the catalog whose plans are kept: sessions may be a few steps apart. A picture is several megabytes."""


_TOO_LONG = Refusal(
    "54000",
    "the statement is too long to be read",
    "send data as parameters, by COPY, or in several statements",
    failure=True,
)
_TOO_DEEP = Refusal("54001", "the statement is nested too deeply", "nest it less deeply", failure=True)
_UNCONFIRMED = Refusal(
    "0A000", "the rewritten statement could not be confirmed", "write the statement in another way", failure=True
)
_DEFECT = Refusal("0A000", "pgveil could not read this statement", "this is a defect of pgveil; please report it", failure=True)
_BROKEN = Refusal("57P03", "the policy could not be applied to this session", failure=True)


class _Space:
    """The plans of one profile, catalog and way of resolving names: by exact text, and by template."""

    __slots__ = ("plans", "shapes")

    def __init__(self) -> None:
        self.plans: OrderedDict[str, Plan] = OrderedDict()
        self.shapes: OrderedDict[str, Shape] = OrderedDict()


class Planner:
    """Plans statements and remembers plans, by exact text first, then by the text without its constants."""

    def __init__(self, cache_size: int = 4096, spaces: int = 64, budget: int = 64 << 20) -> None:
        """`cache_size`: plans of one space; `budget`: bytes of all together, as far as they can be told."""
        self.cache_size = cache_size
        self.budget = budget
        self._kept: deque[tuple[OrderedDict[str, Any], str, int]] = deque()
        self._weight = 0
        self.hits = 0
        self.misses = 0
        self._spaces: OrderedDict[tuple[object, ...], _Space] = OrderedDict()
        self._books: OrderedDict[tuple[str, str], SourceBook] = OrderedDict()
        self._extended: OrderedDict[tuple[str, tuple[Function, ...]], Catalog] = OrderedDict()
        """Catalogs with the functions of an open transaction."""
        self._transactions = 0
        self._limit = spaces
        self._catalogs: OrderedDict[str, None] = OrderedDict()
        """Versions of the catalog that plans are kept for, the oldest first."""
        self._contexts: dict[int, tuple[PlanContext, _Space]] = {}
        """By identity of the context, which is kept so that its id stays its own: sessions use one context many times."""

    @property
    def weight(self) -> int:
        """Bytes of the plans kept, as far as they can be told."""
        return self._weight

    def plan(self, text: str, context: PlanContext) -> Plan:
        space = self._space_of(context)
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
        if len(text) > WORTH_IT and context.standard_strings:
            short = shorten(text)
            if short is not None:
                whole = short.whole(self.plan(short.text, context), text)
                if whole is not None:
                    return whole
        self.misses += 1
        with _deep():
            plan = self._plan(text, context)
        if plan.shareable and cut_text is not None:
            reusable = shape(plan, cut_text)
            if reusable is not None:
                _remember(space.shapes, cut_text.key, reusable, self.cache_size)
                self._weigh(space.shapes, cut_text.key, plan)
                return plan
        self._keep(space, text, context, plan)
        return plan

    def recall(self, text: str, context: PlanContext) -> Plan | None:
        """The plan of a long text, if it is known or follows from that of a short one, or if there is little to read in it."""
        plan = self._space_of(context).plans.get(text)
        if plan is not None:
            self.hits += 1
            return plan
        if len(text) > GLANCE:
            return None
        if weight(text) <= WORTH_IT:
            return self.plan(text, context)
        if context.standard_strings:
            short = shorten(text)
            if short is not None and len(short.text) <= WORTH_IT:
                return short.whole(self.plan(short.text, context), text)
        return None

    def keep(self, text: str, context: PlanContext, plan: Plan, seconds: float) -> None:
        """Remember a plan that another process has made, in so many seconds."""
        self.misses += 1
        self._keep(self._space_of(context), text, context, plan)

    def _keep(self, space: _Space, text: str, context: PlanContext, plan: Plan) -> None:
        lasting = plan.verdict is not Verdict.NEED or (context.resolution is None and plan.need == Need.RESOLUTION)
        if lasting and len(text) <= 65536:
            _remember(space.plans, text, plan, self.cache_size)
            self._weigh(space.plans, text, plan)

    def _weigh(self, cache: OrderedDict[str, Any], key: str, plan: Plan) -> None:
        """Count what has been kept, and forget the oldest when it is too much altogether."""
        weight = 2 * len(key) + 2 * len(plan.text) + _PLAN_BYTES
        self._kept.append((cache, key, weight))
        self._weight += weight
        while self._weight > self.budget:
            cache, key, weight = self._kept.popleft()
            self._weight -= weight
            cache.pop(key, None)

    def _space_of(self, context: PlanContext) -> _Space:
        kept = self._contexts.get(id(context))
        return kept[1] if kept is not None else self._space(context)

    def _space(self, context: PlanContext) -> _Space:
        self._see(context.catalog.version)
        key = (
            context.profile.key,
            context.catalog.version,
            context.resolution,
            context.standard_strings,
            context.parameters,
            context.transient,
        )
        space = self._spaces.get(key)
        if space is None:
            space = _Space()
            _remember(self._spaces, key, space, self._limit)
        if len(self._contexts) >= 4096:
            self._contexts.clear()
        self._contexts[id(context)] = (context, space)
        return space

    def _see(self, version: str) -> None:
        """Forget whatever belongs to pictures of the catalog that are long gone."""
        if version in self._catalogs:
            return
        self._catalogs[version] = None
        if len(self._catalogs) <= _CATALOGS:
            return
        self._catalogs.popitem(last=False)
        kept = self._catalogs
        self._spaces = OrderedDict((k, v) for k, v in self._spaces.items() if k[1] in kept)
        self._books = OrderedDict((k, v) for k, v in self._books.items() if k[0] in kept)
        self._contexts = {k: v for k, v in self._contexts.items() if v[0].catalog.version in kept}
        caches = {id(cache) for space in self._spaces.values() for cache in (space.plans, space.shapes)}
        self._kept = deque(one for one in self._kept if id(one[0]) in caches)
        self._weight = sum(weight for _, _, weight in self._kept)

    def _with_functions(self, catalog: Catalog, made: tuple[Function, ...]) -> Catalog:
        key = (catalog.version, made)
        found = self._extended.get(key)
        if found is None:
            self._transactions += 1
            found = catalog.with_functions(made, f"{catalog.version}+{self._transactions}")
            _remember(self._extended, key, found, _CATALOGS)
        return found

    def book(self, catalog: Catalog, profile: Profile) -> SourceBook:
        key = (catalog.version, profile.key)
        book = self._books.get(key)
        if book is None:
            book = SourceBook(catalog, profile, ViewTexts())
            _remember(self._books, key, book, self._limit)
        return book

    def _plan(self, text: str, context: PlanContext) -> Plan:
        if context.resolution is not None and context.resolution.functions:
            context = replace(context, catalog=self._with_functions(context.catalog, context.resolution.functions))
        try:
            command = command_plan(text)
            if command is not None:
                return command
            if not context.profile.masked:
                return observe(text, context, self.book(context.catalog, context.profile))
            if is_too_long(text):
                raise Refused(_TOO_LONG)
            if context.profile.broken:
                raise Refused(_BROKEN)
            return plan_masked(text, context, self.book(context.catalog, context.profile))
        except Refused as e:
            return Plan(Verdict.NEED if e.need else Verdict.REFUSE, "", refusal=e.refusal, need=e.need, before=e.before)
        except ParseError as e:
            return _syntax_error(text, e, context.catalog.server_version)
        except (VerificationError, SpanError) as e:
            log.error("a rewrite was not confirmed: %s", e)
            return Plan(Verdict.REFUSE, "", refusal=_UNCONFIRMED)
        except RecursionError:
            return Plan(Verdict.REFUSE, "", refusal=_TOO_DEEP)
        except Exception:
            log.exception("planning failed")
            return Plan(Verdict.REFUSE, "", refusal=_DEFECT)


@contextmanager
def _deep() -> Iterator[None]:
    """Python's own limit of calls within calls is for programs; people chain more operators than that allows."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, FRAMES))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def _remember(cache: OrderedDict[_K, _V], key: _K, value: _V, limit: int) -> None:
    """Keep a value; the oldest one goes when there are too many."""
    cache[key] = value
    if len(cache) > limit:
        cache.popitem(last=False)


def _syntax_error(text: str, error: ParseError, server_version: int) -> Plan:
    position = None
    placed = server_version >= 180000 or not error.message.startswith(_PLACED_SINCE_18)
    if error.position is not None and placed:
        position = len(text.encode()[: error.position].decode(errors="replace")) + 1
    state = next((state for start, state in _GRAMMAR_STATES.items() if error.message.startswith(start)), "42601")
    if state == "22025" and _ESCAPE_STRING.search(text) is None:  # in U&'...', where it is an error of the grammar
        state = "42601"
    return Plan(Verdict.REFUSE, "", refusal=Refusal(state, error.message, None, position, verbatim=True, failure=True))


_PLACED_SINCE_18 = ("WITH TIES cannot be specified", "SKIP LOCKED and WITH TIES options", "unrecognized partitioning strategy")
"""Messages of the grammar to which older servers give no position."""
_ESCAPE_STRING = re.compile("(?<![A-Za-z0-9_$\x80-\U0010ffff])[eE]'")
_GRAMMAR_STATES = {
    "invalid Unicode escape value": "42601",
    "invalid Unicode escape character": "42601",
    "invalid Unicode escape": "22025",
    "unsafe use of \\' in a string literal": "22P06",
    "invalid byte sequence": "22021",
    "unrecognized partitioning strategy": "22023",
    "CREATE SCHEMA IF NOT EXISTS cannot include": "0A000",
    "cross-database references are not implemented": "0A000",
    "WITH TIES cannot be specified without ORDER BY": "42601",
}
"""SQLSTATEs of the few errors of the lexer and the grammar that are no syntax errors (scan.l, gram.y)."""


def observe(text: str, context: PlanContext, book: SourceBook) -> Plan:
    """Everything passes; what the statement touches is told as far as it can be read."""
    if is_too_long(text):
        return Plan(Verdict.PASS, text, (StatementPlan("UNPARSED"),))
    try:
        parsed = parse(text)
    except (ParseError, RecursionError):
        return Plan(Verdict.PASS, text, (StatementPlan("UNPARSED"),))
    sensitive = {book.catalog.relations[o].schema for o in context.profile.decisions if o in book.catalog.relations}
    path = tuple(sorted(book.catalog.schemas, key=lambda s: (s not in sensitive, s)))
    resolution = context.resolution or Resolution(path)
    out = []
    asserted = False
    for statement in parsed:
        effects = statements.effects(statement.kind, statement.body)
        found: tuple[Touch, ...] = ()
        try:
            rewriter = Rewriter(
                text, statement.kind, statement.body, book, Names(book.catalog, resolution, frozenset()), Spans("")
            )
            rewriter.observe()
            if asserts(rewriter.survey):
                effects |= Effect.ASSERTS
            if statement.kind == "CopyStmt":
                shows(rewriter, statement.body)
            found = touches(rewriter)
        except (Refused, KeyError, RecursionError):
            log.debug("a statement of a clear session could not be analysed")
        if asserted and (found or statement.kind in READS_LATER):
            return Plan(Verdict.REFUSE, "", refusal=ASSERTED_BEFORE, own=True)
        asserted = asserted or bool(context.profile.assertable and effects & Effect.ASSERTS)
        prepared = statements.prepared_name(statement.kind, statement.body)
        shareable = statement.kind in statements.QUERIES
        plan = StatementPlan(statements.kind_name(statement.kind), found, effects, prepared, shareable)
        out.append(statements.with_cursor(plan, statement.kind, statement.body))
    return Plan(Verdict.PASS, text, tuple(out), shareable=all(s.shareable for s in out))
