"""Backfill: silver and quarantine of a span of days are made what a build from nothing would make of them.

    check that bronze holds the span -> judge its records -> compare with what is there -> write what differs
    -> check the counts -> account

Where several contracts are asked for, the first step is done for all of them before anything is written of one.

The span's records are those whose event is of its days, and those that arrived in them and are set aside or were. Where
an id of theirs is on other dates as well, all records of that id are judged with them, as silver would have done had
all of them come at once: the smallest coordinates stand. What is as it should be is left alone and keeps its
`loaded_at`.

What was replayed stays marked in quarantine as long as it is an event, and what has become one is marked. Bronze has
what an erasure left, so it is what silver gets.

Others may write meanwhile: records that come after the look at bronze are the next silver run's, and a write that
comes in between lets this one begin again. A second run finds nothing that differs and writes nothing but its account.
A run that was killed is done again: silver is one write, quarantine another, and each compares anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from batch_jobs import silver, tables
from batch_jobs.errors import BatchError, CountsDontAddUp, LakeError, NotHeld
from batch_jobs.maintenance import EXPIRED, reached
from batch_jobs.quarantine import REPLAYED
from batch_jobs.run import Run, in_parallel, unless_in_the_way
from batch_jobs.silver import DISPOSITIONS, DUPLICATE, ID_CONFLICT, Judged
from batch_jobs.tables import COORDINATES, Layout, Snapshot
from schemas.contract import Contract

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession
    from pyspark.sql.types import DataType, StructType

_KEY = ["event_date", "event_id"]
_AT = list(COORDINATES)
STEPS = ("check what bronze holds", "judge", "compare", "write", "count")


@dataclass(frozen=True, slots=True)
class Span:
    """Days, UTC, both included."""

    first: date
    last: date

    def __str__(self) -> str:
        return f"{self.first} to {self.last}"

    def has(self, day: str) -> str:
        """Condition that the column is one of the days; names its dates, so that Delta opens no other partition."""
        return f"{day} BETWEEN DATE{self.first.isoformat()!r} AND DATE{self.last.isoformat()!r}"


@dataclass(slots=True)
class Backfilled:
    """What became of one contract's records of the span, or would.

    rows: records; inserted, duplicate, quarantined: each one's disposition. Of silver's rows: added, removed, replaced
    (another record stands, or its columns differ). Of quarantine's: set_aside (new, or with other reasons), released.
    reasons: of those set aside, the most frequent first.
    """

    contract: str
    rows: int = 0
    inserted: int = 0
    duplicate: int = 0
    quarantined: int = 0
    added: int = 0
    removed: int = 0
    replaced: int = 0
    set_aside: int = 0
    released: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    silver_id: str = ""
    bronze_id: str = ""

    @property
    def changed(self) -> bool:
        return any((self.added, self.removed, self.replaced, self.set_aside, self.released))

    def check(self) -> None:
        """Raises CountsDontAddUp."""
        found = self.inserted + self.duplicate + self.quarantined
        if found != self.rows:
            raise CountsDontAddUp(
                f"backfill {self.contract}: {self.rows} bronze rows, but {self.inserted} inserted + {self.duplicate} "
                f"duplicate + {self.quarantined} quarantined = {found}; nothing is lost, bronze has every row. The run "
                "is not recorded; run it again"
            )


class Refused(LakeError):
    """Of several contracts the days of one or more cannot be made again, so none were."""

    def __init__(self, error: BatchError, others: list[str]) -> None:
        left = f"\nNothing was changed of the others either: {', '.join(others)}; ask for these alone" if others else ""
        super().__init__(f"{error}{left}")
        self.failures = error.failures


Progress = Callable[[Contract, str], None]
"""(contract, which of STEPS begins)"""


def backfill(
    spark: SparkSession,
    run: Run,
    contracts: Iterable[Contract],
    span: Span,
    *,
    dry_run: bool = False,
    on_step: Progress | None = None,
    on_done: Callable[[Backfilled], None] | None = None,
) -> list[Backfilled]:
    """Some contracts at a time. Silver must have been built before. Raises NotHeld (of several contracts Refused),
    CountsDontAddUp, LakeError, BatchError. Where one fails later, what the others did is recorded, and in `results`.

    dry_run: say what would differ, and write nothing. No erasure may be at work on the lake meanwhile.
    """
    contracts = list(contracts)

    def work(item: Contract) -> Backfilled:
        told = (lambda step: on_step(item, step)) if on_step else lambda _: None
        return unless_in_the_way(lambda: _backfill(spark, run, item, span, dry_run, told))

    if len(contracts) > 1 and not dry_run:
        _check_all(spark, run, contracts, span)
    done: list[Backfilled] = []
    try:
        done = in_parallel("backfill", contracts, work, on_done)
    except Exception as error:
        done = getattr(error, "results", [])
        raise
    finally:
        if not dry_run:
            _account(spark, run, done)
    return done


def _backfill(
    spark: SparkSession, run: Run, item: Contract, span: Span, dry_run: bool, told: Callable[[str], None]
) -> Backfilled:
    told(STEPS[0])
    look = _look_at(spark, run, item, span)
    layout, aside = look.layout, look.aside
    if not dry_run:
        target, kept = tables.ensure(spark, layout), tables.ensure(spark, aside)
        source = tables.snapshot(spark, tables.path_of(run.lake, "bronze", item.table))
        look = replace(look, target=target, kept=kept, source=source)
    result = Backfilled(item.name, silver_id=look.target.id, bronze_id=look.source.id)

    told(STEPS[1])
    received, rows = _records(look)
    judged = silver.settle(item, rows, received, look.stands_anyway(rows))
    result.rows = judged.number
    result.reasons = silver.count_reasons(judged.bad) if judged.bad_dates else {}

    told(STEPS[2])
    news = _differences(look, judged)
    counts = {row.what: row["count"] for row in news.groupBy("what").count().collect()}
    result.replaced = counts.get(_REPLACED, 0)
    result.added, result.removed = counts.get(_ADDED, 0), counts.get(_GONE, 0)
    if dry_run:
        there = look.would_stand(judged)
        moved = _moves(look, judged, there)
        _count_moves(result, moved)
        result.inserted, result.duplicate = silver.count_events(judged, there) if judged.good_dates else (0, 0)
        result.quarantined = judged.bad.count()
        result.check()
        return result

    told(STEPS[3])
    if result.added or result.removed or result.replaced:
        _write_silver(look, judged, news)
    there = silver.places(spark, layout, judged.good_dates)
    moved = _moves(look, judged, there)
    _count_moves(result, moved)
    if result.set_aside or result.released:
        _write_quarantine(look, judged, moved)

    told(STEPS[4])
    if judged.good_dates:
        result.inserted, result.duplicate = silver.count_events(judged, there)
    if judged.bad_dates:
        still = tables.read(spark, aside.path).where(tables.date_list("arrived_date", judged.bad_dates))
        still = still.where("replayed_at IS NULL").select(*_AT)
        result.quarantined = judged.bad.select(*_AT).join(still, _AT, "left_semi").count()
    result.check()
    tables.ensure(spark, layout)
    tables.ensure(spark, aside)
    return result


@dataclass(frozen=True, slots=True)
class _Look:
    """One look at one contract's tables, and what of them the span is about."""

    spark: SparkSession
    run: Run
    item: Contract
    span: Span
    layout: Layout
    aside: Layout
    target: Snapshot
    kept: Snapshot | None
    source: Snapshot

    @property
    def bronze(self) -> DataFrame:
        return tables.read(self.spark, tables.path_of(self.run.lake, "bronze", self.item.table), self.source.version)

    @property
    def silver(self) -> DataFrame:
        return tables.read(self.spark, self.layout.path, self.target.version)

    @property
    def quarantine(self) -> DataFrame | None:
        if self.kept is None:
            return None
        rows = tables.read(self.spark, self.aside.path, self.kept.version)
        if "replayed_at" in rows.columns:  # a dry run adds no column to a table of before
            return rows
        return rows.selectExpr("*", *(f"CAST(NULL AS STRING) AS {name}" for name in tables.REPLAYED))

    def others(self, dates: list[date], records: DataFrame) -> DataFrame:
        """Silver's rows of these dates whose record is none of these: they stand, whatever is found. In the span there
        are none."""
        dates = [day for day in dates if not self.span.first <= day <= self.span.last]
        return self.silver.where(tables.date_list("event_date", dates)).join(records.select(*_AT), _AT, "left_anti")

    def stands_anyway(self, records: DataFrame) -> Callable[[list[date]], DataFrame]:
        return lambda dates: self.others(dates, records).select("event_id", "event_date")

    def should_stand(self, judged: Judged) -> DataFrame:
        """The events of the records that belong in silver, one row each, as `one_per_event` chooses them."""
        from pyspark.sql import functions as f

        theirs = self.others(judged.good_dates, judged.rows).select(*_KEY)
        events = judged.events.withColumn("event_id", f.col("event.event_id"))
        return events.join(theirs, _KEY, "left_anti").drop("event_id")

    def would_stand(self, judged: Judged) -> DataFrame:
        """Silver's `places` as they would be."""
        from pyspark.sql import functions as f

        theirs = self.others(judged.good_dates, judged.rows).select(*_KEY, f.struct(*_AT).alias("theirs"))
        return theirs.unionByName(silver.places_of(self.should_stand(judged)))


