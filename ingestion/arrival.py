"""What reaches the gate: the bytes a device, a till or a file gave, and when they arrived.

A file of arrivals is NDJSON, one object a line, in arrival order:
    {"contract": "sensor-readings", "arrived_at": "2026-10-05T06:00:00.250Z", "event": {…}}
`raw` (text) stands in place of `event` where what arrived is not a JSON object.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Arrival:
    """contract: the contract it claims to follow; arrived_ms: epoch milliseconds, the log's clock;
    payload: the original bytes; source: where it came from, e.g. `readings.ndjson:14`."""

    contract: str
    arrived_ms: int
    payload: bytes
    source: str


def to_ms(rfc3339: str) -> int:
    """Epoch milliseconds of an RFC 3339 instant. Raises ValueError where it is none or has no offset."""
    instant = datetime.fromisoformat(rfc3339)
    if instant.tzinfo is None:
        raise ValueError(f"{rfc3339}: an instant needs an offset or Z")
    return round(instant.timestamp() * 1000)


def to_rfc3339(ms: int) -> str:
    """RFC 3339 in UTC with milliseconds, as every contract writes instants."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}Z"


def dumps(event: dict[str, Any]) -> bytes:
    """The one way an event is written as JSON: compact, UTF-8, in the order given, so a resend is byte-identical."""
    return json.dumps(event, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def write_arrivals(arrivals: Iterable[Arrival], path: Path) -> int:
    """Write arrivals to an NDJSON file; returns how many."""
    count = 0
    with path.open("w", encoding="utf-8") as out:
        for arrival in arrivals:
            count += 1
            head = f'{{"contract":"{arrival.contract}","arrived_at":"{to_rfc3339(arrival.arrived_ms)}",'
            text = arrival.payload.decode("utf-8", "surrogateescape")
            try:
                whole = isinstance(json.loads(text), dict) and "\n" not in text
            except ValueError:
                whole = False
            out.write(head + (f'"event":{text}}}\n' if whole else f'"raw":{json.dumps(text)}}}\n'))
    return count


def read_arrivals(path: Path) -> Iterator[Arrival]:
    """Arrivals of an NDJSON file. A line that is no arrival comes back as contract `unknown` with the line as payload,
    so that the gate refuses it with a reason and nothing is lost."""
    last_ms = 0
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            source = f"{path.name}:{number}"
            try:
                doc = json.loads(line)
                last_ms = to_ms(doc["arrived_at"])
                payload = doc["raw"].encode("utf-8", "surrogateescape") if "raw" in doc else dumps(doc["event"])
                yield Arrival(doc["contract"], last_ms, payload, source)
            except (ValueError, KeyError, TypeError, AttributeError):
                yield Arrival("unknown", last_ms, line.rstrip(b"\r\n"), source)
