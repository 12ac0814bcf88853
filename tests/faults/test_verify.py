"""What `make faults` makes of what it saw: every way in which alerts can be wrong is noticed."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from tests.faults.run import PROMISED_S, figures, shortfalls
from tests.faults.verify import Findings, Told, compare
from tests.faults.witness import NORMAL_S, Outcome, Seen, around, recovered_at

CLEAN = Findings(alerts=3, lost=0, twice=0, other=0, disordered=0)


def told(alert: str, sequence: int, store: str = "s1", **more: object) -> Told:
    return Told(store, 1000 + sequence, msgspec.json.encode({"alert_id": alert, "sequence": sequence} | more))


WANTED = [told("a", 1), told("a", 2), told("b", 1, "s2")]


def seen(at: float, due: float | None = None) -> Seen:
    return Seen(at, at - 1 if due is None else due, 0, round(at * 10), "s1", 0, b"")


def outcome(fault: str, recovery_s: float | None, gap_s: float) -> Outcome:
    times = [seen(100.0), seen(100.0 + gap_s)]
    recovered = None if recovery_s is None else 100.0 + recovery_s
    return Outcome(fault, 100.0, 100.0, recovered, 100.0 + gap_s, times)


def test_the_same_alerts_are_the_same_however_stores_are_mixed():
    assert compare([WANTED[2], WANTED[0], WANTED[1]], WANTED) == CLEAN
    assert compare(WANTED, WANTED).clean


@pytest.mark.parametrize(
    ("alerts", "wrong"),
    [
        (WANTED[:2], {"alerts": 2, "lost": 1}),
        ([*WANTED, WANTED[0]], {"alerts": 4, "twice": 1}),
        ([*WANTED, told("c", 1)], {"alerts": 4, "other": 1}),
        ([told("a", 1, reason="x"), *WANTED[1:]], {"other": 1}),
        ([WANTED[0]._replace(timestamp_ms=7), *WANTED[1:]], {"other": 1}),
        ([WANTED[1], WANTED[0], WANTED[2]], {"disordered": 1}),
    ],
    ids=["lost", "twice", "too many", "other words", "another time", "another order"],
)
def test_what_differs_is_counted_by_how_it_differs(alerts, wrong):
    assert compare(alerts, WANTED) == replace(CLEAN, **wrong)


def test_a_job_is_well_when_what_fell_due_after_the_fault_comes_without_delay():
    late, soon = seen(130.0, due=110.0), seen(131.0, due=131.0 - NORMAL_S / 2)
    assert recovered_at([late], 100.0, newest_checkpoint=129.0) is None
    assert recovered_at([late, soon], 100.0, newest_checkpoint=129.0) == 131.0
    assert recovered_at([late, soon], 100.0, newest_checkpoint=99.0) is None


def test_an_alert_that_was_due_before_the_fault_says_nothing_about_after_it():
    assert recovered_at([seen(100.5, due=99.0)], 100.0, newest_checkpoint=101.0) is None


def test_the_gap_reaches_from_the_last_alert_before_a_fault_until_it_is_recovered_from():
    story = [seen(90.0), seen(99.0), seen(121.0), seen(122.0), seen(300.0)]
    found = Outcome("broker", 100.0, 100.0, 122.0, 122.0, around(story, 100.0, 122.0))
    assert [item.at for item in found.seen] == [99.0, 121.0, 122.0]
    assert (found.gap_s, found.recovery_s) == (22.0, 22.0)


def test_while_nothing_comes_any_more_the_gap_grows():
    found = Outcome("broker", 100.0, 100.0, None, 340.0, around([seen(90.0), seen(99.0)], 100.0, 340.0))
    assert (found.gap_s, found.recovery_s) == (241.0, None)


def test_a_run_that_kept_its_promises_is_short_of_nothing():
    ran = [outcome("broker", 20.0, 21.0), outcome("network lost", 70.0, 90.0)]
    assert shortfalls(ran, {"the engine alone": CLEAN}, 0) == []


@pytest.mark.parametrize(
    ("ran", "found", "gone", "says"),
    [
        (outcome("broker", PROMISED_S + 1, 10.0), CLEAN, 0, "broker killed: recovery 61.0 s"),
        (outcome("broker", 10.0, PROMISED_S + 1), CLEAN, 0, "no new alert for 61.0 s"),
        (outcome("network lost", None, 10.0), CLEAN, 0, "network lost: not recovered"),
        (outcome("broker", 10.0, 10.0), replace(CLEAN, lost=1), 0, "not the alerts of the engine alone"),
        (outcome("broker", 10.0, 10.0), replace(CLEAN, alerts=0), 0, "not the alerts of the engine alone"),
        (outcome("broker", 10.0, 10.0), CLEAN, 2, "2 alert events that a reader had read were gone"),
    ],
)
def test_what_is_short_of_its_promise_is_said(ran, found, gone, says):
    (short,) = shortfalls([ran], {"the engine alone": found}, gone)
    assert says in short


def test_figures_are_told_for_all_kills_together_and_for_each_fault():
    told_figures = figures([outcome("broker", 10.0, 12.0), outcome("jobmanager", 20.0, 22.0), outcome("poison", 1, 2)])
    assert told_figures["kill_recovery_s_p50"] == 15.0
    assert told_figures["kill_gap_s_max"] == 22.0
    assert told_figures["poison_gap_s_max"] == 2.0