# ---- does bronze hold it


def _check_all(spark: SparkSession, run: Run, contracts: list[Contract], span: Span) -> None:
    """Raises Refused unless the span can be made again of each contract."""

    def work(item: Contract) -> str:
        look = _look_at(spark, run, item, span)
        rows = look.silver.where(span.has("event_date")).select(*_AT, "event_date")
        _check_held(look, rows, "silver", "event_date")
        if (aside := look.quarantine) is not None:
            rows = aside.where(span.has("arrived_date")).select(*_AT, "arrived_date")
            _check_held(look, rows, "quarantine", "arrived_date")
        return item.name

    try:
        in_parallel("backfill", contracts, work)
    except BatchError as error:
        raise Refused(error, error.results) from error.__cause__


def _look_at(spark: SparkSession, run: Run, item: Contract, span: Span) -> _Look:
    """The tables as they are. Raises NotHeld, and LakeError where silver was not built from them; writes nothing."""
    layout, aside = tables.silver_layout(run.lake, item), tables.quarantine_layout(run.lake, item)
    # Bronze last: whatever stands in these versions of the others was in bronze by then.
    target, kept = tables.snapshot(spark, layout.path), tables.snapshot(spark, aside.path)
    source = tables.snapshot(spark, tables.path_of(run.lake, "bronze", item.table))
    if source is None or source.untouched:
        raise NotHeld(_EMPTY.format(name=item.name, span=span))
    if target is None or reached(spark, run.lake, item, source) is None:
        raise LakeError(
            f"{layout.path}: not built from this bronze yet, so nothing was changed; run `grocery batch silver` first"
        )
    look = _Look(spark, run, item, span, layout, aside, target, kept, source)
    _check_reach(look)
    return look


