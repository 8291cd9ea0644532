"""The substitution itself: every protected relation of a statement becomes its derived table, every name is pinned.

For each edit of the text the same change is made to the parse tree; `verify` then parses the edited text again and compares. What
the text says and what was meant can therefore not differ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from policies.model import COMPANION
from rewrite import casts, constants, filters, functions, placement, returned, shadows, system
from rewrite.catalog import Relation
from rewrite.columns import Columns, Usage
from rewrite.derive import derive, own_alias
from rewrite.grouping import add_keyed_columns
from rewrite.pgtree import Node, parse, quote_ident, replaced, strip
from rewrite.plan import Edit, Need, Refusal
from rewrite.refused import Refused, refuse
from rewrite.resolve import Fresh, Special, Unresolved, is_temporary, resolve
from rewrite.returned import ReturnedMask
from rewrite.rowtypes import drop_casts
from rewrite.source import Source, SourceBook
from rewrite.spans import Spans
from rewrite.statements import DDL_NODES
from rewrite.survey import Call, Site, Survey, Use
from rewrite.verify import VerificationError


@dataclass(slots=True)
class ByteEdit:
    start: int
    end: int
    text: str
    parts: tuple[str | tuple[int, int], ...] = ()
    """As `Edit.parts`, in bytes."""


@dataclass(slots=True)
class Rewriter:
    """One statement (or one view definition) in one profile."""

    text: str
    kind: str
    body: Node
    book: SourceBook
    names: functions.Names
    spans: Spans
    survey: Survey = field(init=False)
    relations: dict[Site, Relation] = field(default_factory=dict)
    temporary: set[Site] = field(default_factory=set)
    fresh: dict[Site, str] = field(default_factory=dict)
    """Tables that the open transaction has made, with their schemas."""
    missing: set[Site] = field(default_factory=set)
    """Relations that are not there and need not be: ALTER TABLE IF EXISTS."""
    creates: tuple[str, str] | None = None
    """Schema and name of the table that the statement makes: its foreign keys may refer to itself."""
    columns: Columns = field(init=False)
    edits: list[ByteEdit] = field(default_factory=list)
    replacements: dict[int, Node | Callable[[Node], Node]] = field(default_factory=dict)
    sources: dict[Site, Source] = field(default_factory=dict)
    aliases: dict[Site, str] = field(default_factory=dict)
    derived: list[Node] = field(default_factory=list)
    """Trees of the derived tables put in."""
    returning: list[ReturnedMask] = field(default_factory=list)
    """What is masked in its place in RETURNING."""
    stars: dict[int, dict[int, list[Node]]] = field(default_factory=dict)
    """Stars written out, by id() of the query's body and place in its target list."""
    allow_ddl: bool = False
    parameters: tuple[int, ...] = ()
    """OIDs of types outside pg_catalog that the client gave to parameters."""
    definition: bool = False
    """The text is a view's definition: denied columns are looked at by what reads the view."""
    guarded: bool = False
    """The statement is going to be rewritten (`substitute`)."""
    filtering: bool = False
    """Comparisons may select on stored values where the policy says so: the text is the client's own, and the session counts."""
    chosen: list[filters.Chosen] = field(default_factory=list)
    """Those that do."""
    reads_constants: bool = False
    """The value of a constant decided something: GROUP BY 2, set_config('search_path', ...)."""

    # -- understanding --------------------------------------------------------------------------------------------------

    def analyse(self) -> None:
        """Survey, resolve and check; raises Refused."""
        self.survey = survey = Survey(self.kind, self.body)
        unknown = [u for u in survey.unknown if not (self.allow_ddl and u in DDL_NODES)]
        if unknown:
            raise refuse(
                "0A000",
                f"{unknown[0]} is not supported in a session with masked columns",
                "rewrite the statement without it, or ask a DBA for an exemption",
            )
        for site in survey.sites:
            if site.cte:
                continue
            target = resolve(site, self.names.catalog, self.names.resolution)
            if isinstance(target, Unresolved):
                if self._is_itself(site, target):
                    assert self.creates is not None
                    self.fresh[site] = self.creates[0]
                    continue
                if self._may_miss(site, target):
                    self.missing.add(site)
                    continue
                raise Refused(self._placed(target.refusal, site), target.need)
            if target is Special.TEMP:
                self.temporary.add(site)
            elif isinstance(target, Fresh):
                self.fresh[site] = target.schema
            else:
                self.relations[site] = target
        if not self.definition and self.kind != "DropStmt":
            in_the_way = shadows.in_the_way(self.book, self.names.resolution)
            if in_the_way is not None:
                raise Refused(in_the_way)
        returned.choose(self)
        self.reads_constants = bool(functions.set_config_names(survey))
        finding = functions.check(survey, self.names, unlisted=bool(self.temporary or self.fresh), guarded=self.guarded)
        if finding is not None:
            raise Refused(finding.refusal, finding.need)
        self.columns = Columns(survey, self.relations)
        self._attributes()
        self._casts()
        for site, relation in self.relations.items():
            source = self.source(relation)
            if source is None and self._may_show_new_columns(site, relation):
                source = self.book.plain(relation)
            if source is None:
                continue
            if source.refusal is not None:
                if self.kind == "LockStmt" and relation.schema != COMPANION:  # all proxies would wait for it
                    continue
                raise Refused(source.refusal)
            self.sources[site] = source
            if source.view is not None:
                self._check_view(source.view)
            usage = self.columns.usages[site]
            for name in sorted(source.stored):
                if usage.clauses(name):
                    raise refuse(
                        "42501",
                        f"column {relation.schema}.{relation.name}.{name} stores what was computed from masked columns",
                        "name the columns you need and leave this one out, or ask a DBA to name it in the policy",
                    )
            for name in sorted(source.denied) if not self.definition else ():
                if usage.clauses(name):
                    rule = source.decisions[name].rule
                    because = f" by rule '{rule}'" if rule else ""
                    raise refuse(
                        "42501",
                        f"column {relation.schema}.{relation.name}.{name} is denied{because}",
                        "name the columns you need instead of using *, and leave this one out",
                    )
        if self.filtering:
            filters.choose(self)

    def _may_miss(self, site: Site, target: Unresolved) -> bool:
        """ALTER ... IF EXISTS of a relation that is not there does nothing but say so."""
        altered = self.body.get("relation") or self.body.get("sequence")
        if not self.body.get("missing_ok") or site.node is not altered or target.refusal is None:
            return False
        if target.refusal.sqlstate not in ("42P01", "3F000"):
            return False
        if self.names.resolution is None:
            raise Refused(None, Need.RESOLUTION)
        return site.name not in self.names.resolution.temp

    def _is_itself(self, site: Site, target: Unresolved) -> bool:
        if self.creates is None or target.refusal is None or target.refusal.sqlstate != "42P01":
            return False
        schema, name = self.creates
        return site.name == name and site.schema in (None, schema)

    def _placed(self, refusal: Refusal | None, site: Site) -> Refusal | None:
        """The refusal with the place of the name, as PostgreSQL gives it for what is read and written."""
        if refusal is None or site.use is Use.NAME or site.location < 0:
            return refusal
        return replace(refusal, position=len(self.text.encode()[: site.location].decode()) + 1)

    def _attributes(self) -> None:
        """Function calls in attribute notation: c.f, (x).f."""
        called = {r.fields[-1] for r in self.survey.refs if len(r.fields) > 1 and id(r.node) not in self.columns.certain}
        for name in sorted(called | set(self.survey.fields)):
            finding = functions.attribute(name, self.names)
            if finding is not None:
                raise Refused(finding.refusal, finding.need)

    def _casts(self) -> None:
        known = {s: r for s, r in self.relations.items() if s in self.columns.usages}
        finding = casts.check(
            self.survey,
            self.kind,
            known,
            self.columns.usages,
            self.names,
            given=self.parameters,
            temporary=bool(self.temporary or self.fresh),
        )
        if finding is not None:
            raise Refused(finding.refusal, finding.need)

    def _check_view(self, text: str) -> None:
        """The definition of a view put in its place is read with the session's search_path: its names are checked for that."""
        (statement,) = parse(text)
        finding = functions.check(Survey(statement.kind, statement.body), self.names)
        if finding is not None:
            raise Refused(finding.refusal, finding.need)

    def source(self, relation: Relation) -> Source | None:
        """How the relation is read in this session."""
        if is_temporary(relation) and self.names.resolution is not None:
            return self.book.temporary(relation, self.names.resolution)
        return self.book.source(relation)

    def held(self) -> frozenset[str]:
        """Temporary relations of the session that may hold masked values."""
        return self.names.resolution.tainted if self.names.resolution is not None else frozenset()

    def tainted(self) -> tuple[str, ...]:
        """Temporary relations the statement reads that may hold masked values."""
        known = self.held()
        returned = len(self.survey.targets) > 1  # RETURNING of one may be what another writes
        return tuple(sorted({s.name for s in self.temporary if (s.use is not Use.TARGET or returned) and s.name in known}))

    def _may_show_new_columns(self, site: Site, relation: Relation) -> bool:
        """A star or whole row shows whatever columns the relation has by now, classified or not.

        Those that this very transaction has given it hold what the session has put there.
        """
        usage = self.columns.usages[site]
        resolution = self.names.resolution
        return (
            bool(usage.whole)
            and not (resolution is not None and relation.oid in resolution.altered)
            and not usage.system
            and site.use is Use.SOURCE
            and relation.kind in "rpfvm"
            and not is_temporary(relation)
            and not system.is_system(relation)
            and not self._stays_open(relation)
        )

    def _stays_open(self, relation: Relation) -> bool:
        """A table that inherits nothing, and that no entry of the policy reaches: whatever column it gets may be shown."""
        alone = relation.kind == "r" and not relation.parents and relation.oid not in self.book.catalog.children
        return alone and not self.book.profile.may_classify(relation.schema, relation.name)

    def observe(self) -> None:
        """Survey and resolve as far as it goes, for a session in which everything passes; raises Refused."""
        self.survey = Survey(self.kind, self.body)
        for site in self.survey.sites:
            if not site.cte:
                target = resolve(site, self.names.catalog, self.names.resolution)
                if isinstance(target, Relation):
                    self.relations[site] = target
        self.columns = Columns(self.survey, self.relations)

    def usage(self, site: Site) -> Usage:
        return self.columns.usages[site]

    def reads_masked(self) -> bool:
        """Whether anything the statement reads may come from a masked column."""
        return (
            bool(self.returning)
            or bool(self.tainted())
            or any(
                source.decides or any(self.usage(site).clauses(name) for name in source.masked | source.denied)
                for site, source in self.sources.items()
            )
        )

    # -- changing -------------------------------------------------------------------------------------------------------

    def substitute(self) -> None:
        """Turn the findings into edits and replacements."""
        for site in self.survey.sites:
            if site.cte:
                continue
            source = self.sources.get(site)
            if source is not None and site.use is Use.SOURCE:
                derive(self, site, source)
            else:
                self._pin(site)
        filters.substitute(self)
        for level in self.survey.levels:
            add_keyed_columns(self, level)
        returned.mask(self)
        drop_casts(self)
        self._definitions()

    def pin_names(self) -> None:
        """Pin every name without replacing anything."""
        for site in self.survey.sites:
            if not site.cte:
                self._pin(site)

    def edit(self, start: int, end: int, text: str, parts: tuple[constants.Part, ...] = ()) -> None:
        for e in self.edits:
            if (e.start, e.end, e.text) == (start, end, text):
                return
        self.edits.append(ByteEdit(start, end, text, parts))

    def _pin(self, site: Site) -> None:
        if site in self.missing:  # should somebody make it meanwhile, it is not in our temporary schema
            at = self.spans.part_start(self.spans.at(site.location), site.parts - 1) if site.parts > 1 else site.location
            self.edit(site.location, at, "pg_temp.")
            bare = {k: v for k, v in strip(site.node).items() if k != "catalogname"}
            self.replacements[id(site.node)] = {**bare, "schemaname": "pg_temp"}
            return
        if "schemaname" in site.node:
            return
        schema = "pg_temp" if site in self.temporary else self.fresh.get(site) or self.relations[site].schema
        self.edit(site.location, site.location, quote_ident(schema) + ".")
        self.replacements[id(site.node)] = {**strip(site.node), "schemaname": schema}

    def alias(self, site: Site) -> str:
        """The alias by which a relation can be referred to once it has been replaced."""
        return (
            own_alias(self, site) if site in self.sources and site.use is Use.SOURCE and "alias" not in site.node else site.alias
        )

    def _definitions(self) -> None:
        """Functions that tell something about an object give NULL for those that are withheld."""
        if not self.book.profile.masked:
            return
        for call in self.survey.calls:
            guard = functions.guard(call)
            objects = {o for kind in guard.objects for o in self.book.withheld.get(kind, ())}
            if not objects or not call.node.get("args"):
                continue
            numbers = ",".join(str(o) for o in sorted(objects))
            before = (
                f"(SELECT CASE WHEN pgveil.a OPERATOR(pg_catalog.=) ANY ('{{{numbers}}}'::pg_catalog.oid[]) "
                f"THEN NULL::pg_catalog.{guard.type} ELSE pgveil.a END FROM (SELECT ("
            )
            after = f")::pg_catalog.{guard.type} AS a OFFSET 0) AS pgveil)"
            self._around_first_argument(call, before, after)
        for call in self.survey.calls if self.guarded else ():
            if functions.sets_computed(call):
                self._around_first_argument(call, *functions.setting_guard())

    def _around_first_argument(self, call: Call, before: str, after: str) -> None:
        start, end = self.spans.first_argument(call.node["location"], len(call.names))
        self.edit(start, start, before)
        self.edit(end, end, after)
        template = strip(parse(f"SELECT {before}$4711{after}")[0].body)["targetList"][0]["ResTarget"]["val"]
        self.replacements[id(call.node["args"][0])] = _argument(template)

    # -- result ---------------------------------------------------------------------------------------------------------

    def expected(self) -> Node:
        """The tree that the edited text must have."""
        return replaced({self.kind: self.body}, self.replacements)

    def placed_by(self, text: str, offset: int) -> str:
        """Which parser's places the edits are at: sqlglot's when both agree on all of them."""
        ends = {}
        for site in self.survey.sites:
            if site.location >= 0:
                span = self.spans.relation(site.location, site.parts, only=site.only)
                ends[span.start - offset] = span.end - offset
        return "sqlglot" if placement.agrees(text, self.survey, ends) else "libpg_query"


