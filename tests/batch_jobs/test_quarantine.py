from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from batch_jobs import quality, quarantine, silver, tables
from batch_jobs.errors import CountsDontAddUp
from batch_jobs.quarantine import Choice, Replayed
from schemas.contract import Contract
from tests.batch_jobs.bronze_rows import NOON, READINGS, a_run, reading, receive, versions
from tests.batch_jobs.in_the_way import in_the_way
from tests.batch_jobs.test_backfill import LANES, MONDAY, WIDER, on

pytestmark = pytest.mark.integration


def widened(*units: str) -> Contract:
    """The readings' contract, mended: it knows these units, too."""
    schema = deepcopy(READINGS.schema)
    schema["properties"]["unit"]["enum"] += units
    for part in schema["allOf"]:
        limits = part.get("then", {}).get("properties", {})
        if "unit" in limits and "const" in limits["unit"]:
            limits["unit"] = {"enum": [limits["unit"]["const"], *units]}
    return replace(READINGS, schema=schema)


def aside(spark, lake: Path) -> dict[int, tuple]:
    """offset -> (first reason, replayed_as, replayed_run)."""
    rows = tables.read(spark, tables.path_of(str(lake), "quarantine", READINGS.table)).collect()
    return {row.offset: (row.reasons[0], row.replayed_as, row.replayed_run) for row in rows}


def events(spark, lake: Path) -> list[tuple]:
    rows = tables.read(spark, tables.path_of(str(lake), "silver", READINGS.table)).orderBy("event_id", "event_date")
    return [(row.event_id, row.offset, row.run_id) for row in rows.collect()]


def dispositions(spark, lake: Path, run: str) -> dict[str, int]:
    rows = tables.read(spark, tables.dispositions_layout(str(lake)).path).where(f"run_id = '{run}'").collect()
    assert len(rows) == len({row.disposition for row in rows}), "each is told once"
    return {row.disposition: row["rows"] for row in rows}


UNIT, NOT_JSON = "unit:/unit", "json:"


@pytest.fixture
def lake(spark, tmp_path) -> Path:
    """Silver with one reading; set aside: a strange unit, one twice, one of silver's own event, and what is no JSON."""
    strange = [reading(number, unit="[degR]") for number in (2, 3, 3, 1)]
    receive(spark, tmp_path, [reading(1), *strange, "{broken"])
    silver.silver(spark, a_run(tmp_path), [READINGS])
    return tmp_path


def test_what_keeps_todays_contract_goes_to_silver_once_and_the_rest_stays(spark, lake):
    mended = widened("[degR]")
    before = versions(spark, lake)
    (told,) = quarantine.replay(spark, a_run(lake, "dry"), [mended], dry_run=True)
    assert (told.rows, told.replayed, told.duplicate, told.quarantined) == (5, 2, 2, 1)
    assert told.reasons == {NOT_JSON: 1}
    assert versions(spark, lake) == before, "a dry run writes nothing"

    (done,) = quarantine.replay(spark, a_run(lake, "again"), [mended])
    assert replace(done, changed=False) == told
    assert events(spark, lake) == [("reading-1", 0, "r1"), ("reading-2", 1, "again"), ("reading-3", 2, "again")]
    assert aside(spark, lake) == {
        1: (UNIT, "replayed", "again"),
        2: (UNIT, "replayed", "again"),
        3: (UNIT, "duplicate", "again"),
        4: (UNIT, "duplicate", "again"),
        5: (NOT_JSON, None, None),
    }
    assert dispositions(spark, lake, "again") == {"replayed": 2, "duplicate": 2, "quarantined": 1}

    before = versions(spark, lake)
    (done,) = quarantine.replay(spark, a_run(lake, "r3"), [mended])
    assert (done.rows, done.quarantined, done.changed) == (1, 1, False)
    (done,) = silver.silver(spark, a_run(lake, "r4"), [mended])
    assert done.rows == 0, "a replay is no run over bronze: silver goes on where it was"
    assert versions(spark, lake) == before


@pytest.mark.system
def test_only_what_was_chosen_is_taken_and_what_stays_has_todays_reasons(spark, lake):
    receive(spark, lake, [reading(7, unit="[degR]")], first_offset=6, arrived_at=NOON + timedelta(days=1))
    silver.silver(spark, a_run(lake, "r2"), [READINGS])
    mended = widened("[degR]")
    for choice in (Choice(reason="json"), Choice(run="r0"), Choice(last=(NOON - timedelta(days=1)).date())):
        assert sum(one.replayed for one in quarantine.replay(spark, a_run(lake, "none"), [mended], choice)) == 0
    choice = Choice("unit", first=(NOON + timedelta(days=1)).date(), run="r2")
    (done,) = quarantine.replay(spark, a_run(lake, "a1"), [mended], choice)
    assert (done.rows, done.replayed) == (1, 1)

    schema = deepcopy(mended.schema)
    schema["properties"]["probe"] = {"type": "string", "description": "Which probe."}
    schema["required"] = [*schema["required"], "probe"]
    (done,) = quarantine.replay(spark, a_run(lake, "a2"), [replace(mended, schema=schema)])
    assert (done.rows, done.quarantined, done.changed) == (5, 5, True)
    assert done.reasons == {"required:/probe": 4, NOT_JSON: 1}
    assert {reason for reason, became, _ in aside(spark, lake).values() if not became} == {"required:/probe", NOT_JSON}
    assert dispositions(spark, lake, "a2") == {"replayed": 0, "duplicate": 0, "quarantined": 5}


