"""The gate: judges every arrival, and turns it into the records that go on.

A good event goes to its contract's topic, keyed by store, with its arrival time as the record's timestamp. Anything
else goes to `dead-letters` with every reason and the original, encrypted. Where a known sensor said something that
cannot be used, a `bad-reading` marker goes on as well, so that the engine knows that the sensor speaks. Where somebody
commanded something of the alerts, a `rejected` event tells them on the topic where they wait for the answer.

Pure but for the encryption's random salt: no clock, no I/O. The same arrivals give the same records, byte for byte,
except for the encrypted originals.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

import msgspec

from alerting.life import Said, answer
from ingestion.arrival import UNKNOWN, Arrival, dumps, to_ms
from ingestion.dead_letters import MAX_KEPT_BYTES, Cipher, letter
from ingestion.pseudonym import Pseudonyms, spelled
from ingestion.record import Record
from ingestion.reference import Reference
from ingestion.relay import COMMANDS
from ingestion.topics import DEAD_LETTERS, JOB_ALERTS, JOBLESS_ALERTS, PLATFORM_ALERTS
from ingestion.units import UnitDoesNotFit, converter, metric_units
from schemas.contract import Contract, all_contracts, contract
from schemas.instants import to_rfc3339
from schemas.validate import Reason, validator

READINGS = "sensor-readings"
_SHOWN = 80
_LONG_NUMBER = re.compile(rb"[0-9]{19}")
_LONG_DIGITS = re.compile(r"[0-9](?:[ -]?[0-9]){7,}")
_INT64 = 2**63
_BROKEN = {"json", "not_a_number", "range"}
"""Reasons of an arrival that was not held against its contract."""
_ID = re.compile(contract(COMMANDS).schema["properties"]["event_id"]["pattern"].removesuffix("$"))

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Device:
    """What the gate must know of a device at once: where it belongs and what it reports."""

    store_id: str
    asset_id: str
    asset_class: str
    metric: str
    unit: str


class _Inbound:
    """One version of a contract as the gate uses it. older: by their numbers, the versions before it."""

    def __init__(self, item: Contract) -> None:
        self.name = item.name
        self.is_reading = item.name == READINGS
        self.older = {one.version: _Inbound(one) for one in item.older}
        self.topic = item.topic
        self.reasons: Callable[[Event], list[Reason]] = validator(item)
        self.key_fields = item.key_fields
        # (plain name, name of its pseudonym, kind), e.g. ("loyalty_number", "customer_id", "cust")
        self.pseudonyms = [
            (plain, field.name, kind) for field in item.fields if field.pseudonym for plain, kind in [field.pseudonym]
        ]
        self.secret_paths = {f"/{name}" for plain, hashed, _ in self.pseudonyms for name in (plain, hashed)}
        # (field that names an asset, class it must have or `any`)
        self.assets = [(field.name, field.asset_class) for field in item.fields if field.asset_class]

    def of(self, event: Event) -> _Inbound:
        """The version that judges this event: the one it names; this one where it names none of them."""
        named = event.get("schema_version")
        return self.older.get(named, self) if type(named) is int else self


@cache
def _inbound() -> dict[str, _Inbound]:
    """The contracts that may come in from outside: nothing derived, no reference, no dead letters."""
    return {item.name: _Inbound(item) for item in all_contracts() if item.kind == "event"}


class Gate:
    """Counts what it does: `accepted` by topic, `refused` by a letter's first reason, `markers`.

    reference: stores, assets and devices as they are now; assign a newer one to `reference` when it changes.
    dead_letters_cipher: encrypts the originals of refused arrivals.
    max_ahead: how far a device's clock may be ahead of the arrival; two hours let a device through that is one hour
        wrong (a forgotten daylight-saving step), and stop a wrong date.
    max_bytes: largest payload. max_kept_bytes: largest original that a dead letter keeps.
    """

    def __init__(
        self,
        reference: Reference,
        pseudonyms: Pseudonyms,
        dead_letters_cipher: Cipher,
        max_ahead: timedelta = timedelta(hours=2),
        max_bytes: int = 262_144,
        max_kept_bytes: int = MAX_KEPT_BYTES,
    ) -> None:
        self.reference = reference
        self.accepted: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.markers = 0
        self._pseudonyms = pseudonyms
        self._cipher = dead_letters_cipher
        self._max_ahead = max_ahead
        self._max_ahead_ms = round(max_ahead.total_seconds() * 1000)
        self._max_bytes = max_bytes
        self._max_kept_bytes = max_kept_bytes
        self._units = metric_units(contract(READINGS))

    @property
    def reference(self) -> Reference:
        return self._reference

    @reference.setter
    def reference(self, newer: Reference) -> None:
        self._reference = newer
        self._devices = {
            device["device_id"]: _Device(
                asset["store_id"], asset["asset_id"], asset["asset_class"], device["metric"], device["unit"]
            )
            for asset in newer.assets.values()
            for device in asset["devices"]
        }

    def admit(self, arrival: Arrival) -> list[Record]:
        """The records of one arrival: the event, or its dead letter and perhaps a marker or an answer. Never empty."""
        reasons: list[Reason] = []
        event: Event | None = None
        inbound = _inbound().get(arrival.contract)
        if inbound is None:
            reasons.append(_not_inbound(arrival))
        if len(arrival.payload) > self._max_bytes:
            reasons.append(
                Reason(
                    "size", "", f"{len(arrival.payload)} bytes; at most {self._max_bytes} are let in. Send it in parts"
                )
            )
        else:
            event, broken = _read(arrival.payload)
            reasons += broken
        if inbound is None or reasons:
            return self._refuse(arrival, event, reasons)
        if inbound.older:
            inbound = inbound.of(event)
        said = event.get("value")
        reasons = self._judge(inbound, event, arrival.arrived_ms)
        if reasons:
            return self._refuse(arrival, event, reasons, said)
        self.accepted[inbound.topic] += 1
        fields = inbound.key_fields
        key = event[fields[0]] if len(fields) == 1 else "|".join(str(event[name]) for name in fields)
        return [Record(inbound.topic, key, msgspec.json.encode(event), arrival.arrived_ms)]

    def _judge(self, inbound: _Inbound, event: Event, arrived_ms: int) -> list[Reason]:
        """Every reason against the event. Changes it: pseudonyms stand in place of plain ids, values are converted."""
        reasons: list[Reason] = []
        for plain, pseudonym, kind in inbound.pseudonyms:
            if plain in event:
                reasons += self._pseudonymise(event, plain, pseudonym, kind)
        if inbound.is_reading:
            reasons += self._convert(event)
        unit_refused = bool(reasons) and inbound.is_reading
        for reason in inbound.reasons(event):
            if unit_refused and reason.path == "/unit":
                continue  # said already, and better
            if inbound.pseudonyms:
                reason = _without_persons(reason, inbound.secret_paths)
            reasons.append(reason)
        when = event.get("event_time")
        if isinstance(when, str):
            reasons += self._check_clock(when, arrived_ms)
        reasons += self._check_places(inbound, event)
        if inbound.topic == COMMANDS and event.get("topic") in JOBLESS_ALERTS:
            reasons.append(_jobless(event["topic"]))
        return reasons

    def _pseudonymise(self, event: Event, plain: str, pseudonym: str, kind: str) -> list[Reason]:
        value = event.pop(plain)
        if pseudonym in event:
            return [Reason("pseudonym", f"/{plain}", f"{plain} and {pseudonym} are both given; send {plain} alone")]
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str) or not spelled(value, kind):
            return [
                Reason("type", f"/{plain}", f"{plain} must be a text that is not empty; leave it out where unknown")
            ]
        event[pseudonym] = self._pseudonyms.of(spelled(value, kind), kind)
        return []

    def _convert(self, event: Event) -> list[Reason]:
        """Turn the reported value into the metric's own unit, and note what the device said."""
        metric, unit, value = event.get("metric"), event.get("unit"), event.get("value")
        wanted = self._units.get(metric) if isinstance(metric, str) else None
        if wanted is None or not isinstance(unit, str) or unit == wanted:
            return []
        device = self._devices.get(event.get("device_id")) if isinstance(event.get("device_id"), str) else None
        try:
            convert = converter(unit, wanted)
        except UnitDoesNotFit as error:
            return [Reason("unit", "/unit", f"{metric} in {_short(unit)}: {error}; send it in {wanted}")]
        if device is not None and device.unit != unit:
            return [
                Reason(
                    "unit",
                    "/unit",
                    f"{_short(unit)}: this device reports in {device.unit} by the assets topic; "
                    f"correct the device or its entry in assets.yaml",
                )
            ]
        if isinstance(value, int | float) and not isinstance(value, bool) and convert is not None:
            event["value"], event["unit"] = convert(value), wanted
            event["reported_value"], event["reported_unit"] = value, unit
        return []

    def _check_clock(self, when: str, arrived_ms: int) -> list[Reason]:
        try:
            ahead = to_ms(when) - arrived_ms
        except (ValueError, OverflowError):
            return []  # the contract's format check has said so
        if ahead <= self._max_ahead_ms:
            return []
        return [
            Reason(
                "clock",
                "/event_time",
                f"{when} is {timedelta(milliseconds=ahead)} ahead of its arrival at {to_rfc3339(arrived_ms)}; "
                f"at most {self._max_ahead} is let in. Set the device's clock",
            )
        ]

    def _is_sound(self, when: str, arrived_ms: int) -> bool:
        """Is it an instant as contracts write it, and not too far ahead?"""
        try:
            ms = to_ms(when)
            return to_rfc3339(ms) == when and ms - arrived_ms <= self._max_ahead_ms
        except (ValueError, OverflowError):
            return False

    def _check_places(self, inbound: _Inbound, event: Event) -> list[Reason]:
        """Are the store, asset and device known, and do they belong together?"""
        store_id = event.get("store_id")
        if not isinstance(store_id, str):
            return []
        store = self._reference.stores.get(store_id)
        if store is None:
            return [
                Reason(
                    "unknown_store",
                    "/store_id",
                    f"{_short(store_id)}: no such store among {len(self._reference.stores)} known; "
                    "add it to stores.yaml and run `grocery chain publish`",
                )
            ]
        reasons = _retired("retired_store", "/store_id", store_id, store, event)
        if inbound.is_reading:
            return reasons + self._check_device(store_id, event)
        for field, wanted in inbound.assets:
            asset_id = event.get(field)
            if isinstance(asset_id, str) and asset_id != store_id:  # derived metrics are about the store, too
                reasons += self._check_asset(store_id, asset_id, field, event, needed=wanted)
        return reasons

    def _check_device(self, store_id: str, event: Event) -> list[Reason]:
        device_id, asset_id = event.get("device_id"), event.get("asset_id")
        if event.get("kind") in ("tick", "bad-reading"):
            return [
                Reason("kind", "/kind", f"{event['kind']}: made by the system itself only; a device sends kind reading")
            ]
        reasons = [
            Reason("kind", f"/{name}", f"{name}: told by the system itself only, in its ticks; leave it out")
            for name in _TICKS_OWN
            if name in event
        ]
        if isinstance(asset_id, str):
            reasons += self._check_asset(store_id, asset_id, "asset_id", event, claimed=event.get("asset_class"))
        if not isinstance(device_id, str):
            return reasons
        device = self._devices.get(device_id)
        if device is None:
            reasons.append(
                Reason(
                    "unknown_device",
                    "/device_id",
                    f"{_short(device_id)}: no asset has this device; add it to its asset in assets.yaml "
                    "and run `grocery chain publish`",
                )
            )
            return reasons
        if isinstance(asset_id, str) and asset_id != device.asset_id and asset_id in self._reference.assets:
            reasons.append(
                Reason(
                    "device",
                    "/device_id",
                    f"{device_id} watches {device.asset_id}, not {_short(asset_id)}; correct the one that is wrong",
                )
            )
        metric = event.get("metric")
        if isinstance(metric, str) and metric in self._units and metric != device.metric:
            reasons.append(
                Reason(
                    "metric",
                    "/metric",
                    f"{device_id} measures {device.metric}, not {metric}; correct the one that is wrong",
                )
            )
        return reasons

    def _check_asset(
        self, store_id: str, asset_id: str, field: str, event: Event, needed: str = "any", claimed: Any = None
    ) -> list[Reason]:
        """needed: the class that the contract asks for. claimed: the class that the event says it has."""
        asset = self._reference.assets.get(asset_id)
        path = f"/{field}"
        if asset is None:
            return [
                Reason(
                    "unknown_asset",
                    path,
                    f"{_short(asset_id)}: no such asset among {len(self._reference.assets)} known; "
                    "add it to assets.yaml and run `grocery chain publish`",
                )
            ]
        if asset["store_id"] != store_id:
            return [Reason("unknown_asset", path, f"{asset_id} stands in {asset['store_id']}, not in {store_id}")]
        reasons = []
        has = asset["asset_class"]
        if needed not in ("any", has):
            reasons.append(Reason("asset_class", path, f"{asset_id} is a {has}; {needed} is expected"))
        if isinstance(claimed, str) and has != claimed:
            reasons.append(
                Reason(
                    "asset_class", "/asset_class", f"{asset_id} is a {has}, not a {_short(claimed)}; correct the sender"
                )
            )
        return reasons + _retired("retired_asset", path, asset_id, asset, event)

    def _refuse(self, arrival: Arrival, event: Event | None, reasons: list[Reason], said: Any = None) -> list[Record]:
        self.refused[reasons[0].code] += 1
        claimed = event.get("store_id") if event is not None else None
        store_id = claimed if isinstance(claimed, str) and claimed in self._reference.stores else "chain"
        letter_id = self._pseudonyms.fingerprint(
            arrival.contract.encode("utf-8", "backslashreplace"),
            arrival.source.encode("utf-8", "backslashreplace"),
            str(arrival.arrived_ms).encode(),
            arrival.payload,
        )
        refused = letter(f"dl-{letter_id}", arrival, store_id, reasons, self._cipher, self._max_kept_bytes)
        records = [Record(DEAD_LETTERS, refused["event_id"], dumps(refused), arrival.arrived_ms)]
        if arrival.contract == READINGS and event is not None:
            said = event.get("value") if said is None else said
            marker = self._marker(letter_id, arrival, event, reasons, said)
            if marker is not None:
                self.markers += 1
                records.append(Record(READINGS, marker["store_id"], dumps(marker), arrival.arrived_ms))
        if arrival.contract == COMMANDS and event is not None:
            records += self._answer(letter_id, arrival, event, store_id, reasons)
        return records

    def _answer(
        self, letter_id: str, arrival: Arrival, event: Event, store_id: str, reasons: list[Reason]
    ) -> Iterator[Record]:
        """A `rejected` event on the command's topic, where the command says so much that it can be told what it
        answers. Its alert_id is made of the letter's: let in later, the same command is answered by its job as well."""
        named = event.get("event_id")
        if not isinstance(named, str) or not _ID.fullmatch(named):
            return
        wrong = {reason.path for reason in reasons}
        judged = not any(reason.code in _BROKEN for reason in reasons)

        def given(field: str) -> str:
            value = event.get(field)
            return value if judged and isinstance(value, str) and f"/{field}" not in wrong else ""

        told = answer(
            "rejected",
            named,
            topic=event["topic"] if event.get("topic") in JOB_ALERTS else PLATFORM_ALERTS,
            store_id=store_id,
            asset_id=given("asset_id"),
            decided_at=arrival.arrived_ms,
            said=Said(given("actor"), given("comment")),
            reason="; ".join(f"{reason.path.lstrip('/')}: {reason.message}".lstrip(": ") for reason in reasons),
            made_of=letter_id,
        )
        yield Record(told["topic"], store_id, dumps(told), arrival.arrived_ms)

    def _marker(self, letter_id: str, arrival: Arrival, event: Event, reasons: list[Reason], said: Any) -> Event | None:
        """A `bad-reading` where a known device of this store spoke, else None: a device that claims to be elsewhere
        must not make another one look alive."""
        device_id = event.get("device_id")
        device = self._devices.get(device_id) if isinstance(device_id, str) else None
        if device is None or event.get("store_id") != device.store_id or event.get("kind") in ("tick", "bad-reading"):
            return None
        when = event.get("event_time")
        if not isinstance(when, str) or not self._is_sound(when, arrival.arrived_ms):
            when = to_rfc3339(arrival.arrived_ms)
        marker = {
            "event_id": f"bad-{letter_id}",
            "event_time": when,
            "store_id": device.store_id,
            "schema_version": 1,
            "kind": "bad-reading",
            "device_id": device_id,
            "asset_id": device.asset_id,
            "asset_class": device.asset_class,
            "metric": device.metric,
            "bad_reason": ", ".join(f"{reason.code} {reason.path}".strip() for reason in reasons)[:200],
        }
        if said is not None:
            marker["raw_value"] = json.dumps(said, ensure_ascii=True)[:200]
        return marker


