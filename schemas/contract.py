"""Reads the contracts: JSON Schema draft-07 files with `x-` annotations.

A contract is the one place where a column is written down. Validator, Flink DDL, Spark types, row checks,
expectation suite, dbt sources and the data dictionary are all derived from a `Contract`.

The part of draft-07 that contracts may use is small on purpose, so that every derivation covers all of it:
type, const, enum, pattern (its `$` the end of the text), format (with a pattern beside it), minimum, maximum,
exclusiveMinimum, minLength (1: not empty), maxLength, minItems, properties, required, dependencies on fields,
additionalProperties (false, or texts: a map), items, allOf of if/then and of anyOf-required. A test holds them to it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
_VERSION = re.compile(r"v(\d+)\.json")
_PSEUDONYM = re.compile(r"\^([a-z]+)_\[0-9a-f\]\{32\}\$")


class UnknownContract(LookupError):
    """No contract of that name (or version); the message lists those there are."""


@dataclass(frozen=True, slots=True)
class Field:
    """One column: its name, its JSON Schema, and whether every event must have it."""

    name: str
    schema: dict[str, Any]
    required: bool

    @property
    def description(self) -> str:
        return self.schema.get("description", "")

    @property
    def pii(self) -> str:
        """`none`, `pseudonymous` or `direct`."""
        return self.schema.get("x-pii", "none")

    @property
    def pseudonym(self) -> tuple[str, str] | None:
        """Of a keyed hash: the name under which the gate takes the plain value, and the kind of hash, which is the word
        before its digits, e.g. `("loyalty_number", "cust")`. None of any other field."""
        plain = self.schema.get("x-pseudonym-of")
        return (plain, _PSEUDONYM.fullmatch(self.schema["pattern"])[1]) if plain else None

    @property
    def asset_class(self) -> str | None:
        """Of a field that names an asset: the class it must have, or `any`; None of any other field."""
        return self.schema.get("x-asset")

    @property
    def unit(self) -> str | None:
        """UCUM code, where the unit is fixed."""
        return self.schema.get("x-unit")


@dataclass(frozen=True, slots=True)
class Contract:
    """One version of one event type.

    name: folder name, e.g. `sensor-readings`; table: the same as a table name, `sensor_readings`.
    schema: the whole JSON Schema document.
    """

    name: str
    version: int
    schema: dict[str, Any]
    folder: Path

    @property
    def table(self) -> str:
        return self.name.replace("-", "_")

    @property
    def topic(self) -> str:
        """The topic, or a pattern ending in `*` where several topics carry this type."""
        return self.schema["x-topic"]

    @property
    def key_fields(self) -> tuple[str, ...]:
        """Fields whose values, joined by `|`, are the record's key."""
        return tuple(self.schema["x-key"].split(","))

    @property
    def kind(self) -> str:
        """`event` (comes in through the gate), `derived` (made by the streaming jobs: alerts, derived metrics),
        `reference` (compacted, SCD type 2) or `dead-letter`."""
        return self.schema["x-kind"]

    @property
    def max_lateness(self) -> str:
        """ISO 8601 duration."""
        return self.schema["x-max-lateness"]

    @property
    def retention(self) -> str:
        """ISO 8601 duration."""
        return self.schema["x-retention"]

    @property
    def description(self) -> str:
        return self.schema["description"]

    @property
    def fields(self) -> tuple[Field, ...]:
        required = set(self.schema["required"])
        return tuple(Field(n, s, n in required) for n, s in self.schema["properties"].items())

    def key(self, event: dict[str, Any]) -> str:
        """The record key of an event that passed the validator."""
        return "|".join(str(event[name]) for name in self.key_fields)

    def examples(self) -> Iterator[tuple[Path, bool]]:
        """(file, whether it must pass) for every example of this contract."""
        for path in sorted(self.folder.glob("*.json")):
            if path.name.startswith("pass-"):
                yield path, True
            elif path.name.startswith("fail-"):
                yield path, False


@cache
def _load(folder: Path) -> dict[str, dict[int, Contract]]:
    found: dict[str, dict[int, Contract]] = {}
    for path in sorted(folder.glob("*/v*.json")):
        if match := _VERSION.fullmatch(path.name):
            doc = json.loads(path.read_text("utf-8"))
            item = Contract(path.parent.name, int(match[1]), doc, path.parent)
            found.setdefault(item.name, {})[item.version] = item
    return found


def all_contracts(folder: Path = FOLDER) -> tuple[Contract, ...]:
    """The newest version of every contract, by name."""
    return tuple(versions[max(versions)] for _, versions in sorted(_load(folder).items()))


def contract(name: str, version: int | None = None, folder: Path = FOLDER) -> Contract:
    """One contract by name or topic; the newest version unless told.

    Raises UnknownContract.
    """
    known = _load(folder)
    versions = known.get(name) or known.get(_by_topic(name, folder), {})
    if not versions:
        raise UnknownContract(f"{name}: no such contract; there are {', '.join(sorted(known))}")
    if version is None:
        version = max(versions)
    if version not in versions:
        raise UnknownContract(f"{name}: no version {version}; there are {', '.join(map(str, sorted(versions)))}")
    return versions[version]


def _by_topic(topic: str, folder: Path) -> str:
    for item in all_contracts(folder):
        if item.topic == topic or (item.topic.endswith("*") and topic.startswith(item.topic[:-1])):
            return item.name
    return ""
