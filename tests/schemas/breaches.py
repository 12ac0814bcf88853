"""Every way to break an event in one place, derived from its contract: what the contract's tests are fed with."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from schemas.contract import Contract

Steps = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Breach:
    """An event with one thing wrong. code, path: the reason that must be among those given."""

    event: dict[str, Any]
    code: str
    path: str

    def __str__(self) -> str:
        return f"{self.code}:{self.path}"


def breaches(contract: Contract, event: dict[str, Any]) -> Iterator[Breach]:
    """event: one that keeps the contract."""
    for where, code, told, change in _changes(contract.schema, event, ()):
        broken = copy.deepcopy(event)
        parent: Any = broken
        for step in where[:-1]:
            parent = parent[step]
        if change is _GONE:
            del parent[where[-1]]
        else:
            parent[where[-1]] = change
        yield Breach(broken, code, "".join(f"/{step}" for step in told))


_GONE = object()
_OTHER_TYPE = {
    # As many quotation marks as one text has: an array of it.
    "string": [5, 0.5, True, None, {}, [], ["x"]],
    "number": ["5", "", True, None, {}, []],
    "integer": ["5", 1.5, 5.0, 2**63, False, None, {}, []],
    "boolean": ["true", 1, None, {}, []],
    "object": ["{}", 1, None, []],
    "array": ["[]", 1, None, {}],
}
Change = tuple[Steps, str, Steps, Any]


def _changes(schema: dict[str, Any], value: dict[str, Any], at: Steps) -> Iterator[Change]:
    """(where, code, path told, new value) for one object of the event."""
    yield (*at, "surplus"), "unknown_field", (*at, "surplus"), 1
    for name in _needed(schema, value):
        if name in value:
            yield (*at, name), "required", (*at, name), _GONE
    for name, others in schema.get("dependencies", {}).items():
        for other in others:
            if name in value:
                yield (*at, other), "incomplete", (*at, name), _GONE
    for part in schema.get("allOf", []):
        ways = part.get("anyOf", []) + (part["then"].get("anyOf", []) if "if" in part and _holds(part, value) else [])
        given = [branch["required"] for branch in ways if set(branch["required"]) <= value.keys()]
        if len(given) == 1:
            yield (*at, given[0][0]), "required", at, _GONE
    for name in schema["properties"]:
        if name in value:
            yield from _values(_limits(schema, value, name), value[name], (*at, name))


def _needed(schema: dict[str, Any], value: dict[str, Any]) -> Iterator[str]:
    yield from schema.get("required", [])
    for part in schema.get("allOf", []):
        if "if" in part and _holds(part, value):
            yield from part["then"].get("required", [])


def _holds(part: dict[str, Any], value: dict[str, Any]) -> bool:
    tests = part["if"]["properties"].items()
    return all(value.get(name) in test.get("enum", [test.get("const")]) for name, test in tests)


def _limits(schema: dict[str, Any], value: dict[str, Any], name: str) -> dict[str, Any]:
    """The field's schema with what `then` adds to it here."""
    found = schema["properties"][name]
    for part in schema.get("allOf", []):
        if "if" in part and _holds(part, value):
            found = found | part["then"].get("properties", {}).get(name, {})
    return found


def _values(field: dict[str, Any], value: Any, at: Steps) -> Iterator[Change]:
    for other in _OTHER_TYPE[field["type"]]:
        yield at, "type", at, other
    word = "unit" if at[-1] == "unit" else None
    if "const" in field:
        other = value + 1 if isinstance(value, int) else f"{value}x"
        yield at, word or ("version" if at == ("schema_version",) else "const"), at, other
    elif "enum" in field:
        yield at, word or "enum", at, "nonsense"
        yield at, word or "enum", at, f"{value} "
    if "pattern" in field:
        for other in ("", f"{value}\n", f" {value}", f"{value}\u00e4"):
            yield at, "pattern", at, other
    if field.get("format") == "date-time":
        for other in ("2026-02-30T12:00:00.000Z", "2027-02-29T00:00:00.000Z"):
            yield at, "format", at, other
        for other in ("2026-10-05T24:00:00.000Z", "2026-10-05T12:00:60.000Z", "2026-10-05T12:00:00.0Z"):
            yield at, "pattern", at, other
    if field.get("format") == "date":
        yield at, "format", at, "2026-02-30"
    if "minimum" in field:
        yield at, "minimum", at, field["minimum"] - 1
    if "exclusiveMinimum" in field:
        yield at, "minimum", at, field["exclusiveMinimum"]
    if "maximum" in field:
        yield at, "maximum", at, field["maximum"] + 1
    if "maxLength" in field and "pattern" not in field:
        yield at, "length", at, "\u00e4" * (field["maxLength"] + 1)
    if "minLength" in field and "pattern" not in field:
        yield at, "length", at, ""
    if "minItems" in field:
        yield at, "items", at, []
    if field["type"] == "array":
        for number, one in enumerate(value[:2]):
            yield from _entry(field["items"], one, (*at, number))
    elif "properties" in field:
        yield from _changes(field, value, at)
    elif field["type"] == "object":
        for name in list(value)[:1]:
            yield from _values(field["additionalProperties"], value[name], (*at, name))


def _entry(items: dict[str, Any], one: Any, at: Steps) -> Iterator[Change]:
    for other in _OTHER_TYPE[items["type"]]:
        yield at, "type", at, other
    if items["type"] == "object":
        yield from _changes(items, one, at)
