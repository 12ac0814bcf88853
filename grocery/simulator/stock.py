"""The books of one store: what it should have of each product, after sales and the nightly delivery."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from grocery.simulator.shoppers import DEFAULT_AREA_M2, VISITORS_PER_M2, Floor

Event = dict[str, Any]

_COVERS_DAYS = 3
_LINES = 6.5
_PIECES, _GRAMS = 1.3, 700
"""In the mean: lines of a receipt, and what one line takes."""
_DELIVERED_BEFORE_S = 5400
_BOOKED_EVERY_S = 3600


class Books:
    """on_hand: pieces, or grams of what is sold by weight, by product; the same until somebody sells or delivers."""

    def __init__(self, floor: Floor) -> None:
        visitors = VISITORS_PER_M2 * floor.store.get("area_m2", DEFAULT_AREA_M2)
        self.units = {item["product_id"]: "g" if item["sold_by"] == "kg" else "1" for item in floor.products}
        self._full = {
            item["product_id"]: math.ceil(
                share * visitors * _LINES * _COVERS_DAYS * (_GRAMS if item["sold_by"] == "kg" else _PIECES)
            )
            for item, share in zip(floor.products, floor.popularity.tolist(), strict=True)
        }
        self.on_hand = dict(self._full)
        self._told: dict[str, int] = {}

    def day(
        self, spans: list[tuple[float, float]], sales: Sequence[tuple[float, Event]], start: float
    ) -> Iterator[tuple[float, str, int]]:
        """(epoch s, product, on hand) of what is told on a day, from `start` on: what a delivery before the store opens
        has changed, and each hour what was sold. sales: the day's receipts, by time."""
        delivered = [opens - _DELIVERED_BEFORE_S for opens, _ in spans[:1]]
        hours = [
            opens + number * _BOOKED_EVERY_S
            for opens, closes in spans
            for number in range(1, math.ceil((closes - opens) / _BOOKED_EVERY_S) + 1)
        ]
        at = 0
        for moment in [*delivered, *hours]:
            while at < len(sales) and sales[at][0] < moment:
                self._take(sales[at][1])
                at += 1
            if moment in delivered:
                self.on_hand = dict(self._full)
            if moment >= start:
                changed = [item for item in self.on_hand.items() if self._told.get(item[0]) != item[1]]
                yield from ((moment, product_id, on_hand) for product_id, on_hand in changed)
                self._told.update(changed)
        for _, receipt in sales[at:]:
            self._take(receipt)

    def _take(self, receipt: Event) -> None:
        for line in receipt["lines"]:
            product_id = line.get("gtin") or line["plu"]
            if not line["voided"]:
                self.on_hand[product_id] -= round(line["weight"] * 1000) if "weight" in line else int(line["quantity"])
