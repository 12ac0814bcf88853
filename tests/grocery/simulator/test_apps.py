"""Scan-and-go and pickup: each session and order, from its first step to its receipt."""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import date

import pytest
from cryptography.fernet import Fernet

from grocery.simulator import FaultPlan, simulate
from ingestion.arrival import Arrival, to_ms
from ingestion.dead_letters import Cipher
from ingestion.gate import Gate
from ingestion.pseudonym import Pseudonyms
from ingestion.reference import Reference
from tests.grocery.simulator.conftest import START

APPS = ("scan-events", "orders", "geofence-events")
IN_ORDER = ("placed", "picking_started", "ready", "on_the_way", "arrived", "handed_over")


def run(chain: Reference, *, apps: bool, days: int = 1, start: date = START) -> list[Arrival]:
    return list(simulate(chain, stores=2, days=days, seed=7, start=start, faults=FaultPlan(), apps=apps).arrivals())


@dataclass(frozen=True)
class Told:
    """Two stores on a day. arrivals: with apps; without: the same day without; accepted: contract -> events as the gate
    lets them through, by time; refused: how many it does not."""

    arrivals: list[Arrival]
    without: list[Arrival]
    accepted: dict[str, list[dict]]
    refused: int

    def by(self, contract: str, field: str) -> dict[str, list[dict]]:
        found = defaultdict(list)
        for event in self.accepted[contract]:
            found[event.get(field)].append(event)
        return found


@pytest.fixture(scope="module")
def told(chain) -> Told:
    arrivals, accepted = run(chain, apps=True), defaultdict(list)
    gate = Gate(chain, Pseudonyms(b"0123456789abcdef" * 2), Cipher(Fernet.generate_key()))
    seen = set()
    for arrival in arrivals:
        if arrival.contract in (*APPS, "pos-transactions"):
            for record in gate.admit(arrival):
                if record.value not in seen:
                    seen.add(record.value)
                    accepted[record.topic].append(json.loads(record.value))
    for events in accepted.values():
        events.sort(key=lambda event: (event["event_time"], event["event_id"]))
    return Told(arrivals, run(chain, apps=False), accepted, gate.refused.total())


def bought(receipt: dict) -> Counter:
    """product -> pieces, or grams."""
    found = Counter()
    for line in receipt["lines"]:
        found[line.get("gtin") or line["plu"]] += line.get("quantity") or round(line["weight"] * 1000)
    return found


def test_who_queues_what_sensors_measure_and_tills_ring_up_is_the_same_with_and_without(told):
    def messages(arrivals, *contracts):
        return Counter((a.arrived_ms, a.payload) for a in arrivals if a.contract in contracts)

    untouched = ("sensor-readings", "cv-detections", "lane-status")
    assert messages(told.arrivals, *untouched) == messages(told.without, *untouched)
    more = messages(told.arrivals, "pos-transactions") - messages(told.without, "pos-transactions")
    assert not messages(told.without, "pos-transactions") - messages(told.arrivals, "pos-transactions")
    assert {json.loads(payload)["channel"] for _, payload in more} == {"scan_and_go", "curbside"}
    assert not {a.contract for a in told.without} & set(APPS)


def test_the_same_seed_gives_the_same_bytes(chain, told):
    assert [a.payload for a in run(chain, apps=True)] == [a.payload for a in told.arrivals]


def test_the_gate_lets_in_every_step_and_keeps_no_plain_number(told):
    assert told.refused == 0
    assert all(len(told.accepted[name]) > 50 for name in APPS)
    assert not [event for name in APPS for event in told.accepted[name] if {"plate", "loyalty_number"} & event.keys()]


def test_a_session_that_is_paid_ends_in_a_receipt_of_what_was_scanned_and_kept(told):
    sessions, receipts = told.by("scan-events", "session_id"), told.by("pos-transactions", "transaction_id")
    paid = 0
    for steps in sessions.values():
        assert steps[0]["event"] == "started"
        assert steps[-1]["event"] in ("paid", "abandoned")
        assert not {"paid", "abandoned", "started"} & {step["event"] for step in steps[1:-1]}
        if steps[-1]["event"] == "abandoned":
            continue
        paid += 1
        (receipt,) = receipts[steps[-1]["transaction_id"]]
        basket = Counter()
        for step in steps[1:-1]:
            if "product_id" in step:
                sign = -1 if step["event"] == "item_removed" else 1
                basket[step["product_id"]] += sign * round(step.get("weight", 0) * 1000 or step["quantity"])
        assert +basket == bought(receipt)
        assert (receipt["channel"], receipt["total"]) == ("scan_and_go", steps[-1]["total"])
        assert receipt["customer_id"] == steps[0]["customer_id"]
    assert paid == sum(r["channel"] == "scan_and_go" for r in told.accepted["pos-transactions"]) > 20


