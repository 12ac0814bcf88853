"""The guard's alerts: which are open, and the events that tell of them. Pure: no clock, no I/O.

One alert a thing, from `raised` to `resolved`, told as the contract `alert` has it. What is told waits in `pending`
until it is on the topic, so nothing is lost while the broker is away.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from alerting.fold import WATCHDOG_RULE
from guard.judge import CHAIN, RULES, Rule, Thing, Trouble
from ingestion.topics import PLATFORM_ALERTS
from schemas.instants import to_ms, to_rfc3339

WATCHDOG = Rule(
    WATCHDOG_RULE, "info", "guard", "Nothing. Where its events stop, the guard has stopped: `grocery stack status`."
)
BEAT_S = 30
"""Seconds between two signs of life. A receiver that misses three of them should call somebody."""
REMIND_S = 24 * 3600
"""An open alert is told again so often."""
REACH_MS = 3 * REMIND_S * 1000
"""So much of the topic's end holds an event of every open alert: each is told again within a day, and while the guard
does not run nothing is written at all."""
_VERSION = "1"
_ALIVE = Thing(WATCHDOG.name, CHAIN, "guard")


@dataclass(slots=True)
class Open:
    """starts_at, told_at: epoch ms. summary, members: as last told."""

    alert_id: str
    sequence: int
    starts_at: int
    told_at: int
    summary: str
    members: tuple[str, ...] = ()


@dataclass(slots=True)
class Book:
    """open: alerts by what they are about, the watchdog's not among them. pending: events not on the topic yet."""

    open: dict[Thing, Open] = field(default_factory=dict)
    pending: deque[dict[str, Any]] = field(default_factory=deque)
    _watchdog: Open | None = None

    def adopt(self, told: Iterable[dict[str, Any]], now_ms: int) -> None:
        """Take up what is on the topic already: after a start, and after a delivery of which nobody knows how it ended.

        told: events, in their order for each alert; at least those of the last REACH_MS.
        """
        newest = {event["alert_id"]: event for event in told}
        self.pending = deque(
            event
            for event in self.pending
            if event["alert_id"] not in newest or event["sequence"] > newest[event["alert_id"]]["sequence"]
        )
        waiting = {event["alert_id"] for event in self.pending}
        for event in sorted(newest.values(), key=lambda event: event["starts_at"]):
            thing = Thing(event["rule"], event["store_id"], event["asset_id"])
            known = thing.rule in RULES or thing == _ALIVE
            if known and event["status"] != "resolved" and event["alert_id"] not in waiting:
                self._adopt(thing, event, newest, now_ms)

    def _adopt(self, thing: Thing, event: dict[str, Any], newest: Mapping[str, dict[str, Any]], now_ms: int) -> None:
        taken = Open(
            event["alert_id"],
            event["sequence"],
            to_ms(event["starts_at"]),
            to_ms(event["decided_at"]),
            event["annotations"]["summary"],
            tuple(member["asset_id"] for member in event.get("members", ())),
        )
        mine = self._watchdog if thing == _ALIVE else self.open.get(thing)
        if mine is not None and mine.alert_id == taken.alert_id:
            return
        if mine is not None and mine.alert_id in newest:  # two guards have run at once
            self._tell(thing, taken, "resolved", now_ms, f"told twice; alert {mine.alert_id} goes on")
            return
        if mine is not None:  # nobody has heard of mine yet
            self.pending = deque(item for item in self.pending if item["alert_id"] != mine.alert_id)
        if thing == _ALIVE:
            self._watchdog = taken
        else:
            self.open[thing] = taken

    def advance(self, troubles: Mapping[Thing, Trouble], fine: Mapping[Thing, str], now_ms: int) -> None:
        """Raise what is new, resolve what is over, tell again what has changed or not been told for a day."""
        for thing, trouble in sorted(troubles.items()):
            alert = self.open.get(thing)
            if alert is None:
                began = now_ms - round(trouble.age_s * 1000)
                alert = self.open[thing] = Open(_alert_id(thing, began), 0, began, 0, "")
                reason = None
            elif alert.members != trouble.members:
                reason = "other stores than before"
            elif now_ms - alert.told_at >= REMIND_S * 1000:
                reason = "told again, it still lasts"
            else:
                continue
            alert.summary, alert.members = trouble.summary, trouble.members
            self._tell(thing, alert, "updated" if alert.sequence else "raised", now_ms, reason)
        for thing in sorted(self.open.keys() & fine.keys()):
            self._tell(thing, self.open.pop(thing), "resolved", now_ms, fine[thing] or None)

    def beat(self, now_ms: int) -> None:
        """The sign of life, when it is due. One waits at most: an hour without the broker leaves no hundred."""
        alert = self._watchdog
        if alert is None:
            summary = f"the guard watches; it says so every {BEAT_S} s"
            alert = self._watchdog = Open(_alert_id(_ALIVE, now_ms), 0, now_ms, 0, summary)
        elif now_ms - alert.told_at < BEAT_S * 1000 or any(
            event["alert_id"] == alert.alert_id for event in self.pending
        ):
            return
        self._tell(_ALIVE, alert, "updated" if alert.sequence else "raised", now_ms, None)

    def delivered(self) -> None:
        """The first of `pending` is on the topic."""
        self.pending.popleft()

    def _tell(self, thing: Thing, alert: Open, event: str, now_ms: int, reason: str | None) -> None:
        rule = WATCHDOG if thing == _ALIVE else RULES[thing.rule]
        alert.sequence += 1
        alert.told_at = now_ms
        now = to_rfc3339(now_ms)
        told: dict[str, Any] = {
            "event_id": f"{alert.alert_id}-{alert.sequence}",
            "event_time": now,
            "store_id": thing.store_id,
            "schema_version": 1,
            "alert_id": alert.alert_id,
            "sequence": alert.sequence,
            "rule": rule.name,
            "rule_version": _VERSION,
            "event": event,
            "status": "resolved" if event == "resolved" else "firing",
            "severity": rule.severity,
            "topic": PLATFORM_ALERTS,
            "asset_id": thing.asset_id,
            "asset_class": rule.asset_class,
            "starts_at": to_rfc3339(alert.starts_at),
        }
        if event == "resolved":
            told["ends_at"] = now
        told |= {
            "decided_at": now,
            "labels": {
                "alertname": rule.name,
                "severity": rule.severity,
                "store_id": thing.store_id,
                "asset_id": thing.asset_id,
                "asset_class": rule.asset_class,
            },
            "annotations": {
                "summary": alert.summary,
                "action": rule.action,
                "runbook_url": f"docs/operations.md#{rule.name}",
            },
        }
        if reason is not None:
            told["reason"] = reason
        if alert.members:
            told["members"] = [{"asset_id": store} for store in alert.members]
        self.pending.append(told)


def _alert_id(thing: Thing, began_ms: int) -> str:
    return hashlib.sha256(f"{thing.rule}|{thing.store_id}|{thing.asset_id}|{began_ms}".encode()).hexdigest()[:32]
