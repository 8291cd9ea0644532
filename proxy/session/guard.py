"""The last look before rows leave: does a result column come unchanged from a column that is masked for this session?

RowDescription names the relation and attribute that each field comes from. A correct rewrite never leaves a masked
column there (masked expressions are computed: table OID 0). If one is there, a check before us has failed, and the
result is stopped. Manual: protocol-message-formats, RowDescription.
"""

from __future__ import annotations

from dataclasses import dataclass

from policies.model import Profile
from proxy.wire.codec import Field
from rewrite.catalog import Catalog
from rewrite.plan import Refusal

FIRST_USER_OID = 16384
"""FirstNormalObjectId: objects below are the system's own."""


@dataclass(frozen=True, slots=True)
class Trip:
    """A result that must not be shown."""

    refusal: Refusal
    table: int
    attnum: int
    unknown: bool
    """The relation or column is not in our catalog: it has to be read again."""


_MASKED = Refusal(
    "42501",
    "stopped a result that would have shown a masked column",
    "This is a defect of the proxy, not of the statement; it has been recorded.",
)
_UNKNOWN = Refusal("0A000", "the relation has changed, try again", "pgveil is reading the catalog anew.")


def judge(fields: tuple[Field, ...], catalog: Catalog, profile: Profile, temporary: set[int], fresh: int = 0) -> Trip | None:
    """None when every field may be shown. `temporary` holds OIDs of the session's own temporary relations.

    `fresh` is the number of temporary relations that the running statement may read and whose OIDs nobody knows yet, because the
    same query string made them. As many unknown relations may show; none of them can be one that is known to be protected.
    """
    unknown: set[int] = set()
    for field in fields:
        table = field.table
        if not table:
            continue
        decisions = profile.decisions.get(table)
        if decisions:
            if field.attnum == 0:  # the whole row
                if not all(d.is_clear for d in decisions.values()):
                    return Trip(_MASKED, table, 0, False)
            else:
                decision = decisions.get(field.attnum)
                if decision is not None and not decision.is_clear:
                    return Trip(_MASKED, table, field.attnum, False)
        if table < FIRST_USER_OID or table in temporary:
            continue
        relation = catalog.relations.get(table)
        known = relation is not None and (
            field.attnum <= 0 or any(c.attnum == field.attnum for c in relation.columns)
        )  # fmt: skip
        if relation is None and len(unknown | {table}) <= fresh:
            unknown.add(table)
        elif not known:
            return Trip(_UNKNOWN, table, field.attnum, True)
    return None
