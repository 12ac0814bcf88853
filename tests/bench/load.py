"""The log that every contender reads: deterministic, one shard a partition, so that several processes can write it and
it is the same each time.

A store has 50 devices: 10 freezers with temperature, defrost and door, 19 coolers with temperature, and the rack's
power. The log goes on as long as it is asked for; what one needs is `Scenario` and `shard`.

What happens in it, drawn once by chance (SEED), as far as the log is long enough to hold it:
- values with noise; every freezer defrosts for 20 to 35 min each 8 h, and is too warm for some of it (masked); some
  defrosts do not end, some doors are left open
- excursions: some freezers and coolers warm up within 10 min, stay past a limit for 45 to 75 min, some coolers for
  five hours, and come back
- silences: some devices say nothing for a while, others nothing usable, or always the same
- devices that were offline deliver what they have stored at once, an excursion of 35 min among it
- resends of the same event, and readings that come after the one that follows them
- a tick of every store each `tick_s`, the first with the store, its assets and the roster

No rack loses its power and no store goes silent as a whole: what hangs on what is left to the engine's own tests.
Disorder and resends spare doors, defrosts and devices to which something happens: the peers' rules pass over what comes
late, the engine puts it in its place, and both must give the same alerts.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

SEED = 20261124
DEVICES = 50
"""A store's."""
PARTITIONS = 4
BEGIN_MS = 1_791_158_400_000
"""2026-10-05T00:00:00Z."""
DELAY_MS = 300
"""From a reading to its arrival."""
MINUTE, HOUR = 60_000, 3_600_000
ODD = 0.002
"""Share of readings that are resent, and of those that come late."""
_FREEZERS, _COOLERS = 10, 19
_METRICS = {"t": "temperature", "d": "defrost", "o": "door_open", "p": "power"}


class Line(NamedTuple):
    """One record. store: number of the store, counted within the chain."""

    arrived_ms: int
    store: int
    payload: bytes
    is_reading: bool


@dataclass(frozen=True, slots=True)
class Scenario:
    """devices: of the chain. cadence_s: between two readings of a device. tick_s: between two ticks of a store.
    readings: how many the log has up to its `end_ms`, resends not counted.
    """

    name: str
    devices: int
    cadence_s: int
    tick_s: int
    readings: int

    @property
    def stores(self) -> int:
        return self.devices // DEVICES

    @property
    def rounds(self) -> int:
        return self.readings // self.devices

    @property
    def span_ms(self) -> int:
        """How long the log lasts, by its own clock."""
        return self.rounds * self.cadence_s * 1000

    @property
    def end_ms(self) -> int:
        return BEGIN_MS + self.span_ms

    def stores_of(self, partition: int) -> range:
        return range(partition, self.stores, PARTITIONS)


def store_id(number: int) -> str:
    return f"store-{number:05d}"


def shard(scenario: Scenario, partition: int) -> Iterator[Line]:
    """The log of one partition's stores in order of arrival, without end."""
    return _Shard(scenario, partition).lines()


