"""What the checkouts of a store are like, minute by minute, from camera counts, lane status and receipts.

The standard is "1+1": at each lane one shopper is being served and one waits (Kroger's QueVision, which asks it of 85 %
and shows the lanes open now, needed now, and needed in 15 and in 30 min).
"""

from __future__ import annotations

import math
from typing import Annotated, Any

import msgspec

from alerting.events import Event
from schemas.instants import to_ms
from streaming_jobs.derive import READINGS, Deriver, derived, is_newer, is_resent

PEOPLE, LANES, RECEIPTS = "cv-detections", "lane-status", "pos-transactions"
MINUTE_MS = 60_000
STALE_MS = 120_000
"""A zone that was not heard of for so long is unknown. Cameras count at least every 45 s."""
ENTRANCE_STALE_MS = 5 * MINUTE_MS
FORGET_MS = 60 * MINUTE_MS
PER_LANE = 2
"""One being served, one waiting."""
STANDARD = 0.85
STANDARD_OVER = 15
"""Minutes over which the share within the standard is told."""
RECENT = 15
"""Minutes whose entrances stand for those of the minutes to come."""
ASSUMED_SERVICE_S = 120.0
"""Time a shopper takes at the till, an assumption with the weight of ASSUMED_WEIGHT shoppers until the store's own
receipts say otherwise: 2 to 3 min with a full trolley, less with a small basket."""
ASSUMED_WEIGHT = 5.0
ASSUMED_STAFFED_SHARE = 0.6
"""Share of the receipts that staffed lanes write, until seen; an assumption, too."""
ASSUMED_RECEIPTS_PER_ENTRANCE = 0.7
"""Not everybody buys, and families pay once; an assumption, too."""
HALF_LIFE_MIN = 8 * 60
"""Trading minutes after which what was learned counts half: about half a day."""
MEDIAN_VISIT_MIN, VISIT_SIGMA = 15.0, 0.6
"""From the entrance to the checkout: lognormal, an assumption for supermarkets of 1,000 to 2,000 m²; nine of ten take 6
to 40 min. Where it is wrong, the forecast comes too early or too late, but does not grow."""
MOST_LANES = 200


def _visit_shares() -> tuple[float, ...]:
    """Share of visits that take so many minutes, up to 119."""

    def below(minutes: float) -> float:
        if minutes <= 0:
            return 0.0
        return 0.5 * (1 + math.erf(math.log(minutes / MEDIAN_VISIT_MIN) / (VISIT_SIGMA * math.sqrt(2))))

    found = [below(n + 0.5) - below(n - 0.5) for n in range(120)]
    return tuple(share / sum(found) for share in found)


VISIT = _visit_shares()


class Seen(msgspec.Struct):
    """cv-detections."""

    event_time: str
    store_id: str
    zone_id: str
    zone_kind: str
    seen: str
    asset_id: str = ""
    count: Annotated[int, msgspec.Meta(ge=0, le=10_000)] | None = None


class LaneStatus(msgspec.Struct):
    """lane-status."""

    event_time: str
    store_id: str
    lane_id: str
    lane_kind: str
    status: str
    terminals: Annotated[int, msgspec.Meta(ge=0, le=100)] = 1


class Receipt(msgspec.Struct):
    """pos-transactions."""

    event_id: str
    event_time: str
    store_id: str
    kind: str
    channel: str


class Lane(msgspec.Struct, array_like=True):
    """told, seen: event times of its newest status and count; heard: when the count arrived; epoch ms.
    people: -1 until counted."""

    staffed: bool
    open: bool
    terminals: int
    told: int
    people: int = -1
    seen: int = 0
    heard: int = 0


class Learned(msgspec.Struct, array_like=True):
    """Sums in which old minutes count less and less. busy_s: time that terminals were seen in use."""

    busy_s: float = 0.0
    receipts: float = 0.0

    @property
    def service_s(self) -> float:
        """Time a shopper takes at the till: terminals were busy for so long, and so many paid."""
        return (ASSUMED_SERVICE_S * ASSUMED_WEIGHT + self.busy_s) / (ASSUMED_WEIGHT + self.receipts)


