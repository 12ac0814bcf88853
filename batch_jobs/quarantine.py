"""Quarantine: what was set aside, why, and how it becomes events once the contract or the sender's mistake is mended.

Looking (`groups`, `find`) is DuckDB's over the Delta tables, which takes a second. A replay is Spark's, by the code of
silver: quarantine's rows are judged by today's contract, as if they had come in just now.

    take what is set aside -> judge -> merge the good into silver -> check the counts -> mark them -> account

Each row that a replay takes is `replayed` (its record stands in silver now), `duplicate` (its event was there from
another record) or `quarantined` as before, with the reasons it has today. A row that left is marked and stays as a
record of what had been wrong; it is not taken again.

A second replay finds nothing to do and makes no new version. One that was killed is done again: silver goes by key, a
row that was not marked is taken again, and marks that were not accounted for are by the next replay.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from batch_jobs import s3, silver, tables
from batch_jobs.errors import CountsDontAddUp, LakeError
from batch_jobs.run import Run, in_parallel, unless_in_the_way
from batch_jobs.silver import DUPLICATE, QUARANTINED, Judged
from batch_jobs.tables import COORDINATES, Layout
from schemas.contract import Contract

if TYPE_CHECKING:
    import duckdb
    from pyspark.sql import DataFrame, SparkSession

REPLAYED = "replayed"
"""The disposition of a record that stands in silver because of a replay."""
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
    "clock": "the event says it happened more than two hours (an alert or derived metric: a day) after it arrived: its "
    "sender's clock is wrong",
    "id_conflict": "silver has an event of this id on another date near by: ids must not be used twice",
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


# ---- replay


@dataclass(slots=True)
class Replayed:
    """What became of one contract's rows that were taken. reasons: of those that stay, the most frequent first.

    changed: whether anything was written; a row that stays with the same reasons is left as it is.
    """

    contract: str
    rows: int = 0
    replayed: int = 0
    duplicate: int = 0
    quarantined: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    changed: bool = False

    def check(self) -> None:
        """Raises CountsDontAddUp."""
        found = self.replayed + self.duplicate + self.quarantined
        if found != self.rows:
            raise CountsDontAddUp(
                f"replay {self.contract}: {self.rows} rows of quarantine, but {self.replayed} replayed + "
                f"{self.duplicate} duplicate + {self.quarantined} quarantined = {found}; nothing is lost, all of them "
                "are still in quarantine. The replay stops before it marks any; run it again"
            )


def replay(
    spark: SparkSession,
    run: Run,
    contracts: Iterable[Contract],
    choice: Choice | None = None,
    *,
    dry_run: bool = False,
    on_done: Callable[[Replayed], None] | None = None,
) -> list[Replayed]:
    """Judge what is set aside by today's contracts, some at a time. Raises CountsDontAddUp, LakeError, BatchError.

    dry_run: say what would become of it, and write nothing.
    """
    choice = choice or Choice()
    kept = [item for item in contracts if tables.snapshot(spark, tables.quarantine_layout(run.lake, item).path)]

    def work(item: Contract) -> Replayed:
        return unless_in_the_way(lambda: _replay(spark, run, item, choice, dry_run))

    done: list[Replayed] = []
    try:
        done = in_parallel("replay", kept, work, on_done)
    except Exception as error:
        done = getattr(error, "results", [])
        raise
    finally:
        if not dry_run:
            _account(spark, run, kept, done)
    return done


def _replay(spark: SparkSession, run: Run, item: Contract, choice: Choice, dry_run: bool) -> Replayed:
    """One contract. Raises CountsDontAddUp, LakeError."""
    layout, kept = tables.silver_layout(run.lake, item), tables.quarantine_layout(run.lake, item)
    target = tables.snapshot(spark, layout.path)
    if target is None:
        raise LakeError(f"{layout.path}: there is no such table; run `grocery batch silver` first")
    if not dry_run:
        target = tables.ensure(spark, layout)
        tables.ensure(spark, kept)
    result = Replayed(item.name)
    taken = _taken(tables.read(spark, kept.path), choice).withColumnRenamed("reasons", "told")
    judged = silver.judge(spark, item, layout, target, taken)
    result.rows = judged.number
    if not judged.number:
        return result
    result.reasons = silver.count_reasons(judged.bad)
    result.quarantined = judged.bad.count()
    if dry_run:
        if judged.good_dates:
            result.replayed, result.duplicate = _forecast(spark, layout, judged)
        result.check()
        return result
    if judged.good_dates:
        silver.insert_events(spark, item, target, judged, run)
        result.replayed, result.duplicate = silver.count_events(judged, silver.places(spark, layout, judged.good_dates))
    result.check()
    result.changed = _mark(spark, run, layout, kept, judged)
    tables.ensure(spark, layout)
    tables.ensure(spark, kept)
    return result


def _taken(rows: DataFrame, choice: Choice) -> DataFrame:
    """Those of the choice that are set aside still."""
    from pyspark.sql import functions as f

    if "replayed_at" in rows.columns:  # a dry run adds no column to a table of before
        rows = rows.where("replayed_at IS NULL")
    if choice.reason:
        rows = rows.where(f.exists("reasons", lambda one: (one == choice.reason) | one.startswith(f"{choice.reason}:")))
    if choice.first:
        rows = rows.where(f.col("arrived_date") >= choice.first)
    if choice.last:
        rows = rows.where(f.col("arrived_date") <= choice.last)
    if choice.run:
        rows = rows.where(f.col("run_id") == choice.run)
    return rows


def _forecast(spark: SparkSession, layout: Layout, judged: Judged) -> tuple[int, int]:
    """(replayed, duplicate) as silver would show it: a row of its own, or another record's."""
    there = silver.places(spark, layout, judged.good_dates)
    new = silver.places_of(judged.events).join(there, ["event_date", "event_id"], "left_anti")
    return silver.count_events(judged, there.unionByName(new))


