"""How many events a store's day has against the same weekday before, and how old its newest event is.

    count the days that new events came to -> judge them by what audit.volumes knows -> write those days again

One row per contract, store and business date. A day is judged once it is over; until then it is `running`, and counted
again in each run. A store that is known for a contract has a row for every day, 0 where nothing came: so a day on which
it fell silent is judged too. A day without two of the same weekday to hold it against says `no history`.

An age is held against the contract's x-fresh-within, and one of some hours against what it was at this time of the same
weekday; silver is read for that only of stores in question.

Only contracts of kind `event`: alerts come when something is wrong, reference when something changes. A second run of
the same silver writes the same rows again, with its own id.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from statistics import median
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from batch_jobs import tables
from batch_jobs.run import Run, unless_in_the_way
from batch_jobs.silver import around
from batch_jobs.tables import Snapshot
from schemas.contract import Contract, contract

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

WEEKS, WEEKS_NEEDED = 4, 2
"""Of how many weeks before the same weekday is looked at, and how many of them must be known."""
LOW, HIGH = 0.5, 2.0
"""A day below half or above double the usual is worth a look: holidays and promotions move a shop's day by less than
that; a lane, gateway or interface that is gone, or sends everything twice, by more."""
FEW = 50
"""A usual day of fewer events than this varies too much by chance to be judged."""
SETTLED = timedelta(hours=2)
"""How long after its end a day is judged."""
AT_LEAST = timedelta(hours=2)
"""A younger event is never stale by the weekday: files land by the quarter of an hour, runs by the hour."""
GAPS = 10
"""How many of the weekday's mean gaps between events an age must exceed to be stale: of events that come by chance, one
gap in 20,000 is longer (e^-10)."""
HISTORY = timedelta(days=1)
"""Where not even the newest event of all came within this time, it is a past that is loaded (a simulated day, a
backfill): then ages are taken from that newest one, not from the run."""
BACK = timedelta(days=7 * WEEKS + 7)
"""Days before the newest that are counted and judged; what is older is history."""
USUAL, TOO_LOW, TOO_HIGH = "usual", "low", "high"
RUNNING, NO_HISTORY, TOO_FEW, HOLIDAY = "running", "no history", "few", "holiday"
FRESH, STALE, NO_LIMIT = "fresh", "stale", "no limit"
_NOT_COUNTED = {"sensor-readings": "kind <> 'tick'"}  # the gate makes ticks, whether sensors speak or not

Key = tuple[str, str, date]
"""(contract, store, business date)"""


@dataclass(slots=True)
class Day:
    """One row of audit.volumes, without its key. Instants are UTC."""

    events: int = 0
    usual: float | None = None
    weeks: int = 0
    ratio: float | None = None
    volume: str = RUNNING
    newest_at: datetime | None = None
    measured_at: datetime | None = None
    age_s: int | None = None
    limit_s: int | None = None
    freshness: str | None = None


@dataclass(frozen=True, slots=True)
class Store:
    zone: ZoneInfo = ZoneInfo("UTC")
    active: bool = True
    holidays: frozenset[date] = frozenset()


@dataclass(frozen=True, slots=True)
class Gained:
    """What a contract's silver has gained. dates: UTC dates of the new events."""

    item: Contract
    version: int
    dates: tuple[date, ...]


@dataclass(slots=True)
class Volumes:
    """judged: days whose volume was judged now; measured: stores whose newest event's age was taken now."""

    judged: dict[Key, Day]
    measured: dict[Key, Day]

    def count(self, volume: str) -> int:
        return sum(day.volume == volume for day in self.judged.values())


def volumes(spark: SparkSession, run: Run, contracts: Iterable[Contract], gained: Iterable[Gained]) -> Volumes:
    """Count, judge and record. contracts: all that are looked at; gained: those of them with new events."""
    contracts, gained = tuple(contracts), tuple(gained)
    return unless_in_the_way(lambda: _volumes(spark, run, contracts, gained))


