"""The shipped cold-chain rules as somebody would write them by hand for a stream library: one function, one store's
state behind get and set, plain dictionaries.

It computes every rule of chain/rules/cold_chain.yaml: limits with `for`, the way back, escalation and masks; the sum
over 24 h; the rise within 10 min; values that stay the same, that cannot be used, that do not come. It does not do what
the engine does besides: rules as data, acknowledging, silencing, closing, texts in the store's language, correcting, a
clock that is wrong, what hangs on what beyond "nothing new while the rack has no power". A reading older than its
device's newest is not put in its place but passed over, and masks of an open alert are not followed.

Needs the standard library and msgspec only; runs in the peers' environment.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

MINUTE = 60_000
HOUR = 60 * MINUTE
NEVER = 2**62


class Device(msgspec.Struct):
    device_id: str
    asset_id: str
    interval_s: int


class Event(msgspec.Struct):
    event_id: str
    event_time: str
    store_id: str
    kind: str
    device_id: str = ""
    asset_id: str = ""
    asset_class: str = ""
    metric: str = ""
    value: float | None = None
    roster: list[Device] | None = None


decode = msgspec.json.Decoder(Event).decode


class State(Protocol):
    """A store's state: JSON-able values by key."""

    def get(self, key: str) -> Any: ...

    def set(self, key: str, value: Any) -> None: ...


class Limits(msgspec.Struct, frozen=True):
    """sign: values times it, so that more is worse; limits are given so. levels: (severity, limit, for) of the rule,
    then of its escalations; a warning is masked by a defrost, where that is so."""

    rule: str
    sign: int
    clear: float
    keep: int
    hole: int
    levels: tuple[tuple[str, float, int], ...]
    masked: bool = False


FREEZER = Limits(
    "freezer_too_warm",
    1,
    -16,
    5 * MINUTE,
    30 * MINUTE,
    (("warning", -15, 30 * MINUTE), ("critical", -12, 30 * MINUTE), ("critical", -15, 2 * HOUR)),
    True,
)
COOLER = Limits(
    "cooler_too_warm",
    1,
    4,
    5 * MINUTE,
    30 * MINUTE,
    (("warning", 5, 30 * MINUTE), ("critical", 8, 30 * MINUTE), ("critical", 5, 2 * HOUR)),
    True,
)
DEFROST = Limits("defrost_too_long", 1, 0.5, 0, HOUR, (("warning", 0, HOUR),))
DOOR = Limits("door_left_open", 1, 0.5, 0, 15 * MINUTE, (("warning", 0, 15 * MINUTE),))
RACK = Limits("rack_without_power", -1, -0.2, 2 * MINUTE, 5 * MINUTE, (("critical", -0.1, 5 * MINUTE),))
LIMITS = {
    ("freezer", "temperature"): FREEZER,
    ("cooler", "temperature"): COOLER,
    ("freezer", "defrost"): DEFROST,
    ("cooler", "defrost"): DEFROST,
    ("freezer", "door_open"): DOOR,
    ("cooler", "door_open"): DOOR,
    ("rack", "power"): RACK,
}
DEFROST_LONGEST, DEFROST_AFTER = 60 * MINUTE, 60 * MINUTE
DOOR_LONGEST, DOOR_AFTER = 15 * MINUTE, 15 * MINUTE
RISE_WITHIN, RISE_KEEP = 10 * MINUTE, 10 * MINUTE
RISES = (("critical", 10.0), ("warning", 3.0))
SUM_LIMIT, SUM_FOR, SUM_WITHIN = 5, 4 * HOUR, 24 * HOUR
STUCK_FOR = 2 * HOUR
BAD_FOR = 10 * MINUTE
REPORTS, AT_LEAST, STORE_AT_LEAST = 3, 5 * MINUTE, 3 * MINUTE
RANK = {"warning": 1, "critical": 2}

_seconds: dict[str, int] = {}


def to_ms(text: str) -> int:
    second = _seconds.get(text[:19])
    if second is None:
        if len(_seconds) > 50_000:
            _seconds.clear()
        second = _seconds[text[:19]] = int(datetime.fromisoformat(text[:19] + "Z").timestamp()) * 1000
    return second + int(text[20:23])


def to_rfc3339(ms: int) -> str:
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{ms % 1000:03d}Z"


