"""`grocery batch`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from schemas.contract import Contract, all_contracts, contract

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from rich.console import Console

    from batch_jobs.backfill import Backfilled, Span
    from batch_jobs.bronze import Loaded
    from batch_jobs.gold import GoldResult
    from batch_jobs.landing import Taken
    from batch_jobs.quality import Verdict
    from batch_jobs.run import Run
    from batch_jobs.silver import Curated
    from batch_jobs.sought import Sought

app = typer.Typer(
    help="The lakehouse: bronze (as received), silver (typed, one row per event), the quality gate, gold (models). "
    "`grocery batch run` does all of it. Each step goes on where it stopped; running one twice changes nothing.",
    no_args_is_help=True,
)


class Way(StrEnum):
    """How records get into the lake."""

    TOPICS = "topics"
    FILES = "files"


SHORT = 1_000_000
"""Records on the topics below which Spark is started for a short run."""

PATIENCE = timedelta(hours=1)
"""How long what can wait, and should not be asked for twice, lets another run finish first."""

_SHOWN = 20
"""Files named of each kind."""

Names = Annotated[
    list[str] | None,
    typer.Option("--contract", "-c", help="Only this contract, e.g. `sensor-readings`; may be given again."),
]
Accept = Annotated[
    bool,
    typer.Option("--accept", help="Take note of what fails and let it pass this once; it is recorded as accepted."),
]


Full = Annotated[bool, typer.Option("--full", help="Build all of it from nothing, whatever is there.")]

SET_ASIDE_EXIT = 3
"""Exit code where nothing failed and something was set aside. 1: something failed; 2: a wrong command line."""
SetAsideExit = Annotated[
    int,
    typer.Option(
        "--set-aside-exit",
        metavar="CODE",
        min=0,
        max=255,
        help="Exit code where nothing failed and something was set aside, for a scheduler that takes any but 0 for a "
        "failure.",
    ),
]


@app.command("bronze")
def bronze(only: Names = None, aside_exit: SetAsideExit = SET_ASIDE_EXIT) -> None:
    """Load what is new on the topics into bronze, as received, once per record.

    Reads committed records from where the last run stopped to the end of each topic, then stops.

    Exit code 1: something failed, or the broker let records expire before they were read; the rest is loaded, and
    <lake>/audit/offsets has how many they were. 3: a topic was made anew since the last run, so that what had not been
    read of the old one is gone.
    """
    with spark_run() as at_work:
        at_work.bronze(chosen(only))
        at_work.end(aside_exit)


@app.command("files")
def files(
    only: Names = None,
    accept: Annotated[
        bool,
        typer.Option("--accept", help="Take note of what is set aside now, and don't tell of it again."),
    ] = False,
    aside_exit: SetAsideExit = SET_ASIDE_EXIT,
) -> None:
    """Load new files of NDJSON into bronze: what Kinesis Firehose lands, gzipped or plain, each file once.

    GROCERY_LANDING names the folder or s3a:// address (then `make s3`, once). The topics' folders lie in it, files at
    any depth below, as Firehose makes them with the prefix `<topic>/!{timestamp:yyyy/MM/dd/HH}/`. Late files, files
    delivered twice and objects without a delimiter between are as they should be: silver settles what is there twice.

    A file is loaded whole or not at all. One that cannot be (truncated, Parquet, UTF-16, no contract …) is set aside:
    it is named with what to do, stays where it is, and is looked at again when its bytes change. One in a folder that
    was written to less than two minutes ago may still be written: it is named and waits for the next run.
    <lake>/audit/files has what became of each.

    \b
    Examples:
      GROCERY_LANDING=s3a://bucket/landing grocery batch files
      GROCERY_LANDING=exports grocery batch files -c sensor-readings

    Exit code 3: files are set aside, now or since an earlier run: set them right, move them away, or `--accept` them.
    Or files wait. 1: something failed.
    """
    with spark_run() as at_work:
        at_work.files(chosen(only), strays=not only, accept=accept)
        at_work.end(aside_exit)


@app.command("silver")
def silver(only: Names = None, aside_exit: SetAsideExit = SET_ASIDE_EXIT) -> None:
    """Turn new bronze rows into events: typed, one row per event id and date.

    A record that breaks its contract goes to quarantine with the reasons. Each bronze row is inserted, a duplicate, or
    quarantined; the counts must add up, or the command fails.

    Exit code 3: this run set records aside; `grocery quarantine list` has them. 1: something failed.
    """
    with spark_run() as at_work:
        at_work.silver(chosen(only))
        at_work.end(aside_exit)


@app.command("quality")
def quality(only: Names = None, accept: Accept = False) -> None:
    """Hold what silver has gained against the suites derived from the contracts and those written by hand.

    The chain's own lie in chain/quality/; docs/quality.md says how to write one. Each store's events of a day are held
    against the same weekday before; the age of its newest event against x-fresh-within of its contract and against
    what it was at this time of the same weekday.

    Exit code 1: a critical expectation failed. Gold is not built until it passes, or is accepted. Warnings are told.
    """
    with spark_run() as at_work:
        at_work.quality(chosen(only), accept)


@app.command("gold")
def gold(full: Full = False, aside_exit: SetAsideExit = SET_ASIDE_EXIT) -> None:
    """Build what analysts see with dbt: dimensions, facts and reports, each with its tests.

    Recomputes what new rows of silver touch, however late they are. Builds from nothing where there is no gold yet,
    where the models have changed or rows are gone from silver. What was changed in silver in place needs `--full`.
    Facts of days that `grocery batch maintain` let expire are taken over from the gold that was there.

    Refuses while a critical expectation of the quality gate stands open. Exit code 1: a model or a test failed; then
    the old gold stays. 3: reference data or receipts that nobody can have meant and that the gold before did not tell
    of; `grocery query "FROM rpt_reference_quality"` has them.
    """
    with spark_run() as at_work:
        at_work.gold(full=full)
        at_work.end(aside_exit)


@app.command("docs")
def docs() -> None:
    """Write dbt's documentation of gold as one page: models, columns, tests, and what is made of what.

    It is `dbt docs generate` on the gold that is there; opens in a browser, without a server.
    """
    from rich.console import Console

    from batch_jobs.gold import GoldError, document
    from grocery.settings import settings

    where, console = settings(), Console()
    try:
        with told_errors(), console.status("dbt docs…"):
            document(where.lake_path, where.gold_path, where.logs, where.dbt_docs)
    except GoldError as error:
        _tell(error)
        raise typer.Exit(1) from None
    console.print(f"{where.dbt_docs}: open it in a browser", highlight=False, soft_wrap=True)


@app.command("run")
def run(
    accept: Accept = False,
    way: Annotated[
        list[Way] | None,
        typer.Option(
            "--by",
            help="Load what came this way; may be given again. Default: topics, and files if GROCERY_LANDING is set.",
        ),
    ] = None,
    every: Annotated[
        str | None,
        typer.Option(
            "--every",
            metavar="DURATION",
            help="Go on until Ctrl-C or SIGTERM, a round every so often, e.g. `5m`, in one Spark session.",
        ),
    ] = None,
    aside_exit: SetAsideExit = SET_ASIDE_EXIT,
) -> None:
    """All of it: topics and landed files to bronze, bronze to silver and quarantine, quality gate, gold.

    \b
    Examples:
      grocery batch run              what is new on the topics and in the landing, up to gold
      grocery batch run --by files   without a broker: what Firehose landed
      grocery batch run --every 5m   a round every five minutes; other commands get the lake between two of them
      grocery -w demo batch run      the same in the workspace that `make demo` left

    Exit code 0: all is in gold. 3: records went to quarantine, files are set aside or wait since they may still be
    written, a topic was made anew, or reference data has changes that nobody can have meant (two versions at one
    instant, a price of an unknown product); all else is in gold. 1: something failed: a step of one contract (the
    others go on to gold), the broker let records expire before they were read (all else is in gold), the quality gate
    (gold is not built), a model or a test. With --every a failed round is told, and the next one begins; 1: a round
    failed, 3: one set something aside. A file that waits counts there once it is written to between rounds.
    """
    from grocery.commands.rounds import every_so_often
    from grocery.settings import settings

    ways = way or [Way.TOPICS, *([Way.FILES] if settings().landing else [])]
    if every is not None:
        every_so_often(every, ways, accept, aside_exit)
        return
    with spark_run() as at_work:
        everything_once(at_work, ways, accept)
        at_work.end(aside_exit)


def everything_once(
    at_work: AtWork, ways: list[Way], accept: bool, after_step: Callable[[], None] = lambda: None, *, keep: bool = False
) -> None:
    """All steps up to gold. after_step: called after each but the last. keep: leave Spark running while dbt is."""
    everything = all_contracts()
    if Way.TOPICS in ways:
        with at_work.going_on():
            at_work.bronze(everything)
        after_step()
    if Way.FILES in ways:
        with at_work.going_on():
            at_work.files(everything)
        after_step()
    with at_work.going_on():
        at_work.silver(everything)
    after_step()
    at_work.quality(everything, accept)
    after_step()
    if not keep:
        at_work.end_spark()
    at_work.gold(checked=True, keep=keep)


@app.command("backfill")
def backfill(
    topic: Annotated[
        list[str], typer.Option("--topic", "-t", help="A topic, or its contract by name; may be given again.")
    ],
    first: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First day (UTC).")],
    last: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day (UTC), included.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would differ, and write nothing.")] = False,
    accept: Accept = False,
    aside_exit: SetAsideExit = SET_ASIDE_EXIT,
) -> None:
    """Make silver and quarantine of some days again from bronze, then gold for what differs.

    After a contract was widened, a mistake in the code mended, or rows of silver were lost. The days are those of the
    events, and for what is no event those of arrival. What is as a build from nothing would make it is left alone, so
    running it twice changes nothing, and one that was killed is simply run again. Waits for another run to end.

    \b
    Examples:
      grocery batch backfill --topic sensor-readings --from 2026-10-01 --to 2026-10-07 --dry-run
      grocery batch backfill --topic sensor-readings --from 2026-10-01 --to 2026-10-07

    Exit code 1: bronze does not hold these days of a topic (any more), which is said with the first day it does
    hold, and then nothing is changed of any; one topic failed later, and the others go on to gold; or the quality
    gate, a model or a test failed. 3: records were set aside that were not before. docs/backfill.md has more.
    """
    from batch_jobs.backfill import Span
    from grocery.gateway import clear_errors

    with clear_errors():
        contracts = chosen(topic)
        if first > last:
            raise ValueError(f"--from {first:%Y-%m-%d} is after --to {last:%Y-%m-%d}; exchange them")
    with spark_run(PATIENCE) as at_work:
        at_work.backfill(contracts, Span(first.date(), last.date()), dry_run)
        if dry_run:
            return
        # Also where nothing differs now: the run before may have been killed on the way to gold.
        at_work.quality(contracts, accept)
        at_work.gold()
        at_work.end(aside_exit)


@app.command("maintain")
def maintain(
    only: Names = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and write nothing.")] = False,
) -> None:
    """Upkeep of the lake: delete what is past its retention, make small files into large ones, delete old files.

    Once a day. Rows go by whole days, when their contract's x-retention has passed; docs/retention.md says which.
    Exit code 1: a table could not be worked on, which is named; the others were.
    """
    with spark_run(PATIENCE) as at_work:
        if not at_work.maintain(chosen(only), dry_run):
            raise typer.Exit(1)


@app.command("erase")
def erase(
    reference: Annotated[
        str, typer.Option(help="The request's own number; it goes on record. Nothing that tells who it is about.")
    ],
    given: Annotated[
        str, typer.Option(help="What is given: `loyalty_number`, `plate`, or `pseudonym`, which is the hash itself.")
    ] = "loyalty_number",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count only, and write nothing.")] = False,
    aside_exit: SetAsideExit = SET_ASIDE_EXIT,
) -> None:
    """Take a customer out of the lake and gold: every table, every old file, Delta's log.

    Asks for the value, or takes one a line from a pipe; it is no argument, so that no shell and no list of processes
    keeps it. Rows stay, with one constant in place of the hash. Afterwards every file is read to prove it.

    \b
    Examples:
      grocery batch erase --reference DSR-2026-17
      grocery batch erase --reference DSR-2026-17 --given plate < plates.txt

    Exit code 1: the value is still in a file, or a dead letter could not be opened, each is named; or gold could not be
    built. 3: it is erased, and what was curated or built on the way set something aside.
    """
    from grocery.commands.upkeep import ask, sought
    from grocery.gateway import clear_errors

    with clear_errors():
        about = sought(given, ask(given), reference)
    with spark_run(PATIENCE) as at_work:
        at_work.failed |= not at_work.erase(about, reference, dry_run)
        at_work.end(aside_exit)


class AtWork:
    """One command at work: a run, its Spark session once a step needs it, and what is printed.

    records, open_files: set aside, the first by this run. waiting: files that were written to until a moment ago;
    where runs follow each other (goes_on), those that were also written to since the run before. findings: events of
    reference data that nobody can have meant, which gold tells of since this run. recreated: topics that were made anew
    since the last run. failed: something did, or the broker lost records unread, and the run went on.
    """

    def __init__(self, console: Console, run: Run, *, goes_on: bool = False) -> None:
        self.console = console
        self._goes_on = goes_on
        self._waited: dict[str, str] = {}
        self._spark: SparkSession | None = None
        self.short: bool | None = None
        self._took = 0.0
        self.begin(run)

    def begin(self, run: Run) -> None:
        """A run, the next one where there was one before."""
        self.run = run
        self.records = self.open_files = self.waiting = self.findings = self.recreated = 0
        self.failed = False

    @property
    def is_aside(self) -> bool:
        return bool(self.records or self.open_files or self.waiting or self.findings or self.recreated)

    def show_aside(self) -> None:
        aside = []
        if self.records:
            aside.append(f"{self.records:,} records in quarantine (`grocery quarantine list`)")
        if self.open_files:
            aside.append(f"{self.open_files:,} files (`grocery batch files`)")
        if self.waiting:
            aside.append(f"{self.waiting:,} files that may still be written (the next run takes them)")
        if self.findings:
            aside.append(
                f"{self.findings:,} changes of stores, assets or products, or receipts, new since this run "
                '(`grocery query "FROM rpt_reference_quality"`)'
            )
        if self.recreated:
            aside.append(f"{self.recreated:,} topics were made anew: what bronze had not read of the old ones is gone")
        if aside:
            self.console.print(f"[yellow]set aside[/yellow]: {', '.join(aside)}", highlight=False, soft_wrap=True)

    def end(self, aside_exit: int) -> None:
        """Say what is set aside, and leave with the exit code that says so; with 1 where something failed."""
        self.show_aside()
        if code := 1 if self.failed else aside_exit if self.is_aside else 0:
            raise typer.Exit(code)

    @contextlib.contextmanager
    def going_on(self) -> Iterator[None]:
        """A step in which some contracts may fail: they are told, the run goes on, and its exit code says so.

        Not where counts don't add up: nothing is built on what may be lost or there twice.
        """
        from batch_jobs.errors import BatchError, CountsDontAddUp

        try:
            yield
        except BatchError as error:
            if not error.failures or any(isinstance(one, CountsDontAddUp) for one in error.failures):
                raise
            _tell(error)
            self.failed = True

    @property
    def spark(self) -> SparkSession:
        """The session, started by the first step that needs it."""
        if self._spark is None:
            from batch_jobs.s3 import is_on_s3
            from batch_jobs.session import session
            from grocery.settings import settings

            where = settings()
            s3 = where.jars / "s3a" if is_on_s3(where.lake_path) or is_on_s3(where.landing or "") else None
            with self._timed("Starting Spark"):
                self._spark = session(where.jars / "spark", where.logs, s3=s3, short=bool(self.short))
        return self._spark

    def end_spark(self) -> None:
        """Give its memory back."""
        if self._spark is not None:
            from batch_jobs.session import end

            spark, self._spark = self._spark, None
            end(spark)

    def drop_dead_spark(self) -> None:
        """A session whose JVM is gone (killed for its memory, say) goes, so that the next step starts another."""
        from py4j.protocol import Py4JError

        try:
            if self._spark is not None:
                self._spark.range(0)
        except (Py4JError, OSError):
            self.end_spark()

    def bronze(self, contracts: tuple[Contract, ...]) -> None:
        from batch_jobs.broker import survey
        from batch_jobs.bronze import bronze
        from grocery.gateway import bootstrap
        from ingestion.topics import topics_of

        broker = survey(bootstrap(), [topic for item in contracts for topic in topics_of(item)])
        if self.short is None:
            self.short = sum(broker.ends.values()) - sum(broker.begins.values()) < SHORT
        spark = self.spark

        def work(told: Callable) -> list[Loaded]:
            return bronze(spark, broker, self.run, contracts, told(lambda one: f"{one.rows:,} records"))

        def show(console: Console, loaded: list[Loaded], seconds: float) -> None:
            self.failed |= any(one.lost for one in loaded)
            self.recreated += sum(one.recreated for one in loaded)
            show_loaded(console, loaded, seconds)

        self._found("bronze", contracts, work, show)

    def files(self, contracts: tuple[Contract, ...], *, strays: bool = True, accept: bool = False) -> None:
        from batch_jobs.landing import land
        from grocery.settings import settings

        landing = settings().landing
        if not landing:
            raise _Stop(
                "GROCERY_LANDING is not set: the folder or s3a:// address where Firehose lands its files, "
                "e.g. s3a://bucket/landing with the files of sensor-readings under s3a://bucket/landing/sensor-readings/"
            )
        spark = self.spark

        def work(told: Callable) -> list[Taken]:
            done = told(lambda one: f"{one.rows:,} records")
            return land(spark, self.run, landing, contracts, strays=strays, accept=accept, on_done=done)

        def show(console: Console, taken: list[Taken], seconds: float) -> None:
            self.open_files += sum(len(one.open) for one in taken)
            waits = {fate.file.key: fate.file.version for one in taken for fate in one.waiting}
            written = [key for key, version in waits.items() if self._waited.get(key, version) != version]
            self.waiting += len(written if self._goes_on else waits)
            self._waited = waits
            show_taken(console, taken, seconds)

        self._found("files", contracts, work, show)

    def silver(self, contracts: tuple[Contract, ...]) -> None:
        from batch_jobs.silver import silver

        spark = self.spark

        def work(told: Callable) -> list[Curated]:
            return silver(spark, self.run, contracts, told(lambda one: f"{one.inserted:,} new events"))

        def show(console: Console, curated: list[Curated], seconds: float) -> None:
            self.records += sum(one.quarantined for one in curated)
            show_curated(console, curated, seconds)

        self._found("silver", contracts, work, show)

    def backfill(self, contracts: tuple[Contract, ...], span: Span, dry_run: bool) -> None:
        from batch_jobs.backfill import STEPS, backfill
        from batch_jobs.errors import BatchError

        spark = self.spark

        def work(told: Callable) -> list[Backfilled]:
            done = told(lambda one: f"{one.rows:,} records")

            def step(item: Contract, name: str) -> None:
                number = STEPS.index(name) + 1
                self.console.print(f"  {item.name}: {number} of {len(STEPS)}, {name}", highlight=False)

            return backfill(spark, self.run, contracts, span, dry_run=dry_run, on_step=step, on_done=done)

        def show(console: Console, found: list[Backfilled], seconds: float) -> None:
            self.records += 0 if dry_run else sum(one.set_aside for one in found)
            show_backfilled(console, found, span, seconds, dry_run=dry_run)

        try:
            self._found("backfill", contracts, work, show)
        except BatchError as error:
            if dry_run or not error.results:
                raise
            with self.going_on():  # what was written of the others goes on to gold
                raise

    def quality(self, contracts: tuple[Contract, ...], accept: bool) -> None:
        from batch_jobs.quality import quality
        from grocery.settings import settings

        spark = self.spark
        with self._steps("quality", contracts) as told:
            done = told(lambda one: f"{one.expectations} expectations")
            where, written = settings().data_docs, settings().chain / "quality"
            verdict = quality(spark, self.run, contracts, where, written=written, accept=accept, on_done=done)
        show_verdict(self.console, verdict, self._took)
        if not verdict.passed:
            raise typer.Exit(1)

    def gold(self, *, checked: bool = False, full: bool = False, keep: bool = False) -> None:
        """checked: the gate has just let everything pass. full: from nothing. keep: leave Spark running."""
        from batch_jobs.gold import GoldError, build
        from batch_jobs.quality import open_failures
        from grocery.settings import settings

        found = [] if checked else open_failures(self.spark, self.run.lake)
        if not keep:
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
        self.findings = sum(result.findings.values())

    def maintain(self, contracts: tuple[Contract, ...], dry_run: bool) -> bool:
        """Whether every table was worked on."""
        from batch_jobs.maintenance import maintain
        from grocery.commands.upkeep import show_kept

        spark = self.spark
        began = time.monotonic()
        with self.console.status("maintain") as status:
            kept = maintain(spark, self.run, contracts, dry_run=dry_run, on_done=lambda one: status.update(one.table))
        show_kept(self.console, kept, time.monotonic() - began, dry_run=dry_run)
        return not any(one.fault for one in kept)

    def erase(self, about: Sought, reference: str, dry_run: bool) -> bool:
        """Whether nothing is left of them."""
        from batch_jobs.erasure import erase
        from batch_jobs.errors import BatchError, explain
        from batch_jobs.gold import set_aside_as
        from grocery.commands.upkeep import drop_gold, drop_pages, elsewhere, show_erased
        from grocery.settings import settings

        everything = all_contracts()
        if not dry_run:
            self.silver(everything)
        at = ""

        def told(name: str) -> None:
            nonlocal at
            at = name
            status.update(f"erase: {name}")

        try:
            with self.console.status("erase: reading every file") as status:
                erased = erase(self.spark, self.run, everything, about, reference, dry_run=dry_run, on_table=told)
        except (BatchError, OSError):
            raise
        except Exception as error:  # Spark's own, which may quote a row: one line of it, and the log has the rest
            raise explain(error, f"erase {at}; run the same again, it goes on where this one stopped") from error
        if dry_run:
            show_erased(self.console, erased, None, 0, dry_run=True)
            return True
        where = settings()
        pages = drop_pages(where.data_docs, about)
        failed = False
        if drop_gold(where.gold_path, self.run.lake):
            try:
                self.gold()
            except (typer.Exit, _Stop) as error:
                failed = True
                if isinstance(error, _Stop):
                    self.console.print(f"gold is gone and not rebuilt: {error}", markup=False, soft_wrap=True)
        golds = [where.gold_path, set_aside_as(where.gold_path), where.gold_path.parent / "dbt"]
        places = [*golds, where.data_docs, where.report_path, where.logs]
        rest = elsewhere(places, about)
        show_erased(self.console, erased, rest, pages, dry_run=False)
        return erased.complete and not (failed or rest.hits or rest.unread)

    def _found(self, step: str, contracts: Iterable[Contract], work: Callable, show: Callable) -> None:
        """Do the work for each contract and show what came of it, also where some failed."""
        from batch_jobs.errors import BatchError

        try:
            with self._steps(step, contracts) as told:
                found = work(told)
        except BatchError as error:
            if error.results:
                show(self.console, error.results, self._took)
            raise
        show(self.console, found, self._took)

    @contextlib.contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        with self.console.status(f"{what}…"):
            yield
        self.console.print(f"{what}: {time.monotonic() - began:.0f} s", highlight=False, soft_wrap=True)

    @contextlib.contextmanager
    def _steps(self, step: str, contracts: Iterable[Contract]) -> Iterator[Callable]:
        """A bar that moves on with each contract and makes way for the result; without a terminal, one line."""
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

            try:
                yield told
            finally:
                self._took = time.monotonic() - began


class _Stop(Exception):
    """Ends the command with its message."""


@contextlib.contextmanager
def spark_run(patience: timedelta = timedelta(0)) -> Iterator[AtWork]:
    """A run on this workspace's lake, alone on it; what a user can set right ends it with one line and exit code 1.

    patience: how long to wait for another run to end.
    """
    from rich.console import Console

    from batch_jobs.run import new_run
    from grocery.settings import settings

    console = Console()
    lake = settings().lake_path
    at_work = None
    try:
        with told_errors(), alone(console, lake, patience):
            at_work = AtWork(console, new_run(lake))
            yield at_work
    finally:
        if at_work:
            at_work.end_spark()


@contextlib.contextmanager
def alone(
    console: Console, lake: str, patience: timedelta, pause: Callable[[float], None] = time.sleep
) -> Iterator[None]:
    """The only run on a lake that can be written."""
    from batch_jobs.files import check_writable
    from batch_jobs.run import lease

    check_writable(lake)
    with lease(lake, patience, lambda words: console.print(words, highlight=False, soft_wrap=True), pause):
        yield


@contextlib.contextmanager
def told_errors() -> Iterator[None]:
    """What a user can set right becomes one line and exit code 1."""
    from batch_jobs.errors import BatchError
    from batch_jobs.session import MissingJars
    from grocery.gateway import clear_errors

    try:
        with clear_errors():
            yield
    except (BatchError, MissingJars, _Stop) as error:
        _tell(error)
        raise typer.Exit(1) from error


def _tell(error: Exception) -> None:
    from rich.console import Console

    from batch_jobs.errors import BatchError
    from batch_jobs.session import LOG_NAME
    from grocery.settings import settings

    message = f"[red]error[/red] {escape(str(error))}"
    failures = (error.failures or [error]) if isinstance(error, BatchError) else []
    if any(one.__cause__ is not None for one in failures):
        message += f"\nSpark's log: {settings().logs / LOG_NAME}"
    Console(stderr=True).print(message, highlight=False, soft_wrap=True)


def chosen(names: list[str] | None) -> tuple[Contract, ...]:
    """The contracts of these names or topics, all where none is given. Raises UnknownContract."""
    return tuple({item.name: item for item in map(contract, names)}.values()) if names else all_contracts()


def show_loaded(console: Console, loaded: list[Loaded], seconds: float) -> None:
    """What bronze gained, and what a person should know."""
    new = sum(one.rows for one in loaded)
    what = f"{new:,} new records" if new else "nothing new on the topics"
    console.print(f"bronze: {what}, {seconds:.0f} s", highlight=False, soft_wrap=True)
    for one in loaded:
        for note in one.notes:
            console.print(f"  [yellow]{one.contract}[/yellow] {note}", highlight=False, soft_wrap=True)


def show_taken(console: Console, taken: list[Taken], seconds: float) -> None:
    """What the landed files came to, and which are not loaded."""
    from batch_jobs.landing import LOADED, SET_ASIDE

    loaded, waits = sum(one.count(LOADED) for one in taken), [fate for one in taken for fate in one.waiting]
    known = sum(fate.known for one in taken for fate in one.fates)
    aside = [fate for one in taken for fate in one.fates if fate.state == SET_ASIDE and not fate.known]
    stands = [fate for one in taken for fate in one.open if fate.known]
    counts = f"{loaded:,} loaded, {len(aside):,} set aside, {len(waits):,} waiting, {known:,} known from before"
    console.print(
        f"files: {sum(one.rows for one in taken):,} new records; of {loaded + len(aside) + len(waits) + known:,} files "
        f"{counts}, {seconds:.0f} s",
        highlight=False,
        soft_wrap=True,
    )
    for word, fates in (("set aside", aside), ("set aside before", stands), ("waiting", waits)):
        for fate in fates[:_SHOWN]:
            line = f"  [yellow]{word}[/yellow] {escape(fate.file.key)} {escape(fate.reason or '')}"
            console.print(line, highlight=False, soft_wrap=True)
        if len(fates) > _SHOWN:
            console.print(f"  {word}: {len(fates) - _SHOWN:,} more, all in <lake>/audit/files", highlight=False)
    if any(one.open for one in taken):
        console.print(
            "Files are set aside. Set them right, move them out of the landing, or let them be: "
            "`grocery batch files --accept`",
            highlight=False,
            soft_wrap=True,
        )


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
            console.print(f"  quarantine {one.contract}: {_reasons(one.reasons)}", highlight=False, soft_wrap=True)


def show_backfilled(
    console: Console, found: list[Backfilled], span: Span, seconds: float, *, dry_run: bool = False
) -> None:
    """What became of the span's records, and what differs from before."""
    from rich.table import Table

    names = ("rows", "inserted", "duplicate", "quarantined", "added", "replaced", "removed", "set_aside", "released")
    table = Table(
        *("contract", "bronze rows", "inserted", "duplicate", "quarantined"),
        *("silver: added", "replaced", "removed", "quarantine: set aside", "released"),
        title=f"backfill {span}{': what would be done' if dry_run else ''}, {seconds:.0f} s",
        title_justify="left",
    )
    table.columns[0].no_wrap = True
    for column in table.columns[1:]:
        column.justify = "right"
    for one in found:
        table.add_row(one.contract, *(f"{getattr(one, name):,}" for name in names))
    console.print(table)
    for one in found:
        if one.reasons:
            console.print(f"  quarantine {one.contract}: {_reasons(one.reasons)}", highlight=False, soft_wrap=True)
    if dry_run:
        console.print("Nothing was written.", highlight=False)
    elif not any(one.changed for one in found):
        console.print("Silver and quarantine are as bronze makes them; nothing was changed.", highlight=False)
    if any(one.replaced or one.removed for one in found):
        words = "Rows would leave" if dry_run else "Rows left"
        console.print(f"{words} silver: gold starts from nothing where it had read them.", highlight=False)


