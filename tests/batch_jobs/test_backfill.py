from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from batch_jobs import backfill, erasure, quarantine, silver, tables
from batch_jobs.backfill import Backfilled, Span
from batch_jobs.errors import CountsDontAddUp, LakeError, NotHeld
from batch_jobs.maintenance import maintain
from batch_jobs.sought import Sought
from schemas.contract import contract
from tests.batch_jobs import bronze_rows
from tests.batch_jobs.bronze_rows import NOON, a_run, versions

pytestmark = pytest.mark.integration

LANES = contract("lane-status")
DAY = timedelta(days=1)
MONDAY, TUESDAY, WEDNESDAY = (date(2026, 10, 5) + number * DAY for number in range(3))
SEED = 20261005


def on(day: date, number: int, **changes) -> dict:
    """A lane that opened that day; few fields, so that a judgement takes little time."""
    event = {"event_id": f"lane-{number}", "event_time": f"{day}T11:{number % 60:02d}:00.000Z", "store_id": "store-001"}
    event |= {"schema_version": 1, "lane_id": "s001-lane-01", "lane_kind": "staffed", "status": "open", "terminals": 1}
    return event | changes


def receive(spark, lake: Path, payloads: list, item=LANES, **where) -> None:
    bronze_rows.receive(spark, lake, payloads, item=item, **where)


def run(spark, lake: Path, first: date, last: date | None = None, name: str = "b1", item=LANES, **how) -> Backfilled:
    (done,) = backfill.backfill(spark, a_run(lake, name), [item], Span(first, last or first), **how)
    return done


def silver_of(spark, lake: Path, item=LANES) -> list[dict]:
    """Silver's rows, but for who wrote them when."""
    rows = tables.read(spark, tables.path_of(str(lake), "silver", item.table)).drop("loaded_at", "run_id")
    return sorted((row.asDict(recursive=True) for row in rows.collect()), key=str)


def aside_of(spark, lake: Path, item=LANES) -> list[tuple]:
    """What is set aside still."""
    rows = tables.read(spark, tables.path_of(str(lake), "quarantine", item.table)).where("replayed_at IS NULL")
    return sorted((*(row[name] for name in tables.COORDINATES), row.reasons, row.payload) for row in rows.collect())


def from_nothing(spark, lake: Path, at: Path, item=LANES) -> Path:
    """A lake of the same bronze and nothing else, curated in one run."""
    shutil.copytree(lake / "bronze", at / "bronze")
    silver.silver(spark, a_run(at, "from-nothing"), [item])
    return at


def dispositions(spark, lake: Path, name: str) -> dict[str, int]:
    rows = tables.read(spark, tables.dispositions_layout(str(lake)).path).where(f"run_id = '{name}'").collect()
    assert len(rows) == len({row.disposition for row in rows})
    return {row.disposition: row["rows"] for row in rows}


def sql(spark, lake: Path, layer: str, statement: str) -> None:
    spark.sql(statement.format(f"delta.`{tables.path_of(str(lake), layer, LANES.table)}`"))


@pytest.fixture(scope="module")
def made(spark, tmp_path_factory) -> Path:
    lake = tmp_path_factory.mktemp("small")
    receive(spark, lake, [on(MONDAY, 1), on(MONDAY, 2), "{broken", on(MONDAY, 1)])
    receive(spark, lake, [on(TUESDAY, 3), on(MONDAY, 4)], first_offset=4, arrived_at=NOON + DAY)
    silver.silver(spark, a_run(lake), [LANES])
    return lake


@pytest.fixture
def small(made, tmp_path) -> Path:
    """Two days: five records of Monday, one of them broken, one a resend, one late, and one of Tuesday."""
    return Path(shutil.copytree(made, tmp_path / "small"))


def test_a_day_that_lost_rows_and_has_wrong_ones_is_mended_and_the_rest_is_left_as_it_was(spark, small):
    before = silver_of(spark, small), aside_of(spark, small)
    sql(spark, small, "silver", "DELETE FROM {} WHERE event_id = 'lane-4'")
    sql(spark, small, "silver", "UPDATE {} SET terminals = 99 WHERE event_id = 'lane-1'")
    sql(spark, small, "quarantine", "DELETE FROM {}")
    damaged = versions(spark, small)

    planned = run(spark, small, MONDAY, name="plan", dry_run=True)
    assert (planned.rows, planned.inserted, planned.duplicate, planned.quarantined) == (5, 3, 1, 1)
    assert (planned.added, planned.replaced, planned.removed, planned.set_aside) == (1, 1, 0, 1)
    assert versions(spark, small) == damaged

    assert run(spark, small, MONDAY) == planned
    assert (silver_of(spark, small), aside_of(spark, small)) == before
    assert dispositions(spark, small, "b1") == {"inserted": 3, "duplicate": 1, "quarantined": 1}
    rows = tables.read(spark, tables.path_of(str(small), "silver", LANES.table)).collect()
    assert {row.event_id: row.run_id for row in rows} == {
        "lane-1": "b1",
        "lane-2": "r1",
        "lane-3": "r1",
        "lane-4": "b1",
    }