def decide(state: State, arrived: int, event: Event) -> list[dict[str, Any]]:
    """The alert events that follow from one event of the store's log."""
    if event.kind == "tick":
        return tick(state, arrived, event)
    told: list[dict[str, Any]] = []
    device = state.get(event.device_id) or {"heard": 0, "interval": 0}
    if event.kind != "reading" or event.value is None:
        speaks_badly(device, event, arrived, told)
        state.set(event.device_id, device)
        return told
    at, before = to_ms(event.event_time), device.get("t", 0)
    if at == before:
        return told  # sent twice
    device["heard"] = arrived
    if "bad_since" in device:
        del device["bad_since"]
    if "alerts" in device:
        end_silence(state, device, event, arrived, told)
    if at > before:
        value = event.value
        metric = event.metric
        if metric in ("defrost", "door_open"):
            follow(state, f"{event.asset_id}/{metric}", at, value)
        limits = LIMITS.get((event.asset_class, metric))
        if limits is not None and (value * limits.sign > limits.levels[0][1] or "tracks" in device):
            past_limit(state, device, limits, event, at, arrived, told)
        if metric == "temperature":
            if event.asset_class == "freezer":
                rise(state, device, event, at, arrived, told)
            elif value > SUM_LIMIT or "spans" in device:
                add_up(state, device, event, at, arrived, told)
            stuck(state, device, event, at, arrived, told)
        device["t"], device["v"] = at, value
    state.set(event.device_id, device)
    return told


# ---- alerts of a device, by rule, in device["alerts"]


def open_alert(
    state: State, device: dict, event: Event, rule: str, severity: str, starts_at: int, arrived: int, told: list
) -> None:
    if rule in ("freezer_too_warm", "cooler_too_warm", "freezer_warming_fast", "cooler_time_above_limit") and state.get(
        "no_power"
    ):
        return
    about = {
        "alert_id": alert_id(rule, event.asset_id, f"{event.device_id} at {starts_at}"),
        "sequence": 0,
        "severity": severity,
        "starts_at": starts_at,
        "asset_id": event.asset_id,
        "device_id": event.device_id,
        "cleared": None,
    }
    device.setdefault("alerts", {})[rule] = about
    if rule == "rack_without_power":
        state.set("no_power", True)
    told.append(alert("raised", rule, event.store_id, about, arrived, event.value))


def close_alert(state: State, device: dict, event: Event, rule: str, ends_at: int, arrived: int, told: list) -> None:
    about = device["alerts"].pop(rule)
    if not device["alerts"]:
        del device["alerts"]
    if rule == "rack_without_power":
        state.set("no_power", False)
    told.append(alert("resolved", rule, event.store_id, about, arrived, event.value, ends_at))


def end_silence(state: State, device: dict, event: Event, arrived: int, told: list) -> None:
    for rule in ("sensor_silent", "bad_data"):
        if rule in device.get("alerts", ()):
            close_alert(state, device, event, rule, arrived, arrived, told)
            state.set("due", 0)


def speaks_badly(device: dict, event: Event, arrived: int, told: list) -> None:
    device["heard"] = arrived
    since = device.setdefault("bad_since", arrived)
    alerts = device.setdefault("alerts", {})
    if "sensor_silent" in alerts:
        told.append(
            alert("resolved", "sensor_silent", event.store_id, alerts.pop("sensor_silent"), arrived, None, arrived)
        )
    if "bad_data" not in alerts and arrived - since >= BAD_FOR:
        about = alerts["bad_data"] = {
            "alert_id": alert_id("bad_data", event.asset_id, f"{event.device_id} at {since}"),
            "sequence": 0,
            "severity": "warning",
            "starts_at": since,
            "asset_id": event.asset_id,
            "device_id": event.device_id,
        }
        told.append(alert("raised", "bad_data", event.store_id, about, arrived))
    if not alerts:
        del device["alerts"]


# ---- rules


