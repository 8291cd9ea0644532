"""From policy and session to a profile: what this session sees of every sensitive column.

For each column the rules are tried in order. The first match without `rows:` decides; matches with `rows:` before it become
conditional branches. When no rule matches, the column shows as its class says. Whatever cannot be decided shows less: a
mask that does not suit its column becomes NULL, a rule whose predicate names a column the table does not have grants
nothing there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from policies.approvals import rules_of
from policies.attributes import subject
from policies.dictionary import Classification, Classified, ColumnLike, RelationLike, Relations, listed
from policies.filters import FAMILIES, MASKED, FilterKind, Filters
from policies.language import Policy, Rule, SelectorKind
from policies.limits import NO_CAPS, Caps, caps
from policies.masks.base import BaseMask
from policies.masks.basic import Null
from policies.masks.describe import describe
from policies.matching import Active, ActiveRules, Context, differences, who_differs
from policies.model import Branch, ColumnType, Decision, Profile, Show
from policies.names import SYSTEM_SCHEMAS

__all__ = ["Context", "Step", "column_type", "compile_profile", "explain", "sensitive"]

NULL_MASK = Null()


@dataclass(frozen=True, slots=True)
class Step:
    """One rule tried for one column, for `pgveil explain`."""

    rule: str | None
    """None: the default of the column's class."""
    matched: bool
    why: str
    place: str = ""
    """file:line of the rule, or of the class."""


def compile_profile(policy: Policy, classification: Classification, relations: Relations, context: Context) -> Profile:
    """What the policy says about every sensitive column for this context. Pure; costs a few milliseconds."""
    granted = rules_of(context.grants, policy, classification, relations, context.now)
    rules = granted + [r for r in policy.rules if who_differs(r, context) is None]
    changes = [c for r in rules if r.schedule and (c := r.schedule.next_change(context.now)) is not None]
    changes += [g.until for g in context.grants if g.until > context.now]
    active = ActiveRules([Active(r, context) for r in rules if r.schedule is None or r.schedule.holds(context.now)])
    counted = {g.name for g in context.grants if g.left is not None}
    rationed: dict[tuple[str, str], tuple[str, ...]] = {}
    decisions: dict[int, dict[int, Decision]] = {}
    masked = has_filters = False
    held_to = caps(policy.limits, context.user, context.roles)
    for relation, column, classified in sensitive(classification, relations):
        decision = _decide(active.selecting(relation, column, classified), relation, column, classified)
        if context.spent:
            decision = _veiled(decision, column, classified)
        filters = filters_of(classified, column, held_to)
        if filters is not MASKED and not decision.is_clear:
            decision = replace(decision, filters=filters)
            has_filters = True
        decisions.setdefault(relation.oid, {})[column.attnum] = decision
        if counted and (by := tuple(b.rule for b in decision.branches if b.rule in counted)):
            rationed[f"{relation.schema}.{relation.name}", column.name] = by
        if relation.schema not in SYSTEM_SCHEMAS and not decision.is_clear:
            masked = True
    exempt = policy.on_failure.get(context.user)
    return Profile(
        key=_key(policy, decisions, [sorted(context.assertable), held_to.names, exempt and [exempt.at_most, exempt.within]]),
        policy_version=policy.version,
        decisions=decisions,
        functions=policy.functions,
        extensions=policy.extensions,
        valid_until=min(changes, default=None),
        masked=masked or (held_to.rows and bool(decisions)),  # what cannot be seen through cannot be counted
        always_clear=not masked and not held_to.rows and _always_clear(policy, rules),
        may_mask=not masked and not _shows_everything(policy, [a.rule for a in active.rules]),
        assertable=context.assertable,
        commented=context.commented,
        has_filters=has_filters,
        may_classify=policy.may_classify,
        caps=held_to,
        notice=policy.notice,
        person=subject(policy.attributes, context.user, context.person),
        metered=held_to.rows or held_to.values or bool(rationed),
        rationed=rationed,
        exemption=exempt,
    )


