"""Alerts as they stand."""

from __future__ import annotations

from alerting.fold import Fresh, answers, lives, worst_first


def event(alert_id: str, sequence: int, what: str = "raised", status: str = "firing", **more: object) -> dict:
    return {
        "alert_id": alert_id,
        "sequence": sequence,
        "event": what,
        "status": status,
        "severity": "warning",
        "rule": "too_warm",
        "starts_at": "2026-10-05T08:00:00.000Z",
    } | more


def life(*steps: tuple[str, str, dict]) -> object:
    (found,) = lives(event("a", number, what, status, **more) for number, (what, status, more) in enumerate(steps, 1))
    return found


NINE, TEN = "2026-10-05T09:00:00.000Z", "2026-10-05T10:00:00.000Z"


def test_each_alert_stands_as_its_newest_event_says_in_whatever_order_they_were_read():
    found = lives([event("b", 2), event("a", 1, starts_at=NINE), event("b", 1), event("b", 2)])
    assert [(one.alert_id, [step["sequence"] for step in one.events]) for one in found] == [("b", [1, 2]), ("a", [1])]


def test_a_watchdog_does_not_fill_the_memory():
    (found,) = lives(event("w", beat, "updated", rule="watchdog") for beat in (1, 2, 4, 3))
    assert [step["sequence"] for step in found.events] == [4]


def test_an_event_is_fresh_once():
    fresh = Fresh()
    stream = [event("a", 1), event("a", 1), event("b", 1), event("a", 2), event("a", 1)]
    assert [fresh.is_new(item) for item in stream] == [True, False, True, True, False]


def test_an_acknowledgement_given_under_a_silence_counts_when_the_silence_is_over():
    steps = [
        ("raised", "firing", {}),
        ("silenced", "silenced", {"until": NINE, "actor": "manager"}),
        ("acknowledged", "silenced", {"until": TEN, "actor": "lead"}),
    ]
    quiet = life(*steps)
    assert (quiet.until, quiet.told_by["actor"]) == (NINE, "manager")
    after = life(*steps, ("unsilenced", "acknowledged", {"until": TEN}))
    assert (after.until, after.told_by["actor"]) == (TEN, "lead")


def test_an_older_mask_does_not_say_until_when_a_new_one_holds():
    found = life(
        ("raised", "firing", {}),
        ("masked", "masked", {"until": NINE}),
        ("escalated", "firing", {}),
        ("deescalated", "masked", {}),
    )
    assert found.until is None


def test_what_fires_has_no_end_and_neither_has_what_is_over():
    assert life(("raised", "firing", {})).until is None
    assert life(("raised", "firing", {}), ("acknowledged", "acknowledged", {"until": TEN})).until == TEN
    assert life(("raised", "firing", {}), ("resolved", "resolved", {"until": TEN})).until is None


def test_an_alert_waits_to_be_closed_until_it_is():
    ended = ("raised", "firing", {}), ("resolved", "resolved", {"needs_closing": True, "ends_at": NINE})
    assert life(*ended).waits_for_closing
    closed = life(*ended, ("closed", "resolved", {}))
    assert closed.is_closed
    assert not closed.waits_for_closing
    assert closed.over["ends_at"] == NINE


def test_the_worst_that_nobody_sees_to_comes_first_and_what_is_over_last():
    found = lives(
        [
            event("over", 1, "resolved", "resolved", severity="critical"),
            event("to-close", 1, "resolved", "resolved", needs_closing=True),
            event("warning", 1),
            event("seen-to", 1, "acknowledged", "acknowledged", severity="critical"),
            event("critical", 1, severity="critical"),
        ]
    )
    assert [one.alert_id for one in sorted(found, key=worst_first)] == [
        "critical",
        "seen-to",
        "warning",
        "to-close",
        "over",
    ]


def test_what_a_silence_does_to_an_alert_is_no_answer_to_it():
    silence = {"event_id": "c1", "command": "silence"}
    effect = event("a", 2, "silenced", "silenced", command_id="c1")
    assert not answers(effect, silence)
    assert answers(effect | {"rule": "alert-command"}, silence)
    assert not answers(effect | {"rule": "alert-command"}, silence | {"event_id": "c2"})


def test_the_end_of_a_silence_answers_its_cancel_and_not_the_silence_itself():
    over = event("s", 2, "unsilenced", "resolved", rule="alert-command", command_id="c1")
    assert answers(over, {"event_id": "c2", "command": "cancel", "cancels": "c1"})
    assert not answers(over, {"event_id": "c3", "command": "cancel", "cancels": "c0"})


def test_acknowledgements_and_closings_are_answered_on_the_alert_itself():
    for what in ("acknowledged", "ack_expired", "closed"):
        assert answers(event("a", 2, what, command_id="c1"), {"event_id": "c1", "command": "close"})
    assert not answers(event("a", 2, "escalated"), {"event_id": "c1", "command": "close"})
