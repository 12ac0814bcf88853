"""What the bench makes of its samples."""

from __future__ import annotations

import threading
import time

import pytest

from tests.bench.measure import Sample, Watch, reached, steady


def samples(*done: int) -> list[Sample]:
    """One a half second; a record costs 2 microseconds of processor time."""
    return [Sample(number / 2, records, records * 2e-6, 0) for number, records in enumerate(done)]


def test_the_rate_begins_and_ends_with_a_step_and_leaves_warming_up_out():
    # Commits each second: 1000 at first, then 2000.
    found = steady(samples(0, 1000, 1000, 2000, 2000, 4000, 4000, 6000, 6000, 8000), 2, 10_000)
    assert found is not None
    assert (found.rate, found.seconds) == (2000, 2)
    assert found.cpu_us == pytest.approx(2)


def test_what_lies_behind_the_point_where_work_may_run_out_does_not_count():
    found = steady(samples(0, 1000, 2000, 3000, 4000, 4010, 4020), 0, 4000)
    assert found is not None
    assert found.rate == 2000


def test_a_run_with_less_than_two_steps_has_no_rate():
    assert steady(samples(0, 0, 5000, 5000), 0, 10_000) is None


def test_all_is_done_when_the_last_commit_that_holds_a_part_of_it_has_been_made():
    done = samples(0, 0, 900, 900, 1000, 1000, 1100, 1100, 1200)
    assert reached(done, 1000) == 2
    assert reached(done, 1000, steps_more=2) == 4
    assert reached(done, 2000) is None


def test_a_watch_that_cannot_go_on_says_why():
    asked = threading.Event()

    def progress() -> list[int]:
        asked.set()
        raise ConnectionError("no broker")

    with Watch(time.monotonic(), progress, list) as watch:
        assert asked.wait(10)
    assert str(watch.error) == "no broker"
