"""Which jobs a silence concerns."""

from __future__ import annotations

import pytest

from alerting.rules import RuleSet, parse_rules
from grocery.alerts.orders import make, topics_about
from ingestion.reference import Reference
from tests.grocery.alerts.counter import COLD, QUEUE
from tests.ingestion.example import asset, chain

POWER = """
version: 1
topic: alerts.utility
rules:
  - alert: power_jump
    select: {store: store-002, metric: power}
    raise_above: 50
"""
COLD_CHAIN, LANES, UTILITY = "alerts.cold-chain", "alerts.queue", "alerts.utility"
REFERENCE = Reference.of([*chain(), ("assets", asset("s001-freezer-02", area="back room"))])


def rule_sets() -> list[RuleSet]:
    return [parse_rules(text, "rules.yaml") for text in (COLD, QUEUE, POWER)]


@pytest.mark.parametrize(
    ("words", "topics"),
    [
        ({}, [COLD_CHAIN, LANES]),
        ({"asset_id": "s001-freezer-01"}, [COLD_CHAIN]),
        ({"asset_id": "s001-lane-01"}, [LANES]),
        ({"asset_class": "lane"}, [LANES]),
        ({"device_id": "s001-cooler-01-t"}, [COLD_CHAIN]),
        ({"device_id": "s001-lane-01/estimated_wait"}, [LANES]),
        ({"device_id": "s001-lane-01/people_per_open_lane"}, []),
        ({"rule": "wait_too_long"}, [LANES]),
        ({"rule": "wait_too_long", "asset_class": "freezer"}, []),
        ({"area": "back room"}, [COLD_CHAIN, LANES]),
        ({"rule": "power_jump"}, []),
    ],
)
def test_a_silence_concerns_the_topics_whose_rules_could_fit(words: dict[str, str], topics: list[str]):
    assert topics_about(rule_sets(), REFERENCE, "store-001", words) == topics


def test_a_rule_for_another_store_concerns_that_one():
    assert topics_about(rule_sets(), REFERENCE, "store-002", {}) == [COLD_CHAIN, LANES, UTILITY]


def test_commands_of_one_order_share_their_number():
    one, other = make("silence", "store-001", [LANES, UTILITY], "lead", 0, until="u", from_="f", rule=None)
    assert one["event_id"].partition(".")[0] == other["event_id"].partition(".")[0]
    assert (one["topic"], other["topic"]) == (LANES, UTILITY)
    assert one["from"] == "f"
    assert "rule" not in one
