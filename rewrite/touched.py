"""Which sensitive columns a statement uses, and how: what the auditor gets to know of it, shown in clear or not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from policies.model import Decision
from rewrite.catalog import Relation
from rewrite.plan import Touch
from rewrite.resolve import is_temporary
from rewrite.rewriter import Rewriter
from rewrite.source import Source
from rewrite.survey import Site


def touches(rewriter: Rewriter) -> tuple[Touch, ...]:
    """Every sensitive column the statement uses. A view tells of the columns behind it: those that the statement takes from it,
    and those by which its definition filters, groups or computes."""
    out: dict[tuple[str, str, str], Touch] = {}
    for site, relation in rewriter.relations.items():
        for touch in (*_behind(rewriter, site, relation), *_own(rewriter, site, relation)):
            out[(touch.relation, touch.column, touch.use)] = touch
    for touch in (c.touch() for c in rewriter.chosen):
        out[(touch.relation, touch.column, touch.use)] = touch
    return tuple(out.values())


def copies(rewriter: Rewriter) -> bool:
    """Whether it puts sensitive values that it reads into a relation, as far as can be told: on the safe side. What RETURNING
    shows of them is not meant."""
    survey = rewriter.survey
    if not survey.targets and not survey.into:
        return False
    for site, relation in rewriter.relations.items():
        stored = rewriter.usage(site).stored
        if any(t.use not in _ASIDE for t in _behind(rewriter, site, relation)):
            return True
        if any(t.use not in _ASIDE and (t.column in stored or "*" in stored) for t in _own(rewriter, site, relation)):
            return True
    return False


_ASIDE = ("filter", "join", "group", "sort")


def _own(rewriter: Rewriter, site: Site, relation: Relation) -> Iterator[Touch]:
    decisions = rewriter.book.profile.decisions.get(relation.oid, {})
    for column in relation.columns:
        decision = decisions.get(column.attnum)
        if decision is not None:
            returned = any(r.site is site and column.name in r.columns for r in rewriter.returning)
            uses = rewriter.usage(site).clauses(column.name) | ({"output"} if returned else set())
            yield from _touches(relation, column.name, decision, uses)


def _behind(rewriter: Rewriter, site: Site, relation: Relation) -> Iterator[Touch]:
    source = rewriter.sources.get(site)
    if source is None and relation.kind in "vm" and not is_temporary(relation):
        source = rewriter.book.target(relation)  # nothing of it is masked; what it shows in clear counts all the same
    if source is None:
        return
    yield from source.touches
    if relation.kind in "vm":
        for name, origin in source.origins.items():
            yield from _touches(origin.relation, origin.column.name, origin.decision, rewriter.usage(site).clauses(name))


def _touches(relation: Relation, column: str, made: Decision, uses: Iterable[str]) -> Iterator[Touch]:
    name = f"{relation.schema}.{relation.name}"
    for use in sorted(uses):
        yield Touch(name, column, made.data_class, made.level, use, made.show, made.rule, made.other_rules)


def inside(source: Source, rewriter: Rewriter) -> tuple[Touch, ...]:
    """What the definition of a view uses whatever is taken from the view: all but the columns it only passes on."""
    passed = {(f"{o.relation.schema}.{o.relation.name}", o.column.name) for o in source.origins.values()}
    return tuple(t for t in touches(rewriter) if t.use != "output" or (t.relation, t.column) not in passed)
