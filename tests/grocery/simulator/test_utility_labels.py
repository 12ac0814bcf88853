"""Faults of meters and screens: what arrives of them, what their labels expect, and that the job tells just that."""

from itertools import pairwise

import pytest

from alerting.rules import parse_rules
from grocery.scoring import fold, score
from grocery.settings import PROJECT
from grocery.simulator.labels import MINUTE, silent_after
from grocery.simulator.utility_labels import HOUR, METER_RESET, ONLY_OPEN, OUT_OF_HOURS, SILENCES, out_of_hours
from ingestion.record import Record as Written
from ingestion.ticker import ReplayTicker
from schemas.instants import to_ms
from streaming_jobs.derive import READINGS, Derivation, Record, run
from streaming_jobs.utilities.deriver import Utilities

RULES = PROJECT / "chain" / "rules" / "utilities.yaml"
FAULTS = ("water-leak", "power-left-on", "meter-reset", "signage-dead")


def counted(per_hour, hours: float) -> list[tuple[int, float]]:
    """A count each five minutes; per_hour: of the hour's number."""
    count, found = 0.0, []
    for ms in range(0, round(hours * HOUR), 5 * MINUTE):
        found.append((ms, count))
        count += per_hour(ms / HOUR) / 12
    return found


def drawn(kw, hours: float) -> list[tuple[int, float]]:
    return [(ms, kw(ms / HOUR)) for ms in range(0, round(hours * HOUR), 5 * MINUTE)]


def closed(_: int) -> bool:
    return True


def test_a_leak_counts_from_the_first_hour_in_which_too_much_ran():
    assert out_of_hours(counted(lambda hour: 0.4 if hour >= 2 else 0.02, 6), "water", closed) == [round(2.5 * HOUR)]


def test_a_leak_that_is_closed_soon_is_not_promised():
    assert out_of_hours(counted(lambda hour: 0.4 if 2 <= hour < 3 else 0.02, 6), "water", closed) == []


def test_use_while_the_store_is_open_is_never_out_of_hours():
    assert out_of_hours(counted(lambda hour: 5.0, 6), "water", lambda ms: False) == []


def test_power_counts_above_the_median_of_the_closed_hours_before():
    assert out_of_hours(drawn(lambda hour: 30.0 if hour >= 6 else 12.0, 10), "power", closed) == [round(6.5 * HOUR)]
    assert out_of_hours(drawn(lambda hour: 30.0, 10), "power", closed) == []


def test_a_meter_that_was_not_heard_promises_nothing():
    heard = [item for item in counted(lambda hour: 0.4, 6) if not HOUR < item[0] < 4 * HOUR]
    assert out_of_hours(heard, "water", closed) == []


def test_limits_are_those_of_the_shipped_rules():
    rules = {rule.alert: rule for rule in parse_rules(RULES.read_text("utf-8"), str(RULES)).rules}
    for metric, limits in OUT_OF_HOURS.items():
        rule = rules[limits.rule]
        assert rule.select.metric == (f"out_of_hours_{metric}",)
        assert (rule.raise_above, rule.for_ms) == (limits.limit, limits.lasting)
    for (asset_class, metric), (name, at_least) in SILENCES.items():
        rule = rules[name]
        assert asset_class in rule.select.asset_class and metric in rule.select.metric
        assert bool(rule.mask) == (asset_class in ONLY_OPEN)
        for interval_s in (60, 120, 300):
            assert rule.absent_for.after_ms(interval_s) == silent_after(interval_s, at_least)
    assert rules[METER_RESET].raise_above == 0


# ---- the shipped day


def values(day, device_id: str) -> list[tuple[int, float]]:
    readings = [e for e in day.events["sensor-readings"] if e["device_id"] == device_id]
    return sorted((to_ms(e["event_time"]), e["value"]) for e in readings)


def test_a_leak_runs_while_it_lasts(day):
    label = day.label("water-leak")
    counts = values(day, f"{label.asset_id}-w")
    inside = [value for ms, value in counts if to_ms(label.start) <= ms <= to_ms(label.end)]
    assert inside[-1] - inside[0] == pytest.approx(5 * label.magnitude, rel=0.25)


def test_lights_that_are_left_on_draw_power_only_while_the_store_is_closed(day):
    label = day.label("power-left-on")
    power = values(day, f"{label.asset_id}-p")
    by_night = [value for ms, value in power if to_ms("2026-10-05T20:05:00.000Z") <= ms]
    before = [value for ms, value in power if ms < to_ms("2026-10-05T05:00:00.000Z")]
    assert sum(by_night) / len(by_night) - sum(before) / len(before) == pytest.approx(label.magnitude, abs=2)


def test_a_reset_meter_counts_from_nothing(day):
    label = day.label("meter-reset")
    counts = values(day, f"{label.asset_id}-e")
    falls = [(a, b) for a, b in pairwise(counts) if b[1] < a[1]]
    assert len(falls) == 1
    assert falls[0][0][0] <= to_ms(label.start) <= falls[0][1][0] and falls[0][1][1] < 5


def test_screens_give_heartbeats_and_a_dead_one_none(day):
    label = day.label("signage-dead")
    beats = [ms for ms, value in values(day, f"{label.asset_id}-b") if value == 1]
    assert len(beats) > 650
    assert not [ms for ms in beats if to_ms(label.start) + 1000 < ms < to_ms(label.end)]


@pytest.mark.parametrize("fault", FAULTS)
def test_the_shipped_faults_of_meters_and_screens_pass_their_rules(day, fault):
    assert day.label(fault).expect


def test_the_job_tells_every_shipped_fault_of_a_meter_or_screen_and_nothing_else(day):
    """The whole day through deriver and engine, without a broker."""
    offset, log = 0, []
    about = (b'"metric":"power"', b'"metric":"energy"', b'"metric":"water"', b'"metric":"heartbeat"', b'"kind":"tick"')
    for item in ReplayTicker(day.reference, every_s=15).among(day.arrivals, settle_s=60):
        if isinstance(item, Written):
            store, arrived, payload = item.key, item.timestamp_ms, item.value
        elif item.contract == READINGS and item.payload[-1:] == b"}" and any(text in item.payload for text in about):
            arrived, payload = item.arrived_ms, item.payload
            store = payload.partition(b'"store_id":"')[2].partition(b'"')[0].decode()
        else:
            continue
        offset += 1
        log.append((store, Record(arrived, READINGS, offset, payload.decode())))
    rules = parse_rules(RULES.read_text("utf-8"), str(RULES))
    alerts, metrics, _ = run(Derivation("utilities", Utilities(), rules), log)
    known = {rule.alert for rule in rules.rules}
    verdicts, outside = score(day.labels, fold(alerts))
    assert [(v.label.fault, v.missing) for v in verdicts if known & set(v.missing)] == []
    assert outside == []
    assert {rule for v in verdicts for rule in v.caught} == known & {r for label in day.labels for r in label.expect}
    assert len(metrics) > 150
