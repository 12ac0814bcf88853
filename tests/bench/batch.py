"""`make bench-batch`: what the lakehouse's runs cost, in one warm Spark session.

- merge: the same number of new rows, 5 % of them three days late, into a silver table, and into one four times as large
  over four times as many days. Median of five, the whole run of a contract (parse, row checks, MERGE, counting). What
  follows what is new takes about as long in both; files that are merged lie on the dates of the new rows only. After
  each, dbt's run over silver, with its tests: models follow what is new, too.
- bronze: records on a real broker into bronze, all there are.
- silver: those bronze rows into silver. Beside it DuckDB does the same from the same files: parse, a row an event id
  and date, written by date. It makes no row checks, no quarantine and no Delta log: a limit rather than a peer.

The rows are JSON sensor readings of 5,000 devices, some 300 bytes each.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote, urlparse

import duckdb
import psutil
from rich.console import Console
from rich.table import Table

from batch_jobs import bronze, gold, silver, tables
from batch_jobs.broker import survey
from batch_jobs.run import Run
from batch_jobs.session import end, session
from grocery.settings import settings
from ingestion.topics import topics_of
from schemas.contract import Contract, all_contracts, contract
from schemas.instants import to_rfc3339
from tests.bench.load import Scenario
from tests.bench.streaming import SCENARIOS, make_environment, prepare, stack_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

Result = TypeVar("Result")

READINGS = contract("sensor-readings")
DEVICES, STORES = 5_000, 100
BEGIN = datetime(2026, 5, 1, tzinfo=UTC)
TRIES = 5
LATE = 0.05
LATE_DAYS = 3
MEMORY = "4g"
PROMISED_AT_MOST = {"merge_ratio": 1.3, "merge_read_ratio": 1.3, "models_ratio": 1.3}
PROMISED_AT_LEAST = {"bronze_rows_per_s": 100_000, "silver_rows_per_s": 70_000}


@dataclass(frozen=True, slots=True)
class Size:
    """rows: of the smaller table, over so many days; the other has four times of both. new: rows of each run."""

    rows: int
    days: int
    new: int
    log: Scenario


FULL = Size(3_000_000, 30, 30_000, SCENARIOS[0])
SMALL = Size(100_000, 30, 3_000, Scenario("tiny", 5_000, 10, 10, 60_000))
TIMES = 4


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench-batch")
    parser.add_argument("--quick", action="store_true", help="small tables, for whoever works on the bench")
    parser.add_argument("--only", choices=("merges", "loads"), help="one half of it")
    given = parser.parse_args()
    size = SMALL if given.quick else FULL
    console = Console(width=120)
    make_environment()
    prepare(size.log)
    home = settings().home / "bench" / "batch"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    spark = session(settings().jars / "spark", settings().logs, memory=MEMORY)
    try:
        halves = {"merges": merges, "loads": loads}
        figures: dict[str, float] = {}
        for name, half in halves.items():
            if given.only in (None, name):
                figures |= half(console, spark, home, size)
    finally:
        end(spark)
        shutil.rmtree(home, ignore_errors=True)
    return tell(console, figures)


def tell(console: Console, figures: dict[str, float]) -> int:
    """The figures as the last line; 1 where one is short of what was promised."""
    short = [name for name, most in PROMISED_AT_MOST.items() if figures.get(name, most) > most]
    short += [name for name, least in PROMISED_AT_LEAST.items() if figures.get(name, least) < least]
    short += ["untouched_dates"] if figures.get("untouched_dates") else []
    for name in short:
        console.print(f"short of what was promised: {name} {figures[name]}", highlight=False)
    print(json.dumps(figures | {"short": short}))
    return 1 if short else 0


# ---- merging what is new


def merges(console: Console, spark: SparkSession, home: Path, size: Size) -> dict[str, float]:
    """The same new rows into two tables."""
    table = Table(title=f"{size.new:,} new rows, {LATE:.0%} of them {LATE_DAYS} days late", box=None, pad_edge=False)
    columns = ("rows", "days", "s, median", "min", "max", "MB of its dates", "of", "MB read", "dbt, s", "min", "max")
    for column in columns:
        table.add_column(column, justify="right")
    medians, models, reads, strayed = [], [], [], 0
    for times in (1, TIMES):
        rows, days = size.rows * times, size.days * times
        lake = str(home / f"merge-{times}")
        refer(spark, lake)
        fill(console, spark, lake, rows, days)
        seconds, built = timed(lambda lake=lake: model(lake))
        console.print(f"dbt from nothing: {seconds:.0f} s for {built.models} models", highlight=False)
        took, modelled, scopes = [], [], []
        for number in range(TRIES + 1):  # the first warms up
            first = 10**9 + number * 2 * size.new
            last_day = BEGIN + timedelta(days=days - 1)
            late = int(size.new * LATE)
            receive(spark, lake, size.new - late, first, last_day, last_day + timedelta(days=1), number)
            day = last_day - timedelta(days=LATE_DAYS)
            receive(spark, lake, late, first + size.new, day, day + timedelta(days=1), number)
            before = bytes_read(spark)
            seconds, done = timed(lambda number=number, lake=lake: curate(spark, lake, f"new-{number}"))
            read = bytes_read(spark) - before
            assert done.inserted == size.new, done
            dbt_seconds, built = timed(lambda lake=lake: model(lake))
            assert not built.from_nothing, built
            console.print(f"run {number}: silver {seconds:.1f} s, dbt {dbt_seconds:.1f} s", highlight=False)
            if number:
                took.append(seconds)
                modelled.append(dbt_seconds)
                scopes.append(scope(spark, lake, {str(last_day.date()), str(day.date())}, read))
        strayed += sum(one.strayed for one in scopes)
        medians.append(statistics.median(took))
        models.append(statistics.median(modelled))
        reads.append(statistics.median(one.read for one in scopes))
        last = scopes[-1]
        shown = [f"{number:.2f}" for number in (medians[-1], min(took), max(took))]
        shown += [f"{number / 1e6:.1f}" for number in (last.may_read, last.of, reads[-1])]
        shown += [f"{number:.1f}" for number in (models[-1], min(modelled), max(modelled))]
        table.add_row(f"{rows:,}", str(days), *shown)
        shutil.rmtree(lake)
    console.print(table)
    ratio, read_ratio, model_ratio = (round(large / small, 2) for small, large in (medians, reads, models))
    console.print(
        f"{TIMES} times the table: silver takes {ratio} of the time and reads {read_ratio} of the bytes, dbt takes "
        f"{model_ratio} of the time",
        highlight=False,
    )
    return {
        "merge_small_s": round(medians[0], 2),
        "merge_large_s": round(medians[1], 2),
        "merge_ratio": ratio,
        "merge_read_ratio": read_ratio,
        "untouched_dates": strayed,
        "models_small_s": round(models[0], 1),
        "models_large_s": round(models[1], 1),
        "models_ratio": model_ratio,
    }


def refer(spark: SparkSession, lake: str) -> None:
    """The stores and assets of the readings, and every other table that gold reads, empty."""
    common = {"event_time": to_rfc3339(int(BEGIN.timestamp() * 1000)), "schema_version": 1, "status": "active"}
    shop = {"locale": "en-US", "display_unit": "[degF]", "currency": "USD", "country": "US", "area_m2": 3200}
    shop |= {"opening_hours": [], "holidays": [], "time_zone": "America/Denver"}
    stores = [
        common | shop | {"event_id": f"stores-{number}", "store_id": f"store-{number:03}", "name": f"No. {number}"}
        for number in range(STORES)
    ]
    assets = []
    for number in range(DEVICES):
        device = {"device_id": f"device-{number}-t", "metric": "temperature", "unit": "Cel", "interval_s": 10}
        own = {"event_id": f"assets-{number}", "store_id": f"store-{number % STORES:03}", "devices": [device]}
        own |= {"asset_id": f"freezer-{number}", "asset_class": "freezer", "name": "Freezer", "area": "Frozen aisle"}
        assets.append(common | own)
    for name, events in (("stores", stores), ("assets", assets)):
        rows = [(json.dumps(event), event["store_id"], number, BEGIN) for number, event in enumerate(events)]
        shape = "payload string, key string, offset long, arrived_at timestamp"
        to_bronze(lake, contract(name), spark.createDataFrame(rows, shape), 0)
    done = silver.silver(spark, Run("refer", datetime.now(UTC), lake), all_contracts())
    assert sum(one.inserted for one in done) == STORES + DEVICES, done


def model(lake: str) -> gold.GoldResult:
    built = gold.build(lake, Path(lake) / "gold" / "gold.duckdb", settings().logs)
    assert built.replaced, built.failures
    return built


def fill(console: Console, spark: SparkSession, lake: str, rows: int, days: int) -> None:
    """A silver table of so many rows. Ten days at a time, as a lake grows, so that dates have files of their own."""
    step = 10
    for first in range(0, days, step):
        some = rows * step // days
        begin = BEGIN + timedelta(days=first)
        receive(spark, lake, some, first * rows // days, begin, begin + timedelta(days=step), 0)
        done = curate(spark, lake, f"fill-{first}")
        assert done.inserted == some, done
        console.print(f"a table of {rows:,}: {(first + step) * rows // days:,}", highlight=False)


def receive(
    spark: SparkSession, lake: str, rows: int, first: int, begin: datetime, until: datetime, partition: int
) -> None:
    """So many readings, spread over a span of time, into bronze; numbered from `first`, which is their offset, too."""
    from pyspark.sql import functions as f

    gap_ms = int((until - begin) / timedelta(milliseconds=1)) / rows
    device = (f.col("id") % DEVICES).cast("string")
    store = f.concat(f.lit("store-"), f.lpad((f.col("id") % STORES).cast("string"), 3, "0"))
    at_ms = (f.lit(begin.timestamp() * 1000) + (f.col("id") - first) * gap_ms).cast("long")
    at = f.timestamp_millis(at_ms)
    event = f.struct(
        f.concat(f.lit("reading-"), f.col("id").cast("string")).alias("event_id"),
        f.date_format(at, "yyyy-MM-dd'T'HH:mm:ss.SSS'Z'").alias("event_time"),
        store.alias("store_id"),
        f.lit(1).alias("schema_version"),
        f.lit("reading").alias("kind"),
        f.concat(f.lit("device-"), device, f.lit("-t")).alias("device_id"),
        f.concat(f.lit("freezer-"), device).alias("asset_id"),
        f.lit("freezer").alias("asset_class"),
        f.lit("temperature").alias("metric"),
        (f.lit(-20) + (f.col("id") % 30) / 10).alias("value"),
        f.lit("Cel").alias("unit"),
    )
    numbered = spark.range(first, first + rows, numPartitions=4)
    offset, payload = f.col("id").alias("offset"), f.to_json(event).alias("payload")
    received = numbered.select(payload, store.alias("key"), offset, at.alias("arrived_at"))
    to_bronze(lake, READINGS, received, partition)


def to_bronze(lake: str, item: Contract, received: DataFrame, partition: int) -> None:
    """received: (payload, key, offset, arrived_at)."""
    from pyspark.sql import functions as f

    layout = tables.bronze_layout(lake, item)
    tables.ensure(received.sparkSession, layout)
    received.select(
        "payload",
        "key",
        f.lit("bench").alias("cluster"),
        f.lit(item.topic).alias("topic"),
        f.lit("bench").alias("topic_id"),
        f.lit(partition).alias("partition"),
        "offset",
        "arrived_at",
        f.lit(datetime.now(UTC)).alias("loaded_at"),
        f.lit("bench").alias("run_id"),
        f.to_date("arrived_at").alias("arrived_date"),
    ).write.format("delta").mode("append").save(layout.path)


def curate(spark: SparkSession, lake: str, name: str) -> silver.Curated:
    (done,) = silver.silver(spark, Run(name, datetime.now(UTC), lake), [READINGS])
    return done


@dataclass(frozen=True, slots=True)
class Scope:
    """What one run touched. strayed: dates that the MERGE named or wrote files on and none of the new rows has.
    may_read, of: bytes of silver's files on the dates it named, and of all. read: bytes that the whole run read from
    anywhere, as the system counts them for Spark's process."""

    strayed: int
    may_read: int
    of: int
    read: int


