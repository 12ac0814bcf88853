"""State as text."""

from __future__ import annotations

import json

import pytest

from alerting import state as states
from alerting.state import UnknownState, dumps, loads
from tests.alerting.logs import CASES, STORE, case_log, curve, engine


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_a_state_reads_back_as_it_was_written(folder):
    state, _ = engine().advance(engine().start(STORE), case_log(folder))
    assert loads(dumps(state)) == state
    assert dumps(loads(dumps(state))) == dumps(state)


def test_state_is_json_and_says_its_version():
    state, _ = engine().advance(engine().start(STORE), curve([-14] * 8))
    assert json.loads(dumps(state))["version"] == states.VERSION


def test_a_state_of_a_later_release_is_refused_with_the_next_step():
    with pytest.raises(UnknownState, match="version 99 is newer than 1; run the release that wrote it"):
        loads('{"version":99}')


def test_a_state_of_an_earlier_release_is_upgraded_step_by_step(monkeypatch):
    old = dumps(engine().start(STORE)).replace('"clock":0,', "")
    monkeypatch.setattr(states, "VERSION", 3)
    monkeypatch.setattr(
        states, "UPGRADES", {1: lambda s: s | {"clock": 5, "version": 2}, 2: lambda s: s | {"due": 7, "version": 3}}
    )
    upgraded = loads(old)
    assert (upgraded.clock, upgraded.due, upgraded.version) == (5, 7, 3)


def test_this_releases_state_format_is_unchanged():
    """A savepoint of a release must restore in the next: where this fails, raise VERSION and write an upgrade."""
    text = (
        '{"store_id":"store-001","clock":60000,"due":0,"rules":"r","roster":true,"devices":{"f-t":["f","freezer",'
        '"temperature",60,60000,"e2",[[0,-20.0,""],[60000,-14.0,"e2"]],null,null,{"freezer_too_warm":'
        '[[[60000,-14.0,"e2"],null,null],[60000,-14.0,"e2"],null]},{"sensor_silent":["id",1,"warning",0,300.0,null,'
        'null,null]}]},"version":1}'
    )
    assert dumps(loads(text)) == text
