"""Rule files: from text to a checked set of rules.

A file becomes a `RuleSet`; every problem in it is told with file, line, value and what to do, all at once. The words
are in alerting/language.py.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError as PydanticError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from alerting.language import (
    COMMAND_RULE,
    KINDS,
    RANK,
    STATE_METRICS,
    Escalation,
    Mask,
    Rule,
    RuleFile,
    asset_classes,
    digest,
    field_of,
    metric_units,
    metrics,
    span,
)

PLACEHOLDERS = (
    "store",
    "store_name",
    "asset",
    "asset_name",
    "asset_class",
    "area",
    "device",
    "metric",
    "value",
    "worst",
    "limit",
    "unit",
    "duration",
    "severity",
    "rule",
    "members",
)
"""What an annotation may name in braces. value, worst and limit are in the store's display unit, with `unit`."""
OWN_LABELS = ("alertname", "severity", "store_id", "asset_id", "asset_class", "device_id", "metric")
"""Labels the engine sets."""
COLD_CHAIN = ("freezer", "cooler", "rack")
"""Goods are in there whether the store is open or not."""
_LIMITS = {"raise_above": ("above", "clear_below"), "raise_below": ("below", "clear_above"), "rate": ("", "")}

Path = tuple[str | int, ...]


class RuleError(ValueError):
    """A rule file that cannot be used. problems: one line each, `file:line: thing (value) what to do`."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The rules of one file, checked. topic: where their alerts go. source: the file's name, for messages."""

    topic: str
    rules: tuple[Rule, ...]
    source: str

    @property
    def version(self) -> str:
        """Changes whenever a rule does."""
        return digest([[rule.alert, rule.version] for rule in self.rules])


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
        file = RuleFile.model_validate(doc)
    except PydanticError as error:
        found = [_shape_problem(doc, source, item) for item in error.errors()]
        raise RuleError([text for _, text in sorted(set(found))]) from None
    found = sorted(set(_contradictions(file)), key=lambda item: _line(doc, item[0]))
    if found:
        raise RuleError([f"{source}:{_line(doc, where)}: {message}" for where, message in found])
    return RuleSet(file.topic, file.rules, source)


def _contradictions(file: RuleFile) -> Iterator[tuple[Path, str]]:
    """(place in the file, message) for what is well formed and cannot be meant."""
    names = Counter(rule.alert for rule in file.rules)
    for number, rule in enumerate(file.rules):
        here: Path = ("rules", number)
        if names[rule.alert] > 1:
            yield (*here, "alert"), f"alert ({rule.alert}) is the name of {names[rule.alert]} rules; give each its own"
        if rule.alert == COMMAND_RULE.replace("-", "_"):
            yield (*here, "alert"), f"alert ({rule.alert}) names the answers to commands; take another name"
        yield from _selector_problems(rule, here)
        yield from _kind_problems(rule, here)
        yield from _override_problems(rule, here)
        yield from _text_problems(rule, here)
    yield from _dependency_problems(file)


def _selector_problems(rule: Rule, here: Path) -> Iterator[tuple[Path, str]]:
    known = {"asset_class": asset_classes(), "metric": tuple(metrics())}
    places = [((*here, "select"), rule.select)]
    places += [((*here, "overrides", n, "where"), override.where) for n, override in enumerate(rule.overrides)]
    for where, place in places:
        for word, names in known.items():
            for name in getattr(place, word, ()):
                if name not in names:
                    yield (*where, word), f"{word} ({name}) is none of the contracts': {', '.join(names)}"
    if not rule.select.metric:
        yield (*here, "select", "metric"), "metric is empty; name at least one"
    units = {metric_units().get(metric) for metric in rule.select.metric}
    if rule.limit is not None and len(units) > 1:
        listed = ", ".join(rule.select.metric)
        yield (*here, "select", "metric"), f"metric ({listed}) mixes units; a limit fits one, write a rule for each"


