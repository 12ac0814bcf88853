"""What the engine remembers of one store, and how it is written down: versioned JSON, read by any later release.

All instants are epoch milliseconds: `t` of a reading by its device's own clock, `heard` and `clock` in arrival time.
Bounded: a store has its devices, and a device its newest readings and what lies within its rules' windows; a device
that leaves the roster leaves the state; silences and ended alerts have an end, and a largest number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from alerting.events import AssetInfo, StoreInfo

VERSION = 2

Spot = tuple[int, float, str]
"""A reading as it is remembered: event time, value, event_id (empty for one that breached no limit)."""


class UnknownState(ValueError):
    """State written by a later release than this one."""


class Open(msgspec.Struct, array_like=True):
    """An alert that has been told and is not over. alert_id never changes; sequence counts its events.

    raised_at: event time of the reading that decided it. cleared_at: event time of the first reading of the present
    way back, None while there is none. status: as last told. acked_until: log clock, 0 without. until: when the mask or
    silence that it stands under ends, 0 without. part_of: alert_id of the alert it hangs on. members: assets that hang
    on it. peak: the worst severity it had.
    """

    alert_id: str
    sequence: int
    severity: str
    starts_at: int
    limit: float
    first: Spot | None
    worst: Spot | None
    cleared_at: int | None = None
    raised_at: int = 0
    status: str = "firing"
    acked_until: int = 0
    until: int = 0
    part_of: str = ""
    members: list[str] = []
    peak: str = ""


class Track(msgspec.Struct, array_like=True):
    """One limit on one device, while it is not calm.

    since: per level (the rule itself, then its escalations) the first reading of the present span past its limit.
    worst: the reading furthest past the rule's limit in that span. calm: per level, event time since when an escalated
    alert is back under that level's own way back.
    """

    since: list[Spot | None]
    worst: Spot | None = None
    calm: list[int | None] = []


class Device(msgspec.Struct, array_like=True):
    """One sensor.

    interval_s: expected seconds between two reports, 0 while no roster has told.
    heard: arrival time of its newest report, moved on by time in which nobody watched; heard_id: that report.
    recent: its newest readings by event time, for duplicates and for those that come out of order.
    on_since, off_at: a state metric's newest span of 1; off_at is None while it lasts.
    tracks: limits by rule name. alerts: what is open, by rule name.
    edges: by rate rule, the readings of its window that can still be its lowest (or highest).
    past: by cumulative rule, spans past the limit within its window.
    same_since: event time since when the value has not changed. bad_since, bad_id: first of the bad readings since the
    last good one, arrival time.
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
    alerts: dict[str, Open] = {}
    edges: dict[str, list[tuple[int, float]]] = {}
    past: dict[str, list[tuple[int, int]]] = {}
    same_since: int = 0
    bad_since: int = 0
    bad_id: str = ""
    zone_kind: str = ""


class Silence(msgspec.Struct):
    """A silence or a maintenance window that a command asked for; the selector's empty words fit everything.

    begins, until: log clock; with rrule and lasts_ms it recurs between the two. edge: when it next begins or ends to
    hold. sequence: of its answer events. began_at: when it was asked for.
    """

    silence_id: str
    begins: int
    until: int
    maintenance: bool = False
    rule: str = ""
    asset_id: str = ""
    asset_class: str = ""
    area: str = ""
    device_id: str = ""
    rrule: str = ""
    lasts_ms: int = 0
    actor: str = ""
    comment: str = ""
    sequence: int = 1
    began_at: int = 0
    edge: int = 0


class Ended(msgspec.Struct):
    """An alert that is over and is remembered: to answer commands about it, and until it is closed where that is asked.

    ended_at: log clock. forget_at: when it is forgotten. asks: it still has to be closed. closed: it has been.
    """

    alert: Open
    rule: str
    asset_id: str
    asset_class: str
    device_id: str
    metric: str
    ended_at: int
    forget_at: int
    asks: bool = False
    closed: bool = False


class Store(msgspec.Struct):
    """One store.

    clock: newest arrival time. due: nothing falls due before; a lower bound, so that most events need not look.
    rules: version of the rules that decided last. roster: whether one has been told.
    about, assets: the store itself and its assets, as the ticks told. groups: open alerts about several devices, by
    `rule|place`. silences: by id. ended: by alert_id, oldest first. seen: ids of the newest commands. freed: when an
    alert that others hang on ended last.
    """

    store_id: str
    clock: int = 0
    due: int = 0
    rules: str = ""
    roster: bool = False
    devices: dict[str, Device] = {}
    about: StoreInfo = StoreInfo()
    assets: dict[str, AssetInfo] = {}
    groups: dict[str, Open] = {}
    silences: dict[str, Silence] = {}
    ended: dict[str, Ended] = {}
    seen: list[str] = []
    freed: int = 0
    version: int = VERSION


class _Head(msgspec.Struct):
    version: int


def _from_1(old: dict[str, Any]) -> dict[str, Any]:
    """Version 1 kept an alert inside its track, and silences apart; an alert did not know who attends to it."""
    for device in old["devices"].values():
        tracks, silent = device[9], device[10]
        alerts = dict(silent)
        for name, track in list(tracks.items()):
            if track[2] is not None:
                alerts[name] = track[2]
            tracks[name] = [*track[:2], [None] * len(track[0])]
        for alert in alerts.values():
            # When it was raised was not written down: as of the first reading, nothing late can contradict it.
            alert += [alert[3]]
        device[10] = alerts
    return old | {"version": 2}


UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1}
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


# ---- in parts, so that what did not change is not written again

_HEAD, _ORDER, _CLOCK, _DEVICE = "head", "order", "clock", "d:"


def split(state: Store, devices: Iterable[str] | None = None, *, clock: bool = True) -> dict[str, str]:
    """The state as named JSON texts; with `devices` those that differ where only these and the clock changed.

    clock: whether it is one of them."""
    parts = {_CLOCK: f"[{state.clock},{state.due}]"} if clock else {}
    if devices is None:
        devices, everything = state.devices, state.devices
        state.devices = {}
        parts[_HEAD] = _encode(state).decode()
        state.devices = everything
        # The order of its devices is part of a state.
        parts[_ORDER] = _encode(list(everything)).decode()
    for device_id in devices:
        parts[_DEVICE + device_id] = _encode(state.devices[device_id]).decode()
    return parts


def join(parts: Mapping[str, str]) -> Store:
    """The state from its parts, of this or an earlier version. Raises UnknownState."""
    plain = msgspec.json.decode(parts[_HEAD], type=dict[str, msgspec.Raw])
    clock, due = msgspec.json.decode(parts[_CLOCK], type=tuple[msgspec.Raw, msgspec.Raw])
    order = msgspec.json.decode(parts[_ORDER], type=list[str])
    devices = {device_id: msgspec.Raw(parts[_DEVICE + device_id].encode()) for device_id in order}
    return loads(_encode(plain | {"clock": clock, "due": due, "devices": devices}).decode())
