"""Times as a person at a store writes them."""

from __future__ import annotations

import pytest

from grocery.alerts.times import end, instant
from schemas.instants import to_ms, to_rfc3339

BERLIN = "Europe/Berlin"
NOON = to_ms("2026-10-05T10:00:00.000Z")  # 12:00 in Berlin


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("14:30", "2026-10-05T12:30:00.000Z"),
        ("6:00", "2026-10-06T04:00:00.000Z"),
        ("12:00", "2026-10-06T10:00:00.000Z"),
        ("2026-11-05 14:30", "2026-11-05T13:30:00.000Z"),
        ("2026-11-05T14:30", "2026-11-05T13:30:00.000Z"),
        ("2026-11-05T14:30:00Z", "2026-11-05T14:30:00.000Z"),
        ("2026-11-05T14:30:00+05:00", "2026-11-05T09:30:00.000Z"),
    ],
)
def test_a_time_is_read_in_the_stores_own_zone_unless_it_has_one(text: str, found: str):
    assert to_rfc3339(instant(text, BERLIN, NOON)) == found


def test_the_next_clock_time_is_right_over_a_clock_change():
    evening = to_ms("2026-10-24T20:00:00.000Z")  # 22:00, the clock goes back in the night
    assert to_rfc3339(instant("06:00", BERLIN, evening)) == "2026-10-25T05:00:00.000Z"


@pytest.mark.parametrize("text", ["25:00", "12:60", "noon", "2026-10-05", "20261005", ""])
def test_what_is_no_time_is_refused_with_the_forms_there_are(text: str):
    with pytest.raises(ValueError, match=r"write 2026-10-05T14:30:00Z, 2026-10-05 14:30 or 14:30"):
        instant(text, BERLIN, NOON)


def test_an_end_counts_from_its_beginning():
    assert end("1h30m", None, BERLIN, NOON, NOON) == "2026-10-05T11:30:00.000Z"
    assert end(None, "06:00", BERLIN, to_ms("2026-10-07T20:00:00.000Z"), to_ms("2026-10-07T20:00:00.000Z")) == (
        "2026-10-08T04:00:00.000Z"
    )
