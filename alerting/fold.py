"""Alerts as they stand, from their events. Readers may meet an event twice (a job that began anew, a second read):
(alert_id, sequence) names it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from alerting.language import COMMAND_RULE, RANK

REMEMBERED = 100_000
WATCHDOG_RULE = "watchdog"
"""Stands as rule on the alert that always fires, so that its absence is noticed."""


class Fresh:
    """Tells which events have not been met before. Remembers the newest sequence of so many alerts."""

    def __init__(self) -> None:
        self._newest: OrderedDict[str, int] = OrderedDict()

    def is_new(self, event: dict[str, Any]) -> bool:
        """Whether this step goes beyond what was met of its alert; an alert's events come in order."""
        alert_id, sequence = event["alert_id"], event["sequence"]
        if sequence <= self._newest.get(alert_id, 0):
            return False
        self._newest[alert_id] = sequence
        self._newest.move_to_end(alert_id)
        if len(self._newest) > REMEMBERED:
            self._newest.popitem(last=False)
        return True


@dataclass(frozen=True, slots=True)
class Life:
    """One alert, or one silence that a person asked for: its events, each once and in order, never none."""

    events: tuple[dict[str, Any], ...]

    @property
    def now(self) -> dict[str, Any]:
        """The newest event: what is true of it now."""
        return self.events[-1]

    @property
    def alert_id(self) -> str:
        return self.now["alert_id"]

    @property
    def is_answer(self) -> bool:
        """Whether it answers a command and is no alert."""
        return self.now["rule"] == COMMAND_RULE

    @property
    def is_open(self) -> bool:
        return self.now["status"] != "resolved"

    @property
    def is_closed(self) -> bool:
        return self.now["event"] == "closed"

    @property
    def waits_for_closing(self) -> bool:
        """It is over, and cause, action and goods are still to be told."""
        return not self.is_open and self.now.get("needs_closing", False)

    @property
    def over(self) -> dict[str, Any] | None:
        """The event with which it ended."""
        return next((event for event in self.events if event["status"] == "resolved"), None)

    @property
    def told_by(self) -> dict[str, Any]:
        """The event that says who or what gave it its present status, and until when: the newest acknowledgement of an
        acknowledged alert, the silence or the mask that came over it."""
        status = self.now["status"]
        if status not in ("acknowledged", "silenced", "masked"):
            return self.now
        began = next((n for n in range(len(self.events), 0, -1) if self.events[n - 1]["status"] != status), 0)
        # Who acknowledged what was silenced or masked was told while that held. What was raised, escalated or eased
        # under a silence or mask has no event of that name.
        since = self.events[0 if status == "acknowledged" else began :]
        return next((event for event in reversed(since) if event["event"] == status), self.events[began])

    @property
    def until(self) -> str | None:
        """When its present status ends by itself, RFC 3339; None where it has no known end."""
        return self.told_by.get("until") if self.is_open else None


def lives(events: Iterable[dict[str, Any]]) -> list[Life]:
    """Every alert and every answer to a command, however often and in whichever order their events came; the one that
    began first comes first. Of a watchdog, which beats for years, only the newest event is kept."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for event in events:
        steps = found.setdefault(event["alert_id"], {})
        if event["rule"] == WATCHDOG_RULE and steps:
            event = max(event, steps.popitem()[1], key=lambda one: one["sequence"])
        steps[event["sequence"]] = event
    whole = [Life(tuple(steps[number] for number in sorted(steps))) for steps in found.values()]
    return sorted(whole, key=lambda life: (life.now["starts_at"], life.alert_id))


def worst_first(life: Life) -> tuple[int, int, int, str]:
    """Sort key: what is open first and the worst of it, then what waits to be closed, then what is over."""
    attended = ("firing", "acknowledged", "masked", "silenced", "resolved").index(life.now["status"])
    over = 0 if life.is_open else 1 if life.waits_for_closing else 2
    return over, -RANK[life.now["severity"]], attended, life.now["starts_at"]


def answers(event: dict[str, Any], command: dict[str, Any]) -> bool:
    """Whether an alert event is the answer to a command. A silence's effect on single alerts names it too, and is none.

    What ends a silence names that silence, so a cancel is answered by the silence's own last event.
    """
    named = event.get("command_id")
    if named == command["event_id"]:
        return event["rule"] == COMMAND_RULE or event["event"] in ("acknowledged", "ack_expired", "closed")
    ends = event["rule"] == COMMAND_RULE and event["event"] == "unsilenced"
    return ends and command["command"] == "cancel" and named == command["cancels"]
