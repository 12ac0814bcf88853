"""The quality gate: Great Expectations holds what silver has gained against the suite derived from each contract, and
against those that the chain's people wrote by hand.

Each contract's new rows are one batch; a hand-written suite sees the days that they lie on (batch_jobs/suites.py).
Beside them stand the share of quarantined records, and each store's volume and newest event (batch_jobs/volumes.py). A
critical expectation that fails stops what is built on silver; a warning is told and lets it go on. What was found is
written to audit.quality, what a hand-written suite found one by one to audit.findings, and all of it as Data Docs.

A second run has nothing to check and writes nothing. A batch that failed is checked again, together with what came
since, until it passes or is accepted: running once more is no way around the gate. A finding of a hand-written suite
that was accepted does not close the gate again when its day is looked at again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import reduce
from operator import and_
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batch_jobs import silver, suites, tables, volumes
from batch_jobs.errors import BatchError, LakeError, explain
from batch_jobs.run import Run
from batch_jobs.suites import Check, Found, Suite
from batch_jobs.volumes import Day, Gained, Key
from schemas.contract import Contract, all_contracts
from schemas.expectations import CRITICAL, NOT_NULL, WARNING, Expectation, suite

if TYPE_CHECKING:
    from great_expectations.core import ExpectationSuiteValidationResult
    from great_expectations.data_context import AbstractDataContext
    from pyspark.sql import DataFrame, SparkSession

MOST_QUARANTINED = 0.01
"""Share of a run's records in quarantine above which it is worth a look; the gate refuses bad events before."""
DISPOSITIONS, VOLUME, FRESHNESS = BESIDE = ("dispositions", "volume", "freshness")
"""Checks that are no contract's batch, under these names in place of a contract's."""
_UNJUDGED = (volumes.NO_HISTORY, volumes.RUNNING, volumes.TOO_FEW, volumes.HOLIDAY)


class GateClosed(BatchError):
    """A critical expectation failed and nobody let it pass."""


@dataclass(frozen=True, slots=True)
class Finding:
    """An expectation that did not hold. unexpected: how many rows, where it counts rows; seen: what was there."""

    contract: str
    expectation: str
    severity: str
    unexpected: int | None
    seen: str

    def __str__(self) -> str:
        rows = f" ({self.unexpected} rows)" if self.unexpected else ""
        return f"{self.contract}: {self.expectation}{rows}" + (f", found {self.seen}" if self.seen else "")


@dataclass(slots=True)
class Checked:
    """One contract's batch. rows: new in silver; expectations: how many were held against them; note: what could not be
    judged, for people."""

    contract: str
    rows: int = 0
    expectations: int = 0
    findings: list[Finding] = field(default_factory=list)
    silver_id: str = ""
    silver_version: int = -1
    note: str = ""


@dataclass(slots=True)
class Verdict:
    """What the gate says of a run. docs: the page to open; None where there was nothing to check; then newest_at says
    when the newest event that is known arrived, so that a silence of all is seen."""

    checked: list[Checked] = field(default_factory=list)
    accepted: bool = False
    docs: Path | None = None
    newest_at: datetime | None = None

    @property
    def failures(self) -> list[Finding]:
        return [one for each in self.checked for one in each.findings if one.severity == CRITICAL]

    @property
    def warnings(self) -> list[Finding]:
        return [one for each in self.checked for one in each.findings if one.severity != CRITICAL]

    @property
    def passed(self) -> bool:
        return self.accepted or not self.failures