def _check_reach(look: _Look) -> None:
    """Raises NotHeld where the span begins before what bronze holds: what silver has of it could not be made again."""
    from pyspark.sql import functions as f

    item, span = look.item, look.span
    name = f"backfill {item.name} from {span}: bronze"
    begins = look.bronze.agg(f.min("arrived_date")).first()[0]
    if begins is None:
        raise NotHeld(_EMPTY.format(name=item.name, span=span))
    if span.first >= begins:
        return
    if expired := _expired(look):
        raise NotHeld(
            f"{name} begins with {begins}, older records expired ({expired:,} by now; x-retention {item.retention}); "
            f"silver's older days can only stay as they are, and nothing was changed: begin with --from {begins} or "
            "later"
        )
    # Nothing has gone: what came late, or holds since long ago, is all there.
    oldest = look.silver.agg(f.min("event_date")).first()[0]
    begins = min(begins, oldest or begins)
    if span.first < begins:
        raise NotHeld(
            f"{name} has nothing from before {begins}; begin with --from {begins} or later; nothing was changed"
        )


_EMPTY = (
    "backfill {name} from {span}: bronze is empty; load it with `grocery batch run`, `bronze` or `files`; nothing was "
    "changed"
)


def _expired(look: _Look) -> int:
    """Records that went out of this bronze table because of their age."""
    from pyspark.sql import functions as f

    path = tables.dispositions_layout(look.run.lake).path
    if tables.snapshot(look.spark, path) is None:
        return 0
    gone = tables.read(look.spark, path).where(
        (f.col("disposition") == EXPIRED)
        & (f.col("contract") == look.item.name)
        & (f.col("bronze_id") == look.source.id)
    )
    return gone.agg(f.sum("rows")).first()[0] or 0