# What only a tick may carry: the system's own word on stores, devices and commands.
_TICKS_OWN = ("roster", "store", "assets", "commands")


def _retired(code: str, path: str, name: str, entry: Event, event: Event) -> list[Reason]:
    """What happened before the retirement is let in, however late it comes."""
    when = event.get("event_time")
    if entry["status"] != "retired" or not isinstance(when, str) or when < entry["event_time"]:
        return []
    return [
        Reason(code, path, f"{name} was retired at {entry['event_time']}; stop its devices, or make it active again")
    ]


def _jobless(topic: str) -> Reason:
    known = ", ".join(name for name in JOB_ALERTS if name not in JOBLESS_ALERTS)
    return Reason(
        "topic", "/topic", f"{topic}: no job tells alerts there yet, so none takes commands; send it to {known}"
    )


def _not_inbound(arrival: Arrival) -> Reason:
    if arrival.contract == UNKNOWN:
        return Reason("contract", "", f"not an arrival; a line is {{contract, arrived_at, event}}. {_known()}")
    return Reason("contract", "", f"{_short(arrival.contract)}: nothing of this contract is let in. {_known()}")


def _known() -> str:
    return f"Let in are {', '.join(_inbound())}"


def _without_persons(reason: Reason, secret_paths: set[str]) -> Reason:
    """Reasons are kept in plain, so they must not tell a loyalty, card or telephone number."""
    if reason.path in secret_paths or reason.code == "unknown_field":
        message = "not as the contract says; the value is not shown, it may be personal"
        return Reason(reason.code, _LONG_DIGITS.sub("…", reason.path), message)
    return Reason(reason.code, _LONG_DIGITS.sub("…", reason.path), _LONG_DIGITS.sub("…", reason.message))