@pytest.mark.system
def test_running_twice_changes_nothing_but_the_account(spark, small):
    before = versions(spark, small)
    done = run(spark, small, MONDAY, WEDNESDAY)
    assert (done.rows, done.changed) == (6, False)
    after = versions(spark, small)
    assert after.pop("audit/dispositions") == before.pop("audit/dispositions") + 1
    assert after == before


@pytest.mark.system
def test_silver_goes_on_where_it_was_after_a_backfill(spark, small):
    receive(spark, small, [on(MONDAY, 9)], first_offset=9, arrived_at=NOON + DAY)
    done = run(spark, small, MONDAY)
    assert (done.rows, done.added) == (6, 1)
    (next_run,) = silver.silver(spark, a_run(small, "r2"), [LANES])
    assert (next_run.rows, next_run.inserted) == (1, 1)
    assert len(silver_of(spark, small)) == 5


def stories() -> list[tuple[datetime, dict | str]]:
    """(arrival, payload) of three days: late events, resends that differ, broken ones, ids on two and three dates."""
    told: list[tuple[datetime, dict | str]] = []
    for number, day in enumerate((MONDAY, TUESDAY, WEDNESDAY)):
        arrives = NOON + number * DAY
        told += [(arrives, on(day, 10 * number + one)) for one in range(4)]
        told += [
            (arrives, on(day, 10 * number + 1, terminals=2)),
            (arrives, "{broken"),
            (arrives, on(day, 7, status="busy")),
        ]
    told += [(NOON + 2 * DAY, on(MONDAY, 80)), (NOON + 2 * DAY, on(MONDAY, 81, terminals="one"))]
    told += [(NOON + 2 * DAY, on(TUESDAY, 2)), (NOON + 2 * DAY, on(MONDAY, 90)), (NOON, on(MONDAY, 91))]
    told += [
        (NOON + 2 * DAY, on(TUESDAY, 90)),
        (NOON + 2 * DAY, on(WEDNESDAY, 90)),
        (NOON + 2 * DAY, on(WEDNESDAY, 91)),
    ]
    told += [(NOON, on(MONDAY + 365 * DAY, 92))]
    return told


@pytest.fixture(scope="module")
def shuffled(spark, tmp_path_factory) -> tuple[Path, Path]:
    """(a lake whose records came in shuffled portions with a silver run after each, the same built from nothing)"""
    dice = random.Random(SEED)
    lake = tmp_path_factory.mktemp("shuffled")
    told = [(offset, *one) for offset, one in enumerate(stories())]
    dice.shuffle(told)
    for number, portion in enumerate((told[::3], told[1::3], told[2::3])):
        records = [(offset % 2, offset, arrived_at, payload) for offset, arrived_at, payload in portion]
        bronze_rows.receive_records(spark, lake, records, LANES)
        silver.silver(spark, a_run(lake, f"r{number}"), [LANES])
    return lake, from_nothing(spark, lake, tmp_path_factory.mktemp("from-nothing"))


@pytest.fixture
def grown(shuffled, tmp_path) -> Path:
    return Path(shutil.copytree(shuffled[0], tmp_path / "lake"))


@pytest.mark.system
def test_all_days_become_what_a_build_from_nothing_makes_of_them(spark, shuffled, grown):
    _, other = shuffled
    assert silver_of(spark, grown) != silver_of(spark, other)  # what came first stood
    sql(spark, grown, "silver", "DELETE FROM {} WHERE second(event_time) = 0 AND minute(event_time) % 3 = 0")
    sql(spark, grown, "silver", "INSERT INTO {0} SELECT * FROM {0} WHERE event_id = 'lane-2'")
    sql(spark, grown, "quarantine", "DELETE FROM {} WHERE partition = 0")
    done = run(spark, grown, MONDAY, WEDNESDAY)
    assert silver_of(spark, grown) == silver_of(spark, other)
    assert aside_of(spark, grown) == aside_of(spark, other)
    counted = dispositions(spark, other, "from-nothing")
    assert done.rows == sum(counted.values()) == len(stories())
    assert dispositions(spark, grown, "b1") == counted


