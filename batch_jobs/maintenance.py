"""Upkeep of the lake: what is past its retention goes, small files become large ones, files no table needs are deleted.

    expire (whole partitions, by the contract's x-retention) -> compact -> vacuum -> check

A second run on the same day finds nothing to expire or compact, and deletes nothing. A run that was killed is taken up
by the next one: what had expired until then is read from Delta's history and counted then, once. What a table's log
says was deleted is held against its rows before and after.

From which date on silver keeps events is recorded before older ones go (audit.expiries): gold tells by it what expired
from what was lost, and keeps the facts of the one. Up to which offset rows went out of bronze is recorded likewise
(audit.offsets): a load whose checkpoint was lost does not fetch them again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import reduce
from operator import and_
from typing import TYPE_CHECKING

from batch_jobs import tables
from batch_jobs.errors import BatchError, CountsDontAddUp, LakeError, explain
from batch_jobs.run import Run
from batch_jobs.tables import Layout, Snapshot
from schemas.contract import Contract

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

EXPIRED = "expired"
TARGET_BYTES = 128 * 1024**2
"""Of a compacted file: a laptop's task takes it whole, and reading it from S3 takes longer than asking for it."""
SMALL_BYTES = 32 * 1024**2
MANY_FILES = 4
"""More small files than this in a partition are made into larger ones."""
VACUUM_AFTER = timedelta(days=30)
"""As long as Delta keeps its log. Silver and the quality gate read what was added since their last run file by file, as
the log names it: a log that reaches further back than the files would send them to files that are gone. A reader of an
old snapshot (dbt, Athena, DuckDB) needs minutes."""


@dataclass(slots=True)
class Kept:
    """What was done to one table, or would be.

    expired: rows past their retention. compacted: partitions with many small files. files, bytes: of the table as it is
    read; freed: bytes deleted from storage. fault: why it was left, for people; note: what is not as usual.
    """

    table: str
    expired: int = 0
    compacted: int = 0
    partitions: int = 0
    files_before: int = 0
    files: int = 0
    bytes: int = 0
    freed: int = 0
    note: str = ""
    fault: str = ""


@dataclass(slots=True)
class _Files:
    """The files of a table as it is now. small: partition -> how many small ones."""

    partitions: int = 0
    files: int = 0
    bytes: int = 0
    without_statistics: int = 0
    small: dict[date | None, int] = field(default_factory=dict)

    @property
    def crowded(self) -> list[date | None]:
        return [day for day, files in self.small.items() if files > MANY_FILES]


def maintain(
    spark: SparkSession,
    run: Run,
    contracts: Iterable[Contract],
    *,
    dry_run: bool = False,
    on_done: Callable[[Kept], None] | None = None,
) -> list[Kept]:
    """Every table of these contracts, and those of the audit. A table that fails is named in its result; others go on.

    dry_run: look, and write nothing. Nobody else may write the lake meanwhile (`lease`); a table that somebody does
    write is left as it is, or as he left it.
    """
    results = []
    for name, layout, item in _tables(run.lake, contracts):
        if tables.snapshot(spark, layout.path) is None:
            continue
        result = Kept(name)
        try:
            _one(spark, run, layout, item, result, dry_run)
        except Exception as error:  # noqa: BLE001 Spark raises many; each is told, and the next table has its turn
            told = error if isinstance(error, BatchError) else explain(error, f"maintain {name}")
            result.fault = str(told)
        results.append(result)
        if on_done:
            on_done(result)
    return results


def _tables(lake: str, contracts: Iterable[Contract]) -> list[tuple[str, Layout, Contract | None]]:
    found = []
    for item in contracts:
        # Bronze last: until its rows are counted as expired, what was made from them is gone.
        for layer, layout in (
            ("silver", tables.silver_layout),
            ("quarantine", tables.quarantine_layout),
            ("bronze", tables.bronze_layout),
        ):
            found.append((f"{layer}.{item.table}", layout(lake, item), item))
    for layout in tables.audit_layouts(lake):
        found.append((f"audit.{layout.path.rpartition('/')[2]}", layout, None))
    return found


def _one(
    spark: SparkSession,
    run: Run,
    layout: Layout,
    item: Contract | None,
    result: Kept,
    dry_run: bool,
) -> None:
    found = _files(spark, layout)
    result.files_before, result.partitions = found.files, found.partitions
    if item is not None:
        _expire(spark, run, layout, item, result, dry_run)
    if result.expired and not dry_run:
        found = _files(spark, layout)
    days = found.crowded
    result.compacted = len(days)
    if not dry_run:
        if days:
            compact(spark, layout, days)
        result.freed = vacuum(spark, layout.path, VACUUM_AFTER)
        tables.ensure(spark, layout)
        found = _files(spark, layout)
    result.files, result.bytes = found.files, found.bytes
    if found.without_statistics:
        result.note = f"{found.without_statistics} files without statistics, written by another program"


def expires_before(item: Contract, at: datetime) -> date | None:
    """The first date that is kept. None: all are, because a store or product that did not change for years still is."""
    from ingestion.topics import days

    return None if item.kind == "reference" else at.date() - timedelta(days=days(item.retention))


