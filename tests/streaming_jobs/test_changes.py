"""What a rule file changes against the one a job runs with."""

from __future__ import annotations

from streaming_jobs.changes import RuleChange, compare
from tests.alerting.logs import RULES

SHIPPED = RULES.read_text("utf-8")
OLD = """
version: 1
topic: alerts.cold-chain
rules:
  - {alert: warm, raise_above: -15, for: 30m, escalate: [{severity: critical, above: -12}], labels: {team: a}}
  - {alert: silent, absent_for: 5m}
"""


def test_a_file_with_other_comments_order_and_quotes_changes_nothing():
    new = """
# another comment
rules:
  - alert: silent
    absent_for: '5m'
  - {for: 30m, alert: warm, raise_above: -15, labels: {team: a}, escalate: [{above: -12, severity: critical}]}
topic: alerts.cold-chain
version: 1
"""
    assert compare(OLD, new) == []
    assert compare(SHIPPED, SHIPPED) == []


def test_what_differs_is_named_word_by_word():
    new = (
        OLD.replace("for: 30m", "for: 20m").replace("above: -12", "above: -10").replace("labels: {team: a}", "mask: []")
    )
    assert compare(OLD, new) == [
        RuleChange(
            "warm",
            "changed",
            ("for: 30m -> 20m", "escalate.0.above: -12 -> -10", "mask: nothing -> []", "labels.team: a -> nothing"),
        )
    ]


def test_added_rules_come_first_and_those_that_are_gone_last():
    new = OLD.replace("alert: silent", "alert: offline").replace("-15", "-14")
    assert [(item.name, item.kind) for item in compare(OLD, new)] == [
        ("warm", "changed"),
        ("offline", "added"),
        ("silent", "gone"),
    ]
