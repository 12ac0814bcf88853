"""Shoppers of one store and local day: when they come, what they take, which doors they open, where they queue.

Rates: some 0.9 visitors a square metre of sales area and day, most around noon and after work; baskets of 6 to 7
lines in the mean; a lane opens when more than two stand at each open one (the "1+1" standard: one being served, one
waiting).
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np

Event = dict[str, Any]

VISITORS_PER_M2 = 0.9
DEFAULT_AREA_M2 = 1200
_WEEKDAY = (0.92, 0.9, 0.94, 0.98, 1.14, 1.22, 1.02)
_STAND_BY_LANES = 1
TERMINALS = 3
"""Of one self-checkout area."""
_OPEN_ANOTHER_ABOVE = 2.0
_CLOSE_ONE_BELOW = 0.8
_FACING_HOLDS = 30
_RESTOCK_ROUND_S = 1800
_SELF_CHECKOUT_LINES = 14


@dataclass(slots=True)
class Item:
    """One product in a basket. pieces or kg, the other is 0. picked: epoch seconds."""

    product: Event
    pieces: int
    kg: float
    picked: float


@dataclass(slots=True)
class Shopper:
    """comes, queues, leaves: epoch seconds; lane_id: where they pay."""

    comes: float
    queues: float
    items: list[Item]
    lane_id: str = ""
    leaves: float = 0.0


@dataclass(slots=True)
class StoreDay:
    """What happened. openings: case -> (epoch s, seconds open); lane_changes: (epoch s, lane, status); joins, leaves:
    lane -> sorted epoch s; load: (epoch s, people per open staffed lane) by the minute; stock: facing -> (epoch s,
    share filled) steps."""

    shoppers: list[Shopper]
    openings: dict[str, list[tuple[float, float]]]
    lane_changes: list[tuple[float, str, str]] = field(default_factory=list)
    joins: dict[str, np.ndarray] = field(default_factory=dict)
    leaves: dict[str, np.ndarray] = field(default_factory=dict)
    load: list[tuple[float, float]] = field(default_factory=list)
    stock: dict[str, list[tuple[float, float]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Floor:
    """What of a store matters to shoppers. products with their popularity (sums to 1); cases with a door by what they
    keep; lanes by kind; facings: GTIN -> asset; places: chilled or frozen product -> its number among its kind."""

    store: Event
    products: Sequence[Event]
    popularity: np.ndarray
    freezers: tuple[str, ...]
    coolers: tuple[str | None, ...]
    staffed: tuple[str, ...]
    self_checkouts: tuple[str, ...]
    facings: dict[str, str]
    places: dict[str, int]

    @classmethod
    def of(cls, store: Event, assets: list[Event], products: list[Event], rng: np.random.Generator) -> Floor:
        """products: those on sale here, by id. Raises ValueError where nobody could shop."""
        for item in products:
            if "price" not in item or "currency" not in item:
                raise ValueError(f"product {item['product_id']} has no price and currency; a simulated sale needs both")
            if item["currency"] != store["currency"]:
                raise ValueError(
                    f"product {item['product_id']} is priced in {item['currency']}, {store['store_id']} sells in "
                    f"{store['currency']}; give it a version with `store_id: {store['store_id']}`"
                )
        weights = rng.lognormal(0.0, 0.6, len(products))
        lanes = [a for a in assets if a["asset_class"] == "lane"]
        ranked = sorted(range(len(products)), key=lambda i: (-weights[i], i))  # spread, so that no case is all hits
        places: dict[str, int] = {}
        for storage in ("frozen", "chilled"):
            kept = [products[i]["product_id"] for i in ranked if products[i].get("storage") == storage]
            places |= {product_id: place for place, product_id in enumerate(kept)}
        alone = tuple(a["asset_id"] for a in lanes if a["area"] == "Self-checkout")
        staffed = tuple(a["asset_id"] for a in lanes if a["asset_id"] not in alone)
        if not staffed or not products:
            raise ValueError(f"{store['store_id']}: needs a staffed lane and products for its shoppers")
        doors = {a["asset_id"] for a in assets if any(d["metric"] == "door_open" for d in a["devices"])}
        return cls(
            store=store,
            products=products,
            popularity=weights / weights.sum(),
            freezers=tuple(a["asset_id"] for a in assets if a["asset_class"] == "freezer" and a["asset_id"] in doors),
            coolers=tuple(
                a["asset_id"] if a["asset_id"] in doors else None for a in assets if a["asset_class"] == "cooler"
            ),
            staffed=staffed,
            self_checkouts=alone,
            facings={a["gtin"]: a["asset_id"] for a in assets if a["asset_class"] == "facing" and "gtin" in a},
            places=places,
        )

    def case_of(self, product: Event) -> str | None:
        """The case with a door that keeps it."""
        cases = {"frozen": self.freezers, "chilled": self.coolers}.get(product.get("storage", ""), ())
        return cases[self.places[product["product_id"]] % len(cases)] if cases else None


def a_day(
    floor: Floor,
    day: date,
    spans: list[tuple[float, float]],
    midnight: float,
    rng: np.random.Generator,
    surges: list[tuple[float, float, float]],
    empty: dict[str, list[tuple[float, float]]],
    gone: dict[str, list[tuple[float, float]]],
) -> StoreDay:
    """spans: opening hours; midnight: the local day's start; surges: (start, end, times as many); empty: facing ->
    spans in which nothing is put on it; gone: facing -> spans in which something else stands on it. All epoch
    seconds."""
    comes = _arrivals(floor, day, spans, midnight, rng)
    shoppers = _baskets(floor, comes, None, floor.popularity, rng)
    for start, end, times in surges:
        usual = sum(1 for s in shoppers if start <= s.queues < end)
        extra = rng.poisson(usual * (times - 1)) if spans else 0
        queues = np.sort(rng.uniform(start, end, extra))
        shoppers += _baskets(floor, queues, queues, _dry(floor), rng)
    result = StoreDay(shoppers, defaultdict(list))
    _take(floor, result, midnight, empty, gone)
    _open_doors(floor, result, rng)
    _check_out(floor, result, spans, rng, surges)
    return result


def _arrivals(
    floor: Floor, day: date, spans: list[tuple[float, float]], midnight: float, rng: np.random.Generator
) -> np.ndarray:
    """Epoch seconds at which shoppers enter, sorted."""
    found = []
    visitors = VISITORS_PER_M2 * floor.store.get("area_m2", DEFAULT_AREA_M2) * _WEEKDAY[day.weekday()]
    visitors *= rng.lognormal(0.0, 0.06)
    whole = _curve(np.arange(6 * 60, 23 * 60) / 60.0).sum()
    for opens, closes in spans:
        minutes = np.arange(opens, max(opens + 60, closes - 900), 60.0)
        rate = _curve((minutes - midnight) / 3600.0) / whole * visitors
        counts = rng.poisson(rate)
        found.append(np.repeat(minutes, counts) + rng.uniform(0, 60, counts.sum()))
    return np.sort(np.concatenate(found)) if found else np.array([])


def _curve(hour: np.ndarray) -> np.ndarray:
    """How many come, by hour of the day, relative."""
    noon = np.exp(-(((hour - 12.2) / 1.7) ** 2) / 2)
    evening = 1.25 * np.exp(-(((hour - 17.6) / 1.8) ** 2) / 2)
    return 0.28 + 0.75 * noon + evening


def _dry(floor: Floor) -> np.ndarray:
    """Popularity among those of a surge: they come for drinks and snacks, and open no case."""
    dry = floor.popularity * [product.get("storage", "ambient") == "ambient" for product in floor.products]
    return dry / dry.sum() if dry.any() else floor.popularity


def _baskets(
    floor: Floor, comes: np.ndarray, queues: np.ndarray | None, popularity: np.ndarray, rng: np.random.Generator
) -> list[Shopper]:
    """queues: when they reach the checkout, where that is given; they came before."""
    count = len(comes)
    if not count:
        return []
    lines = np.minimum(45, 1 + rng.lognormal(1.5, 0.75, count).astype(int))
    total = int(lines.sum())
    chosen = rng.choice(len(floor.products), total, p=popularity).tolist()
    pieces = (1 + (rng.random(total) < 0.22) + (rng.random(total) < 0.05)).tolist()
    kilos = np.clip(rng.lognormal(-0.45, 0.5, total), 0.08, 4.0).round(3).tolist()
    when = rng.random(total).tolist()
    dwell = (150 + lines * 48 * rng.uniform(0.7, 1.35, count)).tolist()
    shoppers, at = [], 0
    for number, enters in enumerate(comes.tolist()):
        stays = dwell[number]
        if queues is not None:
            enters -= stays
        basket: dict[int, Item] = {}
        for i in range(at, at + int(lines[number])):
            product = floor.products[chosen[i]]
            by_weight = product["sold_by"] == "kg"
            item = Item(
                product, 0 if by_weight else pieces[i], kilos[i] if by_weight else 0.0, enters + when[i] * stays
            )
            basket.setdefault(chosen[i], item)
        at += int(lines[number])
        items = sorted(basket.values(), key=lambda item: item.picked)
        shoppers.append(Shopper(enters, enters + stays, items))
    return shoppers


def _take(
    floor: Floor,
    day: StoreDay,
    midnight: float,
    empty: dict[str, list[tuple[float, float]]],
    gone: dict[str, list[tuple[float, float]]],
) -> None:
    """Take what is on the watched facings, refill them, and leave out what was not there."""
    picks: dict[str, list[tuple[float, int, Item]]] = defaultdict(list)
    for number, shopper in enumerate(day.shoppers):
        for item in shopper.items:
            facing = floor.facings.get(item.product["product_id"])
            if facing is not None:
                picks[facing].append((item.picked, number, item))
    missed: set[int] = set()
    for facing in floor.facings.values():
        spans = empty.get(facing, [])
        changes = [(when, 0, None) for span in spans for when in span]
        rounds = [(midnight + s, 1, None) for s in range(0, 26 * 3600, _RESTOCK_ROUND_S)]
        stock, steps = _FACING_HOLDS, [(midnight, 1.0)]
        taken = [(when, 2, item) for when, _, item in picks[facing]]
        for when, kind, item in sorted([*changes, *rounds, *taken], key=lambda step: step[:2]):
            out = any(start <= when < end for start, end in spans)
            if kind == 0:
                stock = 0 if out else _FACING_HOLDS
            elif kind == 1:
                if out or stock > 0.55 * _FACING_HOLDS:
                    continue
                stock = _FACING_HOLDS
            elif stock < item.pieces or any(start <= when < end for start, end in gone.get(facing, ())):
                missed.add(id(item))
                continue
            else:
                stock -= item.pieces
                if stock <= 4 and not out:
                    stock = _FACING_HOLDS  # called over the shop's radio
            steps.append((when, stock / _FACING_HOLDS))
        day.stock[facing] = steps
    if missed:
        for shopper in day.shoppers:
            shopper.items = [item for item in shopper.items if id(item) not in missed]


def share_filled(steps: list[tuple[float, float]], when: float) -> float:
    return steps[max(0, bisect_right(steps, (when, math.inf)) - 1)][1]


def _open_doors(floor: Floor, day: StoreDay, rng: np.random.Generator) -> None:
    """A door opens for what is taken from behind it, and now and then for a look."""
    times: list[tuple[str, float]] = []
    doors = [*floor.freezers, *(case for case in floor.coolers if case)]
    looks = rng.poisson(0.3, len(day.shoppers))
    for shopper, glances in zip(day.shoppers, looks.tolist(), strict=True):
        for item in shopper.items:
            case = floor.case_of(item.product)
            if case is not None:
                times.append((case, item.picked))
        for _ in range(glances if doors else 0):
            case = doors[int(rng.integers(len(doors)))]
            times.append((case, float(rng.uniform(shopper.comes, shopper.queues))))
    lasts = np.clip(rng.lognormal(2.3, 0.4, len(times)), 4, 35).tolist()
    for (case, when), seconds in zip(times, lasts, strict=True):
        day.openings[case].append((when, seconds))
    for opened in day.openings.values():
        opened.sort()


class _Lane:
    def __init__(self, lane_id: str, terminals: int) -> None:
        self.lane_id = lane_id
        self.free = [0.0] * terminals
        self.inside: deque[float] = deque()
        self.open = False
        self.closing = False
        self.joins: list[float] = []
        self.leaves: list[float] = []

    def present(self, now: float) -> int:
        while self.inside and self.inside[0] <= now:
            self.inside.popleft()
        return len(self.inside)

    def serve(self, shopper: Shopper, service: float) -> None:
        begins = max(shopper.queues, heapq.heappop(self.free))
        shopper.lane_id, shopper.leaves = self.lane_id, begins + service
        heapq.heappush(self.free, shopper.leaves)
        self.joins.append(shopper.queues)
        self.leaves.append(shopper.leaves)
        self.inside.append(shopper.leaves)
        if len(self.free) > 1:
            self.inside = deque(sorted(self.inside))


def _check_out(
    floor: Floor,
    day: StoreDay,
    spans: list[tuple[float, float]],
    rng: np.random.Generator,
    surges: list[tuple[float, float, float]],
) -> None:
    """Let everybody queue and pay; open and close lanes as the queues ask, but not while a surge takes all hands."""
    staffed = [_Lane(name, 1) for name in floor.staffed]
    alone = [_Lane(name, TERMINALS) for name in floor.self_checkouts]
    waiting = sorted((s for s in day.shoppers if s.items), key=lambda s: s.queues)
    prefers = rng.random(len(waiting)).tolist()
    haste = rng.lognormal(0.0, 0.2, len(waiting)).tolist()
    at = 0
    for opens, closes in spans:
        for lane in (*staffed[:_STAND_BY_LANES], *alone):
            lane.open = True
            day.lane_changes.append((opens, lane.lane_id, "open"))
        minute = opens
        while minute < closes or (at < len(waiting) and waiting[at].queues < closes + 3600):
            while at < len(waiting) and waiting[at].queues < minute + 60:
                _queue_up(waiting[at], staffed, alone, prefers[at], haste[at])
                at += 1
            minute += 60
            stuck = any(start <= minute < end for start, end, _ in surges)
            _staff(day, staffed, minute, minute < closes and not stuck)
        for lane in (*staffed, *alone):
            if lane.open:
                lane.open = lane.closing = False
                day.lane_changes.append((max(closes, max(lane.inside, default=0.0)), lane.lane_id, "closed"))
    for lane in (*staffed, *alone):
        day.joins[lane.lane_id] = np.sort(np.array(lane.joins))
        day.leaves[lane.lane_id] = np.sort(np.array(lane.leaves))
    day.lane_changes.sort()


def _queue_up(shopper: Shopper, staffed: list[_Lane], alone: list[_Lane], prefers: float, haste: float) -> None:
    now, lines = shopper.queues, len(shopper.items)
    best = min((lane for lane in staffed if lane.open and not lane.closing), key=lambda lane: lane.present(now))
    if alone and lines <= _SELF_CHECKOUT_LINES:
        quick = min(alone, key=lambda lane: lane.present(now))
        likes = 0.4 + 0.08 * (best.present(now) - max(0, quick.present(now) - TERMINALS))
        if prefers < likes:
            quick.serve(shopper, (35 + 7.0 * lines) * haste)
            return
    best.serve(shopper, (45 + 3.4 * lines) * haste)


def _staff(day: StoreDay, lanes: list[_Lane], now: float, may_change: bool) -> None:
    for lane in lanes:
        if lane.closing and not lane.present(now):
            lane.open = lane.closing = False
            day.lane_changes.append((now, lane.lane_id, "closed"))
    serving = [lane for lane in lanes if lane.open and not lane.closing]
    load = sum(lane.present(now) for lane in serving) / len(serving)
    day.load.append((now, load))
    if not may_change:
        return
    if load > _OPEN_ANOTHER_ABOVE:
        again = next((lane for lane in lanes if lane.closing), None)
        another = next((lane for lane in lanes if not lane.open), None)
        if again is not None:
            again.closing = False
        elif another is not None:
            another.open = True
            day.lane_changes.append((now, another.lane_id, "open"))
    elif load < _CLOSE_ONE_BELOW and len(serving) > _STAND_BY_LANES:
        serving[-1].closing = True
