"""Shoppers who use the store's app: scan-and-go sessions, and orders that are fetched at the curb.

They come beside the shoppers of the lanes and are none of them: who queues, what cameras count and what the tills ring
up is the same with and without. They take no product that has a facing with a camera, so that what shelves show and
labels say stays true. Each session or order lies wholly within the time simulated, or is left out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np

from grocery.simulator.sales import line_of, loyalty_number, tax_of, total_of
from grocery.simulator.shoppers import DEFAULT_AREA_M2, Floor, Item
from schemas.instants import to_rfc3339

Event = dict[str, Any]

SESSIONS_PER_M2 = 0.02
ORDERS_PER_M2 = 0.012
CHANNELS = ("scan_and_go", "curbside")
"""Of the receipts that end here what the app began."""
# ECR Retail Loss, 2018: some 12 % of the baskets are checked, some 2.9 % of those fail.
CHECKED, CHECK_FAILED = 0.12, 0.029
TAKEN_OUT, ABANDONED = 0.04, 0.05
SHORT, SUBSTITUTED, CANCELLED = 0.03, 0.05, 0.05
_FEWEST_PRODUCTS = 10
_HOUSEHOLDS = 4000


@dataclass(slots=True)
class AppDay:
    """told: (epoch s, contract, event). receipts: (epoch s, event without its event_time)."""

    told: list[tuple[float, str, Event]] = field(default_factory=list)
    receipts: list[tuple[float, Event]] = field(default_factory=list)


class Apps:
    """What the apps of one store's customers say. cameras: of the store; the first sees the pickup bays."""

    def __init__(self, floor: Floor, cameras: list[str], seed: int) -> None:
        self._floor, self._camera, self._seed = floor, cameras[0] if cameras else None, seed
        self._store_id, self._currency = floor.store["store_id"], floor.store["currency"]
        self._tax = tax_of(floor.store)
        free = [number for number, one in enumerate(floor.products) if one["product_id"] not in floor.facings]
        self._products = [floor.products[number] for number in free]
        weights = floor.popularity[free]
        self._popularity = weights / weights.sum() if len(free) else weights

    def day(
        self, day: date, midnight: float, spans: list[tuple[float, float]], within: tuple[float, float], rng: Any
    ) -> AppDay:
        """One local day. midnight, spans (when the store is open), within (what is simulated): epoch seconds."""
        found = AppDay()
        if len(self._products) < _FEWEST_PRODUCTS:
            return found
        area = self._floor.store.get("area_m2", DEFAULT_AREA_M2)
        windows = [start for opens, closes in spans for start in np.arange(opens + 7200, closes - 3599, 3600).tolist()]
        entries = [(opens, closes - 5400) for opens, closes in spans if closes - opens > 7200]
        for number in range(int(rng.poisson(SESSIONS_PER_M2 * area)) if entries else 0):
            opens, last = entries[int(rng.integers(len(entries)))]
            visit = _Visit(self, day, number + 1, rng)
            visit.scan_and_go(float(rng.uniform(opens, last)))
            visit.keep(found, within)
        for number in range(int(rng.poisson(ORDERS_PER_M2 * area)) if windows else 0):
            visit = _Visit(self, day, number + 501, rng)
            visit.curbside(windows[int(rng.integers(len(windows)))], midnight)
            visit.keep(found, within)
        found.told.sort(key=lambda one: (one[0], one[2]["event_id"]))
        found.receipts.sort(key=lambda one: (one[0], one[1]["event_id"]))
        return found

    def basket(self, mean: float, rng: np.random.Generator) -> list[Item]:
        """Different products, as popular as they are."""
        count = min(1 + int(rng.poisson(mean)), len(self._products) // 2)
        found = []
        for number in rng.choice(len(self._products), count, replace=False, p=self._popularity).tolist():
            by_weight = self._products[number]["sold_by"] == "kg"
            pieces, kilos = 1 + int(rng.random() < 0.25), round(float(rng.uniform(0.2, 1.8)), 3)
            found.append(Item(self._products[number], 0 if by_weight else pieces, kilos if by_weight else 0.0, 0.0))
        return found

    def another(self, item: Item, taken: set[str], rng: np.random.Generator) -> Item | None:
        """What is picked in its place: of the same department, sold the same way, not in the order itself."""
        alike = [
            one
            for one in self._products
            if (one["department"], one["sold_by"]) == (item.product["department"], item.product["sold_by"])
            and one["product_id"] not in taken
        ]
        return Item(alike[int(rng.integers(len(alike)))], item.pieces, item.kg, 0.0) if alike else None


class _Visit:
    """One session or order, told step by step."""

    def __init__(self, apps: Apps, day: date, number: int, rng: np.random.Generator) -> None:
        self._apps, self._rng = apps, rng
        self._name = f"{apps._store_id}-{day:%Y%m%d}-{number:03d}-{apps._seed}"
        self._household = int(rng.integers(_HOUSEHOLDS))
        self._customer = {"loyalty_number": loyalty_number(apps._floor.store, self._household)}
        self._steps: Counter[str] = Counter()
        self._told: list[tuple[float, str, Event]] = []
        self._receipts: list[tuple[float, Event]] = []

    def keep(self, found: AppDay, within: tuple[float, float]) -> None:
        """Add it to the day where all of it lies in the time simulated."""
        if all(within[0] <= when < within[1] for when, *_ in self._told):
            found.told += self._told
            found.receipts += self._receipts

    def scan_and_go(self, when: float) -> None:
        apps, rng = self._apps, self._rng
        basket = apps.basket(5, rng)
        left_at = int(rng.integers(len(basket))) if rng.random() < ABANDONED else None
        self._scan(when, "started", **self._customer, device_kind="phone" if rng.random() < 0.8 else "handheld")
        bought: list[Item] = []
        for number, item in enumerate(basket):
            when += float(rng.uniform(25, 110))
            self._scanned(when, item)
            if number == left_at:
                self._scan(when + 900, "abandoned")
                return
            if rng.random() < TAKEN_OUT and number + 1 < len(basket):
                when += float(rng.uniform(10, 60))
                self._scan(when, "item_removed", product_id=item.product["product_id"], **_measured(item))
            else:
                bought.append(item)
        if rng.random() < CHECKED:
            when += 40
            self._scan(when, "flagged", flag_reason="random")
            when += float(rng.uniform(60, 180))
            if rng.random() < CHECK_FAILED:
                self._scan(when, "checked", check_result="failed", pieces_missed=1)
                when += 20
                missed = Item(bought[-1].product, 1 if bought[-1].pieces else 0, bought[-1].kg, 0.0)
                self._scanned(when, missed)
                bought.append(missed)
            else:
                self._scan(when, "checked", check_result="passed")
        when += float(rng.uniform(20, 60))
        lines = [line_of(number, item, False, apps._tax) for number, item in enumerate(bought, 1)]
        paid = self._pay(when, "scan_and_go", lines)
        self._scan(when, "paid", **paid, pieces=sum(item.pieces or 1 for item in bought))
        session = {"session_id": f"sg-{self._name}"}
        price = {name: paid[name] for name in ("currency", "total")}
        self._order(when, "placed", channel="scan_and_go", **self._customer, **session, lines=len(lines), **price)
        self._order(when + float(rng.uniform(20, 90)), "handed_over", **session, **paid)

    def curbside(self, window: float, midnight: float) -> None:
        """window: when the promised hour begins."""
        apps, rng = self._apps, self._rng
        basket = apps.basket(14, rng)
        picks = window - float(rng.uniform(2400, 5400))
        placed = max(midnight + 60, picks - float(rng.uniform(1800, 14400)))
        lines = [line_of(number, item, False, apps._tax) for number, item in enumerate(basket, 1)]
        promised = {"window_from": _at(window), "window_until": _at(window + 3600)}
        price = {"currency": apps._currency, "total": total_of(lines, apps._tax)}
        self._order(placed, "placed", channel="curbside", **self._customer, **promised, lines=len(lines), **price)
        if rng.random() < CANCELLED:
            self._order(placed + (picks - placed) * float(rng.uniform(0.1, 0.9)), "cancelled", cancelled_by="customer")
            return
        self._order(picks, "picking_started")
        had, when = self._picked(basket, picks)
        when += float(rng.uniform(60, 240))
        if not had:
            self._order(when, "cancelled", cancelled_by="store")
            return
        self._order(when, "ready")
        arrives = max(window + float(rng.uniform(0, 3000)), when + 120)
        self._drive(arrives, max(when, arrives - float(rng.uniform(480, 1500))))
        self._hand_over(arrives, [line_of(number, item, False, apps._tax) for number, item in enumerate(had, 1)])

    def _picked(self, basket: list[Item], when: float) -> tuple[list[Item], float]:
        """What was picked, and when the last line was done."""
        had: list[Item] = []
        taken = {item.product["product_id"] for item in basket}
        for number, item in enumerate(basket, 1):
            when += float(self._rng.uniform(20, 70))
            ordered = {"line_no": number, "product_id": item.product["product_id"]}
            luck = self._rng.random()
            other = self._apps.another(item, taken, self._rng) if luck < SUBSTITUTED else None
            if other is not None:
                code = other.product["product_id"]
                taken.add(code)
                self._order(when, "item_substituted", **ordered, substitute_product_id=code, **_measured(other))
                had.append(other)
            elif luck < SUBSTITUTED + SHORT:
                self._order(when, "item_short", **ordered, quantity=item.pieces or 1)
            else:
                self._order(when, "item_picked", **ordered, **_measured(item))
                had.append(item)
        return had, when

    def _drive(self, arrives: float, sets_out: float) -> None:
        rng, prefix = self._rng, self._prefix()
        expected = arrives + float(rng.normal(0, 90))
        self._order(sets_out, "on_the_way", expected_at=_at(expected), plate=self._plate())
        lead = min(float(rng.uniform(240, 600)), arrives - sets_out - 1)
        if lead > 30:
            eta, far = round(lead * float(rng.uniform(0.85, 1.2))), round(lead * float(rng.uniform(7, 12)))
            near = {"zone_id": f"{prefix}-approach", "zone_kind": "approach"}
            self._crossed(arrives - lead, "approaching", near | {"seen_by": "phone", "eta_s": eta, "distance_m": far})

    def _hand_over(self, arrives: float, lines: list[Event]) -> None:
        rng, prefix = self._rng, self._prefix()
        number = int(rng.integers(1, 5))
        bay, ground = f"{prefix}-bay-{number:02d}", {"zone_id": f"{prefix}-car-park", "zone_kind": "car_park"}
        accuracy = {"accuracy_m": int(rng.integers(4, 40))}
        self._crossed(arrives, "arrived", ground | {"seen_by": "phone"} | accuracy)
        if self._apps._camera is not None:
            sure = round(float(0.99 - rng.beta(1.5, 14)), 3)
            seen = {"seen_by": "camera", "plate": self._plate(), "camera_id": self._apps._camera, "confidence": sure}
            self._crossed(arrives + 20, "arrived", {"zone_id": bay, "zone_kind": "bay"} | seen, by_phone=False)
        self._order(arrives + 25, "arrived", bay=f"bay-{number:02d}")
        done = arrives + float(rng.uniform(60, 330))
        self._order(done, "handed_over", bay=f"bay-{number:02d}", **self._pay(done, "curbside", lines))
        self._crossed(done + float(rng.uniform(40, 150)), "left", ground | {"seen_by": "phone"})

    # ---- telling

    def _scan(self, when: float, event: str, **fields: Any) -> None:
        session = f"sg-{self._name}"
        self._tell(when, "scan-events", session, {"session_id": session, "event": event} | fields)

    def _scanned(self, when: float, item: Item) -> None:
        price = {"unit_price": item.product["price"], "currency": self._apps._currency}
        self._scan(when, "item_scanned", product_id=item.product["product_id"], **_measured(item), **price)

    def _order(self, when: float, event: str, **fields: Any) -> None:
        order = f"ord-{self._name}"
        self._tell(when, "orders", order, {"order_id": order, "event": event} | fields)

    def _crossed(self, when: float, event: str, fields: Event, *, by_phone: bool = True) -> None:
        """A phone knows whose it is and what it comes for; a camera knows the plate alone."""
        whose = {"order_id": f"ord-{self._name}"} | self._customer if by_phone else {}
        self._tell(when, "geofence-events", f"geo-{self._name}", {"event": event} | fields | whose)

    def _tell(self, when: float, contract: str, of: str, fields: Event) -> None:
        self._steps[contract] += 1
        head = {"event_id": f"{of}-{self._steps[contract]:02d}", "event_time": _at(when)}
        head |= {"store_id": self._apps._store_id, "schema_version": 1}
        self._told.append((when, contract, head | fields))

    def _pay(self, when: float, channel: str, lines: list[Event]) -> Event:
        """Write the receipt; what the step says of it."""
        name, total = f"app-{self._name}", total_of(lines, self._apps._tax)
        event: Event = {"event_id": name, "event_time": "", "store_id": self._apps._store_id, "schema_version": 1}
        event |= {"transaction_id": name, "kind": "sale", "channel": channel} | self._customer
        event |= {"currency": self._apps._currency, "lines": lines}
        event |= {"tenders": [{"kind": "mobile", "amount": total}], "total": total}
        self._receipts.append((when, event))
        return {"transaction_id": name, "currency": self._apps._currency, "total": total}

    def _prefix(self) -> str:
        """Of the store's assets and zones, e.g. s001."""
        return self._apps._camera.partition("-")[0] if self._apps._camera else self._apps._store_id

    def _plate(self) -> str:
        return f"SG-{self._household:04d}"


def _measured(item: Item) -> Event:
    return {"quantity": 1, "weight": item.kg} if item.kg else {"quantity": item.pieces}


def _at(when: float) -> str:
    return to_rfc3339(round(when * 1000))