def _reasons(found: dict[str, int]) -> str:
    first = ", ".join(f"{reason} ({rows:,})" for reason, rows in list(found.items())[:5])
    return first + (f", and {len(found) - 5} more" if len(found) > 5 else "")


def show_verdict(console: Console, verdict: Verdict, seconds: float) -> None:
    """What the gate says."""
    from batch_jobs.quality import BESIDE

    if not verdict.checked:
        newest = f"; the newest event arrived {verdict.newest_at:%Y-%m-%d %H:%M} UTC" if verdict.newest_at else ""
        console.print(f"quality: nothing new in silver{newest}, {seconds:.0f} s", highlight=False, soft_wrap=True)
        return
    held = sum(one.expectations for one in verdict.checked)
    rows = sum(one.rows for one in verdict.checked if one.contract not in BESIDE)
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
        console.print(f"  [red]critical[/red] {escape(str(finding))}", highlight=False, soft_wrap=True)
    for finding in verdict.warnings:
        console.print(f"  [yellow]warning[/yellow] {escape(str(finding))}", highlight=False, soft_wrap=True)
    for one in verdict.checked:
        if one.note:
            console.print(f"  {one.contract}: {one.note}", highlight=False, soft_wrap=True)
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
    if result.brought_over:
        days = ", ".join(f"{contract} before {first}" for contract, first in result.brought_over.items())
        console.print(
            f"  expired from silver, so their facts are the old gold's: {days}", highlight=False, soft_wrap=True
        )
    for one in (*result.failures, *result.warnings):
        colour = "red" if one in result.failures else "yellow"
        console.print(f"  [{colour}]{one.status}[/{colour}] {one.name}: {one.message}", highlight=False, soft_wrap=True)
    if result.failures:
        console.print(f"  dbt's log: {result.log}", highlight=False, soft_wrap=True)
