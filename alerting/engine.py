"""The engine: one store's log in, alert events out.

Pure: no clock, no I/O. The same log gives the same alert events, byte for byte, however it is cut into batches and
wherever it is restarted, because everything is decided event by event, in log order:

- Before an event, every deadline that its arrival time has passed is settled: silences of devices, the ends of
  acknowledgements, masks and silences that people asked for. They run in arrival time.
- `for`, `keep_firing_for`, rates, sums and masks run in the device's own event time, so a device with a wrong clock
  disturbs nobody.
- A reading that comes late takes its place by event time among the device's newest `KEPT` readings; an older one
  decides nothing. A reading that is there already is a duplicate and is ignored.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from alerting import attention, limits
from alerting.attention import slug
from alerting.commands import obey
from alerting.events import AssetInfo, Event, Logged
from alerting.language import RANK, STATE_METRICS, Rule
from alerting.life import NOBODY, Limit, Said, Subject, alert_id, answer, said_by, step
from alerting.limits import NEVER, Judge, Level, judge_of
from alerting.rules import RuleSet
from alerting.state import Device, Ended, Open, Silence, Spot, Store, Track
from schemas.instants import to_ms

KEPT = 16
"""Readings a device is remembered by: how far out of order they may come, and how old a duplicate may be."""
HOLE_MS = 120_000
"""A log without any record for longer was not written: the ticker stood still. Nobody watched, so that time counts as
silence for no device. Tickers write every few seconds."""
AHEAD_MS = 120_000
"""A device whose event time lies further after its arrival has a clock that is ahead."""
REMEMBERED_MS = 3 * 86_400_000
"""How long an alert that is over can still be named in a command."""
CLOSING_MS = 30 * 86_400_000
"""How long an alert waits to be closed; then it is closed with that as its reason."""
MOST_ENDED = 200
"""Alerts of one store that are over and remembered; beyond it the oldest are forgotten early."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What concerns one device: its rules as they hold for it. calm_from..calm_to: values that breach nothing.
    idle: no rule and no mask is about it. each: some rule looks at every reading."""

    judges: tuple[Judge, ...]
    rates: tuple[Judge, ...]
    stuck: tuple[Rule, ...]
    bad: tuple[Rule, ...]
    absences: tuple[Rule, ...]
    groups: tuple[Rule, ...]
    calm_from: float
    calm_to: float
    is_state: bool
    each: bool
    idle: bool


class _Case(NamedTuple):
    """The device in question, its store, the event that came, and where its alert events go."""

    state: Store
    device_id: str
    device: Device
    told: list[dict[str, Any]]
    event_id: str = ""


class _Due(NamedTuple):
    """What falls due: when, on the log's clock; kind and key give those of one moment an order."""

    when: int
    kind: int
    key: tuple[str, str]


_GROUP, _SILENCE, _ALERT, _ENDED, _DEVICE = range(5)


