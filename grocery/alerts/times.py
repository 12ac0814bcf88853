"""Times as a person at a store writes them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from datetime import time as clock
from zoneinfo import ZoneInfo

from alerting.language import to_duration
from schemas.instants import to_rfc3339

FORMS = "2026-10-05T14:30:00Z, 2026-10-05 14:30 or 14:30 (the next one), the last two in the store's own time"


def instant(text: str, zone: str, after_ms: int) -> int:
    """Epoch ms of RFC 3339 with an offset, of a local date and time in the zone, or of the next HH:MM there after an
    instant. Raises ValueError."""
    place = ZoneInfo(zone)
    if re.fullmatch(r"[0-2]?\d:[0-5]\d", text):
        after = datetime.fromtimestamp(after_ms / 1000, UTC).astimezone(place).replace(tzinfo=None)
        try:
            local = datetime.combine(after.date(), clock.fromisoformat(text.zfill(5)))
        except ValueError:
            raise ValueError(f"{text}: no time of day; write {FORMS}") from None
        for day in range(2):
            found = _ms((local + timedelta(days=day)).replace(tzinfo=place))
            if found > after_ms:
                return found
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text}: no time; write {FORMS}") from None
    if moment.tzinfo is None:
        if not re.search(r"\d:\d", text):
            raise ValueError(f"{text}: a date without a time; write {FORMS}")
        moment = moment.replace(tzinfo=place)
    return _ms(moment)


def end(for_: str | None, until: str | None, zone: str, begins_ms: int, after_ms: int) -> str:
    """When it ends, RFC 3339. for_ counts from its beginning; until must lie after `after_ms`."""
    if bool(for_) == bool(until):
        raise ValueError("say how long, either --for 2h or --until 14:30")
    if for_:
        return to_rfc3339(begins_ms + named_duration("--for", for_))
    ends = named_instant("--until", until or "", zone, after_ms)
    if ends <= after_ms:
        raise ValueError(f"--until {until}: {to_rfc3339(ends)} is over; it must lie after {to_rfc3339(after_ms)}")
    return to_rfc3339(ends)


def named_instant(option: str, text: str, zone: str, after_ms: int) -> int:
    try:
        return instant(text, zone, after_ms)
    except ValueError as error:
        raise ValueError(f"{option} {error}") from None


def named_duration(option: str, text: str) -> int:
    try:
        return to_duration(text)
    except ValueError as error:
        raise ValueError(f"{option} {text}: {error}") from None


def _ms(moment: datetime) -> int:
    return round(moment.astimezone(UTC).timestamp() * 1000)
