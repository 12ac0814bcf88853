from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from batch_jobs import silver, tables
from batch_jobs.errors import CountsDontAddUp, LakeError
from batch_jobs.silver import Curated
from grocery.settings import PROJECT
from schemas.contract import all_contracts, contract
from tests.batch_jobs.bronze_rows import NOON, READINGS, a_run, reading, receive, versions
from tests.batch_jobs.in_the_way import in_the_way

pytestmark = pytest.mark.integration


def events(spark, lake: Path, item=READINGS) -> list:
    return (
        tables.read(spark, tables.path_of(str(lake), "silver", item.table)).orderBy("event_id", "event_date").collect()
    )


def quarantined(spark, lake: Path) -> dict[int, list[str]]:
    """offset -> reasons."""
    rows = tables.read(spark, tables.path_of(str(lake), "quarantine", READINGS.table)).collect()
    return {row.offset: row.reasons for row in rows}


def dispositions(spark, lake: Path) -> dict[tuple[str, str], int]:
    rows = tables.read(spark, tables.dispositions_layout(str(lake)).path).collect()
    return {(row.run_id, row.disposition): row["rows"] for row in rows}


def test_every_bronze_row_is_an_event_a_duplicate_or_quarantined_with_its_reasons(spark, tmp_path):
    nan = json.dumps(reading(9)).replace("-18.5", "NaN")
    receive(
        spark,
        tmp_path,
        [
            reading(1),
            reading(2),
            reading(1),
            "{broken",
            None,
            reading(5, value=None),
            reading(6, value="cold"),
            nan,
            reading(8, unit="[degF]"),
            reading(9, event_time="2026-10-06T12:00:00.000Z"),
            reading(10, event_time="2027-10-05T12:00:00.000Z"),
        ],
    )
    (done,) = silver.silver(spark, a_run(tmp_path), [READINGS])
    assert (done.rows, done.inserted, done.duplicate, done.quarantined) == (11, 2, 1, 8)
    assert quarantined(spark, tmp_path) == {
        3: ["json:"],
        4: ["json:"],
        5: ["required:/value"],
        6: ["type:/value"],
        7: ["json:"],
        8: ["unit:/unit"],
        9: ["clock:/event_time"],
        10: ["clock:/event_time"],
    }
    assert dispositions(spark, tmp_path) == {("r1", "inserted"): 2, ("r1", "duplicate"): 1, ("r1", "quarantined"): 8}

    first = events(spark, tmp_path)[0]
    assert (first.event_id, first.value, first.kind) == ("reading-1", -18.5, "reading")
    assert (first.topic, first.topic_id, first.partition, first.offset) == ("sensor-readings", "topic-id", 0, 0)
    assert first.event_time.isoformat() == "2026-10-05T12:01:00"
    assert first.event_date.isoformat() == "2026-10-05"
    assert first.run_id == "r1"


def test_running_twice_changes_nothing(spark, tmp_path):
    receive(spark, tmp_path, [reading(1), "{broken"])
    silver.silver(spark, a_run(tmp_path), [READINGS])
    before = versions(spark, tmp_path)
    (done,) = silver.silver(spark, a_run(tmp_path, "r2"), [READINGS])
    assert done.rows == 0
    assert versions(spark, tmp_path) == before


def test_of_the_same_event_the_smallest_coordinates_win_and_an_earlier_run_before_them(spark, tmp_path):
    receive(spark, tmp_path, [reading(1)], partition=2, first_offset=5)
    receive(spark, tmp_path, [reading(1)], partition=1, first_offset=90)
    receive(spark, tmp_path, [reading(1), reading(1)], partition=1, first_offset=80)
    silver.silver(spark, a_run(tmp_path), [READINGS])
    assert [(row.partition, row.offset) for row in events(spark, tmp_path)] == [(1, 80)]

    receive(spark, tmp_path, [reading(1), reading(2)], partition=0)
    (done,) = silver.silver(spark, a_run(tmp_path, "r2"), [READINGS])
    assert (done.rows, done.inserted, done.duplicate) == (2, 1, 1)
    assert [(row.event_id, row.partition, row.run_id) for row in events(spark, tmp_path)] == [
        ("reading-1", 1, "r1"),
        ("reading-2", 0, "r2"),
    ]


def on(day: str, number: int = 1) -> dict:
    """A reading of that day at noon with the id of another day's."""
    return reading(number, event_time=f"{day}T12:00:00.000Z")


def days(spark, lake: Path) -> list[str]:
    return [row.event_date.isoformat() for row in events(spark, lake)]


