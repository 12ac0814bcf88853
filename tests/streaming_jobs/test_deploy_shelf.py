"""A job that derives, deployed on a real cluster: from an earlier release's savepoint, and with other rules."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from grocery.stack import Stack
from ingestion.arrival import Arrival, dumps, read_arrivals
from ingestion.topics import read_topic
from schemas.instants import to_ms
from streaming_jobs.progress import wait_until_processed
from streaming_jobs.submit import job_named
from tests.fixtures.savepoints.make import CASES, in_store, send
from tests.streaming_jobs.test_deploy import begun_with, grocery
from tests.streaming_jobs.test_savepoints import NEWEST, before_it, holds

pytestmark = pytest.mark.system
JOB, ALERTS = "shelf", "alerts.shelf"
FIRST = NEWEST[JOB]


@pytest.fixture(scope="module")
def stack(tmp_path_factory) -> Iterator[Stack]:
    with begun_with(FIRST, JOB, tmp_path_factory.mktemp("deploy-shelf")) as stack:
        yield stack


def processed(stack: Stack) -> None:
    topics = tuple(job_named(JOB).reads.values())
    wait_until_processed(stack.kafka, stack.flink_rest, stack.job(JOB).job_id, JOB, topics)


def told(stack: Stack, store: str | None = None) -> list[dict[str, Any]]:
    """Alert events as they stand on the topic, of one store or of all."""
    alerts = [json.loads(record.value) for record in read_topic(stack.kafka, ALERTS)]
    return [alert for alert in alerts if store in (None, alert["store_id"])]


def low_and_empty(store: str, *, until: str = "23:59", since: str = "00:00") -> list[Arrival]:
    """A golden case in another store, or a part of it by arrival: a facing is low from 15:20 on and empty at 15:55."""
    begin, end = (to_ms(f"2026-10-05T{time}:00.000Z") for time in (since, until))
    return [
        Arrival(item.contract, item.arrived_ms, dumps(in_store(json.loads(item.payload), store)), item.source)
        for item in read_arrivals(CASES / "facing_runs_low_and_empty" / "readings.ndjson")
        if begin <= item.arrived_ms < end
    ]


def test_a_savepoint_of_an_earlier_release_restores_and_open_alerts_go_on_under_their_ids(stack):
    send(stack.kafka, list(read_arrivals(FIRST / "after.ndjson")))
    processed(stack)
    holds(before_it(FIRST), told(stack), FIRST)


def test_changed_rules_keep_open_alerts_and_close_those_whose_rule_is_gone(stack, tmp_path):
    store = "store-901"
    send(stack.kafka, low_and_empty(store, until="16:00"))
    processed(stack)
    before = [(alert["event"], alert["rule"], alert["sequence"]) for alert in told(stack, store)]
    assert before == [
        ("raised", "facing_low", 1),
        ("raised", "facing_empty", 1),
        ("masked", "facing_low", 2),
        ("updated", "facing_empty", 2),
    ]

    text = (FIRST / "rules.yaml").read_text("utf-8").replace("    depends_on: facing_empty\n", "")
    head, tail = text[: text.index("  # Out of stock")], text[text.index("  - alert: facing_low") :]
    rules = tmp_path / "rules.yaml"
    rules.write_text(head + tail, "utf-8")
    said = grocery("deploy", JOB, "--rules", str(rules))
    assert said.exit_code == 0, said.output
    assert "gone    facing_empty, 1 open alert will be closed" in said.output
    assert "savepoints" in stack.job(JOB).resumed_from

    send(stack.kafka, low_and_empty(store, since="16:00"))
    processed(stack)
    alerts = told(stack, store)
    after = [(alert["event"], alert["rule"], alert["sequence"]) for alert in alerts[len(before) :]]
    assert after == [
        ("resolved", "facing_empty", 3),
        ("unmasked", "facing_low", 3),
        ("resolved", "facing_low", 4),
    ]
    assert alerts[len(before)]["reason"] == "rule facing_empty does not judge this device any more"
    assert len({alert["alert_id"] for alert in alerts}) == 2
