"""What reaches the gate: the bytes a device, a till or a file gave, and when they arrived.

A file of arrivals is NDJSON, one object a line, in arrival order:
    {"contract": "sensor-readings", "arrived_at": "2026-10-05T06:00:00.250Z", "event": {…}}
`raw` (text) stands in place of `event` where what arrived is not a JSON object.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from schemas.instants import to_rfc3339

UNKNOWN = "unknown"


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


def dumps(event: dict[str, Any]) -> bytes:
    """The one way an event is written as JSON: compact, UTF-8, in the order given, so a resend is byte-identical."""
    return json.dumps(event, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def write_arrivals(arrivals: Iterable[Arrival], path: Path) -> int:
    """Write arrivals to an NDJSON file, their payloads byte for byte; returns how many."""
    count = 0
    with path.open("wb") as out:
        for arrival in arrivals:
            count += 1
            out.write(_line(arrival))
    return count


_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _line(arrival: Arrival) -> bytes:
    head = f'{{"contract":{json.dumps(arrival.contract)},"arrived_at":"{to_rfc3339(arrival.arrived_ms)}",'.encode()
    payload = arrival.payload
    try:
        _decode_object(payload)
        whole = payload[:1] == b"{" and payload[-1:] == b"}" and b"\n" not in payload
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        whole = False
    if whole:
        return head + b'"event":' + payload + b"}\n"
    return head + b'"raw":' + json.dumps(payload.decode("utf-8", "surrogateescape")).encode() + b"}\n"


class _Line(msgspec.Struct):
    contract: str
    arrived_at: str
    event: msgspec.Raw | None = None
    raw: str | None = None


_decode_line = msgspec.json.Decoder(_Line).decode
# The way write_arrivals and the simulator write a line. What stands in place of the event need not be JSON.
_WRITTEN = re.compile(
    rb'\{\s*"contract"\s*:\s*"([^"\\]*)"\s*,\s*"arrived_at"\s*:\s*"([^"\\]*)"\s*,\s*"event"\s*:(.*)\}'
)


def read_arrivals(path: Path) -> Iterator[Arrival]:
    """Arrivals of an NDJSON file, their payloads as they stand in it, so that the gate judges the original text: a
    NaN inside an event is refused under the event's own contract.

    A line that is no arrival comes back as contract `unknown` with the line as payload, so that the gate refuses it
    with a reason and nothing is lost. Raises OSError.
    """
    last_ms = 0
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            line = line.strip(b"\r\n")
            if not line.strip():
                continue
            source = f"{path.name}:{number}"
            try:
                name, last_ms, payload = _parse(line)
                yield Arrival(name, last_ms, payload, source)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
                yield Arrival(UNKNOWN, last_ms, line, source)


def _parse(line: bytes) -> tuple[str, int, bytes]:
    """(contract, arrival time, payload). Raises ValueError and its kin where the line is no arrival."""
    try:
        doc = _decode_line(line)
        if (doc.event is None) == (doc.raw is None):
            raise ValueError("a line needs either event or raw")
        payload = bytes(doc.event) if doc.raw is None else doc.raw.encode("utf-8", "surrogateescape")
        return doc.contract, to_ms(doc.arrived_at), payload
    except msgspec.MsgspecError:
        pass
    if match := _WRITTEN.fullmatch(line.strip()):
        return match[1].decode(), to_ms(match[2].decode()), match[3].strip()
    doc = json.loads(line)
    name, arrived_ms = str(doc["contract"]), to_ms(doc["arrived_at"])
    name.encode()
    text = doc["raw"] if "raw" in doc else json.dumps(doc["event"], ensure_ascii=False, separators=(",", ":"))
    return name, arrived_ms, text.encode("utf-8", "surrogateescape")
