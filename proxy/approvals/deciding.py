"""Deciding about a request that somebody has made: who may, and what comes of it. Each in one transaction of the store."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from policies.approvals import Vote, may_vote, missing_votes, span, vote_roles
from policies.language import Approval, Policy
from proxy.approvals import store
from proxy.approvals.asking import REASON_MAX, Denied, Situation, compared, offers_to

FINDINGS = ("justified", "unjustified")


async def decide(
    connection: asyncpg.Connection, verb: str, number: int, here: Situation, login: str, note: str, finding: str = ""
) -> tuple[store.Request, str]:
    """approve, reject, revoke or review a request; the request as it is then, and a sentence for the client. Raises Denied.

    Has to run inside a transaction of the connection.
    """
    request = await store.lock(connection, number)
    if request is None:
        raise Denied("22023", f"there is no request {number}", "SHOW veil.requests lists those that concern you")
    context = here.context
    offers = offers_now(here.policy, request)
    by = ballot(here)
    if verb != "revoke" or context.subject != request.subject:
        why = _none_may(offers, by, request)
        if why is not None:
            raise Denied("42501", f"request {number} is not for you to {verb}: {why}", "SHOW veil.requests says who may")
    if verb == "review":
        await _review(connection, request, finding)
        message = f"reviewed: {finding}"
    else:
        message = await _rule(connection, verb, request, offers, by)
    await store.vote(connection, number, verb, by, login, note[:REASON_MAX] or None)
    after = await store.lock(connection, number)
    assert after is not None
    return after, message


async def _rule(connection: asyncpg.Connection, verb: str, request: store.Request, offers: Sequence[Approval], by: Vote) -> str:
    possible = ("pending", "granted") if verb == "revoke" and request.kind != "policy" else ("pending",)
    if request.status not in possible:
        hint = "a grant in force can be revoked" if request.status == "granted" else None
        raise Denied("55000", f"request {request.id} is {request.status}", hint)
    if verb == "approve":
        missing = missing_votes(offers, (*request.votes, by), request.person, request.attributes)
        if missing:
            return "waits for " + "; ".join(missing)
        await store.settle(connection, request.id, "granted")
        if request.kind == "policy":
            return "the policy takes effect"
        return f"{request.person} sees the columns in clear for {span(request.seconds)}"
    await store.settle(connection, request.id, "rejected" if verb == "reject" else "revoked")
    return "rejected" if verb == "reject" else "nothing is shown by it any more"


async def _review(connection: asyncpg.Connection, request: store.Request, finding: str) -> None:
    if finding not in FINDINGS:
        raise Denied("22023", f"the finding is {' or '.join(FINDINGS)}, not {finding!r}")
    if request.kind != "glass":
        raise Denied("55000", f"request {request.id} is no break-glass")
    if request.reviewed is not None:
        raise Denied("55000", f"request {request.id} has been reviewed: {request.reviewed}")
    await store.review(connection, request.id, finding)


def ballot(here: Situation) -> Vote:
    """The word of the person who asks."""
    context, policy = here.context, here.policy
    changes = policy.changes.approvers if policy.changes is not None else frozenset[str]()
    approvers = changes.union(*(a.approvers for a in policy.approvals))
    return Vote(context.person, vote_roles(context.roles, context.own_roles, approvers), compared(policy, context))


def offers_now(policy: Policy, request: store.Request) -> list[Approval]:
    """Of a request that was made before; empty when one of its columns is not offered any more."""
    if request.kind == "policy":
        return [policy.changes.approval] if policy.changes is not None else []
    try:
        return offers_to(policy, request.targets, request.roles)
    except Denied:
        return []


def _none_may(offers: Sequence[Approval], by: Vote, request: store.Request) -> str | None:
    """None: the person may decide by at least one of the offers."""
    why = [may_vote(o, by, request.person, request.attributes) for o in offers]
    return None if None in why else next(iter(why), "the policy offers nothing for these columns any more")
