"""Hand-written suites: what no single event shows, and only somebody who knows the shop can say.

<chain>/quality/<name>.yaml, in Great Expectations' own words (docs/quality.md). An `unexpected_rows_expectation` is a
query in Spark's SQL. Each row it gives is one finding:

    store_id, subject (what it is about: an asset, a receipt), from_at, to_at, counted (events), observed (text)

It asks {batch}, the events of the contract that the suite is `about`, on the dates (UTC) that new ones came to and a
day to either side; and by their names the tables that the suite `reads`: two days to either side, reference tables
whole. So a finding that reaches further back than the day before is told with where that day begins.

Without state: the same silver and the same dates give the same findings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batch_jobs import tables
from batch_jobs.errors import BatchError
from batch_jobs.silver import around
from schemas.contract import Contract, UnknownContract, contract
from schemas.expectations import CRITICAL, WARNING

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

QUERY = "unexpected_rows_expectation"
COLUMNS = ("store_id", "subject", "from_at", "to_at", "counted", "observed")
MOST = 10_000
"""Findings of one check and run that are kept and told; more are one thing, and that many rows say what."""
_BATCH = "quality_batch"
_WORDS = {"about", "reads", "expectations"}
_OF_ONE = {"type", "kwargs", "description", "severity"}


class BadSuite(BatchError):
    """A hand-written suite cannot be read, or its query cannot be run."""


@dataclass(frozen=True, slots=True)
class Check:
    """One expectation of a suite. kind, arguments: Great Expectations' type and kwargs; text: what it says."""

    kind: str
    arguments: dict[str, Any]
    severity: str
    text: str

    @property
    def query(self) -> str | None:
        """The query of one that is a query, asking the batch; None of any other."""
        return self.arguments["unexpected_rows_query"] if self.kind == QUERY else None


@dataclass(frozen=True, slots=True)
class Suite:
    """One file. about: the contract whose new events it is held against; reads: others whose tables it asks."""

    path: Path
    about: Contract
    reads: tuple[Contract, ...]
    checks: tuple[Check, ...]

    @property
    def name(self) -> str:
        return f"{self.about.name}-{self.path.stem}"


@dataclass(frozen=True, slots=True)
class Found:
    """One finding. from_at, to_at: UTC; counted: events it is about."""

    store_id: str
    subject: str
    from_at: datetime
    to_at: datetime
    counted: int
    observed: str

    @property
    def key(self) -> tuple[str, str, datetime]:
        """Names it in its check, run after run."""
        return (self.store_id, self.subject, self.from_at)

    def __str__(self) -> str:
        day = "%Y-%m-%d %H:%M"
        until = f" to {self.to_at:%H:%M}" if self.to_at > self.from_at else ""
        return f"{self.store_id} {self.subject} {self.from_at:{day}}{until}" + f" {self.observed}" * bool(self.observed)


def read_suites(folder: Path) -> tuple[Suite, ...]:
    """Every suite of a chain, by file name; none where there is no such folder. Raises BadSuite."""
    suites = tuple(_read(path) for path in sorted(folder.glob("*.yaml")))
    seen: dict[tuple[str, str], Path] = {}
    for suite in suites:
        for check in suite.checks:
            if other := seen.get((suite.about.name, check.text)):
                raise BadSuite(f"{suite.path}: `{check.text}` is in {other.name} too; results are kept by these words")
            seen[suite.about.name, check.text] = suite.path
    return suites


def _read(path: Path) -> Suite:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        doc = YAML(typ="safe").load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise BadSuite(f"{path}: cannot be read: {error}") from error
    if not isinstance(doc, dict) or not isinstance(doc.get("expectations"), list) or doc.keys() - _WORDS:
        raise BadSuite(f"{path}: a suite has {', '.join(sorted(_WORDS))}, and nothing else; docs/quality.md explains")
    try:
        about, *reads = (contract(name) for name in (doc.get("about"), *(doc.get("reads") or ())))
    except UnknownContract as error:
        raise BadSuite(f"{path}: {error}") from error
    return Suite(path, about, tuple(reads), tuple(_check(path, one) for one in doc["expectations"]))


