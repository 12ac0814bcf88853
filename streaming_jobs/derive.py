"""Jobs that derive: a store's records of several topics put into one order, readings derived from them, alerts decided.

Pure: no clock, no I/O. Flink, a backtest and the tests call the same `Derivation.advance`.

Several topics have no common order, so records are held back until the store's ticks are HOLD_MS past their arrival,
and then go on in the order (arrival, topic, offset). What comes after its place has gone by goes on at once, and is
counted as `disordered`. Whatever was read in time therefore gives the same derived readings and alerts, however the
topics were read and however the records were cut into batches.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from alerting.engine import Engine
from alerting.events import SEPARATOR, Event, Logged, Unreadable
from alerting.rules import RuleSet, metric_units
from alerting.state import Store, UnknownState
from alerting.state import dumps as engine_dumps
from alerting.state import loads as engine_loads
from schemas.instants import to_ms, to_rfc3339

HOLD_MS = 5000
"""How far a store's ticks must be past a record's arrival before it goes on: what two topics, written at the same time
by several processes, may differ by."""
MAX_HELD = 20_000
"""Records of one store that may wait; the oldest of more go on before their time and are counted as `crowded`. Ten
minutes of a large store are some 5,000."""
AHEAD_MS = 120_000
"""An event whose time lies further after the store's clock comes from a clock that is ahead."""
FOREVER = 2**62
READINGS = "sensor-readings"
"""The topic that carries the ticks."""
TICK = '"kind":"tick"'
"""In every tick and in nothing else: the gate and the ticker write JSON without blanks, and a quote inside a text has a
backslash before it. The jobs' queries look for the same."""
VERSION = 1

S = TypeVar("S", bound=msgspec.Struct)


class Record(NamedTuple):
    """One record of one topic, in the order in which records go on. arrived_ms: its timestamp."""

    arrived_ms: int
    topic: str
    offset: int
    payload: str


class Deriver(Protocol[S]):
    """What a job derives, without its state: that is handed in and changed.

    state_type: with a default `version`, JSON-able, bounded (its docstring says by what). inputs: by topic, the fields
    that are read of its events, event_time and store_id among them; for sensor-readings that is alerting's Event, and
    need not be named. What does not fit them never reaches `advance`, and every event_time is sound.
    upgrades: by version, how its state becomes one of the next version, on plain JSON.
    """

    state_type: type[S]
    inputs: dict[str, type[msgspec.Struct]]
    upgrades: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}

    def start(self, store_id: str) -> S:
        """The state of a store of which nothing is known."""
        ...

    def advance(self, state: S, arrived_ms: int, topic: str, event: Any) -> list[Event]:
        """Take the next event; returns what can be derived now, made by `derived`.

        arrived_ms: the store's clock, which never goes back. Ticks come as events of sensor-readings.
        """
        ...


class Merge(msgspec.Struct):
    """What waits for its place. ticked: arrival of the newest tick; gone: (arrival, topic, offset) of the last record
    that went on in its place; held: in order. Bounded by MAX_HELD."""

    ticked: int = 0
    gone: tuple[int, str, int] = (0, "", -1)
    held: list[Record] = []

    def take(self, records: Iterable[Record], read_to: int, notes: Counter[str]) -> list[Record]:
        """Take records in as they were read; returns those whose turn it is. Only a tick makes it anybody's turn.

        read_to: whatever arrived up to then has been read of every topic, as far as the reader can tell.
        """
        ready: list[Record] = []
        for record in records:
            if record[:3] <= self.gone:
                notes["disordered"] += 1
                ready.append(record)
                continue
            insort(self.held, record)
            if record.topic == READINGS and record.arrived_ms > self.ticked and TICK in record.payload:
                self.ticked = record.arrived_ms
                ready += self.release(read_to)
            elif len(self.held) > MAX_HELD:
                notes["crowded"] += 1
                ready += self._go(1)
        return ready

    def release(self, read_to: int) -> list[Record]:
        """Those whose turn it is by the ticks, and that had to wait until the reader had come as far."""
        return self._go(self._due(min(self.ticked - HOLD_MS, read_to)))

    @property
    def waiting(self) -> int:
        """How many only wait for the reader."""
        return self._due(self.ticked - HOLD_MS)

    def _due(self, until: int) -> int:
        return bisect_right(self.held, until, key=lambda record: record.arrived_ms)

    def _go(self, count: int) -> list[Record]:
        ready = self.held[:count]
        if ready:
            self.gone = ready[-1][:3]
            del self.held[:count]
        return ready


