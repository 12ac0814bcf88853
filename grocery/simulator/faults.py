"""What goes wrong in a simulated store, when, and how badly: a fault plan.

A plan is a YAML file with a list `faults`; one entry:
    - {fault: door-ajar, store: store-002, asset: freezer-03, after: 9h, lasts: 1h 30m, magnitude: 0.5, every: 24h}
store: an id, or `each`. asset: its id without the store's prefix; network-outage takes `area` instead, queue-surge
nothing. after: since the simulation's start. every: comes again so often; once, unless given. bad-input takes `what`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ingestion.reference import Event, Reference

DEFAULT_PLAN = Path(__file__).with_name("faults.yaml")

BAD_INPUTS = (
    "wrong-unit",
    "not-a-number",
    "broken-json",
    "unknown-asset",
    "unknown-store",
    "far-future",
    "missing-field",
    "unknown-field",
    "too-large",
)


class PlanError(ValueError):
    """A fault plan that cannot be used; the message names file and line."""


@dataclass(frozen=True, slots=True)
class Kind:
    """classes: asset classes it can befall. default, low, high: its magnitude; meaning: what the magnitude is."""

    classes: tuple[str, ...]
    default: float = 1.0
    low: float = 1.0
    high: float = 1.0
    meaning: str = ""


_CASES = ("freezer", "cooler")
KINDS = {
    "compressor-failure": Kind(_CASES, 1.0, 0.05, 1.0, "share of the cooling capacity lost"),
    "door-ajar": Kind(_CASES, 0.5, 0.01, 1.0, "how far the case stands open; 1 is all of its doors"),
    "slow-leak": Kind(_CASES, 0.1, 0.001, 1.0, "share of the cooling capacity lost per hour, evenly"),
    "iced-coil": Kind(_CASES, 0.3, 0.001, 5.0, "share of what is left of the cooling capacity lost per hour"),
    "defrost-heater-stuck": Kind(("freezer",), 1.0, 0.05, 1.0, "share of the heater's power that stays on"),
    "stuck-sensor": Kind(_CASES),
    "silent-sensor": Kind((*_CASES, "ambient", "rack", "power_meter", "water_meter")),
    "signage-dead": Kind(("signage",)),
    "power-left-on": Kind(("power_meter",), 9.5, 0.5, 500.0, "kW that stay on while the store is closed"),
    "water-leak": Kind(("water_meter",), 0.4, 0.01, 50.0, "m3/h that run away"),
    "meter-reset": Kind(("power_meter", "water_meter")),
    "network-outage": Kind(()),
    "queue-surge": Kind((), 3.0, 1.0, 20.0, "times the usual number of shoppers at the checkouts"),
    "empty-shelf": Kind(("facing",)),
    "phantom-stock": Kind(("facing",)),
    "bad-input": Kind((*_CASES,)),
}
_INSTANT = {"bad-input", "meter-reset"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a plan, seconds throughout. where: `faults.yaml:12`, for messages."""

    fault: str
    store: str
    asset: str | None
    area: str | None
    after_s: float
    lasts_s: float
    magnitude: float
    every_s: float | None
    what: str | None
    where: str


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault befalling one asset (or several). start, end: seconds since the simulation's start.

    asset_id: what it is filed under; covers: every asset it touches.
    """

    fault: str
    store_id: str
    asset_id: str
    covers: tuple[str, ...]
    start: float
    end: float
    magnitude: float
    what: str | None = None


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """Entries as read; `of(store, …)` makes them faults of one store."""

    entries: tuple[Entry, ...] = field(default=())

    @classmethod
    def load(cls, path: Path = DEFAULT_PLAN) -> FaultPlan:
        """Raises PlanError, OSError."""
        from ruamel.yaml import YAML
        from ruamel.yaml.error import MarkedYAMLError

        try:
            doc = YAML().load(path)
        except MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise PlanError(f"{path}:{line}: not YAML: {error.problem}") from error
        listed = doc.get("faults") if isinstance(doc, dict) else None
        if not isinstance(listed, list):
            raise PlanError(f"{path}:1: a list `faults` is expected; `faults: []` is a plan without any")
        return cls(tuple(_entry(item, f"{path}:{listed.lc.item(i)[0] + 1}") for i, item in enumerate(listed)))

    def of(self, store: Event, assets: list[Event], horizon_s: float) -> list[Fault]:
        """This store's faults that begin within the horizon, by start. Raises PlanError."""
        found = [
            fault
            for entry in self.entries
            if entry.store in ("each", store["store_id"])
            for fault in _faults(entry, store, assets, horizon_s)
        ]
        found.sort(key=lambda fault: (fault.start, fault.asset_id, fault.fault))
        _no_two_at_once(found)
        return found

    def check(self, reference: Reference) -> None:
        """Raises PlanError where an entry names a store that is not simulated."""
        for entry in self.entries:
            if entry.store != "each" and entry.store not in reference.stores:
                known = ", ".join(sorted(reference.stores))
                raise PlanError(f"{entry.where}: store {entry.store} is not simulated; these are: {known}")

    def within(self, reference: Reference) -> FaultPlan:
        """Without the entries of stores that are not simulated: the shipped plan, where fewer stores run."""
        return FaultPlan(tuple(e for e in self.entries if e.store == "each" or e.store in reference.stores))


_FIELDS = {"fault", "store", "asset", "area", "after", "lasts", "magnitude", "every", "what"}
_SPAN = re.compile(r"(?:(\d+(?:\.\d+)?)d)?\s*(?:(\d+(?:\.\d+)?)h)?\s*(?:(\d+(?:\.\d+)?)m)?\s*(?:(\d+(?:\.\d+)?)s)?")


