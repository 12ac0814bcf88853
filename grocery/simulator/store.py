"""One simulated store, a local day at a time: its cases, meters, cameras, lanes and tills, as messages that arrive.

Times inside are seconds since the simulation's start unless they say epoch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import numpy as np

from grocery.simulator import thermal
from grocery.simulator.apps import CHANNELS, Apps
from grocery.simulator.chance import chance
from grocery.simulator.devices import (
    QUIET_S,
    Device,
    Network,
    Outage,
    fate,
    intervals_to_changes,
    latencies,
    state_reports,
)
from grocery.simulator.faults import Fault
from grocery.simulator.hours import local_date, local_midnight_s, open_spans
from grocery.simulator.labels import (
    SILENT,
    SILENT_FOR,
    SILENT_METRICS,
    STUCK,
    STUCK_FOR,
    TOO_WARM,
    Label,
    longest_silence,
    silent_after,
    too_warm,
)
from grocery.simulator.sales import receipts
from grocery.simulator.shop_labels import (
    EMPTY,
    EMPTY_FOR,
    PHANTOM,
    PHANTOM_ABOVE,
    PHANTOM_FOR,
    SHORT,
    SHORT_ABOVE,
    SHORT_FOR,
    WAIT,
    WAIT_FOR,
    WAIT_S,
    longest,
    stopped_selling,
)
from grocery.simulator.shoppers import TERMINALS, Floor, StoreDay, a_day, share_filled
from grocery.simulator.stock import Books
from grocery.simulator.thermal import STEP_S, CaseModel, CaseState, Inputs, Trace
from grocery.simulator.utility_labels import METER_RESET, ONLY_OPEN, OUT_OF_HOURS, SILENCES, out_of_hours
from ingestion.arrival import dumps
from ingestion.reference import Event, Reference
from schemas.instants import to_rfc3339

Message = tuple[int, str, bytes]
"""(arrival in epoch ms, contract, payload)."""

_CASES = ("freezer", "cooler")
_OF_CASES = ("compressor-failure", "door-ajar", "slow-leak", "iced-coil", "defrost-heater-stuck")
_DOORS = 3
"""Doors of a case: a shopper opens one of them."""
_MARGIN_C, _MARGIN_MS = 0.3, 150_000
_SHORTEST_SERVICE_S = 55
"""What a shopper takes at a staffed lane is in the mean more than that."""
_COME_BEFORE_S = 600
"""Those who queue have come in before: a surge can be foreseen so early."""
_PHANTOM_MARGIN = 1.6
_SLACK_S = 150.0
"""Added to a recovery, so that the last report and a skewed clock lie within it."""


@dataclass(slots=True)
class _Case:
    asset: Event
    model: CaseModel
    state: CaseState
    faults: list[Fault]


@dataclass(slots=True)
class _Watch:
    """What is kept of a faulty asset for its labels. readings, defrosts: (event time in epoch ms, value) as reported;
    metered: the same, by a meter's metric; heard: device -> (true time, arrival) in epoch ms of what arrived.
    empty: of a facing, (epoch ms, seen empty in
    trading hours). sold: numbers of the receipts with a facing's product and their epoch s. load: of the lanes, (epoch
    ms, people per open lane)."""

    readings: list[tuple[int, float]] = field(default_factory=list)
    defrosts: list[tuple[int, bool]] = field(default_factory=list)
    metered: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    heard: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    empty: list[tuple[int, bool]] = field(default_factory=list)
    sold: list[tuple[int, float]] = field(default_factory=list)
    load: list[tuple[int, float]] = field(default_factory=list)


class StoreRun:
    """Runs a store through the whole simulation. `days` yields its messages day by day; then `labels` is complete.

    start_s: epoch seconds of the simulation's start; horizon_s: its length. apps: with shoppers who use an app.
    """

    def __init__(
        self,
        reference: Reference,
        store_id: str,
        seed: int,
        start_s: float,
        horizon_s: float,
        faults: list[Fault],
        *,
        apps: bool = False,
    ) -> None:
        self.store = reference.stores[store_id]
        self.assets = sorted(
            (a for a in reference.assets.values() if a["store_id"] == store_id and a["status"] == "active"),
            key=lambda a: a["asset_id"],
        )
        self.labels: list[Label] = []
        self._seed, self._start, self._horizon, self._faults = seed, start_s, horizon_s, faults
        self._floor = Floor.of(self.store, self.assets, _on_sale(reference, self.store), chance(seed, "popularity"))
        self._by_class: dict[str, list[Event]] = {}
        for asset in self.assets:
            self._by_class.setdefault(asset["asset_class"], []).append(asset)
        self._cases = [self._case(asset) for name in _CASES for asset in self._by_class.get(name, ())]
        self._devices = self._make_devices()
        self._network = Network(self._outages())
        self._recovered: dict[int, float] = {}
        self._watched = {a for f in faults if f.fault != "bad-input" for a in f.covers}
        self._watches = {name: _Watch() for name in self._watched}
        rng = chance(seed, store_id, "meters")
        self._energy, self._water = float(rng.uniform(2e5, 9e5)), float(rng.uniform(2e3, 9e3))
        self._outside = 0.0
        self._books = Books(self._floor)
        self._sales: list[float] = []
        cameras = [asset["asset_id"] for asset in self._by_class.get("camera", ())]
        self._apps = Apps(self._floor, cameras, seed) if apps else None

    # ---- setting up

    def _case(self, asset: Event) -> _Case:
        rng = chance(self._seed, self.store["store_id"], asset["asset_id"])
        doors = any(d["metric"] == "door_open" for d in asset["devices"])
        setpoint = asset.get("setpoint", -20.0 if asset["asset_class"] == "freezer" else 2.0)
        mine = [f for f in self._faults if f.asset_id == asset["asset_id"] and f.fault in _OF_CASES]
        stuck = [f for f in self._of("stuck-sensor") if f.asset_id == asset["asset_id"]]
        model = thermal.case_model(asset["asset_class"], float(setpoint), doors, rng, [f.start for f in mine + stuck])
        return _Case(asset, model, thermal.at_rest(model, rng), mine)

    def _make_devices(self) -> dict[str, list[Device]]:
        """By asset. One thermometer of every third store is an hour ahead, on a case where nothing fails: its clock
        missed the end of daylight saving, and that must disturb nobody."""
        ahead = None
        faulty = {a for f in self._faults for a in f.covers}
        if int(self.store["store_id"][-3:]) % 3 == 2 if self.store["store_id"][-3:].isdigit() else False:
            sound = [a for a in self._by_class.get("cooler", ()) if a["asset_id"] not in faulty]
            ahead = sound[-1]["asset_id"] if sound else None
        return {
            asset["asset_id"]: [
                Device.of(asset, spec, self._seed, asset["asset_id"] == ahead and spec["metric"] == "temperature")
                for spec in asset["devices"]
            ]
            for asset in self.assets
        }

    def _outages(self) -> list[Outage]:
        """Short ones of the whole store, one or two a day, and those the plan asks for."""
        planned = [Outage(f.start, f.end, frozenset(f.covers)) for f in self._faults if f.fault == "network-outage"]
        quiet = [(f.start - 2 * QUIET_S, f.end + 2 * QUIET_S) for f in self._faults if f.fault in _SILENCES]
        rng = chance(self._seed, self.store["store_id"], "network")
        when, found = 0.0, []
        while True:
            when += 3600 + float(rng.exponential(12 * 3600))
            lasts = float(rng.uniform(45, 140))
            if when + lasts > self._horizon - QUIET_S:
                return sorted([*found, *planned], key=lambda outage: outage.start)
            if not any(a < when + lasts and when < b for a, b in quiet):
                found.append(Outage(when, when + lasts))

    # ---- running

    def days(self) -> Iterator[list[Message]]:
        """Messages of one local day after another, each list in arrival order and none before the last one's."""
        day = local_date(self.store, self._start)
        held: list[Message] = []
        while (midnight := local_midnight_s(self.store, day)) < self._start + self._horizon:
            following = local_midnight_s(self.store, day + timedelta(days=1))
            begin = max(0.0, midnight - self._start)
            end = min(self._horizon, following - self._start)
            found = held + self._day(day, midnight, begin, end)
            found.sort(key=lambda message: message[0])
            limit = round((self._start + end) * 1000)
            held = [m for m in found if m[0] >= limit]
            yield [m for m in found if m[0] < limit]
            day += timedelta(days=1)
        self._finish()
        yield held

    def _day(self, day: date, midnight: float, begin: float, end: float) -> list[Message]:
        name, store_id = day.isoformat(), self.store["store_id"]
        spans = open_spans(self.store, day)
        surges = [(self._start + f.start, self._start + f.end, f.magnitude) for f in self._of("queue-surge")]
        rng = chance(self._seed, store_id, name, "shop")
        empty, gone = self._on_facings("empty-shelf"), self._on_facings("phantom-stock")
        people = a_day(self._floor, day, spans, midnight, rng, surges, empty, gone)
        out: list[Message] = []
        self._sensors(name, people, spans, begin, end, out)
        self._cameras(name, people, spans, begin, end, out)
        self._lanes(name, people, spans, begin, out)
        self._tills(day, midnight, people, spans, out)
        self._bad_inputs(name, begin, end, out)
        self._watch_recoveries(people, end)
        return out

    def _of(self, fault: str) -> list[Fault]:
        return [f for f in self._faults if f.fault == fault]

    def _on_facings(self, fault: str) -> dict[str, list[tuple[float, float]]]:
        """Facing -> spans in epoch seconds."""
        found: dict[str, list[tuple[float, float]]] = {}
        for f in self._of(fault):
            found.setdefault(f.asset_id, []).append((self._start + f.start, self._start + f.end))
        return found

    def _since(self, epoch: Any) -> Any:
        return epoch - self._start

    def _ms(self, since: float) -> int:
        return int((self._start + since) * 1000 + 0.5)

    # ---- cases, meters, ambient

    def _sensors(
        self,
        name: str,
        people: StoreDay,
        spans: list[tuple[float, float]],
        begin: float,
        end: float,
        out: list[Message],
    ) -> None:
        first = int(begin // STEP_S)
        steps = max(1, int(-(-end // STEP_S)) - first)
        when = (first + np.arange(1, steps + 1)) * STEP_S
        trading = np.zeros(steps)
        for opens, closes in spans:
            trading[(when >= self._since(opens)) & (when < self._since(closes))] = 1.0
        ambient = self._ambient(name, when, trading)
        traces: dict[str, Trace] = {}
        doors: dict[str, list[tuple[float, float]]] = {}
        for case in self._cases:
            asset_id = case.asset["asset_id"]
            opened = [(self._since(at), self._since(at) + s) for at, s in people.openings.get(asset_id, ())]
            doors[asset_id] = opened + [(f.start, f.end) for f in case.faults if f.fault == "door-ajar"]
            inputs = _inputs(case, when, ambient, opened, first * STEP_S)
            traces[asset_id] = thermal.run(case.model, case.state, first * STEP_S, inputs)
            self._back_in_range(case, when, traces[asset_id])
        power = sum((t.power for t in traces.values()), np.zeros(steps))
        building = 3.5 + 9.5 * trading + 0.5 * np.maximum(0, ambient - 19)
        building += self._added("power-left-on", when) * (1 - trading)
        energy = self._energy + np.cumsum(power + building) * STEP_S / 3600
        self._reset("power_meter", when, energy)
        self._energy = float(energy[-1])
        rng = chance(self._seed, self.store["store_id"], name, "water")
        drawn = np.where(rng.random(steps) < 0.02 + 0.1 * trading, rng.exponential(0.006, steps), 0.0)
        water = self._water + np.cumsum(drawn + self._added("water-leak", when) * STEP_S / 3600)
        self._reset("water_meter", when, water)
        self._water = float(water[-1])
        humidity = 47 + 4 * np.sin(2 * np.pi * when / 86400)
        series = {"temperature": ambient, "humidity": humidity, "energy": energy, "water": water}
        for asset in self.assets:
            trace = traces.get(asset["asset_id"])
            for device in self._devices[asset["asset_id"]]:
                metric = device.spec["metric"]
                rng = chance(self._seed, device.device_id, name)
                if metric in ("defrost", "door_open", "compressor"):
                    if metric == "door_open":
                        state = device.state or 0.0
                        changes = intervals_to_changes(doors.get(asset["asset_id"], []), begin, end, state)
                    elif metric == "defrost":
                        changes = _changes(trace.defrost, when) if trace else []
                    else:
                        running = trace.cooling if trace else _any_cooling(traces, steps)
                        changes = _changes(running, when)
                    times, said = state_reports(device, changes, begin, end)
                    self._send(device, np.array(times), [int(v) for v in said], rng, out)
                    continue
                moments = device.moments(begin, end, rng)
                if metric == "heartbeat":
                    self._send(device, moments, [1] * len(moments), rng, out)
                    continue
                index = np.clip(((moments - first * STEP_S) // STEP_S).astype(int), 0, steps - 1)
                if metric == "power":
                    base = power if asset["asset_class"] == "rack" else power + building
                    true = base[index] * rng.normal(1, 0.01, len(index))
                else:
                    true = (trace.temperature if trace and metric == "temperature" else series[metric])[index]
                said = device.reported(true, rng)
                self._hold_if_stuck(device, moments, said)
                self._send(device, moments, said, rng, out)

    def _added(self, fault: str, when: np.ndarray) -> np.ndarray:
        """What such faults add in each step: their magnitude, while they last."""
        added = np.zeros(len(when))
        for one in self._of(fault):
            added[(when > one.start) & (when <= one.end)] += one.magnitude
        return added

    def _reset(self, asset_class: str, when: np.ndarray, count: np.ndarray) -> None:
        """Let a count begin at nothing where its meter was reset."""
        meters = {asset["asset_id"] for asset in self._by_class.get(asset_class, ())}
        for fault in self._of("meter-reset"):
            if fault.asset_id in meters and when[0] - STEP_S < fault.start <= when[-1]:
                at = int(np.searchsorted(when, fault.start))
                count[at:] -= count[at]

    def _ambient(self, name: str, when: np.ndarray, trading: np.ndarray) -> np.ndarray:
        """Air of the sales floor, Cel: cooler at night, warmer with people, and the weather's slow wander."""
        rng = chance(self._seed, self.store["store_id"], name, "ambient")
        wander = np.empty(len(when) // 90 + 2)
        wander[0] = self._outside
        for i, push in enumerate(rng.normal(0, 0.09, len(wander) - 1)):
            wander[i + 1] = 0.97 * wander[i] + push
        slow = np.interp(np.arange(len(when)), np.arange(len(wander)) * 90, wander)
        self._outside = float(slow[-1])
        hour = ((when + self._start) / 3600 + _utc_offset_h(self.store, self._start + float(when[0]))) % 24
        return 20.2 + 1.0 * np.sin((hour - 10) / 24 * 2 * np.pi) + 0.6 * trading + slow

    def _hold_if_stuck(self, device: Device, moments: np.ndarray, said: list[float]) -> None:
        if device.spec["metric"] != "temperature":
            return
        for fault in self._of("stuck-sensor"):
            if fault.asset_id != device.asset["asset_id"]:
                continue
            inside = np.flatnonzero((moments >= fault.start) & (moments < fault.end))
            if len(inside):
                if moments[0] < fault.start or device.held is None:
                    device.held = said[inside[0]]
                for i in inside.tolist():
                    said[i] = device.held

    def _send(
        self, device: Device, moments: np.ndarray, said: list[Any], rng: np.random.Generator, out: list[Message]
    ) -> None:
        if not len(moments):
            return
        asset_id = device.asset["asset_id"]
        spared = self._network.near_outage(moments, asset_id)
        spared |= (moments < QUIET_S) | (moments > self._horizon - QUIET_S)
        lost = np.zeros(len(moments), dtype=bool)
        for fault in (*self._of("silent-sensor"), *self._of("signage-dead")):
            if fault.asset_id == asset_id and device is self._silent_one(asset_id):
                lost |= (moments >= fault.start) & (moments < fault.end)
                spared |= (moments > fault.start - QUIET_S) & (moments < fault.end + QUIET_S)
        what = fate(device.spec["interval_s"], moments, spared, rng)
        arrives = self._network.delay(moments, asset_id) + latencies(len(moments), rng)
        kept = what.kept & ~lost
        watch = self._watches.get(asset_id)
        metric = device.spec["metric"]
        for i, late in what.late.items():
            arrives[i] += late
        event_times = np.rint((self._start + moments + device.skew_s) * 1000).astype(np.int64).tolist()
        arrivals = np.rint((self._start + arrives) * 1000).astype(np.int64).tolist()
        for i, (sent, event_ms, arrived, arrives_at_all, value) in enumerate(
            zip(moments.tolist(), event_times, arrivals, kept.tolist(), said, strict=True)
        ):
            payload = device.payload(event_ms, value)
            if not arrives_at_all:
                continue
            out.append((arrived, "sensor-readings", payload))
            if i in what.twice:
                out.append((arrived + round(what.twice[i] * 1000), "sensor-readings", payload))
            if watch is not None:
                watch.heard.setdefault(device.device_id, []).append((self._ms(sent), arrived))
                if metric == "temperature":
                    watch.readings.append((event_ms, _celsius(value, device.spec["unit"])))
                elif metric == "defrost":
                    watch.defrosts.append((event_ms, bool(value)))
                elif metric in ("power", "energy", "water"):
                    watch.metered.setdefault(metric, []).append((event_ms, value))

    def _silent_one(self, asset_id: str) -> Device:
        """The device of an asset that a silent-sensor fault silences: its thermometer, else its first."""
        devices = self._devices[asset_id]
        return next((d for d in devices if d.spec["metric"] == "temperature"), devices[0])

    # ---- cameras, lanes, tills

    def _cameras(
        self,
        name: str,
        people: StoreDay,
        spans: list[tuple[float, float]],
        begin: float,
        end: float,
        out: list[Message],
    ) -> None:
        cameras = [a["asset_id"] for a in self._by_class.get("camera", ())]
        if not cameras:
            return
        at_door, at_lanes, at_shelves = cameras[0], cameras[min(1, len(cameras) - 1)], cameras[-1]
        prefix = at_door.partition("-")[0]
        alone = set(self._floor.self_checkouts)
        comes = np.sort(np.array([s.comes for s in people.shoppers]))
        for opens, closes in spans:
            rng = chance(self._seed, self.store["store_id"], name, "entrance", str(opens))
            minutes = np.arange(opens + 60, closes + 60, 60.0)
            counts = np.diff(np.searchsorted(comes, np.concatenate([[opens], minutes])))
            self._see(at_door, f"{prefix}-zone-entrance", "entrance", None, minutes, counts, rng, out)
        for lane_id, joins in people.joins.items():
            rng = chance(self._seed, lane_id, name, "queue")
            for opens, closes in spans:
                last = max([closes, *(leaves[-1] for leaves in people.leaves.values() if len(leaves))])
                seen = np.arange(opens + rng.uniform(0, 45), last + 60, 45.0)
                counts = np.searchsorted(joins, seen, "right") - np.searchsorted(people.leaves[lane_id], seen, "right")
                idle = (counts == 0) & (np.arange(len(seen)) % 2 != 0)  # an empty zone is told half as often
                idle[1:] &= counts[:-1] == 0
                counts, seen = counts[~idle], seen[~idle]
                wrong = np.where(rng.random(len(counts)) < 0.04, rng.choice([-1, 1], len(counts)), 0)
                counts = np.maximum(0, counts + np.where(counts > 1, wrong, 0))
                kind = "self_checkout" if lane_id in alone else "queue"
                self._see(at_lanes, f"{lane_id}-{kind}", kind, lane_id, seen, counts, rng, out)
        self._shelves(name, people, spans, at_shelves, begin, end, out)

    def _see(
        self,
        camera: str,
        zone: str,
        kind: str,
        asset_id: str | None,
        epoch: np.ndarray,
        counts: np.ndarray,
        rng: np.random.Generator,
        out: list[Message],
    ) -> None:
        """Counts of people in one zone."""
        store_id = self.store["store_id"]
        place = f'"asset_id":"{asset_id}",' if asset_id else ""
        sure = np.round(0.995 - rng.beta(1.5, 14, len(epoch)), 3).tolist()
        for when, count, confidence, arrived in self._arriving(epoch, counts.tolist(), sure, rng):
            ms = round(when * 1000)
            frame = _frame(store_id, camera, ms, sent=asset_id is not None and count > 2)
            payload = (
                f'{{"event_id":"{zone}-{self._seed}-{ms}","event_time":"{to_rfc3339(ms)}","store_id":"{store_id}",'
                f'"schema_version":1,"camera_id":"{camera}","zone_id":"{zone}","zone_kind":"{kind}",{place}'
                f'"seen":"person","count":{count},"confidence":{confidence},"model":"people-counter",'
                f'"model_version":"2.3.1","frame_ref":"{frame}"}}'
            )
            out.append((arrived, "cv-detections", payload.encode()))

    def _shelves(
        self,
        name: str,
        people: StoreDay,
        spans: list[tuple[float, float]],
        camera: str,
        begin: float,
        end: float,
        out: list[Message],
    ) -> None:
        store_id = self.store["store_id"]
        for facing, steps in people.stock.items():
            rng = chance(self._seed, facing, name)
            epoch = self._start + np.arange(begin + rng.uniform(0, 300), end, 300.0)
            true = np.array([share_filled(steps, when) for when in epoch.tolist()])
            seen = np.clip(true + rng.normal(0, 0.02, len(true)), 0, 1)
            seen = np.where(true == 0, np.minimum(seen, 0.03), seen)
            sure = np.round(0.99 - rng.beta(1.5, 12, len(true)), 3).tolist()
            for when, share, confidence, arrived in self._arriving(epoch, seen.tolist(), sure, rng):
                ms = round(when * 1000)
                what = "empty_facing" if share < 0.05 else "low_facing" if share < 0.3 else "item"
                payload = (
                    f'{{"event_id":"{facing}-{self._seed}-{ms}","event_time":"{to_rfc3339(ms)}",'
                    f'"store_id":"{store_id}","schema_version":1,"camera_id":"{camera}","zone_id":"{facing}-zone",'
                    f'"zone_kind":"facing","asset_id":"{facing}","seen":"{what}","value":{round(share, 2)},'
                    f'"confidence":{confidence},"model":"shelf-watch","model_version":"1.8.0",'
                    f'"frame_ref":"{_frame(store_id, camera, ms, sent=True)}"}}'
                )
                out.append((arrived, "cv-detections", payload.encode()))
                if facing in self._watches:
                    trading = any(opens <= when < closes for opens, closes in spans)
                    self._watches[facing].empty.append((ms, trading and what == "empty_facing"))

    def _arriving(
        self,
        epoch: np.ndarray,
        values: list[Any],
        sure: list[float],
        rng: np.random.Generator,
    ) -> Iterator[tuple[float, Any, float, int]]:
        """(epoch s, value, confidence, arrival in epoch ms) of what happens within the simulation."""
        sent = self._since(epoch)
        arrives = self._network.delay(sent, None) + latencies(len(sent), rng)
        for i in np.flatnonzero((sent >= 0) & (sent < self._horizon)).tolist():
            yield float(epoch[i]), values[i], sure[i], self._ms(arrives[i])

    def _lanes(
        self,
        name: str,
        people: StoreDay,
        spans: list[tuple[float, float]],
        begin: float,
        out: list[Message],
    ) -> None:
        """Every change, all lanes' states at the simulation's start, and each half hour of trading once more."""
        alone = set(self._floor.self_checkouts)
        lanes = [*self._floor.staffed, *self._floor.self_checkouts]
        told = [(when, lane, status) for when, lane, status in people.lane_changes]
        repeats = [self._start] if begin == 0.0 else []
        repeats += [when for opens, closes in spans for when in np.arange(opens + 1800, closes, 1800).tolist()]
        for when in repeats:
            state = dict.fromkeys(lanes, "closed")
            state |= {lane: status for at, lane, status in people.lane_changes if at <= when}
            told += [(when, lane, status) for lane, status in state.items()]
        rng = chance(self._seed, self.store["store_id"], name, "lanes")
        # A lane that closes and opens in the same instant is open: `open` sorts last.
        states = {(round(when * 1000), lane): (when, status) for when, lane, status in sorted(told)}
        for (ms, lane), (when, status) in states.items():
            if not 0 <= self._since(when) < self._horizon:
                continue
            event = {"event_id": f"{lane}-{self._seed}-{ms}", "event_time": to_rfc3339(ms)}
            event |= {"store_id": self.store["store_id"], "schema_version": 1, "lane_id": lane}
            event |= {"lane_kind": "self_checkout" if lane in alone else "staffed", "status": status}
            event["terminals"] = 0 if status == "closed" else TERMINALS if lane in alone else 1
            out.append((self._arrival(self._since(when), rng), "lane-status", dumps(event)))

    def _tills(
        self,
        day: date,
        midnight: float,
        people: StoreDay,
        spans: list[tuple[float, float]],
        out: list[Message],
    ) -> None:
        if not spans:
            return
        store_id = self.store["store_id"]
        rng = chance(self._seed, store_id, day.isoformat(), "tills")
        alone = set(self._floor.self_checkouts)
        written = receipts(self.store, day, people, spans[-1][1], rng, self._seed, alone)
        by_app = chance(self._seed, store_id, day.isoformat(), "apps")
        if self._apps is not None:
            within = max(midnight, self._start), self._start + self._horizon
            told = self._apps.day(day, midnight, spans, within, by_app)
            for when, contract, event in told.told:
                out.append((self._arrival(self._since(when), by_app), contract, dumps(event)))
            written = sorted([*written, *told.receipts], key=lambda one: (one[0], one[1]["event_id"]))
        self._stock(day.isoformat(), spans, written, out)
        for when, event in written:
            self._watch_sale(when, event)
            draws = by_app if event["channel"] in CHANNELS else rng
            luck, extra = draws.random(), draws.random()
            since = self._since(when)
            arrived = self._arrival(since, draws)
            if 0 <= since < self._horizon:
                event["event_time"] = to_rfc3339(round(when * 1000))
                payload = dumps(event)
                out.append((arrived, "pos-transactions", payload))
                if luck < 0.003:
                    out.append((arrived + round(2000 + 20000 * extra), "pos-transactions", payload))

    def _stock(
        self, name: str, spans: list[tuple[float, float]], written: list[tuple[float, Event]], out: list[Message]
    ) -> None:
        """What the books say."""
        store_id = self.store["store_id"]
        rng = chance(self._seed, store_id, name, "stock")
        for when, product_id, on_hand in self._books.day(spans, written, self._start):
            ms = round(when * 1000)
            event = {"event_id": f"{store_id}-stock-{product_id}-{self._seed}-{ms}", "event_time": to_rfc3339(ms)}
            event |= {"store_id": store_id, "schema_version": 1, "product_id": product_id, "on_hand": on_hand}
            event |= {"unit": self._books.units[product_id], "counted": False, "source": "erp"}
            if self._since(when) < self._horizon:
                out.append((self._arrival(self._since(when), rng), "inventory", dumps(event)))

    def _watch_sale(self, when: float, receipt: Event) -> None:
        if receipt["kind"] != "sale" or not 0 <= self._since(when) < self._horizon:
            return
        self._sales.append(when)
        for line in receipt["lines"]:
            watch = self._watches.get(self._floor.facings.get(line.get("gtin", ""), ""))
            if watch is not None and not line["voided"]:
                watch.sold.append((len(self._sales), when))

    def _arrival(self, since: float, rng: np.random.Generator) -> int:
        return self._ms(float(self._network.delay(np.array([since]), None)[0] + latencies(1, rng)[0]))

    # ---- what breaks the contract

    def _bad_inputs(self, name: str, begin: float, end: float, out: list[Message]) -> None:
        for fault in self._of("bad-input"):
            if begin <= fault.start < end:
                device = self._silent_one(fault.asset_id)
                rng = chance(self._seed, device.device_id, name, fault.what or "")
                arrived = self._ms(fault.start) + 400
                out.append((arrived, "sensor-readings", _bad(device, fault.what, self._ms(fault.start), rng)))
                when = to_rfc3339(arrived)
                self.labels.append(
                    Label(
                        "bad-input", fault.store_id, fault.asset_id, fault.covers, when, when, when, 1.0, (), fault.what
                    )
                )

    # ---- labels

    def _back_in_range(self, case: _Case, when: np.ndarray, trace: Trace) -> None:
        """Note when a repaired case is within its thermostat's band again."""
        settled = (trace.temperature <= case.model.setpoint + case.model.band + 0.2) & ~trace.defrost
        for fault in case.faults:
            if id(fault) not in self._recovered:
                after = np.flatnonzero(settled & (when >= fault.end))
                if len(after):
                    self._recovered[id(fault)] = float(when[after[0]])

    def _watch_recoveries(self, people: StoreDay, end: float) -> None:
        for fault in self._of("queue-surge"):
            after = [self._since(at) for at, load in people.load if load <= 2.0 and self._since(at) >= fault.end]
            if after and fault.end < end:
                self._recovered.setdefault(id(fault), after[0])
            self._watches[fault.asset_id].load += [(round(at * 1000), load) for at, load in people.load]

    def _finish(self) -> None:
        for fault in self._faults:
            if fault.fault == "bad-input":
                continue
            own = fault.fault in (*_OF_CASES, "queue-surge")
            back = self._recovered.get(id(fault), self._horizon) if own else fault.end
            recovered = min(back, self._horizon) + _SLACK_S
            start_ms = self._ms(fault.start)
            expect: tuple[str, ...] = ()
            if fault.fault in (*_OF_CASES, "stuck-sensor"):
                start_ms, expect = self._expect_warm(fault, start_ms, self._ms(recovered))
                if fault.fault == "stuck-sensor" and (fault.end - fault.start) * 1000 >= STUCK_FOR + 2 * _MARGIN_MS:
                    expect += (STUCK,)
            elif fault.fault in _SILENCES:
                start_ms, back_ms, expect = self._expect_silence(fault)
                recovered = max(recovered, (back_ms / 1000 - self._start) + _SLACK_S)
            elif fault.fault in _OF_METERS:
                # What is told of an hour may begin with its end.
                recovered += 3600
                expect = self._expect_metered(fault, start_ms, self._ms(recovered))
            elif fault.fault == "queue-surge":
                expect = self._expect_queue(fault, self._ms(recovered))
                start_ms -= _COME_BEFORE_S * 1000
            elif fault.fault in ("empty-shelf", "phantom-stock"):
                back, expect = self._expect_shelf(fault)
                recovered = back + _SLACK_S
            self.labels.append(
                Label(
                    fault.fault,
                    fault.store_id,
                    fault.asset_id,
                    fault.covers,
                    to_rfc3339(start_ms),
                    to_rfc3339(self._ms(fault.end)),
                    to_rfc3339(self._ms(recovered)),
                    fault.magnitude,
                    expect,
                )
            )

    def _expect_warm(self, fault: Fault, start_ms: int, until_ms: int) -> tuple[int, tuple[str, ...]]:
        """(start, rules to expect). Where a defrost had the case past its limit when the fault came, and the fault kept
        it there, it is one stretch to any rule: it counts from its beginning."""
        asset_class = next(a["asset_class"] for a in self.assets if a["asset_id"] == fault.asset_id)
        limits, watch = TOO_WARM[asset_class], self._watches[fault.asset_id]
        before = [(time, value) for time, value in sorted(watch.readings) if time < start_ms]
        for time, value in reversed(before):
            if value <= limits.levels[0][0]:
                break
            start_ms = time
        told = too_warm(watch.readings, watch.defrosts, limits, _MARGIN_C, _MARGIN_MS)
        return start_ms, (limits.rule,) if any(start_ms <= first <= until_ms for first in told) else ()

    def _expect_silence(self, fault: Fault) -> tuple[int, int, tuple[str, ...]]:
        """(last report before it, first arrival after it, both epoch ms; rules to expect)."""
        start_ms, end_ms = self._ms(fault.start), self._ms(fault.end)
        first, back, expect = start_ms, end_ms, set()
        for asset_id in fault.covers:
            for device in self._devices[asset_id]:
                if fault.fault == "silent-sensor" and device is not self._silent_one(asset_id):
                    continue
                rule, at_least = _silence_rule(device)
                heard = self._watches[asset_id].heard.get(device.device_id, [])
                since, until = longest_silence([arrived for _, arrived in heard], start_ms, end_ms)
                patience = silent_after(device.spec["interval_s"], at_least)
                if until - since >= patience:
                    first = min(first, max((sent for sent, _ in heard if sent < start_ms), default=first))
                    back = max(back, min((arrived for _, arrived in heard if arrived >= end_ms), default=end_ms))
                due = since + patience + 30_000
                shut = device.asset["asset_class"] in ONLY_OPEN and not self._opens_between(due, until)
                if rule and until >= due and not shut:
                    expect.add(rule)
        return first, back, tuple(sorted(expect))

    def _expect_metered(self, fault: Fault, start_ms: int, until_ms: int) -> tuple[str, ...]:
        watch = self._watches[fault.asset_id]
        if fault.fault == "meter-reset":
            counts = watch.metered.get("energy") or watch.metered.get("water") or []
            return (METER_RESET,) if sum(1 for time, _ in counts if time > start_ms) >= 4 else ()
        metric = _OF_METERS[fault.fault]
        begun = out_of_hours(watch.metered.get(metric, []), metric, lambda ms: not self._is_open(ms))
        return (OUT_OF_HOURS[metric].rule,) if any(start_ms <= time <= until_ms for time in begun) else ()

    def _is_open(self, ms: int) -> bool:
        day = local_date(self.store, ms / 1000)
        return any(opens <= ms / 1000 < closes for opens, closes in open_spans(self.store, day))

    def _opens_between(self, since_ms: int, until_ms: int) -> bool:
        """Whether the store is open at some time between the two."""
        days = {local_date(self.store, ms / 1000) for ms in range(since_ms, until_ms + 1, 3_600_000)}
        days.add(local_date(self.store, until_ms / 1000))
        spans = [span for day in days for span in open_spans(self.store, day)]
        return any(opens * 1000 < until_ms and since_ms < closes * 1000 for opens, closes in spans)

    def _expect_queue(self, fault: Fault, until_ms: int) -> tuple[str, ...]:
        """Rules to expect of the people who stood at each lane."""
        load = [
            (ms, people) for ms, people in self._watches[fault.asset_id].load if self._ms(fault.start) <= ms < until_ms
        ]
        waits = longest([(ms, people * _SHORTEST_SERVICE_S > WAIT_S) for ms, people in load])
        short = longest([(ms, people > SHORT_ABOVE + 0.5) for ms, people in load])
        found = ((WAIT, waits, WAIT_FOR), (SHORT, short, SHORT_FOR))
        return tuple(rule for rule, lasted, least in found if lasted >= least + _MARGIN_MS)

    def _expect_shelf(self, fault: Fault) -> tuple[float, tuple[str, ...]]:
        """(when it sells again or the fault is over, rules to expect)."""
        watch = self._watches[fault.asset_id]
        begins, ends = self._start + fault.start, self._start + fault.end
        back = min((when for _, when in watch.sold if when >= ends), default=ends)
        if fault.fault == "empty-shelf":
            lasted = longest([(ms, empty and begins * 1000 <= ms < ends * 1000) for ms, empty in watch.empty])
            return self._since(back), (EMPTY,) if lasted >= EMPTY_FOR + _MARGIN_MS else ()
        sold = [number for number, when in watch.sold if when < ends]
        until = sum(1 for when in self._sales if when < ends - PHANTOM_FOR / 1000)
        stopped = stopped_selling(sold, until) if sold else 0.0
        return self._since(back), (PHANTOM,) if stopped >= PHANTOM_ABOVE * _PHANTOM_MARGIN else ()


_SILENCES = ("silent-sensor", "signage-dead", "network-outage")
_OF_METERS = {"power-left-on": "power", "water-leak": "water", "meter-reset": ""}
"""Faults of meters, and the metric in which they are seen."""


def _silence_rule(device: Device) -> tuple[str, int]:
    """(rule about the device's silence, empty where there is none; shortest silence in ms)."""
    asset_class, metric = device.asset["asset_class"], device.spec["metric"]
    if asset_class in TOO_WARM and metric in SILENT_METRICS:
        return SILENT, SILENT_FOR
    return SILENCES.get((asset_class, metric), ("", SILENT_FOR))


def _frame(store_id: str, camera: str, ms: int, sent: bool) -> str:
    """Where a frame lies: what may be worth training on is sent to S3, all else stays on the premises."""
    return f"s3://grocery-frames/{store_id}/{camera}/{ms}.jpg" if sent else f"premises://{camera}/{ms}"


def _on_sale(reference: Reference, store: Event) -> list[Event]:
    """Active products as this store sells them: its own version goes before the chain's."""
    found = {p["product_id"]: p for (owner, _), p in sorted(reference.products.items()) if owner == "chain"}
    found |= {p["product_id"]: p for (owner, _), p in reference.products.items() if owner == store["store_id"]}
    return [p for _, p in sorted(found.items()) if p["status"] == "active"]


def _inputs(
    case: _Case, when: np.ndarray, ambient: np.ndarray, opened: list[tuple[float, float]], begin: float
) -> Inputs:
    """A step's inputs of one case: its faults, and how much of each step its door stood open."""
    inputs = Inputs.quiet(len(when), 0.0)
    inputs.ambient[:] = ambient
    if case.asset["asset_class"] == "cooler" and not case.model.door:
        inputs.ambient[:] += 0.8 * (ambient - 20.2)  # an open multideck feels the aisle's air more
    for start, stop in opened:
        at = int((start - begin) // STEP_S)
        while start < stop and at < len(when):
            edge = min(stop, begin + (at + 1) * STEP_S)
            if at >= 0:
                inputs.door[at] += (edge - start) / STEP_S / _DOORS
            start, at = edge, at + 1
    for fault in case.faults:
        on = (when > fault.start) & (when <= fault.end)
        hours = (when[on] - fault.start) / 3600
        if fault.fault == "door-ajar":
            inputs.door[on] += fault.magnitude
        elif fault.fault == "compressor-failure":
            inputs.capacity[on] *= 1 - fault.magnitude
            inputs.motor[on] *= 1 - fault.magnitude
        elif fault.fault == "slow-leak":
            inputs.capacity[on] *= np.maximum(0, 1 - fault.magnitude * hours)
        elif fault.fault == "iced-coil":
            inputs.capacity[on] *= np.exp(-fault.magnitude * hours)
        elif fault.fault == "defrost-heater-stuck":
            inputs.stuck_heater[on] = fault.magnitude
    np.minimum(inputs.door, 1.0, out=inputs.door)
    return inputs


def _changes(states: np.ndarray, when: np.ndarray) -> list[tuple[float, float]]:
    """(seconds, state): the first one, and every change after it. `when` is the end of each step."""
    at = np.concatenate([[0], np.flatnonzero(np.diff(states.astype(int))) + 1])
    return [(float(when[i]) - STEP_S, float(states[i])) for i in at.tolist()]


def _any_cooling(traces: dict[str, Trace], steps: int) -> np.ndarray:
    running = np.zeros(steps, dtype=bool)
    for trace in traces.values():
        running |= trace.cooling
    return running


def _celsius(value: float, unit: str) -> float:
    return (value - 32) / 1.8 if unit == "[degF]" else value


def _utc_offset_h(store: Event, epoch_s: float) -> float:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    return datetime.fromtimestamp(epoch_s, ZoneInfo(store["time_zone"])).utcoffset().total_seconds() / 3600


def _bad(device: Device, what: str | None, event_ms: int, rng: np.random.Generator) -> bytes:
    """A message the gate must refuse."""
    asset, spec = device.asset, device.spec
    event: Event = {
        "event_id": f"{spec['device_id']}-{device.seed}-{event_ms}-{what}",
        "event_time": to_rfc3339(event_ms),
        "store_id": asset["store_id"],
        "schema_version": 1,
        "kind": "reading",
        "device_id": spec["device_id"],
        "asset_id": asset["asset_id"],
        "asset_class": asset["asset_class"],
        "metric": spec["metric"],
        "value": round(float(rng.normal(-19, 0.5)), 1),
        "unit": spec["unit"],
    }
    if what == "wrong-unit":
        event["unit"] = "bar"
    elif what == "unknown-asset":
        event["asset_id"] = f"{asset['asset_id'].partition('-')[0]}-freezer-99"
    elif what == "unknown-store":
        event["store_id"] = "store-x99"
    elif what == "far-future":
        event["event_time"] = to_rfc3339(event_ms + 26 * 3_600_000)
    elif what == "missing-field":
        del event["metric"]
    elif what == "unknown-field":
        event["battery"] = "low"
    elif what == "too-large":
        event["note"] = "x" * 300_000
    payload = dumps(event)
    if what == "broken-json":
        return payload[: len(payload) // 2]
    if what == "not-a-number":
        return payload.replace(f'"value":{event["value"]}'.encode(), b'"value":NaN')
    return payload