class Engine:
    """Decides by one set of rules. Holds nothing about any store: that is the state."""

    def __init__(self, rules: RuleSet) -> None:
        self.rules = rules
        self.version = rules.version
        self.by_name = {rule.alert: rule for rule in rules.rules}
        self._versions = {rule.alert: rule.version for rule in rules.rules}
        self._groups = [rule for rule in rules.rules if rule.absent_for is not None and rule.absent_for.group]
        self._parents = {name for rule in rules.rules for name in rule.depends_on}
        self._by_device = any(r.select.device or any(o.where.device for o in r.overrides) for r in rules.rules)
        self._kinds: dict[tuple[str, ...], _Plan] = {}
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
                self._take_tick(state, event, told, notes)
                continue
            device = devices.get(event.device_id)
            if device is None:
                if not event.device_id or not event.asset_id or not event.metric:
                    notes["unusable"] += 1
                    continue
                device = devices[event.device_id] = Device(event.asset_id, event.asset_class, event.metric)
                device.zone_kind = event.zone_kind
            plan = plans.get(event.device_id) or self._plan(state, event.device_id, device)
            if plan.idle:
                continue
            if event.kind != "reading" or event.value is None:
                # The sensor speaks, but wrongly: not silent, and nothing to judge.
                if event.kind != "bad-reading":
                    notes["unusable"] += 1
                self._hear_badly(_Case(state, event.device_id, device, told, event.event_id), plan)
                continue
            try:
                at = to_ms(event.event_time)
            except ValueError:
                notes["unusable"] += 1
                self._hear_badly(_Case(state, event.device_id, device, told, event.event_id), plan)
                continue
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
            if plan.is_state:
                limits.follow_state(device, in_order)
            if calm and not plan.each and not (device.alerts or device.tracks or device.past or device.bad_since):
                if state.groups:
                    self._end_groups(_Case(state, event.device_id, device, told, event.event_id))
                continue
            self._judge_all(_Case(state, event.device_id, device, told, event.event_id), plan, spot, calm, in_order)
        return state, told

    def _judge_all(self, case: _Case, plan: _Plan, spot: Spot, calm: bool, in_order: bool) -> None:
        """A usable reading has come: hold the device against every rule about it."""
        state, device = case.state, case.device
        if state.groups:
            self._end_groups(case)
        if device.bad_since:
            device.bad_since, device.bad_id = 0, ""
        if device.alerts:
            self._end_silences(case)
        for judge in plan.judges:
            if not calm or judge.rule.alert in device.tracks or judge.rule.alert in device.past or device.alerts:
                if judge.kind == "cumulative":
                    self._judge_total(case, judge, in_order)
                else:
                    self._judge(case, judge, spot, in_order)
        for judge in plan.rates:
            self._judge_rate(case, judge, spot, in_order)
        if plan.stuck:
            self._judge_stuck(case, plan, in_order)

    # ---- limits

    def _judge(self, case: _Case, judge: Judge, spot: Spot, in_order: bool) -> None:
        """Hold the device's readings against a limit, after one was added to them."""
        device, name = case.device, judge.rule.alert
        track = device.tracks.get(name)
        if track is None:
            track = Track([None] * len(judge.levels), None, [None] * len(judge.levels))
        recent = device.recent
        hole_ms = max(judge.hole_ms, 3000 * device.interval_s)
        (limits.extend if in_order else limits.rebuild)(track, judge, recent, hole_ms)
        alert, now = device.alerts.get(name), recent[-1][0]
        if alert is not None:
            limits.way_back(alert, judge, recent, in_order)
            if not in_order and self._correct(case, judge, track, alert, spot):
                alert = None
        level = self._worst(case, judge, limits.lasted(track, judge, now), now)
        if alert is None:
            if level is not None:
                first = track.since[0]
                assert first is not None
                self._raise(case, judge, level, first, track.worst, first[0], level.limit * judge.sign)
        else:
            self._carry_on(case, judge, alert, level, now)
            if level is None or RANK[level.severity] < RANK[alert.severity]:
                self._ease(case, judge, track, alert, level, now)
            if alert.cleared_at is not None and now - alert.cleared_at >= judge.rule.keep_ms:
                self._end(case, name, now, alert.cleared_at)
        if name not in device.alerts and track.since[0] is None:
            device.tracks.pop(name, None)
        else:
            device.tracks[name] = track

    def _judge_total(self, case: _Case, judge: Judge, in_order: bool) -> None:
        """Time past the limit, added up over a window."""
        device, name = case.device, judge.rule.alert
        total = limits.add_up(device, judge, in_order)
        newest = device.recent[-1]
        now = newest[0]
        due = sorted(
            (level for level in judge.levels if total >= level.for_ms), key=lambda level: -RANK[level.severity]
        )
        level = self._worst(case, judge, due, now)
        alert = device.alerts.get(name)
        if alert is None:
            if level is not None:
                began = device.past[name][0][0]
                self._raise(case, judge, level, newest, newest, began, level.for_ms / 1000)
            return
        past = newest[1] * judge.sign > judge.levels[0].limit
        if past and (alert.worst is None or newest[1] * judge.sign > alert.worst[1] * judge.sign):
            alert.worst = newest
        self._carry_on(case, judge, alert, level, now)
        if total < judge.levels[0].for_ms:
            self._end(case, name, now, now)

    def _judge_rate(self, case: _Case, judge: Judge, spot: Spot, in_order: bool) -> None:
        """A change from the lowest (highest) reading of a window."""
        device, name = case.device, judge.rule.alert
        amount = limits.change(device, judge, spot, in_order)
        at, value, _ = device.recent[-1]
        due = sorted(
            (level for level in judge.levels if amount >= level.limit), key=lambda level: -RANK[level.severity]
        )
        alert = device.alerts.get(name)
        if not due and alert is None:
            return
        newest = (at, value, case.event_id)
        level = self._worst(case, judge, due, at)
        if alert is None:
            if level is not None:
                self._raise(case, judge, level, newest, newest, at, level.limit)
            return
        if alert.worst is None or value * judge.sign > alert.worst[1] * judge.sign:
            alert.worst = newest
        self._carry_on(case, judge, alert, level, at)
        if due:
            alert.cleared_at = None
        elif alert.cleared_at is None:
            alert.cleared_at = at
        if alert.cleared_at is not None and at - alert.cleared_at >= judge.rule.keep_ms:
            self._end(case, name, at, alert.cleared_at)

    def _judge_stuck(self, case: _Case, plan: _Plan, in_order: bool) -> None:
        """The same value, again and again."""
        device, recent = case.device, case.device.recent
        now, value, _ = recent[-1]
        device.same_since = limits.unchanged_since(device, max(3000 * device.interval_s, HOLE_MS), in_order)
        for rule in plan.stuck:
            name, longest = rule.alert, rule.stuck_for_ms
            lasting = now - device.same_since
            alert = device.alerts.get(name)
            if alert is not None:
                if lasting < longest:
                    self._end(case, name, now, device.same_since)
                else:
                    self._attend(case, rule, alert, now)
            elif lasting >= longest and not self._masked_until(case.state, rule, device.asset_id, now):
                first = (device.same_since, value, "")
                self._open(case, rule, rule.severity, first, None, device.same_since, longest / 1000, "stuck_for", now)

    def _worst(self, case: _Case, judge: Judge, due: list[Level], at: int) -> Level | None:
        """The worst of the levels that is not masked at this event time."""
        for level in due:
            if not level.maskable or not self._masked_until(case.state, judge.rule, case.device.asset_id, at):
                return level
        return None

    def _raise(
        self, case: _Case, judge: Judge, level: Level, first: Spot, worst: Spot | None, starts_at: int, limit: float
    ) -> None:
        at = case.device.recent[-1][0]
        self._open(case, judge.rule, level.severity, first, worst, starts_at, limit, judge.kind, at)

    def _carry_on(self, case: _Case, judge: Judge, alert: Open, level: Level | None, at: int) -> None:
        """An open alert: escalate it where it got worse, and tell where others' attention to it changed."""
        if level is not None and RANK[level.severity] > RANK[alert.severity]:
            alert.severity = alert.peak = level.severity
            alert.limit = level.for_ms / 1000 if judge.kind == "cumulative" else level.limit
            if judge.kind in ("above", "below"):
                alert.limit *= judge.sign
            # Who acknowledged a warning has not seen that it is worse now.
            alert.acked_until = 0
            self._stand(case.state, judge.rule, alert, self._subject(case), at)
            self._tell(case, "escalated", judge.rule, alert, judge.kind, at)
        else:
            self._attend(case, judge.rule, alert, at)

    def _ease(self, case: _Case, judge: Judge, track: Track, alert: Open, level: Level | None, at: int) -> None:
        """De-escalate an alert whose level has its own way back and is there."""
        if not limits.calmed(track, judge, alert.severity, at):
            return
        below = level or judge.levels[0]
        if RANK[below.severity] >= RANK[alert.severity]:
            return
        alert.severity, alert.limit = below.severity, below.limit * judge.sign
        self._stand(case.state, judge.rule, alert, self._subject(case), at)
        self._tell(case, "deescalated", judge.rule, alert, judge.kind, at)

    def _correct(self, case: _Case, judge: Judge, track: Track, alert: Open, spot: Spot) -> bool:
        """Tell where a reading that came late contradicts what was told of an alert. Returns whether it ended it."""
        at, value = spot[0], spot[1] * judge.sign
        first, limit = track.since[0], judge.levels[0].limit
        if value <= limit and alert.starts_at < at < alert.raised_at:
            later = [item for item in case.device.recent if at < item[0] <= alert.raised_at]
            began = next((item for item in later if item[1] * judge.sign > limit), None)
            if began is not None:
                alert.first, alert.starts_at = began, began[0]
            if alert.severity == judge.rule.severity and (
                began is None or alert.raised_at - began[0] < judge.levels[0].for_ms
            ):
                reason = "a reading that came late shows that the limit was not passed for so long"
                self._finish(case, judge.rule.alert, "corrected", alert.raised_at, alert.raised_at, reason)
                return True
            reason = "a reading that came late shows that it began later"
            self._tell(case, "corrected", judge.rule, alert, judge.kind, alert.raised_at, reason=reason)
        elif first is not None and first[0] < alert.starts_at and at < alert.starts_at:
            alert.first, alert.starts_at = first, first[0]
            reason = "a reading that came late shows that it began earlier"
            self._tell(case, "corrected", judge.rule, alert, judge.kind, alert.raised_at, reason=reason)
        return False

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
                track.calm = [None if since is None or since > now else since for since in track.calm]
            for alert in device.alerts.values():
                if alert.cleared_at is not None and alert.cleared_at > now:
                    alert.cleared_at = None
            device.edges, device.past = {}, {}
            device.same_since = at
            return None
        if place == 0 and len(recent) >= KEPT:
            return "too_late"
        recent.insert(place, spot)
        if len(recent) > KEPT:
            del recent[0]
        return None

    # ---- silence, and values that cannot be used

    def _hear_badly(self, case: _Case, plan: _Plan) -> None:
        """The sensor spoke, and said nothing that can be used."""
        state, device = case.state, case.device
        device.heard, device.heard_id = state.clock, case.event_id
        if state.groups:
            self._end_groups(case)
        if not device.bad_since:
            device.bad_since, device.bad_id = state.clock, case.event_id
        if device.alerts:
            for name in sorted(device.alerts):
                rule = self.by_name[name]
                if rule.absent_for is not None:
                    self._end(case, name, state.clock, state.clock)
        for rule in plan.bad:
            lasting = state.clock - device.bad_since
            if rule.alert in device.alerts or lasting < rule.bad_for_ms:
                continue
            if self._masked_until(state, rule, device.asset_id, state.clock):
                continue
            since, limit = device.bad_since, rule.bad_for_ms / 1000
            self._open(case, rule, rule.severity, None, None, since, limit, "bad_for", state.clock, device.bad_id)

    def _end_silences(self, case: _Case) -> None:
        """A usable reading has come: the device is neither silent nor speaks wrongly."""
        state = case.state
        for name in sorted(case.device.alerts):
            rule = self.by_name.get(name)
            if rule is not None and (rule.absent_for is not None or rule.bad_for_ms is not None):
                self._end(case, name, state.clock, state.clock)

    def _end_groups(self, case: _Case) -> None:
        """A device has been heard: no group that it belongs to is silent."""
        state = case.state
        plan = self._plans[case.device_id]
        for rule in plan.groups:
            key = f"{rule.alert}|{self._place(state, rule, case.device)}"
            if key in state.groups:
                self._end_group(state, key, case.told, state.clock)

    def _settle(self, state: Store, told: list[dict[str, Any]]) -> None:
        """Do all that is due at the clock, oldest first, and note when to look again."""
        while True:
            first = min(self._deadlines(state), default=None)
            if first is None or first.when > state.clock:
                state.due = NEVER if first is None else first.when
                return
            self._fall_due(state, first, told)

    def _deadlines(self, state: Store) -> Iterator[_Due]:
        """What can fall due as things stand."""
        for rule in self._groups:
            for place, members in self._members(state, rule).items():
                key = f"{rule.alert}|{place}"
                if members and key not in state.groups:
                    heard = max(state.devices[device_id].heard for device_id in members)
                    when = heard + self._group_after_ms(state, rule, members)
                    yield _Due(self._unmasked(state, rule, "", when), _GROUP, (rule.alert, place))
        for silence in state.silences.values():
            yield _Due(silence.edge, _SILENCE, (silence.silence_id, ""))
        for key, alert in state.groups.items():
            if edge := _edge(alert):
                yield _Due(edge, _ALERT, ("", key))
        for named, ended in state.ended.items():
            yield _Due(ended.forget_at, _ENDED, (named, ""))
        for device_id, device in state.devices.items():
            for name, alert in device.alerts.items():
                if edge := _edge(alert):
                    yield _Due(edge, _ALERT, (device_id, name))
            if not device.interval_s:
                continue
            plan = self._plans.get(device_id) or self._plan(state, device_id, device)
            for rule in plan.absences:
                if rule.alert in device.alerts:
                    continue
                heard = device.heard
                if rule.depends_on:
                    parent = self._parent(state, rule, device.asset_id)
                    if parent is not None and device.asset_id in parent.members:
                        continue
                    # What it hung on is over: it gets its own time to be heard again.
                    heard = max(heard, state.freed)
                when = heard + rule.absent_for.after_ms(device.interval_s)
                yield _Due(self._unmasked(state, rule, device.asset_id, when), _DEVICE, (device_id, rule.alert))

    def _fall_due(self, state: Store, due: _Due, told: list[dict[str, Any]]) -> None:
        one, other = due.key
        if due.kind == _GROUP:
            self._open_group(state, self.by_name[one], other, due.when, told)
        elif due.kind == _SILENCE:
            self._turn_silence(state, one, due.when, told)
        elif due.kind == _ENDED:
            self._forget(state, one, due.when, told)
        elif due.kind == _ALERT:
            self._attention_ends(state, one, other, due.when, told)
        else:
            device = state.devices[one]
            rule = self.by_name[other]
            # What breaches is the first report that was missed. It has no id; the one before it has.
            missed_at = device.heard + device.interval_s * 1000
            case = _Case(state, one, device, told)
            breach = f"{one} after {device.heard_id} at {device.heard}"
            limit = rule.absent_for.after_ms(device.interval_s) / 1000
            self._open(case, rule, rule.severity, None, None, missed_at, limit, "absent_for", due.when, breach)

    def _unmasked(self, state: Store, rule: Rule, asset_id: str, when: int) -> int:
        """The first time from `when` on at which the rule's masks let it be told."""
        for _ in range(len(rule.mask) * 8):
            until = self._masked_until(state, rule, asset_id, when) if rule.severity != "critical" else 0
            if not until:
                break
            when = until
        return when

    def _attention_ends(self, state: Store, device_id: str, key: str, when: int, told: list[dict[str, Any]]) -> None:
        """An acknowledgement or a mask of an open alert may be over."""
        if device_id:
            case = _Case(state, device_id, state.devices[device_id], told)
            self._attend(case, self.by_name[key], case.device.alerts[key], when, when)
        else:
            self._attend_group(state, key, when, told)

    # ---- several devices as one

    def _members(self, state: Store, rule: Rule) -> dict[str, list[str]]:
        """Devices by the place whose common silence the rule is about."""
        found: dict[str, list[str]] = {}
        for device_id, device in state.devices.items():
            if device.interval_s:
                plan = self._plans.get(device_id) or self._plan(state, device_id, device)
                if rule in plan.groups:
                    found.setdefault(self._place(state, rule, device), []).append(device_id)
        return found

    @staticmethod
    def _group_after_ms(state: Store, rule: Rule, members: list[str]) -> int:
        """How long none of the group is heard before it is told: reports count by its most frequent device."""
        return rule.absent_for.after_ms(min(state.devices[device_id].interval_s for device_id in members))

    def _place(self, state: Store, rule: Rule, device: Device) -> str:
        """What one alert of a group rule is about: the store, or an area of it."""
        if rule.absent_for.group == "store":
            return state.store_id
        return f"{state.store_id}:{slug(_area(state, device.asset_id))}"

    def _open_group(self, state: Store, rule: Rule, place: str, when: int, told: list[dict[str, Any]]) -> None:
        members = self._members(state, rule)[place]
        last = max(members, key=lambda device_id: (state.devices[device_id].heard, device_id))
        heard = state.devices[last].heard
        breach = f"{place} after {state.devices[last].heard_id} at {heard}"
        alert = Open(alert_id(rule.alert, place, breach), 0, rule.severity, heard, 0.0, None, None)
        alert.limit, alert.raised_at, alert.peak = (when - heard) / 1000, when, rule.severity
        alert.members = sorted({state.devices[device_id].asset_id for device_id in members})
        key = f"{rule.alert}|{place}"
        state.groups[key] = alert
        self._stand(state, rule, alert, self._group_subject(rule, place), when)
        self._tell_group(state, key, "raised", when, told)
        self._attend_dependants(state, when, told)

    def _end_group(
        self, state: Store, key: str, told: list[dict[str, Any]], when: int, reason: str | None = None
    ) -> None:
        name, _, place = key.partition("|")
        alert = state.groups[key]
        alert.status = "resolved"
        rule = self.by_name.get(name)
        subject = self._group_subject(rule, place)
        asks = rule is not None and _asks(rule, alert)
        self._tell_group(state, key, "resolved", when, told, ends_at=when, reason=reason, needs_closing=asks)
        del state.groups[key]
        self._remember(state, name, alert, subject, when, asks, told)
        state.freed, state.due = when, 0
        self._attend_dependants(state, when, told)

    def _attend_group(self, state: Store, key: str, when: int, told: list[dict[str, Any]], said: Said = NOBODY) -> None:
        name, _, place = key.partition("|")
        alert, rule = state.groups[key], self.by_name[name]
        was = alert.status
        _, by = self._stand(state, rule, alert, self._group_subject(rule, place), when)
        event = attention.event_between(was, alert.status)
        if event is not None:
            self._tell_group(state, key, event, when, told, until=alert.until, said=by if by is not NOBODY else said)

    def _group_subject(self, rule: Rule | None, place: str) -> Subject:
        kind = "area" if rule is not None and rule.absent_for.group == "area" else "store"
        return Subject(place, kind)

    def _tell_group(
        self, state: Store, key: str, event: str, when: int, told: list[dict[str, Any]], **more: Any
    ) -> None:
        name, _, place = key.partition("|")
        rule = self.by_name.get(name)
        told.append(
            step(
                event,
                state.groups[key],
                name=name,
                rule=rule,
                rule_version=self._versions.get(name, "gone"),
                topic=self.rules.topic,
                store_id=state.store_id,
                about=state.about,
                subject=self._group_subject(rule, place),
                happened_at=when,
                decided_at=when,
                limit=Limit("absent_for", "s"),
                **more,
            )
        )

    # ---- opening, attending to, and ending an alert

    def _open(
        self,
        case: _Case,
        rule: Rule,
        severity: str,
        first: Spot | None,
        worst: Spot | None,
        starts_at: int,
        limit: float,
        kind: str,
        at: int,
        breach: str = "",
    ) -> None:
        """Raise an alert, unless it is a member of one that is open.

        at: event time, or the deadline of what runs in arrival time. breach: names the first breach where it is no
        reading that breached a limit."""
        state, device = case.state, case.device
        if rule.depends_on:
            parent = self._parent(state, rule, device.asset_id)
            if parent is not None:
                self._join(state, rule, device.asset_id, case.told, at)
                return
        breach = breach or (first[2] if first is not None and first[2] else f"{case.device_id} at {starts_at}")
        named = alert_id(rule.alert, device.asset_id, breach)
        alert = Open(named, 0, severity, starts_at, limit, first, worst, None, at)
        alert.peak = severity
        device.alerts[rule.alert] = alert
        self._stand(state, rule, alert, self._subject(case), at)
        self._tell(case, "raised", rule, alert, kind, at)
        if rule.alert in self._parents:
            self._attend_dependants(state, state.clock, case.told)

    def _end(self, case: _Case, name: str, now: int, ends_at: int) -> None:
        """The alert's condition is over."""
        self._finish(case, name, "resolved", now, ends_at, None)

    def _finish(self, case: _Case, name: str, event: str, at: int, ends_at: int, reason: str | None) -> None:
        state, device = case.state, case.device
        alert, rule = device.alerts[name], self.by_name.get(name)
        asks = event == "resolved" and rule is not None and _asks(rule, alert)
        alert.status = "resolved"
        alert.until = alert.acked_until = 0
        subject = self._subject(case)
        self._tell(
            case, event, rule, alert, _kind(rule), at, name=name, ends_at=ends_at, reason=reason, needs_closing=asks
        )
        del device.alerts[name]
        self._remember(state, name, alert, subject, state.clock, asks, case.told)
        if rule is not None and rule.absent_for is not None:
            state.due = min(state.due, device.heard + rule.absent_for.after_ms(device.interval_s))
        if alert.members or name in self._parents:
            state.freed, state.due = state.clock, 0
            self._attend_dependants(state, state.clock, case.told)

    def _close_all(self, case: _Case, reason: str) -> None:
        """End every open alert of a device that will not be judged any more."""
        now = case.state.clock
        for name in sorted(case.device.alerts):
            self._finish(case, name, "resolved", now, now, reason)

    def _remember(
        self,
        state: Store,
        name: str,
        alert: Open,
        subject: Subject,
        when: int,
        asks: bool,
        told: list[dict[str, Any]],
    ) -> None:
        """Keep an alert that is over for a time."""
        forget_at = when + (CLOSING_MS if asks else REMEMBERED_MS)
        state.ended[alert.alert_id] = Ended(
            alert,
            name,
            subject.asset_id,
            subject.asset_class,
            subject.device_id,
            subject.metric,
            when,
            forget_at,
            asks,
        )
        state.due = min(state.due, forget_at)
        while len(state.ended) > MOST_ENDED:
            oldest = next((named for named, ended in state.ended.items() if not ended.asks), next(iter(state.ended)))
            self._forget(state, oldest, when, told)

    def _forget(self, state: Store, named: str, when: int, told: list[dict[str, Any]]) -> None:
        ended = state.ended[named]
        if ended.asks and not ended.closed:
            days = CLOSING_MS // 86_400_000
            self.close(state, ended, when, told, NOBODY, f"nobody told cause, action and goods within {days} days")
        del state.ended[named]

    def close(
        self,
        state: Store,
        ended: Ended,
        when: int,
        told: list[dict[str, Any]],
        said: Said,
        reason: str | None = None,
    ) -> None:
        """Tell that an alert that is over is closed."""
        ended.closed, ended.asks = True, False
        rule = self.by_name.get(ended.rule)
        told.append(
            step(
                "closed",
                ended.alert,
                name=ended.rule,
                rule=rule,
                rule_version=self._versions.get(ended.rule, "gone"),
                topic=self.rules.topic,
                store_id=state.store_id,
                about=state.about,
                subject=Subject(ended.asset_id, ended.asset_class, ended.device_id, ended.metric),
                happened_at=when,
                decided_at=when,
                ends_at=ended.ended_at,
                said=said,
                reason=reason,
            )
        )

    def _attend(
        self, case: _Case, rule: Rule, alert: Open, at: int, when: int | None = None, said: Said = NOBODY
    ) -> None:
        """Tell where the standing of an open alert has changed: silenced, masked, acknowledged, or none of them.

        at: event time, for masks; when: log clock where it is not now."""
        if not (case.state.silences or rule.mask or rule.depends_on or alert.acked_until or alert.status != "firing"):
            return
        was = alert.status
        reason, by = self._stand(case.state, rule, alert, self._subject(case), at)
        event = attention.event_between(was, alert.status)
        if event is not None:
            by = by if by is not NOBODY else said
            more = {"until": alert.until, "reason": reason, "said": by}
            self._tell(case, event, rule, alert, _kind(rule), at, decided_at=when, **more)

    def find(self, state: Store, named: str) -> tuple[str, str] | None:
        """Where an open alert is: (device_id, rule), or ("", key of its group); None where it is not open."""
        for key, alert in state.groups.items():
            if alert.alert_id == named:
                return "", key
        for device_id, device in state.devices.items():
            for name, alert in device.alerts.items():
                if alert.alert_id == named:
                    return device_id, name
        return None

    def acknowledge(self, state: Store, named: str, until: int, said: Said, told: list[dict[str, Any]]) -> bool | None:
        """Acknowledge an open alert until then, or with 0 take that back. False where it is not open, None where there
        was nothing to take back."""
        found = self.find(state, named)
        if found is None:
            return False
        device_id, key = found
        alert = state.devices[device_id].alerts[key] if device_id else state.groups[key]
        if not until and not alert.acked_until:
            return None
        alert.acked_until = until
        event = "acknowledged" if until else "ack_expired"
        reason = None if until else f"taken back by {said.actor}"
        if device_id:
            case, rule = _Case(state, device_id, state.devices[device_id], told), self.by_name[key]
            at = max(state.clock, case.device.recent[-1][0]) if case.device.recent else state.clock
            self._stand(state, rule, alert, self._subject(case), at)
            self._tell(case, event, rule, alert, _kind(rule), state.clock, until=until, said=said, reason=reason)
        else:
            name, _, place = key.partition("|")
            self._stand(state, self.by_name[name], alert, self._group_subject(self.by_name[name], place), state.clock)
            self._tell_group(state, key, event, state.clock, told, until=until, said=said, reason=reason)
        state.due = 0
        return True

    def attend_all(self, state: Store, when: int, told: list[dict[str, Any]]) -> None:
        """Look at every open alert again: what people or masks make of it may have changed."""
        for key in sorted(state.groups):
            self._attend_group(state, key, when, told)
        for device_id, device in sorted(state.devices.items()):
            for name, alert in sorted(device.alerts.items()):
                self._attend(_Case(state, device_id, device, told), self.by_name[name], alert, when, when)

    def _attend_dependants(self, state: Store, when: int, told: list[dict[str, Any]]) -> None:
        """An alert that others hang on has opened or ended."""
        for device_id, device in sorted(state.devices.items()):
            for name, alert in sorted(device.alerts.items()):
                rule = self.by_name.get(name)
                if rule is not None and rule.depends_on:
                    self._attend(_Case(state, device_id, device, told), rule, alert, when, when)
                    if alert.part_of:
                        self._join(state, rule, device.asset_id, told, when)

    def _stand(self, state: Store, rule: Rule, alert: Open, subject: Subject, at: int) -> tuple[str | None, Said]:
        """How an open alert stands now: sets its status, and until when. Returns (why, who said so)."""
        alert.until, alert.part_of = 0, ""
        for silence in state.silences.values():
            until = attention.holds_until(silence, state, rule.alert, subject, state.clock)
            if until:
                alert.status, alert.until = "silenced", until
                return ("maintenance" if silence.maintenance else None), said_by(silence)
        if rule.depends_on:
            parent = self._parent(state, rule, subject.asset_id)
            if parent is not None:
                alert.status, alert.part_of = "masked", parent.alert_id
                return "part of another alert", NOBODY
        if rule.mask and alert.severity != "critical":
            until = self._masked_until(state, rule, subject.asset_id, at)
            if until:
                alert.status, alert.until = "masked", until
                state.due = min(state.due, until)
                return None, NOBODY
        if alert.acked_until > state.clock:
            alert.status, alert.until = "acknowledged", alert.acked_until
            state.due = min(state.due, alert.until)
        else:
            alert.status, alert.acked_until = "firing", 0
        return None, NOBODY

    def _turn_silence(self, state: Store, silence_id: str, when: int, told: list[dict[str, Any]]) -> None:
        """A silence begins or ends to hold."""
        silence = state.silences[silence_id]
        if when >= silence.until:
            self.end_silence(state, silence, when, told)
            return
        silence.edge = attention.next_edge(silence, state, when)
        self.attend_all(state, when, told)

    def begin_silence(self, state: Store, silence: Silence, told: list[dict[str, Any]]) -> None:
        """A silence or maintenance window that was asked for, from now on."""
        silence.edge = attention.next_edge(silence, state, state.clock)
        state.silences[silence.silence_id] = silence
        state.due = min(state.due, silence.edge)
        told.append(
            answer(
                "silenced",
                silence.silence_id,
                topic=self.rules.topic,
                store_id=state.store_id,
                asset_id=silence.asset_id,
                decided_at=state.clock,
                said=said_by(silence),
                until=silence.until,
                reason="maintenance" if silence.maintenance else None,
            )
        )
        self.attend_all(state, state.clock, told)

    def end_silence(
        self, state: Store, silence: Silence, when: int, told: list[dict[str, Any]], reason: str | None = None
    ) -> None:
        """A silence is over for good."""
        del state.silences[silence.silence_id]
        silence.sequence += 1
        told.append(
            answer(
                "unsilenced",
                silence.silence_id,
                topic=self.rules.topic,
                store_id=state.store_id,
                asset_id=silence.asset_id,
                decided_at=when,
                said=said_by(silence),
                sequence=silence.sequence,
                began_at=silence.began_at,
                reason=reason,
            )
        )
        self.attend_all(state, when, told)

    # ---- what an alert hangs on

    def _parent(self, state: Store, rule: Rule, asset_id: str) -> Open | None:
        """The open alert that an alert of this rule on this asset is a member of."""
        line = attention.lineage(state, asset_id)
        area = f"{state.store_id}:{slug(_area(state, asset_id))}"
        for name in rule.depends_on:
            for place in (state.store_id, area):
                found = state.groups.get(f"{name}|{place}")
                if found is not None:
                    return found
            for device in state.devices.values():
                if device.alerts and device.asset_id in line and name in device.alerts:
                    return device.alerts[name]
        return None

    def _join(self, state: Store, rule: Rule, asset_id: str, told: list[dict[str, Any]], at: int) -> None:
        """List an asset in the alert that it is a member of, and tell it once."""
        parent = self._parent(state, rule, asset_id)
        if parent is None or asset_id in parent.members:
            return
        parent.members = sorted([*parent.members, asset_id])
        for key, alert in state.groups.items():
            if alert is parent:
                self._tell_group(state, key, "updated", state.clock, told)
                return
        for device_id, device in state.devices.items():
            for name, alert in device.alerts.items():
                if alert is parent:
                    case = _Case(state, device_id, device, told)
                    rule = self.by_name[name]
                    self._tell(case, "updated", rule, alert, _kind(rule), state.clock)
                    return

    def _masked_until(self, state: Store, rule: Rule, asset_id: str, at: int) -> int:
        """Until when the rule's masks keep a warning about this asset at this event time; 0 where none does."""
        return attention.masked_until(state, rule.mask, asset_id, at) if rule.mask else 0

    # ---- telling

    def _subject(self, case: _Case) -> Subject:
        device = case.device
        asset = case.state.assets.get(device.asset_id)
        area, name = (asset.area, asset.name) if asset is not None else ("", "")
        return Subject(device.asset_id, device.asset_class, case.device_id, device.metric, area, name)

    def _tell(
        self,
        case: _Case,
        event: str,
        rule: Rule | None,
        alert: Open,
        kind: str,
        at: int,
        *,
        name: str = "",
        decided_at: int | None = None,
        **more: Any,
    ) -> None:
        name = name or rule.alert
        recent = case.device.recent
        arrival = kind in ("absent_for", "bad_for") and event == "raised"
        case.told.append(
            step(
                event,
                alert,
                name=name,
                rule=rule,
                rule_version=self._versions.get(name, "gone"),
                topic=self.rules.topic,
                store_id=case.state.store_id,
                about=case.state.about,
                subject=self._subject(case),
                happened_at=at,
                decided_at=(at if arrival else case.state.clock) if decided_at is None else decided_at,
                limit=_limit(rule, kind),
                last=recent[-1] if recent else None,
                **more,
            )
        )

    def _skip(self, state: Store, hole_ms: int) -> None:
        """Nobody watched for so long: every device's silence begins so much later."""
        for device in state.devices.values():
            device.heard += hole_ms
            if device.bad_since:
                device.bad_since += hole_ms
        state.due = 0

    # ---- ticks: what there is, and what people want

    def _take_tick(self, state: Store, event: Event, told: list[dict[str, Any]], notes: Counter[str]) -> None:
        if event.store is not None:
            state.about, state.due = event.store, 0
        if event.assets is not None:
            self._take_assets(state, event.assets)
        if event.roster is not None:
            self._take_roster(state, event, told)
        if event.commands:
            for command in event.commands:
                obey(self, state, command, told, notes)
            self._settle(state, told)

    def _take_assets(self, state: Store, assets: list[AssetInfo]) -> None:
        state.assets = {asset.asset_id: asset for asset in assets}
        for device_id in state.devices:
            self._plans.pop(device_id, None)  # its area may be another one
        state.due = 0

    def _take_roster(self, state: Store, event: Event, told: list[dict[str, Any]]) -> None:
        """The devices there are from now on. One that is new counts as heard now; one that is gone is forgotten."""
        state.roster = True
        wanted = {device.device_id: device for device in event.roster or ()}
        for device_id in sorted(state.devices.keys() - wanted.keys()):
            if _is_derived(device_id) and self._stands(state, state.devices[device_id].asset_id):
                continue
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
        for key in sorted(state.groups):
            name, _, place = key.partition("|")
            if place not in self._members(state, self.by_name[name]):
                self._end_group(state, key, told, state.clock, "no device of it is left")
        state.due = 0
        self._settle(state, told)

    @staticmethod
    def _stands(state: Store, asset_id: str) -> bool:
        """Whether the store still has the asset; the store itself counts as one of its assets."""
        return not state.assets or asset_id == state.store_id or asset_id in state.assets

    def _adopt_rules(self, state: Store, told: list[dict[str, Any]]) -> None:
        """Go on with other rules: alerts whose rule is there stay open, the others end with that reason."""
        for key in sorted(state.groups):
            name, _, place = key.partition("|")
            rule = self.by_name.get(name)
            if rule is None or rule not in self._groups or place not in self._members(state, rule):
                self._end_group(state, key, told, state.clock, f"rule {name} does not judge this place any more")
        for device_id, device in sorted(state.devices.items()):
            case = _Case(state, device_id, device, told)
            plan = self._plan(state, device_id, device)
            judges = {item.rule.alert: item for item in plan.judges}
            rates = {item.rule.alert for item in plan.rates}
            mine = {rule.alert for rule in (*plan.stuck, *plan.bad, *plan.absences)} | judges.keys() | rates
            for name in sorted(device.alerts.keys() - mine):
                reason = f"rule {name} does not judge this device any more"
                self._finish(case, name, "resolved", state.clock, state.clock, reason)
            for name, track in sorted(device.tracks.items()):
                judge = judges.get(name)
                if judge is not None and judge.kind != "cumulative":
                    track.since = [None] * len(judge.levels)
                    track.calm = [None] * len(judge.levels)
                    limits.rebuild(track, judge, device.recent, max(judge.hole_ms, 3000 * device.interval_s))
                    if name in device.alerts:
                        limits.way_back(device.alerts[name], judge, device.recent, False)
                if (
                    judge is None
                    or judge.kind == "cumulative"
                    or (name not in device.alerts and track.since[0] is None)
                ):
                    del device.tracks[name]
            device.edges = {name: edges for name, edges in device.edges.items() if name in rates}
            device.past = {name: spans for name, spans in device.past.items() if name in judges}
            if not device.heard:
                device.heard = state.clock  # no rule was about it until now
        state.rules = self.version
        state.due = 0

    # ---- what concerns a device

    def _plan(self, state: Store, device_id: str, device: Device) -> _Plan:
        area = _area(state, device.asset_id)
        kind = (
            state.store_id,
            device.asset_id,
            device.asset_class,
            device.metric,
            area,
            device_id if self._by_device else "",
            device.zone_kind,
        )
        plan = self._kinds.get(kind)
        if plan is None:
            plan = self._kinds[kind] = self._make_plan(*kind)
        self._plans[device_id] = plan
        return plan

    def _make_plan(
        self, store: str, asset: str, asset_class: str, metric: str, area: str, device: str, zone: str
    ) -> _Plan:
        fits = [r for r in self.rules.rules if r.select.fits(store, asset, asset_class, metric, area, device, zone)]
        held = [rule.at(store, asset, asset_class, area, device) for rule in fits]
        mine = [rule for rule in held if rule is not None]
        all_judges = [judge_of(rule, self._versions[rule.alert]) for rule in mine if rule.limit is not None]
        judges = tuple(judge for judge in all_judges if judge.kind != "rate")
        rates = tuple(judge for judge in all_judges if judge.kind == "rate")
        above = [item.levels[0].limit for item in judges if item.sign > 0]
        below = [-item.levels[0].limit for item in judges if item.sign < 0]
        stuck = tuple(rule for rule in mine if rule.stuck_for_ms is not None)
        absent = [rule for rule in mine if rule.absent_for is not None]
        is_state = metric in STATE_METRICS
        return _Plan(
            judges=judges,
            rates=rates,
            stuck=stuck,
            bad=tuple(rule for rule in mine if rule.bad_for_ms is not None),
            absences=tuple(rule for rule in absent if not rule.absent_for.group),
            groups=tuple(self.by_name[rule.alert] for rule in absent if rule.absent_for.group),
            calm_from=max(below, default=float("-inf")),
            calm_to=min(above, default=float("inf")),
            is_state=is_state,
            each=bool(rates or stuck),
            idle=not mine and not is_state,
        )


