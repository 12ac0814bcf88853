"""What stands on a store's shelves, as cameras see it and as sales betray it.

A product that is on the books and does not sell is often not there (phantom inventory): no sale for five times its
usual gap is the practice's sign of it. Gaps between sales come at random, and of random gaps one in 150 is five times
the mean: several a day in any store. So the usual gap is the one that nine of ten stay under.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from alerting.events import Event
from schemas.instants import to_ms
from streaming_jobs.derive import READINGS, Deriver, derived, is_newer, is_resent

SEEN, RECEIPTS, STOCK = "cv-detections", "pos-transactions", "inventory"
TOLD_EVERY_MS = 5 * 60_000
USUAL = 0.9
"""The usual gap is longer than this share of a product's gaps."""
FIRST_GAPS = 10
"""Gaps whose mean gives the first estimate."""
ENOUGH_GAPS = 20
"""Gaps before anything is told about a product."""
STEP = 0.2
"""How far one gap moves the estimate, as a share of it. Some 50 gaps count."""


class Detection(msgspec.Struct):
    """cv-detections."""

    event_time: str
    store_id: str
    zone_kind: str
    seen: str
    asset_id: str = ""
    count: int | None = None


class Line(msgspec.Struct):
    """A line of a receipt."""

    voided: bool
    gtin: str = ""


class Receipt(msgspec.Struct):
    """pos-transactions."""

    event_id: str
    event_time: str
    store_id: str
    kind: str
    lines: list[Line]


class Stock(msgspec.Struct):
    """inventory."""

    event_time: str
    store_id: str
    product_id: str
    on_hand: int
    unit: str


class Product(msgspec.Struct, array_like=True):
    """sold_at: the store's count of receipts when it last sold, -1 while it cannot; usual: its gap in receipts, first
    the mean; on_hand: pieces on the books, None while nobody has said; booked: event time of that, epoch ms."""

    sold_at: int = -1
    gaps: int = 0
    usual: float = 0.0
    on_hand: int | None = None
    booked: int = 0

    def sell(self, receipts: int) -> None:
        """Learn from the gap that a sale ends."""
        if self.sold_at >= 0:
            gap = receipts - self.sold_at
            self.gaps += 1
            if self.gaps <= FIRST_GAPS:
                self.usual += (gap - self.usual) / self.gaps
            else:
                self.usual *= math.exp(STEP * (USUAL if gap > self.usual else USUAL - 1))
            if self.gaps == FIRST_GAPS:
                self.usual *= -math.log(1 - USUAL)  # of gaps that come at random
        self.sold_at = receipts

    def stop(self) -> None:
        """It cannot be bought for now, so the time until it can is nobody's gap."""
        self.sold_at = -1

    def go_on(self, receipts: int) -> None:
        """It can be bought; where that is news, a gap begins."""
        if self.sold_at < 0:
            self.sold_at = receipts

    def ratio(self, receipts: int) -> float | None:
        """Receipts since the last sale over the usual gap; 0 while it cannot be bought, None where too little is known
        of it."""
        if self.on_hand is None or self.gaps < ENOUGH_GAPS:
            return None
        return 0.0 if self.on_hand <= 0 or self.sold_at < 0 else (receipts - self.sold_at) / self.usual


class Planogram(msgspec.Struct):
    """One store. facings: asset -> GTIN, empty where none is assigned; products: by GTIN, those that have a facing.
    receipts: sales so far; told: the same when ratios were last told; period: the newest TOLD_EVERY_MS that was told.

    Bounded by the store's facings and REMEMBERED receipt ids.
    """

    store_id: str
    period: int = 0
    receipts: int = 0
    told: int = 0
    facings: dict[str, str] = {}
    products: dict[str, Product] = {}
    remembered: list[str] = []
    version: int = 1


class Shelves(Deriver[Planogram]):
    """Derives what cameras see and the books say at once, and the ratio of every product each five minutes."""

    state_type = Planogram
    inputs = {SEEN: Detection, RECEIPTS: Receipt, STOCK: Stock}

    def start(self, store_id: str) -> Planogram:
        return Planogram(store_id)

    def advance(self, state: Planogram, arrived_ms: int, topic: str, event: Any) -> list[Event]:
        told: list[Event] = []
        period = arrived_ms // TOLD_EVERY_MS
        if period > state.period:
            told = _tell(state, period * TOLD_EVERY_MS)
            state.period = period
        if topic == SEEN:
            told += _see(state, event)
        elif topic == RECEIPTS:
            _sell(state, event)
        elif topic == STOCK:
            told += _book(state, arrived_ms, event)
        elif topic == READINGS and event.assets is not None:
            state.facings = {item.asset_id: item.gtin for item in event.assets if item.asset_class == "facing"}
            there = sorted(set(state.facings.values()) - {""})
            state.products = {gtin: state.products.get(gtin) or Product() for gtin in there}
        return told


def _see(state: Planogram, seen: Detection) -> list[Event]:
    """Two states of the facing. `seen` says what the model looked for; a count of 0, that it is not so."""
    if seen.zone_kind != "facing" or seen.asset_id not in state.facings:
        return []
    yes = seen.count != 0
    states = {
        "empty_facing": {"facing_empty": yes} | ({"facing_low": True} if yes else {}),
        "low_facing": {"facing_empty": False, "facing_low": yes},
        "item": {"facing_empty": not yes, "facing_low": not yes},
    }.get(seen.seen, {})
    product = state.products.get(state.facings[seen.asset_id])
    if product is not None and "facing_empty" in states:
        product.stop() if states["facing_empty"] else product.go_on(state.receipts)
    at = to_ms(seen.event_time)
    return [
        derived(state.store_id, seen.asset_id, "facing", metric, value, at, zone_kind="facing")
        for metric, value in states.items()
    ]


def _sell(state: Planogram, receipt: Receipt) -> None:
    if receipt.kind != "sale" or is_resent(receipt.event_id, state.remembered):
        return
    state.receipts += 1
    for gtin in {line.gtin for line in receipt.lines if not line.voided} & state.products.keys():
        state.products[gtin].sell(state.receipts)


def _book(state: Planogram, now: int, stock: Stock) -> list[Event]:
    product = state.products.get(stock.product_id)
    at = to_ms(stock.event_time)
    if product is None or stock.unit != "1" or not is_newer(at, product.booked, now):
        return []
    if stock.on_hand <= 0:
        product.stop()
    elif product.on_hand is not None and product.on_hand <= 0:
        product.go_on(state.receipts)
    product.booked, product.on_hand = at, stock.on_hand
    return _of_product(state, "stock_on_hand", {stock.product_id: stock.on_hand}, at)


def _tell(state: Planogram, at: int) -> list[Event]:
    """The ratios, where anything was sold since they were last told."""
    if state.receipts == state.told:
        return []
    state.told = state.receipts
    found = {gtin: product.ratio(state.receipts) for gtin, product in state.products.items()}
    return _of_product(
        state, "stopped_sales_ratio", {gtin: value for gtin, value in found.items() if value is not None}, at
    )


def _of_product(state: Planogram, metric: str, values: dict[str, float], at: int) -> list[Event]:
    """A reading of each product, told of its first facing."""
    facing_of = {gtin: asset_id for asset_id, gtin in sorted(state.facings.items(), reverse=True)}
    return [
        derived(state.store_id, facing_of[gtin], "facing", metric, value, at) for gtin, value in sorted(values.items())
    ]
