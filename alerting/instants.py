"""Instants as contracts write them (RFC 3339, UTC, milliseconds) and as the engine counts them (epoch milliseconds)."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

_MINUTES: dict[str, int] = {}
_REMEMBERED = 20_000


def to_ms(text: str) -> int:
    """Epoch milliseconds of `2026-10-05T06:00:00.250Z`. Raises ValueError for any other form."""
    minute = _MINUTES.get(text[:17])
    if minute is None:
        if len(text) != 24:
            raise ValueError(f"{text}: an instant is written like 2026-10-05T06:00:00.250Z")
        minute = round(datetime.fromisoformat(text[:16] + ":00Z").timestamp()) * 1000
        if len(_MINUTES) >= _REMEMBERED:
            _MINUTES.clear()
        _MINUTES[text[:17]] = minute
    if len(text) != 24 or text[19] != "." or text[23] != "Z":
        raise ValueError(f"{text}: an instant is written like 2026-10-05T06:00:00.250Z")
    return minute + int(text[17:19]) * 1000 + int(text[20:23])


def to_text(ms: int) -> str:
    """RFC 3339 in UTC with milliseconds."""
    seconds, rest = divmod(ms, 1000)
    return f"{_second(seconds)}.{rest:03d}Z"


@lru_cache(maxsize=8192)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
