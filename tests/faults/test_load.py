"""The load of `make faults`."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise

import msgspec
import pytest

from alerting.engine import Engine, run
from alerting.events import Logged, read_event
from alerting.rules import parse_rules
from schemas.contract import contract
from schemas.instants import to_ms
from schemas.validate import validator
from tests.alerting.logs import SHIPPED
from tests.faults.load import BEGIN, MINUTE, POISON, SPEED, Load

LOAD = Load(seed=7, stores=50)
MINUTES = 100


@pytest.fixture(scope="module")
def alerts() -> list[dict]:
    """What is due in an hour and forty minutes of the log."""
    rules = Engine(parse_rules(SHIPPED.read_text("utf-8"), str(SHIPPED)))
    log = (record for minute in range(MINUTES) for record in LOAD.minute(minute))
    return run(rules, ((record.key, Logged(record.timestamp_ms, read_event(record.value))) for record in log))


def test_the_same_seed_gives_the_same_log_and_another_seed_another():
    assert LOAD.minute(40) == Load(seed=7, stores=50).minute(40)
    assert LOAD.minute(40) != Load(seed=8, stores=50).minute(40)


def test_every_record_arrives_within_its_minute_in_order_and_keeps_the_contract():
    breaches = validator(contract("sensor-readings"))
    for minute in (0, 20, 46, 85, 130):
        records = Load(seed=1, stores=6).minute(minute)
        times = [record.timestamp_ms for record in records]
        assert times == sorted(times)
        assert BEGIN + minute * MINUTE <= times[0] <= times[-1] < BEGIN + (minute + 1) * MINUTE
        for record in records:
            assert breaches(msgspec.json.decode(record.value)) == []


def test_alerts_are_due_all_the_time(alerts):
    due = sorted((to_ms(alert["decided_at"]) - BEGIN) / 1000 / SPEED for alert in alerts)
    due = [second for second in due if second > 60]
    assert max(after - before for before, after in pairwise(due)) < 1.5
    assert len(due) / (due[-1] - due[0]) > 5


def test_the_load_makes_alerts_of_every_kind_and_shows_every_step_of_their_lives(alerts):
    told = Counter(alert["rule"] for alert in alerts)
    silent_here = {"cooler_time_above_limit", "sensor_stuck"}  # need hours more, and a frozen probe
    rules = {rule.alert for rule in parse_rules(SHIPPED.read_text("utf-8"), "x").rules}
    assert told.keys() - {"alert-command"} >= rules - silent_here
    steps = {alert["event"] for alert in alerts}
    wanted = {"raised", "escalated", "resolved", "acknowledged", "ack_expired", "silenced", "unsilenced", "closed"}
    assert steps >= wanted | {"updated", "corrected"}, steps


def test_no_event_of_an_alert_occurs_twice_in_an_undisturbed_run(alerts):
    steps = Counter((alert["alert_id"], alert["sequence"]) for alert in alerts)
    assert max(steps.values()) == 1
    lives = defaultdict(list)
    for alert in alerts:
        lives[alert["alert_id"]].append(alert["sequence"])
    assert all(life == list(range(1, len(life) + 1)) for life in lives.values())


@pytest.mark.parametrize("payload", POISON, ids=range(len(POISON)))
def test_poison_is_no_event(payload):
    with pytest.raises((ValueError, RecursionError)):
        read_event(payload)
