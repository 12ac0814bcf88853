"""The mapping: how one kind of export is written, and which column is which sensor.

A mapping is a YAML file that a person writes once per kind of export; `docs/replay.md` teaches it. Every scalar is
taken as the text that stands there (`007` stays `007`, `-999.0` stays `-999.0`): names and missing-value marks are
compared with a file's text. Whatever is wrong is told with file, line, value and what there is to choose from, all of
it at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal
from zoneinfo import available_timezones

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator, model_validator
from ruamel.yaml import YAML, MappingNode, SequenceNode
from ruamel.yaml.error import YAMLError

from ingestion.reference import Reference
from ingestion.units import UnitDoesNotFit, converter, known_units, metric_units
from schemas.contract import contract

READINGS = "sensor-readings"
IDENTITY = ("store", "device", "asset", "asset_class", "metric", "unit")
_OFFSET = re.compile(r"[+-](0\d|1[0-4]):[0-5]\d")
_LINE_OF = tuple[str | int, ...]


class MappingError(ValueError):
    """A mapping, or a file that does not fit its mapping; one problem a line, each naming file, line and value."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Model):
    """Where a name comes from: one value for all (`value`, or just the text), or a column, its texts translated
    by `map` where there is one."""

    value: str | None = None
    column: str | None = None
    map: dict[str, str] | None = None

    @model_validator(mode="before")
    @classmethod
    def _plain_text(cls, given: Any) -> Any:
        return {"value": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _one_of_both(self) -> Source:
        if (self.value is None) == (self.column is None):
            raise ValueError("give either a text, or {column: NAME}, optionally with map: {TEXT: ID}")
        if self.map is not None and self.column is None:
            raise ValueError("map needs a column whose texts it translates")
        return self

    def names(self) -> list[tuple[str, _LINE_OF]]:
        """Every name that stands in the mapping itself, with its place below this one."""
        if self.value is not None:
            return [(self.value, ())]
        return [(name, ("map", text)) for text, name in (self.map or {}).items()]


class Csv(_Model):
    """How the text is written."""

    encoding: str = Field("utf-8", description="e.g. utf-8, cp1252, latin-1, utf-16. A byte order mark is understood.")
    delimiter: str = Field(",", description="One character, or `tab`.")
    decimal: Literal[".", ","] = Field(".", description="Decimal mark.")
    thousands: str | None = Field(None, description="Mark between thousands: `.`, `,`, `'` or `space`; none if absent.")
    quote: str = Field('"', description="Quote character, or `none`.")
    skip_lines: int = Field(0, ge=0, description="Lines above the header, e.g. the logger's name and serial number.")
    comment: str | None = Field(None, min_length=1, description="Lines that begin with it are no rows.")
    names: tuple[str, ...] | None = Field(None, description="Column names, where the file has no header line.")

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, given: str) -> str:
        try:
            "".encode(given)
        except LookupError:
            raise ValueError(f"Python knows no encoding {given!r}; e.g. utf-8, cp1252, latin-1, utf-16") from None
        return given

    @field_validator("delimiter", "quote", "thousands")
    @classmethod
    def _one_character(cls, given: str | None) -> str | None:
        given = {"tab": "\t", "none": "", "space": " "}.get(given or "", given)
        if given and len(given) != 1:
            raise ValueError(f"one character (or tab, space, none), not {given!r}")
        return given

    @model_validator(mode="after")
    def _marks_differ(self) -> Csv:
        if self.thousands and self.thousands == self.decimal:
            raise ValueError(f"thousands and decimal are both {self.decimal!r}; they must differ")
        if self.delimiter in (self.decimal, self.thousands) and not self.quote:
            raise ValueError(f"delimiter and number marks are both {self.delimiter!r} and nothing is quoted")
        return self


