"""Replace running jobs by a new version of them, or leave everything as it was.

A job is stopped with a savepoint and begins with it in its new version. Where that does not come up, the old version is
put back: its code, its arguments, from the newest of what it and the new version have committed. What was is remembered
in the stack's state until the new version has come up, so whoever is interrupted in between leaves the rest to the
keeper, which puts the old version back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from grocery.stack import flink, state
from grocery.stack.errors import StackError
from grocery.stack.local import Stack
from streaming_jobs.progress import completed_checkpoints

UP_S = 180
"""A version has to come up within."""
UP_CHECKPOINTS = 3
"""Checkpoints that a version completes in a row, without failing, before it has come up. The first batches are decided
within the first of them."""
FAILURES = 3
"""A version that failed so often has not come up. One failure may be a broker that was slow."""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Change:
    """What a running job shall be from now on."""

    name: str
    py_file: Path
    args: list[str]


class NotDeployed(StackError):
    """The new version did not come up; the message says why, and what runs now."""


def deploy(stack: Stack, changes: Sequence[Change], progress: Progress) -> None:
    """Replace these jobs, all or none; returns once each has come up.

    Code that changed concerns every job of the stack, see release.py: then `changes` has to name them all.
    Raises StackError where nothing was touched, NotDeployed where the old version was put back.
    """
    names = [change.name for change in changes]
    with state.locked(stack.home, "submit"):
        _check(stack, names)
        code = stack.keep_code(names, [change.py_file for change in changes])
        with state.edit(stack.home) as remembered:
            for change in changes:
                job = remembered.jobs[change.name]
                job.previous = state.Replaced(py_file=job.py_file, args=job.args, env=job.env, job_id=job.job_id)
                job.py_file, job.args = str(stack.in_code(change.py_file, code)), change.args
        try:
            for name in names:
                progress(f"{name}: stopping with a savepoint")
                _stop(stack, name)
            if code is not None:
                stack.use_code(code)
            progress(f"{', '.join(names)}: starting the new version")
            with ThreadPoolExecutor() as pool:  # each waits for a client of its own
                list(pool.map(stack.begin, names))
            for name in names:
                come_up(stack.flink_rest, stack.known(name).job_id, name)
        except (StackError, OSError) as error:
            progress(f"it does not come up: {error}")
            try:
                back = _put_back(stack, progress)
            except (StackError, OSError) as again:
                back = f"and the old one is not back yet, the stack's keeper goes on trying ({again})"
            raise NotDeployed(f"the new version did not come up, {back}.\n{error}") from error
        with state.edit(stack.home) as remembered:
            for name in names:
                remembered.jobs[name].previous = None
        for name in names:
            stack.drop_old_savepoints(name)
        stack.drop_old_code()


def recover(stack: Stack, progress: Progress) -> None:
    """Put the old version back where a deploy was interrupted; nothing happens where none was, or one goes on."""
    with state.tried(stack.home, "submit") as mine:
        if mine and _unfinished(stack):
            progress(f"a deploy was interrupted: {_put_back(stack, progress)}")


def _unfinished(stack: Stack) -> dict[str, state.Job]:
    remembered = state.read(stack.home)
    return {} if remembered is None else {name: job for name, job in remembered.jobs.items() if job.previous}


def _check(stack: Stack, names: Sequence[str]) -> None:
    for name in names:
        now = stack.known(name)
        if now.state != "RUNNING":
            raise StackError(
                f"job {name} is {now.state}, only a running job is replaced; start it: grocery stream submit {name}"
            )


def _stop(stack: Stack, name: str) -> None:
    job_id = stack.known(name).job_id
    flink.savepoint(stack.flink_rest, job_id, stack.home / "savepoints" / job_id, stop=True)
    stack.wait(lambda: stack.known(name).state in flink.TERMINAL, f"job {name} to end")


def come_up(rest: str, job_id: str, name: str, still_there: Callable[[], None] = lambda: None) -> None:
    """Return once a job that was just started runs and completes checkpoints.

    still_there: raises where nobody can answer any more. Raises StackError with why the job does not come up.
    """
    end, failed, done_at_failure = time.monotonic() + UP_S, 0, 0
    failures: list[str] = []
    while time.monotonic() < end:
        still_there()
        now = flink.job_states(rest)
        if now is not None:
            failures, done = flink.failures(rest, job_id), completed_checkpoints(rest, job_id)
            if job_id not in now:
                raise StackError(f"{name}: the job manager was restarted meanwhile")
            if now[job_id] in flink.TERMINAL or len(failures) >= FAILURES:
                raise StackError(f"{name}: {failures[0] if failures else f'it is {now[job_id]}'}")
            if len(failures) > failed:
                failed, done_at_failure = len(failures), done
            if now[job_id] == "RUNNING" and done - done_at_failure >= UP_CHECKPOINTS:
                return
        time.sleep(0.2)
    raise StackError(f"{name}: not up after {UP_S} s: {failures[0] if failures else 'too few checkpoints'}")


def _put_back(stack: Stack, progress: Progress) -> str:
    """Let every job whose replacement was begun run as before; returns what to say about it. The caller holds the lock.

    Raises StackError where the old version does not come up either; the keeper tries it again.
    """
    jobs = _unfinished(stack)
    # Who was killed while it submitted has left a client that may bring the new version yet, under an id nobody noted.
    stack.end_clients()
    for name, job in jobs.items():
        stack.note_unknown_runs(name)
        _end(stack, name, {job.previous.job_id})
    for job in jobs.values():
        stack.use_code(stack.code_of(job.previous.py_file))
    said = []
    for name, job in jobs.items():
        with state.edit(stack.home) as remembered:
            remembered.jobs[name].go_back()
            remembered.jobs[name].previous = job.previous  # until it has come up
        if job.previous.job_id in flink.live(stack.flink_rest, name):
            said.append(f"{name} goes on as it was")
        else:
            said.append(_begin_again(stack, name, job.previous.job_id, progress))
        with state.edit(stack.home) as remembered:
            remembered.jobs[name].previous = None
    return "; ".join(said)


def _end(stack: Stack, name: str, but: set[str]) -> None:
    """Cancel the runs of a job that have not ended, but these, and wait: two at once would write the same alerts."""
    rest = stack.flink_rest
    for job_id in flink.live(rest, name) - but:
        flink.cancel(rest, job_id)
    stack.wait(lambda: not flink.live(rest, name) - but, f"job {name} to end")


def _begin_again(stack: Stack, name: str, old_run: str, progress: Progress) -> str:
    """Start the old version from the newest that was committed; where it cannot use what the new version wrote, from
    its own last savepoint."""
    newest, own = stack.newest(name), stack.newest_of(old_run)
    for start in dict.fromkeys((newest, own)):
        progress(f"{name}: putting the old version back")
        try:
            stack.begin(name, start)
            come_up(stack.flink_rest, stack.known(name).job_id, name)
        except (StackError, OSError) as error:
            _end(stack, name, set())
            if start == own:
                raise StackError(f"{name}: the old version does not come up either: {error}") from error
            progress(f"{name}: the old version cannot begin with what the new one wrote: {error}")
        else:
            again = "; steps that the new version told may be told again" if start == own != newest else ""
            return f"the old version of {name} runs again{again}"
    raise AssertionError("own is always tried")