def _limit(rule: Rule | None, kind: str) -> Limit | None:
    if rule is None or not kind:
        return None
    if kind in ("above", "below"):
        return Limit(kind, rule.unit)
    if kind == "rate":
        return Limit(kind, "K" if rule.unit == "Cel" else rule.unit)
    return Limit(kind, "s")


def _kind(rule: Rule | None) -> str:
    """What an alert's limit bounds, as the contract `alert` says it."""
    if rule is None:
        return ""
    if rule.rate is not None:
        return "rate"
    if rule.cumulative is not None:
        return "cumulative"
    if rule.limit is not None:
        return "above" if rule.above else "below"
    return rule.kind


def _asks(rule: Rule, alert: Open) -> bool:
    """Whether an alert that is over still has to be closed."""
    return rule.closing is not None and RANK[alert.peak or alert.severity] >= RANK[rule.closing.when]


def _edge(alert: Open) -> int:
    """When an acknowledgement or mask of an open alert ends by itself; 0 where nothing does."""
    return alert.until if alert.status in ("masked", "acknowledged") else 0


def _is_derived(device_id: str) -> bool:
    """Whether readings of it are derived (`<asset>/<metric>`): no roster lists those."""
    return "/" in device_id


def _area(state: Store, asset_id: str) -> str:
    asset = state.assets.get(asset_id)
    return asset.area if asset is not None else ""


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
