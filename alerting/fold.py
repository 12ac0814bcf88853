"""Alerts as they stand, from their events. Readers may meet an event twice (a job that began anew, a second read):
(alert_id, sequence) names it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

REMEMBERED = 100_000


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


def newest(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The newest event of each alert, however often and in whichever order events came; oldest alert first."""
    found: dict[str, dict[str, Any]] = {}
    for event in events:
        known = found.get(event["alert_id"])
        if known is None or event["sequence"] > known["sequence"]:
            found[event["alert_id"]] = event
    return sorted(found.values(), key=lambda event: (event["starts_at"], event["alert_id"]))
