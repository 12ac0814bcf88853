"""Life of one alert, step by step, as the contract `alert` tells it: raised, escalated, resolved."""

from __future__ import annotations

import hashlib
from typing import Any

from alerting.rules import Rule
from alerting.state import Device, Open, Spot
from schemas.instants import to_rfc3339

STATUS = {"raised": "firing", "escalated": "firing", "resolved": "resolved"}
RETROSPECTIVE_MS = 90 * 60_000
"""An alert whose deciding reading was this much older than its arrival is told after the fact. More than an hour, so
that a device whose clock missed a daylight-saving step is not held to deliver late."""


def alert_id(rule: str, asset_id: str, breach: str) -> str:
    """Names an alert for good. breach: event_id of its first breach."""
    return hashlib.sha256(f"{rule}|{asset_id}|{breach}".encode()).hexdigest()[:32]


def step(
    event: str,
    alert: Open,
    *,
    name: str,
    rule: Rule | None,
    rule_version: str,
    topic: str,
    store_id: str,
    device_id: str,
    device: Device,
    happened_at: int,
    decided_at: int,
    kind: str | None = None,
    unit: str = "",
    last: Spot | None = None,
    ends_at: int | None = None,
    reason: str | None = None,
) -> dict[str, Any]:
    """The alert's next event; counts it.

    name: the rule's; rule: None where it is gone. kind: what the limit bounds, where there is one.
    happened_at, ends_at: device's event time (for silence arrival time); decided_at: arrival time. Epoch ms.
    """
    alert.sequence += 1
    labels = {
        "alertname": name,
        "severity": alert.severity,
        "store_id": store_id,
        "asset_id": device.asset_id,
        "asset_class": device.asset_class,
        "device_id": device_id,
        "metric": device.metric,
    }
    texts = {
        "store": store_id,
        "asset": device.asset_id,
        "asset_class": device.asset_class,
        "device": device_id,
        "metric": device.metric,
        "value": "" if last is None else _number(last[1]),
        "limit": _number(alert.limit),
        "unit": unit,
        "duration": _duration(happened_at - alert.starts_at if kind != "absent_for" else round(alert.limit * 1000)),
        "severity": alert.severity,
        "rule": name,
    }
    told: dict[str, Any] = {
        "event_id": f"{alert.alert_id}-{alert.sequence}",
        "event_time": to_rfc3339(happened_at),
        "store_id": store_id,
        "schema_version": 1,
        "alert_id": alert.alert_id,
        "sequence": alert.sequence,
        "rule": name,
        "rule_version": rule_version,
        "event": event,
        "status": STATUS[event],
        "severity": alert.severity,
        "topic": topic,
        "asset_id": device.asset_id,
        "asset_class": device.asset_class,
        "device_id": device_id,
        "metric": device.metric,
        "starts_at": to_rfc3339(alert.starts_at),
    }
    if ends_at is not None:
        told["ends_at"] = to_rfc3339(ends_at)
    told["decided_at"] = to_rfc3339(decided_at)
    if kind is not None:
        told["limit"] = {"value": alert.limit, "unit": unit, "kind": kind}
    evidence = {}
    for what, spot in (("first", alert.first), ("worst", alert.worst), ("last", last)):
        if spot is not None:
            evidence[what] = _evidence(spot)
    if evidence:
        told["evidence"] = evidence
    if kind in ("above", "below") and event != "resolved":
        told["retrospective"] = decided_at - happened_at > RETROSPECTIVE_MS
    told["labels"] = (rule.labels if rule is not None else {}) | labels
    told["annotations"] = {key: text.format(**texts) for key, text in (rule.annotations if rule else {}).items()}
    if reason is not None:
        told["reason"] = reason
    return told


def _evidence(spot: Spot) -> dict[str, Any]:
    at, value, event_id = spot
    named = {"event_id": event_id} if event_id else {}
    return named | {"event_time": to_rfc3339(at), "value": value}


def _duration(ms: int) -> str:
    """`5 min`, `1 h 10 min`."""
    hours, minutes = divmod(round(ms / 60_000), 60)
    return " ".join(([f"{hours} h"] if hours else []) + ([f"{minutes} min"] if minutes or not hours else []))


def _number(value: float) -> str:
    """At most one decimal, none where it is zero."""
    text = f"{value:.1f}"
    return text.removesuffix(".0") if text != "-0.0" else "0"
