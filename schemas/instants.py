"""Instants as the contracts write them: RFC 3339, UTC, milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime


def to_ms(instant: str) -> int:
    """Epoch milliseconds of an RFC 3339 instant. Raises ValueError where it is none or has no offset."""
    moment = datetime.fromisoformat(instant)
    if moment.tzinfo is None:
        raise ValueError(f"{instant}: an instant needs an offset or Z")
    return round(moment.timestamp() * 1000)


def to_rfc3339(ms: int) -> str:
    """RFC 3339 in UTC with milliseconds, of epoch milliseconds."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}Z"
