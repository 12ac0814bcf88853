"""A chain of as many stores as asked: fewer than the chain's own, or clones of them under new ids."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ingestion.reference import Event, Reference, to_event

MAX_STORES = 999
_PREFIX = re.compile(r"^s[0-9]{3}-")


def of_size(reference: Reference, stores: int) -> Reference:
    """The first `stores` active stores, or all and clones of them in turn (`store-004` is like `store-001`).

    Ids of assets and devices must begin like `s001-`. Raises ValueError.
    """
    if not 1 <= stores <= MAX_STORES:
        raise ValueError(f"--stores {stores}: must be from 1 to {MAX_STORES}")
    own = [store for _, store in sorted(reference.stores.items()) if store["status"] == "active"]
    if not own:
        raise ValueError("the chain has no active store; add one to stores.yaml")
    kept = own[:stores]
    kept_ids = {store["store_id"] for store in kept}
    events: list[tuple[str, Event]] = [("stores", store) for store in kept]
    events += [("assets", asset) for asset in reference.assets.values() if asset["store_id"] in kept_ids]
    events += [("products", p) for p in reference.products.values() if p["store_id"] in kept_ids | {"chain"}]
    for number in range(len(own) + 1, stores + 1):
        events += _clone(reference, own[(number - 1) % len(own)], number)
    return Reference.of(events)


def _clone(reference: Reference, origin: Event, number: int) -> list[tuple[str, Event]]:
    store_id, prefix = f"store-{number:03d}", f"s{number:03d}-"
    if store_id in reference.stores:
        raise ValueError(f"{store_id}: exists already; a chain whose stores are cloned numbers them from store-001")
    found = [("stores", origin | {"store_id": store_id, "name": f"{origin['name']} ({number})"})]
    for asset in reference.assets.values():
        if asset["store_id"] == origin["store_id"]:
            copy = asset | {"store_id": store_id, "asset_id": _renamed(asset["asset_id"], prefix)}
            if "parent_id" in asset:
                copy["parent_id"] = _renamed(asset["parent_id"], prefix)
            copy["devices"] = [d | {"device_id": _renamed(d["device_id"], prefix)} for d in asset["devices"]]
            found.append(("assets", copy))
    for product in reference.products.values():
        if product["store_id"] == origin["store_id"]:
            found.append(("products", product | {"store_id": store_id}))
    return [(name, to_event(name, _entry(event))) for name, event in found]


def _renamed(name: str, prefix: str) -> str:
    if not _PREFIX.match(name):
        raise ValueError(f"{name}: to clone its store, the id must begin like s001-")
    return prefix + name[len(prefix) :]


def _entry(event: Event) -> dict[str, Any]:
    """The event as it would stand in a chain's file."""
    plain = {key: value for key, value in event.items() if key not in ("event_id", "event_time", "schema_version")}
    return {"valid_from": event["event_time"]} | plain


def events_of(reference: Reference) -> list[tuple[str, Event]]:
    """(contract name, event) pairs, as `ingestion.reference.publish` takes them."""
    return [
        *(("stores", event) for event in reference.stores.values()),
        *(("assets", event) for event in reference.assets.values()),
        *(("products", event) for event in reference.products.values()),
    ]


def write_chain(reference: Reference, folder: Path) -> None:
    """stores.yaml, assets.yaml and products.yaml, for `grocery chain publish FOLDER`."""
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe")
    yaml.default_flow_style = None
    yaml.allow_unicode = True
    yaml.width = 4096
    folder.mkdir(parents=True, exist_ok=True)
    for kind in ("stores", "assets", "products"):
        with (folder / f"{kind}.yaml").open("w", encoding="utf-8") as out:
            yaml.dump([_entry(event) for name, event in events_of(reference) if name == kind], out)
