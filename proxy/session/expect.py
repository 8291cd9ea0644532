"""What the server still owes: one entry per message sent upstream that has a reply, in order.

A counter would not do: an error in the extended protocol cancels everything up to the next Sync, copy-in swallows
Syncs, and messages of our own are mixed in whose replies the client must not see.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from proxy.session.effects import Allowance
from proxy.session.statements import Portal, Record, Slot
from rewrite.plan import Plan

PARSE: Final = 1
BIND: Final = 2
CLOSE: Final = 3
DESCRIBE_STATEMENT: Final = 4
DESCRIBE_PORTAL: Final = 5
EXECUTE: Final = 6
SYNC: Final = 7
QUERY: Final = 8
FUNCTION: Final = 9
COPY_END: Final = 10
"""CopyDone or CopyFail sent before the server asked for data: has no reply, but ends the copy that takes it."""
REFUSED: Final = 11
"""A poison in the place of an extended message: nothing but an error may come."""
REFUSED_QUERY: Final = 12
"""A poison in the place of a Query or FunctionCall: an error and ReadyForQuery."""
FLUSH: Final = 13
"""A Flush with something in it: an error, unless a copy takes it."""

NAMES: Final = {
    PARSE: "Parse", BIND: "Bind", CLOSE: "Close", DESCRIBE_STATEMENT: "Describe", DESCRIBE_PORTAL: "Describe",
    EXECUTE: "Execute", SYNC: "Sync", QUERY: "Query", FUNCTION: "FunctionCall", COPY_END: "CopyDone",
    REFUSED: "refused message", REFUSED_QUERY: "refused Query",
    FLUSH: "Flush",
}  # fmt: skip


class Expected:
    """One entry. Defaults live on the class: most entries need only a kind, and one is made for every message."""

    swallow: bool = False
    """The client must see nothing of the reply."""
    probe: bool = False
    alone: bool = False
    """Of a probe with a Sync of its own: its error is nobody else's."""
    last: bool = False
    """The last entry of a probe: when it is answered, the held input goes on."""
    replace: bytes | None = None
    """Our ErrorResponse, in place of the one that the poison provokes."""
    provokes: bytes = b""
    """SQLSTATE that the poison provokes; any other error is the server's own and goes to the client."""
    replace_state: str = ""
    behind: int = 0
    """Of a Query with a poison in it: how many statements come before it."""
    looked_at_last: bool = False
    """A poison for a text that the server, in a failed transaction, would not have looked at."""
    align: bool = False
    """A poison that makes the transaction fail after the guard has stopped a result; its error is ours already."""
    plan: Plan | None = None
    quiet: bool = False
    """What the server says here may be about an earlier statement of the same batch, of which little may be said."""
    decided: tuple[object, ...] = ()
    """What the auditor made of each statement: `AuditSink.decision`, for `AuditSink.outcome`."""
    index: int = 0
    """Statement of a Query that is running."""
    rows: int = 0
    bytes: int = 0
    allowances: tuple[tuple[Allowance, ...], ...] = ()
    """How much the client may get of the rows, for each statement; see `metering`."""
    charged: int = 0
    """What the rows of the running statement have cost of its allowances."""
    started: float = 0.0
    failed: bool = False
    """An error has been relayed; only ReadyForQuery is left."""
    tripped: bool = False
    """The guard has stopped a result that this entry covers."""
    copying: bool = False
    """CopyInResponse has been seen."""
    more: int = 0
    """Of COPY_END: how many others came right behind it."""
    maybe: bool = False
    """A Sync that a running copy-in may have swallowed."""
    changes: int = 0
    """Effect bits, see `session.plans`."""
    renews: bool = False
    """A Close of ours before a statement is prepared again; of SQL's PREPARE everything that does so."""
    portal: Portal | None = None
    """What a Bind makes, or a Close closes."""
    slot: Slot | None = None
    record: Record | None = None
    opens: tuple[tuple[int, Portal], ...] = ()
    """SQL-level DECLAREs by statement index, to be confirmed when they have succeeded."""
    closes: tuple[tuple[int, Portal], ...] = ()
    """The same of SQL-level CLOSE and DISCARD."""
    prepares: tuple[tuple[int, Slot, Record], ...] = ()
    """SQL-level PREPAREs by statement index, to be confirmed when they have succeeded."""

    def __init__(self, kind: int) -> None:
        self.kind = kind


Queue = deque[Expected]


def has_sync(queue: Queue) -> bool:
    """A message is under way that the server will answer with ReadyForQuery."""
    return any(e.kind in (SYNC, QUERY, FUNCTION, REFUSED_QUERY) for e in queue)
