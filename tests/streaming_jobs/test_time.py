"""Right under time: stories in which it goes wrong, each held against what must be told and against the engine alone.

The job on the real cluster is stopped in the middle of all of them, with a savepoint, and started from that when the
rest has been written.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from alerting.engine import Engine, run
from alerting.events import Logged, read_event
from alerting.rules import parse_rules
from grocery.stack import Stack
from ingestion.record import Record
from ingestion.sinks import KafkaSink
from ingestion.topics import read_topic
from schemas.contract import contract
from schemas.validate import validator
from streaming_jobs.progress import wait_until_processed
from streaming_jobs.submit import submit
from tests.streaming_jobs.stories import STORIES, Story

JOB, READINGS, ALERTS = "cold_chain", "sensor-readings", "alerts.cold-chain"
RULES = Path(__file__).with_name("time.yaml")
WAIT_S = 300

Alerts = list[dict[str, Any]]


def of_engine_alone(story: Story) -> Alerts:
    """What the engine tells of a story, whole."""
    engine = Engine(parse_rules(RULES.read_text("utf-8"), str(RULES)))
    parts = [*story.part(before_the_stop=True), *story.part(before_the_stop=False)]
    return run(engine, ((story.store, Logged(ms, read_event(payload))) for ms, payload in parts))


@pytest.fixture(scope="module")
def of_job(stack: Stack) -> Iterator[dict[str, Alerts]]:
    """What the job has told of each store, in the order of the topic."""

    def processed() -> None:
        wait_until_processed(stack.kafka, stack.flink_rest, stack.job(JOB).job_id, JOB, READINGS, WAIT_S)

    def write(before_the_stop: bool) -> None:
        with KafkaSink(stack.kafka) as sink:
            for store, story in STORIES.items():
                for arrived_ms, payload in story.part(before_the_stop=before_the_stop):
                    sink.send(Record(READINGS, store, payload, arrived_ms))

    write(before_the_stop=True)
    submit(stack, JOB, RULES)
    processed()
    saved = stack.savepoint(JOB)
    stack.cancel(JOB)
    write(before_the_stop=False)
    submit(stack, JOB, RULES, start_from=saved)
    processed()
    told = {store: [] for store in STORIES}
    for record in read_topic(stack.kafka, ALERTS):
        if record.key.decode() in told:
            told[record.key.decode()].append(msgspec.json.decode(record.value))
    yield told
    stack.forget(JOB)


def short(alerts: Alerts) -> list[tuple[str, ...]]:
    return [
        (alert["event"], alert["rule"], alert["asset_id"], alert["starts_at"][11:19], alert["decided_at"][11:19])
        for alert in alerts
    ]


@pytest.mark.parametrize("store", STORIES)
def test_the_engine_alone_tells_of_a_story_what_must_be_told(store):
    assert short(of_engine_alone(STORIES[store])) == STORIES[store].told


@pytest.mark.parametrize("store", STORIES)
def test_the_log_of_a_story_keeps_its_contract(store):
    breaches = validator(contract("sensor-readings"))
    for _, event in STORIES[store].log:
        assert breaches(msgspec.json.decode(msgspec.json.encode(event))) == []


@pytest.mark.system
@pytest.mark.parametrize("store", STORIES)
def test_the_job_tells_of_a_story_what_must_be_told_and_nothing_twice(store, of_job):
    assert short(of_job[store]) == STORIES[store].told
    plain = [msgspec.json.decode(msgspec.json.encode(alert)) for alert in of_engine_alone(STORIES[store])]
    assert of_job[store] == plain


@pytest.mark.system
def test_disorder_and_doubles_change_neither_an_alerts_id_nor_its_beginning(of_job):
    raised, resolved = of_job["time-disordered"]
    assert raised["alert_id"] == resolved["alert_id"] == STORIES["time-disordered"].alert_id("too_warm", 10)
    assert resolved["ends_at"][11:19] == "09:30:00"
    assert [raised["sequence"], resolved["sequence"]] == [1, 2]


@pytest.mark.parametrize("store", ["time-offline", "time-offline-newest"])
def test_what_an_offline_device_delivers_is_told_as_after_the_fact(store):
    told = [alert for alert in of_engine_alone(STORIES[store]) if alert["rule"] in ("too_warm", "warm_in_sum")]
    worse = [alert for alert in told if alert["event"] in ("raised", "escalated")]
    assert worse
    assert all(alert["retrospective"] for alert in worse)


@pytest.mark.system
def test_a_store_that_falls_silent_is_one_alert_that_names_its_assets(of_job):
    raised, resolved, alone = of_job["time-silent"]
    members = [{"asset_id": f"time-silent-f{number}"} for number in (1, 2, 3)]
    assert raised["members"] == resolved["members"] == members
    assert raised["severity"] == "critical"
    assert "part_of" not in alone


@pytest.mark.system
def test_an_alert_that_was_open_when_everything_stopped_is_the_same_one_afterwards(of_job):
    raised, resolved = of_job["time-stopped"]
    assert raised["alert_id"] == resolved["alert_id"] == STORIES["time-stopped"].alert_id("too_warm", 80)
    assert resolved["ends_at"][11:19] == "12:20:00"


@pytest.mark.system
def test_what_fell_due_while_only_the_job_stood_still_is_told_as_of_its_time(of_job):
    raised, escalated, *_ = of_job["time-backlog"]
    assert raised["alert_id"] == STORIES["time-backlog"].alert_id("too_warm", 105)
    assert not any(alert.get("retrospective") for alert in of_job["time-backlog"])
    assert escalated["severity"] == "critical"
