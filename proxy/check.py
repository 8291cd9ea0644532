"""`pgveil check`: is the policy what it should be? Asked of the live catalog and of the policy's tests; nothing is changed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from policies.check import Problem, database_problems, people_problems, problems
from policies.dictionary import classify
from policies.document import DocumentError
from policies.language import Policy
from policies.trials import Trial, beside, load_trials
from proxy.config import Config
from proxy.control.catalog import CatalogReader
from proxy.control.connection import is_pooled
from proxy.control.plane import POOLER_HINT
from proxy.errors import ConfigError
from proxy.expressions import expression_problems
from proxy.reading import Report, connected, people_of, read_policy
from proxy.session.effects import Pooling
from proxy.supervise import watched_databases
from proxy.tls import client_context
from proxy.trials.live import database_for, run_live
from proxy.trials.offline import run_offline
from proxy.trials.outcome import Outcome, Result, Status, left_out, told
from proxy.whatif import World


@dataclass(frozen=True, slots=True)
class _Database:
    world: World
    found: list[Problem]
    pooler: bool
    connection: asyncpg.Connection


def check_files(paths: Sequence[Path], tests: Sequence[Path]) -> Report:
    """A policy by itself. Raises PgveilError for what cannot be read."""
    policy = read_policy(paths)
    lines = [str(p) for p in problems(policy, classify(policy, []), []) if p.place in {o.place for o in policy.overrides}]
    lines.append(f"{len(policy.classes)} classes, {len(policy.entries)} lines of the dictionary, {len(policy.rules)} rules")
    trials = _trials(paths, tests)
    results = run_offline(policy, trials)
    return Report((*lines, *_told(results)), _all_well(results))


def check_live(config: Config, tests: Sequence[Path]) -> Report:
    """Findings on the policy in every configured database, and the tests there. Raises PgveilError for what cannot be read."""
    policy = read_policy(config.policy)
    if config.tls is not None:
        client_context(config.tls)
    return asyncio.run(_check(config, policy, _trials(config.policy, tests)))


async def _check(config: Config, policy: Policy, trials: Sequence[Trial]) -> Report:
    lines: list[str] = []
    ok = True
    async with AsyncExitStack() as stack:
        databases: dict[str, _Database] = {}
        for name in watched_databases(config):
            found = await _read(config, policy, name, await stack.enter_async_context(connected(config, name)))
            databases[name] = found
            if found.pooler and config.upstream.pooling in (Pooling.AUTO, Pooling.NONE):
                ok = ok and config.upstream.pooling is Pooling.AUTO
                lines.append(f"database {name}: a connection pooler is in between, {POOLER_HINT}")
            ok = ok and not any(p.severity == "error" for p in found.found)
            lines += [str(p) for p in found.found]
            counts = f"{len(found.world.catalog.relations)} relations, {len(found.world.classification)} sensitive columns"
            lines.append(f"database {name}: {counts}, {len(found.found)} findings")
        lines += _unheard(config, policy)
        results = [Result(trial, await _run(config, databases, trial)) for trial in trials]
    return Report((*lines, *_told(results)), ok and _all_well(results))


def _unheard(config: Config, policy: Policy) -> list[str]:
    """Alerts that nobody would raise."""
    names = [alert.name for alert in policy.alerts if alert.watch is not None]
    if config.supervision is not None or not names:
        return []
    told = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return [f"alerts {told}: only the auditor can raise them; it runs with a section 'supervision' in the configuration"]


async def _read(config: Config, policy: Policy, name: str, connection: asyncpg.Connection) -> _Database:
    pooler = await is_pooled(connection)
    read = await CatalogReader().read(connection)
    at_users = people_problems(policy, read.catalog.relations) if name == config.control.database else []
    lost = any(p.severity == "error" for p in at_users)
    world = World.of(policy, name, read, {} if lost else await people_of(config, policy))
    found = problems(policy, world.classification, read.catalog.relations, read.roles.names)
    found += at_users
    known = [str(row[0]) for row in await connection.fetch("SELECT datname FROM pg_catalog.pg_database")]
    found += database_problems(policy, [*known, *(config.databases or ())])
    found += await expression_problems(policy, world.classification, read.catalog, connection)
    return _Database(world, found, pooler, connection)


async def _run(config: Config, databases: Mapping[str, _Database], trial: Trial) -> Outcome:
    name = database_for(trial, {n: d.world for n, d in databases.items()}, config.server_database)
    if name is None:
        return left_out(f"database {trial.situation.database} is not among those that are checked")
    return await run_live(databases[name].world, trial, databases[name].connection)


def _trials(policies: Sequence[Path], more: Sequence[Path]) -> list[Trial]:
    try:
        return load_trials([*beside(policies), *more])
    except DocumentError as error:
        raise ConfigError(str(error)) from None


def _told(results: Sequence[Result]) -> list[str]:
    return told(results) if results else []


def _all_well(results: Sequence[Result]) -> bool:
    return all(r.outcome.status is not Status.FAILED for r in results)
