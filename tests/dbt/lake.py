"""A silver layer from contract events without Spark: Parquet by pyarrow, and the Delta log written by hand.

The log of a table with one file is two short JSON documents (Delta protocol, reader 1, writer 2), and the column
types come from the contract like Spark's do.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.contract import Contract, all_contracts, contract

INSTANT = pa.timestamp("us", tz="UTC")
LINEAGE = {"arrived_at": INSTANT, "loaded_at": INSTANT, "event_date": pa.date32()}
SIMPLE = {"integer": pa.int64(), "number": pa.float64(), "boolean": pa.bool_(), "string": pa.string()}


def write_silver(lake: Path, events: Iterable[tuple[str, dict[str, Any]]]) -> None:
    """One table per contract, empty where it has no events. An event may carry `arrived_at`; else it is event_time."""
    rows: dict[str, list[dict[str, Any]]] = {c.name: [] for c in all_contracts()}
    for name, event in events:
        rows[name].append(event)
    for name, found in rows.items():
        _write_table(lake / "silver" / contract(name).table, contract(name), found)


def _write_table(folder: Path, item: Contract, events: list[dict[str, Any]]) -> None:
    fields = {f.name: _arrow_type(f.schema) for f in item.fields} | LINEAGE
    schema = pa.schema(list(fields.items()))
    filled = []
    for event in events:
        arrived_at = event.get("arrived_at", event["event_time"])
        event = event | {"arrived_at": arrived_at, "loaded_at": arrived_at, "event_date": event["event_time"]}
        filled.append({name: _value(event.get(name), kind) for name, kind in fields.items()})
    (folder / "_delta_log").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(filled, schema), folder / "part-0.parquet")
    delta_schema = {"type": "struct", "fields": [_delta_field(f) for f in schema]}
    actions = [
        {"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}},
        {
            "metaData": {
                "id": f"00000000-0000-0000-0000-{abs(hash(item.name)) % 10**12:012d}",
                "format": {"provider": "parquet", "options": {}},
                "schemaString": json.dumps(delta_schema),
                "partitionColumns": [],
                "configuration": {},
                "createdTime": 0,
            }
        },
        {
            "add": {
                "path": "part-0.parquet",
                "partitionValues": {},
                "size": (folder / "part-0.parquet").stat().st_size,
                "modificationTime": 0,
                "dataChange": True,
            }
        },
    ]
    log = folder / "_delta_log" / f"{0:020d}.json"
    log.write_text("\n".join(json.dumps(action) for action in actions) + "\n")


def _arrow_type(schema: dict[str, Any]) -> pa.DataType:
    kind = schema["type"]
    if schema.get("format") == "date-time":
        return INSTANT
    if schema.get("format") == "date":
        return pa.date32()
    if kind == "array":
        return pa.list_(_arrow_type(schema["items"]))
    if kind == "object" and "properties" in schema:
        return pa.struct([(name, _arrow_type(inner)) for name, inner in schema["properties"].items()])
    if kind == "object":
        return pa.map_(pa.string(), pa.string())
    return SIMPLE[kind]


def _value(value: Any, kind: pa.DataType) -> Any:
    if value is None:
        return None
    if pa.types.is_timestamp(kind):
        return datetime.fromisoformat(value)
    if pa.types.is_date(kind):
        return datetime.fromisoformat(value).date()
    if pa.types.is_list(kind):
        return [_value(v, kind.value_type) for v in value]
    if pa.types.is_struct(kind):
        return {f.name: _value(value.get(f.name), f.type) for f in kind}
    return list(value.items()) if pa.types.is_map(kind) else value


def _delta_field(field: pa.Field) -> dict[str, Any]:
    return {"name": field.name, "type": _delta_type(field.type), "nullable": True, "metadata": {}}


def _delta_type(kind: pa.DataType) -> Any:
    if pa.types.is_list(kind):
        return {"type": "array", "elementType": _delta_type(kind.value_type), "containsNull": True}
    if pa.types.is_struct(kind):
        return {"type": "struct", "fields": [_delta_field(f) for f in kind]}
    if pa.types.is_map(kind):
        return {"type": "map", "keyType": "string", "valueType": "string", "valueContainsNull": True}
    names = {INSTANT: "timestamp", pa.date32(): "date", pa.int64(): "long", pa.float64(): "double"}
    return (names | {pa.bool_(): "boolean", pa.string(): "string"})[kind]
