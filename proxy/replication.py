"""Replication connections go on unread, so what they were let in for is looked at again and again.

A login has them only as long as it sees everything in clear in every database (`ControlPlane.is_masked_anywhere`). A
stream cannot be told anything in the middle: it ends, and the client, when it comes again, is told why.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from proxy.control.plane import ControlPlane
from proxy.errors import PgveilError
from proxy.logs import event
from proxy.transport import Link

log = logging.getLogger("pgveil.server")

INTERVAL = 5.0
"""Seconds between two looks; only while there is such a connection."""
_WHY = ("42501", "replication is not allowed for a login that sees masked data")

End = Callable[[Link, tuple[str, str]], None]


class ReplicationWatch:
    def __init__(self, control: ControlPlane, end: End, patience: float) -> None:
        """`patience`: seconds for which the control plane may be unable to say."""
        self._control = control
        self._end = end
        self._patience = patience

    async def run(self, links: Callable[[], Iterable[Link]]) -> None:
        """For ever. `links`: all of them."""
        known: dict[Link, float] = {}
        """When each was last found in order (loop time)."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(INTERVAL)
            now = loop.time()
            known = {link: known.get(link, now) for link in links() if link.session.is_replication}
            for link in known:
                if await self._may_go_on(link):
                    known[link] = now
                elif now - known[link] > self._patience:
                    self._stop(link)

    async def _may_go_on(self, link: Link) -> bool:
        try:
            masked = await self._control.is_masked_anywhere(link.session.identity, time.time())
        except PgveilError:
            return False
        if masked:
            self._stop(link)
        return True

    def _stop(self, link: Link) -> None:
        if not link.closing:
            event(log, "replication_ended", logging.WARNING, user=link.session.identity.user, reason=_WHY[1])
            self._end(link, _WHY)