def _kind_problems(rule: Rule, here: Path) -> Iterator[tuple[Path, str]]:
    kinds = [kind for kind in KINDS if getattr(rule, field_of(kind)) is not None]
    if len(kinds) != 1:
        told = " and ".join(kinds) if kinds else "none of them"
        yield (
            (*here, kinds[1] if kinds else "alert"),
            f"{rule.alert} has {told}; a rule has exactly one of {', '.join(KINDS)}",
        )
        return
    kind = kinds[0]
    for word, given in _words_that_do_not_go(rule, kind):
        if given:
            yield (*here, word), f"{word} does not go with {kind}; take it out"
    for number, mask in enumerate(rule.mask):
        yield from _mask_problems(rule, mask, (*here, "mask", number))
    if kind == "absent_for":
        if not rule.absent_for.reports and not rule.absent_for.at_least_ms:
            yield (*here, "absent_for"), "absent_for is zero; give reports, at_least, or both"
        return
    if kind in ("stuck_for", "bad_for"):
        if not getattr(rule, field_of(kind)):
            yield (*here, kind), f"{kind} (0s) is no time; give one, e.g. 2h"
        return
    if kind == "rate":
        yield from _rate_problems(rule, here)
    else:
        yield from _limit_problems(rule, here, kind)
    for number, level in enumerate(rule.escalate):
        yield from _escalation_problems(rule, kind, level, (*here, "escalate", number))


def _words_that_do_not_go(rule: Rule, kind: str) -> Iterator[tuple[str, Any]]:
    """Words that mean nothing with this kind of rule, and what is given for them."""
    limits = kind in ("raise_above", "raise_below")
    if not limits:
        yield "for", rule.for_ms
        yield "clear_below", rule.clear_below is not None
        yield "clear_above", rule.clear_above is not None
        yield "cumulative", rule.cumulative
    if not limits and kind != "rate":
        yield "keep_firing_for", rule.keep_ms
        yield "escalate", rule.escalate
    if rule.cumulative is not None:
        yield "for", rule.for_ms
        yield "clear_below", rule.clear_below is not None
        yield "clear_above", rule.clear_above is not None


def _limit_problems(rule: Rule, here: Path, kind: str) -> Iterator[tuple[Path, str]]:
    word, clear = _LIMITS[kind]
    wrong = "clear_above" if clear == "clear_below" else "clear_below"
    if getattr(rule, wrong) is not None:
        yield (*here, wrong), f"{wrong} ({_num(getattr(rule, wrong))}) does not go with {kind}; use {clear}"
    given = getattr(rule, clear)
    if given is not None and (given >= rule.limit if rule.above else given <= rule.limit):
        side = "under" if rule.above else "over"
        yield (*here, clear), f"{clear} ({_num(given)}) must be {side} {kind} ({_num(rule.limit)})"
    for name in (kind, clear):
        yield from _range_problems(rule, (*here, name), name, getattr(rule, name))
    total = rule.cumulative
    if total is not None:
        where = (*here, "cumulative")
        if not total.for_ms:
            yield (*where, "for"), "for (0s) is no time to add up; give one, e.g. 4h"
        if total.for_ms >= total.within_ms:
            yield (*where, "for"), f"for ({span(total.for_ms)}) must be shorter than within ({span(total.within_ms)})"


def _rate_problems(rule: Rule, here: Path) -> Iterator[tuple[Path, str]]:
    rate, where = rule.rate, (*here, "rate")
    given = [word for word in ("rise", "fall") if getattr(rate, word) is not None]
    if len(given) != 1:
        yield where, f"rate has {' and '.join(given) or 'neither rise nor fall'}; give one of rise and fall"
        return
    if rule.limit <= 0:
        yield (*where, given[0]), f"{given[0]} ({_num(rule.limit)}) must be over 0; it is a difference"
    if not rate.within_ms:
        yield (*where, "within"), "within (0s) is no time; give one, e.g. 10m"


