"""When a store is open, as instants: weekly hours and holidays are local time, the simulation runs in UTC."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def local_midnight_s(store: dict[str, Any], day: date) -> float:
    """Epoch seconds at which the local day begins."""
    return datetime.combine(day, time(), ZoneInfo(store["time_zone"])).astimezone(UTC).timestamp()


def local_date(store: dict[str, Any], epoch_s: float) -> date:
    return datetime.fromtimestamp(epoch_s, ZoneInfo(store["time_zone"])).date()


def open_spans(store: dict[str, Any], day: date) -> list[tuple[float, float]]:
    """(opens, closes) in epoch seconds for one local day, in order; empty where the store is shut."""
    for holiday in store["holidays"]:
        if holiday["date"] == day.isoformat():
            hours = [] if holiday["closed"] else [(holiday["opens"], holiday["closes"])]
            break
    else:
        hours = [(h["opens"], h["closes"]) for h in store["opening_hours"] if h["day"] == _DAYS[day.weekday()]]
    return sorted((_instant(store, day, opens), _instant(store, day, closes)) for opens, closes in hours)


def _instant(store: dict[str, Any], day: date, clock: str) -> float:
    hour, minute = (int(part) for part in clock.split(":"))
    if hour == 24:
        day, hour = day + timedelta(days=1), 0
    return datetime.combine(day, time(hour, minute), ZoneInfo(store["time_zone"])).timestamp()
