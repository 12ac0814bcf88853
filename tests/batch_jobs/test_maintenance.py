from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from batch_jobs import gold, maintenance, silver, tables
from batch_jobs.errors import CountsDontAddUp, LakeError
from batch_jobs.maintenance import Kept, expires_before, maintain
from batch_jobs.run import Run
from schemas.contract import all_contracts, contract
from tests.batch_jobs.bronze_rows import NOON, READINGS, a_run, reading, receive, versions

pytestmark = [pytest.mark.integration, pytest.mark.system]

SHORT = replace(READINGS, schema=READINGS.schema | {"x-retention": "P30D"})
OLD = NOON - timedelta(days=40)
ORPHAN = "arrived_date=2026-10-05/part-00000-orphan.snappy.parquet"


def old_reading(number: int) -> dict:
    return reading(number, event_id=f"old-{number}", event_time=f"{OLD:%Y-%m-%d}T11:00:00.000Z")


def dispositions(spark, lake: Path) -> list[tuple[str, str, int]]:
    found = tables.read(spark, tables.dispositions_layout(str(lake)).path).orderBy("at", "disposition").collect()
    return [(row.run_id, row.disposition, row["rows"]) for row in found if row["rows"]]


@dataclass
class Maintained:
    lake: Path
    planned: list[Kept]
    untouched: bool
    done: dict[str, Kept]
    first_kept_by_plan: dict[str, date]


@pytest.fixture(scope="module")
def maintained(spark, tmp_path_factory) -> Maintained:
    """A lake with two readings and a broken record past their retention, and today's in six small files."""
    lake = tmp_path_factory.mktemp("maintained")
    receive(spark, lake, [old_reading(1), old_reading(2), "{broken"], arrived_at=OLD)
    for number in range(6):
        receive(spark, lake, [reading(number)], first_offset=10 + number)
    silver.silver(spark, a_run(lake, "r1"), [SHORT])
    before = versions(spark, lake)
    planned = maintain(spark, a_run(lake, "plan"), [SHORT], dry_run=True)
    untouched = versions(spark, lake) == before
    by_plan = gold.first_kept(str(lake))
    # A run that was killed after it had deleted, before it had counted.
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(maintenance, "record_bronze", lambda *_, **__: (_ for _ in ()).throw(LakeError("killed")))
        maintain(spark, a_run(lake, "killed"), [SHORT])
    orphan = lake / "bronze" / READINGS.table / ORPHAN  # of a writer that died
    orphan.write_bytes(bytes(100_000))
    long_ago = (datetime.now(UTC) - maintenance.VACUUM_AFTER - timedelta(days=1)).timestamp()
    os.utime(orphan, (long_ago, long_ago))
    done = maintain(spark, a_run(lake, "m1"), [SHORT])
    return Maintained(lake, planned, untouched, {one.table: one for one in done}, by_plan)


def test_a_dry_run_says_what_would_go_and_writes_nothing(maintained):
    assert [(one.table, one.expired, one.compacted, one.fault) for one in maintained.planned] == [
        ("silver.sensor_readings", 2, 0, ""),
        ("quarantine.sensor_readings", 1, 0, ""),
        ("bronze.sensor_readings", 3, 1, ""),
        ("audit.dispositions", 0, 0, ""),
    ]
    assert maintained.untouched
    assert maintained.first_kept_by_plan == {}


def test_what_is_past_its_retention_goes_and_bronze_counts_it_once(spark, maintained):
    for layer, day, rows in (("bronze", "arrived_date", 6), ("silver", "event_date", 6), ("quarantine", "", 0)):
        found = tables.read(spark, tables.path_of(str(maintained.lake), layer, READINGS.table)).collect()
        assert len(found) == rows
        assert {row[day] for row in found} <= {NOON.date()}
    expired = [one for one in dispositions(spark, maintained.lake) if one[1] == "expired"]
    assert expired == [("m1", "expired", 3)]


@pytest.mark.parametrize("first", ["maintain", "silver"])
def test_rows_of_a_killed_run_are_counted_whatever_came_before_the_next_one(spark, tmp_path, monkeypatch, first):
    receive(spark, tmp_path, [old_reading(1), old_reading(2)], arrived_at=OLD)
    silver.silver(spark, a_run(tmp_path, "r1"), [SHORT])
    with monkeypatch.context() as patched:
        patched.setattr(maintenance, "record_bronze", lambda *_, **__: (_ for _ in ()).throw(LakeError("killed")))
        maintain(spark, a_run(tmp_path, "killed"), [SHORT])
    receive(spark, tmp_path, [reading(3)], first_offset=10)
    if first == "maintain":  # what silver has not taken must not be called done
        done = {one.table: one for one in maintain(spark, a_run(tmp_path, "m1"), [SHORT])}
        assert "silver has not taken its newest rows" in done["bronze.sensor_readings"].fault
    silver.silver(spark, a_run(tmp_path, "r2"), [SHORT])
    for name in ("m2", "m3"):
        assert not any(one.fault for one in maintain(spark, a_run(tmp_path, name), [SHORT]))
    assert dispositions(spark, tmp_path) == [("r1", "inserted", 2), ("r2", "inserted", 1), ("m2", "expired", 2)]


