"""The sinks that the configuration asks for, as drives of the auditor."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry

from proxy.config import Config
from proxy.sinks.settings import TableSink
from proxy.sinks.syslog import SyslogConsumer
from proxy.sinks.table import TableConsumer
from proxy.supervision.consumer import Drive


def make_sinks(config: Config, registry: CollectorRegistry) -> Sequence[Drive]:
    """One drive each, so that none holds another up."""
    trail = config.audit.directory
    places = (
        config.supervision.directory if config.supervision is not None and config.supervision.directory is not None else trail
    )
    return [
        Drive(TableConsumer(sink, trail) if isinstance(sink, TableSink) else SyslogConsumer(sink, places), trail)
        for sink in config.audit.sinks
    ]
