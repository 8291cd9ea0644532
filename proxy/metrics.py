"""Numbers for Prometheus. Nearly all are read from the running server at a scrape: the hot path counts nothing twice.

Names begin with `pgveil_` and end with their unit; counters end with `_total`. Labels have few values (verdicts, levels,
SQLSTATEs, names of databases and of the policy's alerts), never a user, a statement or a value. docs/operations.md lists them
all, and a test holds it to that (`names`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar, cast

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from proxy.audit.measure import Measured, Room
from proxy.tally import Durations, Tally, reason_of

_K = TypeVar("_K", bound=tuple[str, ...])
_PLAN_BUCKETS = (0.00001, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1.0)


@dataclass(frozen=True, slots=True)
class Connections:
    """Who is connected at the moment."""

    open: int = 0
    active: int = 0
    """Of them, those with a statement or a transaction under way."""
    waiting: int = 0
    """At the door: not logged in yet."""
    server: int = 0
    """Connections to the server for sessions."""
    limit: int = 0


@dataclass(frozen=True, slots=True)
class Trail:
    """Where the audit trail stands."""

    worker: str = ""
    pending: int = 0
    lag: float = 0.0
    """Seconds since everything that had been handed over was last written; 0 when nothing waits."""
    records: int = 0
    """Number of the last record."""
    head_lag: int = 0
    """Records that the head does not know yet."""
    errors: int = 0
    failing: bool = False
    lost: int = 0
    """Records that could not be kept until there was room."""
    segment: int = 0
    """The one that is being written."""
    room: Room | None = None


@dataclass(frozen=True, slots=True)
class Readings:
    """What the server knows at the moment of a scrape."""

    version: str = ""
    connections: Connections = Connections()
    bytes_from_clients: int = 0
    bytes_from_server: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    cache_bytes: int = 0
    tally: Tally = field(default_factory=Tally)
    measured: Measured = field(default_factory=Measured)
    trail: Trail = Trail()
    policy_version: str = ""
    policy_loaded: float = 0.0
    """Unix time of the last policy that took effect."""
    policy_good: bool = True
    """Whether the last attempt to load one succeeded."""
    catalog_age: Mapping[str, float] = field(default_factory=dict)
    """Seconds since each database's catalog was known to be right."""
    control_up: Mapping[str, bool] = field(default_factory=dict)
    approvals: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Requests by kind and state."""
    anchors: Mapping[str, tuple[bool, int, int]] = field(default_factory=dict)
    """By target: whether it fails, anchors that wait for it, anchors that it has taken."""
    certificates: Mapping[str, float] = field(default_factory=dict)
    """Unix time at which each side's certificate ends."""


class Metrics:
    """Counters of one server, in a registry of its own."""

    def __init__(self, read: Callable[[], Readings]) -> None:
        cast(Callable[[], None], disable_created_metrics)()  # a series more for every series, which nobody reads
        self.registry = CollectorRegistry()
        self.logins = Counter("pgveil_logins", "Connections by how far they got", ["result"], registry=self.registry)
        self.turned_away = Counter(
            "pgveil_turned_away", "Clients turned away, by the limit that did it", ["limit"], registry=self.registry
        )
        self.cancels = Counter("pgveil_cancel_requests", "Cancel requests forwarded", registry=self.registry)
        self.reloads = Counter("pgveil_policy_reloads", "Policy reloads by result", ["result"], registry=self.registry)
        for result in ("accepted", "rejected"):
            self.reloads.labels(result)  # there from the start, so that the first one is an increase
        self.plan_seconds = Histogram(
            "pgveil_plan_seconds", "Time to plan one client text", buckets=_PLAN_BUCKETS, registry=self.registry
        )
        self.registry.register(_Reader(read))
        for of_the_process in (ProcessCollector, PlatformCollector, GCCollector):
            of_the_process(registry=self.registry)


