"""What a meter's readings say about use."""

import pytest

from streaming_jobs.utilities.meters import (
    AHEAD_MS,
    GAP_MS,
    HOUR_MS,
    KINDS,
    LATE_MS,
    MOST_WAITING,
    UNKNOWN,
    Flow,
    Full,
    Span,
    Step,
    fill,
    follow,
    in_order,
    set_right,
)

MINUTE = 60_000
ENERGY, WATER, POWER = KINDS["energy"], KINDS["water"], KINDS["power"]


def taken(flow: Flow, *minutes: float) -> list[float]:
    """Which of the readings of these minutes are taken, in which order."""
    return [at / MINUTE for minute in minutes for at, _ in in_order(flow, round(minute * MINUTE), minute)]


def counted(kind, *readings: tuple[float, float]) -> list[tuple[float, float | None]]:
    """(minute, use since the reading before; None: unknown) as the counts (minute, value) give them."""
    flow = Flow()
    steps = [step for minute, value in readings for step in follow(flow, kind, (round(minute * MINUTE), value))]
    return [(step.end / MINUTE, None if step.amount is None else round(step.amount, 6)) for step in steps]


def filled(*steps: Step, length: int = HOUR_MS) -> list[Full]:
    span = Span()
    return [full for step in steps for full in fill(span, step, 0, length)]


def joined(begin: float, end: float, amount: float) -> Step:
    return Step(round(begin * HOUR_MS), round(end * HOUR_MS), amount, True)


# ---- order


def test_readings_are_taken_by_event_time_once_nothing_may_overtake_them():
    assert taken(Flow(), 1, 3, 2, 2, 5, 6, 7, 4) == [1, 2, 3]
    assert taken(Flow(), 0, 5, 10, 15) == [0, 5, 10]


def test_a_reading_that_comes_too_late_or_twice_is_left_out():
    flow = Flow()
    assert taken(flow, 1, 2, 9) == [1, 2]
    flow.last = (2 * MINUTE, 0.0)
    assert taken(flow, 2, 1.5, 9, 20) == [9]


def test_no_more_readings_wait_than_are_allowed():
    flow = Flow()
    taken(flow, *(number / 1000 for number in range(500)))
    assert len(flow.waiting) == MOST_WAITING


def test_one_reading_from_the_future_is_forgotten_when_the_clock_is_right_again():
    flow = Flow(waiting=[(10 * MINUTE, 1.0), (1000 * MINUTE, 2.0)], last=(9 * MINUTE, 0.0))
    assert not set_right(flow, 11 * MINUTE, 11 * MINUTE)
    assert flow.waiting == [(10 * MINUTE, 1.0)]


def test_a_clock_that_is_set_right_begins_anew_and_one_that_stays_ahead_goes_on():
    flow = Flow(last=(70 * MINUTE, 5.0), odd=(71 * MINUTE, 1.0))
    assert not set_right(flow, 11 * MINUTE, 72 * MINUTE)
    assert not set_right(flow, 70 * MINUTE - AHEAD_MS, 69 * MINUTE)
    assert set_right(flow, 11 * MINUTE, 11 * MINUTE)
    assert flow.last is None and flow.odd is None


# ---- counts


def test_use_is_the_difference_of_two_counts():
    assert counted(ENERGY, (0, 100), (5, 101.5), (10, 103)) == [(5, 1.5), (10, 1.5)]


def test_a_count_that_falls_by_a_last_digit_used_nothing_and_is_not_counted_twice():
    assert counted(WATER, (0, 50.0), (5, 49.995), (10, 50.01)) == [(5, 0), (10, 0.01)]


@pytest.mark.parametrize(
    ("before", "after"),
    [(712_345.6, 0.0), (999_999.9, 0.3), (100.0, 20.0), (100.0, 400_000.0)],
    ids=["set to zero", "over its last digit", "another meter", "another meter that has counted more"],
)
def test_a_count_from_another_point_is_a_reset_once_the_next_one_goes_on_from_it(before, after):
    assert counted(ENERGY, (0, before), (5, after)) == []
    assert counted(ENERGY, (0, before), (5, after), (10, after + 2)) == [(5, None), (10, 2)]


