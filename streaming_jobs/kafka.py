"""Kafka as the jobs' tables. Every connector option stands here, none in a query."""

from __future__ import annotations

TRANSACTION_TIMEOUT_MS = 24 * 3600 * 1000
"""How long a job may be down before the broker throws its pre-committed alerts away. Brokers allow 15 min unless
transaction.max.timeout.ms says otherwise; the local stack's does."""


MAX_DRIFT = "10 min"
"""How far, in arrival time, one topic of a job is read ahead of another. Bounds what waits for its place; a job with a
backlog goes through so much of it in each of ALIGN_EVERY."""
ALIGN_EVERY = "200 ms"
QUIET_AFTER = "10 s"
"""A topic from which nothing comes for so long is not waited for."""


def source(
    table: str, topic: str, bootstrap: str, job: str, *, aligned: bool = False, probes: str | None = None
) -> str:
    """DDL of a topic as it is: each record's key, bytes, coordinates and arrival time, nothing parsed.

    aligned: with a watermark on arrival time, so that the topics of one job are read at the same pace.
    probes: a second topic that is read as well, in a rehearsal; nothing is committed then.

    The job's name is its consumer group, by which its checkpoints tell how far they have come.
    A job without a checkpoint begins at the topic's beginning: the same log gives the same alerts again, and readers
    know them by (alert_id, sequence).
    """
    options = {
        "connector": "kafka",
        "topic": topic,
        "properties.bootstrap.servers": bootstrap,
        "properties.group.id": job,
        "properties.isolation.level": "read_committed",
        "properties.max.poll.records": "5000",
        "properties.client.id.prefix": job,
        "scan.startup.mode": "earliest-offset",
        "key.format": "raw",
        "key.fields": "record_key",
        "value.format": "raw",
        "value.fields-include": "EXCEPT_KEY",
    }
    columns = """
      record_key STRING,
      payload STRING,
      record_offset BIGINT METADATA FROM 'offset' VIRTUAL,
      arrived_at TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL,
      taken_at AS PROCTIME()"""
    if probes is not None:
        options |= {
            "topic": f"{topic};{probes}",
            "properties.group.id": probes,
            "properties.commit.offsets.on.checkpoint": "false",
        }
    if aligned:
        options |= {
            "scan.watermark.emit.strategy": "on-event",
            "scan.watermark.idle-timeout": QUIET_AFTER,
            "scan.watermark.alignment.group": job,
            "scan.watermark.alignment.max-drift": MAX_DRIFT,
            "scan.watermark.alignment.update-interval": ALIGN_EVERY,
        }
        columns += ",\n      WATERMARK FOR arrived_at AS arrived_at"
    return _table(table, columns, options)


def nowhere(table: str, value: str, stamp: str) -> str:
    """DDL of a sink that a rehearsal has in place of a topic."""
    return _table(table, f"store_id STRING, {value} STRING, {stamp} TIMESTAMP_LTZ(3)", {"connector": "blackhole"})


def alert_sink(table: str, topic: str, bootstrap: str, job: str) -> str:
    """DDL of an alert topic: exactly once, keyed by store, the record's timestamp being when the step was decided."""
    return _sink(table, topic, bootstrap, job, "alert", "decided_at")


def metric_sink(table: str, bootstrap: str, job: str) -> str:
    """DDL of the topic of derived metrics: exactly once, keyed by store, stamped with the arrival that gave it."""
    return _sink(table, "derived-metrics", bootstrap, f"derived-{job}", "metric", "derived_at")


def _sink(table: str, topic: str, bootstrap: str, prefix: str, value: str, stamp: str) -> str:
    """The transactional prefix is the job's for good: after a restart, and after a deploy, lingering transactions of
    the last run are found by it and ended; else they would hide everybody's committed records."""
    options = {
        "connector": "kafka",
        "topic": topic,
        "properties.bootstrap.servers": bootstrap,
        "properties.transaction.timeout.ms": str(TRANSACTION_TIMEOUT_MS),
        "sink.delivery-guarantee": "exactly-once",
        "sink.transactional-id-prefix": prefix,
        "key.format": "raw",
        "key.fields": "store_id",
        "value.format": "raw",
        "value.fields-include": "EXCEPT_KEY",
    }
    columns = f"""
      store_id STRING,
      {value} STRING,
      {stamp} TIMESTAMP_LTZ(3) METADATA FROM 'timestamp'"""
    return _table(table, columns, options)


def _table(name: str, columns: str, options: dict[str, str]) -> str:
    listed = ",\n      ".join(f"'{key}' = '{_quoted(value)}'" for key, value in options.items())
    return f"CREATE TEMPORARY TABLE {name} ({columns}\n    ) WITH (\n      {listed}\n    )"


def _quoted(value: str) -> str:
    return value.replace("'", "''")
