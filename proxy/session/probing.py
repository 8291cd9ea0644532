"""`filters: equality`: every distinct value that is looked for in a masked column is counted before the statement runs.

The plan says which constants of the text and which parameters are compared with stored values (`Plan.probes`). Those of a Query
are counted when it comes, those of a prepared statement with each Bind or EXECUTE, literals and parameters alike. What cannot be
read with certainty is refused: what is not counted must not be asked.

SQLSTATE of a used-up budget is 53400 (configuration_limit_exceeded), as PostgreSQL has it for temp_file_limit: nothing is wrong
with the statement or with who sends it, and later it works.
"""

from __future__ import annotations

import math
import time
from typing import Final

from policies.filters import canonical, elements
from proxy.session import plans
from proxy.session.parameters import (
    INTEGERS,
    MOST,
    NUMERIC,
    TEXTS,
    UNKNOWN,
    Uncertain,
    array_of,
    declared,
    given,
    scalar,
    text_of,
    written,
)  # fmt: skip
from proxy.session.state import State
from proxy.session.statements import Record, Slot
from rewrite.plan import Plan, Probe, Refusal, Value

_SCALARS: Final = {"text": TEXTS, "number": INTEGERS | {NUMERIC}, "date": frozenset({1082}), "uuid": frozenset({2950})}
_ARRAYS: Final = {
    "text": frozenset({1009, 1014, 1015}),
    "number": frozenset({1005, 1007, 1016, 1231}),
    "date": frozenset({1182}),
    "uuid": frozenset({2951}),
}
_OIDS: Final = {
    "text": 25, "varchar": 1043, "bpchar": 1042, "int2": 21, "int4": 23, "int8": 20, "numeric": 1700, "date": 1082, "uuid": 2950,
}  # fmt: skip


def of_query(s: State, plan: Plan) -> Refusal | None:
    """The literals of a text that is about to run, and what it executes. None: it may."""
    if plan.probes and (refusal := _within(s, plan.probes, [])) is not None:
        return refusal
    return of_executes(s, plan) if s.bits(plan) & plans.EXECUTES else None


def of_bind(s: State, slot: Slot) -> Refusal | None:
    """The values for every statement that the current Bind may mean. Had the latest one of its own batch failed, the server would
    skip the Bind; one of an earlier batch may fail and leave what had the name before."""
    records = slot.candidates() if slot.batch != s.batch else [slot.latest] if slot.latest is not None else []
    for record in records:
        if record.plan.probes and (refusal := _of_bind(s, record)) is not None:
            return refusal
    return None


def _of_bind(s: State, record: Record) -> Refusal | None:
    probes = record.plan.probes
    bound: list[tuple[int, bytes | None]] = []
    if any(v.parameter for p in probes for v in p.values):
        found = given(s)
        if found is None:
            return Refusal("0A000", "the parameters are too long to be counted", "Bind fewer bytes at once.")
        bound = found
    try:
        values = [_of_parameter(s, p, v, record.types, bound) for p in probes for v in p.values if v.parameter]
    except Uncertain as error:
        return error.refusal
    return _within(s, probes, values)


def of_executes(s: State, plan: Plan) -> Refusal | None:
    """The EXECUTE statements of a text: whatever may have the name counts."""
    for statement in plan.statements:
        name = statement.prepared
        if name is None or not statement.effects.value & plans.EXECUTES:
            continue
        slot = s.statements.find(s.sql_name(name))
        records = slot.candidates() if slot is not None else []
        wanted = [_made(plan, name), *(_made(r.plan, name) if r.from_sql else r.plan.probes for r in records)]
        for probes in wanted:
            if probes and (refusal := _of_execute(s, probes, statement.arguments)) is not None:
                return refusal
    return None


def _made(plan: Plan, name: str) -> tuple[Probe, ...]:
    """What the statement compares that SQL's PREPARE in the text has given the name."""
    return tuple([p for p in plan.probes if plan.statements[p.statement].prepared == name])


def _of_execute(s: State, probes: tuple[Probe, ...], arguments: tuple[Value | None, ...]) -> Refusal | None:
    found = []
    for p in probes:
        for v in p.values:
            if not v.parameter or v.parameter > len(arguments):
                continue
            argument = arguments[v.parameter - 1]
            if argument is None:
                return Refusal(
                    "0A000",
                    f"what EXECUTE gives to parameter ${v.parameter} is compared with stored values of {p.column}: it has to "
                    "be a constant",
                    "Write the value itself instead of an expression.",
                )
            found.append((p, Value(argument.text, 0, v.many, v.cast, v.type or "execute")))
    return _within(s, probes, found)


