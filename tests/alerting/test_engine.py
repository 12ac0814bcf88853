"""What the engine decides, one behaviour a test. Whole stories are in tests/cases."""

from __future__ import annotations

from collections import Counter

import pytest

from alerting.engine import AHEAD_MS, KEPT, run
from alerting.events import SEPARATOR, Unreadable, read_batch
from alerting.rules import parse_rules
from alerting.state import dumps, loads
from schemas.instants import to_rfc3339
from tests.alerting.logs import FREEZER, STORE, at, curve, decide, engine, in_order, reading, steps, tick

NEIGHBOUR = "s001-freezer-02-t"
RAISED = ("raised", "freezer_too_warm", "warning")
ESCALATED = ("escalated", "freezer_too_warm", "critical")
SILENT = ("raised", "sensor_silent", "warning")
HEARD = ("resolved", "sensor_silent", "warning")


def test_an_alert_is_named_by_its_first_breach_for_good():
    (raised,) = decide(curve([-20, *[-14] * 7]))
    again = decide(curve([-20, *[-14] * 7, -13, -11]))
    assert raised["alert_id"] == again[0]["alert_id"]
    assert raised["evidence"]["first"]["event_id"] == f"{FREEZER}-300000"
    assert raised["starts_at"] == to_rfc3339(at(5))
    assert raised["event_id"] == raised["alert_id"] + "-1"


def test_exactly_at_the_limit_is_no_breach_and_exactly_for_is_long_enough():
    assert decide(curve([-15] * 20)) == []
    assert steps(decide(curve([-14.9] * 7))) == [RAISED]
    assert decide(curve([-14.9] * 7)[:-1]) == []


def test_two_stores_may_call_their_devices_the_same():
    """One engine decides for many stores; what it knows of one store's device says nothing of the other's."""
    other = "store-002"
    cooler = {"asset_class": "cooler", "store_id": other}
    log = [(STORE, reading(0, -20.0)), (other, reading(0, 4.0, **cooler))]
    log += [(other, reading(5 * number, 4.0, **cooler)) for number in range(1, 20)]
    assert list(run(engine(), log)) == []


def test_one_reading_at_the_limit_starts_the_wait_again():
    assert decide(curve([-14, -14, -14, -14, -15, -14, -14, -14, -14, -14])) == []


def test_two_warm_readings_hours_apart_prove_nothing_about_the_hours_between():
    assert decide([reading(0, -14), reading(180, -14)]) == []
    assert steps(decide([reading(0, -14), reading(30, -14)])) == [RAISED]


def test_a_slow_logger_of_one_reading_an_hour_is_still_judged():
    slow = [tick(0, {FREEZER: 3600}), *curve([-14, -14], step=60)]
    assert RAISED in steps(decide(slow))


def test_the_worst_reading_is_told():
    (_, over) = decide(curve([-14, -14, -12.5, -14, -14, -14, -14, -17, -17]))
    assert over["evidence"]["worst"]["value"] == -12.5
    assert over["ends_at"] == to_rfc3339(at(35))


def test_a_critical_alert_stays_critical_until_it_is_over():
    told = decide(curve([-14] * 7 + [-11] * 7 + [-14] * 3 + [-17, -17]))
    assert steps(told) == [RAISED, ESCALATED, ("resolved", "freezer_too_warm", "critical")]
    assert [alert["sequence"] for alert in told] == [1, 2, 3]
    assert told[1]["limit"] == {"value": -12.0, "unit": "Cel", "kind": "above"}


def test_a_mask_ends_so_long_after_the_defrost():
    defrost = curve([1, 1, 0], step=10, device="s001-freezer-01-d")
    warm = curve([-14] * 20)
    (raised,) = decide(in_order(defrost, warm))
    assert raised["event_time"] == to_rfc3339(at(85))  # off at minute 20, 60 min after: the next reading


def test_another_cases_defrost_masks_nothing():
    defrost = curve([1] * 10, device="s001-freezer-02-d")
    assert RAISED in steps(decide(in_order(defrost, curve([-14] * 7))))


def test_a_defrost_that_lasts_longer_than_it_may_masks_no_more():
    defrost = curve([1] * 30, device="s001-freezer-01-d")
    (raised, *_) = decide(in_order(defrost, curve([-14] * 20)))
    assert raised["event_time"] == to_rfc3339(at(65))


