"""What the checkouts are like, minute by minute."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming_jobs.checkout_queue.queues import ASSUMED_SERVICE_S, LANES, PEOPLE, RECEIPTS, lanes_needed
from streaming_jobs.derive import Record
from tests.streaming_jobs.logs import STORE, derivation, in_order, record, ticks, told


def lane(minute: float, lane_id: str, status: str = "open", *, alone: bool = False, **more) -> Record:
    kind, terminals = ("self_checkout", 4) if alone else ("staffed", 1)
    return record(LANES, minute, lane_id=lane_id, lane_kind=kind, status=status, terminals=terminals, **more)


def people(minute: float, lane_id: str, count: int, *, kind: str = "queue", **more) -> Record:
    place = {"zone_id": f"{lane_id}-zone", "zone_kind": kind, "asset_id": lane_id}
    return record(PEOPLE, minute, seen="person", count=count, **place, **more)


def watched(lane_id: str, count: int, begin: float, end: float, **more) -> list[Record]:
    """Counts every half minute."""
    return [people(begin + step / 2, lane_id, count, **more) for step in range(int((end - begin) * 2) + 1)]


def entered(count: int, begin: int, end: int) -> list[Record]:
    place = {"zone_id": "door", "zone_kind": "entrance"}
    return [record(PEOPLE, minute + 0.5, seen="person", count=count, **place) for minute in range(begin, end)]


def paid(minute: float, number: int, channel: str = "lane") -> Record:
    return record(RECEIPTS, minute, kind="sale", channel=channel, transaction_id=f"r-{number}")


def test_people_are_told_per_open_lane_and_a_closed_lane_counts_for_nothing():
    _, values = told(
        "checkout_queue",
        in_order(
            ticks(4),
            [lane(0, "a"), lane(0, "b"), lane(0, "c", "closed")],
            watched("a", 3, 0.1, 4),
            watched("b", 0, 0.1, 4),
            watched("c", 9, 0.1, 4),
        ),
    )
    assert set(values[STORE, "people_per_open_lane"]) == {1.5}
    assert set(values[STORE, "lanes_open"]) == {2}
    assert set(values[STORE, "within_standard_share"]) == {0.5}


def test_a_zone_that_is_not_seen_any_more_is_unknown_and_never_empty():
    _, values = told("checkout_queue", in_order(ticks(8), [lane(0, "a")], watched("a", 4, 0.1, 2)))
    assert values[STORE, "people_per_open_lane"] == [4, 4, 4]  # last seen at 1.6: minutes 1 to 3
    assert len(values[STORE, "lanes_open"]) == 7
    assert len(values["a", "estimated_wait"]) == 3


def test_a_lane_whose_camera_is_dead_is_taken_to_be_like_the_others():
    lanes = [lane(0, "a"), lane(0, "b")]
    _, values = told("checkout_queue", in_order(ticks(3), lanes, watched("a", 4, 0.1, 3)))
    # 8 people, 85 % of them within one served and one waiting: 4 lanes.
    assert set(values[STORE, "lanes_needed_now"]) == {4}
    assert set(values[STORE, "lanes_short"]) == {2}


def test_who_joins_waits_for_those_before_the_first_free_terminal():
    _, values = told(
        "checkout_queue",
        in_order(
            ticks(1.2),
            [lane(0, "a"), lane(0, "s", alone=True)],
            watched("a", 2, 0.1, 1),
            watched("s", 5, 0.1, 1, kind="self_checkout"),
        ),
    )
    assert values["a", "estimated_wait"] == [2 * ASSUMED_SERVICE_S]
    assert values["s", "estimated_wait"] == [2 * ASSUMED_SERVICE_S / 4]
    assert values[STORE, "estimated_wait"] == [2 * ASSUMED_SERVICE_S]


def test_the_time_a_shopper_takes_is_learned_from_the_stores_own_receipts():
    """One lane always busy, two receipts a minute: half a minute each."""
    receipts = [paid(0.3 + number / 2, number) for number in range(600)]
    _, values = told("checkout_queue", in_order(ticks(300), [lane(0, "a")], watched("a", 1, 0.1, 300), receipts))
    waits = values["a", "estimated_wait"]
    assert waits[0] == ASSUMED_SERVICE_S
    assert waits[-1] == pytest.approx(30, abs=3)
    assert all(later <= before for before, later in zip(waits, waits[1:], strict=False))


def test_a_receipt_that_is_sent_again_teaches_nothing():
    log = [ticks(60), [lane(0, "a")], watched("a", 1, 0.1, 60), [paid(0.3 + number, number) for number in range(60)]]
    again = [paid(0.3 + number, number) for number in range(59)]
    for late, one in enumerate(again):
        again[late] = one._replace(arrived_ms=one.arrived_ms + 90_000)
    _, once = told("checkout_queue", in_order(*log))
    _, twice = told("checkout_queue", in_order(*log, again))
    assert once["a", "estimated_wait"] == twice["a", "estimated_wait"]


def test_without_receipts_nothing_is_learned_from_entrances_and_queues():
    log = in_order(ticks(120), [lane(0, "a")], watched("a", 1, 0.1, 120), entered(5, 0, 120))
    _, values = told("checkout_queue", log)
    assert set(values["a", "estimated_wait"]) == {ASSUMED_SERVICE_S}
    assert values[STORE, "lanes_needed_15"][-1] == values[STORE, "lanes_needed_15"][30]


def test_lanes_needed_are_foreseen_from_those_who_enter():
    log = in_order(
        ticks(60), [lane(0, "a")], watched("a", 1, 0.1, 60), entered(1, 0, 20), entered(12, 20, 30), entered(1, 30, 60)
    )
    _, values = told("checkout_queue", log)
    now, soon = values[STORE, "lanes_needed_now"], values[STORE, "lanes_needed_15"]
    assert set(now) == {1}
    busiest = soon.index(max(soon))
    assert max(soon) >= 6
    assert 20 <= busiest <= 32  # told before they are there: visits take some 15 min
    assert soon[-1] < max(soon) / 2


def test_without_an_entrance_camera_nothing_is_foreseen():
    _, values = told("checkout_queue", in_order(ticks(3), [lane(0, "a")], watched("a", 1, 0.1, 3)))
    assert (STORE, "lanes_needed_15") not in values


@pytest.mark.parametrize(
    ("per_minute", "service_s", "lanes"),
    [(0, 120, 1), (0.2, 60, 1), (1, 60, 2), (10, 60, 12), (10_000, 3600, 200)],
)
def test_lanes_needed_by_arrivals(per_minute, service_s, lanes):
    assert lanes_needed(per_minute / 60, service_s) == lanes


def test_one_lane_within_the_standard_is_the_textbooks_single_server():
    """M/M/1: at most two are there for 1 - load^3 of the time."""
    load = 0.15 ** (1 / 3)
    assert lanes_needed(load * 0.999, 1) == 1
    assert lanes_needed(load * 1.001, 1) == 2


def test_a_resend_and_what_was_overtaken_change_nothing():
    steady = [ticks(3.2), [lane(0, "a")], watched("a", 4, 0.1, 3)]
    old = [people(2.95, "a", 0, said=1.1), lane(2.96, "a", "closed", said=-5)]
    assert told("checkout_queue", in_order(*steady, old)) == told("checkout_queue", in_order(*steady))


def test_a_camera_that_is_an_hour_ahead_counts_and_goes_on_counting_when_it_is_set_right():
    ahead = [people(minute / 2, "a", 4, said=60 + minute / 2) for minute in range(1, 6)]
    _, values = told("checkout_queue", in_order(ticks(6), [lane(0, "a")], ahead, watched("a", 1, 3.1, 6)))
    assert values[STORE, "people_per_open_lane"] == [4, 4, 4, 1, 1]


def test_a_lane_that_is_no_asset_any_more_is_forgotten():
    gone = record("sensor-readings", 2.01, kind="tick", roster=[], assets=[])
    log = in_order(ticks(4), [lane(0, "a")], watched("a", 4, 0.1, 4), [gone])
    _, values = told("checkout_queue", log)
    assert len(values["a", "estimated_wait"]) == 2
    assert values[STORE, "lanes_open"] == [1, 1]


def test_a_log_that_was_not_written_for_an_hour_is_told_as_one_minute():
    log = in_order(ticks(2), [record("sensor-readings", 62, kind="tick"), record("sensor-readings", 63, kind="tick")])
    _, values = told("checkout_queue", in_order(log, [lane(0, "a")]))
    assert len(values[STORE, "lanes_open"]) == 3  # minutes 1, 2 and 62; the last tick waits for another


_EVENTS = st.lists(
    st.one_of(
        st.builds(
            lane, st.floats(0, 30), st.sampled_from("abc"), st.sampled_from(["open", "closed"]), alone=st.booleans()
        ),
        st.builds(people, st.floats(0, 30), st.sampled_from("abcd"), st.integers(0, 20)),
        st.builds(paid, st.floats(0, 30), st.integers(0, 99), st.sampled_from(["lane", "self_checkout"])),
        st.builds(lambda minute, count: entered(count, minute, minute + 1)[0], st.integers(0, 29), st.integers(0, 50)),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(_EVENTS)
def test_whatever_comes_shares_are_shares_and_nobody_waits_less_than_nothing(events):
    _, values = told("checkout_queue", in_order(ticks(31), events))
    for (_, metric), found in values.items():
        assert all(value >= 0 for value in found) or metric.startswith("lanes_short")
        if metric == "within_standard_share":
            assert max(found) <= 1


def test_the_state_does_not_grow_with_time():
    job = derivation("checkout_queue")
    sizes = []
    for hours in (4, 8):
        minutes = hours * 60
        log = in_order(
            [record("sensor-readings", step / 2, kind="tick") for step in range(minutes * 2)],
            [lane(0, "a"), lane(0, "b")],
            [people(minute, name, minute % 7) for minute in range(minutes) for name in "ab"],
            entered(3, 0, minutes),
            [paid(minute + 0.4, minute) for minute in range(minutes)],
        )
        state = job.start(STORE)
        for item in log:
            state, *_ = job.advance(state, [item], Counter(), [])
        sizes.append(len(job.dumps(state)))
    assert sizes[1] < sizes[0] * 1.05
