"""Who attends to an open alert: silences, masks, acknowledgements, and the alerts that it hangs on.

Pure questions about a store's state; alerting/engine.py acts on the answers. Epoch milliseconds, 0 for never.
"""

from __future__ import annotations

import re

from alerting import hours
from alerting.language import Mask
from alerting.life import Subject
from alerting.state import Silence, Store

_DAY_MS = 86_400_000


def slug(name: str) -> str:
    """A name as part of an id: `Frozen aisle` becomes `frozen-aisle`."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "unnamed"


def event_between(was: str, now: str) -> str | None:
    """The event that tells of an open alert's new standing; None where it stands as before."""
    if was == now:
        return None
    if now in ("silenced", "masked"):
        return now
    left = {"silenced": "unsilenced", "masked": "unmasked"}
    return left.get(was, "ack_expired" if now == "firing" else "acknowledged")


def holds_until(silence: Silence, state: Store, rule: str, subject: Subject, clock: int) -> int:
    """Until when a silence keeps this rule's alert about this subject quiet, on the log's clock; 0 where it doesn't."""
    for wanted, given in (
        (silence.rule, rule),
        (silence.asset_id, subject.asset_id),
        (silence.asset_class, subject.asset_class),
        (silence.area, subject.area),
        (silence.device_id, subject.device_id),
    ):
        if wanted and wanted != given:
            return 0
    if not silence.begins <= clock < silence.until:
        return 0
    if not silence.rrule:
        return silence.until
    end, _ = _occurrence(silence, state, clock)
    return end or 0


def next_edge(silence: Silence, state: Store, when: int) -> int:
    """When a silence next begins or ends to hold, after `when`."""
    if when < silence.begins:
        return silence.begins
    if not silence.rrule:
        return silence.until
    return min(edge for edge in (*_occurrence(silence, state, when), silence.until) if edge is not None)


def _occurrence(silence: Silence, state: Store, at: int) -> tuple[int | None, int | None]:
    zone = state.about.time_zone
    return hours.occurrence(silence.rrule, silence.begins, silence.until, zone, silence.lasts_ms, at)


def masked_until(state: Store, masks: tuple[Mask, ...], asset_id: str, at: int) -> int:
    """Until when one of the masks keeps a warning about the asset, at an event time; 0 where none does."""
    until = 0
    for mask in masks:
        if mask.state is not None:
            until = max(until, _state_until(state, mask, asset_id, at))
        elif mask.hours is not None:
            if not hours.is_open(state.about, at):
                until = max(until, hours.next_change(state.about, at) or at + _DAY_MS)
        else:
            lasts_ms = (mask.lasts_ms or 0) + mask.after_ms
            until = max(until, hours.window_end(state.about, mask.days, mask.at or "", lasts_ms, at) or 0)
    return until


def _state_until(state: Store, mask: Mask, asset_id: str, at: int) -> int:
    """Of a state (a defrost) of the same asset; one that lasts longer than it may masks nothing any more."""
    longest, until = mask.longest_ms or 0, 0
    for device in state.devices.values():
        on, off = device.on_since, device.off_at
        if device.asset_id != asset_id or device.metric != mask.state or on is None or at < on:
            continue
        if off is None:
            if at - on <= longest:
                until = max(until, on + longest + 1)
        elif off - on <= longest and at - off <= mask.after_ms:
            until = max(until, off + mask.after_ms + 1)
    return until


def lineage(state: Store, asset_id: str) -> set[str]:
    """The asset and all that it depends on."""
    line: set[str] = set()
    while asset_id and asset_id not in line:
        line.add(asset_id)
        asset = state.assets.get(asset_id)
        asset_id = asset.parent_id if asset is not None else ""
    return line