def quality(
    spark: SparkSession,
    run: Run,
    contracts: Iterable[Contract],
    docs: Path,
    *,
    written: Path | None = None,
    accept: bool = False,
    on_done: Callable[[Checked], None] | None = None,
) -> Verdict:
    """Check what silver has gained since each contract last passed.

    docs: folder of the Data Docs. written: folder of the hand-written suites, none without. accept: take note of what
    fails, and let it pass this once.
    Raises LakeError, BadSuite, BatchError where an expectation could not be evaluated.
    """
    verdict = Verdict(accepted=accept)
    contracts = tuple(contracts)
    by_hand = suites.read_suites(written) if written is not None else ()
    passed_before, waiting = _passed(spark, run.lake), _waiting(spark, run.lake)
    context = None
    stored: list[Any] = []
    rows: list[tuple] = []
    told: list[tuple] = []
    gained: list[Gained] = []
    for item in contracts:
        path = tables.path_of(run.lake, "silver", item.table)
        now = tables.snapshot(spark, path)
        if now is None:
            raise LakeError(f"{path}: there is no such table; run `grocery batch silver` first")
        after = passed_before.get((item.name, now.id))
        if item.name not in waiting and (after == now.version or now.untouched):
            continue
        context = context or _context(docs)
        result = Checked(item.name, silver_id=now.id, silver_version=now.version)
        new = _gained(spark, path, after, now.version) if after != now.version else _none(spark, path)
        expectations = suite(item)
        batch = _held_against(_plain(new, item), expectations).persist()
        try:
            by_date = dict(batch.groupBy("event_date").count().collect())
            result.rows = sum(by_date.values())
            data = {"dataframe": batch}
            outcome = _validate(context, "silver", item.name, [_theirs(one) for one in expectations], data, run, stored)
        finally:
            batch.unpersist()
        _take(result, expectations, outcome, rows, run, accept)
        dates = tuple(day for day in by_date if day is not None)  # without one it failed already
        gained.append(Gained(item, now.version, dates))
        for one in by_hand:
            if one.about.name == item.name and dates:
                _hold(spark, context, one, result, dates, run, stored, rows, told, accept)
        verdict.checked.append(result)
        if on_done:
            on_done(result)
    if context is None:
        verdict.newest_at = volumes.newest_arrival(spark, run.lake)
        return verdict
    verdict.checked.append(_check_dispositions(spark, context, run, stored, rows, accept))
    verdict.checked += _check_volumes(spark, context, run, contracts, gained, stored, rows, accept)
    context.build_data_docs(resource_identifiers=stored)
    verdict.docs = docs / "index.html"
    # Last what the next run goes by.
    tables.append(spark, tables.findings_layout(run.lake), told)
    tables.append(spark, tables.quality_layout(run.lake), rows)
    return verdict


def open_failures(spark: SparkSession, lake: str) -> list[str]:
    """The critical findings of each contract's newest check that did not pass, for people; empty: gold may be built."""
    from pyspark.sql import functions as f

    path = tables.quality_layout(lake).path
    if tables.snapshot(spark, path) is None:
        return []
    found = tables.read(spark, path)
    newest = found.groupBy("contract").agg(f.max_by("run_id", "at").alias("run_id"))
    failed = found.join(newest, ["contract", "run_id"]).where(
        (f.col("severity") == CRITICAL) & ~f.col("success") & ~f.col("accepted")
    )
    return [f"{row.contract}: {row.expectation}" for row in failed.orderBy("contract", "expectation").collect()]


def _passed(spark: SparkSession, lake: str) -> dict[tuple[str, str], int]:
    """(contract, silver table id) -> silver version up to which everything has passed."""
    from pyspark.sql import functions as f

    path = tables.quality_layout(lake).path
    if tables.snapshot(spark, path) is None:
        return {}
    fine = (f.col("severity") != CRITICAL) | f.col("success") | f.col("accepted")
    each = tables.read(spark, path).groupBy("contract", "silver_id", "silver_version", "run_id")
    upto = each.agg(f.every(fine).alias("passed")).where("passed").groupBy("contract", "silver_id")
    return {(name, table): version for name, table, version in upto.agg(f.max("silver_version")).collect()}


def _waiting(spark: SparkSession, lake: str) -> set[str]:
    """Contracts whose records came to silver or quarantine after they were last checked; maybe none of them is new."""
    from pyspark.sql import functions as f

    newest = []
    for layout in (tables.dispositions_layout(lake), tables.quality_layout(lake)):
        found = {}
        if tables.snapshot(spark, layout.path) is not None:
            rows = tables.read(spark, layout.path).groupBy("contract").agg(f.max("at"))
            found = dict(rows.collect())
        newest.append(found)
    curated, checked = newest
    return {name for name, at in curated.items() if name not in checked or at > checked[name]}