def _volumes(spark: SparkSession, run: Run, contracts: Iterable[Contract], gained: Iterable[Gained]) -> Volumes:
    items = {item.name: item for item in contracts if item.kind == "event"}
    limits = {name: item.fresh_within for name, item in items.items()}
    gained = [one for one in gained if one.item.kind == "event" and one.dates]
    now = tables.ensure(spark, tables.volumes_layout(run.lake))
    stores = _stores(spark, run.lake)
    since = min((max(one.dates) for one in gained), default=run.at.date()) - 2 * BACK
    days = {} if now.untouched else _known(spark, tables.volumes_layout(run.lake).path, [*limits], since)
    before = {key: replace(day) for key, day in days.items()}
    counted = _count(spark, run.lake, gained, {name for name, _, _ in days}, stores)
    for key, (events, newest) in counted.items():
        day = days.setdefault(key, Day())
        day.events, day.newest_at = events, max(filter(None, (day.newest_at, newest)))
    found = judge(days, set(counted), stores, limits, run.at)
    doubtful = {key: day for key, day in found.measured.items() if in_doubt(key, day, stores.get(key[1], Store()))}
    for key, ages in _ages(spark, run.lake, items, doubtful, stores).items():
        hold_to_weekday(found.measured[key], ages)
    changed = {(name, day) for (name, store, day), one in days.items() if one != before.get((name, store, day))}
    _record(spark, run, now, days, changed)
    tables.ensure(spark, tables.volumes_layout(run.lake))
    return found


def judge(
    days: dict[Key, Day],
    counted: set[Key],
    stores: dict[str, Store],
    limits: dict[str, timedelta | None],
    now: datetime,
) -> Volumes:
    """Fill in the days that are missing, and say of each what it is. Changes `days`.

    counted: days that were counted now, so are judged again. limits: how old a contract's newest event may be, by name.
    now: when the run began, UTC.
    """
    clock = max((day.newest_at for day in days.values() if day.newest_at), default=now)
    instant = now if clock >= now - HISTORY else clock
    newest: dict[tuple[str, str], datetime] = {}
    first: dict[tuple[str, str], date] = {}
    for (name, store, day), one in days.items():
        whose = (name, store)
        if one.newest_at:
            newest[whose] = max(one.newest_at, newest.get(whose, one.newest_at))
        first[whose] = min(day, first.get(whose, day))
    found = Volumes({}, {})
    for (name, store), begins in first.items():
        where = stores.get(store, Store())
        today = instant.astimezone(where.zone).date()
        if where.active and (name, store) in newest:
            for back in range((today - max(begins, today - BACK)).days + 1):
                days.setdefault((name, store, today - timedelta(days=back)), Day(newest_at=newest[name, store]))
            key = (name, store, today)
            found.measured[key] = days.setdefault(key, Day())
            _measure(days[key], newest[name, store], instant, limits.get(name))
    for key, one in days.items():
        if key in counted or one.volume == RUNNING:
            _judge(days, key, stores.get(key[1], Store()), max(clock, instant))
            found.judged[key] = one
    return found


def _measure(day: Day, newest: datetime, instant: datetime, limit: timedelta | None) -> None:
    day.newest_at, day.measured_at = newest, instant
    day.age_s = max(0, int((instant - newest).total_seconds()))
    day.limit_s, day.freshness = None, NO_LIMIT
    if limit is not None:
        day.limit_s = int(limit.total_seconds())
        day.freshness = STALE if day.age_s > day.limit_s else FRESH


def _weeks(key: Key, store: Store) -> list[Key]:
    """The same weekday of the weeks before, the newest first; without holidays."""
    name, whose, day = key
    before = [day - timedelta(weeks=back) for back in range(1, WEEKS + 1)]
    return [(name, whose, each) for each in before if each not in store.holidays]


