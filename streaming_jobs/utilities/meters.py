"""What a meter's readings say about use: readings put in order, counts that begin anew, use per span of time.

Pure, and without a store: instants are epoch milliseconds by the meter's own clock, unless they are said to be the
log's. A gauge (power, kW) says how much is used now; a counter (energy, kW.h; water, m3) what has been used so far.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple

import msgspec

Reading = tuple[int, float]
"""(event time, value)."""

HOUR_MS = 3_600_000
QUARTER_MS = HOUR_MS // 4
"""The interval over which utilities themselves meter demand."""
LATE_MS = 4 * 60_000
"""How far readings may be out of order: one is taken when the meter has given another that is so much newer."""
MOST_WAITING = 64
"""Readings of one meter that may wait; of a meter that reports every few seconds the oldest go on earlier."""
AHEAD_MS = 120_000
"""A meter whose event time lies further after its arrival has a clock that is ahead; as the engine has it."""
GAP_MS = 15 * 60_000
"""Between two readings further apart than this (or one and a half of the meter's intervals) nobody knows when the use
was. Nearer ones are joined by a straight line."""
UNKNOWN = -1


class Kind(NamedTuple):
    """One metered metric. counter: it counts up. noise: by how much a count may fall without being another one, and
    most: the use per hour beyond which two counts cannot be of one meter; both in the metric's unit."""

    counter: bool
    noise: float = 0.0
    most: float = 0.0


KINDS = {
    "power": Kind(counter=False),
    # 2,000 kW is beyond the largest supply of a store (1,600 A at 400 V are 1,100 kVA); 100 m3/h beyond the overload
    # flow of a DN 80 meter (ISO 4064: Q3 63, Q4 = 1.25 Q3 = 79 m3/h). The noise is a few last digits.
    "energy": Kind(counter=True, noise=0.1, most=2000.0),
    "water": Kind(counter=True, noise=0.01, most=100.0),
}


class Span(msgspec.Struct, array_like=True):
    """The span of time that is being filled. begin: its start, UNKNOWN while use before it is; used: in it so far."""

    begin: int = UNKNOWN
    used: float = 0.0


class Full(NamedTuple):
    """A span of time whose use is known."""

    begin: int
    end: int
    used: float


class Flow(msgspec.Struct):
    """The readings of one meter on their way into spans of time.

    device_id: the device that is followed. interval_s: how often it reports, 0 while no roster has told.
    waiting: readings that may still be overtaken, by event time. last: the newest one that was taken. odd: a count that
    does not go on from it, until the next one tells which of the two was right.
    Bounded: MOST_WAITING readings.
    """

    device_id: str = ""
    interval_s: int = 0
    waiting: list[Reading] = []
    last: Reading | None = None
    odd: Reading | None = None


class Step(NamedTuple):
    """Use between two readings. amount: None where it cannot be known, because the meter counts from another point.
    joined: near enough to say when in between it was."""

    begin: int
    end: int
    amount: float | None
    joined: bool


def set_right(flow: Flow, clock: int, at: int) -> bool:
    """Whether the meter's clock was ahead and is right now, by a reading that has come.

    What it said from the future is forgotten, or nothing that it says now would count until the future has come.
    clock: the log's. Returns whether anything of it had been taken already, so that its spans must begin anew.
    """
    now = clock + AHEAD_MS
    if at > now:
        return False
    while flow.waiting and flow.waiting[-1][0] > now:
        flow.waiting.pop()
    if flow.last is None or flow.last[0] <= now:
        return False
    flow.last = flow.odd = None
    return True


def in_order(flow: Flow, at: int, value: float) -> list[Reading]:
    """Take one reading; returns those whose turn it is, strictly by event time.

    One that is there already, or comes later than LATE_MS, is left out; the engine counts it.
    """
    if flow.last is not None and at <= flow.last[0]:
        return []
    place = bisect_left(flow.waiting, at, key=_at)
    if place < len(flow.waiting) and flow.waiting[place][0] == at:
        return []
    flow.waiting.insert(place, (at, value))
    newest, turn = flow.waiting[-1][0], []
    while newest - flow.waiting[0][0] >= LATE_MS or len(flow.waiting) > MOST_WAITING:
        turn.append(flow.waiting.pop(0))
    return turn


def follow(flow: Flow, kind: Kind, reading: Reading) -> list[Step]:
    """Go on to the next reading in order; returns the use since the one before."""
    last = flow.last
    if last is None:
        flow.last = reading
        return []
    if not kind.counter:
        flow.last = reading
        hours = (reading[0] - last[0]) / HOUR_MS
        return [_step(flow, last, reading, (last[1] + reading[1]) / 2 * hours)]
    if _goes_on(kind, last, reading):
        # Also the way back from one misreading: what came between was no other count.
        flow.odd, flow.last = None, (reading[0], max(reading[1], last[1]))
        return [_step(flow, last, flow.last, flow.last[1] - last[1])]
    if flow.odd is not None and _goes_on(kind, flow.odd, reading):
        odd, flow.odd = flow.odd, None
        flow.last = (reading[0], max(reading[1], odd[1]))
        return [_step(flow, last, odd, None), _step(flow, odd, flow.last, flow.last[1] - odd[1])]
    flow.odd = reading
    return []


def fill(span: Span, step: Step, origin: int, length: int) -> list[Full]:
    """Spread a step's use over the spans of time it lies in; returns those that it completes and whose use is known.

    Spans begin at origin and every `length` before and after it. A gap inside one span is no harm: the count says how
    much was used in it, only not when.
    """
    edge = _begin(step.begin, origin, length) + length
    if step.amount is None or (step.end > edge and not step.joined):
        at = _begin(step.end, origin, length)
        span.begin, span.used = (at if at == step.end else UNKNOWN), 0.0
        return []
    begin, left, found = step.begin, step.amount, []
    if begin == edge - length:
        span.begin, span.used = begin, 0.0
    while step.end >= edge:
        share = left * (edge - begin) / (step.end - begin)
        if span.begin == edge - length:
            found.append(Full(span.begin, edge, span.used + share))
        span.begin, span.used = edge, 0.0
        if step.end == edge:
            return found
        begin, left, edge = edge, left - share, edge + length
    if span.begin != UNKNOWN:
        span.used += left
    return found


def _step(flow: Flow, one: Reading, other: Reading, amount: float | None) -> Step:
    longest = max(GAP_MS, 1500 * flow.interval_s)
    return Step(one[0], other[0], amount, other[0] - one[0] <= longest)


def _goes_on(kind: Kind, one: Reading, other: Reading) -> bool:
    """Whether two counts can be of one meter that was not touched."""
    used = other[1] - one[1]
    return -kind.noise <= used <= kind.most * (other[0] - one[0]) / HOUR_MS + kind.noise


def _begin(at: int, origin: int, length: int) -> int:
    return at - (at - origin) % length


def _at(reading: Reading) -> int:
    return reading[0]