def _gained(spark: SparkSession, path: str, after: int | None, upto: int) -> DataFrame:
    """What is new; the whole table where its log does not reach back, as after an erasure: rather twice than never."""
    try:
        return tables.added(spark, path, after, upto)
    except LakeError:
        return tables.read(spark, path, upto)


def _none(spark: SparkSession, path: str) -> DataFrame:
    return tables.read(spark, path).limit(0)


def _plain(rows: DataFrame, item: Contract) -> DataFrame:
    """The columns that expectations are about."""
    from pyspark.sql.types import ArrayType, MapType, StructType

    nested = (ArrayType, MapType, StructType)
    names = {one.name for one in item.fields} | {"event_date", "arrived_at"}
    return rows.select(*[f.name for f in rows.schema.fields if f.name in names and not isinstance(f.dataType, nested)])


def _held_against(rows: DataFrame, expectations: Iterable[Expectation]) -> DataFrame:
    """The rows with a column for each expectation that is about some of them only.

    Great Expectations' own row conditions cost a job for each condition; everything about columns is one job."""
    from pyspark.sql import functions as f

    added = {}
    for one in expectations:
        if one.where:
            value = f.col(one.arguments["column"])
            meant = reduce(and_, [f.col(name).isin(values) for name, values in one.where.items()])
            if one.kind == NOT_NULL:
                added[one.column] = f.when(meant & value.isNull(), f.lit(None)).otherwise(f.lit(True))
            else:
                added[one.column] = f.when(meant, value)
    return rows.withColumns(added)


def _context(docs: Path) -> AbstractDataContext:
    """A Great Expectations context that lives for one run; only its Data Docs stay."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    context = gx.get_context(
        mode="ephemeral",
        project_config=DataContextConfig(
            store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
            analytics_enabled=False,
            progress_bars=ProgressBarsConfig(globally=False, metric_calculations=False),
        ),
    )
    docs.mkdir(parents=True, exist_ok=True)
    context.add_data_docs_site(
        "local",
        {
            "class_name": "SiteBuilder",
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs.resolve())},
        },
    )
    context.data_sources.add_spark("silver", persist=False)
    context.data_sources.add_pandas("audit")
    return context


def _validate(
    context: AbstractDataContext,
    source: str,
    name: str,
    expectations: list[Any],
    data: dict[str, Any],
    run: Run,
    stored: list[Any],
    *,
    once: bool = False,
) -> ExpectationSuiteValidationResult:
    """Yes or no first: samples cost a job per expectation, so they are taken only of those that failed.

    expectations: Great Expectations' own. once: with counts and samples at once, where they cost nothing.
    """
    import great_expectations as gx
    from great_expectations.core.run_identifier import RunIdentifier
    from great_expectations.data_context.types.resource_identifiers import (
        ExpectationSuiteIdentifier,
        ValidationResultIdentifier,
    )

    asset = context.data_sources.get(source).add_dataframe_asset(name)
    batch = asset.add_batch_definition_whole_dataframe(f"{name}-new")
    their_suite = context.suites.add(gx.ExpectationSuite(name, expectations=expectations))
    validation = context.validation_definitions.add(gx.ValidationDefinition(name=name, data=batch, suite=their_suite))
    at = RunIdentifier(run_name=run.id, run_time=run.at)
    outcome = validation.run(batch_parameters=data, result_format="SUMMARY" if once else "BOOLEAN_ONLY", run_id=at)
    key = ValidationResultIdentifier(ExpectationSuiteIdentifier(name), at, outcome.batch_id)
    if not outcome.success and not once:
        failed = {each.expectation_config.notes for each in outcome.results if not each.success}
        again = gx.ExpectationSuite(f"{name}-failed", [copy(one) for one in expectations if one.notes in failed])
        found = batch.get_batch(batch_parameters=data).validate(again, result_format="SUMMARY")
        detailed = {each.expectation_config.notes: each for each in found.results}
        outcome.results = [detailed.get(each.expectation_config.notes, each) for each in outcome.results]
        context.validation_results_store.set(key, outcome)
    stored += [ExpectationSuiteIdentifier(name), key]
    return outcome


def _theirs(one: Expectation) -> Any:
    """An expectation as Great Expectations' class."""
    from great_expectations import expectations as gxe

    kind = getattr(gxe, "".join(word.capitalize() for word in one.kind.split("_")))
    arguments = one.arguments | {"column": one.column} if one.where else one.arguments
    return kind(**arguments, severity=one.severity, notes=one.text)


