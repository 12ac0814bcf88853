"""The load: a log of many stores in which alerts are due all the time. Pure: the same seed gives the same log.

The log's clock runs `SPEED` times as fast as the wall's, so the shipped rules with their half hours have alerts due
several times a second. Every rule kind, every kind of disturbance that the engine knows, and people's commands occur.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from alerting.life import alert_id
from ingestion.record import Record
from schemas.instants import to_ms, to_rfc3339

TOPIC, ALERTS = "sensor-readings", "alerts.cold-chain"
BEGIN = to_ms("2026-10-05T08:00:00.000Z")
MINUTE = 60_000
SPEED = 60
"""Seconds of the log in a second of the wall's clock: a minute of the log is a second."""
CYCLE = [-20.0] * 5 + [-14.0] * 35 + [-11.0] * 32 + [-18.0] * 8
"""An excursion, minute by minute: a fast rise, a warning after 30 min, critical after 30 more, over at the end."""
CONTRADICTS = 28
FREEZERS = COOLERS = 12
_AREAS = {"freezer": "frozen", "cooler": "chilled", "rack": "machine room"}
_METRICS = {"t": ("temperature", "Cel"), "o": ("door_open", "1"), "d": ("defrost", "1"), "p": ("power", "kW")}


@dataclass(frozen=True, slots=True)
class Device:
    """letter: t temperature, o door, d defrost, p power. number: of the asset within its class."""

    asset_class: str
    number: int
    letter: str


DEVICES = (
    *(Device("freezer", number, "t") for number in range(1, FREEZERS + 1)),
    *(Device("cooler", number, "t") for number in range(1, COOLERS + 1)),
    Device("freezer", 3, "o"),
    Device("freezer", 7, "d"),
    Device("freezer", 8, "o"),
    Device("cooler", 2, "o"),
    Device("cooler", 3, "d"),
    Device("rack", 1, "p"),
)
"""What each store has; every one reports once a minute."""
PLACE = {device: place for place, device in enumerate(DEVICES)}


