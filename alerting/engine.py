"""The engine: one store's log in, alert events out.

Pure: no clock, no I/O. The same log gives the same alert events, byte for byte, however it is cut into batches and
wherever it is restarted, because everything is decided event by event, in log order:

- Before an event, every silence that its arrival time has passed is settled. Silence runs in arrival time.
- `for`, `keep_firing_for` and masks run in the device's own event time, so a device with a wrong clock disturbs nobody.
- A reading that comes late takes its place by event time among the device's newest `KEPT` readings; an older one
  decides nothing. A reading that is there already is a duplicate and is ignored.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from alerting import life
from alerting.events import Event, Expected, Logged
from alerting.rules import RANK, STATE_METRICS, Rule, RuleSet
from alerting.state import Device, Open, Spot, Store, Track
from schemas.instants import to_ms

KEPT = 16
"""Readings a device is remembered by: how far out of order they may come, and how old a duplicate may be."""
HOLE_MS = 120_000
"""A log without any record for longer was not written: the ticker stood still. Nobody watched, so that time counts as
silence for no device. Tickers write every few seconds."""
AHEAD_MS = 120_000
"""A device whose event time lies further after its arrival has a clock that is ahead."""
_NEVER = 2**62


@dataclass(frozen=True, slots=True)
class _Level:
    """The rule itself (first), or one escalation. limit: as compared, see `_Threshold.sign`."""

    severity: str
    limit: float
    for_ms: int
    masked: bool


@dataclass(frozen=True, slots=True)
class _Threshold:
    """A rule about a limit, ready to be compared: values are multiplied by sign, then `more` is always worse.

    hole_ms: a time without readings that ends a span: two readings hours apart prove nothing about the hours between.
    """

    rule: Rule
    version: str
    sign: float
    levels: tuple[_Level, ...]
    clear: float
    hole_ms: int


@dataclass(frozen=True, slots=True)
class _Plan:
    """What concerns one device. calm_from..calm_to: values that breach nothing."""

    thresholds: tuple[_Threshold, ...]
    absences: tuple[tuple[Rule, str], ...]
    calm_from: float
    calm_to: float
    is_state: bool


class _Case(NamedTuple):
    """The device in question, its store, and where its alert events go."""

    state: Store
    device_id: str
    device: Device
    told: list[dict[str, Any]]


class Engine:
    """Decides by one set of rules. Holds nothing about any store: that is the state."""

    def __init__(self, rules: RuleSet) -> None:
        self.rules = rules
        self.version = rules.version
        self._versions = {rule.alert: rule.version for rule in rules.rules}
        self._kinds: dict[tuple[str, str, str, str], _Plan] = {}
        self._plans: dict[str, _Plan] = {}

    def start(self, store_id: str) -> Store:
        """The state of a store of which nothing is known."""
        return Store(store_id, rules=self.version)

    def advance(
        self, state: Store, events: Iterable[Logged], notes: Counter[str] | None = None
    ) -> tuple[Store, list[dict[str, Any]]]:
        """Take the next events of a store's log.

        state: is used up; go on with the one returned.
        notes: what decided nothing is counted here: `duplicate`, `too_late`, `unusable`, `other_store`.

        Returns the new state and the alert events, as the contract `alert` has them, in the order they fell due.
        """
        told: list[dict[str, Any]] = []
        notes = Counter() if notes is None else notes
        if state.rules != self.version:
            self._adopt_rules(state, told)
        devices, plans, store_id, clock = state.devices, self._plans, state.store_id, state.clock
        for arrived, event in events:
            if event.store_id != store_id:
                notes["other_store"] += 1
                continue
            if arrived > clock:
                if arrived - clock > HOLE_MS and clock:
                    self._skip(state, arrived - clock)
                clock = state.clock = arrived
                if arrived >= state.due:
                    self._settle(state, told)
            if event.kind == "tick":
                if event.roster is not None:
                    self._take_roster(state, event.event_id, event.roster, told)
                continue
            device = devices.get(event.device_id)
            if device is None:
                if not event.device_id or not event.asset_id or not event.metric:
                    notes["unusable"] += 1
                    continue
                device = devices[event.device_id] = Device(event.asset_id, event.asset_class, event.metric)
            if event.kind != "reading" or event.value is None:
                # The sensor speaks, but wrongly: not silent, and nothing to judge.
                if event.kind != "bad-reading":
                    notes["unusable"] += 1
                self._hear(state, event, device, told)
                continue
            try:
                at = to_ms(event.event_time)
            except ValueError:
                notes["unusable"] += 1
                self._hear(state, event, device, told)
                continue
            plan = plans.get(event.device_id) or self._plan(state, event.device_id, device)
            value = event.value
            calm = plan.calm_from <= value <= plan.calm_to
            spot = (at, value, "" if calm else event.event_id)
            recent = device.recent
            if not recent or at > recent[-1][0]:
                recent.append(spot)
                if len(recent) > KEPT:
                    del recent[0]
                in_order = True
            else:
                kept = self._take_late(state, device, spot)
                if kept is not None:
                    notes[kept] += 1
                    continue
                in_order = False
            device.heard, device.heard_id = clock, event.event_id
            if device.silent:
                self._end_silence(_Case(state, event.device_id, device, told))
            if plan.is_state:
                _follow_state(device, in_order)
            elif not calm or device.tracks:
                case = _Case(state, event.device_id, device, told)
                for threshold in plan.thresholds:
                    self._judge(case, threshold, in_order)
        return state, told

    # ---- limits

    def _judge(self, case: _Case, threshold: _Threshold, in_order: bool) -> None:
        """Hold the device's readings against one rule, after one was added to them."""
        device, name = case.device, threshold.rule.alert
        track = device.tracks.get(name)
        if track is None:
            track = Track([None] * len(threshold.levels))
        recent = device.recent
        hole_ms = max(threshold.hole_ms, 3000 * device.interval_s)
        if in_order:
            _extend(track, threshold, recent, hole_ms)
        else:
            _rebuild(track, threshold, recent, hole_ms)
        now = recent[-1][0]
        level = self._level_due(case, threshold, track, now)
        alert = track.open
        if alert is None:
            if level is not None:
                self._raise(case, threshold, track, level)
        else:
            if level is not None and RANK[level.severity] > RANK[alert.severity]:
                alert.severity, alert.limit = level.severity, level.limit * threshold.sign
                self._tell("escalated", case, threshold, alert)
            if alert.cleared_at is not None and now - alert.cleared_at >= threshold.rule.keep_ms:
                self._tell("resolved", case, threshold, alert, ends_at=alert.cleared_at)
                track.open = None
        if track.open is None and track.since[0] is None:
            device.tracks.pop(name, None)
        else:
            device.tracks[name] = track

    def _level_due(self, case: _Case, threshold: _Threshold, track: Track, at: int) -> _Level | None:
        """The worst level that has lasted long enough at this event time and is not masked."""
        worst: _Level | None = None
        for level, since in zip(threshold.levels, track.since, strict=True):
            if since is None or at - since[0] < level.for_ms:
                continue
            if worst is not None and RANK[level.severity] <= RANK[worst.severity]:
                continue
            if level.masked and _is_masked(case, threshold.rule, at):
                continue
            worst = level
        return worst

    def _raise(self, case: _Case, threshold: _Threshold, track: Track, level: _Level) -> None:
        first = track.since[0]
        assert first is not None
        breach = first[2] or f"{case.device_id} at {first[0]}"
        alert_id = life.alert_id(threshold.rule.alert, case.device.asset_id, breach)
        limit = level.limit * threshold.sign
        track.open = Open(alert_id, 0, level.severity, first[0], limit, first, track.worst)
        self._tell("raised", case, threshold, track.open)

    def _tell(self, event: str, case: _Case, threshold: _Threshold, alert: Open, ends_at: int | None = None) -> None:
        last = case.device.recent[-1]
        told = life.step(
            event,
            alert,
            name=threshold.rule.alert,
            rule=threshold.rule,
            rule_version=threshold.version,
            topic=self.rules.topic,
            store_id=case.state.store_id,
            device_id=case.device_id,
            device=case.device,
            happened_at=last[0],
            decided_at=case.state.clock,
            kind="above" if threshold.sign > 0 else "below",
            unit=threshold.rule.unit,
            last=last,
            ends_at=ends_at,
        )
        case.told.append(told)

    # ---- out of order

    def _take_late(self, state: Store, device: Device, spot: Spot) -> str | None:
        """Put a reading that is not the newest where it belongs. Returns why it was not taken, None when it was."""
        recent = device.recent
        at = spot[0]
        place = bisect_left(recent, at, key=_at)
        if place < len(recent) and recent[place][0] == at:
            return "duplicate"
        now = state.clock + AHEAD_MS
        if recent[-1][0] > now >= at >= state.clock - AHEAD_MS:
            # Its clock was ahead and has been set right: what it said from the future is forgotten, or nothing that
            # it says now would count until the future has come.
            device.recent = [*(old for old in recent if old[0] <= now and old[0] < at), spot]
            for track in device.tracks.values():
                track.since = [None if since is None or since[0] > now else since for since in track.since]
                if track.open is not None and track.open.cleared_at is not None and track.open.cleared_at > now:
                    track.open.cleared_at = None
            return None
        if place == 0 and len(recent) >= KEPT:
            return "too_late"
        recent.insert(place, spot)
        if len(recent) > KEPT:
            del recent[0]
        return None

    # ---- silence

    def _hear(self, state: Store, event: Event, device: Device, told: list[dict[str, Any]]) -> None:
        device.heard, device.heard_id = state.clock, event.event_id
        if device.silent:
            self._end_silence(_Case(state, event.device_id, device, told))

    def _settle(self, state: Store, told: list[dict[str, Any]]) -> None:
        """Tell every silence that is due at the clock, oldest first, and note when to look again."""
        next_due, due = _NEVER, []
        for device_id, device in state.devices.items():
            if not device.interval_s:
                continue
            plan = self._plans.get(device_id) or self._plan(state, device_id, device)
            for rule, version in plan.absences:
                if rule.alert in device.silent:
                    continue
                when = device.heard + rule.absent_for.after_ms(device.interval_s)
                if when <= state.clock:
                    due.append((when, device_id, rule, version))
                else:
                    next_due = min(next_due, when)
        for when, device_id, rule, version in sorted(due, key=lambda item: (item[0], item[1], item[2].alert)):
            case = _Case(state, device_id, state.devices[device_id], told)
            device = case.device
            # What breaches is the first report that was missed. It has no id; the one before it has.
            missed_at = device.heard + device.interval_s * 1000
            breach = f"{device_id} after {device.heard_id or device.heard}"
            alert_id = life.alert_id(rule.alert, device.asset_id, breach)
            limit = (when - device.heard) / 1000
            device.silent[rule.alert] = Open(alert_id, 0, rule.severity, missed_at, limit, None, None)
            self._tell_silence("raised", case, rule, version, when)
        state.due = next_due

    def _end_silence(self, case: _Case) -> None:
        """The device has been heard again."""
        device = case.device
        rules = {rule.alert: rule for rule in self.rules.rules}
        for name in sorted(device.silent):
            rule = rules[name]
            self._tell_silence("resolved", case, rule, self._versions[name], case.state.clock, case.state.clock)
            del device.silent[name]
            case.state.due = min(case.state.due, device.heard + rule.absent_for.after_ms(device.interval_s))

    def _tell_silence(
        self, event: str, case: _Case, rule: Rule, version: str, when: int, ends_at: int | None = None
    ) -> None:
        told = life.step(
            event,
            case.device.silent[rule.alert],
            name=rule.alert,
            rule=rule,
            rule_version=version,
            topic=self.rules.topic,
            store_id=case.state.store_id,
            device_id=case.device_id,
            device=case.device,
            happened_at=when,
            decided_at=when,
            kind="absent_for",
            unit="s",
            last=case.device.recent[-1] if case.device.recent else None,
            ends_at=ends_at,
        )
        case.told.append(told)

    def _skip(self, state: Store, hole_ms: int) -> None:
        """Nobody watched for so long: every device's silence begins so much later."""
        for device in state.devices.values():
            device.heard += hole_ms
        state.due += hole_ms

    # ---- devices and rules that come and go

    def _take_roster(self, state: Store, tick_id: str, roster: list[Expected], told: list[dict[str, Any]]) -> None:
        """The devices there are from now on. One that is new counts as heard now; one that is gone is forgotten."""
        state.roster = True
        wanted = {device.device_id: device for device in roster}
        for device_id in sorted(state.devices.keys() - wanted.keys()):
            self._close_all(_Case(state, device_id, state.devices[device_id], told), "the device has left the roster")
            del state.devices[device_id]
            self._plans.pop(device_id, None)
        for device_id, expected in wanted.items():
            device = state.devices.get(device_id)
            if device is not None and (device.asset_id, device.asset_class, device.metric) != (
                expected.asset_id,
                expected.asset_class,
                expected.metric,
            ):
                moved = f"the device has moved to {expected.asset_id}"
                self._close_all(_Case(state, device_id, device, told), moved)
                self._plans.pop(device_id, None)
                device = None
            if device is None:
                device = state.devices[device_id] = Device(
                    expected.asset_id, expected.asset_class, expected.metric, heard=state.clock
                )
            device.interval_s = expected.interval_s
        state.due = 0
        self._settle(state, told)

    def _close_all(self, case: _Case, reason: str) -> None:
        """End every open alert of a device that will not be judged any more."""
        for name, track in sorted(case.device.tracks.items()):
            if track.open is not None:
                self._close(case, track.open, name, reason)
        for name, alert in sorted(case.device.silent.items()):
            self._close(case, alert, name, reason)

    def _close(self, case: _Case, alert: Open, name: str, reason: str) -> None:
        """Resolve an alert because of its rule or device, not of its readings. The rule may be gone."""
        now = case.state.clock
        told = life.step(
            "resolved",
            alert,
            name=name,
            rule=next((rule for rule in self.rules.rules if rule.alert == name), None),
            rule_version=self._versions.get(name, "gone"),
            topic=self.rules.topic,
            store_id=case.state.store_id,
            device_id=case.device_id,
            device=case.device,
            happened_at=now,
            decided_at=now,
            ends_at=now,
            reason=reason,
        )
        case.told.append(told)

    def _adopt_rules(self, state: Store, told: list[dict[str, Any]]) -> None:
        """Go on with other rules: alerts whose rule is there stay open, the others end with that reason."""
        for device_id, device in sorted(state.devices.items()):
            case = _Case(state, device_id, device, told)
            plan = self._plan(state, device_id, device)
            thresholds = {item.rule.alert: item for item in plan.thresholds}
            for name, track in sorted(device.tracks.items()):
                threshold = thresholds.get(name)
                if threshold is not None:
                    track.since = [None] * len(threshold.levels)
                    _rebuild(track, threshold, device.recent, max(threshold.hole_ms, 3000 * device.interval_s))
                elif track.open is not None:
                    self._close(case, track.open, name, f"rule {name} does not judge this device any more")
                if threshold is None or (track.open is None and track.since[0] is None):
                    del device.tracks[name]
            for name in sorted(device.silent.keys() - {rule.alert for rule, _ in plan.absences}):
                self._close(case, device.silent[name], name, f"rule {name} does not judge this device any more")
                del device.silent[name]
        state.rules = self.version
        state.due = 0

    # ---- what concerns a device

    def _plan(self, state: Store, device_id: str, device: Device) -> _Plan:
        kind = (state.store_id, device.asset_id, device.asset_class, device.metric)
        plan = self._kinds.get(kind)
        if plan is None:
            plan = self._kinds[kind] = self._make_plan(*kind)
        self._plans[device_id] = plan
        return plan

    def _make_plan(self, store: str, asset: str, asset_class: str, metric: str) -> _Plan:
        mine = [rule for rule in self.rules.rules if rule.select.fits(store, asset, asset_class, metric)]
        thresholds = tuple(_threshold(rule, self._versions[rule.alert]) for rule in mine if rule.limit is not None)
        absences = tuple((rule, self._versions[rule.alert]) for rule in mine if rule.absent_for is not None)
        above = [item.levels[0].limit for item in thresholds if item.sign > 0]
        below = [-item.levels[0].limit for item in thresholds if item.sign < 0]
        return _Plan(
            thresholds,
            absences,
            max(below, default=float("-inf")),
            min(above, default=float("inf")),
            metric in STATE_METRICS,
        )