def _take(
    result: Checked,
    expectations: list[Expectation],
    outcome: ExpectationSuiteValidationResult,
    rows: list[tuple],
    run: Run,
    accept: bool,
) -> None:
    """Add what was found to the result, and one row per expectation to `rows`. Raises BatchError."""
    result.expectations += len(expectations)
    for ours, success, unexpected, seen in _outcomes(result.contract, expectations, outcome):
        if not success:
            result.findings.append(Finding(result.contract, ours.text, ours.severity, unexpected, seen))
        rows.append(_row(run, result, ours, success, result.rows, unexpected, seen, accept))


def _outcomes(
    name: str, ours: Iterable[Expectation | Check], outcome: ExpectationSuiteValidationResult
) -> Iterator[tuple[Expectation | Check, bool, int | None, str]]:
    """(ours, whether it held, rows against it, what was there instead) of each. Raises BatchError."""
    by_text = {one.text: one for one in ours}
    for each in outcome.results:
        one = by_text[each.expectation_config.notes]
        if (each.exception_info or {}).get("raised_exception"):
            error = each.exception_info.get("exception_message")
            raise explain(BatchError(str(error)), f"quality {name}: could not check `{one.text}`")
        found = each.result or {}
        seen = found.get("observed_value", found.get("partial_unexpected_list") or "")
        yield one, bool(each.success), found.get("unexpected_count"), "" if each.success else _short(seen)


def _row(
    run: Run,
    result: Checked,
    one: Expectation | Check,
    success: bool,
    checked: int,
    unexpected: int | None,
    seen: str,
    accepted: bool,
) -> tuple:
    """A row of audit.quality."""
    head = (run.id, result.contract, one.text, one.severity, success, checked, unexpected, seen)
    return (*head, accepted, datetime.now(UTC), result.silver_id, result.silver_version)


def _hold(
    spark: SparkSession,
    context: AbstractDataContext,
    suite: Suite,
    result: Checked,
    dates: Iterable[date],
    run: Run,
    stored: list[Any],
    rows: list[tuple],
    told: list[tuple],
    accept: bool,
) -> None:
    """Hold a hand-written suite against the days of the new rows: one row per check to `rows`, to `told` its findings
    that are not on record as they are. Raises BadSuite, BatchError."""
    result.expectations += len(suite.checks)
    with suites.opened(spark, run.lake, suite, result.silver_version, dates) as batch:
        suites.validate(spark, suite)
        theirs = [suites.theirs(check) for check in suite.checks]
        data = {"dataframe": batch}
        outcome = _validate(context, "silver", suite.name, theirs, data, run, stored, once=True)
        for check, success, unexpected, seen in _outcomes(result.contract, suite.checks, outcome):
            if success or check.query is None:
                rows.append(_row(run, result, check, success, result.rows, unexpected, seen, accept))
                if not success:
                    result.findings.append(Finding(result.contract, check.text, check.severity, unexpected, seen))
                continue
            found = suites.findings(spark, suite, check)
            known = _known_findings(spark, run.lake, result.contract, check, found)
            # Accepted is what would have closed the gate; a warning is told again as long as its days are looked at.
            may = accept and check.severity == CRITICAL
            accepted = [may or known.get(one.key, (False,))[0] for one in found]
            standing = [one for one, let_by in zip(found, accepted, strict=True) if not let_by or may]
            for one, let_by in zip(found, accepted, strict=True):
                if known.get(one.key) != (let_by, one.to_at, one.counted, one.observed):
                    head = (run.id, result.contract, check.text, check.severity, one.store_id, one.subject)
                    what = (one.from_at, one.to_at, one.counted, one.observed)
                    told.append((*head, *what, let_by, datetime.now(UTC)))
            seen = _short([*map(str, standing or found)], 240)
            if standing:
                result.findings.append(Finding(result.contract, check.text, check.severity, len(standing), seen))
            rows.append(_row(run, result, check, False, result.rows, len(found), seen, all(accepted)))


