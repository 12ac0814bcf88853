"""Bronze rows as a load would have written them, without a broker."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from batch_jobs import tables
from batch_jobs.run import Run
from schemas.contract import Contract, contract

NOON = datetime(2026, 10, 5, 12, tzinfo=UTC)
READINGS = contract("sensor-readings")


def a_run(lake: Path, name: str = "r1") -> Run:
    return Run(name, NOON + timedelta(days=1), str(lake))


def reading(number: int, **changes: Any) -> dict[str, Any]:
    """A good temperature reading, one a minute; a change to None takes the field away."""
    event = {
        "event_id": f"reading-{number}",
        "event_time": f"{NOON + timedelta(minutes=number):%Y-%m-%dT%H:%M:%S}.000Z",
        "store_id": "store-001",
        "schema_version": 1,
        "kind": "reading",
        "device_id": "s001-freezer-01-t",
        "asset_id": "s001-freezer-01",
        "asset_class": "freezer",
        "metric": "temperature",
        "value": -18.5,
        "unit": "Cel",
    }
    return {name: value for name, value in (event | changes).items() if value is not None}


def receive(
    spark: SparkSession,
    lake: Path,
    payloads: list[dict[str, Any] | str | None],
    *,
    item: Contract = READINGS,
    first_offset: int = 0,
    partition: int = 0,
    arrived_at: datetime = NOON,
) -> None:
    """Append payloads to bronze at rising offsets."""
    records = [(partition, first_offset + number, arrived_at, payload) for number, payload in enumerate(payloads)]
    receive_records(spark, lake, records, item)


def receive_records(
    spark: SparkSession,
    lake: Path,
    records: list[tuple[int, int, datetime, dict[str, Any] | str | None]],
    item: Contract,
) -> None:
    """Append (partition, offset, arrival, payload) to bronze, in one commit."""
    layout = tables.bronze_layout(str(lake), item)
    tables.ensure(spark, layout)
    rows = [
        (
            json.dumps(payload) if isinstance(payload, dict) else payload,
            "store-001",
            "cluster",
            item.topic,
            "topic-id",
            partition,
            offset,
            arrived_at,
            NOON,
            "load",
            arrived_at.date(),
        )
        for partition, offset, arrived_at, payload in records
    ]
    spark.createDataFrame(rows, layout.columns).coalesce(1).write.format("delta").mode("append").save(layout.path)


def versions(spark: SparkSession, lake: Path) -> dict[str, int]:
    """Every table of the lake with its version."""
    logs = sorted(lake.glob("*/*/_delta_log"))
    return {str(log.parent.relative_to(lake)): tables.snapshot(spark, str(log.parent)).version for log in logs}
