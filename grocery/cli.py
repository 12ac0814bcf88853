"""The one door: `grocery`. Each command group is a module of grocery/commands."""

import os
from typing import Annotated

import typer

from grocery.commands import (
    alerts,
    batch,
    chain,
    contracts,
    demo,
    doctor,
    export,
    glue,
    guard,
    ingest,
    quarantine,
    query,
    replay,
    report,
    rules,
    simulate,
    stack,
    stream,
)
from grocery.settings import settings
from schemas import BadContract, all_contracts

app = typer.Typer(
    name="grocery",
    help="Smart grocery: from stores' readings to alerts and analytics tables.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def choose_workspace(
    workspace: Annotated[
        str | None,
        typer.Option(
            "--workspace", "-w", help="Which stack, lake and gold to work on; `demo` is what `make demo` left."
        ),
    ] = None,
) -> None:
    if workspace:
        os.environ["GROCERY_WORKSPACE"] = workspace
        settings.cache_clear()
    if settings().schemas:
        _read_own_contracts()


def _read_own_contracts() -> None:
    """Told here, once, instead of wherever a command first needs a contract."""
    # What is started from here (Flink, Spark, dbt) may stand in another folder.
    os.environ["GROCERY_SCHEMAS"] = str(settings().schemas.absolute())
    try:
        all_contracts()
    except BadContract as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error


for single in (doctor.doctor, simulate.simulate, replay.replay, query.query, report.report, demo.demo, guard.guard):
    app.command()(single)

for group in (contracts, chain, ingest, stack, stream, rules, alerts, batch, quarantine, export, glue):
    app.add_typer(group.app, name=group.__name__.rpartition(".")[2])

if __name__ == "__main__":
    app()
