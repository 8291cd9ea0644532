"""The auditor: a process of its own that follows the trails of all workers, raises alerts and feeds sinks.

Nothing of it is on the way of a statement: when it is slow, down or wrong, clients notice nothing, and it goes on later where
it stopped. `pgveil serve` starts it and keeps it alive (`proxy.supervision.keeper`); `pgveil audit watch` runs it in the
foreground, if need be on another host, over trails that are copied there.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress

import uvloop
from prometheus_client import CollectorRegistry

from proxy.config import Config
from proxy.errors import ConfigError
from proxy.http import HttpSide
from proxy.logs import event
from proxy.sinks.make import make_sinks
from proxy.supervision.alerts import NAME, make_alerts
from proxy.supervision.consumer import Consumer, Drive
from proxy.supervision.rates import Rates

log = logging.getLogger("pgveil.auditor")


BEAT = 1.0
"""Seconds between two signs of life to the process that keeps it."""

Make = Callable[[Config, CollectorRegistry], Sequence[Drive]]
MAKERS: list[Make] = [make_alerts, make_sinks]
"""What the auditor does: each entry makes the drives of what the configuration asks for. Sinks are further entries."""


class Auditor:
    def __init__(self, config: Config, parent: socket.socket | None = None, makers: Sequence[Make] | None = None) -> None:
        """Raises PgveilError when it cannot start."""
        self.config = config
        self.registry = CollectorRegistry()
        self.drives = [drive for make in (MAKERS if makers is None else makers) for drive in make(config, self.registry)]
        self.registry.register(Rates(self.drives))
        self._parent = parent
        self._stop = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, lambda: None)  # files are looked at all the time
        http = await self._listen()
        beat = asyncio.create_task(self._beat()) if self._parent is not None else None
        event(log, "auditor_started", pid=os.getpid(), directory=self.config.audit.directory, consumers=len(self.drives))
        try:
            await asyncio.gather(*(drive.run(self._stop) for drive in self.drives), self._stop.wait())
        finally:
            if beat is not None:
                beat.cancel()
            if http is not None:
                await http.close()
            event(log, "auditor_stopped")

    async def _listen(self) -> HttpSide | None:
        wanted = self.config.supervision.http if self.config.supervision is not None else None
        if wanted is None:
            return None
        http = HttpSide(self.registry, self.obstacles, (0,))
        try:
            port = await http.start(*wanted)
        except OSError as error:
            raise ConfigError(f"cannot listen for HTTP on {wanted[0]}:{wanted[1]}: {error.strerror or error}") from None
        event(log, "auditor_http", host=wanted[0], port=port)
        return http

    def obstacles(self) -> list[str]:
        return [f"{drive.consumer.name} is failing" for drive in self.drives if drive.failing]

    async def _beat(self) -> None:
        """Says to the process that keeps us that the loop turns; ends us when that process is gone."""
        parent = self._parent
        assert parent is not None
        parent.setblocking(False)
        asyncio.get_running_loop().add_reader(parent.fileno(), self._stop.set)
        while True:
            try:
                with suppress(BlockingIOError):
                    parent.send(b".")
            except OSError:
                self._stop.set()
                return
            await asyncio.sleep(BEAT)


def run_auditor(config: Config, parent: socket.socket | None = None) -> None:
    """Run until a signal ends it, or until the parent is gone. Raises PgveilError when it cannot start."""

    async def main() -> None:
        await Auditor(config, parent).run()

    uvloop.run(main())


__all__ = ["MAKERS", "NAME", "Auditor", "Consumer", "Make", "run_auditor"]
