"""Stories in which time goes wrong, each a store's log from eight in the morning, with what must be told of it.

A log is cut where the job is stopped. Minutes count from eight; arrival times are the log's, `event_time` the device's.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import msgspec

from alerting.life import alert_id
from schemas.instants import to_ms, to_rfc3339

EIGHT = to_ms("2026-10-05T08:00:00.000Z")
MINUTE = 60_000
COLD, WARM = -20.0, -14.0
STOP = 120
"""Minute at which the job is stopped: ten o'clock."""

Arrival = tuple[int, dict[str, Any]]
Told = tuple[str, str, str, str, str]
"""(event, rule, asset, starts_at, decided_at), times as HH:MM:SS."""


@dataclass
class Story:
    """A store's log in the making. interval_s: of each of its devices. told: what must be told, in order."""

    store: str
    freezers: int = 1
    interval_s: int = 60
    log: list[Arrival] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)

    def asset(self, number: int = 1) -> str:
        return f"{self.store}-f{number}"

    def event_id(self, minute: float, number: int = 1) -> str:
        return f"{self.asset(number)}-{round(minute * MINUTE)}"

    def alert_id(self, rule: str, first_breach: float, number: int = 1) -> str:
        """Of a limit's alert: the first breach's reading was measured at that minute."""
        return alert_id(rule, self.asset(number), self.event_id(first_breach, number))

    def ticks(self, start: int, end: int) -> None:
        """One a minute, at ten seconds past; the first of the log tells the devices."""
        for minute in range(start, end):
            event = self._event(f"tick-{self.store}-{minute}", minute + 1 / 6, "tick")
            if minute == 0:
                event["roster"] = [
                    {
                        "device_id": f"{self.asset(number)}-t",
                        "asset_id": self.asset(number),
                        "asset_class": "freezer",
                        "metric": "temperature",
                        "interval_s": self.interval_s,
                    }
                    for number in range(1, self.freezers + 1)
                ]
            self.log.append((at(minute + 1 / 6), event))

    def reading(
        self, minute: float, value: float, number: int = 1, *, arrived: float | None = None, ahead: float = 0
    ) -> None:
        """Measured at a minute, by a clock that is so many minutes ahead."""
        event = self._event(self.event_id(minute, number), minute + ahead, "reading") | {
            "device_id": f"{self.asset(number)}-t",
            "asset_id": self.asset(number),
            "asset_class": "freezer",
            "metric": "temperature",
            "value": value,
            "unit": "Cel",
        }
        self.log.append((at(minute if arrived is None else arrived), event))

    def readings(self, start: int, end: int, value: float, number: int = 1, *, ahead: float = 0) -> None:
        for minute in range(start, end):
            self.reading(minute, value, number, ahead=ahead)

    def part(self, *, before_the_stop: bool) -> list[tuple[int, bytes]]:
        """(arrived_ms, payload) in the order of arrival."""
        sides = sorted(self.log, key=lambda arrival: arrival[0])
        return [(ms, msgspec.json.encode(event)) for ms, event in sides if (ms < at(STOP)) == before_the_stop]

    def _event(self, event_id: str, minute: float, kind: str) -> dict[str, Any]:
        return {
            "event_id": event_id,
            "event_time": to_rfc3339(at(minute)),
            "store_id": self.store,
            "schema_version": 1,
            "kind": kind,
        }


def at(minute: float) -> int:
    """Epoch ms."""
    return EIGHT + round(minute * MINUTE)


def _clock(minute: float) -> str:
    return to_rfc3339(at(minute))[11:19]


def disordered() -> Story:
    """Every reading comes up to ten minutes late, in any order, and half of them twice; two come hours late, when
    their device is not remembered that far back. Too warm from 8:10 to 9:30."""
    story, chance = Story("time-disordered", freezers=2), random.Random(9)
    story.ticks(0, 240)
    story.readings(0, 246, COLD, 2)
    came = {}
    for minute in range(240):
        came[minute] = minute + chance.choice((0, 0, 2, 4, 7, 10)) + minute / 1000
        copies = [came[minute]] + [came[minute] + chance.choice((0, 1, 3))] * (chance.random() < 0.5)
        for arrived in copies:
            story.reading(minute, WARM if 10 <= minute < 90 else COLD, arrived=arrived)
    for minute in (30.5, 31.5):
        story.reading(minute, COLD, arrived=200)
    # Told when two readings half an hour apart have come, and over when two cold ones are five minutes apart.
    raised = min(max(came[10], came[minute]) for minute in range(40, 90))
    over = min(max(came[one], came[two]) for one in range(90, 200) for two in range(one + 5, one + 12))
    story.told = [
        ("raised", "too_warm", "time-disordered-f1", "08:10:00", _clock(raised)),
        ("resolved", "too_warm", "time-disordered-f1", "08:10:00", _clock(over)),
    ]
    return story