class Time(_Model):
    """When a row was measured, by the logger's clock."""

    columns: tuple[str, ...] = Field(min_length=1, description="One column, or several that are joined by a blank.")
    format: str = Field(description="strptime pattern, `iso`, `epoch_s` or `epoch_ms`.")
    zone: str | None = Field(None, description="IANA zone, `UTC`, a fixed offset like +01:00, or `store`.")

    @model_validator(mode="before")
    @classmethod
    def _one_column(cls, given: Any) -> Any:
        if isinstance(given, dict) and isinstance(given.get("column"), str) and "columns" not in given:
            given = {k: v for k, v in given.items() if k != "column"} | {"columns": [given["column"]]}
        return given

    @property
    def carries_offset(self) -> bool:
        """Every text says its own offset; there is nothing left to resolve."""
        return "%z" in self.format or self.format.startswith("epoch_")

    @field_validator("format")
    @classmethod
    def _readable(cls, given: str) -> str:
        if given in ("iso", "epoch_s", "epoch_ms"):
            return given
        if "%" not in given:
            raise ValueError(f"{given!r} is no pattern; write one like '%d.%m.%Y %H:%M', or iso, epoch_s, epoch_ms")
        if "%I" in given and "%p" not in given:
            raise ValueError(f"{given!r} has a 12-hour clock (%I) without AM/PM (%p); use %H for 24 hours")
        probe = datetime(2026, 10, 25, 14, 35)  # noqa: DTZ001 - a wall clock, on purpose without a zone
        try:
            back = datetime.strptime(probe.strftime(given.replace("%z", "")), given.replace("%z", ""))  # noqa: DTZ007
        except ValueError as error:
            raise ValueError(f"{given!r} is no pattern that can be read: {error}") from None
        if back.replace(minute=35) != probe:
            raise ValueError(f"{given!r} does not say year, month, day and hour; add what is missing")
        return given

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, given: str | None) -> str | None:
        if given is None or given in ("store", "UTC") or _OFFSET.fullmatch(given):
            return given
        if given not in available_timezones():
            near = get_close_matches(given, available_timezones(), 3, 0.6)
            hint = f"did you mean {' or '.join(near)}?" if near else "write one like Europe/Berlin"
            raise ValueError(f"{given!r} is no IANA time zone; {hint} Also possible: UTC, +01:00, store")
        return given

    @model_validator(mode="after")
    def _zone_where_needed(self) -> Time:
        if self.zone is None and not self.carries_offset and self.format != "iso":
            raise ValueError(
                f"zone is missing: {self.format!r} is local time. Write zone: Europe/Berlin, UTC, +01:00 or store"
            )
        if self.zone is not None and self.carries_offset:
            raise ValueError(f"{self.format!r} says its own offset; leave zone {self.zone!r} out")
        return self