def _known_findings(
    spark: SparkSession, lake: str, name: str, check: Check, found: list[Found]
) -> dict[tuple[str, str, datetime], tuple[bool, datetime, int, str]]:
    """What is on record of these findings: key -> (accepted, to_at, counted, observed), as it was told last."""
    from pyspark.sql import functions as f

    path = tables.findings_layout(lake).path
    if not found or tables.snapshot(spark, path) is None:
        return {}
    same = (f.col("contract") == name) & (f.col("expectation") == check.text)
    old = tables.read(spark, path).where(same & (f.col("from_at") >= f.lit(min(one.from_at for one in found))))
    return {
        (row.store_id, row.subject, row.from_at.astimezone(UTC)): (
            row.accepted,
            row.to_at.astimezone(UTC),
            row.counted,
            row.observed,
        )
        for row in sorted(old.collect(), key=lambda row: row.at)
    }


def _short(seen: Any, most: int = 120) -> str:
    values = list(dict.fromkeys(map(str, seen))) if isinstance(seen, list) else [str(seen)]
    text = ", ".join(values[:3]) + (", …" if len(values) > 3 else "")
    return text if len(text) <= most else text[: most - 1] + "…"


def _check_dispositions(
    spark: SparkSession, context: AbstractDataContext, run: Run, stored: list[Any], rows: list[tuple], accept: bool
) -> Checked:
    """The share of quarantined records of each contract's newest silver run, without those replayed since."""
    from pyspark.sql import Window
    from pyspark.sql import functions as f

    newest = Window.partitionBy("contract").orderBy(f.desc("at"))
    bad = f.col("disposition") == silver.QUARANTINED
    found = (
        tables.read(spark, tables.dispositions_layout(run.lake).path)
        # Of runs over bronze: no replay, and nothing that only went away.
        .where(f.col("bronze_version").isNotNull() & f.col("disposition").isin(*silver.DISPOSITIONS))
        .withColumn("newest", f.first("run_id").over(newest))
        .where("run_id = newest")
        .groupBy("contract", "run_id")
        .agg(f.sum("rows").alias("records"), f.sum(f.when(bad, f.col("rows")).otherwise(0)).alias("bad"))
        .toPandas()
    )
    found["bad"] -= [
        _replayed(spark, run.lake, row.contract, row.run_id) if row.bad else 0 for row in found.itertuples()
    ]
    found["quarantined_share"] = found["bad"] / found["records"]
    result = Checked(DISPOSITIONS, rows=len(found))
    expectations = [
        Expectation(
            "expect_column_values_to_be_between",
            {"column": "quarantined_share", "max_value": MOST_QUARANTINED},
            WARNING,
            f"at most {MOST_QUARANTINED:.0%} of a contract's records are quarantined",
        )
    ]
    theirs = [_theirs(one) for one in expectations]
    outcome = _validate(context, "audit", DISPOSITIONS, theirs, {"dataframe": found}, run, stored)
    _take(result, expectations, outcome, rows, run, accept)
    if result.findings:
        over = found[found["quarantined_share"] > MOST_QUARANTINED]
        seen = ", ".join(f"{row.contract} {row.quarantined_share:.1%}" for row in over.itertuples())
        result.findings = [Finding(DISPOSITIONS, expectations[0].text, WARNING, None, seen)]
    return result


