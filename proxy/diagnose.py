"""`pgveil check` and `pgveil explain`: what the proxy would do, asked of the live catalog, without running anything."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import asyncpg

from policies.check import Problem, problems
from policies.decide import Context, compile_profile, explain
from policies.dictionary import Classification, classify
from policies.document import DocumentError
from policies.language import Policy
from policies.load import load_policy
from policies.model import Branch, Decision, Profile, Show
from proxy.config import Config
from proxy.control.catalog import CatalogRead, CatalogReader
from proxy.control.connection import FAILURES, connect, is_pooled
from proxy.control.people import People, read_people
from proxy.control.plane import POOLER_HINT
from proxy.control.roles import Roles
from proxy.engine import context_of
from proxy.errors import ConfigError, UpstreamUnavailable
from proxy.expressions import expression_problems
from proxy.session.effects import Identity, Pooling
from proxy.supervise import control_target, watched_databases
from proxy.tls import client_context
from rewrite.catalog import Catalog
from rewrite.plan import Plan, PlanContext, Resolution, Verdict
from rewrite.planner import Planner


@dataclass(frozen=True, slots=True)
class Report:
    """Lines for a person, and whether all is well."""

    lines: tuple[str, ...]
    ok: bool


def check_live(config: Config) -> Report:
    """Findings on the policy in every configured database. Raises PgveilError for what cannot be read at all."""
    policy = _policy(config)
    if config.tls is not None:
        client_context(config.tls)
    lines: list[str] = []
    ok = True
    for database in watched_databases(config):
        relations, sensitive, found, pooler = asyncio.run(_check(config, policy, database))
        if pooler and config.upstream.pooling in (Pooling.AUTO, Pooling.NONE):
            ok = ok and config.upstream.pooling is Pooling.AUTO
            lines.append(f"database {database}: a connection pooler is in between, {POOLER_HINT}")
        ok = ok and not any(p.severity == "error" for p in found)
        lines += [str(p) for p in found]
        lines.append(f"database {database}: {relations} relations, {sensitive} sensitive columns, {len(found)} findings")
    return Report(tuple(lines), ok)


async def _check(config: Config, policy: Policy, database: str) -> tuple[int, int, list[Problem], bool]:
    """(relations, sensitive columns, findings) of one database; whether a pooler is in between."""
    async with _connected(config, database) as connection:
        pooler = await is_pooled(connection)
        read = await CatalogReader().read(connection)
        classification = classify(policy, read.catalog.relations)
        found = problems(policy, classification, read.catalog.relations, read.roles.names)
        found += await expression_problems(policy, classification, read.catalog, connection)
    await _people(config, policy)  # it can be read
    return len(read.catalog.relations), len(classification), found, pooler


def explain_live(
    config: Config,
    user: str,
    database: str | None,
    application_name: str,
    address: str,
    sql: str,
    asserted: Sequence[tuple[str, str]] = (),
) -> Report:
    """What a login would see of the columns that `sql` touches. Raises PgveilError. Not ok: refused, or no such login."""
    policy = _policy(config)
    name = config.server_database(database) if database is not None else _only_database(config)
    if name is None:
        raise ConfigError(f"database {database} is not among `databases` in {config.path}")
    read, people = asyncio.run(_read(config, policy, name))
    refused = [n for n, _ in asserted if n not in policy.attributes.assertable(user)]
    if refused:
        raise ConfigError(
            f"{user} may not assert {', '.join(refused)}", hint="See attributes: trusted_apps, anyone in the policy."
        )
    identity = Identity(user, name, application_name, address, asserted=tuple(sorted(asserted)))
    return _Explanation(policy, read, identity, people, time.time()).report(sql)


class _Explanation:
    """One login's view of one database at one moment."""

    def __init__(self, policy: Policy, read: CatalogRead, identity: Identity, people: People, now: float) -> None:
        self.policy = policy
        self.catalog: Catalog = read.catalog
        self.roles = read.roles
        self.identity = identity
        self.context: Context = context_of(policy, identity, read.roles.of, now, people)
        self.classification: Classification = classify(policy, read.catalog.relations)
        self.profile: Profile = compile_profile(policy, self.classification, read.catalog.relations, self.context)
        self.path = search_path(read.roles, read.catalog, identity)

    def report(self, sql: str) -> Report:
        known = self.identity.user in self.roles.names
        plan = self.plan(sql, self.profile)
        lines = [*self.heading(known), *self.columns(plan, sql), "", *_outcome(plan)]
        return Report(tuple(lines), known and plan.verdict is not Verdict.REFUSE)

    def plan(self, sql: str, profile: Profile) -> Plan:
        return Planner().plan(sql, PlanContext(self.catalog, profile, Resolution(self.path)))

    def heading(self, known: bool) -> Iterator[str]:
        others = sorted(self.context.roles - {self.identity.user})
        if not known:
            yield f"warning: the server has no login {self.identity.user}"
        yield f"login     {self.identity.user}, member of {', '.join(others) or 'no other role'}"
        yield f"database  {self.identity.database}, search_path {', '.join(self.path)}"
        if self.context.attributes:
            said = (f"{name} = {value}" for name, value in sorted(self.context.attributes.items()))
            yield f"person    {', '.join(said)}"
        yield f"policy    {self.policy.version}"

    def columns(self, plan: Plan, sql: str) -> Iterator[str]:
        """Each sensitive column that the statement uses. Of a refused one, as far as it can be read."""
        statements = plan.statements or self.plan(sql, replace(self.profile, masked=False)).statements
        touched = dict.fromkeys((t.relation, t.column) for s in statements for t in s.touches)
        for name, column in touched:
            for relation in self.catalog.relations.values():
                if f"{relation.schema}.{relation.name}" == name:
                    attnum = next((c.attnum for c in relation.columns if c.name == column), 0)
                    yield from self.column(relation.oid, attnum, f"{name}.{column}")
        if not touched:
            yield ""
            yield "no sensitive column is used"

    def column(self, oid: int, attnum: int, name: str) -> Iterator[str]:
        decision = self.profile.decisions.get(oid, {}).get(attnum)
        if decision is None:
            return
        yield ""
        yield f"{name}: {_decided(decision)}  [class {decision.data_class}, level {decision.level}]"
        for step in explain(self.policy, self.classification, self.catalog.relations, self.context, oid, attnum):
            rule = "default" if step.rule is None else f"rule '{step.rule}'"
            yield f"  {'+' if step.matched else '-'} {rule}: {step.why}"


