"""Policy tests without a server: decisions, and the Python faces of masks on given rows.

There is no catalog, so tables have the columns that the test, the dictionary and the rules name, of whatever type their masks
are for. What needs more than that (other statements than columns of one table, keyed masks, SQL masks, conditions that only a
server understands) is left out, with the reason.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from functools import partial

from policies.decide import Step, column_type, compile_profile, explain
from policies.dictionary import classify
from policies.language import Policy
from policies.masks.base import BaseMask
from policies.model import Branch, ColumnType, Decision, Profile, Show
from policies.trials import Allowed, Decisions, Refused, Rows, Trial
from proxy.errors import ConfigError
from proxy.supposed import Named, Tables, suppose
from proxy.trials.outcome import PASSED, Outcome, Result, Status, compare_decision, compare_rows, failed, left_out, reasons
from proxy.whatif import context_for, moments
from rewrite.catalog import Relation
from rewrite.conditions import Select, Undecided, evaluate, holds, plain_select


def run_offline(policy: Policy, trials: Sequence[Trial]) -> list[Result]:
    return [Result(trial, _run(policy, trial)) for trial in trials]


def _run(policy: Policy, trial: Trial) -> Outcome:
    """At one moment, or at all moments of a week when the test names none: they must agree."""
    now = trial.situation.now
    outcomes: dict[Status, tuple[float, Outcome]] = {}
    for moment in [now] if now is not None else moments(policy, time.time()):
        try:
            outcome = _run_at(policy, trial, moment)
        except Undecided as why:
            return left_out(f"{why}; run it with a database (-c)")
        except ConfigError as error:
            return failed(error.message)
        outcomes.setdefault(outcome.status, (moment, outcome))
    if len(outcomes) > 1:
        return failed("it depends on the time: say `time`", *outcomes[Status.FAILED][1].lines)
    return next(iter(outcomes.values()))[1]


def _run_at(policy: Policy, trial: Trial, now: float) -> Outcome:
    select = plain_select(trial.sql) if trial.sql is not None else None
    tables = _tables(policy, trial, select)
    context = context_for(policy, trial.situation, trial.situation.database or "", lambda r: frozenset({r}), now, {})
    relations = list(tables.values())
    classification = classify(policy, relations)
    profile = compile_profile(policy, classification, relations, context)

    def steps(relation: Relation, name: str) -> list[Step]:
        return explain(policy, classification, relations, context, relation.oid, _number(relation, name))

    if isinstance(trial.expect, Decisions):
        lines = []
        for wanted in trial.expect.columns:
            relation = tables[wanted.column[0], wanted.column[1]]
            decision = _decision(profile, relation, wanted.column[2])
            lines += compare_decision(policy, wanted, decision, partial(steps, relation, wanted.column[2]))
        return failed(*lines) if lines else PASSED
    assert select is not None
    relation = tables[select.schema, select.relation]
    names = [c.name for c in relation.columns] if select.columns is None else sorted(select.used)
    denied = [n for n in names if (d := _decision(profile, relation, n)) is not None and d.is_denied]
    if not denied and any(not _clear(profile, relation, n) for n in select.compared):
        raise Undecided("its condition names a masked column")
    match trial.expect:
        case Refused(sqlstate):
            return _refusal(sqlstate, denied)
        case Allowed():
            return failed("expected allowed", f"got      refused 42501: {denied[0]} is denied") if denied else PASSED
        case Rows(expected):
            if denied:
                return failed("expected rows", f"got      refused 42501: {denied[0]} is denied")
            return _rows(policy, trial, select, relation, profile, expected, steps)


def _refusal(sqlstate: str | None, denied: Sequence[str]) -> Outcome:
    if not denied:
        return failed("expected refused", "got      allowed")
    if sqlstate not in (None, "42501"):
        return failed(f"expected refused {sqlstate}", "got      refused 42501")
    return PASSED


def _rows(
    policy: Policy,
    trial: Trial,
    select: Select,
    relation: Relation,
    profile: Profile,
    expected: Sequence[Mapping[str, object]],
    steps: Callable[[Relation, str], list[Step]],
) -> Outcome:
    given = trial.given.get((select.schema, select.relation))
    if given is None:
        raise Undecided(f"it gives no rows of {select.schema}.{select.relation}")
    if select.columns is None and (missing := {c.name for c in relation.columns} - set().union(*given)):
        raise Undecided(f"whether the table has a column {min(missing)} is not known, so * is not")
    labels = select.columns if select.columns is not None else tuple((c.name, c.name) for c in relation.columns)
    got: list[Mapping[str, object]] = []
    by: dict[str, tuple[Decision, list[Branch], str]] = {}
    for row in given:
        if select.where is not None and evaluate(select.where, row) is not True:
            continue
        out: dict[str, object] = {}
        for label, name in labels:
            column = next(c for c in relation.columns if c.name == name)
            decision = _decision(profile, relation, name)
            branch = _branch(decision, row) if decision is not None else None
            out[label] = row.get(name) if branch is None else _shown(branch, row.get(name), column_type(column))
            if decision is not None and branch is not None:
                by.setdefault(label, (decision, [], name))[1].append(branch)
        got.append(out)

    def why(label: str) -> list[str]:
        if label not in by:
            return []
        decision, branches, name = by[label]
        return reasons(policy, decision, branches, steps(relation, name))

    lines = compare_rows(expected, got, why, ordered=False, given=True)
    return failed(*lines) if lines else PASSED


def _clear(profile: Profile, relation: Relation, name: str) -> bool:
    decision = _decision(profile, relation, name)
    return decision is None or decision.is_clear


def _branch(decision: Decision, row: Mapping[str, object]) -> Branch:
    return next(b for b in decision.branches if b.rows is None or holds(b.rows, row))


def _shown(branch: Branch, value: object, kind: ColumnType) -> object:
    if branch.show is Show.CLEAR:
        return value
    mask = branch.mask
    if not isinstance(mask, BaseMask) or mask.is_expression:
        raise Undecided("an SQL mask is worked out by a server")
    try:
        return mask.apply_as(_typed(value, kind), kind)
    except LookupError:
        raise Undecided(f"the mask {mask.name} needs keys") from None
    except (TypeError, ValueError):
        raise Undecided(f"the mask {mask.name} cannot be worked out for the given value") from None


def _typed(value: object, kind: ColumnType) -> object:
    """A value of a test as the mask takes it."""
    if isinstance(value, str) and kind.base_type == "date":
        return date.fromisoformat(value)
    if isinstance(value, str) and kind.base_type == "timestamp":
        return datetime.fromisoformat(value)
    return value


def _decision(profile: Profile, relation: Relation, column: str) -> Decision | None:
    return profile.decisions.get(relation.oid, {}).get(_number(relation, column))


def _number(relation: Relation, column: str) -> int:
    return next((c.attnum for c in relation.columns if c.name == column), 0)


def _tables(policy: Policy, trial: Trial, select: Select | None) -> Tables:
    names: Named = {}

    def add(table: tuple[str, str], columns: Iterable[str]) -> None:
        for column in columns:
            names.setdefault(table, {}).setdefault(column, [])

    for table, rows in trial.given.items():
        for row in rows:
            add(table, row)
            for column, value in row.items():
                names[table][column].append(value)
    if select is not None:
        names.setdefault((select.schema, select.relation), {})
        add((select.schema, select.relation), select.used)
    if isinstance(trial.expect, Decisions):
        for wanted in trial.expect.columns:
            add((wanted.column[0], wanted.column[1]), [wanted.column[2]])
    return suppose([policy], names)
