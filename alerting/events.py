"""What the engine reads: a store's log, record by record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

SEPARATOR = "\x1e"
"""Between two records of a batch: U+001E (RFC 7464). JSON text cannot hold it, so a broken record spoils no other."""


class Expected(msgspec.Struct):
    """A device that the store shall hear from."""

    device_id: str
    asset_id: str
    asset_class: str
    metric: str
    interval_s: int


class Event(msgspec.Struct):
    """The fields of a sensor-readings event that decide something; others are skipped unread."""

    event_id: str
    event_time: str
    store_id: str
    kind: str
    device_id: str = ""
    asset_id: str = ""
    asset_class: str = ""
    metric: str = ""
    value: float | None = None
    roster: list[Expected] | None = None


class Logged(NamedTuple):
    """One record of the log. arrived_ms: the record's timestamp."""

    arrived_ms: int
    event: Event


class Unreadable(NamedTuple):
    """A record that is no event. offset: where it stands in its partition, -1 where that cannot be read either."""

    offset: int
    why: str


_decode = msgspec.json.Decoder(Event).decode


def read_batch(batch: str, unreadable: list[Unreadable]) -> Iterator[Logged]:
    """The events of a batch, `<offset> <arrived_ms> <json>` joined by SEPARATOR, in its order.

    What cannot be read is added to `unreadable`, and the rest goes on.
    """
    for record in batch.split(SEPARATOR):
        try:
            offset, arrived, payload = record.split(" ", 2)
            yield Logged(int(arrived), _decode(payload))
        except (ValueError, RecursionError) as error:
            unreadable.append(Unreadable(_offset(record), str(error)[:200]))


def read_event(payload: str | bytes) -> Event:
    """One event. Raises ValueError."""
    return _decode(payload)


def _offset(record: str) -> int:
    head = record[:20].partition(" ")[0]
    return int(head) if head.isascii() and head.isdigit() else -1
