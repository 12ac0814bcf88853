"""The validator: holds one event against its contract and names every breach."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from typing import Any

import jsonschema_rs

from schemas.contract import Contract

SHOWN = 80
"""Characters of a value that a message shows."""
_INT64 = 2**63
_WRITTEN = {"date-time": "2026-10-05T06:30:00.000Z (UTC, milliseconds)", "date": "2026-10-05"}

Event = dict[str, Any]
Steps = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Reason:
    """One breach.

    code: a stable word to count by: required, incomplete, unknown_field, type, const, version, unit, enum, minimum,
        maximum, pattern, length, format or items. Row checks in Spark use the same words.
    path: JSON pointer into the event, empty for the event as a whole.
    message: the thing, its value, the limit and the next step. Never the value of direct personal data.
    """

    code: str
    path: str
    message: str


def validator(contract: Contract) -> Callable[[Event], list[Reason]]:
    """A function from an event to its breaches, none where it keeps the contract. Compiles once; call it often.

    An event is held against the version that it names, and where it names none of them, against this one.

    Stricter than JSON Schema in one thing: an integer is written without a fraction and fits into 64 bits (100, not
    100.0), because the parsers of Flink and Spark take nothing else.
    """
    newest = _validator(contract)
    if not contract.older:
        return newest
    older = {one.version: _validator(one) for one in contract.older}

    def reasons(event: Event) -> list[Reason]:
        version = contract.of(event).version
        return older.get(version, newest)(event)

    return reasons


def _validator(contract: Contract) -> Callable[[Event], list[Reason]]:
    """The function for events of this version."""
    compiled = jsonschema_rs.Draft7Validator(contract.schema, validate_formats=True)
    integers = _integers(contract.schema)

    def reasons(event: Event) -> list[Reason]:
        odd: list[tuple[Steps, Any, str]] = []
        _odd_integers(event, integers, (), odd)
        if not odd and compiled.is_valid(event):
            return []
        found = [
            Reason("type", pointer(where), f"{_say(contract, where, value)}, {wanted}") for where, value, wanted in odd
        ]
        found += [reason for error in compiled.iter_errors(event) for reason in _reasons(contract, event, error)]
        return _one_a_value(found)

    return reasons


def _one_a_value(found: list[Reason]) -> list[Reason]:
    """Without what only follows from another reason: a value of another type is beside its limits too, and a text that
    is not written like an instant is none."""
    first = {reason.path: reason.code for reason in found if reason.code in ("type", "pattern")}
    first |= {reason.path: "type" for reason in found if reason.code == "type"}
    kept = []
    for reason in found:
        leading = first.get(reason.path)
        if leading == "type" and reason.code != "type" or leading == "pattern" and reason.code == "format":
            continue
        if reason.code == "unit":  # the metric's own unit, told last, says more than the list of all units
            kept = [other for other in kept if (other.code, other.path) != ("unit", reason.path)]
        if reason not in kept:
            kept.append(reason)
    return kept


def pointer(steps: list[str | int] | Steps) -> str:
    """JSON pointer (RFC 6901) of a path."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)


Node = dict[str, Any]
"""Field -> None where it is an integer, else the Node of what lies in it, or in its entries where it is an array."""


def _integers(schema: dict[str, Any]) -> Node:
    found: Node = {}
    for name, field in schema["properties"].items():
        inner = field["items"] if field["type"] == "array" else field
        if inner["type"] == "integer":
            found[name] = None
        elif "properties" in inner and (deeper := _integers(inner)):
            found[name] = deeper
    return found


def _odd_integers(value: Any, node: Node | None, where: Steps, odd: list[tuple[Steps, Any, str]]) -> None:
    """Adds (path, value, what it must be) of numbers that JSON Schema takes for integers and the parsers don't."""
    if isinstance(value, list):
        for index, one in enumerate(value):
            _odd_integers(one, node, (*where, index), odd)
    elif node is not None:
        if isinstance(value, dict):
            for name, deeper in node.items():
                if name in value:
                    _odd_integers(value[name], deeper, (*where, name), odd)
    elif isinstance(value, float):
        if value.is_integer():
            odd.append((where, value, f"it must be written without a fraction: {value:.0f}"))
    elif isinstance(value, int) and not -_INT64 <= value < _INT64:
        odd.append((where, value, "it must fit into 64 bits; correct the sender"))


