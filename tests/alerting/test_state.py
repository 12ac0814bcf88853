"""State as text."""

from __future__ import annotations

import json

import pytest

from alerting import state as states
from alerting.engine import Changes
from alerting.events import AssetInfo
from alerting.state import UnknownState, dumps, join, loads, split
from tests.alerting.logs import CASES, FREEZER, STORE, Written, at, case_log, curve, engine, reading, tick


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_a_state_reads_back_as_it_was_written(folder):
    state, _ = engine().advance(engine().start(STORE), case_log(folder))
    assert loads(dumps(state)) == state
    assert dumps(loads(dumps(state))) == dumps(state)


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_a_state_in_parts_is_the_state(folder):
    state, _ = engine().advance(engine().start(STORE), case_log(folder))
    assert dumps(join(split(state))) == dumps(state)


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_what_is_written_event_by_event_is_the_state(folder):
    """The cases have commands, silences, groups and dependencies among them."""
    one = engine()
    state, written = one.start(STORE), Written()
    for logged in case_log(folder):
        changes = Changes()
        state, _ = one.advance(state, [logged], None, changes)
        written.take(state, changes)
        assert dumps(written.read(engine())) == dumps(state)


def test_a_calm_reading_has_only_to_be_remembered():
    state, _ = engine().advance(engine().start(STORE), curve([-20] * 3, step=1))
    changes = Changes()
    engine().advance(state, curve([-20], start=3), None, changes)
    assert (changes.anything, changes.devices) == (False, set())
    assert [(reading[0], reading[2]) for reading in changes.calm] == [(FREEZER, -20)]


def test_parts_of_an_earlier_release_are_upgraded(monkeypatch):
    state, _ = engine().advance(engine().start(STORE), curve([-20] * 3))
    parts = split(state)
    monkeypatch.setattr(states, "VERSION", 3)
    monkeypatch.setattr(states, "UPGRADES", {2: lambda s: s | {"freed": 7, "version": 3}})
    upgraded = join(parts)
    assert (upgraded.freed, upgraded.version, upgraded.devices) == (7, 3, state.devices)


def test_state_is_json_and_says_its_version():
    state, _ = engine().advance(engine().start(STORE), curve([-14] * 8))
    assert json.loads(dumps(state))["version"] == states.VERSION


def test_a_state_of_a_later_release_is_refused_with_the_next_step():
    with pytest.raises(UnknownState, match="version 99 is newer than 2; run the release that wrote it"):
        loads('{"version":99}')


def test_a_state_of_an_earlier_release_is_upgraded_step_by_step(monkeypatch):
    old = dumps(engine().start(STORE)).replace('"clock":0,', "")
    monkeypatch.setattr(states, "VERSION", 4)
    monkeypatch.setattr(
        states, "UPGRADES", {2: lambda s: s | {"clock": 5, "version": 3}, 3: lambda s: s | {"due": 7, "version": 4}}
    )
    upgraded = loads(old)
    assert (upgraded.clock, upgraded.due, upgraded.version) == (5, 7, 4)


def test_an_alert_of_a_version_1_state_goes_on_under_its_id():
    """As the first release wrote it: a freezer too warm, with an open alert, and a silent sensor."""
    text = (
        '{"store_id":"store-001","clock":60000,"due":0,"rules":"r","roster":true,"devices":{"f-t":["f","freezer",'
        '"temperature",60,60000,"e2",[[0,-20.0,""],[60000,-14.0,"e2"]],null,null,{"freezer_too_warm":'
        '[[[60000,-14.0,"e2"],null,null],[60000,-14.0,"e2"],["id",1,"warning",60000,-15.0,[60000,-14.0,"e2"],null,null]]}'
        ',{"sensor_silent":["is",1,"warning",0,300.0,null,null,null]}]},"version":1}'
    )
    device = loads(text).devices["f-t"]
    assert device.tracks["freezer_too_warm"].since[0] == (60000, -14.0, "e2")
    assert (device.alerts["freezer_too_warm"].alert_id, device.alerts["freezer_too_warm"].sequence) == ("id", 1)
    assert (device.alerts["sensor_silent"].alert_id, device.alerts["sensor_silent"].status) == ("is", "firing")


def test_assets_that_come_and_go_leave_no_trace_in_the_state():
    """Every day the store gets other freezers, which are too warm and then silent, so that alerts end with them."""
    judge, sizes = engine(), []
    state = judge.start(STORE)
    for day in range(12):
        devices = [f"day-{day:02}-freezer-{number}-t" for number in range(3)]
        start = day * 24 * 60
        readings = [reading(start + minute, -14, device=device) for minute in range(1, 40) for device in devices]
        assets = [AssetInfo(device[:-2], "freezer") for device in devices]
        for minute in range(60):
            ticked = tick(start + minute, dict.fromkeys(devices, 60) if not minute else None)
            if not minute:
                ticked.event.assets = assets
            due = [logged for logged in readings if logged.arrived_ms == at(start + minute)]
            state, told = judge.advance(state, [*due, ticked])
        assert sorted(state.devices) == devices
        assert sorted(state.assets) == [asset.asset_id for asset in assets]
        sizes.append(len(dumps(state)))
    # What has ended is remembered for a while; after that a day takes away as much as it brings.
    assert len(set(sizes[-5:])) == 1, sizes
    assert sizes[-1] < 2 * sizes[len(sizes) // 2], sizes


def test_this_releases_state_format_is_unchanged():
    """A savepoint of a release must restore in the next: where this fails, raise VERSION and write an upgrade."""
    text = (
        '{"store_id":"store-001","clock":60000,"due":0,"rules":"r","roster":true,"devices":{"f-t":["f","freezer",'
        '"temperature",60,60000,"e2",[[0,-20.0,""],[60000,-14.0,"e2"]],null,null,{"freezer_too_warm":'
        '[[[60000,-14.0,"e2"],null],[60000,-14.0,"e2"],[null,55]]},{"sensor_silent":["id",1,"warning",0,300.0,null,'
        'null,null,5,"firing",0,0,"",["a"],"warning"]},{"r":[[0,-20.0]]},{"c":[[0,60000]]},7,8,"b","queue"]},'
        '"about":{"time_zone":"UTC","locale":"en-US","display_unit":"Cel","name":"","opening_hours":[{"day":"mon",'
        '"opens":"06:00","closes":"24:00"}],"holidays":[{"date":"2026-12-25","closed":true,"opens":"","closes":""}]},'
        '"assets":{"f":{"asset_id":"f","asset_class":"freezer","name":"F","area":"A","parent_id":"r","gtin":""}},'
        '"groups":{},"silences":{"s":{"silence_id":"s","begins":1,"until":2,"maintenance":true,"rule":"","asset_id":"f",'
        '"asset_class":"","area":"","device_id":"","rrule":"FREQ=DAILY","lasts_ms":60,"actor":"a","comment":"c",'
        '"sequence":1,"began_at":1,"edge":2}},"ended":{"e":{"alert":["e",2,"critical",0,-15.0,null,null,null,0,"resolved"'
        ',0,0,"",[],"critical"],"rule":"r","asset_id":"f","asset_class":"freezer","device_id":"d","metric":"temperature",'
        '"ended_at":1,"forget_at":2,"asks":true,"closed":false}},"seen":["x"],"freed":3,"version":2}'
    )
    assert dumps(loads(text)) == text
