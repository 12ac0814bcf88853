"""What maintenance, repair and erasure do to silver, as gold has it: Spark's work with real builds of dbt after it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from batch_jobs import erasure, quarantine, silver
from batch_jobs.backfill import Backfilled, Span, backfill
from batch_jobs.gold import GoldResult, build, connect
from batch_jobs.maintenance import maintain
from batch_jobs.quarantine import Replayed
from batch_jobs.run import Run
from batch_jobs.sought import Sought
from grocery.commands.upkeep import drop_gold, elsewhere
from schemas.contract import contract
from tests.batch_jobs.bronze_rows import NOON, receive
from tests.batch_jobs.test_erasure import tables_that_hold
from tests.dbt.test_incremental import differences
from tests.fixtures.gold import example_events
from tests.fixtures.silver import write_silver

pytestmark = [pytest.mark.integration, pytest.mark.system]

POS = contract("pos-transactions")
SHORT = replace(POS, schema=POS.schema | {"x-retention": "P30D"})
PROBE = {"probe": {"type": "string", "description": "Which probe."}}
WIDER = replace(SHORT, schema=SHORT.schema | {"properties": SHORT.schema["properties"] | PROBE})
DAY = timedelta(days=1)
OLD, TUESDAY = NOON - 40 * DAY, NOON + DAY
CUSTOMER, OTHER = "cust_" + "1" * 32, "cust_" + "2" * 32


def receipt(name: str, at: datetime, **more: str) -> dict:
    line = {"line_no": 1, "gtin": "2000001079195", "department": "frozen", "quantity": 1, "unit_price": 549}
    line |= {"discount": 0, "tax": 0, "amount": 549, "voided": False}
    event = {"event_id": f"e-{name}", "event_time": f"{at:%Y-%m-%dT%H:%M:%S}.000Z", "store_id": "store-002"}
    event |= {"schema_version": 1, "transaction_id": name, "kind": "sale", "channel": "lane", "currency": "EUR"}
    return event | {"lines": [line], "tenders": [{"kind": "cash", "amount": 549}], "total": 549} | more


@dataclass
class Story:
    """went_on: the build after days expired, a backfill and a replay; baskets: (receipt, customer, returns) by it."""

    work: Path
    backfilled: Backfilled
    replayed: Replayed
    went_on: GoldResult
    baskets: list[tuple]
    different: dict
    left: dict[str, set[str]]
    after_erasure: list[tuple]


def built(work: Path, *, full: bool = False) -> GoldResult:
    result = build(str(work.parent / "lake"), work / "gold.duckdb", work / "logs", None, full)
    assert result.replaced, (result.failures, result.log)
    return result


def baskets(gold: Path) -> list[tuple]:
    with connect(gold) as opened:
        return opened.sql("SELECT transaction_id, customer_id, returns FROM fct_basket ORDER BY 1").fetchall()


def golds_that_hold(gold: Path, value: str) -> set[str]:
    """Files with these bytes, and tables of gold with this text."""
    found = {str(path) for path in gold.parent.rglob("*") if path.is_file() and value.encode() in path.read_bytes()}
    with connect(gold) as opened:
        for (name,) in opened.sql("SELECT schema_name || '.' || table_name FROM duckdb_tables()").fetchall():
            if value in str(opened.sql(f"FROM {name}").fetchall()):
                found.add(name)
    return found


@pytest.fixture(scope="module")
def story(spark, tmp_path_factory) -> Story:
    """Receipts of a day that expires, of Monday and of Tuesday. Of both days one has a field that no contract knew, so
    was set aside: Tuesday's comes by a backfill, Monday's, which gives back what another sold, by a replay."""
    folder = tmp_path_factory.mktemp("to-gold")
    lake, work = folder / "lake", folder / "work"
    write_silver(lake, [event for event in example_events() if event[0] in ("stores", "products")])
    shutil.rmtree(lake / "silver" / POS.table)  # is Spark's to make

    def run(number: int) -> Run:
        return Run(f"r{number}", TUESDAY + timedelta(hours=number), str(lake))

    receive(spark, lake, [receipt("old", OLD, customer_id=CUSTOMER)], item=SHORT, arrived_at=OLD)
    back = {"kind": "return", "original_transaction_id": "sold", "probe": "left"}
    monday = [receipt("sold", NOON, customer_id=CUSTOMER), receipt("back", NOON, **back)]
    receive(spark, lake, monday, item=SHORT, first_offset=1)
    tuesday = [receipt("other", TUESDAY, customer_id=OTHER), receipt("probed", TUESDAY, probe="left")]
    receive(spark, lake, tuesday, item=SHORT, first_offset=3, arrived_at=TUESDAY)
    silver.silver(spark, run(1), [SHORT])
    built(work)
    before = baskets(work / "gold.duckdb")
    assert before == [("old", CUSTOMER, 0), ("other", OTHER, 0), ("sold", CUSTOMER, 0)]

    assert [one.fault for one in maintain(spark, run(2), [SHORT]) if one.fault] == []
    (backfilled,) = backfill(spark, run(3), [WIDER], Span(TUESDAY.date(), TUESDAY.date()))
    (replayed,) = quarantine.replay(spark, run(4), [WIDER])
    went_on = built(work)
    after = baskets(work / "gold.duckdb")
    again = folder / "again"
    again.mkdir()
    shutil.copyfile(work / "gold.duckdb", again / "gold.duckdb")
    assert built(again, full=True).from_nothing == "asked for"
    # One that went on still knows what it had read of days that have expired since.
    different = differences(work / "gold.duckdb", again / "gold.duckdb", but="int_silver_read")

    # As `grocery batch erase` goes about it.
    sought = Sought((CUSTOMER,))
    held = tables_that_hold(lake, CUSTOMER) | golds_that_hold(work / "gold.duckdb", CUSTOMER)
    assert erasure.erase(spark, run(5), [WIDER], sought, "DSR 17").complete
    assert drop_gold(work / "gold.duckdb", str(lake))
    built(work)
    assert elsewhere([work], sought).hits == []
    left = tables_that_hold(lake, CUSTOMER) | golds_that_hold(work / "gold.duckdb", CUSTOMER)
    return Story(
        *(work, backfilled, replayed, went_on, after, different),
        {"before": held, "after": left},
        baskets(work / "gold.duckdb"),
    )


def test_facts_of_days_that_spark_let_expire_stay_without_their_persons(spark, story):
    assert story.went_on.from_nothing == ""
    path = f"{story.work.parent}/lake/silver/{POS.table}"
    days = [row.event_date for row in spark.read.format("delta").load(path).select("event_date").distinct().collect()]
    assert sorted(days) == [date(2026, 10, 5), date(2026, 10, 6)]
    assert [basket for basket in story.baskets if basket[0] == "old"] == [("old", None, 0)]


def test_what_a_backfill_and_a_replay_bring_reaches_the_facts_it_touches(story):
    assert (story.backfilled.added, story.replayed.replayed) == (1, 1)
    assert [basket for basket in story.baskets if basket[0] != "old"] == [
        ("back", None, 0),
        ("other", OTHER, 0),
        ("probed", None, 0),
        ("sold", CUSTOMER, 1),
    ]


def test_gold_that_went_on_is_the_gold_of_a_build_from_nothing(story):
    assert story.different == {}


def test_after_an_erasure_no_byte_of_lake_or_gold_holds_the_person_and_the_facts_stay(story):
    assert {"bronze/pos_transactions", "silver/pos_transactions", "main.fct_basket"} <= story.left["before"]
    assert story.left["after"] == set()
    erased = [(name, None if who == CUSTOMER else who, back) for name, who, back in story.baskets]
    assert story.after_erasure == erased
