"""What holds for every log."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.engine import KEPT, Changes, Engine, run
from alerting.events import Logged
from alerting.state import dumps, loads
from schemas.contract import contract
from schemas.validate import validator
from tests.alerting.life_table import follows_the_table
from tests.alerting.logs import (
    FREEZER,
    MINUTE,
    RULES,
    SHIPPED,
    STORE,
    Written,
    curve,
    engine,
    in_order,
    reading,
    rules_of,
    tick,
)

DEFROST = "s001-freezer-01-d"
COOLER = "s001-cooler-01-t"
ROSTER = {FREEZER: 300, DEFROST: 300, COOLER: 300}
_breaches = validator(contract("alert"))


@st.composite
def logs(draw) -> list[Logged]:
    """A store's log of some hours: values around the limits, late, doubled and wrong readings, pauses."""
    log, minute, sent = [tick(0, ROSTER)], 0.0, []
    for _ in range(draw(st.integers(20, 120))):
        minute += draw(st.sampled_from([0, 0.01, 1, 5, 5, 5, 10, 30, 200]))
        what = draw(st.integers(0, 19))
        if what < 10:
            late = draw(st.sampled_from([0, 0, 0, 0, 5, 7, 20, 400, -60]))
            value = draw(st.sampled_from([-20, -17, -15.5, -14.5, -14, -13, -11, -9]))
            sent.append(reading(minute - late, value, arrived=minute))
            log.append(sent[-1])
        elif what < 13:
            log.append(reading(minute, draw(st.sampled_from([0, 1])), device=DEFROST))
        elif what < 15:
            log.append(reading(minute, draw(st.sampled_from([3, 4.5, 6, 9])), device=COOLER))
        elif what < 16 and sent:
            again = draw(st.sampled_from(sent[-10:]))
            log.append(Logged(reading(minute, 0).arrived_ms, again.event))
        elif what < 17:
            log.append(reading(minute, None, kind="bad-reading"))
        elif what < 18:
            devices = dict(draw(st.lists(st.sampled_from(sorted(ROSTER.items())), unique=True)))
            log.append(tick(minute, devices))
        else:
            log.append(tick(minute))
    return log


def bytes_of(alerts) -> bytes:
    return b"\n".join(msgspec.json.encode(alert) for alert in alerts)


def decide(log: list[Logged], path: Path = RULES) -> list[dict]:
    return run(Engine(rules_of(path)), ((STORE, logged) for logged in log))


@pytest.mark.parametrize("path", [RULES, SHIPPED], ids=lambda path: path.stem)
@settings(max_examples=100, deadline=None)
@given(log=logs(), cuts=st.lists(st.integers(0, 120), max_size=8))
def test_any_cut_into_batches_with_a_restart_at_each_gives_the_same_alerts_byte_for_byte(path, log, cuts):
    whole = decide(log, path)
    edges = [0, *sorted(min(cut, len(log)) for cut in cuts), len(log)]
    text, told = dumps(Engine(rules_of(path)).start(STORE)), []
    for start, end in zip(edges, edges[1:], strict=False):
        state, new = Engine(rules_of(path)).advance(loads(text), log[start:end])
        text = dumps(state)
        told += new
    assert bytes_of(told) == bytes_of(whole)
    last, _ = Engine(rules_of(path)).advance(Engine(rules_of(path)).start(STORE), log)
    assert text == dumps(last)


@pytest.mark.parametrize("path", [RULES, SHIPPED], ids=lambda path: path.stem)
@settings(max_examples=100, deadline=None)
@given(log=logs(), cuts=st.lists(st.integers(0, 120), max_size=40))
def test_a_state_of_which_only_the_changes_are_written_is_the_whole_state(path, log, cuts):
    one = Engine(rules_of(path))
    state, written = one.start(STORE), Written()
    edges = [0, *sorted(min(cut, len(log)) for cut in cuts), len(log)]
    for start, end in zip(edges, edges[1:], strict=False):
        changes = Changes()
        state, _ = one.advance(state, log[start:end], None, changes)
        written.take(state, changes)
        assert dumps(written.read(Engine(rules_of(path)))) == dumps(state)


@pytest.mark.parametrize("path", [RULES, SHIPPED], ids=lambda path: path.stem)
@settings(max_examples=100, deadline=None)
@given(log=logs())
def test_an_alerts_events_follow_its_life_and_keep_the_contract(path, log):
    lives = defaultdict(list)
    for alert in decide(log, path):
        assert _breaches(msgspec.json.decode(msgspec.json.encode(alert))) == []
        lives[alert["alert_id"]].append(alert)
    for life in lives.values():
        assert follows_the_table(life)


@settings(max_examples=60, deadline=None)
@given(logs())
def test_nothing_a_store_is_remembered_by_grows_without_bound(log):
    state, _ = engine().advance(engine().start(STORE), log)
    assert len(state.devices) <= len(ROSTER)
    assert all(len(device.recent) <= KEPT for device in state.devices.values())


EXCURSIONS = {
    FREEZER: ("freezer_too_warm", (-20, -14, -18)),
    "s001-cooler-01-t": ("cooler_too_warm", (3, 6, 3)),
    "s001-freezer-02-d": ("defrost_too_long", (0, 1, 0)),
    "s001-freezer-03-o": ("door_left_open", (0, 1, 0)),
}
"""By device: rule, and the values before, during and after an excursion."""
LATEST = 11
"""Minutes that a reading may be late here."""


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(list(EXCURSIONS)), st.integers(15, 22), min_size=1), st.randoms())
def test_an_excursion_well_past_for_gives_the_same_alert_in_whatever_order_and_how_often_it_comes(lengths, random):
    """Excursions that are longer than `for` and the lateness together, of several devices and rules at once; some
    readings come twice, the second time up to half an hour late. When it ended is told by what had come until then."""
    story = in_order(
        *(
            curve([before] * 4 + [during] * length + [after] * 8, device=device)
            for device, length in lengths.items()
            for before, during, after in [EXCURSIONS[device][1]]
        )
    )

    def late(logged: Logged, minutes: list[int]) -> Logged:
        return Logged(logged.arrived_ms + random.choice(minutes) * MINUTE, logged.event)

    disturbed = [late(logged, [0, 0, 1, 4, 6, LATEST]) for logged in story]
    disturbed += [late(logged, [LATEST, 20, 30]) for logged in random.sample(story, len(story) // 4)]

    def told(log: list[Logged]) -> list[tuple[str, int, str, str]]:
        rules = {EXCURSIONS[device][0] for device in lengths}
        return sorted(
            (alert["alert_id"], alert["sequence"], alert["event"], alert["starts_at"])
            for alert in decide(log, SHIPPED)
            if alert["rule"] in rules
        )

    undisturbed = told(story)
    assert [step[2] for step in undisturbed] == ["raised", "resolved"] * len(lengths)
    assert told(in_order(disturbed)) == undisturbed
