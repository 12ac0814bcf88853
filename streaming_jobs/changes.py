"""What differs between two rule files, as people wrote them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML

SHOWN = 40
"""Characters shown of a value."""


@dataclass(frozen=True, slots=True)
class RuleChange:
    """One rule that differs. kind: `added`, `changed`, `gone`. words: what is different, `for: 30m -> 20m`."""

    name: str
    kind: str
    words: tuple[str, ...] = ()


def compare(old: str, new: str) -> list[RuleChange]:
    """The rules that differ, in the new file's order, those that are gone last; empty where both say the same.

    Comments and order count for nothing. The old text may be in an earlier release's language.
    """
    was, now = _rules(old), _rules(new)
    found = []
    for name, rule in now.items():
        if name not in was:
            found.append(RuleChange(name, "added"))
        elif rule != was[name]:
            found.append(RuleChange(name, "changed", tuple(_differences(was[name], rule))))
    return found + [RuleChange(name, "gone") for name in was if name not in now]


def _rules(text: str) -> dict[str, Any]:
    return {rule["alert"]: rule for rule in YAML(typ="safe").load(text)["rules"]}


def _differences(old: Any, new: Any) -> Iterator[str]:
    was, now = dict(_flat(old)), dict(_flat(new))
    for key in [*now, *(key for key in was if key not in now)]:
        if was.get(key) != now.get(key):
            yield f"{key}: {_shown(was.get(key))} -> {_shown(now.get(key))}"


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves by path, `escalate.0.above`."""
    if not isinstance(value, (dict, list)) or not value:
        yield path, value
        return
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield from _flat(inner, f"{path}.{key}" if path else str(key))


def _shown(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
