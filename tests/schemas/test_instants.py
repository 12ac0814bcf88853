"""Instants as text and as milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.instants import to_ms, to_rfc3339


@given(st.integers(0, 4_000_000_000_000))
def test_an_instant_survives_the_way_through_text(ms):
    assert to_ms(to_rfc3339(ms)) == ms


@given(st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1)))  # noqa: DTZ001 - given the zone below
def test_an_instant_is_read_as_pythons_own_reader_does(naive):
    when = naive.replace(tzinfo=UTC, microsecond=naive.microsecond // 1000 * 1000)
    text = when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert to_ms(text) == round(when.timestamp() * 1000)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-10-05T06:00:00Z",
        "2026-10-05T06:00:00.25Z",
        "2026-10-05T06:00:00.250+00:00",
        "2026-13-05T06:00:00.250Z",
        "2026-10-05T06:00:0x.250Z",
    ],
)
def test_other_forms_are_refused(text):
    with pytest.raises(ValueError):
        to_ms(text)
