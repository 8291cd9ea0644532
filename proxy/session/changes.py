"""What statements change in the session: noted when a statement is sent, settled when its end is reported.

Name resolution, settings that reading depends on, the catalog, and the names of SQL-level prepared statements. The bits
are those of `session.plans`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from proxy.session import expect, plans, pooling, probe
from proxy.session import state as st
from proxy.session.expect import Expected
from proxy.session.state import State
from proxy.session.statements import MIXED, Portal, Record
from rewrite.plan import Effect, Plan, Refusal, Resolution, Says, StatementPlan

_RESETS: Final = ("RESET", "DISCARD", "TRANSACTION")
"""They bring back what the server connection began with, which behind a pooler somebody else has said."""
_ALONE: Final = -1
"""In no batch: what had the name before a DECLARE counts until it has succeeded."""


def apply(s: State, entry: Expected, plan: Plan, bits: int, text: str, unreadable: Refusal | None = None) -> None:
    """Note what the statement may change, at the moment it is sent."""
    if plan.says is Says.LITTLE:
        s.quiet = True
    if bits & (plans.FIRES | plans.DDL):
        s.fires = True
        if bits == plans.FIRES:
            return
    if bits & (plans.PREPARES | plans.EXECUTES):
        prepares = []
        for index, statement in enumerate(plan.statements):
            if statement.prepared is None:
                continue
            slot = s.statements.slot(s.sql_name(statement.prepared))
            if statement.effects.value & plans.PREPARES:
                record = _record(s, entry, plan, bits, text, unreadable)
                slot.add(record)
                prepares.append((index, slot, record))
            elif statement.effects.value & plans.EXECUTES and slot.latest is not None:
                bits |= slot.latest.effects
            s.statements.tidy(slot)
        entry.prepares = tuple(prepares)
    if bits & plans.CLOSES:
        entry.closes = tuple((i, portal) for i, x in enumerate(plan.statements) for portal in _closed(s, x))
    if bits & plans.OPENS:
        opens = []
        for index, statement in enumerate(plan.statements):
            if statement.cursor is not None and statement.effects.value & plans.OPENS:
                record = _record(s, entry, plan, bits, text, unreadable)
                portal = s.statements.bind(s.sql_name(statement.cursor), record, record.stamp, s.view_stamp, _ALONE)
                portal.cursor = True
                portal.holds = statement.holds
                portal.era = s.era
                opens.append((index, portal))
        entry.opens = tuple(opens)
    if bits & plans.TAINTS:
        _taint(s, plan)
    if bits & plans.TRANSACTION_END:
        if s.dirty:
            s.set_resolution(None)
            s.gate |= st.UNSETTLED
        if s.tx_ddl:
            bits |= plans.DDL
    if bits & plans.RESOLUTION:
        s.set_resolution(None)
        s.dirty = True
        s.batch_dirty = entry.kind == expect.EXECUTE
    if bits & plans.SETTINGS:
        if s.pooled and any(x.kind.partition(" ")[0] not in _RESETS for x in plan.statements):
            s.renames = True
        s.gate |= st.UNSETTLED
        s.dirty = True
        s.batch_dirty = entry.kind == expect.EXECUTE
    if bits & plans.ASSERTS and s.assertable:
        s.gate |= st.ASSERTED
        s.asserting = True
        s.batch_dirty = s.batch_dirty or entry.kind == expect.EXECUTE
    if bits & plans.TRANSACTION_END and s.asserting:
        s.gate |= st.ASSERTED
    if bits & plans.DDL:
        s.tx_ddl = True
        if not bits & plans.RESOLUTION:  # types and functions of the open transaction are part of how names resolve
            s.set_resolution(None)
            s.dirty = True
            s.batch_dirty = entry.kind == expect.EXECUTE
        s.ddl_pending += 1
        s.gate |= st.DDL
    entry.changes = bits


def unsettles_person(s: State, plan: Plan) -> bool:
    """A statement of a query string may change for whom the session acts, in a way that its text does not show (the planner looks
    at those that do): the end of a transaction that has asserted something, or EXECUTE. Others stand behind it."""
    for statement in plan.statements[:-1]:
        if s.asserting and statement.effects.value & plans.TRANSACTION_END:
            return True
        if statement.prepared is not None and statement.effects.value & plans.EXECUTES:
            slot = s.statements.find(s.sql_name(statement.prepared))
            if slot is not None and any(r.effects & plans.ASSERTS for r in slot.candidates()):
                return True
    return False


def _closed(s: State, statement: StatementPlan) -> tuple[Portal, ...]:
    """What CLOSE or DISCARD closes of what there is now."""
    if statement.cursor is not None and statement.kind == "CLOSE":
        portal = s.statements.portals.get(s.sql_name(statement.cursor))
        return (portal,) if portal is not None else ()
    return tuple(s.statements.every_portal()) if statement.kind in ("CLOSE", "DISCARD") else ()


def _record(s: State, entry: Expected, plan: Plan, bits: int, text: str, unreadable: Refusal | None) -> Record:
    """What SQL's PREPARE or DECLARE has made of its text."""
    record = Record(text, plan.text if s.masked else text, plan, s.stamp, entry.kind == expect.EXECUTE, bits & ~plans.PREPARES)
    record.from_sql = True
    record.link = s.link
    if len(plan.statements) > 1 and bits & plans.RESOLUTION:
        record.tangled = True
        record.stamp = MIXED
    record.unreadable = unreadable
    record.standard_strings = s.standard_strings
    return record