class Checkouts(msgspec.Struct):
    """One store. minute: the newest that was told, epoch minutes. entrances: zone -> (event time, arrival) of its
    newest count; entered: (minute, people), oldest first; entered_sum: faded like what is learned. paid: receipts since
    then, (staffed, self-checkout); paid_minute: of the newest. standard: (lanes within, lanes seen), minute by minute.

    Bounded by the store's lanes, by entrance zones of the last hour, by 120 minutes, by STANDARD_OVER and by REMEMBERED
    receipt ids.
    """

    store_id: str
    minute: int = 0
    lanes: dict[str, Lane] = {}
    entrances: dict[str, tuple[int, int]] = {}
    entered: list[tuple[int, int]] = []
    entered_sum: float = 0.0
    paid: tuple[int, int] = (0, 0)
    paid_minute: int = 0
    staffed: Learned = msgspec.field(default_factory=Learned)
    alone: Learned = msgspec.field(default_factory=Learned)
    standard: list[tuple[int, int]] = []
    remembered: list[str] = []
    version: int = 1


class Queues(Deriver[Checkouts]):
    """Derives once a minute."""

    state_type = Checkouts
    inputs = {PEOPLE: Seen, LANES: LaneStatus, RECEIPTS: Receipt}

    def start(self, store_id: str) -> Checkouts:
        return Checkouts(store_id)

    def advance(self, state: Checkouts, arrived_ms: int, topic: str, event: Any) -> list[Event]:
        minute = arrived_ms // MINUTE_MS
        told: list[Event] = []
        if minute > state.minute:
            if state.minute:
                told = _tell(state, minute * MINUTE_MS)
            state.minute, state.paid = minute, (0, 0)
        if topic == PEOPLE:
            _count(state, arrived_ms, event)
        elif topic == LANES:
            _change(state, arrived_ms, event)
        elif topic == RECEIPTS:
            _pay(state, minute, event)
        elif topic == READINGS and event.assets is not None:
            there = {asset.asset_id for asset in event.assets}
            state.lanes = {lane_id: lane for lane_id, lane in state.lanes.items() if lane_id in there}
        return told


def _count(state: Checkouts, now: int, seen: Seen) -> None:
    if seen.seen != "person" or seen.count is None:
        return
    at = to_ms(seen.event_time)
    if seen.zone_kind == "entrance":
        before = state.entrances.get(seen.zone_id)
        if before is None or is_newer(at, before[0], now):
            state.entrances[seen.zone_id] = (at, now)
            minute = now // MINUTE_MS
            if state.entered and state.entered[-1][0] == minute:
                state.entered[-1] = (minute, state.entered[-1][1] + seen.count)
            else:
                state.entered.append((minute, seen.count))
    elif seen.zone_kind in ("queue", "self_checkout"):
        lane = state.lanes.get(seen.asset_id)
        if lane is not None and is_newer(at, lane.seen, now):
            lane.people, lane.seen, lane.heard = seen.count, at, now


def _change(state: Checkouts, now: int, status: LaneStatus) -> None:
    at = to_ms(status.event_time)
    lane = state.lanes.get(status.lane_id)
    staffed, is_open = status.lane_kind == "staffed", status.status == "open"
    if lane is None:
        state.lanes[status.lane_id] = Lane(staffed, is_open, status.terminals, at)
    elif is_newer(at, lane.told, now):
        lane.staffed, lane.open, lane.terminals, lane.told = staffed, is_open, status.terminals, at


def _pay(state: Checkouts, minute: int, receipt: Receipt) -> None:
    if receipt.kind != "sale" or receipt.channel not in ("lane", "self_checkout"):
        return
    if is_resent(receipt.event_id, state.remembered):
        return
    staffed, alone = state.paid
    state.paid_minute = minute
    state.paid = (staffed + 1, alone) if receipt.channel == "lane" else (staffed, alone + 1)


