"""Flink reads every example that keeps its contract through the columns derived from it."""

import json
from datetime import datetime

import pytest

from schemas import all_contracts
from schemas.flink import create_table

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def flink():
    from pyflink.table import EnvironmentSettings, TableEnvironment

    environment = TableEnvironment.create(EnvironmentSettings.in_batch_mode())
    environment.get_config().set("parallelism.default", "1")
    environment.get_config().set("table.local-time-zone", "UTC")
    return environment


def test_every_example_is_read_with_all_its_columns(flink, tmp_path):
    """Written as Flink read them, the examples are what they were: no column lost, no type changed."""
    written = {}
    statements = flink.create_statement_set()
    for item in all_contracts():
        events = [json.loads(path.read_text()) for path, passes in item.examples() if passes]
        source, sink = tmp_path / item.table, tmp_path / f"{item.table}_out"
        source.mkdir()
        (source / "events.json").write_text("".join(json.dumps(event) + "\n" for event in events))
        json_format = {
            "connector": "filesystem",
            "format": "json",
            "json.timestamp-format.standard": "ISO-8601",
        }
        reading = json_format | {"path": source.as_uri(), "json.fail-on-missing-field": "false"}
        writing = json_format | {"path": sink.as_uri(), "json.encode.ignore-null-fields": "true"}
        flink.execute_sql(create_table(item, item.table, reading))
        flink.execute_sql(create_table(item, f"{item.table}_out", writing))
        statements.add_insert_sql(f"INSERT INTO `{item.table}_out` SELECT * FROM `{item.table}`")
        written[sink] = events
    statements.execute().wait()
    for sink, events in written.items():
        texts = [line for part in sink.rglob("*") if part.is_file() for line in part.read_text().splitlines()]
        assert sorted(map(plain, map(json.loads, texts)), key=str) == sorted(map(plain, events), key=str)


def plain(event):
    """Without what writing changes: Flink drops zeros at the end of a second, and writes a DOUBLE with a fraction."""
    if isinstance(event, dict):
        return {name: plain(value) for name, value in sorted(event.items())}
    if isinstance(event, list):
        return [plain(value) for value in event]
    if isinstance(event, int | float) and not isinstance(event, bool):
        return float(event)
    is_instant = isinstance(event, str) and event[10:11] == "T" and event.endswith("Z")
    return datetime.fromisoformat(event) if is_instant else event
