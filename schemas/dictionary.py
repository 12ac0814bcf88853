"""The data dictionary: every contract and column on one page, for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from schemas.contract import Contract

HEAD = """\
# Data dictionary

Generated from `schemas/` by `grocery contracts generate`; change a contract, not this page.

An event has the columns of its contract; in the lake, `silver.<table>` has the same columns, typed. Units are UCUM
codes. Money is in minor units of the row's currency. Instants are UTC.
"""


def dictionary(contracts: tuple[Contract, ...]) -> str:
    """The page, in Markdown."""
    rows = "\n".join(
        f"| [{c.name}](#{c.name}) | {c.version} | `{c.topic}` | {', '.join(c.key_fields)} "
        f"| {c.max_lateness} | {c.retention} |"
        for c in contracts
    )
    index = f"| contract | version | topic | key | lateness at most | kept for |\n|---|---|---|---|---|---|\n{rows}\n"
    return "\n".join([HEAD, index, *(_page(contract) for contract in contracts)])


def _page(contract: Contract) -> str:
    rows = [
        f"\n## {contract.name}\n\n{contract.description}\n\n| column | type | must | what it is |\n|---|---|---|---|"
    ]
    rows += list(_rows(contract.schema, ""))
    return "\n".join(rows) + "\n"


def _rows(schema: dict[str, Any], prefix: str) -> Iterator[str]:
    for name, field in schema["properties"].items():
        must = "yes" if name in schema.get("required", []) else ""
        text = f"{field.get('description', '')}{_limits(field)}".replace("|", "\\|")
        yield f"| `{prefix}{name}` | {_type(field)} | {must} | {text} |"
        if "properties" in field:
            yield from _rows(field, f"{prefix}{name}.")
        elif field["type"] == "array" and "properties" in field["items"]:
            yield from _rows(field["items"], f"{prefix}{name}[].")


def _type(field: dict[str, Any]) -> str:
    if "format" in field:
        return {"date-time": "instant", "date": "date"}[field["format"]]
    if field["type"] == "object":
        return "object" if "properties" in field else "map of texts"
    if field["type"] == "array":
        return f"list of {_type(field['items'])}s"
    return {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}[field["type"]]


def _limits(field: dict[str, Any]) -> str:
    said = []
    if "const" in field:
        said.append(f"always {field['const']}")
    if "enum" in field:
        said.append("one of " + ", ".join(f"`{value}`" for value in field["enum"]))
    if "minimum" in field:
        said.append(f"at least {field['minimum']}")
    if "exclusiveMinimum" in field:
        said.append(f"above {field['exclusiveMinimum']}")
    if "maximum" in field:
        said.append(f"at most {field['maximum']}")
    if "maxLength" in field:
        said.append(f"up to {field['maxLength']} characters")
    if "x-unit" in field:
        said.append(f"unit {field['x-unit']}")
    if "x-pii" in field:
        said.append(f"personal data: {field['x-pii']}")
    return f" ({'; '.join(said)})" if said else ""
