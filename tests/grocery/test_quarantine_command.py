"""Looking into quarantine, without a JVM: a Delta table is a log and a Parquet file."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from typer.testing import CliRunner

from batch_jobs import quarantine
from batch_jobs.quarantine import MEANINGS, Choice, Replayed, groups, meanings
from grocery.cli import app
from grocery.commands.quarantine import show_replayed
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
        "replayed_at": INSTANT,
        "replayed_run": pa.string(),
        "replayed_as": pa.string(),
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


def write(lake: Path, rows: list[dict[str, Any]], item=READINGS, without: tuple[str, ...] = ()) -> None:
    """As Spark would have written it, in one file; without: columns that a table of before has not."""
    folder = lake / "quarantine" / item.table
    (folder / "_delta_log").mkdir(parents=True)
    columns = pa.schema([one for one in COLUMNS if one.name not in without])
    pq.write_table(pa.Table.from_pylist(rows, columns), folder / "rows.parquet")
    fields = []
    for one in columns:
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
    """Readings set aside on two days, one of them replayed since, and a broken lane status."""
    found = tmp_path / "lake"
    replayed = {"replayed_at": NOON + timedelta(days=3), "replayed_run": "again", "replayed_as": "replayed"}
    write(
        found,
        [
            aside(7, reading(1, value="cold", unit="K"), "type:/value", "unit:/unit"),
            aside(3, reading(2, value="warm"), "type:/value"),
            aside(9, "{broken", "json:", days=1),
            aside(11, reading(3, unit="K"), "unit:/unit", days=1, **replayed),
            aside(12, reading(2, value="warm"), "id_conflict:/event_id", days=1),
        ],
    )
    write(found, [aside(1, "[]", "json:", item=LANES)], LANES, without=("replayed_at", "replayed_run", "replayed_as"))
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
        ("sensor-readings", "id_conflict:/event_id", "2026-10-06", 1),
        ("sensor-readings", "json:", "2026-10-06", 1),
        ("sensor-readings", "type:/value", "2026-10-05", 2),
        ("sensor-readings", "unit:/unit", "2026-10-05", 1),
    ]
    both = rows[3]
    assert (both["first"], both["last"]) == ("2026-10-05T12:03:00+00:00", "2026-10-05T12:07:00+00:00")
    assert both["example"] == "sensor-readings/0/3"

    text = grocery("list").output
    assert "5 records in quarantine still" in text, "a record with two reasons is one record"
    assert "type:/value" in text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("-c", "lane-status"), ["json:"]),
        (("--reason", "type"), ["type:/value", "unit:/unit"]),
        (("--reason", "unit:/unit", "--all", "--from", "2026-10-06"), ["unit:/unit"]),
        (("--reason", "unit:/unit", "--from", "2026-10-06"), []),
        (("-c", "sensor-readings", "--to", "2026-10-05"), ["type:/value", "unit:/unit"]),
        (("--run", "run-1"), ["id_conflict:/event_id", "json:"]),
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
            "id_conflict:/event_id (1), json: (1)",
        ),
        (("replay", "-c", "stores", "--reason", "unit"), "reason unit: no record in quarantine has it; there are none"),
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


def test_what_was_replayed_and_what_is_no_json_are_shown_as_such(grocery):
    assert "replayed by again, 2026-10-08 12:00:00 UTC" in grocery("show", "sensor-readings/0/11").output
    assert grocery("show", "sensor-readings/0/9").output.endswith("payload\n{broken\n")
    (one,) = told(grocery("show", "lane-status/0/1", "--json"))
    assert (one["payload"], one["reasons"], one["replayed_at"]) == ("[]", ["json:"], None)


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


def test_a_lake_on_s3_is_listed_as_one_in_a_folder_and_no_bucket_is_named(lake, aws):
    with pytest.raises(ValueError, match="s3a://shop/main/quarantine: .*NoSuchBucket"):
        groups("s3a://shop/main", [READINGS])
    client = boto3.client("s3")
    client.create_bucket(Bucket="shop", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    assert groups("s3a://shop/main", [READINGS]) == ([], 0)
    for file in lake.rglob("*"):
        if file.is_file():
            client.upload_file(str(file), "shop", f"main/{file.relative_to(lake)}")
    found, records = groups("s3a://shop/main", [READINGS])
    assert (found, records) == groups(str(lake), [READINGS]) and records


def test_a_name_with_a_quotation_mark_is_a_name(lake):
    assert groups(str(lake), [READINGS], Choice(run="o'clock")) == ([], 0)


def test_what_became_of_the_records_is_told_and_so_is_what_to_do_next():
    done = [Replayed("stores"), Replayed("sensor-readings", 5, 2, 1, 2, {"json:": 1, "unit:/unit": 1}, True)]
    console = Console(file=io.StringIO(), width=120)
    show_replayed(console, done, False)
    text = console.file.getvalue()
    assert "sensor-readings: 2 stay: json: (1), unit:/unit (1)" in text
    assert "grocery batch quality" in text and "stores" not in text
    console = Console(file=io.StringIO(), width=120)
    show_replayed(console, done, True)
    assert "Nothing was written" in console.file.getvalue()


@pytest.mark.parametrize(("stay", "words", "exit_code"), [(2, (), 3), (0, (), 0), (2, ("--dry-run",), 0)])
def test_the_exit_code_says_that_records_stay_but_a_rehearsals_does_not(grocery, monkeypatch, stay, words, exit_code):
    from grocery.commands import batch

    monkeypatch.setattr(batch.AtWork, "spark", None)
    seen = []

    def replay(_, run, contracts, choice, *, dry_run):
        seen.append((choice, dry_run))
        return [Replayed("sensor-readings", 3 + stay, 2, 1, stay)]

    monkeypatch.setattr(quarantine, "replay", replay)
    result = grocery("replay", "-c", "sensor-readings", "--reason", "unit", "--from", "2026-10-05", *words)
    assert result.exit_code == exit_code, result.output
    assert seen == [(Choice("unit", datetime(2026, 10, 5, tzinfo=UTC).date()), bool(words))]


def test_a_record_of_a_landed_file_is_shown_by_its_coordinates_too(grocery, lake):
    orders, id_ = contract("orders"), "orders/2026/10/05/12/one.gz@abc"
    write(lake, [aside(4, "{broken", "json:", item=orders, topic_id=id_, partition=-1)], orders)
    for name in ("orders/-1/4", f"{id_}/-1/4"):
        assert "{broken" in grocery("show", name).output
