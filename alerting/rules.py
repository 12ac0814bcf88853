"""Rules: what a rule file may say, read and checked.

A rule file is YAML in Prometheus' words plus what fridges need; chain/rules/cold_chain.yaml shows all of it. Rules are
data: a job is started with the file's text, and no rule changes the job's graph.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import pint
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

PLACEHOLDERS = frozenset(
    {"store_id", "asset_id", "asset_class", "device_id", "metric", "value", "worst", "limit", "unit", "starts_at"}
)
"""Names that an annotation may use in braces."""

Severity = Literal["info", "warning", "critical"]
RANK: dict[str, int] = {"info": 0, "warning": 1, "critical": 2}


class RuleError(ValueError):
    """A rule file that cannot be used; the message has one line a fault: file:line: what, which value, what to do."""


@cache
def _units() -> pint.UnitRegistry:
    return pint.UnitRegistry()


def _milliseconds(text: Any) -> int:
    """`30 min` -> 1800000. Raises ValueError."""
    if not isinstance(text, str):
        raise ValueError(f"{text} has no unit; write e.g. 30 min, 90 s or 1 h")
    try:
        quantity = _units().Quantity(text).to("ms")
    except (pint.PintError, AttributeError, TypeError) as error:
        raise ValueError(f"{text} is no duration; write e.g. 30 min, 90 s or 1 h") from error
    if quantity.magnitude < 0:
        raise ValueError(f"{text} is negative; a duration is 0 or more")
    return round(quantity.magnitude)


Duration = Annotated[int, BeforeValidator(_milliseconds)]
"""Milliseconds; written with a unit."""


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)


class Select(_Strict):
    """Which readings a rule is about."""

    asset_class: Annotated[list[str], BeforeValidator(_as_list)]
    metric: str


class Level(_Strict):
    """One step of severity. raise_above, raise_below: in the metric's contract unit; for_ms: milliseconds."""

    severity: Severity
    raise_above: float | None = None
    raise_below: float | None = None
    for_ms: Duration = Field(alias="for")

    @property
    def limit(self) -> float:
        return self.raise_above if self.raise_above is not None else self.raise_below  # type: ignore[return-value]


class DefrostMask(_Strict):
    """Warnings wait during a defrost and `until_after` its end; a defrost longer than `at_most` masks nothing."""

    until_after: Duration
    at_most: Duration


class Mask(_Strict):
    defrost: DefrostMask


