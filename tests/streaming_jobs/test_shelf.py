"""What stands on the shelves, as seen and as sold."""

from __future__ import annotations

import random
from collections import Counter

from streaming_jobs.derive import REMEMBERED, Record
from streaming_jobs.shelf.shelves import ENOUGH_GAPS, RECEIPTS, SEEN, STOCK, Product
from tests.streaming_jobs.logs import EIGHT, STORE, derivation, in_order, record, ticks, told

MILK, HAM, NOODLES = "2043101000737", "2043109006571", "451030011106"
FACINGS = [
    {
        "asset_id": f"facing-{number}",
        "asset_class": "facing",
        "name": f"Facing {number}",
        "area": "Shelves",
        "gtin": gtin,
    }
    for number, gtin in enumerate((MILK, HAM, HAM), 1)
]


def sale(minute: float, number: int, *gtins: str, voided: bool = False, kind: str = "sale") -> Record:
    lines = [{"gtin": gtin, "voided": voided} for gtin in gtins] + [{"plu": "4011", "voided": False}]
    return record(RECEIPTS, minute, event_id=f"r-{number}", kind=kind, lines=lines)


def booked(minute: float, product: str, on_hand: int, **more) -> Record:
    return record(STOCK, minute, product_id=product, on_hand=on_hand, unit="1", **more)


def seen(minute: float, what: str, facing: str = "facing-1", **more) -> Record:
    return record(SEEN, minute, zone_kind="facing", asset_id=facing, seen=what, **more)


def till(until: float, milk_every: int, stops: float = 1e9) -> list[Record]:
    """A receipt a minute; milk on one of so many, until it stops."""
    return [
        sale(minute + 0.5, minute, *((MILK,) if minute % milk_every == 0 and minute < stops else ()))
        for minute in range(int(until))
    ]


def test_a_product_that_stops_selling_is_told_by_its_own_usual_gap():
    log = in_order(ticks(200, FACINGS), [booked(0.1, MILK, 500)], till(200, 4, stops=100))
    _, values = told("shelf", log)
    ratios = values["facing-1", "stopped_sales_ratio"]
    # One in four, always: the usual gap comes down to four receipts from the random gaps' first estimate.
    assert max(ratios[:3]) < 1
    assert ratios[-1] > 10
    assert ("facing-2", "stopped_sales_ratio") not in values


def test_nothing_is_told_before_enough_gaps_were_seen_nor_without_the_books():
    few = in_order(ticks(100, FACINGS), [booked(0.1, MILK, 500)], till(100, 4, stops=4 * ENOUGH_GAPS))
    assert ("facing-1", "stopped_sales_ratio") not in told("shelf", few)[1]
    unbooked = in_order(ticks(200, FACINGS), till(200, 4, stops=100))
    assert ("facing-1", "stopped_sales_ratio") not in told("shelf", unbooked)[1]


def test_a_product_without_stock_or_seen_gone_has_not_stopped_selling():
    for why in (booked(110, MILK, 0), seen(110, "empty_facing")):
        log = in_order(ticks(200, FACINGS), [booked(0.1, MILK, 500), why], till(200, 4, stops=100))
        assert set(told("shelf", log)[1]["facing-1", "stopped_sales_ratio"][-10:]) == {0}


def test_the_time_without_stock_is_nobodys_gap():
    stock = [booked(0.1, MILK, 500), booked(100.6, MILK, 0), booked(160.6, MILK, 500)]
    sales = [
        *till(100, 4),
        *(sale(minute + 0.5, minute, *((MILK,) if minute >= 161 else ())) for minute in range(100, 200)),
    ]
    log = in_order(ticks(200, FACINGS), stock, sales)
    job = derivation("shelf")
    state = job.start(STORE)
    state, *_ = job.advance(state, log, Counter(), [])
    _, values = told("shelf", log)
    assert max(values["facing-1", "stopped_sales_ratio"]) < 5
    assert state.deriver.products[MILK].gaps == 24 + 39


def test_returns_voided_lines_and_resends_sell_nothing():
    job = derivation("shelf")
    log = in_order(
        ticks(3, FACINGS),
        [sale(1, 1, MILK), sale(1.1, 1, MILK), sale(1.2, 2, MILK, voided=True), sale(1.3, 3, MILK, kind="return")],
    )
    state, *_ = job.advance(job.start(STORE), log, Counter(), [])
    assert state.deriver.receipts == 2
    assert (state.deriver.products[MILK].sold_at, state.deriver.products[MILK].gaps) == (1, 0)


def test_random_gaps_seldom_come_near_five_times_the_usual_one():
    rng = random.Random(1)
    product, receipts, passed = Product(on_hand=5), 0, 0
    for _ in range(20_000):
        receipts += 1 + int(rng.expovariate(1 / 30))
        passed += (product.ratio(receipts) or 0) > 5
        product.sell(receipts)
    # Of five times the mean gap there would be some 130.
    assert passed <= 4


def test_what_is_seen_becomes_two_states():
    log = in_order(
        ticks(8, FACINGS),
        [
            seen(1, "empty_facing", value=0.0),
            seen(2, "low_facing"),
            seen(3, "item", value=0.9),
            seen(4, "item", count=0),
            seen(5, "empty_facing", count=0),
            seen(6, "person", count=3),
            seen(6.5, "empty_facing", facing="elsewhere"),
        ],
    )
    _, values = told("shelf", log)
    assert values["facing-1", "facing_empty"] == [1, 0, 0, 1, 0]
    assert values["facing-1", "facing_low"] == [1, 1, 0, 1]
    assert not any(asset == "elsewhere" for asset, _ in values)


def test_stock_is_told_of_a_products_first_facing_and_in_the_books_order():
    log = in_order(
        ticks(5, FACINGS),
        [
            booked(1, HAM, 40),
            booked(2, HAM, 38),
            booked(3, HAM, 40, said=1),
            booked(3.5, NOODLES, 7),
            record(STOCK, 4, product_id=MILK, on_hand=9000, unit="g"),
        ],
    )
    _, values = told("shelf", log)
    assert values == {("facing-2", "stock_on_hand"): [40, 38]}


def test_the_state_is_bounded_by_the_planogram():
    job = derivation("shelf")
    log = in_order(
        ticks(600, FACINGS),
        (sale(minute / 3, minute, f"{minute:013d}", MILK) for minute in range(1700)),
        (booked(minute / 3, f"{minute:013d}", 5) for minute in range(1700)),
    )
    state = job.start(STORE)
    state, *_ = job.advance(state, log, Counter(), [])
    assert set(state.deriver.products) == {MILK, HAM}
    assert len(state.deriver.remembered) == REMEMBERED
    fewer = record("sensor-readings", 601, kind="tick", roster=[], assets=FACINGS[:1])
    state, *_ = job.advance(state, [fewer, *ticks(602)[-1:]], Counter(), [])
    assert set(state.deriver.products) == {MILK}


def test_a_night_without_receipts_makes_no_product_look_dead_and_is_not_told():
    sales = [record for record in till(300, 4) if not 120 < (record.arrived_ms - EIGHT) / 60_000 < 240]
    log = in_order(ticks(300, FACINGS), [booked(0.1, MILK, 500)], sales)
    ratios = told("shelf", log)[1]["facing-1", "stopped_sales_ratio"]
    assert max(ratios) < 2
    assert len(ratios) < 30
