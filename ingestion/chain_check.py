"""Checks a chain's files before anything is published: each entry against its contract, and all against each other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from ingestion.reference import NAMES, Event, read_entries, to_event
from ingestion.units import UnitDoesNotFit, converter, metric_units
from schemas.contract import contract
from schemas.validate import validator


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and where; `str` gives `chain/assets.yaml:14: …`."""

    path: Path
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a file, as a contract event, and the place where it stands."""

    name: str
    event: Event
    path: Path
    node: Node

    def problem(self, pointer: str, message: str) -> Problem:
        """At the field the JSON pointer names, or else at the entry."""
        node = self.node
        for step in pointer.strip("/").split("/"):
            found = _step(node, "valid_from" if step == "event_time" else step)
            if found is None:
                break
            node = found
        return Problem(self.path, node.start_mark.line + 1, message)


def check_chain(chain: Path) -> tuple[list[tuple[str, Event]], list[Problem]]:
    """((contract name, event) for every entry, problems). Raises ChainError where a file cannot be read at all."""
    entries = [entry for name in NAMES for entry in _entries(chain, name)]
    checks = {name: validator(contract(name)) for name in NAMES}
    problems = [
        entry.problem(reason.path, f"{_label(entry)}: {reason.path.strip('/') or 'entry'}: {reason.message}")
        for entry in entries
        for reason in checks[entry.name](entry.event)
    ]
    if not problems:  # what follows takes fields and types for granted
        problems = [*_twice(entries), *_stores(entries), *_assets(entries), *_products(entries)]
    return [(entry.name, entry.event) for entry in entries], problems


def _entries(chain: Path, name: str) -> list[Entry]:
    path = chain / f"{name}.yaml"
    read = read_entries(path)
    tree = YAML().compose(path)
    return [Entry(name, to_event(name, entry), path, node) for entry, node in zip(read, tree.value, strict=True)]


def _step(node: Node, step: str) -> Node | None:
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if key.value == step:
                return value
    if isinstance(node, SequenceNode) and step.isdigit() and int(step) < len(node.value):
        return node.value[int(step)]
    return None


def _label(entry: Entry) -> str:
    ids = {"stores": "store_id", "assets": "asset_id", "products": "product_id"}
    return str(entry.event.get(ids[entry.name], entry.name[:-1]))


def _twice(entries: Iterable[Entry]) -> Iterable[Problem]:
    seen: dict[tuple[Any, ...], Entry] = {}
    for entry in entries:
        key = (entry.name, contract(entry.name).key(entry.event), entry.event["event_time"])
        if key in seen:
            first = seen[key].node.start_mark.line + 1
            yield entry.problem(
                "", f"{_label(entry)}: stands at line {first} already; give a changed entry a later valid_from"
            )
        seen.setdefault(key, entry)


def _stores(entries: Iterable[Entry]) -> Iterable[Problem]:
    for entry in entries:
        if entry.name != "stores":
            continue
        zone = entry.event["time_zone"]
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError):
            yield entry.problem(
                "/time_zone", f"{_label(entry)}: time_zone {zone}: no such IANA zone; write it like America/Denver"
            )
        for index, span in enumerate(entry.event["opening_hours"]):
            if span["opens"] >= span["closes"]:
                yield entry.problem(
                    f"/opening_hours/{index}",
                    f"{_label(entry)}: {span['day']} opens {span['opens']} and closes {span['closes']}; "
                    "closes must be later, 24:00 is midnight",
                )


_METERED = ("power", "energy", "water")
"""Metrics of which an asset has one device: what is derived of a meter is told by its asset."""


def _assets(entries: list[Entry]) -> Iterable[Problem]:
    units = metric_units(contract("sensor-readings"))
    stores = {entry.event["store_id"] for entry in entries if entry.name == "stores"}
    gtins = {entry.event["product_id"] for entry in entries if entry.name == "products"}
    assets = {entry.event["asset_id"]: entry for entry in entries if entry.name == "assets"}
    owners: dict[str, str] = {}
    for entry in entries:
        if entry.name != "assets":
            continue
        event, label = entry.event, _label(entry)
        if event["store_id"] not in stores:
            yield entry.problem("/store_id", f"{label}: store {event['store_id']} is not in stores.yaml")
        parent = event.get("parent_id")
        if parent is not None and parent not in assets:
            yield entry.problem("/parent_id", f"{label}: parent {parent} is not in assets.yaml")
        elif parent is not None and assets[parent].event["store_id"] != event["store_id"]:
            yield entry.problem(
                "/parent_id",
                f"{label}: parent {parent} stands in {assets[parent].event['store_id']}; both must be in one store",
            )
        elif parent == event["asset_id"]:
            yield entry.problem("/parent_id", f"{label}: is its own parent")
        if event.get("gtin") and event["gtin"] not in gtins:
            yield entry.problem("/gtin", f"{label}: product {event['gtin']} is not in products.yaml")
        metrics: set[str] = set()
        ids: set[str] = set()
        for index, device in enumerate(event["devices"]):
            where = f"/devices/{index}"
            if device["metric"] in metrics and device["metric"] in _METERED:
                yield entry.problem(
                    f"{where}/metric",
                    f"{label}: device {device['device_id']} is its second one of {device['metric']}; "
                    "an asset has one, give the other an asset of its own",
                )
            metrics.add(device["metric"])
            if device["device_id"] in ids:
                yield entry.problem(
                    f"{where}/device_id",
                    f"{label}: device {device['device_id']} is named twice; give each metric a device of its own",
                )
            ids.add(device["device_id"])
            owner = owners.setdefault(device["device_id"], event["asset_id"])
            if owner != event["asset_id"]:
                yield entry.problem(
                    f"{where}/device_id", f"{label}: device {device['device_id']} is on {owner} already; ids are unique"
                )
            try:
                converter(device["unit"], units[device["metric"]])
            except UnitDoesNotFit as error:
                yield entry.problem(
                    f"{where}/unit",
                    f"{label}: device {device['device_id']} reports {device['metric']} in {device['unit']}: {error}",
                )


def _products(entries: Iterable[Entry]) -> Iterable[Problem]:
    stores = {entry.event["store_id"] for entry in entries if entry.name == "stores"} | {"chain"}
    for entry in entries:
        if entry.name != "products":
            continue
        if entry.event["store_id"] not in stores:
            yield entry.problem("/store_id", f"{_label(entry)}: store {entry.event['store_id']} is not in stores.yaml")