@pytest.mark.system
@pytest.mark.parametrize("day", [MONDAY, TUESDAY, WEDNESDAY])
def test_one_day_becomes_what_a_build_from_nothing_makes_of_it(spark, shuffled, grown, day):
    before, other = (silver_of(spark, lake) for lake in shuffled)
    sql(spark, grown, "silver", f"DELETE FROM {{}} WHERE event_date = DATE'{day}'")
    run(spark, grown, day)
    after = silver_of(spark, grown)

    events = [told for _, told in stories() if isinstance(told, dict)]
    judged = {event["event_id"] for event in events if event["event_time"].startswith(str(day))}
    of_judged = lambda rows: [row for row in rows if row["event_id"] in judged]  # noqa: E731
    of_others = lambda rows: [row for row in rows if row["event_id"] not in judged]  # noqa: E731
    # An id of this day is settled on every date it has; one that is not on this day is left as it was, settled or not.
    assert {row["event_id"] for row in other if row["event_date"] == day} <= judged
    assert of_judged(after) == of_judged(other)
    assert of_others(after) == of_others(before)


@pytest.mark.system
def test_day_after_day_comes_to_the_same_as_all_at_once(spark, shuffled, grown):
    _, other = shuffled
    for day in (TUESDAY, WEDNESDAY, MONDAY):
        run(spark, grown, day, name=f"b-{day}")
    assert silver_of(spark, grown) == silver_of(spark, other)
    assert aside_of(spark, grown) == aside_of(spark, other)


WIDER = replace(LANES, schema=json.loads(json.dumps(LANES.schema)))
WIDER.schema["properties"]["probe"] = {"type": "string", "description": "Which probe."}


@pytest.mark.system
def test_a_contract_that_takes_more_now_lets_in_and_one_that_takes_less_sets_aside(spark, tmp_path):
    receive(spark, tmp_path, [on(MONDAY, 1), on(MONDAY, 2, probe="left"), on(MONDAY, 3, probe="left")])
    receive(spark, tmp_path, [on(MONDAY, 4, probe="right")], first_offset=3, arrived_at=NOON + DAY)
    silver.silver(spark, a_run(tmp_path), [LANES])
    done = run(spark, tmp_path, MONDAY, item=WIDER)
    assert (done.added, done.released, done.quarantined, done.replaced) == (3, 3, 0, 0)
    assert [row["probe"] for row in silver_of(spark, tmp_path)].count("left") == 2
    kept = tables.read(spark, tables.path_of(str(tmp_path), "quarantine", LANES.table)).collect()
    assert {(row.offset, row.replayed_as, row.replayed_run) for row in kept} == {
        (number, "replayed", "b1") for number in (1, 2, 3)
    }
    (replayed,) = quarantine.replay(spark, a_run(tmp_path, "q1"), [WIDER])
    assert replayed.rows == 0
    assert dispositions(spark, tmp_path, "b1") == {"inserted": 4, "duplicate": 0, "quarantined": 0}

    again = run(spark, tmp_path, MONDAY, name="b2")
    assert (again.removed, again.set_aside, again.inserted, again.quarantined) == (3, 3, 1, 3)
    other = from_nothing(spark, tmp_path, tmp_path / "other")
    assert [row["event_id"] for row in silver_of(spark, tmp_path)] == ["lane-1"]
    assert aside_of(spark, tmp_path) == aside_of(spark, other)


@pytest.mark.system
def test_what_was_replayed_stays_an_event_and_stays_marked(spark, tmp_path):
    receive(spark, tmp_path, [on(MONDAY, 1), on(MONDAY, 2, probe="left")])
    silver.silver(spark, a_run(tmp_path), [LANES])
    quarantine.replay(spark, a_run(tmp_path, "q1"), [WIDER])
    before = versions(spark, tmp_path)
    done = run(spark, tmp_path, MONDAY, item=WIDER)
    assert (done.inserted, done.quarantined, done.changed) == (2, 0, False)
    assert versions(spark, tmp_path) | {"audit/dispositions": 0} == before | {"audit/dispositions": 0}


def test_days_before_bronze_begins_are_refused_by_name(spark, small):
    before = versions(spark, small)
    with pytest.raises(NotHeld, match=r"lane-status from 2026-10-01 to .*nothing from before 2026-10-05; begin with"):
        run(spark, small, MONDAY - 4 * DAY, TUESDAY)
    with pytest.raises(NotHeld, match="orders from .* bronze is empty"):
        run(spark, small, MONDAY, item=contract("orders"))
    assert versions(spark, small) == before


