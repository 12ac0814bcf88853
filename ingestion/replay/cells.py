"""From the text in a cell to a number, to nothing measured, or to the reason why it is neither."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from schemas.contract import contract

MISSING = None


class Bad(NamedTuple):
    """Why something cannot be read. code: a stable word; reason and next_step: for people."""

    code: str
    reason: str
    next_step: str


@dataclass(frozen=True, slots=True)
class Limits:
    """What the contract `sensor-readings` says of one metric: unit (UCUM), and bounds in that unit."""

    unit: str
    minimum: float
    maximum: float


def limits() -> dict[str, Limits]:
    """Unit and bounds by metric, from the contract's `if metric … then …` rules."""
    found = {}
    for rule in contract("sensor-readings").schema["allOf"]:
        metric = rule["if"]["properties"].get("metric", {}).get("const")
        if metric is not None:
            then: dict[str, Any] = rule["then"]["properties"]
            value = then["value"]
            found[metric] = Limits(
                then["unit"]["const"], value.get("minimum", -math.inf), value.get("maximum", math.inf)
            )
    return found


def number_reader(
    decimal: str, thousands: str | None, missing: tuple[str, ...], states: dict[str, float] | None
) -> Callable[[str], float | Bad | None]:
    """Function from a cell's text to its number, to None where nothing was measured, or to why it cannot be read.

    Strict: `1.234` under a decimal comma is refused unless the mapping says that `.` marks thousands, since it may mean
    either. A minus sign may be U+2212.
    """
    marks = {mark.strip() for mark in missing}
    words = states or {}
    group = {None: None, " ": "[ \u00a0\u2009\u202f]", "'": "['\u2019]"}.get(thousands, re.escape(thousands or ""))
    whole = r"\d+" if group is None else rf"(?:\d{{1,3}}(?:{group}\d{{3}})+|\d+)"
    point = re.escape(decimal)
    pattern = re.compile(rf"[+-]?(?:{whole}(?:{point}\d*)?|{point}\d+)(?:[eE][+-]?\d+)?", re.ASCII)
    grouping = re.compile(group) if group is not None else None

    def read(text: str) -> float | Bad | None:
        text = text.strip()
        if text in marks:
            return MISSING
        if text in words:
            return words[text]
        plain = text.replace("\u2212", "-")
        if pattern.fullmatch(plain):
            if grouping is not None:
                plain = grouping.sub("", plain)
            value = float(plain.replace(decimal, "."))
            if math.isfinite(value):
                return value
            return Bad("not_finite", f"{text[:80]!r} is too large for a number", "correct the value")
        return _unreadable(text, decimal, thousands)

    return read


def _unreadable(text: str, decimal: str, thousands: str | None) -> Bad:
    shown = repr(text[:80])
    if not text:
        return Bad("number", "the cell is empty", "if that means nothing was measured, add '' to missing")
    if text.lower().lstrip("+-") in ("nan", "inf", "infinity"):
        return Bad(
            "not_finite", f"{shown} is no finite number", f"if it means nothing was measured, add {shown} to missing"
        )
    other = "," if decimal == "." else "."
    if re.fullmatch(r"[+\-\u2212]?[\d.,'\s]+", text):
        step = f"if {other!r} is the decimal mark, set csv.decimal: {other!r}"
        if thousands is None:
            step += f"; if {other!r} marks thousands, set csv.thousands: {other!r}"
        return Bad("number", f"{shown} is no number with decimal mark {decimal!r}", step)
    return Bad(
        "number",
        f"{shown} is no number",
        "if it means nothing was measured, add it to missing; if it is a state, to states; take units out of the cells",
    )
