"""Policy tests with a server: the statement is planned as for a session of that person, and what would be sent is run.

It runs on the control connection, in a read-only transaction with a time limit that is rolled back. Given rows stand in the
planned statement where it reads their tables, so that nothing has to be readable. Only SELECT runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import asyncpg

from policies.trials import Allowed, Decisions, Refused, Rows, Trial
from proxy.errors import ConfigError
from proxy.trials.outcome import (
    MOST_ROWS,
    PASSED,
    Outcome,
    compare_decision,
    compare_rows,
    failed,
    left_out,
    reasons,
)
from proxy.whatif import View, World, moments
from rewrite.pgtree import ParseError, parse, quote_ident
from rewrite.plan import Plan, Verdict
from rewrite.standin import Name, StandIn, reads_nothing_else, stand_in, values_of

SECONDS = 5
"""For one statement."""


async def run_live(world: World, trial: Trial, connection: asyncpg.Connection) -> Outcome:
    """Raises what the connection raises when it breaks."""
    unknown = world.roles.names.isdisjoint({trial.situation.user}) and not trial.situation.roles
    if unknown:
        return left_out(f"the server has no login {trial.situation.user}, and the test names no roles")
    if isinstance(trial.expect, Decisions):
        return _decisions(world, trial, trial.expect)
    assert trial.sql is not None
    sql = trial.sql
    try:
        views = _views(world, trial)
    except ConfigError as error:
        return failed(error.message)
    plans = [view.plan(sql) for view in views]
    if any((p.verdict, p.text, p.refusal) != (plans[0].verdict, plans[0].text, plans[0].refusal) for p in plans):
        return failed("it depends on the time: say `time`")
    return await _statement(world, trial, views[0], plans[0], connection)


def _views(world: World, trial: Trial) -> list[View]:
    """At the moment of the test, or at every moment of a week at which something may change."""
    now = trial.situation.now
    times = [now] if now is not None else moments(world.policy, time.time())
    return [world.view(trial.situation, moment) for moment in times]


def _decisions(world: World, trial: Trial, expect: Decisions) -> Outcome:
    outcomes: list[list[str]] = []
    for wanted in expect.columns:
        if world.find(*wanted.column) is None:
            return failed(f"database {world.name} has no column {wanted.name}")
    try:
        views = _views(world, trial)
    except ConfigError as error:
        return failed(error.message)
    for view in views:
        lines: list[str] = []
        for wanted in expect.columns:
            found = world.find(*wanted.column)
            assert found is not None
            decision = view.profile.decisions.get(found[0], {}).get(found[1])
            lines += compare_decision(world.policy, wanted, decision, partial(view.steps, *found))
        outcomes.append(lines)
    if all(outcomes) or not any(outcomes):
        return failed(*outcomes[0]) if outcomes[0] else PASSED
    return failed("it depends on the time: say `time`", *next(lines for lines in outcomes if lines))


async def _statement(world: World, trial: Trial, view: View, plan: Plan, connection: asyncpg.Connection) -> Outcome:
    refused = plan.refusal
    if plan.verdict is Verdict.NEED:
        return left_out("the statement names something that only a running session can know")
    if refused is not None:
        said = f"got      refused {refused.sqlstate}: {refused.message}"
        match trial.expect:
            case Refused(sqlstate) if sqlstate in (None, refused.sqlstate):
                return PASSED
            case Refused(sqlstate):
                return failed(f"expected refused {sqlstate}", said)
            case Allowed():
                return failed("expected allowed", said)
        return failed("expected rows", said)
    match trial.expect:
        case Refused(sqlstate):
            return failed(f"expected refused {sqlstate or ''}".rstrip(), "got      allowed")
        case Rows(rows):
            return await _run(world, trial, view, plan, rows, connection)
    return PASSED


async def _run(
    world: World, trial: Trial, view: View, plan: Plan, expected: Sequence[Mapping[str, object]], connection: asyncpg.Connection
) -> Outcome:
    prepared = _prepared(world, trial, view, plan)
    if isinstance(prepared, Outcome):
        return prepared
    given = not prepared.real and reads_nothing_else(trial.sql or "")
    try:
        got = await _fetch(connection, prepared.text, view.path)
    except asyncpg.InsufficientPrivilegeError as error:
        return left_out(f"the control login may not: {error.args[0]}; give the rows (`given`)")
    except asyncpg.QueryCanceledError:
        return failed(f"it took more than {SECONDS} s")
    except asyncpg.PostgresError as error:
        if isinstance(error, asyncpg.PostgresConnectionError):
            raise
        said = f": {error.args[0]}" if given else ""
        return failed("expected rows", f"got      error {error.sqlstate}{said}")
    ordered = "order by" in (trial.sql or "").lower()
    lines = compare_rows(expected, got, partial(_reasons, world, view, plan), ordered=ordered, given=given)
    return failed(*lines) if lines else PASSED


def _prepared(world: World, trial: Trial, view: View, plan: Plan) -> StandIn | Outcome:
    """What runs. Only SELECT, and only of rows that the test gives where it gives any."""
    relations = {(r.schema, r.name): r for r in world.catalog.relations.values()}
    given: dict[Name, str] = {}
    for name, rows in trial.given.items():
        if name not in relations:
            return failed(f"database {world.name} has no table {'.'.join(name)}")
        columns = {c.name for c in relations[name].columns}
        if odd := set().union(*rows) - columns if rows else set():
            return failed(f"{'.'.join(name)} has no column {min(odd)}")
        given[name] = values_of(relations[name], rows)
    try:
        if [s.kind for s in parse(plan.text)] != ["SelectStmt"]:
            return left_out("only SELECT is run; expect `allowed` or `refused` of other statements")
        return stand_in(plan.text, given, view.path, frozenset(relations))
    except ParseError as error:
        return failed(f"got      a syntax error: {error.message}")


async def _fetch(connection: asyncpg.Connection, text: str, path: Sequence[str]) -> list[Mapping[str, object]]:
    transaction = connection.transaction(readonly=True)
    await transaction.start()
    try:
        await connection.execute(
            f"SET LOCAL statement_timeout = {SECONDS * 1000}; SET LOCAL lock_timeout = 1000; "
            f"SET LOCAL search_path = {', '.join(map(quote_ident, path))}"
        )
        statement = await connection.prepare(text, name="")
        cursor = await statement.cursor()
        labels = [a.name for a in statement.get_attributes()]
        return [dict(zip(labels, row.values(), strict=True)) for row in await cursor.fetch(MOST_ROWS)]
    finally:
        await transaction.rollback()


def _reasons(world: World, view: View, plan: Plan, label: str) -> list[str]:
    """How the columns of this name that the statement uses were decided."""
    out: list[str] = []
    for relation in dict.fromkeys(t.relation for s in plan.statements for t in s.touches if t.column == label):
        schema, _, name = relation.partition(".")
        found = world.find(schema, name, label)
        decision = view.profile.decisions.get(found[0], {}).get(found[1]) if found is not None else None
        if found is not None and decision is not None:
            out += reasons(world.policy, decision, decision.branches, view.steps(*found))
    return out


def database_for(trial: Trial, worlds: Mapping[str, World], served: Callable[[str], str | None]) -> str | None:
    """The database that a test is for: the one it names, the only one, or the first that has its tables."""
    if trial.situation.database is not None:
        name = served(trial.situation.database)
        return name if name in worlds else None
    tables = {*trial.given, *((w.column[0], w.column[1]) for w in getattr(trial.expect, "columns", ()))}
    for name, world in worlds.items():
        if tables and tables <= {(r.schema, r.name) for r in world.catalog.relations.values()}:
            return name
    return next(iter(worlds), None)