class State(msgspec.Struct, Generic[S]):
    """One store's state of a deriving job."""

    merge: Merge
    deriver: S
    engine: Store


class _Written(msgspec.Struct):
    version: int
    merge: Merge
    deriver: msgspec.Raw
    engine: msgspec.Raw


class _Head(msgspec.Struct):
    version: int


class Derivation(Generic[S]):
    """A job's merge, deriver and engine put together. Holds nothing about any store.

    job: its name, as derived metrics tell it.
    """

    def __init__(self, job: str, deriver: Deriver[S], rules: RuleSet) -> None:
        self.job, self.deriver, self.engine = job, deriver, Engine(rules)
        self._decoders = {
            topic: msgspec.json.Decoder(Event if topic == READINGS else fields).decode
            for topic, fields in (deriver.inputs | {READINGS: Event}).items()
        }

    def start(self, store_id: str) -> State[S]:
        return State(Merge(), self.deriver.start(store_id), self.engine.start(store_id))

    def advance(
        self,
        state: State[S],
        records: Sequence[Record],
        notes: Counter[str],
        unreadable: list[Unreadable],
        read_to: int = FOREVER,
    ) -> tuple[State[S], list[dict[str, Any]], list[tuple[int, dict[str, Any]]]]:
        """Take the next records of a store, as they were read.

        state: is used up; go on with the one returned. read_to: see `Merge.take`; without records, those go on that
        waited for it. notes: what was not used, or not in its place, is counted here.

        Returns the new state, the alert events, and the derived metrics with the clock at which each was derived.
        """
        log: list[Logged] = []
        derived: list[tuple[int, dict[str, Any]]] = []
        clock = state.merge.gone[0]
        for record in state.merge.take(records, read_to, notes) if records else state.merge.release(read_to):
            try:
                event = self._decoders[record.topic](record.payload)
                to_ms(event.event_time)
            except (ValueError, RecursionError) as error:
                unreadable.append(Unreadable(record.offset, f"{record.topic}: {error}"[:200]))
                continue
            except KeyError:
                unreadable.append(Unreadable(record.offset, f"{record.topic}: not a topic of this job"[:200]))
                continue
            if event.store_id != state.engine.store_id:
                notes["other_store"] += 1
                continue
            clock = max(clock, record.arrived_ms)
            if record.topic == READINGS:
                log.append(Logged(clock, event))
            for reading in self.deriver.advance(state.deriver, clock, record.topic, event):
                log.append(Logged(clock, reading))
                derived.append((clock, self._metric(reading)))
        state.engine, alerts = self.engine.advance(state.engine, log, notes)
        return state, alerts, derived

    def dumps(self, state: State[S]) -> str:
        """State as JSON text; the same state gives the same text."""
        written = {
            "version": VERSION,
            "merge": state.merge,
            "deriver": state.deriver,
            "engine": msgspec.Raw(engine_dumps(state.engine).encode()),
        }
        return msgspec.json.encode(written).decode()

    def loads(self, text: str) -> State[S]:
        """State from JSON text of this or an earlier version.

        Raises alerting.state.UnknownState where a later release wrote it.
        """
        written = msgspec.json.decode(text, type=_Written)
        if written.version > VERSION:
            raise UnknownState(f"state version {written.version} is newer than {VERSION}; run a later release")
        return State(written.merge, self._deriver_state(written.deriver), engine_loads(bytes(written.engine).decode()))

    def _deriver_state(self, text: msgspec.Raw) -> S:
        wanted = msgspec.structs.fields(self.deriver.state_type)
        newest = next(field.default for field in wanted if field.name == "version")
        version = msgspec.json.decode(text, type=_Head).version
        if version == newest:
            return msgspec.json.decode(text, type=self.deriver.state_type)
        if version > newest:
            raise UnknownState(f"{self.job}: state version {version} is newer than {newest}; run a later release")
        plain = msgspec.json.decode(text)
        for step in range(version, newest):
            plain = self.deriver.upgrades[step](plain)
        return msgspec.convert(plain, self.deriver.state_type)

    def _metric(self, reading: Event) -> dict[str, Any]:
        """A derived reading as the contract derived-metrics has it."""
        told = {
            "event_id": reading.event_id,
            "event_time": reading.event_time,
            "store_id": reading.store_id,
            "schema_version": 1,
            "job": self.job,
            "device_id": reading.device_id,
            "asset_id": reading.asset_id,
            "asset_class": reading.asset_class,
            "metric": reading.metric,
            "value": reading.value,
            "unit": metric_units()[reading.metric],
        }
        return told | ({"zone_kind": reading.zone_kind} if reading.zone_kind else {})