def _check_held(look: _Look, lost: DataFrame, layer: str, day: str) -> None:
    """lost: rows of silver or quarantine whose record was not found among the span's. Raises NotHeld for those that
    bronze does not have at all."""
    from pyspark.sql import functions as f

    gone = lost.join(look.bronze.select(*_AT), _AT, "left_anti")
    row = gone.agg(f.count("*").alias("n"), f.max(day).alias("last")).first()
    if row.n:
        raise NotHeld(
            f"backfill {look.item.name} from {look.span}: bronze holds no record of {row.n:,} rows that {layer} has, "
            f"the newest of {row.last}; they could not be made again, so nothing was changed: begin with --from "
            f"{row.last + timedelta(days=1)} or later"
        )


# ---- which records


def _records(look: _Look) -> tuple[DataFrame, DataFrame]:
    """(bronze's rows, the span's records of them as `conform` makes them). Raises NotHeld."""
    from pyspark.sql import functions as f

    item, span = look.item, look.span
    ours = look.silver.where(span.has("event_date"))
    received = look.bronze
    if (most := silver.MAX_AHEAD.get(item.kind)) is not None:
        # An event is at most a day's date ahead of its arrival; what stands in silver all the same is looked for, too.
        oldest = ours.agg(f.to_date(f.min("arrived_at"))).first()[0] or span.first
        since = min(oldest, span.first - math.ceil(most / timedelta(days=1)) * timedelta(days=1))
        received = received.where(f"arrived_date >= DATE{since.isoformat()!r}")
    happened, arrived = f.coalesce(f.expr(span.has("event_date")), f.lit(False)), f.expr(span.has("arrived_date"))
    rows = silver.computed(silver.conform(received, item).where(happened | arrived))
    # Another day's event that arrived in the span is that day's matter, unless it is or was set aside.
    aside = look.quarantine
    was_aside = rows.limit(0).select(*_AT)
    if aside is not None:
        here = aside.where(arrived)
        lost = silver.computed(here.join(rows.select(*_AT), _AT, "left_anti").select(*_AT, "arrived_date"))
        if not lost.isEmpty():
            _check_held(look, lost, "quarantine", "arrived_date")
        was_aside = here.where("replayed_at IS NULL").select(*_AT)
    rows = rows.join(was_aside.withColumn("was_aside", f.lit(True)), _AT, "left")
    rows = rows.where(happened | (f.size("reasons") > 0) | f.col("was_aside")).drop("was_aside")
    rows = silver.computed(rows)

    strays = silver.computed(ours.join(rows.select(*_AT), _AT, "left_anti").select(*_AT, "event_date"))
    lost = not strays.isEmpty()
    if lost:  # in bronze, they are other days' or no events any more
        _check_held(look, strays, "silver", "event_date")
    ids = _on_other_dates(look, rows)
    if not lost and ids is None:
        return look.bronze, rows
    everything = silver.conform(look.bronze, item)
    more = everything.join(f.broadcast(strays.select(*_AT)), _AT, "left_semi")
    if ids is not None:
        theirs = f.col("event.event_id") == f.col("stray_id")
        more = more.unionByName(everything.join(f.broadcast(ids), theirs, "left_semi")).dropDuplicates(_AT)
    more = more.join(rows.select(*_AT), _AT, "left_anti")
    return look.bronze, silver.computed(rows.unionByName(more))


def _on_other_dates(look: _Look, rows: DataFrame) -> DataFrame | None:
    """(stray_id) of the records' ids that silver has from another record, or quarantine for its date's sake; None where
    there are none, which is nearly always."""
    from pyspark.sql import functions as f

    from schemas.spark import parse

    dates = [row.event_date for row in rows.select("event_date").distinct().collect() if row.event_date]
    near = silver.around(dates, silver.window(look.item))
    ours = rows.select(f.col("event.event_id").alias("stray_id")).where("stray_id IS NOT NULL")
    found = look.others(near, rows).select(f.col("event_id").alias("stray_id"))
    aside = look.quarantine
    if aside is not None:
        strayed = aside.where(f.array_contains("reasons", ID_CONFLICT)).where("replayed_at IS NULL")
        told = parse(strayed.select("payload", *_AT), look.item).select(f.col("event.event_id").alias("stray_id"), *_AT)
        found = found.union(told.select("stray_id"))
    ids = silver.computed(found.join(ours, "stray_id", "left_semi").distinct())
    return None if ids.isEmpty() else ids


