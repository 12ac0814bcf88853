"""Alerts in a store's state: opened, attended to and ended, each step told.

Pure, like the engine that decides when. An alert is kept with its device, or with its store where it is about several.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from alerting import attention
from alerting.attention import slug
from alerting.language import RANK, Rule
from alerting.life import NOBODY, Limit, Said, Subject, alert_id, answer, said_by, step
from alerting.plans import Plans, area_of
from alerting.state import Device, Ended, Open, Silence, Spot, Store

REMEMBERED_MS = 3 * 86_400_000
"""How long an alert that is over can still be named in a command."""
CLOSING_MS = 30 * 86_400_000
"""How long an alert waits to be closed; then it is closed with that as its reason."""
MOST_ENDED = 200
"""Alerts of one store that are over and remembered; beyond it the oldest are forgotten early."""


class Case(NamedTuple):
    """The device in question, its store, the event that came, and where its alert events go. measured: event time of
    the reading that came, which may not be the newest; 0 where none did."""

    state: Store
    device_id: str
    device: Device
    told: list[dict[str, Any]]
    event_id: str = ""
    measured: int = 0


class Alerts:
    """Keeps the alerts of any store by one set of rules. Holds nothing about any store: that is the state."""

    def __init__(self, plans: Plans, topic: str) -> None:
        self.plans = plans
        self.topic = topic

    def raise_alert(
        self,
        case: Case,
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
            parent = self.parent(state, rule, device.asset_id)
            if parent is not None:
                self.join(state, rule, device.asset_id, case.told, at)
                return
        breach = breach or (first[2] if first is not None and first[2] else f"{case.device_id} at {starts_at}")
        named = alert_id(rule.alert, device.asset_id, breach)
        while named in state.ended:
            # It is over, and stays so: a device whose clock was set right may come by the same breach again.
            breach += " again"
            named = alert_id(rule.alert, device.asset_id, breach)
        alert = Open(named, 0, severity, starts_at, limit, first, worst, None, at)
        alert.peak = severity
        device.alerts[rule.alert] = alert
        self.stand(state, rule, alert, self.subject(case), at)
        self.tell(case, "raised", rule, alert, kind, at)
        if rule.alert in self.plans.parents:
            self.attend_dependants(state, state.clock, case.told)

    def end(self, case: Case, name: str, now: int, ends_at: int) -> None:
        """The alert's condition is over."""
        self.finish(case, name, "resolved", now, ends_at, None)

    def finish(self, case: Case, name: str, event: str, at: int, ends_at: int, reason: str | None) -> None:
        state, device = case.state, case.device
        alert, rule = device.alerts[name], self.plans.by_name.get(name)
        asks = event == "resolved" and rule is not None and _asks(rule, alert)
        alert.status = "resolved"
        alert.until = alert.acked_until = 0
        subject = self.subject(case)
        self.tell(
            case, event, rule, alert, kind_of(rule), at, name=name, ends_at=ends_at, reason=reason, needs_closing=asks
        )
        del device.alerts[name]
        self.remember(state, name, alert, subject, state.clock, asks, case.told)
        if rule is not None and rule.absent_for is not None:
            state.due = min(state.due, device.heard + rule.absent_for.after_ms(device.interval_s))
        if alert.members or name in self.plans.parents:
            state.freed, state.due = state.clock, 0
            self.attend_dependants(state, state.clock, case.told)

    def close_all(self, case: Case, reason: str) -> None:
        """End every open alert of a device that will not be judged any more."""
        now = case.state.clock
        for name in sorted(case.device.alerts):
            self.finish(case, name, "resolved", now, now, reason)

    def remember(
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
            self.forget(state, oldest, when, told)

    def forget(self, state: Store, named: str, when: int, told: list[dict[str, Any]]) -> None:
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
        rule = self.plans.by_name.get(ended.rule)
        told.append(
            step(
                "closed",
                ended.alert,
                name=ended.rule,
                rule=rule,
                rule_version=self.plans.versions.get(ended.rule, "gone"),
                topic=self.topic,
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

    def open_group(self, state: Store, rule: Rule, place: str, when: int, told: list[dict[str, Any]]) -> None:
        members = self.plans.members(state, rule)[place]
        last = max(members, key=lambda device_id: (state.devices[device_id].heard, device_id))
        heard = state.devices[last].heard
        breach = f"{place} after {state.devices[last].heard_id} at {heard}"
        alert = Open(alert_id(rule.alert, place, breach), 0, rule.severity, heard, 0.0, None, None)
        alert.limit, alert.raised_at, alert.peak = (when - heard) / 1000, when, rule.severity
        alert.members = sorted({state.devices[device_id].asset_id for device_id in members})
        key = f"{rule.alert}|{place}"
        state.groups[key] = alert
        self.stand(state, rule, alert, self.group_subject(rule, place), when)
        self.tell_group(state, key, "raised", when, told)
        self.attend_dependants(state, when, told)

    def end_group(
        self, state: Store, key: str, told: list[dict[str, Any]], when: int, reason: str | None = None
    ) -> None:
        name, _, place = key.partition("|")
        alert = state.groups[key]
        alert.status = "resolved"
        rule = self.plans.by_name.get(name)
        subject = self.group_subject(rule, place)
        asks = rule is not None and _asks(rule, alert)
        self.tell_group(state, key, "resolved", when, told, ends_at=when, reason=reason, needs_closing=asks)
        del state.groups[key]
        self.remember(state, name, alert, subject, when, asks, told)
        state.freed, state.due = when, 0
        self.attend_dependants(state, when, told)

    def attend_group(self, state: Store, key: str, when: int, told: list[dict[str, Any]], said: Said = NOBODY) -> None:
        name, _, place = key.partition("|")
        alert, rule = state.groups[key], self.plans.by_name[name]
        was = alert.status
        _, by = self.stand(state, rule, alert, self.group_subject(rule, place), when)
        event = attention.event_between(was, alert.status)
        if event is not None:
            self.tell_group(state, key, event, when, told, until=alert.until, said=by if by is not NOBODY else said)

    def group_subject(self, rule: Rule | None, place: str) -> Subject:
        kind = "area" if rule is not None and rule.absent_for.group == "area" else "store"
        return Subject(place, kind)

    def tell_group(
        self, state: Store, key: str, event: str, when: int, told: list[dict[str, Any]], **more: Any
    ) -> None:
        name, _, place = key.partition("|")
        rule = self.plans.by_name.get(name)
        told.append(
            step(
                event,
                state.groups[key],
                name=name,
                rule=rule,
                rule_version=self.plans.versions.get(name, "gone"),
                topic=self.topic,
                store_id=state.store_id,
                about=state.about,
                subject=self.group_subject(rule, place),
                happened_at=when,
                decided_at=when,
                limit=Limit("absent_for", "s"),
                **more,
            )
        )

    def attend(
        self, case: Case, rule: Rule, alert: Open, at: int, when: int | None = None, said: Said = NOBODY
    ) -> None:
        """Tell where the standing of an open alert has changed: silenced, masked, acknowledged, or none of them.

        at: event time, for masks; when: log clock where it is not now."""
        if not (case.state.silences or rule.mask or rule.depends_on or alert.acked_until or alert.status != "firing"):
            return
        was = alert.status
        reason, by = self.stand(case.state, rule, alert, self.subject(case), at)
        event = attention.event_between(was, alert.status)
        if event is not None:
            by = by if by is not NOBODY else said
            more = {"until": alert.until, "reason": reason, "said": by}
            self.tell(case, event, rule, alert, kind_of(rule), at, decided_at=when, **more)

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
            case, rule = Case(state, device_id, state.devices[device_id], told), self.plans.by_name[key]
            at = max(state.clock, case.device.recent[-1][0]) if case.device.recent else state.clock
            self.stand(state, rule, alert, self.subject(case), at)
            self.tell(case, event, rule, alert, kind_of(rule), state.clock, until=until, said=said, reason=reason)
        else:
            name, _, place = key.partition("|")
            self.stand(
                state, self.plans.by_name[name], alert, self.group_subject(self.plans.by_name[name], place), state.clock
            )
            self.tell_group(state, key, event, state.clock, told, until=until, said=said, reason=reason)
        state.due = 0
        return True

    def attend_all(self, state: Store, when: int, told: list[dict[str, Any]]) -> None:
        """Look at every open alert again: what people or masks make of it may have changed."""
        for key in sorted(state.groups):
            self.attend_group(state, key, when, told)
        for device_id, device in sorted(state.devices.items()):
            for name, alert in sorted(device.alerts.items()):
                self.attend(Case(state, device_id, device, told), self.plans.by_name[name], alert, when, when)

    def attend_dependants(self, state: Store, when: int, told: list[dict[str, Any]]) -> None:
        """An alert that others hang on has opened or ended."""
        for device_id, device in sorted(state.devices.items()):
            for name, alert in sorted(device.alerts.items()):
                rule = self.plans.by_name.get(name)
                if rule is not None and rule.depends_on:
                    self.attend(Case(state, device_id, device, told), rule, alert, when, when)
                    if alert.part_of:
                        self.join(state, rule, device.asset_id, told, when)

    def stand(self, state: Store, rule: Rule, alert: Open, subject: Subject, at: int) -> tuple[str | None, Said]:
        """How an open alert stands now: sets its status, and until when. Returns (why, who said so)."""
        alert.until, alert.part_of = 0, ""
        for silence in state.silences.values():
            until = attention.holds_until(silence, state, rule.alert, subject, state.clock)
            if until:
                alert.status, alert.until = "silenced", until
                return ("maintenance" if silence.maintenance else None), said_by(silence)
        if rule.depends_on:
            parent = self.parent(state, rule, subject.asset_id)
            if parent is not None:
                alert.status, alert.part_of = "masked", parent.alert_id
                return "part of another alert", NOBODY
        if rule.mask and alert.severity != "critical":
            until = self.masked_until(state, rule, subject.asset_id, at)
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

    def turn_silence(self, state: Store, silence_id: str, when: int, told: list[dict[str, Any]]) -> None:
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
                topic=self.topic,
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
                topic=self.topic,
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

    def parent(self, state: Store, rule: Rule, asset_id: str) -> Open | None:
        """The open alert that an alert of this rule on this asset is a member of."""
        line = attention.lineage(state, asset_id)
        area = f"{state.store_id}:{slug(area_of(state, asset_id))}"
        for name in rule.depends_on:
            for place in (state.store_id, area):
                found = state.groups.get(f"{name}|{place}")
                if found is not None:
                    return found
            for device in state.devices.values():
                if device.alerts and device.asset_id in line and name in device.alerts:
                    return device.alerts[name]
        return None

    def join(self, state: Store, rule: Rule, asset_id: str, told: list[dict[str, Any]], at: int) -> None:
        """List an asset in the alert that it is a member of, and tell it once."""
        parent = self.parent(state, rule, asset_id)
        if parent is None or asset_id in parent.members:
            return
        parent.members = sorted([*parent.members, asset_id])
        for key, alert in state.groups.items():
            if alert is parent:
                self.tell_group(state, key, "updated", state.clock, told)
                return
        for device_id, device in state.devices.items():
            for name, alert in device.alerts.items():
                if alert is parent:
                    case = Case(state, device_id, device, told)
                    rule = self.plans.by_name[name]
                    self.tell(case, "updated", rule, alert, kind_of(rule), state.clock)
                    return

    def masked_until(self, state: Store, rule: Rule, asset_id: str, at: int) -> int:
        """Until when the rule's masks keep a warning about this asset at this event time; 0 where none does."""
        return attention.masked_until(state, rule.mask, asset_id, at) if rule.mask else 0

    def subject(self, case: Case) -> Subject:
        device = case.device
        asset = case.state.assets.get(device.asset_id)
        area, name = (asset.area, asset.name) if asset is not None else ("", "")
        return Subject(device.asset_id, device.asset_class, case.device_id, device.metric, area, name)

    def tell(
        self,
        case: Case,
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
                rule_version=self.plans.versions.get(name, "gone"),
                topic=self.topic,
                store_id=case.state.store_id,
                about=case.state.about,
                subject=self.subject(case),
                happened_at=at,
                measured_at=case.measured or at,
                decided_at=(at if arrival else case.state.clock) if decided_at is None else decided_at,
                limit=_limit(rule, kind),
                last=recent[-1] if recent else None,
                **more,
            )
        )


def _limit(rule: Rule | None, kind: str) -> Limit | None:
    if rule is None or not kind:
        return None
    if kind in ("above", "below"):
        return Limit(kind, rule.unit)
    if kind == "rate":
        return Limit(kind, "K" if rule.unit == "Cel" else rule.unit)
    return Limit(kind, "s")


def kind_of(rule: Rule | None) -> str:
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
