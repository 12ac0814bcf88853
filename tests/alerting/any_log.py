"""Any log of a store: every kind of device, disorder, rosters that change, and what people may want of the alerts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from hypothesis import strategies as st

from alerting.engine import Engine
from alerting.events import AssetInfo, Command, Event, Expected, Logged, OpenSpan, StoreInfo
from schemas.instants import to_rfc3339
from tests.alerting.logs import MINUTE, STORE, at, rules_of

EVERY_KIND = Path(__file__).with_name("every_kind.yaml")
RACK = "s001-rack-01"
DEVICES = {
    "s001-freezer-01-t": ("freezer", "temperature", (-21, -20, -17, -15.5, -14.5, -13.5, -11, -9)),
    "s001-freezer-01-d": ("freezer", "defrost", (0, 1)),
    "s001-freezer-01-o": ("freezer", "door_open", (0, 1)),
    "s001-freezer-02-t": ("freezer", "temperature", (-20, -17, -14.5, -11)),
    "s001-cooler-01-t": ("cooler", "temperature", (3, 4.5, 6, 9)),
    f"{RACK}-p": ("rack", "power", (0, 0.15, 4)),
    "s001-signage-01-p": ("signage", "power", (0, 2)),
}
"""(class, metric, values) by device."""
INTERVAL_S = 300
COMMANDS = ["acknowledge", "acknowledge", "unacknowledge", "silence", "maintenance", "cancel", "close", "dance"]
_AREAS = {"freezer": "Frozen", "cooler": "Chilled", "rack": "Back", "signage": "Entrance"}
ASSETS = [
    AssetInfo(asset, asset_class, asset.upper(), _AREAS[asset_class], RACK if "freezer" in asset else "")
    for asset, asset_class in {device[:-2]: DEVICES[device][0] for device in DEVICES}.items()
]
ABOUT = StoreInfo("America/Denver", "en-US", "[degF]", "One", (OpenSpan("mon", "04:00", "05:30"),))
"""Open from 10:00 to 11:30 UTC on the day of the log."""


def reading(device: str, minute: float, value: float | None, arrived: float, **more: Any) -> Logged:
    asset_class, metric, _ = DEVICES[device]
    event = Event(
        f"{device}-{round(minute * MINUTE)}",
        to_rfc3339(at(minute)),
        STORE,
        "reading",
        device,
        device[:-2],
        asset_class,
        metric,
        None if value is None else float(value),
    )
    return Logged(at(arrived), msgspec.structs.replace(event, **more))


def tick(minute: float, devices: list[str] | None = None, commands: list[Command] | None = None) -> Logged:
    """devices: a roster of these, with the store and its assets."""
    event = Event(f"tick-{at(minute)}", to_rfc3339(at(minute)), STORE, "tick", commands=commands)
    if devices is not None:
        event.roster = [Expected(name, name[:-2], *DEVICES[name][:2], INTERVAL_S) for name in sorted(devices)]
        event.store = ABOUT
        event.assets = [asset for asset in ASSETS if any(name.startswith(asset.asset_id) for name in devices)]
    return Logged(at(minute), event)


@st.composite
def any_log(draw, events: int = 150) -> list[Logged]:
    """Some hours, of up to so many draws. Alerts that commands name are those that the engine tells meanwhile."""
    engine = Engine(rules_of(EVERY_KIND))
    state, told, given = engine.start(STORE), [], []
    log: list[Logged] = []
    minute = 0.0

    def add(*new: Logged) -> None:
        nonlocal state
        log.extend(new)
        state, more = engine.advance(state, list(new))
        told.extend(more)

    add(tick(0, list(DEVICES)))
    for _ in range(draw(st.integers(20, events))):
        minute += draw(st.sampled_from([0, 0.01, 1, 1, 2, 5, 5, 5, 10, 30, 200]))
        what = draw(st.integers(0, 29))
        if what < 8:
            add(*_steady(draw, minute))
            minute = (log[-1].arrived_ms - at(0)) / MINUTE
        elif what < 18:
            device = draw(st.sampled_from(sorted(DEVICES)))
            late = draw(st.sampled_from([0, 0, 0, 0, 5, 7, 20, 400, -60]))
            add(reading(device, minute - late, draw(st.sampled_from(DEVICES[device][2])), minute))
        elif what < 19:
            again = draw(st.sampled_from([one for one in log[-20:] if one.event.kind != "tick"] or [tick(minute)]))
            add(Logged(at(minute), again.event))
        elif what < 21:
            device = draw(st.sampled_from(sorted(DEVICES)))
            add(reading(device, minute, None, minute, kind="bad-reading"))
        elif what < 23:
            add(tick(minute, draw(st.lists(st.sampled_from(sorted(DEVICES)), unique=True))))
        elif what < 24:
            add(tick(minute))
        else:
            command = draw(_commands(minute, [alert["alert_id"] for alert in told[-30:]], given))
            given.append(command)
            add(tick(minute, commands=[command]))
    return log


def _steady(draw, minute: float) -> list[Logged]:
    """A device that goes on for a time as it should, so that there is something to last; the others speak or not."""
    device = draw(st.sampled_from(sorted(DEVICES)))
    value = draw(st.sampled_from(DEVICES[device][2]))
    others = draw(st.sampled_from([(), tuple(DEVICES)]))
    found = []
    for number in range(draw(st.sampled_from([3, 6, 10]))):
        now = minute + number * 5
        found.append(reading(device, now, value, now))
        found += [reading(other, now, DEVICES[other][2][0], now) for other in others if other != device]
    return found


@st.composite
def _commands(draw, minute: float, alerts: list[str], given: list[Command]) -> Command:
    if given and draw(st.integers(0, 9)) == 0:
        return draw(st.sampled_from(given))
    what = draw(st.sampled_from(COMMANDS))
    # Another id each time, and the same in the same log.
    command = Command(f"cmd-{len(given)}", STORE, what, "alerts.cold-chain", actor="a-1", comment="why")
    command.until = to_rfc3339(at(minute + draw(st.sampled_from([-5, 1, 10, 45, 300, 3000]))))
    if what in ("acknowledge", "unacknowledge", "close"):
        command.alert_id = draw(st.sampled_from(alerts[::-1])) if alerts and draw(st.integers(0, 9)) else "unknown"
        if draw(st.booleans()):
            command.resolution = {
                "cause": "fan",
                "action": "replaced",
                "goods": draw(st.sampled_from(["kept", "moved"])),
            }
    elif what == "cancel":
        command.cancels = draw(st.sampled_from(given)).event_id if given and draw(st.integers(0, 9)) else "unknown"
    else:
        word, values = draw(
            st.sampled_from(
                [
                    ("rule", ["too_warm", "silent", "store_silent", "nonsense"]),
                    ("asset_id", ["s001-freezer-01", RACK, STORE, "nonsense"]),
                    ("asset_class", ["freezer", "cooler"]),
                    ("area", ["Frozen", "nonsense"]),
                    ("device_id", ["s001-freezer-01-t", "nonsense"]),
                    ("comment", ["everything"]),
                ]
            )
        )
        setattr(command, word, draw(st.sampled_from(values)))
        if draw(st.booleans()):
            command.from_ = to_rfc3339(at(minute + draw(st.sampled_from([-60, 0, 20]))))
        if what == "maintenance" and draw(st.booleans()):
            command.rrule, command.lasts_s = "FREQ=HOURLY", draw(st.sampled_from([0, 600, 1800]))
    return command