def _judge(days: dict[Key, Day], key: Key, store: Store, clock: datetime) -> None:
    one, day = days[key], key[2]
    known = [days[week].events for week in _weeks(key, store) if week in days]
    one.weeks = len(known)
    one.usual = float(median(known)) if known else None
    one.ratio = None
    if datetime.combine(day + timedelta(days=1), time(), store.zone).astimezone(UTC) + SETTLED > clock:
        one.volume = RUNNING
    elif day in store.holidays:
        one.volume = HOLIDAY
    elif len(known) < WEEKS_NEEDED:
        one.volume = NO_HISTORY
    elif one.usual < FEW:
        one.volume = TOO_FEW
    else:
        one.ratio = one.events / one.usual
        one.volume = TOO_LOW if one.ratio < LOW else TOO_HIGH if one.ratio > HIGH else USUAL


def in_doubt(key: Key, day: Day, store: Store) -> bool:
    """Whether an age that its contract allows is worth being held against the same weekday. No holiday's is."""
    return day.freshness == FRESH and day.age_s > AT_LEAST.total_seconds() and key[2] not in store.holidays


def hold_to_weekday(day: Day, ages: list[int]) -> None:
    """Let the newest event of a day that was judged be no older than double what is usual at this time of this weekday,
    nor than ten of its mean gaps. ages: seconds, of the weeks before. Days without history or with few events stay."""
    if min(len(ages), day.weeks) < WEEKS_NEEDED or day.usual < FEW:
        return
    gap = timedelta(days=1).total_seconds() / day.usual
    day.limit_s = min(day.limit_s, int(max(AT_LEAST.total_seconds(), HIGH * median(ages), GAPS * gap)))
    day.freshness = STALE if day.age_s > day.limit_s else FRESH


def newest_arrival(spark: SparkSession, lake: str) -> datetime | None:
    """Of all events that audit.volumes knows; None where it knows none."""
    from pyspark.sql import functions as f

    path = tables.volumes_layout(lake).path
    if tables.snapshot(spark, path) is None:
        return None
    newest = tables.read(spark, path).agg(f.max("newest_at").alias("at")).first().at
    return None if newest is None else newest.astimezone(UTC)


def _stores(spark: SparkSession, lake: str) -> dict[str, Store]:
    from pyspark.sql import functions as f

    path = tables.path_of(lake, "silver", contract("stores").table)
    if tables.snapshot(spark, path) is None:
        return {}
    days = f.expr("transform(holidays, day -> cast(day.date AS date)) AS holidays")
    now = f.max_by(f.struct("time_zone", "status", days), "event_time").alias("now")
    rows = tables.read(spark, path).groupBy("store_id").agg(now).select("store_id", "now.*").collect()
    return {
        row.store_id: Store(ZoneInfo(row.time_zone), row.status == "active", frozenset(row.holidays or ()))
        for row in rows
    }


def _known(spark: SparkSession, path: str, names: list[str], since: date) -> dict[Key, Day]:
    from pyspark.sql import functions as f

    rows = tables.read(spark, path).where(f.col("by_contract").isin(names) & (f.col("by_date") >= f.lit(since)))
    return {
        (row.contract, row.store_id, row.business_date): Day(
            row.events,
            row.usual,
            row.weeks,
            row.ratio,
            row.volume,
            row.newest_at and row.newest_at.astimezone(UTC),
            row.measured_at and row.measured_at.astimezone(UTC),
            row.age_s,
            row.limit_s,
            row.freshness,
        )
        for row in rows.collect()
    }


def _count(
    spark: SparkSession, lake: str, gained: list[Gained], known: set[str], stores: dict[str, Store]
) -> dict[Key, tuple[int, datetime]]:
    """(events, newest arrival) of the business dates that new events can be on; of a contract that nothing is known of,
    of all that are looked back to."""
    from pyspark.sql import functions as f

    if not gained:
        return {}
    wanted: dict[str, set[date]] = {}
    parts: list[DataFrame] = []
    for one in gained:
        last = max(one.dates)
        dates = {day for day in one.dates if day > last - BACK}
        if one.item.name not in known:
            dates = {last - timedelta(days=back) for back in range(BACK.days)}
        wanted[one.item.name] = set(around(dates, 1))
        rows = _events(spark, lake, one.item, around(dates, 2), one.version)
        parts.append(rows.select(f.lit(one.item.name).alias("contract"), "store_id", "event_time", "arrived_at"))
    rows = parts[0]
    for part in parts[1:]:
        rows = rows.unionAll(part)
    zones = [(name, store.zone.key) for name, store in stores.items()]
    zone = spark.createDataFrame(zones, "store_id string, zone string")
    local = f.from_utc_timestamp("event_time", f.coalesce("zone", f.lit("UTC")))
    rows = rows.join(f.broadcast(zone), "store_id", "left").groupBy(
        "contract", "store_id", f.to_date(local).alias("business_date")
    )
    found = rows.agg(f.count("*").alias("events"), f.max("arrived_at").alias("newest")).collect()
    return {
        (row.contract, row.store_id, row.business_date): (row.events, row.newest.astimezone(UTC))
        for row in found
        if row.business_date in wanted[row.contract]
    }


