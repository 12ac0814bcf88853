"""From a logger's wall clock to instants, through the nights when the clock is put forward or back.

Two kinds of wall-clock times do not name one instant: those of the hour that comes twice (autumn) and those of the hour
that is left out (spring; a clock that was put forward late still writes them). The order of the rows decides where it
can: a repeated hour with one step back in it is the first pass, then the second; a left-out hour was written with the
old offset if only that fits between the rows around it. Where the order decides nothing, nobody guesses.

Pure: no files, no clock.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from itertools import pairwise
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

Kind = Literal["ambiguous", "skipped"]
# What stands in place of an instant (epoch milliseconds, always greater than MARKS).
MARKS = np.iinfo(np.int64).min + 10
UNREADABLE, NO_OFFSET, AMBIGUOUS, SKIPPED, HELD = (int(MARKS) - n for n in range(1, 6))
_HAS_OFFSET = re.compile(r".*\d(?:[Zz]|[+-]\d{2}(?::?\d{2})?)")
_EPOCH = {"epoch_s": 1000.0, "epoch_ms": 1.0}
_APART_MS = 3 * 3_600_000  # rows of one night's doubtful hour lie closer together than this


def zone(name: str) -> tzinfo:
    """An IANA zone, `UTC`, or a fixed offset like `+01:00`."""
    if name[0] in "+-":
        hours, minutes = name[1:].split(":")
        span = timedelta(hours=int(hours), minutes=int(minutes))
        return timezone(-span if name[0] == "-" else span)
    return UTC if name == "UTC" else ZoneInfo(name)


def to_ms(instant: datetime) -> int:
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def read_times(texts: list[str], pattern: str) -> tuple[np.ndarray, np.ndarray]:
    """Times by a strptime pattern, `iso`, `epoch_s` or `epoch_ms`.

    Returns epoch milliseconds (or UNREADABLE) and wall-clock times (datetime64[ns], or NaT): each text has the one or
    the other. Fractions of a millisecond are cut off.
    """
    series = pd.Series(texts, dtype=object)
    known = np.full(len(texts), UNREADABLE, dtype=np.int64)
    wall = np.full(len(texts), np.datetime64("NaT", "ns"), dtype="datetime64[ns]")
    if pattern in _EPOCH:
        numbers = pd.to_numeric(series, errors="coerce").to_numpy(dtype=float) * _EPOCH[pattern]
        usable = np.isfinite(numbers) & (np.abs(numbers) < 253_402_300_800_000)  # year 10000
        known[usable] = np.floor(numbers[usable]).astype(np.int64)
        return known, wall
    if pattern == "iso":
        pattern = "ISO8601"
        with_offset = np.array([len(text) > 10 and bool(_HAS_OFFSET.fullmatch(text)) for text in texts], dtype=bool)
    else:
        with_offset = np.full(len(texts), "%z" in pattern)
    if with_offset.any():
        stamps = pd.to_datetime(series[with_offset], format=pattern, errors="coerce", utc=True)
        known[with_offset] = _ms(stamps.dt.tz_localize(None).to_numpy(dtype="datetime64[ns]"))
    if not with_offset.all():
        stamps = pd.to_datetime(series[~with_offset], format=pattern, errors="coerce")
        wall[~with_offset] = stamps.to_numpy(dtype="datetime64[ns]")
    return known, wall


def localise(wall: np.ndarray, where: tzinfo) -> tuple[np.ndarray, np.ndarray]:
    """Epoch milliseconds of wall-clock times (datetime64[ns]), and which ones are ambiguous or skipped there."""
    index = pd.DatetimeIndex(wall).tz_localize(where, ambiguous="NaT", nonexistent="NaT").tz_convert(None)
    instants = index.to_numpy(dtype="datetime64[ns]")
    return _ms(instants), np.isnat(instants) & ~np.isnat(wall)


def _ms(instants: np.ndarray) -> np.ndarray:
    return np.where(np.isnat(instants), UNREADABLE, instants.astype(np.int64) // 1_000_000)


@dataclass(frozen=True, slots=True)
class Doubt:
    """A wall-clock time that does not name one instant.

    row: whatever the caller knows the row by; old_ms, new_ms: the instant (epoch ms) if the clock still had the offset
    from before the change, and if it already had the new one.
    """

    row: int
    old_ms: int
    new_ms: int

    @property
    def kind(self) -> Kind:
        return "ambiguous" if self.old_ms < self.new_ms else "skipped"


def doubt(row: int, local: datetime, where: tzinfo) -> Doubt:
    """The two readings of a wall-clock time (naive) that a zone finds ambiguous or skipped."""
    old, new = (to_ms(local.replace(tzinfo=where, fold=fold)) for fold in (0, 1))
    return Doubt(row, old, new)


def decide(
    run: list[Doubt], before: int | None, after: int | None, *, repeats: bool = False, trend: int = 0
) -> list[int] | None:
    """Instants (epoch ms) of a run of doubtful rows of one series, or None where their order does not decide.

    run: neighbouring rows of one kind, in the file's order; before, after: instants of the row above and below, where
    there is one; repeats: the series writes rows twice, so two equal times prove nothing; trend: 1 where the rows above
    got later, -1 where they got earlier (newest first), 0 where that is not known.
    """
    direction = trend or _direction(run, before, after)
    if direction == 0:
        return None
    if direction < 0:
        found = decide_ascending(run[::-1], after, before, repeats=repeats)
        return found[::-1] if found else None
    return decide_ascending(run, before, after, repeats=repeats)


def decide_ascending(
    run: list[Doubt], before: int | None, after: int | None, *, repeats: bool = False
) -> list[int] | None:
    for strict in (False,) if repeats else (True, False):
        found = [
            way
            for way in _ways(run, strict)
            if (before is None or before < way[0] or (not strict and before == way[0]))
            and (after is None or way[-1] < after or (not strict and way[-1] == after))
        ]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def _ways(run: list[Doubt], strict: bool) -> list[list[int]]:
    """Ways to read the run so that time goes up; two stand for many."""
    old, new = [d.old_ms for d in run], [d.new_ms for d in run]
    steps = [i + 1 for i in range(len(old) - 1) if old[i + 1] < old[i] or (strict and old[i + 1] == old[i])]
    if run[0].kind == "skipped":
        return [] if steps else [old, new]
    if len(steps) > 1:
        return []
    if steps:
        cut = steps[0]
        return [old[:cut] + new[cut:]] if old[cut - 1] < new[cut] else []
    return [old, new]


def _direction(run: list[Doubt], before: int | None, after: int | None) -> int:
    """1 where rows get later down the file, -1 where earlier, 0 where nothing tells."""
    if before is not None and after is not None and before != after:
        return _sign(after - before)
    if steps := sum(_sign(b.old_ms - a.old_ms) for a, b in pairwise(run)):
        return _sign(steps)
    if before is not None:
        return _sign(run[0].old_ms - before)
    return _sign(after - run[0].old_ms) if after is not None else 0


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)


@dataclass(slots=True)
class RowOrder:
    """The rows of one series as they pass by, in the file's order; holds back the doubtful ones until decided.

    Bounded: it keeps one run of doubtful rows, which is at most the rows of two hours.
    """

    before: int | None = None
    repeats: bool = False
    trend: int = 0
    run: list[Doubt] = field(default_factory=list)

    def certain(self, ms: int) -> Iterator[tuple[Doubt, int | None]]:
        """A row whose instant is known; yields the held-back rows it ends, each with its instant or None."""
        if self.run:
            yield from self.end(ms)
        if self.before is not None:
            self.repeats = self.repeats or ms == self.before
            self.trend = _sign(ms - self.before) or self.trend
        self.before = ms

    def certain_rows(self, instants: np.ndarray) -> Iterator[tuple[Doubt, int | None]]:
        """The same for many rows at once (epoch milliseconds)."""
        yield from self.certain(int(instants[0]))
        steps = np.diff(instants)
        moves = np.flatnonzero(steps)
        self.repeats = self.repeats or len(moves) < len(steps)
        if len(moves):
            self.trend = _sign(int(steps[moves[-1]]))
        self.before = int(instants[-1])

    def doubtful(self, item: Doubt) -> Iterator[tuple[Doubt, int | None]]:
        """A row whose instant is in doubt."""
        if self.run and (item.kind != self.run[-1].kind or abs(item.old_ms - self.run[-1].old_ms) > _APART_MS):
            yield from self.end(item.old_ms)
        self.run.append(item)

    def end(self, after: int | None = None) -> Iterator[tuple[Doubt, int | None]]:
        """No more rows of this run: decide it. after: instant of the row that follows, if one does."""
        run, self.run = self.run, []
        if not run:
            return
        instants = decide(run, self.before, after, repeats=self.repeats, trend=self.trend)
        if instants:
            self.before = instants[-1]
        for i, item in enumerate(run):
            yield item, instants[i] if instants else None