def _within(s: State, probes: tuple[Probe, ...], more: list[tuple[Probe, Value]]) -> Refusal | None:
    """Count the literals of the probes and the values besides."""
    wanted: dict[str, tuple[int, list[str]]] = {}
    try:
        for p in probes:
            out = wanted.setdefault(p.column, (p.limit, []))[1]
            for v in p.values:
                if not v.parameter:
                    out += _forms(p, v)
        for p, v in more:
            wanted.setdefault(p.column, (p.limit, []))[1].extend(_forms(p, v))
    except Uncertain as error:
        return error.refusal
    view = s.view or s.refresh_view()
    person = view.profile.person
    now = s.options.clock()
    for column, (limit, values) in wanted.items():
        if not values:
            continue
        if s.options.probes is None:
            return Refusal("53400", f"look-ups by the stored values of {column} cannot be counted", "Leave the condition out.")
        until = s.options.probes.spend(person, f"{s.identity.database}\0{column}", values, limit, now)
        if until is not None:
            return _used_up(s, person, column, limit, len(set(values)), until)
    return None


def _used_up(s: State, person: str, column: str, limit: int, count: int, until: float) -> Refusal:
    ends = "" if until == math.inf else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(math.ceil(until)))
    fields: dict[str, str | int | bool] = {
        "sid": s.sid, "person": person, "column": column, "limit": limit, "values": count, "until": ends,
    }  # fmt: skip
    s.audit.event("probing_budget_exceeded", fields)
    s.evidence = True
    if until == math.inf:
        hint = f"Look for at most {limit} values at once." if limit else "Leave the condition out."
    else:
        hint = f"What has been looked for within the hour costs nothing; what is new is possible again from {ends} on."
    return Refusal(
        "53400",
        f"probing budget of column {column} exceeded: in an hour {limit} different values may be looked for",
        hint,
    )


def _forms(p: Probe, v: Value) -> list[str]:
    """What is counted of a value. A cast may make another value of the same text."""
    if v.text is None:
        return []
    members: list[str | None] | None = [v.text]
    if v.many:
        members = elements(v.text)
        if members is None:
            raise Uncertain(f"an array that is compared with stored values of {p.column} cannot be read", "Use a plain array.")
    out = []
    for member in members or ():
        if member is None:
            continue
        form = canonical(p.family, member)
        if form is None:
            raise Uncertain(f"a value that is compared with stored values of {p.column} is not written plainly")
        out.append(f"{v.cast}\0{v.type}\0{form}" if _depends_on_type(p, v, form) else form)
    return out


def _depends_on_type(p: Probe, v: Value, form: str) -> bool:
    """A length, a type without fractions, or char, which knows no blanks at the end, makes another value of the same text."""
    if "(" in v.cast:
        return True
    return "e-" in form if p.family == "number" else p.family == "text" and form.endswith(" ")


# -- parameters -----------------------------------------------------------------------------------------------------------


def _of_parameter(s: State, p: Probe, v: Value, types: bytes, bound: list[tuple[int, bytes | None]]) -> tuple[Probe, Value]:
    """The value of a parameter as a literal. Raises Uncertain."""
    oid = declared(types, v.parameter)
    if oid in (0, UNKNOWN):
        if not v.certain:
            raise _untyped(p, v)
        oid = 0
    elif oid not in (_ARRAYS if v.many else _SCALARS)[p.family]:
        raise _untyped(p, v)
    if v.parameter > len(bound):
        return p, Value()  # the server will miss it
    form, data = bound[v.parameter - 1]
    if data is None:
        return p, Value()
    if len(data) > MOST:
        raise Uncertain(f"parameter ${v.parameter} is too long to be counted")
    type_ = v.type or str(oid)
    if form == 0:
        return p, Value(text_of(s, data, v.parameter), 0, v.many, v.cast, type_)
    if form != 1:
        return p, Value()  # the server will refuse it
    if v.many:
        return p, Value(written(array_of(s, _SCALARS[p.family], data, v.parameter)), 0, True, v.cast, type_)
    bare = (v.type or v.cast).removeprefix("pg_catalog.").partition("(")[0]
    of = oid or _OIDS[bare or p.base_type]
    return p, Value(scalar(s, of, data, v.parameter), 0, False, v.cast, type_)


def _untyped(p: Probe, v: Value) -> Uncertain:
    kind = {"text": "text", "number": "bigint or numeric"}.get(p.family, p.family)
    return Uncertain(
        f"parameter ${v.parameter} is compared with stored values of {p.column}, and its type is not certain",
        f"Give it the type {kind}{'[]' if v.many else ''}, and use another parameter elsewhere in the statement.",
    )