def filters_of(classified: Classified, column: ColumnLike, held_to: Caps = NO_CAPS) -> Filters:
    """What this person's comparisons with the column compare, with the smallest budget that applies."""
    entry = classified.entry
    if entry is None or entry.filters.kind is FilterKind.MASKED:
        return MASKED
    if entry.filters.kind is FilterKind.EQUALITY and not can_filter(column):
        return MASKED
    if held_to.probes is not None and held_to.probes.most < entry.filters.probes_per_hour:
        return replace(entry.filters, probes_per_hour=held_to.probes.most)
    return entry.filters


def can_filter(column: ColumnLike) -> bool:
    """Whether a constant compared with the column asks about one value only."""
    return column.base_type in FAMILIES and column.base_sql.startswith("pg_catalog.") and not getattr(column, "loose", False)


def _veiled(decision: Decision, column: ColumnLike, classified: Classified) -> Decision:
    """The decision with nothing in clear."""
    mask = _usable(classified.mask, column)
    branches = [Branch(b.rows, Show.MASK, mask, b.rule) if b.show is Show.CLEAR else b for b in decision.branches]
    return Decision(decision.data_class, decision.level, _merged(branches))


_TRY_AGAIN = 5.0
"""Seconds."""


def failed_profile(policy: Policy, user: str, now: float) -> Profile | None:
    """When `compile_profile` has raised, for a login whose statements go upstream when they cannot be read: none can. None for
    all others."""
    exempt = policy.on_failure.get(user)
    if exempt is None:
        return None
    key = f"broken {policy.version} {user}"
    return Profile(key, policy.version, {}, valid_until=now + _TRY_AGAIN, masked=True, exemption=exempt, broken=True)


def _shows_everything(policy: Policy, holding: Sequence[Rule]) -> bool:
    """Whether no relation that comes could be masked for the session, as long as the rules that hold for it now do so."""
    if not policy.entries and policy.unclassified is None:
        return True
    first = next(iter(holding), None)
    if first is None or first.show is not Show.CLEAR or first.rows is not None:
        return False
    return any(s.kind is SelectorKind.ALL for s in first.columns)


def _always_clear(policy: Policy, rules: Sequence[Rule]) -> bool:
    """Whether the policy says so without looking at any relation: it lists nothing, or its first rule for this session (not for
    a role, which may be taken away) shows everything."""
    first = next(iter(rules), None)
    if first is not None and (first.roles or first.claims or first.schedule is not None):
        return not policy.entries and policy.unclassified is None
    return _shows_everything(policy, rules)


def explain(
    policy: Policy, classification: Classification, relations: Relations, context: Context, oid: int, attnum: int
) -> list[Step]:
    """Every rule in order: did it decide this column, and why or why not. Empty when the column is not sensitive."""
    for relation, column, classified in sensitive(classification, relations):
        if (relation.oid, column.attnum) != (oid, attnum):
            continue
        steps: list[Step] = []
        active = []
        for rule in (*rules_of(context.grants, policy, classification, relations, context.now), *policy.rules):
            reasons = list(differences(rule, context))
            if rule.schedule is not None and not rule.schedule.holds(context.now):
                reasons.append(f"holds only at {rule.schedule}, where it is {rule.schedule.wall(context.now)}")
            active.append(Active(rule, context, "; ".join(reasons) or None))
        selecting = ActiveRules(active).selecting(relation, column, classified)
        for rule_active in active:
            if rule_active not in selecting:
                columns = f"for columns {_listed(rule_active.rule)}"
                rule_active.differs = columns if rule_active.differs is None else f"{columns}; {rule_active.differs}"
        _decide(active, relation, column, classified, steps)
        return steps
    return []


def sensitive(classification: Classification, relations: Relations) -> Iterable[tuple[RelationLike, ColumnLike, Classified]]:
    """The sensitive columns with their relations, in order of OID and attnum."""
    wanted: dict[int, dict[int, Classified]] = {}
    for (oid, attnum), classified in classification.columns.items():
        wanted.setdefault(oid, {})[attnum] = classified
    for relation in sorted((r for r in listed(relations) if r.oid in wanted), key=lambda r: r.oid):
        here = wanted[relation.oid]
        for column in relation.columns:
            if column.attnum in here:
                yield relation, column, here[column.attnum]


def column_type(column: ColumnLike) -> ColumnType:
    return ColumnType(column.base_type, column.category, column.base_sql)


