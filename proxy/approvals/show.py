"""What SHOW veil.access, SHOW veil.why and SHOW veil.requests say: rows for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from policies.approvals import Grant, Vote, may_vote, missing_votes
from policies.language import Policy
from policies.model import Branch, Decision, Profile, Show
from policies.names import SYSTEM_SCHEMAS
from proxy.approvals.deciding import offers_now
from proxy.approvals.store import Request
from rewrite.catalog import Catalog, Relation
from rewrite.plan import Plan

Row = tuple[str | int | None, ...]


def access(profile: Profile, catalog: Catalog, grants: Mapping[str, Grant]) -> list[Row]:
    """A line for each sensitive column (not of partitions that show the same as their table): what the session sees of it, by
    which rule, and until when that holds."""
    out: list[Row] = []
    for oid, columns in profile.decisions.items():
        relation = catalog.relations.get(oid)
        if relation is None or relation.schema in SYSTEM_SCHEMAS:
            continue
        names = {c.attnum: c.name for c in relation.columns}
        for attnum, decision in columns.items():
            if _like_a_parent(profile, catalog, relation, names.get(attnum, ""), decision):
                continue
            rules = [b.rule or "" for b in decision.branches]
            until = min((grants[r].until for r in rules if r in grants), default=None)
            out.append(
                (
                    f"{relation.schema}.{relation.name}.{names.get(attnum, '?')}", decision.data_class, decision.level,
                    seen(decision), "; ".join(dict.fromkeys(r or "class default" for r in rules)),
                    datetime.fromtimestamp(until, UTC).isoformat() if until is not None else None,
                )
            )  # fmt: skip
    return sorted(out, key=lambda row: str(row[0]))


def _like_a_parent(profile: Profile, catalog: Catalog, relation: Relation, name: str, decision: Decision) -> bool:
    """A partition or child table whose column shows as in its parent is not worth a line."""
    for oid in relation.parents:
        parent = catalog.relations.get(oid)
        column = next((c for c in parent.columns if c.name == name), None) if parent is not None else None
        above = profile.decisions.get(oid, {}).get(column.attnum) if column is not None else None
        if above is not None and above.branches == decision.branches:
            return True
    return False


def seen(decision: Decision) -> str:
    """`clear where branch = 'sh'; otherwise masked: keep …`."""
    parts = [f"{_shown(b)} where {b.rows}" if b.rows is not None else _shown(b) for b in decision.branches]
    filters = decision.filters.told()
    return "; otherwise ".join(parts) + (f"; {filters}" if filters else "")


def _shown(branch: Branch) -> str:
    if branch.show is Show.MASK and branch.mask is not None:
        return f"masked ({branch.mask.name})"
    return {Show.CLEAR: "clear", Show.MASK: "masked", Show.DENY: "denied"}[branch.show]


def why(last: Plan | None) -> list[Row]:
    """What the session's last statement did with sensitive columns; if it was refused, why."""
    if last is None:
        return [(None, None, None, None, "nothing has been asked in this session", None)]
    out: list[Row] = []
    if last.refusal is not None:
        text = f"refused ({last.refusal.sqlstate}): {last.refusal.message}"
        out.append((None, None, None, None, f"{text}; {last.refusal.hint}" if last.refusal.hint else text, None))
    for statement in last.statements:
        for t in statement.touches:
            out.append((f"{t.relation}.{t.column}", t.data_class, t.level, t.use, t.show, t.rule or "class default"))
    return out or [(None, None, None, None, "the last statement touched no sensitive column", None)]


def requests(found: Iterable[Request], policy: Policy, subject: str, by: Vote, database: str) -> list[Row]:
    """The person's own requests, and those that they may decide about, the newest first; of other databases with their names."""
    out: list[Row] = []
    for request in sorted(found, key=lambda r: -r.id):
        known = offers_now(policy, request)
        mine = request.subject == subject
        if not mine and not any(may_vote(o, by, request.person, request.attributes) is None for o in known):
            continue
        where = f" (database {request.database})" if request.targets and request.database != database else ""
        columns = ", ".join(map(str, request.targets)) or "policy"
        waits = None
        if request.status == "pending":
            waits = "; ".join(missing_votes(known, request.votes, request.person, request.attributes))
        elif request.to_review:
            waits = "review" + (", overdue" if request.overdue else "")
        out.append(
            (
                request.id, request.status + (f", {request.reviewed}" if request.reviewed else ""), request.subject or None,
                columns + where, request.rows, request.reason, request.made.isoformat(),
                request.until.isoformat() if request.until else None, request.left, waits,
                ", ".join(f"{b.vote.person} ({b.verdict})" for b in request.ballots) or None,
            )
        )  # fmt: skip
    return out
