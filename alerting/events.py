"""What the engine reads: a store's log, record by record."""

from __future__ import annotations

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
_decode_record = msgspec.json.Decoder(tuple[int, int, Event]).decode
_decode_batch = msgspec.json.Decoder(list[tuple[int, int, Event]]).decode


def read_batch(batch: str, unreadable: list[Unreadable]) -> list[tuple[int, Event]]:
    """The events of a batch, `[<offset>,<arrived_ms>,<json>]` joined by SEPARATOR, in its order; as Logged has them.

    What cannot be read is added to `unreadable`, and the rest goes on.
    """
    count = batch.count(SEPARATOR) + 1
    # All at once takes half the time of one by one. A broken payload may hold text that ends its record and begins
    # another; with as many `]` as records none can have passed unseen, since each record needs its own.
    if batch.count("]") == count:
        try:
            records = _decode_batch(f"[{batch.replace(SEPARATOR, ',')}]")
        except (ValueError, RecursionError):
            records = []
        if len(records) == count:
            return [(arrived, event) for _, arrived, event in records]
    events = []
    for text in batch.split(SEPARATOR):
        try:
            if text[:1].isdigit():  # from a window of release 0.1.0: `<offset> <arrived_ms> <json>`
                _, arrived, payload = text.split(" ", 2)
                events.append((int(arrived), _decode(payload)))
                continue
            _, arrived, event = _decode_record(text)
            events.append((arrived, event))
        except (ValueError, RecursionError) as error:
            unreadable.append(Unreadable(_offset(text), str(error)[:200]))
    return events


def read_event(payload: str | bytes) -> Event:
    """One event. Raises ValueError."""
    return _decode(payload)


def _offset(record: str) -> int:
    bracket, _, rest = record[:21].partition("[")
    head = rest.partition(",")[0]
    return int(head) if not bracket and head.isascii() and head.isdigit() else -1
