"""Flink's side of a contract: columns of a SQL table."""

from __future__ import annotations

from typing import Any

from schemas.contract import Contract

_SCALARS = {"string": "STRING", "integer": "BIGINT", "number": "DOUBLE", "boolean": "BOOLEAN"}


def columns(contract: Contract) -> str:
    """Column list of the contract, one `name` TYPE a line. Instants are TIMESTAMP_LTZ(3), which the json format reads
    with `'json.timestamp-format.standard' = 'ISO-8601'`."""
    return ",\n".join(f"  `{field.name}` {_type(field.schema)}" for field in contract.fields)


def create_table(contract: Contract, name: str, connector: dict[str, str]) -> str:
    """CREATE TABLE with the contract's columns; connector: the WITH options."""
    options = ",\n".join(f"  '{_quote(key)}' = '{_quote(value)}'" for key, value in connector.items())
    return f"CREATE TABLE `{name}` (\n{columns(contract)}\n) WITH (\n{options}\n)"


def _quote(text: str) -> str:
    return text.replace("'", "''")


def _type(schema: dict[str, Any]) -> str:
    match schema["type"]:
        case "object" if "properties" in schema:
            inner = ", ".join(f"`{name}` {_type(field)}" for name, field in schema["properties"].items())
            return f"ROW<{inner}>"
        case "object":
            return f"MAP<STRING, {_type(schema['additionalProperties'])}>"
        case "array":
            return f"ARRAY<{_type(schema['items'])}>"
        case "string" if schema.get("format") == "date-time":
            return "TIMESTAMP_LTZ(3)"
        case "string" if schema.get("format") == "date":
            return "DATE"
    return _SCALARS[schema["type"]]
