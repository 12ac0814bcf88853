"""One run of the lakehouse: its name, its moment, its lake; and how contracts share the machine."""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import TypeVar

from batch_jobs.errors import BatchError, LakeError, explain
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
def lease(lake: str) -> Iterator[None]:
    """Be the only run on a lake that is a folder. Raises LakeError where another process has it; ends with ours."""
    if "://" in lake:
        yield
        return
    with (Path(lake) / ".lease").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise LakeError(
                f"lake {lake}: another run is at work on it (process {file.read().strip() or 'unknown'}); "
                "wait until it has ended, and run again"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def in_parallel(
    step: str,
    contracts: Iterable[Contract],
    work: Callable[[Contract], Result],
    on_done: Callable[[Result], None] | None = None,
) -> list[Result]:
    """Do the work for each contract, some at a time; results by contract, in the order given.

    Once one fails no further one begins, those at work end, and its error is raised as a BatchError that names it; the
    results that there are lie in the error's `results`.
    """
    contracts = list(contracts)
    results: dict[str, Result] = {}
    failed: BatchError | None = None
    stop = Event()

    def unless_stopped(item: Contract) -> Result | None:
        if stop.is_set():
            return None
        try:
            return work(item)
        except BaseException:
            stop.set()
            raise

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix=step) as pool:
        tasks = {pool.submit(unless_stopped, item): item for item in contracts}
        for task in as_completed(tasks):
            name = tasks[task].name
            if error := task.exception():
                if not isinstance(error, BatchError):
                    cause, error = error, explain(error, f"{step} {name}")
                    error.__cause__ = cause
                failed = failed or error
                continue
            if (result := task.result()) is not None:
                results[name] = result
                if on_done:
                    on_done(result)
    found = [results[item.name] for item in contracts if item.name in results]
    if failed:
        failed.results = found
        raise failed
    return found