def test_a_defrost_that_is_told_late_still_counts_from_its_beginning():
    defrost = [reading(5, 1, device="s001-freezer-01-d"), reading(0, 1, device="s001-freezer-01-d", arrived=6)]
    (raised, *_) = decide(in_order(defrost, curve([-14] * 20)))
    assert raised["event_time"] == to_rfc3339(at(65))


def test_a_rule_can_watch_for_too_cold():
    rules = (
        "version: 1\ntopic: alerts.x\nrules:\n  - alert: too_cold\n    select: {metric: temperature}\n"
        "    raise_below: 0\n    for: 10m\n    clear_above: 1\n"
        "    escalate: [{severity: critical, below: -2, for: 0s}]\n"
    )
    told = decide(curve([3, -1, -1, -1, -3, 0.5, 1.5]), rules)
    assert [alert["event"] for alert in told] == ["raised", "escalated", "resolved"]
    assert told[0]["limit"]["kind"] == "below"
    assert told[2]["evidence"]["worst"]["value"] == -3.0


def test_labels_and_annotations_are_filled():
    (raised,) = decide(curve([-14.26] * 7))
    assert raised["labels"] == {
        "team": "refrigeration",
        "food": "frozen",
        "alertname": "freezer_too_warm",
        "severity": "warning",
        "store_id": STORE,
        "asset_id": "s001-freezer-01",
        "asset_class": "freezer",
        "device_id": FREEZER,
        "metric": "temperature",
    }
    assert raised["annotations"]["summary"] == (
        "s001-freezer-01 in store-001 has been too warm for 30 min: -14.3 °C, limit -15 °C"
    )


# ---- silence


def test_silence_is_told_at_its_deadline_not_when_the_next_event_comes():
    told = decide([tick(0, {FREEZER: 60}), reading(0, -20), tick(1.9), tick(3.8), tick(5.7)])
    assert steps(told) == [SILENT]
    assert told[0]["decided_at"] == to_rfc3339(at(5))
    assert told[0]["starts_at"] == to_rfc3339(at(1))


def test_silences_are_told_in_the_order_they_fell_due():
    log = [tick(0, {FREEZER: 60, NEIGHBOUR: 60}), reading(1, -20), reading(0.5, -20, device=NEIGHBOUR)]
    log = in_order(log, [tick(1.9), tick(3.8), tick(5.7), tick(7)])
    assert [alert["device_id"] for alert in decide(log)] == [NEIGHBOUR, FREEZER]


def test_a_sensor_of_no_roster_is_never_silent():
    assert decide([reading(0, -20), *(tick(minute) for minute in range(60))]) == []


def test_a_burst_of_old_readings_ends_a_silence_and_starts_none():
    log = [tick(0, {FREEZER: 60}), *(tick(minute) for minute in range(1, 60))]
    burst = [reading(minute, -20, arrived=59.5 + minute / 1000) for minute in range(50)]
    after = [tick(60), tick(61), tick(62)]
    assert steps(decide(log + burst + after)) == [SILENT, HEARD]


def test_a_duplicate_is_no_sign_of_life():
    log = [tick(0, {FREEZER: 60}), reading(0, -20), *(reading(0, -20, arrived=minute) for minute in range(1, 8))]
    notes = Counter()
    state, told = engine().advance(engine().start(STORE), log, notes)
    assert steps(told) == [SILENT]
    assert notes == {"duplicate": 7}


def test_a_log_that_was_not_written_makes_nobody_silent():
    log = [tick(0, {FREEZER: 60}), reading(0, -20), tick(300), reading(300, -20), tick(301)]
    assert decide(log) == []


def test_a_device_that_nobody_expects_ends_no_common_silence():
    rules = (
        "version: 1\ntopic: alerts.x\nrules:\n  - alert: all_silent\n    select: {metric: temperature}\n"
        "    absent_for: {at_least: 3m, group: store}\n"
    )
    log = [tick(0, {FREEZER: 60}), reading(0, -20), *(tick(minute) for minute in range(1, 6))]
    log += [reading(5.5, -20, device=NEIGHBOUR), tick(6), reading(7, -20), tick(8)]
    told = decide(log, rules)
    assert [(alert["event"], alert["decided_at"]) for alert in told] == [
        ("raised", to_rfc3339(at(3))),
        ("resolved", to_rfc3339(at(7))),
    ]


