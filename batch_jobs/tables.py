"""The lake's tables: where they lie, their columns and settings, and what is new in them.

<lake>/bronze/<table>       one row per record of the contract's topics, as received       by arrival date
<lake>/silver/<table>       one row per event, typed                                        by event date
<lake>/quarantine/<table>   one row per record that is no event of the contract, with why   by arrival date
<lake>/audit/dispositions   what became of each bronze row, counted by run and contract
<lake>/audit/quality        what the quality gate found, by run and expectation
<lake>/audit/findings       what a chain's hand-written suites found: one row per store, thing and time, told once
<lake>/audit/volumes        how many events of each contract a store's business date has, and how new the newest is
<lake>/audit/files          what became of each landed file
<lake>/audit/erasures       what was erased on whose request, by run and table; never of whom
<lake>/audit/expiries       from which event date on silver keeps a contract's events, each time that older ones went
<lake>/audit/offsets        up to which offset of a topic's partition records expired: bronze's rows, or unread

Dates are UTC. Every table stays at Delta's reader version 1, which is what Athena reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batch_jobs import files
from batch_jobs.errors import LakeError
from batch_jobs.run import unless_in_the_way
from schemas.contract import Contract
from schemas.grammar import EVENT_DATE, LEFT_TO_CONTRACTS, LINEAGE

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import DataType, StructType

READER_VERSION = 1
COORDINATES = ("topic_id", "partition", "offset")
"""Name one record for good. `topic_id` is the broker's, so a recreated topic is another one; of a record that came in a
file it is the object's key and etag, `offset` is its line, and `partition` is negative: see batch_jobs/landing.py."""

_BRONZE = """payload string, key string, cluster string, topic string, topic_id string, partition integer, offset long,
    arrived_at timestamp, loaded_at timestamp, run_id string, arrived_date date"""
# Where a silver or quarantine row comes from.
_LINEAGE = ", ".join(f"{name} {kind}" for name, kind in LINEAGE.items())
_QUARANTINE = f"""payload string, key string, {_LINEAGE}, reasons array<string>, arrived_date date,
    replayed_at timestamp, replayed_run string, replayed_as string"""
REPLAYED = ("replayed_at", "replayed_run", "replayed_as")
"""Quarantine's columns of a record that is an event now; null as long as it is set aside."""
_DISPOSITIONS = """run_id string, contract string, disposition string, rows long, at timestamp,
    bronze_id string, bronze_version long, silver_id string"""
_QUALITY = """run_id string, contract string, expectation string, severity string, success boolean,
    checked long, unexpected long, observed string, accepted boolean, at timestamp, silver_id string,
    silver_version long"""
_FINDINGS = """run_id string, contract string, expectation string, severity string, store_id string, subject string,
    from_at timestamp, to_at timestamp, counted long, observed string, accepted boolean, at timestamp"""
_VOLUMES = """run_id string, contract string, store_id string, business_date date, events long, usual double,
    weeks integer, ratio double, volume string, newest_at timestamp, measured_at timestamp, age_s long, limit_s long,
    freshness string, at timestamp, by_date date, by_contract string"""
_FILES = """run_id string, contract string, object_key string, etag string, bytes long, modified_at timestamp,
    state string, rows long, reason string, accepted boolean, at timestamp, bronze_id string"""
_ERASURES = """run_id string, reference string, table_name string, rows long, at timestamp,
    table_id string, table_version long"""
_EXPIRIES = "run_id string, contract string, kept_from date, at timestamp, silver_id string"
_OFFSETS = """run_id string, contract string, topic string, topic_id string, partition integer, last_offset long,
    lost long, at timestamp, bronze_id string"""
