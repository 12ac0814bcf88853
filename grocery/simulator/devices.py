"""Devices and the network between them and the gate: clocks, noise, what is lost, sent twice or late.

None of it may look like a fault that nobody labelled: blemishes keep their distance, so that no 60-second device is
unheard for more than some 3½ minutes and no 300-second device for more than 12.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from grocery.simulator.chance import chance
from schemas.instants import to_rfc3339

Event = dict[str, Any]

QUIET_S = 900
"""No blemish this close to the simulation's ends and to outages, seconds."""
_REPORTS_APART = 12
_HOUR_AHEAD_S = 3600.0
_DIGITS = {"temperature": 1, "humidity": 0, "power": 2, "energy": 2, "water": 3}


@dataclass(slots=True)
class Outage:
    """The network of some assets (None: of the whole store) was down from start to end, seconds since the start of
    the simulation; what was sent meanwhile came in one burst after it."""

    start: float
    end: float
    assets: frozenset[str] | None = None

    def touches(self, asset_id: str | None) -> bool:
        return self.assets is None or asset_id in self.assets


@dataclass(slots=True)
class Network:
    """A store's way to the gate."""

    outages: list[Outage] = field(default_factory=list)

    def delay(self, sent: np.ndarray, asset_id: str | None) -> np.ndarray:
        """When what was sent arrives, both seconds since the start, before the usual latency. Order is kept."""
        arrives = sent.copy()
        for outage in self.outages:
            if outage.touches(asset_id):
                held = (sent >= outage.start) & (sent < outage.end)
                share = (sent[held] - outage.start) / (outage.end - outage.start)
                arrives[held] = outage.end + 0.5 + 2.0 * share
        return arrives

    def near_outage(self, when: np.ndarray, asset_id: str | None) -> np.ndarray:
        """Which moments lie within QUIET_S of an outage."""
        near = np.zeros(len(when), dtype=bool)
        for outage in self.outages:
            if outage.touches(asset_id):
                near |= (when > outage.start - QUIET_S) & (when < outage.end + QUIET_S)
        return near


@dataclass(slots=True)
class Device:
    """One device of one asset. skew_s: its clock minus the true time; offset: its calibration error, in Cel; phase_s:
    when in its interval it reports; frame: what stands around time, value and sequence in its messages. The rest is
    carried from day to day: sequence, last_s and state of its last
    report (state devices), held: the value a stuck sensor clings to."""

    asset: Event
    spec: Event
    seed: int
    skew_s: float
    offset: float
    phase_s: float
    frame: tuple[str, str, str]
    sequence: int = 0
    last_s: float | None = None
    state: float | None = None
    held: float | None = None

    @classmethod
    def of(cls, asset: Event, spec: Event, seed: int, hour_ahead: bool) -> Device:
        rng = chance(seed, asset["store_id"], spec["device_id"])
        skew = float(np.clip(rng.normal(0, 1.5), -5, 5))
        if rng.random() < 0.06:
            skew = float(rng.choice([-1, 1]) * rng.uniform(20, 90))
        offset = float(np.clip(rng.normal(0, 0.06), -0.12, 0.12))
        phase = float(rng.uniform(0, spec["interval_s"]))
        frame = (
            f'{{"event_id":"{spec["device_id"]}-{seed}-',
            f'","store_id":"{asset["store_id"]}","schema_version":1,"kind":"reading","device_id":"{spec["device_id"]}",'
            f'"asset_id":"{asset["asset_id"]}","asset_class":"{asset["asset_class"]}","metric":"{spec["metric"]}",'
            '"value":',
            f',"unit":"{spec["unit"]}","sequence":',
        )
        return cls(asset, spec, seed, _HOUR_AHEAD_S if hour_ahead else skew, offset, phase, frame)

    @property
    def device_id(self) -> str:
        return self.spec["device_id"]

    def moments(self, begin: float, end: float, rng: np.random.Generator) -> np.ndarray:
        """True times of its regular reports within [begin, end), seconds since the start."""
        every = self.spec["interval_s"]
        first = np.ceil((begin - self.phase_s) / every)
        last = np.ceil((end - self.phase_s) / every)
        when = self.phase_s + every * np.arange(first, last)
        return np.clip(when + rng.normal(0, 0.3, len(when)).clip(-1, 1), begin, end - 0.001)

    def reported(self, true: np.ndarray, rng: np.random.Generator) -> list[float]:
        """What it says of true values (contract units), in its own unit and resolution."""
        metric, unit = self.spec["metric"], self.spec["unit"]
        if metric == "temperature":
            true = true + self.offset + rng.normal(0, 0.05, len(true)).clip(-0.12, 0.12)
            if unit == "[degF]":
                true = true * 1.8 + 32
        if metric in _DIGITS:
            return np.round(true, _DIGITS[metric]).tolist()
        return true.tolist()

    def payload(self, event_ms: int, value: Any) -> bytes:
        """The message, compact, in the order of the contract; counts the device's sequence up."""
        self.sequence += 1
        head, middle, tail = self.frame
        return f'{head}{event_ms}","event_time":"{to_rfc3339(event_ms)}{middle}{value}{tail}{self.sequence}}}'.encode()