def _expire(spark: SparkSession, run: Run, layout: Layout, item: Contract, result: Kept, dry_run: bool) -> None:
    """Delete whole partitions; bronze rows are counted in audit.dispositions. Raises LakeError, CountsDontAddUp."""
    first = expires_before(item, run.at)
    if first is None:
        return
    (day,) = layout.partitioned_by
    past = f"{day} < DATE{first.isoformat()!r}"
    result.expired = tables.read(spark, layout.path).where(past).count()
    if dry_run:
        return
    is_bronze = layout.path == tables.bronze_layout(run.lake, item).path
    if result.expired:
        from delta.tables import DeltaTable

        if is_bronze:
            check_silver_is_up_to_date(spark, run.lake, item)
            _record_offsets(spark, run, item, past)
        elif layout.path == tables.silver_layout(run.lake, item).path:
            _record_silver(spark, run, item, first)
        with marked(spark, f"{EXPIRED} {run.id}"):
            DeltaTable.forPath(spark, layout.path).delete(past)
        if not is_bronze:
            for commit in commits(spark, layout.path, EXPIRED):
                if commit.by == run.id:
                    check_expired(spark, layout.path, commit)
    if is_bronze:
        record_bronze(spark, run, item, EXPIRED)


def _record_silver(spark: SparkSession, run: Run, item: Contract, first: date) -> None:
    """Before the rows go: a gold that found them gone, and no word of it, would take them for lost."""
    silver = tables.snapshot(spark, tables.path_of(run.lake, "silver", item.table))
    row = (run.id, item.name, first, datetime.now(UTC), silver.id)
    tables.append(spark, tables.expiries_layout(run.lake), [row])


def _record_offsets(spark: SparkSession, run: Run, item: Contract, past: str) -> None:
    """Before the rows go: a partition of which none is left would be read from its beginning."""
    bronze = tables.snapshot(spark, tables.path_of(run.lake, "bronze", item.table))
    gone = tables.read(spark, tables.path_of(run.lake, "bronze", item.table), bronze.version).where(past)
    at = datetime.now(UTC)
    rows = [
        (run.id, item.name, topic, topic_id, partition, last, 0, at, bronze.id)
        for (topic, topic_id, partition), last in tables.last_offsets(gone).items()
    ]
    tables.append(spark, tables.offsets_layout(run.lake), rows)


def check_expired(spark: SparkSession, path: str, commit: Commit) -> None:
    """Raises CountsDontAddUp where the table lost another number of rows than its log says."""
    before, after = (tables.read(spark, path, version).count() for version in (commit.version - 1, commit.version))
    if before - after != commit.rows:
        raise CountsDontAddUp(
            f"{path}: version {commit.version} says that {commit.rows:,} rows expired, but there were {before:,} "
            f"before it and {after:,} after; they are not counted as {EXPIRED}: see `DESCRIBE HISTORY` for what it did"
        )


def check_silver_is_up_to_date(spark: SparkSession, lake: str, item: Contract) -> None:
    """Raises LakeError where bronze has rows that a silver built before has not taken."""
    path = tables.path_of(lake, "bronze", item.table)
    now = tables.snapshot(spark, path)
    after = reached(spark, lake, item, now)
    if after is None or after == now.version:
        return
    if not tables.added(spark, path, after, now.version).isEmpty():
        raise LakeError(f"{path}: silver has not taken its newest rows; run `grocery batch silver` first")


def reached(spark: SparkSession, lake: str, item: Contract, bronze: Snapshot | None) -> int | None:
    """The bronze version up to which silver, as it is now, has taken every row."""
    from batch_jobs.silver import progress

    silver = tables.snapshot(spark, tables.path_of(lake, "silver", item.table))
    if bronze is None or silver is None:
        return None
    return progress(spark, lake).get((item.name, bronze.id, silver.id))


def record_bronze(spark: SparkSession, run: Run, item: Contract, disposition: str, *, always: bool = False) -> None:
    """Write how many bronze rows got this disposition and are not counted yet, and that silver is done up to here.

    Counted from Delta's history, so that a run that was killed after its write is counted by the next one, once,
    whatever silver did between. always: also where there are none, so that silver asks for no version before this one.
    Raises CountsDontAddUp; LakeError where silver is not done up to here: then the next one counts.
    """
    path = tables.path_of(run.lake, "bronze", item.table)
    now = tables.snapshot(spark, path)
    counted = _counted(spark, run.lake, item, now, disposition)
    found = [one for one in commits(spark, path, disposition) if one.version > counted]
    if disposition == EXPIRED:
        for one in found:
            check_expired(spark, path, one)
    after = reached(spark, run.lake, item, now)
    rows = sum(one.rows for one in found)
    if not rows and not (always and after != now.version):
        return
    check_silver_is_up_to_date(spark, run.lake, item)
    # Where silver was never built there is nothing to move on: its first run reads the whole of bronze.
    silver = tables.snapshot(spark, tables.path_of(run.lake, "silver", item.table))
    silver_id = "" if after is None else silver.id
    row = (run.id, item.name, disposition, rows, datetime.now(UTC), now.id, now.version, silver_id)
    tables.append(spark, tables.dispositions_layout(run.lake), [row])


