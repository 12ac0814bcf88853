"""Erasure of a person from the lake: their hashes and plain values, in every table, every old file and Delta's log.

    scan every byte -> for each table that holds something: mark, replace by MERGE, close, record, vacuum, checkpoint,
    expire the log, unmark -> scan every byte again

The rows stay: a receipt was a sale whoever bought. In place of the hash stands one constant of the same form, the same
for all who were erased, in silver and in bronze's payload alike: so the contract holds, and silver built again from
bronze is the same; dbt reads the constant as nobody. docs/decisions.md says why.

MERGE against rows and not an UPDATE with a condition, because Delta logs the condition. A second run finds nothing and
writes nothing. A run that was killed left its mark in the table's folder: the same run again finishes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

from batch_jobs import s3, tables
from batch_jobs.errors import LakeError
from batch_jobs.maintenance import EXPIRED, check_silver_is_up_to_date, commits, marked, record_bronze, vacuum
from batch_jobs.run import Run
from batch_jobs.sought import TOKEN, Scan, Sought, file_system, path_on, scan
from batch_jobs.tables import Layout
from schemas.contract import Contract

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession
    from pyspark.sql.types import DataType

ROWS_ERASED = "erased"
MARK = "_erasing"
"""A file in the folder of a table that is being cleaned; Spark and Delta look past names that begin like this."""
PROPERTY = "grocery.erased"
"""Of a table: the run that last erased something in it."""


@dataclass(frozen=True, slots=True)
class Target:
    """One table. texts: its columns that hold a record as text; typed: whether it is silver."""

    name: str
    layout: Layout
    item: Contract | None
    texts: tuple[str, ...]
    typed: bool = False

    @property
    def layer(self) -> str:
        return self.name.partition(".")[0]


@dataclass(slots=True)
class Cleaned:
    """One table. rows: changed, or that would be; files: that held something before."""

    table: str
    rows: int = 0
    files: int = 0


@dataclass(slots=True)
class Erasure:
    """What was done. locked: dead letters that no key at hand opens; proof: what the scan afterwards read and found."""

    tables: list[Cleaned] = field(default_factory=list)
    locked: list[str] = field(default_factory=list)
    proof: Scan = field(default_factory=Scan)

    @property
    def complete(self) -> bool:
        return not (self.locked or self.proof.hits or self.proof.unread)


class NotErased(LakeError):
    """Something is left, or nobody can know. It names the places."""

    def __init__(self, done: Erasure) -> None:
        left = [f"still in {one}" for one in done.proof.hits]
        left += [f"could not be read to the end: {one}" for one in done.proof.unread]
        super().__init__("\n".join(left + [f"dead letter {one}: no key here opens it" for one in done.locked]))


def erase(
    spark: SparkSession,
    run: Run,
    contracts: Iterable[Contract],
    sought: Sought,
    reference: str,
    *,
    dry_run: bool = False,
    on_table: Callable[[str], None] | None = None,
) -> Erasure:
    """Take them out of every table of the lake. Silver must have taken all of bronze; nobody else may be at work.

    reference: what the request is called, as it goes on record. dry_run: count only; `proof` is then what is there now.
    Raises LakeError, BatchError.
    """
    result = Erasure()
    before = scan(run.lake, sought)
    result.proof = before
    everything = _targets(run.lake, contracts)
    held = {one.layout.path: _hits(before, one.layout.path) for one in everything}
    for target in everything:
        path = target.layout.path
        if target.item is not None and target.item.kind == "dead-letter":
            result.locked += _locked(spark, target, sought)
        if not held[path] and not _is_marked(path):
            continue
        if on_table:
            on_table(target.name)
        cleaned = Cleaned(target.name, files=held[path])
        result.tables.append(cleaned)
        if dry_run:
            cleaned.rows = _count(spark, run, target, sought)
        else:
            cleaned.rows = _clean(spark, run, target, sought, reference)
    result.locked = list(dict.fromkeys(result.locked))
    if not dry_run:
        result.proof = scan(run.lake, sought)
        if s3.is_on_s3(run.lake) and (kept := s3.old_versions(run.lake)):
            # They are not read: a bucket has as many of them as the lake ever had files.
            words = f"{kept} old versions of objects that its bucket keeps; delete them, or let a lifecycle rule do it"
            result.proof.unread.append(f"{run.lake}, {words}")
    return result


def _targets(lake: str, contracts: Iterable[Contract]) -> list[Target]:
    """Bronze first: which of its payloads are no events, quarantine knows as long as it holds them."""
    found = []
    for item in contracts:
        record = ("payload", "key")
        found += [
            Target(f"bronze.{item.table}", tables.bronze_layout(lake, item), item, record),
            # An original in silver's own column of a letter is a text like the record's.
            Target(
                f"silver.{item.table}",
                tables.silver_layout(lake, item),
                item,
                ("payload",) if item.kind == "dead-letter" else (),
                typed=True,
            ),
            Target(f"quarantine.{item.table}", tables.quarantine_layout(lake, item), item, record),
        ]
    # A chain's own suites may show whatever an event says.
    return [
        *found,
        Target("audit.quality", tables.quality_layout(lake), None, ("observed",)),
        Target("audit.findings", tables.findings_layout(lake), None, ("subject", "observed")),
    ]


def _clean(spark: SparkSession, run: Run, target: Target, sought: Sought, reference: str) -> int:
    """One table, to the end; returns the rows changed. Each step may be the last of a run that is killed."""
    path = target.layout.path
    if target.layer == "bronze":
        check_silver_is_up_to_date(spark, run.lake, target.item)
    _mark(path)
    with marked(spark, f"{ROWS_ERASED} {run.id} {reference}"):
        if target.typed:
            _replace_typed(spark, run, target.layout, sought)
        if target.texts:
            _replace_texts(spark, target, _replacements(spark, run.lake, target, sought))
    # The log shall begin with a version whose changes no file of the person is needed for: those before cannot be read.
    spark.sql(f"ALTER TABLE delta.`{path}` SET TBLPROPERTIES ('{PROPERTY}' = '{run.id}')")
    if target.layer == "bronze":
        record_bronze(spark, run, target.item, EXPIRED)  # a killed run's: the log is about to end
        record_bronze(spark, run, target.item, ROWS_ERASED, always=True)
    rows = _record(spark, run, target)
    vacuum(spark, path, timedelta(0))
    _expire_log(spark, path)
    tables.ensure(spark, target.layout)
    _unmark(path)
    return rows


def _count(spark: SparkSession, run: Run, target: Target, sought: Sought) -> int:
    """Rows that hold something now; old files may hold more."""
    rows = tables.read(spark, target.layout.path)
    if target.typed and not target.texts:
        return rows.where(_anywhere(rows, sought)).count()
    found = _replacements(spark, run.lake, target, sought)
    changed = spark.createDataFrame(found, _was(target)) if found else None
    return _matching(rows.alias("old"), changed, target).count() if changed is not None else 0


# ---- records as text


def _replacements(spark: SparkSession, lake: str, target: Target, sought: Sought) -> list[tuple]:
    """(partition date, texts as they are, texts as they shall be), each once: what one person left fits in memory."""
    from pyspark.sql import functions as f

    rows = tables.read(spark, target.layout.path)
    named = reduce(or_, [_in_hashes(f.col(name), sought) for name in target.texts])
    odd = reduce(or_, [f.col(name).startswith("base64:") | f.col(name).contains("gAAAA") for name in target.texts])
    plain = reduce(or_, [f.col(name).rlike(sought.java) for name in target.texts]) if sought.java else f.lit(False)
    found = rows.where(named | odd | plain).select(*target.layout.partitioned_by, *target.texts).distinct()
    # In an event, a number like theirs may be another thing; what is no event is nobody's figure.
    refused = None
    if target.layer == "bronze":
        kept = tables.path_of(lake, "quarantine", target.item.table)
        if tables.snapshot(spark, kept) is None:
            refused = set()
        else:
            theirs = tables.read(spark, kept).select("payload").distinct()
            refused = {row.payload for row in found.join(theirs, "payload", "left_semi").select("payload").collect()}
    days = len(target.layout.partitioned_by)
    changed = []
    for row in found.toLocalIterator():
        texts = row[days:]
        new = [sought.cleaned(text, plain=refused is None or texts[0] in refused) for text in texts]
        if list(texts) != new:
            changed.append((*row, *new))
    return changed


def _was(target: Target) -> str:
    days = [f"{day} date" for day in target.layout.partitioned_by]
    return ", ".join([*days, *(f"{name} string" for name in target.texts), *(f"new_{n} string" for n in target.texts)])


def _same(target: Target) -> list[str]:
    return [f"old.{name} <=> new.{name}" for name in (*target.layout.partitioned_by, *target.texts)]


def _matching(rows: DataFrame, changed: DataFrame, target: Target) -> DataFrame:
    from pyspark.sql import functions as f

    return rows.join(f.broadcast(changed.alias("new")), f.expr(" AND ".join(_same(target))), "left_semi")


def _replace_texts(spark: SparkSession, target: Target, changed: list[tuple]) -> None:
    from delta.tables import DeltaTable

    if not changed:
        return
    same = _same(target)
    for day in target.layout.partitioned_by:
        same.insert(0, tables.date_list(f"old.{day}", list({row[0] for row in changed})))
    (
        DeltaTable.forPath(spark, target.layout.path)
        .alias("old")
        .merge(spark.createDataFrame(changed, _was(target)).alias("new"), " AND ".join(same))
        .whenMatchedUpdate(set={name: f"new.new_{name}" for name in target.texts})
        .execute()
    )


# ---- silver: any text of any column, however deep


def _replace_typed(spark: SparkSession, run: Run, layout: Layout, sought: Sought) -> None:
    """Changed rows are stamped as this run's, so that whatever follows silver by `loaded_at` takes them again."""
    from delta.tables import DeltaTable
    from pyspark.sql import functions as f

    rows = tables.read(spark, layout.path)
    found = rows.where(_anywhere(rows, sought))
    (day,) = layout.partitioned_by
    days = [row[0] for row in found.select(day).distinct().collect()]
    if not days:
        return
    columns = [one for one in rows.schema.fields if _has_text(one.dataType) and one.name not in _KEYS]
    new = found.where(tables.date_list(day, days)).select(
        *_KEYS, *(_replaced(f.col(one.name), one.dataType, sought).alias(one.name) for one in columns)
    )
    same = " AND ".join(f"old.{name} = new.{name}" for name in _KEYS)
    changes = {one.name: f.col(f"new.{one.name}") for one in columns}
    (
        DeltaTable.forPath(spark, layout.path)
        .alias("old")
        .merge(new.alias("new"), f"{tables.date_list(f'old.{day}', days)} AND {same}")
        .whenMatchedUpdate(set=changes | {"loaded_at": f.lit(run.at), "run_id": f.lit(run.id)})
        .execute()
    )


