"""Bronze: every record of a contract's topics, as received, once per coordinate.

Spark's structured streaming reads what is committed on the topics now and stops (`availableNow`); the same query with
another trigger would run on. Its checkpoint lies inside the table's folder, so deleting the table deletes both.

A second run adds nothing, and makes no new version. Where a run was killed, the checkpoint was lost, or the set of
topics has changed, a new checkpoint begins at what the table holds: a micro-batch is one commit, so for each
partition the table holds, or held until they expired (audit.offsets), all offsets up to its largest one. (Spark would
resume a planned batch by itself, but 4.1.1 cannot with Kafka and availableNow: SPARK-55271.)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from batch_jobs import files, tables
from batch_jobs.broker import Broker, Part
from batch_jobs.errors import BrokerError
from batch_jobs.run import Run, in_parallel, unless_in_the_way
from schemas.contract import Contract

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

EARLIEST = -2
"""Spark's word for a partition's first offset."""
MAX_ROWS = 5_000_000
"""Offsets in one micro-batch: bounds what a run that fails must do again."""


@dataclass(slots=True)
class Loaded:
    """What one contract's load did. rows: records added; notes: what a person should know of.

    lost: offsets that the broker let expire unread. recreated: topics that are others than bronze knew by their name,
    so that what it had not read of those is gone.
    """

    contract: str
    rows: int = 0
    lost: int = 0
    recreated: int = 0
    notes: list[str] = field(default_factory=list)

    def tell(self, note: str) -> bool:
        """Once, however often the load is tried; returns whether it was new."""
        is_new = note not in self.notes
        if is_new:
            self.notes.append(note)
        return is_new


class RecordsLost(BrokerError):
    """The broker let records expire before bronze read them. All else is loaded."""


@dataclass(frozen=True, slots=True)
class Position:
    """How far a checkpoint has come. next: offset to read next; unfinished: a batch was planned and not yet closed."""

    next: dict[Part, int]
    unfinished: bool


def bronze(
    spark: SparkSession,
    broker: Broker,
    run: Run,
    contracts: Iterable[Contract],
    on_done: Callable[[Loaded], None] | None = None,
) -> list[Loaded]:
    """Load every contract's topics into <lake>/bronze/<table>, some at a time.

    Raises BrokerError where a topic ends before what was read of it, LakeError, BatchError; what other contracts
    loaded stays.
    """

    def work(item: Contract) -> Loaded:
        result = Loaded(item.name)
        unless_in_the_way(lambda: load(spark, broker, run, item, result))
        return result

    return in_parallel("bronze", contracts, work, on_done)


def load(spark: SparkSession, broker: Broker, run: Run, item: Contract, result: Loaded) -> None:
    """One contract, told in the result, to which another try adds. Raises as `bronze` does."""
    from ingestion.topics import topics_of

    layout = tables.bronze_layout(run.lake, item)
    before = tables.ensure(spark, layout)
    ids = {topic: broker.ids[topic] for topic in topics_of(item) if topic in broker.ids}
    if not ids:
        result.tell(f"no topic {item.topic} on {broker.bootstrap}; `grocery stack up` makes the topics")
        return
    checkpoint = f"{layout.path}/_checkpoint/{_key(broker.cluster, ids)}"
    position = read_position(spark, checkpoint)
    if position is not None and position.unfinished:
        files.remove(spark, checkpoint)
        position = None
    reached = position.next if position else {}
    if position is None and not before.untouched:
        held = _held(spark, run, item, layout.path, before.id)
        result.recreated += sum(result.tell(note) for note in _recreated(held, ids))
        reached = {
            (topic, part): offset + 1 for (topic, topic_id, part), offset in held.items() if ids.get(topic) == topic_id
        }
    ends = {part: end for part, end in broker.ends.items() if part[0] in ids}
    _check_reach(reached, ends)
    if unread := _expired_unread(reached, broker.begins):
        if position is not None:
            # Spark goes on from a checkpoint or stops at what is missing; begin where the topic does now.
            files.remove(spark, checkpoint)
        _record_lost(spark, run, item, unread, ids, before.id)
        result.lost += sum(begins - at for at, begins in unread.values())
        for (topic, part), (at, begins) in unread.items():
            result.tell(
                f"lost: topic {topic}, partition {part}: offsets {at} to {begins - 1} expired before bronze read them; "
                "run `grocery batch bronze` more often than the topic's retention"
            )
        reached = reached | {part: begins for part, (_, begins) in unread.items()}
    if all(reached.get(part, broker.begins[part]) >= end for part, end in ends.items()):
        return

    records = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", broker.bootstrap)
        .option("subscribe", ",".join(sorted(ids)))
        .option("startingOffsets", _spark_offsets({part: reached.get(part, EARLIEST) for part in ends}))
        .option("kafka.isolation.level", "read_committed")
        # What had expired is told above; whatever else is missing stops the run, and the next one tells.
        .option("failOnDataLoss", "true")
        .option("maxOffsetsPerTrigger", MAX_ROWS)
        .load()
    )
    query = (
        as_received(records, broker.cluster, ids, run.id, run.at)
        .writeStream.format("delta")
        .queryName(f"bronze-{item.table}-{run.id}")
        .partitionBy(*layout.partitioned_by)
        .option("checkpointLocation", checkpoint)
        .trigger(availableNow=True)
        .start(layout.path)
    )
    try:
        query.awaitTermination()
    finally:
        query.stop()
        result.rows += sum(progress.numInputRows for progress in query.recentProgress)
    tables.ensure(spark, layout)


def as_received(records: DataFrame, cluster: str, ids: dict[str, str], run_id: str, at: datetime) -> DataFrame:
    """Kafka's records as bronze rows."""
    from pyspark.sql import functions as f

    names = f.create_map(*[f.lit(text) for pair in sorted(ids.items()) for text in pair])
    return records.select(
        payload("value"),
        f.make_valid_utf8(f.col("key").cast("string")).alias("key"),
        f.lit(cluster).alias("cluster"),
        f.col("topic"),
        names[f.col("topic")].alias("topic_id"),
        f.col("partition"),
        f.col("offset"),
        f.col("timestamp").alias("arrived_at"),
        f.lit(at).alias("loaded_at"),
        f.lit(run_id).alias("run_id"),
        f.to_date("timestamp").alias("arrived_date"),
    )


