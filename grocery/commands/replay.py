"""`grocery replay`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from ingestion.adapters.completejourney import Account
    from ingestion.arrival import Arrival
    from ingestion.feed import FeedSummary
    from ingestion.reference import Reference
    from ingestion.replay import Replay, Summary

SALES = "completejourney"
_EVERY = 5_000  # arrivals between two steps of the progress bar


def replay(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="A logger's export, CSV or Parquet; or the word `completejourney` for a year of real grocery sales.",
        ),
    ],
    mapping: Annotated[
        Path | None,
        typer.Option("--mapping", "-m", help="How the export is written and which column is which sensor (YAML)."),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            help="`kafka`, or FILE.ndjson for arrivals. Without it the export is read and accounted for only."
        ),
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option(help="To kafka: seconds of the export per second; 60 plays an hour in a minute.", min=0.001),
    ] = None,
    ticks: Annotated[
        float,
        typer.Option(help="To kafka: seconds of the export between two ticks of a store; 0 sends none.", min=0),
    ] = 60,
    rejects: Annotated[
        Path | None,
        typer.Option(help="Where rejected cells go (NDJSON). Default: beside --to FILE, else in the workspace."),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="completejourney: so many baskets, the earliest.", min=1)] = None,
    start: Annotated[
        str | None,
        typer.Option(help="completejourney: move the year 2017 by whole weeks so that it begins on this day."),
    ] = None,
) -> None:
    """Replay what a logger or a till recorded, as if it came in now.

    The mapping says how the file is written (delimiter, decimal mark, encoding, time zone, units, marks for missing
    values) and which column is which sensor; docs/replay.md teaches it, chain/mappings has two to copy. Every cell is
    accounted for: cells = readings + missing + rejected, and what is rejected goes to a file with line, column, value,
    reason and what to do. Replaying the same file again gives the same bytes.

    Examples:

      grocery replay export.csv --mapping chain/mappings/wide_german_logger.yaml

      grocery replay export.csv -m my_logger.yaml --to readings.ndjson

      grocery replay export.parquet -m my_logger.yaml --to kafka --speed 600

      grocery replay completejourney --limit 5000 --start 2026-10-05 --to kafka
    """
    from rich.console import Console

    from grocery.gateway import clear_errors

    console = Console()
    with clear_errors():
        target = _target(to, speed)
        if file == SALES:
            if mapping or rejects:
                raise ValueError(f"{SALES} needs no --mapping and no --rejects; see `grocery replay --help`")
            _replay_sales(console, to, target, speed, limit, start)
            return
        if mapping is None:
            raise ValueError(f"{file}: --mapping is missing; copy one of chain/mappings and see docs/replay.md")
        if limit or start:
            raise ValueError(f"--limit and --start are for {SALES}, not for {file}")
        _replay_export(console, Path(file), mapping, to, target, speed, ticks, rejects)


def _target(to: str | None, speed: float | None) -> Path | None:
    """The file to write, if it is one."""
    if speed is not None and to != "kafka":
        raise ValueError(f"--speed {speed:g}: only --to kafka takes its time; a file is written as fast as it goes")
    if to in (None, "kafka"):
        return None
    target = Path(to)
    if target.suffix != ".ndjson":
        raise ValueError(f"--to {to}: `kafka`, or a file that ends in .ndjson")
    if not target.absolute().parent.is_dir():
        raise ValueError(f"--to {to}: there is no folder {target.absolute().parent}; make it first")
    return target


def _reference(to: str | None) -> Reference:
    """The chain as the gate will know it: from the topics, or from the chain's folder."""
    from ingestion.reference import Reference

    if to == "kafka":
        from grocery.gateway import bootstrap

        broker = bootstrap()
        reference = Reference.from_topics(broker)
        if not reference.stores:
            raise ValueError(f"{broker}: no store is published there yet; run `grocery chain publish`")
        return reference
    from grocery.settings import settings

    return Reference.from_folder(settings().chain)


def _replay_export(
    console: Console,
    file: Path,
    mapping_file: Path,
    to: str | None,
    target: Path | None,
    speed: float | None,
    ticks: float,
    rejects: Path | None,
) -> None:
    from rich.progress import Progress

    from ingestion.replay import load_mapping
    from ingestion.replay import replay as read

    reference = _reference(to)
    mapping = load_mapping(mapping_file, reference)
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(f"Reading {file.name}", total=None)

        def on_progress(done: int, total: int, rows: int) -> None:
            bar.update(task, completed=done, total=total, description=f"Reading {file.name}: {rows:,} rows")

        found = read(file, mapping, reference, on_progress=on_progress)
    with found:
        summary = found.summary
        _show(console, summary)
        if summary.rejected:
            kept = rejects or _rejects_beside(target, file)
            found.write_rejects(kept)
            console.print(f"Each rejected cell, with what to do: {_shown(kept)}", highlight=False, soft_wrap=True)
        if not summary.readings:
            raise ValueError(f"{file}: not one cell could be read; correct the file or the mapping {mapping_file}")
        _deliver(
            console, found, summary.arrivals, to, target, speed, ticks or None, _only(reference, summary), reference
        )


