"""The words of an alert, as people in its store read them: their language, their temperature unit, their numbers."""

from __future__ import annotations

from babel import Locale, UnknownLocaleError
from babel.numbers import format_decimal

from alerting.events import StoreInfo
from alerting.language import Text

_SHOWN = {"Cel": "°C", "[degF]": "°F", "1": "", "m3": "m³", "m3/h": "m³/h", "kW.h": "kWh"}
"""UCUM codes as people write them; others are shown as they are."""


def in_language(text: Text, store: StoreInfo) -> str:
    """The text in the store's language; in English where it has none."""
    if isinstance(text, str):
        return text
    return text.get(store.locale.partition("-")[0]) or text["en"]


def shown_unit(unit: str, store: StoreInfo) -> str:
    """A unit (UCUM code) as the store's people write it."""
    if unit == "Cel" and store.display_unit == "[degF]":
        return _SHOWN["[degF]"]
    return _SHOWN.get(unit, unit)


def number(value: float, store: StoreInfo, unit: str = "", *, difference: bool = False) -> str:
    """A value in the store's display unit and number format, with at most one decimal, two where it is less than 1.

    unit: the value's own (UCUM); temperatures become Fahrenheit where that is what the store reads. A difference of
    temperatures has no zero point: 3 K are 5.4 degrees Fahrenheit.
    """
    if unit == "Cel" and store.display_unit == "[degF]":
        value = value * 9 / 5 + (0 if difference else 32)
    places = 1 if abs(value) >= 1 or difference else 2
    rounded = round(value, places) + 0.0  # never -0
    return format_decimal(rounded, format="#,##0." + "#" * places, locale=_locale(store.locale))


def duration(ms: int) -> str:
    """`5 min`, `1 h 10 min`: the same in every language we have texts for."""
    hours, minutes = divmod(round(ms / 60_000), 60)
    return " ".join(([f"{hours} h"] if hours else []) + ([f"{minutes} min"] if minutes or not hours else []))


def _locale(tag: str) -> Locale:
    try:
        return Locale.parse(tag, sep="-")
    except (UnknownLocaleError, ValueError):
        return Locale("en")
