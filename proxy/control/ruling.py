"""Which policy is to be in force: what the files say or, where a policy wants its changes approved, what has been approved last.

Nothing here puts a policy in force: the control plane does, after trying it on every catalog.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from proxy.approvals import store
from proxy.approvals.governor import Governor, approved
from proxy.control.policy import PolicyFiles

Event = Callable[[str, Mapping[str, str | int | bool]], None]


class Loader(Protocol):
    def load(self, paths: Sequence[Path]) -> Any:
        """A policy with a `version`. Raises ValueError or OSError with a text that names file and line."""

    def load_texts(self, texts: Sequence[tuple[str, str]]) -> Any:
        """The same from texts, each with the name that messages call it by."""


class Ruling:
    """`policy` is the one in force; whoever puts another in force sets it."""

    def __init__(self, paths: Sequence[Path], loader: Loader, governor: Governor, on_event: Event) -> None:
        self._files: PolicyFiles[Any] = PolicyFiles(paths, loader.load)
        self._loader = loader
        self._governor = governor
        self._on_event = on_event
        self.policy: Any = None
        self.is_due = self._files.is_due
        self._hopeless = ""
        """Version of an approved policy that could not be put in force here."""

    async def load(self) -> Any:
        """What the files say now. Raises what the loader raises."""
        return await asyncio.to_thread(self._files.load)

    async def may_rule(self, policy: Any) -> bool:
        """Whether another policy of the files may be put in force like this; if not, it has become a request. Raises FAILURES."""
        if self.policy.changes is None:
            return True
        number = await self._governor.propose(policy)
        self._on_event("policy_waiting", {"version": policy.version, "problem": f"waits for approval: request {number}"})
        return False

    async def begin(self, policy: Any) -> None:
        """The policy, whose predecessor wanted no approval, is about to be put in force. Raises FAILURES and ValueError."""
        if policy.changes is not None:
            await self._governor.begin(policy)

    async def approved(self, picture: store.Picture) -> Any | None:
        """The policy that was approved last, if that is not the one in force. Raises FAILURES, and what the loader raises."""
        last = approved(picture)
        if self.policy.changes is None or last is None or last.version in (self.policy.version, self._hopeless):
            return None
        found = await self._governor.in_force()
        if found is None or found[0].version in (self.policy.version, self._hopeless):
            return None
        self._hopeless = found[0].version  # unless it is put in force
        return await asyncio.to_thread(self._loader.load_texts, found[1])

    async def confirm(self) -> Any | None:
        """After the start: None when the policy of the files may be in force; otherwise the approved one, which has to be. Raises
        FAILURES and ValueError."""
        found = await self._governor.in_force()
        if found is not None and found[0].version == self.policy.version:
            return None
        last = await asyncio.to_thread(self._loader.load_texts, found[1]) if found is not None else None
        if last is None or last.changes is None:
            await self.begin(self.policy)
            return None
        number = await self._governor.propose(self.policy)
        self._on_event("policy_waiting", {"version": self.policy.version, "problem": f"waits for approval: request {number}"})
        return last
