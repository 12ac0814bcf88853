"""Alerts as people read them."""

from __future__ import annotations

import pytest

from alerting.fold import lives
from grocery.alerts.words import about, limit_words, line, said, short_ids
from tests.alerting.logs import CASES, case_log, decide

BY_NAME = {folder.name: folder for folder in CASES}


def told(case: str) -> list[dict]:
    return decide(case_log(BY_NAME[case]))


def test_a_line_says_when_what_how_bad_where_and_why():
    raised, resolved = (line(event).plain for event in told("freezer_door_left_open"))
    assert raised.startswith("2026-10-05 08:40:00Z raised       warning  store-001 s001-freezer-01 freezer_too_warm  ")
    assert raised.endswith("has been too warm for 30 min: -12.8 °C, limit -15 °C")
    assert resolved.endswith("s001-freezer-01-t is back")


def test_a_line_says_why_an_alert_ended_without_its_readings():
    assert line(told("retired_while_too_warm")[-1]).plain.endswith("the device has left the roster")


def test_an_alert_about_old_readings_says_so():
    assert any(line(event).plain.endswith("(told after the fact)") for event in told("offline_for_six_hours"))


def test_an_end_that_asks_for_closing_says_what_for():
    event = {"event": "resolved", "asset_id": "f", "device_id": "f-t", "needs_closing": True, "annotations": {}}
    assert said(event) == "f-t is back; to be closed with cause, action and goods"


def test_what_people_did_is_told_with_until_who_and_why():
    event = {
        "event": "silenced",
        "decided_at": "2026-10-05T08:30:00.000Z",
        "until": "2026-10-05T10:30:00.000Z",
        "actor": "lead",
        "comment": "emptied",
        "annotations": {},
    }
    assert said(event) == "until 10-05 10:30Z by lead (emptied)"
    assert said(event | {"until": "2027-01-01T00:00:00.000Z"}) == "until 2027-01-01 00:00Z by lead (emptied)"
    assert said(event | {"reason": "maintenance"}) == "maintenance until 10-05 10:30Z by lead (emptied)"


def test_short_ids_name_one_alert_each():
    ids = ["a" * 32, "a" * 20 + "b" * 12, "c" * 32]
    found = short_ids(lives({"alert_id": named, "sequence": 1, "rule": "r", "starts_at": ""} for named in ids))
    assert [len(found[named]) for named in ids] == [21, 21, 8]


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ({"kind": "above", "value": -12.0, "unit": "Cel"}, "above -12 °C"),
        ({"kind": "below", "value": 0.5, "unit": "kW"}, "below 0.5 kW"),
        ({"kind": "rate", "value": 3, "unit": "K"}, "a change of 3 K"),
        ({"kind": "cumulative", "value": 14400, "unit": "s"}, "past the limit for 4 h in all"),
        ({"kind": "absent_for", "value": 300, "unit": "s"}, "not heard for 5 min"),
        ({"kind": "stuck_for", "value": 7200, "unit": "s"}, "the same for 2 h"),
        ({"kind": "bad_for", "value": 600, "unit": "s"}, "nothing usable for 10 min"),
    ],
)
def test_every_kind_of_limit_has_words(limit: dict, words: str):
    assert limit_words(limit) == words


def test_a_silence_says_what_it_is_about():
    assert about({"rule": "door_left_open", "area": "Frozen aisle"}) == "rule door_left_open, area Frozen aisle"
    assert about({}) == "the whole store"
