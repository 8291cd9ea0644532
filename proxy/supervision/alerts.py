"""Puts the alerts' part of the auditor together: watcher, deliveries, their numbers."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from proxy.audit.custody import take_custody
from proxy.audit.record import Kind
from proxy.audit.upkeep import Upkeep
from proxy.audit.writer import AuditWriter
from proxy.config import Config
from proxy.supervision.consumer import Drive
from proxy.supervision.deliver import Deliverer
from proxy.supervision.settings import Supervision
from proxy.supervision.state import FILE, Store
from proxy.supervision.watcher import Watcher

NAME = "auditor"
"""Of the auditor's own trail."""


class AlertDrive(Drive):
    """The watcher, and beside it the deliveries."""

    def __init__(self, watcher: Watcher, directory: Path, deliverer: Deliverer) -> None:
        super().__init__(watcher, directory, leave_out=[NAME])
        self._deliverer = deliverer

    async def run(self, stop: asyncio.Event) -> None:
        over = asyncio.Event()
        deliveries = asyncio.create_task(self._deliverer.run(over))
        try:
            await super().run(stop)
        finally:
            over.set()
            await deliveries


def make_alerts(config: Config, registry: CollectorRegistry) -> list[Drive]:
    """Raises PgveilError when the auditor's trail or state cannot be opened."""
    settings = config.supervision or Supervision()
    directory = settings.directory or config.audit.directory
    audit = config.audit
    writer = AuditWriter(directory, NAME, take_custody(directory, audit.key_file, NAME), segment_seconds=audit.segment_time)
    path = directory / FILE
    Store(path).close()  # an unusable one is told at once
    writer.append(Kind.START, start_of(config))
    writer.flush()
    watcher = Watcher(lambda: Store(path), writer, config.policy, settings.targets, Upkeep(writer, audit.witness, audit.keep))
    registry.register(_Numbers(watcher, path))
    return [AlertDrive(watcher, config.audit.directory, Deliverer(list(settings.targets), lambda: open_database(path)))]


def start_of(config: Config) -> dict[str, object]:
    import os
    import socket
    from importlib.metadata import version

    return {
        "version": version("pgveil"), "pid": os.getpid(), "host": socket.gethostname(), "listen": "", "mode": config.audit.mode,
    }  # fmt: skip


def open_database(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=5.0, isolation_level=None)


class _Numbers(Collector):
    def __init__(self, watcher: Watcher, path: Path) -> None:
        self._watcher = watcher
        self._path = path

    def collect(self) -> Iterable[Metric]:
        alerts = CounterMetricFamily("pgveil_auditor_alerts", "Alerts raised or passed on", labels=["name", "severity"])
        for labels, count in sorted(self._watcher.raised.items()):
            alerts.add_metric(list(labels), count)
        yield alerts
        yield CounterMetricFamily("pgveil_auditor_unread", "Lines of the trail that are no record", value=self._watcher.unread)
        waiting = GaugeMetricFamily("pgveil_auditor_deliveries_waiting", "Alerts not yet delivered", labels=["target"])
        done = CounterMetricFamily("pgveil_auditor_deliveries", "Deliveries by result", labels=["target", "result"])
        try:
            db = open_database(self._path)
        except sqlite3.Error:
            return
        try:
            for target, count in db.execute("SELECT target, count(*) FROM deliveries GROUP BY target"):
                waiting.add_metric([target], count)
            for target, what, amount in db.execute("SELECT target, what, amount FROM counters"):
                done.add_metric([target, what], amount)
        except sqlite3.Error:
            return
        finally:
            db.close()
        yield waiting
        yield done
