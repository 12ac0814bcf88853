"""Stores, assets and products as the gate knows them.

They are written by people in `chain/*.yaml`, published to the compacted topics `stores`, `assets` and `products`,
and read from there by the gate, the ticker (which tells the engine) and the lakehouse.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from ingestion.arrival import dumps, to_ms
from ingestion.record import Record
from ingestion.sinks import KafkaSink
from ingestion.topics import read_topic
from schemas.contract import contract
from schemas.instants import to_rfc3339
from schemas.validate import validator

Event = dict[str, Any]
NAMES = ("stores", "assets", "products")
FIRST_VALID = "2020-01-01T00:00:00.000Z"


class ChainError(ValueError):
    """A file of the chain that cannot be used; the message names file and line."""


@dataclass(slots=True)
class Reference:
    """The newest version of each store, asset and product, as contract events.

    stores by store_id; assets by asset_id; products by (store_id, product_id); devices: device_id -> its asset.
    """

    stores: dict[str, Event] = field(default_factory=dict)
    assets: dict[str, Event] = field(default_factory=dict)
    products: dict[tuple[str, str], Event] = field(default_factory=dict)
    devices: dict[str, Event] = field(default_factory=dict)

    @classmethod
    def of(cls, events: Iterable[tuple[str, Event]]) -> Reference:
        """From (contract name, event) pairs in any order: the greatest event_time of a key wins, and of two with the
        same event_time the one given last (a correction)."""
        self = cls()
        for name, event in sorted(events, key=lambda pair: pair[1]["event_time"]):
            if name == "stores":
                self.stores[event["store_id"]] = event
            elif name == "assets":
                self.assets[event["asset_id"]] = event
            elif name == "products":
                self.products[event["store_id"], event["product_id"]] = event
        self.devices = {d["device_id"]: a for a in self.assets.values() for d in a["devices"]}
        return self

    @classmethod
    def from_folder(cls, chain: Path) -> Reference:
        """Raises ChainError."""
        return cls.of(chain_events(chain))

    @classmethod
    def from_topics(cls, bootstrap: str) -> Reference:
        """What has been published. Raises LookupError where nothing has."""
        found = cls.of(published(bootstrap))
        if not found.stores:
            raise LookupError(f"no stores on topic `stores` at {bootstrap}; run `grocery chain publish` first")
        return found

    def narrowed(self, devices: Collection[str]) -> Reference:
        """Only these devices, their assets and stores: what a replay of some loggers can tell anything about."""
        assets = {}
        for asset in self.assets.values():
            kept = [device for device in asset["devices"] if device["device_id"] in devices]
            if kept:
                assets[asset["asset_id"]] = asset | {"devices": kept}
        stores = {asset["store_id"] for asset in assets.values()}
        return Reference(
            stores={key: store for key, store in self.stores.items() if key in stores},
            assets=assets,
            products=self.products,
            devices={d["device_id"]: a for a in assets.values() for d in a["devices"]},
        )


def chain_events(chain: Path) -> list[tuple[str, Event]]:
    """(contract name, event) for every entry of stores.yaml, assets.yaml and products.yaml.

    An entry has the contract's fields; `valid_from` (RFC 3339) stands for event_time. event_id is the entry's hash,
    so publishing the same file twice changes nothing. Raises ChainError.
    """
    return [(name, to_event(name, entry)) for name in NAMES for entry in read_entries(chain / f"{name}.yaml")]


def read_entries(path: Path) -> list[dict[str, Any]]:
    """The entries of one file. Raises ChainError."""
    try:
        entries = YAML(typ="safe").load(path)
    except FileNotFoundError as error:
        raise ChainError(f"{path}: no such file; a chain has {', '.join(f'{name}.yaml' for name in NAMES)}") from error
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ChainError(f"{path}:{line}: not YAML: {error.problem}") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ChainError(f"{path}:1: a list of entries is expected, each beginning with `- `")
    return entries


def to_event(name: str, entry: dict[str, Any]) -> Event:
    """The contract event of one entry of stores.yaml, assets.yaml or products.yaml."""
    body = {key: _plain(value) for key, value in entry.items() if key not in ("valid_from", "store_id")}
    valid_from = _plain(entry.get("valid_from", FIRST_VALID))
    event = {"event_time": valid_from, "store_id": entry.get("store_id", "chain"), "schema_version": 1} | body
    return {"event_id": f"{name}-{hashlib.sha256(dumps(event)).hexdigest()[:24]}"} | event


def _plain(value: Any) -> Any:
    """YAML reads an unquoted instant or date as such; contracts write both as text."""
    if isinstance(value, datetime):
        instant = value if value.tzinfo else value.replace(tzinfo=UTC)
        return to_rfc3339(round(instant.timestamp() * 1000))
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value


def published(bootstrap: str) -> list[tuple[str, Event]]:
    """(contract name, event) for every version on the reference topics, oldest first."""
    return [
        (name, msgspec.json.decode(record.value))
        for name in NAMES
        for record in read_topic(bootstrap, contract(name).topic)
        if record.value is not None
    ]


@dataclass(frozen=True, slots=True)
class Published:
    """written: entries that were new or changed; unchanged: those there already; left_over: keys on the topics that
    the events given do not mention, as `assets s001-freezer-09`, and that are not retired: retire them in the file, a
    key is never dropped silently."""

    written: int
    unchanged: int
    left_over: list[str]


def publish(events: Iterable[tuple[str, Event]], bootstrap: str, arrived_ms: int | None = None) -> Published:
    """Write (contract name, event) pairs to the reference topics. Publishing the same again writes nothing.

    A key's newest version by event_time always ends last on its topic, so compaction keeps the right one: an older
    version that comes late is written, and the newest once more after it.
    arrived_ms: the records' timestamp, epoch milliseconds; now, unless told.
    Raises ValueError naming the breach where an event does not follow its contract; then nothing is written.
    """
    given = sorted(events, key=lambda pair: pair[1]["event_time"])
    checks = {name: validator(contract(name)) for name in NAMES}
    for name, event in given:
        for reason in checks[name](event):
            raise ValueError(f"{name} {event.get('event_id')}: {reason.path}: {reason.message}")
    seen: set[str] = set()
    newest: dict[tuple[str, str], Event] = {}
    for name, event in sorted(published(bootstrap), key=lambda pair: pair[1]["event_time"]):
        seen.add(event["event_id"])
        newest[name, contract(name).key(event)] = event
    left_over = [
        f"{name} {key}"
        for (name, key), event in newest.items()
        if (name, key) not in {(n, contract(n).key(e)) for n, e in given} and event["status"] != "retired"
    ]
    out: list[tuple[str, str, Event]] = []
    written = 0
    for name, event in given:
        key = contract(name).key(event)
        now = newest.get((name, key))
        if now is None or event["event_time"] > now["event_time"]:
            fresh = True
        elif event["event_time"] == now["event_time"]:
            fresh = event["event_id"] != now["event_id"]
        else:
            fresh = event["event_id"] not in seen
        if not fresh:
            continue
        written += 1
        out.append((name, key, event))
        if now is not None and event["event_time"] < now["event_time"]:
            out.append((name, key, now))
        else:
            newest[name, key] = event
        seen.add(event["event_id"])
    if out:
        stamp = round(time.time() * 1000) if arrived_ms is None else arrived_ms
        with KafkaSink(bootstrap) as sink:
            for name, key, event in out:
                sink.send(Record(contract(name).topic, key, dumps(event), stamp))
    return Published(written, len(given) - written, sorted(left_over))


class ReferenceFollower:
    """Reads the reference topics and goes on reading: `reference` is what is known now.

    Call `poll` now and then; close at the end.
    """

    def __init__(self, bootstrap: str, names: Collection[str] = ("stores", "assets")) -> None:
        from kafka import KafkaConsumer, TopicPartition

        self._consumer = KafkaConsumer(
            bootstrap_servers=bootstrap,
            group_id=None,
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
        )
        self._names = {contract(name).topic: name for name in names}
        parts = [
            TopicPartition(topic, number)
            for topic in self._names
            for number in sorted(self._consumer.partitions_for_topic(topic) or ())
        ]
        if {part.topic for part in parts} != set(self._names):
            self._consumer.close()
            raise LookupError(f"reference topics are not on the broker at {bootstrap}; `grocery stack up` makes them")
        self._consumer.assign(parts)
        self._consumer.seek_to_beginning(*parts)
        self._newest: dict[tuple[str, str], tuple[str, Event]] = {}
        self.reference = Reference()
        ends = self._consumer.end_offsets(parts)
        while any(self._consumer.position(part) < ends[part] for part in parts):
            self.poll(0.5)

    def poll(self, timeout_s: float) -> bool:
        """Wait at most so long for changes; true where there was one."""
        changed = False
        for part, batch in self._consumer.poll(timeout_ms=round(timeout_s * 1000)).items():
            name = self._names[part.topic]
            for record in batch:
                event = msgspec.json.decode(record.value)
                key = name, contract(name).key(event)
                known = self._newest.get(key)
                if known is None or to_ms(event["event_time"]) >= to_ms(known[1]["event_time"]):
                    self._newest[key] = (name, event)
                    changed = True
        if changed:
            self.reference = Reference.of(self._newest.values())
        return changed

    def close(self) -> None:
        self._consumer.close()