def seconds(text: Any, name: str, where: str) -> float:
    """`1d`, `9h`, `1h 30m`, `45s`. Raises PlanError."""
    match = _SPAN.fullmatch(str(text).strip())
    if match is None or not any(match.groups()):
        raise PlanError(f"{where}: {name}: {text} is no duration; write it like 1h 30m or 45s")
    parts = (float(part or 0) for part in match.groups())
    return sum(part * unit for part, unit in zip(parts, (86400, 3600, 60, 1), strict=True))


def _entry(item: Any, where: str) -> Entry:
    if not isinstance(item, dict):
        raise PlanError(f"{where}: an entry is expected, like {{fault: door-ajar, store: store-001, …}}")
    if unknown := sorted(set(item) - _FIELDS):
        raise PlanError(f"{where}: {unknown[0]}: no such field; there are {', '.join(sorted(_FIELDS))}")
    name = item.get("fault")
    if name not in KINDS:
        raise PlanError(f"{where}: fault: {name} is not known; there are {', '.join(KINDS)}")
    kind = KINDS[name]
    for needed in ("store", "after", *(() if name in _INSTANT else ("lasts",))):
        if needed not in item:
            raise PlanError(f"{where}: {name} needs `{needed}`")
    needs = "area" if name == "network-outage" else "asset" if kind.classes else None
    for place in ("asset", "area"):
        if (place in item) != (place == needs):
            raise PlanError(f"{where}: {name} {'needs' if place == needs else 'takes no'} `{place}`")
    magnitude = item.get("magnitude", kind.default)
    if isinstance(magnitude, bool) or not isinstance(magnitude, int | float):
        raise PlanError(f"{where}: magnitude: {magnitude} is no number")
    if not kind.low <= magnitude <= kind.high:
        told = f"from {kind.low:g} to {kind.high:g} ({kind.meaning})" if kind.meaning else "left out"
        raise PlanError(f"{where}: magnitude: {magnitude} for {name}; it must be {told}")
    what = item.get("what")
    if (what is not None) != (name == "bad-input") or (what is not None and what not in BAD_INPUTS):
        raise PlanError(f"{where}: what: bad-input needs it, one of {', '.join(BAD_INPUTS)}; no other fault takes it")
    lasts = seconds(item["lasts"], "lasts", where) if "lasts" in item else 0.0
    every = seconds(item["every"], "every", where) if "every" in item else None
    if name not in _INSTANT and lasts <= 0:
        raise PlanError(f"{where}: lasts: must be longer than nothing")
    if every is not None and every <= lasts:
        raise PlanError(f"{where}: every: {item['every']} must be longer than lasts ({item.get('lasts', '0s')})")
    after = seconds(item["after"], "after", where)
    return Entry(
        name,
        str(item["store"]),
        item.get("asset"),
        item.get("area"),
        after,
        lasts,
        float(magnitude),
        every,
        what,
        where,
    )


def _faults(entry: Entry, store: Event, assets: list[Event], horizon_s: float) -> Iterator[Fault]:
    asset_id, covers = _place(entry, store, assets)
    start = entry.after_s
    while start < horizon_s:
        end = start + entry.lasts_s
        yield Fault(entry.fault, store["store_id"], asset_id, covers, start, end, entry.magnitude, entry.what)
        if entry.every_s is None:
            return
        start += entry.every_s


def _place(entry: Entry, store: Event, assets: list[Event]) -> tuple[str, tuple[str, ...]]:
    """(asset it is filed under, assets it touches). Raises PlanError."""
    name, kind = store["store_id"], KINDS[entry.fault]
    if entry.fault == "network-outage":
        touched = [a["asset_id"] for a in assets if a["area"] == entry.area and a["devices"]]
        if not touched:
            areas = sorted({a["area"] for a in assets if a["devices"]})
            raise PlanError(f"{entry.where}: area {entry.area} of {name} has no devices; there are {', '.join(areas)}")
        return touched[0], tuple(touched)
    if entry.fault == "queue-surge":
        lanes = [a["asset_id"] for a in assets if a["asset_class"] == "lane"]
        if not lanes:
            raise PlanError(f"{entry.where}: {name} has no lanes for a queue-surge")
        return lanes[0], (*lanes, name)  # what is said of all of them is said of the store
    for asset in assets:
        if asset["asset_id"].partition("-")[2] == entry.asset:
            if asset["asset_class"] not in kind.classes:
                raise PlanError(
                    f"{entry.where}: {asset['asset_id']} is a {asset['asset_class']}; "
                    f"{entry.fault} befalls {' or '.join(kind.classes)}"
                )
            if entry.fault == "door-ajar" and not any(d["metric"] == "door_open" for d in asset["devices"]):
                raise PlanError(f"{entry.where}: {asset['asset_id']} has no door sensor, so no door to stand ajar")
            return asset["asset_id"], (asset["asset_id"],)
    raise PlanError(
        f"{entry.where}: {name} has no asset {entry.asset}; write it without the store's prefix, like freezer-03"
    )


def _no_two_at_once(faults: list[Fault]) -> None:
    """Two faults on one asset at one time cannot be told apart by their alerts. Raises PlanError."""
    last: dict[str, Fault] = {}
    for fault in faults:
        if fault.fault == "bad-input":
            continue
        for asset_id in fault.covers:
            before = last.get(asset_id)
            if before is not None and fault.start < before.end:
                raise PlanError(
                    f"{asset_id}: {fault.fault} begins {fault.start / 3600:g} h after the start, "
                    f"while {before.fault} lasts until {before.end / 3600:g} h; let one end before the other"
                )
            last[asset_id] = fault
