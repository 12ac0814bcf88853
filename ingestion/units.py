"""From the unit a device reports in to the unit its metric has in the contract.

Units are written in UCUM, as contracts and `chain/assets.yaml` do; pint does the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from schemas.contract import Contract

# UCUM code -> pint unit. What refrigeration, power and water devices report in.
_PINT = {
    "Cel": "degC",
    "[degF]": "degF",
    "K": "kelvin",
    "%": "percent",
    "1": "dimensionless",
    "W": "watt",
    "kW": "kilowatt",
    "MW": "megawatt",
    "W.h": "watt_hour",
    "kW.h": "kilowatt_hour",
    "MW.h": "megawatt_hour",
    "J": "joule",
    "kJ": "kilojoule",
    "MJ": "megajoule",
    "m3": "meter ** 3",
    "dm3": "decimeter ** 3",
    "L": "liter",
    "l": "liter",
    "[gal_us]": "gallon",
    "[cft_i]": "foot ** 3",
}
_DIGITS = 6


class UnitDoesNotFit(ValueError):
    """The unit is unknown, or measures something else than the metric."""


def metric_units(readings: Contract) -> dict[str, str]:
    """metric -> UCUM code, as the contract's `if metric … then unit …` rules fix it."""
    found = {}
    for rule in readings.schema.get("allOf", ()):
        metric = rule.get("if", {}).get("properties", {}).get("metric", {}).get("const")
        unit = rule.get("then", {}).get("properties", {}).get("unit", {}).get("const")
        if metric and unit:
            found[metric] = unit
    return found


def known_units() -> tuple[str, ...]:
    """UCUM codes that can be converted."""
    return tuple(_PINT)


@cache
def _registry():
    import pint

    return pint.UnitRegistry()


@cache
def converter(unit: str, to: str) -> Callable[[float], float] | None:
    """Function from a value in `unit` to one in `to`, rounded to 6 decimals; None where both are the same.

    Raises UnitDoesNotFit.
    """
    if unit == to:
        return None
    for code in (unit, to):
        if code not in _PINT:
            raise UnitDoesNotFit(f"{code[:32]}: not a unit known here; known are {', '.join(_PINT)}")
    if "1" in (unit, to):  # a state, 1 or 0: a percentage of it means nothing
        raise UnitDoesNotFit(f"{unit} cannot be turned into {to}")
    from pint import DimensionalityError

    try:
        start, end = (_registry().Quantity(value, _PINT[unit]).to(_PINT[to]).magnitude for value in (0.0, 1000.0))
    except DimensionalityError as error:
        raise UnitDoesNotFit(f"{unit} cannot be turned into {to}") from error
    factor = (end - start) / 1000.0
    return lambda value: round(value * factor + start, _DIGITS)
