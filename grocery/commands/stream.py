"""`grocery stream`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from grocery.deployment import Plan
    from grocery.stack import Stack

app = typer.Typer(help="Flink jobs: submit, status, deploy, savepoint, cancel.", no_args_is_help=True)

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

    Rules and code travel with the job: a change of either reaches a running job by `grocery stream deploy`. A job that
    was cancelled goes on from its newest checkpoint, with the rules of now; its open alerts stay open.

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
def deploy(
    jobs: Annotated[
        list[str] | None, typer.Argument(metavar="[JOB]...", help="Running jobs; default: all that run.")
    ] = None,
    rules: Annotated[
        Path | None, typer.Option("--rules", help="Rule file, for one job; default: rules/JOB.yaml of the chain.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check, show and rehearse; leave the running jobs as they are.")
    ] = False,
) -> None:
    """Replace running jobs by what rules and code say now, and put the old ones back if the new do not come up.

    1. Checks the rules. A problem is told with file and line, and nothing else happens.

    2. Shows what changes: rules added, changed and gone, and how many alerts are open under those that are gone.

    3. Rehearses: takes a savepoint, restores it with the new version in a Flink of its own and has every store's state
    read. Nothing of it is written anywhere, and the running job goes on.

    4. Stops the job with a savepoint, begins the new version with it, and waits until that has completed checkpoints.
    Alerts that are open stay open under their ids; those whose rule is gone are closed with that reason, when their
    store's next record comes. If the new version fails, the old one is put back, and the exit code is 1.

    A second run with nothing changed replaces the jobs by themselves: they restart, and no alert is lost or told twice.
    Jobs of one stack run the same code: once that has changed they are stopped and started together, else one by one.

    Examples:

      grocery stream deploy cold_chain --dry-run

      grocery stream deploy
    """
    import shutil
    import time

    from rich.console import Console

    from grocery.deployment import plan
    from grocery.gateway import clear_errors
    from grocery.rehearsal import rehearse
    from grocery.settings import settings
    from grocery.stack import StackError
    from grocery.stack.deploy import deploy as replace
    from streaming_jobs.submit import job_named
    from streaming_jobs.submit import jobs as known

    console = Console()
    with clear_errors():
        stack = _stack()
        names = jobs or [name for name in known() if (now := stack.job(name)) and now.state == "RUNNING"]
        if not names:
            raise StackError("no job runs, and a deploy replaces what runs; start one: grocery stream submit JOB")
        if rules is not None and len(names) > 1:
            raise ValueError(f"--rules names one file, and {', '.join(names)} have one each; name one job")
        plans = [plan(stack, name, rules or settings().chain / "rules" / job_named(name).rules) for name in names]
        changes = [item.change for item in plans]
        before, code = stack.code, stack.keep_code(names, [change.py_file for change in changes])
        for item in plans:
            _show(console, item)
        was = before.name if before else "of an earlier release"
        console.print(f"code: {'unchanged' if before == code else f'{was} -> {code.name}'}", highlight=False)
        for change in changes:
            with console.status(f"{change.name}: rehearsing with a savepoint…"):
                folder = stack.home / "rehearsals" / change.name
                try:
                    done = rehearse(stack, change, code, stack.savepoint(change.name, folder))
                finally:
                    shutil.rmtree(folder, ignore_errors=True)
            console.print(
                f"{change.name}: rehearsed, the {'state' if done.stores == 1 else 'states'} of "
                f"{done.stores:,} {'store was' if done.stores == 1 else 'stores were'} restored and read, "
                f"{done.seconds:.0f} s",
                highlight=False,
            )
        if dry_run:
            console.print("Nothing was replaced (--dry-run).")
            return
        # Changed code concerns all jobs at once; without, each job is away for the shortest time when it goes alone.
        for together in [changes] if before != code else [[change] for change in changes]:
            began = time.monotonic()
            replace(stack, together, lambda what: console.print(what, highlight=False, soft_wrap=True, markup=False))
            for change in together:
                now = stack.job(change.name)
                said = f"{change.name} runs as {now.job_id}, from {now.resumed_from}"
                console.print(said, highlight=False, soft_wrap=True)
            console.print(f"Replaced within {time.monotonic() - began:.0f} s.", highlight=False)


def _show(console: Console, plan: Plan) -> None:
    from rich.markup import escape

    count = len(plan.differences)
    differ = "the rules are unchanged" if not count else "one rule differs" if count == 1 else f"{count} rules differ"
    said = f"{plan.change.name}: {plan.rules}: {differ}"
    console.print(escape(said), highlight=False, soft_wrap=True)
    for item in plan.differences:
        closing = plan.open_alerts.get(item.name, 0)
        alerts = f"{closing:,} open {'alert' if closing == 1 else 'alerts'} will be closed"
        after = f", {alerts}" if item.kind == "gone" else ""
        console.print(f"  {item.kind:7} {item.name}{after}", highlight=False)
        for words in item.words:
            console.print(escape(f"            {words}"), highlight=False, soft_wrap=True)


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