def test_gold_can_read_from_which_day_on_silver_keeps_events(maintained):
    first = (NOON + timedelta(days=1)).date() - timedelta(days=30)
    assert gold.first_kept(str(maintained.lake)) == {"sensor-readings": first}
    assert OLD.date() < first < NOON.date()


@pytest.mark.parametrize(("layer", "rows"), [("silver", 2), ("bronze", 3)])
def test_rows_that_went_must_be_as_many_as_the_log_says(spark, maintained, layer, rows):
    path = tables.path_of(str(maintained.lake), layer, READINGS.table)
    (commit,) = maintenance.commits(spark, path, maintenance.EXPIRED)
    assert commit.rows == rows
    maintenance.check_expired(spark, path, commit)
    with pytest.raises(CountsDontAddUp, match=rf"says that 1 rows expired, but there were {6 + rows} before it and 6"):
        maintenance.check_expired(spark, path, replace(commit, rows=1))


def test_expired_rows_that_do_not_add_up_are_a_fault_and_not_counted(spark, tmp_path, monkeypatch):
    receive(spark, tmp_path, [old_reading(1), reading(2)], arrived_at=OLD)
    silver.silver(spark, a_run(tmp_path, "r1"), [SHORT])
    monkeypatch.setattr(maintenance, "_rows", lambda metrics: 7)
    done = {one.table: one for one in maintain(spark, a_run(tmp_path, "m1"), [SHORT])}
    for layer in ("silver", "bronze"):
        assert "says that 7 rows expired" in done[f"{layer}.sensor_readings"].fault
    assert [one for one in dispositions(spark, tmp_path) if one[1] == "expired"] == []


def test_small_files_become_one_and_athena_reads_it_still(spark, maintained):
    bronze = maintained.done["bronze.sensor_readings"]
    assert (bronze.fault, bronze.files, bronze.partitions) == ("", 1, 1)
    for path in versions(spark, maintained.lake):
        assert tables.snapshot(spark, str(maintained.lake / path)).reader_version == 1


def test_silver_goes_on_with_what_is_new_and_takes_no_deletion_or_compaction_for_it(spark, maintained):
    receive(spark, maintained.lake, [reading(50)], first_offset=50)
    (done,) = silver.silver(spark, a_run(maintained.lake, "r2"), [SHORT])
    assert (done.rows, done.inserted) == (1, 1)


def test_a_file_no_table_needs_goes_and_one_that_somebody_may_be_reading_stays(maintained):
    folder = maintained.lake / "bronze" / READINGS.table
    assert not (folder / ORPHAN).exists()
    assert maintained.done["bronze.sensor_readings"].freed > 0
    assert len(list(folder.glob("arrived_date=*/*.parquet"))) >= 8  # what was compacted and deleted today


def test_a_table_someone_else_is_writing_is_named_and_the_others_are_done(spark, maintained, monkeypatch):
    compact = maintenance.vacuum

    def conflict(spark, path, keep):
        if "/bronze/" in path:
            raise RuntimeError("io.delta.exceptions.ConcurrentDeleteReadException: [DELTA_CONCURRENT_DELETE_READ] …")
        return compact(spark, path, keep)

    monkeypatch.setattr(maintenance, "vacuum", conflict)
    done = maintain(spark, a_run(maintained.lake, "m2"), [SHORT])
    faults = {one.table: one.fault for one in done if one.fault}
    assert list(faults) == ["bronze.sensor_readings"]
    assert faults["bronze.sensor_readings"].endswith("someone else wrote the same table at the same time; run again")
    others = {one.table for one in done if not one.fault}
    assert {"silver.sensor_readings", "audit.dispositions", "audit.expiries"} <= others


def test_bronze_rows_that_silver_has_not_taken_do_not_expire(spark, maintained):
    receive(spark, maintained.lake, [old_reading(9)], first_offset=90, arrived_at=OLD)
    done = {one.table: one for one in maintain(spark, a_run(maintained.lake, "m3"), [SHORT])}
    assert "silver has not taken its newest rows" in done["bronze.sensor_readings"].fault
    assert done["silver.sensor_readings"].fault == ""
    path = tables.path_of(str(maintained.lake), "bronze", READINGS.table)
    assert tables.read(spark, path).where("offset = 90").count() == 1


def test_a_store_that_did_not_change_for_years_stays():
    at = datetime(2026, 10, 6, 3, tzinfo=UTC)
    assert {item.name for item in all_contracts() if expires_before(item, at) is None} == {
        "assets",
        "products",
        "stores",
    }
    assert expires_before(contract("dead-letters"), at) == date(2026, 9, 29)


def test_an_empty_lake_has_nothing_to_maintain(spark, tmp_path):
    assert maintain(spark, Run("m", NOON, str(tmp_path)), [READINGS]) == []
