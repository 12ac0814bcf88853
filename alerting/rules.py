"""The rule language: what a rule file may say, and what contradicts itself.

The words are Prometheus' (`alert`, `for`, `keep_firing_for`, `labels`, `annotations`) and those that fridges need. A
file becomes a `RuleSet`; every problem in it is told with file, line, value and what to do, all at once.
"""

from __future__ import annotations

import hashlib
import json
import re
import string
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictFloat, StrictInt
from pydantic import ValidationError as PydanticError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from schemas.contract import contract

RANK = {"info": 0, "warning": 1, "critical": 2}
STATE_METRICS = ("defrost", "door_open", "compressor")
"""Metrics that are 1 (on, open) or 0, so that a mask can follow them."""
PLACEHOLDERS = (
    "store",
    "asset",
    "asset_class",
    "device",
    "metric",
    "value",
    "limit",
    "unit",
    "duration",
    "severity",
    "rule",
)
"""What an annotation may name in braces."""
OWN_LABELS = ("alertname", "severity", "store_id", "asset_id", "asset_class", "device_id", "metric")
"""Labels the engine sets."""
_DURATION = re.compile(r"(\d+)(ms|s|m|h|d)")
_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

Path = tuple[str | int, ...]


class RuleError(ValueError):
    """A rule file that cannot be used. problems: one line each, `file:line: thing (value) what to do`."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def to_duration(text: Any) -> int:
    """Milliseconds of `90s`, `30m`, `1h30m`. Raises ValueError."""
    found = _DURATION.findall(text) if isinstance(text, str) else []
    if not found or "".join(n + u for n, u in found) != text:
        raise ValueError("a duration is written like 90s, 30m, 4h or 1h30m")
    return sum(int(number) * _MS[unit] for number, unit in found)


def _several(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _absence(value: Any) -> Any:
    return {"reports": 0, "at_least": value} if isinstance(value, str) else value


Duration = Annotated[int, BeforeValidator(to_duration)]
Names = Annotated[tuple[str, ...], BeforeValidator(_several)]
Number = Annotated[StrictInt | StrictFloat, AfterValidator(float)]
Severity = Literal["info", "warning", "critical"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Selector(_Strict):
    """Which devices a rule judges: each word given must fit; a word may be a list. At least one is needed."""

    store: Names = ()
    asset: Names = ()
    asset_class: Names = ()
    metric: Names

    def fits(self, store: str, asset: str, asset_class: str, metric: str) -> bool:
        return (
            metric in self.metric
            and (not self.asset_class or asset_class in self.asset_class)
            and (not self.store or store in self.store)
            and (not self.asset or asset in self.asset)
        )


class Escalation(_Strict):
    """The same, worse: past another limit (default: the rule's own) for so long. Breaks through masks."""

    severity: Severity
    above: Number | None = None
    below: Number | None = None
    for_ms: Duration = Field(0, alias="for")


class Mask(_Strict):
    """Suppresses warnings while a state of the same asset is 1, and for a time after.

    longest: a state that lasts longer is itself a fault and masks nothing any more.
    """

    state: str = Field(alias="while")
    longest_ms: Duration = Field(alias="longest")
    after_ms: Duration = Field(0, alias="and_after")


class Absence(_Strict):
    """Silence in arrival time: so many missed reports of the device's interval, and not before `at_least`."""

    reports: int = Field(0, ge=0, le=1000)
    at_least_ms: Duration = Field(0, alias="at_least")

    def after_ms(self, interval_s: int) -> int:
        """How long after the last report silence is told. A report is missed half an interval after it was due."""
        missed = (2 * self.reports + 1) * interval_s * 500 if self.reports else 0
        return max(self.at_least_ms, missed)


class Rule(_Strict):
    """One rule as written. Limits are in the contract's unit of the metric, durations in milliseconds."""

    alert: str = Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")
    select: Selector
    raise_above: Number | None = None
    raise_below: Number | None = None
    for_ms: Duration = Field(0, alias="for")
    clear_below: Number | None = None
    clear_above: Number | None = None
    keep_ms: Duration = Field(0, alias="keep_firing_for")
    severity: Severity = "warning"
    escalate: tuple[Escalation, ...] = ()
    absent_for: Annotated[Absence | None, BeforeValidator(_absence)] = None
    mask: tuple[Mask, ...] = ()
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}

    @property
    def version(self) -> str:
        """Hash of the rule as it stands."""
        return _hash(self.model_dump(mode="json", by_alias=True, exclude_defaults=True))

    @property
    def above(self) -> bool:
        return self.raise_above is not None

    @property
    def limit(self) -> float | None:
        """raise_above or raise_below; None for a rule about silence."""
        return self.raise_above if self.above else self.raise_below

    @property
    def clear(self) -> float | None:
        """Back when past this; the limit itself where the rule names none."""
        given = self.clear_below if self.above else self.clear_above
        return self.limit if given is None else given

    @property
    def unit(self) -> str:
        return metric_units()[self.select.metric[0]]


