"""Quarantine, looked into: what was set aside, why, and what each reason means.

DuckDB reads the Delta tables of a lake that is a folder; that takes a second, and no Spark.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batch_jobs import tables
from schemas.contract import Contract

if TYPE_CHECKING:
    import duckdb

MEANINGS = {
    "json": "the record is not one JSON object",
    "required": "a field that every such event has is missing",
    "incomplete": "the field is given without another that belongs to it",
    "unknown_field": "the contract has no such field",
    "type": "the value is of another type than the field",
    "const": "the value is not the only one allowed",
    "version": "the event is of a version of the contract that is not known here",
    "unit": "the unit is not that of the metric",
    "enum": "the value is none of those allowed",
    "minimum": "the value is under the lowest allowed",
    "maximum": "the value is over the highest allowed",
    "pattern": "the text is not written as the contract wants it",
    "length": "the text is too long, or empty",
    "format": "no such day or time of day",
    "items": "the list is too short",
    "clock": "the event says it happened more than two hours after it arrived: its sender's clock is wrong",
}
"""Reason code -> what it says, in words."""


class NotThere(LookupError):
    """Nothing in quarantine is called so; the message says what is there."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which rows of quarantine. reason: `code` or `code:path`; first, last: arrival dates, UTC, both included; run: the
    silver run that set them aside. None: any."""

    reason: str | None = None
    first: date | None = None
    last: date | None = None
    run: str | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """One contract's records of one reason that arrived on one day. example: the first one's coordinates."""

    contract: str
    reason: str
    day: date
    records: int
    first: datetime
    last: datetime
    example: str


@dataclass(frozen=True, slots=True)
class Aside:
    """One record."""

    contract: str
    topic: str
    topic_id: str
    partition: int
    offset: int
    arrived_at: datetime
    loaded_at: datetime
    run_id: str
    key: str | None
    payload: str | None
    reasons: list[str]

    @property
    def place(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


_PLACE = re.compile(r"(.+)/(\d+)/(\d+)")
_EMPTY = """SELECT NULL::VARCHAR AS contract, NULL::VARCHAR AS topic, NULL::VARCHAR AS topic_id,
    NULL::INTEGER AS "partition", NULL::BIGINT AS "offset", NULL::TIMESTAMPTZ AS arrived_at,
    NULL::TIMESTAMPTZ AS loaded_at, NULL::VARCHAR AS run_id, NULL::VARCHAR AS key, NULL::VARCHAR AS payload,
    NULL::VARCHAR[] AS reasons, NULL::DATE AS arrived_date WHERE false"""


def groups(lake: str, contracts: Iterable[Contract], choice: Choice | None = None) -> tuple[list[Group], int]:
    """(what is set aside, by contract, reason and day; how many records). A record counts under each of its reasons.

    Raises NotThere for a reason that no record there has.
    """
    choice = choice or Choice()
    with _open(lake, contracts) as db:
        _check_reason(db, choice)
        tests, values = _tests(choice)
        where = " AND ".join(tests) or "true"
        (records,) = db.execute(f"SELECT count(*) FROM aside WHERE {where}", values).fetchone()
        found = db.execute(
            f"""SELECT contract, reason, arrived_date, count(*), min(arrived_at), max(arrived_at),
                arg_min(topic || '/' || "partition" || '/' || "offset", (arrived_at, topic, "partition", "offset"))
            FROM (SELECT *, unnest(reasons) AS reason FROM aside WHERE {where})
            GROUP BY ALL ORDER BY ALL""",
            values,
        ).fetchall()
    return [Group(*row) for row in found], records


def find(lake: str, contracts: Iterable[Contract], name: str) -> Aside:
    """The record of these coordinates (`topic/partition/offset`, or the topic's id) or this event id.

    Raises NotThere where there is none, or more than one.
    """
    match = _PLACE.fullmatch(name)
    if match:
        where = """$1 IN (topic, topic_id) AND "partition" = $2::INTEGER AND "offset" = $3::BIGINT"""
        values: Sequence[Any] = match.groups()
    else:
        where = "CASE WHEN json_valid(payload) THEN json_extract_string(payload, '$.event_id') END = $1"
        values = [name]
    with _open(lake, contracts) as db:
        found = db.execute(
            f"""SELECT contract, topic, topic_id, "partition", "offset", arrived_at, loaded_at, run_id, key, payload,
                reasons
            FROM aside WHERE {where} ORDER BY arrived_at, topic, topic_id, "partition", "offset" """,
            values,
        ).fetchall()
    rows = [Aside(*row) for row in found]
    if not rows:
        raise NotThere(f"{name}: no such record in quarantine; `grocery quarantine list` shows what is there")
    if len(rows) > 1:
        places = [f"{one.topic_id}/{one.partition}/{one.offset}" if match else one.place for one in rows]
        more = f" and {len(places) - 5} more" if len(places) > 5 else ""
        raise NotThere(f"{name}: {len(rows)} records in quarantine; name one: {', '.join(places[:5])}{more}")
    return rows[0]


def meanings(item: Contract, payload: str | None, reasons: Iterable[str]) -> tuple[list[tuple[str, str]], bool]:
    """([(reason, what it says)], whether the event keeps today's contract as far as it can be told from it alone).

    The validator's words, which name value, limit and next step, where today's contract finds the same.
    """
    from schemas.validate import validator

    try:
        event = json.loads(payload or "", parse_constant=_refuse)
    except ValueError:
        event = None
    breaches = validator(item)(event) if isinstance(event, dict) else None
    said: dict[str, str] = {}
    for one in breaches or ():
        said.setdefault(f"{one.code}:{re.sub(r'/[0-9]+(?=/|$)', '/*', one.path)}", one.message)
    told = []
    for reason in reasons:
        code = reason.partition(":")[0]
        told.append((reason, said.get(reason) or MEANINGS.get(code, "")))
    return told, breaches == []


def _check_reason(db: duckdb.DuckDBPyConnection, choice: Choice) -> None:
    if not choice.reason:
        return
    rows = db.execute(
        "SELECT reason, count(*) FROM (SELECT unnest(reasons) AS reason FROM aside) GROUP BY 1 ORDER BY 2 DESC, 1"
    )
    there = dict(rows.fetchall())
    if any(one == choice.reason or one.startswith(f"{choice.reason}:") for one in there):
        return
    known = ", ".join(f"{one} ({number:,})" for one, number in there.items()) or "none: nothing was ever set aside"
    raise NotThere(f"reason {choice.reason}: no record in quarantine has it; there are {known}")


def _tests(choice: Choice) -> tuple[list[str], list[Any]]:
    """DuckDB's conditions of a choice, with their values."""
    given = [
        ("len(list_filter(reasons, lambda one: one = ? OR starts_with(one, ? || ':'))) > 0", choice.reason, 2),
        ("arrived_date >= ?", choice.first, 1),
        ("arrived_date <= ?", choice.last, 1),
        ("run_id = ?", choice.run, 1),
    ]
    chosen = [(test, [value] * times) for test, value, times in given if value is not None]
    return [test for test, _ in chosen], [value for _, values in chosen for value in values]


def _open(lake: str, contracts: Iterable[Contract]) -> duckdb.DuckDBPyConnection:
    """A database with the view `aside`: quarantine of these contracts, whichever have any. Raises ValueError."""
    import duckdb

    from batch_jobs.gold import import_delta

    if "://" in lake:
        raise ValueError(
            f"{lake}: quarantine is listed from a folder; ask Athena for a lake on S3, e.g. "
            "SELECT * FROM grocery_quarantine.sensor_readings"
        )
    import_delta()
    db = duckdb.connect()
    db.execute("LOAD delta; SET TimeZone = 'UTC'")
    parts = [_EMPTY]
    for item in contracts:
        path = Path(tables.path_of(lake, "quarantine", item.table)).absolute()
        if (path / "_delta_log").is_dir():
            parts.append(f"SELECT {_quoted(item.name)} AS contract, * FROM delta_scan({_quoted(str(path))})")
    db.execute(f"CREATE VIEW aside AS {' UNION ALL BY NAME '.join(parts)}")
    return db


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no JSON")