@pytest.mark.system
def test_late_events_of_days_before_the_first_arrival_are_there_as_long_as_nothing_expired(spark, tmp_path):
    receive(spark, tmp_path, [on(MONDAY - 9 * DAY, 1), on(MONDAY, 2)])
    silver.silver(spark, a_run(tmp_path), [LANES])
    assert run(spark, tmp_path, MONDAY - 9 * DAY).inserted == 1


def test_silver_that_was_not_built_is_named(spark, tmp_path):
    receive(spark, tmp_path, [on(MONDAY, 1)])
    with pytest.raises(LakeError, match="run `grocery batch silver` first"):
        run(spark, tmp_path, MONDAY)


@pytest.mark.system
def test_days_that_expired_are_refused_by_name_and_silver_keeps_what_it_has(spark, tmp_path):
    short = replace(LANES, schema=LANES.schema | {"x-retention": "P30D"})
    old = NOON - 40 * DAY
    receive(spark, tmp_path, [on(old.date(), 1)], arrived_at=old)
    receive(spark, tmp_path, [on(MONDAY, 2), on(MONDAY - 20 * DAY, 3)], first_offset=1)
    silver.silver(spark, a_run(tmp_path), [short])
    maintain(spark, a_run(tmp_path, "m1"), [short])
    for first in (old.date(), MONDAY - 20 * DAY):  # the late one is there, but who knows which are not
        with pytest.raises(
            NotHeld, match=r"begins with 2026-10-05, older records expired \(1 by now; x-retention P30D\)"
        ):
            run(spark, tmp_path, first, MONDAY, item=short)
    assert run(spark, tmp_path, MONDAY, item=short).changed is False
    assert len(silver_of(spark, tmp_path)) == 2


def test_a_row_whose_record_bronze_does_not_have_is_not_thrown_away(spark, small):
    sql(spark, small, "bronze", "DELETE FROM {} WHERE offset = 1")
    with pytest.raises(NotHeld, match="no record of 1 rows that silver has, the newest of 2026-10-05"):
        run(spark, small, MONDAY)
    sql(spark, small, "bronze", "DELETE FROM {} WHERE offset = 2")
    sql(spark, small, "silver", "DELETE FROM {} WHERE offset = 1")
    with pytest.raises(NotHeld, match="no record of 1 rows that quarantine has"):
        run(spark, small, MONDAY)
    assert len(silver_of(spark, small)) == 3


def test_where_one_of_two_contracts_is_refused_the_other_is_not_changed_either(spark, small):
    other = replace(LANES, name="lane-copies")
    receive(spark, small, [on(MONDAY, 1), on(MONDAY, 2)], item=other)
    silver.silver(spark, a_run(small, "r2"), [other])
    sql(spark, small, "silver", "DELETE FROM {} WHERE event_id = 'lane-4'")
    spark.sql(f"DELETE FROM delta.`{small}/bronze/lane_copies` WHERE offset = 1")
    before, both = versions(spark, small), [LANES, other]
    none = ".* nothing from before 2026-10-05; .*; nothing was changed"
    for first, why in (
        (MONDAY, "lane-copies .*: bronze holds no record of 1 rows .*so nothing was changed.*\n.*: lane-status; ask"),
        (MONDAY - DAY, f"lane-status {none}.*\n.*lane-copies {none}"),
    ):
        with pytest.raises(LakeError, match=why) as told:
            backfill.backfill(spark, a_run(small, "b1"), both, Span(first, MONDAY))
        assert ("Nothing was changed of the others either" in str(told.value)) == (first == MONDAY)
        assert told.value.results == []
    assert versions(spark, small) == before


@pytest.mark.system
def test_a_silver_run_that_comes_in_between_keeps_its_rows_and_the_backfill_its_own(spark, small, monkeypatch):
    sql(spark, small, "silver", "DELETE FROM {} WHERE event_id IN ('lane-2', 'lane-4')")
    write = backfill._write_silver

    def later(*how):
        """While it works: a new event, a resend of one that is being mended, and a broken record."""
        monkeypatch.undo()
        receive(spark, small, [on(MONDAY, 50), on(MONDAY, 2), "{new"], first_offset=50, arrived_at=NOON + DAY)
        silver.silver(spark, a_run(small, "r2"), [LANES])
        write(*how)

    monkeypatch.setattr(backfill, "_write_silver", later)
    done = run(spark, small, MONDAY)
    assert (done.rows, done.inserted + done.duplicate, done.quarantined) == (5, 4, 1)
    names = [row["event_id"] for row in silver_of(spark, small)]
    assert sorted(names) == ["lane-1", "lane-2", "lane-3", "lane-4", "lane-50"]
    assert dispositions(spark, small, "r2") == {"inserted": 2, "duplicate": 0, "quarantined": 1}
    assert [one[2] for one in aside_of(spark, small)] == [2, 52]
    run(spark, small, MONDAY, name="b2")
    other = from_nothing(spark, small, small.parent / "other")
    assert silver_of(spark, small) == silver_of(spark, other)


