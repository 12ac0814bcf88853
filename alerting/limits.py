"""How one device's readings stand against a rule's limits: spans without a break, time added up, changes.

Pure functions over what the state remembers of a device. Values are multiplied by a judge's sign, so that more is
always worse. Times are event times in epoch ms.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from math import inf, nextafter

from alerting.language import RANK, Rule
from alerting.state import Device, Open, Spot, Track

NEVER = 2**62
MOST_SPANS = 256
"""Spans past a limit that a cumulative rule remembers of one device; more are put together where they lie closest."""
STANDS_MS = 900_000
"""How long a reading of a device without a known interval stands: the longest logging interval in use (15 min)."""


@dataclass(frozen=True, slots=True)
class Level:
    """The rule itself (first), or one escalation. limit, clear: as compared, see `Judge.sign`. clear: with which an
    escalated alert goes back; None where it doesn't. maskable: a warning, of a rule with masks."""

    severity: str
    limit: float
    for_ms: int
    maskable: bool
    clear: float | None = None


@dataclass(frozen=True, slots=True)
class Judge:
    """A rule about a limit, ready to be compared.

    kind: above, below, rate or cumulative. hole_ms: a time without readings that ends a span: two readings hours apart
    prove nothing about the hours between. within_ms: of rate and cumulative.
    """

    rule: Rule
    version: str
    kind: str
    sign: float
    levels: tuple[Level, ...]
    clear: float
    hole_ms: int
    within_ms: int = 0


def judge_of(rule: Rule, version: str) -> Judge:
    """A rule with a limit as it is compared."""
    above = rule.above
    sign = 1.0 if above else -1.0
    masked = bool(rule.mask)
    if rule.rate is not None:
        # A rise and a fall are both differences over 0; the sign turns the readings, not the limits.
        levels = [Level(rule.severity, rule.limit, 0, masked and rule.severity != "critical")]
        for level in rule.escalate:
            limit = level.rise if above else level.fall
            levels.append(Level(level.severity, limit, 0, masked and level.severity != "critical"))
        return Judge(rule, version, "rate", sign, tuple(levels), rule.limit, 0, rule.rate.within_ms)
    total = rule.cumulative
    own = rule.for_ms if total is None else total.for_ms
    levels = [Level(rule.severity, rule.limit * sign, own, masked and rule.severity != "critical")]
    for level in rule.escalate:
        given, back = (level.above, level.clear_below) if above else (level.below, level.clear_above)
        limit = rule.limit if given is None else given
        clear = None if back is None else back * sign
        levels.append(Level(level.severity, limit * sign, level.for_ms, masked and level.severity != "critical", clear))
    if total is not None:
        return Judge(rule, version, "cumulative", sign, tuple(levels), rule.limit * sign, 0, total.within_ms)
    kind = "above" if above else "below"
    # Without a way back of its own, being at the limit is enough: a door is shut at 0.
    own_way = rule.clear_below if above else rule.clear_above
    clear = nextafter(rule.limit * sign, inf) if own_way is None else own_way * sign
    hole_ms = rule.for_ms or min((level.for_ms for level in levels if level.for_ms), default=0)
    return Judge(rule, version, kind, sign, tuple(levels), clear, hole_ms)


# ---- past a limit without a break


def extend(track: Track, judge: Judge, recent: list[Spot], hole_ms: int) -> None:
    """Carry the spans on by the newest reading."""
    newest = recent[-1]
    value = newest[1] * judge.sign
    whole = len(recent) < 2 or newest[0] - recent[-2][0] <= hole_ms
    since, calm = track.since, track.calm
    for number, level in enumerate(judge.levels):
        if value <= level.limit:
            since[number] = None
        elif since[number] is None or not whole:
            since[number] = newest
        if level.clear is not None:
            if value >= level.clear:
                calm[number] = None
            elif calm[number] is None:
                calm[number] = newest[0]
    first = since[0]
    if first is None:
        track.worst = None
    elif first is newest or track.worst is None or value > track.worst[1] * judge.sign:
        track.worst = newest


