"""Records of several topics in one order, and what is derived from them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.events import Event, Unreadable
from alerting.rules import parse_rules
from alerting.state import UnknownState
from schemas.instants import to_ms, to_rfc3339
from streaming_jobs import derive
from streaming_jobs.derive import HOLD_MS, READINGS, Derivation, Deriver, Merge, Record, derived

START = to_ms("2026-10-05T08:00:00.000Z")
STORE, PEOPLE, LANES = "store-001", "cv-detections", "lane-status"
RULES = parse_rules(
    """
version: 1
topic: alerts.cold-chain
rules:
  - alert: too_warm
    select: {metric: temperature}
    raise_above: 5
    for: 2m
""",
    "rules.yaml",
)


class Seen(msgspec.Struct):
    event_id: str
    event_time: str
    store_id: str
    count: int = 0


class Both(msgspec.Struct):
    people: int = 0
    lanes: int = 0
    version: int = 2


class PeopleAndLanes(Deriver[Both]):
    """What is told depends on the order in which the two topics are met."""

    state_type = Both
    inputs = {PEOPLE: Seen, LANES: Seen}
    upgrades = {1: lambda old: {"people": old["seen"], "lanes": 0, "version": 2}}

    def start(self, store_id: str) -> Both:
        return Both()

    def advance(self, state: Both, arrived_ms: int, topic: str, event: Any) -> list[Event]:
        if topic == PEOPLE:
            state.people = event.count
        elif topic == LANES:
            state.lanes = event.count
        else:
            return []
        value = state.people - 10 * state.lanes
        return [derived(event.store_id, event.store_id, "freezer", "temperature", value, to_ms(event.event_time))]


def derivation() -> Derivation[Both]:
    return Derivation("people_and_lanes", PeopleAndLanes(), RULES)


def tick(seconds: float) -> Record:
    at = START + round(seconds * 1000)
    event = {"event_id": f"tick-{at}", "event_time": to_rfc3339(at), "store_id": STORE, "kind": "tick"}
    return Record(at, READINGS, at // 1000, msgspec.json.encode(event).decode())


def seen(topic: str, seconds: float, count: int, *, store: str = STORE, offset: int | None = None) -> Record:
    at = START + round(seconds * 1000)
    event = {"event_id": f"{topic}-{at}", "event_time": to_rfc3339(at), "store_id": store, "count": count}
    return Record(at, topic, at // 10 if offset is None else offset, msgspec.json.encode(event).decode())


def told(records: list[Record]) -> tuple[Any, Any, Counter[str]]:
    return derive.run(derivation(), ((STORE, record) for record in records))


def values(records: list[Record]) -> list[float]:
    return [metric["value"] for _, metric in told(records)[1]]


# ---- one order


def test_topics_meet_by_arrival_whichever_was_read_first():
    people, lanes = seen(PEOPLE, 1, 7), seen(LANES, 2, 1)
    assert values([people, lanes, tick(10)]) == values([lanes, people, tick(10)]) == [7, -3]


def test_a_record_waits_until_the_ticks_are_so_far_past_its_arrival():
    assert values([seen(PEOPLE, 1, 7), tick(5.9)]) == []
    assert values([seen(PEOPLE, 1, 7), tick(6)]) == [7]


def test_what_comes_after_its_place_is_still_used_and_counted():
    _, metrics, notes = told([seen(PEOPLE, 1, 7), tick(10), seen(LANES, 0.5, 1), tick(20)])
    assert [metric["value"] for _, metric in metrics] == [7, -3]
    assert notes["disordered"] == 1
    # The clock never goes back.
    assert [clock for clock, _ in metrics] == [START + 1000, START + 1000]


def test_without_ticks_no_more_than_so_many_records_wait(monkeypatch):
    monkeypatch.setattr(derive, "MAX_HELD", 10)
    _, metrics, notes = told([seen(PEOPLE, second, second) for second in range(30)])
    assert [metric["value"] for _, metric in metrics] == list(range(20))
    assert notes["crowded"] == 20


def test_a_reader_that_is_behind_in_another_topic_is_waited_for():
    merge, notes = Merge(), Counter()
    records = [seen(PEOPLE, 1, 7), seen(PEOPLE, 3, 8), tick(60)]
    assert merge.take(records, START + 2000, notes) == records[:1]
    assert merge.waiting == 1
    assert merge.release(START + 2999) == []
    assert merge.release(derive.FOREVER) == records[1:2]
    assert merge.waiting == 0


def _log() -> st.SearchStrategy[list[Record]]:
    """A store's log in the order of arrival: a tick every five seconds, and what two topics bring."""

    def log(found: list[tuple[int, int, bool]]) -> list[Record]:
        brought = [seen(PEOPLE if people else LANES, at / 10, count, offset=n) for n, (at, count, people) in found]
        return sorted([*brought, *(tick(second) for second in range(0, 100, 5))])

    return st.lists(st.tuples(st.integers(0, 900), st.integers(0, 12), st.booleans()), max_size=40).map(
        lambda found: log(list(enumerate(found)))
    )