def test_an_order_goes_its_way_and_ends_in_a_receipt_of_what_was_picked(told):
    receipts, handed = told.by("pos-transactions", "transaction_id"), 0
    for steps in told.by("orders", "order_id").values():
        if steps[0]["channel"] == "scan_and_go":
            assert [step["event"] for step in steps] == ["placed", "handed_over"]
            continue
        whole = [step["event"] for step in steps if not step["event"].startswith("item_")]
        if whole[-1] == "cancelled":
            assert whole[:-1] == list(IN_ORDER[: len(whole) - 1])
            continue
        handed += 1
        assert whole == list(IN_ORDER)
        lines = [step for step in steps if step["event"].startswith("item_")]
        assert [step["line_no"] for step in lines] == list(range(1, steps[0]["lines"] + 1))
        picked = Counter()
        for step in lines:
            if step["event"] != "item_short":
                code = step.get("substitute_product_id", step["product_id"])
                picked[code] += round(step.get("weight", 0) * 1000 or step["quantity"])
        (receipt,) = receipts[steps[-1]["transaction_id"]]
        assert picked == bought(receipt)
        assert (receipt["channel"], receipt["total"]) == ("curbside", steps[-1]["total"])
        assert steps[0]["window_from"] <= steps[-2]["event_time"] <= steps[0]["window_until"]
    assert handed == sum(r["channel"] == "curbside" for r in told.accepted["pos-transactions"]) > 10


def test_whoever_fetches_an_order_comes_near_arrives_and_leaves(told):
    orders = {name: steps for name, steps in told.by("orders", "order_id").items() if steps[-1].get("bay")}
    crossed = told.by("geofence-events", "order_id")
    seen = {(event["vehicle_id"], event["event_time"][:13]) for event in crossed.pop(None)}
    assert crossed.keys() == orders.keys()
    for name, events in crossed.items():
        times = {step["event"]: step["event_time"] for step in orders[name]}
        assert [event["event"] for event in events] in (["approaching", "arrived", "left"], ["arrived", "left"])
        arrived, left = events[-2:]
        assert times["on_the_way"] <= events[0]["event_time"] <= arrived["event_time"] <= times["arrived"]
        assert times["handed_over"] < left["event_time"]
        if events[0]["event"] == "approaching":
            true_s = (to_ms(arrived["event_time"]) - to_ms(events[0]["event_time"])) / 1000
            assert 0.8 < events[0]["eta_s"] / true_s < 1.25
        coming = next(step for step in orders[name] if step["event"] == "on_the_way")
        assert coming["vehicle_id"] in {vehicle for vehicle, _ in seen}


def test_what_is_watched_by_a_shelf_camera_is_not_bought_by_app(told, chain):
    watched = {(asset["store_id"], asset["gtin"]) for asset in chain.assets.values() if "gtin" in asset}
    by_app = [r for r in told.accepted["pos-transactions"] if r["channel"] in ("scan_and_go", "curbside")]
    assert watched
    assert not {(receipt["store_id"], code) for receipt in by_app for code in bought(receipt)} & watched


def test_over_several_days_no_order_is_cut_in_two_and_no_id_is_given_twice(chain):
    arrivals = [a for a in run(chain, apps=True, days=2) if a.contract in APPS]
    events = [json.loads(payload) for payload in {a.payload for a in arrivals}]
    assert len({event["event_id"] for event in events}) == len(events)
    steps = defaultdict(set)
    for event in events:
        if "lines" in event or event.get("event") in ("handed_over", "cancelled"):
            steps[event["order_id"]].add(event["event"])
    assert all("placed" in said and said & {"handed_over", "cancelled"} for said in steps.values())
    assert all(a.arrived_ms <= b.arrived_ms for a, b in zip(arrivals, arrivals[1:], strict=False))
