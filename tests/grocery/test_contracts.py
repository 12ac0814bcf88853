"""`grocery contracts`: what a person sees of the contracts."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from grocery.cli import app
from ingestion.arrival import Arrival, write_arrivals
from schemas import all_contracts, contract
from schemas.instants import to_ms


def run(*arguments):
    return CliRunner().invoke(app, ["contracts", *map(str, arguments)])


def example(name, which):
    return json.loads((contract(name).folder / f"{which}.json").read_text())


def arrivals(path: Path, *events) -> Path:
    """A file of (contract, event or text) pairs as they would arrive."""
    write_arrivals(
        (
            Arrival(name, to_ms("2026-10-05T06:30:00.000Z"), (e if isinstance(e, str) else json.dumps(e)).encode(), "")
            for name, e in events
        ),
        path,
    )
    return path


def test_check_names_file_line_and_breach(tmp_path):
    good = json.dumps(example("lane-status", "pass-open"))
    file = tmp_path / "lanes.ndjson"
    bad = [good.replace('"open"', '"ajar"'), "{broken", "", good.replace("1,", "NaN,", 1), "[1]"]
    file.write_text("\n".join([good, *bad]))
    result = run("check", file, "--contract", "lane-status")
    assert result.exit_code == 1
    assert f"{file}:2: enum: status is " in result.output
    assert f"{file}:3: json: not JSON" in result.output
    assert f"{file}:5: json: not JSON: NaN is no JSON number" in result.output
    assert f"{file}:6: json: a JSON list; an event is an object" in result.output
    assert "5 events checked, 4 break their contract (json 3, enum 1)" in result.output


def test_check_takes_one_event_over_several_lines():
    for name in ("pass-open", "fail-unknown-status"):
        result = run("check", contract("lane-status").folder / f"{name}.json", "-c", "lane-status")
        assert result.exit_code == (0 if name.startswith("pass") else 1), result.output
        assert result.output.count("1 events checked") == 1


def test_check_holds_each_arrival_against_its_own_contract(tmp_path):
    file = arrivals(
        tmp_path / "day.ndjson",
        ("lane-status", example("lane-status", "pass-open")),
        ("sensor-readings", example("sensor-readings", "fail-wrong-unit")),
        ("lane-statuses", example("lane-status", "pass-open")),
        ("sensor-readings", '{"value": NaN}'),
        ("sensor-readings", "{broken"),
    )
    result = run("check", file)
    assert result.exit_code == 1
    assert f"{file}:2: unit: " in result.output
    assert f"{file}:3: contract: lane-statuses: no such contract; there are alert, " in result.output
    assert f"{file}:4: json: " in result.output
    assert f"{file}:5: json: " in result.output
    assert "5 events checked, 4 break" in result.output


def test_an_arrival_may_hold_the_number_that_the_gate_replaces_by_a_pseudonym(tmp_path):
    sale = example("pos-transactions", "fail-loyalty-number-in-plain")
    assert run("check", arrivals(tmp_path / "sales.ndjson", ("pos-transactions", sale))).exit_code == 0
    (tmp_path / "sale.json").write_text(json.dumps(sale))
    assert run("check", tmp_path / "sale.json", "-c", "pos-transactions").exit_code == 1


def test_check_puts_a_keyed_hash_in_place_of_a_plate_as_the_gate_does(tmp_path):
    seen = example("geofence-events", "pass-seen-by-camera")
    plain = {name: value for name, value in seen.items() if name != "vehicle_id"}
    assert run("check", arrivals(tmp_path / "a", ("geofence-events", plain | {"plate": "M-AB 1234"}))).exit_code == 0
    result = run("check", arrivals(tmp_path / "b", ("geofence-events", plain)))
    assert "required: vehicle_id is missing where seen_by is camera" in result.output


def test_an_arrival_may_be_in_a_unit_that_the_gate_converts(tmp_path):
    reading = example("sensor-readings", "pass-freezer")
    warm, hot = reading | {"unit": "[degF]", "value": 72.5}, reading | {"unit": "[degF]", "value": 400}
    result = run("check", arrivals(tmp_path / "a.ndjson", ("sensor-readings", warm), ("sensor-readings", hot)))
    assert "maximum: value is 204.4" in result.output
    assert "2 events checked, 1 break their contract (maximum 1)" in result.output


def test_check_counts_on_after_twenty_broken_events(tmp_path):
    (tmp_path / "x.ndjson").write_text("{}\n" * 25)
    result = run("check", tmp_path / "x.ndjson", "-c", "lane-status")
    assert "… and 5 more events" in result.output
    assert "25 events checked, 25 break" in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check", contract("lane-status").folder / "pass-open.json"], "Name it, e.g. --contract sensor-readings"),
        (["check", "/nowhere.json", "-c", "stores"], "/nowhere.json: cannot be read: No such file"),
        (["check", "/tmp", "-c", "stores"], "/tmp: cannot be read: Is a directory"),
        (["check", __file__, "-c", "store"], "store: no such contract; there are alert, alert-commands, assets"),
        (["show", "sensor"], "sensor: no such contract; there are alert, alert-commands, assets"),
    ],
)
def test_what_cannot_be_done_is_said_with_the_next_step(arguments, said):
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.output


def test_a_file_without_events_is_not_good(tmp_path):
    (tmp_path / "empty.ndjson").write_text("\n\n")
    result = run("check", tmp_path / "empty.ndjson", "-c", "stores")
    assert result.exit_code == 1
    assert "no event in it" in result.output


def test_list_names_every_contract():
    result = run("list")
    assert all(item.name in result.output for item in all_contracts())


def test_show_tells_limits_units_and_rules_and_swallows_no_brackets():
    readings, stores = run("show", "sensor-readings").output, run("show", "stores").output
    assert "where metric is temperature: unit is always Cel, value is at least -90 and at most 70" in readings
    assert "[degF]" in stores
    assert "opening_hours[].opens" in stores


def test_show_gives_the_schema_the_flink_columns_and_an_example():
    assert json.loads(run("show", "alerts.cold-chain", "--json").output) == contract("alert").schema
    assert "`event_time` TIMESTAMP_LTZ(3)" in run("show", "alert", "--flink").output
    assert json.loads(run("show", "stores", "--example").output)["schema_version"] == 1


def test_generate_says_what_is_not_current_and_writes_it(tmp_path, monkeypatch):
    from grocery.commands import contracts

    page = tmp_path / "page.md"
    monkeypatch.setattr(contracts, "derived", lambda: {page: "new"})
    monkeypatch.setattr(contracts, "PROJECT", tmp_path)
    stale = run("generate", "--check")
    assert stale.exit_code == 1
    assert "page.md is not current" in stale.output
    assert not page.exists()
    assert run("generate").exit_code == 0
    assert page.read_text() == "new"
    assert "current" in run("generate", "--check").output
