"""`grocery batch`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.contract import Contract, all_contracts, contract

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from rich.console import Console

    from batch_jobs.bronze import Loaded
    from batch_jobs.gold import GoldResult
    from batch_jobs.quality import Verdict
    from batch_jobs.run import Run
    from batch_jobs.silver import Curated

app = typer.Typer(
    help="The lakehouse: bronze (as received), silver (typed, one row per event), the quality gate, gold (models). "
    "`grocery batch run` does all of it. Each step goes on where it stopped; running one twice changes nothing.",
    no_args_is_help=True,
)

SHORT = 1_000_000
"""Records on the topics below which Spark is started for a short run."""

Names = Annotated[
    list[str] | None,
    typer.Option("--contract", "-c", help="Only this contract, e.g. `sensor-readings`; may be given again."),
]
Accept = Annotated[
    bool,
    typer.Option("--accept", help="Take note of what fails and let it pass this once; it is recorded as accepted."),
]


Full = Annotated[bool, typer.Option("--full", help="Build all of it from nothing, whatever is there.")]


@app.command("bronze")
def bronze(only: Names = None) -> None:
    """Load what is new on the topics into bronze, as received, once per record.

    Reads committed records from where the last run stopped to the end of each topic, then stops.
    """
    with _spark_run() as at_work:
        at_work.bronze(_chosen(only))


@app.command("silver")
def silver(only: Names = None) -> None:
    """Turn new bronze rows into events: typed, one row per event id and date.

    A record that breaks its contract goes to quarantine with the reasons. Each bronze row is inserted, a duplicate, or
    quarantined; the counts must add up, or the command fails.
    """
    with _spark_run() as at_work:
        at_work.silver(_chosen(only))


@app.command("quality")
def quality(only: Names = None, accept: Accept = False) -> None:
    """Hold what silver has gained against the suites derived from the contracts.

    Exit code 1: a critical expectation failed. Gold is not built until it passes, or is accepted. Warnings are told.
    """
    with _spark_run() as at_work:
        at_work.quality(_chosen(only), accept)


@app.command("gold")
def gold(full: Full = False) -> None:
    """Build what analysts see with dbt: dimensions, facts and reports, each with its tests.

    Recomputes what new rows of silver touch, however late they are. Builds from nothing where there is no gold yet,
    where the models have changed or rows are gone from silver. What was changed in silver in place needs `--full`.

    Refuses while a critical expectation of the quality gate stands open. Exit code 1: a model or a test failed; then
    the old gold stays.
    """
    with _spark_run() as at_work:
        at_work.gold(full=full)


@app.command("run")
def run(accept: Accept = False) -> None:
    """All of it: topics to bronze, bronze to silver and quarantine, quality gate, gold.

    \b
    Examples:
      grocery batch run              what is new on the topics, up to gold
      grocery -w demo batch run      the same in the workspace that `make demo` left

    Exit code 1: a step failed, a critical expectation failed (gold is not built then), or a dbt model or test failed.
    """
    with _spark_run() as at_work:
        everything = all_contracts()
        at_work.bronze(everything)
        at_work.silver(everything)
        at_work.quality(everything, accept)
        at_work.end_spark()
        at_work.gold(checked=True)


class _AtWork:
    """One command at work: a run, its Spark session once a step needs it, and what is printed."""

    def __init__(self, console: Console, run: Run) -> None:
        self.console = console
        self.run = run
        self._spark: SparkSession | None = None
        self.short = False
        self._took = 0.0

    @property
    def spark(self) -> SparkSession:
        """The session, started by the first step that needs it."""
        if self._spark is None:
            from batch_jobs.session import session
            from grocery.settings import settings

            with self._timed("Starting Spark"):
                self._spark = session(settings().jars / "spark", settings().logs, short=self.short)
        return self._spark

    def end_spark(self) -> None:
        """Give its memory back."""
        if self._spark is not None:
            from batch_jobs.session import end

            end(self._spark)
            self._spark = None

    def bronze(self, contracts: tuple[Contract, ...]) -> None:
        from batch_jobs.broker import survey
        from batch_jobs.bronze import bronze
        from grocery.gateway import bootstrap
        from ingestion.topics import topics_of

        broker = survey(bootstrap(), [topic for item in contracts for topic in topics_of(item)])
        self.short = sum(broker.ends.values()) - sum(broker.begins.values()) < SHORT
        spark = self.spark
        with self._steps("bronze", contracts) as told:
            loaded = bronze(spark, broker, self.run, contracts, told(lambda one: f"{one.rows:,} records"))
        show_loaded(self.console, loaded, self._took)

    def silver(self, contracts: tuple[Contract, ...]) -> None:
        from batch_jobs.silver import silver

        spark = self.spark
        with self._steps("silver", contracts) as told:
            curated = silver(spark, self.run, contracts, told(lambda one: f"{one.inserted:,} new events"))
        show_curated(self.console, curated, self._took)

    def quality(self, contracts: tuple[Contract, ...], accept: bool) -> None:
        from batch_jobs.quality import quality
        from grocery.settings import settings

        spark = self.spark
        with self._steps("quality", contracts) as told:
            done = told(lambda one: f"{one.expectations} expectations")
            verdict = quality(spark, self.run, contracts, settings().data_docs, accept=accept, on_done=done)
        show_verdict(self.console, verdict, self._took)
        if not verdict.passed:
            raise typer.Exit(1)

    def gold(self, *, checked: bool = False, full: bool = False) -> None:
        """checked: the gate has just let everything pass. full: from nothing."""
        from batch_jobs.gold import GoldError, build
        from batch_jobs.quality import open_failures
        from grocery.settings import settings

        found = [] if checked else open_failures(self.spark, self.run.lake)
        self.end_spark()
        if found:
            self.console.print(
                "[red]gold is not built[/red]: the quality gate found\n"
                + "\n".join(f"  {one}" for one in found)
                + "\nPut silver right and run `grocery batch quality` again, or let it pass: "
                "`grocery batch quality --accept`",
                highlight=False,
                soft_wrap=True,
            )
            raise typer.Exit(1)
        try:
            with self.console.status("gold") as status:
                where = settings()
                result = build(
                    self.run.lake,
                    where.gold_path,
                    where.logs,
                    lambda done, of, name: status.update(f"gold: {done} of {of}, {name}"),
                    full,
                )
        except GoldError as error:
            raise _Stop(str(error)) from error
        show_gold(self.console, result)
        if result.failures:
            raise typer.Exit(1)

    @contextlib.contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        import time

        began = time.monotonic()
        with self.console.status(f"{what}…"):
            yield
        self.console.print(f"{what}: {time.monotonic() - began:.0f} s", highlight=False, soft_wrap=True)

    @contextlib.contextmanager
    def _steps(self, step: str, contracts: Iterable[Contract]) -> Iterator[Callable]:
        """A bar that moves on with each contract and makes way for the result; without a terminal, one line."""
        import time

        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        number = len(tuple(contracts))
        if not self.console.is_terminal:
            self.console.print(f"{step}: {number} contracts…", highlight=False, soft_wrap=True)
        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
        began = time.monotonic()
        with Progress(
            TextColumn(step), *columns, console=self.console, transient=True, disable=not self.console.is_terminal
        ) as progress:
            task = progress.add_task("", total=number)

            def told(words: Callable) -> Callable:
                return lambda one: progress.update(task, advance=1, description=f"{one.contract}: {words(one)}")

            yield told
        self._took = time.monotonic() - began


class _Stop(Exception):
    """Ends the command with its message."""


@contextlib.contextmanager
def _spark_run() -> Iterator[_AtWork]:
    """A run on this workspace's lake, alone on it; what a user can set right ends it with one line and exit code 1."""
    from rich.console import Console

    from batch_jobs.errors import BatchError
    from batch_jobs.files import check_writable
    from batch_jobs.run import lease, new_run
    from batch_jobs.session import LOG_NAME, MissingJars
    from grocery.gateway import clear_errors
    from grocery.settings import settings

    console = Console()
    lake = settings().lake_path
    at_work = None
    try:
        with clear_errors():
            check_writable(lake)
            with lease(lake):
                at_work = _AtWork(console, new_run(lake))
                yield at_work
    except (BatchError, MissingJars, _Stop) as error:
        from rich.markup import escape

        message = f"[red]error[/red] {escape(str(error))}"
        if isinstance(error, BatchError) and error.__cause__ is not None:
            message += f"\nSpark's log: {settings().logs / LOG_NAME}"
        Console(stderr=True).print(message, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error
    finally:
        if at_work:
            at_work.end_spark()


def _chosen(names: list[str] | None) -> tuple[Contract, ...]:
    """The contracts of these names or topics, all where none is given. Raises UnknownContract."""
    return tuple(dict.fromkeys(contract(name) for name in names)) if names else all_contracts()


def show_loaded(console: Console, loaded: list[Loaded], seconds: float) -> None:
    """What bronze gained, and what a person should know."""
    new = sum(one.rows for one in loaded)
    what = f"{new:,} new records" if new else "nothing new on the topics"
    console.print(f"bronze: {what}, {seconds:.0f} s", highlight=False, soft_wrap=True)
    for one in loaded:
        for note in one.notes:
            console.print(f"  [yellow]{one.contract}[/yellow] {note}", highlight=False, soft_wrap=True)


def show_curated(console: Console, curated: list[Curated], seconds: float) -> None:
    """Contract by disposition, with sums."""
    from rich.table import Table

    found = [one for one in curated if one.rows]
    if not found:
        console.print(f"silver: nothing new in bronze, {seconds:.0f} s", highlight=False, soft_wrap=True)
        return
    table = Table(
        *("contract", "bronze rows", "inserted", "duplicate", "quarantined"),
        title=f"silver: what became of each new bronze row, {seconds:.0f} s",
        title_justify="left",
        show_footer=len(found) > 1,
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for one in found:
        table.add_row(one.contract, *(f"{n:,}" for n in (one.rows, one.inserted, one.duplicate, one.quarantined)))
    table.columns[0].footer = "all"
    for column, name in zip(table.columns[1:], ("rows", "inserted", "duplicate", "quarantined"), strict=True):
        column.footer = f"{sum(getattr(one, name) for one in found):,}"
    console.print(table)
    for one in found:
        if one.reasons:
            first = ", ".join(f"{reason} ({rows:,})" for reason, rows in list(one.reasons.items())[:5])
            more = f", and {len(one.reasons) - 5} more" if len(one.reasons) > 5 else ""
            console.print(f"  quarantine {one.contract}: {first}{more}", highlight=False, soft_wrap=True)


def show_verdict(console: Console, verdict: Verdict, seconds: float) -> None:
    """What the gate says."""
    if not verdict.checked:
        console.print(f"quality: nothing new in silver, {seconds:.0f} s", highlight=False, soft_wrap=True)
        return
    held = sum(one.expectations for one in verdict.checked)
    rows = sum(one.rows for one in verdict.checked if one.contract != "dispositions")
    word = "[green]passed[/green]" if verdict.passed else "[red]failed[/red]"
    if verdict.accepted and verdict.failures:
        word = "[yellow]accepted[/yellow]"
    console.print(
        f"quality: {word}; {held} expectations on {rows:,} new rows, {len(verdict.failures)} critical failed, "
        f"{len(verdict.warnings)} warnings, {seconds:.0f} s",
        highlight=False,
        soft_wrap=True,
    )
    for finding in verdict.failures:
        console.print(f"  [red]critical[/red] {finding}", highlight=False, soft_wrap=True)
    for finding in verdict.warnings:
        console.print(f"  [yellow]warning[/yellow] {finding}", highlight=False, soft_wrap=True)
    console.print(f"  Data Docs: {verdict.docs}", highlight=False, soft_wrap=True)
    if not verdict.passed:
        console.print(
            "Gold is not built. Put silver right and run again, or let it pass: `grocery batch quality --accept`",
            highlight=False,
            soft_wrap=True,
        )


def show_gold(console: Console, result: GoldResult) -> None:
    """What dbt built."""
    word = "[red]failed[/red], the old gold stays" if result.failures else "[green]built[/green]"
    console.print(
        f"gold: {word}; {result.models} models, {result.tests} tests passed, {len(result.warnings)} warnings, "
        f"{len(result.failures)} failed, {result.seconds:.0f} s"
        + (f"; from nothing: {result.from_nothing}" if result.from_nothing else ""),
        highlight=False,
        soft_wrap=True,
    )
    for one in (*result.failures, *result.warnings):
        colour = "red" if one in result.failures else "yellow"
        console.print(f"  [{colour}]{one.status}[/{colour}] {one.name}: {one.message}", highlight=False, soft_wrap=True)
    if result.failures:
        console.print(f"  dbt's log: {result.log}", highlight=False, soft_wrap=True)
