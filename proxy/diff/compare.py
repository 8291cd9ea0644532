"""What each login sees under two policies, column by column, and where that differs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from policies.decide import Context, compile_profile
from policies.dictionary import Classification, Relations, listed
from policies.filters import FilterKind
from policies.language import Policy
from policies.masks.describe import describe
from policies.model import Branch, Decision, Show
from proxy.control.people import People
from proxy.diff.situations import Circumstance, LeftOut, Subject, circumstances
from proxy.whatif import context_for

Column = tuple[int, int]


def zone_of(policies: Sequence[Policy]) -> str:
    """The time zone of all schedules, when they have the same one."""
    zones = {rule.schedule.zone for policy in policies for rule in policy.rules if rule.schedule is not None}
    return zones.pop() if len(zones) == 1 else "UTC"


@dataclass(frozen=True)
class Side:
    policy: Policy
    classification: Classification
    people: People


@dataclass(frozen=True)
class Place:
    """A database, real or supposed."""

    name: str
    relations: Relations
    roles: Callable[[str], frozenset[str]]
    old: Side
    new: Side

    def names(self) -> dict[Column, str]:
        return {(r.oid, c.attnum): f"{r.schema}.{r.name}.{c.name}" for r in listed(self.relations) for c in r.columns}


@dataclass(frozen=True, slots=True)
class Change:
    """One column, as it was shown and as it will be."""

    database: str
    column: str
    old: str
    new: str
    rule: str
    """The rule that decides now; empty for a default."""
    was: str


@dataclass(frozen=True, slots=True)
class Met:
    """A change for some logins."""

    change: Change
    at: tuple[Circumstance, ...]
    of: tuple[Circumstance, ...]
    """All that were tried."""
    zone: str
    """In which times are told."""


@dataclass(frozen=True, slots=True)
class Found:
    subject: Subject
    met: tuple[Met, ...]


def compare(place: Place, subjects: Sequence[Subject], now: float, left_out: LeftOut) -> list[Found]:
    names = place.names()
    zone = zone_of([place.old.policy, place.new.policy])
    out = []
    for subject in subjects:
        tried = circumstances([place.old.policy, place.new.policy], subject, now, left_out)
        met: dict[Change, list[Circumstance]] = {}
        for one in tried:
            for change in _changes(place, names, one):
                met.setdefault(change, []).append(one)
        out.append(Found(subject, tuple(Met(change, tuple(at), tuple(tried), zone) for change, at in met.items())))
    return out


def _changes(place: Place, names: Mapping[Column, str], one: Circumstance) -> Iterable[Change]:
    (old, was), (new, now) = (_decisions(place, side, one) for side in (place.old, place.new))
    for column in sorted(old.keys() | new.keys(), key=lambda c: names.get(c, "")):
        before, after = old.get(column), new.get(column)
        if _essence(before) == _essence(after):
            continue
        alike = before is not None and after is not None and before.branches[-1].mask == after.branches[-1].mask
        text = shown(before, place.old.policy, was, alike=alike)
        changed = shown(after, place.new.policy, now, alike=alike)
        if before is not None and after is not None and before.filters != after.filters:
            text += f", filters {_filters(before)}"
            changed += f", filters {_filters(after)}"
        changed += " of another kind" if changed == text else ""
        yield Change(place.name, names.get(column, "?"), text, changed, _rule(after), _rule(before))


def _decisions(place: Place, side: Side, one: Circumstance) -> tuple[Mapping[Column, Decision], Context]:
    may = side.policy.attributes.assertable(one.situation.user)
    situation = replace(one.situation, asserted={k: v for k, v in one.situation.asserted.items() if k in may})
    context = context_for(side.policy, situation, place.name or situation.database or "", place.roles, one.now, side.people)
    profile = compile_profile(side.policy, side.classification, place.relations, context)
    return {(oid, number): d for oid, columns in profile.decisions.items() for number, d in columns.items()}, context


def _essence(decision: Decision | None) -> object:
    """What can be seen: a column that is not sensitive is clear."""
    if decision is None or decision.is_clear:
        return None
    return decision.filters, tuple((b.rows, b.show, b.mask) for b in decision.branches)


def _filters(decision: Decision) -> str:
    kind = decision.filters.kind
    return f"{kind.value} ({decision.filters.probes_per_hour} an hour)" if kind is FilterKind.EQUALITY else kind.value


def _rule(decision: Decision | None) -> str:
    named = dict.fromkeys(b.rule for b in decision.branches if b.rule is not None) if decision is not None else {}
    return ", ".join(named)


def shown(decision: Decision | None, policy: Policy, context: Context, *, alike: bool) -> str:
    """clear; masked (keep first 3, last 4); clear where branch = :user.branch, otherwise denied. `alike`: what the other rows
    show does not change, so columns with different masks read the same."""
    if decision is None:
        return "clear (not sensitive)"
    parts = [_branch(b, policy, context) for b in decision.branches]
    if alike and len(parts) > 1 and decision.branches[-1].show is Show.MASK:
        parts[-1] = "masked as before"
    return ", otherwise ".join(parts)


def _rows(branch: Branch, policy: Policy, context: Context) -> str | None:
    """The condition as the policy writes it, so that it reads the same for everybody."""
    rule = next((r for r in policy.rules if r.name == branch.rule), None)
    if rule is not None and rule.rows is not None and rule.rows.bind(context.attributes) == branch.rows:
        return rule.rows.source
    return branch.rows


def _branch(branch: Branch, policy: Policy, context: Context) -> str:
    words = {Show.CLEAR: "clear", Show.DENY: "denied"}
    text = words.get(branch.show) or f"masked ({describe(branch.mask)})"
    return text if branch.rows is None else f"{text} where {_rows(branch, policy, context)}"
