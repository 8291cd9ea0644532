"""Where the three packages meet: the policy and the planners, as the control plane hands them to sessions."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from policies.decide import Context, compile_profile
from policies.dictionary import Classification, classify
from policies.language import Policy
from policies.load import load_policy
from policies.model import Profile
from proxy.session.effects import Identity
from rewrite import system
from rewrite.catalog import Relation
from rewrite.plan import Plan, PlanContext
from rewrite.planner import Planner


class PolicyEngine:
    """The policy package behind `proxy.control.plane.Engine`."""

    def load(self, paths: Sequence[Path]) -> Policy:
        """Raises DocumentError, which names file and line."""
        system.rules()  # read in the thread that loads, not while sessions wait
        return load_policy(paths)

    def classify(self, policy: Policy, relations: Mapping[int, Relation], before: Classification | None = None) -> Classification:
        return classify(policy, relations, before)

    def profile(
        self,
        policy: Policy,
        classification: Classification,
        relations: Mapping[int, Relation],
        identity: Identity,
        roles: frozenset[str],
        now: float,
    ) -> Profile:
        return compile_profile(policy, classification, relations, context_of(identity, roles, now))


def context_of(identity: Identity, roles: frozenset[str], now: float) -> Context:
    """What the rules may ask about a session."""
    return Context(
        user=identity.user,
        roles=roles | {identity.user},
        database=identity.database,
        application_name=identity.application_name,
        client_address=identity.client_address or None,
        now=now,
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
    def misses(self) -> int:
        return sum(planner.misses for planner in self._made)
