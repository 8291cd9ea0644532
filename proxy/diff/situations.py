"""Who has to be looked at, and under which conditions: every login of the server, in all situations that rules tell apart.

A rule can ask for application, network, attributes and time. For each login the values that the rules for it name are tried,
beside one that none of them names, in all combinations where these are few, else rule by rule; times at every moment of a week at
which a schedule changes its answer.
"""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from policies.attributes import ROLE
from policies.language import ANY, Policy, Rule
from policies.trials import Situation
from proxy.whatif import moments

MOST = 400
"""Combinations of conditions for one kind of login, times apart."""
CLIENT = ("application_name", "network", "tls", "database")
"""Conditions that are no attributes."""
SOME = "‹any›"
"""A value of an attribute where any will do, or where rows decide."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Logins whom no rule of either policy tells apart."""

    logins: tuple[str, ...]
    roles: frozenset[str]
    """All that they are members of and rules name."""
    situation: Situation
    free: frozenset[str]
    """Attributes that may have any value: asserted, or of a person who is not known."""
    assertable: frozenset[str] = frozenset()
    """Those of them that it may assert under one of the policies; the others are as the table of users has them."""
    any_database: bool = False


@dataclass(frozen=True, slots=True)
class Circumstance:
    """A situation of a subject, in words: dimension and value, of those that rules ask for."""

    situation: Situation
    now: float
    said: tuple[tuple[str, str], ...]


@dataclass
class LeftOut:
    """What was not looked at."""

    reasons: list[str] = field(default_factory=list)

    def add(self, reason: str) -> None:
        if reason not in self.reasons:
            self.reasons.append(reason)


def named_roles(policies: Sequence[Policy]) -> frozenset[str]:
    rules = [rule for policy in policies for rule in policy.rules]
    return frozenset().union(*(rule.roles for rule in rules))


def circumstances(policies: Sequence[Policy], subject: Subject, now: float, left_out: LeftOut) -> list[Circumstance]:
    times = sorted({t for policy in policies for t in moments(policy, now)})
    relevant = [rule for policy in policies for rule in policy.rules if _may_meet(rule, subject)]
    axes = _axes(relevant, subject)
    size = 1
    for values in axes.values():
        size *= len(values)
    if size <= MOST:
        chosen = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    else:
        left_out.add(f"combinations of more conditions than one rule has ({size} for {subject.logins[0]})")
        chosen = list(_rule_by_rule(axes, relevant))
    return [
        Circumstance(_applied(subject, values), at, tuple((k, v) for k, v in values.items()))
        for values in chosen
        for at in (times if any(r.schedule is not None for r in relevant) else times[:1])
    ]


def _may_meet(rule: Rule, subject: Subject) -> bool:
    """Some session of the login may be one that the rule speaks of."""
    if rule.users and subject.situation.user not in rule.users:
        return False
    return not rule.roles or not rule.roles.isdisjoint(subject.roles) or ROLE in subject.free


def _axes(rules: Sequence[Rule], subject: Subject) -> dict[str, list[str]]:
    """What is tried of each condition; the empty text is a value that no rule names."""
    axes: dict[str, list[str]] = {}

    def add(name: str, value: str) -> None:
        values = axes.setdefault(name, [""])
        if value not in values:
            values.append(value)

    for rule in rules:
        for pattern in rule.applications:
            add("application_name", pattern)
        for network in rule.networks:
            add("network", str(network))
        if rule.tls is not None:
            add("tls", "true")
        for database in sorted(rule.databases) if subject.any_database else ():
            add("database", database)
        for name, values in rule.claims:
            for value in sorted(values) if name in subject.free else ():
                add(name, SOME if value == ANY else value)
        for name in sorted(rule.rows.attributes) if rule.rows is not None else ():
            if name in subject.free:
                add(name, SOME)
        if rule.roles and ROLE in subject.free:
            for role in sorted(rule.roles):
                add(ROLE, role)
    return axes


def _rule_by_rule(axes: Mapping[str, list[str]], rules: Sequence[Rule]) -> Iterator[dict[str, str]]:
    """None of the conditions, and for each rule all in which it holds."""
    none = dict.fromkeys(axes, "")
    seen = [none]
    yield none
    for rule in rules:
        mine: dict[str, list[str]] = {
            "application_name": list(rule.applications),
            "network": [str(network) for network in rule.networks],
            "tls": ["true" if rule.tls else ""] if rule.tls is not None else [],
            "database": sorted(rule.databases),
            ROLE: sorted(rule.roles),
            **{name: [SOME if v == ANY else v for v in sorted(values)] for name, values in rule.claims},
        }
        for name in rule.rows.attributes if rule.rows is not None else ():
            mine.setdefault(name, [SOME])
        used = {name: values for name, values in mine.items() if values and name in axes}
        for chosen in itertools.islice(itertools.product(*used.values()), MOST):
            values = {**none, **dict(zip(used, chosen, strict=True))}
            if values not in seen:
                seen.append(values)
                yield values


def _example(pattern: str) -> str:
    """A name that the pattern matches."""
    return re.sub(r"\[!?([^\]]+)\]", lambda found: found[1][0], pattern).replace("*", "x").replace("?", "x")


def _applied(subject: Subject, values: Mapping[str, str]) -> Situation:
    network = values.get("network", "")
    chosen = {k: v for k, v in values.items() if k not in CLIENT and v}
    asserted = {k: v for k, v in chosen.items() if k in subject.assertable}
    return replace(
        subject.situation,
        application_name=_example(values.get("application_name", "")),
        database=values.get("database") or subject.situation.database,
        tls=bool(values.get("tls")),
        address=str(ipaddress.ip_network(network)[0]) if network else "",
        attributes={**subject.situation.attributes, **{k: v for k, v in chosen.items() if k not in asserted}},
        asserted={**subject.situation.asserted, **asserted},
    )
