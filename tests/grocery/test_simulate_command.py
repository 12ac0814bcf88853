"""`grocery simulate`."""

import json

import pytest
from typer.testing import CliRunner

from grocery.cli import app
from grocery.simulator import read_labels

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
