"""`grocery alerts` without a broker and with one; tests/grocery/alerts has the rest."""

from __future__ import annotations

import json

import msgspec
import pytest
from typer.testing import CliRunner

from grocery.cli import app
from ingestion.record import Record
from ingestion.sinks import KafkaSink
from tests.alerting.logs import CASES, case_log, decide

runner = CliRunner()
BY_NAME = {folder.name: folder for folder in CASES}


def told(case: str) -> list[dict]:
    return decide(case_log(BY_NAME[case]))


def test_without_a_broker_the_next_step_is_named(monkeypatch, tmp_path):
    from grocery.settings import settings

    monkeypatch.setenv("GROCERY_HOME", str(tmp_path))
    monkeypatch.delenv("GROCERY_KAFKA", raising=False)
    settings.cache_clear()
    try:
        done = runner.invoke(app, ["alerts", "list"])
    finally:
        monkeypatch.undo()
        settings.cache_clear()
    assert done.exit_code == 1
    assert "grocery stack up" in done.stderr


@pytest.mark.integration
def test_each_alert_is_listed_once_however_often_its_events_were_written(broker: str, monkeypatch):
    from grocery.settings import settings

    events = [event | {"store_id": "store-list"} for event in told("compressor_failure") + told("never_heard_of")]
    with KafkaSink(broker) as sink:
        for event in [*events, *events[:2]]:
            sink.send(Record("alerts.shelf", "store-list", msgspec.json.encode(event), 1_000))
        sink.send(Record("alerts.shelf", "store-list", b"{broken", 1_000))
    monkeypatch.setenv("GROCERY_KAFKA", broker)
    settings.cache_clear()
    try:
        shown = runner.invoke(app, ["alerts", "list", "--store", "store-list"])
        whole = runner.invoke(app, ["alerts", "list", "--store", "store-list", "--all", "--json"])
        watched = runner.invoke(app, ["alerts", "watch", "-b", "--store", "store-list", "--count", str(len(events))])
    finally:
        monkeypatch.undo()
        settings.cache_clear()
    assert "1 open, 1 over (add --all)" in shown.stdout
    assert "no alert event, left out" in shown.stderr
    states = {
        alert["rule"]: (alert["status"], alert["sequence"]) for alert in map(json.loads, whole.stdout.splitlines())
    }
    assert states == {"freezer_too_warm": ("resolved", 3), "sensor_silent": ("firing", 1)}
    assert len(watched.stdout.splitlines()) == len(events)
