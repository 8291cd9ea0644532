"""Where the three packages meet: the policy and the planners, as the control plane hands them to sessions."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from policies.approvals import Grant
from policies.attributes import UserTable, person, subject
from policies.decide import Context, compile_profile, failed_profile
from policies.dictionary import Classification, classify
from policies.language import Policy
from policies.load import load_policy, load_texts
from policies.model import Profile
from proxy.session.effects import Identity
from rewrite import system
from rewrite.catalog import Relation
from rewrite.plan import Plan, PlanContext
from rewrite.planner import Planner

People = Mapping[str, Mapping[str, str]]
"""Attributes of logins, by login and name."""
NOBODY: People = {}
Granted = Callable[[str, str], tuple[Grant, ...]]
"""Of a person, in a database."""


def no_grants(person: str, database: str) -> tuple[Grant, ...]:
    return ()


class PolicyEngine:
    """The policy package behind `proxy.control.picture.Engine`."""

    def load(self, paths: Sequence[Path]) -> Policy:
        """Raises DocumentError, which names file and line."""
        system.rules()  # read in the thread that loads, not while sessions wait
        return load_policy(paths)

    def load_texts(self, texts: Sequence[tuple[str, str]]) -> Policy:
        return load_texts(texts)

    def classify(self, policy: Policy, relations: Mapping[int, Relation], before: Classification | None = None) -> Classification:
        return classify(policy, relations, before)

    def profile(
        self,
        policy: Policy,
        classification: Classification,
        relations: Mapping[int, Relation],
        identity: Identity,
        roles: Callable[[str], frozenset[str]],
        now: float,
        people: People = NOBODY,
        grants: Granted = no_grants,
    ) -> tuple[Profile, frozenset[str]]:
        """Profile, and all roles that count."""
        context = context_of(policy, identity, roles, now, people, grants)
        return compile_profile(policy, classification, relations, context), context.roles

    def context(
        self, policy: Policy, identity: Identity, roles: Callable[[str], frozenset[str]], people: People, grants: Granted
    ) -> Context:
        return context_of(policy, identity, roles, time.time(), people, grants)

    def broken_profile(self, policy: Policy, identity: Identity, now: float) -> Profile | None:
        return failed_profile(policy, identity.user, now)

    def people_table(self, policy: Policy) -> UserTable | None:
        return policy.attributes.table


def context_of(
    policy: Policy,
    identity: Identity,
    roles: Callable[[str], frozenset[str]],
    now: float,
    people: People = NOBODY,
    grants: Granted = no_grants,
) -> Context:
    """What the rules may ask about a session. `roles`: whom a role counts as; `people`: the table of users."""
    assertable = policy.attributes.assertable(identity.user)
    asserted = {name: value for name, value in identity.asserted if name in assertable}
    known = person(policy.attributes, people, identity.user, asserted)
    who = subject(policy.attributes, identity.user, known.name)
    own = roles(identity.user) | {identity.user}
    return Context(
        user=identity.user,
        roles=own.union(*(roles(r) | {r} for r in known.roles)),
        database=identity.database,
        application_name=identity.application_name,
        client_address=identity.client_address or None,
        tls=identity.tls,
        now=now,
        attributes=known.attributes,
        assertable=assertable,
        spent=identity.spent,
        commented=assertable & policy.attributes.comments,
        person=known.name,
        subject=who,
        own_roles=own,
        grants=grants(who, identity.database),
    )


class TimedPlanner(Planner):
    """A planner that tells how long each plan took that was not in its cache."""

    def __init__(self, observe: Callable[[float], None]) -> None:
        super().__init__()
        self._observe = observe

    def _plan(self, text: str, context: PlanContext) -> Plan:
        """Only what the cache does not know comes here, so that a hit costs nothing more."""
        began = time.perf_counter()
        plan = super()._plan(text, context)
        self._observe(time.perf_counter() - began)
        return plan

    def keep(self, text: str, context: PlanContext, plan: Plan, seconds: float) -> None:
        super().keep(text, context, plan, seconds)
        self._observe(seconds)


class Planners:
    """Makes planners and adds up their numbers. Databases come and go, but planners are few, so they are kept."""

    def __init__(self, observe: Callable[[float], None] = lambda seconds: None) -> None:
        self._observe = observe
        self._made: list[TimedPlanner] = []

    def make(self) -> TimedPlanner:
        planner = TimedPlanner(self._observe)
        self._made.append(planner)
        return planner

    @property
    def hits(self) -> int:
        return sum(planner.hits for planner in self._made)

    @property
    def weight(self) -> int:
        """Bytes of all that is kept, as far as they can be told."""
        return sum(planner.weight for planner in self._made)

    @property
    def misses(self) -> int:
        return sum(planner.misses for planner in self._made)