def test_a_second_roster_with_the_same_devices_changes_nothing():
    log = [tick(0, {FREEZER: 60}), reading(0, -20), tick(2), tick(4, {FREEZER: 60}), tick(5)]
    assert steps(decide(log)) == [SILENT]


def test_a_device_that_leaves_the_roster_is_forgotten():
    log = [tick(0, {FREEZER: 60, NEIGHBOUR: 60}), reading(0, -20), tick(1, {NEIGHBOUR: 60})]
    state, _ = engine().advance(engine().start(STORE), log)
    assert set(state.devices) == {NEIGHBOUR}


def test_a_device_that_moves_to_another_case_starts_anew():
    moved = tick(36)
    moved.event.roster = tick(36, {FREEZER: 300}).event.roster
    moved.event.roster[0].asset_id = "s001-freezer-09"
    told = decide([tick(0, {FREEZER: 300}), *curve([-14] * 8), moved])
    assert told[-1]["reason"] == "the device has moved to s001-freezer-09"
    assert told[-1]["asset_id"] == "s001-freezer-01"


# ---- out of order


def test_a_late_cold_reading_takes_the_wait_apart():
    warm = curve([-14] * 5)
    late = [reading(12, -20, arrived=21)]
    assert decide(warm + late + curve([-14, -14], start=25)) == []


def test_a_late_warm_reading_moves_the_beginning_back():
    log = [reading(0, -20), *curve([-14] * 6, start=10), reading(5, -14, arrived=36), reading(40, -14)]
    (raised,) = decide(log)
    assert raised["starts_at"] == to_rfc3339(at(5))
    assert raised["decided_at"] == to_rfc3339(at(36))


def test_what_is_older_than_a_device_is_remembered_by_is_counted_and_decides_nothing():
    log = [*curve([-20] * (KEPT + 1), step=1), reading(-5, -10, arrived=18)]
    notes = Counter()
    engine().advance(engine().start(STORE), log, notes)
    assert notes == {"too_late": 1}


def test_a_clock_set_right_does_not_lose_the_readings_after_it():
    ahead = AHEAD_MS / 60_000 + 60
    log = [reading(minute + ahead, -20, arrived=minute) for minute in range(20)]
    log += curve([-14] * 31, start=20, step=1)
    (raised,) = decide(log)
    assert raised["starts_at"] == to_rfc3339(at(20))


def test_an_alert_that_is_over_is_not_told_anew_by_its_name_when_a_clock_is_set_right():
    rules = (
        "version: 1\ntopic: alerts.x\nrules:\n  - alert: too_cold\n    select: {metric: temperature}\n"
        "    raise_below: -20\n    for: 0s\n"
    )
    ahead = AHEAD_MS / 60_000 + 60
    log = [tick(0, {FREEZER: 300}), reading(0, -21), reading(1 + ahead, -18, arrived=1), reading(5, -21)]
    told = decide(log, rules)
    assert [alert["event"] for alert in told] == ["raised", "resolved", "raised"]
    assert told[0]["starts_at"] == told[2]["starts_at"]
    assert told[0]["alert_id"] == told[1]["alert_id"] != told[2]["alert_id"]


# ---- what cannot be used


GOOD = (
    '{"event_id":"e","event_time":"2026-10-05T08:00:00.000Z","store_id":"store-001","kind":"reading",'
    '"device_id":"d-t","asset_id":"d","asset_class":"freezer","metric":"temperature","value":-20}'
)


def batch(*records: str) -> str:
    return SEPARATOR.join(records)


def test_a_batch_gives_its_events_with_their_arrivals_in_order():
    unreadable: list[Unreadable] = []
    events = read_batch(batch(f"[5,100,{GOOD}]", f"[6,101,{GOOD}]"), unreadable)
    assert [(arrived, event.device_id) for arrived, event in events] == [(100, "d-t"), (101, "d-t")]
    assert unreadable == []


