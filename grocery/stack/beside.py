"""A Flink of its own, in a process beside the cluster, for a job's next version to be tried in.

Not the cluster itself: its task manager has imported the running release, and a version that goes wrong there would
disturb what runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from grocery.settings import PROJECT, settings
from grocery.stack import flink
from grocery.stack.config import HOST, SHORT_LIVED
from grocery.stack.errors import StackError, last_lines
from grocery.stack.local import Stack
from grocery.stack.ports import free_ports

START_S = 120
HEAP = "-Xmx768m"


@dataclass(frozen=True, slots=True)
class Beside:
    """A job that runs beside the cluster. rest: address of its Flink."""

    rest: str
    job_id: str
    still_there: Callable[[], None]


@contextmanager
def beside(
    stack: Stack, py_file: Path, code: Path, savepoint: Path, args: Callable[[dict[str, str]], list[str]]
) -> Iterator[Beside]:
    """Run a Python job in a process of its own, begun with a savepoint that is only read.

    code: the release it imports. args: its arguments, given the Flink settings it has to use. Parts of the savepoint
    that the job does not have are left out.
    Gives it once Flink has taken it. `still_there` raises StackError with the cause where it has failed: it is not
    restarted, and ends with its Flink. Ended, with all it wrote, after the block.
    """
    (port,) = free_ports(1)
    rest = f"http://{HOST}:{port}"
    with tempfile.TemporaryDirectory(prefix="beside-", dir=stack.home) as folder:
        work, log = Path(folder), Path(folder) / "said.log"
        given = args(_settings(work, savepoint, port))
        with log.open("w") as said:
            process = subprocess.Popen(
                [sys.executable, str(py_file), *given],
                env=_environment(stack, work, code),
                cwd=work,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
            )

        def still_there() -> None:
            if process.poll() is not None:
                raise StackError(_why(log))

        try:
            yield Beside(rest, _started(rest, still_there, log), still_there)
        finally:
            _end(process)


def _settings(work: Path, savepoint: Path, port: int) -> dict[str, str]:
    connector = flink.connector(settings().jars)
    return {
        "rest.port": str(port),
        "rest.bind-port": str(port),
        "rest.address": HOST,
        "pipeline.jars": connector.as_uri(),
        "parallelism.default": "1",
        "python.executable": sys.executable,
        "python.client.executable": sys.executable,
        "python.execution-mode": "thread",
        "restart-strategy.type": "none",
        "metrics.fetcher.update-interval": "500",
        "io.tmp.dirs": str(work),
        "execution.checkpointing.dir": (work / "checkpoints").as_uri(),
        "execution.checkpointing.interval": "500 ms",
        "execution.state-recovery.path": savepoint.as_uri(),
        "execution.state-recovery.claim-mode": "NO_CLAIM",
        "execution.state-recovery.ignore-unclaimed-state": "true",
    }


def _environment(stack: Stack, work: Path, code: Path) -> dict[str, str]:
    return stack.environment() | {
        "FLINK_LOG_DIR": str(work),
        "JVM_ARGS": f"{HEAP} {SHORT_LIVED}",
        "PYTHONPATH": os.pathsep.join([sysconfig.get_path("purelib"), str(code), str(PROJECT)]),
    }


def _started(rest: str, still_there: Callable[[], None], log: Path) -> str:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        still_there()
        jobs = flink.job_states(rest)
        if jobs:
            return next(iter(jobs))
        time.sleep(0.2)
    raise StackError(f"it did not start within {START_S} s:\n{last_lines(log)}")


def _why(log: Path) -> str:
    """Java's cause in what a process said, or the end of it."""
    said = log.read_text(errors="replace")
    return flink.root_cause(said) if "Caused by: " in said else last_lines(log, 3)


def _end(process: subprocess.Popen) -> None:
    """End it and the JVM it started."""
    import psutil

    try:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        family = []
    for one in family:
        one.kill()
    psutil.wait_procs(family, timeout=10)
    process.wait()
