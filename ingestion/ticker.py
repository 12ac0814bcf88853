"""Ticks: how the log tells that time passed in a store where nothing was measured.

A tick is a `sensor-readings` event of kind `tick`, at whole multiples of the interval, so two tickers write the same
ticks. The first one of a store, and the next after a change of its assets, carries the `roster`: the devices that the
store is expected to hear from.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from threading import Event as Signal
from typing import Any

from ingestion.arrival import Arrival, dumps
from ingestion.gate import READINGS
from ingestion.record import Record
from ingestion.reference import Reference, ReferenceFollower
from ingestion.sinks import KafkaSink, Sink
from schemas.instants import to_rfc3339

Roster = list[dict[str, Any]]


def roster(reference: Reference, store_id: str) -> Roster:
    """The devices on the store's active assets, by id."""
    found = [
        {
            "device_id": device["device_id"],
            "asset_id": asset["asset_id"],
            "asset_class": asset["asset_class"],
            "metric": device["metric"],
            "interval_s": device["interval_s"],
        }
        for asset in reference.assets.values()
        if asset["store_id"] == store_id and asset["status"] == "active"
        for device in asset["devices"]
    ]
    return sorted(found, key=lambda device: device["device_id"])


def tick(store_id: str, at_ms: int, devices: Roster | None = None) -> Record:
    """One tick; its event time is its arrival time."""
    event: dict[str, Any] = {
        "event_id": f"tick-{store_id}-{at_ms}",
        "event_time": to_rfc3339(at_ms),
        "store_id": store_id,
        "schema_version": 1,
        "kind": "tick",
    }
    if devices is not None:
        event["roster"] = devices
    return Record(READINGS, store_id, dumps(event), at_ms)


class Ticker:
    """Makes the ticks of one moment, and remembers which rosters it has told."""

    def __init__(self) -> None:
        self._told: dict[str, Roster] = {}

    def at(self, reference: Reference, at_ms: int) -> Iterator[Record]:
        """One tick for each store that is active, or was when last told of."""
        active = {key for key, store in reference.stores.items() if store["status"] == "active"}
        for store_id in sorted(active | self._told.keys()):
            devices = roster(reference, store_id) if store_id in active else []
            changed = self._told.get(store_id) != devices
            if store_id in active:
                self._told[store_id] = devices
            else:
                del self._told[store_id]  # a last tick with an empty roster: nothing is expected any more
            yield tick(store_id, at_ms, devices if changed else None)


def with_ticks(
    arrivals: Iterable[Arrival], reference: Reference, every_s: float, settle_s: float = 0
) -> Iterator[Arrival | Record]:
    """The arrivals, in their order, with every active store's ticks between them on the arrivals' own clock.

    The first ticks come before the first arrival. settle_s: go on ticking so long after the last one, so that what
    falls due without a reading is settled too.
    """
    every_ms = _every_ms(every_s)
    ticker, due, last_ms = Ticker(), None, 0
    for arrival in arrivals:
        if due is None:
            due = arrival.arrived_ms - arrival.arrived_ms % every_ms
        while due <= arrival.arrived_ms:
            yield from ticker.at(reference, due)
            due += every_ms
        last_ms = max(last_ms, arrival.arrived_ms)
        yield arrival
    while due is not None and due <= last_ms + settle_s * 1000:
        yield from ticker.at(reference, due)
        due += every_ms


def run_ticker(
    bootstrap: str,
    every_s: float,
    *,
    stop: Signal | None = None,
    on_tick: Callable[[int, int], None] | None = None,
    sink: Sink | None = None,
) -> int:
    """The live ticker: every active store, every `every_s` seconds by this machine's clock, until `stop` is set.

    Follows the reference topics, so a changed asset is in the next tick's roster. A moment that was missed (the
    machine slept) is not made up for: the next tick says as much. Started twice, or again, it writes ticks of the same
    ids; a start tells the rosters once more.
    on_tick: called with (moment in epoch ms, ticks written). Returns how many ticks were written.
    Raises DeliveryFailed where the broker stays away.
    """
    every_ms = _every_ms(every_s)
    stop = stop or Signal()
    follower = ReferenceFollower(bootstrap)
    ticker, count = Ticker(), 0
    out = sink or KafkaSink(bootstrap)
    try:
        due = _now_ms() // every_ms * every_ms + every_ms
        while not stop.is_set():
            wait_ms = due - _now_ms()
            if wait_ms > 0:
                follower.poll(min(wait_ms, 500) / 1000)
                continue
            due = _now_ms() // every_ms * every_ms
            records = list(ticker.at(follower.reference, due))
            for record in records:
                out.send(record)
            out.flush()
            count += len(records)
            if on_tick:
                on_tick(due, len(records))
            due += every_ms
    finally:
        follower.close()
        if sink is None:
            out.close()
    return count


def _every_ms(every_s: float) -> int:
    every_ms = round(every_s * 1000)
    if every_ms < 1:
        raise ValueError(f"ticks every {every_s} s: at least 0.001 s; 5 to 10 s is a good choice")
    return every_ms


def _now_ms() -> int:
    return round(time.time() * 1000)
