"""Receipts of the shoppers: what they took, at the store's prices, taxed by its country's convention."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from grocery.simulator.shoppers import Item, StoreDay

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Tax:
    """food, other: rates. on_top: added to the shelf price (US sales tax) or contained in it (VAT)."""

    food: float
    other: float
    on_top: bool = False


# Standard and food rates, 2026. US sales tax differs by city; most states leave food out.
TAXES = {
    "US": Tax(0.0, 0.08, on_top=True),
    "AT": Tax(0.10, 0.20),
    "BE": Tax(0.06, 0.21),
    "CH": Tax(0.026, 0.081),
    "DE": Tax(0.07, 0.19),
    "FR": Tax(0.055, 0.20),
    "GB": Tax(0.0, 0.20),
    "NL": Tax(0.09, 0.21),
}
_NOT_FOOD = {"household", "drinks"}

PROMOTED = 0.08
"""Share of the products that are 20 % off on a day."""
WITH_LOYALTY = 0.5
RETURNED = 0.008
VOIDED = 0.003
LINE_TAKEN_BACK = 0.01


def tax_of(store: Event) -> Tax:
    """Raises ValueError."""
    if store["country"] not in TAXES:
        raise ValueError(
            f"{store['store_id']}: no tax rates for country {store['country']} in the simulator; "
            f"there are {', '.join(sorted(TAXES))} (grocery/simulator/sales.py)"
        )
    return TAXES[store["country"]]


def receipts(
    store: Event, day: date, found: StoreDay, closes: float, rng: np.random.Generator, seed: int, alone: set[str]
) -> list[tuple[float, Event]]:
    """(epoch seconds, event without its event_time) of every receipt of the day. alone: self-checkout lanes."""
    tax = tax_of(store)
    shoppers = [s for s in sorted(found.shoppers, key=lambda s: (s.leaves, s.comes)) if s.items]
    ids = {item.product["product_id"] for s in shoppers for item in s.items}
    promoted = {product_id for product_id in sorted(ids) if rng.random() < PROMOTED}
    households = rng.integers(0, 4000, len(shoppers)).tolist()
    chances = rng.random((len(shoppers), 5)).tolist()
    numbers: dict[str, int] = {}
    out: list[tuple[float, Event]] = []

    def add(
        when: float, kind: str, lane_id: str, original: str | None, loyalty: str | None, lines: list, tenders: list
    ):
        numbers[lane_id] = numbers.get(lane_id, 0) + 1
        name = f"{lane_id}-{day:%Y%m%d}-{numbers[lane_id]:04d}"
        event: Event = {"event_id": f"{name}-{seed}", "event_time": "", "store_id": store["store_id"]}
        event |= {"schema_version": 1, "transaction_id": name, "kind": kind}
        if original is not None:
            event["original_transaction_id"] = original
        event["channel"] = "self_checkout" if lane_id in alone else "lane"
        event["lane_id"] = lane_id
        if loyalty is not None:
            event["loyalty_number"] = loyalty
        total = total_of(lines, tax)
        event |= {"currency": store["currency"], "lines": lines, "tenders": tenders, "total": total}
        out.append((when, event))
        return name, total

    later: list[tuple[float, str, str, str | None, list]] = []
    for shopper, household, luck in zip(shoppers, households, chances, strict=True):
        lines = [
            line_of(n, item, item.product["product_id"] in promoted, tax) for n, item in enumerate(shopper.items, 1)
        ]
        if len(lines) > 2 and luck[0] < LINE_TAKEN_BACK * len(lines):
            lines[int(luck[0] * 1e6) % len(lines)]["voided"] = True
        loyalty = loyalty_number(store, household) if luck[1] < WITH_LOYALTY else None
        tenders = _tenders(total_of(lines, tax), luck[2])
        name, _ = add(shopper.leaves, "sale", shopper.lane_id, None, loyalty, lines, tenders)
        back = [line for line in lines if not line["voided"]]
        if luck[3] < VOIDED:
            later.append((shopper.leaves + 60 + 120 * luck[4], "void", name, loyalty, back))
        elif luck[3] < VOIDED + RETURNED and shopper.leaves + 2400 < closes:
            some = [line for line in back if "quantity" in line][:1]
            when = shopper.leaves + 1800 + luck[4] * max(0.0, closes - shopper.leaves - 2400)
            if some:
                later.append((when, "return", name, loyalty, some))
    lane_of = {event["transaction_id"]: event["lane_id"] for _, event in out}
    staffed = next((lane for lane in sorted(found.joins) if lane not in alone), None)
    for when, kind, original, loyalty, sold in sorted(later, key=lambda one: (one[0], one[2])):
        lines = [_undone(n, line) for n, line in enumerate(sold, 1)]
        lane_id = lane_of[original] if kind == "void" or staffed is None else staffed
        add(when, kind, lane_id, original, loyalty, lines, [{"kind": "card", "amount": total_of(lines, tax)}])
    out.sort(key=lambda pair: (pair[0], pair[1]["event_id"]))
    return out


def loyalty_number(store: Event, household: int) -> str:
    """Of one of the store's households, as it stands on their card."""
    return f"{store['store_id'][-3:]}{household * 7919 % 900000 + 100000:09d}"


def line_of(number: int, item: Item, promoted: bool, tax: Tax) -> Event:
    """The receipt's line for what is in a basket."""
    product = item.product
    code = product["product_id"]
    line: Event = {"line_no": number, ("plu" if len(code) < 8 else "gtin"): code, "department": product["department"]}
    if item.kg:
        line["weight"] = item.kg
        gross = _round(item.kg * product["price"])
    else:
        line["quantity"] = item.pieces
        gross = item.pieces * product["price"]
    discount = _round(0.2 * gross) if promoted else 0
    amount = gross - discount
    rate = tax.other if product["department"].casefold() in _NOT_FOOD else tax.food
    owed = _round(amount * rate) if tax.on_top else _round(amount * rate / (1 + rate))
    line |= {"unit_price": product["price"], "discount": discount, "tax": owed, "amount": amount, "voided": False}
    return line


def _undone(number: int, line: Event) -> Event:
    """The same line, taken back: amounts and quantities negative; price and discount stay positive by contract."""
    back = line | {"line_no": number, "tax": -line["tax"], "amount": -line["amount"]}
    measure = "quantity" if "quantity" in line else "weight"
    back[measure] = -line[measure]
    return back


def total_of(lines: list[Event], tax: Tax) -> int:
    """What these lines cost, without those that were taken back."""
    kept = [line for line in lines if not line["voided"]]
    return sum(line["amount"] for line in kept) + (sum(line["tax"] for line in kept) if tax.on_top else 0)


def _tenders(total: int, luck: float) -> list[Event]:
    if luck < 0.03 and total > 500:
        return [{"kind": "voucher", "amount": 500}, {"kind": "card", "amount": total - 500}]
    kind = "cash" if luck < 0.22 else "mobile" if luck < 0.42 else "card"
    return [{"kind": kind, "amount": total}]


def _round(value: float) -> int:
    """Half up, as tills do; the small addition makes up for binary fractions just below a half."""
    return math.floor(value + 0.5 + 1e-9)
