"""Use out of hours, use against the same hour of past weeks, meters that begin anew, the health of devices.

Pure. A meter's own clock says when something was used, the store's hours and zone (told by ticks) what that means:

- out_of_hours_power, out_of_hours_water: the mean of an hour in which the store was closed throughout, told each
  quarter of an hour. Power is told above what this store usually draws then: the median of its last USUAL closed hours.
  So lights that were left on for a night or two change nothing of it, and after about six nights a lasting change is
  what is usual. At the first quarter of an hour with the store open both are told as 0: nothing is out of hours now.
- energy_ratio, water_ratio: a local hour's use over the median of the same weekday's same local hour in the last WEEKS
  weeks, of those hours in which the store was open as it was in this one (a holiday is compared with no other day).
- meter_reset: 1 when a counter goes on from another point, 0 after its first whole hour from there.
- device_health: the worst of what an asset's devices say of themselves in their heartbeats. That they say nothing is
  for `absent_for` to tell.

An hour is known when the counter was read around its beginning and its end; what a meter counted while it was offline
belongs to no hour and gives no ratio.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from alerting.events import Event, StoreInfo
from alerting.hours import is_open
from schemas.instants import to_ms
from streaming_jobs.derive import READINGS, derived
from streaming_jobs.utilities.meters import (
    HOUR_MS,
    KINDS,
    QUARTER_MS,
    Flow,
    Full,
    Span,
    Step,
    fill,
    follow,
    in_order,
    set_right,
)

USUAL = 84
"""Closed hours from which the usual power is taken: those of ten to twelve nights."""
FEWEST_USUAL = 4
"""Closed hours before which nothing counts as usual."""
WEEKS = 4
"""Past weeks an hour is held against: older ones are of another season."""
FEWEST_WEEKS = 2
PAST = WEEKS * 168 + 1
"""Hours of use that are remembered. One more than the weeks have: on the way out of daylight saving time, four weeks
are an hour longer."""
LEAST = {"energy": 1000, "water": 100}
"""What an hour's usual use counts as at least, in Wh and litres: one tap that was opened in an hour in which usually
none is, is no jump."""
RATIOS = {"energy": "energy_ratio", "water": "water_ratio"}
OUT_OF_HOURS = {"power": "out_of_hours_power", "water": "out_of_hours_water"}
HEARTBEAT = "heartbeat"
NO_USE = -1
"""Stands for an hour of which nothing is known."""


class Night(msgspec.Struct, array_like=True):
    """Quarters of an hour that the store has been closed for, without one that is unknown.

    last: the newest ones' use, at most four, oldest first. ends: end of the newest. told: whether anything was told out
    of hours since the store was open.
    """

    last: list[float] = []
    ends: int = 0
    whole: int = 0
    told: bool = False


class Meter(msgspec.Struct):
    """One metered metric of one asset.

    usual: power in the newest closed hours, W; at most USUAL. past: use of the newest local hours without a break, Wh
    or litres, NO_USE where it is not known; at most PAST. newest: number of the last of them, in hours since 1970.
    anew: it counts from another point, and no whole hour since. told: by derived metric, when it last held: a moment
    is told once.
    """

    asset_id: str
    asset_class: str
    metric: str
    flow: Flow = msgspec.field(default_factory=Flow)
    quarter: Span = msgspec.field(default_factory=Span)
    hour: Span = msgspec.field(default_factory=Span)
    night: Night = msgspec.field(default_factory=Night)
    usual: list[int] = []
    past: list[int] = []
    newest: int = 0
    anew: bool = False
    told: dict[str, int] = {}


class Beat(msgspec.Struct, array_like=True):
    """The newest heartbeat of one device."""

    asset_id: str
    at: int
    value: float


class State(msgspec.Struct):
    """One store. meters: by asset/metric. beats: by device. health: by asset, as it was told last.

    Bounded by the store's assets and devices, what leaves the roster leaves the state: some 5 kB for a meter that has
    run for WEEKS weeks, and 70 bytes a device with a heartbeat.
    """

    store_id: str
    store: StoreInfo | None = None
    meters: dict[str, Meter] = {}
    beats: dict[str, Beat] = {}
    health: dict[str, float] = {}
    version: int = 1


class Utilities:
    """The deriver of the job `utilities`."""

    state_type = State
    inputs: dict[str, type[msgspec.Struct]] = {READINGS: Event}
    upgrades: dict[int, Any] = {}

    def start(self, store_id: str) -> State:
        return State(store_id)

    def advance(self, state: State, arrived_ms: int, topic: str, event: Event) -> list[Event]:
        if event.kind == "tick":
            _take_tick(state, event)
            return []
        if event.kind != "reading" or event.value is None or not event.asset_id:
            return []
        if event.metric != HEARTBEAT and event.metric not in KINDS:
            return []
        try:
            at = to_ms(event.event_time)
        except ValueError:  # the engine counts it
            return []
        if event.metric == HEARTBEAT:
            return list(_beat(state, event, at))
        return list(_metered(state, event, arrived_ms, at))


def _take_tick(state: State, tick: Event) -> None:
    """What the store consists of from now on; what is no longer there is forgotten."""
    if tick.store is not None:
        state.store = tick.store
    if tick.roster is None:
        return
    meters: dict[str, Meter] = {}
    for item in sorted(tick.roster, key=lambda item: item.device_id):
        key = f"{item.asset_id}/{item.metric}"
        if item.metric in KINDS and key not in meters:
            meters[key] = state.meters.get(key) or Meter(item.asset_id, item.asset_class, item.metric)
            meters[key].flow.device_id, meters[key].flow.interval_s = item.device_id, item.interval_s
    state.meters = meters
    devices = {item.device_id for item in tick.roster}
    state.beats = {key: beat for key, beat in state.beats.items() if key in devices}
    assets = {beat.asset_id for beat in state.beats.values()}
    state.health = {key: value for key, value in state.health.items() if key in assets}


# ---- devices


def _beat(state: State, event: Event, at: int) -> Iterator[Event]:
    """Tell an asset's health when it changes, and with each heartbeat while it is not well."""
    assert event.value is not None
    beat = state.beats.get(event.device_id)
    if beat is not None and at <= beat.at:
        return
    state.beats[event.device_id] = Beat(event.asset_id, at, event.value)
    health = min(beat.value for beat in state.beats.values() if beat.asset_id == event.asset_id)
    if health < 1 or health != state.health.get(event.asset_id):
        state.health[event.asset_id] = health
        yield derived(state.store_id, event.asset_id, event.asset_class, "device_health", health, at)


