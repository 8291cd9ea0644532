"""How far the consumers of the auditor are, for Prometheus. docs/operations.md lists the names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from proxy.supervision.consumer import Drive


class Rates(Collector):
    def __init__(self, drives: Sequence[Drive]) -> None:
        self._drives = drives

    def collect(self) -> Iterable[Metric]:
        labels = ["consumer"]
        size = GaugeMetricFamily("pgveil_auditor_lag_bytes", "Bytes of the trail not yet read", labels=labels)
        age = GaugeMetricFamily("pgveil_auditor_lag_seconds", "Age of the oldest record not yet read", labels=labels)
        records = CounterMetricFamily("pgveil_auditor_records", "Records read", labels=labels)
        failures = CounterMetricFamily("pgveil_auditor_failures", "Failures of a consumer", labels=labels)
        for drive in self._drives:
            name, lag = [drive.consumer.name], drive.lag()
            size.add_metric(name, lag.bytes)
            age.add_metric(name, lag.seconds)
            records.add_metric(name, drive.records)
            failures.add_metric(name, drive.failures)
        return size, age, records, failures
