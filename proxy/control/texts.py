"""Reading definition texts without ever waiting for somebody's lock.

`pg_get_viewdef` locks the relations a view reads, and newer versions of `pg_get_expr` the relation of the expression.
A client that has altered a table and not yet committed holds that lock, and may itself be waiting for us. So these
reads run under a short lock timeout, in savepoints; when one fails, the set is halved until only what is locked is
missing.
"""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

LOCK_TIMEOUT_MS = 40
MAX_FAILURES = 24
"""Give up on all that is left after this many time-outs: about a second."""


_GONE_OR_LOCKED = (
    asyncpg.LockNotAvailableError,
    asyncpg.UndefinedObjectError,
    asyncpg.UndefinedTableError,
    asyncpg.InternalServerError,  # "cache lookup failed": dropped while it was printed
)


async def fetch_unlocked(
    connection: asyncpg.Connection, query: str, relations: Sequence[int]
) -> tuple[list[asyncpg.Record], frozenset[int]]:
    """Rows of `query` for the relations (its $1), and the relations that could not be read now."""
    rows: list[asyncpg.Record] = []
    missing: list[int] = []
    failures = 0
    todo = [list(relations)] if relations else []
    if todo:
        await connection.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
    while todo:
        part = todo.pop()
        if failures >= MAX_FAILURES:
            missing += part
            continue
        try:
            async with connection.transaction():
                rows += await connection.fetch(query, part)
        except _GONE_OR_LOCKED:
            failures += 1
            if len(part) == 1:
                missing += part
            else:
                middle = len(part) // 2
                todo += [part[middle:], part[:middle]]
    return rows, frozenset(missing)
