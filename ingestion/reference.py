"""Stores, assets and products as the gate knows them.

They are written by people in `chain/*.yaml`, published to the compacted topics `stores`, `assets` and `products`,
and read from there by the gate, the ticker (which tells the engine) and the lakehouse.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from ingestion.arrival import dumps

Event = dict[str, Any]


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
        """From (contract name, event) pairs in any order: the greatest event_time of a key wins."""
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
        return cls.of(chain_events(chain))


def chain_events(chain: Path) -> list[tuple[str, Event]]:
    """(contract name, event) for every entry of stores.yaml, assets.yaml and products.yaml.

    An entry has the contract's fields; `valid_from` (RFC 3339) stands for event_time. event_id is the entry's hash,
    so publishing the same file twice changes nothing.
    """
    events = []
    for name in ("stores", "assets", "products"):
        for entry in YAML(typ="safe").load(chain / f"{name}.yaml"):
            events.append((name, _event(name, entry)))
    return events


def _event(name: str, entry: dict[str, Any]) -> Event:
    body = {k: v for k, v in entry.items() if k not in ("valid_from", "store_id")}
    valid_from = entry.get("valid_from", "2020-01-01T00:00:00.000Z")
    event = {"event_time": valid_from, "store_id": entry.get("store_id", "chain"), "schema_version": 1} | body
    return {"event_id": f"{name}-{hashlib.sha256(dumps(event)).hexdigest()[:24]}"} | event
