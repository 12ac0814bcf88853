"""The second way into bronze: files of NDJSON as Firehose lands them, `<landing>/<topic>/YYYY/MM/DD/HH/<name>`.

    list the landing -> leave what is known -> read the new files -> append their records -> count them in bronze
      -> say why the others have none -> record what became of each file in audit.files

Only the topic counts in a name, so files may come late into an old hour, and under any name. A file is an object: its
key under the landing, and its etag; the same key with other bytes is another object. Each object is loaded once, whole
or not at all. What came twice all the same (under another name, over Kafka too) is a duplicate to silver.

A record's coordinates are `cluster` the landing, `topic_id` the object as key@etag, `offset` the line it stands on, and
`partition` -1; -2, -3 … for the second and further objects on one line. Below zero, so that no partition of a topic is
meant. `arrived_at` is the file's: when Firehose began it, as its name says, else when it was last written.

A second run adds nothing. A run that was killed leaves whole commits of whole files, and each new file is looked for in
bronze before it is read, so that the next run loads the rest and records them all.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from batch_jobs import files, tables, unpack
from batch_jobs.errors import BatchError, CountsDontAddUp, explain
from batch_jobs.run import Run, in_parallel, unless_in_the_way
from schemas.contract import Contract

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

LOADED, SET_ASIDE, WAITING = "loaded", "set_aside", "waiting"
SETTLED = timedelta(minutes=2)
"""A file in a folder that was written to more recently may still be written. An object on S3 is there whole."""
COMMIT_BYTES, COMMIT_FILES = 1024**3, 1_000
"""As files lie there, in one commit: bounds what a run that fails must do again."""
STRAYS = "-"
"""In the place of the contract: files that belong to none."""

_NO_CONTRACT, _UNREADABLE = "no_contract", "unreadable"
_AGAIN = (_NO_CONTRACT, _UNREADABLE)
"""Reasons that may be gone by the next run, though the file is what it was. Nothing of it was read: its time and size
stand for an etag."""
_NEW = ("", "", False, "")
_BEGUN = re.compile(r"-(\d{4}(?:-\d\d){5})-[^/]*")
_ROWS = """topic string, topic_id string, arrived_at timestamp, line long, place int, value binary"""


class LandingError(BatchError):
    """There is no landing where one was named."""


class FilesSetAside(BatchError):
    """All that could be loaded is; some files could not, or not yet, and nobody has accepted that."""


@dataclass(frozen=True, slots=True)
class Landed:
    """A file under the landing. etag: the store's; of a file in a folder the SHA-256 of its bytes, None until they were
    read; of a file system that has none, time and size."""

    key: str
    path: str
    size: int
    modified_at: datetime
    etag: str | None

    @property
    def topic(self) -> str:
        return self.key.partition("/")[0]

    @property
    def id(self) -> str:
        return f"{self.key}@{self.etag}"

    @property
    def modified_ms(self) -> int:
        """Since 1970."""
        return round(self.modified_at.timestamp() * 1000)

    @property
    def version(self) -> str:
        """What can be had of a file without its bytes, in place of an etag."""
        return _version(self.modified_ms, self.size)

    @property
    def arrived_at(self) -> datetime:
        return begun_at(self.key) or self.modified_at


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a file. known: in an earlier run; accepted: a person took note that it is set aside."""

    file: Landed
    state: str
    rows: int = 0
    reason: str | None = None
    known: bool = False
    accepted: bool = False


