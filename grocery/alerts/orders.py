"""Commands for alerts: made, let in by the gate like everything else, and answered by the job they are addressed to."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Any
from uuid import uuid4

from alerting.fold import answers
from alerting.language import Selector
from alerting.rules import RuleSet
from grocery.alerts.desk import Desk, Event
from ingestion.arrival import Arrival, dumps
from ingestion.gate import Gate
from ingestion.record import Record
from ingestion.reference import Reference
from ingestion.relay import COMMANDS
from ingestion.topics import DEAD_LETTERS
from schemas.instants import to_rfc3339

Command = dict[str, Any]
POLL_S = 0.5


class RefusedAtGate(ValueError):
    """The gate refuses the command; nothing was sent. The message has every reason."""


class NoAnswer(Exception):
    """Nobody answered in time; the message says how far each command came, and what to look at.

    answered: the answers that did come.
    """

    def __init__(self, message: str, answered: list[Event]) -> None:
        super().__init__(message)
        self.answered = answered


def make(what: str, store_id: str, topics: Sequence[str], actor: str, now_ms: int, **words: Any) -> list[Command]:
    """A command for each of the topics. Their ids are one number each with its topic's name: `1f0c….queue`.

    what: acknowledge, ... as the contract has it; words: its further fields, those that are None left out.
    """
    number = uuid4().hex[:12]
    head = {"event_time": to_rfc3339(now_ms), "store_id": store_id, "schema_version": 1, "command": what}
    given = {name.rstrip("_"): value for name, value in words.items() if value is not None}
    return [
        {"event_id": f"{number}.{topic.removeprefix('alerts.')}"} | head | {"topic": topic, "actor": actor} | given
        for topic in topics
    ]


def admit(gate: Gate, command: Command, now_ms: int) -> Record:
    """The command as the gate lets it in. Raises RefusedAtGate; a person is told at once, so no dead letter is kept."""
    record, *_ = gate.admit(Arrival(COMMANDS, now_ms, dumps(command), "grocery alerts"))
    if record.topic != DEAD_LETTERS:
        return record
    reasons = [
        f"{reason['path'].lstrip('/') or command['command']}: {reason['message']}"
        for reason in json.loads(record.value)["reasons"]
    ]
    raise RefusedAtGate("the gate refuses this, nothing was sent:\n  " + "\n  ".join(reasons))


def give(desk: Desk, gate: Gate, commands: Sequence[Command], now_ms: int, wait_s: float) -> list[Event]:
    """Hand the commands in, all or none, and wait for their answers; returns these as they come.

    wait_s: with 0 it waits for none. Raises RefusedAtGate, DeliveryFailed, and NoAnswer with what did come.
    """
    records = [admit(gate, command, now_ms) for command in commands]
    if not wait_s:
        desk.hand_in(records)
        return []
    found: dict[str, Event] = {}
    with closing(desk.follow({command["topic"] for command in commands})) as follower:
        desk.hand_in(records)
        deadline = time.monotonic() + wait_s
        while len(found) < len(commands) and time.monotonic() < deadline:
            for event in follower.poll(POLL_S):
                for command in commands:
                    if answers(event, command):
                        found.setdefault(command["event_id"], event)
    missing = [command for command in commands if command["event_id"] not in found]
    if missing:
        raise NoAnswer("\n".join(_unanswered(desk, command, wait_s) for command in missing), list(found.values()))
    return list(found.values())


def _unanswered(desk: Desk, command: Command, wait_s: float) -> str:
    topic, named = command["topic"], command["event_id"]
    head = (
        f"no answer on {topic} within {wait_s:g} s to {named}. It stands on {COMMANDS} and takes effect when it is read"
    )
    if not desk.relayed(named):
        return f"{head}: the ticker has not read it. Does it run? `grocery ingest ticker`"
    return f"{head}: the ticker has told it, the job of {topic} has not read it. Does that run? `grocery stream status`"


def topics_about(rule_sets: Iterable[RuleSet], reference: Reference, store_id: str, words: dict[str, str]) -> list[str]:
    """The alert topics on which there can be alerts that a silence's selector fits: those of rule files with a rule
    that could.

    words: rule, asset_id, asset_class, area, device_id, those that are given.
    """
    known = {"store": {store_id}} | {
        name: {words[field]}
        for name, field in (
            ("asset", "asset_id"),
            ("asset_class", "asset_class"),
            ("area", "area"),
            ("device", "device_id"),
        )
        if field in words
    }
    device = words.get("device_id", "")
    home, _, metric = device.partition("/")  # a derived metric's device is `<asset>/<metric>`
    asset = (
        reference.devices.get(device) or reference.assets.get(home) or reference.assets.get(words.get("asset_id", ""))
    )
    if asset is not None:
        known |= {"asset": {asset["asset_id"]}, "asset_class": {asset["asset_class"]}, "area": {asset.get("area", "")}}
        measured = {item["metric"] for item in asset["devices"] if item["device_id"] == device}
        known |= {"metric": measured} if measured else {}
    if metric:
        known["metric"] = {metric}
    return list(
        dict.fromkeys(
            rules.topic
            for rules in rule_sets
            for rule in rules.rules
            if words.get("rule", rule.alert) == rule.alert and _could_fit(rule.select, known)
        )
    )


def _could_fit(select: Selector, known: dict[str, set[str]]) -> bool:
    """Whether the selector can judge something of which so much is known."""
    return all(not getattr(select, word) or values & set(getattr(select, word)) for word, values in known.items())
