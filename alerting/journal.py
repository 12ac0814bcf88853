"""How a store's state is written down batch by batch, so that what is written follows what changed. Pure.

A state lies in parts, one a device (`alerting.state.split`). Where a batch brings few readings of each device, a part
would be written for nearly every reading: then readings about which no rule had anything to decide are only noted down
in a journal, and the parts of their devices are behind until as many are noted that writing the parts costs less. What
is read back is the parts, and then the journal's readings, remembered and not decided again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from alerting.engine import Calm, Changes, Engine
from alerting.state import Store, join, split

WORTH = 8
"""With so many readings in the journal for each device that is behind, the parts are written: a part is some 700 bytes,
a reading some 90."""


class Entry(msgspec.Struct, array_like=True):
    """What one batch added. settled: devices whose part was written with it, so that what stands of them before here is
    in their part."""

    clock: int
    due: int
    calm: list[Calm] = []
    settled: list[str] = []


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Entry).decode


@dataclass(frozen=True, slots=True)
class Writing:
    """What a batch has to write: parts to put, parts to remove, a line to add to the journal; anew: the journal, as it
    was before this batch, is done with."""

    parts: dict[str, str]
    gone: tuple[str, ...] = ()
    line: str | None = None
    anew: bool = False


@dataclass(slots=True)
class Book:
    """What is written of one store. names: the parts there are; behind: devices of which the journal has readings;
    noted: how many, a batch without any counting as one."""

    names: tuple[str, ...] = ()
    behind: set[str] = field(default_factory=set)
    noted: int = 0

    def write(self, state: Store, changes: Changes) -> Writing:
        """What to write after a batch that led to this state and changed this of it."""
        if changes.anything:
            parts = split(state)
            gone = tuple(name for name in self.names if name not in parts)
            self.names = tuple(parts)
            return Writing(parts, gone, anew=self._settle())
        touched = changes.devices
        calm = [one for one in changes.calm if one[0] not in touched] if touched else changes.calm
        behind = self.behind
        behind.update([one[0] for one in calm])
        settled = sorted(touched & behind) if touched else []
        behind -= touched
        self.noted += max(1, len(calm))
        if self.noted >= WORTH * len(behind):
            return Writing(split(state, behind | touched), anew=self._settle())
        line = _encode(Entry(state.clock, state.due, calm, settled)).decode()
        return Writing(split(state, touched, clock=False), line=line)

    def _settle(self) -> bool:
        """Every part is up to date. Returns whether there was a journal."""
        was = self.noted > 0
        self.behind, self.noted = set(), 0
        return was


def read(engine: Engine, parts: Mapping[str, str], lines: Iterable[str]) -> Store:
    """The state that was written. Raises UnknownState."""
    state = join(parts)
    entries = [_decode(line) for line in lines]
    settled_at = {device_id: number for number, entry in enumerate(entries) for device_id in entry.settled}
    for number, entry in enumerate(entries):
        engine.remember(state, [one for one in entry.calm if settled_at.get(one[0], -1) < number])
        state.clock, state.due = entry.clock, entry.due
    return state
