"""Life of one alert, step by step, as the contract `alert` tells it. docs/alert-life.md has the state machine."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

from alerting import words
from alerting.events import StoreInfo
from alerting.language import COMMAND_RULE, Rule
from alerting.state import Open, Silence, Spot
from schemas.instants import to_rfc3339

RETROSPECTIVE_MS = 90 * 60_000
"""An alert whose deciding reading was this much older than its arrival is told after the fact. More than an hour, so
that a device whose clock missed a daylight-saving step is not held to deliver late."""


class Subject(NamedTuple):
    """What an alert is about. device_id, metric: empty where it is about several devices."""

    asset_id: str
    asset_class: str
    device_id: str = ""
    metric: str = ""
    area: str = ""
    name: str = ""


class Limit(NamedTuple):
    """What was passed: value in unit (UCUM). kind: as the contract `alert` lists them."""

    kind: str
    unit: str


class Said(NamedTuple):
    """What a person said: with a command, or with a silence that holds."""

    actor: str = ""
    comment: str = ""
    command_id: str = ""
    resolution: dict[str, Any] | None = None


NOBODY = Said()


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
    about: StoreInfo,
    subject: Subject,
    happened_at: int,
    decided_at: int,
    measured_at: int = 0,
    limit: Limit | None = None,
    last: Spot | None = None,
    ends_at: int | None = None,
    until: int = 0,
    reason: str | None = None,
    said: Said = NOBODY,
    needs_closing: bool = False,
) -> dict[str, Any]:
    """The alert's next event; counts it. The alert's status is what holds after the event.

    name: the rule's; rule: None where it is gone. happened_at, ends_at: device's event time (for silence arrival
    time); measured_at: event time of the reading that came; decided_at: arrival time; until: when a silence, mask or
    acknowledgement ends by itself. Epoch ms.
    """
    alert.sequence += 1
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
        "status": alert.status,
        "severity": alert.severity,
        "topic": topic,
        "asset_id": subject.asset_id,
        "asset_class": subject.asset_class,
    }
    if subject.device_id:
        told["device_id"] = subject.device_id
    if subject.metric:
        told["metric"] = subject.metric
    told["starts_at"] = to_rfc3339(alert.starts_at)
    if ends_at is not None:
        told["ends_at"] = to_rfc3339(ends_at)
    told["decided_at"] = to_rfc3339(decided_at)
    if limit is not None:
        told["limit"] = {"value": alert.limit, "unit": limit.unit, "kind": limit.kind}
    evidence = {}
    for what, spot in (("first", alert.first), ("worst", alert.worst), ("last", last)):
        if spot is not None:
            evidence[what] = _evidence(spot)
    if evidence:
        told["evidence"] = evidence
    if limit is not None and limit.kind not in ("absent_for", "bad_for") and event != "resolved":
        told["retrospective"] = decided_at - measured_at > RETROSPECTIVE_MS
    told["labels"] = (rule.labels if rule is not None else {}) | _labels(name, alert.severity, store_id, subject)
    told["annotations"] = _annotations(name, rule, alert, store_id, about, subject, happened_at, limit, last)
    if reason is not None:
        told["reason"] = reason[:300]
    if said.actor:
        told["actor"] = said.actor
    if said.comment:
        told["comment"] = said.comment
    if until:
        told["until"] = to_rfc3339(until)
    if said.resolution is not None:
        told["resolution"] = said.resolution
    if said.command_id:
        told["command_id"] = said.command_id
    if alert.members:
        told["members"] = [{"asset_id": member} for member in alert.members]
    if alert.part_of:
        told["part_of"] = alert.part_of
    if needs_closing:
        told["needs_closing"] = True
    return told


def answer(
    event: str,
    command_id: str,
    *,
    topic: str,
    store_id: str,
    asset_id: str,
    decided_at: int,
    said: Said,
    sequence: int = 1,
    began_at: int | None = None,
    until: int = 0,
    reason: str | None = None,
    made_of: str = "",
) -> dict[str, Any]:
    """An answer to a command that is about no single alert: `rejected`, `silenced` or `unsilenced`.

    made_of: what names the answer where the command may still get another one; else the command's own id.
    """
    named = alert_id(COMMAND_RULE, "", made_of or command_id)
    told: dict[str, Any] = {
        "event_id": f"{named}-{sequence}",
        "event_time": to_rfc3339(decided_at),
        "store_id": store_id,
        "schema_version": 1,
        "alert_id": named,
        "sequence": sequence,
        "rule": COMMAND_RULE,
        "rule_version": "1",
        "event": event,
        "status": "silenced" if event == "silenced" else "resolved",
        "severity": "info",
        "topic": topic,
        "asset_id": asset_id or store_id,
        "starts_at": to_rfc3339(decided_at if began_at is None else began_at),
        "decided_at": to_rfc3339(decided_at),
        "labels": {"alertname": COMMAND_RULE, "severity": "info", "store_id": store_id},
        "annotations": {},
        "command_id": command_id,
    }
    if event != "silenced":
        told["ends_at"] = to_rfc3339(decided_at)
    if until:
        told["until"] = to_rfc3339(until)
    if reason is not None:
        told["reason"] = reason[:300]
    if said.actor:
        told["actor"] = said.actor
    if said.comment:
        told["comment"] = said.comment
    return told


def said_by(silence: Silence) -> Said:
    return Said(silence.actor, silence.comment, silence.silence_id)


def _labels(name: str, severity: str, store_id: str, subject: Subject) -> dict[str, str]:
    labels = {
        "alertname": name,
        "severity": severity,
        "store_id": store_id,
        "asset_id": subject.asset_id,
        "asset_class": subject.asset_class,
    }
    if subject.device_id:
        labels["device_id"] = subject.device_id
    if subject.metric:
        labels["metric"] = subject.metric
    return labels


def _annotations(
    name: str,
    rule: Rule | None,
    alert: Open,
    store_id: str,
    about: StoreInfo,
    subject: Subject,
    happened_at: int,
    limit: Limit | None,
    last: Spot | None,
) -> dict[str, str]:
    if rule is None:
        return {}
    kind = limit.kind if limit is not None else ""
    shown = last or alert.worst
    timed = kind in ("absent_for", "stuck_for", "bad_for")
    bound = rule.limit if kind == "cumulative" else alert.limit
    since = (
        round(alert.limit * 1000) if kind in ("absent_for", "stuck_for", "bad_for") else happened_at - alert.starts_at
    )
    texts = {
        "store": store_id,
        "store_name": about.name or store_id,
        "asset": subject.asset_id,
        "asset_name": subject.name or subject.asset_id,
        "asset_class": subject.asset_class,
        "area": subject.area,
        "device": subject.device_id,
        "metric": subject.metric,
        "value": "" if shown is None else words.number(shown[1], about, rule.unit),
        "worst": "" if alert.worst is None else words.number(alert.worst[1], about, rule.unit),
        "limit": words.duration(since) if timed else words.number(bound, about, rule.unit, difference=kind == "rate"),
        "unit": words.shown_unit(rule.unit, about),
        "duration": words.duration(since),
        "severity": alert.severity,
        "rule": name,
        "members": ", ".join(alert.members),
    }
    found = {key: words.in_language(text, about).format(**texts) for key, text in rule.annotations.items()}
    if rule.runbook is not None:
        found["runbook_url"] = rule.runbook
    return found


def _evidence(spot: Spot) -> dict[str, Any]:
    at, value, event_id = spot
    named = {"event_id": event_id} if event_id else {}
    return named | {"event_time": to_rfc3339(at), "value": value}