def rebuild(track: Track, judge: Judge, recent: list[Spot], hole_ms: int) -> None:
    """Make the spans anew from the remembered readings, since one has come out of order.

    A span that began before the oldest remembered reading keeps its beginning, as long as nothing remembered ends it.
    """
    sign = judge.sign
    for number, level in enumerate(judge.levels):
        track.since[number] = span(
            recent, lambda value, limit=level.limit: value * sign > limit, track.since[number], hole_ms
        )
        if level.clear is not None:
            known = track.calm[number]
            back = span(
                recent,
                lambda value, limit=level.clear: value * sign < limit,
                None if known is None else (known, 0.0, ""),
                NEVER,
            )
            track.calm[number] = None if back is None else back[0]
    first, worst = track.since[0], track.worst
    if first is None:
        track.worst = None
    else:
        inside = [spot for spot in recent if spot[0] >= first[0]]
        if worst is not None and worst[0] >= first[0]:
            inside.append(worst)
        track.worst = max(inside, key=lambda spot: (spot[1] * sign, -spot[0]))


def way_back(alert: Open, judge: Judge, recent: list[Spot], in_order: bool) -> None:
    """Note since when the readings are on the way back, and the worst one of the alert."""
    sign = judge.sign
    limit = judge.levels[0].limit
    if in_order:
        newest = recent[-1]
        value = newest[1] * sign
        if value > limit and (alert.worst is None or value > alert.worst[1] * sign):
            alert.worst = newest
        if value >= judge.clear:
            alert.cleared_at = None
        elif alert.cleared_at is None:
            alert.cleared_at = newest[0]
        return
    begun = alert.first[0] if alert.first is not None else alert.starts_at
    for spot in recent:
        value = spot[1] * sign
        if value > limit and spot[0] >= begun and (alert.worst is None or value > alert.worst[1] * sign):
            alert.worst = spot
    before = None if alert.cleared_at is None else (alert.cleared_at, 0.0, "")
    # A gap in time does not undo a way back: only a reading does.
    cleared = span(recent, lambda value: value * sign < judge.clear, before, NEVER)
    alert.cleared_at = None if cleared is None else cleared[0]


def span(recent: list[Spot], within, before: Spot | None, hole_ms: int) -> Spot | None:
    """The first reading of the span that reaches to the newest one; None where the newest is not within.

    before: what was held to be the first until now.
    """
    first: Spot | None = None
    for spot in reversed(recent):
        if not within(spot[1]) or (first is not None and first[0] - spot[0] > hole_ms):
            return first
        first = spot
    if first is not None and before is not None and before[0] < first[0]:
        return before
    return first


def lasted(track: Track, judge: Judge, at: int) -> list[Level]:
    """Levels past whose limit it has been for long enough, the worst first."""
    due = [
        level
        for level, since in zip(judge.levels, track.since, strict=True)
        if since is not None and at - since[0] >= level.for_ms
    ]
    return sorted(due, key=lambda level: -RANK[level.severity])


def calmed(track: Track, judge: Judge, severity: str, at: int) -> bool:
    """Whether an alert that escalated to this severity is back under that level's own limit for long enough."""
    for level, since in zip(judge.levels, track.calm, strict=True):
        if level.severity == severity and level.clear is not None:
            return since is not None and at - since >= judge.rule.keep_ms
    return False


# ---- time past a limit, added up


