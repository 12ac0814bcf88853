"""Labels: what was made to fail, and which shipped rules it must therefore trip.

`expect` is decided from the readings as they were reported, by a reading of the rules that is written here a second
time and with a margin: what passes a limit only just may trip a rule, and is not promised to. A fault that stays under
its limits expects nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

MINUTE = 60_000


@dataclass(frozen=True, slots=True)
class Label:
    """start: when it began physically (of a silence: the last report before it; of a queue: when its people come in);
    end: when it was repaired; recovered_by: when the asset is back in range by the model. RFC 3339, UTC. covers: every
    asset it touches; magnitude as `grocery.simulator.faults.KINDS` explains it; expect: rules of chain/rules that must
    raise an alert about one of them; what: bad-input's kind."""

    fault: str
    store_id: str
    asset_id: str
    covers: tuple[str, ...]
    start: str
    end: str
    recovered_by: str
    magnitude: float
    expect: tuple[str, ...]
    what: str | None = None


def write_labels(labels: Iterable[Label], path: Path) -> int:
    """NDJSON, one label a line; returns how many."""
    count = 0
    with path.open("w", encoding="utf-8") as out:
        for label in labels:
            count += 1
            out.write(json.dumps(asdict(label), ensure_ascii=False, separators=(",", ":")) + "\n")
    return count


def read_labels(path: Path) -> list[Label]:
    """What write_labels wrote."""
    with path.open(encoding="utf-8") as lines:
        docs = [json.loads(line) for line in lines]
    return [Label(**doc | {"covers": tuple(doc["covers"]), "expect": tuple(doc["expect"])}) for doc in docs]


@dataclass(frozen=True, slots=True)
class Limits:
    """A too-warm rule. levels: (Cel, milliseconds above it, whether a defrost hides it), the mildest first. A defrost
    hides until mask_after past its end, unless it lasted longer than mask_at_most; both milliseconds."""

    rule: str
    levels: tuple[tuple[float, int, bool], ...]
    mask_after: int = 60 * MINUTE
    mask_at_most: int = 60 * MINUTE


# As chain/rules/cold_chain.yaml ships them; a test holds the two together.
TOO_WARM = {
    "freezer": Limits(
        "freezer_too_warm", ((-15, 30 * MINUTE, True), (-12, 30 * MINUTE, False), (-15, 120 * MINUTE, False))
    ),
    "cooler": Limits("cooler_too_warm", ((5, 30 * MINUTE, True), (8, 30 * MINUTE, False), (5, 120 * MINUTE, False))),
}
STUCK = "sensor_stuck"
STUCK_FOR = 120 * MINUTE
SILENT = "sensor_silent"
SILENT_METRICS = ("temperature", "defrost", "door_open")
SILENT_FOR = 5 * MINUTE
SILENT_REPORTS = 3


def silent_after(interval_s: int, at_least: int = SILENT_FOR) -> int:
    """Milliseconds without a word after which a device counts as silent: three reports and half an interval's grace."""
    return max(at_least, (2 * SILENT_REPORTS + 1) * interval_s * 500)


def too_warm(
    readings: list[tuple[int, float]],
    defrosts: list[tuple[int, bool]],
    limits: Limits,
    margin_c: float = 0.0,
    margin_ms: int = 0,
) -> list[int]:
    """Event time (epoch ms) of the first breach of every stretch that raises the rule.

    readings: (event time in epoch ms, Cel). defrosts: (event time, on) as reported. margin_c, margin_ms: how much
    further and longer than the rule asks it must be; negative ones find what comes near.
    """
    masks = _masks(sorted(defrosts), limits)
    found: list[int] = []
    since: list[int | None] = [None] * len(limits.levels)
    told = False
    for time, value in sorted(readings):
        since = [
            (time if began is None else began) if value > level[0] + margin_c else None
            for began, level in zip(since, limits.levels, strict=True)
        ]
        if since[0] is None:
            told = False
        elif not told and any(
            began is not None
            and time - began >= lasting + margin_ms
            and not (hidden and any(start <= time <= end for start, end in masks))
            for began, (_, lasting, hidden) in zip(since, limits.levels, strict=True)
        ):
            found.append(since[0])
            told = True
    return found


def _masks(defrosts: list[tuple[int, bool]], limits: Limits) -> list[tuple[int, int]]:
    """Spans in which warnings wait."""
    spans: list[tuple[int, int]] = []
    begun: int | None = None
    for time, on in defrosts:
        if on and begun is None:
            begun = time
        elif not on and begun is not None:
            spans.append(_mask(begun, time, limits))
            begun = None
    if begun is not None:
        spans.append((begun, begun + limits.mask_at_most))
    return spans


def _mask(begun: int, ended: int, limits: Limits) -> tuple[int, int]:
    if ended - begun > limits.mask_at_most:
        return begun, begun + limits.mask_at_most
    return begun, ended + limits.mask_after


def longest_gap(arrivals: list[int], after: int, before: int) -> int:
    """The longest time without an arrival that overlaps [after, before]; all epoch ms."""
    begin, end = longest_silence(arrivals, after, before)
    return end - begin


def longest_silence(arrivals: list[int], after: int, before: int) -> tuple[int, int]:
    """When that was: the arrival before it and the one after; (0, 0) where there is none."""
    times = sorted(arrivals)
    gaps = [(a, b) for a, b in zip(times, times[1:], strict=False) if b > after and a < before]
    return max(gaps, key=lambda gap: gap[1] - gap[0], default=(0, 0))