class _Shard:
    """Numpy arrays with one element a device, in order of the store and of the device within it."""

    def __init__(self, scenario: Scenario, partition: int) -> None:
        self.scenario = scenario
        self.stores = list(scenario.stores_of(partition))
        self.cadence_ms, self.tick_ms = scenario.cadence_s * 1000, scenario.tick_s * 1000
        self.seed = (SEED, scenario.devices, scenario.cadence_s, partition)
        draw = np.random.default_rng(self.seed)
        count = len(self.stores) * DEVICES
        place = np.arange(count) % DEVICES
        self.freezer = place < 3 * _FREEZERS
        self.is_power = place == 3 * _FREEZERS + _COOLERS
        kind = np.where(self.freezer, place % 3, np.where(self.is_power, 3, 0))
        self.is_temperature, self.is_defrost, self.is_door = kind == 0, kind == 1, kind == 2
        self.phase = draw.integers(0, self.cadence_ms - DELAY_MS, count)
        self.base = np.where(self.freezer, draw.normal(-20, 0.7, count), draw.normal(2.5, 0.3, count))
        self._draw_faults(draw, count)
        self.heads, self.tails = self._fragments(place, kind)

    def _draw_faults(self, draw: np.random.Generator, count: int) -> None:
        span = self.scenario.span_ms
        # Defrosts: the three devices of a freezer share theirs.
        case = np.arange(count) // DEVICES * DEVICES + np.arange(count) % DEVICES // 3 * 3
        self.defrost_at = draw.integers(0, 8 * HOUR, count)[case]
        self.defrost_ms = draw.integers(20 * MINUTE, 35 * MINUTE, count)[case]
        hangs = draw.random(count)[case] < 0.02
        self.defrost_ms = np.where(hangs, 80 * MINUTE, self.defrost_ms)
        free = np.ones(count, bool)

        def some(share: float, of: np.ndarray, lasts: np.ndarray | int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            """Of so many devices to which nothing else happens: (which, when it begins, how long it lasts), ms."""
            room = span - lasts - 4 * self.cadence_ms
            begins = (draw.random(count) * np.maximum(room, 1)).astype(np.int64) + 2 * self.cadence_ms
            chosen = of & free & (draw.random(count) < share) & (room > 0)
            free[chosen] = False
            return chosen, begins, np.broadcast_to(lasts, count)

        # Excursions, of freezers none near their own defrost.
        lasts = draw.integers(65 * MINUTE, 95 * MINUTE, count)
        lasts = np.where(~self.freezer & (draw.random(count) < 0.1), 6 * HOUR, lasts)
        self.excursion, self.excursion_at, self.excursion_ms = some(0.05, self.is_temperature, lasts)
        since = (self.excursion_at - self.defrost_at) % (8 * HOUR)
        near = self.freezer & ((since < self.defrost_ms + 90 * MINUTE) | (since > 8 * HOUR - lasts - 10 * MINUTE))
        self.excursion &= ~near
        worse = draw.random(count) < 0.3
        to = np.where(self.freezer, np.where(worse, -9.0, -13.5), np.where(worse, 10.0, 6.5))
        self.excursion_by = to - self.base
        missed = max(5 * MINUTE, round(3.5 * self.cadence_ms)) + self.cadence_ms
        self.silent, self.silent_at, self.silent_ms = some(
            0.002, ~self.is_defrost, missed + draw.integers(MINUTE, 3 * MINUTE, count)
        )
        self.bad, self.bad_at, self.bad_ms = some(
            0.002, ~self.is_defrost, 11 * MINUTE + 3 * self.cadence_ms + draw.integers(0, 9 * MINUTE, count)
        )
        self.stuck, self.stuck_at, self.stuck_ms = some(
            0.003, self.is_temperature & ~self.freezer, 125 * MINUTE + 3 * self.cadence_ms
        )
        self.ajar, self.ajar_at, self.ajar_ms = some(0.01, self.is_door, 20 * MINUTE + 2 * self.cadence_ms)
        # Devices that were offline until the second round and then deliver 46 readings, a minute between two.
        self.offline = self.is_temperature & free & (draw.random(count) < 0.002)
        self.odd = free & ~self.offline & (self.is_temperature | self.is_power)

    def _fragments(self, place: np.ndarray, kind: np.ndarray) -> tuple[list[str], list[tuple[str, str, str]]]:
        """What of a device's JSON never changes: its id, and (before the time, before the value, after it)."""
        ids, parts = [], []
        for number in range(len(place)):
            store, at = store_id(self.stores[number // DEVICES]), int(place[number])
            word = self.word(number)
            case = at // 3 if word == "freezer" else at - 3 * _FREEZERS if word == "cooler" else 0
            asset = f"s{store[6:]}-{word}-{case:02d}"
            device = f"{asset}-{'tdop'[kind[number]]}"
            metric = _METRICS[device[-1]]
            unit = {"temperature": "Cel", "power": "kW"}.get(metric, "1")
            ids.append(device)
            parts.append(
                (
                    '","event_time":"',
                    f'","store_id":"{store}","schema_version":1,"kind":"reading","device_id":"{device}",'
                    f'"asset_id":"{asset}","asset_class":"{word}","metric":"{metric}","value":',
                    f',"unit":"{unit}"}}',
                )
            )
        return ids, parts

    def word(self, number: int) -> str:
        return "freezer" if self.freezer[number] else "rack" if self.is_power[number] else "cooler"

    def facts(self, store: int) -> str:
        """What the first tick tells of a store, as JSON fields; store: counted within the shard."""
        roster, assets = [], {}
        for number in range(store * DEVICES, (store + 1) * DEVICES):
            device, word = self.heads[number], self.word(number)
            asset = device[:-2]
            about = {"device_id": device, "asset_id": asset, "asset_class": word, "metric": _METRICS[device[-1]]}
            roster.append(about | {"interval_s": self.scenario.cadence_s})
            assets[asset] = {"asset_id": asset, "asset_class": word, "name": f"{word} {asset[-2:]}", "area": "Aisle"}
            if word != "rack":
                assets[asset]["parent_id"] = f"{asset.split('-')[0]}-rack-00"
        told = {
            "roster": sorted(roster, key=lambda item: item["device_id"]),
            "store": {"name": "Bench", "time_zone": "Europe/Berlin", "locale": "en-US", "display_unit": "Cel"}
            | {"opening_hours": [{"day": "mon", "opens": "07:00", "closes": "22:00"}], "holidays": []},
            "assets": sorted(assets.values(), key=lambda item: item["asset_id"]),
        }
        return json.dumps(told, separators=(",", ":"))[1:-1]

    def values(self, at: np.ndarray, noise: np.ndarray, chance: np.ndarray) -> np.ndarray:
        """What the devices measure; at: ms since the beginning, one a device, as are noise and chance."""
        into = (at - self.defrost_at) % (8 * HOUR)
        thaws = self.freezer & (into < self.defrost_ms)
        # Up to -13.5 at the end of a defrost, and cold again 25 min later.
        after = np.clip(1 - (into - self.defrost_ms) / (25 * MINUTE), 0, 1)
        share = np.where(thaws, into / self.defrost_ms, np.where(self.freezer, after, 0))
        value = self.base + 0.15 * noise + share * (-13.5 - self.base) * self.freezer
        since = at - self.excursion_at
        up = np.clip(since / (10 * MINUTE), 0, 1)
        down = np.clip((self.excursion_ms - since) / (10 * MINUTE), 0, 1)
        value += np.where(self.excursion, np.minimum(up, down) * self.excursion_by, 0)
        frozen_in = self.stuck & within(at, self.stuck_at, self.stuck_ms)
        value = np.where(frozen_in, self.base, value)
        # A door is opened about once an hour.
        open_ = (chance < self.cadence_ms / HOUR) | self.ajar & within(at, self.ajar_at, self.ajar_ms)
        value = np.where(self.is_power, 6 + 0.4 * noise, value).round(2)
        return np.where(self.is_defrost, thaws, np.where(self.is_door, open_, value))

    def lines(self) -> Iterator[Line]:
        """Slot by slot: the ticks, then what is due until the next ones."""
        held: list[tuple[int, int, Line]] = []  # what comes late or again: (arrival, number, line)
        count = 0
        slot = 0
        order = np.argsort(self.phase, kind="stable")
        per_slot = min(self.tick_ms, self.cadence_ms)
        while True:
            begin = slot * per_slot
            fresh: list[tuple[int, int, Line]] = []
            if begin % self.tick_ms == 0:
                fresh += [(begin, -1, line) for line in self.ticks(begin, first=slot == 0)]
            round_, offset = divmod(begin, self.cadence_ms)
            if offset == 0:
                at, value, odd = self.round(round_)
            arrives = self.phase[order] + DELAY_MS
            due = order[(arrives >= offset) & (arrives < offset + per_slot)]
            for number in due.tolist():
                arrived = int(at[number]) + DELAY_MS
                if self.silent[number] and 0 <= at[number] - self.silent_at[number] < self.silent_ms[number]:
                    continue
                if self.offline[number] and round_ < 2:
                    if round_ == 1:
                        fresh += [(arrived, number, line) for line in self.backlog(number, int(at[number]))]
                    continue
                line = self.line(number, int(at[number]), float(value[number]), arrived)
                if self.odd[number] and odd[number] < 2 * ODD:
                    count += 1
                    # As often late as resent. Late: after the device's next one; resent: a good while later.
                    after = self.cadence_ms + 1 + count % 1000 if odd[number] < ODD else 2500 + count % 1000
                    heapq.heappush(held, (arrived + after, count, line._replace(arrived_ms=BEGIN_MS + arrived + after)))
                    if odd[number] < ODD:
                        continue
                fresh.append((arrived, number, line))
            while held and held[0][0] < begin + per_slot:
                fresh.append(heapq.heappop(held))
            fresh.sort(key=lambda item: item[0])
            for _, _, line in fresh:
                yield line
            slot += 1

    def round(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each device: when it measures, what, and a number that says whether its reading comes late or twice."""
        draw = np.random.default_rng((*self.seed, number))
        size = len(self.phase)
        at = number * self.cadence_ms + self.phase
        return at, self.values(at, draw.standard_normal(size), draw.random(size)), draw.random(size)

    def line(self, number: int, at: int, value: float, arrived: int) -> Line:
        device, (one, two, three) = self.heads[number], self.tails[number]
        instant = BEGIN_MS + at
        shown = int(value) if self.is_defrost[number] or self.is_door[number] else value
        text = f'{{"event_id":"{device}-{instant}{one}{_rfc3339(instant)}{two}{shown}{three}'
        if self.bad[number] and 0 <= at - self.bad_at[number] < self.bad_ms[number]:
            known = text.partition(',"value"')[0].replace('"kind":"reading"', '"kind":"bad-reading"')
            text = f'{known},"bad_reason":"not_a_number: NaN","raw_value":"NaN"}}'
        return Line(BEGIN_MS + arrived, self.stores[number // DEVICES], text.encode(), True)

    def backlog(self, number: int, at: int) -> Iterator[Line]:
        """What a device stored while it was offline: cold, 35 min too warm, cold."""
        for minute in range(45, -1, -1):
            warm = 5 <= 45 - minute < 40
            limit = (-13.0, -20.0) if self.freezer[number] else (6.5, 2.0)
            yield self.line(number, at - minute * MINUTE, limit[0] if warm else limit[1], at + DELAY_MS)

    def ticks(self, at: int, first: bool) -> Iterator[Line]:
        instant = BEGIN_MS + at
        time = _rfc3339(instant)
        for place, store in enumerate(self.stores):
            name = store_id(store)
            facts = f",{self.facts(place)}" if first else ""
            text = (
                f'{{"event_id":"tick-{name}-{instant}","event_time":"{time}","store_id":"{name}",'
                f'"schema_version":1,"kind":"tick"{facts}}}'
            )
            yield Line(instant, store, text.encode(), False)


def within(at: np.ndarray, begins: np.ndarray, lasts: np.ndarray) -> np.ndarray:
    return (at >= begins) & (at < begins + lasts)


_seconds: dict[int, str] = {}


def _rfc3339(ms: int) -> str:
    second, rest = divmod(ms, 1000)
    text = _seconds.get(second)
    if text is None:
        if len(_seconds) > 10_000:
            _seconds.clear()
        text = _seconds[second] = str(np.datetime64(second, "s"))
    return f"{text}.{rest:03d}Z"
