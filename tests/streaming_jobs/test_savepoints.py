"""States of earlier releases: the engine goes on from them as if nothing had been between. test_deploy.py restores the
savepoint on a cluster."""

from __future__ import annotations

import json
import pickle
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from alerting.engine import Engine, run
from alerting.events import Logged, read_event
from alerting.journal import read
from alerting.language import COMMAND_RULE
from alerting.rules import RuleSet, parse_rules
from alerting.state import loads
from ingestion.arrival import Arrival, read_arrivals
from schemas.instants import to_ms
from streaming_jobs.derive import Derivation, Record, load
from streaming_jobs.derive import run as derive_run
from streaming_jobs.submit import job_named


def job_of(folder: Path) -> str:
    return folder.name.rpartition("-")[0]


SAVEPOINTS = Path(__file__).parents[1] / "fixtures" / "savepoints"
FIXTURES = sorted(path.parent for path in SAVEPOINTS.glob("*/_metadata"))
NEWEST = {job_of(folder): folder for folder in FIXTURES}
"""By job."""
Alert = dict[str, Any]


def todays(folder: Path) -> RuleSet:
    """The fixture's rules."""
    rules = folder / "rules.yaml"
    return parse_rules(rules.read_text("utf-8"), str(rules))


def deriving(folder: Path) -> Derivation[Any]:
    job = job_named(job_of(folder))
    assert job.deriver is not None
    return Derivation(job.name, load(job.deriver), todays(folder))


def arrivals(folder: Path, *parts: str) -> Iterator[Arrival]:
    for part in parts:
        if (folder / f"{part}.ndjson").exists():
            yield from read_arrivals(folder / f"{part}.ndjson")


BEFORE, AFTER = ("before", "last"), ("after",)


def log(folder: Path, *parts: str) -> list[tuple[str, Logged]]:
    return [
        (event.store_id, Logged(item.arrived_ms, event))
        for item in arrivals(folder, *parts)
        for event in [read_event(item.payload)]
    ]


def records(folder: Path, *parts: str) -> dict[str, list[Record]]:
    """Of a job that derives, by store, in the order of their topics."""
    offsets: Counter[str] = Counter()
    found: dict[str, list[Record]] = {}
    for item in arrivals(folder, *parts):
        offsets[item.contract] += 1
        record = Record(item.arrived_ms, item.contract, offsets[item.contract], item.payload.decode())
        found.setdefault(json.loads(item.payload)["store_id"], []).append(record)
    return found


def alone(folder: Path, *parts: str) -> list[Alert]:
    """What the engine of today decides over these parts of the fixture's log, as JSON has it."""
    if job_named(job_of(folder)).deriver is None:
        return json.loads(msgspec.json.encode(run(Engine(todays(folder)), log(folder, *parts))))
    pairs = [(store, record) for store, found in records(folder, *parts).items() for record in found]
    return json.loads(msgspec.json.encode(derive_run(deriving(folder), pairs)[0]))


def before_it(folder: Path) -> list[dict[str, Any]]:
    """The alert events that the release told before its savepoint."""
    return [json.loads(line) for line in (folder / "alerts.ndjson").read_bytes().splitlines()]


def holds(before: list[dict[str, Any]], after: list[dict[str, Any]], folder: Path) -> None:
    """Open alerts went on under their ids, and with what came before, all was told that this log gives."""
    last = {alert["alert_id"]: alert for alert in before}
    firing = {
        alert_id
        for alert_id, alert in last.items()
        if alert["status"] != "resolved" and alert["rule"] != COMMAND_RULE  # a silence may go on for long
    }
    going_on = {alert["alert_id"]: alert["sequence"] for alert in reversed(after) if alert["alert_id"] in firing}
    assert going_on == {alert_id: last[alert_id]["sequence"] + 1 for alert_id in firing}
    assert steps(before + after) == steps(alone(folder, *BEFORE, *AFTER))


