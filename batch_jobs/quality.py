"""The quality gate: Great Expectations holds what silver has gained against the suite derived from each contract.

Each contract's new rows are one batch. A critical expectation that fails stops what is built on silver; a warning is
told and lets it go on. What was found is written to audit.quality, and as Data Docs.

A second run has nothing to check and writes nothing. A batch that failed is checked again, together with what came
since, until it passes or is accepted: running once more is no way around the gate.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batch_jobs import tables
from batch_jobs.errors import BatchError, LakeError, explain
from batch_jobs.run import Run
from schemas.contract import Contract, all_contracts
from schemas.expectations import CRITICAL, WARNING, Expectation, suite

if TYPE_CHECKING:
    from great_expectations.core import ExpectationSuiteValidationResult
    from great_expectations.data_context import AbstractDataContext
    from pyspark.sql import DataFrame, SparkSession

MOST_QUARANTINED = 0.01
"""Share of a run's records in quarantine above which it is worth a look; the gate refuses bad events before."""
DISPOSITIONS = "dispositions"


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
    """One contract's batch. rows: new in silver; expectations: how many were held against them."""

    contract: str
    rows: int = 0
    expectations: int = 0
    findings: list[Finding] = field(default_factory=list)
    silver_id: str = ""
    silver_version: int = -1


@dataclass(slots=True)
class Verdict:
    """What the gate says of a run. docs: the page to open; None where there was nothing to check."""

    checked: list[Checked] = field(default_factory=list)
    accepted: bool = False
    docs: Path | None = None

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
    accept: bool = False,
    on_done: Callable[[Checked], None] | None = None,
) -> Verdict:
    """Check what silver has gained since each contract last passed.

    docs: folder of the Data Docs. accept: take note of what fails, and let it pass this once.
    Raises LakeError, BatchError where an expectation could not be evaluated.
    """
    verdict = Verdict(accepted=accept)
    passed_before, waiting = _passed(spark, run.lake), _waiting(spark, run.lake)
    context = None
    stored: list[Any] = []
    rows: list[tuple] = []
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
        batch = _plain(new, item).persist()
        try:
            result.rows = batch.count()
            expectations = suite(item)
            data = {"dataframe": batch}
            outcome = _validate(context, "silver", item.name, expectations, data, run, stored)
        finally:
            batch.unpersist()
        _take(result, expectations, outcome, rows, run, accept)
        verdict.checked.append(result)
        if on_done:
            on_done(result)
    if context is None:
        return verdict
    verdict.checked.append(_check_dispositions(spark, context, run, stored, rows, accept))
    context.build_data_docs(resource_identifiers=stored)
    verdict.docs = docs / "index.html"
    _record(spark, run, rows)
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
    expectations: list[Expectation],
    data: dict[str, Any],
    run: Run,
    stored: list[Any],
) -> ExpectationSuiteValidationResult:
    """Yes or no first: counts and samples cost a job per expectation, so they are taken only where something failed."""
    import great_expectations as gx
    from great_expectations.core.run_identifier import RunIdentifier
    from great_expectations.data_context.types.resource_identifiers import (
        ExpectationSuiteIdentifier,
        ValidationResultIdentifier,
    )

    asset = context.data_sources.get(source).add_dataframe_asset(name)
    batch = asset.add_batch_definition_whole_dataframe(f"{name}-new")
    their_suite = context.suites.add(gx.ExpectationSuite(name, expectations=[_theirs(one) for one in expectations]))
    validation = context.validation_definitions.add(gx.ValidationDefinition(name=name, data=batch, suite=their_suite))
    at = RunIdentifier(run_name=run.id, run_time=run.at)
    outcome = validation.run(batch_parameters=data, result_format="BOOLEAN_ONLY", run_id=at)
    if not outcome.success:
        outcome = validation.run(batch_parameters=data, result_format="SUMMARY", run_id=at)
    stored.append(ExpectationSuiteIdentifier(name))
    stored.append(ValidationResultIdentifier(ExpectationSuiteIdentifier(name), at, outcome.batch_id))
    return outcome


def _theirs(one: Expectation) -> Any:
    """An expectation as Great Expectations' class."""
    from great_expectations import expectations as gxe
    from great_expectations.expectations.row_conditions import Column

    kind = getattr(gxe, "".join(word.capitalize() for word in one.kind.split("_")))
    arguments = dict(one.arguments)
    for name, values in one.where.items():
        test = Column(name) == values[0] if len(values) == 1 else Column(name).is_in(values)
        arguments["row_condition"] = arguments["row_condition"] & test if "row_condition" in arguments else test
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
    by_text = {one.text: one for one in expectations}
    result.expectations = len(expectations)
    for each in outcome.results:
        ours = by_text[each.expectation_config.notes]
        if (each.exception_info or {}).get("raised_exception"):
            error = each.exception_info.get("exception_message")
            raise explain(BatchError(str(error)), f"quality {result.contract}: could not check `{ours.text}`")
        found = each.result or {}
        unexpected = found.get("unexpected_count")
        seen = found.get("observed_value", found.get("partial_unexpected_list") or "")
        seen = "" if each.success else _short(seen)
        if not each.success:
            result.findings.append(Finding(result.contract, ours.text, ours.severity, unexpected, seen))
        rows.append(
            (run.id, result.contract, ours.text, ours.severity, bool(each.success), result.rows, unexpected, seen)
            + (accept, datetime.now(UTC), result.silver_id, result.silver_version)
        )


def _short(seen: Any) -> str:
    values = list(dict.fromkeys(map(str, seen))) if isinstance(seen, list) else [str(seen)]
    text = ", ".join(values[:3]) + (", …" if len(values) > 3 else "")
    return text if len(text) <= 120 else text[:119] + "…"


def _check_dispositions(
    spark: SparkSession, context: AbstractDataContext, run: Run, stored: list[Any], rows: list[tuple], accept: bool
) -> Checked:
    """The share of quarantined records of each contract's newest silver run, without those replayed since."""
    from pyspark.sql import Window
    from pyspark.sql import functions as f

    newest = Window.partitionBy("contract").orderBy(f.desc("at"))
    found = (
        tables.read(spark, tables.dispositions_layout(run.lake).path)
        # Of runs over bronze: no replay, and nothing that only went away.
        .where("bronze_version IS NOT NULL AND disposition IN ('inserted', 'duplicate', 'quarantined')")
        .withColumn("newest", f.first("run_id").over(newest))
        .where("run_id = newest")
        .groupBy("contract", "run_id")
        .agg(f.sum("rows").alias("records"), f.sum(f.expr("if(disposition = 'quarantined', rows, 0)")).alias("bad"))
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
    outcome = _validate(context, "audit", DISPOSITIONS, expectations, {"dataframe": found}, run, stored)
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


def _record(spark: SparkSession, run: Run, rows: list[tuple]) -> None:
    layout = tables.quality_layout(run.lake)
    tables.ensure(spark, layout)
    spark.createDataFrame(rows, layout.columns).coalesce(1).write.format("delta").mode("append").save(layout.path)
