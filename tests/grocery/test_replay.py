"""`grocery replay` as a person calls it."""

import json

import pytest
from typer.testing import CliRunner

# The gateway is imported before a test replaces the settings, or it would keep the replacement.
import grocery.gateway  # noqa: F401
from grocery.cli import app
from grocery.settings import PROJECT, Settings
from ingestion.arrival import read_arrivals

MAPPINGS = PROJECT / "chain" / "mappings"
WIDE = [str(MAPPINGS / "samples" / "wide_german_logger.csv"), "--mapping", str(MAPPINGS / "wide_german_logger.yaml")]


@pytest.fixture
def grocery(tmp_path, monkeypatch):
    """Runs `grocery replay …` with a home of its own; gives (exit code, what it printed as one line)."""
    monkeypatch.setattr("grocery.settings.settings", lambda: Settings(home=tmp_path / "home"))
    monkeypatch.setattr("grocery.gateway.settings", lambda: Settings(home=tmp_path / "home"))

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["replay", *arguments], env={"COLUMNS": "200"})
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, " ".join(result.output.split())

    return run


def test_without_a_target_it_accounts_and_sends_nothing(grocery, tmp_path):
    code, told = grocery(*WIDE)
    assert code == 0
    assert "48 cells = 38 readings + 3 missing + 7 rejected" in told
    assert "Nothing was sent" in told
    kept = tmp_path / "home" / "main" / "replay" / "wide_german_logger.csv.rejected.ndjson"
    assert [json.loads(line)["line"] for line in kept.read_text().splitlines()] == [15, 17, 19]


def test_to_a_file_twice_gives_the_same_bytes(grocery, tmp_path):
    target = tmp_path / "readings.ndjson"
    seen = []
    for _ in range(2):
        assert grocery(*WIDE, "--to", str(target))[0] == 0
        seen.append((target.read_bytes(), (tmp_path / "readings.rejected.ndjson").read_bytes()))
    assert seen[0] == seen[1]
    assert len(list(read_arrivals(target))) == 38 + 1  # and the sensor that said Fühlerbruch


def test_real_sales_go_to_a_file(grocery, tmp_path):
    target = tmp_path / "sales.ndjson"
    code, told = grocery("completejourney", "--limit", "50", "--start", "2026-10-05", "--to", str(target))
    assert code == 0
    assert "50 arrivals written" in told
    assert {arrival.contract for arrival in read_arrivals(target)} == {"pos-transactions"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere.csv"], "--mapping is missing; copy one of chain/mappings"),
        (["nowhere.csv", "-m", "nowhere.yaml"], "nowhere.yaml: the mapping cannot be read"),
        (["nowhere.csv", *WIDE[1:]], "nowhere.csv: there is no such file"),
        ([*WIDE, "--to", "readings.csv"], "--to readings.csv: `kafka`, or a file that ends in .ndjson"),
        ([*WIDE, "--to", "no/such/folder/r.ndjson"], "there is no folder"),
        ([*WIDE, "--speed", "60"], "--speed 60: only --to kafka takes its time"),
        ([*WIDE, "--limit", "3"], "--limit and --start are for completejourney"),
        ([*WIDE, "--to", "kafka"], "no broker runs; `grocery stack up` starts one"),
        (["completejourney", "--start", "monday"], "--start monday: a day like 2026-10-05"),
        (["completejourney", "-m", "x.yaml"], "completejourney needs no --mapping"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(grocery, arguments, told):
    code, output = grocery(*arguments)
    assert code == 1
    assert told in output


def test_a_file_of_which_nothing_can_be_read_is_an_error(grocery, tmp_path):
    (tmp_path / "export.csv").write_text("Site,Probe,Local Time,Reading\nDenver,Milk,03/08/2026 01:30:00 AM,ERR\n")
    code, told = grocery(str(tmp_path / "export.csv"), "-m", str(MAPPINGS / "long_fahrenheit_logger.yaml"))
    assert code == 1
    assert "1 cells = 0 readings + 0 missing + 1 rejected" in told
    assert "not one cell could be read" in told


@pytest.mark.integration
def test_to_kafka_every_reading_goes_on_with_its_time_and_ticks_name_only_its_devices(broker, tmp_path, monkeypatch):
    from ingestion.arrival import to_ms
    from ingestion.reference import chain_events, publish
    from ingestion.topics import read_topic

    for module in ("grocery.settings", "grocery.gateway"):
        monkeypatch.setattr(f"{module}.settings", lambda: Settings(home=tmp_path / "home", kafka=broker))
    publish(chain_events(PROJECT / "chain"), broker)
    result = CliRunner().invoke(app, ["replay", *WIDE, "--to", "kafka", "--speed", "36000"], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert "38 accepted, 1 refused" in result.output  # the cell that says its probe is broken
    night = (to_ms("2026-10-24T00:00:00Z"), to_ms("2026-10-26T00:00:00Z"))
    found = [(r.timestamp, json.loads(r.value)) for r in read_topic(broker, "sensor-readings")]
    events = [(at, event) for at, event in found if night[0] < at < night[1] and event["store_id"] == "store-002"]
    readings = [(at, event) for at, event in events if event["event_id"].startswith("r-")]
    assert [event["kind"] for _, event in events].count("bad-reading") == 1
    assert len({event["event_id"] for _, event in readings}) == 38
    assert all(to_ms(event["event_time"]) == at for at, event in readings)
    rosters = [event["roster"] for _, event in events if event["kind"] == "tick" and "roster" in event]
    devices = {"s002-freezer-01-t", "s002-cooler-01-t", "s002-freezer-01-o"}
    assert {device["device_id"] for device in rosters[0]} == devices
