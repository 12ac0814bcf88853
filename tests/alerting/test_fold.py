"""Alerts as they stand."""

from __future__ import annotations

from alerting.fold import Fresh, newest


def event(alert_id: str, sequence: int, starts_at: str = "2026-10-05T08:00:00.000Z") -> dict:
    return {"alert_id": alert_id, "sequence": sequence, "starts_at": starts_at}


def test_each_alert_stands_as_its_newest_event_says_in_whatever_order_they_were_read():
    found = newest([event("b", 2), event("a", 1, "2026-10-05T09:00:00.000Z"), event("b", 1), event("b", 2)])
    assert [(alert["alert_id"], alert["sequence"]) for alert in found] == [("b", 2), ("a", 1)]


def test_an_event_is_fresh_once():
    fresh = Fresh()
    stream = [event("a", 1), event("a", 1), event("b", 1), event("a", 2), event("a", 1)]
    assert [fresh.is_new(item) for item in stream] == [True, False, True, True, False]
