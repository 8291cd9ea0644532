"""Evidence before data, for many sessions at once: who has data to deliver waits here until its evidence is where it should be.

In `before-result` and `async` that takes one write, done at once for all that asked in the same turn of the loop. In `strict` it
takes a sync, which a slow disk may not answer for seconds: it is done in a thread, and the loop turns meanwhile. One sync is
under way at a time; everybody who comes while it lasts shares the next one (group commit).

Contract: a link is delivered when every record that had been appended when it asked last is secured, never earlier. While it
waits for a disk it takes in nothing, from either side, so what is held for it does not grow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Protocol

from proxy.audit.record import AuditError


class Waiter(Protocol):
    """A link, as far as this is concerned."""

    waiting: bool
    """Known here."""
    needs: int
    """Number of the last record that had been appended when it asked."""

    def release(self) -> None:
        """Put into the trail what its data needs there. Raises AuditError when there is no room."""

    def deliver(self) -> None: ...

    def withhold(self) -> None: ...

    def hold(self) -> None:
        """Take nothing in. Idempotent; `deliver` ends it."""


class Trail(Protocol):
    """What `proxy.evidence.Evidence` has for this."""

    @property
    def seq(self) -> int: ...

    @property
    def flows(self) -> bool:
        """Data goes on when evidence cannot be written."""

    @property
    def aside(self) -> bool:
        """Securing takes a sync."""

    def secure(self) -> bool: ...

    def begin(self) -> Callable[[], None] | None: ...

    def end(self, error: OSError | None) -> None: ...

    def settle(self) -> None: ...

    def release(self) -> bool:
        """Put what the sessions hold back among what is written next."""

    def keep_up(self) -> None: ...


class Committer:
    """Of one event loop."""

    def __init__(self, evidence: Trail, executor: Executor | None = None) -> None:
        self._evidence = evidence
        self._aside = evidence.aside
        self._executor = executor
        self._links: list[Waiter] = []
        self._askers: list[tuple[int, asyncio.Future[bool]]] = []
        self._called = False
        self._under_way: asyncio.Future[None] | None = None

    def ask(self, link: Waiter) -> None:
        """Call `deliver` or `withhold` of the link soon."""
        if not self._released(link):
            if link.waiting:
                link.waiting = False
                self._links.remove(link)
            link.withhold()
            return
        link.needs = self._evidence.seq
        if not link.waiting:
            link.waiting = True
            self._links.append(link)
        if self._under_way is not None:
            link.hold()
        elif not self._called:
            self._called = True
            asyncio.get_running_loop().call_soon(self._secure)

    def soon(self) -> None:
        """There are records that nobody waits for."""
        if not self._aside:
            self._evidence.secure()  # in `strict` the clock does it

    async def secured(self, link: Waiter) -> bool:
        """Whether everything so far is secured, the link's own included, once it is, or data flows all the same."""
        if not self._released(link):
            return False
        if not self._aside:
            return self._evidence.secure()
        asked: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._askers.append((self._evidence.seq, asked))
        if self._under_way is None:
            self._commit()
        return await asked

    def settle(self) -> None:
        """On the clock: what nobody waits for is written, too."""
        if not self._aside:
            self._evidence.settle()
        else:
            self._evidence.release()
            if self._under_way is None:
                self._evidence.keep_up()
                self._commit()

    async def finish(self) -> None:
        """Wait for the sync that is under way."""
        if self._under_way is not None:
            await asyncio.wait([self._under_way])
        if isinstance(self._executor, ThreadPoolExecutor):
            self._executor.shutdown(wait=False)

    def _released(self, link: Waiter) -> bool:
        """Whether all that the link's data needs is among what is written next. A full backlog is written to make room."""
        try:
            link.release()
        except AuditError:
            if self._aside or not self._evidence.secure():
                return False
        else:
            return True
        try:
            link.release()
        except AuditError:
            return False
        return True

    def _secure(self) -> None:
        self._called = False
        if self._aside:
            if self._under_way is None:
                self._commit()
            return
        links, self._links = self._links, []
        secured = self._evidence.secure()
        for link in links:
            _answer(link, secured)

    def _commit(self) -> None:
        """Write what is pending and begin a sync, unless there is nothing to put on disk."""
        covered = self._evidence.seq
        try:
            work = self._evidence.begin()
        except AuditError:
            self._release(covered, self._evidence.flows)
            return
        if work is None:
            self._release(covered, True)
            return
        for link in self._links:
            link.hold()
        loop = asyncio.get_running_loop()
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, "audit-sync")
        under_way = loop.run_in_executor(self._executor, work)
        self._under_way = under_way
        under_way.add_done_callback(lambda done: self._committed(done, covered))

    def _committed(self, done: asyncio.Future[None], covered: int) -> None:
        self._under_way = None
        failure = None if done.cancelled() else done.exception()
        try:
            self._evidence.end(failure if isinstance(failure, OSError) or failure is None else OSError(str(failure)))
            secured = not done.cancelled()
        except AuditError:
            secured = self._evidence.flows
        self._release(covered, secured)
        if self._under_way is None and (self._links or self._askers):
            self._commit()

    def _release(self, covered: int, secured: bool) -> None:
        """Answer whoever needs no more than is covered; nobody's evidence is written when that has failed."""
        links, self._links = self._links, []
        askers, self._askers = self._askers, []
        for link in links:
            if link.needs <= covered or not secured:
                _answer(link, secured)
            else:
                self._links.append(link)
        for needs, asked in askers:
            if needs <= covered or not secured:
                if not asked.done():
                    asked.set_result(secured)
            else:
                self._askers.append((needs, asked))


def _answer(link: Waiter, secured: bool) -> None:
    link.waiting = False
    if secured:
        link.deliver()
    else:
        link.withhold()
