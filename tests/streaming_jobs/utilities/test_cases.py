"""Golden cases of the job: tests/cases, where expect.yaml says `job: utilities`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from ruamel.yaml import YAML

from alerting.rules import RuleSet, parse_rules
from grocery.settings import PROJECT
from ingestion.arrival import read_arrivals
from schemas.contract import contract
from schemas.validate import validator
from streaming_jobs.derive import READINGS, Derivation, Record, run
from streaming_jobs.utilities.deriver import Utilities
from tests.alerting.logs import FOLDERS, JOB_OF

CASES = [folder for folder in FOLDERS if JOB_OF[folder] == "utilities"]


def expected(folder: Path) -> dict[str, Any]:
    return YAML(typ="safe").load(folder / "expect.yaml")


def shipped() -> RuleSet:
    path = PROJECT / "chain" / "rules" / "utilities.yaml"
    return parse_rules(path.read_text("utf-8"), str(path))


def decide(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Alert events and derived metrics of a case."""
    log = [
        ("store-002", Record(item.arrived_ms, READINGS, offset, item.payload.decode()))
        for offset, item in enumerate(read_arrivals(folder / "readings.ndjson"))
    ]
    alerts, metrics, notes = run(Derivation("utilities", Utilities(), shipped()), log)
    assert not +notes
    return alerts, [metric for _, metric in metrics]


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_a_case_gives_the_alert_events_it_expects(folder):
    wanted, (alerts, _) = expected(folder)["alerts"], decide(folder)
    told = [{key: alert.get(key) for key in want} for alert, want in zip(alerts, wanted, strict=False)]
    assert told == [dict(want) for want in wanted]
    assert len(alerts) == len(wanted), [(alert["event"], alert["rule"]) for alert in alerts]


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_what_a_case_reads_and_gives_keeps_its_contract(folder):
    alerts, metrics = decide(folder)
    read = [msgspec.json.decode(line)["event"] for line in (folder / "readings.ndjson").read_bytes().splitlines()]
    for name, events in (("alert", alerts), ("derived-metrics", metrics), ("sensor-readings", read)):
        breaches = validator(contract(name))
        for event in events:
            assert breaches(msgspec.json.decode(msgspec.json.encode(event))) == []


def test_every_shipped_rule_is_told_by_some_case():
    told = {alert["rule"] for folder in CASES for alert in decide(folder)[0]}
    assert told == {rule.alert for rule in shipped().rules}
