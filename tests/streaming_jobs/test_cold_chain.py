"""The job on a real broker and a real cluster, held against the engine alone over the same log."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from alerting.engine import Engine, run
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
from tests.alerting.logs import CASES, EIGHT, MINUTE, RULES, SHIPPED, engine, rules_of

pytestmark = pytest.mark.integration

JOB, READINGS, ALERTS = "cold_chain", "sensor-readings", "alerts.cold-chain"
WAIT_S = 300
MINE = ("case-", "killed-")
"""How the stores of these tests are called: others have told alerts on the same topic, by other rules."""
EVERY_KIND = RULES.with_name("every_kind.yaml")


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


def told(stack: Stack, stores: str | tuple[str, ...] = MINE) -> list[tuple[str, int, bytes]]:
    """(key, timestamp, value) of every committed alert event of the stores that are called so."""
    return [
        (record.key.decode(), record.timestamp, record.value)
        for record in read_topic(stack.kafka, ALERTS)
        if record.key.decode().startswith(stores)
    ]


def decided_alone(
    stack: Stack, stores: str | tuple[str, ...] = MINE, by: Engine | None = None
) -> list[tuple[str, int, bytes]]:
    """The same, as the engine alone decides over what is on the topic now."""

    def log() -> Iterator[tuple[str, Logged]]:
        for record in read_topic(stack.kafka, READINGS):
            try:
                event = read_event(record.value)
            except ValueError:
                continue
            if event.store_id.startswith(stores):
                yield (record.key or b"").decode(), Logged(record.timestamp, event)

    return [
        (alert["store_id"], to_ms(alert["decided_at"]), msgspec.json.encode(alert))
        for alert in run(by or engine(), log())
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


def many_masks(store: str) -> Iterator[Record]:
    """What the golden cases leave out: a warm freezer that is masked by a timetable and as a member of its rack, one
    that freezes too hard, a screen that draws power after closing. Minutes count from eight; it closes at ten."""
    every_day = [{"day": day, "opens": "06:00", "closes": "10:00"} for day in ("mon", "tue", "wed", "thu")]
    assets = [
        {"asset_id": f"{store}-f1", "asset_class": "freezer", "parent_id": f"{store}-rack"},
        {"asset_id": f"{store}-f2", "asset_class": "freezer"},
        {"asset_id": f"{store}-rack", "asset_class": "rack"},
        {"asset_id": f"{store}-screen", "asset_class": "signage"},
    ]

    def event(minute: int, kind: str, **more: Any) -> Record:
        at = EIGHT + minute * MINUTE
        name = more.get("asset_id", "tick")
        said = {"event_id": f"{store}-{name}-{minute}", "event_time": to_rfc3339(at), "store_id": store, "kind": kind}
        return Record(READINGS, store, msgspec.json.encode(said | {"schema_version": 1} | more), at + 300)

    yield event(0, "tick", store={"time_zone": "UTC", "opening_hours": every_day}, assets=assets)
    for minute in range(1, 300):
        values = {
            "f1": ("freezer", "temperature", -13.5 if 90 <= minute < 270 else -18 - minute % 3 / 10),
            "f2": ("freezer", "temperature", -22 if minute < 60 else -18 - minute % 2 / 10),
            "rack": ("rack", "power", 0 if 200 <= minute < 230 else 2.5),
            "screen": ("signage", "power", 3 if 100 <= minute < 150 else 0),
        }
        for asset, (asset_class, metric, value) in values.items():
            named = {"asset_id": f"{store}-{asset}", "device_id": f"{store}-{asset}-d"}
            yield event(minute, "reading", asset_class=asset_class, metric=metric, value=value, **named)


def test_every_kind_of_rule_tells_the_same_on_the_cluster_as_alone_byte_for_byte(job: Stack, tmp_path: Path):
    """The shipped rules, and beside them rules that use every word of the language, from the beginning of the topic."""
    others = EVERY_KIND.read_text("utf-8").partition("rules:\n")[2].replace("store_silent", "whole_store_silent")
    rules = tmp_path / "rules.yaml"
    rules.write_text(f"{SHIPPED.read_text('utf-8')}\n{others}", "utf-8")
    job.forget(JOB)
    with KafkaSink(job.kafka) as sink:
        for number, folder in enumerate(CASES):
            store = f"rules-{number}"
            for item in read_arrivals(folder / "readings.ndjson"):
                # Its assets keep their names: commands name alerts, whose ids are made of them.
                event = item.payload.replace(b'"store-001"', f'"{store}"'.encode())
                sink.send(Record(READINGS, store, event, item.arrived_ms))
        for record in many_masks("rules-masks"):
            sink.send(record)
    submit(job, JOB, rules)
    processed(job)
    alerts, alone = told(job, "rules-"), decided_alone(job, "rules-", Engine(rules_of(rules)))
    assert sorted(alerts) == sorted(alone)
    events = [json.loads(value) for _, _, value in alerts]
    assert {event["rule"] for event in events} == {rule.alert for rule in rules_of(rules).rules} | {"alert-command"}
    steps = {"raised", "updated", "escalated", "deescalated", "acknowledged", "ack_expired", "silenced", "unsilenced"}
    assert {event["event"] for event in events} >= steps | {"masked", "unmasked", "resolved", "closed", "rejected"}
    masked = {
        (event["rule"], "part_of" in event, event.get("until", "")[11:19])
        for event in events
        if event["event"] == "masked" and event["store_id"] == "rules-masks"
    }
    assert masked >= {("too_warm", False, "11:40:00"), ("freezer_too_warm", True, "")}
    breaches = validator(contract("alert"))
    assert [event for event in events if breaches(event)] == []