# ---- silver

_ADDED, _GONE, _REPLACED = "added", "gone", "replaced"


def _differences(look: _Look, judged: Judged) -> DataFrame:
    """(event_date, event_id, what) of the events that stand in silver otherwise than they should."""
    from pyspark.sql import functions as f

    columns = look.layout.columns
    stands = look.silver.where(tables.date_list("event_date", _dates(look, judged)))
    stands = stands.join(judged.rows.select(*_AT), _AT, "left_semi")
    # More than one row of an event is not as it should be either.
    was = stands.select(*_KEY, _text(columns, stands.schema).alias("text"))
    was = was.groupBy(*_KEY).agg(f.max("text").alias("was"), f.count("*").alias("n"))
    events = look.should_stand(judged).select(*_event_columns(look))
    shall = events.select(*_KEY, _text(columns, events.schema).alias("shall"))
    what = (
        f.when(f.col("was").isNull(), _ADDED)
        .when(f.col("shall").isNull(), _GONE)
        .when((f.col("n") > 1) | (f.col("was") != f.col("shall")), _REPLACED)
    )
    found = was.join(shall, _KEY, "full").select(*_KEY, what.alias("what")).where("what IS NOT NULL")
    return silver.computed(found)


def _dates(look: _Look, judged: Judged) -> list[date]:
    """Event dates of which rows of silver may be these records'."""
    dates = {row.event_date for row in judged.rows.select("event_date").distinct().collect() if row.event_date}
    ours = look.silver.where(look.span.has("event_date")).select("event_date").distinct().collect()
    return sorted(dates | {row.event_date for row in ours})


def _event_columns(look: _Look) -> list[str]:
    return ["event.*", *[one for one in tables.lineage_of(look.item) if one not in _STAMPS], "event_date"]


_STAMPS = ("loaded_at", "run_id")


def _text(wanted: StructType, has: StructType) -> Column:
    """A row of silver as text, but for who wrote it when: the same for the same values, whatever the columns' order."""
    from pyspark.sql import functions as f

    there = {one.name: one for one in has.fields}
    values = [
        _in_order(f.col(one.name), one.dataType, there[one.name].dataType).alias(one.name)
        for one in wanted.fields
        if one.name in there and one.name not in _STAMPS
    ]
    return f.to_json(f.struct(*values), {"timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSS"})


def _in_order(value: Column, wanted: DataType, has: DataType) -> Column:
    """The value with the fields of its objects in the contract's order; a column that was widened has its own."""
    from pyspark.sql import functions as f
    from pyspark.sql.types import ArrayType, StructType

    if isinstance(wanted, StructType):
        there = {one.name: one.dataType for one in has.fields}
        fields = [
            _in_order(value[one.name], one.dataType, there[one.name]).alias(one.name)
            for one in wanted.fields
            if one.name in there
        ]
        return f.when(value.isNotNull(), f.struct(*fields))
    if isinstance(wanted, ArrayType):
        return f.transform(value, lambda one: _in_order(one, wanted.elementType, has.elementType))
    return value


def _write_silver(look: _Look, judged: Judged, news: DataFrame) -> None:
    """In one commit. What is replaced is deleted and inserted, so that whatever follows the change feed sees it as new.

    An event that somebody else has inserted since is left to him; the count after it tells.
    """
    from delta.tables import DeltaTable
    from pyspark.sql import functions as f

    new = silver.stamped(look.should_stand(judged), look.run).select(*_event_columns(look), *_STAMPS)
    news = news.withColumnRenamed("what", "_what")  # no field of a contract begins like this
    new = new.join(news.where(f.col("_what") != _GONE), _KEY)
    # Of an event that is replaced the new row must match none, so that it is inserted.
    match = f.when(f.col("_what") == _ADDED, f.col("event_id")).alias("_match")
    new = new.withColumn("_match", match).withColumn("_gone", f.lit(False)).drop("_what")
    gone = (f.col("event_id").alias("_match"), f.lit(True).alias("_gone"))
    old = news.where(f.col("_what") != _ADDED).select(*_KEY, *gone)
    changes = new.unionByName(old, allowMissingColumns=True)
    dates = [row.event_date for row in news.select("event_date").distinct().collect()]
    same = (
        f"{tables.date_list('old.event_date', dates)} AND old.event_date = new.event_date AND old.event_id = new._match"
    )
    columns = [name for name in new.columns if name not in ("_match", "_gone")]
    (
        DeltaTable.forPath(look.spark, look.layout.path)
        .alias("old")
        .merge(changes.alias("new"), same)
        .whenMatchedDelete("new._gone")
        .whenNotMatchedInsert("NOT new._gone", values={name: f"new.{name}" for name in columns})
        .execute()
    )