def add_up(device: Device, judge: Judge, in_order: bool) -> int:
    """Carry the spans past the limit on; returns the time past it within the window that the newest reading ends, ms.

    A reading stands until the next one, for at most two of its device's intervals.
    """
    recent = device.recent
    stands = 2000 * device.interval_s or STANDS_MS
    spans = device.past.get(judge.rule.alert, [])
    newest = recent[-1][0]
    if in_order:
        pairs = [(recent[-2], recent[-1])] if len(recent) > 1 else []
    else:
        start = recent[0][0]
        spans = [(a, min(b, start)) for a, b in spans if a < start]
        pairs = list(zip(recent, recent[1:], strict=False))
    limit, sign = judge.levels[0].limit, judge.sign
    for one, following in pairs:
        if one[1] * sign <= limit:
            continue
        end = min(following[0], one[0] + stands)
        if spans and spans[-1][1] >= one[0]:
            spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
        else:
            spans.append((one[0], end))
    begin = newest - judge.within_ms
    spans = [item for item in spans if item[1] > begin]
    while len(spans) > MOST_SPANS:
        place = min(range(1, len(spans)), key=lambda n: spans[n][0] - spans[n - 1][1])
        spans[place - 1 : place + 1] = [(spans[place - 1][0], spans[place][1])]
    if spans or recent[-1][1] * sign > limit:
        device.past[judge.rule.alert] = spans
    else:
        device.past.pop(judge.rule.alert, None)
    return sum(end - max(start, begin) for start, end in spans)


# ---- changes


def note_change(device: Device, judge: Judge, at: int, value: float, in_order: bool) -> float:
    """Take a reading into the window of a rate; returns how far the newest reading lies from the window's lowest one
    (highest, of a fall), in the metric's unit, over 0.

    Remembers the readings that can still be the lowest: each that no later one undercuts.
    """
    edges = device.edges.get(judge.rule.alert)
    if edges is None:
        edges = device.edges[judge.rule.alert] = []
    value *= judge.sign
    if in_order:
        while edges and edges[-1][1] >= value:
            edges.pop()
        edges.append((at, value))
        begin = at - judge.within_ms
    else:
        place = bisect_left(edges, at, key=_at)
        if not any(edge[1] <= value for edge in edges[place:]):
            low = place
            while low and edges[low - 1][1] >= value:
                low -= 1
            edges[low:place] = [(at, value)]
        begin = device.recent[-1][0] - judge.within_ms
        value = device.recent[-1][1] * judge.sign
    while edges and edges[0][0] < begin:
        del edges[0]
    return value - edges[0][1] if edges else 0.0


def changed(device: Device, judge: Judge) -> float:
    """The change that `note_change` found last."""
    edges = device.edges.get(judge.rule.alert)
    return device.recent[-1][1] * judge.sign - edges[0][1] if edges else 0.0


# ---- no change at all


def unchanged_since(device: Device, hole_ms: int, in_order: bool) -> int:
    """Event time of the first of the equal readings that the newest one ends; a hole ends them."""
    recent = device.recent
    newest = recent[-1]
    if in_order:
        if len(recent) < 2 or recent[-2][1] != newest[1] or newest[0] - recent[-2][0] > hole_ms:
            return newest[0]
        return device.same_since or recent[-2][0]
    before = (device.same_since, newest[1], "") if device.same_since else None
    first = span(recent, lambda value: value == newest[1], before, hole_ms)
    return newest[0] if first is None else first[0]


# ---- states


def follow_state(device: Device, in_order: bool) -> None:
    """Note the newest span in which a state was 1."""
    recent = device.recent
    if in_order:
        at, value, _ = recent[-1]
        if value > 0:
            if device.on_since is None or device.off_at is not None:
                device.on_since, device.off_at = at, None
        elif device.on_since is not None and device.off_at is None:
            device.off_at = at
        return
    oldest = recent[0][0]
    if device.on_since is not None and device.on_since >= oldest:
        device.on_since = device.off_at = None
    elif device.off_at is not None and device.off_at >= oldest:
        device.off_at = None
    for at, value, _ in recent:
        if value > 0:
            if device.on_since is None or device.off_at is not None:
                device.on_since, device.off_at = at, None
        elif device.on_since is not None and device.off_at is None:
            device.off_at = at


def _at(edge: tuple[int, float]) -> int:
    return edge[0]