def _mark(spark: SparkSession, run: Run, layout: Layout, kept: Layout, judged: Judged) -> bool:
    """Mark the rows that left, give the others the reasons they have today; whether there was anything to write."""
    from delta.tables import DeltaTable
    from pyspark.sql import functions as f

    key = list(COORDINATES)
    rows = judged.rows.select(*key, "arrived_date", "told", "reasons", f.lit(None).cast("string").alias("became"))
    news = rows.where((f.size("reasons") > 0) & (f.col("reasons") != f.col("told")))
    if judged.good_dates:
        became = f.when(f.col("ours"), REPLAYED).otherwise(DUPLICATE).alias("left_as")
        left = silver.stands(judged, silver.places(spark, layout, judged.good_dates)).select(*key, became)
        news = news.union(rows.join(left, key).select(*rows.columns[:-1], "left_as"))
    news = news.dropDuplicates(key).localCheckpoint()
    dates = [row.arrived_date for row in news.select("arrived_date").distinct().collect()]
    if not dates:
        return False
    same = " AND ".join(f"old.{column} = new.{column}" for column in key)
    mark = {"replayed_at": f.lit(run.at), "replayed_run": f.lit(run.id), "replayed_as": "new.became"}
    (
        DeltaTable.forPath(spark, kept.path)
        .alias("old")
        .merge(news.alias("new"), f"{tables.date_list('old.arrived_date', dates)} AND {same}")
        .whenMatchedUpdate("new.became IS NOT NULL", set=mark)
        .whenMatchedUpdate(set={"reasons": "new.reasons"})
        .execute()
    )
    return True


