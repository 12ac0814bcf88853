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
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from alerting import limits
from alerting.alerts import Alerts, Case
from alerting.commands import obey
from alerting.events import AssetInfo, Event, Logged
from alerting.language import RANK, Rule
from alerting.limits import NEVER, Judge, Level
from alerting.plans import Plan, Plans
from alerting.rules import RuleSet
from alerting.state import Device, Open, Spot, Store, Track
from schemas.instants import to_ms

KEPT = 16
"""Readings a device is remembered by: how far out of order they may come, and how old a duplicate may be."""
HOLE_MS = 120_000
"""A log without any record for longer was not written: the ticker stood still. Nobody watched, so that time counts as
silence for no device. Tickers write every few seconds."""
AHEAD_MS = 120_000
"""A device whose event time lies further after its arrival has a clock that is ahead."""


Calm = tuple[str, int, float, int, str]
"""A reading about which no rule had anything to decide, so that it has only to be remembered: device_id, event time,
value, arrival time, event_id."""


@dataclass(slots=True)
class Changes:
    """What an advance changed of a store's state besides its clock and due: these devices, or whatever there is. Of
    the other devices that were heard of, calm has every reading, in order."""

    devices: set[str] = field(default_factory=set)
    calm: list[Calm] = field(default_factory=list)
    anything: bool = False


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
        self.plans = Plans(rules)
        self.alerts = Alerts(self.plans, rules.topic)

    def start(self, store_id: str) -> Store:
        """The state of a store of which nothing is known."""
        return Store(store_id, rules=self.version)

    def advance(
        self,
        state: Store,
        events: Iterable[Logged],
        notes: Counter[str] | None = None,
        changes: Changes | None = None,
    ) -> tuple[Store, list[dict[str, Any]]]:
        """Take the next events of a store's log.

        state: is used up; go on with the one returned.
        notes: what decided nothing is counted here: `duplicate`, `too_late`, `unusable`, `other_store`.
        changes: what must be written of the new state is added here.

        Returns the new state and the alert events, as the contract `alert` has them, in the order they fell due.
        """
        told: list[dict[str, Any]] = []
        notes = Counter() if notes is None else notes
        changes = Changes() if changes is None else changes
        if state.rules != self.version:
            self._adopt_rules(state, told)
            changes.anything = True
        devices, store_id, clock = state.devices, state.store_id, state.clock
        plans = self.plans.known(store_id)
        touched, calmly = changes.devices.add, changes.calm.append
        for arrived, event in events:
            if event.store_id != store_id:
                notes["other_store"] += 1
                continue
            if arrived > clock:
                if arrived - clock > HOLE_MS and clock:
                    self._skip(state, arrived - clock)
                    changes.anything = True
                clock = state.clock = arrived
                if arrived >= state.due and self._settle(state, told):
                    changes.anything = True
            if event.kind == "tick":
                if self._take_tick(state, event, told, notes):
                    changes.anything = True
                continue
            device = devices.get(event.device_id)
            if device is None:
                if not event.device_id or not event.asset_id or not event.metric:
                    notes["unusable"] += 1
                    continue
                device = devices[event.device_id] = Device(event.asset_id, event.asset_class, event.metric)
                device.zone_kind = event.zone_kind
                changes.anything = True
            plan = plans.get(event.device_id) or self.plans.of(state, event.device_id, device)
            if plan.idle:
                continue
            if event.kind != "reading" or event.value is None:
                touched(event.device_id)
                # The sensor speaks, but wrongly: not silent, and nothing to judge.
                if event.kind != "bad-reading":
                    notes["unusable"] += 1
                self._hear_badly(Case(state, event.device_id, device, told, event.event_id), plan)
                continue
            try:
                at = to_ms(event.event_time)
            except ValueError:
                touched(event.device_id)
                notes["unusable"] += 1
                self._hear_badly(Case(state, event.device_id, device, told, event.event_id), plan)
                continue
            value = event.value
            calm = plan.calm_from <= value <= plan.calm_to
            spot = (at, value, "" if calm else event.event_id)
            in_order = not device.recent or at > device.recent[-1][0]
            if not in_order:
                kept = self._take_late(state, device, spot)
                if kept is not None:
                    notes[kept] += 1
                    continue
            busy = self._remember(device, plan, spot, clock, event.event_id, in_order)
            if calm and in_order and not busy:
                if state.groups:
                    self._end_groups(Case(state, event.device_id, device, told, event.event_id))
                calmly((event.device_id, at, value, clock, event.event_id))
                continue
            touched(event.device_id)
            if calm and not busy:
                if state.groups:
                    self._end_groups(Case(state, event.device_id, device, told, event.event_id))
                continue
            case = Case(state, event.device_id, device, told, event.event_id, at)
            self._judge_all(case, plan, spot, calm, in_order)
        if told:
            # What is told of one device may concern others and the store.
            changes.anything = True
        return state, told

    def remember(self, state: Store, readings: Iterable[Calm]) -> None:
        """Take readings that `advance` found calm, without deciding anything again."""
        plans = self.plans.known(state.store_id)
        for device_id, at, value, heard, event_id in readings:
            device = state.devices[device_id]
            plan = plans.get(device_id) or self.plans.of(state, device_id, device)
            self._remember(device, plan, (at, value, ""), heard, event_id, True)

    def _remember(self, device: Device, plan: Plan, spot: Spot, heard: int, event_id: str, in_order: bool) -> bool:
        """Note a reading (one that came late stands in `recent` already); returns whether a rule may have something
        to decide though it breaches no limit."""
        if in_order:
            recent = device.recent
            recent.append(spot)
            if len(recent) > KEPT:
                del recent[0]
        device.heard, device.heard_id = heard, event_id
        if plan.is_state:
            limits.follow_state(device, in_order)
        busy = bool(device.alerts or device.tracks or device.past or device.bad_since)
        return plan.each and self._watch(device, plan, spot[0], spot[1], in_order) or busy

    @staticmethod
    def _watch(device: Device, plan: Plan, at: int, value: float, in_order: bool) -> bool:
        """Rules that look at every reading: note it, and return whether one of them may have something to decide."""
        due = False
        for judge in plan.rates:
            if limits.note_change(device, judge, at, value, in_order) >= judge.levels[0].limit:
                due = True
        if plan.stuck:
            recent = device.recent
            if in_order and len(recent) > 1 and recent[-2][1] != value:
                device.same_since = at
            else:
                hole_ms = max(3000 * device.interval_s, HOLE_MS)
                device.same_since = limits.unchanged_since(device, hole_ms, in_order)
                if recent[-1][0] - device.same_since >= plan.stuck[0].stuck_for_ms:
                    due = True
        return due

    def _judge_all(self, case: Case, plan: Plan, spot: Spot, calm: bool, in_order: bool) -> None:
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
            self._judge_rate(case, judge)
        if plan.stuck:
            self._judge_stuck(case, plan)

    def _judge(self, case: Case, judge: Judge, spot: Spot, in_order: bool) -> None:
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
                self.alerts.end(case, name, now, alert.cleared_at)
        if name not in device.alerts and track.since[0] is None:
            device.tracks.pop(name, None)
        else:
            device.tracks[name] = track

    def _judge_total(self, case: Case, judge: Judge, in_order: bool) -> None:
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
            self.alerts.end(case, name, now, now)

    def _judge_rate(self, case: Case, judge: Judge) -> None:
        """A change from the lowest (highest) reading of a window."""
        device, name = case.device, judge.rule.alert
        amount = limits.changed(device, judge)
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
            self.alerts.end(case, name, at, alert.cleared_at)

    def _judge_stuck(self, case: Case, plan: Plan) -> None:
        """The same value, again and again."""
        device, recent = case.device, case.device.recent
        now, value, _ = recent[-1]
        for rule in plan.stuck:
            name, longest = rule.alert, rule.stuck_for_ms
            lasting = now - device.same_since
            alert = device.alerts.get(name)
            if alert is not None:
                if lasting < longest:
                    self.alerts.end(case, name, now, device.same_since)
                else:
                    self.alerts.attend(case, rule, alert, now)
            elif lasting >= longest and not self.alerts.masked_until(case.state, rule, device.asset_id, now):
                first = (device.same_since, value, "")
                self.alerts.raise_alert(
                    case, rule, rule.severity, first, None, device.same_since, longest / 1000, "stuck_for", now
                )

    def _worst(self, case: Case, judge: Judge, due: list[Level], at: int) -> Level | None:
        """The worst of the levels that is not masked at this event time."""
        for level in due:
            if not level.maskable or not self.alerts.masked_until(case.state, judge.rule, case.device.asset_id, at):
                return level
        return None

    def _raise(
        self, case: Case, judge: Judge, level: Level, first: Spot, worst: Spot | None, starts_at: int, limit: float
    ) -> None:
        at = case.device.recent[-1][0]
        self.alerts.raise_alert(case, judge.rule, level.severity, first, worst, starts_at, limit, judge.kind, at)

    def _carry_on(self, case: Case, judge: Judge, alert: Open, level: Level | None, at: int) -> None:
        """An open alert: escalate it where it got worse, and tell where others' attention to it changed."""
        if level is not None and RANK[level.severity] > RANK[alert.severity]:
            alert.severity = alert.peak = level.severity
            alert.limit = level.for_ms / 1000 if judge.kind == "cumulative" else level.limit
            if judge.kind in ("above", "below"):
                alert.limit *= judge.sign
            # Who acknowledged a warning has not seen that it is worse now.
            alert.acked_until = 0
            self.alerts.stand(case.state, judge.rule, alert, self.alerts.subject(case), at)
            self.alerts.tell(case, "escalated", judge.rule, alert, judge.kind, at)
        else:
            self.alerts.attend(case, judge.rule, alert, at)

    def _ease(self, case: Case, judge: Judge, track: Track, alert: Open, level: Level | None, at: int) -> None:
        """De-escalate an alert whose level has its own way back and is there."""
        if not limits.calmed(track, judge, alert.severity, at):
            return
        below = level or judge.levels[0]
        if RANK[below.severity] >= RANK[alert.severity]:
            return
        alert.severity, alert.limit = below.severity, below.limit * judge.sign
        self.alerts.stand(case.state, judge.rule, alert, self.alerts.subject(case), at)
        self.alerts.tell(case, "deescalated", judge.rule, alert, judge.kind, at)

    def _correct(self, case: Case, judge: Judge, track: Track, alert: Open, spot: Spot) -> bool:
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
                self.alerts.finish(case, judge.rule.alert, "corrected", alert.raised_at, alert.raised_at, reason)
                return True
            reason = "a reading that came late shows that it began later"
            self.alerts.tell(case, "corrected", judge.rule, alert, judge.kind, alert.raised_at, reason=reason)
        elif first is not None and first[0] < alert.starts_at and at < alert.starts_at:
            alert.first, alert.starts_at = first, first[0]
            reason = "a reading that came late shows that it began earlier"
            self.alerts.tell(case, "corrected", judge.rule, alert, judge.kind, alert.raised_at, reason=reason)
        return False

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

    def _hear_badly(self, case: Case, plan: Plan) -> None:
        """The sensor spoke, and said nothing that can be used."""
        state, device = case.state, case.device
        device.heard, device.heard_id = state.clock, case.event_id
        if state.groups:
            self._end_groups(case)
        if not device.bad_since:
            device.bad_since, device.bad_id = state.clock, case.event_id
        if device.alerts:
            for name in sorted(device.alerts):
                rule = self.plans.by_name[name]
                if rule.absent_for is not None:
                    self.alerts.end(case, name, state.clock, state.clock)
        for rule in plan.bad:
            lasting = state.clock - device.bad_since
            if rule.alert in device.alerts or lasting < rule.bad_for_ms:
                continue
            if self.alerts.masked_until(state, rule, device.asset_id, state.clock):
                continue
            since, limit = device.bad_since, rule.bad_for_ms / 1000
            self.alerts.raise_alert(
                case, rule, rule.severity, None, None, since, limit, "bad_for", state.clock, device.bad_id
            )

    def _end_silences(self, case: Case) -> None:
        """A usable reading has come: the device is neither silent nor speaks wrongly."""
        state = case.state
        for name in sorted(case.device.alerts):
            rule = self.plans.by_name.get(name)
            if rule is not None and (rule.absent_for is not None or rule.bad_for_ms is not None):
                self.alerts.end(case, name, state.clock, state.clock)

    def _end_groups(self, case: Case) -> None:
        """A device has been heard: no group that it belongs to is silent. One that nobody expects belongs to none."""
        state = case.state
        if not case.device.interval_s:
            return
        plan = self.plans.known(state.store_id)[case.device_id]
        for rule in plan.groups:
            key = f"{rule.alert}|{self.plans.place(state, rule, case.device)}"
            if key in state.groups:
                self.alerts.end_group(state, key, case.told, state.clock)

    def _settle(self, state: Store, told: list[dict[str, Any]]) -> bool:
        """Do all that is due at the clock, oldest first, and note when to look again. Returns whether there was any."""
        done = False
        while True:
            first = min(self._deadlines(state), default=None)
            if first is None or first.when > state.clock:
                state.due = NEVER if first is None else first.when
                return done
            self._fall_due(state, first, told)
            done = True

    def _deadlines(self, state: Store) -> Iterator[_Due]:
        """What can fall due as things stand."""
        for rule in self.plans.group_rules:
            for place, members in self.plans.members(state, rule).items():
                key = f"{rule.alert}|{place}"
                if members and key not in state.groups:
                    heard = max(state.devices[device_id].heard for device_id in members)
                    when = heard + self.plans.group_after_ms(state, rule, members)
                    yield _Due(self._unmasked(state, rule, "", when), _GROUP, (rule.alert, place))
        for silence in state.silences.values():
            yield _Due(silence.edge, _SILENCE, (silence.silence_id, ""))
        for key, alert in state.groups.items():
            if edge := _edge(alert):
                yield _Due(edge, _ALERT, ("", key))
        for named, ended in state.ended.items():
            yield _Due(ended.forget_at, _ENDED, (named, ""))
        plans = self.plans.known(state.store_id)
        for device_id, device in state.devices.items():
            for name, alert in device.alerts.items():
                if edge := _edge(alert):
                    yield _Due(edge, _ALERT, (device_id, name))
            if not device.interval_s:
                continue
            plan = plans.get(device_id) or self.plans.of(state, device_id, device)
            for rule in plan.absences:
                if rule.alert in device.alerts:
                    continue
                heard = device.heard
                if rule.depends_on:
                    parent = self.alerts.parent(state, rule, device.asset_id)
                    if parent is not None and device.asset_id in parent.members:
                        continue
                    # What it hung on is over: it gets its own time to be heard again.
                    heard = max(heard, state.freed)
                when = heard + rule.absent_for.after_ms(device.interval_s)
                yield _Due(self._unmasked(state, rule, device.asset_id, when), _DEVICE, (device_id, rule.alert))

    def _fall_due(self, state: Store, due: _Due, told: list[dict[str, Any]]) -> None:
        one, other = due.key
        if due.kind == _GROUP:
            self.alerts.open_group(state, self.plans.by_name[one], other, due.when, told)
        elif due.kind == _SILENCE:
            self.alerts.turn_silence(state, one, due.when, told)
        elif due.kind == _ENDED:
            self.alerts.forget(state, one, due.when, told)
        elif due.kind == _ALERT:
            self._attention_ends(state, one, other, due.when, told)
        else:
            device = state.devices[one]
            rule = self.plans.by_name[other]
            # What breaches is the first report that was missed. It has no id; the one before it has.
            missed_at = device.heard + device.interval_s * 1000
            case = Case(state, one, device, told)
            breach = f"{one} after {device.heard_id} at {device.heard}"
            limit = rule.absent_for.after_ms(device.interval_s) / 1000
            self.alerts.raise_alert(
                case, rule, rule.severity, None, None, missed_at, limit, "absent_for", due.when, breach
            )

    def _unmasked(self, state: Store, rule: Rule, asset_id: str, when: int) -> int:
        """The first time from `when` on at which the rule's masks let it be told."""
        for _ in range(len(rule.mask) * 8):
            until = self.alerts.masked_until(state, rule, asset_id, when) if rule.severity != "critical" else 0
            if not until:
                break
            when = until
        return when

    def _attention_ends(self, state: Store, device_id: str, key: str, when: int, told: list[dict[str, Any]]) -> None:
        """An acknowledgement or a mask of an open alert may be over."""
        if device_id:
            case = Case(state, device_id, state.devices[device_id], told)
            self.alerts.attend(case, self.plans.by_name[key], case.device.alerts[key], when, when)
        else:
            self.alerts.attend_group(state, key, when, told)

    def _skip(self, state: Store, hole_ms: int) -> None:
        """Nobody watched for so long: every device's silence begins so much later."""
        for device in state.devices.values():
            device.heard += hole_ms
            if device.bad_since:
                device.bad_since += hole_ms
        state.due = 0

    def _take_tick(self, state: Store, event: Event, told: list[dict[str, Any]], notes: Counter[str]) -> bool:
        """Returns whether the tick said more than the time."""
        if event.store is not None:
            state.about, state.due = event.store, 0
        if event.assets is not None:
            self._take_assets(state, event.assets)
        if event.roster is not None:
            self._take_roster(state, event, told)
        if event.commands:
            for command in event.commands:
                obey(self.alerts, state, command, told, notes)
            self._settle(state, told)
        return not (event.store is event.assets is event.roster is event.commands is None)

    def _take_assets(self, state: Store, assets: list[AssetInfo]) -> None:
        state.assets = {asset.asset_id: asset for asset in assets}
        for device_id in state.devices:
            self.plans.forget(state.store_id, device_id)  # its area may be another one
        state.due = 0

    def _take_roster(self, state: Store, event: Event, told: list[dict[str, Any]]) -> None:
        """The devices there are from now on. One that is new counts as heard now; one that is gone is forgotten."""
        state.roster = True
        wanted = {device.device_id: device for device in event.roster or ()}
        for device_id in sorted(state.devices.keys() - wanted.keys()):
            if _is_derived(device_id) and self._stands(state, state.devices[device_id].asset_id):
                continue
            self.alerts.close_all(
                Case(state, device_id, state.devices[device_id], told), "the device has left the roster"
            )
            del state.devices[device_id]
            self.plans.forget(state.store_id, device_id)
        for device_id, expected in wanted.items():
            device = state.devices.get(device_id)
            if device is not None and (device.asset_id, device.asset_class, device.metric) != (
                expected.asset_id,
                expected.asset_class,
                expected.metric,
            ):
                moved = f"the device has moved to {expected.asset_id}"
                self.alerts.close_all(Case(state, device_id, device, told), moved)
                self.plans.forget(state.store_id, device_id)
                device = None
            if device is None:
                device = state.devices[device_id] = Device(
                    expected.asset_id, expected.asset_class, expected.metric, heard=state.clock
                )
            device.interval_s = expected.interval_s
        for key in sorted(state.groups):
            name, _, place = key.partition("|")
            if place not in self.plans.members(state, self.plans.by_name[name]):
                self.alerts.end_group(state, key, told, state.clock, "no device of it is left")
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
            rule = self.plans.by_name.get(name)
            if rule is None or rule not in self.plans.group_rules or place not in self.plans.members(state, rule):
                self.alerts.end_group(state, key, told, state.clock, f"rule {name} does not judge this place any more")
        for device_id, device in sorted(state.devices.items()):
            case = Case(state, device_id, device, told)
            plan = self.plans.of(state, device_id, device)
            judges = {item.rule.alert: item for item in plan.judges}
            rates = {item.rule.alert for item in plan.rates}
            mine = {rule.alert for rule in (*plan.stuck, *plan.bad, *plan.absences)} | judges.keys() | rates
            for name in sorted(device.alerts.keys() - mine):
                reason = f"rule {name} does not judge this device any more"
                self.alerts.finish(case, name, "resolved", state.clock, state.clock, reason)
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


def _edge(alert: Open) -> int:
    """When an acknowledgement or mask of an open alert ends by itself; 0 where nothing does."""
    return alert.until if alert.status in ("masked", "acknowledged") else 0


def _is_derived(device_id: str) -> bool:
    """Whether readings of it are derived (`<asset>/<metric>`): no roster lists those."""
    return "/" in device_id


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
