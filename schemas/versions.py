"""What a newer version of a contract may change, so that one topic and one table of silver can hold both.

A record is judged by the version that it names. Between versions anything may be stricter or looser: what must be
there, limits, lists of values, rules; and fields may come. What a column is stays: no field goes or gets another name,
type, unit or kind of personal data, and the record's key and topic are the same. So the newest version has every
column that any of them has, and whatever needs columns is derived from it alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from schemas.grammar import LEFT_TO_CONTRACTS

OF_ALL = ("x-topic", "x-key", "x-kind", "x-event-time")
"""What the versions of a contract have in common; of other words for the whole, the newest version's holds."""
_OF_FIELD = ("x-unit", "x-pii", "x-pseudonym-of", "x-encrypted")

Schema = dict[str, Any]


def changes(name: str, older: tuple[int, Schema], newer: Schema) -> Iterator[str]:
    """What the newer version must not change, each as `field: what, and what to do`; nothing where both fit together.

    name: of the contract. older: the version before, its number and schema; both keep schemas/grammar.py.
    """
    number, before = older
    for word in OF_ALL:
        if newer.get(word) != before.get(word):
            yield f"{name}: {word} is {newer.get(word)}, of version {number} {before.get(word)}; it must stay"
    yield from _fields(name, number, before, newer)
    for field in newer["properties"].keys() - before["properties"].keys():
        if field.lower() == LEFT_TO_CONTRACTS:
            yield (
                f"{name}.{field}: not in version {number}, of whose rows silver's own column {LEFT_TO_CONTRACTS} says "
                "where they come from; rename it"
            )
    was, now = _units(before), _units(newer)
    for under in was.keys() & now.keys():
        if was[under] != now[under]:
            yield (
                f"{name}.unit: {now[under]} where {under}, in version {number} {was[under]}; one column cannot hold "
                "both: convert at the sender"
            )


def _fields(at: str, number: int, before: Schema, newer: Schema) -> Iterator[str]:
    for field, was in before["properties"].items():
        if field not in newer["properties"]:
            yield (
                f"{at}.{field}: gone or renamed; rows of version {number} have it: keep it, no longer required if need "
                "be, and give another name to a field of its own"
            )
        else:
            yield from _field(f"{at}.{field}", number, was, newer["properties"][field])


def _field(at: str, number: int, was: Schema, now: Schema) -> Iterator[str]:
    if _kind(was) != _kind(now):
        yield (
            f"{at}: {_kind(now)}, in version {number} {_kind(was)}; one column cannot hold both: give the new one a "
            "name of its own"
        )
        return
    for word in _OF_FIELD:
        if was.get(word) != now.get(word):
            yield f"{at}: {word} is {now.get(word)}, in version {number} {was.get(word)}; it must be the same in all"
    typed_by_pattern = "format" in was or "x-pseudonym-of" in was
    if typed_by_pattern and was["pattern"] != now["pattern"]:
        yield f"{at}: pattern is {now['pattern']}, in version {number} {was['pattern']}; it must be the same in all"
    if was["type"] == "array":
        yield from _field(f"{at}[]", number, was["items"], now["items"])
    elif "properties" in was:
        yield from _fields(at, number, was, now)


def _kind(field: Schema) -> str:
    """The type of a column."""
    if field["type"] == "object":
        return "an object of fields" if "properties" in field else "a map of texts"
    return field.get("format", field["type"])


def _units(schema: Schema) -> dict[str, str]:
    """What is tested -> the unit that a value has then, e.g. of each metric."""
    found = {}
    for part in schema.get("allOf", ()):
        unit = part.get("then", {}).get("properties", {}).get("unit", {}).get("const")
        if unit is not None:
            tests = part["if"]["properties"].items()
            under = " and ".join(f"{name} is {json.dumps(test.get('enum', test.get('const')))}" for name, test in tests)
            found[under] = unit
    return found
