"""`make soak-lake`: three topics at speed into bronze and silver, for a while, in one Spark session, while spans are
backfilled and tables compacted beside it.

Before each backfill some events are taken out of silver; of what silver had it must bring back these and change nothing
else. Held at the end, against what was sent: each record is in bronze once; each bronze row has its dispositions, and
they add up; each event is in silver once, each broken record in quarantine once; every table has reader version 1.

Prints a line a round, a table, and as its last line one JSON object of figures; exits 1 when something is lost or there
twice.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from batch_jobs import bronze, silver, tables
from batch_jobs.backfill import Span, backfill
from batch_jobs.broker import survey
from batch_jobs.maintenance import maintain
from batch_jobs.run import new_run, unless_in_the_way
from batch_jobs.session import end, session
from grocery.settings import settings
from grocery.stack import Stack
from ingestion.topics import topics_of
from schemas.contract import contract
from tests.soak.load import BROKEN, FRESH, LATE, LATE_BY, TOPICS, Senders, expected

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from batch_jobs.tables import Layout
    from schemas.contract import Contract

CONTRACTS = tuple(contract(topic.name) for topic in TOPICS)
MEMORY = "3g"


@dataclass(slots=True)
class Figures:
    """seconds: of each round; rows: records it loaded. mended: events that were taken out of silver and that backfills
    brought back. left: tables that upkeep left, since somebody wrote them. faults: what is wrong, for people."""

    seconds: list[float] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    backfills: int = 0
    mended: int = 0
    maintained: int = 0
    compacted: int = 0
    left: int = 0
    faults: list[str] = field(default_factory=list)


class Soak:
    """One lake, one session, and what goes on in it."""

    def __init__(self, spark: SparkSession, kafka: str, lake: Path, say: Callable[[str], None]) -> None:
        self.spark, self.kafka, self.lake, self.say = spark, kafka, str(lake), say
        self.figures = Figures()
        self.curated: list[str] = []  # runs whose records silver has
        self.begun: set[str] = set()  # contracts of which there are records

    def round(self) -> None:
        """What is new on the topics, up to silver."""
        began = time.monotonic()
        run = new_run(self.lake)
        broker = survey(self.kafka, [topic for item in CONTRACTS for topic in topics_of(item)])
        loaded = bronze.bronze(self.spark, broker, run, CONTRACTS)
        self.begun |= {one.contract for one in loaded if one.rows}
        curated = silver.silver(self.spark, run, CONTRACTS)
        self.curated.append(run.id)
        self.figures.rows.append(sum(one.rows for one in loaded))
        self.figures.seconds.append(time.monotonic() - began)
        self.say(
            f"round {len(self.figures.rows)}: {self.figures.rows[-1]:,} records in {self.figures.seconds[-1]:.0f} s; "
            f"{sum(one.inserted for one in curated):,} inserted, {sum(one.duplicate for one in curated):,} duplicates, "
            f"{sum(one.quarantined for one in curated):,} quarantined"
        )

    def beside(self, stop: threading.Event, pause_s: float) -> None:
        """Backfills of today and of the day that late records are for, and upkeep, one after the other."""
        try:
            while not stop.wait(pause_s):
                self._backfill(datetime.now(UTC) - (LATE_BY if self.figures.backfills % 2 else LATE_BY * 0))
                if stop.is_set():
                    return
                self._maintain()
        except Exception as error:  # noqa: BLE001 it is told at the end, by the thread that waits
            self.figures.faults.append(f"beside the rounds: {error}")

    def _backfill(self, day: datetime) -> None:
        """Lose some of a day's events, and have them back. What a round has in bronze and not in silver yet may come
        with them."""
        began = time.monotonic()
        span = Span(day.date(), day.date())
        item = CONTRACTS[self.figures.backfills % len(CONTRACTS)]
        curated = tuple(self.curated)
        lost = self._lose(item, span)
        run = new_run(self.lake)
        done = backfill(self.spark, run, CONTRACTS, span)
        self.figures.backfills += 1
        self.figures.mended += lost
        for one in done:
            back = lost if one.contract == item.name else 0
            added = self._written(tables.silver_layout, one.contract, run.id, curated) if one.added else 0
            aside = self._written(tables.quarantine_layout, one.contract, run.id, curated) if one.set_aside else 0
            if (added, aside, one.removed, one.replaced, one.released) != (back, 0, 0, 0, 0):
                self.figures.faults.append(
                    f"a backfill of {span} should bring back {back:,} events of rounds that had ended and no more, but "
                    f"brought {added:,} and set {aside:,} aside: {one}"
                )
        rows = sum(one.rows for one in done)
        self.say(
            f"  backfill {span.first}: {rows:,} records looked at, {lost:,} events of {item.name} brought back, "
            f"{time.monotonic() - began:.0f} s"
        )

    def _written(self, layout_of: Callable[[str, Contract], Layout], name: str, run: str, of: tuple[str, ...]) -> int:
        """Rows that this run wrote whose record came into bronze in one of these."""
        from pyspark.sql import functions as f

        item, at = contract(name), list(tables.COORDINATES)
        received = tables.read(self.spark, tables.path_of(self.lake, "bronze", item.table))
        wrote = tables.read(self.spark, layout_of(self.lake, item).path).where(f.col("run_id") == run)
        return wrote.select(*at).join(received.where(f.col("run_id").isin(*of)).select(*at), at).count()

    def _lose(self, item: Contract, span: Span) -> int:
        """Take one in a hundred events of the days out of silver; returns how many."""
        where = f"{span.has('event_date')} AND pmod(hash(event_id), 100) = {self.figures.backfills % 100}"
        path = tables.silver_layout(self.lake, item).path
        deleted = unless_in_the_way(lambda: self.spark.sql(f"DELETE FROM delta.`{path}` WHERE {where}"), tries=20)
        return deleted.first()[0]

    def _maintain(self) -> None:
        began = time.monotonic()
        kept = maintain(self.spark, new_run(self.lake), CONTRACTS)
        self.figures.maintained += 1
        self.figures.compacted += sum(one.compacted for one in kept if not one.fault)
        self.figures.left += sum(bool(one.fault) for one in kept)
        left = f", {sum(bool(one.fault) for one in kept)} tables left to others" * any(one.fault for one in kept)
        self.say(
            f"  upkeep: {sum(one.compacted for one in kept):,} partitions compacted{left}, "
            f"{time.monotonic() - began:.0f} s"
        )

    def verify(self, sent: dict[str, int]) -> list[tuple[str, ...]]:
        """Hold the lake against what was sent; returns a line a topic, and adds to the faults."""
        from pyspark.sql import functions as f

        lines = []
        dispositions = tables.read(self.spark, tables.dispositions_layout(self.lake).path)
        for item in CONTRACTS:
            shall = expected(sent[item.name])
            received = tables.read(self.spark, tables.path_of(self.lake, "bronze", item.table))
            events = tables.read(self.spark, tables.silver_layout(self.lake, item).path)
            aside = tables.read(self.spark, tables.quarantine_layout(self.lake, item).path)
            at = list(tables.COORDINATES)
            found = {
                "records": received.count(),
                "records, each once": received.select(*at).distinct().count(),
                "events": events.count(),
                "events, each once": events.select("event_id").distinct().count(),
                "quarantined": aside.where("replayed_at IS NULL").count(),
                "dispositions": self._disposed(dispositions, item.name),
            }
            good = shall[FRESH] + shall[LATE]
            wanted = {
                "records": sent[item.name],
                "records, each once": sent[item.name],
                "events": good,
                "events, each once": good,
                "quarantined": shall[BROKEN],
                "dispositions": sent[item.name],
            }
            self.figures.faults += [
                f"{item.name}: {found[name]:,} {name}, {wanted[name]:,} expected"
                for name in wanted
                if found[name] != wanted[name]
            ]
            for layout in (tables.bronze_layout, tables.silver_layout, tables.quarantine_layout):
                tables.ensure(self.spark, layout(self.lake, item))  # raises where the reader version is not 1
            late = events.where(f.col("event_date") < f.date_sub(f.to_date(f.col("arrived_at")), 1)).count()
            if late != shall[LATE]:
                self.figures.faults.append(f"{item.name}: {late:,} late events, {shall[LATE]:,} expected")
            lines.append((item.name, *(f"{found[name]:,}" for name in found)))
        return lines

    @staticmethod
    def _disposed(dispositions, name: str) -> int:
        """Bronze rows that silver's runs have accounted for, each run's own."""
        from pyspark.sql import functions as f

        own = dispositions.where((f.col("contract") == name) & f.col("bronze_version").isNotNull())
        return own.agg(f.sum("rows")).first()[0] or 0


def main(
    minutes: Annotated[float, typer.Option(help="How long records are sent.")] = 20,
    every_s: Annotated[float, typer.Option("--every", help="Seconds from the end of a round to the next.")] = 60,
) -> None:
    """Three topics at speed into one lake, with backfills and upkeep beside; exits 1 when a record is lost or twice."""
    console = Console(width=120)
    home = settings().home / "soak"
    shutil.rmtree(home, ignore_errors=True)
    stack = Stack(home / "stack", home / "logs")
    stack.up(flink=False, owner=os.getpid())
    spark = session(settings().jars / "spark", home / "logs", memory=MEMORY)
    lake = home / "lake"
    lake.mkdir()
    soak = Soak(spark, stack.kafka, lake, lambda line: console.print(line, highlight=False))
    senders, stop = Senders(stack.kafka), threading.Event()
    beside = threading.Thread(target=soak.beside, args=(stop, every_s / 2))
    try:
        began = time.monotonic()
        senders.start()
        while len(soak.begun) < len(CONTRACTS):  # a backfill of nothing would be refused
            stop.wait(5)
            soak.round()
        beside.start()
        while time.monotonic() - began < minutes * 60:
            stop.wait(min(every_s, max(0.0, minutes * 60 - (time.monotonic() - began))))
            soak.round()
        senders.stop()
        stop.set()
        beside.join()
        soak.round()
        lines = soak.verify(senders.sent)
    except BaseException:
        console.print(f"Spark's log: {home}/logs", highlight=False, soft_wrap=True)
        raise
    finally:
        stop.set()
        if beside.is_alive():
            beside.join()
        end(spark)
        stack.wipe()
        shutil.rmtree(lake, ignore_errors=True)
    table = Table("topic", "records", "each once", "events", "each once", "quarantined", "dispositions", box=None)
    for line in lines:
        table.add_row(*line)
    console.print(table)
    figures = soak.figures
    figures.faults += [
        f"nothing was {what}, so nothing is shown of it"
        for what, count in (("mended by a backfill", figures.mended), ("compacted", figures.compacted))
        if not count
    ]
    for fault in figures.faults:
        console.print(f"[red]fault[/red] {fault}", highlight=False)
    print(
        json.dumps(
            {
                "minutes": minutes,
                "records": sum(figures.rows),
                "rounds": len(figures.rows),
                "round_p50_s": round(statistics.median(figures.seconds), 1),
                "round_max_s": round(max(figures.seconds), 1),
                "backfills": figures.backfills,
                "mended": figures.mended,
                "records_per_s": round(sum(figures.rows) / (minutes * 60)),
                "upkeeps": figures.maintained,
                "compacted": figures.compacted,
                "left": figures.left,
                "faults": figures.faults,
            }
        )
    )
    raise typer.Exit(bool(figures.faults))


if __name__ == "__main__":
    typer.run(main)
