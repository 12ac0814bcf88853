"""Looking into quarantine, without a JVM: a Delta table is a log and a Parquet file."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from batch_jobs.quarantine import MEANINGS, Choice, groups, meanings
from grocery.cli import app
from grocery.settings import settings
from schemas.contract import all_contracts, contract
from schemas.validate import validator
from tests.batch_jobs.bronze_rows import NOON, READINGS, reading

INSTANT = pa.timestamp("us", tz="UTC")
COLUMNS = pa.schema(
    {
        **dict.fromkeys(("payload", "key", "topic", "topic_id"), pa.string()),
        "partition": pa.int32(),
        "offset": pa.int64(),
        "arrived_at": INSTANT,
        "loaded_at": INSTANT,
        "run_id": pa.string(),
        "reasons": pa.list_(pa.string()),
        "arrived_date": pa.date32(),
    }
)
DELTA = {"int32": "integer", "int64": "long", "date32[day]": "date", "timestamp[us, tz=UTC]": "timestamp"}


def aside(offset: int, payload: Any, *reasons: str, days: int = 0, item=READINGS, **more: Any) -> dict[str, Any]:
    """A row of quarantine that arrived so many days after noon, a minute an offset."""
    at = NOON + timedelta(days=days, minutes=offset)
    row = dict.fromkeys(COLUMNS.names) | {"key": "store-001", "topic": item.topic, "topic_id": "t1", "partition": 0}
    row |= {"offset": offset, "arrived_at": at, "loaded_at": at + timedelta(hours=1), "run_id": f"run-{days}"}
    payload = json.dumps(payload) if isinstance(payload, dict) else payload
    return row | {"payload": payload, "reasons": list(reasons), "arrived_date": at.date()} | more


def write(lake: Path, rows: list[dict[str, Any]], item=READINGS) -> None:
    """As Spark would have written it, in one file."""
    folder = lake / "quarantine" / item.table
    (folder / "_delta_log").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, COLUMNS), folder / "rows.parquet")
    fields = []
    for one in COLUMNS:
        kind: Any = DELTA.get(str(one.type), "string")
        if one.name == "reasons":
            kind = {"type": "array", "elementType": "string", "containsNull": True}
        fields.append({"name": one.name, "type": kind, "nullable": True, "metadata": {}})
    size = (folder / "rows.parquet").stat().st_size
    file = {"path": "rows.parquet", "partitionValues": {}, "size": size, "modificationTime": 0, "dataChange": True}
    table = {"id": "q", "format": {"provider": "parquet", "options": {}}, "partitionColumns": [], "configuration": {}}
    table["schemaString"] = json.dumps({"type": "struct", "fields": fields})
    actions = [{"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}, {"metaData": table}, {"add": file}]
    (folder / "_delta_log" / f"{0:020}.json").write_text("\n".join(map(json.dumps, actions)))


LANES = contract("lane-status")


@pytest.fixture
def lake(tmp_path) -> Path:
    """Readings set aside on two days, and a broken lane status."""
    found = tmp_path / "lake"
    write(
        found,
        [
            aside(7, reading(1, value="cold", unit="K"), "type:/value", "unit:/unit"),
            aside(3, reading(2, value="warm"), "type:/value"),
            aside(9, "{broken", "json:", days=1),
            aside(11, reading(3, unit="K"), "unit:/unit", days=1),
            aside(12, reading(2, value="warm"), "clock:/event_time", days=1),
        ],
    )
    write(found, [aside(1, "[]", "json:", item=LANES)], LANES)
    return found


@pytest.fixture
def grocery(lake, monkeypatch):
    """Runs `grocery quarantine …` on the lake."""
    monkeypatch.setenv("GROCERY_LAKE", str(lake))
    monkeypatch.setenv("COLUMNS", "160")
    settings.cache_clear()
    yield lambda *words: CliRunner().invoke(app, ["quarantine", *words])
    settings.cache_clear()


def told(result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.output.splitlines()]


def test_what_is_set_aside_is_counted_by_contract_reason_and_day_with_an_example(grocery):
    rows = told(grocery("list", "--json"))
    assert [(one["contract"], one["reason"], one["day"], one["records"]) for one in rows] == [
        ("lane-status", "json:", "2026-10-05", 1),
        ("sensor-readings", "clock:/event_time", "2026-10-06", 1),
        ("sensor-readings", "json:", "2026-10-06", 1),
        ("sensor-readings", "type:/value", "2026-10-05", 2),
        ("sensor-readings", "unit:/unit", "2026-10-05", 1),
        ("sensor-readings", "unit:/unit", "2026-10-06", 1),
    ]
    both = rows[3]
    assert (both["first"], both["last"]) == ("2026-10-05T12:03:00+00:00", "2026-10-05T12:07:00+00:00")
    assert both["example"] == "sensor-readings/0/3"

    text = grocery("list").output
    assert "6 records in quarantine." in text, "a record with two reasons is one record"
    assert "type:/value" in text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("-c", "lane-status"), ["json:"]),
        (("--reason", "type"), ["type:/value", "unit:/unit"]),
        (("--reason", "unit:/unit", "--from", "2026-10-06"), ["unit:/unit"]),
        (("--reason", "type:/value", "--from", "2026-10-06"), []),
        (("-c", "sensor-readings", "--to", "2026-10-05"), ["type:/value", "unit:/unit"]),
        (("--run", "run-1"), ["clock:/event_time", "json:", "unit:/unit"]),
    ],
)
def test_only_what_was_asked_for(grocery, words, expected):
    assert [one["reason"] for one in told(grocery("list", "--json", *words))] == expected


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("list", "-c", "reading"), "reading: no such contract; there are alert, alert-commands"),
        (
            ("list", "-c", "sensor-readings", "--reason", "units"),
            "reason units: no record in quarantine has it; there are type:/value (2), unit:/unit (2), "
            "clock:/event_time (1), json: (1)",
        ),
        (("list", "-c", "stores", "--reason", "unit"), "reason unit: no record in quarantine has it; there are none"),
        (("list", "--from", "2026-10-06", "--to", "2026-10-05"), "--from 2026-10-06 is after --to 2026-10-05"),
        (("show", "sensor-readings/0/99"), "sensor-readings/0/99: no such record in quarantine"),
        (("show", "reading-2"), "2 records in quarantine; name one: sensor-readings/0/3, sensor-readings/0/12"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(grocery, words, says):
    result = grocery(*words)
    assert result.exit_code == 1
    assert says in result.output.replace("\n", "")


@pytest.mark.parametrize("name", ["sensor-readings/0/7", "t1/0/7", "reading-1"])
def test_a_record_is_shown_with_what_each_reason_means_and_its_payload(grocery, name):
    result = grocery("show", name)
    assert result.exit_code == 0, result.output
    assert "it must be of type number" in result.output, "the validator's words"
    assert "unit:/unit" in result.output
    assert "set aside 2026-10-05 13:07:00 UTC by run run-0" in result.output
    assert json.loads(result.output.split("payload\n")[1])["value"] == "cold"
    assert "keeps today's contract" not in result.output


def test_what_is_no_json_is_shown_as_it_came(grocery):
    assert grocery("show", "sensor-readings/0/9").output.endswith("payload\n{broken\n")
    (one,) = told(grocery("show", "lane-status/0/1", "--json"))
    assert (one["payload"], one["reasons"]) == ("[]", ["json:"])


def test_what_keeps_todays_contract_is_known_but_for_what_it_cannot_say():
    words, keeps = meanings(READINGS, json.dumps(reading(1)), ["minimum:/value"])
    assert words == [("minimum:/value", MEANINGS["minimum"])]
    assert keeps
    assert meanings(READINGS, '{"value": NaN}', ["json:"]) == ([("json:", MEANINGS["json"])], False)


def test_every_reason_that_an_example_can_have_is_explained():
    codes = set()
    for item in all_contracts():
        check = validator(item)
        for path, passes in item.examples():
            event = None if passes else json.loads(path.read_text())
            if isinstance(event, dict):
                codes |= {one.code for one in check(event)}
    assert len(codes) > 8
    assert codes <= set(MEANINGS)


def test_a_lake_on_s3_is_not_listed_from_here():
    with pytest.raises(ValueError, match="ask Athena"):
        groups("s3a://lake/main", [READINGS])


def test_a_name_with_a_quotation_mark_is_a_name(lake):
    assert groups(str(lake), [READINGS], Choice(run="o'clock")) == ([], 0)
