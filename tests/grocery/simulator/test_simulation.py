"""A whole day of the chain."""

import json
from collections import Counter, defaultdict
from itertools import pairwise

import pytest
from cryptography.fernet import Fernet

from grocery.simulator import FaultPlan, simulate
from grocery.simulator.labels import SILENT, TOO_WARM, silent_after, too_warm
from ingestion.arrival import dumps, to_ms, write_arrivals
from ingestion.dead_letters import Cipher
from ingestion.gate import Gate
from ingestion.pseudonym import Pseudonyms
from tests.grocery.simulator.conftest import START

QUIET = FaultPlan()


def one_store(chain, seed, faults=QUIET, days=1):
    return simulate(chain, stores=1, days=days, seed=seed, start=START, faults=faults)


# ---- same seed, same bytes


def test_the_same_seed_gives_the_same_bytes(chain, tmp_path):
    for name in ("one", "two"):
        write_arrivals(one_store(chain, 3).arrivals(), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_another_seed_gives_another_day(chain):
    one, other = (Counter(a.payload for a in one_store(chain, seed).arrivals()) for seed in (3, 4))
    assert not one & other


def test_more_stores_disturb_no_other_store(chain, day):
    faults = FaultPlan.load().within(one_store(chain, 7).reference)
    alone = [a.payload for a in one_store(chain, 7, faults).arrivals()]
    among = [a.payload for a in day.arrivals if b'"store_id":"store-001"' in a.payload]
    assert [p for p in alone if b'"store_id":"store-001"' in p] == among


def test_labels_can_be_asked_for_before_the_arrivals(chain, day):
    faults = FaultPlan.load().within(one_store(chain, 7).reference)
    assert one_store(chain, 7, faults).labels() == [x for x in day.labels if x.store_id == "store-001"]


# ---- what arrives


def test_arrivals_come_in_arrival_order_within_the_time_simulated(day):
    assert all(a.arrived_ms <= b.arrived_ms for a, b in pairwise(day.arrivals))
    start = to_ms("2026-10-05T00:00:00Z")
    assert start <= day.arrivals[0].arrived_ms
    assert day.arrivals[-1].arrived_ms < start + 86_400_000 + 60_000


def test_the_gate_lets_in_everything_but_what_was_made_to_be_refused(day):
    gate = Gate(day.reference, Pseudonyms(b"0123456789abcdef" * 2), Cipher(Fernet.generate_key()))
    for arrival in day.arrivals:
        gate.admit(arrival)
    bad = [label for label in day.labels if label.fault == "bad-input"]
    assert sum(gate.refused.values()) == len(bad) == 8
    assert set(gate.accepted) == {"sensor-readings", "pos-transactions", "cv-detections", "lane-status", "inventory"}


def test_messages_are_written_the_one_way_events_are_written(day):
    for arrival in day.arrivals[:: len(day.arrivals) // 500]:
        if b"NaN" not in arrival.payload and arrival.payload[-1:] == b"}":
            assert dumps(json.loads(arrival.payload)) == arrival.payload


def test_an_event_id_stands_for_one_message_and_a_resend_is_byte_identical(day):
    payloads = defaultdict(set)
    times = Counter()
    for arrival in day.arrivals:
        if arrival.payload[-1:] == b"}" and b"NaN" not in arrival.payload:
            event_id = json.loads(arrival.payload)["event_id"]
            payloads[arrival.contract, event_id].add(arrival.payload)
            times[arrival.contract, event_id] += 1
    assert all(len(found) == 1 for found in payloads.values())
    assert 100 < sum(1 for count in times.values() if count == 2) < 1000


def test_some_messages_are_late_and_some_lost_and_one_clock_is_an_hour_ahead(day):
    late, ahead = 0, set()
    numbers = defaultdict(set)
    arrived = {a.payload: a.arrived_ms for a in reversed(day.arrivals)}
    for payload, at in arrived.items():
        if b'"sequence"' in payload:
            event = json.loads(payload)
            late += at - to_ms(event["event_time"]) > 120_000
            numbers[event["device_id"]].add(event["sequence"])
            if to_ms(event["event_time"]) - at > 3_000_000:
                ahead.add(event["device_id"])
    assert late > 20
    assert len(ahead) == 1
    lost = sum(max(found) - min(found) + 1 - len(found) for found in numbers.values())
    assert 200 < lost < 0.02 * len(arrived)


def test_us_devices_report_in_fahrenheit_where_the_chain_says_so(day):
    values = [e["value"] for e in day.events["sensor-readings"] if e["device_id"] == "s003-cooler-01-t"]
    assert min(values) > 33 and max(values) < 45


def test_counters_only_rise(day):
    for device_id in ("s001-power-01-e", "s002-water-01-w"):
        readings = [e for e in day.events["sensor-readings"] if e["device_id"] == device_id]
        values = [e["value"] for e in sorted(readings, key=lambda e: e["sequence"])]
        assert all(a <= b for a, b in pairwise(values))
        assert values[-1] > values[0]


# ---- shoppers, lanes, tills


def test_receipts_add_up(day):
    on_top = {"store-001": True, "store-002": False, "store-003": True}
    assert len(day.events["pos-transactions"]) > 2000
    for receipt in day.events["pos-transactions"]:
        sign = 1 if receipt["kind"] == "sale" else -1
        total = 0
        for line in receipt["lines"]:
            gross = line.get("quantity", line.get("weight")) * line["unit_price"]
            assert abs(gross - sign * line["discount"] - line["amount"]) <= 0.5001
            assert line["amount"] * sign >= 0 and line["tax"] * sign >= 0
            if not line["voided"]:
                total += line["amount"] + (line["tax"] if on_top[receipt["store_id"]] else 0)
        assert receipt["total"] == total == sum(tender["amount"] for tender in receipt["tenders"])


def test_receipts_sell_the_stores_products_at_its_prices(day):
    for receipt in day.events["pos-transactions"]:
        for line in receipt["lines"]:
            code = line.get("gtin") or line["plu"]
            product = day.reference.products.get((receipt["store_id"], code)) or day.reference.products["chain", code]
            assert (product["price"], product["currency"]) == (line["unit_price"], receipt["currency"])
            assert ("weight" in line) == (product["sold_by"] == "kg")
            assert product["department"] == line["department"]


def test_what_is_undone_was_sold_before(day):
    sold = {}
    for receipt in sorted(day.events["pos-transactions"], key=lambda r: r["event_time"]):
        if receipt["kind"] == "sale":
            sold[receipt["transaction_id"]] = receipt
            continue
        original = sold.get(receipt["original_transaction_id"])
        if original is None:  # sold before the simulation began
            assert receipt["event_time"] < "2026-10-05T06"
            continue
        assert -receipt["total"] <= original["total"]
        if receipt["kind"] == "void":
            assert receipt["total"] == -original["total"]
    kinds = Counter(receipt["kind"] for receipt in day.events["pos-transactions"])
    assert kinds["return"] > 5 and kinds["void"] > 1


def test_about_half_of_the_receipts_name_a_loyalty_number(day):
    with_number = sum("loyalty_number" in receipt for receipt in day.events["pos-transactions"])
    assert 0.45 < with_number / len(day.events["pos-transactions"]) < 0.55
    assert not any("customer_id" in receipt for receipt in day.events["pos-transactions"])


def test_receipts_come_from_open_lanes_only(day):
    changes = defaultdict(list)
    for event in sorted(day.events["lane-status"], key=lambda e: e["event_time"]):
        changes[event["lane_id"]].append((event["event_time"], event["status"]))
    for receipt in day.events["pos-transactions"]:
        if receipt["kind"] == "sale":
            before = [status for when, status in changes[receipt["lane_id"]] if when < receipt["event_time"]]
            assert before[-1] == "open"


def test_more_people_queue_in_a_surge_than_ever_else(day):
    surge = day.label("queue-surge")
    inside, outside = [], []
    for seen in day.events["cv-detections"]:
        if seen["zone_kind"] == "queue" and seen["store_id"] == "store-001":
            (inside if surge.start < seen["event_time"] < surge.end else outside).append(seen["count"])
    assert max(inside) >= 2 * max(c for c in outside[: len(outside) // 2])


def test_those_who_enter_pay_or_leave_with_nothing(day):
    entered = sum(e["count"] for e in day.events["cv-detections"] if e["zone_kind"] == "entrance")
    paid = sum(1 for receipt in day.events["pos-transactions"] if receipt["kind"] == "sale")
    assert 0.9 < paid / entered < 1.1


def test_an_empty_shelf_is_seen_empty_and_sells_nothing(day):
    label = day.label("empty-shelf")
    gtin = day.reference.assets[label.asset_id]["gtin"]
    seen = [e for e in day.events["cv-detections"] if e.get("asset_id") == label.asset_id]
    during = [e for e in seen if label.start < e["event_time"] < label.end]
    assert len(during) > 20
    assert {e["seen"] for e in during} == {"empty_facing"}
    assert "empty_facing" not in {e["seen"] for e in seen if e["event_time"] > label.recovered_by}
    shelf_gone = [
        line
        for receipt in day.events["pos-transactions"]
        if receipt["store_id"] == label.store_id and "2026-10-05T13:50" < receipt["event_time"] < label.end
        for line in receipt["lines"]
        if line.get("gtin") == gtin and receipt["kind"] == "sale"
    ]
    assert shelf_gone == []


def test_phantom_stock_is_on_the_books_and_looks_filled_and_sells_nothing(day):
    label = day.label("phantom-stock")
    gtin = day.reference.assets[label.asset_id]["gtin"]
    # Who took it before may still be on the way to the till.
    while_gone = ("2026-10-05T16:50", label.end)
    sold = [
        receipt["event_time"]
        for receipt in day.events["pos-transactions"]
        if receipt["store_id"] == label.store_id and receipt["kind"] == "sale"
        for line in receipt["lines"]
        if line.get("gtin") == gtin
    ]
    assert [when for when in sold if while_gone[0] < when < while_gone[1]] == []
    assert len(sold) > 50
    booked = [e["on_hand"] for e in day.events["inventory"] if e["product_id"] == gtin and e["store_id"] == "store-003"]
    assert min(booked) > 0
    seen = {e["seen"] for e in day.events["cv-detections"] if e.get("asset_id") == label.asset_id}
    assert "empty_facing" not in seen


def test_what_is_sold_leaves_the_books_and_a_delivery_fills_them_up(day):
    booked = defaultdict(list)
    for event in day.events["inventory"]:
        if event["store_id"] == "store-002":
            booked[event["product_id"]].append((event["event_time"], event["on_hand"]))
    sold = Counter()
    for receipt in day.events["pos-transactions"]:
        if receipt["store_id"] == "store-002":
            for line in receipt["lines"]:
                if not line["voided"] and "quantity" in line:
                    sold[line["gtin"] if "gtin" in line else line["plu"]] += line["quantity"]
    gone = {product: entries[0][1] - entries[-1][1] for product, entries in booked.items()}
    assert all(entries[0][0] == "2026-10-05T03:30:00.000Z" for entries in booked.values())  # 05:30, opens at 7
    assert {product: gone[product] for product in sold} == sold


def test_doors_open_as_shoppers_come(day):
    openings = Counter(
        e["event_time"][11:13]
        for e in day.events["sensor-readings"]
        if e["asset_id"].startswith("s002-freezer") and e["metric"] == "door_open" and e["value"] == 1
    )
    assert openings["02"] == 0  # shut: 04 o'clock in Berlin
    assert openings["15"] > 40


# ---- labels


def test_a_fault_is_expected_where_its_readings_are_past_the_limit_for_longer_than_the_rule_waits(day):
    expected = {(x.fault, x.asset_id): x.expect for x in day.labels if x.fault != "bad-input"}
    assert expected["compressor-failure", "s001-freezer-02"] == ("freezer_too_warm",)
    assert expected["door-ajar", "s002-freezer-03"] == ("freezer_too_warm",)
    assert expected["slow-leak", "s003-freezer-01"] == ("freezer_too_warm",)
    assert expected["defrost-heater-stuck", "s003-freezer-04"] == ("freezer_too_warm",)
    assert expected["iced-coil", "s002-cooler-01"] == ("cooler_too_warm",)
    assert expected["silent-sensor", "s003-cooler-03"] == ("sensor_silent",)
    assert expected["stuck-sensor", "s001-freezer-05"] == ("sensor_stuck",)
    assert expected["network-outage", "s002-freezer-01"] == ("sensor_silent",)
    assert expected["queue-surge", "s001-lane-01"] == ("checkout_wait", "lanes_short")
    assert expected["empty-shelf", "s002-facing-03"] == ("facing_empty",)
    assert expected["phantom-stock", "s003-facing-02"] == ("phantom_inventory",)


def test_a_door_shut_again_in_time_expects_nothing(day):
    assert day.label("door-ajar", "s003-freezer-02").expect == ()


def test_labels_stand_in_time_order_within_the_day(day):
    for label in day.labels:
        assert "2026-10-05T00" <= label.start <= label.end <= label.recovered_by
    assert [x.start for x in day.labels] == sorted(x.start for x in day.labels)


def test_a_stuck_sensor_says_the_same_all_the_time(day):
    label = day.label("stuck-sensor")
    values = [
        e["value"]
        for e in day.events["sensor-readings"]
        if e["device_id"] == f"{label.asset_id}-t" and label.start < e["event_time"] < label.end
    ]
    assert len(values) > 150
    assert len(set(values[1:-1])) == 1


def test_an_outage_holds_readings_back_and_delivers_them_in_one_burst(day):
    label = day.label("network-outage")
    end = to_ms(label.end)
    burst = [
        e
        for a in day.arrivals
        if end <= a.arrived_ms < end + 10_000 and b'"s002-freezer-' in a.payload and b"temperature" in a.payload
        for e in [json.loads(a.payload)]
        if e["event_time"] < label.end
    ]
    assert len(burst) >= 5 * 11


# ---- an ordinary day


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_an_ordinary_day_comes_near_no_rule(chain, seed):
    """A second reading of the rules, with limits that are reached sooner; doors, defrosts, outages, losses included."""
    readings, defrosts, arrivals = defaultdict(list), defaultdict(list), defaultdict(list)
    interval = {d["device_id"]: d["interval_s"] for a in chain.assets.values() for d in a["devices"]}
    simulation = one_store(chain, seed, days=2)
    for arrival in simulation.arrivals():
        if arrival.contract == "sensor-readings":
            event = json.loads(arrival.payload)
            arrivals[event["device_id"]].append(arrival.arrived_ms)
            if event["metric"] == "temperature":
                readings[event["asset_id"]].append((to_ms(event["event_time"]), event["value"]))
            elif event["metric"] == "defrost":
                defrosts[event["asset_id"]].append((to_ms(event["event_time"]), bool(event["value"])))
    assert simulation.labels() == []
    for asset_id, found in readings.items():
        limits = TOO_WARM.get(chain.assets[asset_id]["asset_class"])
        if limits is not None:
            assert too_warm(found, defrosts[asset_id], limits, margin_c=-0.3, margin_ms=-300_000) == []
    for device_id, found in arrivals.items():
        assert max(b - a for a, b in pairwise(sorted(found))) < silent_after(interval[device_id]) - 60_000


def test_without_its_mask_an_ordinary_defrost_would_be_told(chain):
    readings = defaultdict(list)
    for arrival in one_store(chain, 1).arrivals():
        if b'"asset_class":"freezer","metric":"temperature"' in arrival.payload:
            event = json.loads(arrival.payload)
            readings[event["asset_id"]].append((to_ms(event["event_time"]), event["value"]))
    assert any(too_warm(found, [], TOO_WARM["freezer"], margin_ms=-300_000) for found in readings.values())


def test_silent_is_the_rules_name():
    assert SILENT == "sensor_silent"