@dataclass(frozen=True, slots=True)
class Load:
    """seed: of everything that looks random. stores: how many; each brings 31 records a second of the wall's clock."""

    seed: int
    stores: int = 50

    def minute(self, minute: int) -> list[Record]:
        """All records that arrive within a minute of the log, in the order of their arrival."""
        found = [record for number in range(self.stores) for record in self._store_minute(number, minute)]
        return sorted(found, key=lambda record: (record.timestamp_ms, record.key))

    def store(self, number: int) -> str:
        return f"faults-{number:02d}"

    def asset(self, number: int, asset_class: str, which: int) -> str:
        return f"{self.store(number)}-{asset_class}-{which:02d}"

    def _store_minute(self, number: int, minute: int) -> Iterator[Record]:
        store, start = self.store(number), BEGIN + minute * MINUTE
        # One in ten stores loses its network for eight minutes every four hours.
        cut_off = number % 10 == 3 and (minute + number * 7) % 240 < 8
        yield self._tick(number, minute)
        if cut_off:
            return
        for place, device in enumerate(DEVICES):
            offset = round((place + number / self.stores) * MINUTE / len(DEVICES))
            for event, late_ms in self._arriving(number, device, minute, offset):
                yield Record(TOPIC, store, msgspec.json.encode(event), start + offset + late_ms)

    def _arriving(self, number: int, device: Device, minute: int, offset: int) -> Iterator[tuple[dict[str, Any], int]]:
        """What arrives of a device within a minute, with how much later than its usual time within it."""
        if (device.asset_class, device.letter) != ("freezer", "t") or device.number not in (4, 5, 6):
            yield self._event(number, device, minute, offset), 0
        elif device.number == 4:
            # Says nothing for twelve minutes an hour.
            if (minute + number * 11) % 60 >= 12:
                yield self._event(number, device, minute, offset), 0
        elif device.number == 5:
            # Speaks wrongly for a quarter of an hour every hour and a half.
            event = self._event(number, device, minute, offset)
            if (minute + number * 13) % 90 < 15:
                del event["value"], event["unit"]
                event |= {"kind": "bad-reading", "bad_reason": "value: 85 is the probe's error", "raw_value": "85"}
            yield event, 0
        else:
            # Delivers up to six minutes late, out of order, and some readings twice.
            for ago in range(7):
                measured = minute - ago
                if measured >= 0 and self._late(number, measured) == ago:
                    event = self._event(number, device, measured, offset)
                    yield event, 0
                    if measured % 4 == 0:
                        yield event, 900

    def _late(self, number: int, minute: int) -> int:
        """Minutes. The one cold reading that takes a warning apart comes after the warning has been told."""
        if self._warm(number, minute) == CONTRADICTS:
            return 6
        return (0, 0, 0, 1, 2, 4, 6)[self._random(number, minute, 0) % 7]

    @staticmethod
    def _warm(number: int, minute: int) -> int:
        """Minutes since freezers 6 and 7 last got too warm, for 45 min each time; 7 is being defrosted then."""
        return (minute + number * 17) % 150

    def _random(self, number: int, minute: int, what: int) -> int:
        return zlib.crc32(b"%d %d %d %d" % (self.seed, number, minute, what))

    def _event(self, number: int, device: Device, minute: int, offset: int) -> dict[str, Any]:
        asset = self.asset(number, device.asset_class, device.number)
        metric, unit = _METRICS[device.letter]
        return {
            "event_id": f"{asset}-{device.letter}-{minute}",
            "event_time": to_rfc3339(BEGIN + minute * MINUTE + offset - 300),
            "store_id": self.store(number),
            "schema_version": 1,
            "kind": "reading",
            "device_id": f"{asset}-{device.letter}",
            "asset_id": asset,
            "asset_class": device.asset_class,
            "metric": metric,
            "value": self._value(number, device, minute),
            "unit": unit,
        }

    def _value(self, number: int, device: Device, minute: int) -> float:
        which = (device.asset_class, device.number, device.letter)
        if device.letter == "t":
            wobble = (self._random(number, minute, 1 + PLACE[device]) % 7 - 3) / 10
            normal = -20.0 if device.asset_class == "freezer" else 3.0
            if device.asset_class == "freezer" and device.number <= 2:
                normal = CYCLE[self._at(number, device.number, minute)]
            elif which == ("freezer", 6, "t"):
                warm = self._warm(number, minute)
                normal = -13.0 if warm < 45 and warm != CONTRADICTS else -20.0
            elif which == ("freezer", 7, "t"):
                normal = -13.0 if self._warm(number, minute) < 45 else -20.0
            elif which == ("cooler", 1, "t"):
                normal = 6.5 if (minute + number * 3) % 90 < 40 else 3.0
            return round(normal + wobble, 1)
        if device.letter == "p":
            return 0.0 if (minute + number * 19) % 240 < 12 else 4.2
        if device.letter == "d":
            # One that is as long as it should be, and one that hangs.
            return float(self._warm(number, minute) < (40 if device.asset_class == "freezer" else 75))
        return float((minute + number * 23) % 100 < (22 if device.number == 3 else 3))

    def _at(self, number: int, which: int, minute: int) -> int:
        """Where in its excursion a freezer is; all freezers' excursions are spread over the cycle."""
        return (minute + (number * 2 + which) * len(CYCLE) // (2 * self.stores)) % len(CYCLE)

    # ---- ticks: what there is, and what people want

    def _tick(self, number: int, minute: int) -> Record:
        at = BEGIN + minute * MINUTE + 1 + number
        event: dict[str, Any] = {
            "event_id": f"tick-{self.store(number)}-{at}",
            "event_time": to_rfc3339(at),
            "store_id": self.store(number),
            "schema_version": 1,
            "kind": "tick",
        }
        if minute == 0:
            event |= {"roster": self._roster(number), "store": self._about(number), "assets": self._assets(number)}
        commands = list(self._commands(number, minute, at))
        if commands:
            event["commands"] = commands
        return Record(TOPIC, self.store(number), msgspec.json.encode(event), at)

    def _roster(self, number: int) -> list[dict[str, Any]]:
        return [
            {
                "device_id": f"{self.asset(number, device.asset_class, device.number)}-{device.letter}",
                "asset_id": self.asset(number, device.asset_class, device.number),
                "asset_class": device.asset_class,
                "metric": _METRICS[device.letter][0],
                "interval_s": 60,
            }
            for device in DEVICES
        ]

    def _about(self, number: int) -> dict[str, Any]:
        german = number % 2 == 1
        return {
            "name": f"Store {number}",
            "time_zone": "Europe/Berlin" if german else "America/Denver",
            "locale": "de-DE" if german else "en-US",
            "display_unit": "Cel" if german else "[degF]",
            "opening_hours": [{"day": "mon", "opens": "06:00", "closes": "23:00"}],
            "holidays": [],
        }

    def _assets(self, number: int) -> list[dict[str, Any]]:
        rack = self.asset(number, "rack", 1)
        found = [{"asset_id": rack, "asset_class": "rack", "name": "Rack A", "area": _AREAS["rack"]}]
        for asset_class, count in (("freezer", FREEZERS), ("cooler", COOLERS)):
            for which in range(1, count + 1):
                asset = {"asset_id": self.asset(number, asset_class, which), "asset_class": asset_class}
                found.append(asset | {"name": f"{asset_class} {which}", "area": _AREAS[asset_class]})
                if asset_class == "freezer" and which <= 3:
                    found[-1]["parent_id"] = rack
        return found

    def _commands(self, number: int, minute: int, at: int) -> Iterator[dict[str, Any]]:
        """Somebody acknowledges each warning five minutes after it, closes each critical alert when it is over, and
        now and then silences a freezer."""
        common = {"event_time": to_rfc3339(at), "store_id": self.store(number), "schema_version": 1, "topic": ALERTS}
        for which in (1, 2):
            position = self._at(number, which, minute)
            began = minute - position + 5
            if position not in (2, 46) or began < 0:
                continue
            asset = self.asset(number, "freezer", which)
            if position == 46:
                named = alert_id("freezer_too_warm", asset, f"{asset}-t-{began}")
                yield common | {
                    "event_id": f"ack-{asset}-{minute}",
                    "command": "acknowledge",
                    "actor": "refrigeration-on-call",
                    "comment": "On the way.",
                    "alert_id": named,
                    "until": to_rfc3339(at + 15 * MINUTE),
                }
            elif began >= len(CYCLE):
                named = alert_id("freezer_too_warm", asset, f"{asset}-t-{began - len(CYCLE)}")
                yield common | {
                    "event_id": f"close-{asset}-{minute}",
                    "command": "close",
                    "actor": "store-manager",
                    "alert_id": named,
                    "resolution": {"cause": "Fan stood still.", "action": "Fan replaced.", "goods": "moved"},
                }
        if number % 3 == 1 and minute % 100 == 20 + number:
            yield common | {
                "event_id": f"silence-{self.store(number)}-{minute}",
                "command": "silence",
                "actor": "store-manager",
                "comment": "Being cleaned.",
                "asset_id": self.asset(number, "freezer", 2),
                "until": to_rfc3339(at + 25 * MINUTE),
            }


POISON = (b"{", b"", b'{"event_id":1}', b"\xff\xfe", b'{"a":"\x1e5 1 {}"}', b"[" * 5000, b"null", b"-1e999")
"""Records that are no events."""
