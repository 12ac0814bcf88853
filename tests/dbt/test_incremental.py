"""Gold that goes on: whatever comes in whichever order, it is what a build from nothing makes of all of it."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import duckdb
import pytest

from batch_jobs import gold as gold_module
from batch_jobs.gold import GoldResult, build, connect
from tests.fixtures.gold import at, event_at, example_audit
from tests.fixtures.growth import growing_events
from tests.fixtures.silver import append_silver, delete_silver, write_audit, write_silver

pytestmark = pytest.mark.system

SEED = 20261005
LOADED = (
    "2026-11-20T08:00:00.000Z",
    "2026-11-20T07:00:00.000Z",
    "2026-11-20T08:00:00.000Z",
    "2026-11-21T08:00:00.000Z",
)
"""When the runs began that wrote the portions: the second began before the first but wrote later, the third at the very
instant of the first."""
MARKS = {
    "main.fct_alert": "rule",
    "main.fct_alert_event": "rule",
    "main.fct_basket": "channel",
    "main.fct_order": "check_result",
    "main.fct_queue_minute": "lane_id",
    "main.fct_sale_line": "department",
    "main.fct_sensor_hour": "unit",
    "main.fct_shelf_hour": "product_id",
    "main.fct_utility_hour": "unit",
    "main.fct_zone_traffic_hour": "asset_id",
    "main_intermediate.int_cold_chain_day": "device_id",
    "main_intermediate.int_cold_chain_hour": "device_id",
    "main_intermediate.int_cold_chain_reading": "time_zone",
    "main_intermediate.int_meter_step": "asset_class",
    "main_intermediate.int_receipt_line": "department",
    "main_intermediate.int_receipt_tender": "tender_kind",
    "main_intermediate.int_shelf_sight": "event_id",
}
"""Tables that go on, each with a text column: what a run leaves alone keeps what a test writes there."""


def portions() -> list[list]:
    """The events, shuffled, in as many portions as there are runs."""
    dice = random.Random(SEED)
    found: list[list] = [[] for _ in LOADED]
    for one in growing_events():
        found[dice.randrange(len(found))].append(one)
    for portion in found:
        dice.shuffle(portion)
    return found


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Work folder with lake/ and gold.duckdb, built once a portion."""
    work = tmp_path_factory.mktemp("grown")
    write_silver(work / "lake", ())
    write_audit(work / "lake", example_audit())
    for number, (portion, loaded_at) in enumerate(zip(portions(), LOADED, strict=True)):
        append_silver(work / "lake", portion, loaded_at)
        result = run(work)
        assert bool(result.from_nothing) == (number == 0), result.from_nothing
    return work


@pytest.fixture
def marked(grown: Path) -> Path:
    """A copy of that gold with marks in every row; the name stays, as DuckDB's views know it."""
    path = grown / "marked" / "gold.duckdb"
    path.parent.mkdir(exist_ok=True)
    shutil.copyfile(grown / "gold.duckdb", path)
    with duckdb.connect(str(path)) as gold:
        for table, column in MARKS.items():
            gold.execute(f"UPDATE {table} SET {column} = 'marked'")
    return path


def run(work: Path, gold: str = "gold.duckdb", *, full: bool = False) -> GoldResult:
    result = build(str(work / "lake"), work / gold, work / "logs", None, full)
    assert result.replaced, (result.failures, result.log)
    return result


def contents(path: Path, table: str) -> list:
    with connect(path) as gold:
        return gold.sql(f"FROM {table} ORDER BY ALL").fetchall()


def rewritten(path: Path, table: str, columns: str) -> list:
    """These columns of the rows that have lost their mark."""
    with connect(path) as gold:
        found = gold.sql(f"SELECT {columns} FROM {table} WHERE {MARKS[table]} IS DISTINCT FROM 'marked' ORDER BY ALL")
        return found.fetchall()


def differences(path: Path, other: Path, but: str = "made_by") -> dict[str, tuple[list, list]]:
    """Of each table that two golds do not have alike, some rows of the one and of the other. Not of what a run leaves
    for the next, nor of table `but`."""
    different = {}
    left_out = f"^(int_touched_.*|int_silver_batch|int_changed_version|made_by|{but})$"
    with connect(path) as gold:
        gold.execute(f"ATTACH '{other}' AS other (READ_ONLY)")
        names = gold.sql(
            "SELECT schema_name || '.' || table_name FROM duckdb_tables() WHERE database_name = 'gold' "
            f"AND NOT regexp_matches(table_name, '{left_out}')"
        ).fetchall()
        assert len(names) > 35
        for (name,) in names:
            here = gold.sql(f"FROM {name} EXCEPT ALL FROM other.{name} LIMIT 3").fetchall()
            there = gold.sql(f"FROM other.{name} EXCEPT ALL FROM {name} LIMIT 3").fetchall()
            if here or there:
                different[name] = (here, there)
    return different