def _argument(template: Node) -> Callable[[Node], Node]:
    def fill(node: Node, argument: Node) -> Node:
        if isinstance(node, dict):
            if node.get("ParamRef") == {"number": 4711}:
                return argument
            return {k: fill(v, argument) for k, v in node.items()}
        if isinstance(node, list):
            return [fill(v, argument) for v in node]
        return node

    return lambda copy: fill(template, copy)


def apply_edits(text: str, edits: list[ByteEdit]) -> tuple[str, tuple[Edit, ...]]:
    """The edited text, and the edits in characters instead of bytes. Raises VerificationError when two edits overlap."""
    raw = text.encode()
    ordered = sorted(edits, key=lambda e: (e.start, e.end))
    out = []
    chars = []
    at = 0
    for e in ordered:
        if e.start < at:
            raise VerificationError("two edits overlap")
        out.append(raw[at : e.start])
        out.append(e.text.encode())
        at = e.end
    out.append(raw[at:])
    if text.isascii():
        chars = [Edit(e.start, e.end, e.text, e.parts) for e in ordered]
    else:

        def char(byte: int) -> int:
            return len(raw[:byte].decode())

        for e in ordered:
            parts = tuple(p if isinstance(p, str) else (char(p[0]), char(p[1])) for p in e.parts)
            chars.append(Edit(char(e.start), char(e.end), e.text, parts))
    return b"".join(out).decode(), tuple(chars)