def test_an_id_of_another_days_event_is_set_aside_whole_and_the_smallest_coordinates_stand(spark, tmp_path):
    """Days apart that are too near: 8, a week and the 6 h of x-max-lateness, begun days counting whole."""
    receive(spark, tmp_path, [on("2026-10-04"), on("2026-10-04"), reading(2)], partition=1)
    receive(spark, tmp_path, [on("2026-10-05"), on("2026-09-27"), on("2026-10-05")], partition=0)
    (done,) = silver.silver(spark, a_run(tmp_path), [READINGS])
    assert (done.rows, done.inserted, done.duplicate, done.quarantined) == (6, 2, 1, 3)
    assert done.reasons == {"id_conflict:/event_id": 3}
    assert days(spark, tmp_path) == ["2026-10-05", "2026-10-05"]
    kept = tables.read(spark, tables.path_of(str(tmp_path), "quarantine", READINGS.table)).orderBy(
        "partition", "offset"
    )
    assert [(row.partition, row.offset) for row in kept.collect()] == [(0, 1), (1, 0), (1, 1)]
    assert json.loads(kept.first().payload)["event_time"] == "2026-09-27T12:00:00.000Z"


def test_what_stands_in_silver_stands_and_an_id_further_away_is_another_event(spark, tmp_path):
    receive(spark, tmp_path, [on("2026-09-20")], partition=1)
    silver.silver(spark, a_run(tmp_path), [READINGS])
    late = [on("2026-09-28"), on("2026-09-20"), on("2026-09-29"), on("2026-10-05"), on("2026-09-12"), on("2026-09-11")]
    receive(spark, tmp_path, late, partition=0)
    (done,) = silver.silver(spark, a_run(tmp_path, "r2"), [READINGS])
    assert (done.rows, done.inserted, done.duplicate, done.quarantined) == (6, 2, 1, 3)
    assert days(spark, tmp_path) == ["2026-09-11", "2026-09-20", "2026-09-29"]
    assert sorted(quarantined(spark, tmp_path)) == [0, 3, 4]


@pytest.mark.system
def test_of_ids_in_a_row_of_days_the_same_stand_whatever_the_order_they_lie_in(spark, tmp_path):
    """The 29th is too near to the 24th, which is set aside for the 20th's sake and so stands in nobody's way."""
    for name, files in (("one", [(0, 1, 2)]), ("other", [(2,), (1,), (0,)])):
        lake = tmp_path / name
        told = [on("2026-09-20"), on("2026-09-24"), on("2026-09-29")]
        for numbers in files:
            for number in numbers:
                receive(spark, lake, [told[number]], first_offset=number)
        silver.silver(spark, a_run(lake), [READINGS])
        assert days(spark, lake) == ["2026-09-20", "2026-09-29"]
        assert quarantined(spark, lake) == {1: ["id_conflict:/event_id"]}


def test_the_window_is_the_contracts_lateness_and_a_week_in_whole_days_and_ends_with_the_calendar():
    assert silver.window(READINGS) == 8
    assert silver.window(replace(READINGS, schema=READINGS.schema | {"x-max-lateness": "P2DT1H30M"})) == 10
    assert silver.window(replace(READINGS, schema=READINGS.schema | {"x-max-lateness": "P3D"})) == 10
    assert [day.day for day in silver.around([date(9999, 12, 30), date(9999, 12, 29)], 2)] == [27, 28, 29, 30, 31]
    assert silver.around([date(1, 1, 1)], 1) == [date(1, 1, 1), date(1, 1, 2)]


@pytest.mark.system
@pytest.mark.parametrize("died_after", ["silver", "quarantine"])
def test_a_run_killed_before_it_was_recorded_is_done_again_and_the_counts_are_right(
    spark, tmp_path, monkeypatch, died_after
):
    class Killed(Exception):
        pass

    def die(*_):
        raise Killed

    receive(spark, tmp_path, [reading(1), reading(1), "{broken"])
    with monkeypatch.context() as patched:
        patched.setattr(silver, "_insert_quarantined" if died_after == "silver" else "_record", die)
        with pytest.raises(Exception):  # noqa: B017 whatever the pool makes of it
            silver.silver(spark, a_run(tmp_path, "killed"), [READINGS])

    receive(spark, tmp_path, [reading(2), "{broken too"], first_offset=3)
    (done,) = silver.silver(spark, a_run(tmp_path, "next"), [READINGS])
    assert (done.rows, done.inserted, done.duplicate, done.quarantined) == (5, 2, 1, 2)
    assert [(row.event_id, row.run_id) for row in events(spark, tmp_path)] == [
        ("reading-1", "killed"),
        ("reading-2", "next"),
    ]
    assert sorted(quarantined(spark, tmp_path)) == [2, 4]
    assert dispositions(spark, tmp_path) == {
        ("next", "inserted"): 2,
        ("next", "duplicate"): 1,
        ("next", "quarantined"): 2,
    }