def _counted(spark: SparkSession, lake: str, item: Contract, bronze: Snapshot, disposition: str) -> int:
    """The bronze version up to which the rows with this disposition are counted; -1 where none are."""
    from pyspark.sql import functions as f

    path = tables.dispositions_layout(lake).path
    if tables.snapshot(spark, path) is None:
        return -1
    same = {"contract": item.name, "bronze_id": bronze.id, "disposition": disposition}
    rows = tables.read(spark, path).where(reduce(and_, [f.col(name) == value for name, value in same.items()]))
    last = rows.agg(f.max("bronze_version")).first()[0]
    return -1 if last is None else last


@dataclass(frozen=True, slots=True)
class Commit:
    """A write that said what it was for. by: the words after the mark."""

    version: int
    rows: int
    by: str


def commits(spark: SparkSession, path: str, mark: str) -> list[Commit]:
    """The table's writes in its log that were made under this mark, oldest first."""
    from delta.tables import DeltaTable
    from pyspark.sql import functions as f

    history = DeltaTable.forPath(spark, path).history()
    rows = history.where(f.col("userMetadata").startswith(f"{mark} ")).orderBy("version").collect()
    return [Commit(row.version, _rows(row.operationMetrics), row.userMetadata.partition(" ")[2]) for row in rows]


def _rows(metrics: dict[str, str]) -> int:
    return int(metrics.get("numDeletedRows") or metrics.get("numTargetRowsUpdated") or 0)


@contextmanager
def marked(spark: SparkSession, words: str) -> Iterator[None]:
    """Writes inside carry these words in Delta's log; the first is the mark that `commits` looks for."""
    name = "spark.databricks.delta.commitInfo.userMetadata"
    spark.conf.set(name, words)
    try:
        yield
    finally:
        spark.conf.unset(name)


def compact(spark: SparkSession, layout: Layout, days: list[date | None]) -> None:
    """Make the small files of these partitions into large ones. Delta marks the write as one that changes no data, so
    neither silver nor the gate reads it as new."""
    from delta.tables import DeltaTable

    spark.conf.set("spark.databricks.delta.optimize.maxFileSize", str(TARGET_BYTES))
    spark.conf.set("spark.databricks.delta.optimize.minFileSize", str(TARGET_BYTES))
    optimize = DeltaTable.forPath(spark, layout.path).optimize()
    if layout.partitioned_by:
        optimize = optimize.where(tables.date_list(layout.partitioned_by[0], days))
    optimize.executeCompaction()


def vacuum(spark: SparkSession, path: str, keep: timedelta) -> int:
    """Delete the files that no version of the last `keep` needs; returns the bytes that became free.

    Delta refuses less than 7 days, because a writer at work has files that no version names yet; that check is off for
    this call only, and only where less is asked for: then nobody else may be at work on the table.
    """
    from delta.tables import DeltaTable

    before = _stored(spark, path)
    # Two commits that say a vacuum ran would each be a version that silver has not read.
    settings = {"spark.databricks.delta.vacuum.logging.enabled": "false"}
    if keep < timedelta(days=7):
        settings["spark.databricks.delta.retentionDurationCheck.enabled"] = "false"
    for name, value in settings.items():
        spark.conf.set(name, value)
    try:
        DeltaTable.forPath(spark, path).vacuum(keep / timedelta(hours=1))
    finally:
        for name in settings:
            spark.conf.unset(name)
    return max(0, before - _stored(spark, path))  # Delta notes that it was here, in a few bytes


def _stored(spark: SparkSession, path: str) -> int:
    """Bytes in the table's folder, whoever needs them."""
    folder = spark._jvm.org.apache.hadoop.fs.Path(path)
    return folder.getFileSystem(spark._jsc.hadoopConfiguration()).getContentSummary(folder).getLength()


def _files(spark: SparkSession, layout: Layout) -> _Files:
    """What Delta's log says of the files; none is opened."""
    from pyspark.sql import DataFrame
    from pyspark.sql import functions as f

    log = spark._jvm.org.apache.spark.sql.delta.DeltaLog.forTableWithSnapshot(spark._jsparkSession, layout.path)
    day = f.col("partitionValues")[layout.partitioned_by[0]].cast("date") if layout.partitioned_by else f.lit(None)
    found = (
        DataFrame(log._2().allFiles().toDF(), spark)
        .groupBy(day.alias("day"))
        .agg(
            f.count("*").alias("files"),
            f.sum("size").alias("bytes"),
            f.count_if(f.col("size") < SMALL_BYTES).alias("small"),
            f.count_if(f.coalesce(f.length("stats"), f.lit(0)) == 0).alias("bare"),
        )
        .collect()
    )
    return _Files(
        partitions=len(found),
        files=sum(row.files for row in found),
        bytes=sum(row.bytes for row in found),
        without_statistics=sum(row.bare for row in found),
        small={row.day: row.small for row in found},
    )
