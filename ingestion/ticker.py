"""Ticks: how the log tells that time passed in a store where nothing was measured, and all else the engine must know.

A tick is a `sensor-readings` event of kind `tick`, at whole multiples of the interval, so two tickers write the same
ticks. The first one of a store, and the next after a change, tells its facts: the `store`, its active `assets` and the
`roster`, the devices that the store is expected to hear from. Commands for alerts are relayed in a tick of their own,
at once. So a store's log alone decides what its alerts are.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cache
from threading import Event as Signal
from typing import Any, Protocol

import msgspec

from ingestion.arrival import Arrival, dumps
from ingestion.gate import READINGS
from ingestion.record import Record
from ingestion.reference import Reference, ReferenceFollower
from ingestion.relay import GROUP, CommandFollower
from ingestion.sinks import DeliveryFailed, KafkaSink, Offsets, Sink
from schemas.contract import contract
from schemas.instants import to_rfc3339

Facts = dict[str, Any]
"""What a tick tells of a store: `roster`, `store` and `assets`, as the contract writes them."""
Command = dict[str, Any]
_WAIT_S = 0.2
VERSION = 1
"""Of sensor-readings, in whose words a tick is written."""


TRANSACTIONS = "grocery-ticker"
"""The live ticker's transactional id. The guard asks the broker what was last written under it."""


class AnotherTicker(RuntimeError):
    """A ticker that was started later has taken this one's place."""


def facts(reference: Reference) -> dict[str, Facts]:
    """store_id -> what there is to tell of each active store, devices and assets by id."""
    of_store, of_asset = _fields("store"), _fields("assets")
    found: dict[str, Facts] = {
        key: {"roster": [], "store": {name: store[name] for name in of_store if name in store}, "assets": []}
        for key, store in reference.stores.items()
        if store["status"] == "active"
    }
    for asset in sorted(reference.assets.values(), key=lambda one: one["asset_id"]):
        told = found.get(asset["store_id"])
        if told is None or asset["status"] != "active":
            continue
        told["assets"].append({name: asset[name] for name in of_asset if name in asset})
        told["roster"] += (
            {
                "device_id": device["device_id"],
                "asset_id": asset["asset_id"],
                "asset_class": asset["asset_class"],
                "metric": device["metric"],
                "interval_s": device["interval_s"],
            }
            for device in asset["devices"]
        )
    for told in found.values():
        told["roster"].sort(key=lambda device: device["device_id"])
    return found


@cache
def _fields(name: str) -> tuple[str, ...]:
    """What a tick copies of a store, or of an asset."""
    schema = contract(READINGS, VERSION).schema["properties"][name]
    return tuple(schema.get("items", schema)["properties"])


def tick(store_id: str, at_ms: int, told: Facts | None = None, commands: Sequence[Command] = ()) -> Record:
    """One tick; its event time is its arrival time. One with commands has an id of its own, from the first of them."""
    event: dict[str, Any] = {
        "event_id": f"tick-{store_id}-{at_ms}",
        "event_time": to_rfc3339(at_ms),
        "store_id": store_id,
        "schema_version": VERSION,
        "kind": "tick",
    }
    if told is not None:
        event |= told
    if commands:
        event["event_id"] += f"-{hashlib.sha256(commands[0]['event_id'].encode()).hexdigest()[:16]}"
        event["commands"] = list(commands)
    return Record(READINGS, store_id, dumps(event), at_ms)


class Ticker:
    """Makes the ticks of one moment, and remembers what it has told of each store."""

    def __init__(self) -> None:
        self._reference: Reference | None = None
        self._now: dict[str, Facts] = {}
        self._told: dict[str, Facts] = {}
        self._last_ms = 0

    def at(self, reference: Reference, at_ms: int) -> Iterator[Record]:
        """One tick for each store that is active, or was when last told of."""
        self._look(reference)
        self._last_ms = max(self._last_ms, at_ms)
        for store_id in sorted(self._now.keys() | self._told.keys()):
            yield tick(store_id, at_ms, self._news(store_id))

    def relay(self, reference: Reference, at_ms: int, store_id: str, commands: Sequence[Command]) -> Record:
        """A tick with commands of one store, and with its facts where they are not told yet. Never earlier than a tick
        made before."""
        self._look(reference)
        self._last_ms = max(self._last_ms, at_ms)
        return tick(store_id, self._last_ms, self._news(store_id), commands)

    def _look(self, reference: Reference) -> None:
        if reference is not self._reference:
            self._reference, self._now = reference, facts(reference)

    def _news(self, store_id: str) -> Facts | None:
        """The store's facts where they have changed since they were told."""
        before, now = self._told.get(store_id), self._now.get(store_id)
        if now is not None:
            self._told[store_id] = now
            return now if now != before else None
        if before is not None:
            del self._told[store_id]  # closed for good: told once that nothing is expected any more
            return before | {"roster": [], "assets": []}
        return None


