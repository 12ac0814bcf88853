"""Alerts answered by people, the whole way: command line, gate, Kafka, ticker, Flink, and back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from click.testing import Result
from cryptography.fernet import Fernet
from typer.testing import CliRunner

from grocery.cli import app
from grocery.gateway import open_gate
from grocery.settings import settings
from grocery.stack import Stack
from ingestion.reference import Reference, publish
from ingestion.sinks import KafkaSink
from ingestion.ticker import run_ticker
from schemas.instants import to_rfc3339
from streaming_jobs.submit import submit
from tests.ingestion.example import arrival, asset, command, reading, store

pytestmark = pytest.mark.integration

STORE, FREEZER = "store-991", "s991-freezer-01"
# The broker is shared: alerts of this test's store go to a topic that no other test's job of this name writes to.
RULES = f"""
version: 1
topic: alerts.utility
rules:
  - alert: freezer_too_warm
    select: {{store: {STORE}, metric: temperature}}
    raise_above: -15
    for: 1s
    severity: critical
    closing: {{asks: [cause, action, goods]}}
    annotations: {{summary: "{{asset}} is at {{value}} {{unit}}"}}
"""


def grocery(*words: str) -> Result:
    done = CliRunner().invoke(app, ["alerts", *words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def obeyed(*words: str) -> str:
    done = grocery(*words)
    assert done.exit_code == 0, done.stdout + done.stderr
    return done.stdout


def rejected(*words: str) -> str:
    done = grocery(*words)
    assert done.exit_code == 1, done.stdout + done.stderr
    return done.stdout + done.stderr


def listed(*words: str) -> list[dict]:
    return [json.loads(line) for line in obeyed("list", "--json", "--store", STORE, *words).splitlines()]


def until(done: Callable[[], bool], what: str, timeout_s: float = 120) -> None:
    end = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < end, f"waited {timeout_s} s for {what}"
        time.sleep(0.2)


@contextmanager
def ticking(broker: str) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=run_ticker, args=(broker, 1), kwargs={"stop": stop})
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)


@contextmanager
def watched() -> Iterator[list[str]]:
    """What `grocery alerts watch` prints meanwhile, in a terminal of its own that Ctrl-C ends."""
    # Whoever runs the tests in the background may have switched Ctrl-C off for all that they start.
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    script = "import sys; from grocery.cli import app; app(['alerts', 'watch', '--store', sys.argv[1]])"
    words = [sys.executable, "-uc", f"{heard}; {script}", STORE]
    said: list[str] = []
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=os.environ | {"COLUMNS": "300"}) as process:
        reader = threading.Thread(target=lambda: said.extend(process.stdout))
        reader.start()
        try:
            until(lambda: any("Waiting for alerts" in line for line in said), "the watch to begin")
            yield said
        finally:
            process.send_signal(signal.SIGINT)
            reader.join(30)
            process.kill()  # where it has not ended: closing its output would wait for that
    assert process.returncode == 0


@pytest.fixture
def job(stack: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path) -> Iterator[Stack]:
    """The job, with a rule of this test's own, and the store that it is about. The command line finds the broker."""
    rules = tmp_path / "utility.yaml"
    rules.write_text(RULES, "utf-8")
    there = [("stores", store(STORE)), ("assets", asset(FREEZER, store_id=STORE))]
    publish(there, stack.kafka)
    monkeypatch.setenv("GROCERY_KAFKA", stack.kafka)
    monkeypatch.setenv("GROCERY_PSEUDONYM_KEY", "a key for tests only, of 32 bytes")
    monkeypatch.setenv("GROCERY_DEAD_LETTER_KEY", Fernet.generate_key().decode())
    monkeypatch.setenv("GROCERY_ACTOR", "shift-lead")
    settings.cache_clear()
    submit(stack, "cold_chain", rules)
    yield stack
    stack.forget("cold_chain")
    monkeypatch.undo()
    settings.cache_clear()
    publish([("stores", store(STORE, status="retired", event_time="2026-01-01T00:00:00.000Z"))], stack.kafka)


