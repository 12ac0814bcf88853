"""The job on a real broker and a real cluster, held against the engine alone over the same log."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from alerting.engine import run
from alerting.events import Logged, read_event
from grocery.stack import Stack
from ingestion.arrival import read_arrivals
from ingestion.record import Record
from ingestion.sinks import KafkaSink
from ingestion.topics import read_topic
from schemas.contract import contract
from schemas.instants import to_ms, to_rfc3339
from schemas.validate import validator
from streaming_jobs.progress import counted, running, wait_until_processed
from streaming_jobs.runtime import arguments
from streaming_jobs.submit import job_named, submit
from tests.alerting.logs import CASES, EIGHT, RULES, engine

pytestmark = pytest.mark.integration

JOB, READINGS, ALERTS = "cold_chain", "sensor-readings", "alerts.cold-chain"
WAIT_S = 300
MINE = ("case-", "killed-")
"""How the stores of these tests are called: others have told alerts on the same topic, by other rules."""


@pytest.fixture(scope="module")
def job(stack: Stack) -> Iterator[Stack]:
    """The stack with the job running, from the beginning of the topic."""
    submit(stack, JOB, RULES)
    yield stack
    stack.forget(JOB)


def until(done: Callable[[], bool], what: str, timeout_s: float = WAIT_S) -> None:
    end = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < end, f"waited {timeout_s} s for {what}"
        time.sleep(0.2)


def processed(stack: Stack) -> None:
    wait_until_processed(stack.kafka, stack.flink_rest, stack.job(JOB).job_id, JOB, READINGS, WAIT_S)


def told(stack: Stack) -> list[tuple[str, int, bytes]]:
    """(key, timestamp, value) of every committed alert event of these tests' stores."""
    return [
        (record.key.decode(), record.timestamp, record.value)
        for record in read_topic(stack.kafka, ALERTS)
        if record.key.decode().startswith(MINE)
    ]


def decided_alone(stack: Stack) -> list[tuple[str, int, bytes]]:
    """The same, as the engine alone decides over what is on the topic now."""

    def log() -> Iterator[tuple[str, Logged]]:
        for record in read_topic(stack.kafka, READINGS):
            try:
                event = read_event(record.value)
            except ValueError:
                continue
            if event.store_id.startswith(MINE):
                yield (record.key or b"").decode(), Logged(record.timestamp, event)

    return [
        (alert["store_id"], to_ms(alert["decided_at"]), msgspec.json.encode(alert)) for alert in run(engine(), log())
    ]


def by_step(alerts: list[tuple[str, int, bytes]]) -> dict[tuple[str, int], bytes]:
    return {(event["alert_id"], event["sequence"]): value for _, _, value in alerts for event in [json.loads(value)]}


def excursion(store: str) -> Iterator[Record]:
    """A freezer that gets too warm and then much too warm, and recovers: three alert events."""
    values = [-20.0] * 5 + [-14.0] * 35 + [-11.0] * 32 + [-18.0] * 8
    for minute, value in enumerate(values):
        at = EIGHT + minute * 60_000
        event = {
            "event_id": f"{store}-{minute}",
            "event_time": to_rfc3339(at),
            "store_id": store,
            "schema_version": 1,
            "kind": "reading",
            "device_id": f"{store}-t",
            "asset_id": store,
            "asset_class": "freezer",
            "metric": "temperature",
            "value": value,
            "unit": "Cel",
        }
        yield Record(READINGS, store, msgspec.json.encode(event), at + 300)


def _in_store(event: dict[str, Any], store: str) -> dict[str, Any]:
    """The event as it would come from another store; an asset is unique in the chain."""
    for holder in (event, *event.get("roster", ())):
        if "asset_id" in holder:
            holder["asset_id"] = f"{store}-{holder['asset_id']}"
    return event | {"store_id": store}


