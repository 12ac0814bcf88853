"""Injected against caught: holds the alerts that came out of the topics against the faults that went in.

Pure: labels and alert events in, a verdict out. All instants are epoch milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ingestion.arrival import to_ms

EARLY_MS = 150_000
"""An alert may begin so much before its fault: the last reading before it, and a clock that is behind."""


@dataclass(frozen=True, slots=True)
class Raised:
    """One alert, folded from its events. decided_ms: when its first step became due, on the log's clock."""

    alert_id: str
    rule: str
    store_id: str
    asset_id: str
    severity: str
    starts_ms: int
    decided_ms: int
    ends_ms: int | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """One label and what became of it.

    caught: rule -> the first alert of that rule on the label's asset within the label and its recovery.
    missing: rules the label must trip and did not.
    """

    label: Any
    caught: dict[str, Raised]
    missing: tuple[str, ...]

    @property
    def delay_ms(self) -> int | None:
        """From the start of the fault to the first alert about it, on the log's clock."""
        if not self.caught:
            return None
        return min(alert.decided_ms for alert in self.caught.values()) - to_ms(self.label.start)


def fold(events: Iterable[dict[str, Any]]) -> list[Raised]:
    """Alerts from alert events, each (alert_id, sequence) counted once, the worst severity kept, oldest alert first."""
    steps: dict[str, dict[int, dict[str, Any]]] = {}
    for event in events:
        steps.setdefault(event["alert_id"], {})[event["sequence"]] = event
    rank = {"info": 0, "warning": 1, "critical": 2}
    alerts = []
    for alert_id, by_sequence in steps.items():
        ordered = [by_sequence[n] for n in sorted(by_sequence)]
        first, last = ordered[0], ordered[-1]
        worst = max((e["severity"] for e in ordered), key=rank.__getitem__)
        ends = to_ms(last["ends_at"]) if "ends_at" in last else None
        starts, decided = to_ms(first["starts_at"]), to_ms(first["decided_at"])
        asset = first["asset_id"]
        alerts.append(Raised(alert_id, first["rule"], first["store_id"], asset, worst, starts, decided, ends))
    return sorted(alerts, key=lambda a: (a.starts_ms, a.alert_id))


def score(labels: Iterable[Any], alerts: list[Raised]) -> tuple[list[Verdict], list[Raised]]:
    """(a verdict per label, alerts that lie outside every label of their asset and its recovery).

    A label has: start, end, recovered_by (RFC 3339), asset_id, store_id, expect (rules it must trip) and
    covers (assets it touches, where it is more than asset_id).
    """
    verdicts, explained = [], set()
    for label in labels:
        start, until = to_ms(label.start), to_ms(label.recovered_by)
        mine = [a for a in alerts if a.asset_id in label.covers and start - EARLY_MS <= a.starts_ms <= until]
        explained.update(a.alert_id for a in mine)
        caught: dict[str, Raised] = {}
        for alert in mine:
            caught.setdefault(alert.rule, alert)
        verdicts.append(Verdict(label, caught, tuple(r for r in label.expect if r not in caught)))
    return verdicts, [a for a in alerts if a.alert_id not in explained]