@pytest.mark.system
def test_a_silver_table_that_was_deleted_is_built_again_from_bronze_and_the_documented_sum_counts_its_rows_once(
    spark, tmp_path
):
    import shutil

    receive(spark, tmp_path, [reading(1), "{broken"])
    silver.silver(spark, a_run(tmp_path), [READINGS])
    receive(spark, tmp_path, [reading(2)], first_offset=2)
    shutil.rmtree(tmp_path / "silver" / READINGS.table)
    shutil.rmtree(tmp_path / "quarantine" / READINGS.table)
    (done,) = silver.silver(spark, a_run(tmp_path, "r2"), [READINGS])
    assert (done.rows, done.inserted, done.quarantined) == (3, 2, 1)
    receive(spark, tmp_path, [reading(3)], first_offset=3)
    silver.silver(spark, a_run(tmp_path, "r3"), [READINGS])

    path = tables.dispositions_layout(str(tmp_path)).path
    assert tables.read(spark, path).agg({"rows": "sum"}).first()[0] == 6, "each table's own rows"
    text = (PROJECT / "docs" / "quarantine.md").read_text("utf-8")
    query = text.partition("```sql\n")[2].partition("```")[0].replace("FROM dispositions", f"FROM delta.`{path}`")
    found = {row.disposition: row.bronze_rows for row in spark.sql(query).collect()}
    assert found == {"inserted": 3, "duplicate": 0, "quarantined": 1}


def test_where_all_is_new_no_record_is_looked_for(spark, tmp_path, monkeypatch):
    monkeypatch.delattr(silver, "count_events")
    monkeypatch.setattr(silver, "SORTED_ROWS", 0)
    receive(spark, tmp_path, [reading(1), reading(2)])
    (done,) = silver.silver(spark, a_run(tmp_path), [READINGS])
    assert (done.inserted, done.duplicate) == (2, 0)

    receive(spark, tmp_path, [reading(3), reading(4), reading(3), reading(5), reading(3)], first_offset=2)
    (done,) = silver.silver(spark, a_run(tmp_path, "r2"), [READINGS])
    assert (done.inserted, done.duplicate) == (3, 2)
    stands = tables.read(spark, tables.silver_layout(str(tmp_path), READINGS).path).where("run_id = 'r2'")
    assert {(row.event_id, row.offset) for row in stands.collect()} == {
        ("reading-3", 2),
        ("reading-4", 3),
        ("reading-5", 5),
    }


def test_many_that_say_an_event_again_are_sorted_out_as_well(spark, tmp_path, monkeypatch):
    monkeypatch.setattr(silver, "SORTED_ROWS", 0)
    monkeypatch.setattr(silver, "BROADCAST_ROWS", 1)
    receive(spark, tmp_path, [reading(1), reading(2), reading(1), reading(2), reading(3)])
    (done,) = silver.silver(spark, a_run(tmp_path), [READINGS])
    assert (done.inserted, done.duplicate) == (3, 2)


@pytest.mark.parametrize("sorted_rows", [0, silver.SORTED_ROWS], ids=["large", "small"])
def test_a_row_that_got_lost_stops_the_run_before_it_is_recorded(spark, tmp_path, monkeypatch, sorted_rows):
    monkeypatch.setattr(silver, "SORTED_ROWS", sorted_rows)
    receive(spark, tmp_path, [reading(1), reading(2)])
    lost = property(lambda judged: silver.one_per_event(judged.good).where("event.event_id != 'reading-2'"))
    monkeypatch.setattr(silver.Judged, "events", lost)
    with pytest.raises(CountsDontAddUp, match="2 bronze rows, but 1 inserted"):
        silver.silver(spark, a_run(tmp_path), [READINGS])
    assert not (tmp_path / "audit").exists()


def test_one_contract_that_fails_leaves_what_the_others_did(spark, tmp_path, monkeypatch):
    lanes = contract("lane-status")
    path = next(path for path, passes in lanes.examples() if passes)
    receive(spark, tmp_path, [json.loads(path.read_text())], item=lanes, arrived_at=NOON + timedelta(days=400))
    receive(spark, tmp_path, [reading(1)])
    work = silver.curate

    def curate(spark, run, item, before):
        if item is READINGS:
            raise LakeError("no room")
        return work(spark, run, item, before)

    monkeypatch.setattr(silver, "curate", curate)
    with pytest.raises(LakeError, match="no room"):
        silver.silver(spark, a_run(tmp_path), [lanes, READINGS])
    assert dispositions(spark, tmp_path)[("r1", "inserted")] == 1