def _decided(decision: Decision) -> str:
    return ", otherwise ".join(_branch(branch) for branch in decision.branches)


def _branch(branch: Branch) -> str:
    shown = branch.mask.name if branch.show is Show.MASK and branch.mask is not None else branch.show.value
    return shown if branch.rows is None else f"{shown} where {branch.rows}"


def _outcome(plan: Plan) -> Iterator[str]:
    if plan.refusal is not None:
        yield f"refused   {plan.refusal.sqlstate}: {plan.refusal.message}"
        if plan.refusal.hint:
            yield f"hint      {plan.refusal.hint}"
    elif plan.verdict is Verdict.NEED:
        yield "undecided: the statement names something that only a running session can know"
    elif plan.verdict is Verdict.PASS:
        yield "sent as it is"
    else:
        yield f"rewritten (placed by {plan.placed_by})"
        yield plan.text


def search_path(roles: Roles, catalog: Catalog, identity: Identity) -> tuple[str, ...]:
    """The effective schemas of a session that has just begun, as current_schemas(true) would tell.

    ALTER ROLE … IN DATABASE goes before ALTER ROLE, that before ALTER DATABASE, that before ALTER ROLE ALL.
    """
    order = [(identity.user, True), (identity.user, False), (None, True), (None, False)]
    found = {(role, database is not None): value for role, database, value in roles.search_paths}
    written = next((found[key] for key in order if key in found), '"$user", public')
    names = [identity.user if n == "$user" else n for n in _names(written)]
    path = [n for n in dict.fromkeys(names) if n in catalog.schemas or n == "pg_catalog"]
    return tuple(path if "pg_catalog" in path else ("pg_catalog", *path))


def _names(written: str) -> Sequence[str]:
    """Identifiers of a search_path setting: quoted ones as they stand, the others folded to lower case."""
    parts = [part.strip() for part in written.split(",")]
    return [p[1:-1].replace('""', '"') if p.startswith('"') else p.lower() for p in parts if p]


def _policy(config: Config) -> Policy:
    try:
        return load_policy(config.policy)
    except DocumentError as error:
        raise ConfigError(str(error)) from None


def _only_database(config: Config) -> str:
    databases = watched_databases(config)
    if len(databases) != 1:
        raise ConfigError(f"name the database with --database: one of {', '.join(databases)}")
    return databases[0]


async def _read(config: Config, policy: Policy, database: str) -> tuple[CatalogRead, People]:
    """One look at the live catalog, and at the table of users."""
    async with _connected(config, database) as connection:
        read = await CatalogReader().read(connection)
    return read, await _people(config, policy)


async def _people(config: Config, policy: Policy) -> People:
    table = policy.attributes.table
    if table is None:
        return {}
    async with _connected(config, config.control.database) as connection:
        return await read_people(connection, table)


@asynccontextmanager
async def _connected(config: Config, database: str) -> AsyncIterator[asyncpg.Connection]:
    """A control connection of our own. What goes wrong with it is told as UpstreamUnavailable."""
    target = control_target(config)
    try:
        connection = await connect(target, database)
        try:
            yield connection
        finally:
            await connection.close()
    except FAILURES as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UpstreamUnavailable(
            f"cannot read the catalog of database {database} on {target.host}:{target.port} as {config.control.user}: {reason}"
        ) from None
