"""What may be left of the server's errors and notices in a masked session.

DETAIL, CONTEXT and internal queries carry row values ("Key (phone)=(138…) already exists", "Failing row contains (…)")
and texts we generated. The message itself quotes values in two cases. User code wrote it (RAISE, plpy.error, elog): it may
say anything. Or the server wrote it about something that user code did (a trigger casts OLD.phone to int: "invalid input
syntax for type integer: "138…""); the context names the function then. Outside of functions the values a message quotes
are masked ones, or the client's own. What the server logs (LOG and DEBUG, sent to clients that lower client_min_messages)
holds plans and statements of functions. Severity, SQLSTATE, names of objects and the server's own source position stay:
clients depend on them, they hold no data. Positions are mapped back to the client's text.

About a statement that touches nothing protected everything is said, but what came out of code; and that too where the planner
has seen through all of it (`rewrite.spoken`). Not in a batch, behind a statement that does: what was deferred is checked at the
end of the transaction, which any Query may be. Manual: protocol-error-fields.
"""

from __future__ import annotations

import re
from typing import Final

from proxy.wire.codec import Fields
from rewrite.plan import Plan, Says

WITHHELD: Final = b"message withheld by pgveil"
_DROPPED: Final = frozenset("DWqp")
_RAISED: Final = frozenset({b"exec_stmt_raise", b"exec_stmt_assert"})
"""The server's own functions behind RAISE and ASSERT."""
_IN_CODE: Final = re.compile(rb"PL/|\bSQL\b|function |trigger ")
"""In the context: the message is about something that a function or trigger did, or another server. In every language that
PostgreSQL speaks, contexts of functions, and of the statements in them, name SQL or a PL."""
_SILENT: Final = (b"08", b"25", b"28", b"40", b"53", b"54", b"55", b"57", b"58", b"42501")
"""SQLSTATEs whose texts are about locks, limits, time-outs, rights: names of objects at most, also within functions."""
_CONSTRAINTS: Final = frozenset(
    b"_bt_check_unique check_exclusion_or_unique_constraint ExecConstraints ExecEvalConstraintCheck ri_ReportViolation".split()
)
"""The server's own functions that report violations: the message names the constraint and nothing else."""
_LOGGED: Final = frozenset({b"LOG", b"DEBUG", b"DEBUG1", b"DEBUG2", b"DEBUG3", b"DEBUG4", b"DEBUG5"})
_CLASSES: Final = {
    b"P0": b"PL/pgSQL error",
    b"21": b"cardinality violation",
    b"22": b"data exception",
    b"23": b"integrity constraint violation",
    b"38": b"external routine exception",
    b"39": b"external routine invocation exception",
    b"40": b"transaction rollback",
    b"42": b"syntax error or access rule violation",
    b"44": b"WITH CHECK OPTION violation",
}


def field(fields: Fields, code: str) -> bytes:
    """The first field of that code; empty when there is none."""
    for key, value in fields:
        if key == code:
            return value
    return b""


def is_raised(fields: Fields) -> bool:
    """The text was written by user code, or is about what user code did, or is a log line."""
    state = field(fields, "C")
    if field(fields, "R") in _RAISED or state.startswith((b"P0", b"38", b"39")):
        return True
    if (field(fields, "V") or field(fields, "S")) in _LOGGED:
        return True
    context = field(fields, "W")
    if context.startswith(b"COPY ") or state.startswith(_SILENT) or field(fields, "R") in _CONSTRAINTS:
        return False  # a COPY's context quotes the client's own line
    return _IN_CODE.search(context) is not None


def map_position(fields: Fields, plan: Plan | None) -> Fields:
    """P as a position in the client's own text; dropped where there is none."""
    if plan is None or not plan.edits:
        return fields
    out = []
    for code, value in fields:
        if code == "P":
            place = plan.client_position(int(value)) if value.isdigit() else None
            if place is None:
                continue
            value = b"%d" % place
        out.append((code, value))
    return tuple(out)


def _in_full(fields: Fields, plan: Plan | None, quiet: bool, raised: bool) -> bool:
    says = plan.says if plan is not None and not quiet else Says.LITTLE
    if says == Says.LITTLE or (field(fields, "V") or field(fields, "S")) in _LOGGED:
        return False
    return says == Says.ALL or not (raised or _IN_CODE.search(field(fields, "W")))


def clean_error(fields: Fields, plan: Plan | None, quiet: bool = False) -> Fields:
    raised = is_raised(fields)
    if _in_full(fields, plan, quiet, raised):
        return map_position(fields, plan)
    out = []
    for code, value in map_position(fields, plan):
        if code in _DROPPED or (raised and code == "H"):
            continue
        if raised and code == "M":
            value = _CLASSES.get(field(fields, "C")[:2], b"error") + b" (" + WITHHELD + b")"
        out.append((code, value))
    return tuple(out)


def clean_notice(fields: Fields, plan: Plan | None, quiet: bool = False) -> Fields:
    raised = is_raised(fields)
    if _in_full(fields, plan, quiet, raised):
        return map_position(fields, plan)
    out = []
    for code, value in map_position(fields, plan):
        if code in _DROPPED or (raised and code == "H"):
            continue
        out.append((code, WITHHELD if raised and code == "M" else value))
    return tuple(out)
