"""The rule language: what is taken, and how each mistake is named."""

from __future__ import annotations

import pytest

from alerting.language import metric_units, to_duration
from alerting.rules import RuleError, parse_rules
from tests.alerting.logs import RULES, SHIPPED

SOUND = """\
version: 1
topic: alerts.cold-chain
rules:
  - alert: too_warm
    select: {asset_class: freezer, metric: temperature}
    raise_above: -15
    for: 30m
    clear_below: -16
    escalate:
      - {severity: critical, above: -12, for: 10m}
    mask:
      - {while: defrost, longest: 1h}
    labels: {team: cold}
    annotations: {summary: "{asset} is at {value}"}
"""


def problems(text: str) -> list[str]:
    with pytest.raises(RuleError) as caught:
        parse_rules(text, "r.yaml")
    return caught.value.problems


def test_the_shipped_rules_are_sound():
    rules = parse_rules(SHIPPED.read_text("utf-8"), str(SHIPPED))
    assert {"freezer_too_warm", "cooler_too_warm", "sensor_silent"} <= {rule.alert for rule in rules.rules}


def test_limits_are_in_the_contracts_unit():
    rule = parse_rules(SOUND, "r.yaml").rules[0]
    assert (rule.limit, rule.clear_below, rule.unit, rule.for_ms) == (-15.0, -16.0, "Cel", 30 * 60_000)
    assert metric_units()["power"] == "kW"


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        ("clear_below: -16", "clear_below: -14", "r.yaml:8: clear_below (-14) must be under raise_above (-15)"),
        ("clear_below: -16", "clear_above: -16", "r.yaml:8: clear_above (-16) does not go with raise_above; use"),
        ("above: -12", "above: -17", "r.yaml:10: above (-17) must not be under raise_above (-15)"),
        ("above: -12, for", "for", "r.yaml:10: escalate for (10m) must be longer than the rule's for (30m)"),
        ("above: -12", "below: -12", "r.yaml:10: below (-12) does not go with raise_above; use above"),
        ("severity: critical", "severity: warning", "r.yaml:10: severity (warning) must be worse than the rule's"),
        ("severity: critical", "severity: bad", "r.yaml:10: severity (bad) must be 'info', 'warning' or 'critical'"),
        ("for: 30m", "for: 30", "r.yaml:7: for (30): a duration is written with its unit, like 90s, 30m, 4h or 1h30m"),
        ("raise_above: -15", "raise_above: warm", "r.yaml:6: raise_above (warm) must be a number"),
        ("raise_above: -15", "raise_above: 100", "r.yaml:6: raise_above (100) is outside what temperature can be"),
        ("raise_above: -15", "raise_below: -15", "r.yaml:8: clear_below (-16) does not go with raise_below; use"),
        ("    raise_above: -15\n", "", "r.yaml:4: too_warm has none of them; a rule has exactly one of"),
        ("for: 30m", "for: 30m\n    absent_for: 5m", "r.yaml:8: too_warm has raise_above and absent_for; a rule has"),
        ("while: defrost", "while: humidity", "r.yaml:12: while (humidity) is no state; use one of defrost"),
        ("    for: 30m", "    for: 30m\n    severity: critical", "r.yaml:13: too_warm is critical, and a mask"),
        ("labels: {team", "lables: {team", "r.yaml:13: lables is no word of the rule language here"),
        ("{team: cold}", "{severity: cold}", "r.yaml:13: label severity is set by the engine; take another name"),
        ("{team: cold}", "{a-b: cold}", "r.yaml:13: label a-b must be letters, digits and _"),
        ("{value}", "{temp}", "r.yaml:14: annotation summary names {temp}; there are: store, store_name"),
        ("{value}", "{value", "r.yaml:14: annotation summary: expected '}' before end of string; write {{"),
        ("freezer", "frezer", "r.yaml:5: asset_class (frezer) is none of the contracts': freezer, cooler"),
        ("metric: temperature", "metric: heat", "r.yaml:5: metric (heat) is none of the contracts':"),
        ("metric: temperature", "metric: [temperature, power]", "r.yaml:5: metric (temperature, power) mixes units"),
        (
            "{asset_class: freezer, metric: temperature}",
            "{asset_class: freezer}",
            "r.yaml:5: metric is missing; add it",
        ),
        ("clear_below: -16", "rate: {rise: 3, within: 10m}", "r.yaml:8: too_warm has raise_above and rate; a rule has"),
        (
            "    raise_above: -15\n    for: 30m\n    clear_below: -16\n",
            "    rate: {rise: 3}\n",
            "r.yaml:6: within is missing",
        ),
        ("clear_below: -16", "cumulative: {for: 4h, within: 24h}", "r.yaml:7: for does not go with raise_above"),
        (
            "{while: defrost, longest: 1h}",
            "{hours: closed}",
            "r.yaml:12: hours (closed) cannot mask a rule about freezer",
        ),
        ("{while: defrost, longest: 1h}", "{while: defrost}", "r.yaml:12: while (defrost) needs longest"),
        ("{while: defrost, longest: 1h}", "{at: '06:00'}", "r.yaml:12: at (06:00) needs lasts"),
        ("{while: defrost, longest: 1h}", "{at: '26:00', lasts: 1h}", "r.yaml:12: at (26:00) must match"),
        ("{while: defrost, longest: 1h}", "{longest: 1h}", "r.yaml:12: a mask has none of them; give exactly one"),
        (
            "for: 10m}",
            "for: 10m, clear_below: -11}",
            "r.yaml:10: clear_below (-11) must be under the level's own limit",
        ),
        ("    for: 30m", "    for: 30m\n    depends_on: power", "r.yaml:8: depends_on (power) is no rule of this file"),
        (
            "    for: 30m",
            "    for: 30m\n    depends_on: too_warm",
            "r.yaml:8: depends_on (too_warm) is the rule itself",
        ),
        (
            "    for: 30m",
            "    for: 30m\n    overrides:\n      - {where: {store: store-002}, raise_above: -17}",
            "r.yaml:9: with this override: clear_below (-16) must be under raise_above (-17)",
        ),
        (
            "    for: 30m",
            "    for: 30m\n    overrides:\n      - {where: {}, for: 1h}",
            "r.yaml:9: where is empty and fits everything",
        ),
        ('{summary: "{asset} is at {value}"}', "{summary: {de: zu warm}}", "r.yaml:14: annotation summary has no en"),
        ('annotations: {summary: "{asset}', 'runbook: here\n    annotations: {summary: "{asset}', "r.yaml:14: runbook"),
        ("version: 1", "version: 2", "r.yaml:1: version (2) must be 1"),
        ("alerts.cold-chain", "alerts cold", "r.yaml:2: topic (alerts cold) must match ^alerts"),
        ("too_warm", "Too Warm", "r.yaml:4: alert (Too Warm) must match ^[a-z]"),
        ("for: 30m", "for: 30m\n    for: 20m", 'r.yaml:8: not YAML as expected here: found duplicate key "for"'),
    ],
)
def test_a_mistake_is_named_with_line_value_and_next_step(was, becomes, said):
    assert was in SOUND
    found = problems(SOUND.replace(was, becomes, 1))
    assert any(problem.startswith(said) for problem in found), found


