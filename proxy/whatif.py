"""One login's view of one database at one moment: what a session of that person would be told. Nothing runs.

`pgveil explain`, `pgveil diff` and the tests of `pgveil check` look through it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from policies.decide import Context, Step, compile_profile, explain
from policies.dictionary import Classification, classify
from policies.language import Policy
from policies.model import Profile
from policies.trials import Situation
from proxy.control.catalog import CatalogRead
from proxy.control.people import People
from proxy.control.roles import Roles
from proxy.engine import context_of
from proxy.errors import ConfigError
from proxy.session.effects import Identity
from rewrite.catalog import Catalog
from rewrite.plan import Plan, PlanContext, Resolution
from rewrite.planner import Planner

WEEK = 7 * 86400.0


def context_for(
    policy: Policy, situation: Situation, database: str, roles: Callable[[str], frozenset[str]], now: float, people: People
) -> Context:
    """Raises ConfigError for what the login may not assert."""
    refused = sorted(situation.asserted.keys() - policy.attributes.assertable(situation.user))
    if refused:
        raise ConfigError(
            f"{situation.user} may not assert {', '.join(refused)}", hint="See attributes: trusted_apps, anyone in the policy."
        )
    identity = Identity(
        situation.user,
        database,
        situation.application_name,
        situation.address,
        tls=situation.tls,
        asserted=tuple(sorted(situation.asserted.items())),
    )
    made = context_of(policy, identity, roles, now, people)
    return replace(
        made,
        roles=frozenset().union(made.roles, situation.roles, *(roles(role) for role in situation.roles)),
        attributes={**made.attributes, **{k: v for k, v in situation.attributes.items() if k not in situation.asserted}},
    )


def moments(policy: Policy, now: float) -> list[float]:
    """`now`, and every moment of the week after it at which a time condition of the policy changes its answer."""
    found = {now}
    for schedule in {rule.schedule for rule in policy.rules if rule.schedule is not None}:
        at = schedule.next_change(now)
        while at is not None and at < now + WEEK:
            found.add(at)
            at = schedule.next_change(at)
    return sorted(found)


@dataclass(frozen=True)
class World:
    """A database, its roles and the people of the table of users, under one policy."""

    policy: Policy
    name: str
    """Of the database, at the server."""
    catalog: Catalog
    roles: Roles
    people: People
    classification: Classification

    @staticmethod
    def of(policy: Policy, name: str, read: CatalogRead, people: People) -> World:
        return World(policy, name, read.catalog, read.roles, people, classify(policy, read.catalog.relations))

    def view(self, situation: Situation, now: float | None = None) -> View:
        moment = now if now is not None else situation.now if situation.now is not None else time.time()
        context = context_for(self.policy, situation, self.name, self.roles.of, moment, self.people)
        profile = compile_profile(self.policy, self.classification, self.catalog.relations, context)
        return View(self, situation, context, profile, search_path(self.roles, self.catalog, situation.user, self.name))

    def find(self, schema: str, relation: str, column: str) -> tuple[int, int] | None:
        """OID and attnum."""
        for found in self.catalog.relations.values():
            if (found.schema, found.name) == (schema, relation):
                return next(((found.oid, c.attnum) for c in found.columns if c.name == column), None)
        return None


@dataclass(frozen=True)
class View:
    world: World
    situation: Situation
    context: Context
    profile: Profile
    path: tuple[str, ...]

    def steps(self, oid: int, attnum: int) -> list[Step]:
        """How a column is decided, rule by rule."""
        world = self.world
        return explain(world.policy, world.classification, world.catalog.relations, self.context, oid, attnum)

    def plan(self, sql: str, profile: Profile | None = None) -> Plan:
        return Planner().plan(sql, PlanContext(self.world.catalog, profile or self.profile, Resolution(self.path)))


def search_path(roles: Roles, catalog: Catalog, user: str, database: str) -> tuple[str, ...]:
    """The effective schemas of a session that has just begun, as current_schemas(true) would tell.

    ALTER ROLE … IN DATABASE goes before ALTER ROLE, that before ALTER DATABASE, that before ALTER ROLE ALL.
    """
    order = [(user, True), (user, False), (None, True), (None, False)]
    found: Mapping[tuple[str | None, bool], str] = {(r, d is not None): value for r, d, value in roles.search_paths}
    written = next((found[key] for key in order if key in found), '"$user", public')
    names = [user if n == "$user" else n for n in _names(written)]
    path = [n for n in dict.fromkeys(names) if n in catalog.schemas or n == "pg_catalog"]
    return tuple(path if "pg_catalog" in path else ("pg_catalog", *path))


def _names(written: str) -> Sequence[str]:
    """Identifiers of a search_path setting: quoted ones as they stand, the others folded to lower case."""
    parts = [part.strip() for part in written.split(",")]
    return [p[1:-1].replace('""', '"') if p.startswith('"') else p.lower() for p in parts if p]