# Columns that are in no contract.
_COMMENTS = {
    "payload": "The record as received, JSON; what is no UTF-8 as `base64:` and its base64",
    "key": "The record's key, which is mostly the store",
    "cluster": "Id of the Kafka cluster the record was read from, or the landing of its file",
    "topic": "Topic the record was read from, or whose file it was in",
    "topic_id": "The broker's id of the topic, a recreated one has another; of a file its key@etag",
    "partition": "Partition of the topic; of a file -1, and -2, -3 … for what stands behind another record on its line",
    "offset": "Offset in the partition; of a file the line, from 1",
    "arrived_at": "When the record arrived, as the broker has it; of a file when Firehose began it, or its time (UTC)",
    "arrived_date": "Date of arrived_at (UTC)",
    "event_date": "Date of event_time (UTC)",
    "loaded_at": "When the run that wrote this row began (UTC)",
    "run_id": "The run that wrote this row",
    "reasons": "Why the record is no event of its contract, as code:path",
    "replayed_at": "When the record was found to be an event after all (UTC); null while it is set aside",
    "replayed_run": "The replay that found it",
    "replayed_as": "replayed: it stands in silver; duplicate: its event was there from another record",
    "contract": "The contract, by its name",
    "disposition": "What became of the rows: inserted, duplicate, quarantined; later replayed, expired or erased",
    "rows": "Number of rows, of bronze where no table is named; of a replay: of quarantine's rows that it took",
    "at": "When this was recorded (UTC)",
    "bronze_id": "Delta's id of the bronze table",
    "bronze_version": "Version of bronze up to which every row has its disposition; null of a replay or backfill",
    "silver_id": "Delta's id of the silver table",
    "silver_version": "Version of the silver table that was checked",
    "expectation": "What was expected, in words",
    "severity": "critical stops what is built on silver, warning does not",
    "success": "Whether it held",
    "checked": "Number of rows it was held against",
    "unexpected": "Number of rows against it, where it counts rows",
    "observed": "What was there instead, shortened",
    "accepted": "Whether a person let a failure pass",
    "store_id": "The store",
    "subject": "What it is about: an asset, a device, a receipt",
    "from_at": "When it began, as far as was looked (UTC)",
    "to_at": "When it ended, or up to where it was seen (UTC)",
    "counted": "How many events it is about",
    "business_date": "Calendar date in the store's zone",
    "events": "Events of the contract on that date, by their own time; ticks are none",
    "usual": "Median of the same weekday in the four weeks before, of those that are known and no holidays",
    "weeks": "How many of those four they are",
    "ratio": "events / usual; null where nothing is judged",
    "volume": "usual, low, high; else why it is not judged: running, no history, few, holiday",
    "newest_at": "Arrival of the newest event of the store and contract known on that date (UTC)",
    "measured_at": "When its age was taken, the last time on that date (UTC)",
    "age_s": "How old it was then, seconds",
    "limit_s": "How old it may be, seconds: by x-fresh-within, or by the weekday; null without the former",
    "by_date": "business_date: a partition's column is in no Parquet file, which is all that Redshift's COPY reads",
    "by_contract": "contract, likewise",
    "freshness": "fresh, stale, or no limit; null where it was not measured on that date",
    "object_key": "The file's name under the landing",
    "etag": "S3's etag; of a file in a folder its SHA-256",
    "bytes": "Size of the file",
    "modified_at": "When the file was last written (UTC)",
    "state": "loaded, set_aside (not to be loaded as it is), or waiting (for the next run)",
    "reason": "Why it is not loaded: a word for queries, what is wrong, what to do",
    "reference": "The request that was carried out, as its giver names it",
    "table_name": "The table, as layer.name",
    "last_offset": "The largest offset that expired",
    "lost": "Offsets that expired on the topic before bronze read them; 0 where bronze's own rows expired",
    "kept_from": "The first event date that silver keeps; older ones expired",
    "table_id": "Delta's id of the table",
    "table_version": "Version of the table that the erasure wrote",
}


@dataclass(frozen=True, slots=True)
class Layout:
    """What a table must be like. statistics: the columns Delta keeps minima and maxima of; never payload or PII."""

    path: str
    columns: StructType
    comment: str
    partitioned_by: tuple[str, ...] = ()
    statistics: tuple[str, ...] = ()
    change_feed: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A table as it is now. id: Delta's own, another one for a table that was deleted and made again."""

    id: str
    version: int
    reader_version: int
    columns: StructType

    @property
    def untouched(self) -> bool:
        """Created, and nothing written since: no rows."""
        return self.version == 0


def path_of(lake: str, layer: str, table: str) -> str:
    return f"{lake.rstrip('/')}/{layer}/{table}"


def bronze_layout(lake: str, item: Contract) -> Layout:
    return Layout(
        path_of(lake, "bronze", item.table),
        _columns(_BRONZE),
        f"{item.name} as received, one row per record",
        ("arrived_date",),
        ("partition", "offset", "arrived_at", "loaded_at"),
        change_feed=True,
    )


def silver_layout(lake: str, item: Contract) -> Layout:
    from pyspark.sql.types import StructType

    from schemas.spark import struct_type

    lineage = [one for one in _columns(_LINEAGE).fields if one.name in lineage_of(item)]
    fields = [*struct_type(item).fields, *lineage, *_columns(f"{EVENT_DATE} date").fields]
    return Layout(
        path_of(lake, "silver", item.table),
        StructType([_optional(field) for field in fields]),
        item.description,
        (EVENT_DATE,),
        ("event_time", "store_id", "arrived_at", "loaded_at"),
        change_feed=True,
    )


def lineage_of(item: Contract) -> list[str]:
    """Silver's columns that say where a row comes from. `topic` is left to a contract that has such a field itself, in
    all its versions; a field with another's name is refused when the contract is read (schemas/grammar.py)."""
    is_own = LEFT_TO_CONTRACTS in {one.name.lower() for one in item.versions[0].fields}
    return [name for name in LINEAGE if not (name == LEFT_TO_CONTRACTS and is_own)]


