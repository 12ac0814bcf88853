"""The job on a real broker and a real cluster, held against deriver and engine alone over the same log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from grocery.settings import PROJECT
from grocery.stack import Stack
from ingestion.arrival import read_arrivals
from ingestion.record import Record as Written
from ingestion.sinks import KafkaSink
from ingestion.topics import read_topic
from schemas.instants import to_ms
from streaming_jobs.derive import READINGS, Derivation, Record, run
from streaming_jobs.progress import wait_until_processed
from streaming_jobs.submit import submit
from streaming_jobs.utilities.deriver import Utilities
from tests.streaming_jobs.utilities.test_cases import CASES, shipped

pytestmark = pytest.mark.system

JOB = "utilities"
WAIT_S = 300


@pytest.fixture(scope="module")
def job(stack: Stack) -> Iterator[Stack]:
    """The stack with the job running, from the beginning of the topic."""
    submit(stack, JOB, PROJECT / "chain" / "rules" / "utilities.yaml")
    yield stack
    stack.forget(JOB)


def in_store(event: dict[str, Any], store: str) -> dict[str, Any]:
    """The event as it would come from another store; an asset is unique in the chain."""
    for holder in (event, *event.get("roster", ()), *event.get("assets", ())):
        if "asset_id" in holder:
            holder["asset_id"] = f"{store}-{holder['asset_id']}"
        if "device_id" in holder:
            holder["device_id"] = f"{store}-{holder['device_id']}"
    return event | {"store_id": store}


def test_the_job_writes_what_deriver_and_engine_alone_decide_each_once_and_byte_for_byte(job: Stack):
    stores = {f"meters-{number}": folder for number, folder in enumerate(CASES)}
    with KafkaSink(job.kafka) as sink:
        for store, folder in stores.items():
            for item in read_arrivals(folder / "readings.ndjson"):
                event = msgspec.json.encode(in_store(json.loads(item.payload), store))
                sink.send(Written(READINGS, store, event, item.arrived_ms))
            # Of no use to this job, and left out by its query.
            sink.send(Written(READINGS, store, b'{"metric":"temperature"', item.arrived_ms))
    wait_until_processed(job.kafka, job.flink_rest, job.job(JOB).job_id, JOB, READINGS, WAIT_S)

    log = [
        (record.key.decode(), Record(record.timestamp, READINGS, record.offset, record.value.decode()))
        for record in read_topic(job.kafka, READINGS)
        if record.key and record.key.decode() in stores and b'"metric":"temperature"' not in record.value
    ]
    alerts, metrics, notes = run(Derivation(JOB, Utilities(), shipped()), log)
    assert not +notes

    def told(topic: str) -> list[tuple[str, int, bytes]]:
        found = ((record.key.decode(), record.timestamp, record.value) for record in read_topic(job.kafka, topic))
        return sorted(item for item in found if item[0] in stores)

    assert len(alerts) >= 18 and len(metrics) > 100
    assert told("alerts.utility") == sorted(
        (alert["store_id"], to_ms(alert["decided_at"]), msgspec.json.encode(alert)) for alert in alerts
    )
    assert told("derived-metrics") == sorted(
        (metric["store_id"], clock, msgspec.json.encode(metric)) for clock, metric in metrics
    )