def scope(spark: SparkSession, lake: str, expected: set[str], read: int) -> Scope:
    """Of the last MERGE into silver. expected: the dates of the new rows."""
    from delta.tables import DeltaTable

    path = tables.path_of(lake, "silver", READINGS.table)
    last = DeltaTable.forPath(spark, path).history(1).first()
    assert last.operation == "MERGE", last
    named = set(re.findall(r"\d{4}-\d\d-\d\d", last.operationParameters["predicate"]))
    entries = [
        json.loads(line) for line in Path(path, "_delta_log", f"{last.version:020}.json").read_text().splitlines()
    ]
    changed = [entry.get("add") or entry.get("remove") for entry in entries]
    wrote = {one["partitionValues"]["event_date"] for one in changed if one}
    told = [int(last.operationMetrics[f"numTargetFiles{name}"]) for name in ("Added", "Removed")]
    assert told == [sum(name in entry for entry in entries) for name in ("add", "remove")], last.operationMetrics
    before = tables.read(spark, path, last.version - 1)
    days = tables.date_list("event_date", [date.fromisoformat(day) for day in named])
    return Scope(
        strayed=len((named | wrote) - expected),
        may_read=_size(before.where(days).inputFiles()),
        of=_size(before.inputFiles()),
        read=read,
    )