class _Reader(Collector):
    def __init__(self, read: Callable[[], Readings]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        now = self._read()
        yield InfoMetricFamily("pgveil_build", "This process", value={"version": now.version, "worker": now.trail.worker})
        yield from _traffic(now)
        yield from _statements(now.tally)
        yield from _planning(now)
        yield from _trail(now.trail, now.measured)
        yield from _anchors(now.anchors)
        yield from _governance(now)

    def describe(self) -> Iterable[Metric]:
        """Nothing: the registry would read the server to find out, which is not there yet."""
        return ()


def _traffic(now: Readings) -> Iterable[Metric]:
    c = now.connections
    yield GaugeMetricFamily("pgveil_connections", "Sessions now open", value=c.open)
    yield GaugeMetricFamily("pgveil_connections_active", "Sessions with a statement or transaction under way", value=c.active)
    yield GaugeMetricFamily("pgveil_connections_waiting", "Clients that have not logged in yet", value=c.waiting)
    yield GaugeMetricFamily("pgveil_connections_limit", "Sessions that limits.connections allows", value=c.limit)
    yield GaugeMetricFamily("pgveil_server_connections", "Connections to the server for sessions", value=c.server)
    traffic = {"client": now.bytes_from_clients, "server": now.bytes_from_server}
    yield _counter("pgveil_bytes", "Bytes received, by sender", ("sender",), {(k,): v for k, v in traffic.items()})
    yield _histogram("pgveil_loop_lag_seconds", "By how much the event loop is late", now.tally.loop)


def _statements(tally: Tally) -> Iterable[Metric]:
    yield _counter("pgveil_statements", "Statements by verdict and class", ("verdict", "statement"), tally.statements())
    yield _counter(
        "pgveil_columns", "Sensitive columns in results, by level and how they were shown", ("level", "show"), tally.columns()
    )
    refused = {(state, reason_of(state)): count for state, count in tally.refusals.items()}
    yield _counter("pgveil_refusals", "Refused statements by SQLSTATE and class of reason", ("sqlstate", "reason"), refused)
    yield CounterMetricFamily("pgveil_on_failure", "Statements let through unread, unmasked", value=tally.let_through)
    yield CounterMetricFamily("pgveil_rows", "Rows sent to clients", value=tally.rows)
    yield CounterMetricFamily("pgveil_statement_errors", "Statements that ended with an error", value=tally.errors)
    yield _histogram("pgveil_statement_seconds", "Time from decision to outcome", tally.durations)
    yield _counter("pgveil_alerts", "Alerts of the policy that were raised", ("name", "severity"), tally.alerts)
    events = {(name,): count for name, count in tally.events.items()}
    yield _counter("pgveil_events", "Records of kind event in the trail, by name", ("event",), events)


def _planning(now: Readings) -> Iterable[Metric]:
    yield CounterMetricFamily("pgveil_plan_cache_hits", "Plans taken from the cache", value=now.cache_hits)
    yield CounterMetricFamily("pgveil_plan_cache_misses", "Plans made anew", value=now.cache_misses)
    yield GaugeMetricFamily("pgveil_plan_cache_bytes", "Memory of the plans kept, estimated", value=now.cache_bytes)


def _trail(trail: Trail, measured: Measured) -> Iterable[Metric]:
    yield GaugeMetricFamily("pgveil_audit_pending_records", "Audit records not yet written", value=trail.pending)
    yield GaugeMetricFamily("pgveil_audit_lag_seconds", "For how long audit records have waited to be written", value=trail.lag)
    yield GaugeMetricFamily("pgveil_audit_head_lag_records", "Records written that the head does not know", value=trail.head_lag)
    yield GaugeMetricFamily("pgveil_audit_failing", "1 while the audit trail cannot be written", value=trail.failing)
    yield CounterMetricFamily("pgveil_audit_errors", "Failures to write audit records", value=trail.errors)
    yield CounterMetricFamily("pgveil_audit_lost_records", "Records lost with on_failure: flow", value=trail.lost)
    yield GaugeMetricFamily("pgveil_audit_segment", "Number of the segment that is being written", value=trail.segment)
    yield GaugeMetricFamily("pgveil_audit_seq", "Number of the last audit record", value=trail.records)
    yield CounterMetricFamily("pgveil_audit_written_bytes", "Bytes written to the trail", value=measured.bytes)
    yield _histogram("pgveil_audit_write_seconds", "Time to hand a batch of records to the system", measured.writes)
    yield _histogram("pgveil_audit_sync_seconds", "Time to put the trail on disk", measured.syncs)
    if trail.room is not None:
        yield GaugeMetricFamily("pgveil_audit_trail_bytes", "Size of this worker's segments", value=trail.room.used)
        yield GaugeMetricFamily("pgveil_audit_free_bytes", "Room left where the trail is", value=trail.room.free)


def _anchors(anchors: Mapping[str, tuple[bool, int, int]]) -> Iterable[Metric]:
    failing = {(target,): float(a[0]) for target, a in anchors.items()}
    yield _gauge("pgveil_anchor_failing", "1 while a target takes no anchors", ("target",), failing)
    waiting = {(target,): float(a[1]) for target, a in anchors.items()}
    yield _gauge("pgveil_anchor_waiting", "Anchors that wait for a target", ("target",), waiting)
    yield _counter("pgveil_anchor_sent", "Anchors that a target has taken", ("target",), {(t,): a[2] for t, a in anchors.items()})


def _governance(now: Readings) -> Iterable[Metric]:
    yield InfoMetricFamily("pgveil_policy", "The policy in force", value={"version": now.policy_version})
    yield GaugeMetricFamily("pgveil_policy_loaded_timestamp_seconds", "When the policy took effect", value=now.policy_loaded)
    yield GaugeMetricFamily("pgveil_policy_reload_successful", "1 unless the last policy was rejected", value=now.policy_good)
    yield _gauge("pgveil_approval_requests", "Requests for approval, by kind and state", ("kind", "state"), now.approvals)
    yield _gauge("pgveil_catalog_age_seconds", "Age of each database's catalog", ("database",), _one(now.catalog_age))
    yield _gauge("pgveil_control_up", "1 while a database's catalog can be read", ("database",), _one(now.control_up))
    yield _gauge(
        "pgveil_certificate_expiry_timestamp_seconds", "When our certificate ends, by side", ("side",), _one(now.certificates)
    )


def names() -> frozenset[str]:
    """Of all metrics but those of the process itself, as they are scraped; a histogram without `_bucket`, `_sum` and `_count`."""
    ends = {"counter": "_total", "info": "_info"}
    metrics = Metrics(lambda: Readings(trail=Trail(room=Room(0, 0))))
    return frozenset(m.name + ends.get(m.type, "") for m in metrics.registry.collect() if m.name.startswith("pgveil_"))


def _one(values: Mapping[str, float]) -> Mapping[tuple[str], float]:
    return {(key,): value for key, value in values.items()}


def _counter(name: str, text: str, labels: tuple[str, ...], values: Mapping[_K, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, value)
    return family


def _gauge(name: str, text: str, labels: tuple[str, ...], values: Mapping[_K, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, value)
    return family


def _histogram(name: str, text: str, durations: Durations) -> HistogramMetricFamily:
    return HistogramMetricFamily(name, text, buckets=durations.cumulated(), sum_value=durations.total)
