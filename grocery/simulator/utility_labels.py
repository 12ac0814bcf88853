"""What labels of meters and screens may expect: the rules of chain/rules/utilities.yaml, read a second time.

All times are epoch milliseconds. As in grocery.simulator.labels a margin is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from grocery.simulator.labels import MINUTE

HOUR, QUARTER = 60 * MINUTE, 15 * MINUTE
_GAP = 15 * MINUTE
"""Readings further apart say nothing about the time between them."""
_USUAL, _FEWEST = 84, 4
"""Closed hours whose median power is usual, and how many it takes."""
_MARGIN, _LONGER = 1.2, 20 * MINUTE
"""So many times the limit, and so much longer than `for`, a breach that is promised must be."""


@dataclass(frozen=True, slots=True)
class OutOfHours:
    """A rule about use while the store is closed. limit: kW or m3/h, the mean of an hour."""

    rule: str
    limit: float
    lasting: int


# As chain/rules/utilities.yaml ships them; a test holds the two together.
OUT_OF_HOURS = {
    "power": OutOfHours("power_out_of_hours", 5.0, 90 * MINUTE),
    "water": OutOfHours("water_out_of_hours", 0.1, 90 * MINUTE),
}
METER_RESET = "meter_reset"
SILENCES = {
    ("power_meter", "power"): ("meter_silent", 15 * MINUTE),
    ("power_meter", "energy"): ("meter_silent", 15 * MINUTE),
    ("water_meter", "water"): ("meter_silent", 15 * MINUTE),
    ("signage", "heartbeat"): ("signage_offline", 15 * MINUTE),
}
"""(rule, shortest silence) by asset class and metric."""
ONLY_OPEN = ("signage",)
"""Asset classes whose silence counts only while the store is open."""


def out_of_hours(readings: list[tuple[int, float]], metric: str, is_closed: Callable[[int], bool]) -> list[int]:
    """When each stretch began in which the closed store used so much for so long that its rule must tell.

    readings: (time, kW or m3 counted) of one meter, from its first one on.
    """
    rule, found = OUT_OF_HOURS[metric], []
    since, last = None, 0
    for end, value in _above_usual(readings, metric, is_closed):
        if value <= rule.limit * _MARGIN:
            since = None
        elif since is None or end - last > rule.lasting:
            since = end
        elif end - since >= rule.lasting + _LONGER and since not in found:
            found.append(since)
        last = end
    return found


def _above_usual(
    readings: list[tuple[int, float]], metric: str, is_closed: Callable[[int], bool]
) -> list[tuple[int, float]]:
    """(end, kW above the usual or m3/h) of each hour in which the store was closed, one each quarter of an hour."""
    if len(readings) < 2:
        return []
    times, values = (np.array(part, dtype=float) for part in zip(*sorted(dict(readings).items()), strict=True))
    if metric == "power":
        steps = (values[1:] + values[:-1]) / 2 * np.diff(times) / HOUR
        values = np.concatenate([[0.0], np.cumsum(steps)])
    edges = np.arange(-(-times[0] // QUARTER) * QUARTER, times[-1], QUARTER)
    counts = np.interp(edges, times, values)
    after = np.searchsorted(times, edges)
    known = (after > 0) & (np.diff(times, prepend=-np.inf)[after] <= _GAP)
    found: list[tuple[int, float]] = []
    usual: list[float] = []
    run = 0
    for at in range(1, len(edges)):
        begin, end = int(edges[at - 1]), int(edges[at])
        closed = known[at - 1] and known[at] and is_closed(begin) and is_closed(end - 1)
        run = run + 1 if closed else 0
        if run < 4:
            continue
        used = float(counts[at] - counts[at - 4])
        if metric == "water":
            found.append((end, used))
            continue
        if len(usual) >= _FEWEST:
            found.append((end, used - float(np.median(usual[-_USUAL:]))))
        if run % 4 == 0:
            usual.append(used)
    return found
