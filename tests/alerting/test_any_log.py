"""What holds for every log and every kind of rule, whatever devices, tickers and people do."""

from __future__ import annotations

import random
from collections import defaultdict

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.alerts import MOST_ENDED
from alerting.commands import MOST_SILENCES, SEEN
from alerting.engine import KEPT, Engine, run
from alerting.events import Command, Logged
from alerting.fold import answers
from alerting.language import COMMAND_RULE
from alerting.life import alert_id
from alerting.limits import MOST_SPANS
from alerting.state import Store, dumps, loads
from schemas.contract import contract
from schemas.instants import to_rfc3339
from schemas.validate import validator
from tests.alerting.any_log import DEVICES, EVERY_KIND, any_log, reading, tick
from tests.alerting.life_table import follows_the_table
from tests.alerting.logs import SHIPPED, STORE, at, rules_of

WITH_BOTH = pytest.mark.parametrize("path", [SHIPPED, EVERY_KIND], ids=lambda path: path.stem)
_breaches = validator(contract("alert"))


def bytes_of(alerts) -> bytes:
    return b"\n".join(msgspec.json.encode(alert) for alert in alerts)


def decide(log: list[Logged], path) -> list[dict]:
    return run(Engine(rules_of(path)), ((STORE, logged) for logged in log))


@WITH_BOTH
@settings(max_examples=15, deadline=None)
@given(log=any_log(), cuts=st.lists(st.integers(0, 300), max_size=8))
def test_any_cut_into_batches_with_a_restart_at_each_gives_the_same_alerts_byte_for_byte(path, log, cuts):
    whole = decide(log, path)
    edges = [0, *sorted(min(cut, len(log)) for cut in cuts), len(log)]
    text, told = dumps(Engine(rules_of(path)).start(STORE)), []
    for start, end in zip(edges, edges[1:], strict=False):
        state, new = Engine(rules_of(path)).advance(loads(text), log[start:end])
        within_bounds(state)
        text = dumps(state)
        told += new
    assert bytes_of(told) == bytes_of(whole)
    last, _ = Engine(rules_of(path)).advance(Engine(rules_of(path)).start(STORE), log)
    assert text == dumps(last)


@WITH_BOTH
@settings(max_examples=15, deadline=None)
@given(log=any_log())
def test_alerts_follow_their_life_keep_the_contract_and_answer_every_command(path, log):
    lives, told = defaultdict(list), decide(log, path)
    for alert in told:
        assert _breaches(msgspec.json.decode(msgspec.json.encode(alert))) == []
        if alert["rule"] != COMMAND_RULE:
            lives[alert["alert_id"]].append(alert)
    for life in lives.values():
        assert follows_the_table(life)
    for command in {command.event_id: command for logged in log for command in logged.event.commands or ()}.values():
        mine = [alert["event"] for alert in told if answers(alert, msgspec.to_builtins(command))]
        assert mine, command
        assert sum(event in ("rejected", "closed") for event in mine) <= 1, (command, mine)


@WITH_BOTH
@settings(max_examples=10, deadline=None)
@given(log=any_log())
def test_a_pause_in_which_nothing_was_written_silences_nobody(path, log):
    """Two hours without any record, ticks included, then the devices go on."""
    engine = Engine(rules_of(path))
    state, _ = engine.advance(engine.start(STORE), [*log, tick_after(log, 0.1, list(DEVICES))])
    silent = {name for device in state.devices.values() for name in device.alerts} | state.groups.keys()
    again = tick_after(log, 120)
    _, told = engine.advance(state, [again])
    raised = [alert for alert in told if alert["event"] == "raised" and alert["limit"]["kind"] == "absent_for"]
    assert raised == [], silent


def tick_after(log: list[Logged], minutes: float, roster: list[str] | None = None) -> Logged:
    return tick((log[-1].arrived_ms - at(0)) / 60_000 + minutes, roster)


# ---- bounds


def test_no_state_grows_without_bound():
    """Months of a store in which alerts, commands, bad values and devices come and go without end."""
    chance, engine = random.Random(11), Engine(rules_of(EVERY_KIND))
    state, sizes = engine.start(STORE), []
    minute = 0.0
    for number in range(6_000):
        minute += chance.choice((0.5, 1, 5, 5, 5, 5, 20))
        state, _ = engine.advance(state, list(_anything(chance, number, minute)))
        if number % 250 == 249:
            state = loads(dumps(state))
            within_bounds(state)
            sizes.append(len(dumps(state)))
    later = sizes[len(sizes) // 2 :]
    assert max(later) <= 1.1 * max(sizes[: len(sizes) // 2]), sizes


def _anything(chance: random.Random, number: int, minute: float):
    if number % 40 == 0:
        # Devices come and go: each case is now and then replaced by another, under another name.
        name = f"s001-freezer-{number // 40:04d}-t"
        DEVICES_NOW[:] = [*list(DEVICES), name]
        yield _roster(minute)
    for device in chance.sample(DEVICES_NOW, 4):
        values = DEVICES.get(device, ("freezer", "temperature", (-20, -11)))[2]
        bad = chance.random() < 0.1
        value = None if bad else chance.choice(values)
        late = chance.choice((0, 0, 0, 3, 40))
        yield _reading(device, minute - late, value, minute, "bad-reading" if bad else "reading")
    if chance.random() < 0.4:
        yield tick(minute, commands=[_command(chance, number, minute)])


DEVICES_NOW: list[str] = list(DEVICES)


def _roster(minute: float) -> Logged:
    told = tick(minute, list(DEVICES))
    extra = msgspec.structs.replace(
        told.event.roster[0], device_id=DEVICES_NOW[-1], asset_id=DEVICES_NOW[-1][:-2], metric="temperature"
    )
    told.event.roster.append(msgspec.structs.replace(extra, asset_class="freezer"))
    return told


def _reading(device: str, minute: float, value: float | None, arrived: float, kind: str) -> Logged:
    like = device if device in DEVICES else "s001-freezer-01-t"
    names = {"device_id": device, "asset_id": device[:-2], "event_id": f"{device}-{round(minute * 60_000)}"}
    return reading(like, minute, value, arrived, kind=kind, **names)


def _command(chance: random.Random, number: int, minute: float) -> Command:
    what = chance.choice(("silence", "maintenance", "acknowledge", "cancel", "close"))
    until = to_rfc3339(at(minute + chance.choice((10, 600, 100_000))))
    command = Command(f"cmd-{number}", STORE, what, "alerts.cold-chain", actor="a", until=until)
    command.alert_id = alert_id("too_warm", "s001-freezer-01", f"s001-freezer-01-t-{round(minute * 60_000)}")
    command.cancels = f"cmd-{number - chance.randrange(1, 50)}"
    return command


def within_bounds(state: Store) -> None:
    assert len(state.devices) <= len(DEVICES) + 1
    assert len(state.assets) <= len(DEVICES) + 1
    assert len(state.silences) <= MOST_SILENCES
    assert len(state.ended) <= MOST_ENDED
    assert len(state.seen) <= SEEN
    rules = len(rules_of(EVERY_KIND).rules)
    for device in state.devices.values():
        assert len(device.recent) <= KEPT
        assert len(device.alerts) <= rules
        assert len(device.tracks) <= rules
        assert all(len(spans) <= MOST_SPANS for spans in device.past.values())
        assert all(len(edges) <= 100 for edges in device.edges.values())
        for alert in device.alerts.values():
            assert len(alert.members) <= len(DEVICES)
    for alert in state.groups.values():
        assert len(alert.members) <= len(DEVICES)
