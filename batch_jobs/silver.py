"""Silver and quarantine: bronze rows become events, typed, one row per event id and event date; the rest is set aside.

    read what bronze has gained -> conform (parse, reasons) -> split -> merge the good, keep the bad -> account

Each bronze row gets exactly one disposition: `inserted`, `duplicate` (its event is in silver from another record) or
`quarantined`. They are counted in the tables after the writes, must add up to the bronze rows, and are then written to
audit.dispositions together with the bronze version they reach to. That last write is what moves the job on.

A second run reads nothing and makes no new version. A run that was killed anywhere before that last write is done again
in full: both writes go by key (event id and date; coordinates), so what is there already stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING

from batch_jobs import tables
from batch_jobs.errors import CountsDontAddUp
from batch_jobs.run import Run, in_parallel
from batch_jobs.tables import COORDINATES, Layout, Snapshot, lineage_of
from schemas.contract import Contract

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

INSERTED, DUPLICATE, QUARANTINED = DISPOSITIONS = ("inserted", "duplicate", "quarantined")
BROADCAST_ROWS = 300_000
"""Up to so many new rows are held against a table without a shuffle; their keys take some 30 MB."""
MAX_AHEAD = timedelta(hours=2)
"""How far an event's own clock may run ahead of its arrival, as at the gate: what was put straight on a topic is held
against the same limits."""


@dataclass(slots=True)
class Curated:
    """What became of one contract's new bronze rows. reasons: how often each breach was found, the most frequent first.

    bronze_version: the rows of bronze up to this version have their disposition.
    """

    contract: str
    rows: int = 0
    inserted: int = 0
    duplicate: int = 0
    quarantined: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    bronze_id: str = ""
    bronze_version: int = -1
    silver_id: str = ""

    def check(self) -> None:
        """Raises CountsDontAddUp."""
        found = self.inserted + self.duplicate + self.quarantined
        if found != self.rows:
            raise CountsDontAddUp(
                f"silver {self.contract}: {self.rows} bronze rows, but {self.inserted} inserted + {self.duplicate} "
                f"duplicate + {self.quarantined} quarantined = {found}; nothing is lost, bronze has every row. The run "
                f"stops before it is recorded, so the next one does these rows again; if it stays, delete the silver "
                f"and quarantine tables of {self.contract}: the next run rebuilds them from bronze"
            )


def silver(
    spark: SparkSession,
    run: Run,
    contracts: Iterable[Contract],
    on_done: Callable[[Curated], None] | None = None,
) -> list[Curated]:
    """Curate what bronze has gained, some contracts at a time. Raises CountsDontAddUp, LakeError, BatchError.

    What other contracts did until one failed is recorded and stays.
    """
    done_before = progress(spark, run.lake)

    def work(item: Contract) -> Curated:
        return curate(spark, run, item, done_before)

    curated: list[Curated] = []
    try:
        curated = in_parallel("silver", contracts, work, on_done)
    except Exception as error:
        curated = getattr(error, "results", [])
        raise
    finally:
        _record(spark, run, curated)
    return curated


Progress = dict[tuple[str, str, str], int]
"""(contract, bronze table id, silver table id) -> bronze version up to which every row has its disposition."""


def progress(spark: SparkSession, lake: str) -> Progress:
    """What audit.dispositions says. Keyed by table ids: a table that was deleted and made again is built again."""
    from pyspark.sql import functions as f

    path = tables.dispositions_layout(lake).path
    if tables.snapshot(spark, path) is None:
        return {}
    reached = tables.read(spark, path).groupBy("contract", "bronze_id", "silver_id").agg(f.max("bronze_version"))
    return {(name, bronze_id, silver_id): upto for name, bronze_id, silver_id, upto in reached.collect()}


def curate(spark: SparkSession, run: Run, item: Contract, done_before: Progress) -> Curated:
    """One contract. Raises CountsDontAddUp, LakeError."""
    from pyspark import StorageLevel

    source = tables.ensure(spark, tables.bronze_layout(run.lake, item))
    layout = tables.silver_layout(run.lake, item)
    target = tables.ensure(spark, layout)
    result = Curated(item.name, bronze_id=source.id, bronze_version=source.version, silver_id=target.id)
    after = done_before.get((item.name, source.id, target.id))
    if after == source.version or source.untouched:
        return result

    received = tables.added(spark, tables.path_of(run.lake, "bronze", item.table), after, source.version)
    # A checkpoint, not a cache: what follows is planned without the row checks' thousand expressions in each plan.
    rows = conform(received, item).localCheckpoint(storageLevel=StorageLevel.MEMORY_AND_DISK)
    good_dates, bad_dates, result.rows = _survey(rows)
    if not result.rows:
        return result
    good, bad = split(rows)
    if good_dates:
        _insert_events(spark, item, target, one_per_event(good), run, good_dates)
        result.inserted, result.duplicate = _count_events(spark, layout, good, good_dates, result.rows)
    if bad_dates:
        kept = tables.quarantine_layout(run.lake, item)
        _insert_quarantined(spark, kept, bad, run, bad_dates)
        result.quarantined = _count_quarantined(spark, kept, bad, bad_dates)
        result.reasons = _count_reasons(bad)
    result.check()
    tables.ensure(spark, layout)
    return result


def conform(received: DataFrame, item: Contract) -> DataFrame:
    """Bronze rows with `event` (the contract's columns), `reasons` (empty: it is one) and `event_date` (UTC) added.

    The payload stays only where there are reasons.
    """
    from pyspark.sql import functions as f

    from schemas.spark import parse, reasons

    found = reasons(item)
    if comes_through_gate(item):
        ahead = f.col("event.event_time") > f.col("arrived_at") + f.lit(MAX_AHEAD)
        found = f.concat(found, f.when(ahead, f.array(f.lit("clock:/event_time"))).otherwise(f.array()))
    return (
        parse(received, item)
        .withColumn("reasons", found)
        .withColumn("event_date", f.to_date("event.event_time"))
        .withColumn("payload", f.when(f.size("reasons") > 0, f.col("payload")))
        .drop("raw", "run_id", "loaded_at", "cluster")
    )


def comes_through_gate(item: Contract) -> bool:
    """Alerts, derived metrics, reference and dead letters do not: they are stamped by whoever wrote them, so the time
    at which they arrived says nothing of a replayed day, and a price may be known before it holds."""
    return item.kind == "event"


def split(rows: DataFrame) -> tuple[DataFrame, DataFrame]:
    """(events, the rest)."""
    return rows.where(_is_event()), rows.where(~_is_event())


def one_per_event(good: DataFrame) -> DataFrame:
    """One row per event id and event date: the one with the smallest coordinates."""
    from pyspark.sql import Window
    from pyspark.sql import functions as f

    by_event = Window.partitionBy("event.event_id", "event_date").orderBy("topic", "partition", "offset", "topic_id")
    return good.withColumn("place", f.row_number().over(by_event)).where("place = 1").drop("place")


def _is_event() -> Column:
    from pyspark.sql import functions as f

    return f.size("reasons") == 0


def _survey(rows: DataFrame) -> tuple[list[date], list[date], int]:
    """(event dates of the good, arrival dates of the bad, number of rows)."""
    from pyspark.sql import functions as f

    is_event = _is_event()
    day = f.when(is_event, f.col("event_date")).otherwise(f.col("arrived_date"))
    found = rows.groupBy(is_event.alias("good"), day.alias("day")).count().collect()
    good = [row.day for row in found if row.good]
    bad = [row.day for row in found if not row.good]
    return good, bad, sum(row["count"] for row in found)


def _insert_events(
    spark: SparkSession, item: Contract, target: Snapshot, events: DataFrame, run: Run, dates: list[date]
) -> None:
    layout = tables.silver_layout(run.lake, item)
    columns = _stamped(events, run).select("event.*", *lineage_of(item), "event_date")
    _insert(spark, layout, target, columns, dates, ("event_date", "event_id"))


def _insert_quarantined(spark: SparkSession, layout: Layout, bad: DataFrame, run: Run, dates: list[date]) -> None:
    target = tables.ensure(spark, layout)
    columns = _stamped(bad, run).select(*layout.columns.fieldNames())
    _insert(spark, layout, target, columns, dates, ("arrived_date", *COORDINATES))


def _insert(
    spark: SparkSession, layout: Layout, target: Snapshot, new: DataFrame, dates: list[date], key: tuple[str, ...]
) -> None:
    """Insert the rows whose key is not there yet. Reads and writes the partitions of these dates only."""
    from delta.tables import DeltaTable

    (day,) = layout.partitioned_by

    if target.untouched:  # nothing to compare with; one job instead of a MERGE's three
        new.write.format("delta").mode("append").save(layout.path)
        return
    same = " AND ".join(f"old.{column} = new.{column}" for column in key)
    (
        DeltaTable.forPath(spark, layout.path)
        .alias("old")
        .merge(new.alias("new"), f"{tables.date_list(f'old.{day}', dates)} AND {same}")
        .whenNotMatchedInsert(values={column: f"new.{column}" for column in new.columns})
        .execute()
    )


def _stamped(rows: DataFrame, run: Run) -> DataFrame:
    from pyspark.sql import functions as f

    return rows.withColumn("loaded_at", f.lit(run.at)).withColumn("run_id", f.lit(run.id))


def _count_events(
    spark: SparkSession, layout: Layout, good: DataFrame, dates: list[date], rows: int
) -> tuple[int, int]:
    """(inserted, duplicate), as silver shows it: whose record stands in the row of each event."""
    from pyspark.sql import functions as f

    there = tables.read(spark, layout.path).where(tables.date_list("event_date", dates))
    there = there.select("event_date", "event_id", f.struct(*COORDINATES).alias("theirs"))
    ours = good.select("event_date", f.col("event.event_id").alias("event_id"), f.struct(*COORDINATES).alias("ours"))
    ours = f.broadcast(ours) if rows <= BROADCAST_ROWS else ours
    row = (
        ours.join(there, ["event_date", "event_id"])
        .agg(
            f.count_if(f.col("ours") == f.col("theirs")).alias("inserted"),
            f.count_if(f.col("ours") != f.col("theirs")).alias("duplicate"),
        )
        .first()
    )
    return row.inserted, row.duplicate


def _count_quarantined(spark: SparkSession, layout: Layout, bad: DataFrame, dates: list[date]) -> int:
    there = tables.read(spark, layout.path).where(tables.date_list("arrived_date", dates)).select(*COORDINATES)
    return bad.select(*COORDINATES).join(there, list(COORDINATES)).count()


def _count_reasons(bad: DataFrame) -> dict[str, int]:
    from pyspark.sql import functions as f

    found = bad.select(f.explode("reasons").alias("reason")).groupBy("reason").count().collect()
    return {row.reason: row["count"] for row in sorted(found, key=lambda row: (-row["count"], row.reason))}


def _record(spark: SparkSession, run: Run, curated: list[Curated]) -> None:
    """Write the dispositions of one run, all contracts in one commit."""
    from datetime import UTC, datetime

    at = datetime.now(UTC)
    rows = [
        (run.id, one.contract, name, getattr(one, name), at, one.bronze_id, one.bronze_version, one.silver_id)
        for one in curated
        if one.rows
        for name in DISPOSITIONS
    ]
    if not rows:
        return
    layout = tables.dispositions_layout(run.lake)
    tables.ensure(spark, layout)
    spark.createDataFrame(rows, layout.columns).coalesce(1).write.format("delta").mode("append").save(layout.path)
