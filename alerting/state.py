"""What the engine remembers of one store, and how it is written down: versioned JSON, read by any later release.

All instants are epoch milliseconds: `t` of a reading by its device's own clock, `heard` and `clock` in arrival time.
Bounded: a store has its devices, and a device its newest readings; a device that leaves the roster leaves the state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

VERSION = 1

Spot = tuple[int, float, str]
"""A reading as it is remembered: event time, value, event_id (empty for one that breached no limit)."""


class UnknownState(ValueError):
    """State written by a later release than this one."""


class Open(msgspec.Struct, array_like=True):
    """An alert that has been told and is not over. alert_id never changes; sequence counts its events.

    cleared_at: event time of the first reading of the present way back, None while there is none.
    """

    alert_id: str
    sequence: int
    severity: str
    starts_at: int
    limit: float
    first: Spot | None
    worst: Spot | None
    cleared_at: int | None = None


class Track(msgspec.Struct, array_like=True):
    """One rule on one device, while it is not calm.

    since: per level (the rule itself, then its escalations) the first reading of the present span past its limit.
    worst: the reading furthest past the rule's limit in that span.
    """

    since: list[Spot | None]
    worst: Spot | None = None
    open: Open | None = None


class Device(msgspec.Struct, array_like=True):
    """One sensor.

    interval_s: expected seconds between two reports, 0 while no roster has told.
    heard: arrival time of its newest report, moved on by time in which nobody watched; heard_id: that report.
    recent: its newest readings by event time, for duplicates and for those that come out of order.
    on_since, off_at: a state metric's newest span of 1; off_at is None while it lasts.
    tracks: by rule name. silent: by rule name.
    """

    asset_id: str
    asset_class: str
    metric: str
    interval_s: int = 0
    heard: int = 0
    heard_id: str = ""
    recent: list[Spot] = []
    on_since: int | None = None
    off_at: int | None = None
    tracks: dict[str, Track] = {}
    silent: dict[str, Open] = {}


class Store(msgspec.Struct):
    """One store.

    clock: newest arrival time. due: no silence is told before; a lower bound, so that most events need not look.
    rules: version of the rules that decided last. roster: whether one has been told.
    """

    store_id: str
    clock: int = 0
    due: int = 0
    rules: str = ""
    roster: bool = False
    devices: dict[str, Device] = {}
    version: int = VERSION


class _Head(msgspec.Struct):
    version: int


UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""From a version to the next, on plain JSON."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Store).decode
_head = msgspec.json.Decoder(_Head).decode


def dumps(state: Store) -> str:
    """State as JSON text; the same state gives the same text."""
    return _encode(state).decode()


def loads(text: str) -> Store:
    """State from JSON text of this or an earlier version. Raises UnknownState."""
    version = _head(text).version
    if version == VERSION:
        return _decode(text)
    if version > VERSION:
        raise UnknownState(f"state version {version} is newer than {VERSION}; run the release that wrote it, or later")
    plain = msgspec.json.decode(text)
    for step in range(version, VERSION):
        plain = UPGRADES[step](plain)
    return msgspec.convert(plain, Store)
