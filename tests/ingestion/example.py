"""A small chain and its events, as the ingestion tests use them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cryptography.fernet import Fernet

from ingestion.arrival import Arrival, dumps, to_ms
from ingestion.dead_letters import Cipher
from ingestion.gate import Gate
from ingestion.pseudonym import Pseudonyms
from ingestion.record import Record
from ingestion.reference import Reference
from schemas.instants import to_rfc3339

NOON = to_ms("2026-10-05T12:00:00.000Z")
CIPHER = Cipher(Fernet.generate_key())
PSEUDONYMS = Pseudonyms(b"a key for tests only, of 32 bytes")
VALID_FROM = "2020-01-01T00:00:00.000Z"


def store(store_id: str = "store-001", **changes: Any) -> dict[str, Any]:
    hours = [{"day": day, "opens": "06:00", "closes": "23:00"} for day in ("mon", "tue", "wed", "thu", "fri", "sat")]
    return {
        "event_id": f"stores-{store_id}-{changes.get('event_time', VALID_FROM)}",
        "event_time": VALID_FROM,
        "store_id": store_id,
        "schema_version": 1,
        "name": "High Street",
        "status": "active",
        "time_zone": "America/Denver",
        "locale": "en-US",
        "display_unit": "[degF]",
        "currency": "USD",
        "country": "US",
        "opening_hours": hours,
        "holidays": [],
    } | changes


def asset(asset_id: str = "s001-freezer-01", **changes: Any) -> dict[str, Any]:
    return {
        "event_id": f"assets-{asset_id}-{changes.get('event_time', VALID_FROM)}",
        "event_time": VALID_FROM,
        "store_id": "store-001",
        "schema_version": 1,
        "asset_id": asset_id,
        "asset_class": "freezer",
        "name": "Freezer 1",
        "area": "frozen",
        "status": "active",
        "devices": [{"device_id": f"{asset_id}-t", "metric": "temperature", "unit": "Cel", "interval_s": 60}],
    } | changes


def chain() -> list[tuple[str, dict[str, Any]]]:
    """Two stores. store-001: a freezer in Celsius, a cooler in Fahrenheit, a power meter in W, a lane and a camera;
    store-002: a freezer."""
    fahrenheit = [{"device_id": "s001-cooler-01-t", "metric": "temperature", "unit": "[degF]", "interval_s": 60}]
    watts = [{"device_id": "s001-power-01-p", "metric": "power", "unit": "W", "interval_s": 60}]
    return [
        ("stores", store()),
        ("stores", store("store-002", time_zone="Europe/Berlin", country="DE", currency="EUR")),
        ("assets", asset()),
        ("assets", asset("s001-cooler-01", asset_class="cooler", devices=fahrenheit)),
        ("assets", asset("s001-power-01", asset_class="power_meter", devices=watts)),
        ("assets", asset("s001-lane-01", asset_class="lane", devices=[])),
        ("assets", asset("s001-camera-01", asset_class="camera", devices=[])),
        ("assets", asset("s002-freezer-01", store_id="store-002")),
    ]


def gate(**options: Any) -> Gate:
    return Gate(Reference.of(chain()), PSEUDONYMS, CIPHER, **options)


def reading(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "event_id": f"s001-freezer-01-t-{number}",
        "event_time": to_rfc3339(NOON + number * 60_000 - 400),
        "store_id": "store-001",
        "schema_version": 1,
        "kind": "reading",
        "device_id": "s001-freezer-01-t",
        "asset_id": "s001-freezer-01",
        "asset_class": "freezer",
        "metric": "temperature",
        "value": -18.5,
        "unit": "Cel",
    } | changes


def command(number: int = 1, **changes: Any) -> dict[str, Any]:
    """Somebody silences the freezer for an hour; a change to None takes the field away."""
    event = {
        "event_id": f"command-{number}",
        "event_time": to_rfc3339(NOON - 1000),
        "store_id": "store-001",
        "schema_version": 1,
        "command": "silence",
        "topic": "alerts.cold-chain",
        "actor": "store-manager",
        "comment": "Door seal is being changed",
        "asset_id": "s001-freezer-01",
        "until": to_rfc3339(NOON + 3600_000),
    }
    return {name: value for name, value in (event | changes).items() if value is not None}


def sale(**changes: Any) -> dict[str, Any]:
    return {
        "event_id": "s001-r-1",
        "event_time": to_rfc3339(NOON - 1000),
        "store_id": "store-001",
        "schema_version": 1,
        "transaction_id": "r-1",
        "kind": "sale",
        "channel": "lane",
        "lane_id": "s001-lane-01",
        "currency": "USD",
        "lines": [],
        "tenders": [],
        "total": 0,
    } | changes


def arrival(event: dict[str, Any] | bytes, contract: str = "sensor-readings", at_ms: int | None = None) -> Arrival:
    """As if it arrived at noon, or at at_ms."""
    payload = event if isinstance(event, bytes) else dumps(event)
    return Arrival(contract, NOON if at_ms is None else at_ms, payload, "test:1")


def readings(count: int, store_ids: tuple[str, ...] = ("store-001", "store-002"), prefix: str = "") -> list[Arrival]:
    """Readings of the stores' freezers, one a second in turn. prefix: before their event ids."""
    found = []
    for number in range(count):
        store_id = store_ids[number % len(store_ids)]
        short = "s" + store_id.removeprefix("store-")
        ids = {"device_id": f"{short}-freezer-01-t", "asset_id": f"{short}-freezer-01", "store_id": store_id}
        at_ms = NOON + number * 1000
        event = reading(number, event_id=f"{prefix}{short}-{number}", event_time=to_rfc3339(at_ms), **ids)
        found.append(arrival(event, at_ms=at_ms))
    return found


class ListSink:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.flushed = 0
        self.offsets: dict[str, Any] = {}

    @contextmanager
    def transaction(self) -> Iterator[None]:
        yield
        self.flush()

    def consumed(self, offsets: Any, group: str) -> None:
        self.offsets[group] = dict(offsets)

    def send(self, record: Record) -> None:
        self.records.append(record)

    def flush(self) -> None:
        self.flushed = len(self.records)

    def close(self) -> None:
        pass
