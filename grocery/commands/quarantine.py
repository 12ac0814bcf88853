"""`grocery quarantine`."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from grocery.commands.batch import PATIENCE, SET_ASIDE_EXIT, Names, chosen, spark_run

if TYPE_CHECKING:
    from rich.console import Console

    from batch_jobs.quarantine import Aside, Choice, Replayed

app = typer.Typer(
    help="What silver set aside: records that are no event of their contract. List them, show one, and let them in "
    "once the contract is mended.",
    no_args_is_help=True,
)

Reason = Annotated[
    str | None, typer.Option("--reason", "-r", help="Only with this reason: a code (`type`), or `type:/value`.")
]
From = Annotated[
    datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="Arrived on this day (UTC) or later.")
]
To = Annotated[
    datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Arrived on this day (UTC) or earlier.")
]
SetAsideBy = Annotated[str | None, typer.Option("--run", help="Only what this run of silver set aside.")]


@app.command("list")
def list_(
    only: Names = None,
    reason: Reason = None,
    first: From = None,
    last: To = None,
    run: SetAsideBy = None,
    everything: Annotated[bool, typer.Option("--all", help="Those that were replayed since, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Count what is set aside, by contract, reason and day of arrival, with an example of each.

    A record with several reasons counts under each of them.

    Examples:

      grocery quarantine list

      grocery quarantine list -c sensor-readings --reason id_conflict --from 2026-10-01
    """
    import json
    from dataclasses import asdict

    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from batch_jobs.quarantine import groups
    from grocery.gateway import clear_errors
    from grocery.settings import settings

    with clear_errors():
        found, records = groups(
            settings().lake_path, chosen(only), _choice(reason, first, last, run), everything=everything
        )
    if as_json:
        for one in found:
            row = asdict(one) | {name: getattr(one, name).isoformat() for name in ("day", "first", "last")}
            typer.echo(json.dumps(row, ensure_ascii=False))
        return
    console = Console()
    if found:
        table = Table("contract", "reason", "day", "records", "first", "last", "example")
        table.columns[3].justify = "right"
        for one in found:
            table.add_row(
                *(one.contract, escape(one.reason), f"{one.day}", f"{one.records:,}"),
                *(f"{one.first:%H:%M:%S}", f"{one.last:%H:%M:%S}", escape(one.example)),
            )
        console.print(table)
    console.print(
        f"{_records(records)} in quarantine{'' if everything else ' still'}."
        + (" `grocery quarantine show EXAMPLE` tells more." if found else ""),
        highlight=False,
    )


