"""`grocery simulate`."""

import json
from datetime import date

import pytest
from typer.testing import CliRunner

from grocery.cli import app
from grocery.settings import PROJECT, settings
from grocery.simulator import FaultPlan, read_labels, simulate
from grocery.simulator.clones import of_size, write_chain
from ingestion.reference import Reference
from ingestion.topics import read_topic

OURS = b'"store_id":"store-941"'

run = CliRunner().invoke


def test_a_day_is_written_with_its_labels_beside_it(tmp_path):
    target = tmp_path / "day.ndjson"
    done = run(app, ["simulate", "--stores", "1", "--seed", "5", "--to", str(target)])
    assert done.exit_code == 0, done.output
    lines = target.read_text("utf-8").splitlines()
    assert f"{len(lines):,} arrivals" in done.output
    assert json.loads(lines[0])["contract"]
    assert {label.store_id for label in read_labels(tmp_path / "day.labels.ndjson")} == {"store-001"}
    assert "grocery ingest file" in done.output


def test_cloned_stores_come_with_a_chain_to_publish(tmp_path):
    target = tmp_path / "many.ndjson"
    done = run(app, ["simulate", "--stores", "4", "--no-faults", "--to", str(target)])
    assert done.exit_code == 0, done.output
    assert "store-004" in (tmp_path / "many.chain" / "stores.yaml").read_text("utf-8")
    assert run(app, ["chain", "check", str(tmp_path / "many.chain")]).exit_code == 0


def test_pickup_and_scan_and_go_are_there_where_they_are_asked_for(tmp_path):
    def contracts(*options):
        target = tmp_path / "day.ndjson"
        done = run(app, ["simulate", "--stores", "1", "--no-faults", "--to", str(target), *options])
        assert done.exit_code == 0, done.output
        return {json.loads(line)["contract"] for line in target.read_text("utf-8").splitlines()}

    assert contracts("--apps") - contracts() == {"scan-events", "orders", "geofence-events"}


def test_what_can_fail_is_listed():
    done = run(app, ["simulate", "--list-faults"])
    assert done.exit_code == 0
    assert "defrost-heater-stuck" in done.output


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "--to is missing"),
        (["--to", "day.csv"], "--to day.csv: `kafka`, or a file that ends in .ndjson"),
        (["--to", "no/such/folder/day.ndjson"], "there is no folder"),
        (["--to", "x.ndjson", "--start", "tomorrow"], "--start tomorrow: no such day"),
        (["--to", "x.ndjson", "--speed", "60"], "--speed 60: only --to kafka"),
        (["--to", "x.ndjson", "--faults", "nowhere.yaml"], "nowhere.yaml: No such file"),
        (["--to", "x.ndjson", "--faults", "a.yaml", "--no-faults"], "contradict each other"),
    ],
)
def test_a_wrong_option_is_named_with_what_to_do(options, told):
    done = run(app, ["simulate", *options])
    assert done.exit_code == 1
    assert told in " ".join(done.output.split())


@pytest.mark.integration
def test_a_simulated_day_goes_through_the_gate_to_its_topics(tmp_path, broker, monkeypatch):
    chain = tmp_path / "chain"  # a store of its own: the broker is shared
    write_chain(of_size(Reference.from_folder(PROJECT / "chain"), 1), chain)
    for file in chain.iterdir():
        text = file.read_text("utf-8").replace("store-001", "store-941").replace("s001-", "s941-")
        file.write_text(text.replace("store_id: chain", "store_id: store-941"), "utf-8")
    plan = tmp_path / "plan.yaml"
    plan.write_text("faults:\n- {fault: bad-input, store: each, asset: freezer-01, after: 2h, what: not-a-number}\n")
    for name, value in (("KAFKA", broker), ("CHAIN", str(chain)), ("HOME", str(tmp_path / "home"))):
        monkeypatch.setenv(f"GROCERY_{name}", value)
    settings.cache_clear()
    done = run(app, ["simulate", "--stores", "1", "--seed", "951", "--faults", str(plan), "--to", "kafka"])
    settings.cache_clear()
    assert done.exit_code == 0, done.output
    assert "1 refused" in done.output
    simulation = simulate(
        Reference.from_folder(chain), stores=1, days=1, seed=951, start=date(2026, 10, 5), faults=FaultPlan.load(plan)
    )
    for topic in ("pos-transactions", "cv-detections"):
        found = [(r.timestamp, json.loads(r.value)["event_id"]) for r in read_topic(broker, topic) if OURS in r.value]
        sent = [(a.arrived_ms, json.loads(a.payload)["event_id"]) for a in simulation.arrivals() if a.contract == topic]
        assert found == sent
    ticks = [r for r in read_topic(broker, "sensor-readings") if OURS in r.value and b'"kind":"tick"' in r.value]
    assert len(ticks) >= 86_400 / 15
    assert b'"roster"' in ticks[0].value
