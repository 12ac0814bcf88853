"""The validator: holds one event against its contract and names every breach."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jsonschema_rs

from schemas.contract import Contract

SHOWN = 80
"""Characters of a value that a message shows."""

CODES = {
    "additionalProperties": "unknown_field",
    "exclusiveMinimum": "minimum",
    "maxLength": "length",
    "minItems": "items",
    "anyOf": "required",
}
"""Words for breaches where JSON Schema's own keyword says less to a person. Others are called as their keyword."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One breach. code: a stable word to count by; path: JSON pointer into the event, empty for the event as a whole;
    message: the thing, its value, the limit and the next step. Never the value of direct personal data."""

    code: str
    path: str
    message: str


def validator(contract: Contract) -> Callable[[dict[str, Any]], list[Reason]]:
    """A function from an event to its breaches, none where it keeps the contract. Compiles once; call it often."""
    compiled = jsonschema_rs.Draft7Validator(contract.schema, validate_formats=True)

    def reasons(event: dict[str, Any]) -> list[Reason]:
        if compiled.is_valid(event):
            return []
        return [found for error in compiled.iter_errors(event) for found in _reasons(contract, error)]

    return reasons


def pointer(steps: list[str | int]) -> str:
    """JSON pointer (RFC 6901) of a path."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)


def _reasons(contract: Contract, error: jsonschema_rs.ValidationError) -> list[Reason]:
    keyword, where = error.kind.name, list(error.instance_path)
    path = pointer(where)
    name = ".".join(map(str, where)) or "the event"
    schema = _schema_at(contract.schema, where)
    if schema.get("x-pii") == "direct" or "x-pseudonym-of" in schema:
        said = "the value (personal, not shown)"
    else:
        said = _short(error.instance)
    match keyword:
        case "required":
            missing = error.kind.as_dict()["property"]
            return [Reason("required", pointer([*where, missing]), f"{missing} is missing in {name}; send it")]
        case "anyOf":
            choices = " or ".join(" and ".join(branch["required"]) for branch in _anyof(contract, error))
            return [Reason("required", path, f"{name} has none of {choices}; send one of them")]
        case "additionalProperties":
            return [
                Reason(
                    "unknown_field",
                    pointer([*where, field]),
                    f"{_short(field)} is no field of {contract.name} v{contract.version}; "
                    "leave it out, or add it to the contract first",
                )
                for field in error.kind.as_dict()["unexpected"]
            ]
        case "const":
            wanted = _short(error.kind.expected_value)
            code = "unit" if where[-1:] == ["unit"] else "version" if where == ["schema_version"] else "const"
            return [Reason(code, path, f"{name} is {said}, it must be {wanted}")]
        case "enum":
            code = "unit" if where[-1:] == ["unit"] else "enum"
            return [
                Reason(
                    code, path, f"{name} is {said}, it must be one of {', '.join(map(str, _limit(contract, error)))}"
                )
            ]
        case "type":
            wanted = " or ".join(error.kind.as_dict()["types"])
            return [Reason("type", path, f"{name} is {said}, it must be of type {wanted}")]
        case "minimum" | "exclusiveMinimum":
            word = "above" if keyword == "exclusiveMinimum" else "at least"
            return [Reason("minimum", path, f"{name} is {said}, it must be {word} {_limit(contract, error)}")]
        case "maximum":
            return [Reason("maximum", path, f"{name} is {said}, it must be at most {_limit(contract, error)}")]
        case "pattern":
            return [Reason("pattern", path, f"{name} is {said}, it must match {_limit(contract, error)}")]
        case "maxLength":
            return [
                Reason(
                    "length",
                    path,
                    f"{name} has {len(error.instance)} characters, at most {_limit(contract, error)} are allowed",
                )
            ]
        case "minItems":
            return [
                Reason(
                    "items",
                    path,
                    f"{name} has {len(error.instance)} entries, at least {_limit(contract, error)} are needed",
                )
            ]
        case "format":
            return [Reason("format", path, f"{name} is {said}, it must be a {_limit(contract, error)} (RFC 3339)")]
    return [Reason(CODES.get(keyword, keyword), path, f"{name}: breaks {keyword}")]


def _limit(contract: Contract, error: jsonschema_rs.ValidationError) -> Any:
    """The value of the keyword that was broken."""
    node: Any = contract.schema
    for step in error.schema_path:
        node = node[step]
    return node


def _anyof(contract: Contract, error: jsonschema_rs.ValidationError) -> list[dict[str, Any]]:
    return _limit(contract, error)


def _schema_at(schema: dict[str, Any], where: list[str | int]) -> dict[str, Any]:
    """The field's own schema, for its annotations; empty where the contract has none."""
    for step in where:
        schema = schema.get("items", {}) if isinstance(step, int) else schema.get("properties", {}).get(step, {})
    return schema


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"
