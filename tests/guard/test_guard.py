"""The guard on a real broker and a real cluster: what it tells is on the topic, once, and over when it is over."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from typer.testing import CliRunner

from grocery.cli import app
from grocery.settings import settings
from grocery.stack import Stack, flink
from guard.judge import Limits
from guard.run import Guard
from guard.seen import INGESTION, TICKER
from ingestion.record import Record
from ingestion.reference import publish
from ingestion.sinks import KafkaSink
from ingestion.ticker import tick
from ingestion.topics import PLATFORM_ALERTS, read_topic
from schemas.contract import contract
from schemas.instants import to_ms, to_rfc3339
from schemas.validate import validator
from streaming_jobs.submit import submit
from tests.alerting.logs import RULES
from tests.guard.test_metrics import scraped
from tests.ingestion.example import reading, store

pytestmark = pytest.mark.integration

JOB, NOBODY = "cold_chain", "http://127.0.0.1:1"
STORES = ("store-961", "store-962", "store-963")
QUICK = Limits(
    look_s=0.5,
    first_s=1,
    silent_s=1,
    down_s=2,
    checkpoint_s=4,
    lag_s=4,
    lag_over_s=2,
    restarts=2,
    calm_s=4,
    unheard_s=4,
    group_s=3,
)


def told(bootstrap: str, since_ms: int) -> list[dict[str, Any]]:
    """Events of the guard's topic, without the watchdog's, in the order in which they were told."""
    events = [json.loads(record.value) for record in read_topic(bootstrap, PLATFORM_ALERTS)]
    fresh = [event for event in events if to_ms(event["decided_at"]) >= since_ms and event["rule"] != "watchdog"]
    return sorted(fresh, key=lambda event: (event["decided_at"], event["sequence"]))


def steps(events: list[dict[str, Any]], *rules: str) -> list[tuple[str, str, str]]:
    return [(event["rule"], event["asset_id"], event["event"]) for event in events if event["rule"] in rules]


def now_ms() -> int:
    return round(time.time() * 1000)


def looks(guard: Guard, done: Callable[[], object], what: str, timeout_s: float = 90) -> None:
    end = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < end, f"waited {timeout_s} s for {what}"
        guard.look()
        time.sleep(guard.limits.look_s)


@pytest.fixture(scope="module")
def stores(broker: str) -> Iterator[tuple[str, ...]]:
    """Three stores of these tests' own; retired afterwards, so that nobody misses them."""
    publish([("stores", store(name)) for name in STORES], broker)
    yield STORES
    retired = {"status": "retired", "event_time": "2026-01-01T00:00:00.000Z"}
    publish([("stores", store(name, **retired)) for name in STORES], broker)


def ticks(sink: KafkaSink, names: tuple[str, ...], at_ms: int) -> None:
    for name in names:
        sink.send(tick(name, at_ms))
    sink.flush()


def test_with_what_is_shipped_a_stopped_ticker_is_told_within_a_minute(broker: str, stores, monkeypatch):
    """The guard begins 15 s after the last tick: it finds the ticks of the time before in the log."""
    last = now_ms() - 15_000
    with KafkaSink(broker) as sink:
        for ago in range(60_000, -1, -5_000):
            ticks(sink, stores, last - ago)
    guard, since = Guard(broker, NOBODY, frozenset, say=lambda _: None), now_ms()
    try:
        looks(guard, lambda: steps(told(broker, since), "store_unmonitored"), "the alert")
        (alert,) = told(broker, since)
        assert (alert["store_id"], alert["asset_id"]) == ("chain", TICKER)
        assert {member["asset_id"] for member in alert["members"]} == set(stores)
        assert to_ms(alert["decided_at"]) - last <= 60_000
        assert abs(to_ms(alert["starts_at"]) - last) <= 1_000
        assert validator(contract("alert"))(alert) == []
        monkeypatch.setenv("GROCERY_KAFKA", broker)
        settings.cache_clear()
        shown = CliRunner().invoke(app, ["alerts", "list"])
        assert "store_unmonitored" in shown.stdout
        with KafkaSink(broker) as sink:
            ticks(sink, stores, now_ms())
        looks(guard, lambda: len(told(broker, since)) > 1, "the end of the alert")
    finally:
        guard.close()
        monkeypatch.undo()
        settings.cache_clear()
    assert [event["event"] for event in told(broker, since)] == ["raised", "resolved"]


