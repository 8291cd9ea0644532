"""The policy package behind the control plane's `Engine`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from policies.decide import Context, compile_profile
from policies.dictionary import Classification, classify
from policies.language import Policy
from policies.load import load_policy
from policies.model import Profile
from proxy.session.effects import Identity
from rewrite.catalog import Relation


class PolicyEngine:
    """Stateless; `attributes` of users come with the attribute sources, until then none are known."""

    def load(self, paths: Sequence[Path]) -> Policy:
        return load_policy(paths)

    def classify(self, policy: Policy, relations: Mapping[int, Relation]) -> Classification:
        return classify(policy, relations)

    def profile(
        self,
        policy: Policy,
        classification: Classification,
        relations: Mapping[int, Relation],
        identity: Identity,
        roles: frozenset[str],
        now: float,
    ) -> Profile:
        context = Context(
            user=identity.user,
            roles=roles,
            database=identity.database,
            application_name=identity.application_name,
            client_address=identity.client_address or None,
            now=now,
        )
        return compile_profile(policy, classification, relations, context)
