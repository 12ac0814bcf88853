"""Deploys on a real cluster: rules and code change while the job runs, and no alert is lost, doubled or renamed.

One stack for all tests here, begun with the savepoint of an earlier release: a savepoint holds offsets, so its broker
has to have the log that it was made of.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from typer.testing import CliRunner

from alerting.engine import Engine, run
from alerting.events import Logged, read_event
from alerting.rules import parse_rules
from alerting.state import VERSION
from grocery.cli import app
from grocery.rehearsal import Unfit, rehearse
from grocery.settings import PROJECT, Settings, settings
from grocery.stack import Stack, flink
from grocery.stack.deploy import Change, NotDeployed, deploy
from grocery.stack.release import PACKAGES
from ingestion.arrival import dumps, read_arrivals
from ingestion.record import Record
from ingestion.sinks import KafkaSink
from ingestion.topics import read_topic
from schemas.instants import to_rfc3339
from streaming_jobs.progress import wait_until_processed
from streaming_jobs.runtime import rules_of
from streaming_jobs.submit import jobs, submit
from tests.alerting.logs import EIGHT, MINUTE
from tests.fixtures.savepoints.make import send, send_before
from tests.streaming_jobs.test_savepoints import NEWEST, before_it, holds

pytestmark = pytest.mark.system
JOB, READINGS, ALERTS = "cold_chain", "sensor-readings", "alerts.cold-chain"
FIRST = NEWEST[JOB]
WAIT_S = 120
GONE, GONE_LATER = "does not judge this device any more", "was taken away"
RULES = FIRST / "rules.yaml"


@pytest.fixture(scope="module")
def stack(tmp_path_factory) -> Iterator[Stack]:
    with begun_with(FIRST, JOB, tmp_path_factory.mktemp("deploy")) as stack:
        yield stack


@contextmanager
def begun_with(savepoint: Path, job: str, work: Path) -> Iterator[Stack]:
    """A stack whose job was begun with a fixture's savepoint; its log is on the topics up to there."""
    stack = Stack(work / "stack", work / "logs")
    try:
        stack.up(owner=os.getpid())
        send_before(stack.kafka, savepoint)
        submit(stack, job, savepoint / "rules.yaml", start_from=savepoint)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Settings, "work", property(lambda _: work))
            settings.cache_clear()
            yield stack
        settings.cache_clear()
    finally:
        stack.wipe()


def grocery(*words: str) -> Any:
    return CliRunner().invoke(app, ["stream", *words])


def processed(stack: Stack) -> None:
    wait_until_processed(stack.kafka, stack.flink_rest, stack.job(JOB).job_id, JOB, READINGS, WAIT_S)