def test_a_poison_record_leaves_its_batch_alone():
    records = ["[7,1,{]", "", "[8,1,{broken]", '[9,1,{"event_id":1}]', f"[10,1,{GOOD}]", "[x,1,{}]"]
    records += [f"[11,2,{GOOD[:-1]}NaN}}]", "[12,2,]", "13"]
    unreadable: list[Unreadable] = []
    events = read_batch(batch(*records), unreadable)
    assert [(arrived, event.event_id) for arrived, event in events] == [(1, "e")]
    assert [item.offset for item in unreadable] == [7, -1, 8, 9, -1, 11, 12, -1]


def test_a_payload_that_ends_its_record_and_begins_others_forges_and_swallows_none():
    """Read all at once these would be three records: the first ends early, two others are swallowed by a field that
    nobody reads."""
    forged = f"[5,1,{GOOD}],[6,1,{GOOD}],[7,1,{GOOD}]"
    opens, closes = f'[8,1,{GOOD[:-1]},"x":[[{{}}]', "[10,1,{}]]}]"
    genuine = f"[9,1,{GOOD.replace('d-t', 'genuine-t')}]"
    unreadable: list[Unreadable] = []
    events = read_batch(batch(forged, opens, genuine, closes), unreadable)
    assert [event.device_id for _, event in events] == ["genuine-t"]
    assert [item.offset for item in unreadable] == [5, 8, 10]


def test_a_tick_with_lists_is_read_like_any_other_record():
    tick = GOOD.replace('"reading"', '"tick"')[:-1] + ',"roster":[]}'
    unreadable: list[Unreadable] = []
    events = read_batch(batch(f"[5,1,{GOOD}]", f"[6,2,{tick}]"), unreadable)
    assert [(event.kind, event.roster) for _, event in events] == [("reading", None), ("tick", [])]
    assert unreadable == []


def test_what_waited_in_a_window_of_the_first_release_is_read():
    unreadable: list[Unreadable] = []
    events = read_batch(batch(f"5 100 {GOOD}", f"[6,101,{GOOD}]"), unreadable)
    assert [arrived for arrived, _ in events] == [100, 101]
    assert unreadable == []


def test_deeply_nested_poison_is_refused_like_any_other():
    unreadable: list[Unreadable] = []
    assert read_batch("[5,1," + "[" * 100_000 + "]", unreadable) == []
    assert unreadable[0].offset == 5


@pytest.mark.parametrize(
    ("changes", "counted"),
    [
        ({"store_id": "store-002"}, "other_store"),
        ({"device_id": "", "asset_id": ""}, "unusable"),
        ({"event_time": "yesterday"}, "unusable"),
        ({"value": None}, "unusable"),
        ({"kind": "guess"}, "unusable"),
    ],
)
def test_an_event_that_cannot_be_judged_is_counted(changes, counted):
    notes = Counter()
    engine().advance(engine().start(STORE), [reading(0, **({"value": -10} | changes))], notes)
    assert notes == {counted: 1}


# ---- other rules


def test_open_alerts_stay_open_when_other_rules_of_the_file_change():
    log = curve([-14] * 8)
    state, _ = engine().advance(engine().start(STORE), log)
    changed = engine().rules.rules[0].model_copy(update={"labels": {"team": "other"}})
    text_state = dumps(state)
    other = engine()
    other.rules = type(other.rules)(other.rules.topic, (changed, *other.rules.rules[1:]), "x")
    renewed = type(other)(other.rules)
    state, told = renewed.advance(loads(text_state), curve([-17, -17], start=40))
    assert steps(told) == [("resolved", "freezer_too_warm", "warning")]
    assert told[0]["sequence"] == 2
    assert told[0]["labels"]["team"] == "other"


def test_an_alert_whose_rule_is_gone_ends_and_says_so():
    state, _ = engine().advance(engine().start(STORE), curve([-14] * 8))
    only = (
        "version: 1\ntopic: alerts.cold-chain\nrules:\n  - alert: other\n    select: {metric: power}\n"
        "    raise_above: 5\n"
    )
    _, told = type(engine())(parse_rules(only, "x")).advance(state, [tick(60)])
    assert steps(told) == [("resolved", "freezer_too_warm", "warning")]
    assert told[0]["reason"] == "rule freezer_too_warm does not judge this device any more"