def _replayed(spark: SparkSession, lake: str, name: str, run_id: str) -> int:
    """How many records that this run set aside were found to be events since."""
    table = {item.name: item.table for item in all_contracts()}.get(name)
    if table is None:  # one of a chain's own, which are not given now
        return 0
    kept = tables.read(spark, tables.path_of(lake, "quarantine", table))
    if "replayed_at" not in kept.columns:
        return 0
    return kept.where("replayed_at IS NOT NULL").where(kept.run_id == run_id).count()


def _check_volumes(
    spark: SparkSession,
    context: AbstractDataContext,
    run: Run,
    contracts: Iterable[Contract],
    gained: list[Gained],
    stored: list[Any],
    rows: list[tuple],
    accept: bool,
) -> list[Checked]:
    """Each store's events of a day against the same weekday, and the age of its newest. They are in audit.volumes."""
    found = volumes.volumes(spark, run, contracts, gained)
    volume = _beside(
        Checked(VOLUME, rows=sum(day.ratio is not None for day in found.judged.values())),
        Expectation(
            "expect_column_values_to_be_between",
            {"column": "ratio", "min_value": volumes.LOW, "max_value": volumes.HIGH},
            WARNING,
            f"a day has {volumes.LOW:g} to {volumes.HIGH:g} times the events of the same weekday before",
        ),
        [(key, day, day.ratio) for key, day in sorted(found.judged.items())],
        lambda day: day.volume in (volumes.TOO_LOW, volumes.TOO_HIGH),
        lambda day: f"{day.events:,} events, usual {day.usual:,.0f}",
        *(context, run, stored, rows, accept),
    )
    unjudged = [f"{number} {word}" for word in _UNJUDGED if (number := found.count(word))]
    volume.note = f"not judged: {', '.join(unjudged)}" if unjudged else ""
    freshness = _beside(
        Checked(FRESHNESS, rows=sum(day.freshness != volumes.NO_LIMIT for day in found.measured.values())),
        Expectation(
            "expect_column_values_to_be_between",
            {"column": "ratio", "max_value": 1.0},
            WARNING,
            "a store's newest event is no older than its contract and the same weekday allow",
        ),
        [(key, day, day.age_s / day.limit_s if day.limit_s else None) for key, day in sorted(found.measured.items())],
        lambda day: day.freshness == volumes.STALE,
        lambda day: f"{_hours(day.age_s)} old, at most {_hours(day.limit_s)}",
        *(context, run, stored, rows, accept),
    )
    return [volume, freshness]


def _beside(
    result: Checked,
    expectation: Expectation,
    days: list[tuple[Key, Day, float | None]],
    is_off: Callable[[Day], bool],
    say: Callable[[Day], str],
    context: AbstractDataContext,
    run: Run,
    stored: list[Any],
    rows: list[tuple],
    accept: bool,
) -> Checked:
    """Hold one expectation against the days' ratios; what is off is told with its contract, store and day."""
    if not days:
        return result
    import pandas as pd

    keys = [(*key, ratio) for key, _, ratio in days]
    found = pd.DataFrame(keys, columns=["contract", "store_id", "business_date", "ratio"]).astype({"ratio": "float64"})
    outcome = _validate(context, "audit", result.contract, [_theirs(expectation)], {"dataframe": found}, run, stored)
    result.expectations = 1
    off = [f"{name} {store} {day}: {say(one)}" for (name, store, day), one, _ in days if is_off(one)]
    for ours, success, unexpected, _ in _outcomes(result.contract, [expectation], outcome):
        seen = "" if success else _short(off, 240)
        if not success:
            result.findings = [Finding(result.contract, ours.text, ours.severity, None, seen)]
        rows.append(_row(run, result, ours, success, result.rows, unexpected, seen, accept))
    return result


def _hours(seconds: int) -> str:
    return f"{seconds / 3600:.1f} h"
