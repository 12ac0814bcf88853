"""Savepoints of earlier releases restore, and the job goes on as if nothing had been between."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from alerting.engine import Engine, run
from alerting.events import Logged, read_event
from alerting.rules import parse_rules
from grocery.stack import Stack
from ingestion.arrival import read_arrivals
from ingestion.topics import read_topic
from streaming_jobs.progress import wait_until_processed
from streaming_jobs.submit import submit
from tests.fixtures.savepoints.make import ALERTS, JOB, READINGS, send

FIXTURES = sorted(
    path.parent for path in (Path(__file__).parents[1] / "fixtures" / "savepoints").glob("cold_chain-*/_metadata")
)


@pytest.fixture
def own_stack(tmp_path) -> Iterator[Stack]:
    """A broker whose topics begin with the fixture's log: a savepoint holds offsets."""
    stack = Stack(tmp_path / "stack", tmp_path / "logs")
    stack.up(owner=os.getpid())
    yield stack
    stack.wipe()


def alone(folder: Path, *parts: str) -> list[dict[str, Any]]:
    """What the engine of today decides over these parts of the fixture's log, as JSON has it."""
    rules = folder / "rules.yaml"
    log = [
        (event.store_id, Logged(item.arrived_ms, event))
        for part in parts
        for item in read_arrivals(folder / part)
        for event in [read_event(item.payload)]
    ]
    engine = Engine(parse_rules(rules.read_text("utf-8"), str(rules)))
    return json.loads(msgspec.json.encode(run(engine, log)))


def steps(alerts: list[dict[str, Any]]) -> dict[tuple[str, int], tuple[str, ...]]:
    """What each step says, by what readers know it by."""
    said = {
        (alert["alert_id"], alert["sequence"]): tuple(
            alert.get(field) for field in ("event", "rule", "severity", "device_id", "starts_at", "decided_at")
        )
        for alert in alerts
    }
    assert len(said) == len(alerts), "a step was told twice"
    return said


@pytest.mark.integration
@pytest.mark.parametrize("folder", FIXTURES, ids=lambda folder: folder.name)
def test_a_savepoint_of_an_earlier_release_restores_and_open_alerts_go_on_under_their_ids(folder, own_stack):
    offsets = send(own_stack.kafka, list(read_arrivals(folder / "before.ndjson")))
    assert {str(part): end for part, end in offsets.items()} == json.loads((folder / "offsets.json").read_text())
    before = [json.loads(line) for line in (folder / "alerts.ndjson").read_bytes().splitlines()]

    job_id = submit(own_stack, JOB, folder / "rules.yaml", start_from=folder)
    send(own_stack.kafka, list(read_arrivals(folder / "after.ndjson")))
    wait_until_processed(own_stack.kafka, own_stack.flink_rest, job_id, JOB, READINGS)

    after = [json.loads(record.value) for record in read_topic(own_stack.kafka, ALERTS)]
    last = {alert["alert_id"]: alert for alert in before}
    firing = {alert_id for alert_id, alert in last.items() if alert["status"] != "resolved"}
    going_on = {alert["alert_id"]: alert["sequence"] for alert in reversed(after) if alert["alert_id"] in firing}
    assert going_on == {alert_id: last[alert_id]["sequence"] + 1 for alert_id in firing}
    assert steps(before + after) == steps(alone(folder, "before.ndjson", "after.ndjson"))


@pytest.mark.parametrize("folder", FIXTURES, ids=lambda folder: folder.name)
def test_the_engine_of_today_tells_the_alerts_that_were_told_before_the_savepoint(folder):
    """Else the test above could pass with a log that decides nothing."""
    before = [json.loads(line) for line in (folder / "alerts.ndjson").read_bytes().splitlines()]
    assert before
    assert steps(before) == steps(alone(folder, "before.ndjson"))
