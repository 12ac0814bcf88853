"""Right under time, for jobs that derive: records held back, disorder, doubles, late ones, a camera offline, a stop.

A story of the checkouts, told by the derivation alone and by the job on the real cluster, which is stopped half-way
with a savepoint; and any log of a shipped job, cut and restarted anywhere.
"""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grocery.settings import PROJECT
from grocery.stack import Stack
from ingestion import record as kafka
from ingestion.sinks import KafkaSink
from ingestion.topics import read_topic
from schemas.instants import to_ms
from streaming_jobs import derive
from streaming_jobs.checkout_queue.queues import LANES, PEOPLE, RECEIPTS
from streaming_jobs.derive import HOLD_MS, READINGS, Record
from streaming_jobs.progress import counted
from streaming_jobs.runtime import arguments
from streaming_jobs.shelf.shelves import RECEIPTS as SOLD
from streaming_jobs.shelf.shelves import SEEN, STOCK
from streaming_jobs.submit import job_named
from tests.streaming_jobs.logs import EIGHT, STORE, at, derivation, in_order, record
from tests.streaming_jobs.test_deriving import processed
from tests.streaming_jobs.test_shelf import FACINGS, HAM, MILK

JOB, LANE = "checkout_queue", "time-lane"
STOP = 30
"""Minute at which the job is stopped; its last tick was ten seconds ago."""
END = 80


def said(topic: str, minutes: float, arrived: float, **fields: Any) -> Record:
    """What its device says of a minute, and when that comes."""
    return record(topic, arrived, said=minutes, **fields)


def people(minutes: float, count: int, arrived: float | None = None) -> Record:
    place = {"zone_id": f"{LANE}-zone", "zone_kind": "queue", "asset_id": LANE}
    return said(PEOPLE, minutes, minutes if arrived is None else arrived, seen="person", count=count, **place)


def lane(minutes: float, status: str, arrived: float | None = None) -> Record:
    more = {"lane_id": LANE, "lane_kind": "staffed", "status": status, "terminals": 1}
    return said(LANES, minutes, minutes if arrived is None else arrived, **more)


def story(store: str = STORE) -> list[Record]:
    """One lane, a tick every ten seconds, a count every half minute, most of them late, so that they overtake each
    other, and half of them twice. One waits until 8:20, then five. The camera is offline from 8:40 to 9:00, and what it
    kept comes within two seconds: nine until 8:50, then nobody. Two things come half an hour late, when newer ones are
    known: that nobody was there at 8:05, and that the lane was closed then.
    """
    chance, found = random.Random(4), []
    for step in range(2 * END - 2):
        minute = step / 2 + 0.25
        count = 1 if minute < 20 else 5 if minute < 40 else 9 if minute < 50 else 0
        if 40 <= minute < 60:
            found.append(people(minute, count, 60 + (minute - 40) / 600))
            continue
        came = minute + chance.choice((0, 0, 0.2, 0.6, 0.7)) + step / 10_000
        found.append(people(minute, count, came))
        if chance.random() < 0.5:
            found.append(found[-1]._replace(arrived_ms=at(came + chance.choice((0.01, 0.3, 0.9)))))
    found += [lane(0.05, "open"), lane(6, "open")]
    found += [people(5, 0, arrived) for arrived in (34.97, 35.97)] + [lane(5, "closed", 35.5)]
    found.append(record(PEOPLE, STOP - 0.05, seen="person", count=3, zone_id="door", zone_kind="entrance"))
    found += [record(READINGS, step / 6, kind="tick") for step in range(END * 6 + 2)]
    return [item._replace(payload=item.payload.replace(STORE, store)) for item in in_order(found)]


TOLD = [
    ("raised", "checkout_wait", "08:21:00", "08:24:00"),
    ("raised", "lanes_short", "08:21:00", "08:26:00"),
    ("resolved", "lanes_short", "08:21:00", "09:03:00"),
    ("resolved", "checkout_wait", "08:21:00", "09:04:00"),
]


def alone(store: str = STORE) -> tuple[list[dict[str, Any]], list[tuple[int, dict[str, Any]]], Counter[str]]:
    return derive.run(derivation(JOB), ((store, item) for item in story(store)))


def test_the_derivation_alone_tells_of_the_story_what_must_be_told():
    alerts, metrics, notes = alone()
    assert +notes == {}
    short = [(a["event"], a["rule"], a["starts_at"][11:19], a["decided_at"][11:19]) for a in alerts]
    assert short == TOLD
    waits = {
        (to_ms(metric["event_time"]) - EIGHT) // 60_000: metric["value"]
        for _, metric in metrics
        if (metric["metric"], metric["asset_id"]) == ("estimated_wait", STORE)
    }
    # Nobody knows from two minutes after the camera was heard last until it is heard again, nor later.
    assert {minute for minute in range(1, END) if minute not in waits} == set(range(43, 61))
    assert {minute for minute, wait in waits.items() if wait == 600} == set(range(21, 43))
    assert set(waits.values()) == {0, 120, 600}


def test_when_the_job_is_stopped_the_story_has_records_that_wait():
    job = derivation(JOB)
    before = [item for item in story() if item.arrived_ms < at(STOP)]
    state, *_ = job.advance(job.start(STORE), before, Counter(), [])
    assert {item.topic for item in state.merge.held} >= {PEOPLE, READINGS}