def test_all_mistakes_are_told_at_once_in_the_files_order():
    found = problems(SOUND.replace("-16", "-14").replace("{value}", "{temp}"))
    assert [problem.split(":")[1] for problem in found] == ["8", "14"]


def test_two_rules_of_one_name_are_refused():
    rule = SOUND[SOUND.index("  - alert") :]
    assert "alert (too_warm) is the name of 2 rules; give each its own" in problems(SOUND + rule)[0]


@pytest.mark.parametrize("text", ["", "- a", "rules: [", "just words"])
def test_a_file_that_is_no_rule_file_is_refused(text):
    assert problems(text)[0].startswith("r.yaml:1: ")


def test_silence_takes_a_time_or_reports_and_nothing_about_limits():
    silence = (
        "version: 1\ntopic: alerts.x\nrules:\n  - alert: a\n    select: {metric: temperature}\n    absent_for: 10m\n"
    )
    absence = parse_rules(silence, "r.yaml").rules[0].absent_for
    assert absence.after_ms(interval_s=60) == 600_000
    assert (
        "r.yaml:7: escalate does not go with absent_for"
        in problems(silence + "    escalate: [{severity: critical, for: 1h}]\n")[0]
    )
    assert "absent_for is zero" in problems(silence.replace("10m", "0s"))[0]


def test_three_missed_reports_leave_half_an_interval_of_grace():
    text = RULES.read_text("utf-8")
    absence = parse_rules(text, "r.yaml").rules[2].absent_for
    assert absence.after_ms(interval_s=300) == 17.5 * 60_000
    assert absence.after_ms(interval_s=60) == 5 * 60_000


def test_a_rules_version_changes_with_the_rule_and_with_nothing_else():
    before = parse_rules(SOUND, "r.yaml").rules[0].version
    assert parse_rules("# a remark\n" + SOUND, "other.yaml").rules[0].version == before
    assert parse_rules(SOUND.replace("30m", "31m"), "r.yaml").rules[0].version != before


@pytest.mark.parametrize(("text", "ms"), [("90s", 90_000), ("1h30m", 5_400_000), ("2d", 172_800_000), ("0s", 0)])
def test_durations_are_read_as_prometheus_writes_them(text, ms):
    assert to_duration(text) == ms


@pytest.mark.parametrize("text", ["", "30", "m", "30 m", "-5m", "1.5h", 30, None])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="90s, 30m, 4h"):
        to_duration(text)
