"""`grocery stream deploy` on a stack that is only a table: what it checks and shows before it touches anything."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from grocery.cli import app
from grocery.rehearsal import Rehearsed, Unfit
from grocery.stack import Stack
from grocery.stack.local import JobStatus
from streaming_jobs.runtime import arguments, rules_of
from tests.alerting.logs import CASES, RULES, case_log, decide

SHIPPED = RULES.read_text("utf-8")
CASES_TOLD = ("never_heard_of", "sensor_goes_silent")
"""A sensor that is silent for good, and one that is heard again."""


@pytest.fixture
def replaced(monkeypatch, tmp_path) -> list:
    """A running job with the shipped rules; what replaces it lands in here. Alerts of two golden cases are told."""
    changes: list = []
    told = [alert for case in CASES if case.name in CASES_TOLD for alert in decide(case_log(case))]
    records = [SimpleNamespace(value=json.dumps(alert).encode()) for alert in told]
    running = JobStatus("cold_chain", "a", "RUNNING", True, resumed_from="a savepoint")
    monkeypatch.setattr(Stack, "kafka", "127.0.0.1:9")
    monkeypatch.setattr(Stack, "code", tmp_path / "0123456789ab")
    monkeypatch.setattr(Stack, "job", lambda _, name: running if name == "cold_chain" else None)
    monkeypatch.setattr(Stack, "given", lambda *_: arguments("127.0.0.1:9", SHIPPED, "before.yaml"))
    monkeypatch.setattr(Stack, "keep_code", lambda *_: tmp_path / "0123456789ab")
    monkeypatch.setattr(Stack, "savepoint", lambda *_: tmp_path)
    monkeypatch.setattr("grocery.deployment.read_topic", lambda *_: [*records, SimpleNamespace(value=b"{broken")])
    monkeypatch.setattr("grocery.rehearsal.rehearse", lambda *_: Rehearsed(3, 9.0))
    monkeypatch.setattr("grocery.stack.deploy.deploy", lambda _, new, progress: changes.extend(new))
    return changes


def deploy(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["stream", "deploy", *map(str, words)], env={"COLUMNS": "400"})
    return done.exit_code, done.output


def test_unchanged_rules_are_said_to_be_and_the_job_is_replaced_all_the_same(replaced):
    """Code is deployed in the same way."""
    code, said = deploy("cold_chain", "--rules", RULES)
    assert code == 0, said
    assert "the rules are unchanged" in said
    assert "code: unchanged" in said
    assert [change.name for change in replaced] == ["cold_chain"]


def test_what_changes_is_shown_and_open_alerts_of_a_rule_that_vanishes_are_counted(replaced, tmp_path):
    file = tmp_path / "rules.yaml"
    file.write_text(
        SHIPPED.replace("raise_above: -15", "raise_above: -14.5").replace("alert: sensor_silent", "alert: offline")
    )
    code, said = deploy("--rules", file)
    assert code == 0, said
    assert "3 rules differ" in said
    assert "changed freezer_too_warm\n            raise_above: -15 -> -14.5" in said
    assert "added   offline" in said
    assert "gone    sensor_silent, 1 open alert will be closed" in said
    assert rules_of(replaced[0].args) == (file.read_text(), str(file))


def test_a_dry_run_replaces_nothing(replaced):
    code, said = deploy("cold_chain", "--rules", RULES, "--dry-run")
    assert code == 0, said
    assert "the states of 3 stores were restored and read" in said
    assert "Nothing was replaced" in said
    assert replaced == []


def test_every_problem_of_the_rules_is_told_and_nothing_is_rehearsed_or_replaced(replaced, tmp_path, monkeypatch):
    monkeypatch.setattr("grocery.rehearsal.rehearse", lambda *_: pytest.fail("rehearsed"))
    file = tmp_path / "rules.yaml"
    file.write_text(SHIPPED.replace("clear_below: -16", "clear_below: -14").replace("clear_below: 4", "clear_below: 6"))
    code, said = deploy("cold_chain", "--rules", file)
    assert code == 1
    assert "clear_below (-14) must be under raise_above (-15)" in said
    assert "clear_below (6) must be under raise_above (5)" in said
    assert replaced == []


def test_a_version_that_fails_the_rehearsal_is_not_deployed(replaced, monkeypatch):
    def unfit(*_: object) -> None:
        raise Unfit("cold_chain: the new version cannot go on from the state there is: UnknownState")

    monkeypatch.setattr("grocery.rehearsal.rehearse", unfit)
    code, said = deploy("cold_chain", "--rules", RULES)
    assert code == 1
    assert "cannot go on from the state there is: UnknownState" in said
    assert replaced == []


def test_a_job_that_does_not_run_is_named_with_the_next_step(replaced, monkeypatch):
    monkeypatch.setattr(Stack, "job", lambda *_: None)
    assert deploy("cold_chain", "--rules", RULES) == (
        1,
        "error cold_chain is not submitted, and a deploy replaces what runs; "
        "start it: grocery stream submit cold_chain\n",
    )
    code, said = deploy()
    assert (code, "no job runs" in said) == (1, True)
