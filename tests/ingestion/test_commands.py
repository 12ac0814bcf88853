"""`grocery ingest` and `grocery chain`, as a user calls them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from grocery.cli import app
from grocery.settings import PROJECT, settings
from ingestion.arrival import write_arrivals
from ingestion.topics import read_topic
from tests.ingestion.example import arrival, reading, readings
from tests.ingestion.test_chain_check import ASSETS, PRODUCTS, STORES


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home of the test's own, and a chain of one store, `store-981`, that no other test uses."""
    chain = tmp_path / "chain"
    chain.mkdir()
    for name, text in (("stores", STORES), ("assets", ASSETS), ("products", PRODUCTS)):
        (chain / f"{name}.yaml").write_text(own(text))
    monkeypatch.setenv("GROCERY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GROCERY_CHAIN", str(chain))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("GROCERY_KAFKA", raising=False)
    settings.cache_clear()
    yield tmp_path
    settings.cache_clear()


def own(text: str) -> str:
    return text.replace("store-001", "store-981").replace("s001", "s981").replace("d-1", "s981-freezer-01-t")


def grocery(*args: object) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args])


def test_the_example_chain_is_all_good() -> None:
    result = grocery("chain", "check", PROJECT / "chain")
    assert result.exit_code == 0, result.output
    assert "all good" in result.output


def test_a_chain_with_a_mistake_is_named_with_file_and_line(home: Path) -> None:
    file = home / "chain" / "assets.yaml"
    file.write_text(file.read_text().replace("unit: Cel", "unit: kW"))
    result = grocery("chain", "check")
    assert result.exit_code == 1
    assert f"{file}:16: s981-freezer-01: device s981-freezer-01-t reports temperature in kW" in result.output


def test_without_a_broker_the_next_step_is_told(home: Path) -> None:
    for command in (("chain", "publish"), ("ingest", "ticker"), ("ingest", "dead-letters", "list")):
        result = grocery(*command)
        assert result.exit_code == 1
        assert "grocery stack up" in result.output
        assert "Traceback" not in result.output


def test_a_file_goes_through_the_gate_into_a_file_without_any_broker(home: Path) -> None:
    arrivals = [arrival(json.loads(own(json.dumps(reading())))), arrival(b"{")]
    write_arrivals(arrivals, home / "a.ndjson")
    result = grocery("ingest", "file", home / "a.ndjson", "--to", home / "records.ndjson", "--ticks", 10)
    assert result.exit_code == 0, result.output
    assert "2 arrivals" in result.output
    assert "1 accepted, 1 refused" in result.output
    topics = [json.loads(line)["topic"] for line in (home / "records.ndjson").read_text().splitlines()]
    assert topics == ["sensor-readings", "sensor-readings", "dead-letters"]
    assert {key.stat().st_mode & 0o777 for key in (home / "home" / "keys").iterdir()} == {0o600}


def test_a_target_that_is_none_is_named(home: Path) -> None:
    write_arrivals([], home / "a.ndjson")
    result = grocery("ingest", "file", home / "a.ndjson", "--to", "kafak")
    assert result.exit_code == 1
    assert "--to kafak" in result.output


@pytest.mark.integration
def test_a_missing_asset_is_published_and_its_letters_are_let_in(
    home: Path, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROCERY_KAFKA", broker)
    settings.cache_clear()
    file = home / "chain" / "assets.yaml"
    whole = file.read_text()
    file.write_text(whole[: whole.index("- asset_id: s981-freezer-01")])
    assert grocery("chain", "publish").exit_code == 0
    arrivals = [
        arrival(own(item.payload.decode()).encode(), at_ms=item.arrived_ms)
        for item in readings(3, ("store-001",), prefix="command-")
    ]
    write_arrivals(arrivals, home / "a.ndjson")
    result = grocery("ingest", "file", home / "a.ndjson")
    assert "0 accepted, 3 refused" in result.output
    assert "unknown_asset" in result.output

    listed = grocery("ingest", "dead-letters", "list", "--reason", "unknown_device")
    ids = [word for word in listed.output.split() if word.startswith("dl-")]
    assert listed.output.count("a.ndjson:") == 3
    shown = grocery("ingest", "dead-letters", "show", ids[-1][:15], "--original")
    assert "s981-freezer-01-t: no asset has this device" in shown.output
    assert arrivals[-1].payload.decode() in shown.output

    refused = grocery("ingest", "dead-letters", "replay", ids[-1])
    assert refused.exit_code == 1
    assert "refused again" in refused.output

    file.write_text(whole)
    published = grocery("chain", "publish")
    assert "Entries written: 1; " in published.output
    for let_in, before in ((3, 0), (0, 3)):
        result = grocery("ingest", "dead-letters", "replay", *ids[-3:])
        assert result.exit_code == 0, result.output
        assert f"{let_in} let in, {before} were in already" in result.output
    found = [record.value for record in read_topic(broker, "sensor-readings") if b'"command-' in record.value]
    assert found == [item.payload for item in arrivals]


@pytest.mark.integration
def test_a_letter_that_is_not_there_is_named(home: Path, broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROCERY_KAFKA", broker)
    settings.cache_clear()
    for command in ("show", "replay"):
        result = grocery("ingest", "dead-letters", command, "dl-none")
        assert result.exit_code == 1
        assert "dl-none: no such letter" in result.output
    assert "name the letters to replay" in grocery("ingest", "dead-letters", "replay").output
