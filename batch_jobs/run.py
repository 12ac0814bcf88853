"""One run of the lakehouse: its name, its moment, its lake; and how contracts share the machine."""

from __future__ import annotations

import fcntl
import os
import random
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from batch_jobs import s3
from batch_jobs.errors import BatchError, LakeError, SeveralFailed, explain, is_conflict
from schemas.contract import Contract

AT_ONCE = 3
"""Contracts at a time: much of a small job is waiting for the driver, so more than the cores of a small machine."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Run:
    """id: in every row this run writes. at: `loaded_at` of them, UTC. lake: a folder, or an address Spark knows."""

    id: str
    at: datetime
    lake: str


def new_run(lake: str) -> Run:
    at = datetime.now(UTC)
    return Run(f"{at:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}", at, lake)


@contextmanager
def lease(
    lake: str,
    patience: timedelta = timedelta(0),
    on_wait: Callable[[str], None] | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """Be the only run on a lake; in a folder it ends with our process at the latest, on S3 two minutes after.

    patience: how long to wait for another process, of which on_wait is told once. pause: waits so many seconds; what it
    raises ends the waiting. Raises LakeError where the other has the lake still.
    """
    if s3.is_on_s3(lake):
        with s3.lease(lake, patience, on_wait, pause):
            yield
        return
    if "://" in lake:
        yield
        return
    until = time.monotonic() + patience.total_seconds()
    with (Path(lake) / ".lease").open("a+") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                file.seek(0)
                other = f"another run is at work on it (process {file.read().strip() or 'unknown'})"
                if time.monotonic() >= until:
                    raise LakeError(f"lake {lake}: {other}; wait until it has ended, and run again") from error
            if on_wait:
                on_wait(f"lake {lake}: {other}; waiting until it has ended")
                on_wait = None
            pause(_LOOK_AGAIN_S)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextmanager
def alone(lake: str) -> Iterator[Run]:
    """A new run, alone on its lake, once whoever is at work there has ended: for a job that nobody waits for."""
    with lease(lake, timedelta(hours=1), print):
        yield new_run(lake)


_LOOK_AGAIN_S = 0.2
TRIES = 5


def unless_in_the_way(work: Callable[[], Result], tries: int = TRIES) -> Result:
    """Do the work again, from its beginning, as long as Delta says that somebody else wrote what it had read.

    For work that a second time changes nothing of what the first has written. Raises what the last try raised.
    """
    for left in range(tries - 1, -1, -1):
        try:
            return work()
        except Exception as error:
            if not (left and is_conflict(error)):
                raise
        time.sleep(random.uniform(0, _LOOK_AGAIN_S))  # else two that are in each other's way stay so
    raise AssertionError("unreachable")


def in_parallel(
    step: str,
    contracts: Iterable[Contract],
    work: Callable[[Contract], Result],
    on_done: Callable[[Result], None] | None = None,
) -> list[Result]:
    """Do the work for each contract, some at a time; results by contract, in the order given.

    One that fails keeps no other from its work. In the end its error is raised as a BatchError that names it, those of
    several as SeveralFailed; the results of the others lie in its `results`.
    """
    contracts = list(contracts)
    results: dict[str, Result] = {}
    failed: dict[str, BatchError] = {}
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix=step) as pool:
        tasks = {pool.submit(work, item): item for item in contracts}
        try:
            for task in as_completed(tasks):
                name = tasks[task].name
                if error := task.exception():
                    failed[name] = _named(error, f"{step} {name}")
                    continue
                results[name] = task.result()
                if on_done:
                    on_done(results[name])
        except BaseException:  # such as Ctrl-C
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    found = [results[item.name] for item in contracts if item.name in results]
    if failed:
        failures = [failed[item.name] for item in contracts if item.name in failed]
        error = failures[0] if len(failures) == 1 else SeveralFailed(failures)
        error.results, error.failures = found, failures
        raise error
    return found


def _named(error: BaseException, what: str) -> BatchError:
    if isinstance(error, BatchError):
        return error
    told = explain(error, what)
    told.__cause__ = error
    return told
