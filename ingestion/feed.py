"""From arrivals to a sink: the one way that simulator, replay and files take through the gate."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta

from ingestion.arrival import Arrival
from ingestion.gate import Gate
from ingestion.record import Record
from ingestion.reference import Reference
from ingestion.relay import COMMANDS, already_relayed
from ingestion.sinks import Sink
from ingestion.ticker import ReplayTicker
from ingestion.topics import DEAD_LETTERS

_UNREADABLE_S = 0.2  # a paced feed flushes before it pauses for longer


@dataclass(slots=True)
class FeedSummary:
    """What became of the arrivals. arrivals = accepted + refused.

    by_topic: records sent, letters, markers and ticks included; by_reason: refused arrivals by their first reason;
    markers: bad-reading events that went on beside a letter; disordered: arrivals older than the one before them;
    first_ms, last_ms: arrival times of the first and the last.
    """

    arrivals: int = 0
    accepted: int = 0
    refused: int = 0
    markers: int = 0
    ticks: int = 0
    disordered: int = 0
    first_ms: int | None = None
    last_ms: int | None = None
    by_topic: Counter[str] = field(default_factory=Counter)
    by_reason: Counter[str] = field(default_factory=Counter)

    @property
    def records(self) -> int:
        return self.by_topic.total()


def feed(
    arrivals: Iterable[Arrival],
    gate: Gate,
    sink: Sink,
    *,
    ticks_every_s: float | None = None,
    ticks_for: Reference | None = None,
    settle_s: float = 0,
    on_progress: Callable[[FeedSummary], None] | None = None,
    speed: float | None = None,
) -> FeedSummary:
    """Put arrivals through the gate into the sink, in their order, and flush it.

    ticks_every_s: merge ticks on the arrivals' clock; ticks_for: of these stores and devices only (default: all that
        the gate knows; a replay of some loggers narrows it, or all others would look silent). Commands for alerts
        that come among the arrivals are then relayed in a tick at their arrival; else a live ticker does that.
    settle_s: go on ticking so many seconds (of the arrivals' clock) after the last arrival.
    on_progress: called with the summary so far about four times a second.
    speed: arrival seconds per second of the wall clock; None is as fast as it goes.

    A second run sends everything again, with the same event ids. Raises DeliveryFailed, and what `arrivals` raises.
    """
    if speed is not None and speed <= 0:
        raise ValueError(f"speed {speed}: must be above 0; 60 plays an hour in a minute")
    done = FeedSummary()
    refused, markers = Counter(gate.refused), gate.markers
    ticker = ReplayTicker(ticks_for or gate.reference, ticks_every_s) if ticks_every_s is not None else None
    stream: Iterable[Arrival | Record] = ticker.among(arrivals, settle_s) if ticker else arrivals
    began = told = time.monotonic()
    start_ms: int | None = None
    for count, item in enumerate(stream, 1):
        at_ms = item.timestamp_ms if isinstance(item, Record) else item.arrived_ms
        if speed is not None:
            start_ms = at_ms if start_ms is None else start_ms
            wait = began + (at_ms - start_ms) / 1000 / speed - time.monotonic()
            if wait > 0:
                if wait > _UNREADABLE_S:
                    sink.flush()
                time.sleep(wait)
        if isinstance(item, Record):
            done.ticks += 1
            done.by_topic[item.topic] += 1
            sink.send(item)
        else:
            _count(done, at_ms)
            records = gate.admit(item)
            if records[0].topic == DEAD_LETTERS:
                done.refused += 1
            else:
                done.accepted += 1
            if ticker and records[0].topic == COMMANDS:
                records = [already_relayed(records[0]), ticker.relay(records[0])]
                done.ticks += 1
            for record in records:
                done.by_topic[record.topic] += 1
                sink.send(record)
        if on_progress and (speed is not None or count % 256 == 0) and time.monotonic() - told >= 0.25:
            told = time.monotonic()
            on_progress(done)
    sink.flush()
    done.by_reason = Counter(gate.refused) - refused
    done.markers = gate.markers - markers
    if on_progress:
        on_progress(done)
    return done


def _count(done: FeedSummary, at_ms: int) -> None:
    done.arrivals += 1
    if done.first_ms is None:
        done.first_ms = at_ms
    if done.last_ms is not None and at_ms < done.last_ms:
        done.disordered += 1
    done.last_ms = at_ms if done.last_ms is None else max(done.last_ms, at_ms)


def describe(done: FeedSummary, seconds: float) -> str:
    """One line for people."""
    span = timedelta(seconds=round(((done.last_ms or 0) - (done.first_ms or 0)) / 1000))
    rate = done.records / seconds if seconds > 0 else 0
    return (
        f"{done.arrivals:,} arrivals over {span}: {done.accepted:,} accepted, {done.refused:,} refused; "
        f"{done.records:,} records sent ({rate:,.0f}/s)"
    )