def quarantine_layout(lake: str, item: Contract) -> Layout:
    return Layout(
        path_of(lake, "quarantine", item.table),
        _columns(_QUARANTINE),
        f"Records on the topics of {item.name} that are no event of it, with the reasons",
        ("arrived_date",),
        ("partition", "offset", "arrived_at", "loaded_at"),
    )


def dispositions_layout(lake: str) -> Layout:
    return Layout(path_of(lake, "audit", "dispositions"), _columns(_DISPOSITIONS), "What became of each bronze row")


def quality_layout(lake: str) -> Layout:
    return Layout(path_of(lake, "audit", "quality"), _columns(_QUALITY), "What the quality gate found")


def findings_layout(lake: str) -> Layout:
    return Layout(path_of(lake, "audit", "findings"), _columns(_FINDINGS), "What the hand-written suites found")


def volumes_layout(lake: str) -> Layout:
    return Layout(
        path_of(lake, "audit", "volumes"),
        _columns(_VOLUMES),
        "Events by contract, store and business date, against what is usual, and how new the newest is",
        ("by_date", "by_contract"),
    )


def files_layout(lake: str) -> Layout:
    return Layout(path_of(lake, "audit", "files"), _columns(_FILES), "What became of each landed file")


def erasures_layout(lake: str) -> Layout:
    return Layout(path_of(lake, "audit", "erasures"), _columns(_ERASURES), "What was erased on which request")


def expiries_layout(lake: str) -> Layout:
    return Layout(path_of(lake, "audit", "expiries"), _columns(_EXPIRIES), "From which date on silver keeps events")


def offsets_layout(lake: str) -> Layout:
    return Layout(
        path_of(lake, "audit", "offsets"), _columns(_OFFSETS), "Up to which offset of a partition records expired"
    )


def audit_layouts(lake: str) -> list[Layout]:
    """The tables that belong to no contract."""
    found = (
        dispositions_layout,
        quality_layout,
        findings_layout,
        volumes_layout,
        files_layout,
        erasures_layout,
        expiries_layout,
        offsets_layout,
    )
    return [layout(lake) for layout in found]


def layouts(lake: str, contracts: Iterable[Contract]) -> list[Layout]:
    """Every table of the lake."""
    by_contract = (bronze_layout, silver_layout, quarantine_layout)
    return [
        *(layout(lake, item) for item in contracts for layout in by_contract),
        *audit_layouts(lake),
    ]


def ensure(spark: SparkSession, layout: Layout) -> Snapshot:
    """Create the table where it is missing, add the columns that a newer contract brought. A second call does nothing.

    Raises LakeError where a column has another type than before, and where the reader version is not 1.
    """
    from delta.tables import DeltaTable

    found = snapshot(spark, layout.path)
    if found is None:
        new = (
            DeltaTable.createIfNotExists(spark).location(layout.path).addColumns(layout.columns).comment(layout.comment)
        )
        if layout.partitioned_by:
            new = new.partitionedBy(*layout.partitioned_by)
        for name, value in _properties(layout).items():
            new = new.property(name, value)
        new.execute()
        found = snapshot(spark, layout.path)
    elif not _shape(layout.columns).items() <= _shape(found.columns).items():
        _widen(spark, layout)
        found = snapshot(spark, layout.path)
    if found.reader_version != READER_VERSION:
        raise LakeError(
            f"{layout.path}: Delta reader version {found.reader_version}, at most {READER_VERSION} can be read by "
            "Athena; a table feature such as deletion vectors or column mapping was switched on: rebuild the table "
            "without it"
        )
    return found


def snapshot(spark: SparkSession, path: str) -> Snapshot | None:
    """The table as it is now; None where there is none. Reads the log only; no Spark job."""
    from pyspark.sql.types import StructType

    # The Python API has no version without a job for `history`; this is what it calls itself.
    log = spark._jvm.org.apache.spark.sql.delta.DeltaLog.forTableWithSnapshot(spark._jsparkSession, path)
    now = log._2()
    if now.version() < 0:
        return None
    meta = now.metadata()
    return Snapshot(
        meta.id(),
        now.version(),
        now.protocol().minReaderVersion(),
        StructType.fromJson(_json(meta.schema().json())),
    )


def read(spark: SparkSession, path: str, version: int | None = None) -> DataFrame:
    reader = spark.read.format("delta")
    return (reader if version is None else reader.option("versionAsOf", version)).load(path)


def last_offsets(bronze_rows: DataFrame) -> dict[tuple[str, str, int], int]:
    """(topic, topic id, partition) -> largest offset, of what came over topics."""
    from pyspark.sql import functions as f

    of_topics = bronze_rows.where("partition >= 0")
    found = of_topics.groupBy("topic", "topic_id", "partition").agg(f.max("offset").alias("last")).collect()
    return {(row.topic, row.topic_id, row.partition): row["last"] for row in found}