# ---- meters


def _metered(state: State, event: Event, clock: int, at: int) -> Iterator[Event]:
    assert event.value is not None
    key = f"{event.asset_id}/{event.metric}"
    meter = state.meters.get(key)
    if meter is None:
        meter = state.meters[key] = Meter(event.asset_id, event.asset_class, event.metric)
        meter.flow.device_id = event.device_id
    if event.device_id != meter.flow.device_id:
        return  # grocery chain check lets a meter have one device a metric
    kind = KINDS[event.metric]
    if set_right(meter.flow, clock, at):
        meter.quarter, meter.hour = Span(), Span()
    for reading in in_order(meter.flow, at, event.value):
        for step in follow(meter.flow, kind, reading):
            yield from _use(state, meter, step)


def _use(state: State, meter: Meter, step: Step) -> Iterator[Event]:
    if step.amount is None:
        meter.anew = True
        yield from _tell(state, meter, "meter_reset", 1, step.end)
    if state.store is None:
        return  # no opening hours and no zone yet: quarters and hours begin when they are told
    if meter.metric in OUT_OF_HOURS:
        for full in fill(meter.quarter, step, 0, QUARTER_MS):
            yield from _quarter(state, state.store, meter, full)
    if meter.metric in RATIOS:
        offset = _zone_offset(state.store, step.begin)
        for full in fill(meter.hour, step, -offset, HOUR_MS):
            yield from _hour(state, state.store, meter, full)