def _check(path: Path, given: Any) -> Check:
    if not isinstance(given, dict) or given.keys() != _OF_ONE:
        raise BadSuite(f"{path}: an expectation has {', '.join(sorted(_OF_ONE))}; found {given}")
    check = Check(given["type"], dict(given["kwargs"] or {}), given["severity"], str(given["description"]).strip())
    if check.severity not in (CRITICAL, WARNING):
        raise BadSuite(f"{path}: `{check.text}`: severity is {CRITICAL} or {WARNING}, not {check.severity}")
    if check.kind == QUERY and "{batch}" not in str(check.arguments.get("unexpected_rows_query")):
        raise BadSuite(f"{path}: `{check.text}`: unexpected_rows_query must ask {{batch}}")
    try:
        theirs(check)
    except Exception as error:  # whatever Great Expectations has against it
        raise BadSuite(f"{path}: `{check.text}`: {error}") from error
    return check


def theirs(check: Check) -> Any:
    """A check as Great Expectations' class."""
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    words = {"notes": check.text, "description": check.text, "severity": check.severity}
    one = ExpectationConfiguration(type=check.kind, kwargs=dict(check.arguments), **words).to_domain_obj()
    return one if check.query is None else _counted()(**check.arguments, **words)


@cache
def _counted() -> type:
    """Great Expectations' own for queries, but that it asks once: what it would show of the rows nobody looks at."""
    from great_expectations.expectations import UnexpectedRowsExpectation

    class UnexpectedRowsCounted(UnexpectedRowsExpectation):
        metric_dependencies = ("unexpected_rows_query.row_count",)

        def _validate(self, metrics: dict, *_: Any, **__: Any) -> dict:
            rows = metrics["unexpected_rows_query.row_count"]
            return {"success": rows == 0, "result": {"observed_value": rows}}

    return UnexpectedRowsCounted


@contextmanager
def opened(spark: SparkSession, lake: str, suite: Suite, version: int, dates: Iterable[date]) -> Iterator[DataFrame]:
    """The suite's batch; while it is open, the tables that the suite asks are there under their names.

    version: of the silver table that the suite is about. dates: UTC dates that new events came to.
    """
    dates = list(dates)
    near = tables.date_list("event_date", around(dates, 1))
    batch = tables.read(spark, tables.path_of(lake, "silver", suite.about.table), version).where(near)
    batch.createOrReplaceTempView(_BATCH)
    for item in suite.reads:
        _table(spark, lake, item, dates).createOrReplaceTempView(item.table)
    try:
        yield batch
    finally:
        for name in (_BATCH, *(item.table for item in suite.reads)):
            spark.catalog.dropTempView(name)


def _table(spark: SparkSession, lake: str, item: Contract, dates: list[date]) -> DataFrame:
    """Empty where the lake has no such table yet."""
    layout = tables.silver_layout(lake, item)
    if tables.snapshot(spark, layout.path) is None:
        return spark.createDataFrame([], layout.columns)
    rows = tables.read(spark, layout.path)
    return rows if item.kind == "reference" else rows.where(tables.date_list("event_date", around(dates, 2)))


def validate(spark: SparkSession, suite: Suite) -> None:
    """Ask Spark whether the queries can be run, and run none. Call while opened. Raises BadSuite."""
    for check in suite.checks:
        if check.query is not None:
            _ask(spark, suite, check)


def findings(spark: SparkSession, suite: Suite, check: Check) -> list[Found]:
    """The first MOST rows that the check's query gives. Call while opened."""
    rows = _ask(spark, suite, check).limit(MOST).collect()
    if any(row[name] is None for row in rows for name in COLUMNS[:-1]):
        raise BadSuite(f"{suite.path}: `{check.text}`: only observed may be null; found {rows[0].asDict()}")
    found = [
        Found(row.store_id, str(row.subject), _utc(row.from_at), _utc(row.to_at), row.counted, row.observed or "")
        for row in rows
    ]
    return sorted(found, key=lambda one: one.key)


def _ask(spark: SparkSession, suite: Suite, check: Check) -> DataFrame:
    from pyspark.errors import PySparkException
    from pyspark.sql import functions as f

    try:
        rows = spark.sql(check.query.format(batch=_BATCH))
    except PySparkException as error:
        first = str(error).strip().splitlines()[0]
        raise BadSuite(f"{suite.path}: `{check.text}`: {first}") from error
    if missing := [name for name in COLUMNS if name not in rows.columns]:
        raise BadSuite(f"{suite.path}: `{check.text}`: its query gives no column {', '.join(missing)}")
    instants = [f.col(name).cast("timestamp").alias(name) for name in ("from_at", "to_at")]
    return rows.select("store_id", "subject", *instants, f.col("counted").cast("long"), "observed")


def _utc(instant: datetime) -> datetime:
    """Spark gives instants in this machine's own zone, and without saying so."""
    return instant.astimezone(UTC)
