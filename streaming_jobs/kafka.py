"""Kafka as the jobs' tables. Every connector option stands here, none in a query."""

from __future__ import annotations

TRANSACTION_TIMEOUT_MS = 24 * 3600 * 1000
"""How long a job may be down before the broker throws its pre-committed alerts away. Brokers allow 15 min unless
transaction.max.timeout.ms says otherwise; the local stack's does."""


def source(table: str, topic: str, bootstrap: str, job: str) -> str:
    """DDL of a topic as it is: each record's key, bytes, coordinates and arrival time, nothing parsed.

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
    return _table(table, columns, options)


def alert_sink(table: str, topic: str, bootstrap: str, job: str) -> str:
    """DDL of an alert topic: exactly once, keyed by store, the record's timestamp being when the step was decided.

    The transactional prefix is the job's for good: after a restart, and after a deploy, lingering transactions of the
    last run are found by it and ended; else they would hide everybody's committed alerts.
    """
    options = {
        "connector": "kafka",
        "topic": topic,
        "properties.bootstrap.servers": bootstrap,
        "properties.transaction.timeout.ms": str(TRANSACTION_TIMEOUT_MS),
        "sink.delivery-guarantee": "exactly-once",
        "sink.transactional-id-prefix": job,
        "key.format": "raw",
        "key.fields": "store_id",
        "value.format": "raw",
        "value.fields-include": "EXCEPT_KEY",
    }
    columns = """
      store_id STRING,
      alert STRING,
      decided_at TIMESTAMP_LTZ(3) METADATA FROM 'timestamp'"""
    return _table(table, columns, options)


def _table(name: str, columns: str, options: dict[str, str]) -> str:
    listed = ",\n      ".join(f"'{key}' = '{_quoted(value)}'" for key, value in options.items())
    return f"CREATE TEMPORARY TABLE {name} ({columns}\n    ) WITH (\n      {listed}\n    )"


def _quoted(value: str) -> str:
    return value.replace("'", "''")
