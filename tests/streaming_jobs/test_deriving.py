"""Jobs that derive, on a real broker and a real cluster, held against the derivation alone over the same topics."""

from __future__ import annotations

import json
from collections.abc import Iterator

import msgspec
import pytest

from grocery.stack import Stack
from ingestion.arrival import read_arrivals
from ingestion.record import Record
from ingestion.sinks import KafkaSink
from ingestion.topics import read_topic
from schemas.instants import to_ms
from streaming_jobs import derive
from streaming_jobs.progress import counted, wait_until_processed
from streaming_jobs.submit import job_named, submit
from tests.streaming_jobs.logs import DERIVED_CASES, JOBS, PROJECT, derivation
from tests.streaming_jobs.test_cases import expected

pytestmark = pytest.mark.system

Told = list[tuple[str, int, bytes]]
"""(key, timestamp, value)."""
WAIT_S = 300


def prefix(name: str) -> str:
    """Of these tests' stores: others leave records on the same topics, which a job that begins anew tells again."""
    return f"{name.replace('_', '-')}-"


def records(name: str) -> list[Record]:
    """The job's cases, a store each, with a record that is no event in each of its topics; in order of arrival."""
    found = []
    for number, folder in enumerate(folder for folder in DERIVED_CASES if expected(folder)["job"] == name):
        store = f"{prefix(name)}{number}"
        arrivals = list(read_arrivals(folder / "readings.ndjson"))
        for item in arrivals:
            event = json.loads(item.payload) | {"store_id": store}
            found.append(Record(item.contract, store, msgspec.json.encode(event), item.arrived_ms))
        middle = arrivals[len(arrivals) // 2].arrived_ms
        found += [
            Record(topic, store, b'{"kind":"tick","zone_kind":"facing"', middle)
            for topic in job_named(name).reads.values()
        ]
    return sorted(found, key=lambda record: record.timestamp_ms)


def send(stack: Stack, found: list[Record]) -> None:
    with KafkaSink(stack.kafka) as sink:
        for record in found:
            sink.send(record)


def start(stack: Stack, name: str) -> None:
    submit(stack, name, PROJECT / "chain" / "rules" / job_named(name).rules)


def processed(stack: Stack, name: str) -> None:
    topics = tuple(job_named(name).reads.values())
    wait_until_processed(stack.kafka, stack.flink_rest, stack.job(name).job_id, name, topics, WAIT_S)


def in_order(stack: Stack, name: str) -> None:
    """What differs otherwise follows from it: on a machine so busy that a topic is silent for ten seconds, nobody waits
    for that topic (docs/decisions.md)."""
    assert counted(stack.flink_rest, stack.job(name).job_id).get("disordered") == 0


def alone(stack: Stack, name: str) -> tuple[Told, Told]:
    """Alerts and derived metrics as the derivation alone gives them over what is on the topics of these stores."""
    job = derivation(name)

    def log() -> Iterator[tuple[str, derive.Record]]:
        for topic in job_named(name).reads.values():
            for record in read_topic(stack.kafka, topic):
                value = record.value.decode("utf-8", "replace")
                if record.key.decode().startswith(prefix(name)) and (topic != derive.READINGS or derive.TICK in value):
                    yield record.key.decode(), derive.Record(record.timestamp, topic, record.offset, value)

    alerts, metrics, _ = derive.run(job, sorted(log(), key=lambda pair: pair[1][:3]))
    return (
        sorted((event["store_id"], to_ms(event["decided_at"]), msgspec.json.encode(event)) for event in alerts),
        sorted((event["store_id"], clock, msgspec.json.encode(event)) for clock, event in metrics),
    )


def told(stack: Stack, name: str) -> tuple[Told, Told]:
    """The same, as they are on the job's topics."""
    topic = derivation(name).engine.rules.topic
    alerts, metrics = (
        [
            (record.key.decode(), record.timestamp, record.value)
            for record in read_topic(stack.kafka, written)
            if record.key.decode().startswith(prefix(name))
        ]
        for written in (topic, "derived-metrics")
    )
    return sorted(alerts), sorted(item for item in metrics if json.loads(item[2])["job"] == name)


@pytest.mark.parametrize("name", JOBS)
def test_a_job_with_a_backlog_that_is_stopped_half_way_derives_and_decides_all_once_and_byte_for_byte(
    stack: Stack, name: str
):
    log = records(name)
    send(stack, log[: len(log) // 2])
    start(stack, name)
    try:
        processed(stack, name)
        in_order(stack, name)
        first = told(stack, name)
        stack.cancel(name)
        send(stack, log[len(log) // 2 :])
        start(stack, name)
        processed(stack, name)
        alerts, metrics = told(stack, name)
        assert 0 < len(first[1]) < len(metrics)
        in_order(stack, name)
        assert (alerts, metrics) == alone(stack, name)
        assert len(alerts) >= 4
    finally:
        stack.forget(name)
