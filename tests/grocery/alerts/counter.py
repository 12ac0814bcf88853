"""A desk in memory: the real gate, the ticker's place taken by one tick a command, and the real engine behind it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import msgspec

from alerting.engine import Engine
from alerting.events import AssetInfo, Command, Event, Expected, Logged, StoreInfo
from alerting.rules import parse_rules
from alerting.state import Store
from ingestion.record import Record
from ingestion.reference import Reference
from schemas.instants import to_ms, to_rfc3339
from tests.ingestion.example import chain

STORE, FREEZER, COOLER = "store-001", "s001-freezer-01", "s001-cooler-01"
MINUTE = 60_000
NOW = to_ms("2026-10-05T18:00:00.000Z")
"""Noon in Denver, on a Monday."""
COLD = """
version: 1
topic: alerts.cold-chain
rules:
  - alert: freezer_too_warm
    select: {asset_class: freezer, metric: temperature}
    raise_above: -15
    for: 30m
    escalate: [{severity: critical, above: -12, for: 30m}]
    closing: {asks: [cause, action, goods]}
    labels: {team: refrigeration}
    annotations: {summary: "{asset} has been too warm for {duration}", action: Close the doors.}
    runbook: https://runbooks.example/freezer
  - alert: cooler_too_warm
    select: {asset_class: cooler, metric: temperature}
    raise_above: 5
    for: 30m
    severity: critical
"""
QUEUE = """
version: 1
topic: alerts.queue
rules:
  - alert: wait_too_long
    select: {asset_class: lane, metric: estimated_wait}
    raise_above: 300
"""


@cache
def engine(rules: str) -> Engine:
    """An engine holds nothing about any store, so that tests can share it."""
    return Engine(parse_rules(rules, "rules.yaml"))


class MemoryDesk:
    """known: the chain, default a small one. rules: of the jobs. answering: whether ticker and jobs run."""

    def __init__(self, known: Reference | None = None, rules: Iterable[str] = (COLD, QUEUE)) -> None:
        self.known = known or Reference.of(chain())
        self.events: list[dict[str, Any]] = []
        self.commands: dict[str, dict[str, Any]] = {}
        self.answering, self.ticking = True, True
        self.engines = [engine(text) for text in rules]
        self.states: dict[tuple[str, str], Store] = {}
        self.began = NOW - 180 * MINUTE
        self._log(self._tick(self.began, facts=True))

    # ---- what happens in the store

    def temperatures(self, values: Iterable[float], *, start: int = 0, asset: str = FREEZER, step: int = 5) -> None:
        """One reading every so many minutes; start: minutes after the log began."""
        for number, value in enumerate(values):
            at = self.began + (start + number * step) * MINUTE
            kind = "freezer" if "freezer" in asset else "cooler"
            named = f"{asset}-t"
            event = Event(f"{named}-{at}", to_rfc3339(at), STORE, "reading", named, asset, kind, "temperature", value)
            self._log(Logged(at, event))

    def warm_freezer(self) -> str:
        """alert_id of a warning that fires."""
        self.temperatures([-20, *[-14] * 8])
        return self.events[-1]["alert_id"]

    def over(self) -> str:
        """alert_id of a critical alert that is over and waits to be closed."""
        self.temperatures([-20, *[-11] * 8, *[-20] * 4])
        return next(event["alert_id"] for event in self.events if event.get("needs_closing"))

    def _tick(self, at: int, facts: bool = False, commands: Iterable[Command] = ()) -> Logged:
        event = Event(f"tick-{at}", to_rfc3339(at), STORE, "tick", commands=list(commands))
        if facts:
            mine = [asset for asset in self.known.assets.values() if asset["store_id"] == STORE]
            event.store = msgspec.convert(self.known.stores[STORE], StoreInfo)
            event.assets = [msgspec.convert(asset, AssetInfo) for asset in mine]
            event.roster = [
                Expected(item["device_id"], asset["asset_id"], asset["asset_class"], item["metric"], 86_400)
                for asset in mine
                for item in asset["devices"]
            ]
        return Logged(at, event)

    def _log(self, logged: Logged) -> None:
        for engine in self.engines:
            key = engine.rules.topic, logged.event.store_id
            state = self.states.get(key) or engine.start(logged.event.store_id)
            self.states[key], told = engine.advance(state, [logged])
            self.events += told

    # ---- as grocery.alerts.desk.Desk

    def told(self) -> Iterable[dict[str, Any]]:
        return self.events

    def given(self) -> dict[str, dict[str, Any]]:
        return self.commands

    def reference(self) -> Reference:
        return self.known

    def follow(self, topics: Iterable[str], beginning: bool = False) -> MemoryFollower:
        return MemoryFollower(self, set(topics), 0 if beginning else len(self.events))

    def hand_in(self, records: Iterable[Record]) -> None:
        for record in records:
            command = msgspec.json.decode(record.value)
            self.commands[command["event_id"]] = command
            if self.answering:
                self._log(self._tick(record.timestamp_ms, commands=[msgspec.convert(command, Command)]))

    def relayed(self, command_id: str) -> bool:
        return self.ticking


class MemoryFollower:
    def __init__(self, desk: MemoryDesk, topics: set[str], read: int) -> None:
        self.desk, self.topics, self.read, self.closed = desk, topics, read, False

    def poll(self, timeout_s: float) -> list[dict[str, Any]]:
        found = [event for event in self.desk.events[self.read :] if event["topic"] in self.topics]
        self.read = len(self.desk.events)
        return found

    def close(self) -> None:
        self.closed = True
