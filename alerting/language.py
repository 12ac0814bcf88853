"""The rule language: its words, as a rule file may use them.

The words are Prometheus' (`alert`, `for`, `keep_firing_for`, `labels`, `annotations`) and those that fridges need.
alerting/rules.py reads files and finds what contradicts itself.
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    WithJsonSchema,
)
from pydantic.json_schema import GenerateJsonSchema

from schemas.contract import all_contracts

RANK = {"info": 0, "warning": 1, "critical": 2}
STATE_METRICS = ("defrost", "door_open", "compressor")
"""Metrics that are 1 (on, open) or 0, so that a mask can follow them."""
KINDS = ("raise_above", "raise_below", "rate", "absent_for", "stuck_for", "bad_for")
"""A rule has exactly one of these."""
COMMAND_RULE = "alert-command"
"""Stands as rule on the events that answer a command."""
_DURATION = re.compile(r"(\d+)(ms|s|m|h|d)")
_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def to_duration(text: Any) -> int:
    """Milliseconds of `90s`, `30m`, `1h30m`. Raises ValueError."""
    if isinstance(text, int) and not isinstance(text, bool):
        raise ValueError("a duration is written with its unit, like 90s, 30m, 4h or 1h30m")
    found = _DURATION.findall(text) if isinstance(text, str) else []
    if not found or "".join(n + u for n, u in found) != text:
        raise ValueError("a duration is written like 90s, 30m, 4h or 1h30m")
    return sum(int(number) * _MS[unit] for number, unit in found)


def _several(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _absence(value: Any) -> Any:
    return {"reports": 0, "at_least": value} if isinstance(value, str) else value


Duration = Annotated[
    int,
    BeforeValidator(to_duration),
    WithJsonSchema({"type": "string", "pattern": r"^(\d+(ms|s|m|h|d))+$", "examples": ["90s", "30m", "1h30m"]}),
]
Names = Annotated[
    tuple[str, ...],
    BeforeValidator(_several),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
]
Number = Annotated[StrictInt | StrictFloat, AfterValidator(float), WithJsonSchema({"type": "number"})]
Severity = Literal["info", "warning", "critical"]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Text = str | dict[str, str]
"""A text for people, or one for each language (`en` among them, for stores whose own is not)."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, use_attribute_docstrings=True)


class Selector(_Strict):
    """Which devices a rule judges: each word given must fit; a word may be a list."""

    store: Names = ()
    """Store ids."""
    area: Names = ()
    """Areas of a store, as its assets name them, e.g. Frozen aisle."""
    asset_class: Names = ()
    """Classes of asset, e.g. freezer."""
    asset: Names = ()
    """Asset ids."""
    device: Names = ()
    """Device ids."""
    zone_kind: Names = ()
    """What a camera's zone is for, e.g. self_checkout; of derived readings only."""
    metric: Names
    """What is judged; its contract says the unit of the rule's limits."""

    def fits(
        self, store: str, asset: str, asset_class: str, metric: str, area: str = "", device: str = "", zone: str = ""
    ) -> bool:
        return (
            metric in self.metric
            and (not self.asset_class or asset_class in self.asset_class)
            and (not self.store or store in self.store)
            and (not self.asset or asset in self.asset)
            and (not self.area or area in self.area)
            and (not self.device or device in self.device)
            and (not self.zone_kind or zone in self.zone_kind)
        )


class Place(_Strict):
    """Where an override holds: each word given must fit."""

    store: Names = ()
    """Store ids."""
    area: Names = ()
    """Areas."""
    asset_class: Names = ()
    """Classes of asset."""
    asset: Names = ()
    """Asset ids."""
    device: Names = ()
    """Device ids."""

    def fits(self, store: str, asset: str, asset_class: str, area: str, device: str) -> bool:
        return (
            (not self.store or store in self.store)
            and (not self.asset or asset in self.asset)
            and (not self.asset_class or asset_class in self.asset_class)
            and (not self.area or area in self.area)
            and (not self.device or device in self.device)
        )


