"""docs/alert-life.md: each row of its table happens, and nothing that is not in it."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from typing import Any

from alerting.engine import Engine
from alerting.events import Command, Logged
from alerting.language import COMMAND_RULE
from alerting.state import Store
from schemas.instants import to_rfc3339
from tests.alerting import test_cases
from tests.alerting.any_log import DEVICES, EVERY_KIND, reading, tick
from tests.alerting.life_table import follows_the_table, table
from tests.alerting.logs import CASES, STORE, at, curve, decide, in_order, rules_of
from tests.alerting.logs import reading as freezer_reading
from tests.alerting.test_attention import WARM, store

SHOWN_BY_ITS_OWN_TEST = {("masked", "updated")}
"""Needs three rules, each hanging on the next: test_an_alert_that_is_part_of_another_lists_its_own_members."""


def rows(told: Iterable[dict[str, Any]]) -> set[tuple[str, str]]:
    """The rows that the alerts went through; asserts that they went through nothing else."""
    lives, found = defaultdict(list), set()
    for alert in told:
        if alert["rule"] != COMMAND_RULE:
            lives[alert["alert_id"]].append(alert)
    for life in lives.values():
        assert follows_the_table(life)
        found |= {(was, alert["event"]) for was, alert in zip(_statuses(life), life, strict=False)}
    return found


def _statuses(life: list[dict[str, Any]]) -> list[str]:
    return ["pending", *(alert["status"] for alert in life)]


@cache
def busy_days(seed: int, steps: int = 2000) -> list[dict[str, Any]]:
    """What is told in some days of a store whose people answer alerts all the time. The same for the same seed."""
    chance, engine = random.Random(seed), Engine(rules_of(EVERY_KIND))
    values = {device: DEVICES[device][2][0] for device in DEVICES}
    state, told = engine.advance(engine.start(STORE), [tick(0, list(DEVICES))])
    minute = 0.0
    for number in range(steps):
        # Now and then nothing is written for hours.
        minute += 200 if number % 400 == 399 else chance.choice((1, 1, 2, 5, 5))
        log: list[Logged] = []
        for device in chance.sample(sorted(DEVICES), 5):
            if chance.random() < 0.25:
                values[device] = chance.choice(DEVICES[device][2])
            late = chance.choice((0, 0, 0, 0, 7, 12))
            value = chance.choice(DEVICES[device][2]) if late else values[device]
            log.append(reading(device, minute - late, value, minute))
        given = [_command(chance, number, minute, state)] if chance.random() < 0.5 else None
        state, new = engine.advance(state, [*log, tick(minute, commands=given)])
        told += new
    return told


def _command(chance: random.Random, number: int, minute: float, state: Store) -> Command:
    what = chance.choice(("acknowledge", "acknowledge", "unacknowledge", "silence", "cancel", "close"))
    command = Command(f"cmd-{number}", STORE, what, "alerts.cold-chain", actor="a")
    command.until = to_rfc3339(at(minute + chance.choice((5, 30, 120))))
    held = [*(device.alerts for device in state.devices.values()), state.groups]
    open_ones = [alert.alert_id for alerts in held for alert in alerts.values()]
    if what == "silence":
        command.asset_id = chance.choice(sorted(DEVICES))[:-2]
    elif what == "cancel":
        command.cancels = chance.choice([*state.silences, "unknown"])
    else:
        command.alert_id = chance.choice([*(state.ended if what == "close" else open_ones), "unknown"])
        command.resolution = {"cause": "fan", "action": "replaced", "goods": "kept"}
    return command


def test_each_row_of_the_table_is_gone_through():
    seen = set().union(*(rows(test_cases.decide(folder)) for folder in CASES), *(rows(busy_days(n)) for n in range(3)))
    assert table().keys() - seen == SHOWN_BY_ITS_OWN_TEST


def test_an_alert_that_is_part_of_another_lists_its_own_members():
    power = "  - alert: {}\n    select: {{metric: power, asset_class: {}}}\n    raise_below: 1\n"
    rules = (
        WARM
        + "    depends_on: rack_power\n"
        + power.format("rack_power", "rack")
        + "    depends_on: main_power\n"
        + power.format("main_power", "power_meter")
    )
    rack = {"asset_id": "rack", "asset_class": "rack", "metric": "power", "device": "rack-t"}
    main = {"asset_id": "main", "asset_class": "power_meter", "metric": "power", "device": "main-t"}
    log = [
        store(0, s001_freezer_01="rack", rack="main"),
        freezer_reading(1, 0.0, **rack),
        freezer_reading(2, 0.0, **main),
        *curve([-10] * 2, start=3),
    ]
    told = decide(in_order(log), rules)
    assert ("masked", "updated") in rows(told)
    (listed,) = [alert for alert in told if alert["event"] == "updated" and alert["rule"] == "rack_power"]
    assert (listed["status"], listed["members"]) == ("masked", [{"asset_id": "s001-freezer-01"}])