def _quarter(state: State, store: StoreInfo, meter: Meter, full: Full) -> Iterator[Event]:
    """A quarter of an hour whose use is known."""
    night, name = meter.night, OUT_OF_HOURS[meter.metric]
    if is_open(store, full.begin) or is_open(store, full.end - 1):
        if night.told:
            yield from _tell(state, meter, name, 0, full.end)
        meter.night = Night()
        return
    if full.begin != night.ends:
        night.last, night.whole = [], 0
    night.last, night.ends, night.whole = [*night.last[-3:], full.used], full.end, night.whole + 1
    if len(night.last) < 4:
        return
    used = sum(night.last)
    if meter.metric == "water":
        night.told = True
        yield from _tell(state, meter, name, max(0.0, round(used, 4)), full.end)
        return
    if len(meter.usual) >= FEWEST_USUAL:
        night.told = True
        yield from _tell(state, meter, name, round(used - median(meter.usual) / 1000, 3), full.end)
    if night.whole % 4 == 0:
        meter.usual = [*meter.usual[1 - USUAL :], round(used * 1000)]


def _hour(state: State, store: StoreInfo, meter: Meter, full: Full) -> Iterator[Event]:
    """A local hour whose use is known."""
    used = round(full.used * 1000)
    alike = [
        past
        for past in _same_hours(store, full.begin)
        if _open_quarters(store, past) == _open_quarters(store, full.begin)
    ]
    known = [use for use in (_remembered(meter, past) for past in alike) if use != NO_USE]
    if len(known) >= FEWEST_WEEKS:
        usual = max(median(known), LEAST[meter.metric])
        yield from _tell(state, meter, RATIOS[meter.metric], round(used / usual, 3), full.end)
    _remember(meter, full.begin // HOUR_MS, used)
    if meter.anew:
        meter.anew = False
        yield from _tell(state, meter, "meter_reset", 0, full.end)


def _tell(state: State, meter: Meter, name: str, value: float, at: int) -> Iterator[Event]:
    """A derived reading, unless that moment was told before its clock was set right."""
    if at > meter.told.get(name, 0):
        meter.told[name] = at
        yield derived(state.store_id, meter.asset_id, meter.asset_class, name, value, at)


def _remember(meter: Meter, hour: int, used: int) -> None:
    """Write down an hour's use. An hour that is there already, as a clock that was set right has it, takes its place,
    and those after it are forgotten."""
    ahead = hour - meter.newest if meter.past else 1
    if ahead <= 0:
        del meter.past[max(0, len(meter.past) + ahead - 1) :]
    else:
        meter.past += [NO_USE] * min(ahead - 1, PAST)
    meter.past = [*meter.past, used][-PAST:]
    meter.newest = hour


def _remembered(meter: Meter, at: int) -> int:
    place = len(meter.past) - 1 - (meter.newest - at // HOUR_MS)
    return meter.past[place] if 0 <= place < len(meter.past) else NO_USE


# ---- local time


def _zone_offset(store: StoreInfo, at: int) -> int:
    """Local time minus UTC, ms."""
    offset = datetime.fromtimestamp(at / 1000, ZoneInfo(store.time_zone)).utcoffset()
    assert offset is not None
    return offset // timedelta(milliseconds=1)


def _same_hours(store: StoreInfo, begin: int) -> list[int]:
    """When the same local hour of the same weekday began in each of the past weeks; one that a clock change left out
    is not there, of one that came twice it is the first."""
    zone = ZoneInfo(store.time_zone)
    local = datetime.fromtimestamp(begin / 1000, zone)
    found = []
    for weeks in range(1, WEEKS + 1):
        wanted = (local.replace(tzinfo=None, fold=0) - timedelta(weeks=weeks)).replace(tzinfo=zone)
        at = round(wanted.timestamp() * 1000)
        if datetime.fromtimestamp(at / 1000, zone).hour == local.hour:
            found.append(at)
    return found


def _open_quarters(store: StoreInfo, begin: int) -> tuple[bool, ...]:
    return tuple(is_open(store, begin + quarter * QUARTER_MS) for quarter in range(4))
