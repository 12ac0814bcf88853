"""`grocery chain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The chain's own facts: check and publish stores, assets, products.", no_args_is_help=True)

_Folder = Annotated[
    Path | None,
    typer.Argument(metavar="FOLDER", help="Folder with stores.yaml, assets.yaml, products.yaml; else GROCERY_CHAIN."),
]


@app.command()
def check(folder: _Folder = None) -> None:
    """Check the chain's files: every entry against its contract, and all against each other.

    Each problem is named with file and line. Exit code 1 where there is one.
    """
    from rich.console import Console

    from grocery.gateway import clear_errors

    with clear_errors():
        events = _checked(folder)
    counts = {name: sum(1 for kind, _ in events if kind == name) for name in ("stores", "assets", "products")}
    console = Console()
    console.print(", ".join(f"{number:,} {name}" for name, number in counts.items()) + ": all good.", highlight=False)


@app.command()
def publish(folder: _Folder = None) -> None:
    """Publish the chain's files to the topics `stores`, `assets` and `products`, after checking them.

    Only what is new or changed is written; publishing again writes nothing. The gate, the ticker (which tells the
    engine) and the lakehouse's dimensions read from there. An entry taken out of a file stays published: set its
    status to `retired`, with a valid_from, so that history keeps it.
    """
    from rich.console import Console
    from rich.markup import escape

    from grocery.gateway import bootstrap, clear_errors
    from ingestion.reference import publish as publish_events

    console = Console()
    with clear_errors():
        broker = bootstrap()
        with console.status(f"Publishing to {broker}…"):
            done = publish_events(_checked(folder), broker)
    console.print(f"Entries written: {done.written:,}; there already: {done.unchanged:,}.", highlight=False)
    if done.left_over:
        shown = ", ".join(done.left_over[:10]) + ("…" if len(done.left_over) > 10 else "")
        console.print(
            f"[yellow]{len(done.left_over):,} published entries are in no file[/yellow] and stay as they are: "
            f"{escape(shown)}. Retire them with `status: retired` and a valid_from.",
            highlight=False,
        )


def _checked(folder: Path | None):
    """The chain's events. Raises typer.Exit after telling the problems, ChainError."""
    from rich.console import Console
    from rich.markup import escape

    from grocery.settings import settings
    from ingestion.chain_check import check_chain

    events, problems = check_chain(folder or settings().chain)
    if problems:
        console = Console(stderr=True)
        for problem in problems:
            console.print(escape(str(problem)), highlight=False, soft_wrap=True)
        console.print(f"[red]{len(problems):,} problems[/red]", highlight=False)
        raise typer.Exit(1)
    return events