def _shown(path: Path) -> Path:
    """Relative to where the person stands, where it lies below."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _rejects_beside(target: Path | None, file: Path) -> Path:
    if target is not None:
        return target.with_name(f"{target.stem}.rejected.ndjson")
    from grocery.settings import settings

    folder = settings().work / "replay"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{file.name}.rejected.ndjson"


def _only(reference: Reference, summary: Summary) -> Reference:
    """The stores and devices of this export: ticks with all devices would make the others look silent."""
    from ingestion.reference import Reference

    devices = set(summary.devices)
    assets = {}
    for name, asset in reference.assets.items():
        heard = [device for device in asset["devices"] if device["device_id"] in devices]
        if heard:
            assets[name] = asset | {"devices": heard}
    stores = {name: store for name, store in reference.stores.items() if name in summary.stores}
    return Reference(stores=stores, assets=assets)


def _replay_sales(
    console: Console, to: str | None, target: Path | None, speed: float | None, limit: int | None, start: str | None
) -> None:
    from datetime import date

    from ingestion.adapters.completejourney import Account, transactions

    try:
        day = date.fromisoformat(start) if start else None
    except ValueError:
        raise ValueError(f"--start {start}: a day like 2026-10-05") from None
    reference = _reference(to)
    account = Account()
    arrivals = transactions(reference, limit=limit, start=day, account=account)
    if to is None:
        with console.status("Reading a year of receipts…"):
            for _ in arrivals:
                pass
    else:
        _deliver(console, arrivals, limit, to, target, speed, None, None, reference)
    _show_sales(console, account)


def _deliver(
    console: Console,
    arrivals: Replay | Iterator[Arrival],
    count: int | None,
    to: str | None,
    target: Path | None,
    speed: float | None,
    ticks: float | None,
    ticks_for: Reference | None,
    reference: Reference,
) -> None:
    """Write the arrivals to the file, or put them through the gate to Kafka."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    if to is None:
        console.print("Nothing was sent: add --to kafka or --to FILE.ndjson.", highlight=False)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("Starting…", total=count)
        if target is not None:
            from ingestion.arrival import write_arrivals

            def tell(so_far: int) -> None:
                bar.update(task, completed=so_far, description=f"Writing {target.name}")

            written = write_arrivals(_counted(arrivals, tell), target)
        else:

            def on_progress(so_far: FeedSummary) -> None:
                note = f"Sending: {so_far.arrivals:,} sent, {so_far.refused:,} refused"
                bar.update(task, completed=so_far.arrivals, description=note)

            done, seconds = _to_kafka(arrivals, reference, speed, ticks, ticks_for, on_progress)
    if target is not None:
        console.print(
            f"{written:,} arrivals written to {target}; next: `grocery ingest file {target}`", highlight=False
        )
    else:
        from grocery.commands.ingest import show_summary

        show_summary(console, done, seconds)


def _to_kafka(
    arrivals: Iterable[Arrival],
    reference: Reference,
    speed: float | None,
    ticks: float | None,
    ticks_for: Reference | None,
    on_progress: Callable[[FeedSummary], None],
) -> tuple[FeedSummary, float]:
    import time

    from grocery.gateway import bootstrap, open_gate
    from ingestion.feed import feed
    from ingestion.sinks import KafkaSink

    began = time.monotonic()
    with KafkaSink(bootstrap()) as sink:
        done = feed(
            arrivals,
            open_gate(reference),
            sink,
            ticks_every_s=ticks,
            ticks_for=ticks_for,
            on_progress=on_progress,
            speed=speed,
        )
    return done, time.monotonic() - began


def _counted(arrivals: Iterable[Arrival], tell: Callable[[int], None]) -> Iterator[Arrival]:
    count = 0
    for count, arrival in enumerate(arrivals, 1):
        if count % _EVERY == 0:
            tell(count)
        yield arrival
    tell(count)


def _show(console: Console, summary: Summary) -> None:
    """Print the account of one export."""
    from rich.markup import escape
    from rich.table import Table

    from schemas.instants import to_rfc3339

    def say(text: str) -> None:
        console.print(escape(text), highlight=False)

    say(
        f"{summary.file}: {summary.cells:,} cells = {summary.readings:,} readings + {summary.missing:,} missing "
        f"+ {summary.rejected:,} rejected"
    )
    others = [f"{number:,} {name}" for name, number in summary.lines.items() if name != "lines" and number]
    say(f"{summary.lines['lines']:,} lines: {', '.join(others)}; cells in a row: {summary.value_columns}")
    if summary.first_ms is not None and summary.last_ms is not None:
        say(
            f"{len(summary.devices)} devices in {', '.join(summary.stores)}, "
            f"from {to_rfc3339(summary.first_ms)} to {to_rfc3339(summary.last_ms)}"
        )
    for kind, number in sorted(summary.resolved.items()):
        say(f"{number:,} rows in a local hour that is {kind} that night were placed by their order")
    if summary.spoke:
        say(
            f"{summary.spoke:,} rejected with sensor and time known: they arrive too, so that the sensor counts "
            "as wrong and not as silent"
        )
    if summary.repeats:
        say(f"{summary.repeats:,} readings repeat another one exactly; they carry its event_id, and silver keeps one")
    if summary.rejected:
        table = Table("reason", "cells", "first seen", "what to do", title="Rejected", title_justify="left")
        for code, number in summary.reasons.most_common():
            first = summary.examples[code]
            column = f", column {first['column']}" if first["column"] else ""
            seen = f"line {first['line']}{column}: {first['reason']}"
            table.add_row(code, f"{number:,}", escape(seen), escape(first["next_step"]))
        console.print(table)


def _show_sales(console: Console, done: Account) -> None:
    left = done.left_out.total()
    console.print(
        f"{SALES}: {done.lines:,} lines = {done.lines_mapped:,} sold + {left:,} with neither pieces nor value; "
        f"{done.baskets:,} receipts ({done.baskets_left_out:,} baskets held nothing that was sold)",
        highlight=False,
    )
    stores = ", ".join(f"{name} {number:,}" for name, number in sorted(done.by_store.items()))
    console.print(f"Receipts by store: {stores or 'none'}", highlight=False)