def _size(files: list[str]) -> int:
    return sum(Path(unquote(urlparse(file).path)).stat().st_size for file in files)


def bytes_read(spark: SparkSession) -> int:
    """By Spark's process, ever: files of tables, Delta's log, what was shuffled."""
    return psutil.Process(spark.sparkContext._gateway.proc.pid).io_counters().read_chars


# ---- loading what there is


def loads(console: Console, spark: SparkSession, home: Path, size: Size) -> dict[str, float]:
    """Everything on the topic into bronze and silver, and DuckDB over the same bronze."""
    stack = stack_of(size.log)
    stack.up(flink=False, owner=os.getpid())
    try:
        broker = survey(stack.kafka, topics_of(READINGS))
        took: dict[str, list[float]] = {"bronze": [], "silver": [], "duckdb": []}
        for number in range(3):  # the first warms up
            lake = str(home / f"load-{number}")
            Path(lake).mkdir()
            run = Run(f"load-{number}", datetime.now(UTC), lake)
            seconds, (loaded,) = timed(lambda run=run: bronze.bronze(spark, broker, run, [READINGS]))
            rows = loaded.rows
            took["bronze"].append(seconds)
            seconds, done = timed(lambda lake=lake: curate(spark, lake, "first"))
            took["silver"].append(seconds)
            seconds, events = timed(lambda lake=lake: in_duckdb(lake, home / "duckdb"))
            took["duckdb"].append(seconds)
            console.print(
                f"run {number}: {', '.join(f'{name} {took[name][-1]:.0f} s' for name in took)}", highlight=False
            )
            assert events == done.inserted, (events, done)
            shutil.rmtree(lake)
    finally:
        stack.down()
    rates = {name: rows / min(seconds[1:]) for name, seconds in took.items()}
    table = Table(title=f"{rows:,} records of a topic", box=None, pad_edge=False)
    table.add_column("")
    table.add_column("rows/s", justify="right")
    for name, rate in rates.items():
        table.add_row(name, f"{rate:,.0f}")
    console.print(table)
    ratio = rates["silver"] / rates["duckdb"]
    console.print(f"silver makes {ratio:.2f} of DuckDB's rate", highlight=False)
    return {
        "bronze_rows_per_s": round(rates["bronze"]),
        "silver_rows_per_s": round(rates["silver"]),
        "duckdb_rows_per_s": round(rates["duckdb"]),
        "silver_to_duckdb": round(ratio, 2),
    }