@dataclass(slots=True)
class Taken:
    """What one contract's files came to, each file once."""

    contract: str
    fates: list[Fate] = field(default_factory=list)
    bronze_id: str = ""

    @property
    def rows(self) -> int:
        """Records added to bronze by files that were not known."""
        return sum(fate.rows for fate in self.fates if not fate.known)

    @property
    def open(self) -> list[Fate]:
        """Set aside, now or before, and not accepted."""
        return [fate for fate in self.fates if fate.state == SET_ASIDE and not fate.accepted]

    @property
    def waiting(self) -> list[Fate]:
        """Written to until a moment ago: left to the next run."""
        return [fate for fate in self.fates if fate.state == WAITING]

    def count(self, state: str) -> int:
        return sum(fate.state == state and not fate.known for fate in self.fates)

    def check(self, listed: Collection[Landed]) -> None:
        """Raises CountsDontAddUp unless each listed file has one state."""
        states = Counter(fate.file.key for fate in self.fates)
        if states != Counter(file.key for file in listed):
            raise CountsDontAddUp(
                f"files {self.contract}: {len(listed)} files, but {len(self.fates)} states of {len(states)}; nothing "
                "of this run is recorded, the next one looks at all of them again"
            )


def _version(modified_ms: int, size: int) -> str:
    return f"{modified_ms}-{size}"


def begun_at(key: str) -> datetime | None:
    """When Firehose began the file, as `<stream>-<version>-YYYY-MM-DD-HH-MM-SS-<uuid>` says in UTC; None without."""
    match = _BEGUN.search(key.rpartition("/")[2])
    try:
        return datetime.strptime(match[1], "%Y-%m-%d-%H-%M-%S").replace(tzinfo=UTC) if match else None
    except ValueError:
        return None


def land(
    spark: SparkSession,
    run: Run,
    landing: str,
    contracts: Collection[Contract],
    *,
    strays: bool = True,
    accept: bool = False,
    on_done: Callable[[Taken], None] | None = None,
) -> list[Taken]:
    """Load every contract's new files, some contracts at a time.

    landing: a folder, or an s3a:// address. strays: look for files that belong to no contract, too; they come last.
    accept: from now on let pass what is set aside. Raises LandingError, LakeError, CountsDontAddUp, BatchError; what
    other contracts loaded stays and is recorded. The error's `results` have that, the strays, and of a contract that
    failed the files that were set aside before.
    """
    from ingestion.topics import topics_of

    of_topic = {topic: item for item in contracts for topic in topics_of(item)}
    listed: dict[str, list[Landed]] = {item.name: [] for item in contracts}
    others = []
    for file in survey(spark, landing, None if strays else of_topic):
        if file.topic in of_topic and "/" in file.key:
            listed[of_topic[file.topic].name].append(file)
        else:
            others.append(file)
    before = history(spark, run.lake)
    at_hand = _AtHand(spark, run, landing, before, accept)

    def work(item: Contract) -> Taken:
        # What a first try has put into bronze, the second finds there.
        return unless_in_the_way(lambda: at_hand.take(item, listed[item.name]))

    strayed = [at_hand.stray(others)] if others else []
    failure: BatchError | None = None
    try:
        with _one_file_at_a_time(spark):
            taken = in_parallel("files", contracts, work, on_done)
    except BatchError as error:
        failure, taken = error, error.results
        done = {one.contract for one in taken}
        left = [at_hand.known_aside(item, listed[item.name]) for item in contracts if item.name not in done]
        taken += [one for one in left if one.fates]
    taken += strayed
    try:
        _record(spark, run, taken)
    except Exception as error:
        told = error if isinstance(error, BatchError) else explain(error, "files: what became of them")
        raise _with(told, taken) from failure or error
    if failure is not None:
        raise _with(failure, taken)
    return taken


def _with(error: BatchError, taken: list[Taken]) -> BatchError:
    """The error with what was done all the same. Its notes name what is set aside, for who sees a trace only."""
    error.results = taken
    for fate in (fate for one in taken for fate in one.open):
        error.add_note(f"set aside: {fate.file.key} {fate.reason}")
    return error