def _is_masked(case: _Case, rule: Rule, at: int) -> bool:
    """Whether a state of the same asset masks this event time."""
    for mask in rule.mask:
        for other in case.state.devices.values():
            on, off = other.on_since, other.off_at
            if other.asset_id != case.device.asset_id or other.metric != mask.state or on is None or at < on:
                continue
            if off is None:
                if at - on <= mask.longest_ms:
                    return True
            elif off - on <= mask.longest_ms and at - off <= mask.after_ms:
                return True
    return False


def _threshold(rule: Rule, version: str) -> _Threshold:
    sign = 1.0 if rule.above else -1.0
    masked = bool(rule.mask)
    levels = [_Level(rule.severity, rule.limit * sign, rule.for_ms, masked and rule.severity != "critical")]
    for level in rule.escalate:
        given = level.above if rule.above else level.below
        limit = rule.limit if given is None else given
        levels.append(_Level(level.severity, limit * sign, level.for_ms, masked and level.severity != "critical"))
    return _Threshold(rule, version, sign, tuple(levels), rule.clear * sign, rule.for_ms)


def _extend(track: Track, threshold: _Threshold, recent: list[Spot], hole_ms: int) -> None:
    """Carry the spans on by the newest reading."""
    newest = recent[-1]
    value = newest[1] * threshold.sign
    whole = len(recent) < 2 or newest[0] - recent[-2][0] <= hole_ms
    since = track.since
    for number, level in enumerate(threshold.levels):
        if value <= level.limit:
            since[number] = None
        elif since[number] is None or not whole:
            since[number] = newest
    first = since[0]
    if first is None:
        track.worst = None
    elif first is newest or track.worst is None or value > track.worst[1] * threshold.sign:
        track.worst = newest
    alert = track.open
    if alert is None:
        return
    if value > threshold.levels[0].limit and (alert.worst is None or value > alert.worst[1] * threshold.sign):
        alert.worst = newest
    if value >= threshold.clear:
        alert.cleared_at = None
    elif alert.cleared_at is None:
        alert.cleared_at = newest[0]