class ReplayTicker:
    """Ticks on the arrivals' own clock: every active store's between the arrivals, and commands among them relayed."""

    def __init__(self, reference: Reference, every_s: float) -> None:
        self._every_ms = _every_ms(every_s)
        self._reference = reference
        self._ticker = Ticker()

    def among(self, arrivals: Iterable[Arrival], settle_s: float = 0) -> Iterator[Arrival | Record]:
        """The arrivals, in their order, with the ticks between them.

        The first ticks come before the first arrival. settle_s: go on ticking so long after the last one, so that what
        falls due without a reading is settled too.
        """
        due, last_ms = None, 0
        for arrival in arrivals:
            if due is None:
                due = arrival.arrived_ms - arrival.arrived_ms % self._every_ms
            while due <= arrival.arrived_ms:
                yield from self._ticker.at(self._reference, due)
                due += self._every_ms
            last_ms = max(last_ms, arrival.arrived_ms)
            yield arrival
        while due is not None and due <= last_ms + settle_s * 1000:
            yield from self._ticker.at(self._reference, due)
            due += self._every_ms

    def relay(self, admitted: Record) -> Record:
        """The tick that relays a command which the gate let in just now. It stands behind the record itself."""
        command = msgspec.json.decode(admitted.value)
        return self._ticker.relay(self._reference, admitted.timestamp_ms, admitted.key, [command])


class TransactionalSink(Sink, Protocol):
    """A sink in which records and the offsets of what they were made from become committed together."""

    def transaction(self) -> AbstractContextManager[None]: ...

    def consumed(self, offsets: Offsets, group: str) -> None: ...


def run_ticker(
    bootstrap: str,
    every_s: float,
    *,
    stop: Signal | None = None,
    on_tick: Callable[[int, int], None] | None = None,
    sink: TransactionalSink | None = None,
) -> int:
    """The live ticker: every active store, every `every_s` seconds by this machine's clock, until `stop` is set.

    Follows the reference topics, so a change is in the store's next tick. A moment that was missed (the machine slept)
    is not made up for: the next tick says as much. Started again, it writes ticks of the same ids; a start tells every
    store's facts once more.

    Commands are relayed from the topic `alert-commands` within half a second, each exactly once: how far that topic
    was read is committed in the ticks' own transactions, in the consumer group `ticker`.

    on_tick: called with (moment in epoch ms, ticks written). Returns how many ticks were written.
    Raises DeliveryFailed where the broker stays away, AnotherTicker where one was started after this: there is one.
    """
    from kafka.errors import InvalidProducerEpochError, ProducerFencedError

    every_ms = _every_ms(every_s)
    stop = stop or Signal()
    out = sink or KafkaSink(bootstrap, transactional_id=TRANSACTIONS)
    try:
        return _run(bootstrap, every_ms, stop, on_tick, out)
    except DeliveryFailed as error:
        if isinstance(error.__cause__, ProducerFencedError | InvalidProducerEpochError):
            raise AnotherTicker(
                f"another ticker was started against {bootstrap} and goes on in this one's place; one is enough"
            ) from error
        raise
    finally:
        if sink is None:
            out.close()


def _run(
    bootstrap: str,
    every_ms: int,
    stop: Signal,
    on_tick: Callable[[int, int], None] | None,
    out: TransactionalSink,
) -> int:
    ticker, count = Ticker(), 0
    follower = ReferenceFollower(bootstrap)
    # Only now: the sink has ended what a killed ticker left open, so how far that one came is known.
    commands = CommandFollower(bootstrap)
    try:
        due, began = _now_ms() // every_ms * every_ms + every_ms, False
        while not stop.is_set():
            now = _now_ms()
            if now >= due:
                due = now // every_ms * every_ms
                records = list(ticker.at(follower.reference, due))
                for record in records:
                    out.send(record)
                out.flush()
                count += len(records)
                if on_tick:
                    on_tick(due, len(records))
                due, began = due + every_ms, True
                continue
            wait_s = min((due - now) / 1000, _WAIT_S)
            if not began:  # a store's facts stand before the first command
                follower.poll(wait_s)
                continue
            found = commands.poll(wait_s)
            follower.poll(0)
            if found:
                at_ms = min(_now_ms(), due - 1)  # before the next tick, which may be due by now
                with out.transaction():
                    for store_id, given in found.items():
                        out.send(ticker.relay(follower.reference, at_ms, store_id, given))
                    out.consumed(commands.read, GROUP)
                count += len(found)
    finally:
        follower.close()
        commands.close()
    return count


def _every_ms(every_s: float) -> int:
    every_ms = round(every_s * 1000)
    if every_ms < 1:
        raise ValueError(f"ticks every {every_s} s: at least 0.001 s; 5 to 10 s is a good choice")
    return every_ms


def _now_ms() -> int:
    return round(time.time() * 1000)