def test_an_id_that_silver_has_on_another_date_stays_aside(spark, lake):
    other = reading(1, event_time="2026-10-04T12:00:00.000Z", unit="[degR]")
    receive(spark, lake, [other], first_offset=6)
    silver.silver(spark, a_run(lake, "r2"), [READINGS])
    (done,) = quarantine.replay(spark, a_run(lake, "again"), [widened("[degR]")])
    assert done.reasons == {NOT_JSON: 1, "id_conflict:/event_id": 1}
    assert aside(spark, lake)[6] == ("id_conflict:/event_id", None, None)


@pytest.mark.system
def test_a_replay_into_a_table_that_somebody_else_writes_meanwhile_is_tried_again(spark, tmp_path, monkeypatch):
    receive(spark, tmp_path, [on(MONDAY, 1), on(MONDAY, 2, probe="left")], item=LANES)
    silver.silver(spark, a_run(tmp_path), [LANES])
    path = tables.silver_layout(str(tmp_path), LANES).path

    def other():
        spark.sql(f"UPDATE delta.`{path}` SET terminals = 9 WHERE event_id = 'lane-1'")

    with in_the_way(monkeypatch, tmp_path, silver, "_insert", 3, other) as conflicts:
        (done,) = quarantine.replay(spark, a_run(tmp_path, "again"), [WIDER])
    assert len(conflicts) == 1 and "DELTA_CONCURRENT" in conflicts[0]
    assert (done.rows, done.replayed, done.duplicate, done.quarantined) == (1, 1, 0, 0)
    rows = tables.read(spark, path).orderBy("event_id").collect()
    assert [(row.event_id, row.terminals) for row in rows] == [("lane-1", 9), ("lane-2", 1)], "the other's write stands"
    assert dispositions(spark, tmp_path, "again") == {"replayed": 1, "duplicate": 0, "quarantined": 0}


@pytest.mark.system
@pytest.mark.parametrize("died_after", ["silver", "marks"])
def test_a_replay_that_was_killed_is_done_again_and_nothing_is_lost_or_twice(spark, lake, monkeypatch, died_after):
    class Killed(Exception):
        pass

    def die(*_):
        raise Killed

    mended = widened("[degR]")
    with monkeypatch.context() as patched:
        patched.setattr(quarantine, "_mark" if died_after == "silver" else "_account", die)
        if died_after == "silver":
            patched.setattr(quarantine, "_account", lambda *_: None)
        with pytest.raises(Exception):  # noqa: B017 whatever the pool makes of it
            quarantine.replay(spark, a_run(lake, "killed"), [mended])
    quarantine.replay(spark, a_run(lake, "next"), [mended])
    assert [event for event, *_ in events(spark, lake)] == ["reading-1", "reading-2", "reading-3"]
    marker = "next" if died_after == "silver" else "killed"
    assert {run for _, _, run in aside(spark, lake).values() if run} == {marker}
    counts = dispositions(spark, lake, marker)
    assert (counts["replayed"], counts["duplicate"]) == (2, 2)


@pytest.mark.system
def test_an_event_that_got_lost_stops_the_replay_before_anything_is_marked(spark, lake, monkeypatch):
    lost = property(lambda judged: silver.one_per_event(judged.good).where("event.event_id != 'reading-2'"))
    monkeypatch.setattr(silver.Judged, "events", lost)
    with pytest.raises(CountsDontAddUp, match="5 rows of quarantine, but 1 replayed"):
        quarantine.replay(spark, a_run(lake, "again"), [widened("[degR]")])
    assert {became for _, became, _ in aside(spark, lake).values()} == {None}


def test_what_was_replayed_is_no_longer_counted_against_the_run_that_set_it_aside(spark, lake):
    mended = widened("[degR]")
    quarantine.replay(spark, a_run(lake, "again"), [mended])
    verdict = quality.quality(spark, a_run(lake, "q1"), [mended], lake / "docs")
    (warning,) = [one for one in verdict.warnings if one.contract == "dispositions"]
    assert "sensor-readings 16.7%" in str(warning), "one of the six"


def test_counts_that_do_not_add_up_are_named():
    with pytest.raises(CountsDontAddUp, match="7 rows of quarantine, but 3 replayed"):
        Replayed("sensor-readings", 7, 3, 2, 1).check()
