"""States of earlier releases: the engine goes on from them as if nothing had been between. test_deploy.py restores the
savepoint on a cluster."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from alerting.engine import Engine, run
from alerting.events import Logged, read_event
from alerting.rules import parse_rules
from alerting.state import loads
from ingestion.arrival import read_arrivals

FIXTURES = sorted(
    path.parent for path in (Path(__file__).parents[1] / "fixtures" / "savepoints").glob("cold_chain-*/_metadata")
)


def todays(folder: Path) -> Engine:
    """The engine of today with the fixture's rules."""
    rules = folder / "rules.yaml"
    return Engine(parse_rules(rules.read_text("utf-8"), str(rules)))


def log(folder: Path, *parts: str) -> list[tuple[str, Logged]]:
    return [
        (event.store_id, Logged(item.arrived_ms, event))
        for part in parts
        for item in read_arrivals(folder / part)
        for event in [read_event(item.payload)]
    ]


def alone(folder: Path, *parts: str) -> list[dict[str, Any]]:
    """What the engine of today decides over these parts of the fixture's log, as JSON has it."""
    return json.loads(msgspec.json.encode(run(todays(folder), log(folder, *parts))))


def before_it(folder: Path) -> list[dict[str, Any]]:
    """The alert events that the release told before its savepoint."""
    return [json.loads(line) for line in (folder / "alerts.ndjson").read_bytes().splitlines()]


def holds(before: list[dict[str, Any]], after: list[dict[str, Any]], folder: Path) -> None:
    """Open alerts went on under their ids, and with what came before, all was told that this log gives."""
    last = {alert["alert_id"]: alert for alert in before}
    firing = {alert_id for alert_id, alert in last.items() if alert["status"] != "resolved"}
    going_on = {alert["alert_id"]: alert["sequence"] for alert in reversed(after) if alert["alert_id"] in firing}
    assert going_on == {alert_id: last[alert_id]["sequence"] + 1 for alert_id in firing}
    assert steps(before + after) == steps(alone(folder, "before.ndjson", "after.ndjson"))


def steps(alerts: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """What each step says. Without the alert's id: a release may form the ids of new alerts in another way."""
    assert len({(alert["alert_id"], alert["sequence"]) for alert in alerts}) == len(alerts), "a step was told twice"
    words = ("store_id", "rule", "device_id", "starts_at", "sequence", "event", "severity", "decided_at")
    return sorted(tuple(alert[word] for word in words) for alert in alerts)


@pytest.mark.parametrize("folder", FIXTURES, ids=lambda folder: folder.name)
def test_the_engine_of_today_goes_on_from_the_states_in_the_savepoint(folder):
    """Without a cluster: each store's state stands in the savepoint as the text that the release wrote."""
    texts = re.findall(rb'\{"store_id":"store-\d+","clock".*?"version":\d+\}', (folder / "_metadata").read_bytes())
    states = {state.store_id: state for state in map(loads, (text.decode() for text in texts))}
    assert len(states) == len(texts) == len({store for store, _ in log(folder, "before.ndjson")})
    engine, after = todays(folder), []
    for store, logged in log(folder, "after.ndjson"):
        states[store], told = engine.advance(states[store], [logged])
        after += told
    holds(before_it(folder), after, folder)


@pytest.mark.parametrize("folder", FIXTURES, ids=lambda folder: folder.name)
def test_the_engine_of_today_tells_what_was_told_before_the_savepoint(folder):
    """Else the tests here could pass with a log that decides nothing."""
    assert before_it(folder)
    assert steps(before_it(folder)) == steps(alone(folder, "before.ndjson"))
