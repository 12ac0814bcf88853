"""Golden cases: a folder each, readings.ndjson (arrivals) and expect.yaml. A new case is a new folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from ruamel.yaml import YAML

from alerting.engine import Engine, run
from schemas.contract import contract
from schemas.validate import validator
from tests.alerting.logs import CASES, RULES, SHIPPED, STORE, case_log, rules_of


def expected(folder: Path) -> dict[str, Any]:
    """alerts: of each event the fields that matter. rules: `shipped`, where not those of basic.yaml are meant."""
    return YAML(typ="safe").load(folder / "expect.yaml")


def decide(folder: Path) -> list[dict[str, Any]]:
    path = SHIPPED if expected(folder).get("rules") == "shipped" else RULES
    return run(Engine(rules_of(path)), ((STORE, logged) for logged in case_log(folder)))


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_a_case_gives_the_alert_events_it_expects(folder):
    wanted, alerts = expected(folder)["alerts"], decide(folder)
    told = [{key: alert.get(key) for key in want} for alert, want in zip(alerts, wanted, strict=False)]
    assert told == [dict(want) for want in wanted]
    assert len(alerts) == len(wanted), [(alert["event"], alert["rule"]) for alert in alerts]


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_alert_events_keep_their_contract(folder):
    breaches = validator(contract("alert"))
    for alert in decide(folder):
        assert breaches(msgspec.json.decode(msgspec.json.encode(alert))) == []


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_the_log_of_a_case_keeps_its_contract(folder):
    breaches = validator(contract("sensor-readings"))
    for line in (folder / "readings.ndjson").read_bytes().splitlines():
        assert breaches(msgspec.json.decode(line)["event"]) == []


def test_every_shipped_rule_is_told_by_some_case():
    told = {alert["rule"] for folder in CASES for alert in decide(folder)}
    assert told >= {rule.alert for rule in rules_of(SHIPPED).rules}
