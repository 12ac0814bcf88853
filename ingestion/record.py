"""What leaves the gate."""

from __future__ import annotations

from typing import NamedTuple


class Record(NamedTuple):
    """What goes on a topic. timestamp_ms: arrival time, epoch milliseconds. headers: Kafka's; other sinks have none."""

    topic: str
    key: str
    value: bytes
    timestamp_ms: int
    headers: tuple[tuple[str, bytes], ...] = ()
