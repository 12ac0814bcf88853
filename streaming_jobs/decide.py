"""The operator between SQL and the engine: a store's batch and state in, its alert events out."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator

import msgspec
from pyflink.common import Row
from pyflink.common.typeinfo import Types
from pyflink.datastream import KeyedProcessFunction, RuntimeContext
from pyflink.datastream.state import ValueStateDescriptor

from alerting.engine import Engine
from alerting.events import Unreadable, read_batch
from alerting.rules import RuleSet
from alerting.state import Store, dumps, loads
from schemas.instants import to_ms
from streaming_jobs.runtime import COUNTED

ALERT = Types.ROW_NAMED(["store_id", "alert", "decided_ms"], [Types.STRING(), Types.STRING(), Types.LONG()])
_LOG = logging.getLogger(__name__)


class Decide(KeyedProcessFunction):
    """Keyed by store. Takes rows of (store_id, batch), gives rows of (store_id, alert as JSON, decided_ms).

    State: one JSON text a store. A record that cannot be read is counted and logged with its coordinates, and the
    batch goes on without it; it stays on the topic and in bronze, so nothing is lost.
    """

    def __init__(self, rules: RuleSet) -> None:
        self._rules = rules

    def open(self, context: RuntimeContext) -> None:
        self._engine = Engine(self._rules)
        self._state = context.get_state(ValueStateDescriptor("store", Types.STRING()))
        metrics = context.get_metrics_group()
        self._counters = {name: metrics.counter(name) for name in COUNTED}
        # The last state of each store as text and as objects: parsing it again is saved while the text is the same,
        # and a state that was set back to a checkpoint is another text.
        self._parsed: dict[str, tuple[str, Store]] = {}

    def process_element(self, row: Row, _: KeyedProcessFunction.Context) -> Iterator[Row]:
        store_id, batch = row[0], row[1]
        state = self._load(store_id, self._state.value())
        unreadable: list[Unreadable] = []
        notes: Counter[str] = Counter()
        state, alerts = self._engine.advance(state, read_batch(batch, unreadable), notes)
        text = dumps(state)
        self._state.update(text)
        self._parsed[store_id] = (text, state)
        if unreadable:
            notes["unreadable"] = len(unreadable)
            for offset, why in unreadable[:5]:
                _LOG.warning("store %r, offset %s: not an event, left out: %s", store_id, offset, why)
        for name, count in notes.items():
            self._counters[name].inc(count)
        for alert in alerts:
            yield Row(store_id, msgspec.json.encode(alert).decode(), to_ms(alert["decided_at"]))

    def _load(self, store_id: str, text: str | None) -> Store:
        if text is None:
            return self._engine.start(store_id)
        # Taken out, so that a batch that fails half-way leaves no half-changed objects behind.
        known = self._parsed.pop(store_id, None)
        return known[1] if known is not None and known[0] == text else loads(text)