@pytest.mark.system
@pytest.mark.parametrize("mode", ["thread", "process"])
def test_the_job_stopped_in_the_middle_tells_what_the_derivation_alone_does_and_nothing_twice(stack: Stack, mode: str):
    """process: as on Managed Service for Apache Flink; the state of the savepoint came from Python's own process."""
    store, job = f"queue-{mode}", job_named(JOB)
    rules = PROJECT / "chain" / "rules" / job.rules
    given = arguments(stack.kafka, rules.read_text("utf-8"), str(rules), {"python.execution-mode": mode})
    log = story(store)

    def write(part: list[Record]) -> None:
        with KafkaSink(stack.kafka) as sink:
            for item in part:
                sink.send(kafka.Record(item.topic, store, item.payload.encode(), item.arrived_ms))

    def told(topic: str) -> list[bytes]:
        return [found.value for found in read_topic(stack.kafka, topic) if found.key == store.encode()]

    write([item for item in log if item.arrived_ms < at(STOP)])
    stack.submit(JOB, job.folder / "job.py", given)
    try:
        processed(stack, JOB)
        saved = stack.savepoint(JOB)
        stack.cancel(JOB)
        before = len(told("derived-metrics"))
        write([item for item in log if item.arrived_ms >= at(STOP)])
        stack.submit(JOB, job.folder / "job.py", given, start_from=saved)
        processed(stack, JOB)
        alerts, metrics, _ = alone(store)
        assert told("alerts.queue") == [msgspec.json.encode(alert) for alert in alerts]
        assert told("derived-metrics") == [msgspec.json.encode(metric) for _, metric in metrics]
        assert 0 < before < len(metrics)
        found = counted(stack.flink_rest, stack.job(JOB).job_id)
        # In process mode a counter is told from its first count on.
        assert (found.get("disordered", 0), found["waiting"]) == (0, 0)
    finally:
        stack.forget(JOB)


# ---- any log


def _of_checkouts(minute: float, said: float, which: int, number: int) -> Record:
    lane_id = "ab"[which % 2]
    if which < 4:
        place = {"zone_id": f"{lane_id}-zone", "zone_kind": "queue", "asset_id": lane_id}
        return record(PEOPLE, minute, said=said, seen="person", count=number, **place)
    if which < 6:
        more = {"lane_kind": "staffed", "status": "closed" if number < 2 else "open", "terminals": 1}
        return record(LANES, minute, said=said, lane_id=lane_id, **more)
    if which < 7:
        door = {"zone_id": "door", "zone_kind": "entrance"}
        return record(PEOPLE, minute, said=said, seen="person", count=number, **door)
    return record(RECEIPTS, minute, said=said, kind="sale", channel="lane", transaction_id=f"r-{number}")


def _of_shelves(minute: float, said: float, which: int, number: int) -> Record:
    product = (MILK, HAM)[which % 2]
    if which < 4:
        lines = [{"gtin": product, "voided": False}]
        return record(SOLD, minute, said=said, kind="sale", lines=lines)
    if which < 6:
        return record(STOCK, minute, said=said, product_id=product, on_hand=number, unit="1")
    what = ("empty_facing", "low_facing", "item")[number % 3]
    return record(SEEN, minute, said=said, zone_kind="facing", asset_id=f"facing-{which - 5}", seen=what)


_MAKERS = {"checkout_queue": _of_checkouts, "shelf": _of_shelves}
_ONE = st.tuples(
    st.floats(0.1, 30),
    # By how much its device's clock is wrong, or how late it comes: in order, overtaken, kept for hours, an hour ahead.
    st.sampled_from([0, 0, 0, -0.4, -5, -360, 60]),
    st.integers(0, 7),
    st.integers(0, 9),
    st.sampled_from([None, None, 0.01, 0.4, 15]),
)


def _log(name: str, found: list[tuple[float, float, int, int, float | None]]) -> list[Record]:
    """again: so many minutes later it comes a second time, byte for byte."""
    log = [record(READINGS, step / 6, kind="tick") for step in range(36 * 6)]
    log[0] = record(READINGS, 0, kind="tick", roster=[], assets=[*FACINGS, *_LANES])
    # At least one lane that is open, one product that is on the books: something is derived.
    log += [_MAKERS[name](0.05, 0.05, which, 5) for which in (4, 6)]
    for minute, wrong, which, number, again in found:
        log.append(_MAKERS[name](minute, minute + wrong, which, number))
        if again is not None:
            log.append(log[-1]._replace(arrived_ms=log[-1].arrived_ms + round(again * 60_000)))
    return in_order(log)


_LANES = [{"asset_id": lane_id, "asset_class": "lane", "name": lane_id, "area": "Checkouts"} for lane_id in ("a", "b")]


_JOBS = {name: derivation(name) for name in _MAKERS}


@pytest.mark.parametrize("name", _MAKERS)
@settings(max_examples=30, deadline=None)
@given(
    found=st.lists(_ONE, min_size=10, max_size=40),
    cuts=st.lists(st.integers(0, 300), max_size=6),
    late=st.lists(st.integers(0, HOLD_MS - 1), min_size=4, max_size=4),
)
def test_any_log_of_a_shipped_job_gives_the_same_however_it_is_read_cut_and_restarted(name, found, cuts, late):
    job, log = _JOBS[name], _log(name, found)
    alerts, metrics, notes = derive.run(job, ((STORE, item) for item in log))
    assert metrics
    assert not notes["unreadable"] and not notes["disordered"]
    # Each topic is read late by its own time, less than the hold; ticks are not.
    lag = dict(zip(sorted({PEOPLE, LANES, RECEIPTS, STOCK}), late, strict=True)) | {READINGS: 0}
    read = sorted(log, key=lambda item: item.arrived_ms + lag[item.topic])
    text, told, got, counted_again = None, [], [], Counter()
    edges = [0, *sorted(cuts), len(read)]
    for begin, end in pairwise(edges):
        state = job.start(STORE) if text is None else job.loads(text)
        state, *both = job.advance(state, read[begin:end], counted_again, [])
        told += both[0]
        got += both[1]
        text = job.dumps(state)
    assert (told, got, +counted_again) == (alerts, metrics, +notes)