def _tell(state: Checkouts, at: int) -> list[Event]:
    """What can be said about the minute that ended at `at`, epoch ms."""
    store_id = state.store_id
    found: list[Event] = []

    def store(metric: str, value: float) -> None:
        found.append(derived(store_id, store_id, "store", metric, value, at))

    in_use = {lane_id: lane for lane_id, lane in sorted(state.lanes.items()) if lane.open and lane.terminals > 0}
    opened = sum(1 for lane in in_use.values() if lane.staffed)
    seen = {lane_id: lane for lane_id, lane in in_use.items() if lane.people >= 0 and at - lane.heard <= STALE_MS}
    staffed = [lane for lane in seen.values() if lane.staffed]
    if state.lanes:
        store("lanes_open", opened)
    waits = {lane_id: _wait_s(state, lane) for lane_id, lane in seen.items()}
    for lane_id, lane in seen.items():
        kind = "queue" if lane.staffed else "self_checkout"
        found.append(derived(store_id, lane_id, "lane", "estimated_wait", waits[lane_id], at, zone_kind=kind))
    if staffed:
        mean = sum(lane.people for lane in staffed) / len(staffed)
        store("people_per_open_lane", mean)
        store("estimated_wait", sum(waits[lane_id] for lane_id, lane in seen.items() if lane.staffed) / len(staffed))
        # A lane that is open and not seen is taken to be like those that are.
        needed = max(1, math.ceil(STANDARD * mean * opened / PER_LANE))
        store("lanes_needed_now", needed)
        store("lanes_short", needed - opened)
    state.standard = [
        *state.standard[1 - STANDARD_OVER :],
        (sum(1 for lane in staffed if lane.people <= PER_LANE), len(staffed)),
    ]
    within, all_seen = map(sum, zip(*state.standard, strict=True))
    if all_seen:
        store("within_standard_share", within / all_seen)
    whole = seen and len(seen) == len(in_use) and at == (state.minute + 1) * MINUTE_MS
    # Where no receipts come, it is their way here that is closed, and there is nothing to learn.
    if whole and state.minute - state.paid_minute < RECENT:
        _learn(state, list(seen.values()))
    state.entered = [(minute, count) for minute, count in state.entered if minute > at // MINUTE_MS - len(VISIT)]
    state.entrances = {zone: last for zone, last in state.entrances.items() if at - last[1] <= FORGET_MS}
    if opened and any(at - heard <= ENTRANCE_STALE_MS for _, heard in state.entrances.values()):
        for minutes in (15, 30):
            needed = lanes_needed(_arrivals_per_s(state, at, minutes), state.staffed.service_s)
            store(f"lanes_needed_{minutes}", needed)
            store(f"lanes_short_{minutes}", needed - opened)
    return found


def _wait_s(state: Checkouts, lane: Lane) -> float:
    """How long somebody waits who joins now: until as many have been served as stand before the first free terminal."""
    service_s = (state.staffed if lane.staffed else state.alone).service_s
    return max(0, lane.people - lane.terminals + 1) * service_s / lane.terminals


def _learn(state: Checkouts, lanes: list[Lane]) -> None:
    """Take a minute in which all open lanes were seen into the sums."""
    by = 0.5 ** (1 / HALF_LIFE_MIN)
    for sums, staffed, paid in ((state.staffed, True, state.paid[0]), (state.alone, False, state.paid[1])):
        busy = sum(min(lane.people, lane.terminals) for lane in lanes if lane.staffed is staffed)
        sums.busy_s = sums.busy_s * by + 60.0 * busy
        sums.receipts = sums.receipts * by + paid
    # Those who pay now came in a visit ago.
    state.entered_sum = state.entered_sum * by + dict(state.entered).get(state.minute - round(MEDIAN_VISIT_MIN), 0)


def _arrivals_per_s(state: Checkouts, at: int, ahead_min: int) -> float:
    """Shoppers a second who will come to the staffed lanes so many minutes from now: those who entered, each after the
    time that visits take, and as many as of late for the minutes in which nobody has entered yet."""
    now = at // MINUTE_MS
    entered = dict(state.entered)
    of_late = sum(entered.get(now - back, 0) for back in range(1, RECENT + 1)) / RECENT
    per_min = 0.0
    for visit, share in enumerate(VISIT):
        minute = now - 1 + ahead_min - visit
        per_min += share * (of_late if minute >= now else entered.get(minute, 0))
    receipts = state.staffed.receipts + state.alone.receipts
    buying = (ASSUMED_RECEIPTS_PER_ENTRANCE * ASSUMED_WEIGHT + receipts) / (ASSUMED_WEIGHT + state.entered_sum)
    to_staffed = (ASSUMED_STAFFED_SHARE * ASSUMED_WEIGHT + state.staffed.receipts) / (ASSUMED_WEIGHT + receipts)
    return per_min / 60 * min(1.0, buying) * to_staffed


def lanes_needed(per_s: float, service_s: float) -> int:
    """The fewest lanes at which, for STANDARD of the time, no more than PER_LANE a lane are there.

    By the M/M/c queue (Erlang C): shoppers come at random, are served in random times, and take the next free lane.
    per_s: arrivals a second; service_s: mean seconds to serve one. At least 1, at most MOST_LANES.
    """
    load = per_s * service_s
    for lanes in range(math.floor(load) + 1, MOST_LANES):
        weights = [1.0]  # of so many people being there, relative to nobody
        for people in range(1, PER_LANE * lanes + 1):
            weights.append(weights[-1] * load / min(people, lanes))
        everybody = sum(weights[:lanes]) + weights[lanes] / (1 - load / lanes)
        if sum(weights) >= STANDARD * everybody:
            return lanes
    return MOST_LANES
