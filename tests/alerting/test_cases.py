"""Golden cases: a folder each, readings.ndjson (arrivals) and expect.yaml. A new case is a new folder."""

from __future__ import annotations

import msgspec
import pytest
from ruamel.yaml import YAML

from alerting.engine import Engine
from alerting.rules import parse_rules
from schemas.contract import contract
from schemas.validate import validator
from tests.alerting.logs import CASES, RULES, case_log, decide


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_a_case_gives_the_alert_events_it_expects(folder):
    expected = YAML(typ="safe").load(folder / "expect.yaml")["alerts"]
    alerts = decide(case_log(folder))
    told = [{key: alert.get(key) for key in want} for alert, want in zip(alerts, expected, strict=False)]
    assert told == [dict(want) for want in expected]
    assert len(alerts) == len(expected), [alert["event"] for alert in alerts]


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_alert_events_keep_their_contract(folder):
    breaches = validator(contract("alert"))
    for alert in decide(case_log(folder)):
        assert breaches(msgspec.json.decode(msgspec.json.encode(alert))) == []


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_the_log_of_a_case_keeps_its_contract(folder):
    breaches = validator(contract("sensor-readings"))
    for line in (folder / "readings.ndjson").read_bytes().splitlines():
        assert breaches(msgspec.json.decode(line)["event"]) == []


def test_every_shipped_rule_is_told_by_some_case():
    told = {alert["rule"] for folder in CASES for alert in decide(case_log(folder))}
    assert told == {rule.alert for rule in Engine(parse_rules(RULES.read_text(), "rules")).rules.rules}