class Rule(_Strict):
    """One rule: a limit with delay and hysteresis (raise_*), or silence (absent_for)."""

    alert: str = Field(pattern="^[a-z][a-z0-9_]{0,95}$")
    select: Select
    severity: Severity
    raise_above: float | None = None
    raise_below: float | None = None
    for_ms: Duration = Field(0, alias="for", validate_default=False)
    clear_below: float | None = None
    clear_above: float | None = None
    keep_firing_for: Duration = Field(0, validate_default=False)
    escalate: list[Level] = []
    absent_for: Duration | None = None
    missed_reports: int = Field(0, ge=0)
    mask: Mask | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}

    @property
    def is_limit(self) -> bool:
        return self.raise_above is not None or self.raise_below is not None

    @property
    def above(self) -> bool:
        """True: too much is bad; False: too little is."""
        return self.raise_above is not None

    @property
    def levels(self) -> list[Level]:
        """From the mildest to the worst."""
        first = Level(
            severity=self.severity,
            raise_above=self.raise_above,
            raise_below=self.raise_below,
            for_ms=f"{self.for_ms} ms",
        )
        return [first, *self.escalate]

    @property
    def clear(self) -> float:
        """The limit that ends it; the raising limit where the rule names none."""
        cleared = self.clear_below if self.above else self.clear_above
        return self.levels[0].limit if cleared is None else cleared

    @property
    def version(self) -> str:
        """Hash of the rule as it stands."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @model_validator(mode="after")
    def _makes_sense(self) -> Rule:
        kinds = [k for k in ("raise_above", "raise_below", "absent_for") if getattr(self, k) is not None]
        if len(kinds) != 1:
            said = " and ".join(kinds) or "none of them"
            raise ValueError(f"a rule has exactly one of raise_above, raise_below, absent_for; this has {said}")
        if not self.is_limit:
            self._only_for_limits()
            return self
        if self.above:
            self._same_direction("clear_above", "raise_above")
            if self.clear_below is not None and self.clear_below >= self.raise_above:
                raise ValueError(f"clear_below ({self.clear_below:g}) must be under raise_above ({self.raise_above:g})")
        else:
            self._same_direction("clear_below", "raise_below")
            if self.clear_above is not None and self.clear_above <= self.raise_below:
                raise ValueError(f"clear_above ({self.clear_above:g}) must be over raise_below ({self.raise_below:g})")
        self._levels_rise()
        return self

    def _only_for_limits(self) -> None:
        for name in ("clear_below", "clear_above", "escalate", "mask", "keep_firing_for", "for_ms"):
            if getattr(self, name):
                raise ValueError(
                    f"{name.removesuffix('_ms')} goes with raise_above or raise_below, not with absent_for"
                )

    def _same_direction(self, wrong: str, raising: str) -> None:
        if getattr(self, wrong) is not None:
            raise ValueError(f"{wrong} contradicts {raising}; write {'clear_below' if self.above else 'clear_above'}")

    def _levels_rise(self) -> None:
        for milder, worse in zip(self.levels, self.levels[1:], strict=False):
            if (worse.raise_above is None) == self.above or (
                worse.raise_above is not None and worse.raise_below is not None
            ):
                raise ValueError(f"escalate must use {'raise_above' if self.above else 'raise_below'} as the rule does")
            if RANK[worse.severity] <= RANK[milder.severity]:
                raise ValueError(f"escalate to {worse.severity} is no step up from {milder.severity}")
            if (worse.limit < milder.limit) if self.above else (worse.limit > milder.limit):
                raise ValueError(f"escalate at {worse.limit:g} is milder than {milder.limit:g}")

    @model_validator(mode="after")
    def _texts_can_be_filled(self) -> Rule:
        import string

        for name, text in self.annotations.items():
            try:
                used = {field for _, field, _, _ in string.Formatter().parse(text) if field is not None}
            except ValueError as error:
                raise ValueError(f"annotation {name}: {error}") from error
            if unknown := used - PLACEHOLDERS:
                raise ValueError(
                    f"annotation {name}: {{{', '.join(sorted(unknown))}}} cannot be filled; "
                    f"there are {', '.join(sorted(PLACEHOLDERS))}"
                )
        return self


class RuleSet(_Strict):
    """All rules of one job. topic: where its alerts go."""

    topic: str = Field(pattern=r"^alerts\.[a-z-]+$")
    rules: list[Rule] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_unique(self) -> RuleSet:
        names = [rule.alert for rule in self.rules]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"alert {', '.join(twice)} stands there twice; give each rule its own name")
        return self


def load(path: Path) -> RuleSet:
    """Rules of a file. Raises RuleError naming every fault, OSError where it cannot be read."""
    return loads(path.read_text("utf-8"), str(path))


def loads(text: str, name: str = "rules") -> RuleSet:
    """Rules of a text; name: what messages call it. Raises RuleError."""
    try:
        doc = YAML().load(text)  # the round-trip loader knows each entry's line
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise RuleError(f"{name}:{line}: not YAML: {error.problem}") from error
    try:
        return RuleSet.model_validate(doc)
    except ValidationError as invalid:
        raise RuleError("\n".join(_faults(invalid.errors(), doc, name))) from invalid


def _faults(errors: Iterable[Any], doc: Any, name: str) -> Iterable[str]:
    for error in errors:
        where = [step for step in error["loc"] if isinstance(step, str | int)]
        message = error["msg"].removeprefix("Value error, ")
        field = ".".join(str(step) for step in where if isinstance(step, str)) or "file"
        if error["type"] == "extra_forbidden":
            message = f"{where[-1]} is no word of the rule language; look for a slip of the pen"
        elif error["type"] == "missing":
            message = f"{where[-1]} is missing"
        elif error["type"] != "value_error":
            message = f"{message}, not {error['input']!r}"
        where.append(message.split()[0])  # a contradiction is told in words that begin with the key it is about
        yield f"{name}:{_line(doc, where)}: {field}: {message}"


def _line(doc: Any, where: list[str | int]) -> int:
    """Line, from 1, of the deepest entry of that path which the file has."""
    line = 1
    for step in where:
        try:
            spot = doc.lc.item(step) if isinstance(step, int) else doc.lc.key(step)
            line, doc = spot[0] + 1, doc[step]
        except (AttributeError, KeyError, IndexError, TypeError):
            break
    return line
