"""Gold over a silver of which days have expired: their facts stay, and what is lost is noticed all the same."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import pytest

from batch_jobs.gold import GoldResult, build, connect, set_aside_as
from batch_jobs.sought import Sought
from grocery.commands.upkeep import drop_gold, elsewhere
from schemas.contract import all_contracts
from tests.fixtures.gold import event_at, example_audit, example_events
from tests.fixtures.silver import append_silver, delete_silver, write_audit, write_silver

pytestmark = pytest.mark.system

KEPT_FROM = date(2026, 10, 6)
EXPIRED = [item.name for item in all_contracts() if item.kind not in ("reference", "dead-letter")]
LATER = 3 * 24 * 60
CUSTOMER, OTHER = "cust_" + "1" * 32, "cust_" + "2" * 32
TIMES = {
    "main.fct_alert": "starts_at_utc",
    "main.fct_alert_command": "given_at_utc",
    "main.fct_alert_event": "event_time_utc",
    "main.fct_basket": "event_time_utc",
    "main.fct_detection_outcome": "event_time_utc",
    "main.fct_order": "event_time_utc",
    "main.fct_queue_minute": "minute_utc",
    "main.fct_sale_line": "event_time_utc",
    "main.fct_sensor_hour": "hour_start_utc",
    "main.fct_shelf_hour": "hour_start_utc",
    "main.fct_utility_hour": "hour_start_utc",
    "main.fct_zone_traffic_hour": "hour_start_utc",
    "main.rpt_cold_chain_compliance": "business_date",
    "main.rpt_energy": "business_date",
    "main.rpt_queue_service": "business_date",
    "main.rpt_curbside_service": "business_date",
}
"""What must outlive its events, by the column that tells when it was."""
PERSONS = ("customer_id", "session_id", "actor")


def receipt(name: str, minute: float, **more: object) -> tuple[str, dict]:
    line = {"quantity": 1.0, "unit_price": 549, "discount": 0, "tax": 0, "amount": 549, "department": "frozen"}
    line |= {"line_no": 1, "gtin": "2000001079195", "voided": False}
    fields = {"transaction_id": name, "kind": "sale", "channel": "lane", "currency": "EUR", "lines": [line]}
    fields |= {"total": 549, "tenders": [{"kind": "cash", "amount": 549}], "customer_id": CUSTOMER} | more
    return "pos-transactions", event_at(f"r-{name}", minute, "store-002", **fields)


def reading(name: str, minute: float) -> tuple[str, dict]:
    fields = {"kind": "reading", "asset_id": "store-002-freezer-02", "asset_class": "freezer", "unit": "Cel"}
    fields |= {"device_id": "store-002-freezer-02-t", "metric": "temperature", "value": -21}
    return "sensor-readings", event_at(name, minute, "store-002", **fields)


def new_events() -> list[tuple[str, dict]]:
    """Of a later day, and of a kind that reaches back: a return of an expired sale, an order's next step, a product
    that was another one since long ago, a reading that comes after its day has expired."""
    product = {"product_id": "2000001079195", "name": "Ice", "storage": "frozen", "department": "moved"}
    product |= {"status": "active", "sold_by": "piece", "price": 549}
    step = {"order_id": "o-store-002-2-cancelled", "event": "handed_over", "currency": "EUR", "total": 1}
    return [
        receipt("later", LATER, customer_id=OTHER),
        receipt("back", LATER + 1, kind="return", original_transaction_id="t5", customer_id=OTHER),
        reading("r-later-1", LATER),
        reading("r-later-2", LATER + 1),
        reading("r-too-late", 20.5),
        ("orders", event_at("o-later", LATER, "store-002", **step)),
        ("products", event_at("v2", -500, "chain", **product)),
    ]


@dataclass
class Built:
    """results of the builds, and rows that expired days have after each: the first, the expiry, a loss; new: after the
    expiry, of days that are kept."""

    work: Path
    results: list[GoldResult]
    rows: list[dict[str, list]]
    new: list[tuple]

    @property
    def gold(self) -> Path:
        return self.work / "gold.duckdb"


def expired_rows(gold: Path) -> dict[str, list]:
    """Without persons."""
    with connect(gold) as opened:
        found = {}
        for table, at in TIMES.items():
            less = [name for name in opened.table(table).columns if name in PERSONS]
            columns = f"* EXCLUDE ({', '.join(less)})" if less else "*"
            day = f"{at} < '{KEPT_FROM}'"
            found[table] = opened.sql(f"SELECT {columns} FROM {table} WHERE {day} ORDER BY ALL").fetchall()
    return found


def persons(gold: Path) -> list[str]:
    """Tables of gold with a pseudonym in a row of an expired day."""
    found = []
    with connect(gold) as opened:
        for table, at in (TIMES | {"main_intermediate.int_receipt_line": "event_time_utc"}).items():
            names = [name for name in opened.table(table).columns if name in PERSONS]
            any_of = " OR ".join(f"{name} IS NOT NULL" for name in names)
            if names and opened.sql(f"SELECT 1 FROM {table} WHERE {at} < '{KEPT_FROM}' AND ({any_of})").fetchall():
                found.append(table)
    return found


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    work = tmp_path_factory.mktemp("expired")
    lake = work / "lake"
    # The last one so that the store's data spans the whole of the days that expire.
    write_silver(lake, [*example_events(), receipt("before", 30), reading("r-kept", LATER - 60)])
    write_audit(lake, example_audit())
    results, rows = [run(work)], [expired_rows(work / "gold.duckdb")]

    write_audit(lake, [*example_audit(), *(("expiries", kept_from(name)) for name in EXPIRED)])
    assert sum(delete_silver(lake, name, lambda row: row["event_date"] < KEPT_FROM) for name in EXPIRED) > 1000
    append_silver(lake, new_events(), "2026-10-08T20:00:00.000Z")
    results.append(run(work))
    rows.append(expired_rows(work / "gold.duckdb"))
    with connect(work / "gold.duckdb") as gold:
        new = gold.sql(f"SELECT transaction_id FROM fct_sale_line WHERE event_time_utc >= '{KEPT_FROM}' ORDER BY 1")
        new = (
            new.fetchall()
            + gold.sql(
                f"SELECT device_id, readings FROM fct_sensor_hour WHERE hour_start_utc >= '{KEPT_FROM}' ORDER BY ALL"
            ).fetchall()
        )

    assert delete_silver(lake, "pos-transactions", lambda row: row["transaction_id"] == "later") == 1
    results.append(run(work))
    rows.append(expired_rows(work / "gold.duckdb"))
    return Built(work, results, rows, new)


def kept_from(name: str) -> dict[str, str]:
    return {"contract": name, "kept_from": f"{KEPT_FROM}T00:00:00Z", "at": "2026-10-08T03:00:00Z"}


def run(work: Path) -> GoldResult:
    result = build(str(work / "lake"), work / "gold.duckdb", work / "logs")
    assert result.replaced, (result.failures, result.log)
    return result


def test_days_that_expire_from_silver_do_not_begin_gold_anew(built):
    assert [one.from_nothing for one in built.results[:2]] == ["there was none", ""]


def test_facts_of_expired_days_stay_whatever_is_new_and_new_ones_come(built):
    before, after, _ = built.rows
    assert [table for table in TIMES if not before[table]] == []
    assert {table for table in TIMES if after[table] != before[table]} == set()
    assert built.new == [("back",), ("later",), ("store-002-freezer-02-t", 1), ("store-002-freezer-02-t", 2)]


def test_rows_lost_from_a_day_that_is_kept_begin_gold_anew_with_the_facts_of_expired_days(built):
    before, _, after = built.rows
    assert built.results[2].from_nothing == "rows are gone from silver's pos_transactions"
    assert set(built.results[2].brought_over.values()) == {KEPT_FROM}
    assert {table for table in TIMES if after[table] != before[table]} == set()
    with connect(built.gold) as gold:
        assert gold.sql("SELECT count(*) FROM fct_sale_line WHERE transaction_id = 'later'").fetchone() == (0,)
        left = gold.sql("SELECT table_name FROM duckdb_tables() WHERE table_name LIKE '%\\_\\_%' ESCAPE '\\'")
        assert left.fetchall() == []


def test_persons_do_not_outlive_their_events(built):
    assert persons(built.gold) == []


def test_a_gold_that_an_erasure_put_away_is_read_by_nobody_and_gives_the_next_one_its_expired_days(built):
    # The customer is in a row that has expired, as gold was not built since.
    with duckdb.connect(str(built.gold)) as gold:
        gold.execute(f"UPDATE fct_basket SET customer_id = '{CUSTOMER}' WHERE transaction_id = 'before'")
    assert drop_gold(built.gold, str(built.work / "lake"))
    assert not built.gold.exists()
    assert run(built.work).from_nothing == "an erasure set the old one aside"
    assert not set_aside_as(built.gold).exists()
    assert expired_rows(built.gold) == built.rows[0]
    assert persons(built.gold) == []
    assert elsewhere([built.gold, built.work / "dbt"], Sought((CUSTOMER,))).hits == []