def test_portions_in_any_order_make_the_gold_that_all_of_it_makes_at_once(grown):
    told = run(grown, "at-once.duckdb", full=True).findings
    told_at_first = {"price of an unknown product", "receipt number given twice", "two versions at one instant"}
    assert told.keys() == told_at_first, "none of them told before"
    assert differences(grown / "gold.duckdb", grown / "at-once.duckdb") == {}


def test_where_nothing_is_new_no_row_is_touched(grown, marked):
    before = {table: contents(marked, table) for table in MARKS}
    assert all(before.values())
    assert run(grown, "marked/gold.duckdb").findings == {}
    assert {table: contents(marked, table) for table in MARKS} == before
    with connect(marked) as gold:
        work = gold.sql("SELECT table_name, estimated_size FROM duckdb_tables() WHERE table_name LIKE 'int_touched_%'")
        assert len(rows := work.fetchall()) > 8
        assert [name for name, _ in rows if gold.table(f"main_intermediate.{name}").shape[0]] == []


def test_a_few_new_rows_rewrite_what_they_touch_and_nothing_else(grown, marked):
    late = -39 * 24 * 60 + 7
    fields = {"kind": "reading", "asset_id": "store-002-cooler-01", "asset_class": "cooler", "metric": "humidity"}
    fields |= {"device_id": "store-002-cooler-01-h", "unit": "%", "value": 50}
    reading = ("sensor-readings", event_at("few-reading", late, "store-002", **fields))
    line = {"quantity": 1.0, "unit_price": 549, "discount": 0, "tax": 0, "amount": 549, "department": "frozen"}
    line |= {"line_no": 1, "gtin": "2000001079195", "voided": False}
    fields = {"transaction_id": "few", "kind": "return", "original_transaction_id": "t5", "channel": "lane"}
    fields |= {"currency": "EUR", "lines": [line], "total": 549, "tenders": [{"kind": "cash", "amount": 549}]}
    receipt = ("pos-transactions", event_at("few-receipt", 85, "store-002", **fields))
    fields = {"camera_id": "c", "zone_id": "queue-1", "zone_kind": "queue", "seen": "person", "count": 3}
    fields |= {"asset_id": "lane-1", "confidence": 0.9, "model": "m", "model_version": "1"}
    count = ("cv-detections", event_at("few-count", 400, "store-002", **fields))
    append_silver(grown / "lake", [reading, receipt, count], "2026-11-22T08:00:00.000Z")
    run(grown, "marked/gold.duckdb")

    touched = {
        "main.fct_sensor_hour": [("store-002-cooler-01-h", 1)],
        "main.fct_sale_line": [("few", 1)],
        "main.fct_basket": [("few", 0), ("t5", 1)],
        "main.fct_queue_minute": [("queue-1", 3)],
        "main.fct_zone_traffic_hour": [("queue-1", 1)],
        "main_intermediate.int_receipt_line": [("few", 1)],
        "main_intermediate.int_receipt_tender": [("few", 1)],
    }
    columns = {
        "main.fct_sensor_hour": "device_id, readings",
        "main.fct_sale_line": "transaction_id, line_no",
        "main.fct_basket": "transaction_id, returns",
        "main.fct_queue_minute": "zone_id, people_max",
        "main.fct_zone_traffic_hour": "zone_id, detections",
        "main_intermediate.int_receipt_line": "transaction_id, line_no",
        "main_intermediate.int_receipt_tender": "transaction_id, 1",
    }
    assert {table: found for table in MARKS if (found := rewritten(marked, table, columns.get(table, "*")))} == touched


def test_the_hour_that_comes_twice_when_clocks_go_back_is_two_hours(grown):
    for store_id, local_date, hour in (("store-001", "2026-11-01", 1), ("store-002", "2026-10-25", 2)):
        of_it = f"WHERE store_id = '{store_id}' AND business_date = '{local_date}' AND local_hour = {hour}"
        for fact in ("fct_sensor_hour", "fct_shelf_hour", "fct_utility_hour", "fct_zone_traffic_hour"):
            hours = contents(grown / "gold.duckdb", f"(SELECT DISTINCT hour_start_utc FROM {fact} {of_it})")
            assert len(hours) == 2, (fact, store_id)