def derived(
    store_id: str, asset_id: str, asset_class: str, metric: str, value: float, at_ms: int, **more: Any
) -> Event:
    """A derived reading. asset_id: what it is about, the store_id for the whole store; at_ms: when it held, event time.

    The same metric of the same asset and moment has the same event_id.
    """
    device_id = f"{asset_id}/{metric}"
    name = hashlib.sha256(f"{store_id}|{device_id}|{at_ms}".encode()).hexdigest()[:32]
    return Event(
        event_id=name,
        event_time=to_rfc3339(at_ms),
        store_id=store_id,
        kind="reading",
        device_id=device_id,
        asset_id=asset_id,
        asset_class=asset_class,
        metric=metric,
        value=float(value),
        **more,
    )


def is_newer(at: int, known: int, now: int) -> bool:
    """Whether an event tells more than what is known; event times, epoch ms.

    A resend does not, nor what was overtaken. What was told by a clock that was ahead counts for nothing once it is set
    right.
    """
    return at > known or known > now + AHEAD_MS >= at


REMEMBERED = 100
"""Newest receipts of a store whose resends are known as such."""


def is_resent(event_id: str, remembered: list[str]) -> bool:
    """Whether it stands among the newest REMEMBERED; one that does not is added."""
    if event_id in remembered:
        return True
    remembered.append(event_id)
    del remembered[:-REMEMBERED]
    return False


def read_records(batch: str, unreadable: list[Unreadable]) -> list[Record]:
    """The records of a batch, `<topic> <offset> <arrived_ms> <payload>` joined by SEPARATOR, as they were read.

    What cannot be read is added to `unreadable`, and the rest goes on.
    """
    records = []
    for text in batch.split(SEPARATOR):
        try:
            topic, offset, arrived, payload = text.split(" ", 3)
            records.append(Record(int(arrived), topic, int(offset), payload))
        except ValueError as error:
            unreadable.append(Unreadable(-1, str(error)[:200]))
    return records


def load(path: str) -> Deriver[Any]:
    """The deriver of an import path, `package.module:Class`."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)()


def run(
    derivation: Derivation[Any], log: Iterable[tuple[str, Record]]
) -> tuple[list[dict[str, Any]], list[tuple[int, dict[str, Any]]], Counter[str]]:
    """Decide over a whole log of (store_id, record), as a backtest or a test does.

    Returns the alert events, the derived metrics with the clock at which each was derived, and what was counted.
    """
    states: dict[str, State[Any]] = {}
    notes: Counter[str] = Counter()
    unreadable: list[Unreadable] = []
    alerts, metrics = [], []
    for store_id, record in log:
        state = states.get(store_id) or derivation.start(store_id)
        states[store_id], told, found = derivation.advance(state, [record], notes, unreadable)
        alerts += told
        metrics += found
    notes["unreadable"] += len(unreadable)
    return alerts, metrics, notes