def test_one_silent_store_is_one_alert_though_the_guard_begins_anew_and_the_broker_hangs(stack: Stack, stores):
    broker, since, said = stack.kafka, now_ms(), []

    def guard() -> Guard:
        return Guard(broker, NOBODY, frozenset, QUICK, say=said.append)

    watched = guard()
    with KafkaSink(broker) as sink:

        def speak(*names: str) -> None:
            for name in names:
                at = now_ms()
                event = reading(event_id=f"{name}-{at}", store_id=name, event_time=to_rfc3339(at))
                sink.send(Record("sensor-readings", name, json.dumps(event).encode(), at))
            ticks(sink, stores, now_ms())

        def until(done: Callable[[], object], names: tuple[str, ...], what: str) -> None:
            def look() -> object:
                speak(*names)
                return done()

            looks(watched, look, what)

        def mine() -> list[dict[str, Any]]:
            return [event for event in told(broker, since) if event["store_id"] == stores[1]]

        until(lambda: len(watched.look().ages) == 3, stores, "every store to be heard")
        began = time.monotonic()
        until(lambda: time.monotonic() > began + 4, stores, "the usual gaps")
        until(mine, (stores[0], stores[2]), "the alert")
        watched.close()
        watched = guard()
        began = time.monotonic()
        until(lambda: time.monotonic() > began + 4, (stores[0], stores[2]), "the second guard to find out")
        assert [event["event"] for event in mine()] == ["raised"]

        with stopped(stack.pid("broker")):
            looks(watched, lambda: any("broker_not_answering" in line for line in said), "the log to say so")
            assert watched.metrics.snapshot.verdict.broker is False
            assert watched.metrics.snapshot.pending > 0
        until(lambda: not steps(told(broker, since), "store_unmonitored")[1:], stores, "the broker")
        until(lambda: len(mine()) > 1, stores, "the end of the alert")
    watched.close()
    first, last = mine()
    assert (first["asset_id"], first["event"], last["event"]) == (INGESTION, "raised", "resolved")
    assert (first["alert_id"], first["sequence"], last["sequence"]) == (last["alert_id"], 1, 2)
    assert steps(told(broker, since), "broker_not_answering") == [
        ("broker_not_answering", "broker", "raised"),
        ("broker_not_answering", "broker", "resolved"),
    ]


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that lives and gives no answer."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.timeout(300)
def test_a_job_that_hangs_ends_or_restarts_is_told_and_over_when_it_runs_well(stack: Stack):
    broker, since = stack.kafka, now_ms()
    submit(stack, JOB, RULES)
    guard = Guard(broker, stack.flink_rest, lambda: stack.expected_jobs() & {JOB}, QUICK, say=lambda _: None)
    rules = ("job_not_running", "checkpoints_stopped", "job_lags", "job_restarts_in_circles")

    def open_rules() -> set[str]:
        """Rules of which an alert is open on the topic."""
        newest = {event["rule"]: event["status"] for event in told(broker, since) if event["asset_id"] == JOB}
        return {rule for rule, status in newest.items() if status == "firing"}

    def well() -> bool:
        job = guard.look().jobs[JOB]
        return job.up and job.completed > 0 and job.behind_records == 0 and not open_rules()

    try:
        looks(guard, well, "the job to run")
        with stopped(stack.pid("taskmanager")):
            with KafkaSink(broker) as sink:
                for name in STORES:
                    sink.send(tick(name, now_ms()))
            looks(guard, lambda: open_rules() == {"checkpoints_stopped", "job_lags"}, "a job that hangs to be told")
        looks(guard, well, "the job to go on")

        flink.cancel(stack.flink_rest, stack.job(JOB).job_id)
        looks(guard, lambda: open_rules() == {"job_not_running"}, "a job that ended to be told")
        with guard.metrics.served(0) as port:
            assert scraped(port)["grocery_job_up", (("job", JOB),)] == 0
        submit(stack, JOB, RULES)
        looks(guard, well, "the job to run again")

        stack.kill("taskmanager")
        looks(guard, lambda: "job_restarts_in_circles" in open_rules(), "a second restart to be told")
        guard.limits = replace(guard.limits, look_s=1)
        looks(guard, well, "the job to have run through for a while")
        with guard.metrics.served(0) as port:
            found = scraped(port)
        assert found["grocery_job_restarts_total", (("job", JOB),)] >= 2
        assert found["grocery_job_up", (("job", JOB),)] == 1
    finally:
        guard.close()
        stack.forget(JOB)
    events = [event for event in told(broker, since) if event["rule"] in rules]
    for rule in rules:
        own = [event["event"] for event in events if event["rule"] == rule]
        assert own[:2] == ["raised", "resolved"]
        assert own == ["raised", "resolved"] * (len(own) // 2)
    assert len({event["event_id"] for event in events}) == len(events)
