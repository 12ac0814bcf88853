"""The bench's log, and the peers' rules against the engine over it."""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice, takewhile

import pytest

from alerting.engine import Engine, run
from alerting.events import Logged, read_event
from schemas.contract import contract
from schemas.validate import validator
from tests.alerting.logs import SHIPPED, rules_of
from tests.bench import rules
from tests.bench.load import PARTITIONS, Line, Scenario, shard, store_id

FAST = Scenario("fast", 1_000, 10, 10, 360_000)
SLOW = Scenario("slow", 2_000, 600, 300, 200_000)


def lines(scenario: Scenario, partition: int) -> list[Line]:
    return list(takewhile(lambda line: line.arrived_ms < scenario.end_ms, shard(scenario, partition)))


def test_the_log_is_the_same_each_time():
    assert list(islice(shard(FAST, 1), 20_000)) == list(islice(shard(FAST, 1), 20_000))


def test_partitions_have_the_stores_between_them_and_arrivals_in_order():
    stores = []
    for partition in range(PARTITIONS):
        found = list(islice(shard(FAST, partition), 5_000))
        assert [line.arrived_ms for line in found] == sorted(line.arrived_ms for line in found)
        stores += sorted({line.store for line in found})
    assert sorted(stores) == list(range(FAST.stores))


def test_the_log_holds_what_it_promises_and_keeps_its_contract():
    breaches = validator(contract("sensor-readings"))
    kinds, seen, twice, late, newest = Counter(), set(), 0, 0, {}
    for line in lines(FAST, 0):
        event = json.loads(line.payload)
        kinds[event["kind"]] += 1
        if line.is_reading:
            twice += event["event_id"] in seen
            seen.add(event["event_id"])
            late += event["event_time"] < newest.get(event["device_id"], "")
            newest[event["device_id"]] = max(event["event_time"], newest.get(event["device_id"], ""))
        if kinds[event["kind"]] < 500:
            assert breaches(event) == []
        assert event["store_id"] == store_id(line.store)
    assert kinds["tick"] == FAST.span_ms // 10_000 * FAST.stores // PARTITIONS
    assert kinds["reading"] == pytest.approx(FAST.readings / PARTITIONS, rel=0.02)
    assert min(twice, late) > 50


def test_the_peers_rules_tell_what_the_engine_tells():
    """Over the bench's log; compared as the bench compares."""

    class State(dict):
        set = dict.__setitem__

    told = Counter()
    for partition in range(PARTITIONS):
        log = lines(SLOW, partition)
        engine = run(
            Engine(rules_of(SHIPPED)),
            ((store_id(line.store), Logged(line.arrived_ms, read_event(line.payload))) for line in log),
        )
        states: dict[int, State] = {}
        by_hand = []
        for line in log:
            state = states.setdefault(line.store, State())
            by_hand += rules.decide(state, line.arrived_ms, rules.decode(line.payload))
        assert {rules.named(alert) for alert in by_hand} == {
            rules.named(alert) for alert in engine if alert["event"] in rules.COMPARED
        }
        told.update(alert["rule"] for alert in by_hand)
    assert told.keys() >= {
        "freezer_too_warm",
        "cooler_too_warm",
        "cooler_time_above_limit",
        "freezer_warming_fast",
        "defrost_too_long",
        "door_left_open",
        "sensor_silent",
        "sensor_stuck",
        "bad_data",
    }