@pytest.mark.system
def test_a_write_that_delta_refuses_for_another_ones_sake_is_done_again_from_a_new_look(spark, small, monkeypatch):
    sql(spark, small, "silver", "DELETE FROM {} WHERE event_id = 'lane-2'")
    write, steps = backfill._write_silver, []

    def refused(*how):
        monkeypatch.undo()
        write(*how)
        raise RuntimeError("io.delta.exceptions.ConcurrentAppendException: [DELTA_CONCURRENT_APPEND] …")

    monkeypatch.setattr(backfill, "_write_silver", refused)
    done = run(spark, small, MONDAY, on_step=lambda _, step: steps.append(step))
    assert (done.inserted, done.duplicate, done.quarantined) == (3, 1, 1)
    assert steps == [*backfill.STEPS[:4], *backfill.STEPS]


@pytest.mark.system
@pytest.mark.parametrize("died_in", ["_write_quarantine", "_account"])
def test_a_run_that_was_killed_half_way_is_finished_by_the_next(spark, small, monkeypatch, died_in):
    class Killed(Exception):
        pass

    def die(*_):
        raise Killed

    before = silver_of(spark, small), aside_of(spark, small)
    sql(spark, small, "silver", "DELETE FROM {} WHERE event_id IN ('lane-1', 'lane-4')")
    sql(spark, small, "quarantine", "DELETE FROM {}")
    with monkeypatch.context() as patched:
        patched.setattr(backfill, died_in, die)
        with pytest.raises(Exception):  # noqa: B017 whatever the pool makes of it
            run(spark, small, MONDAY, name="killed")
    assert silver_of(spark, small) == before[0]
    run(spark, small, MONDAY)
    assert (silver_of(spark, small), aside_of(spark, small)) == before
    assert dispositions(spark, small, "killed") == {}
    assert dispositions(spark, small, "b1") == {"inserted": 3, "duplicate": 1, "quarantined": 1}


VISITS = contract("geofence-events")
GUEST, OTHER = "cust_" + 32 * "a", "cust_" + 32 * "b"


def visit(number: int, customer: str, **more: str) -> dict:
    event = {"event_id": f"visit-{number}", "event_time": "2026-10-05T11:00:00.000Z", "store_id": "store-001"}
    event |= {"schema_version": 1, "zone_id": "car-park", "zone_kind": "car_park", "event": "arrived"}
    return event | {"seen_by": "phone", "customer_id": customer} | more


@pytest.mark.system
def test_after_an_erasure_bronze_makes_what_silver_holds_and_nobody_comes_back(spark, tmp_path):
    receive(
        spark,
        tmp_path,
        [visit(1, GUEST), visit(2, OTHER), f"{{broken {GUEST}", visit(3, GUEST, event="x")],
        item=VISITS,
    )
    silver.silver(spark, a_run(tmp_path), [VISITS])
    erasure.erase(spark, a_run(tmp_path, "e1"), [VISITS], Sought((GUEST,)), "DSR 17")
    done = run(spark, tmp_path, MONDAY, item=VISITS)
    assert (done.rows, done.changed) == (4, False)

    sql_at = tables.path_of(str(tmp_path), "silver", VISITS.table)
    before = silver_of(spark, tmp_path, VISITS)
    spark.sql(f"DELETE FROM delta.`{sql_at}`")
    assert run(spark, tmp_path, MONDAY, name="b2", item=VISITS).added == 2
    assert silver_of(spark, tmp_path, VISITS) == before
    assert GUEST not in str(before) + str(aside_of(spark, tmp_path, VISITS))
    other = from_nothing(spark, tmp_path, tmp_path / "other", VISITS)
    assert silver_of(spark, other, VISITS) == before


def test_records_of_which_nothing_became_are_counted_as_missing():
    with pytest.raises(CountsDontAddUp, match="7 bronze rows, but 3 inserted"):
        Backfilled("lane-status", rows=7, inserted=3, duplicate=2, quarantined=1).check()