_KEYS = ("event_date", "event_id")


def _anywhere(rows: DataFrame, sought: Sought) -> Column:
    from pyspark.sql import functions as f

    fields = [one for one in rows.schema.fields if _has_text(one.dataType) and one.name not in _KEYS]
    return reduce(or_, [f.coalesce(_found(f.col(one.name), one.dataType, sought), f.lit(False)) for one in fields])


def _has_text(kind: DataType) -> bool:
    from pyspark.sql.types import ArrayType, MapType, StringType, StructType

    if isinstance(kind, StructType):
        return any(_has_text(one.dataType) for one in kind.fields)
    if isinstance(kind, ArrayType):
        return _has_text(kind.elementType)
    if isinstance(kind, MapType):
        return _has_text(kind.valueType)
    return isinstance(kind, StringType)


def _in_hashes(text: Column, sought: Sought) -> Column:
    from pyspark.sql import functions as f

    return f.coalesce(reduce(or_, [text.contains(one) for one in sought.pseudonyms]), f.lit(False))


def _found(value: Column, kind: DataType, sought: Sought) -> Column:
    """Of a type that has text: whether a hash stands in it."""
    from pyspark.sql import functions as f
    from pyspark.sql.types import ArrayType, MapType, StructType

    if isinstance(kind, StructType):
        inner = [one for one in kind.fields if _has_text(one.dataType)]
        return reduce(or_, [f.coalesce(_found(value[one.name], one.dataType, sought), f.lit(False)) for one in inner])
    if isinstance(kind, ArrayType):
        return f.exists(value, lambda one: _found(one, kind.elementType, sought))
    if isinstance(kind, MapType):
        return f.exists(f.map_values(value), lambda one: _found(one, kind.valueType, sought))
    return _in_hashes(value, sought)


