"""Asking to see in clear: what a request has to be like, measured against the policy in force."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from policies.approvals import Target, offer, seconds_of, span, targets
from policies.dictionary import Classification
from policies.language import Approval, Policy, Selector
from policies.matching import Context
from policies.model import Profile
from policies.predicate import parse_predicate
from policies.rules import read_selector
from proxy.approvals import store
from proxy.session.effects import Asked
from rewrite.catalog import Catalog
from rewrite.expression import ExpressionError, is_plain, pin
from rewrite.plan import Refusal

REASON_MAX = 1000
"""Characters of a reason or note."""
COLUMNS_MAX = 2000
ROWS_MAX = 500
"""Characters of what says which columns and rows: each is compared with the whole catalog, while nobody else is served."""
NAMES_MAX = 50
"""Names, classes and levels in one request."""
DAILY_MAX = 500
"""Requests of one login and day; rows are never deleted, and every proxy reads them."""
_WORD_MAX = 100
PENDING_MAX = 50
"""Requests that one person may have waiting."""


class Denied(Exception):
    """The command is refused."""

    def __init__(self, sqlstate: str, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.refusal = Refusal(sqlstate, message, hint)


@dataclass(frozen=True, slots=True)
class Situation:
    """What a command is measured against."""

    policy: Policy
    classification: Classification
    catalog: Catalog
    context: Context
    profile: Profile


def new_request(here: Situation, asked: Asked, mine: Sequence[store.Request]) -> tuple[store.New, list[Approval]]:
    """What CALL veil.request or veil.break_glass asks for, and the offers of the policy that it falls under. `mine`: what the
    person has asked for before. Raises Denied."""
    context = here.context
    glass = asked.command.name == "break_glass"
    columns, reason, duration = (text(v) for v in asked.values[:3])
    rows = text(asked.values[3]) or None
    most = asked.values[4] if len(asked.values) > 4 else None
    if len(columns) > COLUMNS_MAX or len(rows or "") > ROWS_MAX or len(duration) > _WORD_MAX:
        raise Denied(
            "54000",
            f"the request is too long: at most {COLUMNS_MAX} characters say which columns, {ROWS_MAX} which rows",
            "ask for a class or a level, or make several requests",
        )
    wanted = _wanted(columns, here)
    offers = offers_to(here.policy, wanted, context.roles)
    if not reason.strip():
        raise Denied("22023", "a request needs a reason", "say what it is for, a case number for example")
    seconds = _duration(duration, offers, glass)
    if most is not None and (not isinstance(most, int) or most < 1):
        raise Denied("22023", "max_rows has to be at least 1")
    bound = min((o.max_rows for o in offers if o.max_rows is not None), default=None)
    if bound is not None and not glass and (most is None or most > bound):
        raise Denied("22023", f"the policy gives at most {bound} rows of these columns", f"ask for max_rows => {bound} or less")
    if rows is not None:
        _check_rows(rows, wanted, here)
    review = None
    if glass:
        review = _review(offers, context)
        if any(r.overdue for r in mine):
            raise Denied("42501", "an earlier break-glass of yours has not been reviewed in time", "ask an approver to do so")
    elif sum(r.status == "pending" for r in mine) >= PENDING_MAX:
        raise Denied("53400", f"you have {PENDING_MAX} requests waiting already", "revoke some of them")
    new = store.New(
        kind="glass" if glass else "columns",
        database=asked.identity.database,
        login=asked.identity.user,
        person=context.person,
        roles=context.roles & frozenset().union(*(a.requesters for a in here.policy.approvals)),
        attributes=compared(here.policy, context),
        targets=tuple(wanted),
        rows=rows,
        most=most,
        seconds=seconds,
        reason=reason[:REASON_MAX],
        review=review,
    )
    return new, offers


def text(value: str | int | None) -> str:
    return "" if value is None else str(value)


def offers_to(policy: Policy, wanted: Sequence[Target], roles: frozenset[str]) -> list[Approval]:
    """What the policy says of each column to somebody with these roles, each offer once. Raises Denied."""
    out: list[Approval] = []
    for target in wanted:
        found = offer(policy, target, roles)
        if found is None:
            raise Denied("42501", f"the policy offers you no approval for {target}", "SHOW veil.access says what you see of it")
        if found not in out:
            out.append(found)
    return out


def compared(policy: Policy, context: Context) -> Mapping[str, str]:
    """The person's attributes that approvals may depend on."""
    names = {name for a in policy.approvals for name in a.same}
    return {name: value for name, value in context.attributes.items() if name in names}


