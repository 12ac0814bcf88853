"""Reads the contracts: JSON Schema draft-07 files with `x-` annotations.

A contract is the one place where a column is written down. Validator, Flink DDL, Spark types, row checks,
expectation suite, dbt sources and the data dictionary are all derived from a `Contract`.

The part of draft-07 that contracts may use is small on purpose, so that every derivation covers all of it; it stands in
schemas/grammar.py, and each contract is held against it when it is read.

A contract's folder may hold several versions, v1.json, v2.json and so on: a record is judged by the one it names, and
all go into the same table. What a newer one may change stands in schemas/versions.py.

A chain's own contracts lie in a folder of their own, which GROCERY_SCHEMAS names: `<name>/v1.json` and its examples, as
here. Everything is derived from them as well. The environment says so, not the settings, because what derives runs in
processes of its own (Flink, Spark, dbt), which the command line starts or does not even start.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from schemas.grammar import PSEUDONYM, faults
from schemas.versions import changes

FOLDER = Path(__file__).parent
MORE = "GROCERY_SCHEMAS"
"""Environment variable: the folder of a chain's own contracts, beside those here."""
_VERSION = re.compile(r"v(\d+)\.json")


_DURATION = re.compile(r"(\d+)([DHM])")


class UnknownContract(LookupError):
    """No contract of that name (or version); the message lists those there are."""


class BadContract(ValueError):
    """A contract that cannot be read, says what is not derived, or is in another's way."""


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
        return (plain, PSEUDONYM.fullmatch(self.schema["pattern"])[1]) if plain else None

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
    """One version of one event type, with those before it.

    name: folder name, e.g. `sensor-readings`; table: the same as a table name, `sensor_readings`.
    schema: the whole JSON Schema document; it has every field that an older version has.
    older: the versions before it, oldest first. What judges a record judges it by the one it names.
    """

    name: str
    version: int
    schema: dict[str, Any]
    folder: Path
    older: tuple[Contract, ...] = ()

    @property
    def versions(self) -> tuple[Contract, ...]:
        """Every version that a record may be of, oldest first."""
        return (*self.older, self)

    def of(self, event: dict[str, Any]) -> Contract:
        """The version that judges this event: the one it names; this one where it names none of them."""
        named = event.get("schema_version")
        # 1.0 and true are equal to 1, but name no version.
        return next((one for one in self.older if type(named) is int and named == one.version), self)

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
    def fresh_within(self) -> timedelta | None:
        """How old a store's newest event may be; None where nobody can say, as of what only comes when it happens."""
        return duration(said) if (said := self.schema.get("x-fresh-within")) else None

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
        """(file, whether it must pass) for every example of this contract, whichever version it names."""
        for path in sorted(self.folder.glob("*.json")):
            if path.name.startswith("pass-"):
                yield path, True
            elif path.name.startswith("fail-"):
                yield path, False


def duration(text: str) -> timedelta:
    """An ISO 8601 duration of days, hours and minutes, which is what contracts have."""
    given = {unit: int(number) for number, unit in _DURATION.findall(text)}
    return timedelta(days=given.get("D", 0), hours=given.get("H", 0), minutes=given.get("M", 0))


Known = dict[str, dict[int, Contract]]
"""name -> version -> contract"""


@cache
def _load(folder: Path) -> Known:
    found: Known = {}
    for path in sorted(folder.glob("*/v*.json")):
        if match := _VERSION.fullmatch(path.name):
            item = _read(path, int(match[1]))
            found.setdefault(item.name, {})[item.version] = item
    return {name: _in_order(versions) for name, versions in found.items()}


def _in_order(versions: dict[int, Contract]) -> dict[int, Contract]:
    """The same, each with those before it."""
    found: dict[int, Contract] = {}
    for number in sorted(versions):
        item, older = versions[number], tuple(versions[other] for other in sorted(versions) if other < number)
        if older and (wrong := list(changes(item.name, (older[-1].version, older[-1].schema), item.schema))):
            what = "What a newer version may change stands in schemas/versions.py"
            raise _bad(item.folder / f"v{number}.json", wrong, what)
        found[number] = replace(item, older=older)
    return found


def _bad(path: Path, wrong: list[str], more: str) -> BadContract:
    others = f" (and {len(wrong) - 5} more)" if len(wrong) > 5 else ""
    return BadContract(f"{path}: {'; '.join(wrong[:5])}{others}. {more}")


def _read(path: Path, version: int) -> Contract:
    try:
        doc = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BadContract(f"{path}: cannot be read: {error}") from error
    try:
        wrong = list(faults(path.parent.name, version, doc))
    except (AttributeError, KeyError, TypeError) as error:  # a list where an object belongs, and the like
        raise BadContract(f"{path}: is not built like a JSON Schema; hold it against one in {FOLDER}") from error
    if wrong:
        raise _bad(path, wrong, "What may be said stands in schemas/grammar.py")
    return Contract(path.parent.name, version, doc, path.parent)


@cache
def _with(folder: Path) -> Known:
    """The project's contracts and those of this folder, which come in through the gate and are in nobody's way."""
    import jsonschema_rs

    own, added = _load(FOLDER), _load(folder)
    if not added:
        raise BadContract(f"{MORE}={folder}: no contract in it; one is <name>/v1.json with its examples beside it")
    topics = {item.topic: item for versions in own.values() for item in versions.values()}
    for versions in added.values():
        for item in versions.values():
            path = item.folder / f"v{item.version}.json"
            if item.name in own:
                raise BadContract(f"{path}: {item.name} is one of the project's contracts; give yours another name")
            if item.kind != "event":
                raise BadContract(f"{path}: x-kind {item.kind}: made by the project's own parts only; say event")
            if "*" in item.topic or item.topic.startswith("alerts."):
                raise BadContract(f"{path}: x-topic {item.topic}: alerts. and * are for the jobs' own; name one topic")
            if (other := topics.setdefault(item.topic, item)).name != item.name:
                raise BadContract(f"{path}: x-topic {item.topic} belongs to {other.name}; give yours one of its own")
            try:
                jsonschema_rs.Draft7Validator(item.schema)
            except ValueError as error:
                raise BadContract(f"{path}: no JSON Schema: {error}") from error
    return own | added


def _known(folder: Path | None) -> Known:
    if folder is not None:
        return _load(folder)
    more = os.environ.get(MORE)
    return _with(Path(more)) if more else _load(FOLDER)


def all_contracts(folder: Path | None = None) -> tuple[Contract, ...]:
    """The newest version of every contract, by name: of this folder alone, or where none is given, the project's own
    and those that GROCERY_SCHEMAS adds.

    Raises BadContract.
    """
    return tuple(versions[max(versions)] for _, versions in sorted(_known(folder).items()))


def contract(name: str, version: int | None = None, folder: Path | None = None) -> Contract:
    """One contract by name or topic; the newest version unless told, with those before it. folder: as of all_contracts.

    Raises UnknownContract, BadContract.
    """
    known = _known(folder)
    versions = known.get(name) or known.get(_by_topic(name, folder), {})
    if not versions:
        raise UnknownContract(f"{name}: no such contract; there are {', '.join(sorted(known))}")
    if version is None:
        version = max(versions)
    if version not in versions:
        raise UnknownContract(f"{name}: no version {version}; there are {', '.join(map(str, sorted(versions)))}")
    return versions[version]


def _by_topic(topic: str, folder: Path | None) -> str:
    for item in all_contracts(folder):
        if item.topic == topic or (item.topic.endswith("*") and topic.startswith(item.topic[:-1])):
            return item.name
    return ""