def test_one_misreading_is_no_reset_and_its_use_is_not_lost():
    assert counted(ENERGY, (0, 500), (5, 0), (10, 503), (15, 504)) == [(10, 3), (15, 1)]
    assert counted(ENERGY, (0, 500), (5, 90_000), (10, 503)) == [(10, 3)]


def test_of_two_misreadings_in_a_row_neither_is_a_reset():
    assert counted(ENERGY, (0, 500), (5, 0), (10, 90_000), (15, 503)) == [(15, 3)]


def test_much_use_in_a_long_gap_is_use():
    assert counted(ENERGY, (0, 500), (6 * 60, 2300)) == [(360, 1800)]


def test_power_adds_up_by_the_mean_of_its_two_readings():
    assert counted(POWER, (0, 10), (6, 12), (12, -2)) == [(6, 1.1), (12, 0.5)]


# ---- spans of time


def test_use_is_spread_evenly_between_two_readings():
    assert filled(joined(-0.05, 0.1, 3), joined(0.1, 0.9, 8), joined(0.9, 1.1, 4)) == [
        Full(0, HOUR_MS, pytest.approx(2 + 8 + 2))
    ]


def test_an_hour_of_which_the_beginning_is_missing_is_not_known():
    assert filled(joined(0.3, 0.9, 5), joined(0.9, 1.0, 1), joined(1.0, 2.0, 7)) == [Full(HOUR_MS, 2 * HOUR_MS, 7)]


def test_one_step_may_complete_several_spans():
    assert filled(joined(0, 1, 8), length=HOUR_MS // 4) == [
        Full(quarter * HOUR_MS // 4, (quarter + 1) * HOUR_MS // 4, pytest.approx(2)) for quarter in range(4)
    ]


def test_a_gap_within_an_hour_does_no_harm_and_one_over_its_end_leaves_both_unknown():
    gap = Step(round(0.2 * HOUR_MS), round(0.8 * HOUR_MS), 6, False)
    assert filled(joined(0, 0.2, 2), gap, joined(0.8, 1, 2)) == [Full(0, HOUR_MS, pytest.approx(10))]
    over = Step(round(0.8 * HOUR_MS), round(1.2 * HOUR_MS), 6, False)
    assert filled(joined(0, 0.8, 2), over, joined(1.2, 2, 2), joined(2, 3, 5)) == [Full(2 * HOUR_MS, 3 * HOUR_MS, 5)]


def test_a_reading_at_the_hour_ends_a_gap_there():
    gap = Step(round(0.2 * HOUR_MS), HOUR_MS, 6, False)
    assert filled(joined(0, 0.2, 2), gap, joined(1, 2, 3)) == [Full(0, HOUR_MS, 8), Full(HOUR_MS, 2 * HOUR_MS, 3)]
    long = Step(round(0.2 * HOUR_MS), 5 * HOUR_MS, 6, False)
    assert filled(long, joined(5, 6, 3)) == [Full(5 * HOUR_MS, 6 * HOUR_MS, 3)]


def test_nothing_is_known_of_the_hour_of_a_reset():
    reset = Step(round(0.2 * HOUR_MS), round(0.3 * HOUR_MS), None, True)
    span = Span()
    assert fill(span, joined(0, 0.2, 2), 0, HOUR_MS) == []
    assert fill(span, reset, 0, HOUR_MS) == []
    assert span == Span(UNKNOWN, 0.0)
    assert fill(span, joined(0.3, 2, 17), 0, HOUR_MS) == [Full(HOUR_MS, 2 * HOUR_MS, pytest.approx(10))]


@pytest.mark.parametrize(("interval_s", "apart"), [(300, GAP_MS), (3600, 90 * MINUTE)])
def test_readings_are_joined_over_as_long_as_the_meters_interval_lets_expect(interval_s, apart):
    for beyond in (0, 1):
        flow = Flow(interval_s=interval_s, last=(0, 1.0))
        assert follow(flow, WATER, (apart + beyond, 2.0))[0].joined == (not beyond)


def test_readings_that_may_still_be_overtaken_wait_for_less_than_a_gap():
    assert LATE_MS < GAP_MS
