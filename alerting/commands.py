"""What people want of the alerts: commands, obeyed or refused with the reason. Never without an answer.

A command takes effect at its place in the store's log. One that has been seen is a duplicate and does nothing.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from alerting import hours
from alerting.events import Command
from alerting.life import Said, answer
from alerting.state import Silence, Store
from schemas.instants import to_ms, to_rfc3339

if TYPE_CHECKING:
    from alerting.alerts import Alerts

SEEN = 200
"""Ids of the newest commands of a store that are remembered, so that one that comes twice does nothing."""
MOST_SILENCES = 100
"""Silences and maintenance windows of one store at a time."""
LONGEST_MS = 400 * 86_400_000
"""Farthest end of a silence or maintenance: a year's plan and some days."""


class Refused(Exception):
    """A command that cannot be obeyed; the message says why, and what to do."""


def obey(alerts: Alerts, state: Store, command: Command, told: list[dict[str, Any]], notes: Counter[str]) -> None:
    """Do what a command wants, or answer why not. One for another job's topic is that job's."""
    if command.topic != alerts.topic:
        return
    if command.event_id in state.seen:
        notes["duplicate"] += 1
        return
    state.seen.append(command.event_id)
    del state.seen[:-SEEN]
    try:
        do = _DO.get(command.command)
        if do is None:
            raise Refused(f"command ({command.command}) is none of {', '.join(_DO)}")
        do(alerts, state, command, told)
    except Refused as why:
        told.append(
            answer(
                "rejected",
                command.event_id,
                topic=alerts.topic,
                store_id=state.store_id,
                asset_id=command.asset_id,
                decided_at=state.clock,
                said=_said(command),
                reason=str(why),
            )
        )


def _acknowledge(alerts: Alerts, state: Store, command: Command, told: list[dict[str, Any]]) -> None:
    until = _instant(command.until, "until")
    if until <= state.clock:
        raise Refused(f"until ({command.until}) is over: it is {to_rfc3339(state.clock)} in the store's log")
    if not alerts.acknowledge(state, command.alert_id, until, _said(command), told):
        raise Refused(_not_open(state, command.alert_id))


def _unacknowledge(alerts: Alerts, state: Store, command: Command, told: list[dict[str, Any]]) -> None:
    done = alerts.acknowledge(state, command.alert_id, 0, _said(command), told)
    if done is None:
        raise Refused(f"alert {command.alert_id} is not acknowledged")
    if not done:
        raise Refused(_not_open(state, command.alert_id))


def _silence(alerts: Alerts, state: Store, command: Command, told: list[dict[str, Any]]) -> None:
    maintenance = command.command == "maintenance"
    begins = max(_instant(command.from_, "from"), state.clock) if command.from_ and not command.rrule else state.clock
    if command.rrule and command.from_:
        begins = _instant(command.from_, "from")
    until = _instant(command.until, "until")
    if until <= max(begins, state.clock):
        raise Refused(f"until ({command.until}) is over before it begins: {to_rfc3339(max(begins, state.clock))}")
    if until - state.clock > LONGEST_MS:
        raise Refused(f"until ({command.until}) is more than {LONGEST_MS // 86_400_000} days ahead")
    if len(state.silences) >= MOST_SILENCES:
        raise Refused(f"{MOST_SILENCES} silences hold in {state.store_id} already; cancel some first")
    if command.rrule:
        if not maintenance:
            raise Refused("rrule goes with maintenance; a silence does not recur")
        if not command.lasts_s:
            raise Refused("rrule needs lasts_s: how long each window lasts")
        try:
            hours.check_recurrence(command.rrule)
        except ValueError as error:
            raise Refused(f"rrule ({command.rrule}): {error}") from None
    elif command.lasts_s:
        raise Refused("lasts_s goes with rrule; until says when this ends")
    _check_selector(alerts, state, command)
    silence = Silence(
        command.event_id,
        begins,
        until,
        maintenance,
        command.rule,
        command.asset_id,
        command.asset_class,
        command.area,
        command.device_id,
        command.rrule,
        command.lasts_s * 1000,
        command.actor,
        command.comment,
        began_at=state.clock,
    )
    alerts.begin_silence(state, silence, told)


def _cancel(alerts: Alerts, state: Store, command: Command, told: list[dict[str, Any]]) -> None:
    silence = state.silences.get(command.cancels)
    if silence is None:
        raise Refused(f"cancels ({command.cancels}) is no silence or maintenance of {state.store_id} that holds")
    alerts.end_silence(state, silence, state.clock, told, f"ended by {command.actor}")


def _close(alerts: Alerts, state: Store, command: Command, told: list[dict[str, Any]]) -> None:
    ended = state.ended.get(command.alert_id)
    if ended is None:
        if alerts.find(state, command.alert_id) is not None:
            raise Refused(f"alert {command.alert_id} is not over; acknowledge or silence it, and close it when it is")
        raise Refused(_not_open(state, command.alert_id))
    if ended.closed:
        raise Refused(f"alert {command.alert_id} is closed already")
    rule = alerts.plans.by_name.get(ended.rule)
    asked = rule.closing.asks if ended.asks and rule is not None and rule.closing is not None else ()
    given = command.resolution or {}
    missing = [word for word in asked if not given.get(word)]
    if missing:
        raise Refused(f"closing {ended.rule} asks for {', '.join(missing)} in resolution")
    alerts.close(state, ended, state.clock, told, _said(command))


_DO = {
    "acknowledge": _acknowledge,
    "unacknowledge": _unacknowledge,
    "silence": _silence,
    "maintenance": _silence,
    "cancel": _cancel,
    "close": _close,
}


def _check_selector(alerts: Alerts, state: Store, command: Command) -> None:
    """A silence that can fit nothing is a mistake."""
    if command.rule and command.rule not in alerts.plans.by_name:
        raise Refused(f"rule ({command.rule}) is none of {', '.join(alerts.plans.by_name)}")
    if command.device_id and command.device_id not in state.devices:
        raise Refused(f"device_id ({command.device_id}) is no device of {state.store_id}")
    known = {device.asset_id for device in state.devices.values()} | state.assets.keys() | {state.store_id}
    if command.asset_id and command.asset_id not in known:
        raise Refused(f"asset_id ({command.asset_id}) is no asset of {state.store_id}")
    areas = {asset.area for asset in state.assets.values()}
    if command.area and command.area not in areas:
        raise Refused(f"area ({command.area}) is no area of {state.store_id}; there are {', '.join(sorted(areas))}")


def _not_open(state: Store, alert_id: str) -> str:
    ended = state.ended.get(alert_id)
    if ended is None:
        return f"no alert {alert_id or '(none given)'} is open or lately over in {state.store_id}"
    return f"alert {alert_id} is over since {to_rfc3339(ended.ended_at)}"


def _instant(text: str, word: str) -> int:
    try:
        return to_ms(text)
    except ValueError:
        raise Refused(f"{word} ({text or 'none given'}) is no instant; write 2026-10-05T08:00:00.000Z") from None


def _said(command: Command) -> Said:
    return Said(command.actor, command.comment, command.event_id, command.resolution)