def _mask_problems(rule: Rule, mask: Mask, where: Path) -> Iterator[tuple[Path, str]]:
    given = [word for word, value in (("while", mask.state), ("hours", mask.hours), ("at", mask.at)) if value]
    if len(given) != 1:
        yield where, f"a mask has {' and '.join(given) or 'none of them'}; give exactly one of while, hours, at"
        return
    if rule.severity == "critical":
        yield where, f"{rule.alert} is critical, and a mask suppresses warnings only; take the mask out"
    if mask.state is not None:
        if mask.state not in STATE_METRICS:
            yield (*where, "while"), f"while ({mask.state}) is no state; use one of {', '.join(STATE_METRICS)}"
        if mask.longest_ms is None:
            yield (*where, "while"), f"while ({mask.state}) needs longest: a state that lasts longer masks no more"
    elif mask.longest_ms is not None:
        yield (*where, "longest"), f"longest goes with while, not with {given[0]}; take it out"
    if mask.hours is not None:
        cold = [name for name in rule.select.asset_class if name in COLD_CHAIN]
        if cold or not rule.select.asset_class:
            told = cold[0] if cold else "every asset class"
            yield (
                (*where, "hours"),
                f"hours ({mask.hours}) cannot mask a rule about {told}: goods are in there day and night; take it out"
                + ("" if cold else ", or name the asset classes it is about"),
            )
    if mask.at is not None and not mask.lasts_ms:
        yield (*where, "at"), f"at ({mask.at}) needs lasts: how long it masks, e.g. 45m"
    if mask.at is None and (mask.lasts_ms is not None or mask.days):
        yield (*where, "lasts" if mask.lasts_ms else "days"), f"lasts and days go with at, not with {given[0]}"


def _escalation_problems(rule: Rule, kind: str, level: Escalation, where: Path) -> Iterator[tuple[Path, str]]:
    if RANK[level.severity] <= RANK[rule.severity]:
        yield (*where, "severity"), f"severity ({level.severity}) must be worse than the rule's ({rule.severity})"
    word = _LIMITS[kind][0] or ("rise" if rule.above else "fall")
    for wrong in ("above", "below", "rise", "fall"):
        if wrong != word and getattr(level, wrong) is not None:
            yield (*where, wrong), f"{wrong} ({_num(getattr(level, wrong))}) does not go with {kind}; use {word}"
    limit = getattr(level, word)
    more = rule.above or kind == "rate"
    if limit is not None:
        if limit < rule.limit if more else limit > rule.limit:
            side = "under" if more else "over"
            named = kind if kind != "rate" else f"rate {word}"
            yield (*where, word), f"{word} ({_num(limit)}) must not be {side} {named} ({_num(rule.limit)})"
        if kind != "rate":
            yield from _range_problems(rule, (*where, word), word, limit)
    if kind == "rate":
        if level.for_ms:
            yield (*where, "for"), "for does not go with rate; take it out"
        if limit in (None, rule.limit):
            yield where, f"escalate needs a {word} over the rule's ({_num(rule.limit)})"
    elif rule.cumulative is not None and limit not in (None, rule.limit):
        yield (*where, word), f"{word} does not go with cumulative: one limit is added up past; give a longer for"
    elif limit in (None, rule.limit):
        own = rule.for_ms if rule.cumulative is None else rule.cumulative.for_ms
        if level.for_ms <= own:
            yield (
                (*where, "for") if level.for_ms else where,
                f"escalate for ({span(level.for_ms)}) must be longer than the rule's for ({span(own)}) "
                f"at the same limit; make it longer, or give {word}",
            )
    yield from _way_back_problems(rule, kind, level, limit, where)


def _way_back_problems(
    rule: Rule, kind: str, level: Escalation, limit: float | None, where: Path
) -> Iterator[tuple[Path, str]]:
    """A level's own clear_below or clear_above, with which it de-escalates."""
    right = _LIMITS[kind][1]
    for word in ("clear_below", "clear_above"):
        given = getattr(level, word)
        if given is None:
            continue
        if word != right or rule.cumulative is not None:
            told = "cumulative" if rule.cumulative is not None else kind
            yield (*where, word), f"{word} ({_num(given)}) does not go with {told}; take it out"
            continue
        bound = rule.limit if limit is None else limit
        if given >= bound if rule.above else given <= bound:
            side = "under" if rule.above else "over"
            yield (*where, word), f"{word} ({_num(given)}) must be {side} the level's own limit ({_num(bound)})"