@app.command("show")
def show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="RECORD", help="Its coordinates, topic/partition/offset as `list` has them; or event_id."
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Show one record: where it came from, each reason in words, and the payload.

    The payload is what was on the topic. The gate hashes personal data before it writes there; what somebody put on the
    topic past the gate is shown as it is.
    """
    import json
    from dataclasses import asdict

    from rich.console import Console

    from batch_jobs.quarantine import find
    from grocery.gateway import clear_errors
    from grocery.settings import settings

    with clear_errors():
        item = find(settings().lake_path, chosen(None), name)
    if as_json:
        typer.echo(json.dumps(asdict(item), ensure_ascii=False, default=datetime.isoformat))
        return
    _show(Console(), item)


@app.command("replay")
def replay(
    only: Names = None,
    reason: Reason = None,
    first: From = None,
    last: To = None,
    run: SetAsideBy = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would become of them, and write nothing.")
    ] = False,
) -> None:
    """Judge what is set aside by today's contracts; what keeps them now goes to silver.

    Mend the contract first, or drop what an event conflicts with. By the same merge as ever: an event that silver has
    from another record is not there twice. What left is marked and not taken again; what stays has the reasons it has
    today. The counts are kept in audit.dispositions. `grocery batch quality` and `gold` take it on from there.

    Exit code 3: some records stay in quarantine. 1: something failed.

    Examples:

      grocery quarantine replay --dry-run

      grocery quarantine replay -c sensor-readings --reason unit
    """
    from batch_jobs import quarantine

    with spark_run(PATIENCE) as at_work:
        contracts, choice = chosen(only), _choice(reason, first, last, run)
        quarantine.check_reason(at_work.run.lake, contracts, choice)
        at_work.short = True
        spark = at_work.spark
        with at_work.console.status("Replaying…"):
            done = quarantine.replay(spark, at_work.run, contracts, choice, dry_run=dry_run)
        show_replayed(at_work.console, done, dry_run)
    if not dry_run and any(one.quarantined for one in done):
        raise typer.Exit(SET_ASIDE_EXIT)


def _choice(reason: str | None, first: datetime | None, last: datetime | None, run: str | None) -> Choice:
    """Raises ValueError."""
    from batch_jobs.quarantine import Choice

    if first and last and first > last:
        raise ValueError(f"--from {first:%Y-%m-%d} is after --to {last:%Y-%m-%d}; exchange them")
    return Choice(reason, _day(first), _day(last), run)


def _day(when: datetime | None) -> date | None:
    return when and when.date()


def _records(number: int) -> str:
    return f"{number:,} record" + "s" * (number != 1)


def _show(console: Console, item: Aside) -> None:
    import json

    from rich.markup import escape

    from batch_jobs.quarantine import meanings
    from schemas.contract import contract

    told, keeps = meanings(contract(item.contract), item.payload, item.reasons)
    state = "set aside"
    if item.replayed_at:
        state = f"{item.replayed_as} by {item.replayed_run}, {item.replayed_at:%Y-%m-%d %H:%M:%S} UTC"
    console.print(
        f"[bold]{escape(item.place)}[/bold]  {escape(state)}\n"
        f"contract  {item.contract}\ntopic id  {escape(item.topic_id)}\nkey       {escape(item.key or '')}\n"
        f"arrived   {item.arrived_at:%Y-%m-%d %H:%M:%S} UTC\nset aside {item.loaded_at:%Y-%m-%d %H:%M:%S} UTC "
        f"by run {escape(item.run_id)}\nreasons",
        highlight=False,
        soft_wrap=True,
    )
    for reason, meaning in told:
        console.print(f"  {escape(reason)}  {escape(meaning)}", highlight=False, soft_wrap=True)
    if keeps and not item.replayed_at and any(reason.partition(":")[0] not in _BEYOND for reason in item.reasons):
        console.print("It keeps today's contract: `grocery quarantine replay` lets it in.", highlight=False)
    console.print("payload")
    try:
        text = json.dumps(json.loads(item.payload or ""), indent=2, ensure_ascii=False)
    except ValueError:
        text = item.payload if item.payload is not None else "(none: a tombstone)"
    typer.echo(text)


_BEYOND = ("clock", "id_conflict")
"""Reasons that no contract alone has anything to say of."""


def show_replayed(console: Console, done: list[Replayed], dry_run: bool) -> None:
    """What became of the records, or would."""
    from rich.table import Table

    found = [one for one in done if one.rows]
    if not found:
        console.print("replay: nothing in quarantine to take", highlight=False)
        return
    table = Table(
        *("contract", "taken", "replayed", "duplicate", "quarantined"),
        title="replay: what would become of each record" if dry_run else "replay: what became of each record",
        title_justify="left",
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for one in found:
        table.add_row(one.contract, *(f"{n:,}" for n in (one.rows, one.replayed, one.duplicate, one.quarantined)))
    console.print(table)
    for one in found:
        if one.reasons:
            first = ", ".join(f"{reason} ({rows:,})" for reason, rows in list(one.reasons.items())[:5])
            more = f", and {len(one.reasons) - 5} more" if len(one.reasons) > 5 else ""
            stay = "would stay" if dry_run else "stay"
            console.print(
                f"  {one.contract}: {one.quarantined:,} {stay}: {first}{more}", highlight=False, soft_wrap=True
            )
    if dry_run:
        console.print("Nothing was written.", highlight=False)
    elif any(one.replayed for one in found):
        console.print("Next: `grocery batch quality`, then `grocery batch gold`.", highlight=False)
