"""Numbers for Prometheus. Most are read from the running server on demand: the hot path counts nothing twice.

Names begin with `pgveil_`; labels have few values (verdicts, SQLSTATEs, database names), never user names or texts.
docs/operations.md lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

_PLAN_BUCKETS = (0.00001, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1.0)


@dataclass(frozen=True, slots=True)
class Readings:
    """What the server knows at the moment of a scrape."""

    sessions: int = 0
    bytes_from_clients: int = 0
    bytes_from_server: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    verdicts: Mapping[str, int] = field(default_factory=dict)
    refusals: Mapping[str, int] = field(default_factory=dict)
    """Refused statements by SQLSTATE."""
    let_through: int = 0
    """Statements that passed unmasked because they could not be read."""
    alerts: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Raised, by name and severity."""
    audit_pending: int = 0
    audit_errors: int = 0
    policy_version: str = ""
    catalog_age: Mapping[str, float] = field(default_factory=dict)
    """Seconds since each database's catalog was read."""


class Metrics:
    """Counters of one server, in a registry of its own."""

    def __init__(self, read: Callable[[], Readings]) -> None:
        self.registry = CollectorRegistry()
        self.logins = Counter("pgveil_logins", "Connections by how far they got", ["result"], registry=self.registry)
        self.turned_away = Counter(
            "pgveil_turned_away", "Clients turned away, by the limit that did it", ["limit"], registry=self.registry
        )
        self.cancels = Counter("pgveil_cancel_requests", "Cancel requests forwarded", registry=self.registry)
        self.reloads = Counter("pgveil_policy_reloads", "Policy reloads by result", ["result"], registry=self.registry)
        self.plan_seconds = Histogram(
            "pgveil_plan_seconds", "Time to plan one client text", buckets=_PLAN_BUCKETS, registry=self.registry
        )
        self.registry.register(_Reader(read))


class _Reader(Collector):
    def __init__(self, read: Callable[[], Readings]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        now = self._read()
        yield GaugeMetricFamily("pgveil_connections", "Sessions now open", value=now.sessions)
        traffic = {"client": now.bytes_from_clients, "server": now.bytes_from_server}
        yield _counter("pgveil_bytes", "Bytes received, by sender", "sender", traffic)
        yield _counter("pgveil_statements", "Statements by verdict", "verdict", now.verdicts)
        yield _counter("pgveil_refusals", "Refused statements by SQLSTATE", "sqlstate", now.refusals)
        yield CounterMetricFamily("pgveil_on_failure", "Statements let through unread, unmasked", value=now.let_through)
        alerts = CounterMetricFamily("pgveil_alerts", "Alerts of the policy that were raised", labels=["name", "severity"])
        for labels, count in sorted(now.alerts.items()):
            alerts.add_metric(list(labels), count)
        yield alerts
        yield CounterMetricFamily("pgveil_plan_cache_hits", "Plans taken from the cache", value=now.cache_hits)
        yield CounterMetricFamily("pgveil_plan_cache_misses", "Plans made anew", value=now.cache_misses)
        yield GaugeMetricFamily("pgveil_audit_pending", "Audit records not yet written", value=now.audit_pending)
        yield CounterMetricFamily("pgveil_audit_errors", "Failures to write audit records", value=now.audit_errors)
        yield InfoMetricFamily("pgveil_policy", "The policy in force", value={"version": now.policy_version})
        age = GaugeMetricFamily("pgveil_catalog_age_seconds", "Age of each database's catalog", labels=["database"])
        for database, seconds in sorted(now.catalog_age.items()):
            age.add_metric([database], seconds)
        yield age


def _counter(name: str, text: str, label: str, values: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=[label])
    for key, value in sorted(values.items()):
        family.add_metric([key], value)
    return family
