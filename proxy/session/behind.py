"""Which statements an EXECUTE, a FETCH or an Execute really runs: those that a name stands for, as far as it is known.

What counts and what is recorded is what they touch, not the word that runs them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from proxy.session import plans
from proxy.session.state import State
from proxy.session.statements import Portal
from rewrite.plan import Plan, StatementPlan, Touch

NAMES: Final = plans.EXECUTES | plans.FETCHES


def of(s: State, statement: StatementPlan) -> list[StatementPlan] | None:
    """The statement itself, or every statement that the name in it may stand for. None: nobody knows."""
    bits = statement.effects.value
    if bits & plans.FETCHES and statement.cursor is not None:
        portal = s.statements.portals.get(s.sql_name(statement.cursor))
        return of_portal(s, portal) if portal is not None else None
    if bits & plans.EXECUTES and statement.prepared is not None:
        slot = s.statements.find(s.sql_name(statement.prepared))
        return [
            made
            for record in (slot.candidates() if slot is not None else [])
            for made in record.plan.statements
            if not record.from_sql or made.prepared == statement.prepared
        ]
    return [statement]


def of_portal(s: State, portal: Portal) -> list[StatementPlan] | None:
    if portal.record is None:
        return None
    made = portal.record.plan.statements
    return [x for x in made if x.cursor is None or s.sql_name(x.cursor) == portal.name]


def told(s: State, plan: Plan, portal: Portal | None = None) -> Plan:
    """The plan as the auditor is to have it: with what is touched by the statements behind names. `portal`: of an Execute."""
    if portal is not None and portal.cursor:
        return replace(plan, statements=(_with(plan.statements[0], of_portal(s, portal)),), shareable=False)
    if not s.bits(plan) & NAMES:
        return plan
    return replace(plan, statements=tuple([_with(x, of(s, x)) for x in plan.statements]), shareable=False)


def _with(statement: StatementPlan, found: list[StatementPlan] | None) -> StatementPlan:
    touches: dict[Touch, None] = dict.fromkeys(statement.touches)
    for made in found or ():
        touches.update(dict.fromkeys(made.touches))
    return replace(statement, touches=tuple(touches)) if len(touches) != len(statement.touches) else statement
