"""Looking, judging and telling together, against a broker of this test's own that can be away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from kafka.errors import KafkaTimeoutError

from guard import run
from guard.judge import Limits
from guard.run import Guard
from guard.seen import BrokerSeen, JobSeen

UP = JobSeen("run-1", "RUNNING", True, 0, 1, 0, 1.0)
QUICK = Limits(look_s=0, first_s=-1, silent_s=-1, down_s=-1, checkpoint_s=1e9)
"""Everything is told at the second look at it."""


class Away(KafkaTimeoutError):
    pass


class Kafka:
    """The topic of alerts. here: it answers. dies_after: how many writes it takes before it goes away, the last of
    which it keeps though nobody hears so."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.here = True
        self.dies_after = 1000
        self.opened = 0

    def client(self, _: str) -> Kafka:
        if not self.here:
            raise Away("no answer")
        self.opened += 1
        return self

    def close(self) -> None:
        pass

    def look(self, wanted, taken) -> BrokerSeen:
        if not self.here:
            raise Away("no answer")
        return BrokerSeen()

    def told(self) -> list[dict[str, Any]]:
        return list(self.events)

    def write(self, event) -> None:
        self.dies_after -= 1
        self.events.append(event)
        if self.dies_after == 0:
            self.here = False
            raise Away("no answer")

    def open_alerts(self) -> Counter:
        return Counter()

    def steps(self, rule: str) -> list[tuple[str, int]]:
        return [(event["event"], event["sequence"]) for event in self.events if event["rule"] == rule]


@pytest.fixture
def kafka(monkeypatch) -> Kafka:
    made = Kafka()
    monkeypatch.setattr(run, "Broker", made.client)
    return made


@pytest.fixture
def jobs(monkeypatch) -> dict[str, JobSeen]:
    found = {"cold_chain": UP}
    monkeypatch.setattr(run.cluster, "look", lambda rest, wanted: dict(found))
    return found


def guard(say: Callable[[str], None] = lambda _: None) -> Guard:
    return Guard("kafka", "flink", lambda: frozenset({"cold_chain"}), QUICK, say=say)


def test_a_trouble_is_told_once_and_its_end_once(kafka: Kafka, jobs):
    watch = guard()
    watch.look()
    jobs.clear()
    for _ in range(5):
        watch.look()
    jobs["cold_chain"] = UP
    for _ in range(5):
        watch.look()
    assert kafka.steps("job_not_running") == [("raised", 1), ("resolved", 2)]
    assert kafka.steps("watchdog") == [("raised", 1)]


def test_what_happened_while_the_broker_was_away_is_told_when_it_is_back(kafka: Kafka, jobs):
    said: list[str] = []
    watch = guard(said.append)
    watch.look()
    kafka.here = False
    for _ in range(5):
        watch.look()
    assert sum("did not answer" in line for line in said) == 1, "the log is not filled with the same line"
    assert any(line.startswith("broker_not_answering") for line in said)
    assert watch.metrics.snapshot.pending == 1
    assert watch.metrics.snapshot.verdict.broker is False
    kafka.here = True
    watch.look()
    assert kafka.steps("broker_not_answering") == [("raised", 1), ("resolved", 2)]
    assert watch.metrics.snapshot.pending == 0


@pytest.mark.parametrize("writes", [1, 2, 3, 4, 5])
def test_a_broker_that_goes_away_while_it_is_written_to_gets_nothing_twice(kafka: Kafka, jobs, writes):
    kafka.dies_after = writes
    watch = guard()
    watch.look()
    jobs.clear()
    for _ in range(3):
        watch.look()
    kafka.here, kafka.dies_after = True, 1000
    jobs["cold_chain"] = UP
    for _ in range(3):
        watch.look()
    names = Counter(event["event_id"] for event in kafka.events)
    assert set(names.values()) == {1}
    assert kafka.steps("job_not_running")[-2:] == [("raised", 1), ("resolved", 2)]


def test_a_guard_that_is_killed_at_any_moment_leaves_one_alert(kafka: Kafka, jobs):
    guard().look()
    jobs.clear()
    for _ in range(4):
        watch = guard()
        watch.look()
        watch.look()
    jobs["cold_chain"] = UP
    watch = guard()
    watch.look()
    watch.look()
    assert kafka.steps("job_not_running") == [("raised", 1), ("resolved", 2)]
    assert len({event["alert_id"] for event in kafka.events}) == 2


def test_a_guard_that_slept_ages_nothing_by_its_sleep(kafka: Kafka, jobs, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(run.time, "monotonic", lambda: clock[0])
    watch = Guard("kafka", "flink", lambda: frozenset({"cold_chain"}), say=lambda _: None)
    for _ in range(3):
        clock[0] += 5
        watch.look()
    clock[0] += 36_000
    jobs.clear()
    assert not watch.look().troubles
    assert kafka.steps("job_not_running") == []