def past_limit(state: State, device: dict, limits: Limits, event: Event, at: int, arrived: int, told: list) -> None:
    """Past a limit for so long, worse than that, and back for so long."""
    value, rule = event.value * limits.sign, limits.rule
    since = device.get("tracks") or [None] * len(limits.levels)
    hole = max(limits.hole, 3000 * device["interval"])
    due = None
    for number, (severity, limit, for_ms) in enumerate(limits.levels):
        if value <= limit:
            since[number] = None
        elif since[number] is None or at - device.get("t", 0) > hole:
            since[number] = at
        if since[number] is None or at - since[number] < for_ms or (due and RANK[severity] <= RANK[due]):
            continue
        if (
            limits.masked
            and severity == "warning"
            and is_masked(state, f"{event.asset_id}/defrost", at, DEFROST_LONGEST, DEFROST_AFTER)
        ):
            continue
        due = severity
    about = device["alerts"].get(rule) if "alerts" in device else None
    if about is None:
        if due is not None:
            open_alert(state, device, event, rule, due, since[0], arrived, told)
    else:
        if due is not None and RANK[due] > RANK[about["severity"]]:
            about["severity"] = due
            told.append(alert("escalated", rule, event.store_id, about, arrived, event.value))
        if value >= limits.clear:
            about["cleared"] = None
        elif about["cleared"] is None:
            about["cleared"] = at
        if about["cleared"] is not None and at - about["cleared"] >= limits.keep:
            close_alert(state, device, event, rule, about["cleared"], arrived, told)
    if since[0] is None and not ("alerts" in device and rule in device["alerts"]):
        device.pop("tracks", None)
    else:
        device["tracks"] = since


def rise(state: State, device: dict, event: Event, at: int, arrived: int, told: list) -> None:
    """So much warmer than the coldest reading of the last ten minutes."""
    value = event.value
    edges = device.setdefault("edges", [])
    while edges and edges[-1][1] >= value:
        edges.pop()
    edges.append((at, value))
    while edges[0][0] < at - RISE_WITHIN:
        del edges[0]
    risen = value - edges[0][1]
    about = device["alerts"].get("freezer_warming_fast") if "alerts" in device else None
    if risen < RISES[1][1] and about is None:
        return
    due = None
    for severity, limit in RISES:
        if risen >= limit and due is None:
            if severity == "warning" and (
                is_masked(state, f"{event.asset_id}/defrost", at, DEFROST_LONGEST, DEFROST_AFTER)
                or is_masked(state, f"{event.asset_id}/door_open", at, DOOR_LONGEST, DOOR_AFTER)
            ):
                continue
            due = severity
    if about is None:
        if due is not None:
            open_alert(state, device, event, "freezer_warming_fast", due, at, arrived, told)
        return
    if due is not None and RANK[due] > RANK[about["severity"]]:
        about["severity"] = due
        told.append(alert("escalated", "freezer_warming_fast", event.store_id, about, arrived, value))
    if risen >= RISES[1][1]:
        about["cleared"] = None
    elif about["cleared"] is None:
        about["cleared"] = at
    if about["cleared"] is not None and at - about["cleared"] >= RISE_KEEP:
        close_alert(state, device, event, "freezer_warming_fast", about["cleared"], arrived, told)


def add_up(state: State, device: dict, event: Event, at: int, arrived: int, told: list) -> None:
    """Time past a limit within a day. A reading stands until the next one, for at most two intervals."""
    rule, spans = "cooler_time_above_limit", device.get("spans", [])
    if device.get("v", 0) > SUM_LIMIT:
        begin = device["t"]
        end = min(at, begin + (2000 * device["interval"] or 900_000))
        if spans and spans[-1][1] >= begin:
            spans[-1] = [spans[-1][0], max(end, spans[-1][1])]
        else:
            spans.append([begin, end])
    begin = at - SUM_WITHIN
    spans = [span for span in spans if span[1] > begin]
    total = sum(end - max(start, begin) for start, end in spans)
    if spans or event.value > SUM_LIMIT:
        device["spans"] = spans
    else:
        device.pop("spans", None)
    is_open = "alerts" in device and rule in device["alerts"]
    if total >= SUM_FOR and not is_open:
        open_alert(state, device, event, rule, "critical", spans[0][0], arrived, told)
    elif total < SUM_FOR and is_open:
        close_alert(state, device, event, rule, at, arrived, told)


def stuck(state: State, device: dict, event: Event, at: int, arrived: int, told: list) -> None:
    """The same value again and again."""
    before = device.get("t", 0)
    if event.value != device.get("v") or at - before > max(3000 * device["interval"], 120_000):
        device["same"] = at
    lasting = at - device["same"]
    is_open = "alerts" in device and "sensor_stuck" in device["alerts"]
    if is_open:
        if lasting < STUCK_FOR:
            close_alert(state, device, event, "sensor_stuck", device["same"], arrived, told)
    elif lasting >= STUCK_FOR:
        open_alert(state, device, event, "sensor_stuck", "warning", device["same"], arrived, told)


