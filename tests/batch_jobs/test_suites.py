"""The hand-written suites of the example chain: each finds what it is for, and nothing on sound data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from batch_jobs import quality, silver, suites, tables
from batch_jobs.run import Run
from batch_jobs.suites import BadSuite, read_suites
from grocery.settings import PROJECT
from schemas.contract import contract
from schemas.instants import to_rfc3339
from tests.batch_jobs.bronze_rows import a_run, receive
from tests.fixtures.silver import write_silver

Event = dict[str, Any]

DAY = date(2026, 10, 5)
SHIPPED = {suite.path.stem: suite for suite in read_suites(PROJECT / "chain" / "quality")}


def at(hours: float) -> str:
    begin = datetime(2026, 10, 5, tzinfo=UTC)
    return to_rfc3339(round((begin + timedelta(hours=hours)).timestamp() * 1000))


def event(event_id: str, hours: float, store_id: str = "store-001", **fields: Any) -> Event:
    return {"event_id": event_id, "event_time": at(hours), "store_id": store_id, "schema_version": 1} | fields


def reading(asset: str, hours: float, value: float, store_id: str = "store-001", **fields: Any) -> tuple[str, Event]:
    what = {"kind": "reading", "device_id": f"{asset}-t", "asset_id": asset, "asset_class": "freezer"}
    what |= {"metric": "temperature", "unit": "Cel", "value": value} | fields
    return "sensor-readings", event(f"{store_id}-{asset}-{what['device_id']}-{hours:.4f}", hours, store_id, **what)


def receipt(name: str, hours: float, amounts: list[int], total: int, **fields: Any) -> tuple[str, Event]:
    line = {"gtin": "2000001079195", "department": "food", "quantity": 1.0, "unit_price": 100, "discount": 0, "tax": 0}
    lines = [line | {"line_no": n, "amount": amount, "voided": False} for n, amount in enumerate(amounts, 1)]
    what = {"transaction_id": name, "kind": "sale", "channel": "lane", "currency": "EUR", "tenders": [], "lines": lines}
    return "pos-transactions", event(f"e-{name}", hours, total=total, **(what | fields))


def found(spark, lake: Path, name: str, text: str, dates: tuple[date, ...] = (DAY,)) -> dict[str, tuple]:
    """subject -> (begin and end as hours of DAY, events, observed), as the check with these words finds it."""
    suite = SHIPPED[name]
    version = tables.snapshot(spark, tables.path_of(str(lake), "silver", suite.about.table)).version
    [check] = [one for one in suite.checks if text in one.text]
    with suites.opened(spark, str(lake), suite, version, dates):
        rows = suites.findings(spark, suite, check)
    begin = datetime(2026, 10, 5, tzinfo=UTC)
    return {
        f"{one.store_id} {one.subject}": (
            (one.from_at - begin) / timedelta(hours=1),
            (one.to_at - begin) / timedelta(hours=1),
            one.counted,
            one.observed,
        )
        for one in rows
    }


@pytest.mark.integration
def test_a_freezer_that_reads_the_same_for_an_hour_is_found_and_no_other(spark, tmp_path):
    def events() -> Iterator[tuple[str, Event]]:
        for n in range(20):
            hours = 23 + n / 12  # every 5 minutes, over midnight
            yield reading("stuck", hours, -18.2 if 3 <= n <= 15 else -19 - n / 10)
            yield reading("moving", hours, -18 - n % 2 / 10)
            # Fifty-five minutes, and a defrost that is off all the time.
            yield reading("nearly", hours, -18.2 if 3 <= n <= 14 else -19 - n / 10)
            yield reading("moving", hours, 0, device_id="moving-d", metric="defrost")
            if n < 5 or n > 14:  # silent in between: nobody knows
                yield reading("silent", hours, -18.2)
            yield reading("room", hours, 21.0, asset_class="ambient")

    write_silver(tmp_path, events())
    same = "reads exactly the same for an hour"
    expected = {"store-001 stuck": (23.25, 24.25, 13, "stuck-t always -18.2")}
    assert found(spark, tmp_path, "cold_chain", same) == expected
    assert found(spark, tmp_path, "cold_chain", same, (DAY + timedelta(days=1),)) == expected


@pytest.mark.integration
def test_a_store_without_a_reading_for_a_whole_hour_is_found_once_the_hour_is_settled(spark, tmp_path):
    def events() -> Iterator[tuple[str, Event]]:
        stores = {"store-001": "active", "store-002": "active", "store-003": "retired", "store-004": "active"}
        for store_id, status in stores.items():
            fields = {"name": store_id, "time_zone": "UTC", "locale": "en-US", "display_unit": "Cel", "currency": "EUR"}
            fields |= {"country": "DE", "opening_hours": [], "holidays": [], "status": status}
            yield "stores", event(f"v-{store_id}", -999, store_id, **fields)
            device = {"device_id": "d", "metric": "temperature", "unit": "Cel", "interval_s": 60}
            fields = {"asset_id": f"{store_id}-f", "asset_class": "freezer", "name": "F", "area": "A"}
            fields |= {"status": "active", "devices": [] if store_id == "store-004" else [device]}
            yield "assets", event(f"a-{store_id}", -999, store_id, **fields)
        for n in range(80):
            hours = 20.25 + n / 10  # to 04:09 of the next day
            yield reading("f", hours, -18)
            # Silent over midnight, and in the newest hours, which nobody judges yet.
            if not (22.9 < hours < 25.1 or hours > 26.9):
                yield reading("f", hours, -18, "store-002")
            yield "sensor-readings", event(f"tick-{n}", hours, "store-002", kind="tick")

    write_silver(tmp_path, events())
    silent = found(spark, tmp_path, "stores", "without any reading", (DAY, DAY + timedelta(days=1)))
    assert silent == {"store-002 store": (23, 25, 0, "2 h without a reading")}


@pytest.mark.integration
def test_a_receipt_that_is_not_the_sum_of_its_lines_is_found(spark, tmp_path):
    contained = receipt("contained", 10, [200, 300], 500)
    contained[1]["lines"][0]["tax"] = 32
    on_top = receipt("on-top", 10, [200, 300], 516)
    on_top[1]["lines"][0]["tax"] = 16
    voided = receipt("voided", 10, [200, 300], 200)
    voided[1]["lines"][1]["voided"] = True
    returned = receipt("returned", 10, [-200], -200, kind="return", original_transaction_id="x")
    unsigned = receipt("unsigned", 10, [-200], 200, kind="void", original_transaction_id="x")
    off = receipt("off", 11, [200, 300], 400)
    sound = [contained, on_top, voided, returned, unsigned, receipt("rounded", 10, [203], 205)]
    write_silver(tmp_path, [*sound, off])
    expected = {"store-001 off": (11, 11, 2, "total 400, lines 500, tax 0 EUR minor units")}
    assert found(spark, tmp_path, "receipts", "sum of its lines") == expected
    assert found(spark, tmp_path, "receipts", "at most 2%") == {}, "one receipt is somebody's slip"


@pytest.mark.integration
def test_a_scan_and_go_receipt_without_scans_is_found(spark, tmp_path):
    def session(name: str, hours: float, *steps: str) -> Iterator[tuple[str, Event]]:
        for n, step in enumerate(steps):
            fields = {"transaction_id": name} if step == "paid" else {}
            what = {"session_id": f"sg-{name}", "event": step} | fields
            yield "scan-events", event(f"{name}-{n}", hours - 0.1 + n / 100, **what)

    scan_and_go = {"channel": "scan_and_go"}
    events = [
        receipt("scanned", 10, [100], 100, **scan_and_go),
        *session("scanned", 10, "started", "item_scanned", "paid"),
        receipt("by-hand", 10, [100], 100, **scan_and_go),
        receipt("empty", 10, [100, 50], 150, **scan_and_go),
        *session("empty", 10, "started", "paid"),
        receipt("lane", 10, [100], 100),
        # Begun two days before the one that is looked at, and too new to be judged.
        receipt("midnight", -24, [100], 100, **scan_and_go),
        *session("midnight", -24, "started", "item_scanned", "paid"),
        *session("other", 12, "started", "item_scanned"),
        receipt("new", 11.5, [100], 100, **scan_and_go),
    ]
    write_silver(tmp_path, events)
    assert found(spark, tmp_path, "receipts", "something was scanned") == {
        "store-001 by-hand": (10, 10, 1, "no session"),
        "store-001 empty": (10, 10, 2, "nothing scanned"),
    }


@pytest.mark.integration
def test_a_store_that_sells_by_scan_and_go_while_its_app_is_silent_is_found(spark, tmp_path):
    scan_and_go = {"channel": "scan_and_go"}
    scanned = {"session_id": "sg-1", "event": "item_scanned"}
    events = [
        ("scan-events", event("in-the-hour-before", 8.1, **scanned)),
        ("scan-events", event("of-another-store", 11.5, "store-002", **scanned)),
        receipt("heard", 9.9, [100], 100, **scan_and_go),
        receipt("silent", 11, [100], 100, **scan_and_go),
        receipt("silent-too", 11.9, [100], 100, **scan_and_go),
        receipt("brought-back", 13, [-100], -100, kind="return", original_transaction_id="heard", **scan_and_go),
        receipt("too-new", 14, [100], 100, **scan_and_go),
        receipt("newest", 16.5, [100], 100),
    ]
    silent = "in which its app says nothing"
    write_silver(tmp_path, events)
    assert found(spark, tmp_path, "receipts", silent) == {"store-001 app": (11, 12, 2, "2 scan-and-go receipts")}
    write_silver(tmp_path, events[2:5] + events[-1:])
    assert found(spark, tmp_path, "receipts", silent)["store-001 app"][2] == 2, "not one event of the app, ever"


POS = contract("pos-transactions")


def check(spark, lake: Path, name: str, *, accept: bool = False) -> quality.Verdict:
    run = Run(name, datetime(2026, 10, 6, 12, tzinfo=UTC), str(lake))
    written = PROJECT / "chain" / "quality"
    return quality.quality(spark, run, [POS], lake.parent / "docs", written=written, accept=accept)


@pytest.mark.integration
def test_a_failed_suite_closes_the_gate_until_it_is_accepted_and_its_findings_are_kept_once(spark, tmp_path):
    lake = tmp_path / "lake"

    def take(name: str, *receipts: tuple[str, Event], first_offset: int = 0) -> None:
        arrived = datetime(2026, 10, 5, 12, tzinfo=UTC)
        events = [event for _, event in receipts]
        receive(spark, lake, events, item=POS, first_offset=first_offset, arrived_at=arrived)
        silver.silver(spark, a_run(lake, name), [POS])

    take("r1", *(receipt(f"r{n}", 10, [100], 100 if n > 1 else 999) for n in range(5)))
    verdict = check(spark, lake, "q1")
    [failure] = verdict.failures
    assert str(failure) == (
        "pos-transactions: at most 2% of a store's receipts of a day are off their lines (1 rows), "
        "found store-001 receipts 2026-10-05 00:00 to 00:00 2 of 5 receipts"
    )
    [warning] = [one for one in verdict.warnings if one.contract == POS.name]
    assert warning.unexpected == 2 and "store-001 r0 2026-10-05 10:00 total 999, lines 100" in warning.seen
    assert quality.open_failures(spark, str(lake)) == [
        "pos-transactions: at most 2% of a store's receipts of a day are off their lines"
    ]

    assert check(spark, lake, "q2", accept=True).passed
    take("r2", receipt("r10", 11, [100], 100), first_offset=5)
    again = check(spark, lake, "q3")
    assert again.passed and again.failures == [], "what was accepted stays so when its day is looked at again"
    assert [one.unexpected for one in again.warnings if one.contract == POS.name] == [2]
    assert quality.open_failures(spark, str(lake)) == []

    kept = tables.read(spark, tables.findings_layout(str(lake)).path).orderBy("at", "subject").collect()
    assert [(one.run_id, one.subject, one.counted, one.accepted) for one in kept] == [
        ("q1", "r0", 1, False),
        ("q1", "r1", 1, False),
        ("q1", "receipts", 2, False),
        ("q2", "receipts", 2, True),
        ("q3", "receipts", 2, True),  # of 6 receipts now
    ]


def write(folder: Path, **changes: Any) -> Path:
    """A suite of one check."""
    query = (
        "SELECT store_id, event_id AS subject, event_time AS from_at, event_time AS to_at, 1 AS counted, '' AS observed"
    )
    one = {"type": "unexpected_rows_expectation", "severity": "warning", "description": "no event at all"}
    one |= {"kwargs": {"unexpected_rows_query": f"{query} FROM {{batch}}"}} | changes
    path = folder / "mine.yaml"
    path.write_text(json.dumps({"about": changes.pop("about", "stores"), "expectations": [one]}))
    return path


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"severity": "fail"}, "severity is critical or warning, not fail"),
        ({"type": "expect_miracles", "kwargs": {}}, "expect_miracles"),
        ({"kwargs": {"unexpected_rows_query": "SELECT 1"}}, r"must ask \{batch\}"),
        ({"kwargs": {"unexpected_rows_query": "SELECT '{' FROM {batch}"}}, "brace"),
        ({"mostly": 0.9}, "an expectation has description, kwargs, severity, type"),
    ],
)  # fmt: skip
def test_a_suite_that_cannot_be_read_is_refused_with_its_file_and_why(tmp_path, changes, why):
    write(tmp_path, **changes)
    with pytest.raises(BadSuite, match=rf"(?s)mine\.yaml.*{why}"):
        read_suites(tmp_path)


def test_a_suite_about_no_contract_is_refused_and_a_chain_without_suites_has_none(tmp_path):
    (tmp_path / "mine.yaml").write_text("about: parrots\nexpectations: []\n")
    with pytest.raises(BadSuite, match=r"mine\.yaml: .*parrots"):
        read_suites(tmp_path)
    assert read_suites(tmp_path / "nothing") == ()


@pytest.mark.integration
def test_a_query_that_cannot_be_run_is_refused_before_anything_is_held_against_it(spark, tmp_path):
    write_silver(tmp_path / "lake", ())
    for query, why in (
        ("SELECT store_id FROM {batch}", "gives no column subject, from_at"),
        ("SELECT store FROM {batch}", "UNRESOLVED_COLUMN"),
        ("SELECT * FROM {batch} CROSS JOIN nowhere", "TABLE_OR_VIEW_NOT_FOUND"),
    ):
        write(tmp_path, kwargs={"unexpected_rows_query": query})
        [suite] = read_suites(tmp_path)
        with (
            suites.opened(spark, str(tmp_path / "lake"), suite, 0, [DAY]),
            pytest.raises(BadSuite, match=rf"mine\.yaml: `no event at all`: .*{why}"),
        ):
            suites.validate(spark, suite)