def _account(spark: SparkSession, run: Run, kept: Sequence[Contract], done: Sequence[Replayed]) -> None:
    """Write to audit.dispositions what the marks say and it does not have yet, of this replay and of killed ones."""
    from pyspark.sql import functions as f

    at = datetime.now(UTC)
    path = tables.dispositions_layout(run.lake).path
    known = set()
    if tables.snapshot(spark, path) is not None:
        replays = tables.read(spark, path).where("bronze_version IS NULL")
        known = {(row.run_id, row.contract) for row in replays.select("run_id", "contract").distinct().collect()}
    stayed = {one.contract: one.quarantined for one in done if one.changed}
    rows = []
    for item in kept:
        found: dict[str, dict[str, int]] = {run.id: {}} if item.name in stayed else {}
        marks = tables.read(spark, tables.quarantine_layout(run.lake, item).path)
        if "replayed_run" in marks.columns:
            marked = marks.where("replayed_run IS NOT NULL").groupBy("replayed_run", "replayed_as")
            for name, became, number in marked.agg(f.count("*")).collect():
                found.setdefault(name, {})[became] = number
        now = tables.snapshot(spark, tables.silver_layout(run.lake, item).path)
        for name, counts in found.items():
            if (name, item.name) in known:
                continue
            counts = {REPLAYED: 0, DUPLICATE: 0} | counts
            if name == run.id:
                counts[QUARANTINED] = stayed.get(item.name, 0)
            rows += [
                (name, item.name, became, number, at, None, None, now and now.id) for became, number in counts.items()
            ]
    silver.record(spark, run.lake, rows)


# ---- look


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
    """One record. replayed_at, _run, _as: None while it is set aside."""

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
    replayed_at: datetime | None
    replayed_run: str | None
    replayed_as: str | None

    @property
    def place(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


_PLACE = re.compile(r"(.+)/(-?\d+)/(\d+)")  # partitions of landed files are negative
_EMPTY = """SELECT NULL::VARCHAR AS contract, NULL::VARCHAR AS topic, NULL::VARCHAR AS topic_id,
    NULL::INTEGER AS "partition", NULL::BIGINT AS "offset", NULL::TIMESTAMPTZ AS arrived_at,
    NULL::TIMESTAMPTZ AS loaded_at, NULL::VARCHAR AS run_id, NULL::VARCHAR AS key, NULL::VARCHAR AS payload,
    NULL::VARCHAR[] AS reasons, NULL::DATE AS arrived_date, NULL::TIMESTAMPTZ AS replayed_at,
    NULL::VARCHAR AS replayed_run, NULL::VARCHAR AS replayed_as WHERE false"""


def groups(
    lake: str, contracts: Iterable[Contract], choice: Choice | None = None, *, everything: bool = False
) -> tuple[list[Group], int]:
    """(what is set aside, by contract, reason and day; how many records). A record counts under each of its reasons.

    everything: those that were replayed since, too. Raises NotThere for a reason that no record there has.
    """
    choice = choice or Choice()
    with _open(lake, contracts) as db:
        _check_reason(db, choice)
        tests, values = _tests(choice)
        if not everything:
            tests.append("replayed_at IS NULL")
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
                reasons, replayed_at, replayed_run, replayed_as
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


def check_reason(lake: str, contracts: Iterable[Contract], choice: Choice) -> None:
    """Raises NotThere for a reason that no record of these contracts has, or had."""
    with _open(lake, contracts) as db:
        _check_reason(db, choice)


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
    """A database with the view `aside`: quarantine of these contracts, whichever have any. Raises LakeError."""
    import duckdb

    from batch_jobs.gold import import_delta, seen_by_duckdb, table_names

    import_delta()
    db = duckdb.connect()
    db.execute("LOAD delta; SET TimeZone = 'UTC'")
    if s3.is_on_s3(lake):
        s3.open_to_duckdb(db)
    there = table_names(lake, "quarantine")
    parts = [_EMPTY]
    for item in contracts:
        if item.table in there:
            path = tables.path_of(seen_by_duckdb(lake), "quarantine", item.table)
            parts.append(f"SELECT {_quoted(item.name)} AS contract, * FROM delta_scan({_quoted(path)})")
    db.execute(f"CREATE VIEW aside AS {' UNION ALL BY NAME '.join(parts)}")
    return db


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no JSON")
