"""How a store's day is judged against the same weekday, and its newest event by the clock."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from batch_jobs import tables, volumes
from batch_jobs.run import Run
from batch_jobs.volumes import Day, Gained, Store, judge
from schemas.contract import contract
from tests.batch_jobs.in_the_way import in_the_way
from tests.fixtures.silver import append_silver, write_silver

POS, READINGS = contract("pos-transactions"), contract("sensor-readings")
MONDAY = date(2026, 10, 5)
NOW = datetime(2026, 10, 6, 12, tzinfo=UTC)
LIMITS = {POS.name: timedelta(days=3), READINGS.name: timedelta(hours=1)}


def key(day: date = MONDAY, store: str = "s", name: str = POS.name) -> volumes.Key:
    return (name, store, day)


def past(*events: int) -> dict[volumes.Key, Day]:
    """The Mondays before, the newest first, as they were judged."""
    return {
        key(MONDAY - timedelta(weeks=n)): Day(number, volume=volumes.USUAL, newest_at=NOW - timedelta(weeks=n))
        for n, number in enumerate(events, 1)
    }


def judged(days: dict[volumes.Key, Day], events: int, now: datetime = NOW, zone: str = "UTC") -> Day:
    days[key()] = Day(events, newest_at=now)
    judge(days, {key()}, {"s": Store(ZoneInfo(zone))}, LIMITS, now)
    return days[key()]


def test_a_day_is_held_against_the_median_of_the_same_weekday():
    found = judged(past(100, 120, 0, 80), 60)  # a holiday among them
    assert (found.usual, found.weeks, found.ratio, found.volume) == (90, 4, pytest.approx(2 / 3), "usual")
    assert judged(past(100, 120, 110, 80), 50).volume == "low"
    assert judged(past(100, 120, 110, 80), 220).volume == "high"


def test_what_cannot_be_judged_says_why():
    assert judged({}, 100).volume == judged(past(100), 100).volume == "no history"
    assert judged(past(100, 100), 10).volume == "low", "two weeks are enough"
    assert judged(past(20, 20, 20), 0).volume == "few"


def test_a_day_is_judged_once_it_is_over_in_its_store():
    before_dawn = datetime(2026, 10, 6, 7, 59, tzinfo=UTC)
    assert judged(past(100, 100), 10, before_dawn, "America/Denver").volume == "running"
    assert judged(past(100, 100), 10, before_dawn + timedelta(minutes=1), "America/Denver").volume == "low"


def test_a_store_that_fell_silent_has_a_day_of_nothing():
    days = past(100, 100, 100)
    others = {key(MONDAY - timedelta(weeks=1), "t"): Day(100, volume=volumes.USUAL, newest_at=NOW)}
    stores = {"s": Store(), "t": Store(), "gone": Store(active=False)}
    days |= others | {key(MONDAY - timedelta(weeks=1), "gone"): Day(100, volume=volumes.USUAL, newest_at=NOW)}
    found = judge(days, set(), stores, LIMITS, NOW)
    assert (found.judged[key()].events, found.judged[key()].volume) == (0, "low")
    assert found.judged[key(store="t")].volume == "no history"
    assert key(store="gone") not in days


def test_a_stores_newest_event_is_held_against_what_its_contract_says():
    days = {
        key(store="a", name=READINGS.name): Day(9, newest_at=NOW - timedelta(minutes=59)),
        key(store="b", name=READINGS.name): Day(9, newest_at=NOW - timedelta(minutes=61)),
        key(store="b"): Day(9, newest_at=NOW - timedelta(hours=20)),
        key(store="b", name="orders"): Day(9, newest_at=NOW - timedelta(hours=20)),
    }
    found = judge(days, set(days), {}, LIMITS | {"orders": None}, NOW)
    told = {(name, store): day.freshness for (name, store, _), day in found.measured.items()}
    assert told == {
        (READINGS.name, "a"): "fresh",
        (READINGS.name, "b"): "stale",
        (POS.name, "b"): "fresh",
        ("orders", "b"): "no limit",
    }
    assert {day for _, _, day in found.measured} == {NOW.date()}


def test_where_a_past_is_loaded_ages_are_taken_from_its_end():
    long_after = NOW + timedelta(days=50)
    days = {
        key(store="a", name=READINGS.name): Day(9, newest_at=NOW - timedelta(minutes=5)),
        key(store="b", name=READINGS.name): Day(9, newest_at=NOW - timedelta(hours=3)),
    }
    found = judge(days, set(days), {}, LIMITS, long_after)
    told = {store: (day.freshness, day.age_s) for (_, store, _), day in found.measured.items()}
    assert told == {"a": ("fresh", 0), "b": ("stale", 10500)}


def test_a_holiday_is_neither_judged_nor_anyones_usual():
    days = past(100, 120, 0, 80) | {key(): Day(0, newest_at=NOW)}
    shut = frozenset({MONDAY, MONDAY - timedelta(weeks=3)})
    judge(days, {key()}, {"s": Store(holidays=shut)}, LIMITS, NOW)
    assert (days[key()].volume, days[key()].usual, days[key()].weeks) == ("holiday", 100, 3)


def held(hours: float, ages: list[float], *events: int, **store) -> Day:
    """A newest event so old on Monday; ages: hours, of the same weekday; events: of those days."""
    day = judged(past(*events), 9)
    day.measured_at, day.age_s, day.limit_s, day.freshness = NOW, int(hours * 3600), 3 * 86400, "fresh"
    if volumes.in_doubt(key(), day, Store(**store)):
        volumes.hold_to_weekday(day, [int(age * 3600) for age in ages])
    return day


def test_a_newest_event_is_no_older_than_double_the_same_weekdays_at_this_time():
    assert held(2.1, [0.1, 0.1, 0.2, 0.1], 500, 500, 500, 500).freshness == "stale", "by day something always came"
    assert held(1.9, [0.1, 0.1, 0.2, 0.1], 500, 500, 500, 500).freshness == "fresh", "a file or a run may be late"
    assert held(7, [6, 6.5, 0.1, 7], 500, 500, 500, 500).freshness == "fresh", "the store is shut at this time"
    night = held(13, [6, 6.5, 0.1, 6.5], 500, 500, 500, 500)
    assert (night.freshness, night.limit_s) == ("stale", 45000)


def test_few_events_have_long_gaps():
    day = held(3, [0.1, 0.1], 60, 60)
    assert (day.freshness, day.limit_s) == ("fresh", 14400)
    assert held(4.1, [0.1, 0.1], 60, 60).freshness == "stale"


def test_without_the_same_weekday_the_contract_alone_says_how_old_an_event_may_be():
    for day in (held(9, [0.1], 500, 500), held(9, [0.1, 0.1], 500), held(9, [0.1, 0.1], 40, 40)):
        assert (day.freshness, day.limit_s) == ("fresh", 3 * 86400)
    assert held(9, [0.1, 0.1], 500, 500, holidays=frozenset({MONDAY})).freshness == "fresh"
    assert held(9, [0.1, 0.1], 500, 500).freshness == "stale"


@pytest.mark.integration
def test_an_age_is_held_against_the_one_at_the_same_time_on_the_clocks_of_the_store(spark, tmp_path: Path, monkeypatch):
    """Denver's clocks went back on 1 November 2026: 14:00 there was 20:00 UTC before, and is 21:00 since."""
    monkeypatch.setattr(volumes, "FEW", 2)
    monkeypatch.setattr(volumes, "GAPS", 0)
    store = {"event_time": "2026-01-01T00:00:00.000Z", "schema_version": 1, "name": "S", "status": "active"}
    store |= {"time_zone": "America/Denver", "locale": "en-US", "display_unit": "Cel"}
    store |= {"currency": "USD", "country": "US", "opening_hours": [], "holidays": []}
    names = ("stopped", "slow", "well")
    events = [("stores", store | {"event_id": name, "store_id": name}) for name in names]

    def sold(whose: str, at: str) -> None:
        event = {
            "event_id": f"{whose}-{at}",
            "store_id": whose,
            "schema_version": 1,
            "event_time": f"2026-{at}:00.000Z",
        }
        events.append((POS.name, event))

    for name in names:
        for at in ("10-19T15:50", "10-19T20:50", "10-26T15:50", "10-26T20:50", "11-02T20:50", "11-02T21:50"):
            sold(name, at)
    for name, at in (("stopped", "11-09T12:00"), ("slow", "11-09T13:00"), ("well", "11-09T20:10")):
        sold(name, at)
    write_silver(tmp_path, events)
    dates = tuple(date(2026, month, day) for month, day in ((10, 19), (10, 26), (11, 2), (11, 9)))
    now = datetime(2026, 11, 9, 21, tzinfo=UTC)
    found = volumes.volumes(spark, Run("r1", now, str(tmp_path)), [POS], [Gained(POS, 0, dates)])
    told = {whose: (day.age_s, day.limit_s, day.freshness) for (_, whose, _), day in found.measured.items()}
    usual = 2 * 15000  # double the median of 4 h 10 min, twice, and of 10 min
    assert told == {
        "stopped": (32400, usual, "stale"),
        "slow": (28800, usual, "fresh"),
        "well": (3000, 3 * 86400, "fresh"),  # not in question
    }


