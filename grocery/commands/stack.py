"""`grocery stack`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from grocery.stack import Stack

app = typer.Typer(help="The local stack: a Kafka broker and a Flink cluster, kept alive.", no_args_is_help=True)


@app.command()
def up(
    flink: Annotated[bool, typer.Option(help="Start the Flink cluster too, not only the broker.")] = True,
    task_managers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Flink's task managers. Each has a Python of its own: as many as there are cores decide the most, and "
            "each takes 1.8 GB. Default: as many as the last time, else one.",
        ),
    ] = None,
    kafka_port: Annotated[
        int | None, typer.Option(help="The broker's port; default: the last one, or a free one.")
    ] = None,
    ui_port: Annotated[
        int | None, typer.Option(help="Port of Flink's web page; default: the last one, or a free one.")
    ] = None,
) -> None:
    """Start the stack and leave it running; topics, jobs and checkpoints of the last time are there again.

    A process that dies is started again, and a job that was submitted goes on from its newest complete checkpoint. A
    guard watches all of it and tells on `alerts.platform` what stands still (`grocery guard --help`).
    Ends when everything answers. Running it twice changes nothing.
    """
    from rich.console import Console

    console = Console()
    with _plainly():
        stack = _stack()
        with console.status("starting") as status:

            def say(what: str) -> None:
                status.update(what)
                if not console.is_terminal:
                    console.print(what)

            started = stack.up(
                flink, guard=True, task_managers=task_managers, kafka_port=kafka_port, ui_port=ui_port, progress=say
            )
        if not started:
            console.print("The stack is running already; nothing was changed.")
        _show(stack)


@app.command()
def down(
    every: Annotated[bool, typer.Option("--all", help="The stacks of all workspaces, the demo's too.")] = False,
) -> None:
    """Stop the stack. Topics, jobs and checkpoints stay for the next `up`."""
    from rich.console import Console

    from grocery.settings import Settings, settings
    from grocery.stack import Stack

    console = Console(highlight=False)
    stacks = {settings().workspace: _stack()}
    if every:
        for file in sorted(settings().home.glob("*/stack/stack.json")):
            other = Settings(workspace=file.parent.parent.name)
            stacks[other.workspace] = Stack(other.stack_home, other.logs)
    with _plainly():
        for workspace, stack in stacks.items():
            stopped = stack.down()
            console.print(f"{workspace}: {'stopped' if stopped else 'nothing was running'}")


@app.command()
def status() -> None:
    """What runs, where it listens, and its jobs. Exit code 1 when the stack is not running."""
    with _plainly():
        stack = _stack()
        if not stack.status().running:
            typer.echo("The stack is not running. Start it: grocery stack up")
            raise typer.Exit(1)
        _show(stack)


def _show(stack: Stack) -> None:
    from datetime import timedelta

    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    now = stack.status()
    table = Table("process", "state", "pid", "up for", box=None, pad_edge=False)
    for process in now.processes:
        running = process.pid > 0
        table.add_row(
            process.name,
            process.state.lower(),
            str(process.pid) if running else "",
            str(timedelta(seconds=process.up_s)) if running else "",
        )
    console.print(table)
    jobs = stack.jobs()
    if jobs:
        listed = Table("job", "state", "id", "", box=None, pad_edge=False)
        for job in jobs:
            listed.add_row(job.name, job.state.lower(), job.job_id or "", (job.error or "").partition("\n")[0])
        console.print()
        console.print(listed)
    console.print()
    console.print(f"Kafka   {now.kafka or 'not running'}")
    console.print(f"Flink   {now.flink_rest or 'not running'}", soft_wrap=True)
    for name, address in now.metrics.items():
        console.print(f"Metrics {address}  ({name})", soft_wrap=True)
    console.print(f"Logs    {stack.logs}", soft_wrap=True)


def _stack() -> Stack:
    from grocery.settings import settings
    from grocery.stack import Stack

    return Stack(settings().stack_home, settings().logs)


@contextmanager
def _plainly() -> Iterator[None]:
    """A stack's error as a message and exit code 1, without a traceback."""
    from grocery.stack import StackError

    try:
        yield
    except StackError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
