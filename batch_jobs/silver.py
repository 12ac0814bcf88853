"""Silver and quarantine: bronze rows become events, typed, one row per event id and event date; the rest is set aside.

    read what bronze has gained -> conform (parse, reasons) -> split -> merge the good, keep the bad -> account

An event id belongs to one event date: what brings it again for a date that is `x-max-lateness` and a week
away or less is an `id_conflict` and set aside as well. What stands in silver stands; of new records, the smallest
coordinates do. Further apart the two are two events: only the dates around those of the new rows are looked at.

Each bronze row gets exactly one disposition: `inserted`, `duplicate` (its event is in silver from another record) or
`quarantined`. They are counted in the tables after the writes, must add up to the bronze rows, and are then written to
audit.dispositions together with the bronze version they reach to. That last write is what moves the job on.

A second run reads nothing and makes no new version. A run that was killed anywhere before that last write is done again
in full: both writes go by key (event id and date; coordinates), so what is there already stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import reduce
from operator import xor
from typing import TYPE_CHECKING

from batch_jobs import tables
from batch_jobs.errors import CountsDontAddUp
from batch_jobs.run import Run, in_parallel, unless_in_the_way
from batch_jobs.tables import COORDINATES, Layout, Snapshot, lineage_of
from schemas.contract import Contract, duration

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

INSERTED, DUPLICATE, QUARANTINED = DISPOSITIONS = ("inserted", "duplicate", "quarantined")
ID_CONFLICT = "id_conflict:/event_id"
_ORDER = ("topic", "partition", "offset", "topic_id")
BROADCAST_ROWS = 300_000
"""Up to so many new rows are held against a table without a shuffle; their keys take some 30 MB."""
SORTED_ROWS = 300_000
"""Up to so many records are sorted whole, to have one row an event: to look which of them must be would take longer."""
MAX_AHEAD = {"event": timedelta(hours=2), "derived": timedelta(days=1)}
"""x-kind -> how far an event's own clock may run ahead of its arrival. What comes through the gate: as there, for
somebody may put it straight on a topic. Alerts and derived metrics are stamped with the arrival that gave them, by
the log's clock of a replayed day too, and a device is at most as far ahead as the gate lets in: a day is more than
any window. A price may be known long before it holds, and a dead letter is stamped with the broker's clock."""
BEYOND_LATENESS = timedelta(days=7)
"""How much further apart than a contract's `x-max-lateness` an id is looked for on another date."""


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

    What the others did where one failed is recorded and stays.
    """
    done_before = progress(spark, run.lake)

    def work(item: Contract) -> Curated:
        # A backfill or another run may write the same days; both writes go by key.
        return unless_in_the_way(lambda: curate(spark, run, item, done_before))

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
    silver_runs = tables.read(spark, path).where("bronze_version IS NOT NULL")
    reached = silver_runs.groupBy("contract", "bronze_id", "silver_id").agg(f.max("bronze_version"))
    return {(name, bronze_id, silver_id): upto for name, bronze_id, silver_id, upto in reached.collect()}


def curate(spark: SparkSession, run: Run, item: Contract, done_before: Progress) -> Curated:
    """One contract. Raises CountsDontAddUp, LakeError."""
    source = tables.ensure(spark, tables.bronze_layout(run.lake, item))
    layout = tables.silver_layout(run.lake, item)
    target = tables.ensure(spark, layout)
    result = Curated(item.name, bronze_id=source.id, bronze_version=source.version, silver_id=target.id)
    after = done_before.get((item.name, source.id, target.id))
    if after == source.version or source.untouched:
        return result

    received = tables.added(spark, tables.path_of(run.lake, "bronze", item.table), after, source.version)
    found = judge(spark, item, layout, target, received)
    result.rows = found.number
    if not found.number:
        return result
    if found.good_dates:
        insert_events(spark, item, target, found, run)
        counts = _where_all_is_new(spark, layout, found, run)
        result.inserted, result.duplicate = counts or count_events(found, places(spark, layout, found.good_dates))
    if found.bad_dates:
        kept = tables.quarantine_layout(run.lake, item)
        _insert_quarantined(spark, kept, found.bad, run, found.bad_dates)
        result.quarantined = _count_quarantined(spark, kept, found.bad, found.bad_dates)
        result.reasons = count_reasons(found.bad)
        tables.ensure(spark, kept)
    result.check()
    tables.ensure(spark, layout)
    return result


@dataclass(frozen=True, slots=True)
class Judged:
    """Records with `event`, `reasons` and `event_date`. good_dates: event dates of the events; bad_dates: arrival dates
    of the rest; number, good_number: of all, of the events; mark: of the good, see `_mark`.

    repeated: how many hashes of id and date (`event_hash`) several of the good have, None where nobody looked; again:
    those hashes, where they are few enough to be held against the rest without a shuffle. All others say an event that
    no other says.
    """

    rows: DataFrame
    good_dates: list[date]
    bad_dates: list[date]
    number: int
    good_number: int
    mark: int
    repeated: int | None
    again: DataFrame | None

    @property
    def good(self) -> DataFrame:
        return self.rows.where(_is_event())

    @property
    def bad(self) -> DataFrame:
        return self.rows.where(~_is_event())

    @property
    def events(self) -> DataFrame:
        """The good, one row per event."""
        if self.repeated == 0:
            return self.good
        if self.again is None:
            return one_per_event(self.good)
        return self._good_that_are("left_anti").unionByName(one_per_event(self.several))

    @property
    def several(self) -> DataFrame:
        """The good whose hash others have, too; only where `again` is there."""
        return self._good_that_are("left_semi")

    def _good_that_are(self, kind: str) -> DataFrame:
        from pyspark.sql import functions as f

        good = self.good.withColumn("event_hash", _hash())
        return good.join(f.broadcast(self.again), "event_hash", kind).drop("event_hash")


def judge(spark: SparkSession, item: Contract, layout: Layout, target: Snapshot, received: DataFrame) -> Judged:
    """Which of the records are events, by the contract and by what silver (layout, as it is now: target) holds.

    received: bronze's or quarantine's columns.
    """
    # A checkpoint, not a cache: what follows is planned without the row checks' thousand expressions in each plan.
    rows = computed(conform(received, item))

    def held(dates: list[date]) -> DataFrame | None:
        return None if target.untouched else _keys(spark, layout, dates)

    return settle(item, rows, received, held)


def settle(
    item: Contract, rows: DataFrame, received: DataFrame, held: Callable[[list[date]], DataFrame | None]
) -> Judged:
    """The rows, as `conform` made them of what was received, with those set aside whose id belongs to another date.

    held: (event_id, event_date) of the events that stand on some dates whatever is found here; None: there are none.
    """
    judged = _survey(rows)
    days = judged.good_dates
    strayed = conflicts(item, judged, held(around(days, window(item)))) if days else None
    return judged if strayed is None else _survey(computed(_set_aside(rows, received, strayed)))


def _keys(spark: SparkSession, layout: Layout, dates: list[date]) -> DataFrame:
    rows = tables.read(spark, layout.path).where(tables.date_list("event_date", dates))
    return rows.select("event_id", "event_date")


def computed(rows: DataFrame) -> DataFrame:
    """The rows, worked out now and once."""
    from pyspark import StorageLevel

    return rows.localCheckpoint(storageLevel=StorageLevel.MEMORY_AND_DISK)


def conform(received: DataFrame, item: Contract) -> DataFrame:
    """Bronze rows with `event` (the contract's columns), `reasons` (empty: it is one) and `event_date` (UTC) added.

    The payload stays only where there are reasons.
    """
    from pyspark.sql import functions as f

    from schemas.spark import parse, reasons

    found = reasons(item)
    if (most := MAX_AHEAD.get(item.kind)) is not None:
        ahead = f.col("event.event_time") > f.col("arrived_at") + f.lit(most)
        found = f.concat(found, f.when(ahead, f.array(f.lit("clock:/event_time"))).otherwise(f.array()))
    return (
        parse(received, item)
        .withColumn("reasons", found)
        .withColumn("event_date", f.to_date("event.event_time"))
        .withColumn("payload", f.when(f.size("reasons") > 0, f.col("payload")))
        .drop("raw", "run_id", "loaded_at", "cluster")
    )


def one_per_event(good: DataFrame) -> DataFrame:
    """One row per event id and event date: the one with the smallest coordinates."""
    return _placed(good).where("place = 1").drop("place")


def _placed(good: DataFrame) -> DataFrame:
    """With `place`: 1 for the first record of an event, and so on."""
    from pyspark.sql import Window
    from pyspark.sql import functions as f

    by_event = Window.partitionBy("event.event_id", "event_date").orderBy(*_ORDER)
    return good.withColumn("place", f.row_number().over(by_event))


def window(item: Contract) -> int:
    """Days between two event dates up to which an id may not stand on both."""
    return math.ceil((duration(item.max_lateness) + BEYOND_LATENESS) / timedelta(days=1))


def around(dates: Iterable[date], days: int) -> list[date]:
    """Every date that is so many days or fewer from one of these."""
    first, last = date.min.toordinal(), date.max.toordinal()
    near = {
        number
        for day in dates
        for number in range(max(first, day.toordinal() - days), min(last, day.toordinal() + days) + 1)
    }
    return [date.fromordinal(number) for number in sorted(near)]


def conflicts(item: Contract, judged: Judged, held: DataFrame | None) -> DataFrame | None:
    """(event_id, event_date) of events whose id belongs to another date within the window; None where there are none.

    An id belongs to the dates that silver has it on (held: around the new dates; None: silver has nothing). New dates
    are settled in the order of their smallest coordinates: one joins the id's dates unless it is too near to one of
    them.
    """
    from pyspark.sql import functions as f

    if held is None and len(judged.good_dates) == 1:
        return None
    days = window(item)
    new = judged.good.select(f.col("event.event_id").alias("event_id"), "event_date", *_ORDER)
    ids = f.broadcast(new.select("event_id")) if judged.number <= BROADCAST_ROWS else new.select("event_id")
    held = new.select("event_id", "event_date").limit(0) if held is None else held.join(ids, "event_id", "left_semi")
    by_id = new.select("event_id", "event_date").union(held).groupBy("event_id")
    several = by_id.agg(f.min("event_date").alias("first"), f.max("event_date").alias("last")).where("first < last")
    several = computed(several.select("event_id"))
    if several.isEmpty():
        return None

    first = new.join(several, "event_id", "left_semi").groupBy("event_id", "event_date")
    first = first.agg(f.min(f.struct(*_ORDER)).alias("place"))
    mine = first.groupBy("event_id").agg(f.sort_array(f.collect_list(f.struct("place", "event_date"))).alias("mine"))
    theirs = (
        held.join(several, "event_id", "left_semi").groupBy("event_id").agg(f.collect_set("event_date").alias("held"))
    )

    def settle(dates: Column, one: Column) -> Column:
        day = one["event_date"]
        near = f.exists(dates, lambda other: f.abs(f.datediff(other, day)) <= days)
        return f.when(near & ~f.array_contains(dates, day), dates).otherwise(f.array_union(dates, f.array(day)))

    dates = f.aggregate("mine", f.coalesce("held", f.array().cast("array<date>")), settle)
    strayed = f.array_except(f.transform("mine", lambda one: one["event_date"]), dates)
    found = mine.join(theirs, "event_id", "left").select("event_id", f.explode(strayed).alias("event_date"))
    found = computed(found)
    return None if found.isEmpty() else found


def _set_aside(rows: DataFrame, received: DataFrame, strayed: DataFrame) -> DataFrame:
    """The rows, those of these events with the reason and, from what was received, their payload again."""
    from pyspark.sql import functions as f

    events = rows.where(_is_event()).select(*COORDINATES, f.col("event.event_id").alias("event_id"), "event_date")
    theirs = events.join(strayed, ["event_id", "event_date"], "left_semi").select(*COORDINATES)
    again = received.join(theirs, list(COORDINATES), "left_semi").dropDuplicates(list(COORDINATES))
    again = again.select(*COORDINATES, f.col("payload").alias("again"), f.lit(True).alias("strayed"))
    return (
        rows.join(again, list(COORDINATES), "left")
        .withColumn("reasons", f.when(f.col("strayed"), f.array(f.lit(ID_CONFLICT))).otherwise(f.col("reasons")))
        .withColumn("payload", f.coalesce("payload", "again"))
        .drop("again", "strayed")
    )


def _is_event() -> Column:
    from pyspark.sql import functions as f

    return f.size("reasons") == 0


def _hash() -> Column:
    from pyspark.sql import functions as f

    return f.xxhash64("event.event_id", "event_date")


def _survey(rows: DataFrame) -> Judged:
    """What the rows are. Only hashes are shuffled: most events are said once, and need not be sorted whole to know
    it."""
    from pyspark.sql import functions as f

    is_event = _is_event()
    day = f.when(is_event, f.col("event_date")).otherwise(f.col("arrived_date"))
    days = rows.groupBy(is_event.alias("good"), day.alias("day"))
    found = days.agg(f.count("*").alias("records"), f.bit_xor(_mark("event.event_id")).alias("mark")).collect()
    good = [row for row in found if row.good]
    number, repeated, again = sum(row.records for row in found), None, None
    if number > SORTED_ROWS:
        again = rows.where(is_event).groupBy(_hash().alias("event_hash")).count().where("count > 1")
        again = computed(again.select("event_hash"))
        repeated = again.count()
    return Judged(
        rows,
        good_dates=[row.day for row in good],
        bad_dates=[row.day for row in found if not row.good],
        number=number,
        good_number=sum(row.records for row in good),
        mark=reduce(xor, [row.mark for row in good], 0),
        repeated=repeated,
        again=again if repeated and repeated <= BROADCAST_ROWS else None,
    )


def _mark(event_id: str) -> Column:
    """Of a row; those of many make one by exclusive or, in any order: which record stands for which event."""
    from pyspark.sql import functions as f

    return f.xxhash64(event_id, "event_date", *COORDINATES)


def insert_events(spark: SparkSession, item: Contract, target: Snapshot, judged: Judged, run: Run) -> None:
    """Into silver (target: as it is now), those whose event is not there yet."""
    layout = tables.silver_layout(run.lake, item)
    columns = stamped(judged.events, run).select("event.*", *lineage_of(item), "event_date")
    _insert(spark, layout, target, columns, judged.good_dates, ("event_date", "event_id"))


def _insert_quarantined(spark: SparkSession, layout: Layout, bad: DataFrame, run: Run, dates: list[date]) -> None:
    target = tables.ensure(spark, layout)
    names = [name for name in layout.columns.fieldNames() if name not in tables.REPLAYED]
    _insert(spark, layout, target, stamped(bad, run).select(*names), dates, ("arrived_date", *COORDINATES))


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


def stamped(rows: DataFrame, run: Run) -> DataFrame:
    from pyspark.sql import functions as f

    return rows.withColumn("loaded_at", f.lit(run.at)).withColumn("run_id", f.lit(run.id))


def _where_all_is_new(spark: SparkSession, layout: Layout, judged: Judged, run: Run) -> tuple[int, int] | None:
    """(inserted, duplicate), where each event stands in silver in the row that this run wrote of its first record, by
    number and mark of what it wrote, read back. None where it does not: then `count_events` looks for each record.

    A record behind its event's first one is a duplicate of a row that is there.
    """
    from pyspark.sql import functions as f

    events, mark = judged.good_number, judged.mark
    if judged.repeated != 0:
        if judged.again is None:
            return None
        later = _placed(judged.several).where("place > 1")
        row = later.agg(f.count("*").alias("rows"), f.bit_xor(_mark("event.event_id")).alias("mark")).first()
        events, mark = events - row.rows, mark ^ (row.mark or 0)
    mine = (f.col("loaded_at") == f.lit(run.at)) & (f.col("run_id") == run.id)
    there = tables.read(spark, layout.path).where(tables.date_list("event_date", judged.good_dates)).where(mine)
    wrote = there.agg(f.count("*").alias("rows"), f.bit_xor(_mark("event_id")).alias("mark")).first()
    return (events, judged.good_number - events) if (wrote.rows, wrote.mark) == (events, mark) else None


def count_events(judged: Judged, there: DataFrame) -> tuple[int, int]:
    """(inserted, duplicate), as silver (there: its `places`) shows it: whose record stands in the row of each event."""
    from pyspark.sql import functions as f

    row = (
        stands(judged, there)
        .agg(f.count_if("ours").alias("inserted"), f.count_if(~f.col("ours")).alias("duplicate"))
        .first()
    )
    return row.inserted, row.duplicate


def places(spark: SparkSession, layout: Layout, dates: list[date]) -> DataFrame:
    """Silver's events of these dates, with `theirs`: the coordinates of the record that stands in each one's row."""
    from pyspark.sql import functions as f

    there = tables.read(spark, layout.path).where(tables.date_list("event_date", dates))
    return there.select("event_date", "event_id", f.struct(*COORDINATES).alias("theirs"))


def places_of(events: DataFrame) -> DataFrame:
    """The same of events that are not in silver yet, one row each."""
    from pyspark.sql import functions as f

    event_id = f.col("event.event_id").alias("event_id")
    return events.select("event_date", event_id, f.struct(*COORDINATES).alias("theirs"))


def stands(judged: Judged, there: DataFrame) -> DataFrame:
    """The good records' coordinates, with `ours`: is it this record that stands in silver's row of its event?

    there: silver's `places`.
    """
    from pyspark.sql import functions as f

    good = judged.good.withColumn("mine", f.struct(*COORDINATES))
    good = good.select("event_date", f.col("event.event_id").alias("event_id"), *COORDINATES, "mine")
    good = f.broadcast(good) if judged.number <= BROADCAST_ROWS else good
    ours = (f.col("mine") == f.col("theirs")).alias("ours")
    return good.join(there, ["event_date", "event_id"]).select(*COORDINATES, ours)


def _count_quarantined(spark: SparkSession, layout: Layout, bad: DataFrame, dates: list[date]) -> int:
    there = tables.read(spark, layout.path).where(tables.date_list("arrived_date", dates)).select(*COORDINATES)
    return bad.select(*COORDINATES).join(there, list(COORDINATES)).count()


def count_reasons(bad: DataFrame) -> dict[str, int]:
    from pyspark.sql import functions as f

    found = bad.select(f.explode("reasons").alias("reason")).groupBy("reason").count().collect()
    return {row.reason: row["count"] for row in sorted(found, key=lambda row: (-row["count"], row.reason))}


def _record(spark: SparkSession, run: Run, curated: list[Curated]) -> None:
    """Write the dispositions of one run, all contracts in one commit."""
    at = datetime.now(UTC)
    record(
        spark,
        run.lake,
        [
            (run.id, one.contract, name, getattr(one, name), at, one.bronze_id, one.bronze_version, one.silver_id)
            for one in curated
            if one.rows
            for name in DISPOSITIONS
        ],
    )


def record(spark: SparkSession, lake: str, rows: list[tuple]) -> None:
    """Add to audit.dispositions; without rows, nothing is touched."""
    tables.append(spark, tables.dispositions_layout(lake), rows)