def steps(alerts: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """What each step says. Without the alert's id: a release may form the ids of new alerts in another way."""
    assert len({(alert["alert_id"], alert["sequence"]) for alert in alerts}) == len(alerts), "a step was told twice"
    words = ("store_id", "rule", "asset_id", "device_id", "starts_at", "sequence", "event", "severity", "decided_at")
    return sorted(tuple(alert.get(word, "") for word in words) for alert in alerts)


def states_in(folder: Path) -> dict[str, Any]:
    """Each store's state as it stands in the savepoint, read by the code of today."""
    found = (folder / "_metadata").read_bytes()
    if job_named(job_of(folder)).deriver is not None:
        states = map(deriving(folder).loads, texts(found, rb'\{"version":\d+,"merge":'))
        return {state.engine.store_id: state for state in states}
    parts = {(store, name): text for store, name, text in pickled(found, PART)}
    if not parts:
        whole = map(loads, texts(found, rb'\{"store_id":"store-\d+","clock"'))
        return {state.store_id: state for state in whole}
    engine, lines = Engine(todays(folder)), dict(pickled(found, LINE))
    assert lines, "no journal in it"
    return {
        store: read(
            engine,
            {name: text for (its_store, name), text in parts.items() if its_store == store},
            [lines[store]] if store in lines else [],
        )
        for store, _ in parts
    }


PART = re.compile(rb"\x00\n(store-\d{3})\x00.([a-z][a-z0-9:-]*)\x00\x00..\x00\x00\x00..(?=\x80)", re.DOTALL)
"""Before a part of a state stand its store, its name and its length, as Flink writes an entry of a map."""
LINE = re.compile(rb"\x00\n(store-\d{3})\x00\x00\x00..\x00\x00..(?=\x80)", re.DOTALL)
"""Before the only line of a journal, the same of an entry of a list."""


def pickled(found: bytes, key: re.Pattern[bytes]) -> Iterator[tuple[str, ...]]:
    """(what the key names, the text that stands behind it)."""
    for at in key.finditer(found):
        yield *(group.decode() for group in at.groups()), pickle.loads(found[at.end() :])


def texts(found: bytes, begins: bytes) -> list[str]:
    """JSON texts, which stand in a savepoint as they are."""
    plain = found.decode("latin-1")
    decode = json.JSONDecoder().raw_decode
    return [plain[at.start() : decode(plain, at.start())[1]] for at in re.finditer(begins.decode(), plain)]


@pytest.mark.parametrize("folder", FIXTURES, ids=lambda folder: folder.name)
def test_the_code_of_today_goes_on_from_the_states_in_the_savepoint(folder):
    """Without a cluster: each store's state stands in the savepoint as the release wrote it."""
    states = states_in(folder)
    assert states.keys() == records(folder, *BEFORE).keys()
    for store, logged in log(folder, "last"):
        device = states[store].devices[logged.event.device_id]
        assert to_ms(logged.event.event_time) in [at for at, _, _ in device.recent], "a reading of the journal is lost"
    after: list[Alert] = []
    if job_named(job_of(folder)).deriver is None:
        engine = Engine(todays(folder))
        for store, logged in log(folder, *AFTER):
            states[store], told = engine.advance(states[store], [logged])
            after += told
    else:
        for store, found in records(folder, *AFTER).items():
            after += deriving(folder).advance(states[store], found, Counter(), [])[1]
    holds(before_it(folder), json.loads(msgspec.json.encode(after)), folder)


@pytest.mark.parametrize("folder", FIXTURES, ids=lambda folder: folder.name)
def test_the_code_of_today_tells_what_was_told_before_the_savepoint(folder):
    """Else the tests here could pass with a log that decides nothing."""
    assert before_it(folder)
    assert steps(before_it(folder)) == steps(alone(folder, *BEFORE))


@pytest.mark.parametrize("folder", FIXTURES, ids=lambda folder: folder.name)
def test_a_savepoint_holds_alerts_that_are_open(folder):
    last = {alert["alert_id"]: alert for alert in before_it(folder)}
    assert sum(alert["status"] != "resolved" for alert in last.values()) >= 3