def _replaced(value: Column, kind: DataType, sought: Sought) -> Column:
    """The value with the constant in place of each hash."""
    from pyspark.sql import functions as f
    from pyspark.sql.types import ArrayType, MapType, StructType

    if not _has_text(kind):
        return value
    if isinstance(kind, StructType):
        inner = [_replaced(value[one.name], one.dataType, sought).alias(one.name) for one in kind.fields]
        return f.when(value.isNotNull(), f.struct(*inner))
    if isinstance(kind, ArrayType):
        return f.transform(value, lambda one: _replaced(one, kind.elementType, sought))
    if isinstance(kind, MapType):
        return f.transform_values(value, lambda _, one: _replaced(one, kind.valueType, sought))
    for one, instead in sought.replacements.items():
        value = f.replace(value, f.lit(one), f.lit(instead))
    return value


# ---- dead letters


def _locked(spark: SparkSession, target: Target, sought: Sought) -> list[str]:
    """Ids of the letters whose original no key at hand opens: it may be about them."""
    import json

    from pyspark.sql import functions as f

    if tables.snapshot(spark, target.layout.path) is None:
        return []
    text = f.col("payload")
    found = []
    names = ("event_id", "payload") if target.typed else ("topic", "partition", "offset", "payload")
    for row in tables.read(spark, target.layout.path).where(text.contains("gAAAA")).select(*names).toLocalIterator():
        if all(sought.opens(token) for token in TOKEN.findall(row.payload)):
            continue
        if target.typed:
            found.append(row.event_id)
            continue
        try:
            found.append(str(json.loads(row.payload)["event_id"]))
        except (ValueError, LookupError, TypeError):
            found.append(f"{row.topic}, partition {row.partition}, offset {row.offset}")
    return found