class _File(_Strict):
    version: Literal[1]
    topic: str = Field(pattern=r"^alerts\.[a-z-]+$")
    rules: tuple[Rule, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The rules of one file, checked. topic: where their alerts go. source: the file's name, for messages."""

    topic: str
    rules: tuple[Rule, ...]
    source: str

    @property
    def version(self) -> str:
        """Changes whenever a rule does."""
        return _hash([[rule.alert, rule.version] for rule in self.rules])


def parse_rules(text: str, source: str) -> RuleSet:
    """The rules of a file's text; source: its name, for messages. Raises RuleError with every problem."""
    yaml = YAML(typ="rt")
    try:
        doc = yaml.load(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = str(error.problem).splitlines()[0]
        raise RuleError([f"{source}:{line}: not YAML as expected here: {problem}"]) from None
    if not isinstance(doc, dict):
        raise RuleError([f"{source}:1: a rule file has version, topic and rules; see chain/rules/cold_chain.yaml"])
    try:
        file = _File.model_validate(doc)
    except PydanticError as error:
        found = [_shape_problem(doc, source, item) for item in error.errors()]
        raise RuleError([text for _, text in sorted(set(found))]) from None
    found = sorted(set(_contradictions(file)), key=lambda item: _line(doc, item[0]))
    if found:
        raise RuleError([f"{source}:{_line(doc, where)}: {message}" for where, message in found])
    return RuleSet(file.topic, file.rules, source)


@cache
def metric_units() -> dict[str, str]:
    """UCUM code of each metric's unit, from the contract of readings."""
    return {metric: then["unit"]["const"] for metric, then in _metrics().items()}


@cache
def _metrics() -> dict[str, dict[str, Any]]:
    """What the contract says about each metric's unit and value."""
    found = {}
    for branch in contract("sensor-readings").schema["allOf"]:
        metric = branch["if"]["properties"].get("metric")
        if metric:
            found[metric["const"]] = branch["then"]["properties"]
    return found


def _contradictions(file: _File) -> Iterator[tuple[Path, str]]:
    """(place in the file, message) for what is well formed and cannot be meant."""
    names = Counter(rule.alert for rule in file.rules)
    for number, rule in enumerate(file.rules):
        here: Path = ("rules", number)
        if names[rule.alert] > 1:
            yield (*here, "alert"), f"alert ({rule.alert}) is the name of {names[rule.alert]} rules; give each its own"
        yield from _selector_problems(rule, here)
        yield from _kind_problems(rule, here)
        yield from _text_problems(rule, here)


def _selector_problems(rule: Rule, here: Path) -> Iterator[tuple[Path, str]]:
    fields = contract("sensor-readings").schema["properties"]
    for word in ("asset_class", "metric"):
        for name in getattr(rule.select, word):
            if name not in fields[word]["enum"]:
                known = ", ".join(fields[word]["enum"])
                yield (*here, "select", word), f"{word} ({name}) is none of the contract's: {known}"
    if not rule.select.metric:
        yield (*here, "select", "metric"), "metric is empty; name at least one"
    units = {metric_units().get(metric) for metric in rule.select.metric}
    if rule.absent_for is None and len(units) > 1:
        listed = ", ".join(rule.select.metric)
        yield (*here, "select", "metric"), f"metric ({listed}) mixes units; a limit fits one, write a rule for each"


def _kind_problems(rule: Rule, here: Path) -> Iterator[tuple[Path, str]]:
    kinds = [kind for kind in ("raise_above", "raise_below", "absent_for") if getattr(rule, kind) is not None]
    if len(kinds) != 1:
        told = " and ".join(kinds) if kinds else "none of them"
        yield (
            (*here, kinds[1] if kinds else "alert"),
            f"{rule.alert} has {told}; a rule has exactly one of raise_above, raise_below, absent_for",
        )
        return
    if rule.absent_for is not None:
        yield from _absence_problems(rule, here)
        return
    kind, clear, wrong = (
        ("raise_above", "clear_below", "clear_above") if rule.above else ("raise_below", "clear_above", "clear_below")
    )
    if getattr(rule, wrong) is not None:
        yield (*here, wrong), f"{wrong} ({_num(getattr(rule, wrong))}) does not go with {kind}; use {clear}"
    given = getattr(rule, clear)
    if given is not None and (given >= rule.limit if rule.above else given <= rule.limit):
        side = "under" if rule.above else "over"
        yield (*here, clear), f"{clear} ({_num(given)}) must be {side} {kind} ({_num(rule.limit)})"
    for word in (kind, clear):
        yield from _range_problems(rule, (*here, word), word, getattr(rule, word))
    for number, level in enumerate(rule.escalate):
        yield from _escalation_problems(rule, level, (*here, "escalate", number))
    for number, mask in enumerate(rule.mask):
        where = (*here, "mask", number)
        if mask.state not in STATE_METRICS:
            yield (*where, "while"), f"while ({mask.state}) is no state; use one of {', '.join(STATE_METRICS)}"
        if rule.severity == "critical":
            yield where, f"{rule.alert} is critical, and a mask suppresses warnings only; take the mask out"


def _escalation_problems(rule: Rule, level: Escalation, where: Path) -> Iterator[tuple[Path, str]]:
    word, wrong = ("above", "below") if rule.above else ("below", "above")
    kind = f"raise_{word}"
    if RANK[level.severity] <= RANK[rule.severity]:
        yield (*where, "severity"), f"severity ({level.severity}) must be worse than the rule's ({rule.severity})"
    if getattr(level, wrong) is not None:
        yield (*where, wrong), f"{wrong} ({_num(getattr(level, wrong))}) does not go with {kind}; use {word}"
    limit = getattr(level, word)
    if limit is not None:
        if limit < rule.limit if rule.above else limit > rule.limit:
            side = "under" if rule.above else "over"
            yield (*where, word), f"{word} ({_num(limit)}) must not be {side} {kind} ({_num(rule.limit)})"
        yield from _range_problems(rule, (*where, word), word, limit)
    if limit in (None, rule.limit) and level.for_ms <= rule.for_ms:
        yield (
            (*where, "for") if level.for_ms else where,
            f"escalate for ({span(level.for_ms)}) must be longer than the rule's for ({span(rule.for_ms)}) "
            f"at the same limit; make it longer, or give {word}",
        )


def _absence_problems(rule: Rule, here: Path) -> Iterator[tuple[Path, str]]:
    absence = rule.absent_for
    assert absence is not None
    if not absence.reports and not absence.at_least_ms:
        yield (*here, "absent_for"), "absent_for is zero; give reports, at_least, or both"
    for word, given in (
        ("for", rule.for_ms),
        ("clear_below", rule.clear_below),
        ("clear_above", rule.clear_above),
        ("keep_firing_for", rule.keep_ms),
        ("escalate", rule.escalate),
        ("mask", rule.mask),
    ):
        if given:
            yield (*here, word), f"{word} does not go with absent_for; take it out"


def _range_problems(rule: Rule, where: Path, word: str, limit: float | None) -> Iterator[tuple[Path, str]]:
    """A limit outside what the contract lets through can never decide anything: often the wrong unit."""
    for metric in rule.select.metric:
        about = _metrics().get(metric)
        if limit is None or about is None:
            continue
        low, high = about["value"]["minimum"], about["value"]["maximum"]
        if not low <= limit <= high:
            unit = about["unit"]["const"]
            yield where, f"{word} ({_num(limit)}) is outside what {metric} can be: {low} to {high} {unit}"


def _text_problems(rule: Rule, here: Path) -> Iterator[tuple[Path, str]]:
    for name in rule.labels:
        if name in OWN_LABELS:
            yield (*here, "labels", name), f"label {name} is set by the engine; take another name"
        elif not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name):
            yield (*here, "labels", name), f"label {name} must be letters, digits and _ (Alertmanager takes no other)"
    for name, text in rule.annotations.items():
        try:
            used = list(string.Formatter().parse(text))
        except ValueError as error:
            yield (*here, "annotations", name), f"annotation {name}: {error}; write {{{{ for a brace"
            continue
        for _, field, spec, conversion in used:
            if field is not None and (field not in PLACEHOLDERS or spec or conversion):
                known = ", ".join(PLACEHOLDERS)
                yield (*here, "annotations", name), f"annotation {name} names {{{field}}}; there are: {known}"


def _shape_problem(doc: Any, source: str, error: Any) -> tuple[int, str]:
    """(line, message) of one of pydantic's errors."""
    # A union's branch adds its type's name to the path; it is no key of the file.
    where = tuple(step for step in error["loc"] if step not in ("int", "float"))
    name = next((step for step in reversed(where) if isinstance(step, str)), "the file")
    given = error["input"]
    kind, context = error["type"], error.get("ctx", {})
    if kind == "missing":
        message = f"{where[-1]} is missing; add it"
    elif kind == "extra_forbidden":
        message = f"{where[-1]} is no word of the rule language here; take it out or correct it"
    elif kind == "value_error":
        message = f"{name} ({given}): {context['error']}"
    elif kind in ("int_type", "float_type"):
        message = f"{name} ({given}) must be a number"
    elif kind == "literal_error":
        message = f"{name} ({given}) must be {context['expected']}"
    elif kind == "string_pattern_mismatch":
        message = f"{name} ({given}) must match {context['pattern']}"
    else:
        message = f"{name} ({_short(given)}): {error['msg']}"
    line = _line(doc, where)
    return line, f"{source}:{line}: {message}"


def _line(doc: Any, where: Path) -> int:
    """Line of the deepest part of a path that stands in the file, from 1."""
    line, node = 1, doc
    for step in where:
        try:
            line = (node.lc.item(step) if isinstance(step, int) else node.lc.key(step))[0] + 1
            node = node[step]
        except (AttributeError, KeyError, IndexError, TypeError):
            break
    return line


def _hash(doc: Any) -> str:
    return hashlib.sha256(json.dumps(doc, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:12]


def _num(value: float | None) -> str:
    return f"{value:g}"


def span(ms: int) -> str:
    """A duration as one writes it."""
    for unit in ("h", "m", "s"):
        if ms and ms % _MS[unit] == 0:
            return f"{ms // _MS[unit]}{unit}"
    return f"{ms}ms" if ms else "0s"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:60] + "…"
