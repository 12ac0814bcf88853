"""Opening hours."""

from datetime import UTC, date, datetime

import pytest

from grocery.settings import PROJECT
from grocery.simulator.hours import local_date, local_midnight_s, open_spans
from ingestion.reference import Reference


@pytest.fixture(scope="module")
def stores():
    return Reference.from_folder(PROJECT / "chain").stores


def spans(store, day):
    return [tuple(datetime.fromtimestamp(s, UTC).strftime("%d %H:%M") for s in span) for span in open_spans(store, day)]


def test_hours_are_local(stores):
    assert spans(stores["store-001"], date(2026, 10, 5)) == [("05 12:00", "06 05:00")]
    assert spans(stores["store-002"], date(2026, 10, 5)) == [("05 05:00", "05 20:00")]


def test_closing_at_24_is_the_next_midnight(stores):
    assert spans(stores["store-003"], date(2026, 10, 5)) == [("05 10:00", "06 04:00")]


def test_a_day_without_hours_and_a_holiday_are_shut(stores):
    assert spans(stores["store-002"], date(2026, 10, 4)) == []
    assert spans(stores["store-002"], date(2026, 12, 25)) == []


def test_a_holiday_may_have_hours_of_its_own(stores):
    assert spans(stores["store-003"], date(2026, 10, 12)) == [("12 11:00", "13 01:00")]


def test_a_day_with_a_clock_change_has_25_hours(stores):
    store = stores["store-002"]
    assert local_midnight_s(store, date(2026, 10, 26)) - local_midnight_s(store, date(2026, 10, 25)) == 25 * 3600
    assert local_date(store, local_midnight_s(store, date(2026, 10, 26)) - 1) == date(2026, 10, 25)
