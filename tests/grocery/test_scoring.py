"""Injected against caught."""

from dataclasses import dataclass

from grocery.scoring import fold, score


@dataclass
class Label:
    start: str
    end: str
    recovered_by: str
    expect: list[str]
    covers: list[str]


def step(alert_id, sequence, *, rule="freezer_too_warm", asset="a", starts="10:00", decided="10:30", **more):
    day = "2026-10-05T{}:00.000Z"
    return {
        "alert_id": alert_id,
        "sequence": sequence,
        "rule": rule,
        "store_id": "store-001",
        "asset_id": asset,
        "severity": "warning",
        "starts_at": day.format(starts),
        "decided_at": day.format(decided),
    } | more


LABEL = Label(
    "2026-10-05T09:50:00.000Z",
    "2026-10-05T11:00:00.000Z",
    "2026-10-05T12:00:00.000Z",
    ["freezer_too_warm"],
    ["a"],
)


def test_a_fault_whose_alert_came_is_caught_with_its_delay():
    verdicts, outside = score([LABEL], fold([step("x", 1), step("x", 2, severity="critical")]))
    assert verdicts[0].missing == ()
    assert verdicts[0].delay_ms == 40 * 60_000
    assert verdicts[0].caught["freezer_too_warm"].severity == "critical"
    assert outside == []


def test_an_alert_on_another_asset_does_not_count_and_is_named():
    verdicts, outside = score([LABEL], fold([step("x", 1, asset="b")]))
    assert verdicts[0].missing == ("freezer_too_warm",)
    assert verdicts[0].delay_ms is None
    assert [a.alert_id for a in outside] == ["x"]


def test_an_alert_of_another_rule_on_the_same_fault_is_explained_but_does_not_catch_it():
    verdicts, outside = score([LABEL], fold([step("x", 1, rule="sensor_silent")]))
    assert verdicts[0].missing == ("freezer_too_warm",)
    assert outside == []


def test_an_alert_after_the_recovery_is_outside():
    _, outside = score([LABEL], fold([step("x", 1, starts="12:01", decided="12:31")]))
    assert [a.alert_id for a in outside] == ["x"]


def test_a_step_delivered_twice_counts_once():
    assert len(fold([step("x", 1), step("x", 1), step("y", 1)])) == 2
