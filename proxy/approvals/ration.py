"""Rows that grants still allow: set aside for this process in the store, spent as results pass, and settled afterwards.

Before a statement that draws on such a grant runs, whatever is left of it is leased to the process. So what all proxies together
show is never more than was granted, and nothing has to be asked while rows flow. What has been shown is written down once per
interval; what is not needed for a while goes back. What a process has leased when it dies counts as shown.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final

import asyncpg

from policies.approvals import GRANT
from policies.model import Profile
from proxy.approvals import store
from proxy.control.connection import FAILURES
from proxy.session.effects import Allowance
from rewrite.plan import Refusal, Touch

PATIENCE: Final = 30
"""Turns of `settle` after which rows that nobody has drawn on go back."""


class Ration:
    """What this process may still show by one grant (`effects.Allowance`)."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.here = 0
        """Leased, and not shown."""
        self.spent = 0
        """Shown, and not written down."""
        self.idle = 0

    def left(self) -> int:
        return self.here

    def take(self, rows: int) -> int:
        granted = min(rows, self.here)
        self.here -= granted
        self.spent += granted
        self.idle = 0
        return granted

    def give_back(self, rows: int) -> None:
        self.here += rows
        self.spent -= rows

    @property
    def lease(self) -> int:
        return 0 if self.here else self.number

    @property
    def refusal(self) -> Refusal:
        return Refusal(
            "53400",
            f"grant {self.number} was for a number of rows, and no more of them are left",
            "CALL veil.request asks for more; SHOW veil.requests tells what is left.",
        )

    @property
    def details(self) -> Mapping[str, str | int | bool]:
        return {"grant": self.number}


class Rations:
    """All of them. `connected` runs something in a transaction of the store."""

    def __init__(self, connected: Callable[[Callable[[asyncpg.Connection], Awaitable[None]]], Awaitable[None]]) -> None:
        self._connected = connected
        self._rations: dict[int, Ration] = {}

    def allowances(self, profile: Profile, touches: Sequence[Touch] | None) -> tuple[Allowance, ...]:
        rationed = profile.rationed
        if not rationed:
            return ()
        columns = rationed if touches is None else [(t.relation, t.column) for t in touches if (t.relation, t.column) in rationed]
        names = sorted({name for column in columns for name in rationed[column]})
        return tuple(self._ration(int(name.removeprefix(GRANT))) for name in names)

    def _ration(self, number: int) -> Ration:
        return self._rations.setdefault(number, Ration(number))

    async def lease(self, numbers: Iterable[int]) -> None:
        """Set aside what is left of these grants. Raises FAILURES."""
        wanted = [r for n in sorted(set(numbers)) if (r := self._ration(n)).here == 0]
        leased: dict[int, int] = {}

        async def work(connection: asyncpg.Connection) -> None:
            for ration in wanted:
                leased[ration.number] = await store.lease(connection, ration.number)

        if wanted:
            await self._connected(work)
        for ration in wanted:  # not before it has been committed
            ration.here += leased[ration.number]
            ration.idle = 0

    async def settle(self, everything: bool = False) -> None:
        """Write down what has been shown, and give back what lies idle, or everything. Called on the clock; what fails is done
        next time, unless it may have been done after all: then the rows stay set aside."""
        for ration in list(self._rations.values()):
            ration.idle += 1
            back = ration.here if everything or ration.idle > PATIENCE else 0
            spent = ration.spent
            if not (spent or back):
                continue
            ration.here -= back
            ration.spent -= spent

            written = False

            async def work(connection: asyncpg.Connection, n: int = ration.number, spent: int = spent, back: int = back) -> None:
                nonlocal written
                await store.settle_rows(connection, n, spent, spent + back)
                written = True  # all but the COMMIT, whose answer may be lost

            try:
                await self._connected(work)
            except FAILURES:
                if not written:
                    ration.here += back
                    ration.spent += spent
