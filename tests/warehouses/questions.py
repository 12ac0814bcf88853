"""The analysts' questions that are asked of every target, and their answers in a form that compares."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from batch_jobs.gold import Question, questions

ASKED = (
    "cold_chain_out_of_range",
    "energy_while_closed",
    "pickup_on_time",
    "queues_and_open_lanes",
    "sales_while_too_warm",
)


def asked() -> list[Question]:
    return [one for one in questions() if one.name in ASKED]


def comparable(rows: Iterable[tuple]) -> list[tuple]:
    """Numbers to six places: what is DOUBLE in one warehouse is DECIMAL in another."""
    return [tuple(_plain(value) for value in row) for row in rows]


def _plain(value: object) -> object:
    is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    return round(Decimal(str(value)), 6).normalize() if is_number else value
