"""Who attends to an alert, and what keeps it quiet: one behaviour a test. Whole stories are in tests/cases."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from msgspec.structs import replace

from alerting.engine import run
from alerting.events import AssetInfo, Command, Holiday, Logged, OpenSpan, StoreInfo
from alerting.hours import is_open, next_change, occurrence
from alerting.words import number
from schemas.instants import to_ms, to_rfc3339
from tests.alerting.logs import FREEZER, STORE, at, curve, decide, engine, in_order, reading, tick

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
BERLIN = StoreInfo("Europe/Berlin", "de-DE", "Cel", "Berlin", tuple(OpenSpan(day, "07:00", "22:00") for day in DAYS))
"""08:00 UTC, when the logs begin, is 10:00 there."""
WARM = "version: 1\ntopic: alerts.x\nrules:\n  - alert: warm\n    select: {metric: temperature}\n    raise_above: -15\n"


def store(
    minute: float,
    about: StoreInfo = BERLIN,
    roster: dict[str, int] | None = None,
    asset_class: str = "freezer",
    **parents: str,
) -> Logged:
    """A tick that tells the store, its devices, and its assets with what they depend on."""
    told = tick(minute, {FREEZER: 60} if roster is None else roster)
    told.event.store = about
    for device in told.event.roster:
        device.asset_class = asset_class
    assets = {device[:-2] for device in (roster or {FREEZER: 60})} | set(parents)
    names = {asset.replace("_", "-") for asset in assets}
    told.event.assets = [
        AssetInfo(name, "freezer", name.title(), "Frozen aisle", parents.get(name.replace("-", "_"), ""))
        for name in sorted(names)
    ]
    return told


def command(minute: float, number: int = 1, topic: str = "alerts.x", **words: Any) -> Logged:
    told = tick(minute)
    told.event.commands = [Command(f"cmd-{number}", STORE, words.pop("command"), topic, "shift-lead", **words)]
    return told


def events(alerts: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(alert["event"], alert["status"]) for alert in alerts]


def until(minute: float) -> str:
    return to_rfc3339(at(minute))


# ---- masks


def test_a_closed_store_masks_what_its_rule_says_and_opening_tells_it():
    rules = WARM.replace("metric: temperature", "metric: temperature, asset_class: ambient") + (
        "    mask: [{hours: closed}]\n"
    )
    closes = (22 - 10) * 60
    log = [store(0, asset_class="ambient")] + [reading(m, -10) for m in range(closes + 1, closes + 9 * 60 + 5)]
    (raised,) = decide(log, rules)
    assert raised["event_time"] == until(closes + 9 * 60)


def test_an_alert_that_is_open_when_the_store_closes_is_masked_until_it_opens():
    rules = WARM.replace("metric: temperature", "metric: temperature, asset_class: ambient") + (
        "    mask: [{hours: closed}]\n"
    )
    closes = (22 - 10) * 60
    log = [store(0, asset_class="ambient")] + [reading(m, -10) for m in range(closes - 3, closes + 3)]
    told = decide([*log, *(tick(closes + 3 + m * 1.9) for m in range(300))], rules)
    assert events(told) == [("raised", "firing"), ("masked", "masked"), ("unmasked", "firing")]
    assert told[1]["until"] == told[2]["decided_at"] == until(closes + 9 * 60)


def test_a_defrost_by_timetable_masks_at_its_local_time_only():
    rules = WARM + "    mask: [{at: '10:10', lasts: 20m, and_after: 10m, days: [mon]}]\n"
    (raised,) = decide([store(0), *curve([-10] * 45, start=11, step=1)], rules)
    assert raised["event_time"] == until(40)
    elsewhere = decide([store(0, StoreInfo("UTC")), *curve([-10] * 45, start=11, step=1)], rules)
    assert elsewhere[0]["event_time"] == until(11)


@pytest.mark.parametrize(
    ("day", "opens"),
    [("2026-10-25", "2026-10-25T06:00:00.000Z"), ("2026-10-24", "2026-10-24T05:00:00.000Z")],
)
def test_opening_hours_follow_the_clock_change(day, opens):
    assert next_change(BERLIN, to_ms(f"{day}T03:00:00.000Z")) == to_ms(opens)


def test_holidays_go_before_the_weekly_hours():
    closed = StoreInfo(
        "Europe/Berlin",
        opening_hours=BERLIN.opening_hours,
        holidays=(Holiday("2026-12-25", True), Holiday("2026-12-24", False, "07:00", "14:00")),
    )
    assert not is_open(closed, to_ms("2026-12-25T10:00:00.000Z"))
    assert is_open(closed, to_ms("2026-12-24T12:59:00.000Z"))
    assert not is_open(closed, to_ms("2026-12-24T13:00:00.000Z"))
    assert next_change(closed, to_ms("2026-12-24T13:00:00.000Z")) == to_ms("2026-12-26T06:00:00.000Z")


def test_a_recurring_window_keeps_its_local_time_over_a_clock_change():
    first, last = to_ms("2026-10-23T08:00:00.000Z"), to_ms("2026-11-30T00:00:00.000Z")
    before = occurrence("FREQ=DAILY", first, last, "Europe/Berlin", 3_600_000, to_ms("2026-10-24T08:30:00.000Z"))
    after = occurrence("FREQ=DAILY", first, last, "Europe/Berlin", 3_600_000, to_ms("2026-10-26T09:30:00.000Z"))
    assert before == (to_ms("2026-10-24T09:00:00.000Z"), to_ms("2026-10-25T09:00:00.000Z"))
    assert after[0] == to_ms("2026-10-26T10:00:00.000Z")
    assert occurrence("FREQ=DAILY", first, last, "Europe/Berlin", 3_600_000, last + 1)[1] is None


# ---- escalation and back


def test_an_escalated_alert_goes_back_where_its_level_has_a_way_back():
    rules = WARM + (
        "    clear_below: -17\n    keep_firing_for: 10m\n"
        "    escalate: [{severity: critical, above: -10, for: 5m, clear_below: -12}]\n"
    )
    told = decide(curve([-14, -9, -9, -9, -11, -13, -13, -13, -13, -18, -18, -18, -18]), rules)
    assert [(alert["event"], alert["severity"]) for alert in told] == [
        ("raised", "warning"),
        ("escalated", "critical"),
        ("deescalated", "warning"),
        ("resolved", "warning"),
    ]
    assert told[2]["event_time"] == until(35)
    assert told[2]["limit"]["value"] == -15.0


# ---- late readings that contradict


def test_a_late_cold_reading_takes_an_alert_back_that_it_shows_to_be_wrong():
    rules = WARM + "    for: 20m\n"
    told = decide([*curve([-14] * 5), reading(12, -20, arrived=21), *curve([-14] * 2, start=25)], rules)
    assert events(told) == [("raised", "firing"), ("corrected", "resolved")]
    assert "for so long" in told[1]["reason"]
    (again,) = decide([*curve([-14] * 5), reading(12, -20, arrived=21), *curve([-14] * 3, start=25)], rules)[2:]
    assert again["starts_at"] == until(15)


def test_a_late_warm_reading_tells_that_an_alert_began_earlier():
    told = decide([reading(0, -20), *curve([-14] * 4, start=10), reading(5, -14, arrived=26)], WARM + "    for: 15m\n")
    assert events(told) == [("raised", "firing"), ("corrected", "firing")]
    assert [alert["starts_at"] for alert in told] == [until(10), until(5)]
    assert told[0]["alert_id"] == told[1]["alert_id"]


# ---- overrides


def test_the_first_override_that_fits_holds_for_its_place_alone():
    rules = WARM + (
        "    overrides:\n      - {where: {asset: s001-freezer-02}, raise_above: -5}\n"
        "      - {where: {store: store-001}, raise_above: -12}\n"
    )
    other = "s001-freezer-02-t"
    assert decide(in_order(curve([-13] * 3), curve([-6] * 3, device=other)), rules) == []
    told = decide(in_order(curve([-11] * 3), curve([-4] * 3, device=other)), rules)
    assert [(alert["device_id"], alert["limit"]["value"]) for alert in told] == [(FREEZER, -12.0), (other, -5.0)]


def test_a_rule_can_be_off_in_an_area():
    rules = WARM + "    overrides: [{where: {area: Frozen aisle}, off: true}]\n"
    assert decide([store(0), *curve([-10] * 5)], rules) == []
    assert len(decide(curve([-10] * 5), rules)) == 1


# ---- select


@pytest.mark.parametrize(
    ("fits", "fits_not"),
    [
        ("store: store-001", "store: store-002"),
        ("area: Frozen aisle", "area: Dairy"),
        ("asset_class: freezer", "asset_class: cooler"),
        ("asset: s001-freezer-01", "asset: s001-freezer-02"),
        ("device: s001-freezer-01-t", "device: s001-freezer-02-t"),
        ("zone_kind: aisle", "zone_kind: self_checkout"),
        ("metric: temperature", "metric: humidity"),
    ],
)
def test_a_word_of_select_leaves_out_what_it_does_not_fit(fits, fits_not):
    log = [store(0, roster={}, s001_freezer_01=""), *(reading(minute, 10, zone_kind="aisle") for minute in range(5))]

    def told(word: str) -> list[tuple[str, str]]:
        selected = f"{{{word}}}" if word.startswith("metric") else f"{{metric: temperature, {word}}}"
        return events(decide(log, WARM.replace("{metric: temperature}", selected).replace("-15", "5")))

    assert told(fits) == [("raised", "firing")]
    assert told(fits_not) == []


# ---- what hangs on what


def test_an_area_is_told_as_one_and_its_sensors_are_not():
    rules = (
        "version: 1\ntopic: alerts.x\nrules:\n"
        "  - alert: quiet\n    select: {metric: temperature}\n    absent_for: 6m\n    depends_on: area_quiet\n"
        "  - alert: area_quiet\n    select: {metric: temperature}\n    absent_for: {at_least: 5m, group: area}\n"
    )
    devices = {f"s001-freezer-0{number}-t": 60 for number in range(1, 4)}
    log = [store(0, roster=devices), *(reading(0.1, -20, device=device) for device in devices)]
    told = decide([*log, *(tick(m) for m in range(1, 20)), reading(20, -20)], rules)
    assert [(a["event"], a["rule"], a["asset_id"]) for a in told] == [
        ("raised", "area_quiet", "store-001:frozen-aisle"),
        ("resolved", "area_quiet", "store-001:frozen-aisle"),
    ]
    assert [member["asset_id"] for member in told[0]["members"]] == [device[:-2] for device in devices]


def test_an_open_alert_becomes_part_of_the_one_it_hangs_on_and_comes_back():
    rules = WARM + "    depends_on: power\n" + "  - alert: power\n    select: {metric: power}\n    raise_below: 1\n"
    rack = {"asset_id": "rack", "asset_class": "rack", "metric": "power", "device": "rack-1-t"}
    log = [
        store(0, s001_freezer_01="rack"),
        *curve([-10] * 9),
        reading(12, 0.0, **rack),
        reading(32, 5.0, **rack),
    ]
    told = decide(in_order(log), rules)
    assert [(a["event"], a["rule"], a["status"]) for a in told] == [
        ("raised", "warm", "firing"),
        ("raised", "power", "firing"),
        ("masked", "warm", "masked"),
        ("updated", "power", "firing"),
        ("resolved", "power", "resolved"),
        ("unmasked", "warm", "firing"),
    ]
    assert told[2]["part_of"] == told[1]["alert_id"]
    assert told[3]["members"] == [{"asset_id": "s001-freezer-01"}]


# ---- people


def opened(rules: str = WARM) -> str:
    return decide([store(0), *curve([-10] * 2)], rules)[0]["alert_id"]


def test_an_acknowledgement_returns_by_itself_and_can_be_taken_back():
    log = [store(0), *curve([-10] * 20)]
    ack = command(1, command="acknowledge", alert_id=opened(), until=until(11))
    told = decide(in_order(log, [ack]), WARM)
    assert events(told) == [("raised", "firing"), ("acknowledged", "acknowledged"), ("ack_expired", "firing")]
    assert (told[1]["actor"], told[1]["until"], told[1]["command_id"]) == ("shift-lead", until(11), "cmd-1")
    assert told[2]["decided_at"] == until(11)
    back = command(3, 2, command="unacknowledge", alert_id=opened())
    told = decide(in_order(log, [ack, back]), WARM)
    assert told[2]["reason"] == "taken back by shift-lead"
    assert told[2]["decided_at"] == until(3)


def test_an_escalation_ends_an_acknowledgement():
    rules = WARM + "    escalate: [{severity: critical, above: -12}]\n"
    ack = command(1, command="acknowledge", alert_id=opened(rules), until=until(60))
    told = decide(in_order([store(0), *curve([-14, -14, -10])], [ack]), rules)
    assert events(told)[-2:] == [("acknowledged", "acknowledged"), ("escalated", "firing")]


def test_an_alert_under_a_silence_is_told_quietly_and_fires_at_its_end():
    silence = command(1, command="silence", asset_id="s001-freezer-01", until=until(12), comment="cleaning")
    told = decide(in_order([store(0), *curve([-20, -10, -10, -10])], [silence]), WARM)
    assert [(a["event"], a["rule"], a["status"]) for a in told] == [
        ("silenced", "alert-command", "silenced"),
        ("raised", "warm", "silenced"),
        ("unsilenced", "alert-command", "resolved"),
        ("unsilenced", "warm", "firing"),
    ]
    assert told[0]["alert_id"] == told[2]["alert_id"]
    assert (told[0]["sequence"], told[2]["sequence"]) == (1, 2)


def test_a_silence_of_something_else_silences_nothing():
    log = [store(0, roster={FREEZER: 60, "s001-freezer-02-t": 60}), *curve([-20, -10])]
    silence = command(1, command="silence", asset_id="s001-freezer-02", until=until(12))
    assert ("raised", "firing") in events(decide(in_order(log, [silence]), WARM))


def test_a_silence_that_begins_later_begins_then_and_can_be_cancelled():
    plan = command(1, command="maintenance", rule="warm", from_=until(8), until=until(30))
    cancel = command(13, 2, command="cancel", cancels="cmd-1")
    told = decide(in_order([store(0), *curve([-10] * 5)], [plan, cancel]), WARM)
    assert [(a["event"], a["rule"], a["decided_at"]) for a in told] == [
        ("raised", "warm", until(0)),
        ("silenced", "alert-command", until(1)),
        ("silenced", "warm", until(8)),
        ("unsilenced", "alert-command", until(13)),
        ("unsilenced", "warm", until(13)),
    ]
    assert told[2]["reason"] == told[1]["reason"] == "maintenance"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ({"command": "acknowledge", "alert_id": "none", "until": until(60)}, "no alert none is open or lately over"),
        ({"command": "acknowledge", "alert_id": "OPEN", "until": until(1)}, "is over: it is 2026-10-05T08:07"),
        ({"command": "acknowledge", "alert_id": "OPEN", "until": "soon"}, "until (soon) is no instant"),
        ({"command": "unacknowledge", "alert_id": "OPEN"}, "is not acknowledged"),
        ({"command": "close", "alert_id": "OPEN"}, "is not over; acknowledge or silence it"),
        ({"command": "close", "alert_id": "none"}, "no alert none is open"),
        ({"command": "silence", "until": until(3)}, "is over before it begins"),
        ({"command": "silence", "until": until(1e6)}, "more than 400 days ahead"),
        ({"command": "silence", "asset_id": "x", "until": until(60)}, "asset_id (x) is no asset of store-001"),
        ({"command": "silence", "device_id": "x", "until": until(60)}, "device_id (x) is no device of store-001"),
        ({"command": "silence", "area": "x", "until": until(60)}, "area (x) is no area of store-001; there are Frozen"),
        ({"command": "silence", "rule": "x", "until": until(60)}, "rule (x) is none of warm"),
        ({"command": "silence", "rrule": "FREQ=DAILY", "until": until(60)}, "rrule goes with maintenance"),
        ({"command": "maintenance", "rrule": "FREQ=DAILY", "until": until(60)}, "rrule needs lasts_s"),
        (
            {"command": "maintenance", "rrule": "often", "lasts_s": 60, "until": until(60)},
            "rrule (often): no recurrence",
        ),
        (
            {"command": "maintenance", "rrule": "FREQ=SECONDLY", "lasts_s": 60, "until": until(60)},
            "recurs more often than hourly",
        ),
        ({"command": "cancel", "cancels": "cmd-9"}, "cancels (cmd-9) is no silence or maintenance of store-001"),
        ({"command": "dance"}, "command (dance) is none of acknowledge"),
    ],
)
def test_a_wrong_command_is_answered_with_what_is_wrong(words, why):
    words = {key: opened() if value == "OPEN" else value for key, value in words.items()}
    (answer,) = [
        a
        for a in decide(in_order([store(0), *curve([-10] * 2)], [command(7, **words)]), WARM)
        if a["event"] == "rejected"
    ]
    assert why in answer["reason"]
    assert (answer["rule"], answer["command_id"], answer["actor"]) == ("alert-command", "cmd-1", "shift-lead")


def test_an_alert_of_another_store_cannot_be_commanded_from_here():
    other = "store-002"
    ack = command(7, command="acknowledge", alert_id=opened(), until=until(60))
    ack.event.commands[0].store_id = ack.event.store_id = other
    there = [Logged(logged.arrived_ms, replace(logged.event, store_id=other)) for logged in curve([-20] * 2)]
    log = [(logged.event.store_id, logged) for logged in in_order([store(0), *curve([-10] * 2)], there, [ack])]
    told = run(engine(WARM), log)
    assert [(alert["store_id"], alert["event"]) for alert in told] == [(STORE, "raised"), (other, "rejected")]
    assert told[1]["reason"] == f"no alert {opened()} is open or lately over in {other}"


def test_a_command_for_another_jobs_topic_is_that_jobs():
    log = [store(0), *curve([-10] * 2), command(7, topic="alerts.y", command="dance")]
    assert events(decide(log, WARM)) == [("raised", "firing")]


def test_a_command_that_comes_twice_is_obeyed_once():
    silence = command(7, command="silence", until=until(60))
    notes: Counter[str] = Counter()
    log = in_order([store(0), *curve([-20] * 2)], [silence, silence._replace(arrived_ms=silence.arrived_ms + 1)])
    _, told = engine(WARM).advance(engine(WARM).start(STORE), log, notes)
    assert events(told) == [("silenced", "silenced")]
    assert notes["duplicate"] == 1


def test_an_alert_that_nobody_closes_is_closed_with_that_reason():
    rules = WARM + "    severity: critical\n    closing: {asks: [cause]}\n"
    month = 31 * 24 * 60
    told = decide([store(0), *curve([-10, -20]), *(tick(m) for m in range(7, 9)), tick(month)], rules)
    assert events(told) == [("raised", "firing"), ("resolved", "resolved"), ("closed", "resolved")]
    assert told[1]["needs_closing"] is True
    assert "within 30 days" in told[2]["reason"]


# ---- other kinds, at their limits


def test_a_slow_rise_is_none_and_a_rise_after_a_fall_counts_from_the_bottom():
    rules = WARM.replace("raise_above: -15", "rate: {rise: 3, within: 10m}")
    assert decide(curve([-20 + 0.29 * n for n in range(40)], step=1), rules) == []
    fall_and_rise = curve([-18, -20, -22, -21, -20, -19.5, -19.1], step=1)
    assert decide(fall_and_rise, rules) == []
    assert events(decide([*fall_and_rise, reading(7, -19.0)], rules)) == [("raised", "firing")]


def test_a_late_low_reading_shows_a_rise():
    rules = WARM.replace("raise_above: -15", "rate: {rise: 3, within: 10m}")
    told = decide([*curve([-18] * 6, step=1), reading(2.5, -21.5, arrived=5.5), reading(6, -18)], rules)
    assert [alert["decided_at"] for alert in told] == [until(5.5)]


def test_a_fall_can_be_too_fast_too():
    rules = WARM.replace("raise_above: -15", "rate: {fall: 2, within: 5m}")
    assert events(decide(curve([-18, -18.5, -19, -19.9, -20.0], step=1), rules)) == [("raised", "firing")]


def test_time_past_a_limit_adds_up_over_its_window_and_a_gap_counts_for_two_intervals():
    rules = WARM + "    cumulative: {for: 30m, within: 2h}\n"
    on, off = [-10] * 10, [-20] * 20
    told = decide([tick(0, {FREEZER: 60}), *curve([*on, *off] * 4, step=1)], rules)
    assert [alert["event_time"] for alert in told] == [until(70)]
    told = decide(
        [tick(0, {FREEZER: 60}), *curve([*on, *off] * 3, step=1), *curve([-20] * 120, start=90, step=1)], rules
    )
    assert events(told) == [("raised", "firing"), ("resolved", "resolved")]
    gaps = [tick(0, {FREEZER: 60}), *curve([-10] * 9, step=10)]
    assert decide(gaps, rules) == []  # nine readings that stand for two minutes each


def test_a_value_that_moves_is_not_stuck_and_a_gap_ends_the_sameness():
    rules = WARM.replace("raise_above: -15", "stuck_for: 1h")
    same = curve([-20] * 59, step=1)
    assert decide([*same, reading(59.5, -20.1), *curve([-20] * 50, start=60, step=1)], rules) == []
    assert decide([*same[:30], *curve([-20] * 45, start=60, step=1)], rules) == []
    assert len(decide([*same, *curve([-20] * 2, start=59, step=1)], rules)) == 1


def test_bad_values_between_good_ones_are_no_bad_data():
    rules = WARM.replace("raise_above: -15", "bad_for: 10m")
    mixed = [reading(m, None, kind="bad-reading") if m % 5 else reading(m, -20) for m in range(30)]
    assert decide(mixed, rules) == []
    bad = [reading(m, None, kind="bad-reading") for m in range(12)]
    told = decide([*bad, reading(12, -20)], rules)
    assert events(told) == [("raised", "firing"), ("resolved", "resolved")]
    assert told[0]["limit"] == {"value": 600.0, "unit": "s", "kind": "bad_for"}


@pytest.mark.parametrize(
    ("value", "unit", "about", "shown"),
    [
        (-18.04, "Cel", BERLIN, "-18"),
        (-18.06, "Cel", BERLIN, "-18,1"),
        (-0.001, "Cel", BERLIN, "0"),
        (4.0, "Cel", StoreInfo("America/Denver", "en-US", "[degF]"), "39.2"),
        (0.14, "m3/h", StoreInfo("America/Denver", "en-US", "[degF]"), "0.14"),
        (1234.5, "kW", BERLIN, "1.234,5"),
        (5.0, "1", StoreInfo(locale="xx-XX"), "5"),
    ],
)
def test_values_are_shown_as_the_stores_people_read_them(value, unit, about, shown):
    assert number(value, about, unit) == shown


@pytest.mark.parametrize(("locale", "shown"), [("de-DE", "zu warm"), ("en-US", "too warm"), ("fr-FR", "too warm")])
def test_a_store_whose_language_has_no_text_reads_english(locale, shown):
    rules = WARM + "    annotations: {summary: {en: too warm, de: zu warm}}\n"
    (raised,) = decide([store(0, StoreInfo(locale=locale)), *curve([-10] * 2)], rules)
    assert raised["annotations"]["summary"] == shown


def test_a_stuck_value_is_told_in_its_own_unit_and_its_time_as_a_time():
    rules = WARM.replace("raise_above: -15", "stuck_for: 1h") + (
        '    annotations: {summary: "{value} {unit} for {duration}, limit {limit}"}\n'
    )
    denver = StoreInfo("America/Denver", "en-US", "[degF]")
    (raised,) = decide([store(0, denver), *curve([-20] * 62, step=1)], rules)
    assert raised["annotations"]["summary"] == "-4 °F for 1 h, limit 1 h"
