"""Effect bits of a plan, as one integer that is cheap to test for every statement."""

from __future__ import annotations

from typing import Final

from rewrite.plan import Effect, Plan

RESOLUTION: Final = Effect.RESOLUTION.value
DDL: Final = Effect.DDL.value
TRANSACTION_END: Final = Effect.TRANSACTION_END.value
PREPARES: Final = Effect.PREPARES.value
EXECUTES: Final = Effect.EXECUTES.value
TAINTS: Final = Effect.TAINTS.value
OPENS: Final = Effect.OPENS.value
FETCHES: Final = Effect.FETCHES.value
ASSERTS: Final = Effect.ASSERTS.value
COMMAND: Final = Effect.COMMAND.value
SETTINGS: Final = 1 << 16
"""Not an Effect: the statement may change client_encoding or standard_conforming_strings, on which reading depends."""
DEALLOCATES: Final = 1 << 17
"""Not an Effect: SQL-level DEALLOCATE or DISCARD."""
CLOSES: Final = 1 << 18
"""Not an Effect: SQL-level CLOSE or DISCARD."""

FIRES: Final = Effect.WRITES.value
"""Triggers may run."""

CURSORS: Final = OPENS | FETCHES | CLOSES
INTERESTING: Final = (
    COMMAND
    | ASSERTS
    | FIRES
    | RESOLUTION
    | DDL
    | TRANSACTION_END
    | PREPARES
    | EXECUTES
    | TAINTS
    | SETTINGS
    | DEALLOCATES
    | CURSORS
)

_SETTING_KINDS: Final = frozenset({"SET", "RESET", "DISCARD", "CALL", "DO"})
_CACHE_SIZE: Final = 1024


class EffectBits:
    """Remembers the bits by the identity of the plan's statements: plans of texts that differ in constants share them."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[int, tuple[object, int]] = {}

    def __call__(self, plan: Plan) -> int:
        statements = plan.statements
        if not statements:
            return 0
        known = self._known.get(id(statements))
        if known is not None:
            return known[1]
        bits = 0
        for statement in statements:
            bits |= statement.effects.value
            kind = statement.kind.split(" ", 1)[0]
            if kind in _SETTING_KINDS or statement.effects & Effect.RESOLUTION:
                bits |= SETTINGS
            if kind in ("DEALLOCATE", "DISCARD"):
                bits |= DEALLOCATES
            if kind in ("CLOSE", "DISCARD"):
                bits |= CLOSES
        bits &= INTERESTING
        if len(self._known) >= _CACHE_SIZE:
            self._known.clear()
        self._known[id(statements)] = (statements, bits)
        return bits
