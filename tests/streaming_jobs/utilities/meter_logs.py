"""Logs of meters as these tests write them: a store in Berlin, open 07:00 to 22:00 but on Sundays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from alerting.events import Event, Expected, Holiday, OpenSpan, StoreInfo
from schemas.instants import to_rfc3339
from streaming_jobs.derive import READINGS
from streaming_jobs.utilities.deriver import State, Utilities

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
STORE = "store-002"
BERLIN = ZoneInfo("Europe/Berlin")
CLASSES = {"power": "power_meter", "energy": "power_meter", "water": "water_meter", "heartbeat": "signage"}
ASSETS = {"power": "s002-power-01", "energy": "s002-power-01", "water": "s002-water-01", "heartbeat": "s002-signage-01"}
INTERVALS = {"power": 60, "energy": 300, "water": 300, "heartbeat": 60}
ABOUT = StoreInfo(
    time_zone="Europe/Berlin",
    locale="de-DE",
    name="Berlin",
    opening_hours=tuple(OpenSpan(day, "07:00", "22:00") for day in ("mon", "tue", "wed", "thu", "fri", "sat")),
    holidays=(Holiday("2026-10-03", True), Holiday("2026-12-24", False, "07:00", "14:00")),
)

Logged = tuple[int, Event]


def at(local: str) -> int:
    """Epoch ms of a local time in Berlin, `2026-10-05 22:00`."""
    return round(datetime.fromisoformat(local).replace(tzinfo=BERLIN).timestamp() * 1000)


def local(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, BERLIN):%Y-%m-%d %H:%M}"


def local_hour(ms: int) -> int:
    return datetime.fromtimestamp(ms / 1000, BERLIN).hour


def reading(
    ms: int, metric: str, value: float, *, arrived: int | None = None, asset: str = "", device: str = ""
) -> Logged:
    asset = asset or ASSETS[metric]
    device = device or f"{asset}-{metric[0]}"
    event = Event(
        event_id=f"{device}-{ms}",
        event_time=to_rfc3339(ms),
        store_id=STORE,
        kind="reading",
        device_id=device,
        asset_id=asset,
        asset_class=CLASSES[metric],
        metric=metric,
        value=value,
    )
    return ms + 400 if arrived is None else arrived, event


def tick(ms: int, about: StoreInfo | None = ABOUT, metrics: Iterable[str] = tuple(ASSETS)) -> Logged:
    """A tick that tells store and roster."""
    event = Event(f"tick-{STORE}-{ms}", to_rfc3339(ms), STORE, "tick", store=about)
    event.roster = [
        Expected(f"{ASSETS[name]}-{name[0]}", ASSETS[name], CLASSES[name], name, INTERVALS[name]) for name in metrics
    ]
    return ms, event


def gauge(begin: int, end: int, kw: Callable[[int], float]) -> list[Logged]:
    """A power reading each minute."""
    return [reading(ms, "power", kw(ms)) for ms in range(begin, end, MINUTE)]


def counter(begin: int, end: int, metric: str, per_hour: Callable[[int], float], first: float = 1000.0) -> list[Logged]:
    """A count each five minutes, two minutes past; per_hour: what is used per hour at an instant."""
    count, log = first, []
    for ms in range(begin, end, MINUTE):
        if (ms - 2 * MINUTE) % (5 * MINUTE) == 0:
            log.append(reading(ms, metric, round(count, 6)))
        count += per_hour(ms) / 60
    return log


def derive(log: Iterable[Logged], state: State | None = None) -> Iterator[Event]:
    """What is derived of a store's log."""
    deriver = Utilities()
    state = deriver.start(STORE) if state is None else state
    for arrived, event in log:
        yield from deriver.advance(state, arrived, READINGS, event)


def told(found: Iterable[Event], metric: str) -> list[tuple[str, Any]]:
    """(local time, value) of one derived metric."""
    from schemas.instants import to_ms

    return [(local(to_ms(event.event_time)), event.value) for event in found if event.metric == metric]