def follow(state: State, key: str, at: int, value: float) -> None:
    """Note the newest span in which a state was on: [on, off], off None while it lasts."""
    span = state.get(key)
    if value > 0:
        if span is None or span[1] is not None:
            state.set(key, [at, None])
    elif span is not None and span[1] is None:
        state.set(key, [span[0], at])


def is_masked(state: State, key: str, at: int, longest: int, after: int) -> bool:
    span = state.get(key)
    if span is None or at < span[0]:
        return False
    on, off = span
    if off is None:
        return at - on <= longest
    return off - on <= longest and at - off <= after


def absent_ms(interval_s: int, at_least: int) -> int:
    return max(at_least, (2 * REPORTS + 1) * interval_s * 500)


def tick(state: State, arrived: int, event: Event) -> list[dict[str, Any]]:
    """Take the roster where the tick has one, and tell what has been silent for too long."""
    told: list[dict[str, Any]] = []
    if event.roster is not None:
        state.set("roster", [item.device_id for item in event.roster])
        for item in event.roster:
            device = state.get(item.device_id) or {"heard": arrived}
            state.set(item.device_id, device | {"interval": item.interval_s, "asset_id": item.asset_id})
        state.set("due", 0)
    if arrived < (state.get("due") or 0):
        return told
    devices = [(device_id, state.get(device_id)) for device_id in state.get("roster") or ()]
    if not devices:
        return told
    heard = max(device["heard"] for _, device in devices)
    all_due = heard + absent_ms(min(device["interval"] for _, device in devices), STORE_AT_LEAST)
    silent = state.get("store_silent")
    if silent is None and all_due <= arrived:
        silent = {
            "alert_id": alert_id("store_silent", event.store_id, f"{event.store_id} at {heard}"),
            "sequence": 0,
            "severity": "critical",
            "starts_at": heard,
            "asset_id": event.store_id,
            "device_id": None,
        }
        told.append(alert("raised", "store_silent", event.store_id, silent, all_due))
        state.set("store_silent", silent)
    elif silent is not None and all_due > arrived:
        told.append(alert("resolved", "store_silent", event.store_id, silent, arrived, None, arrived))
        state.set("store_silent", None)
        silent = None
    next_due = all_due
    found = []
    for device_id, device in devices:
        if silent is not None or "sensor_silent" in device.get("alerts", ()):
            continue
        when = device["heard"] + absent_ms(device["interval"], AT_LEAST)
        if when <= arrived:
            found.append((when, device_id, device))
        else:
            next_due = min(next_due, when)
    for when, device_id, device in sorted(found, key=lambda item: item[:2]):
        about = {
            "alert_id": alert_id("sensor_silent", device["asset_id"], f"{device_id} after {device['heard']}"),
            "sequence": 0,
            "severity": "warning",
            "starts_at": device["heard"] + device["interval"] * 1000,
            "asset_id": device["asset_id"],
            "device_id": device_id,
        }
        device.setdefault("alerts", {})["sensor_silent"] = about
        told.append(alert("raised", "sensor_silent", event.store_id, about, when))
        state.set(device_id, device)
    state.set("due", next_due if silent is None else 0)
    return told


def alert_id(rule: str, asset_id: str, breach: str) -> str:
    return hashlib.sha256(f"{rule}|{asset_id}|{breach}".encode()).hexdigest()[:32]


def alert(
    event: str,
    rule: str,
    store_id: str,
    about: dict[str, Any],
    decided_at: int,
    value: float | None = None,
    ends_at: int | None = None,
) -> dict[str, Any]:
    about["sequence"] += 1
    told = {
        "event_id": f"{about['alert_id']}-{about['sequence']}",
        "alert_id": about["alert_id"],
        "sequence": about["sequence"],
        "store_id": store_id,
        "rule": rule,
        "event": event,
        "status": "resolved" if event == "resolved" else "firing",
        "severity": about["severity"],
        "asset_id": about["asset_id"],
        "device_id": about["device_id"],
        "starts_at": to_rfc3339(about["starts_at"]),
        "decided_at": to_rfc3339(decided_at),
    }
    if value is not None:
        told["value"] = value
    if ends_at is not None:
        told["ends_at"] = to_rfc3339(ends_at)
    return told


COMPARED = ("raised", "escalated", "resolved")


def named(event: dict[str, Any]) -> tuple[str, ...]:
    """What must be the same in an alert's step, whoever told it."""
    words = ("rule", "device_id", "starts_at", "event", "severity", "decided_at", "ends_at")
    return tuple(str(event.get(word)) for word in words)
