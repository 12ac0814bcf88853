"""The guard on a real broker and a real cluster: what it tells is on the topic, once, and over when it is over."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from threading import Event as Signal
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from grocery.cli import app
from grocery.settings import settings
from grocery.stack import Stack, flink
from guard.broker import Broker
from guard.judge import HEARD_BEFORE, JobFigures, Limits, Thing, Verdict
from guard.run import Guard
from guard.seen import INGESTION, TICKER, BrokerSeen
from ingestion.record import Record
from ingestion.reference import publish
from ingestion.sinks import KafkaSink
from ingestion.ticker import TRANSACTIONS, tick
from ingestion.topics import PLATFORM_ALERTS, read_topic
from schemas.contract import contract
from schemas.instants import to_ms, to_rfc3339
from schemas.validate import validator
from streaming_jobs.runtime import arguments
from streaming_jobs.submit import job_named, submit
from tests.alerting.logs import RULES
from tests.guard.test_metrics import scraped
from tests.ingestion.example import reading, store

pytestmark = pytest.mark.system

JOB, NOBODY = "cold_chain", "http://127.0.0.1:1"
FAILING_JOB = Path(__file__).parents[1] / "streaming_jobs" / "failing_job.py"
MINUTE_S, MARGIN_S = 60, 15
"""What docs/operations.md promises, and what a machine that is busy with a whole stack may add to it."""
STORES = ("store-981", "store-982", "store-983")
QUICK = Limits(
    look_s=0.5,
    first_s=1,
    silent_s=1,
    down_s=2,
    checkpoint_s=4,
    lag_s=4,
    lag_over_s=2,
    restarts=1,
    calm_s=4,
    unheard_s=4,
    group_s=3,
)


def told(bootstrap: str, since_ms: int) -> list[dict[str, Any]]:
    """Events of the guard's topic, without the watchdog's, in the order in which they were told."""
    events = [json.loads(record.value) for record in read_topic(bootstrap, PLATFORM_ALERTS)]
    fresh = [event for event in events if to_ms(event["decided_at"]) >= since_ms and event["rule"] != "watchdog"]
    return sorted(fresh, key=lambda event: (event["decided_at"], event["sequence"]))


def now_ms() -> int:
    return round(time.time() * 1000)


def looks(guard: Guard, done: Callable[[], object], what: str, timeout_s: float = 90) -> None:
    """Asks every look_s until it is so; what is asked looks."""
    end = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < end, f"waited {timeout_s} s for {what}"
        time.sleep(guard.limits.look_s)


@pytest.fixture(scope="module")
def stores(broker: str) -> Iterator[tuple[str, ...]]:
    """Three stores of these tests' own; retired afterwards, so that nobody misses them."""
    publish([("stores", store(name)) for name in STORES], broker)
    yield STORES
    retired = {"status": "retired", "event_time": "2026-01-01T00:00:00.000Z"}
    publish([("stores", store(name, **retired)) for name in STORES], broker)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker on which there are no stores but STORES: how many of them are silent at once decides what is told."""
    folder = tmp_path_factory.mktemp("alone")
    own = Stack(folder / "stack", folder / "logs")
    own.up(flink=False, owner=os.getpid())
    publish([("stores", store(name)) for name in STORES], own.kafka)
    yield own.kafka
    own.wipe()


def ticks(sink: KafkaSink, names: tuple[str, ...], at_ms: int) -> None:
    for name in names:
        sink.send(tick(name, at_ms))
    sink.flush()


def test_with_what_is_shipped_a_stopped_ticker_is_told_within_a_minute(alone: str, monkeypatch):
    """The guard begins 25 s after the last tick: it finds the ticks of the time before in the log."""
    last = now_ms() - 25_000
    with KafkaSink(alone) as sink:
        for ago in range(60_000, -1, -5_000):
            ticks(sink, STORES, last - ago)
    guard, since = Guard(alone, NOBODY, frozenset, say=lambda _: None), now_ms()
    thing = Thing("store_unmonitored", "chain", TICKER)
    try:
        looks(guard, lambda: thing in guard.look().troubles, "the ticker to be missed")
        (alert,) = told(alone, since)
        assert Thing(alert["rule"], alert["store_id"], alert["asset_id"]) == thing
        assert {member["asset_id"] for member in alert["members"]} == set(STORES)
        assert to_ms(alert["decided_at"]) - last <= 60_000
        assert abs(to_ms(alert["starts_at"]) - last) <= 1_000
        assert validator(contract("alert"))(alert) == []
        monkeypatch.setenv("GROCERY_KAFKA", alone)
        settings.cache_clear()
        shown = CliRunner().invoke(app, ["alerts", "list", "--topic", "platform"])
        assert "store_unmonitored" in shown.stdout
        assert "watchdog" not in shown.stdout
        with KafkaSink(alone) as sink:
            ticks(sink, STORES, now_ms())
        looks(guard, lambda: thing in guard.look().fine, "the end of the alert")
    finally:
        guard.close()
        monkeypatch.undo()
        settings.cache_clear()
    assert [event["event"] for event in told(alone, since)] == ["raised", "resolved"]


def test_where_less_is_read_than_comes_ticks_are_known_by_what_the_ticker_wrote_last(alone: str, monkeypatch):
    monkeypatch.setattr("guard.broker.READ_MAX", 20)

    def seen(ticked: bool) -> BrokerSeen:
        if ticked:
            ticks(ticker, STORES, now_ms())
        for _ in range(1200):
            for name in STORES:
                at = now_ms()
                event = reading(event_id=f"{name}-{at}", store_id=name, event_time=to_rfc3339(at))
                readings.send(Record("sensor-readings", name, json.dumps(event).encode(), at))
        readings.flush()
        return eye.look(frozenset(), lambda job, topic: {})

    with (
        closing(Broker(alone)) as eye,
        KafkaSink(alone) as readings,
        KafkaSink(alone, transactional_id=TRANSACTIONS) as ticker,
    ):
        for _ in range(4):
            found = seen(ticked=True)
        for _ in range(3):
            found = seen(ticked=True)
            assert found.shares[TICKER] == 1.0
            assert 0 < found.shares[INGESTION] < 0.9
            assert {name for name in STORES if TICKER in found.heard.get(name, ())} == set(STORES)
        seen(ticked=False)
        found = seen(ticked=False)
    assert found.shares[TICKER] == 1.0
    assert not any(TICKER in signs for name, signs in found.heard.items() if name in STORES)


def test_one_silent_store_is_one_alert_though_the_guard_begins_anew_and_the_broker_hangs(stack: Stack, stores):
    broker, since, said = stack.kafka, now_ms(), []
    thing = Thing("store_unmonitored", stores[1], INGESTION)
    others = (stores[0], stores[2])
    watched = [Guard(broker, NOBODY, frozenset, QUICK, say=said.append)]
    with KafkaSink(broker) as sink:

        def look(*speak: str) -> Verdict:
            for name in speak:
                at = now_ms()
                event = reading(event_id=f"{name}-{at}", store_id=name, event_time=to_rfc3339(at))
                sink.send(Record("sensor-readings", name, json.dumps(event).encode(), at))
            if speak:
                ticks(sink, stores, now_ms())
            return watched[-1].look()

        def a_while(*speak: str) -> None:
            end = time.monotonic() + QUICK.unheard_s
            looks(watched[-1], lambda: look(*speak) and time.monotonic() > end, "a while")

        a_while(*stores)
        looks(watched[-1], lambda: thing in look(*others).troubles, "the store to be missed")
        watched[-1].close()
        watched.append(Guard(broker, NOBODY, frozenset, QUICK, say=said.append))
        a_while(*others)
        with stopped(stack.pid("broker")):
            looks(watched[-1], lambda: look() and any("broker_not_answering" in line for line in said), "the log")
            assert watched[-1].metrics.snapshot.verdict.broker is False
            assert watched[-1].metrics.snapshot.pending > 0
        looks(watched[-1], lambda: look(*stores).broker and thing in look(*stores).fine, "the end of it all")
    watched[-1].close()
    events = told(broker, since)
    first, last = (event for event in events if event["store_id"] == stores[1])
    assert (first["asset_id"], first["event"], last["event"]) == (INGESTION, "raised", "resolved")
    assert (first["alert_id"], first["sequence"], last["sequence"]) == (last["alert_id"], 1, 2)
    silent = [event["event"] for event in events if event["rule"] == "broker_not_answering"]
    assert silent == ["raised", "resolved"]


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that lives and gives no answer."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.timeout(300)
def test_a_job_that_hangs_restarts_or_ends_is_told_and_over_when_it_runs_well(stack: Stack):
    broker, since = stack.kafka, now_ms()
    submit(stack, JOB, RULES)
    guard = Guard(broker, stack.flink_rest, lambda: stack.expected_jobs() & {JOB}, QUICK, say=lambda _: None)
    open_now: set[str] = set()

    def look() -> JobFigures:
        verdict = guard.look()
        mine = {thing.rule for thing in verdict.troubles if thing.asset_id == JOB}
        open_now.update(mine)
        open_now.difference_update(thing.rule for thing in verdict.fine if thing.asset_id == JOB)
        return verdict.jobs.get(JOB)

    def well() -> bool:
        job = look()
        return job.up and job.completed > 0 and job.behind_records == 0 and not open_now

    def wrong(*rules: str) -> Callable[[], bool]:
        return lambda: look() and open_now >= set(rules)

    try:
        looks(guard, well, "the job to run")
        with stopped(stack.pid("taskmanager")):
            with KafkaSink(broker) as sink:
                for name in STORES:
                    sink.send(tick(name, now_ms()))
            looks(guard, wrong("checkpoints_stopped", "job_lags"), "a job that hangs to be told")
        looks(guard, well, "the job to go on")

        stack.kill("taskmanager")
        looks(guard, wrong("job_restarts_in_circles"), "a restart to be told")
        looks(guard, well, "the job to have run through for a while")
        with guard.metrics.served(0) as port:
            found = scraped(port)
        assert found["grocery_job_restarts_total", (("job", JOB),)] >= 1
        assert found["grocery_job_up", (("job", JOB),)] == 1

        flink.cancel(stack.flink_rest, stack.job(JOB).job_id)
        looks(guard, wrong("job_not_running"), "a job that ended to be told")
        with guard.metrics.served(0) as port:
            assert scraped(port)["grocery_job_up", (("job", JOB),)] == 0
        stack.cancel(JOB)
        guard.look()
    finally:
        guard.close()
        stack.forget(JOB)
    events = [event for event in told(broker, since) if event["asset_id"] == JOB]
    for rule in ("job_not_running", "checkpoints_stopped", "job_lags", "job_restarts_in_circles"):
        own = [event for event in events if event["rule"] == rule]
        assert [event["event"] for event in own] == ["raised", "resolved"] * (len(own) // 2)
        assert own
    assert events[-1]["reason"] == "the job is not wanted any more"
    assert len({event["event_id"] for event in events}) == len(events)


@pytest.mark.timeout(600)
def test_with_what_is_shipped_each_trouble_of_a_job_and_a_store_is_readable_within_a_minute(stack: Stack, stores):
    """The guard runs as it is shipped. At once the job's Python process hangs, behind more records than buffers hold,
    and a store falls silent; later a version of the job runs that fails whenever it starts."""
    broker, silent = stack.kafka, Thing("store_unmonitored", stores[1], INGESTION)
    checkpoints, lags, circles = (
        Thing(rule, "chain", JOB) for rule in ("checkpoints_stopped", "job_lags", "job_restarts_in_circles")
    )
    guard, stop = Guard(broker, stack.flink_rest, lambda: stack.expected_jobs() & {JOB}, say=lambda _: None), Signal()

    def well() -> bool:
        verdict = guard.metrics.snapshot and guard.metrics.snapshot.verdict
        job = verdict and verdict.jobs.get(JOB)
        wrong = verdict and any(thing.asset_id == JOB or thing.store_id in stores for thing in verdict.troubles)
        if not job or wrong:
            return False
        return bool(job.up and job.completed > 0 and (job.behind_s or 0) <= guard.limits.lag_over_s)

    with KafkaSink(broker) as sink, ThreadPoolExecutor() as beside:

        def speak(*names: str, count: int = 1, size: int = 1) -> None:
            for name in names:
                for _ in range(count):
                    at = now_ms()
                    event = reading(event_id=f"{name}-{at}", store_id=name, event_time=to_rfc3339(at), more="x" * size)
                    sink.send(Record("sensor-readings", name, json.dumps(event).encode(), at))
            ticks(sink, stores, now_ms())

        def wait(done: Callable[[], object], what: str, speakers: tuple[str, ...], timeout_s: float) -> None:
            end = time.monotonic() + timeout_s
            while not done():
                assert time.monotonic() < end, f"waited {timeout_s} s for {what}"
                speak(*speakers)
                stop.wait(1)

        def readable(causes: tuple[Thing, ...], speakers: tuple[str, ...], began: float) -> None:
            """Waits until an alert of each can be read. began: when its cause did, by time.monotonic()."""
            since, after = now_ms() - round(1000 * (time.monotonic() - began)), {}

            def all_told() -> bool:
                for event in told(broker, since):
                    thing = Thing(event["rule"], event["store_id"], event["asset_id"])
                    if event["event"] == "raised" and thing in causes and thing not in after:
                        after[thing] = time.monotonic() - began
                return len(after) == len(causes)

            try:
                left_s = MINUTE_S + MARGIN_S - (time.monotonic() - began)
                wait(all_told, f"what is left of {causes}", speakers, left_s)
            finally:
                print(*(f"{thing.rule} after {seconds:.0f} s" for thing, seconds in after.items()), sep="; ")

        looking = beside.submit(guard.run, stop)
        try:
            stack.submit(JOB, job_named(JOB).folder / "job.py", given(broker, "process"))
            for _ in range(2 * HEARD_BEFORE):
                speak(*stores)
                stop.wait(1.1)
            wait(well, "the job to run", stores, 120)
            workers = psutil.Process(stack.pid("taskmanager")).children(recursive=True)
            assert workers
            began = time.monotonic()
            with ExitStack() as hanging:
                for worker in workers:
                    hanging.enter_context(stopped(worker.pid))
                for _ in range(2):  # the first is taken in until a window ends, the second finds everything full
                    speak(stores[0], count=1000, size=24_000)
                    stop.wait(2)
                readable((checkpoints, lags, silent), (stores[0], stores[2]), began)
            wait(well, "the job to go on", stores, 120)
            stack.forget(JOB)
            stack.submit(JOB, FAILING_JOB, given(broker, "thread"))
            readable((circles,), stores, time.monotonic())
        finally:
            stop.set()
            looking.result()
            stack.forget(JOB)


def given(bootstrap: str, mode: str) -> list[str]:
    return arguments(bootstrap, RULES.read_text("utf-8"), str(RULES), {"python.execution-mode": mode})
