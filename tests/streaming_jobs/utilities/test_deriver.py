"""What is derived of a store's meters and devices."""

from itertools import pairwise
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.events import OpenSpan, StoreInfo
from schemas.instants import to_ms
from streaming_jobs.utilities.deriver import FEWEST_USUAL, NO_USE, PAST, USUAL, WEEKS, State, Utilities
from streaming_jobs.utilities.meters import LATE_MS
from tests.streaming_jobs.utilities.meter_logs import (
    DAY,
    HOUR,
    MINUTE,
    STORE,
    at,
    counter,
    derive,
    gauge,
    local,
    local_hour,
    reading,
    tick,
    told,
)

MONDAY = at("2026-10-05 00:00")
NIGHT = (22, 23, 0, 1, 2, 3, 4, 5, 6)


def trading(ms: int) -> bool:
    return local_hour(ms) not in NIGHT


def usual_power(ms: int) -> float:
    return 22.0 if trading(ms) else 12.0


# ---- power out of hours


def test_power_out_of_hours_is_told_above_what_the_closed_store_usually_draws():
    left_on = at("2026-10-06 22:00")
    log = gauge(MONDAY, at("2026-10-07 09:00"), lambda ms: usual_power(ms) + 9 * (left_on <= ms and not trading(ms)))
    found = told(derive([tick(MONDAY), *log]), "out_of_hours_power")
    quiet = [value for when, value in found if when < "2026-10-06 22"]
    lit = [(when, value) for when, value in found if when > "2026-10-06 23:00"]
    # A minute's reading before the lights went out lies in the first hour after closing.
    assert quiet and all(abs(value) < 0.1 for value in quiet)
    assert lit[0][0] == "2026-10-06 23:15" and lit[0][1] == pytest.approx(9, abs=0.1)
    assert [value for when, value in lit if when < "2026-10-07 07:00"] == pytest.approx([9] * 31, abs=0.1)


def test_at_the_first_quarter_of_an_hour_with_the_store_open_nothing_is_out_of_hours_any_more():
    found = told(derive([tick(MONDAY), *gauge(MONDAY, at("2026-10-06 12:00"), usual_power)]), "out_of_hours_power")
    assert [when for when, _ in found if "07:00" < when[11:] < "22:00"] == ["2026-10-05 07:15", "2026-10-06 07:15"]
    assert [value for when, value in found if when[11:] == "07:15"] == [0, 0]


def test_a_quarter_of_an_hour_in_which_the_store_opens_is_not_out_of_hours():
    early = StoreInfo(time_zone="Europe/Berlin", opening_hours=(OpenSpan("mon", "06:50", "22:00"),))
    log = [tick(MONDAY, early), *counter(MONDAY, MONDAY + 8 * HOUR, "water", lambda ms: 0.4)]
    assert told(derive(log), "out_of_hours_water")[-2:] == [
        ("2026-10-05 06:45", pytest.approx(0.4)),
        ("2026-10-05 07:00", 0),
    ]


def test_nothing_counts_as_usual_before_some_closed_hours():
    found = told(derive([tick(MONDAY), *gauge(MONDAY, at("2026-10-05 07:00"), usual_power)]), "out_of_hours_power")
    # The first whole hour ends at 01:00, and an hour is learnt after it was told.
    assert found[0][0] == f"2026-10-05 0{FEWEST_USUAL}:15"


def test_lights_left_on_for_two_nights_change_nothing_of_the_usual_power_and_a_lasting_change_becomes_usual():
    changed = at("2026-10-12 22:00")
    log = gauge(MONDAY, at("2026-10-27 06:00"), lambda ms: usual_power(ms) + 9 * (ms >= changed))
    found = dict(told(derive([tick(MONDAY), *log]), "out_of_hours_power"))
    assert found["2026-10-14 23:30"] == pytest.approx(9, abs=0.1)
    assert found["2026-10-27 05:00"] == pytest.approx(0, abs=0.1)