@settings(max_examples=60, deadline=None)
@given(_log(), st.lists(st.integers(0, 60), max_size=8), st.data())
def test_cut_anywhere_and_restarted_anywhere_the_same_is_told(log, cuts, data):
    # Read late by less than the hold, and in any order within it.
    read = sorted(log, key=lambda r: r[0] + (data.draw(st.integers(0, HOLD_MS - 1)) if r.topic != READINGS else 0))
    whole = told(read)
    assert whole[2]["disordered"] == 0
    assert whole == told(log)
    job, notes, unreadable = derivation(), Counter(unreadable=0), []
    text, alerts, metrics = job.dumps(job.start(STORE)), [], []
    edges = [0, *sorted(cuts), len(read)]
    for begin, end in zip(edges, edges[1:], strict=False):
        state, *found = derivation().advance(job.loads(text), read[begin:end], notes, unreadable)
        alerts += found[0]
        metrics += found[1]
        text = job.dumps(state)
    assert (alerts, metrics, notes) == whole


# ---- what is derived


def test_derived_readings_are_judged_by_the_rules_and_told_as_metrics():
    alerts, metrics, _ = told([*(seen(PEOPLE, minute * 60, 8) for minute in range(4)), tick(300)])
    (alert,) = alerts
    assert (alert["event"], alert["rule"], alert["device_id"]) == ("raised", "too_warm", f"{STORE}/temperature")
    assert alert["decided_at"] == to_rfc3339(START + 120_000)
    assert alert["evidence"]["first"]["event_id"] == metrics[0][1]["event_id"]
    assert metrics[0][1] == {
        "event_id": metrics[0][1]["event_id"],
        "event_time": to_rfc3339(START),
        "store_id": STORE,
        "schema_version": 1,
        "job": "people_and_lanes",
        "device_id": f"{STORE}/temperature",
        "asset_id": STORE,
        "asset_class": "freezer",
        "metric": "temperature",
        "value": 8.0,
        "unit": "Cel",
    }


def test_a_record_that_cannot_be_read_or_is_another_stores_spoils_no_other():
    poison = Record(START + 1500, PEOPLE, 5, "{")
    timeless = Record(START + 1550, PEOPLE, 6, '{"event_id":"x","event_time":"soon","store_id":"store-001","count":4}')
    stranger = seen(PEOPLE, 1.6, 9, store="store-002")
    unknown = seen("inventory", 1.7, 9)
    _, metrics, notes = told([seen(PEOPLE, 1, 7), poison, timeless, stranger, unknown, seen(PEOPLE, 2, 8), tick(10)])
    assert [metric["value"] for _, metric in metrics] == [7, 8]
    assert (notes["unreadable"], notes["other_store"]) == (3, 1)


def test_a_batch_is_read_as_the_query_writes_it():
    unreadable: list[Unreadable] = []
    records = derive.read_records('lane-status 7 1000 {"a":"b c"}\x1enonsense\x1ecv-detections x 1 {}', unreadable)
    assert records == [Record(1000, LANES, 7, '{"a":"b c"}')]
    assert len(unreadable) == 2


# ---- state


def test_a_derivers_older_state_is_upgraded_and_a_later_releases_is_refused():
    job = derivation()
    text = job.dumps(job.start(STORE))
    old = msgspec.json.decode(text) | {"deriver": {"seen": 4, "version": 1}}
    assert job.loads(msgspec.json.encode(old).decode()).deriver == Both(people=4)
    for newer in ({"version": 99}, {"deriver": {"version": 99}}):
        with pytest.raises(UnknownState, match="version 99 is newer"):
            job.loads(msgspec.json.encode(msgspec.json.decode(text) | newer).decode())


def test_the_same_state_gives_the_same_text():
    job = derivation()
    state, *_ = job.advance(job.start(STORE), [seen(PEOPLE, 1, 7), tick(2)], Counter(), [])
    assert job.dumps(job.loads(job.dumps(state))) == job.dumps(state)
