"""The difference of two policies on a live server, or on the tables that they suppose."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from policies.attributes import ROLE
from policies.dictionary import Classification, classify
from policies.language import Policy
from policies.standards import called
from policies.trials import Situation
from proxy.config import Config
from proxy.control.catalog import CatalogReader
from proxy.control.people import People
from proxy.control.roles import Roles
from proxy.diff.compare import Found, Place, Side, compare, zone_of
from proxy.diff.report import Difference
from proxy.diff.sections import edits
from proxy.diff.situations import LeftOut, Subject, named_roles
from proxy.reading import connected, people_of, read_policy
from proxy.supervise import watched_databases
from proxy.supposed import suppose

ANYBODY = "(anybody else)"


def diff_live(config: Config, old: Sequence[Path], new: Sequence[Path], who: Sequence[Situation], now: float) -> Difference:
    """Of every login of the server, or of `who`. Raises PgveilError."""
    return asyncio.run(_diff_live(config, old, new, who, now))


async def _diff_live(
    config: Config, old: Sequence[Path], new: Sequence[Path], who: Sequence[Situation], now: float
) -> Difference:
    policies = read_policy(old), read_policy(new)
    people = [await people_of(config, policy) for policy in policies]
    left_out = LeftOut()
    found: list[Found] = []
    became: list[str] = []
    ceased: list[str] = []
    databases = watched_databases(config)
    members: Mapping[str, frozenset[str]] = {}
    logins = 0
    for database in databases:
        async with connected(config, database) as connection:
            read = await CatalogReader().read(connection)
        relations = read.catalog.relations
        sides = [Side(p, classify(p, relations), known) for p, known in zip(policies, people, strict=True)]
        place = Place(database, relations, read.roles.of, *sides)
        given = list(who) if who else [Situation(name) for name, r in read.roles.roles.items() if r.login and _asks(name, config)]
        subjects = _subjects(policies, given, read.roles, people)
        logins = len(given)
        members = {
            role: frozenset(n for n, r in read.roles.roles.items() if r.login and role in r.memberships and n != role)
            for role in named_roles(policies)
        }
        _unknown(policies, read.roles, left_out)
        found += compare(place, subjects, start_of_week(policies, now), left_out)
        more, less = _sensitive(place)
        became += more
        ceased += less
    if config.databases is None:
        left_out.add(f"databases other than {', '.join(databases)} (name them in `databases` of the configuration)")
    _always(policies, left_out)
    looked = f"{logins} logins, database {', '.join(databases)}"
    return Difference(
        _called(old), _called(new), tuple(edits(*policies)), tuple(became), tuple(ceased), tuple(found), members, looked,
        tuple(left_out.reasons),
    )  # fmt: skip


def diff_files(old: Sequence[Path], new: Sequence[Path], who: Sequence[Situation], now: float) -> Difference:
    """Of somebody with each role and each login that rules name, and of anybody else. Raises PgveilError."""
    policies = read_policy(old), read_policy(new)
    left_out = LeftOut()
    relations = list(suppose(policies, {}, more=True).values())
    sides = [Side(policy, classify(policy, relations), {}) for policy in policies]
    place = Place("", relations, lambda role: frozenset({role}), *sides)
    subjects = [_supposed_subject(policies, one) for one in (who or _supposed(policies))]
    found = compare(place, subjects, start_of_week(policies, now), left_out)
    became, ceased = _sensitive(place)
    patterns = {e.pattern.source for p in policies for e in p.entries if e.pattern.wildcards}
    if patterns:
        left_out.add(f"columns that only lines with wildcards name ({', '.join(sorted(patterns)[:5])}): they need a server (-c)")
    left_out.add("people with several roles, and the columns and types that tables really have: they need a server (-c)")
    _always(policies, left_out)
    looked = f"{len(subjects)} kinds of login, {sum(len(r.columns) for r in relations)} columns that the policies name"
    return Difference(
        _called(old), _called(new), tuple(edits(*policies)), tuple(became), tuple(ceased), tuple(found), {}, looked,
        tuple(left_out.reasons),
    )  # fmt: skip


def start_of_week(policies: Sequence[Policy], now: float) -> float:
    """Next Monday, so that what is found does not depend on the hour at which somebody looks."""
    zone = ZoneInfo(zone_of(policies))
    today = datetime.fromtimestamp(now, zone).replace(hour=0, minute=0, second=0, microsecond=0)
    return (today + timedelta(days=7 - today.weekday())).timestamp()


def _asks(name: str, config: Config) -> bool:
    return name != config.control.user


def _called(paths: Sequence[Path]) -> str:
    return ", ".join(called(p) for p in paths)


def _supposed(policies: Sequence[Policy]) -> list[Situation]:
    users = sorted({u for p in policies for r in p.rules for u in r.users} | {u for p in policies for u in p.attributes.trusted})
    roles = sorted(named_roles(policies))
    return [
        Situation(ANYBODY),
        *(Situation(f"(a member of {role})", frozenset({role})) for role in roles),
        *(Situation(user) for user in users),
    ]


def _subjects(policies: Sequence[Policy], given: Sequence[Situation], roles: Roles, people: Sequence[People]) -> list[Subject]:
    """Logins that no rule tells apart, together."""
    wanted = named_roles(policies)
    users = {u for p in policies for r in p.rules for u in r.users}
    named = _named_attributes(policies)
    kinds: dict[tuple[object, ...], list[Situation]] = defaultdict(list)
    for one in given:
        name = one.user
        mine = frozenset().union(roles.of(name), one.roles, *(roles.of(r) for r in one.roles)) & wanted
        free = frozenset().union(*(p.attributes.assertable(name) for p in policies))
        known = tuple(tuple(sorted((k, v) for k, v in table.get(name, {}).items() if k in named)) for table in people)
        limits = tuple(x.name for p in policies for x in p.limits if name in x.users)
        kinds[mine, name if name in users else "", free, known, limits].append(one)
    return [
        Subject(tuple(sorted({s.user for s in kind})), mine, kind[0], _free(policies, free), free)
        for (mine, _, free, _, _), kind in kinds.items()
        if isinstance(mine, frozenset) and isinstance(free, frozenset)
    ]


def _supposed_subject(policies: Sequence[Policy], one: Situation) -> Subject:
    """Of whose attributes in the table of users nothing is known."""
    assertable = frozenset().union(*(p.attributes.assertable(one.user) for p in policies))
    named = _named_attributes(policies)
    tables = [p.attributes.table for p in policies if p.attributes.table is not None]
    known = frozenset().union(*(t.names if t.names is not None else named for t in tables))
    return Subject((one.user,), one.roles, one, known | assertable, assertable, any_database=True)


def _free(policies: Sequence[Policy], assertable: frozenset[str]) -> frozenset[str]:
    """What a session may choose: what it asserts, and through the person it acts for, what is known of that one."""
    out = set(assertable)
    for policy in policies:
        table = policy.attributes.table
        if table is not None and table.on_behalf in assertable:
            out |= table.names if table.names is not None else _named_attributes(policies)
    return frozenset(out)


def _named_attributes(policies: Sequence[Policy]) -> frozenset[str]:
    rules = [r for p in policies for r in p.rules]
    claims = {name for r in rules for name, _ in r.claims}
    return frozenset(claims.union(*(r.rows.attributes for r in rules if r.rows is not None)) - {ROLE})


def _unknown(policies: Sequence[Policy], roles: Roles, left_out: LeftOut) -> None:
    rules = [r for p in policies for r in p.rules]
    missing = sorted({name for r in rules for name in r.roles | r.users} - roles.names)
    if missing:
        left_out.add(f"roles and logins that the server does not have: {', '.join(missing)}")


def _always(policies: Sequence[Policy], left_out: LeftOut) -> None:
    if any(p.approvals for p in policies):
        left_out.add("grants in force, and who may be granted what")
    if any(p.limits for p in policies):
        left_out.add("how often and how much somebody may see (`limits`)")


def _sensitive(place: Place) -> tuple[list[str], list[str]]:
    """Columns that are sensitive under one of the policies only."""
    names = place.names()
    old, new = place.old.classification, place.new.classification
    prefix = f"{place.name}: " if place.name else ""
    return _beyond(new, old, names, prefix), _beyond(old, new, names, prefix)


def _beyond(one: Classification, other: Classification, names: Mapping[tuple[int, int], str], prefix: str) -> list[str]:
    return sorted(
        f"{prefix}{names[c]} (class {found.data_class.name}, level {found.data_class.level})"
        for c in one
        if c not in other and (found := one.get(c)) is not None and c in names
    )
