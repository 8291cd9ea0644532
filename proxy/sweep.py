"""Once a second: who takes too long to log in, who has been idle for too long, who does not take what he asked for.

Limits on time that need no timer of their own per session, so that a session that keeps them costs nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from proxy.config import Limits
from proxy.logs import event
from proxy.metrics import Metrics
from proxy.transport import Link

log = logging.getLogger("pgveil.server")

IDLE_TIMEOUT = ("57P05", "terminating connection due to idle-session timeout")
LOGIN_TIMEOUT = ("57014", "canceling authentication due to timeout")
INTERVAL = 1.0

End = Callable[[Link, tuple[str, str]], None]


class Sweep:
    """`end` tells the client of a link why it has to go, and closes it."""

    def __init__(self, limits: Limits, metrics: Metrics, end: End) -> None:
        self._limits = limits
        self._metrics = metrics
        self._end = end

    async def run(self, links: Callable[[], Iterable[tuple[Link, float]]]) -> None:
        """For ever. `links`: all of them, each with the time (of the loop) when it began."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(INTERVAL)
            now = loop.time()
            for link, began in list(links()):
                try:
                    if not link.closing:
                        self.look(link, began, now)
                except Exception:  # one link's trouble is not everybody's
                    log.exception("unexpected failure of a connection's limits")
                    link.abort()

    def look(self, link: Link, began: float, now: float) -> None:
        limits = self._limits
        if link.entrance is not None:
            if now - began > limits.login_timeout:
                link.audit.turned_away(*LOGIN_TIMEOUT)
                self._metrics.logins.labels("timeout").inc()
                self._end(link, LOGIN_TIMEOUT)
        elif limits.write_timeout and self._is_stuck(link, now):
            event(log, "client_does_not_read", client=link.session.identity.client_address)
            link.reason = "client does not read"
            link.abort()
        elif link.active or not link.session.idle:
            link.active = False
            link.idle_since = now
        elif limits.idle_timeout and now - link.idle_since > limits.idle_timeout:
            self._end(link, IDLE_TIMEOUT)

    def _is_stuck(self, link: Link, now: float) -> bool:
        """Nothing has gone to the client for `write_timeout`, although there is something for it."""
        waiting = link.client.waiting
        if not waiting or waiting != link.stuck_size:
            link.stuck_size = waiting
            link.stuck_since = now
            return False
        return now - link.stuck_since > self._limits.write_timeout