# ---- record, log and marks


def _record(spark: SparkSession, run: Run, target: Target) -> int:
    """Write to audit.erasures what the table's log says was erased and is not recorded yet, a killed run's too."""
    from pyspark.sql import functions as f

    layout = tables.erasures_layout(run.lake)
    tables.ensure(spark, layout)
    now = tables.snapshot(spark, target.layout.path)
    known = tables.read(spark, layout.path).where(f.col("table_id") == now.id).select("table_version").collect()
    done = {row.table_version for row in known}
    new = [one for one in commits(spark, target.layout.path, ROWS_ERASED) if one.version not in done]
    at = datetime.now(UTC)
    rows = [
        (run_id, reference, target.name, one.rows, at, now.id, one.version)
        for one in new
        for run_id, _, reference in [one.by.partition(" ")]
    ]
    tables.append(spark, layout, rows)
    return sum(one.rows for one in new)


def _expire_log(spark: SparkSession, path: str) -> None:
    """Leave of Delta's log only a checkpoint of the table as it is, and what comes after it.

    Delta's own clean-up keeps what is younger than a day, however it is set."""
    log = spark._jvm.org.apache.spark.sql.delta.DeltaLog.forTable(spark._jsparkSession, path)
    log.checkpoint()
    version = tables.snapshot(spark, path).version
    system, folder = file_system(path)
    for one in _listed(system, f"{folder}/_delta_log"):
        number = one.base_name.lstrip(".")[:20]  # `.<name>.crc` is what Hadoop keeps beside a local file
        if number.isdigit() and int(number) < version:
            system.delete_file(one.path)
    spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()


def _listed(system, folder: str) -> Iterator:
    from pyarrow.fs import FileSelector, FileType

    return (one for one in system.get_file_info(FileSelector(folder)) if one.type == FileType.File)


def _is_marked(path: str) -> bool:
    from pyarrow.fs import FileType

    system, folder = file_system(path)
    return system.get_file_info(f"{folder}/{MARK}").type == FileType.File


def _mark(path: str) -> None:
    system, folder = file_system(path)
    system.open_output_stream(f"{folder}/{MARK}").close()


def _unmark(path: str) -> None:
    system, folder = file_system(path)
    system.delete_file(f"{folder}/{MARK}")


def _hits(found: Scan, path: str) -> int:
    return sum(one.startswith(f"{path_on(path)}/") for one in found.hits)
