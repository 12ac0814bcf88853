"""How long a reader is behind, in seconds, from offsets alone. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque

REMEMBERED = 720
"""Ends of a partition kept: an hour at a look every five seconds. A longer lag counts as this long."""


class Trail:
    """Where a partition ended, look by look.

    Lag is taken by when the guard saw the record come, not by the record's timestamp: a day that is replayed in a
    minute has timestamps hours apart, and no reader is hours behind.
    """

    def __init__(self) -> None:
        self._ends: deque[tuple[float, int]] = deque(maxlen=REMEMBERED)

    def behind_s(self, at: float, position: int, end: int) -> float:
        """Note the end seen at `at` (s); returns how long ago the record at `position` came, 0 where there is none.

        What came before the first look is taken as come then, so a lag is never told too long.
        """
        if self._ends and end < self._ends[-1][1]:
            self._ends.clear()  # the topic was made anew
        if not self._ends or end > self._ends[-1][1]:
            self._ends.append((at, end))
        if position >= end:
            return 0.0
        came = bisect_right(self._ends, position, key=lambda seen: seen[1])
        return at - self._ends[came][0]
