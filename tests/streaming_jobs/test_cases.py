"""Golden cases of the jobs that derive: readings.ndjson (arrivals, several contracts) and expect.yaml with the job."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from ruamel.yaml import YAML

from schemas.contract import contract
from schemas.validate import validator
from streaming_jobs import derive
from tests.streaming_jobs.logs import DERIVED_CASES, JOBS, STORE, case_records, derivation

Decided = tuple[list[dict[str, Any]], list[dict[str, Any]]]


def expected(folder: Path) -> dict[str, Any]:
    """job: which one; alerts: of each event the fields that matter."""
    return YAML(typ="safe").load(folder / "expect.yaml")


def decide(folder: Path) -> Decided:
    """(alert events, derived metrics), as they would be read."""
    job = derivation(expected(folder)["job"])
    alerts, metrics, notes = derive.run(job, ((STORE, record) for record in case_records(folder)))
    assert +notes == {}
    return msgspec.json.decode(msgspec.json.encode((alerts, [metric for _, metric in metrics])))


@pytest.mark.parametrize("folder", DERIVED_CASES, ids=lambda folder: folder.name)
def test_a_case_gives_the_alert_events_it_expects(folder):
    wanted, (alerts, _) = expected(folder)["alerts"], decide(folder)
    assert [{key: alert.get(key) for key in want} for alert, want in zip(alerts, wanted, strict=False)] == wanted
    assert len(alerts) == len(wanted), [(alert["event"], alert["rule"]) for alert in alerts]


@pytest.mark.parametrize("folder", DERIVED_CASES, ids=lambda folder: folder.name)
def test_what_goes_in_and_what_comes_out_keep_their_contracts(folder):
    for line in (folder / "readings.ndjson").read_bytes().splitlines():
        arrival = msgspec.json.decode(line)
        assert validator(contract(arrival["contract"]))(arrival["event"]) == []
    alerts, metrics = decide(folder)
    assert metrics
    for name, events in (("alert", alerts), ("derived-metrics", metrics)):
        breaches = validator(contract(name))
        assert [breaches(event) for event in events] == [[]] * len(events)
    assert len({metric["event_id"] for metric in metrics}) == len(metrics)


@pytest.mark.parametrize("folder", DERIVED_CASES, ids=lambda folder: folder.name)
def test_restarted_again_and_again_and_read_topic_by_topic_within_the_hold_a_case_is_the_same(folder):
    log = case_records(folder)
    ticks = [record.arrived_ms for record in log if derive.TICK in record.payload]
    # What arrives between two ticks is read in another order: topic by topic.
    log.sort(key=lambda record: (bisect_left(ticks, record.arrived_ms), record.topic, record.offset))
    job, notes = derivation(expected(folder)["job"]), Counter()
    text, alerts, metrics = job.dumps(job.start(STORE)), [], []
    for begin in range(0, len(log), 37):
        state, told, found = derivation(job.job).advance(job.loads(text), log[begin : begin + 37], notes, [])
        alerts += told
        metrics += [metric for _, metric in found]
        text = job.dumps(state)
    assert +notes == {}
    assert msgspec.json.decode(msgspec.json.encode((alerts, metrics))) == [*decide(folder)]


@pytest.mark.parametrize("name", JOBS)
def test_every_shipped_rule_of_a_deriving_job_is_told_by_some_case(name):
    told = {a["rule"] for folder in DERIVED_CASES if expected(folder)["job"] == name for a in decide(folder)[0]}
    assert told == {rule.alert for rule in derivation(name).engine.rules.rules}
