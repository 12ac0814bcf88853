"""The operator between SQL and the engine: a store's batch and state in, its alert events out."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator

import msgspec
from pyflink.common import Row
from pyflink.common.typeinfo import Types
from pyflink.datastream import KeyedProcessFunction, RuntimeContext
from pyflink.datastream.state import ListStateDescriptor, MapStateDescriptor, ValueStateDescriptor

from alerting.engine import Changes, Engine
from alerting.events import Unreadable, read_batch
from alerting.journal import Book, Writing, read
from alerting.rules import RuleSet
from alerting.state import Store, loads
from schemas.instants import to_ms
from streaming_jobs.crossing import send_state_together
from streaming_jobs.runtime import COUNTED, text_of

ALERT = Types.ROW_NAMED(["store_id", "alert", "decided_ms"], [Types.STRING(), Types.STRING(), Types.LONG()])
_LOG = logging.getLogger(__name__)


class Decide(KeyedProcessFunction):
    """Keyed by store. Takes batches, gives rows of (store_id, alert as JSON, decided_ms).

    State: a store in parts and a journal, of which a batch writes what it changed (alerting/journal.py). It is read
    once: this object is the only one that writes its keys, and whenever Flink goes back to a checkpoint it makes a new
    one. `store`, one JSON text a store, is what release 0.1.0 kept; it is read where there are no parts.
    A record that cannot be read is counted and logged with its coordinates, and the batch goes on without it; it stays
    on the topic and in bronze, so nothing is lost.
    """

    def __init__(self, rules: RuleSet) -> None:
        self._rules = rules

    def open(self, context: RuntimeContext) -> None:
        self._engine = Engine(self._rules)
        send_state_together(context)
        # Texts as bytes: a checkpoint writes Java's String character by character, which took a third of the machine
        # with 100,000 devices.
        self._parts = context.get_map_state(MapStateDescriptor("parts", Types.STRING(), Types.PICKLED_BYTE_ARRAY()))
        self._journal = context.get_list_state(ListStateDescriptor("journal", Types.PICKLED_BYTE_ARRAY()))
        self._text = context.get_state(ValueStateDescriptor("store", Types.STRING()))
        metrics = context.get_metrics_group()
        self._counters = {name: metrics.counter(name) for name in COUNTED}
        self._stores: dict[str, Store] = {}
        self._books: dict[str, Book] = {}

    def process_element(self, batch: bytes, context: KeyedProcessFunction.Context) -> Iterator[Row]:
        store_id = context.get_current_key()
        changes = Changes()
        state = self._stores.get(store_id) or self._load(store_id, changes)
        unreadable: list[Unreadable] = []
        notes: Counter[str] = Counter()
        state, alerts = self._engine.advance(state, read_batch(text_of(batch), unreadable), notes, changes)
        self._stores[store_id] = state
        self._write(self._books[store_id].write(state, changes))
        if unreadable:
            notes["unreadable"] = len(unreadable)
            for offset, why in unreadable[:5]:
                _LOG.warning("store %r, offset %s: not an event, left out: %s", store_id, offset, why)
        for name, count in notes.items():
            self._counters[name].inc(count)
        for alert in alerts:
            yield Row(store_id, msgspec.json.encode(alert).decode(), to_ms(alert["decided_at"]))

    def _load(self, store_id: str, changes: Changes) -> Store:
        parts = dict(self._parts.items())
        lines = list(self._journal.get() or ())
        # One that was read with a journal is written without: from here on this object knows what stands where.
        self._books[store_id] = Book(tuple(parts), noted=len(lines))
        if parts:
            changes.anything = bool(lines)
            return read(self._engine, parts, lines)
        changes.anything = True  # none is written yet
        text = self._text.value()
        if text is None:
            return self._engine.start(store_id)
        self._text.clear()
        return loads(text)

    def _write(self, writing: Writing) -> None:
        for name in writing.gone:
            self._parts.remove(name)
        # One by one: `put_all` takes longer in thread mode, and another type in process mode.
        for name, part in writing.parts.items():
            self._parts.put(name, part)
        if writing.anew:
            self._journal.clear()
        if writing.line is not None:
            self._journal.add(writing.line)