# ---- quarantine


def _moves(look: _Look, judged: Judged, there: DataFrame) -> DataFrame:
    """(coordinates, arrived_date, reasons, became) of the records that are set aside otherwise than they should be.

    became: null of one that shall be set aside; else what it is now. there: silver's `places`.
    """
    from pyspark.sql import functions as f

    shall = judged.bad.select(*_AT, "arrived_date", "reasons", f.lit(None).cast("string").alias("became"))
    if judged.good_dates:
        became = f.when(f.col("ours"), REPLAYED).otherwise(DUPLICATE).alias("became")
        good = judged.good.select(*_AT, "arrived_date", "reasons")
        shall = shall.unionByName(good.join(silver.stands(judged, there).select(*_AT, became), _AT))
    aside = look.quarantine
    if aside is None:
        return silver.computed(shall.where("became IS NULL"))
    dates = [row.arrived_date for row in judged.rows.select("arrived_date").distinct().collect()]
    was = aside.where(tables.date_list("arrived_date", dates))
    was = was.select(*_AT, f.col("reasons").alias("told"), f.col("replayed_at").isNotNull().alias("left"))
    both = shall.join(was, _AT, "left")
    comes = f.col("became").isNull() & (f.col("told").isNull() | f.col("left") | (f.col("told") != f.col("reasons")))
    goes = f.col("became").isNotNull() & f.col("told").isNotNull() & ~f.col("left")
    return silver.computed(both.where(comes | goes).drop("told", "left").dropDuplicates(_AT))


def _count_moves(result: Backfilled, moved: DataFrame) -> None:
    from pyspark.sql import functions as f

    comes = f.col("became").isNull()
    row = moved.agg(f.count_if(comes).alias("comes"), f.count_if(~comes).alias("goes")).first()
    result.set_aside, result.released = row.comes, row.goes


def _write_quarantine(look: _Look, judged: Judged, moved: DataFrame) -> None:
    """In one commit: set aside what is no event, mark what is one now as a replay would."""
    from delta.tables import DeltaTable
    from pyspark.sql import functions as f

    run = look.run
    names = [name for name in look.aside.columns.fieldNames() if name not in tables.REPLAYED]
    moves = moved.select(*_AT, "became")
    rows = silver.stamped(judged.rows, run).select(*names).join(moves, _AT)
    dates = [row.arrived_date for row in moved.select("arrived_date").distinct().collect()]
    same = [tables.date_list("old.arrived_date", dates), *(f"old.{name} = new.{name}" for name in _AT)]
    mark = {"replayed_at": f.lit(run.at), "replayed_run": f.lit(run.id), "replayed_as": "new.became"}
    again = {name: f"new.{name}" for name in names} | dict.fromkeys(tables.REPLAYED, "NULL")
    (
        DeltaTable.forPath(look.spark, look.aside.path)
        .alias("old")
        .merge(rows.alias("new"), " AND ".join(same))
        .whenMatchedUpdate("new.became IS NOT NULL", set=mark)
        .whenMatchedUpdate(set=again)
        .whenNotMatchedInsert("new.became IS NULL", values={name: f"new.{name}" for name in names})
        .execute()
    )


def _account(spark: SparkSession, run: Run, done: list[Backfilled]) -> None:
    """Write the dispositions. Without a bronze version: silver's progress is its own."""
    at = datetime.now(UTC)
    rows = [
        (run.id, one.contract, name, getattr(one, name), at, one.bronze_id, None, one.silver_id)
        for one in done
        if one.rows
        for name in DISPOSITIONS
    ]
    silver.record(spark, run.lake, rows)
