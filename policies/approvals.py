"""Grants and approvals: who may ask to see what in clear, who has to agree, and what comes of it.

The policy says for which columns there can be grants at all. A request is measured against it when it is made, each approval when
it is given, and a grant whenever a profile is made from it: what the policy no longer offers, no grant shows. State (requests,
votes, grants in force) is kept elsewhere; this module is pure.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from policies.dictionary import Classification, Relations, listed
from policies.document import Entry, Section
from policies.keywords import DURATION, FLAG, TEXT, Key, mapping, several, some, whole
from policies.language import Approval, BreakGlass, DataClass, Policy, PolicyChanges, Rule, Selector, SelectorKind
from policies.model import Show
from policies.names import SYSTEM_SCHEMAS, Part, Pattern
from policies.predicate import Predicate
from policies.rules import SELECTOR, parse_selector

GLASS_KEYS = {
    "roles": Key("Who may: PostgreSQL roles.", several(TEXT), needed=True),
    "max": Key("For how long at most; as long as approvals without it.", DURATION),
    "review": Key("Within what time somebody has to look at it; a day without it.", DURATION),
}
APPROVAL_KEYS = {
    "columns": Key("Which sensitive columns, as in a rule.", some({"type": "string", "pattern": SELECTOR}), needed=True),
    "approvers": Key("Roles whose members may say yes.", some(TEXT), needed=True),
    "requesters": Key("Roles whose members may ask; everybody without it.", several(TEXT)),
    "same": Key("Attributes, such as branch, that approver and requester must have in common.", several(TEXT)),
    "need": Key("How many approvers it takes; 1 without it.", whole(1, 9)),
    "max": Key("For how long at most.", DURATION, needed=True),
    "max_rows": Key("A request has to name a number of rows, this one at most.", whole(1)),
    "asserted": Key("Whether roles that a trusted application asserts make approvers; false without it.", FLAG),
    "break_glass": Key("Who may see at once and answer for it later.", mapping(GLASS_KEYS)),
}
CHANGES_KEYS = {
    "approvers": Key("Roles whose members may say yes.", some(TEXT), needed=True),
    "need": Key("How many approvers it takes; 1 without it.", whole(1, 9)),
}
"""`policies.keywords` says how a key is added."""
APPROVAL = mapping(APPROVAL_KEYS)
GRANT = "grant "
"""Begins the name of the rule that a grant becomes: `grant 7`. No rule of a policy may be called so."""
_EVERY = Predicate("true", frozenset(), frozenset())
_DURATION = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z]+)\s*", re.I)
_UNITS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
}


def parse_approvals(entry: Entry, classes: Collection[str]) -> tuple[Approval, ...]:
    """The policy's `approvals`. Raises DocumentError."""
    return tuple(_approval(item, classes) for item in entry.items())


def parse_changes(section: Section) -> PolicyChanges:
    """The policy's `policy_changes`. Raises DocumentError."""
    section.only(CHANGES_KEYS)
    approvers = frozenset(section.require("approvers").strings())
    if not approvers:
        raise section.require("approvers").wrong("at least one role")
    return PolicyChanges(approvers, section.int("need", 1, 1, 9), section.entry.place)


def _approval(entry: Entry, classes: Collection[str]) -> Approval:
    section = entry.mapping(APPROVAL_KEYS)
    columns = tuple(parse_selector(e, classes) for e in section.require("columns").items_or_one())
    approvers = frozenset(section.require("approvers").strings())
    if not columns:
        raise section.require("columns").wrong("at least one column")
    if not approvers:
        raise section.require("approvers").wrong("at least one role")
    longest = section.require("max").duration()
    glass = section.section("break_glass", GLASS_KEYS)
    return Approval(
        columns=columns,
        approvers=approvers,
        requesters=frozenset(section.strings("requesters")),
        same=section.strings("same"),
        need=section.int("need", 1, 1, 9),
        max=longest,
        asserted=section.bool("asserted", False),
        max_rows=section.entries["max_rows"].int(1) if "max_rows" in section else None,
        glass=None
        if glass is None
        else BreakGlass(
            frozenset(glass.require("roles").strings()), glass.duration("max", longest), glass.duration("review", 86400.0)
        ),
        place=entry.place,
    )


def seconds_of(text: str) -> float | None:
    """Of `2 hours`, `30 min`, `1 day 12 h`; None when it cannot be read."""
    total, at = 0.0, 0
    while at < len(text):
        found = _DURATION.match(text, at)
        if found is None or found[2].lower() not in _UNITS:
            return None
        total += float(found[1]) * _UNITS[found[2].lower()]
        at = found.end()
    return total or None


_DAY, _HOUR, _MINUTE = 86400, 3600, 60


def span(seconds: float) -> str:
    """A duration in words: `1 day 2 h`."""
    whole, out = round(seconds), []
    for size, one, many in ((_DAY, "day", "days"), (_HOUR, "h", "h"), (_MINUTE, "min", "min"), (1, "s", "s")):
        count, whole = divmod(whole, size)
        if count:
            out.append(f"{count} {one if count == 1 else many}")
    return " ".join(out[:2]) or "0 s"


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """A sensitive column, and what it was when somebody asked for it."""

    schema: str
    relation: str
    column: str
    data_class: str
    level: str
    relation_oid: int = 0
    attnum: int = 0
    """Which one had the name then: another table or view that gets it later is not meant."""

    def __str__(self) -> str:
        return ".".join(_quoted(n) for n in (self.schema, self.relation, self.column))


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[^\s.\"*?\[,;=<>]+", name) else '"' + name.replace('"', '""') + '"'