def an_hour_ahead() -> Story:
    """The first freezer's clock is an hour ahead, and it is too warm from 8:10 on. The second is too warm for 20 min
    only, the third falls silent at 8:20."""
    story = Story("time-ahead", freezers=3)
    story.ticks(0, 240)
    for minute in range(240):
        story.reading(minute, WARM if 10 <= minute < 60 else COLD, ahead=60)
        story.reading(minute, WARM if 10 <= minute < 30 else COLD, 2)
        if not 20 <= minute < 50:
            story.reading(minute, COLD, 3)
    story.told = [
        # Heard last at 8:19; every minute counts, and it takes five.
        ("raised", "silent", "time-ahead-f3", "08:20:00", "08:24:00"),
        ("raised", "too_warm", "time-ahead-f1", "09:10:00", "08:40:00"),
        ("resolved", "silent", "time-ahead-f3", "08:20:00", "08:50:00"),
        ("resolved", "too_warm", "time-ahead-f1", "09:10:00", "09:05:00"),
    ]
    return story


def offline_for_six_hours() -> Story:
    """A logger that reports every five minutes is not heard from 9:00 to 15:00, then delivers all of it within two
    seconds, oldest first: too warm from 9:20 to 13:20, cold since."""
    story = _offline("time-offline", came_back=420 - 1 / 30)
    story.told = [
        # Heard last at 8:55; three reports missed, and half an interval's grace.
        ("raised", "silent", "time-offline-f1", "09:00:00", "09:12:30"),
        ("resolved", "silent", "time-offline-f1", "09:00:00", "14:59:58"),
        ("raised", "too_warm", "time-offline-f1", "09:20:00", "14:59:58"),
        ("escalated", "too_warm", "time-offline-f1", "09:20:00", "14:59:58"),
        ("raised", "warm_in_sum", "time-offline-f1", "09:20:00", "14:59:59"),
        ("resolved", "too_warm", "time-offline-f1", "09:20:00", "14:59:59"),
    ]
    return story


def offline_and_newest_first() -> Story:
    """The same, but its reading of 15:00 comes before what it kept. What is over by then raises no `too_warm` any more;
    it counts in the sum."""
    story = _offline("time-offline-newest", came_back=420 + 1 / 30)
    story.told = [
        ("raised", "silent", "time-offline-newest-f1", "09:00:00", "09:12:30"),
        ("resolved", "silent", "time-offline-newest-f1", "09:00:00", "15:00:00"),
        ("raised", "warm_in_sum", "time-offline-newest-f1", "09:20:00", "15:00:03"),
    ]
    return story


def _offline(store: str, came_back: float) -> Story:
    story = Story(store, freezers=2, interval_s=300)
    story.ticks(0, 480)
    for minute in range(0, 480, 5):
        story.reading(minute, COLD, 2)
        value = WARM if 80 <= minute < 320 else COLD
        kept = 60 <= minute < 420
        story.reading(minute, value, arrived=came_back + (minute - 60) / 360 / 30 if kept else None)
    return story


def whole_store_silent() -> Story:
    """Nothing from any freezer from 9:00 to 9:30; two come back, the third does not."""
    story = Story("time-silent", freezers=3)
    story.ticks(0, 240)
    for number in (1, 2, 3):
        story.readings(0, 60, COLD, number)
    for number in (1, 2):
        story.readings(90, 240, COLD, number)
    story.told = [
        ("raised", "store_silent", "time-silent", "08:59:00", "09:02:30"),
        ("resolved", "store_silent", "time-silent", "08:59:00", "09:30:00"),
        # It gets its own time again, from when the store was heard.
        ("raised", "silent", "time-silent-f3", "09:00:00", "09:35:00"),
    ]
    return story


def everything_stopped() -> Story:
    """Nothing at all is written from 10:00 to 12:00: ticker, gateway and job stand still. One freezer has been too warm
    since 9:20 and is cold at 12:20; the other one is too warm from 9:45 to 12:20, of which nobody saw two hours."""
    story = Story("time-stopped", freezers=2)
    for start, end in ((0, STOP), (240, 360)):
        story.ticks(start, end)
        for minute in range(start, end):
            story.reading(minute, WARM if 80 <= minute < 260 else COLD)
            story.reading(minute, WARM if 105 <= minute < 260 else COLD, 2)
    story.told = [
        ("raised", "too_warm", "time-stopped-f1", "09:20:00", "09:50:00"),
        ("resolved", "too_warm", "time-stopped-f1", "09:20:00", "12:25:00"),
    ]
    return story


def only_the_job_stopped() -> Story:
    """The log goes on while the job is stopped at 10:00. A freezer is too warm from 9:45 to 12:50."""
    story = Story("time-backlog", freezers=2)
    story.ticks(0, 360)
    for minute in range(360):
        story.reading(minute, WARM if 105 <= minute < 290 else COLD)
        story.reading(minute, COLD, 2)
    story.told = [
        ("raised", "too_warm", "time-backlog-f1", "09:45:00", "10:15:00"),
        ("escalated", "too_warm", "time-backlog-f1", "09:45:00", "11:45:00"),
        ("raised", "warm_in_sum", "time-backlog-f1", "09:45:00", "12:45:00"),
        ("resolved", "too_warm", "time-backlog-f1", "09:45:00", "12:55:00"),
    ]
    return story


STORIES = {
    story.store: story
    for story in (
        disordered(),
        an_hour_ahead(),
        offline_for_six_hours(),
        offline_and_newest_first(),
        whole_store_silent(),
        everything_stopped(),
        only_the_job_stopped(),
    )
}
