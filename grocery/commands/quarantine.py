"""`grocery quarantine`."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from grocery.commands.batch import Names, chosen

if TYPE_CHECKING:
    from rich.console import Console

    from batch_jobs.quarantine import Aside, Choice

app = typer.Typer(
    help="What silver set aside: records that are no event of their contract. List them, show one.",
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
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Count what is set aside, by contract, reason and day of arrival, with an example of each.

    A record with several reasons counts under each of them.

    Examples:

      grocery quarantine list

      grocery quarantine list -c sensor-readings --reason unit --from 2026-10-01
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
        found, records = groups(settings().lake_path, chosen(only), _choice(reason, first, last, run))
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
        f"{_records(records)} in quarantine." + (" `grocery quarantine show EXAMPLE` tells more." if found else ""),
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
    console.print(
        f"[bold]{escape(item.place)}[/bold]\n"
        f"contract  {item.contract}\ntopic id  {escape(item.topic_id)}\nkey       {escape(item.key or '')}\n"
        f"arrived   {item.arrived_at:%Y-%m-%d %H:%M:%S} UTC\nset aside {item.loaded_at:%Y-%m-%d %H:%M:%S} UTC "
        f"by run {escape(item.run_id)}\nreasons",
        highlight=False,
        soft_wrap=True,
    )
    for reason, meaning in told:
        console.print(f"  {escape(reason)}  {escape(meaning)}", highlight=False, soft_wrap=True)
    if keeps and any(reason.partition(":")[0] != "clock" for reason in item.reasons):
        console.print("It keeps today's contract.", highlight=False)
    console.print("payload")
    try:
        text = json.dumps(json.loads(item.payload or ""), indent=2, ensure_ascii=False)
    except ValueError:
        text = item.payload if item.payload is not None else "(none: a tombstone)"
    typer.echo(text)