class Value(_Model):
    """One column of measured values. A wide export has one per sensor, a long one has one in all."""

    column: str
    store: Source | None = None
    device: Source | None = None
    asset: Source | None = None
    asset_class: Source | None = None
    metric: Source | None = None
    unit: Source | None = None
    states: dict[str, float] | None = Field(None, description="What words mean, e.g. {open: 1, closed: 0}.")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a mapping stands: its file, and the line of each of its keys."""

    file: str = "mapping"
    lines: dict[_LINE_OF, int] = field(default_factory=dict)

    def at(self, place: _LINE_OF) -> str:
        """`file:line` of a key, or of the nearest one above it that is written."""
        for end in range(len(place), -1, -1):
            if line := self.lines.get(place[:end]):
                return f"{self.file}:{line}"
        return self.file


class Mapping(_Model):
    """A whole mapping. The identity fields here hold for every value column that does not say otherwise."""

    csv: Csv = Csv()
    time: Time
    missing: tuple[str, ...] = Field(("",), description="Texts that mean: nothing was measured.")
    store: Source | None = None
    device: Source | None = None
    asset: Source | None = None
    asset_class: Source | None = None
    metric: Source | None = None
    unit: Source | None = None
    values: tuple[Value, ...] = Field(min_length=1)
    _origin: Origin = PrivateAttr(default_factory=Origin)

    def source(self, value: int, name: str) -> Source | None:
        """What the value column, or else the whole mapping, says about an identity field."""
        return getattr(self.values[value], name) or getattr(self, name)

    @property
    def origin(self) -> Origin:
        return self._origin

    def columns(self) -> list[tuple[str, _LINE_OF]]:
        """Every column the file must have, with the place where the mapping names it."""
        found = [(name, ("time", "columns", i)) for i, name in enumerate(self.time.columns)]
        for i, value in enumerate(self.values):
            found.append((value.column, ("values", i, "column")))
        for where, holder in [((), self), *((("values", i), v) for i, v in enumerate(self.values))]:
            for name in IDENTITY:
                if (source := getattr(holder, name)) and source.column is not None:
                    found.append((source.column, (*where, name, "column")))
        return found


def load_mapping(path: Path, reference: Reference | None = None) -> Mapping:
    """Read and check a mapping file.

    reference: the chain; with it, names of stores, assets and devices are checked, and what the mapping leaves out
    (a device's asset, class, store, metric) is looked up.

    Raises MappingError.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise MappingError(f"{path}: the mapping cannot be read ({reason})") from None
    try:
        node = YAML().compose(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise MappingError(f"{path}{line}: this is not YAML: {getattr(error, 'problem', error)}") from None
    lines: dict[_LINE_OF, int] = {}
    problems: list[str] = []
    given = _plain(node, (), lines, str(path), problems) if node is not None else None
    if not isinstance(given, dict):
        raise MappingError(f"{path}:1: a mapping begins with keys like time: and values:; see docs/replay.md")
    origin = Origin(str(path), lines)
    if not problems:
        try:
            mapping = Mapping.model_validate(given)
        except ValidationError as error:
            problems = _tell(error, origin)
        else:
            mapping._origin = origin  # noqa: SLF001
            problems = list(_check(mapping, reference))
    if problems:
        raise MappingError("\n".join(problems))
    return mapping


def _plain(node: Any, place: _LINE_OF, lines: dict[_LINE_OF, int], file: str, problems: list[str]) -> Any:
    """A YAML node as dicts, lists and the texts as written; notes the line of every key and item."""
    lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, MappingNode):
        found: dict[str, Any] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in found:
                problems.append(f"{file}:{line}: {key.value!r} is written twice under the same key; keep one")
            lines[(*place, key.value)] = line
            found[key.value] = _plain(value, (*place, key.value), lines, file, problems)
        return found
    if isinstance(node, SequenceNode):
        return [_plain(item, (*place, i), lines, file, problems) for i, item in enumerate(node.value)]
    return None if node.tag == "tag:yaml.org,2002:null" else node.value


def _tell(error: ValidationError, origin: Origin) -> list[str]:
    told = []
    for item in error.errors():
        place = tuple(item["loc"])
        name = ".".join(str(part) for part in place) or "the mapping"
        if item["type"] == "extra_forbidden":
            holder = _model_at(place[:-1])
            names = sorted(holder.model_fields) if holder else []
            near = get_close_matches(str(place[-1]), names, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
            message = f"{name}: no such key; {hint}"
        elif item["type"] == "missing":
            message = f"{name}: is missing; see docs/replay.md"
        else:
            text = item["msg"].removeprefix("Value error, ")
            shown = "" if item["type"] == "value_error" else f" (is {str(item['input'])[:60]!r})"
            message = f"{name}: {text}{shown}"
        told.append(f"{origin.at(place)}: {message}")
    return told


def _model_at(place: _LINE_OF) -> type[BaseModel] | None:
    """The model that a place of the mapping is read as."""
    match place:
        case ():
            return Mapping
        case ("csv",):
            return Csv
        case ("time",):
            return Time
        case ("values", int()):
            return Value
        case (*_, name) if name in IDENTITY:
            return Source
    return None


def _check(mapping: Mapping, reference: Reference | None) -> Iterable[str]:
    """Problems that only show when the keys are seen together, or against the contract and the chain."""
    at = mapping.origin.at
    readings = contract(READINGS)
    metrics = metric_units(readings)
    classes = readings.schema["properties"]["asset_class"]["enum"]
    for place, holder in [((), mapping), *((("values", i), v) for i, v in enumerate(mapping.values))]:
        for name in IDENTITY:
            source: Source | None = getattr(holder, name)
            for given, below in source.names() if source else ():
                if problem := _name_problem(name, given, metrics, classes, reference):
                    yield f"{at((*place, name, *below))}: {'.'.join(map(str, (*place, name)))}: {problem}"
    seen: dict[str, int] = {}
    for i, value in enumerate(mapping.values):
        where = at(("values", i))
        if value.column in seen:
            yield f"{where}: column {value.column!r} is mapped twice (also at {at(('values', seen[value.column]))})"
        seen[value.column] = i
        for name in ("device", "unit") if reference else IDENTITY:
            if mapping.source(i, name) is None:
                why = "a number without its unit is no reading" if name == "unit" else "it names the sensor"
                if name not in ("device", "unit"):
                    why = "without a chain to look it up in, it must be written"
                yield f"{where}: values.{i}: {name} is missing; {why}"
        yield from _unit_problems(mapping, i, reference)
    if mapping.time.zone == "store" and reference is None:
        yield f"{at(('time', 'zone'))}: zone: store needs a chain that says each store's zone; write the zone"


def _name_problem(
    name: str, given: str, metrics: Iterable[str], classes: list[str], reference: Reference | None
) -> str | None:
    if name == "metric":
        return _unknown("metric", given, metrics, "the contract sensor-readings has")
    if name == "asset_class":
        return _unknown("asset class", given, classes, "the contract sensor-readings has")
    if name == "unit":
        return _unknown("UCUM unit", given, known_units(), "known are")
    if reference is not None:
        there = {"store": reference.stores, "asset": reference.assets, "device": reference.devices}[name]
        return _unknown(name, given, there, "the chain has")
    return None


def _unit_problems(mapping: Mapping, i: int, reference: Reference | None) -> Iterable[str]:
    """Units that cannot be a metric's, where both stand in the mapping."""
    unit, metric, device = (mapping.source(i, name) for name in ("unit", "metric", "device"))
    metrics = {name for name, _ in metric.names()} if metric else set()
    if not metric and device and reference:
        found = (device_metric(reference, name) for name, _ in device.names())
        metrics = {name for name in found if name}
    if unit is None or unit.value is None or len(metrics) != 1 or unit.value not in known_units():
        return
    (name,) = metrics
    if wanted := metric_units(contract(READINGS)).get(name):
        try:
            converter(unit.value, wanted)
        except UnitDoesNotFit as error:
            place = ("values", i, "unit") if mapping.values[i].unit else ("unit",)
            where = mapping.origin.at(place)
            yield f"{where}: {'.'.join(map(str, place))}: {name} is kept in {wanted}, and {error}"


def device_metric(reference: Reference, device_id: str) -> str | None:
    """What a device measures, as the chain says."""
    for item in reference.devices.get(device_id, {}).get("devices", ()):
        if item["device_id"] == device_id:
            return item["metric"]
    return None


def _unknown(what: str, given: str, there: Iterable[str], lead: str) -> str | None:
    names = sorted(there)
    if given in names:
        return None
    return f"{what} {given!r} is unknown; {lead} {choices(given, names)}"


def choices(given: str, names: list[str], most: int = 8) -> str:
    """What there is, the likeliest first, cut where it gets long."""
    near = get_close_matches(given, names, most, 0.4)
    shown = near + [name for name in names if name not in near][: most - len(near)]
    rest = len(names) - len(shown)
    return (", ".join(shown) or "none") + (f" and {rest} more" if rest else "")
