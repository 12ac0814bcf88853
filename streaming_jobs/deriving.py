"""The operator of a job that derives: a store's batch and state in, its alert events and derived metrics out."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any

import msgspec
from pyflink.common import Row
from pyflink.common.typeinfo import Types
from pyflink.datastream import KeyedProcessFunction, RuntimeContext
from pyflink.datastream.state import ValueStateDescriptor

from alerting.events import Unreadable
from alerting.rules import RuleSet
from schemas.instants import to_ms
from streaming_jobs import derive
from streaming_jobs.crossing import send_state_together
from streaming_jobs.runtime import COUNTED, DERIVED_COUNTED, WAITING, text_of

TOLD = Types.ROW_NAMED(
    ["store_id", "alert", "metric", "at_ms"], [Types.STRING(), Types.STRING(), Types.STRING(), Types.LONG()]
)
BEHIND_S = 1.0
"""A watermark holds for what this operator has been given when it is so old: it overtakes the quarter of a second in
which a batch is gathered."""
_LOG = logging.getLogger(__name__)


class DeriveAndDecide(KeyedProcessFunction):
    """Keyed by store. Takes batches, gives rows of TOLD: an alert event or a derived metric as JSON.

    State: one JSON text a store. A record that cannot be read is counted and logged, and the batch goes on without it.
    Watermarks (arrival time, over all topics) and the timer only say for how long records are held back, so that topics
    that are read at different speeds meet in the same order; never what is decided about them.
    """

    def __init__(self, job: str, deriver: str, rules: RuleSet) -> None:
        self._job, self._deriver, self._rules = job, deriver, rules

    def open(self, context: RuntimeContext) -> None:
        self._derivation = derive.Derivation(self._job, derive.load(self._deriver), self._rules)
        send_state_together(context)
        self._state = context.get_state(ValueStateDescriptor("store", Types.STRING()))
        metrics = context.get_metrics_group()
        self._counters = {name: metrics.counter(name) for name in COUNTED + DERIVED_COUNTED}
        self._waiting: dict[str, int] = {}
        metrics.gauge(WAITING, lambda: sum(self._waiting.values()))
        # The last state of each store as text and as objects: parsing it again is saved while the text is the same,
        # and a state that was set back to a checkpoint is another text.
        self._parsed: dict[str, tuple[str, derive.State[Any]]] = {}
        self._marks: deque[tuple[float, int]] = deque()

    def process_element(self, batch: bytes, context: KeyedProcessFunction.Context) -> Iterator[Row]:
        unreadable: list[Unreadable] = []
        records = derive.read_records(text_of(batch), unreadable)
        yield from self._advance(context.get_current_key(), records, unreadable, context.timer_service())

    def on_timer(self, _: int, context: KeyedProcessFunction.OnTimerContext) -> Iterator[Row]:
        if self._state.value() is not None:
            yield from self._advance(context.get_current_key(), [], [], context.timer_service())

    def _advance(
        self, store_id: str, records: list[derive.Record], unreadable: list[Unreadable], timers: Any
    ) -> Iterator[Row]:
        before = self._state.value()
        state = self._load(store_id, before)
        notes: Counter[str] = Counter()
        read_to = self._read_to(timers.current_watermark())
        state, alerts, metrics = self._derivation.advance(state, records, notes, unreadable, read_to)
        text = self._derivation.dumps(state)
        if text != before:
            self._state.update(text)
        self._parsed[store_id] = (text, state)
        self._waiting[store_id] = state.merge.waiting
        if state.merge.waiting:
            # Rounded, so that a store has one timer at a time.
            timers.register_processing_time_timer((timers.current_processing_time() // 1000 + 1) * 1000)
        if unreadable:
            notes["unreadable"] = len(unreadable)
            for offset, why in unreadable[:5]:
                _LOG.warning("store %r, offset %s: not an event, left out: %s", store_id, offset, why)
        for name, count in notes.items():
            self._counters[name].inc(count)
        for alert in alerts:
            yield Row(store_id, msgspec.json.encode(alert).decode(), None, to_ms(alert["decided_at"]))
        for clock, metric in metrics:
            yield Row(store_id, None, msgspec.json.encode(metric).decode(), clock)

    def _read_to(self, watermark: int) -> int:
        """The newest watermark that is BEHIND_S old."""
        now = time.monotonic()
        self._marks.append((now, watermark))
        while len(self._marks) > 1 and self._marks[1][0] <= now - BEHIND_S:
            self._marks.popleft()
        seen, mark = self._marks[0]
        # Another record may come with the watermark's own time.
        return mark - 1 if seen <= now - BEHIND_S else -1

    def _load(self, store_id: str, text: str | None) -> derive.State[Any]:
        if text is None:
            return self._derivation.start(store_id)
        # Taken out, so that a batch that fails half-way leaves no half-changed objects behind.
        known = self._parsed.pop(store_id, None)
        return known[1] if known is not None and known[0] == text else self._derivation.loads(text)