class Escalation(_Strict):
    """The same, worse: past another limit (default: the rule's own) for so long. Breaks through masks."""

    severity: Severity
    """Worse than the rule's own."""
    above: Number | None = None
    """Another limit, of a rule with raise_above."""
    below: Number | None = None
    """Another limit, of a rule with raise_below."""
    rise: Number | None = None
    """A larger rise, of a rule with rate."""
    fall: Number | None = None
    """A larger fall, of a rule with rate."""
    for_ms: Duration = Field(0, alias="for")
    """How long past its limit (of a cumulative rule: in all)."""
    clear_below: Number | None = None
    """De-escalates when under this for keep_firing_for; without it the alert stays as bad until it is over."""
    clear_above: Number | None = None
    """The same, of a rule with raise_below."""


class Mask(_Strict):
    """Suppresses warnings: while a state of the same asset is 1 and for a time after (`while`), while the store is
    closed (`hours: closed`), or at set local times (`at` and `lasts`)."""

    state: str | None = Field(None, alias="while")
    """A state metric: defrost, door_open, compressor."""
    longest_ms: Duration | None = Field(None, alias="longest")
    """of while: a state that lasts longer is itself a fault and masks nothing any more."""
    after_ms: Duration = Field(0, alias="and_after")
    """of while and at: masks so much longer."""
    hours: Literal["closed"] | None = None
    """By the store's opening hours and holidays."""
    at: str | None = Field(None, pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")
    """Local time at which it begins, HH:MM, e.g. of a defrost by timetable."""
    lasts_ms: Duration | None = Field(None, alias="lasts")
    """of at: how long."""
    days: Annotated[tuple[Day, ...], BeforeValidator(_several)] = ()
    """of at: on these days only."""


class Absence(_Strict):
    """Silence in arrival time: so many missed reports of the device's interval, and not before `at_least`."""

    reports: int = Field(0, ge=0, le=1000)
    """Missed reports (of a group: of its most frequent device)."""
    at_least_ms: Duration = Field(0, alias="at_least")
    """Shortest silence that is told."""
    group: Literal["store", "area"] | None = None
    """One alert for all selected devices of a store or area: nothing was heard of any of them."""

    def after_ms(self, interval_s: int) -> int:
        """How long after the last report silence is told. A report is missed half an interval after it was due."""
        missed = (2 * self.reports + 1) * interval_s * 500 if self.reports else 0
        return max(self.at_least_ms, missed)


class Cumulative(_Strict):
    """Time past the limit is added up, instead of asked for without a break."""

    for_ms: Duration = Field(alias="for")
    """So much in all ..."""
    within_ms: Duration = Field(alias="within")
    """... in the last so long."""


class Rate(_Strict):
    """A change, from the lowest (highest) reading of the last while."""

    rise: Number | None = None
    """So much up, in the metric's unit (of a temperature: a difference in kelvin)."""
    fall: Number | None = None
    """So much down."""
    within_ms: Duration = Field(alias="within")
    """Within so long."""


class Closing(_Strict):
    """What must be told before an alert that is over counts as closed."""

    asks: tuple[Literal["cause", "action", "goods"], ...] = Field(min_length=1)
    """cause: what had failed; action: what was done; goods: kept, moved or discarded."""
    when: Severity = "critical"
    """Only of alerts that were at least so bad."""


class Override(_Strict):
    """Another limit or time for some stores, areas or assets. The first one that fits holds."""

    where: Place
    """Where it holds."""
    raise_above: Number | None = None
    raise_below: Number | None = None
    clear_below: Number | None = None
    clear_above: Number | None = None
    for_ms: Duration | None = Field(None, alias="for")
    keep_ms: Duration | None = Field(None, alias="keep_firing_for")
    severity: Severity | None = None
    escalate: tuple[Escalation, ...] | None = None
    absent_for: Annotated[Absence | None, BeforeValidator(_absence)] = None
    stuck_for_ms: Duration | None = Field(None, alias="stuck_for")
    bad_for_ms: Duration | None = Field(None, alias="bad_for")
    rate: Rate | None = None
    cumulative: Cumulative | None = None
    off: bool = False
    """True: the rule judges nothing there."""


class Rule(_Strict):
    """One rule as written. Limits are in the contract's unit of the metric, durations in milliseconds."""

    alert: str = Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")
    """Its name; alerts are told by it."""
    select: Selector
    """Which devices it judges."""
    raise_above: Number | None = None
    """Past this limit ..."""
    raise_below: Number | None = None
    """Past this limit, downwards ..."""
    for_ms: Duration = Field(0, alias="for")
    """... for so long without a break, by the device's own clock."""
    clear_below: Number | None = None
    """Back only when under this; default: at the limit or under."""
    clear_above: Number | None = None
    """Back only when over this; default: at the limit or over."""
    keep_ms: Duration = Field(0, alias="keep_firing_for")
    """Back only after so long without a break."""
    cumulative: Cumulative | None = None
    """With raise_above or raise_below: time past the limit is added up."""
    rate: Rate | None = None
    """A change that is too fast."""
    absent_for: Annotated[Absence | None, BeforeValidator(_absence)] = None
    """Silence, in arrival time."""
    stuck_for_ms: Duration | None = Field(None, alias="stuck_for")
    """The same value for so long."""
    bad_for_ms: Duration | None = Field(None, alias="bad_for")
    """Nothing but unusable values for so long, in arrival time."""
    severity: Severity = "warning"
    """info, warning or critical."""
    escalate: tuple[Escalation, ...] = ()
    """When it gets worse."""
    mask: tuple[Mask, ...] = ()
    """What keeps a warning from being told."""
    depends_on: Names = ()
    """Rules of the same file: while one of their alerts is open on the asset, on what it depends on, or on its area or
    store, this one is a member of that alert and not told."""
    overrides: tuple[Override, ...] = ()
    """Other limits for some places."""
    closing: Closing | None = None
    """What must be told to close it."""
    labels: dict[str, str] = {}
    """For routing."""
    annotations: dict[str, Text] = {}
    """Texts for people, with {placeholders}, in one language or several."""
    runbook: str | None = Field(None, pattern=r"^https?://\S+$")
    """Link to what to do."""

    @property
    def version(self) -> str:
        """Hash of the rule as it stands."""
        return digest(self.model_dump(mode="json", by_alias=True, exclude_defaults=True))

    @property
    def kind(self) -> str:
        """The word of KINDS that it has."""
        return next(kind for kind in KINDS if getattr(self, field_of(kind)) is not None)

    @property
    def above(self) -> bool:
        """Whether more is worse."""
        return self.rate.rise is not None if self.rate is not None else self.raise_above is not None

    @property
    def limit(self) -> float | None:
        """raise_above, raise_below, or the rate's rise or fall; None for a rule about silence, stuck or bad values."""
        if self.rate is not None:
            return self.rate.rise if self.rate.rise is not None else self.rate.fall
        return self.raise_above if self.raise_above is not None else self.raise_below

    @property
    def unit(self) -> str:
        return metric_units()[self.select.metric[0]]

    def at(self, store: str, asset: str, asset_class: str, area: str, device: str) -> Rule | None:
        """The rule as it holds there, by the first override that fits; None where it is off."""
        for override in self.overrides:
            if override.where.fits(store, asset, asset_class, area, device):
                return None if override.off else self.with_override(override)
        return self

    def with_override(self, override: Override) -> Rule:
        """The rule with what an override changes."""
        names = override.model_fields_set - {"where", "off"}
        return self.model_copy(update={name: getattr(override, name) for name in names})


def field_of(word: str) -> str:
    """The field behind a word of the language."""
    return {
        "for": "for_ms",
        "keep_firing_for": "keep_ms",
        "stuck_for": "stuck_for_ms",
        "bad_for": "bad_for_ms",
    }.get(word, word)


class RuleFile(_Strict):
    """A rule file of Smart Grocery."""

    version: Literal[1]
    """Of the rule language."""
    topic: str = Field(pattern=r"^alerts\.[a-z-]+$")
    """Where its alerts go."""
    rules: tuple[Rule, ...] = Field(min_length=1)
    """The rules."""


class _AsWritten(GenerateJsonSchema):
    """A word that is left out is left out: nobody writes null, and a default is shown where a reader needs it."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def nullable_schema(self, schema: Any) -> dict[str, Any]:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: Any) -> dict[str, Any]:
        given = schema.get("default")
        return self.generate_inner(schema["schema"]) | ({"default": given} if isinstance(given, str) else {})


def json_schema() -> dict[str, Any]:
    """The rule language as JSON Schema, for editors; metrics and asset classes as the contracts list them.

    It refuses what is no word of the language. What contradicts itself only `parse_rules` finds.
    """
    schema = RuleFile.model_json_schema(by_alias=True, schema_generator=_AsWritten)
    definitions = schema["$defs"]
    known = {"metric": sorted(metric_units()), "asset_class": asset_classes()}
    for name in ("Selector", "Place"):
        for word in known.keys() & definitions[name]["properties"].keys():
            definitions[name]["properties"][word] |= _one_or_several({"type": "string", "enum": list(known[word])})
    mask = definitions["Mask"]["properties"]
    mask["while"]["enum"] = list(STATE_METRICS)
    mask["days"] = {"description": mask["days"]["description"]} | _one_or_several(mask["days"]["items"])
    for name in ("Rule", "Override"):
        words = definitions[name]["properties"]
        silence = {"anyOf": [definitions["Absence"]["properties"]["at_least"], {"$ref": "#/$defs/Absence"}]}
        words["absent_for"] = {"description": "Silence, in arrival time."} | silence
    for name, choice in (("Rule", KINDS), ("Mask", ("while", "hours", "at")), ("Rate", ("rise", "fall"))):
        definitions[name]["oneOf"] = [{"required": [word]} for word in choice]
    return {"$schema": "http://json-schema.org/draft-07/schema#", "$id": "urn:smart-grocery:rules:1"} | schema


def _one_or_several(one: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]}


@cache
def metrics() -> dict[str, dict[str, Any]]:
    """What the contracts say about each metric: {"unit": {"const": ...}, "value": {"minimum": ..., "maximum": ...}}."""
    found = {}
    for item in all_contracts():
        for branch in item.schema.get("allOf", ()):
            metric = branch.get("if", {}).get("properties", {}).get("metric")
            if metric and "unit" in branch["then"].get("properties", {}):
                found[metric["const"]] = branch["then"]["properties"]
    return found


@cache
def metric_units() -> dict[str, str]:
    """UCUM code of each metric's unit."""
    return {metric: about["unit"]["const"] for metric, about in metrics().items()}


@cache
def asset_classes() -> tuple[str, ...]:
    """Every class of asset that a reading may be about."""
    found: dict[str, None] = {}
    for item in all_contracts():
        about = item.schema["properties"]
        if "metric" in about and "enum" in about.get("asset_class", {}):
            found |= dict.fromkeys(about["asset_class"]["enum"])
    return tuple(found)


def digest(doc: Any) -> str:
    return hashlib.sha256(json.dumps(doc, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:12]


def span(ms: int) -> str:
    """A duration as one writes it."""
    for unit in ("h", "m", "s"):
        if ms and ms % _MS[unit] == 0:
            return f"{ms // _MS[unit]}{unit}"
    return f"{ms}ms" if ms else "0s"