def _short(value: str) -> str:
    return value if len(value) <= _SHOWN else value[:_SHOWN] + "…"


def _read(payload: bytes) -> tuple[Event | None, list[Reason]]:
    """(event, reasons why it is none). An event with NaN in it comes back too: its device may be known."""
    try:
        event = msgspec.json.decode(payload)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        return _read_anyway(payload, error)
    if not isinstance(event, dict):
        return None, [Reason("json", "", f"a JSON {type(event).__name__}; an object is expected")]
    if _LONG_NUMBER.search(payload):
        far = [path for path, value in _numbers(event, "") if isinstance(value, int) and abs(value) >= _INT64]
        if far:
            return event, [Reason("range", path, "an integer beyond 64 bits; correct the sender") for path in far]
    return event, []


def _read_anyway(payload: bytes, error: Exception) -> tuple[Event | None, list[Reason]]:
    """Name what is wrong with a text that is not JSON."""
    try:
        event = json.loads(payload)
    except (ValueError, RecursionError):
        event = None
    if isinstance(event, dict):
        bad = [path for path, value in _numbers(event, "") if value != value or abs(value) == float("inf")]
        if bad:
            message = "NaN, Infinity or beyond a 64-bit float; leave the reading out where there is no value"
            return event, [Reason("not_a_number", path, message) for path in bad]
    what = "nested too deep" if isinstance(error, RecursionError) else str(error)
    return event if isinstance(event, dict) else None, [
        Reason("json", "", f"{len(payload)} bytes that are not a JSON object: {what}")
    ]


def _numbers(value: Any, path: str):
    """(JSON pointer, number) for every number in it."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _numbers(inner, f"{path}/{name}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _numbers(inner, f"{path}/{index}")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, value
