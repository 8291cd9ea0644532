"""What may be left of the server's errors and notices in a masked session.

DETAIL, CONTEXT and internal queries carry row values ("Key (phone)=(138…) already exists", "Failing row contains (…)")
and texts we generated; RAISE carries whatever user code puts in. Severity, SQLSTATE, names of objects and the server's
own source position stay: clients depend on them, they hold no data. Positions are mapped back to the client's text.
Manual: protocol-error-fields.
"""

from __future__ import annotations

from typing import Final

from proxy.wire.codec import Fields
from rewrite.plan import Plan

WITHHELD: Final = b"message withheld by pgveil"
_DROPPED: Final = frozenset("DWqp")
_RAISED: Final = frozenset({b"exec_stmt_raise", b"exec_stmt_assert"})
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
    """The text was written by user code."""
    return field(fields, "R") in _RAISED or field(fields, "C").startswith((b"P0", b"38", b"39"))


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


def clean_error(fields: Fields, plan: Plan | None) -> Fields:
    raised = is_raised(fields)
    out = []
    for code, value in map_position(fields, plan):
        if code in _DROPPED or (raised and code == "H"):
            continue
        if raised and code == "M":
            value = _CLASSES.get(field(fields, "C")[:2], b"error") + b" (" + WITHHELD + b")"
        out.append((code, value))
    return tuple(out)


def clean_notice(fields: Fields, plan: Plan | None) -> Fields:
    raised = is_raised(fields)
    out = []
    for code, value in map_position(fields, plan):
        if code in _DROPPED or (raised and code == "H"):
            continue
        out.append((code, WITHHELD if raised and code == "M" else value))
    return tuple(out)