def survey(spark: SparkSession, landing: str, topics: Iterable[str] | None) -> list[Landed]:
    """The files of these topics, all where None; by name. As everywhere in Spark, what begins with `_` or `.` is not
    meant to be read. Raises LandingError."""
    from py4j.protocol import Py4JJavaError

    found = []
    try:
        root = files.absolute(spark, landing)
        folders = [landing] if topics is None else [f"{landing.rstrip('/')}/{topic}" for topic in topics]
        if topics is not None and not files.stat(spark, landing):
            raise FileNotFoundError(landing)
        for folder in folders:
            if topics is None or files.stat(spark, folder):
                found += files.listing(spark, folder)
    except FileNotFoundError as error:
        raise LandingError(
            f"landing {landing}: there is nothing; let GROCERY_LANDING name the folder or s3a:// address under which "
            "the topics' folders lie"
        ) from error
    except Py4JJavaError as error:
        raise LandingError(f"landing {landing}: it cannot be listed ({error.java_exception.getMessage()})") from error
    landed = []
    for one in found:
        file = Landed(one.path[len(root) + 1 :], one.path, one.size, one.modified_at, one.etag)
        if not re.search(r"(^|/)[_.]", file.key):
            landed.append(file if file.etag or file.path.startswith("file:") else replace(file, etag=file.version))
    return sorted(landed, key=lambda one: one.key)


@dataclass(frozen=True, slots=True)
class History:
    """What audit.files says. states: (key, etag) -> the newest state, its reason, whether it was accepted, and the id
    of the bronze table; etags: (key, size, ms since 1970) -> etag, so that no file in a folder is hashed twice; not of
    files whose bytes nobody has read."""

    states: dict[tuple[str, str], tuple[str, str, bool, str]]
    etags: dict[tuple[str, int, int], str]


def history(spark: SparkSession, lake: str) -> History:
    from pyspark.sql import functions as f

    path = tables.files_layout(lake).path
    if tables.snapshot(spark, path) is None:
        return History({}, {})
    last = ("state", "reason", "accepted", "bronze_id", "bytes", "modified_at")
    newest = (
        tables.read(spark, path)
        .where("etag IS NOT NULL AND state <> 'waiting'")
        .groupBy("object_key", "etag")
        .agg(f.max_by(f.struct(*last), f.struct("at", "accepted")).alias("last"))
        .select("object_key", "etag", "last.*", f.unix_millis("last.modified_at").alias("modified_ms"))
    )
    states, etags = {}, {}
    for row in newest.collect():
        states[row.object_key, row.etag] = (row.state, row.reason or "", row.accepted, row.bronze_id)
        if row.etag != _version(row.modified_ms, row.bytes):
            etags[row.object_key, row.bytes, row.modified_ms] = row.etag
    return History(states, etags)