@pytest.mark.system
def test_a_field_that_a_contract_gains_becomes_a_column_and_older_rows_stay(spark, tmp_path):
    receive(spark, tmp_path, [reading(1)])
    silver.silver(spark, a_run(tmp_path), [READINGS])
    more = {"probe": {"type": "string", "description": "Which probe."}}
    schema = READINGS.schema | {"properties": READINGS.schema["properties"] | more}
    wider = replace(READINGS, schema=schema)
    receive(spark, tmp_path, [reading(2, probe="left")], item=wider, first_offset=1)
    silver.silver(spark, a_run(tmp_path, "r2"), [wider])
    assert [row.probe for row in events(spark, tmp_path)] == [None, "left"]


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("lane-status", timedelta(hours=2)),
        ("alert", timedelta(days=1)),
        ("derived-metrics", timedelta(days=1)),
        ("products", None),
        ("dead-letters", None),
    ],
)
def test_a_price_may_be_known_before_it_holds_but_nothing_is_measured_or_decided_before_it_happened(spark, name, most):
    item = contract(name)
    event = json.loads(min(path for path, passes in item.examples() if passes).read_text("utf-8"))
    happened = datetime.fromisoformat(event["event_time"])
    aheads = [timedelta(days=-375), timedelta(0), timedelta(hours=3), timedelta(days=2), timedelta(days=366)]
    columns = "payload string, arrived_at timestamp, run_id string, loaded_at timestamp, cluster string"
    rows = [(json.dumps(event), happened - ahead, "r", happened, "c") for ahead in aheads]
    found = silver.conform(spark.createDataFrame(rows, columns), item).collect()
    refused = {happened - row.arrived_at.astimezone(UTC): row.reasons for row in found}
    assert refused == {ahead: ["clock:/event_time"] if most and ahead > most else [] for ahead in aheads}


def test_counts_that_do_not_add_up_are_named():
    with pytest.raises(CountsDontAddUp, match="7 bronze rows, but 3 inserted"):
        Curated("sensor-readings", rows=7, inserted=3, duplicate=2, quarantined=1).check()


def test_every_table_can_be_read_by_athena(spark, tmp_path):
    for item in all_contracts():
        for layout in (tables.bronze_layout, tables.silver_layout, tables.quarantine_layout):
            made = layout(str(tmp_path), item)
            names = made.columns.fieldNames()
            assert len(names) == len(set(names))
    made = tables.ensure(spark, tables.silver_layout(str(tmp_path), READINGS))
    assert made.reader_version == 1


def test_a_table_that_athena_cannot_read_is_refused(spark, tmp_path):
    layout = tables.quarantine_layout(str(tmp_path), READINGS)
    tables.ensure(spark, layout)
    spark.sql(f"ALTER TABLE delta.`{layout.path}` SET TBLPROPERTIES ('delta.columnMapping.mode' = 'name')")
    with pytest.raises(LakeError, match="reader version [23]"):
        tables.ensure(spark, layout)


@pytest.mark.system
def test_a_table_that_somebody_else_writes_meanwhile_is_tried_again_and_counts_add_up(spark, tmp_path, monkeypatch):
    receive(spark, tmp_path, [reading(0), reading(1)])
    silver.silver(spark, a_run(tmp_path), [READINGS])
    path = tables.silver_layout(str(tmp_path), READINGS).path

    def other():
        spark.sql(f"UPDATE delta.`{path}` SET value = -20 WHERE event_id = 'reading-0'")

    receive(spark, tmp_path, [reading(1), reading(2)], first_offset=2)
    with in_the_way(monkeypatch, tmp_path, silver, "_insert", 3, other) as conflicts:
        (done,) = silver.silver(spark, a_run(tmp_path, "r2"), [READINGS])
    assert len(conflicts) == 1 and "DELTA_CONCURRENT" in conflicts[0]
    assert (done.rows, done.inserted, done.duplicate) == (2, 1, 1)
    assert [(row.event_id, row.value, row.run_id) for row in events(spark, tmp_path)] == [
        ("reading-0", -20, "r1"),
        ("reading-1", -18.5, "r1"),
        ("reading-2", -18.5, "r2"),
    ]
    assert dispositions(spark, tmp_path)["r2", "inserted"] == 1