def test_new_versions_alone_reach_what_they_touch(grown):
    """An asset's that begins within the last hour there is; and a store's opening hours, when no sight is new."""
    gold = grown / "alone" / "gold.duckdb"
    gold.parent.mkdir()
    shutil.copyfile(grown / "gold.duckdb", gold)
    run(grown, "alone/gold.duckdb")  # what other tests added
    monitored = "main_intermediate.int_cold_chain_hour WHERE asset_id = 'store-002-cooler-02'"
    before = contents(gold, monitored)
    # Until minute 179 it reports each minute, and stands for no more than two seconds of each from minute 150 on.
    cooler = next(event for _, event in growing_events() if event["event_id"] == "v1-store-002-cooler-02")
    devices = [device | {"interval_s": 1} for device in cooler["devices"]]
    change = cooler | {"event_id": "v2-cooler", "event_time": at(150), "devices": devices}
    append_silver(grown / "lake", [("assets", change)], "2026-11-23T08:00:00.000Z")
    assert not run(grown, "alone/gold.duckdb").from_nothing
    assert [row for row in contents(gold, monitored) if row not in before] != []

    # From before noon, so that they hold for that day, on which it had been open all the time.
    store = next(event for _, event in growing_events() if event["event_id"] == "v1-store-002")
    hours = [{"day": "mon", "opens": "14:30", "closes": "15:15"}]
    change = store | {"event_id": "v2-hours", "event_time": at(-60), "opening_hours": hours}
    facts = ("fct_shelf_hour", "fct_utility_hour")
    before = [contents(gold, fact) for fact in facts]
    append_silver(grown / "lake", [("stores", change)], "2026-11-23T09:00:00.000Z")
    assert not run(grown, "alone/gold.duckdb").from_nothing
    for fact, rows in zip(facts, before, strict=True):
        assert contents(gold, fact) != rows, fact
    run(grown, "alone-at-once.duckdb", full=True)
    assert differences(gold, grown / "alone-at-once.duckdb") == {}


def test_an_earlier_receipt_that_comes_later_takes_the_number_and_what_the_other_one_undid_stands_again(grown):
    line = {"line_no": 1, "plu": "4011", "quantity": 1.0, "unit_price": 100, "discount": 0, "tax": 0, "amount": 100}
    line |= {"department": "food", "voided": False}
    fields = {"transaction_id": "same", "channel": "lane", "currency": "EUR", "total": 100}
    fields |= {"tenders": [{"kind": "cash", "amount": 100}]}
    more = {"lines": [line, line | {"line_no": 2}], "kind": "return", "original_transaction_id": "t6"}
    later = ("pos-transactions", event_at("same-later", 100, "store-002", **fields, **more))
    earlier = ("pos-transactions", event_at("same-earlier", 50, "store-002", **fields, lines=[line], kind="sale"))
    latest = ("pos-transactions", event_at("same-latest", 150, "store-002", **fields, **more))
    gold = grown / "same" / "gold.duckdb"
    gold.parent.mkdir()
    shutil.copyfile(grown / "gold.duckdb", gold)
    facts = {
        "fct_basket": "transaction_id = 'same'",
        "fct_sale_line": "transaction_id = 'same'",
        "int_receipt_tender": "transaction_id = 'same'",
        "main.fct_basket": "transaction_id = 't6' AND returns > 0",
    }
    stands = "SELECT count(*) FROM {} WHERE store_id = 'store-002' AND {}"
    steps = ((later, [1, 2, 1, 1]), (earlier, [1, 1, 1, 0]), (latest, [1, 1, 1, 0]))
    for number, (receipt, counts) in enumerate(steps):
        append_silver(grown / "lake", [receipt], f"2026-11-24T08:00:0{number}.000Z")
        assert not run(grown, "same/gold.duckdb").from_nothing
        with connect(gold) as connection:
            connection.sql("SET search_path = 'main,main_intermediate'")
            told = [connection.sql(stands.format(*fact)).fetchone()[0] for fact in facts.items()]
        assert told == counts, receipt
    run(grown, "same-at-once.duckdb", full=True)
    assert differences(gold, grown / "same-at-once.duckdb") == {}


def test_a_warehouse_whose_silver_lost_rows_builds_nothing_and_says_what_to_do(grown, tmp_path, monkeypatch):
    shutil.copytree(grown / "lake", tmp_path / "lake")
    shutil.copyfile(grown / "gold.duckdb", tmp_path / "gold.duckdb")
    assert delete_silver(tmp_path / "lake", "orders", lambda row: row["event"] == "handed_over") > 0
    # There, nobody looks before dbt does.
    monkeypatch.setattr(gold_module, "_why_from_nothing", lambda *_: "")
    result = build(str(tmp_path / "lake"), tmp_path / "gold.duckdb", tmp_path / "logs")
    assert [one.name for one in result.failures] == ["rows_are_gone_from_silver_so_run_with_full_refresh"]
    assert contents(tmp_path / "gold.duckdb", "main.fct_order") == contents(grown / "gold.duckdb", "main.fct_order")