def in_duckdb(lake: str, target: Path) -> int:
    """Parse, deduplicate and write by date, on as many threads as Spark has. Returns the number of events."""
    shutil.rmtree(target, ignore_errors=True)
    fields = {"string": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE"}
    wanted = {one.name: fields.get(str(one.schema.get("type")), "JSON") for one in READINGS.fields}
    with duckdb.connect(config={"threads": os.cpu_count()}) as db:
        (rows,) = db.execute(
            f"""
            COPY (
              SELECT
                * EXCLUDE (event), event.* REPLACE (CAST(event.event_time AS TIMESTAMP) AS event_time),
                CAST(event.event_time[:10] AS DATE) AS event_date
              FROM (
                SELECT from_json(payload, $shape) AS event, topic, partition, "offset", arrived_at, loaded_at, run_id
                FROM read_parquet('{lake}/bronze/{READINGS.table}/*/*.parquet')
              )
              QUALIFY row_number() OVER (
                PARTITION BY event.event_id, event.event_time[:10] ORDER BY topic, partition, "offset"
              ) = 1
            ) TO '{target}' (FORMAT parquet, COMPRESSION snappy, PARTITION_BY (event_date))
            """,
            {"shape": json.dumps(wanted)},
        ).fetchone()
    return rows


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    began = time.monotonic()
    result = work()
    return time.monotonic() - began, result


if __name__ == "__main__":
    raise SystemExit(main())
