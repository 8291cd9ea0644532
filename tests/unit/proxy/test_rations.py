"""Rows that grants still allow: never more than was granted, whatever becomes of the store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from proxy.approvals import ration, store
from proxy.approvals.ration import PATIENCE, Rations


class Store:
    """Ten rows of grant 7; `fails` is where the next transaction breaks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.used = self.leased = 0
        self.fails = ""
        monkeypatch.setattr(store, "lease", self.lease)
        monkeypatch.setattr(store, "settle_rows", self.settle_rows)

    async def transaction(self, work: Callable[[Any], Awaitable[None]]) -> None:
        before = self.used, self.leased
        if self.fails == "connect":
            raise ConnectionResetError
        await work(None)
        if self.fails == "commit":
            self.used, self.leased = before
        if self.fails:
            raise ConnectionResetError

    async def lease(self, _: object, number: int) -> int:
        free = 10 - self.used - self.leased
        self.leased += free
        return free

    async def settle_rows(self, _: object, number: int, shown: int, leased: int) -> None:
        self.used += shown
        self.leased -= leased


@pytest.mark.parametrize("fails", ["", "connect", "commit", "answer"])
def test_what_is_settled(monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    async def run() -> None:
        stored = Store(monkeypatch)
        rations = Rations(stored.transaction)
        await rations.lease([7])
        mine = rations._ration(7)
        assert (mine.left(), mine.take(4), mine.left()) == (10, 4, 6)
        stored.fails = fails
        await rations.settle()
        stored.fails = ""
        for _ in range(PATIENCE + 1):
            await rations.settle()
        shown = 4
        assert (mine.left(), mine.spent) == (0, 0)
        assert 10 - stored.used - stored.leased <= 10 - shown  # never more than is left
        if fails in ("", "connect", "answer"):
            assert (stored.used, stored.leased) == (4, 0)

    asyncio.run(run())


def test_a_lease_that_is_not_committed_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        stored = Store(monkeypatch)
        rations = Rations(stored.transaction)
        stored.fails = "commit"
        with pytest.raises(ConnectionResetError):
            await rations.lease([7])
        assert rations._ration(7).left() == 0
        assert ration.Ration(7).lease == 7

    asyncio.run(run())