def until(done: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < end, f"waited {WAIT_S} s for {what}"
        time.sleep(0.2)


def told(stack: Stack, store: str | None = None) -> list[dict[str, Any]]:
    """Alert events as they stand on the topic, of one store or of all."""
    alerts = [json.loads(record.value) for record in read_topic(stack.kafka, ALERTS)]
    return [alert for alert in alerts if store in (None, alert["store_id"])]


def event(store: str, minute: int, **more: Any) -> Record:
    at = EIGHT + minute * MINUTE
    said = {
        "event_id": f"{store}-{minute}-{more['kind']}",
        "event_time": to_rfc3339(at),
        "store_id": store,
        "schema_version": 1,
    }
    return Record(READINGS, store, dumps(said | more), at + 300)


def reading(store: str, minute: int, value: float) -> Record:
    device = {"device_id": f"{store}-t", "asset_id": store, "asset_class": "freezer", "metric": "temperature"}
    return event(store, minute, kind="reading", value=value, unit="Cel", **device)


def write(stack: Stack, records: list[Record]) -> None:
    with KafkaSink(stack.kafka) as sink:
        for record in records:
            sink.send(record)


def steps(alerts: list[dict[str, Any]]) -> list[tuple[str, str, int]]:
    return [(alert["event"], alert["rule"], alert["sequence"]) for alert in alerts]


def each_once(stack: Stack) -> bool:
    """No step of any alert was told twice, whatever happened until now."""
    return max(Counter((alert["alert_id"], alert["sequence"]) for alert in told(stack)).values()) == 1


def test_a_savepoint_of_an_earlier_release_restores_and_open_alerts_go_on_under_their_ids(stack):
    send(stack.kafka, list(read_arrivals(FIRST / "after.ndjson")))
    processed(stack)
    holds(before_it(FIRST), told(stack), FIRST)


def test_a_contradictory_rule_file_is_told_with_its_line_and_changes_nothing(stack, tmp_path):
    before, file = stack.job(JOB), tmp_path / "rules.yaml"
    text = RULES.read_text("utf-8").replace("clear_below: -16", "clear_below: -14")
    file.write_text(text, "utf-8")
    line = text.partition("clear_below: -14")[0].count("\n") + 1
    said = grocery("deploy", JOB, "--rules", str(file))
    assert said.exit_code == 1
    assert f"rules.yaml:{line}: clear_below (-14) must be under raise_above (-15)" in said.output.replace("\n", "")
    assert stack.job(JOB) == before


def test_a_version_that_cannot_read_the_state_is_found_in_the_rehearsal(stack, tmp_path):
    """Here it is the release before: it does not know the state that this one writes."""
    before, code = stack.job(JOB), tmp_path / "code"
    shutil.copytree(stack.code, code)
    states = code / "alerting" / "state.py"
    states.write_text(states.read_text().replace(f"VERSION = {VERSION}\n", f"VERSION = {VERSION - 1}\n"))
    change = Change(JOB, jobs()[JOB].folder / "job.py", stack.given(JOB))
    with pytest.raises(Unfit, match=f"UnknownState.*state version {VERSION} is newer than {VERSION - 1}"):
        rehearse(stack, change, code, stack.savepoint(JOB, tmp_path))
    assert stack.job(JOB) == before


@pytest.fixture
def other_code(tmp_path, monkeypatch) -> None:
    """The project as it would be after an update: what is said of an alert whose rule is gone has changed."""
    project = tmp_path / "project"
    for package in PACKAGES:
        shutil.copytree(PROJECT / package, project / package)
    changed = [file for file in (project / "alerting").glob("*.py") if GONE in file.read_text()]
    for file in changed:
        file.write_text(file.read_text().replace(GONE, GONE_LATER))
    assert changed
    monkeypatch.setattr("grocery.stack.local.PROJECT", project)
    monkeypatch.setattr("streaming_jobs.runtime.FOLDER", project / "streaming_jobs")


def test_changed_rules_and_code_keep_open_alerts_and_close_those_whose_rule_is_gone(stack, tmp_path, other_code):
    expected = {"device_id": "deploy-2-t", "asset_id": "deploy-2", "asset_class": "freezer", "metric": "temperature"}
    roster = [expected | {"interval_s": 60}]
    ticks = [
        event("deploy-2", minute, kind="tick", **({"roster": roster} if not minute else {})) for minute in range(8)
    ]
    write(stack, [reading("deploy-1", minute, -14) for minute in range(40)] + [reading("deploy-2", 0, -20), *ticks])
    until(lambda: told(stack, "deploy-1") and told(stack, "deploy-2"), "the alerts")

    file = tmp_path / "rules.yaml"
    first, _, _ = RULES.read_text("utf-8").partition("  # Offline at")
    file.write_text(first.replace("keep_firing_for: 5m", "keep_firing_for: 1m", 1), "utf-8")
    code = stack.code
    said = grocery("deploy", JOB, "--rules", str(file))
    assert said.exit_code == 0, said.output
    assert "changed freezer_too_warm" in said.output
    assert "keep_firing_for: 5m -> 1m" in said.output
    assert "gone    sensor_silent, 1 open alert will be closed" in said.output
    assert f"code: {code.name} -> {stack.code.name}" in said.output
    assert "savepoints" in stack.job(JOB).resumed_from

    write(stack, [reading("deploy-1", minute, -20) for minute in (40, 41)] + [event("deploy-2", 9, kind="tick")])
    until(lambda: len(told(stack, "deploy-1") + told(stack, "deploy-2")) >= 4, "their ends")
    warm, silent = told(stack, "deploy-1"), told(stack, "deploy-2")
    assert steps(warm) == [("raised", "freezer_too_warm", 1), ("resolved", "freezer_too_warm", 2)]
    assert steps(silent) == [("raised", "sensor_silent", 1), ("resolved", "sensor_silent", 2)]
    assert silent[1]["reason"] == f"rule sensor_silent {GONE_LATER}"
    assert [len({alert["alert_id"] for alert in alerts}) for alerts in (warm, silent)] == [1, 1]
    assert each_once(stack)


def test_a_version_that_does_not_come_up_is_put_back_and_nothing_is_lost_or_doubled(stack):
    before, given = stack.job(JOB), stack.given(JOB)
    values = [-14.0] * 35 + [-11.0] * 32 + [-18.0] * 8
    excursion = [reading("deploy-3", minute, value) for minute, value in enumerate(values)]
    write(stack, excursion[:50])  # may not have been decided on when the job stops
    said: list[str] = []
    with pytest.raises(
        NotDeployed, match="(?s)the old version of cold_chain runs again.*this version does not come up"
    ):
        deploy(stack, [Change(JOB, Path(__file__).with_name("failing_job.py"), given)], said.append)
    after = stack.job(JOB)
    assert after.state == "RUNNING"
    assert (after.job_id != before.job_id, stack.given(JOB)) == (True, given)
    write(stack, excursion[50:])
    until(lambda: len(told(stack, "deploy-3")) >= 3, "the excursion's end")
    text, source = rules_of(given)
    alone = run(
        Engine(parse_rules(text, source)),
        [("deploy-3", Logged(record.timestamp_ms, read_event(record.value))) for record in excursion],
    )
    assert told(stack, "deploy-3") == json.loads(msgspec.json.encode(alone))
    assert [step[0] for step in steps(alone)] == ["raised", "escalated", "resolved"]
    assert each_once(stack)


def test_a_deploy_that_is_killed_half_way_is_undone_by_the_keeper(stack):
    before, given = stack.job(JOB), stack.given(JOB)
    script = (
        "import sys, pathlib; from grocery.stack import Stack; from grocery.stack.deploy import Change, deploy\n"
        "home, logs, py_file, given = sys.argv[1:]\n"
        "deploy(Stack(pathlib.Path(home), pathlib.Path(logs)), [Change('cold_chain', pathlib.Path(py_file), [given])],"
        " lambda what: print(what, flush=True))"
    )
    words = [stack.home, stack.logs, Path(__file__).with_name("failing_job.py"), given[0]]
    with subprocess.Popen([sys.executable, "-c", script, *map(str, words)], stdout=subprocess.PIPE, text=True) as half:
        assert next(line for line in half.stdout if "starting the new version" in line)
        until(lambda: psutil.Process(half.pid).children(), "the client that submits it")
        half.kill()
    until(lambda: stack.job(JOB).job_id != before.job_id, f"the old version; see {stack.logs / 'keeper.log'}")
    assert stack.given(JOB) == given
    assert len(flink.live(stack.flink_rest, JOB)) == 1, "the killed deploy's client must not bring its version later"
    write(stack, [reading("deploy-4", minute, -14) for minute in range(40)])
    processed(stack)
    assert steps(told(stack, "deploy-4")) == [("raised", "freezer_too_warm", 1)]
    assert each_once(stack)