@dataclass(frozen=True, slots=True)
class _AtHand:
    """What the work on every contract's files needs."""

    spark: SparkSession
    run: Run
    landing: str
    before: History
    accept: bool

    def take(self, item: Contract, listed: list[Landed]) -> Taken:
        """One contract's files. Raises CountsDontAddUp, LakeError."""
        if not listed:
            return Taken(item.name)
        target = tables.ensure(self.spark, tables.bronze_layout(self.run.lake, item))
        result = Taken(item.name, bronze_id=target.id)
        new = []
        for file in listed:
            found = self._settle(file, target.id)
            (new if isinstance(found, Landed) else result.fates).append(found)
        if new and not target.untouched:
            there = self._in_bronze(item, new)
            result.fates += [Fate(file, LOADED, there[file.id]) for file in new if file.id in there]
            new = [file for file in new if file.id not in there]
        for some in in_commits(new):
            _rows(self.spark, self.run, self.landing, some).write.format("delta").mode("append").save(
                tables.path_of(self.run.lake, "bronze", item.table)
            )
            there = self._in_bronze(item, some)
            result.fates += [Fate(file, LOADED, there[file.id]) for file in some if file.id in there]
            result.fates += self._why_not([file for file in some if file.id not in there])
        tables.ensure(self.spark, tables.bronze_layout(self.run.lake, item))
        result.check(listed)
        return result

    def known_aside(self, item: Contract, listed: list[Landed]) -> Taken:
        """Of a contract whose files could not be worked on: those that an earlier run has set aside."""
        result = Taken(item.name)
        for file in listed:
            file = replace(file, etag=file.etag or self._known_etag(file) or file.version)
            state, reason, accepted, _ = self.before.states.get((file.key, file.etag), _NEW)
            if state == SET_ASIDE:
                result.fates.append(Fate(file, SET_ASIDE, reason=reason, known=True, accepted=accepted))
        return result

    def stray(self, others: list[Landed]) -> Taken:
        """Files of no contract: they are not read, and looked at again by each run, for a contract may come."""
        result = Taken(STRAYS)
        for file in others:
            what = f"no contract has the topic {file.topic}" if "/" in file.key else "it lies in no topic's folder"
            file = file if file.etag else replace(file, etag=file.version)
            reason = f"{_NO_CONTRACT}: {what}; add the contract, or let the sender write it to another place"
            result.fates.append(self._set_aside(file, reason))
        return result

    def _settle(self, file: Landed, bronze_id: str) -> Landed | Fate:
        """The file with its etag where it must be read; else what is to be said without."""
        in_folder = file.etag is None
        if in_folder and abs(datetime.now(UTC) - file.modified_at) < SETTLED:
            minutes = SETTLED.total_seconds() / 60
            return Fate(file, WAITING, reason=f"young: written to less than {minutes:.0f} minutes ago")
        if in_folder:
            try:
                file = replace(file, etag=self._known_etag(file) or _sha256(file.path))
            except FileNotFoundError:
                return Fate(file, WAITING, reason="gone: it was removed while the run was at it")
            except OSError as error:
                return self._set_aside(replace(file, etag=file.version), _unreadable(error.strerror))
        state, reason, _, into = self.before.states.get((file.key, file.etag), _NEW)
        if state == LOADED and into == bronze_id:
            return Fate(file, LOADED, known=True)
        if state == SET_ASIDE and not reason.startswith(_AGAIN):
            return self._set_aside(file, reason)
        try:
            unpack.check_size(file.size, "as it lies there")
        except unpack.Unreadable as error:
            return self._set_aside(file, str(error))
        return file

    def _known_etag(self, file: Landed) -> str | None:
        """Of a file in a folder whose bytes an earlier run has read."""
        return self.before.etags.get((file.key, file.size, file.modified_ms))

    def _set_aside(self, file: Landed, reason: str) -> Fate:
        state, before, accepted, _ = self.before.states.get((file.key, file.etag), _NEW)
        same = state == SET_ASIDE and before == reason
        accepted = same and accepted
        return Fate(file, SET_ASIDE, 0, reason, same and (accepted or not self.accept), accepted or self.accept)

    def _in_bronze(self, item: Contract, some: list[Landed]) -> dict[str, int]:
        """Records in bronze, by the object's id. Opens the dates on which these files arrived."""
        dates = sorted({file.arrived_at.date() for file in some})
        there = tables.read(self.spark, tables.path_of(self.run.lake, "bronze", item.table))
        there = there.where(tables.date_list("arrived_date", dates)).where("partition < 0")
        wanted = {file.id for file in some}
        counts = there.groupBy("topic_id").count().collect()
        return {row.topic_id: row["count"] for row in counts if row.topic_id in wanted}

    def _why_not(self, some: list[Landed]) -> Iterator[Fate]:
        """Why these files brought no record."""
        if not some:
            return
        found = _contents(self.spark, some).mapInArrow(unpack.reasons_of, "object_key string, reason string")
        reasons = {row.object_key: row.reason for row in found.collect()}
        for file in some:
            if reasons.get(file.key):
                yield self._set_aside(file, reasons[file.key])
                continue
            now = files.stat(self.spark, file.path)
            if now and (now.size, now.modified_at) == (file.size, file.modified_at) and file.key not in reasons:
                why = _unreadable("Spark's log has the cause")
                yield self._set_aside(replace(file, etag=file.version), why)
            else:
                yield Fate(file, WAITING, reason="changed: it was written to while the run was at it")