def append(spark: SparkSession, layout: Layout, rows: list[tuple]) -> None:
    """Add rows in one commit, again where another writer was in the way; without rows nothing is touched."""
    if not rows:
        return

    def work() -> None:
        ensure(spark, layout)
        new = spark.createDataFrame(rows, layout.columns).coalesce(1)
        new.write.format("delta").mode("append").save(layout.path)

    unless_in_the_way(work)
    ensure(spark, layout)


def added(spark: SparkSession, path: str, after: int | None, upto: int) -> DataFrame:
    """Rows inserted by the versions after `after` up to `upto`; all rows of `upto` where `after` is None.

    Only the files those versions added are read. Raises LakeError where Delta's log no longer reaches back to `after`.
    """
    if after is None:
        return read(spark, path, upto)
    from pyspark.errors import AnalysisException, PySparkException
    from pyspark.sql import functions as f

    # Spark would say so only once the rows are asked for.
    if after < upto and not files.stat(spark, f"{path}/_delta_log/{after + 1:020d}.json"):
        raise LakeError(_OUT_OF_REACH.format(path=path, after=after))
    try:
        changes = (
            spark.read.format("delta")
            .option("readChangeFeed", "true")
            .option("startingVersion", after + 1)
            .option("endingVersion", upto)
            .load(path)
        )
    except (AnalysisException, PySparkException) as error:
        raise LakeError(_OUT_OF_REACH.format(path=path, after=after)) from error
    inserted = changes.where(f.col("_change_type") == "insert")
    return inserted.drop("_change_type", "_commit_version", "_commit_timestamp")


_OUT_OF_REACH = (
    "{path}: the changes since version {after} are no longer in its log, which keeps 30 days; "
    "delete the table that is built from it: the next run rebuilds that one from the whole of this one"
)


def date_list(column: str, dates: list) -> str:
    """A condition on literal dates, so that Delta opens those partitions only; `false` without any."""
    if not dates:
        return "false"
    return f"{column} IN ({', '.join(f'DATE{day.isoformat()!r}' for day in sorted(dates))})"


def _properties(layout: Layout) -> dict[str, str]:
    found = {"delta.enableDeletionVectors": "false", "delta.minReaderVersion": str(READER_VERSION)}
    if layout.change_feed:
        found["delta.enableChangeDataFeed"] = "true"
    if layout.statistics:
        found["delta.dataSkippingStatsColumns"] = ",".join(layout.statistics)
    return found


def _columns(ddl: str) -> StructType:
    """`name type, …`. Not StructType.fromDDL, which asks a session's JVM."""
    from pyspark.sql.types import StructType

    fields = []
    for name, kind in (one.split() for one in ddl.split(",")):
        if kind.startswith("array<"):
            kind = {"type": "array", "elementType": kind[len("array<") : -1], "containsNull": True}
        fields.append({"name": name, "type": kind, "nullable": True, "metadata": {"comment": _COMMENTS[name]}})
    return StructType.fromJson({"type": "struct", "fields": fields})


def _optional(field):
    """Every column of the lake may be null: versions of a contract that lie side by side need not have the same ones.

    The row checks see to what must be there."""
    from pyspark.sql.types import ArrayType, StructField, StructType

    kind = field.dataType
    if isinstance(kind, StructType):
        kind = StructType([_optional(inner) for inner in kind.fields])
    elif isinstance(kind, ArrayType):
        kind = ArrayType(_optional(StructField("element", kind.elementType)).dataType)
    return StructField(field.name, kind, True, field.metadata)


def _shape(columns: StructType) -> dict[str, str]:
    """Type of each column and of each field inside one, e.g. of `lines[].gtin`; in any order, for what comes later to
    an object stands last in it. Without comments and nullability."""
    return dict(_types(columns, ""))


def _types(kind: DataType, at: str) -> Iterator[tuple[str, str]]:
    from pyspark.sql.types import ArrayType, StructType

    if isinstance(kind, StructType):
        for field in kind.fields:
            yield from _types(field.dataType, f"{at}.{field.name}")
    elif isinstance(kind, ArrayType):
        yield from _types(kind.elementType, f"{at}[]")
    else:
        yield at, kind.simpleString()


def _widen(spark: SparkSession, layout: Layout) -> None:
    from pyspark.errors import PySparkException

    try:
        empty = spark.createDataFrame([], layout.columns)
        empty.write.format("delta").mode("append").option("mergeSchema", "true").save(layout.path)
    except PySparkException as error:
        raise LakeError(
            f"{layout.path}: its columns do not fit the contract, and cannot be widened to it: {error}; "
            "what has another type needs another name"
        ) from error


def _json(text: str) -> dict:
    import json

    return json.loads(text)