def test_a_whole_sunday_is_out_of_hours_and_so_is_a_holiday():
    log = [*gauge(at("2026-10-03 00:00"), at("2026-10-05 09:00"), lambda ms: 12.0)]
    found = told(derive([tick(at("2026-10-03 00:00")), *log]), "out_of_hours_power")
    assert len(found) == 2 * 96 + 7 * 4 - 16 + 1  # the holiday, the Sunday, Monday's morning; less the first four hours


def test_a_store_that_never_closes_uses_nothing_out_of_hours():
    log = [tick(MONDAY, StoreInfo(time_zone="Europe/Berlin")), *gauge(MONDAY, MONDAY + DAY, usual_power)]
    assert told(derive(log), "out_of_hours_power") == []


def test_an_hour_with_a_gap_in_it_says_nothing_about_power_out_of_hours():
    gap = (at("2026-10-06 01:10"), at("2026-10-06 02:05"))
    log = [item for item in gauge(MONDAY, at("2026-10-06 06:00"), usual_power) if not gap[0] <= item[0] < gap[1]]
    times = [when for when, _ in told(derive([tick(MONDAY), *log]), "out_of_hours_power") if when > "2026-10-06 01"]
    assert times[:2] == ["2026-10-06 01:00", "2026-10-06 03:15"]


# ---- water out of hours


def test_water_out_of_hours_is_the_mean_of_an_hour_with_the_store_closed():
    leak = at("2026-10-06 01:00")
    log = counter(MONDAY, at("2026-10-06 08:00"), "water", lambda ms: 0.3 * trading(ms) + 0.4 * (ms >= leak))
    found = dict(told(derive([tick(MONDAY), *log]), "out_of_hours_water"))
    assert [found[f"2026-10-06 0{when}"] for when in ("0:45", "1:30", "2:00", "5:00", "7:15")] == [
        0,
        pytest.approx(0.2, abs=0.01),
        pytest.approx(0.4, abs=0.01),
        pytest.approx(0.4),
        0,
    ]
    # Five minutes before closing are joined with those after it, so the first hour that is told ends at 23:00.
    assert min(when for when in found if when > "2026-10-05 12") == "2026-10-05 23:00"


