"""What the guard sees, for Prometheus. Names and meanings: docs/operations.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from guard.judge import Thing, Verdict


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One look's figures. unused: job -> reason -> events the engine could not use. open_alerts: by (topic, severity),
    None until they were read. pending: events of the guard that are not on their topic yet."""

    verdict: Verdict
    troubles: tuple[Thing, ...]
    unused: Mapping[str, Mapping[str, int]]
    open_alerts: Mapping[tuple[str, str], int] | None
    pending: int
    looks: int
    looked_at: float


@dataclass(eq=False)
class Metrics(Collector):
    """Answers a scrape with the newest snapshot, so that what is gone leaves no stale series."""

    snapshot: Snapshot | None = None

    @contextmanager
    def served(self, port: int, address: str = "127.0.0.1") -> Iterator[int]:
        """Serve /metrics for the block; gives the port, any free one for 0. Raises OSError where it is taken."""
        registry = CollectorRegistry()
        registry.register(self)
        server, thread = start_http_server(port, addr=address, registry=registry)
        try:
            yield server.server_port
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        now = self.snapshot
        if now is None:
            return
        yield _counter("grocery_guard_looks", "Looks at the pipeline since the guard began.", now.looks)
        yield _gauge("grocery_guard_last_look_timestamp_seconds", "When the guard looked last, epoch.", now.looked_at)
        yield _gauge("grocery_guard_events_pending", "Alert events that wait for the broker.", now.pending)
        yield _gauge("grocery_broker_up", "1 where the broker answered the last look.", now.verdict.broker)
        yield _gauge("grocery_flink_up", "1 where Flink answered the last look.", now.verdict.flink)
        yield from self._jobs(now)
        yield from self._rest(now)

    def _jobs(self, now: Snapshot) -> Iterator[Metric]:
        jobs = now.verdict.jobs
        up = GaugeMetricFamily("grocery_job_up", "1 where the job and all its tasks run.", labels=["job"])
        records = GaugeMetricFamily("grocery_job_lag_records", "Records it has not read.", labels=["job"])
        seconds = GaugeMetricFamily(
            "grocery_job_lag_seconds", "How long ago the record came that it reads next.", labels=["job"]
        )
        checkpoint = GaugeMetricFamily(
            "grocery_job_last_checkpoint_age_seconds", "Since its last completed checkpoint.", labels=["job"]
        )
        restarts = CounterMetricFamily("grocery_job_restarts", "Restarts, by Flink or anew.", labels=["job"])
        checkpoints = CounterMetricFamily(
            "grocery_job_checkpoints", "Checkpoints that ended.", labels=["job", "result"]
        )
        for name, job in jobs.items():
            for family, value in (
                (up, job.up),
                (records, job.behind_records),
                (seconds, job.behind_s),
                (checkpoint, job.checkpoint_age_s),
                (restarts, job.restarts),
            ):
                if value is not None:
                    family.add_metric([name], value)
            checkpoints.add_metric([name, "completed"], job.completed)
            checkpoints.add_metric([name, "failed"], job.failed)
        unused = CounterMetricFamily(
            "grocery_engine_unused_events",
            "Events the engine could not use since the job's last start.",
            labels=["job", "reason"],
        )
        for name, reasons in now.unused.items():
            for reason, count in reasons.items():
                unused.add_metric([name, reason], count)
        yield from (up, records, seconds, checkpoint, restarts, checkpoints, unused)

    def _rest(self, now: Snapshot) -> Iterator[Metric]:
        ages = GaugeMetricFamily(
            "grocery_store_last_record_age_seconds",
            "Since the store's last tick (feed ticker) or reading (feed ingestion).",
            labels=["store_id", "feed"],
        )
        for store, feeds in now.verdict.ages.items():
            for feed, age in feeds.items():
                ages.add_metric([store, feed], age)
        troubles = GaugeMetricFamily(
            "grocery_guard_trouble",
            "1 for each thing the guard finds wrong now.",
            labels=["rule", "store_id", "asset_id"],
        )
        for thing in now.troubles:
            troubles.add_metric(list(thing), 1)
        yield from (ages, troubles)
        if now.open_alerts is not None:
            alerts = GaugeMetricFamily("grocery_alerts_open", "Alerts that are open.", labels=["topic", "severity"])
            for labels, count in now.open_alerts.items():
                alerts.add_metric(list(labels), count)
            yield alerts


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)