def test_the_job_writes_what_the_engine_alone_decides_each_once_and_byte_for_byte(job: Stack):
    poison = [b"{", b"", b'{"event_id":1}', b"\xff\xfe", b'{"a":"\x1e5 1 {}"}', b"[" * 5000]
    with KafkaSink(job.kafka) as sink:
        for number, folder in enumerate(CASES):
            store = f"case-{number}"
            for item in read_arrivals(folder / "readings.ndjson"):
                event = _in_store(json.loads(item.payload), store)
                sink.send(Record(READINGS, store, msgspec.json.encode(event), item.arrived_ms))
                if number == 0:
                    sink.send(Record(READINGS, store, poison[item.arrived_ms % len(poison)], item.arrived_ms))
        for bad in poison:
            sink.send(Record(READINGS, "case-0", bad, EIGHT))
    processed(job)
    alerts, alone = told(job), decided_alone(job)
    assert len(alone) > 20
    assert sorted(alerts) == sorted(alone)
    breaches = validator(contract("alert"))
    for key, timestamp, value in alerts:
        event = json.loads(value)
        assert breaches(event) == []
        assert (key, to_rfc3339(timestamp)) == (event["store_id"], event["decided_at"])
    # Flink gathers figures every ten seconds.
    job_id = job.job(JOB).job_id
    until(lambda: counted(job.flink_rest, job_id).get("unreadable", 0) >= len(poison), "the count of poison", 60)


@pytest.mark.system
def test_killed_task_and_job_managers_neither_lose_nor_repeat_an_alert(job: Stack):
    """A store an excursion, one after the other, so that alerts are told all the time; the processes die meanwhile."""
    before = len(told(job))
    stop, sent = threading.Event(), Counter()

    def send() -> None:
        with KafkaSink(job.kafka) as sink:
            while not stop.wait(0.1):
                for record in excursion(f"killed-{sent['stores']}"):
                    sink.send(record)
                sink.flush()
                sent["stores"] += 1

    def more_alerts(since: int, count: int = 30) -> bool:
        return len(told(job)) >= since + count

    sender = threading.Thread(target=send)
    sender.start()
    try:
        until(lambda: more_alerts(before), "alerts of the first excursions")
        job.kill("taskmanager")
        after_task = len(told(job))
        until(lambda: more_alerts(after_task), "alerts after the task manager's death")
        first = running(job.flink_rest, JOB)
        job.kill("jobmanager")
        after_job = len(told(job))
        until(lambda: running(job.flink_rest, JOB) not in (first, None), "the job to be resumed")
        until(lambda: more_alerts(after_job), "alerts after the job manager's death")
    finally:
        stop.set()
        sender.join()
    processed(job)
    alerts = told(job)
    steps = Counter((event["alert_id"], event["sequence"]) for _, _, value in alerts for event in [json.loads(value)])
    assert [step for step, times in steps.items() if times > 1] == []
    assert by_step(alerts) == by_step(decided_alone(job))
    assert sum(1 for key, _, _ in alerts if key.startswith("killed-")) == 3 * sent["stores"]


def test_in_process_mode_as_on_managed_flink_it_writes_the_same(job: Stack):
    """Begun again without its state: each step a second time, byte for byte. Then it dies in an excursion, and goes on
    from the state that Python's process sent to Flink."""
    once = decided_alone(job)
    job.forget(JOB)
    given = arguments(job.kafka, RULES.read_text("utf-8"), str(RULES), {"python.execution-mode": "process"})
    job.submit(JOB, job_named(JOB).folder / "job.py", given)
    processed(job)
    assert Counter(told(job)) == Counter([*once, *once])

    records = list(excursion("killed-in-process-mode"))
    for part in (records[:60], records[60:]):
        with KafkaSink(job.kafka) as sink:
            for record in part:
                sink.send(record)
        processed(job)
        if part[-1] is not records[-1]:
            job.kill("taskmanager")
    mine = [alert for alert in told(job) if alert[0] == "killed-in-process-mode"]
    assert len(mine) == 3
    assert mine == [alert for alert in decided_alone(job) if alert[0] == "killed-in-process-mode"]
