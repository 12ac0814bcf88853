"""`grocery simulate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

    from grocery.simulator import FaultPlan, Label, Simulation
    from ingestion.arrival import Arrival
    from ingestion.reference import Reference

_TOLD_EVERY = 5_000


def simulate(
    to: Annotated[
        str, typer.Option(help="`kafka`, or a file of arrivals, FILE.ndjson; labels go beside it.", show_default=False)
    ] = "",
    stores: Annotated[
        int, typer.Option(help="How many stores; more than the chain has are cloned, as store-004 and so on.", min=1)
    ] = 3,
    days: Annotated[int, typer.Option(help="How many days of 24 hours.", min=1)] = 1,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.", min=0)] = 7,
    start: Annotated[str, typer.Option(help="First day, YYYY-MM-DD; begins at midnight UTC.")] = "2026-10-05",
    faults: Annotated[
        Path | None, typer.Option(help="Fault plan (YAML). Default: one of every kind, for the example chain's stores.")
    ] = None,
    no_faults: Annotated[bool, typer.Option("--no-faults", help="A quiet time: nothing fails.")] = False,
    apps: Annotated[
        bool,
        typer.Option(
            "--apps", help="With shoppers who use an app: scan-and-go, pickup orders, their way to the store."
        ),
    ] = False,
    list_faults: Annotated[
        bool, typer.Option("--list-faults", help="Show what can fail, what its magnitude means, and the default plan.")
    ] = False,
    speed: Annotated[
        float | None,
        typer.Option(help="To kafka: simulated seconds per second; default as fast as it goes.", min=0.001),
    ] = None,
    ticks: Annotated[
        float, typer.Option(help="To kafka: simulated seconds between two ticks of a store; 0 sends none.", min=0)
    ] = 15,
) -> None:
    """Simulate stores: their physics, shoppers, lanes, tills, cameras and network, and what fails in them.

    Refrigerated cases obey first-order physics: compressors cycle, doors open as shoppers take things, defrosts come
    by the clock. What cameras count and tills sell follows the same shoppers. Messages are lost, late, sent twice and
    held back by outages, and clocks are wrong. Faults come from a plan and are written down as labels
    (FILE.labels.ndjson), with the rules each of them must trip, so that what was caught can be held against them.

    Examples:

      grocery simulate --to day.ndjson

      grocery simulate --stores 20 --days 7 --seed 1 --to week.ndjson

      grocery simulate --faults my_faults.yaml --to kafka --speed 3600
    """
    from rich.console import Console

    from grocery.gateway import clear_errors

    console = Console()
    if list_faults:
        _list_faults(console)
        return
    with clear_errors():
        if faults and no_faults:
            raise ValueError("--faults and --no-faults contradict each other; give one of them")
        target = _target(to, speed)
        simulation = _simulation(to, stores, days, seed, start, faults, no_faults, apps)
        if target is None:
            _to_kafka(console, simulation, stores, speed, ticks)
        else:
            _to_file(console, simulation, target, stores)


def _target(to: str, speed: float | None) -> Path | None:
    """The file to write; None for Kafka. Raises ValueError."""
    if not to:
        raise ValueError("--to is missing; give `kafka`, or a file such as day.ndjson")
    if to == "kafka":
        return None
    if speed is not None:
        raise ValueError(f"--speed {speed:g}: only --to kafka takes its time; a file is written as fast as it goes")
    target = Path(to)
    if target.suffix != ".ndjson":
        raise ValueError(f"--to {to}: `kafka`, or a file that ends in .ndjson")
    if not target.absolute().parent.is_dir():
        raise ValueError(f"--to {to}: there is no folder {target.absolute().parent}; make it first")
    return target


def _simulation(
    to: str, stores: int, days: int, seed: int, start: str, faults: Path | None, no_faults: bool, apps: bool
) -> Simulation:
    """Raises ValueError, ChainError, PlanError, OSError."""
    from datetime import date

    from grocery.settings import settings
    from grocery.simulator import simulate as make
    from ingestion.reference import Reference

    try:
        first = date.fromisoformat(start)
    except ValueError as error:
        raise ValueError(f"--start {start}: no such day; write it like 2026-10-05") from error
    reference = Reference.from_folder(settings().chain)
    plan = _plan(reference, stores, faults, no_faults)
    return make(reference, stores=stores, days=days, seed=seed, start=first, faults=plan, apps=apps)


def _plan(reference: Reference, stores: int, faults: Path | None, no_faults: bool) -> FaultPlan:
    from grocery.simulator import FaultPlan
    from grocery.simulator.clones import of_size

    if no_faults:
        return FaultPlan()
    if faults is not None:
        return FaultPlan.load(faults)
    return FaultPlan.load().within(of_size(reference, stores))


def _to_file(console: Console, simulation: Simulation, target: Path, stores: int) -> None:
    import time

    from rich.progress import Progress

    from grocery.simulator import write_labels
    from grocery.simulator.clones import write_chain
    from ingestion.arrival import write_arrivals

    began = time.monotonic()
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("Simulating", total=simulation.horizon_s)

        def on_time(second: float, count: int) -> None:
            bar.update(task, completed=second, description=f"Simulating: {count:,} arrivals")

        count = write_arrivals(_told(simulation, on_time), target)
    seconds = time.monotonic() - began
    labels_file = target.with_suffix(".labels.ndjson")
    labels = simulation.labels()
    write_labels(labels, labels_file)
    console.print(
        f"{count:,} arrivals in {target}, {len(labels):,} labels in {labels_file} "
        f"({seconds:.0f} s, {count / max(seconds, 0.001):,.0f}/s)",
        highlight=False,
        soft_wrap=True,
    )
    _show_labels(console, labels)
    publish = "grocery chain publish"
    if _is_cloned(simulation):
        folder = target.with_suffix(".chain")
        write_chain(simulation.reference, folder)
        publish = f"grocery chain publish {folder}"
        console.print(f"The chain of {stores} stores is in {folder}.", highlight=False, soft_wrap=True)
    console.print(f"Let it in: {publish} && grocery ingest file {target} --ticks 15", highlight=False, soft_wrap=True)


def _to_kafka(console: Console, simulation: Simulation, stores: int, speed: float | None, ticks: float) -> None:
    import time

    from grocery.commands.ingest import show_summary
    from grocery.gateway import bootstrap, open_gate
    from grocery.settings import settings
    from grocery.simulator import write_labels
    from grocery.simulator.clones import events_of
    from ingestion.feed import FeedSummary, feed
    from ingestion.reference import publish
    from ingestion.sinks import KafkaSink
    from schemas.instants import to_rfc3339

    broker = bootstrap()
    with console.status(f"Publishing {stores} stores to {broker}…") as status:
        publish(events_of(simulation.reference), broker)

        def on_progress(done: FeedSummary) -> None:
            at = to_rfc3339(done.last_ms)[:16] if done.last_ms is not None else "starting"
            status.update(f"{done.arrivals:,} arrivals, {done.records:,} records sent; {at}")

        began = time.monotonic()
        with KafkaSink(broker) as sink:
            done = feed(
                simulation.arrivals(),
                open_gate(simulation.reference),
                sink,
                ticks_every_s=ticks or None,
                ticks_for=simulation.reference,
                on_progress=on_progress,
                speed=speed,
            )
    show_summary(console, done, time.monotonic() - began)
    labels = simulation.labels()
    work = settings().work
    work.mkdir(parents=True, exist_ok=True)
    labels_file = work / f"simulation-seed-{simulation.seed}.labels.ndjson"
    write_labels(labels, labels_file)
    console.print(f"{len(labels):,} labels in {labels_file}", highlight=False, soft_wrap=True)
    _show_labels(console, labels)


def _told(simulation: Simulation, on_time: Callable[[float, int], None]) -> Iterator[Arrival]:
    count = 0
    for count, arrival in enumerate(simulation.arrivals(), 1):
        if count % _TOLD_EVERY == 0:
            on_time(arrival.arrived_ms / 1000 - simulation.start_s, count)
        yield arrival


def _is_cloned(simulation: Simulation) -> bool:
    from grocery.settings import settings
    from ingestion.reference import Reference

    return not simulation.reference.stores.keys() <= Reference.from_folder(settings().chain).stores.keys()


def _show_labels(console: Console, labels: list[Label], most: int = 40) -> None:
    from rich import box
    from rich.table import Column, Table

    if not labels:
        return
    faults = [label for label in labels if label.fault != "bad-input"]
    asset = Column("asset", no_wrap=True)
    table = Table("fault", asset, "from (UTC)", "to", "must raise", title="Faults", box=box.SIMPLE_HEAD)
    for label in faults[:most]:
        begun, ended = (instant[5:16].replace("T", " ") for instant in (label.start, label.end))
        table.add_row(label.fault, label.asset_id, begun, ended[6:], ", ".join(label.expect) or "-")
    if faults:
        console.print(table)
    if len(faults) > most:
        console.print(f"…and {len(faults) - most:,} more.", highlight=False)
    if len(labels) > len(faults):
        console.print(f"{len(labels) - len(faults):,} messages break their contract.", highlight=False)


def _list_faults(console: Console) -> None:
    from rich.table import Table

    from grocery.simulator.faults import BAD_INPUTS, DEFAULT_PLAN, KINDS

    table = Table("fault", "befalls", "magnitude")
    for name, kind in KINDS.items():
        befalls = {"network-outage": "area", "queue-surge": "store"}.get(name) or ", ".join(kind.classes)
        size = f"{kind.low:g} to {kind.high:g}, {kind.default:g} unless given: {kind.meaning}" if kind.meaning else ""
        table.add_row(name, befalls, size)
    console.print(table)
    console.print(f"bad-input takes `what`: {', '.join(BAD_INPUTS)}", highlight=False)
    console.print(f"The default plan, to copy: {DEFAULT_PLAN}", highlight=False, soft_wrap=True)