def targets(selectors: Iterable[Selector], classification: Classification, relations: Relations) -> list[Target]:
    """The sensitive columns of ordinary relations that the selectors speak of."""
    chosen = tuple(selectors)
    out = []
    for relation in listed(relations):
        if relation.schema in SYSTEM_SCHEMAS:
            continue
        for column in relation.columns:
            classified = classification.columns.get((relation.oid, column.attnum))
            if classified is None:
                continue
            of = classified.data_class
            if any(s.selects(of, relation.schema, relation.name, column.name) for s in chosen):
                out.append(Target(relation.schema, relation.name, column.name, of.name, of.level, relation.oid, column.attnum))
    return sorted(out)


def offer(policy: Policy, target: Target, roles: Collection[str] | None = None) -> Approval | None:
    """What the policy says of requests for the column, from people with these roles; None: there can be none."""
    data_class = _class(policy, target)
    if data_class is None:
        return None
    for approval in policy.approvals:
        if roles is not None and approval.requesters and approval.requesters.isdisjoint(roles):
            continue
        if any(s.selects(data_class, target.schema, target.relation, target.column) for s in approval.columns):
            return approval
    return None


def _class(policy: Policy, target: Target) -> DataClass | None:
    try:
        return policy.data_class(target.data_class)
    except KeyError:
        return None


ASSERTED = "asserted:"


def vote_roles(roles: Collection[str], own: Collection[str], of: Collection[str]) -> frozenset[str]:
    """The roles among `of`, as votes have them; `own`: those that nobody has asserted."""
    return frozenset(r if r in own else ASSERTED + r for r in roles if r in of)


@dataclass(frozen=True, slots=True)
class Vote:
    person: str
    roles: frozenset[str]
    """Those of the person's roles, at that time, by which the policy lets people approve; behind ASSERTED those that a trusted
    application has asserted."""
    attributes: Mapping[str, str]
    """Those that the policy compares, at that time."""


def may_vote(approval: Approval, vote: Vote, requester: str, attributes: Mapping[str, str]) -> str | None:
    """None when the person may decide about the request under this offer, otherwise a sentence that says why not.

    `attributes`: the requester's, when it was made.
    """
    if same_person(vote.person, requester):
        return "nobody decides about a request of their own"
    roles = {r.removeprefix(ASSERTED) for r in vote.roles} if approval.asserted else vote.roles
    if approval.approvers.isdisjoint(roles):
        return f"it takes a member of {' or '.join(sorted(approval.approvers))}"
    for name in approval.same:
        if not attributes.get(name) or vote.attributes.get(name) != attributes[name]:
            return f"it takes somebody with the same {name}"
    return None


def same_person(one: str, other: str) -> bool:
    """Applications may write a name in more than one way. In doubt it is one person, who cannot be the second pair of eyes."""
    return _folded(one) == _folded(other)


def _folded(person: str) -> str:
    return unicodedata.normalize("NFKC", "".join(unicodedata.normalize("NFKC", person).split())).casefold()


def missing_votes(
    approvals: Iterable[Approval], votes: Sequence[Vote], requester: str, attributes: Mapping[str, str]
) -> list[str]:
    """What is still needed, in words; empty: the request is approved. Each person counts once for each offer."""
    out = []
    for approval in approvals:
        given = {_folded(v.person) for v in votes if may_vote(approval, v, requester, attributes) is None}
        if len(given) < approval.need:
            out.append(f"{approval.need - len(given)} more of {' or '.join(sorted(approval.approvers))}")
    return sorted(set(out))


@dataclass(frozen=True, slots=True)
class Grant:
    """An approved request that is in force: the person sees these columns in clear."""

    id: int
    person: str
    """As `policies.attributes.subject` says."""
    database: str
    targets: tuple[Target, ...]
    rows: Predicate | None
    until: float
    """Unix time."""
    left: int | None
    """Rows that may still be shown; None: any number."""
    glass: bool = False
    """Taken, not given."""

    @property
    def name(self) -> str:
        return f"{GRANT}{self.id}"


def rules_of(
    grants: Iterable[Grant], policy: Policy, classification: Classification, relations: Relations, now: float
) -> list[Rule]:
    """The grants that hold now as rules, which come before those of the policy.

    A column counts only as what it was when it was asked for: one that has got another class under the same name is another one,
    and so is that of another table under the same name.
    """
    holding = [g for g in grants if now < g.until and (g.left is None or g.left > 0)]
    if not holding:
        return []
    wanted = {(t.schema, t.relation, t.column) for g in holding for t in g.targets}
    today = {
        (t.schema, t.relation, t.column): t
        for t in targets((Selector("*", SelectorKind.ALL),), classification, relations)
        if (t.schema, t.relation, t.column) in wanted
    }
    out = []
    for grant in sorted(holding, key=lambda g: (g.left is not None, g.rows is not None, g.id)):
        columns = tuple(
            _exactly(t)
            for t in grant.targets
            if today.get((t.schema, t.relation, t.column)) == t and offer(policy, t) is not None
        )
        if columns:
            out.append(
                Rule(
                    name=grant.name, roles=frozenset(), users=frozenset(), databases=frozenset(), applications=(), networks=(),
                    tls=None,
                    schedule=None, claims=(), columns=columns, rows=_rows(grant), show=Show.CLEAR, mask=None, place="",
                )
            )  # fmt: skip
    return out


def _rows(grant: Grant) -> Predicate | None:
    """What holds for a number of rows is never simply clear: the columns stay protected, and each use of them is looked at."""
    return _EVERY if grant.rows is None and grant.left is not None else grant.rows


def _exactly(target: Target) -> Selector:
    parts = tuple(Part(name, True) for name in (target.schema, target.relation, target.column))
    return Selector(str(target), SelectorKind.NAME, pattern=Pattern(str(target), parts))