def _taint(s: State, plan: Plan) -> None:
    """Masked values may be in temporary relations from now on; what was bound before to write may read them."""
    names = set()
    for statement in plan.statements:
        names |= set(statement.taints)
        if statement.prepared is not None and statement.effects.value & plans.EXECUTES:
            slot = s.statements.find(s.sql_name(statement.prepared))
            for record in slot.candidates() if slot is not None else ():
                names |= {name for x in record.plan.statements for name in x.taints}
    if not s.taint.add(names):
        return
    if s.resolution is not None:
        s.set_resolution(s.taint.mark(s.resolution))
    for portal in s.statements.every_portal():
        if portal.record is None or any(x.effects & Effect.WRITES for x in portal.record.plan.statements):
            portal.stamp = MIXED


def settle(s: State, head: Expected, tag: str) -> None:
    """A statement with changes has ended well; `tag` is its command tag."""
    changes = head.changes
    if changes & plans.PREPARES:
        for index, slot, record in head.prepares:
            if index == head.index:
                slot.confirm(record)
        head.prepares = tuple(p for p in head.prepares if p[0] != head.index)
    if changes & plans.DEALLOCATES:
        if tag in ("DEALLOCATE ALL", "DISCARD ALL"):
            s.statements.close_all()
        elif tag == "DEALLOCATE" and head.plan is not None and head.index < len(head.plan.statements):
            name = head.plan.statements[head.index].prepared
            found = s.statements.find(s.sql_name(name)) if name else None
            if found is not None:
                found.close()
                s.statements.tidy(found)
    if changes & plans.OPENS:
        for index, portal in head.opens:
            if index == head.index:
                portal.before = None
        head.opens = tuple(o for o in head.opens if o[0] != head.index)
    if changes & plans.CLOSES:
        for index, portal in head.closes:
            if index == head.index:
                s.statements.close_portal(portal)
    if changes & plans.DDL and head.kind == expect.EXECUTE:
        s.ddl_over(head, True)


def answered(s: State) -> bool:
    """The probe's answer is complete: take it over. False when it cannot be read."""
    answer = probe.read(bytes(s.probe_answer))
    s.probe_answer.clear()
    if answer is None:
        return False
    s.on_parameter(b"client_encoding", answer.encoding.encode("ascii", "replace"))
    if answer.standard_strings != s.standard_strings:
        s.on_parameter(b"standard_conforming_strings", b"on" if answer.standard_strings else b"off")
    strange = pooling.answered(s, answer)
    s.temp_oids |= set(answer.temporary.values()) - strange
    s.taint.probed({n: o for n, o in answer.temporary.items() if o not in strange}, answer.kin)
    s.held_cursors = answer.held
    if not s.numbered:
        answer = replace(answer, resolution=replace(answer.resolution, temp_schema=None))
    # What has changed since the question was sent may have changed the answer.
    resolution = s.taint.mark(_with_fresh(s, answer))
    if strange:
        resolution = replace(resolution, strange=frozenset(n for n, o in answer.temporary.items() if o in strange))
    s.set_resolution(resolution if s.probe_epoch == s.authority.epoch else None)
    s.gate &= ~st.UNSETTLED
    if s.assertable or s.gate & st.ASSERTED:
        s.on_asserted(answer.asserted)
    return True


def _with_fresh(s: State, answer: probe.Answer) -> Resolution:
    """The answer's resolution with the relations that the open transaction has made, renamed or altered.

    Those that others know are judged by what is known of them.
    """
    known = (s.view or s.refresh_view()).catalog.relations if s.masked else {}
    renamed = (f[:3] for f in answer.fresh if f[2] in known and f[:2] != (known[f[2]].schema, known[f[2]].name))
    answer = replace(
        answer, resolution=replace(answer.resolution, renamed=frozenset(renamed), altered=answer.altered.intersection(known))
    )
    s.altered = answer.resolution.altered
    made = [f for f in answer.fresh if f[2] not in known]
    tables = [f for f in made if f[3] in "rpSiIm"]
    if not made:
        return answer.resolution
    s.temp_oids.update(f[2] for f in tables)
    fresh = frozenset((schema, name) for schema, name, _, _ in tables)
    unread = frozenset((schema, name) for schema, name, _, _ in made) - fresh
    return replace(answer.resolution, fresh=fresh, unread=unread)