def _events(spark: SparkSession, lake: str, item: Contract, dates: list[date], version: int | None = None) -> DataFrame:
    """What counts of a contract's silver on these dates (UTC)."""
    rows = tables.read(spark, tables.path_of(lake, "silver", item.table), version)
    rows = rows.where(tables.date_list("event_date", dates)).where("store_id IS NOT NULL")
    return rows.where(_NOT_COUNTED.get(item.name, "true"))


def _ages(
    spark: SparkSession, lake: str, items: dict[str, Contract], doubtful: dict[Key, Day], stores: dict[str, Store]
) -> dict[Key, list[int]]:
    """How old the newest event was, seconds, when the clocks of each key's store stood where they do, on the same
    weekday of the weeks before. A week in which nothing arrived in the day before that is not known."""
    from pyspark.sql import functions as f

    found: dict[Key, list[int]] = {}
    for name in sorted({name for name, _, _ in doubtful}):
        keys = {store: (key, day) for key, day in doubtful.items() for store in [key[1]] if key[0] == name}
        instants = []
        for store, (key, day) in keys.items():
            where = stores.get(store, Store())
            clock = day.measured_at.astimezone(where.zone)
            then = [(clock - (key[2] - week)).astimezone(UTC) for _, _, week in _weeks(key, where)]
            instants += [(store, at, at - timedelta(days=1)) for at in then]
        if not instants:
            continue
        asked = spark.createDataFrame(instants, "store_id string, then timestamp, since timestamp")
        dates = sorted({one.date() for _, at, since in instants for one in (at, since)})
        came = _events(spark, lake, items[name], dates).select("store_id", "arrived_at")
        newest = came.join(f.broadcast(asked), "store_id").where("arrived_at > since AND arrived_at <= then")
        for row in newest.groupBy("store_id", "then").agg(f.max("arrived_at").alias("newest")).collect():
            found.setdefault(keys[row.store_id][0], []).append(int((row["then"] - row.newest).total_seconds()))
    return found


def _record(spark: SparkSession, run: Run, now: Snapshot, days: dict[Key, Day], changed: set[tuple[str, date]]) -> None:
    """Write the days of these contracts and dates in place of what stands there, all stores, in one commit. now: the
    table as it is."""
    if not changed:
        return
    at = datetime.now(UTC)
    rows = [
        (run.id, name, store, day, one.events, one.usual, one.weeks, one.ratio, one.volume, one.newest_at)
        + (one.measured_at, one.age_s, one.limit_s, one.freshness, at, day, name)
        for (name, store, day), one in days.items()
        if (name, day) in changed
    ]
    layout = tables.volumes_layout(run.lake)
    by_name: dict[str, list[date]] = {}
    for name, day in changed:
        by_name.setdefault(name, []).append(day)
    where = " OR ".join(
        f"(by_contract = {name!r} AND {tables.date_list('by_date', dates)})" for name, dates in by_name.items()
    )
    _write(layout.path, where, spark.createDataFrame(rows, layout.columns).coalesce(1), now.untouched)


def _write(path: str, where: str, rows: DataFrame, untouched: bool) -> None:
    new = rows.write.format("delta")
    if untouched:  # nothing to replace
        new.mode("append").save(path)
    else:
        new.mode("overwrite").option("replaceWhere", where).save(path)
