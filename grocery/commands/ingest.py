"""`grocery ingest`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from ingestion.dead_letters import Letter
    from ingestion.feed import FeedSummary
    from ingestion.reference import Reference
    from ingestion.sinks import Sink

app = typer.Typer(help="Let events in: files, ticker, dead letters.", no_args_is_help=True)
letters_app = typer.Typer(help="What the gate refused: list, show, let in again.", no_args_is_help=True)
app.add_typer(letters_app, name="dead-letters")


@app.command("file")
def file(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            readable=True,
            help='Arrivals, one JSON object a line: {"contract", "arrived_at", "event"}; `grocery simulate` and '
            "`grocery replay` write such files.",
        ),
    ],
    to: Annotated[
        str, typer.Option(help="`kafka`, `kinesis` (streams named as the topics), or a file for the records (NDJSON).")
    ] = "kafka",
    ticks: Annotated[
        float | None,
        typer.Option(
            help="Merge a tick per store every so many seconds, on the file's own clock, so that silence is noticed. "
            "Leave it out where `grocery ingest ticker` runs.",
            min=0.001,
        ),
    ] = None,
    speed: Annotated[
        float | None, typer.Option(help="Seconds of the file per second; without it, as fast as it goes.", min=0.001)
    ] = None,
) -> None:
    """Put a file of arrivals through the gate.

    Good events go to their topics, keyed by store, with `arrived_at` as the records' time. What is refused goes to
    `dead-letters` with every reason and the original, encrypted. Sending a file again sends the same event ids again.
    """
    import time

    from rich.console import Console

    from grocery.gateway import clear_errors, open_gate
    from ingestion.arrival import read_arrivals
    from ingestion.feed import feed

    console = Console()
    with clear_errors():
        reference, sink, max_kept = _target(to)
        gate = open_gate(reference, max_kept)
        began = time.monotonic()
        with sink, console.status("Starting…") as status:
            done = feed(
                read_arrivals(path),
                gate,
                sink,
                ticks_every_s=ticks,
                on_progress=lambda so_far: status.update(_progress(so_far)),
                speed=speed,
            )
        show_summary(console, done, time.monotonic() - began)


def _target(to: str) -> tuple[Reference, Sink, int | None]:
    """(reference that the gate judges by, sink, largest original that a letter there keeps)."""
    from grocery.gateway import bootstrap
    from grocery.settings import settings
    from ingestion.reference import Reference
    from ingestion.sinks import FileSink, KafkaSink

    if to == "kafka":
        broker = bootstrap()
        return Reference.from_topics(broker), KafkaSink(broker), None
    if to == "kinesis":
        import boto3

        from ingestion.kinesis import MAX_KEPT_BYTES, KinesisSink

        return Reference.from_folder(settings().chain), KinesisSink(boto3.client("kinesis")), MAX_KEPT_BYTES
    if "." not in to and "/" not in to:
        raise ValueError(f"--to {to}: `kafka`, `kinesis`, or a file such as records.ndjson")
    return Reference.from_folder(settings().chain), FileSink(Path(to)), None


def _progress(done: FeedSummary) -> str:
    from schemas.instants import to_rfc3339

    at = to_rfc3339(done.last_ms)[:19] if done.last_ms is not None else "no arrival yet"
    return f"{done.arrivals:,} arrivals, {done.refused:,} refused, {done.records:,} records sent; {at}"


def show_summary(console: Console, done: FeedSummary, seconds: float) -> None:
    """Print what became of the arrivals."""
    from rich.table import Table

    from ingestion.feed import describe

    console.print(describe(done, seconds), highlight=False)
    if done.records:
        table = Table("topic", "records", title="Sent", title_justify="left")
        for topic, number in sorted(done.by_topic.items()):
            note = f"{number:,}"
            if topic == "sensor-readings" and (done.ticks or done.markers):
                note += f" ({done.ticks:,} ticks, {done.markers:,} bad-reading markers)"
            table.add_row(topic, note)
        console.print(table)
    if done.refused:
        table = Table("first reason", "arrivals", title="Refused", title_justify="left")
        for code, number in done.by_reason.most_common():
            table.add_row(code, f"{number:,}")
        console.print(table)
        console.print("`grocery ingest dead-letters list` shows them, with what to do.", highlight=False)
    if done.disordered:
        console.print(
            f"[yellow]{done.disordered:,} arrivals are older than the one before them[/yellow]; "
            "alerts are decided on the order of arrival, so sort the file by arrived_at.",
            highlight=False,
        )


@app.command("ticker")
def ticker(
    every: Annotated[float, typer.Option(help="Seconds between two ticks of a store.", min=0.1)] = 5.0,
) -> None:
    """Write a tick per active store every few seconds, until stopped (Ctrl-C).

    A tick says that time passed though nothing was measured: without ticks a silent sensor is not noticed. The first
    tick, and the next after a change in the topics `stores` and `assets`, tells the engine the store's hours, assets
    and devices. Commands for alerts go from `alert-commands` into ticks too, within half a second, each exactly once.
    There is one ticker for live traffic: one that is started later takes the first one's place. A replayed or
    simulated file brings its own ticks.
    """
    import signal
    import threading

    from rich.console import Console

    from grocery.gateway import bootstrap, clear_errors
    from ingestion.ticker import run_ticker
    from schemas.instants import to_rfc3339

    console, stop = Console(), threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with clear_errors():
        broker = bootstrap()
        with console.status(f"Ticking every {every:g} s to {broker}; Ctrl-C stops.") as status:

            def tell(at_ms: int, stores: int) -> None:
                note = f"{stores} stores" if stores else "no store is published yet: `grocery chain publish`"
                status.update(f"{to_rfc3339(at_ms)[:19]}: {note}; Ctrl-C stops.")

            count = run_ticker(broker, every, stop=stop, on_tick=tell)
        console.print(f"{count:,} ticks written.", highlight=False)


@letters_app.command("list")
def list_letters(
    contract: Annotated[str | None, typer.Option(help="Only letters of this contract.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only letters with this reason, e.g. `unit`.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Those let in since, too.")] = False,
    limit: Annotated[int, typer.Option(help="At most so many, the newest.", min=1)] = 50,
) -> None:
    """List dead letters, oldest first: what was refused, when, from where, and why."""
    from rich.console import Console
    from rich.table import Table

    from grocery.gateway import bootstrap, clear_errors
    from ingestion.dead_letters import read_letters

    console = Console()
    with clear_errors():
        found = [
            item
            for item in read_letters(bootstrap()).values()
            if (everything or not item.replayed)
            and (contract is None or item.event["contract"] == contract)
            and (reason is None or reason in item.codes)
        ]
    table = Table()
    for name in ("id", "arrived", "contract", "store", "reasons", "from"):
        table.add_column(name, no_wrap=name in ("id", "arrived"), overflow="fold")
    for item in found[-limit:]:
        event = item.event
        why = ", ".join(item.codes) + (" [green](let in)[/green]" if item.replayed else "")
        table.add_row(item.id, event["event_time"][:16], event["contract"], event["store_id"], why, event["source"])
    if found:
        console.print(table)
    shown = min(limit, len(found))
    console.print(
        f"{_letters(len(found))}{f', {shown:,} shown' if shown < len(found) else ''}."
        + (" `grocery ingest dead-letters show ID` tells more." if found else ""),
        highlight=False,
    )


@letters_app.command("show")
def show_letter(
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="As `list` prints it; its beginning will do.")],
    original: Annotated[
        bool, typer.Option("--original", help="Print what arrived as well. It may hold personal data.")
    ] = False,
) -> None:
    """Show one dead letter: every reason, what to do about it, and on request the original."""
    import sys

    from rich.console import Console
    from rich.markup import escape

    from grocery.gateway import bootstrap, cipher, clear_errors
    from ingestion.dead_letters import read_letters

    console = Console()
    with clear_errors():
        item = _pick(read_letters(bootstrap()), letter_id)
        event = item.event
        state = "let in since" if item.replayed else "refused"
        console.print(
            f"[bold]{item.id}[/bold]  {state}\n"
            f"contract  {escape(event['contract'])}\nstore     {event['store_id']}\n"
            f"arrived   {event['event_time']}\nfrom      {escape(event['source'])}\n"
            f"size      {event['payload_bytes']:,} bytes, "
            f"{'encrypted with key ' + event['key_id'] if 'key_id' in event else 'not kept'}\nreasons",
            highlight=False,
        )
        for reason in event["reasons"]:
            where = f"{reason['path']}: " if reason["path"] else ""
            console.print(f"  {reason['code']:<14} {escape(where + reason['message'])}", highlight=False)
        if original:
            payload = item.arrival(cipher()).payload
            console.print("original")
            sys.stdout.flush()
            sys.stdout.buffer.write(payload + b"\n")
            sys.stdout.buffer.flush()


@letters_app.command("replay")
def replay(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Letters, by id or its beginning.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every letter that was not let in yet.")] = False,
    reason: Annotated[str | None, typer.Option(help="With --all: only letters with this reason.")] = None,
) -> None:
    """Put dead letters through the gate again, byte for byte, after the cause was set right.

    Publish the missing asset, widen the contract, then replay: what passes goes to its topic with the time at which
    it first arrived, and is marked, so a second replay lets nothing in twice. What is refused again stays a letter;
    exit code 1 then.
    """
    from rich.console import Console
    from rich.markup import escape

    from grocery.gateway import bootstrap, cipher, clear_errors, open_gate
    from ingestion.dead_letters import read_letters, replay_letters
    from ingestion.reference import Reference
    from ingestion.sinks import KafkaSink

    console = Console()
    with clear_errors():
        if bool(ids) == everything:
            raise ValueError("name the letters to replay, or say --all; `grocery ingest dead-letters list` shows them")
        broker = bootstrap()
        known = read_letters(broker)
        chosen = [_pick(known, letter_id) for letter_id in ids or ()] or [
            item for item in known.values() if not item.replayed and (reason is None or reason in item.codes)
        ]
        gate = open_gate(Reference.from_topics(broker))
        with (
            KafkaSink(broker) as sink,
            console.status("Replaying…") as status,
        ):
            done = replay_letters(
                chosen, cipher(), gate, sink, lambda count: status.update(f"Replayed {count:,} of {len(chosen):,}")
            )
    for letter_id, reasons in done.refused.items():
        told = "; ".join(f"{r.code} {r.path}: {r.message}" for r in reasons)
        console.print(f"[yellow]{letter_id} refused again[/yellow]: {escape(told)}", highlight=False, soft_wrap=True)
    for letter_id, why in done.unreadable.items():
        console.print(f"[red]{letter_id}[/red]: {escape(why)}", highlight=False, soft_wrap=True)
    console.print(
        f"{_letters(len(chosen))}: {len(done.accepted):,} let in, {len(done.already):,} were in already, "
        f"{len(done.refused):,} refused again, {len(done.unreadable):,} cannot be read.",
        highlight=False,
    )
    if done.refused or done.unreadable:
        raise typer.Exit(1)


def _letters(number: int) -> str:
    return f"{number:,} letter" + "s" * (number != 1)


def _pick(letters: dict[str, Letter], letter_id: str) -> Letter:
    """Raises NoSuchLetter."""
    from ingestion.dead_letters import NoSuchLetter

    found = [item for key, item in letters.items() if key.startswith(letter_id)]
    if len(found) != 1:
        what = "no such letter" if not found else f"{len(found)} letters begin so; give more of the id"
        raise NoSuchLetter(
            f"{letter_id}: {what}; `grocery ingest dead-letters list --all` shows the {len(letters)} kept"
        )
    return found[0]
