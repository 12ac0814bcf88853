"""`make bench-batch`: what the lakehouse's runs cost, in one warm Spark session.

- merge: the same number of new rows, 5 % of them three days late, into a silver table, and into one four times as large
  over four times as many days. Median of five, the whole run of a contract (parse, row checks, MERGE, counting). What
  follows what is new takes about as long in both; files read and written lie in the dates touched only.
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
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import duckdb
from rich.console import Console
from rich.table import Table

from batch_jobs import bronze, silver, tables
from batch_jobs.broker import survey
from batch_jobs.run import Run
from batch_jobs.session import end, session
from grocery.settings import settings
from ingestion.topics import topics_of
from schemas.contract import contract
from tests.bench.load import Scenario
from tests.bench.streaming import QUICK, make_environment, prepare, stack_of

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Result = TypeVar("Result")

READINGS = contract("sensor-readings")
DEVICES = 5_000
BEGIN = datetime(2026, 5, 1, tzinfo=UTC)
TRIES = 5
LATE = 0.05
LATE_DAYS = 3
MEMORY = "4g"
PROMISED_AT_MOST = {"merge_ratio": 1.3}
PROMISED_AT_LEAST = {"bronze_rows_per_s": 100_000, "silver_rows_per_s": 70_000}


@dataclass(frozen=True, slots=True)
class Size:
    """rows: of the smaller table, over so many days; the other has four times of both. new: rows of each run."""

    rows: int
    days: int
    new: int
    log: Scenario


FULL = Size(3_000_000, 30, 30_000, QUICK)
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
    short += ["untouched_files"] if figures.get("untouched_files") else []
    for name in short:
        console.print(f"short of what was promised: {name} {figures[name]}", highlight=False)
    print(json.dumps(figures | {"short": short}))
    return 1 if short else 0


# ---- merging what is new


def merges(console: Console, spark: SparkSession, home: Path, size: Size) -> dict[str, float]:
    """The same new rows into two tables."""
    table = Table(title=f"{size.new:,} new rows, {LATE:.0%} of them {LATE_DAYS} days late", box=None, pad_edge=False)
    for column in ("into rows", "over days", "s, median", "min", "max", "files read", "of", "dates written"):
        table.add_column(column, justify="right")
    medians, untouched = [], 0
    for times in (1, TIMES):
        rows, days = size.rows * times, size.days * times
        lake = str(home / f"merge-{times}")
        fill(spark, lake, rows, days)
        took = []
        for number in range(TRIES + 1):  # the first warms up
            first = 10**9 + number * 2 * size.new
            last_day = BEGIN + timedelta(days=days - 1)
            late = int(size.new * LATE)
            receive(spark, lake, size.new - late, first, last_day, last_day + timedelta(days=1), number)
            day = last_day - timedelta(days=LATE_DAYS)
            receive(spark, lake, late, first + size.new, day, day + timedelta(days=1), number)
            seconds, done = timed(lambda number=number, lake=lake: curate(spark, lake, f"new-{number}"))
            assert done.inserted == size.new, done
            if number:
                took.append(seconds)
        read, of, dates, strayed = scope(spark, lake)
        untouched += strayed
        medians.append(statistics.median(took))
        shown = (f"{medians[-1]:.2f}", f"{min(took):.2f}", f"{max(took):.2f}", f"{read:,}", f"{of:,}", f"{dates}")
        table.add_row(f"{rows:,}", str(days), *shown)
        shutil.rmtree(lake)
    console.print(table)
    ratio = round(medians[1] / medians[0], 2)
    console.print(f"{TIMES} times the table: {ratio:.2f} of the time", highlight=False)
    return {
        "merge_small_s": round(medians[0], 2),
        "merge_large_s": round(medians[1], 2),
        "merge_ratio": ratio,
        "untouched_files": untouched,
    }


def fill(spark: SparkSession, lake: str, rows: int, days: int) -> None:
    """A silver table of so many rows. Ten days at a time, as a lake grows, so that dates have files of their own."""
    step = 10
    for first in range(0, days, step):
        some = rows * step // days
        begin = BEGIN + timedelta(days=first)
        receive(spark, lake, some, first * rows // days, begin, begin + timedelta(days=step), 0)
        done = curate(spark, lake, f"fill-{first}")
        assert done.inserted == some, done


def receive(
    spark: SparkSession, lake: str, rows: int, first: int, begin: datetime, until: datetime, partition: int
) -> None:
    """So many readings, spread over a span of time, into bronze; numbered from `first`, which is their offset, too."""
    from pyspark.sql import functions as f

    layout = tables.bronze_layout(lake, READINGS)
    tables.ensure(spark, layout)
    gap_ms = int((until - begin) / timedelta(milliseconds=1)) / rows
    device = (f.col("id") % DEVICES).cast("string")
    store = f.concat(f.lit("store-"), f.lpad((f.col("id") % 100).cast("string"), 3, "0"))
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
    spark.range(first, first + rows, numPartitions=4).select(
        f.to_json(event).alias("payload"),
        store.alias("key"),
        f.lit("bench").alias("cluster"),
        f.lit(READINGS.topic).alias("topic"),
        f.lit("bench").alias("topic_id"),
        f.lit(partition).alias("partition"),
        f.col("id").alias("offset"),
        at.alias("arrived_at"),
        f.lit(datetime.now(UTC)).alias("loaded_at"),
        f.lit("bench").alias("run_id"),
        f.to_date(at).alias("arrived_date"),
    ).write.format("delta").mode("append").save(layout.path)


def curate(spark: SparkSession, lake: str, name: str) -> silver.Curated:
    (done,) = silver.silver(spark, Run(name, datetime.now(UTC), lake), [READINGS])
    return done


def scope(spark: SparkSession, lake: str) -> tuple[int, int, int, int]:
    """Of the last MERGE into silver: files it may have read (those of the dates it names), files there are, dates it
    wrote, and files it wrote or removed on other dates."""
    from delta.tables import DeltaTable

    path = tables.path_of(lake, "silver", READINGS.table)
    last = DeltaTable.forPath(spark, path).history(1).first()
    named = sorted(set(_dates(last.operationParameters["predicate"])))
    log = Path(path, "_delta_log", f"{last.version:020}.json").read_text().splitlines()
    changed = [entry.get("add") or entry.get("remove") for entry in map(json.loads, log)]
    changed = [one["partitionValues"]["event_date"] for one in changed if one]
    before = tables.read(spark, path, last.version - 1)
    days = tables.date_list("event_date", [datetime.fromisoformat(day).date() for day in named])
    read, of = len(before.where(days).inputFiles()), len(before.inputFiles())
    return read, of, len(set(changed)), sum(day not in named for day in changed)


def _dates(predicate: str) -> list[str]:
    return re.findall(r"\d{4}-\d\d-\d\d", predicate)


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
            seconds, loaded = timed(lambda run=run: bronze.load(spark, broker, run, READINGS))
            rows = loaded.rows
            took["bronze"].append(seconds)
            seconds, done = timed(lambda lake=lake: curate(spark, lake, "first"))
            took["silver"].append(seconds)
            seconds, events = timed(lambda lake=lake: in_duckdb(lake, home / "duckdb"))
            took["duckdb"].append(seconds)
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