def payload(column: str) -> Column:
    """Bytes as bronze's payload: what is no UTF-8 is kept as `base64:` and its base64, so that no byte is lost and
    every engine can read the column."""
    from pyspark.sql import functions as f

    text = f.col(column).cast("string")
    encoded = f.concat(f.lit("base64:"), f.base64(column))
    return f.when(f.is_valid_utf8(text), text).when(f.col(column).isNotNull(), encoded).alias("payload")


def read_position(spark: SparkSession, checkpoint: str) -> Position | None:
    """What Spark's checkpoint says; None where there is none, or nothing was planned in it yet."""
    planned = [int(name) for name in files.names(spark, f"{checkpoint}/offsets") if name.isdigit()]
    if not planned:
        return None
    last = max(planned)
    # The file: a version, the batch's settings, then one line per source.
    source = files.text(spark, f"{checkpoint}/offsets/{last}").splitlines()[2]
    reached = {(topic, int(part)): at for topic, parts in json.loads(source).items() for part, at in parts.items()}
    closed = files.names(spark, f"{checkpoint}/commits")
    return Position(reached, str(last) not in closed)


def _key(cluster: str, ids: dict[str, str]) -> str:
    """Names the checkpoint of these very topics: a recreated topic has another id, so it gets another checkpoint."""
    return hashlib.sha256(json.dumps([cluster, sorted(ids.items())]).encode()).hexdigest()[:16]


def _held(spark: SparkSession, run: Run, item: Contract, path: str, bronze_id: str) -> dict[tuple[str, str, int], int]:
    """(topic, topic id, partition) -> largest offset that bronze has, or had before it expired."""
    from pyspark.sql import functions as f

    held = tables.last_offsets(tables.read(spark, path))
    expired = tables.offsets_layout(run.lake).path
    if tables.snapshot(spark, expired) is not None:
        rows = tables.read(spark, expired).where((f.col("contract") == item.name) & (f.col("bronze_id") == bronze_id))
        gone = tables.last_offsets(rows.withColumnRenamed("last_offset", "offset"))
        held = {part: max(held.get(part, -1), gone.get(part, -1)) for part in held | gone}
    return held


def _recreated(held: dict[tuple[str, str, int], int], ids: dict[str, str]) -> list[str]:
    notes = []
    for topic, now in sorted(ids.items()):
        known = {topic_id for name, topic_id, _ in held if name == topic}
        if known and now not in known:
            notes.append(
                f"topic {topic} was recreated, or is another broker's: its id is {now}, bronze knows "
                f"{', '.join(sorted(known))}. It is read from its beginning; what bronze had not read before is gone"
            )
    return notes


def _check_reach(reached: dict[Part, int], ends: dict[Part, int]) -> None:
    """Hold what was read against what is there. Raises BrokerError."""
    for (topic, part), at in sorted(reached.items()):
        if (topic, part) not in ends:
            raise BrokerError(
                f"topic {topic} has no partition {part} any more, bronze read it up to offset {at}; "
                "a topic cannot lose partitions: is this the right broker?"
            )
        if at > ends[topic, part]:
            raise BrokerError(
                f"topic {topic}, partition {part}: bronze has read up to offset {at}, the topic ends at "
                f"{ends[topic, part]}: it went backwards. Was the broker's disk restored from an older copy? "
                "Delete and make the topic anew, so that it gets another id, and send what is missing again"
            )


def _expired_unread(reached: dict[Part, int], begins: dict[Part, int]) -> dict[Part, tuple[int, int]]:
    """(offset to read next, first offset there) of each partition where offsets between are gone."""
    return {part: (at, begins[part]) for part, at in sorted(reached.items()) if at < begins[part]}


def _record_lost(
    spark: SparkSession, run: Run, item: Contract, unread: dict[Part, tuple[int, int]], ids: dict[str, str], bronze: str
) -> None:
    """So that they are counted once, and known when nobody remembers the run."""
    now = datetime.now(UTC)
    rows = [
        (run.id, item.name, topic, ids[topic], part, begins - 1, begins - at, now, bronze)
        for (topic, part), (at, begins) in unread.items()
    ]
    tables.append(spark, tables.offsets_layout(run.lake), rows)


def _spark_offsets(starting: dict[Part, int]) -> str:
    found: dict[str, dict[str, int]] = {}
    for (topic, part), offset in sorted(starting.items()):
        found.setdefault(topic, {})[str(part)] = offset
    return json.dumps(found)
