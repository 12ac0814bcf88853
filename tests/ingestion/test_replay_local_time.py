"""The night when the clock is changed, told by the order of the rows."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.replay.local_time import UNREADABLE, RowOrder, doubt, localise, read_times, to_ms, zone

BERLIN = zone("Europe/Berlin")
STEP_BACK = datetime(2026, 10, 25, 1, tzinfo=UTC)
STEP_FORWARD = datetime(2026, 3, 29, 1, tzinfo=UTC)


def told(walls: list[str], name: str = "Europe/Berlin") -> list[str | None]:
    """What rows of one series with these wall-clock times are taken for: UTC `HH:MM`, or None where nothing decides."""
    where = zone(name)
    known, wall = read_times(walls, "%Y-%m-%d %H:%M")
    instants, doubtful = localise(wall, where)
    order, found = RowOrder(), {}
    for row in range(len(walls)):
        if doubtful[row]:
            passed = order.doubtful(doubt(row, wall[row].astype("datetime64[us]").item(), where))
        else:
            passed = order.certain(int(instants[row]))
            found[row] = int(instants[row])
        found |= {item.row: ms for item, ms in passed}
    found |= {item.row: ms for item, ms in order.end()}
    return [
        None if found[row] is None else datetime.fromtimestamp(found[row] / 1000, UTC).strftime("%H:%M")
        for row in range(len(walls))
    ]


def night(*times: str, day: str = "2026-10-25") -> list[str]:
    return [f"{day} {time}" for time in times]


def test_a_repeated_hour_with_one_step_back_is_the_first_pass_then_the_second():
    assert told(night("01:30", "02:00", "02:30", "02:00", "02:30", "03:00")) == [
        "23:30",
        "00:00",
        "00:30",
        "01:00",
        "01:30",
        "02:00",
    ]


def test_newest_first_is_read_the_other_way_round():
    assert told(night("03:30", "03:00", "02:30", "02:00", "02:30", "02:00", "01:30")) == [
        "02:30",
        "02:00",
        "01:30",
        "01:00",
        "00:30",
        "00:00",
        "23:30",
    ]


def test_an_hourly_logger_writes_the_same_time_twice():
    assert told(night("01:00", "02:00", "02:00", "03:00")) == ["23:00", "00:00", "01:00", "02:00"]


def test_a_logger_that_writes_rows_twice_proves_nothing_by_it():
    times = night("01:00", "01:00", "02:00", "02:00", "03:00", "03:00")
    assert told(times)[2:4] == [None, None]


def test_an_hour_that_was_passed_once_could_be_either():
    assert told(night("01:30", "02:00", "02:30", "03:00")) == ["23:30", None, None, "02:00"]


def test_an_hour_with_two_steps_back_is_not_guessed():
    assert told(night("01:30", "02:30", "02:10", "02:20", "02:00", "03:00"))[1:5] == [None] * 4


def test_a_file_that_begins_and_ends_within_the_hour_is_told_by_its_own_step():
    assert told(night("02:00", "02:20", "02:40", "02:00", "02:20")) == ["00:00", "00:20", "00:40", "01:00", "01:20"]


def test_a_clock_put_forward_late_still_writes_winter_time():
    spring = night("01:30", "02:00", "02:30", "04:00", day="2026-03-29")
    assert told(spring) == ["00:30", "01:00", "01:30", "02:00"]


def test_a_clock_put_forward_early_already_writes_summer_time():
    spring = night("00:30", "02:00", "02:30", "03:00", day="2026-03-29")
    assert told(spring) == ["23:30", "00:00", "00:30", "01:00"]


def test_a_skipped_hour_that_fits_both_ways_or_none_is_not_guessed():
    assert told(night("00:00", "02:30", "06:00", day="2026-03-29"))[1] is None
    assert told(night("01:00", "02:00", "03:00", day="2026-03-29"))[1] is None


def test_a_zone_whose_step_is_half_an_hour():
    lord_howe = [f"2026-04-05 {time}" for time in ("01:15", "01:30", "01:45", "01:30", "01:45", "02:00")]
    assert told(lord_howe, "Australia/Lord_Howe") == ["14:15", "14:30", "14:45", "15:00", "15:15", "15:30"]


def test_a_fixed_offset_knows_no_doubtful_hour():
    assert told(night("01:30", "02:30", "03:30"), "+01:00") == ["00:30", "01:30", "02:30"]


@given(
    steps=st.lists(st.integers(1, 50), min_size=2, max_size=30),
    start=st.integers(-90, 30),
    backwards=st.booleans(),
    change=st.sampled_from([STEP_BACK, STEP_FORWARD]),
)
def test_what_the_order_decides_is_never_wrong(steps, start, backwards, change):
    """Any minutes between rows, through both changes, oldest or newest first: the truth, or nothing."""
    minutes = np.cumsum([start, *steps])
    truth = [change + timedelta(minutes=int(m)) for m in minutes]
    if backwards:
        truth.reverse()
    walls = [moment.astimezone(BERLIN).strftime("%Y-%m-%d %H:%M") for moment in truth]
    for found, moment in zip(told(walls), truth, strict=True):
        assert found in (None, moment.strftime("%H:%M"))


@given(interval=st.sampled_from([1, 5, 10, 15, 20, 30]), start=st.integers(-120, -61), backwards=st.booleans())
def test_a_regular_logger_loses_no_row_to_the_change(interval, start, backwards):
    truth = [STEP_BACK + timedelta(minutes=m) for m in range(start, 121, interval)]
    if backwards:
        truth.reverse()
    walls = [moment.astimezone(BERLIN).strftime("%Y-%m-%d %H:%M") for moment in truth]
    assert told(walls) == [moment.strftime("%H:%M") for moment in truth]


@pytest.mark.parametrize(
    ("text", "pattern", "expected"),
    [
        ("2026-10-05T06:00:00.250Z", "iso", "2026-10-05T06:00:00.250+00:00"),
        ("2026-10-05 08:00:00+02:00", "iso", "2026-10-05T06:00:00+00:00"),
        ("2026-10-05T08:00:00+0200", "iso", "2026-10-05T06:00:00+00:00"),
        ("1791180000", "epoch_s", "2026-10-05T06:00:00+00:00"),
        ("1791180000250", "epoch_ms", "2026-10-05T06:00:00.250+00:00"),
        ("05.10.2026 08:00 +0200", "%d.%m.%Y %H:%M %z", "2026-10-05T06:00:00+00:00"),
    ],
)
def test_times_that_say_their_own_offset_are_instants(text, pattern, expected):
    known, wall = read_times([text], pattern)
    assert known[0] == to_ms(datetime.fromisoformat(expected))
    assert np.isnat(wall[0])


def test_what_is_no_time_stays_unread_and_spoils_nothing_else():
    known, wall = read_times(["2026-02-31", "nonsense", "", "2026-02-28"], "iso")
    assert list(known) == [UNREADABLE] * 4
    assert list(np.isnat(wall)) == [True, True, True, False]