def _override_problems(rule: Rule, here: Path) -> Iterator[tuple[Path, str]]:
    """The rule as it holds in each place must make sense as a whole."""
    for number, override in enumerate(rule.overrides):
        where = (*here, "overrides", number)
        place = override.where
        if not any((place.store, place.area, place.asset_class, place.asset, place.device)):
            yield (*where, "where"), "where is empty and fits everything; change the rule itself instead"
        if override.off:
            continue
        changed = [name for name in override.model_fields_set if name not in ("where", "off")]
        if not changed:
            yield where, "an override changes nothing; give a limit or a time, or off: true"
        for _, message in _kind_problems(rule.with_override(override), where):
            yield where, f"with this override: {message}"


def _dependency_problems(file: RuleFile) -> Iterator[tuple[Path, str]]:
    rules = {rule.alert: rule for rule in file.rules}
    for number, rule in enumerate(file.rules):
        for name in rule.depends_on:
            where: Path = ("rules", number, "depends_on")
            if name not in rules:
                yield where, f"depends_on ({name}) is no rule of this file; there are {', '.join(rules)}"
            elif name == rule.alert:
                yield where, f"depends_on ({name}) is the rule itself; take it out"
            elif name in _reaches(rules, name):
                yield where, f"depends_on ({name}) goes in a circle; one of them must stand on its own"


def _reaches(rules: dict[str, Rule], name: str) -> set[str]:
    found: set[str] = set()
    todo = list(rules[name].depends_on)
    while todo:
        one = todo.pop()
        if one not in found and one in rules:
            found.add(one)
            todo += rules[one].depends_on
    return found


def _range_problems(rule: Rule, where: Path, word: str, limit: float | None) -> Iterator[tuple[Path, str]]:
    """A limit outside what the contract lets through can never decide anything: often the wrong unit."""
    for metric in rule.select.metric:
        about = metrics().get(metric)
        if limit is None or about is None:
            continue
        low, high = about["value"].get("minimum", float("-inf")), about["value"].get("maximum", float("inf"))
        if not low <= limit <= high:
            unit = about["unit"]["const"]
            yield where, f"{word} ({_num(limit)}) is outside what {metric} can be: {low} to {high} {unit}"


def _text_problems(rule: Rule, here: Path) -> Iterator[tuple[Path, str]]:
    for name in rule.labels:
        if name in OWN_LABELS:
            yield (*here, "labels", name), f"label {name} is set by the engine; take another name"
        elif not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name):
            yield (*here, "labels", name), f"label {name} must be letters, digits and _ (Alertmanager takes no other)"
    for name, given in rule.annotations.items():
        where = (*here, "annotations", name)
        texts = {"": given} if isinstance(given, str) else given
        if "" not in texts and "en" not in texts:
            yield where, f"annotation {name} has no en; stores whose own language is missing get that"
        for language, text in texts.items():
            place = (*where, language) if language else where
            if language and not re.fullmatch(r"[a-z]{2,3}", language):
                yield place, f"annotation {name}: language ({language}) must be like en or de"
            try:
                used = list(string.Formatter().parse(text))
            except ValueError as error:
                yield place, f"annotation {name}: {error}; write {{{{ for a brace"
                continue
            for _, field, spec, conversion in used:
                if field is not None and (field not in PLACEHOLDERS or spec or conversion):
                    known = ", ".join(PLACEHOLDERS)
                    yield place, f"annotation {name} names {{{field}}}; there are: {known}"
    if rule.runbook and "runbook_url" in rule.annotations:
        yield (*here, "annotations", "runbook_url"), "runbook_url is made from runbook; take one of them out"


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


def _num(value: float | None) -> str:
    return f"{value:g}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:60] + "…"