def _decide(
    rules: Sequence[Active],
    relation: RelationLike,
    column: ColumnLike,
    classified: Classified,
    steps: list[Step] | None = None,
) -> Decision:
    """The decision for one column by the rules that select it; with `steps`, every rule is noted there."""
    branches: list[Branch] = []
    floor: str | None = None
    """Name of a rule that masks an unknown part of the rows: nothing after it may show more than the mask."""
    settled = False
    for active in rules:
        rule = active.rule
        if settled and steps is None:
            break
        why = "an earlier rule has decided" if settled else active.differs
        if why is None and rule.rows is not None:
            why = active.rows_unknown(relation)
            if why is not None and rule.show is Show.DENY:
                why = f"{why}; so every row is denied"
                branches.append(Branch(None, Show.DENY, None, rule.name))
                settled = True
            elif why is not None and rule.show is Show.MASK and rule.mask is None:
                why = f"{why}; so no row shows more than the mask"
                floor = floor or rule.name
        matched = why is None or (settled and branches[-1].rule == rule.name and branches[-1].rows is None)
        if why is None:
            branches.append(_branch(active, column, classified, floor))
            settled = rule.rows is None
        if steps is not None:
            steps.append(Step(rule.name, matched, why or _matched(rule, active), rule.place))
    if not settled:
        show = classified.data_class.show
        mask = _usable(classified.mask, column) if show is Show.MASK else None
        branches.append(Branch(None, show, mask, floor))
    if steps is not None:
        text = "no rule without a row condition matches" if not settled else "an earlier rule has decided"
        steps.append(
            Step(None, not settled, f"{text}: default of class {classified.data_class.name}", classified.data_class.place)
        )
    return Decision(classified.data_class.name, classified.data_class.level, _merged(branches))


def _listed(rule: Rule) -> str:
    return ", ".join(s.source for s in rule.columns)


def _matched(rule: Rule, active: Active) -> str:
    shown = describe(rule.mask) if rule.mask is not None else rule.show.value
    return f"shows {shown}" + (f" where {active.rows}" if active.rows is not None else "")


def _branch(active: Active, column: ColumnLike, classified: Classified, floor: str | None) -> Branch:
    rule = active.rule
    if rule.show is Show.DENY:
        return Branch(active.rows, Show.DENY, None, rule.name)
    if rule.show is Show.CLEAR and floor is None:
        return Branch(active.rows, Show.CLEAR, None, rule.name)
    mask = rule.mask if rule.mask is not None and floor is None else classified.mask
    return Branch(active.rows, Show.MASK, _usable(mask, column), rule.name if floor is None else floor)


def _usable(mask: BaseMask, column: ColumnLike) -> BaseMask:
    """The mask, or NULL where it does not suit the column (`problems` reports that)."""
    return mask if mask.accepts(column_type(column)) is None else NULL_MASK


def _merged(branches: list[Branch]) -> tuple[Branch, ...]:
    """Without conditional branches that show the same as everything after them."""
    out = [branches[-1]]
    for branch in reversed(branches[:-1]):
        if len(out) == 1 and (branch.show, branch.mask) == (out[0].show, out[0].mask):
            out[0] = Branch(None, branch.show, branch.mask, out[0].rule)
            continue
        out.insert(0, branch)
    return tuple(out)


def _key(policy: Policy, decisions: Mapping[int, Mapping[int, Decision]], more: Sequence[object]) -> str:
    """Digest of a canonical form of everything that decides. Dataclass reprs are complete and stable."""
    seen: dict[int, str] = {}

    def canonical(mask: object) -> str:
        if id(mask) not in seen:
            seen[id(mask)] = repr(mask)
        return seen[id(mask)]

    content = [
        [
            *(oid, attnum, d.data_class, d.level, d.filters.kind.value, d.filters.probes_per_hour),
            [[b.rows, b.show.value, canonical(b.mask), b.rule] for b in d.branches],
        ]
        for oid, columns in decisions.items()
        for attnum, d in columns.items()
    ]
    whole = [policy.version, sorted(policy.functions), sorted(policy.extensions), *more, content]
    return hashlib.blake2b(json.dumps(whole, ensure_ascii=True).encode(), digest_size=16).hexdigest()