def _reasons(contract: Contract, event: Event, error: jsonschema_rs.ValidationError) -> Iterator[Reason]:
    """What one error of the library means to a person; several where it names several fields."""
    where, details = error.instance_path, error.kind.as_dict()
    # The library knows no NaN and calls it null: tell what the event says.
    path, said = pointer(where), _say(contract, where, reduce(getitem, where, event))
    limit, under = _at(contract, error.schema_path), _under(contract, error)
    match error.kind.name:
        case "required" if error.schema_path[-1:] == ["dependencies"]:
            missing = details["property"]
            for given in (one for one, others in limit.items() if missing in others and one in error.instance):
                text = f"{_name(where, given)} is given without {missing}; send both or neither"
                yield Reason("incomplete", pointer([*where, given]), text)
        case "required":
            missing = details["property"]
            text = f"{_name(where, missing)} is missing{under}; send it"
            yield Reason("required", pointer([*where, missing]), text)
        case "anyOf":
            choices = " nor ".join(" and ".join(branch["required"]) for branch in limit)
            yield Reason("required", path, f"{_name(where)} has neither {choices}{under}; send one of them")
        case "additionalProperties":
            for name in details["unexpected"]:
                text = (
                    f"{_short(name)} is no field of {contract.name} v{contract.version}; "
                    "leave it out, or add it to the contract first"
                )
                yield Reason("unknown_field", pointer([*where, name]), text)
        case "const" if where == ["schema_version"]:
            known = [str(one.version) for one in contract.versions]
            those = "version {}; send that one" if len(known) == 1 else "versions {}; send one of those"
            text = f"{said}, this reader knows {those.format(' and '.join(known))}, or bring the reader up to date"
            yield Reason("version", path, text)
        case "const":
            yield Reason(_code("const", where), path, f"{said}, it must be {_plain(limit)}{under}; correct the sender")
        case "enum":
            allowed = ", ".join(map(str, limit))
            yield Reason(_code("enum", where), path, f"{said}, it must be one of {allowed}{under}; correct the sender")
        case "type":
            wanted = " or ".join(details["types"])
            yield Reason("type", path, f"{said}, it must be of type {wanted}; leave it out where there is no value")
        case "minimum" | "exclusiveMinimum":
            word = "above" if error.kind.name == "exclusiveMinimum" else "at least"
            yield Reason("minimum", path, f"{said}, it must be {word} {limit}{under}; check the device or the sender")
        case "maximum":
            yield Reason("maximum", path, f"{said}, it must be at most {limit}{under}; check the device or the sender")
        case "pattern" if written := _WRITTEN.get(_field_at(contract.schema, where).get("format")):
            yield Reason("pattern", path, f"{said}, it must be written like {written}; correct the sender")
        case "pattern":
            yield Reason("pattern", path, f"{said}, it must look like {limit}; correct the sender")
        case "maxLength":
            text = f"{_name(where)} has {len(error.instance)} characters, at most {limit} are allowed; shorten it"
            yield Reason("length", path, text)
        case "minLength":
            yield Reason("length", path, f"{_name(where)} is empty; send it, or leave it out where that is allowed")
        case "minItems":
            text = f"{_name(where)} has {len(error.instance)} entries, at least {limit} are needed; send them"
            yield Reason("items", path, text)
        case "format":
            kind = {"date-time": "an instant", "date": "a date"}.get(limit, limit)
            yield Reason("format", path, f"{said}, that is not {kind} of the calendar; correct the sender")
        case other:
            yield Reason(other, path, f"{said}: breaks {other}")


def _code(keyword: str, where: list[str | int]) -> str:
    return "unit" if where[-1:] == ["unit"] else keyword


def _name(where: list[str | int] | Steps, field: str | None = None) -> str:
    steps = [*where] if field is None else [*where, field]
    return ".".join(map(str, steps)) or "the event"


def _say(contract: Contract, where: list[str | int] | Steps, value: Any) -> str:
    """`value is 85`, and without the value where it is personal."""
    schema = _field_at(contract.schema, where)
    if schema.get("x-pii") == "direct" or "x-pseudonym-of" in schema:
        return f"{_name(where)} is not as it must be (personal, not shown)"
    return f"{_name(where)} is {_short(value)}"


def _at(contract: Contract, path: list[str | int]) -> Any:
    """What stands in the contract at this path."""
    node: Any = contract.schema
    for step in path:
        node = node[step]
    return node


def _under(contract: Contract, error: jsonschema_rs.ValidationError) -> str:
    """` where metric is temperature`, for a limit that holds only there."""
    path = list(error.schema_path)
    if "then" not in path:
        return ""
    tests = _at(contract, [*path[: path.index("then")], "if", "properties"])
    said = [
        f"{name} is {' or '.join(map(_plain, test.get('enum') or [test['const']]))}" for name, test in tests.items()
    ]
    return f" where {' and '.join(said)}"


def _field_at(schema: dict[str, Any], where: list[str | int] | Steps) -> dict[str, Any]:
    """The field's own schema, for its annotations; empty where the contract has none."""
    for step in where:
        schema = schema.get("items", {}) if isinstance(step, int) else schema.get("properties", {}).get(step, {})
    return schema


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"