def test_a_count_in_whole_hundreds_of_litres_gives_the_same_mean_as_a_fine_one():
    log = counter(MONDAY, at("2026-10-05 06:00"), "water", lambda ms: 0.2)
    coarse = [(arrived, msgspec.structs.replace(event, value=event.value * 10 // 1 / 10)) for arrived, event in log]
    values = [value for _, value in told(derive([tick(MONDAY), *coarse]), "out_of_hours_water")]
    assert len(values) > 15 and all(0.1 < value <= 0.3 for value in values)


# ---- against past weeks


def by_local_hour(ms: int) -> float:
    """Use that depends on the local hour alone."""
    return 10.0 + local_hour(ms)


def test_an_hours_use_is_held_against_the_median_of_the_same_hour_of_past_weeks():
    jump = at("2026-10-26 03:00")
    factors = {0: 1.0, 1: 1.4, 2: 1.2}

    def use(ms: int) -> float:
        return 20.0 * (3 if jump <= ms < jump + HOUR else factors.get((ms - MONDAY) // (7 * DAY), 1.0))

    found = dict(told(derive([tick(MONDAY), *counter(MONDAY, at("2026-10-26 08:00"), "energy", use)]), "energy_ratio"))
    assert found["2026-10-26 03:00"] == pytest.approx(1 / 1.2, abs=0.05)
    assert found["2026-10-26 04:00"] == pytest.approx(3 / 1.2, abs=0.1)


def test_there_is_no_ratio_before_two_past_weeks():
    found = told(derive([tick(MONDAY), *counter(MONDAY, MONDAY + 15 * DAY, "energy", by_local_hour)]), "energy_ratio")
    assert found[0][0] == "2026-10-19 02:00"  # of the first hour on the 5th the beginning is missing


@pytest.mark.parametrize(
    "begin", ["2026-10-05 00:00", "2026-03-09 00:00"], ids=["a day of 25 hours", "a day of 23 hours"]
)
def test_a_clock_change_compares_local_hours_with_local_hours(begin):
    start = at(begin)
    log = counter(start, start + 49 * DAY, "energy", by_local_hour)
    found = told(derive([tick(start), *log]), "energy_ratio")
    assert len(found) > 34 * 24
    assert all(value == pytest.approx(1, abs=0.01) for _, value in found)


def test_an_hour_that_a_clock_change_left_out_is_no_past_week():
    start = at("2026-03-21 00:00")
    found = dict(
        told(derive([tick(start), *counter(start, start + 16 * DAY, "energy", by_local_hour)]), "energy_ratio")
    )
    # Of 02:00 on a Sunday there was only one, two weeks before.
    assert "2026-04-05 02:00" in found and "2026-04-05 03:00" not in found and "2026-04-05 04:00" in found


def test_a_holiday_is_held_against_no_working_day_and_an_early_closing_against_no_late_one():
    start = at("2026-11-23 00:00")
    found = dict(
        told(derive([tick(start), *counter(start, at("2026-12-25 00:00"), "energy", by_local_hour)]), "energy_ratio")
    )
    assert "2026-12-24 14:00" in found and "2026-12-24 15:00" not in found and "2026-12-24 23:00" in found


def test_usual_use_of_next_to_nothing_makes_no_jump_of_one_open_tap():
    tap = at("2026-10-26 03:20")
    log = counter(MONDAY, at("2026-10-26 08:00"), "water", lambda ms: 0.6 * (tap <= ms < tap + 6 * MINUTE))
    found = dict(told(derive([tick(MONDAY), *log]), "water_ratio"))
    assert found["2026-10-26 03:00"] == 0
    assert found["2026-10-26 04:00"] == pytest.approx(0.6)


def test_what_was_counted_while_the_meter_was_offline_belongs_to_no_hour():
    offline = (at("2026-10-26 02:10"), at("2026-10-26 05:20"))
    log = counter(MONDAY, at("2026-10-26 08:00"), "energy", by_local_hour)
    heard = [item for item in log if not offline[0] <= item[0] < offline[1]]
    found = [when for when, _ in told(derive([tick(MONDAY), *heard]), "energy_ratio") if when > "2026-10-26 01:30"]
    assert found == ["2026-10-26 02:00", "2026-10-26 07:00"]


def test_what_a_meter_kept_while_it_was_offline_and_sends_at_once_belongs_to_its_hours():
    back = at("2026-10-26 05:20")
    log = counter(MONDAY, at("2026-10-26 08:00"), "energy", by_local_hour)
    burst = [(max(arrived, back) if arrived > back - 4 * HOUR else arrived, event) for arrived, event in log]
    assert list(derive([tick(MONDAY), *burst])) == list(derive([tick(MONDAY), *log]))


# ---- resets


def test_a_meter_that_begins_anew_is_told_and_gives_neither_negative_nor_giant_use():
    swap = at("2026-10-26 02:31")
    log = counter(MONDAY, at("2026-10-26 08:00"), "energy", by_local_hour, first=500_000)
    lower = [
        (arrived, msgspec.structs.replace(event, value=event.value - 500_000) if arrived > swap else event)
        for arrived, event in log
    ]
    found = list(derive([tick(MONDAY), *lower]))
    assert told(found, "meter_reset") == [("2026-10-26 02:32", 1), ("2026-10-26 04:00", 0)]
    ratios = dict(told(found, "energy_ratio"))
    assert "2026-10-26 03:00" not in ratios
    assert all(value == pytest.approx(1, abs=0.01) for value in ratios.values())


def test_the_roster_says_which_device_of_an_asset_is_followed():
    log = counter(MONDAY, MONDAY + 3 * HOUR, "energy", by_local_hour)
    other = [
        reading(arrived + minutes * MINUTE, "energy", 5.0, device="s002-power-01-z")
        for arrived, _ in log
        for minutes in (1, 3)
    ]
    both = sorted([tick(MONDAY), *log, *other], key=lambda item: item[0])
    assert told(derive(both), "meter_reset") == []


# ---- clocks


def test_a_meter_an_hour_ahead_is_followed_on_its_own_clock():
    log = [(arrived - HOUR, event) for arrived, event in counter(MONDAY, MONDAY + 16 * DAY, "energy", by_local_hour)]
    found = told(derive([tick(MONDAY - HOUR), *log]), "energy_ratio")
    assert len(found) > 40 and all(value == pytest.approx(1, abs=0.01) for _, value in found)


@pytest.mark.parametrize("ahead", [1, 5])
def test_a_clock_that_is_set_right_tells_no_moment_twice_and_no_wrong_use(ahead):
    right = MONDAY + 15 * DAY + 30 * MINUTE
    log = [
        reading(arrived - 400 + ahead * HOUR * (arrived < right), "energy", event.value, arrived=arrived)
        for arrived, event in counter(MONDAY, MONDAY + 17 * DAY, "energy", lambda ms: 20.0)
    ]
    state = Utilities().start(STORE)
    found = list(derive([tick(MONDAY), *log], state))
    times = [when for when, _ in told(found, "energy_ratio")]
    assert times == sorted(set(times))
    assert len(times) > 55
    assert all(value == pytest.approx(1, abs=0.01) for _, value in told(found, "energy_ratio"))
    assert told(found, "meter_reset") == []
    meter = state.meters["s002-power-01/energy"]
    assert meter.newest - len(meter.past) + 1 == (MONDAY + (ahead + 1) * HOUR) // HOUR


def test_one_reading_from_the_day_after_tomorrow_disturbs_nothing():
    log = counter(MONDAY, MONDAY + 16 * DAY, "energy", by_local_hour)
    odd = reading(log[50][0] + 2 * DAY, "energy", 1e6, arrived=log[50][0] + 1)
    assert list(derive([tick(MONDAY), *log[:51], odd, *log[51:]])) == list(derive([tick(MONDAY), *log]))


# ---- devices


def test_health_is_told_when_it_changes_and_while_it_is_not_well():
    beats = [reading(MONDAY + n * MINUTE, "heartbeat", value) for n, value in enumerate([1, 1, 0, 0, 1, 1])]
    assert told(derive([tick(MONDAY), *beats]), "device_health") == [
        ("2026-10-05 00:00", 1),
        ("2026-10-05 00:02", 0),
        ("2026-10-05 00:03", 0),
        ("2026-10-05 00:04", 1),
    ]


def test_an_asset_is_as_well_as_the_worst_of_its_devices():
    first = reading(MONDAY, "heartbeat", 1, device="a")
    second = reading(MONDAY + 1, "heartbeat", 0, device="b")
    again = reading(MONDAY + 2, "heartbeat", 1, device="a")
    assert [event.value for event in derive([first, second, again])] == [1, 0, 0]


def test_a_heartbeat_that_comes_late_changes_nothing():
    beats = [reading(MONDAY + n * MINUTE, "heartbeat", value) for n, value in [(2, 1), (1, 0), (2, 0)]]
    assert [event.value for event in derive(beats)] == [1]


# ---- state


def test_what_leaves_the_roster_leaves_the_state():
    state = Utilities().start(STORE)
    list(derive([tick(MONDAY), reading(MONDAY, "heartbeat", 1), reading(MONDAY, "water", 1)], state))
    assert set(state.meters) == {"s002-power-01/power", "s002-power-01/energy", "s002-water-01/water"}
    list(derive([tick(MONDAY + 1, metrics=["energy"])], state))
    assert set(state.meters) == {"s002-power-01/energy"} and not state.beats and not state.health


def test_a_store_that_ran_for_months_is_remembered_in_a_few_kilobytes():
    state, end = Utilities().start(STORE), MONDAY + 60 * DAY
    for log in (
        counter(MONDAY, end, "energy", lambda ms: 33.3),
        counter(MONDAY, end, "water", lambda ms: 0.347),
        gauge(MONDAY, end, lambda ms: 33.33),
    ):
        list(derive([tick(MONDAY), *log], state))
    assert {len(meter.past) for meter in state.meters.values()} == {0, PAST}
    assert len(state.meters["s002-power-01/power"].usual) == USUAL
    assert len(msgspec.json.encode(state)) < 10_000


@st.composite
def disturbed(draw):
    """A day of three meters and a screen: some readings lost, doubled, late; a reset, a pause, new ticks."""
    length = draw(st.integers(4, 30))
    begin = at(draw(st.sampled_from(["2026-10-05 18:00", "2026-10-24 20:00", "2026-03-28 20:00"])))
    end = begin + length * HOUR
    reset = begin + draw(st.integers(0, length * 60)) * MINUTE
    log = [*counter(begin, end, "energy", by_local_hour), *counter(begin, end, "water", lambda ms: 0.2)]
    log = [
        (a, msgspec.structs.replace(e, value=e.value - 900) if a > reset and e.metric == "energy" else e)
        for a, e in log
    ]
    log += gauge(begin, end, usual_power)[:: draw(st.sampled_from([1, 3, 10]))]
    log += [reading(begin + n * 10 * MINUTE, "heartbeat", float(n % 3 > 0)) for n in range(length)]
    out = [tick(begin), *(tick(begin + n * HOUR) for n in range(2, length, 5))]
    luck = Random(draw(st.integers(0, 2**32)))
    pause = begin + luck.randrange(length * 60) * MINUTE
    for arrived, event in log:
        if pause <= arrived < pause + 40 * MINUTE or luck.random() < 0.03:
            continue
        out.append((arrived + luck.randrange(LATE_MS - 1000) * (luck.random() < 0.2), event))
        if luck.random() < 0.05:
            out.append((arrived + luck.randrange(10 * MINUTE), event))
    return sorted(out, key=lambda item: item[0])


@settings(max_examples=40, deadline=None)
@given(disturbed(), st.lists(st.integers(0, 3000), max_size=6))
def test_a_restart_anywhere_changes_nothing(log, cuts):
    whole_state, state = Utilities().start(STORE), Utilities().start(STORE)
    whole = list(derive(log, whole_state))
    found, edges = [], [0, *sorted(min(cut, len(log)) for cut in cuts), len(log)]
    for start, end in pairwise(edges):
        state = msgspec.json.decode(msgspec.json.encode(state), type=State)
        found += derive(log[start:end], state)
    assert found == whole
    assert msgspec.json.encode(state) == msgspec.json.encode(whole_state)


@settings(max_examples=40, deadline=None)
@given(disturbed(), st.integers(0, 2**32))
def test_disorder_within_the_lateness_and_resends_change_nothing(log, seed):
    """Of the meters; a heartbeat counts as it comes."""
    luck, sent = Random(seed), {}
    for _, event in log:
        if event.kind == "reading" and event.metric != "heartbeat":
            sent.setdefault(event.event_id, event)
    order = sorted(sent.values(), key=lambda event: event.event_time)
    ticks = [log[0]]
    straight = [(to_ms(event.event_time), event) for event in order]
    bent = [(ms + luck.randrange(LATE_MS), event) for ms, event in straight]
    bent += [(ms + luck.randrange(HOUR), event) for ms, event in straight if luck.random() < 0.1]

    settled = straight[-1][0] - HOUR // 2

    def by_what(found):
        """Of the last half hour the readings that would confirm it are missing in one of the two orders."""
        told = (event for event in found if to_ms(event.event_time) <= settled)
        return sorted((event.device_id, event.event_time, event.value) for event in told)

    assert by_what(derive(ticks + sorted(bent, key=lambda item: item[0]))) == by_what(derive(ticks + straight))


@settings(max_examples=40, deadline=None)
@given(disturbed())
def test_an_hour_is_known_rightly_or_not_at_all(log):
    state = Utilities().start(STORE)
    found = list(derive(log, state))
    for key, use in (("s002-power-01/energy", by_local_hour), ("s002-water-01/water", lambda ms: 0.2)):
        meter = state.meters[key]
        first = meter.newest - len(meter.past) + 1
        for number, used in enumerate(meter.past):
            truth = use((first + number) * HOUR) * 1000
            # At both ends an hour may take up to a quarter of an hour from its neighbour, which differs by 23 at most.
            assert used == NO_USE or abs(used - truth) <= (6000 if "energy" in key else 2), local(
                (first + number) * HOUR
            )
    assert all(event.value >= 0 for event in found if event.metric != "out_of_hours_power")
    moments = [(event.device_id, event.event_time) for event in found]
    assert len(moments) == len(set(moments))
    assert WEEKS * 168 < PAST