def _rebuild(track: Track, threshold: _Threshold, recent: list[Spot], hole_ms: int) -> None:
    """Make the spans anew from the remembered readings, since one has come out of order.

    A span that began before the oldest remembered reading keeps its beginning, as long as nothing remembered ends it.
    """
    sign = threshold.sign
    for number, level in enumerate(threshold.levels):
        track.since[number] = _span(
            recent, lambda value, limit=level.limit: value * sign > limit, track.since[number], hole_ms
        )
    first, worst = track.since[0], track.worst
    if first is None:
        track.worst = None
    else:
        inside = [spot for spot in recent if spot[0] >= first[0]]
        if worst is not None and worst[0] >= first[0]:
            inside.append(worst)
        track.worst = max(inside, key=lambda spot: (spot[1] * sign, -spot[0]))
    alert = track.open
    if alert is not None:
        if track.worst is not None and (alert.worst is None or track.worst[1] * sign > alert.worst[1] * sign):
            alert.worst = track.worst
        before = None if alert.cleared_at is None else (alert.cleared_at, 0.0, "")
        # A gap in time does not undo a way back: only a reading does.
        cleared = _span(recent, lambda value: value * sign < threshold.clear, before, _NEVER)
        alert.cleared_at = None if cleared is None else cleared[0]


def _span(recent: list[Spot], within, before: Spot | None, hole_ms: int) -> Spot | None:
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


def _follow_state(device: Device, in_order: bool) -> None:
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


def _at(spot: Spot) -> int:
    return spot[0]


def run(engine: Engine, log: Iterable[tuple[str, Logged]]) -> list[dict[str, Any]]:
    """Decide over a whole log of (store_id, event), as a backtest or a test does."""
    states: dict[str, Store] = {}
    told = []
    for store_id, logged in log:
        state = states.get(store_id) or engine.start(store_id)
        states[store_id], new = engine.advance(state, [logged])
        told += new
    return told