def _wanted(columns: str, here: Situation) -> list[Target]:
    """The sensitive columns that a list of names, classes or levels speaks of."""
    selectors = []
    parts = list(dict.fromkeys(_split(columns)))
    if len(parts) > NAMES_MAX:
        raise Denied("54000", f"a request names at most {NAMES_MAX} columns, classes and levels", "make several requests")
    for part in parts:
        selector = read_selector(part, here.policy.classes)
        if not isinstance(selector, Selector):
            raise Denied("22023", f"{selector[0]}, expected {selector[1]}")
        if not targets((selector,), here.classification, here.catalog.relations):
            raise Denied("22023", f"{part} is no sensitive column", "SHOW veil.access lists them")
        selectors.append(selector)
    if not selectors:
        raise Denied("22023", "a request needs columns", "name them as schema.table.column, with commas between")
    return targets(selectors, here.classification, here.catalog.relations)


def _split(columns: str) -> list[str]:
    """At commas that are not inside a quoted name."""
    parts, quoted = [""], False
    for ch in columns:
        quoted ^= ch == '"'
        if ch == "," and not quoted:
            parts.append("")
        else:
            parts[-1] += ch
    return [p.strip() for p in parts if p.strip()]


def _duration(written: str, offers: Sequence[Approval], glass: bool) -> float:
    seconds = seconds_of(written)
    if seconds is None:
        raise Denied("22023", f"the duration {written!r} cannot be read", "write it as '2 hours', '30 min' or '1 day'")
    limit = min((o.glass.max if glass and o.glass else o.max) for o in offers)
    if seconds > limit:
        raise Denied("22023", f"the policy gives these columns for {span(limit)} at most", "ask for less time")
    return seconds


def _check_rows(rows: str, wanted: Sequence[Target], here: Situation) -> None:
    """A predicate that can be carried out, and that tells the requester nothing of columns they may not see."""
    predicate = parse_predicate(rows)
    if isinstance(predicate, str):
        raise Denied("22023", f"the rows cannot be read: {predicate}")
    if predicate.attributes:
        raise Denied("22023", "the rows of a request cannot name :user attributes", "write the value out")
    if not is_plain(rows):
        raise Denied("22023", "the rows of a request compare columns with constants, and call nothing", "id = 42, for example")
    granted = {(t.schema, t.relation, t.column) for t in wanted}
    for schema, name in sorted({(t.schema, t.relation) for t in wanted}):
        relation = next(r for r in here.catalog.relations.values() if (r.schema, r.name) == (schema, name))
        try:
            pin(rows, {c.name: c.name for c in relation.columns})
        except ExpressionError as problem:
            raise Denied("22023", f"the rows cannot be told for {schema}.{name}: {problem}") from problem
        decisions = here.profile.decisions.get(relation.oid, {})
        for column in relation.columns:
            decision = decisions.get(column.attnum)
            hidden = decision is not None and not decision.is_clear and (schema, name, column.name) not in granted
            if hidden and column.name in predicate.names:
                raise Denied(
                    "42501",
                    f"the rows of a request cannot be chosen by {schema}.{name}.{column.name}, which you do not see",
                    "choose them by a key, or ask for that column too",
                )


def _review(offers: Sequence[Approval], context: Context) -> float:
    for found in offers:
        if found.glass is None or found.glass.roles.isdisjoint(context.roles):
            roles = " or ".join(sorted(found.glass.roles)) if found.glass is not None else "nobody"
            raise Denied("42501", f"break-glass for these columns is for {roles}", "CALL veil.request asks for approval")
    return min(found.glass.review for found in offers if found.glass is not None)
