"""What the engine reads: a store's log, record by record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

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


class AssetInfo(msgspec.Struct, frozen=True):
    """An active asset of the store. parent_id: what it depends on, e.g. a freezer on its rack."""

    asset_id: str
    asset_class: str
    name: str = ""
    area: str = ""
    parent_id: str = ""
    gtin: str = ""


class OpenSpan(msgspec.Struct, frozen=True):
    """Weekly hours, local time HH:MM; closes may be 24:00."""

    day: str
    opens: str
    closes: str


class Holiday(msgspec.Struct, frozen=True):
    """An exception to the weekly hours on one local date."""

    date: str
    closed: bool
    opens: str = ""
    closes: str = ""


class StoreInfo(msgspec.Struct, frozen=True):
    """What the engine must know of the store itself."""

    time_zone: str = "UTC"
    locale: str = "en-US"
    display_unit: str = "Cel"
    name: str = ""
    opening_hours: tuple[OpenSpan, ...] = ()
    holidays: tuple[Holiday, ...] = ()


class Command(msgspec.Struct):
    """What a person wants of the alerts, as the contract `alert-commands` has it. Instants are RFC 3339."""

    event_id: str
    store_id: str
    command: str
    topic: str
    actor: str = ""
    comment: str = ""
    alert_id: str = ""
    until: str = ""
    rule: str = ""
    asset_id: str = ""
    asset_class: str = ""
    area: str = ""
    device_id: str = ""
    from_: str = msgspec.field(name="from", default="")
    rrule: str = ""
    lasts_s: int = 0
    cancels: str = ""
    resolution: dict[str, Any] | None = None


class Event(msgspec.Struct):
    """The fields of a sensor-readings event, or of a derived reading, that decide something; others are skipped unread.

    roster, store, assets: in a tick, what the store consists of from now on. commands: in a tick, in their order.
    """

    event_id: str
    event_time: str
    store_id: str
    kind: str
    device_id: str = ""
    asset_id: str = ""
    asset_class: str = ""
    metric: str = ""
    value: float | None = None
    zone_kind: str = ""
    roster: list[Expected] | None = None
    store: StoreInfo | None = None
    assets: list[AssetInfo] | None = None
    commands: list[Command] | None = None


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