@pytest.mark.integration
def test_days_are_counted_in_their_stores_zone_without_ticks_and_a_second_run_changes_no_row(
    spark, tmp_path: Path, monkeypatch
):
    def reading(name: str, at: str, kind: str = "reading") -> tuple[str, dict]:
        event = {"event_id": name, "event_time": at, "store_id": "store-001", "schema_version": 1, "kind": kind}
        return READINGS.name, event

    store = {"event_id": "s", "event_time": "2026-01-01T00:00:00.000Z", "store_id": "store-001", "schema_version": 1}
    store |= {"name": "S", "status": "active", "time_zone": "America/Denver", "locale": "en-US", "display_unit": "Cel"}
    store |= {"currency": "USD", "country": "US", "opening_hours": [], "holidays": []}
    events = [
        ("stores", store),
        reading("a", "2026-10-05T05:59:00.000Z"),  # 23:59 of the fourth in Denver
        reading("b", "2026-10-05T06:00:00.000Z"),
        reading("c", "2026-10-06T05:59:00.000Z"),
        reading("t", "2026-10-06T05:59:30.000Z", "tick"),
    ]
    write_silver(tmp_path, events)
    gained = [Gained(READINGS, 0, (date(2026, 10, 5), date(2026, 10, 6)))]

    def counted(name: str) -> list:
        volumes.volumes(spark, Run(name, NOW, str(tmp_path)), [READINGS, POS], gained)
        rows = tables.read(spark, tables.volumes_layout(str(tmp_path)).path).orderBy("business_date").collect()
        return [(row.store_id, str(row.business_date), row.events, row.volume, row.age_s) for row in rows]

    first = counted("r1")
    assert first == [
        ("store-001", "2026-10-04", 1, "no history", None),
        ("store-001", "2026-10-05", 2, "no history", None),
        ("store-001", "2026-10-06", 0, "running", 21660),
    ]
    assert counted("r2") == first
    assert tables.snapshot(spark, tables.volumes_layout(str(tmp_path)).path).reader_version == 1
    append_silver(tmp_path, [reading("late", "2026-10-05T07:00:00.000Z")], "2026-10-06T11:00:00.000Z")
    gained[0] = Gained(READINGS, 1, (date(2026, 10, 5),))
    path = tables.volumes_layout(str(tmp_path)).path

    def other():
        spark.sql(f"UPDATE delta.`{path}` SET events = 9 WHERE by_date = '2026-10-05'")

    with in_the_way(monkeypatch, tmp_path, volumes, "_write", 2, other) as conflicts:
        assert [row[2] for row in counted("r3")] == [1, 3, 0]
    assert len(conflicts) == 1 and "DELTA_CONCURRENT" in conflicts[0], "it was tried again"