def state_reports(
    device: Device, changes: list[tuple[float, float]], begin: float, end: float
) -> tuple[list[float], list[float]]:
    """Times and values a state device reports within [begin, end): every change, and each interval without one.

    changes: (seconds, new state), in order. Moves the device's last_s and state on.
    """
    every = device.spec["interval_s"]
    times: list[float] = []
    values: list[float] = []

    def report(when: float, state: float) -> None:
        times.append(when)
        values.append(state)
        device.last_s, device.state = when, state

    if device.state is None:
        device.last_s, device.state = begin + device.phase_s - every, 0.0
    for when, state in [*changes, (end, None)]:
        while device.last_s + every < when:
            report(device.last_s + every, device.state)
        if state is not None and state != device.state and when >= begin:
            report(max(when, device.last_s + 0.05), state)
    return times, values


def intervals_to_changes(
    spans: list[tuple[float, float]], begin: float, end: float, opened: float
) -> list[tuple[float, float]]:
    """(seconds, 1 or 0) where spans (start, end), merged where they overlap, begin and end within [begin, end).

    opened: the state before `begin`; a span that goes on at `end` is not closed.
    """
    changes: list[tuple[float, float]] = []
    merged: list[list[float]] = []
    for start, stop in sorted((max(a, begin), b) for a, b in spans if b > begin and a < end):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], stop)
        else:
            merged.append([start, stop])
    if opened and (not merged or merged[0][0] > begin):
        changes.append((begin, 0.0))
    for start, stop in merged:
        changes.append((start, 1.0))
        if stop < end:
            changes.append((stop, 0.0))
    return changes


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of messages: index and seconds for each; kept: which arrive at all."""

    kept: np.ndarray
    late: dict[int, float]
    twice: dict[int, float]


def fate(interval_s: int, when: np.ndarray, spared: np.ndarray, rng: np.random.Generator) -> Fate:
    """Draw it. spared: messages that nothing may happen to."""
    kept = np.ones(len(when), dtype=bool)
    late: dict[int, float] = {}
    twice: dict[int, float] = {}
    at = int(rng.integers(_REPORTS_APART, 160))
    while at < len(when) - 2:
        luck, extra = rng.random(), rng.random()
        if not spared[at : at + 2].any():
            if luck < 0.4:
                kept[at] = False
            elif luck < 0.5 and interval_s <= 60:
                kept[at : at + 2] = False
            elif luck < 0.7:
                late[at] = 15 + extra * min(2.0 * interval_s, 120)
            else:
                twice[at] = 1 + 29 * extra
        at += _REPORTS_APART + int(rng.exponential(120))
    return Fate(kept, late, twice)


def latencies(count: int, rng: np.random.Generator) -> np.ndarray:
    """Seconds from sending to arrival on a good day."""
    return np.minimum(rng.lognormal(-1.0, 0.5, count), 4.0)