def measured(broker: str, value: float, seconds_ago: float = 0) -> None:
    """A reading of the freezer, through the gate."""
    now = round(time.time() * 1000)
    at = now - round(seconds_ago * 1000)
    ids = {"store_id": STORE, "asset_id": FREEZER, "device_id": f"{FREEZER}-t", "event_id": f"{FREEZER}-{at}"}
    event = reading(value=value, event_time=to_rfc3339(at), **ids)
    assert through_the_gate(broker, event, "sensor-readings", now) == ["sensor-readings"]


def through_the_gate(broker: str, event: dict[str, Any], contract: str, at_ms: int) -> list[str]:
    """As another program sends it; returns the topics that it went to."""
    records = open_gate(Reference.from_topics(broker)).admit(arrival(event, contract, at_ms=at_ms))
    with KafkaSink(broker) as sink:
        for record in records:
            sink.send(record)
        sink.flush()
    return [record.topic for record in records]


def test_an_alert_is_acknowledged_silenced_and_closed_by_people(job: Stack):
    with ticking(job.kafka), watched() as seen:
        measured(job.kafka, -10, seconds_ago=2)
        measured(job.kafka, -9)
        until(lambda: [alert["status"] for alert in listed()] == ["firing"], "the alert")
        alert = listed()[0]["alert_id"]

        assert "by shift-lead (technician called)" in obeyed("ack", alert[:8], "--for", "2h", "-m", "technician called")
        assert [item["status"] for item in listed()] == ["acknowledged"]
        assert "ack_expired" in obeyed("unack", alert)
        assert "is not acknowledged" in rejected("unack", alert)

        where = ("--store", STORE, "--topic", "utility")
        assert "is no area of store-991; there are frozen" in rejected(
            "silence", *where, "--area", "Attic", "--for", "1h", "-m", "x"
        )
        said = obeyed("silence", *where, "--asset", FREEZER, "--for", "1h", "-m", "being emptied")
        assert "silenced" in said
        until(lambda: [item["status"] for item in listed()] == ["silenced"], "the silence's effect", 20)
        assert "1 in force" in obeyed("silences", "--store", STORE)
        named = json.loads(obeyed("silences", "--store", STORE, "--json"))["event_id"]
        assert "unsilenced" in obeyed("cancel", named.partition(".")[0])

        obeyed("maintenance", *where, "--asset", FREEZER, "--for", "2h", "-m", "compressor exchange")
        until(lambda: [item["status"] for item in listed()] == ["silenced"], "the maintenance's effect", 20)
        planned = json.loads(obeyed("silences", "--store", STORE, "--json"))
        assert (planned["command"], planned["comment"]) == ("maintenance", "compressor exchange")
        assert "unsilenced" in obeyed("cancel", planned["event_id"].partition(".")[0])

        now = round(time.time() * 1000)
        wrong = command(
            store_id=STORE, topic="alerts.utility", asset_id=FREEZER, until=None, event_time=to_rfc3339(now)
        )
        assert through_the_gate(job.kafka, wrong, "alert-commands", now) == ["dead-letters", "alerts.utility"]
        until(lambda: any("until is missing where command is silence" in line for line in seen), "the gate's answer")

        measured(job.kafka, -20)
        until(lambda: [item.get("needs_closing") for item in listed()] == [True], "the end of it", 20)
        told = ("--cause", "door left open", "--action", "closed it")
        assert "closing freezer_too_warm asks for goods" in rejected("close", alert, *told)
        assert "goods discarded" in obeyed("close", alert, *told, "--goods", "discarded")
        assert listed() == []
        life = [json.loads(line)["event"] for line in obeyed("show", alert, "--json").splitlines()]
        quiet = ["silenced", "unsilenced"]
        assert life == ["raised", "acknowledged", "ack_expired", *quiet, *quiet, "resolved", "closed"]
        until(lambda: any(" closed " in line for line in seen), "the end of it")
        lines = [line.split() for line in seen if " alert-command " not in line and "Waiting" not in line]
        assert [(words[2], words[6]) for words in lines] == [(event, "freezer_too_warm") for event in life]

        nobody = ("silence", "--store", STORE, "--topic", "shelf", "--for", "1h", "-m", "x", "--wait", "3")
        assert "the ticker has told it, the job of alerts.shelf has not read it" in rejected(*nobody)
    assert "the ticker has not read it" in rejected(*nobody)