def in_commits(new: list[Landed]) -> Iterator[list[Landed]]:
    """Files in the order in which they arrived, as many as go into one commit."""
    some: list[Landed] = []
    size = 0
    for file in sorted(new, key=lambda one: (one.arrived_at, one.key)):
        if some and (size + file.size > COMMIT_BYTES or len(some) == COMMIT_FILES):
            yield some
            some, size = [], 0
        some.append(file)
        size += file.size
    if some:
        yield some


def _contents(spark: SparkSession, some: list[Landed]) -> DataFrame:
    """`object_key`, `topic`, `topic_id`, `arrived_at`, `length` and `content` of these files as they were listed; one
    that has changed since, or cannot be read, is left out."""
    from pyspark.errors import AnalysisException
    from pyspark.sql import functions as f

    columns = "path string, length long, modificationTime timestamp, object_key string, topic string, topic_id string"
    plan = spark.createDataFrame(
        [(one.path, one.size, one.modified_at, one.key, one.topic, one.id, one.arrived_at) for one in some],
        f"{columns}, arrived_at timestamp",
    )
    reader = (
        spark.read.format("binaryFile")
        .option("__globPaths__", "false")  # a name is a name, with its brackets and stars
        .option("recursiveFileLookup", "true")  # else a star in a name has others listed twice
        .option("ignoreMissingFiles", "true")
        .option("ignoreCorruptFiles", "true")
    )
    try:
        found = reader.load([one.path for one in some])
    except AnalysisException as error:  # of a file that is gone by now, whatever the options say
        there = [one for one in some if files.stat(spark, one.path)]
        if error.getCondition() != "PATH_NOT_FOUND" or len(there) == len(some):
            raise
        if there:
            return _contents(spark, there)
        found = spark.createDataFrame([], "path string, modificationTime timestamp, length long, content binary")
    kept = ("object_key", "topic", "topic_id", "arrived_at", "length", "content")
    return found.join(f.broadcast(plan), ["path", "length", "modificationTime"]).select(*kept)


def _rows(spark: SparkSession, run: Run, landing: str, some: list[Landed]) -> DataFrame:
    """The files' records as bronze rows."""
    from pyspark.sql import functions as f

    from batch_jobs.bronze import payload

    found = _contents(spark, some).mapInArrow(unpack.rows_of, _ROWS)
    return found.select(
        payload("value"),
        f.lit(None).cast("string").alias("key"),
        f.lit(landing).alias("cluster"),
        f.col("topic"),
        f.col("topic_id"),
        (-1 - f.col("place")).cast("int").alias("partition"),
        f.col("line").alias("offset"),
        f.col("arrived_at"),
        f.lit(run.at).alias("loaded_at"),
        f.lit(run.id).alias("run_id"),
        f.to_date("arrived_at").alias("arrived_date"),
    )


@contextmanager
def _one_file_at_a_time(spark: SparkSession) -> Iterator[None]:
    """A file is a row: Spark hands its Python workers one at a time, not the usual ten thousand."""
    name = "spark.sql.execution.arrow.maxRecordsPerBatch"
    usual = spark.conf.get(name)
    spark.conf.set(name, "1")
    try:
        yield
    finally:
        spark.conf.set(name, usual)


def _sha256(path: str) -> str:
    with Path(path.removeprefix("file:")).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unreadable(cause: str) -> str:
    return f"{_UNREADABLE}: it cannot be read ({cause}); let this user read it, each run tries again"


def _record(spark: SparkSession, run: Run, taken: list[Taken]) -> None:
    """Write what became of each file that was not known, all contracts in one commit."""
    at = datetime.now(UTC)
    rows = [
        (
            run.id,
            one.contract,
            fate.file.key,
            fate.file.etag,
            fate.file.size,
            fate.file.modified_at,
            fate.state,
            fate.rows,
            fate.reason,
            fate.accepted,
            at,
            one.bronze_id,
        )
        for one in taken
        for fate in one.fates
        if not fate.known
    ]
    if not rows:
        return
    tables.append(spark, tables.files_layout(run.lake), rows)
