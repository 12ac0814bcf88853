"""`grocery stream`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from grocery.stack import Stack

app = typer.Typer(help="Flink jobs: submit, status, savepoint, cancel.", no_args_is_help=True)

_Job = Annotated[str, typer.Argument(metavar="JOB", help="A job's name, e.g. cold_chain.")]


def _stack() -> Stack:
    from grocery.settings import settings
    from grocery.stack import Stack

    return Stack(settings().stack_home, settings().logs)


@app.command()
def submit(
    job: _Job,
    rules: Annotated[
        Path | None, typer.Option("--rules", help="Rule file; default: rules/JOB.yaml of the chain.")
    ] = None,
    start_from: Annotated[
        Path | None, typer.Option("--from", metavar="SAVEPOINT", help="Begin with this savepoint; it is only read.")
    ] = None,
) -> None:
    """Check a job's rules and run it on the local stack; returns once Flink has taken it.

    The rules travel with the job, so a change of the file needs a cancel and a submit. A job that was cancelled goes on
    from its newest checkpoint, with the new rules; its open alerts stay open.

    A savepoint holds how far the topics were read: begin with one only on the broker it was made with, or on one that
    was given the same log.

    Examples:

      grocery stack up && grocery stream submit cold_chain

      grocery stream submit cold_chain --from savepoints/savepoint-1a2b3c-0123456789ab
    """
    from rich.console import Console

    from grocery.gateway import clear_errors
    from grocery.settings import settings
    from streaming_jobs.submit import job_named
    from streaming_jobs.submit import submit as hand_over

    console = Console()
    with clear_errors():
        file = rules or settings().chain / "rules" / job_named(job).rules
        stack = _stack()
        with console.status(f"Submitting {job} with {file}…"):
            job_id = hand_over(stack, job, file, start_from)
        now = stack.job(job)
    console.print(f"{job} runs as {job_id}: {stack.flink_rest}/#/job/{job_id}", highlight=False, soft_wrap=True)
    if now is not None and now.resumed_from:
        console.print(f"It went on from {now.resumed_from}", highlight=False, soft_wrap=True)
    console.print("Next: `grocery alerts watch`, `grocery stream status`", highlight=False)


@app.command()
def status() -> None:
    """Show each job: its state, how many records it has yet to decide on, and what it could not use.

    Columns after `behind` count since the job's last start: unreadable (no event; stays on the topic and goes to
    bronze), unusable (no device or time), duplicate, too late (older than what a device is remembered by).
    """
    from rich.console import Console
    from rich.table import Table

    from grocery.gateway import clear_errors
    from streaming_jobs.progress import counted, lag, taken
    from streaming_jobs.submit import jobs

    console = Console()
    with clear_errors():
        stack = _stack()
        rest, kafka = stack.flink_rest, stack.kafka
        known = jobs()
        submitted = {job.name: job for job in stack.jobs()}
        table = Table(box=None, pad_edge=False)
        for column in ("job", "state", "behind", "unreadable", "unusable", "duplicate", "too late"):
            table.add_column(column, no_wrap=column in ("job", "behind"))
        for name, job in known.items():
            now = submitted.get(name)
            if now is None:
                table.add_row(name, "not submitted")
                continue
            runs = now.job_id is not None and now.state == "RUNNING"
            counts = _patiently(lambda now=now: counted(rest, now.job_id)) if runs else {}
            behind = sum(
                lag(kafka, name, topic, taken(rest, now.job_id, topic) if runs else None).records
                for topic in job.reads.values()
            )
            columns = [str(counts.get(word, "?")) for word in ("unreadable", "unusable", "duplicate", "too_late")]
            table.add_row(name, now.error or now.state, f"{behind:,}", *columns)
    console.print(table)
    console.print(f"Flink's own pages: {rest}", highlight=False)


def _patiently(ask: Callable[[], dict[str, int]]) -> dict[str, int]:
    """Flink gathers figures when they are first asked for; give it two seconds."""
    from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

    patient = Retrying(
        retry=retry_if_result(lambda found: not found),
        stop=stop_after_delay(2),
        wait=wait_fixed(0.2),
        retry_error_callback=lambda _: {},
    )
    return patient(ask)


@app.command()
def savepoint(
    job: _Job,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="DIR", help="Folder to put it under; default: the stack's own."),
    ] = None,
) -> None:
    """Take a savepoint of a running job: its whole state in one folder, to begin with again. The job runs on.

    It is written in Flink's canonical format, so a later release and a later Flink read it. With --to it is yours:
    nothing of ours ever removes it.

    Example:

      grocery stream savepoint cold_chain --to savepoints
    """
    from rich.console import Console

    from grocery.gateway import clear_errors
    from streaming_jobs.submit import job_named

    console = Console()
    with clear_errors():
        job_named(job)
        with console.status(f"{job}: taking a savepoint…"):
            made = _stack().savepoint(job, to)
    console.print(f"{job}: {made}", highlight=False, soft_wrap=True)
    console.print(f"Begin with it: `grocery stream submit {job} --from {made}`", highlight=False, soft_wrap=True)


@app.command()
def cancel(
    job: _Job,
    forget: Annotated[
        bool, typer.Option("--forget", help="Forget its checkpoints too: the next submit begins at the beginning.")
    ] = False,
) -> None:
    """End a job. Its newest checkpoint stays, so the next submit goes on from there, unless --forget is given."""
    from rich.console import Console

    from grocery.gateway import clear_errors
    from streaming_jobs.submit import job_named

    with clear_errors():
        job_named(job)
        stack = _stack()
        if forget:
            stack.forget(job)
        else:
            stack.cancel(job)
    said = "and its checkpoints are forgotten" if forget else f"`grocery stream submit {job}` goes on from here"
    Console().print(f"{job} has ended; {said}.", highlight=False)
