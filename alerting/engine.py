"""Decides: a store's events in log order in, alert events out.

Pure: no clock, no I/O. Flink, a backtest and the tests call the same `advance`. The log is the only clock: before each
event, every deadline that the event's arrival time has passed is settled. Limits run in the device's own event time,
silence in arrival time. However the log is cut into batches, the alert events are the same, byte for byte.

State of a store is JSON: {"v": 1, "clock": …, "heard": …, "defrost": …, "open": …}. It is bounded by the store's
devices: a device has one entry in `heard`, and one in `open` for each rule while something is wrong.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec

from alerting.rules import RANK, Rule, RuleSet
from schemas.instants import to_ms, to_rfc3339

VERSION = 1

State = dict[str, Any]
AlertEvent = dict[str, Any]


class Expected(msgspec.Struct):
    """A device of a roster. interval_s: seconds between two of its reports."""

    device_id: str
    asset_id: str
    asset_class: str
    metric: str
    interval_s: int


class Event(msgspec.Struct):
    """What the engine needs of a `sensor-readings` event; other fields are skipped when decoding."""

    event_id: str
    event_time: str
    store_id: str
    kind: str
    device_id: str | None = None
    asset_id: str | None = None
    asset_class: str | None = None
    metric: str | None = None
    value: float | None = None
    unit: str | None = None
    roster: list[Expected] | None = None


decode = msgspec.json.Decoder(Event).decode
"""Event of JSON bytes or text. Raises msgspec.DecodeError (ValidationError for a breach of the types)."""


class Engine:
    """A rule set made ready. Holds no state of its own; use one for any number of stores."""

    def __init__(self, rules: RuleSet) -> None:
        self.rules = rules
        self._topic = rules.topic
        self._limits: dict[tuple[str, str], list[Rule]] = {}
        self._silences: dict[tuple[str, str], list[Rule]] = {}
        for rule in rules.rules:
            for asset_class in rule.select.asset_class:
                known = self._limits if rule.is_limit else self._silences
                known.setdefault((asset_class, rule.select.metric), []).append(rule)
        self._levels = {rule.alert: rule.levels for rule in rules.rules if rule.is_limit}
        self._rules = {rule.alert: rule for rule in rules.rules}
        self._versions = {rule.alert: rule.version for rule in rules.rules}

    def new_state(self, store_id: str) -> State:
        return {"v": VERSION, "store": store_id, "clock": 0, "due": None, "heard": {}, "defrost": {}, "open": {}}

    def advance(
        self, state: State | None, events: Iterable[tuple[int, Event]]
    ) -> tuple[State | None, list[AlertEvent]]:
        """Decide on one store's next events.

        state: what the last call returned, None at first; it is changed in place. events: (arrival in epoch ms, event)
        in log order. Returns the state and the alert events that became due, in order.
        """
        out: list[AlertEvent] = []
        for arrived, event in events:
            if state is None:
                state = self.new_state(event.store_id)
            now = state["clock"] = max(state["clock"], arrived)
            if state["due"] is not None and state["due"] <= now:
                self._settle(state, now, out)
            if event.kind == "tick":
                if event.roster is not None:
                    self._expect(state, event.roster, now, out)
            elif event.device_id is not None:
                self._hear(state, event, now, out)
        return state, out

    # ---- silence: arrival time

    def _expect(self, state: State, roster: list[Expected], now: int, out: list[AlertEvent]) -> None:
        """Take over the store's devices; a retired one leaves the state, and what was open about it is closed."""
        names = {device.device_id for device in roster}
        for key, open_alert in list(state["open"].items()):
            if open_alert["device"] in names:
                continue
            del state["open"][key]
            if open_alert["level"] >= 0:
                rule = self._rules[key.partition("|")[0]]
                told = self._tell(state, rule, open_alert, "closed", "resolved", now, now, ends=now)
                out.append(told | {"reason": f"{open_alert['device']} is no longer among the store's devices"})
        for device_id in [name for name in state["heard"] if name not in names]:
            gone = state["heard"].pop(device_id)
            if not any(h["asset"] == gone["asset"] for h in state["heard"].values()):
                state["defrost"].pop(gone["asset"], None)
        for device in roster:
            known = state["heard"].get(device.device_id)
            told = {"asset": device.asset_id, "class": device.asset_class, "metric": device.metric}
            told["interval"] = device.interval_s * 1000
            if known is None:
                told |= {"at": now, "time": None, "id": f"roster-{device.device_id}-{now}"}
                state["heard"][device.device_id] = told
            else:
                known |= told
        self._plan(state)

    def _patience(self, rule: Rule, heard: dict[str, Any]) -> int:
        return max(rule.absent_for or 0, rule.missed_reports * heard["interval"])

    def _plan(self, state: State) -> None:
        """Find the next deadline of silence."""
        dues = [
            heard["at"] + self._patience(rule, heard)
            for device_id, heard in state["heard"].items()
            for rule in self._silences.get((heard["class"], heard["metric"]), ())
            if f"{rule.alert}|{device_id}" not in state["open"]
        ]
        state["due"] = min(dues, default=None)

    def _settle(self, state: State, now: int, out: list[AlertEvent]) -> None:
        """Raise every silence whose deadline has passed, oldest first."""
        late = []
        for device_id, heard in state["heard"].items():
            for rule in self._silences.get((heard["class"], heard["metric"]), ()):
                due = heard["at"] + self._patience(rule, heard)
                if due <= now and f"{rule.alert}|{device_id}" not in state["open"]:
                    late.append((due, device_id, rule, heard))
        for due, device_id, rule, heard in sorted(late, key=lambda one: (one[0], one[1], one[2].alert)):
            starts = heard["at"]
            open_alert = {
                "device": device_id,
                "asset": heard["asset"],
                "class": heard["class"],
                "metric": heard["metric"],
                "starts": starts,
                "first": heard["id"],
                "id": _alert_id(rule, heard["asset"], heard["id"]),
                "seq": 0,
                "level": 0,
            }
            state["open"][f"{rule.alert}|{device_id}"] = open_alert
            out.append(self._tell(state, rule, open_alert, "raised", "firing", due, due))
        self._plan(state)

    # ---- readings: event time

    def _hear(self, state: State, event: Event, now: int, out: list[AlertEvent]) -> None:
        heard = state["heard"].get(event.device_id)
        if heard is None:  # no roster has named it yet, so its interval is unknown
            heard = state["heard"][event.device_id] = {
                "at": now,
                "time": None,
                "id": event.event_id,
                "asset": event.asset_id,
                "class": event.asset_class,
                "metric": event.metric,
                "interval": 0,
            }
            self._plan(state)
        for rule in self._silences.get((heard["class"], heard["metric"]), ()):
            open_alert = state["open"].pop(f"{rule.alert}|{event.device_id}", None)
            if open_alert:
                out.append(self._tell(state, rule, open_alert, "resolved", "resolved", now, now, ends=now))
                due = now + self._patience(rule, heard)
                state["due"] = due if state["due"] is None else min(state["due"], due)
        heard["at"] = now
        if event.kind != "reading" or event.value is None:
            heard["id"] = event.event_id
            return
        time = to_ms(event.event_time)
        if heard["time"] is not None and time <= heard["time"]:
            return  # older than what was decided on, or a copy of it
        heard["time"], heard["id"] = time, event.event_id
        if event.metric == "defrost":
            self._defrost(state, event.asset_id, event.value >= 0.5, time)
        for rule in self._limits.get((event.asset_class, event.metric), ()):
            self._judge(state, rule, event, time, now, out)

    def _defrost(self, state: State, asset_id: str, on: bool, time: int) -> None:
        """Remember an asset's last defrost: [begun, ended], ended null while it lasts."""
        last = state["defrost"].get(asset_id)
        if on and (last is None or last[1] is not None):
            state["defrost"][asset_id] = [time, None]
        elif not on and last is not None and last[1] is None:
            last[1] = time

    def _masked(self, state: State, rule: Rule, asset_id: str, time: int) -> bool:
        """Whether warnings of the rule wait, for a defrost now or not long ago."""
        if rule.mask is None or (last := state["defrost"].get(asset_id)) is None:
            return False
        begun, ended = last
        mask = rule.mask.defrost
        if (time if ended is None else ended) - begun > mask.at_most:
            return False
        return ended is None or time < ended + mask.until_after

    def _judge(self, state: State, rule: Rule, event: Event, time: int, now: int, out: list[AlertEvent]) -> None:
        """Hold one reading, newer than all before it, against one limit."""
        key = f"{rule.alert}|{event.device_id}"
        track = state["open"].get(key)
        levels = self._levels[rule.alert]
        value, sign = event.value, 1 if rule.above else -1
        if track is None:
            if (value - levels[0].limit) * sign <= 0:
                return
            track = state["open"][key] = {
                "device": event.device_id,
                "asset": event.asset_id,
                "class": event.asset_class,
                "metric": event.metric,
                "unit": event.unit,
                "since": [None] * len(levels),
                "level": -1,
                "seq": 0,
            }
        point = {"id": event.event_id, "time": time, "value": value}
        track["last"] = point
        if track["level"] < 0 and (value - levels[0].limit) * sign <= 0:
            del state["open"][key]  # over before it was told
            return
        for number, level in enumerate(levels):
            if (value - level.limit) * sign <= 0:
                track["since"][number] = None
            elif track["since"][number] is None:
                track["since"][number] = time
        if "first" not in track:
            track |= {"first": point, "starts": time, "worst": point}
            track["id"] = _alert_id(rule, event.asset_id, event.event_id)
        if (value - track["worst"]["value"]) * sign > 0:
            track["worst"] = point
        self._raise(state, rule, track, time, now, out)
        if track["level"] >= 0:
            self._clear(state, rule, key, track, time, now, out)

    def _raise(self, state: State, rule: Rule, track: dict, time: int, now: int, out: list[AlertEvent]) -> None:
        """Raise or escalate to the worst level whose delay has passed."""
        levels = self._levels[rule.alert]
        masked = self._masked(state, rule, track["asset"], time)
        for number in range(len(levels) - 1, track["level"], -1):
            level, since = levels[number], track["since"][number]
            if since is None or time - since < level.for_ms:
                continue
            if masked and RANK[level.severity] < RANK["critical"]:
                continue
            step = "raised" if track["level"] < 0 else "escalated"
            track["level"] = number
            out.append(self._tell(state, rule, track, step, "firing", time, now))
            return

    def _clear(
        self, state: State, rule: Rule, key: str, track: dict, time: int, now: int, out: list[AlertEvent]
    ) -> None:
        """Resolve once the value has been past the clearing limit for long enough."""
        cleared = track["last"]["value"] < rule.clear if rule.above else track["last"]["value"] > rule.clear
        if not cleared:
            track.pop("clear", None)
            return
        ends = track.setdefault("clear", time)
        if time - ends >= rule.keep_firing_for:
            del state["open"][key]
            out.append(self._tell(state, rule, track, "resolved", "resolved", time, now, ends=ends))

    # ---- telling

    def _tell(
        self,
        state: State,
        rule: Rule,
        track: dict,
        step: str,
        status: str,
        time: int,
        now: int,
        ends: int | None = None,
    ) -> AlertEvent:
        """One alert event, as the contract `alert` has it. time: event time; now: arrival time it became due."""
        track["seq"] += 1
        if rule.is_limit:
            level = self._levels[rule.alert][track["level"]]
            severity = level.severity
            limit = {"value": level.limit, "unit": track["unit"], "kind": "above" if rule.above else "below"}
            evidence = {name: _point(track[name]) for name in ("first", "worst", "last")}
        else:
            severity = rule.severity
            heard = state["heard"].get(track["device"])
            seconds = (self._patience(rule, heard) if heard else rule.absent_for or 0) / 1000
            limit = {"value": seconds, "unit": "s", "kind": "absent_for"}
            evidence = {"last": {"event_id": track["first"], "event_time": to_rfc3339(track["starts"])}}
        event = {
            "event_id": f"{track['id']}-{track['seq']}",
            "event_time": to_rfc3339(time),
            "store_id": state["store"],
            "schema_version": 1,
            "alert_id": track["id"],
            "sequence": track["seq"],
            "rule": rule.alert,
            "rule_version": self._versions[rule.alert],
            "event": step,
            "status": status,
            "severity": severity,
            "topic": self._topic,
            "asset_id": track["asset"],
            "asset_class": track["class"],
            "device_id": track["device"],
            "metric": track["metric"],
            "starts_at": to_rfc3339(track["starts"]),
        }
        if ends is not None:
            event["ends_at"] = to_rfc3339(ends)
        event |= {"decided_at": to_rfc3339(now), "limit": limit, "evidence": evidence}
        event["labels"] = {"alertname": rule.alert, "severity": severity, "store_id": state["store"]} | rule.labels
        event["annotations"] = self._texts(rule, event)
        return event

    def _texts(self, rule: Rule, event: AlertEvent) -> dict[str, str]:
        said = {
            name: event[name] for name in ("store_id", "asset_id", "asset_class", "device_id", "metric", "starts_at")
        }
        said |= {"limit": f"{event['limit']['value']:g}", "unit": event["limit"]["unit"]}
        for name, point in (("value", "last"), ("worst", "worst")):
            value = event["evidence"].get(point, {}).get("value")
            said[name] = "" if value is None else f"{value:g}"
        return {name: text.format_map(said) for name, text in rule.annotations.items()}


def _point(point: dict[str, Any]) -> dict[str, Any]:
    return {"event_id": point["id"], "event_time": to_rfc3339(point["time"]), "value": point["value"]}


def _alert_id(rule: Rule, asset_id: str, first_event_id: str) -> str:
    return hashlib.sha256(f"{rule.alert}|{asset_id}|{first_event_id}".encode()).hexdigest()[:24]
