"""The jobs there are, and handing them to a cluster."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Protocol

from alerting.rules import parse_rules
from streaming_jobs.runtime import FOLDER, Job, arguments


class Cluster(Protocol):
    """What a job is given to; `grocery.stack.Stack` is one."""

    @property
    def kafka(self) -> str: ...

    def submit(self, name: str, py_file: Path, args: list[str], *, start_from: Path | None = None) -> str: ...

    def submit_all(self, wanted: dict[str, tuple[Path, list[str]]]) -> dict[str, str]: ...


def jobs() -> dict[str, Job]:
    """Every job by name: each folder that has a job.py."""
    names = sorted(path.parent.name for path in FOLDER.glob("*/job.py"))
    return {name: importlib.import_module(f"streaming_jobs.{name}.job").JOB for name in names}


def job_named(name: str) -> Job:
    """Raises LookupError, which lists the jobs there are."""
    known = jobs()
    if name not in known:
        raise LookupError(f"{name}: no such job; there are {', '.join(known)}")
    return known[name]


def submit(cluster: Cluster, job: str, rules: Path, start_from: Path | None = None) -> str:
    """Start a job with the rules of a file; returns Flink's job id.

    A job that ran on this cluster before goes on from where it was, with these rules.
    start_from: a savepoint to begin with instead.
    Raises LookupError for an unknown job, RuleError where the rules cannot be used (nothing is submitted then), OSError
    where there is no such file, and what the cluster raises where it refuses the job.
    """
    py_file, given = _checked(cluster, job_named(job), rules)
    return cluster.submit(job, py_file, given, start_from=start_from)


def submit_all(cluster: Cluster, rules: Path) -> dict[str, str]:
    """Start every job there is with the rules of a folder, as `submit` does; Flink's job ids by name."""
    return cluster.submit_all({name: _checked(cluster, job, rules / job.rules) for name, job in jobs().items()})


def _checked(cluster: Cluster, job: Job, rules: Path) -> tuple[Path, list[str]]:
    """A job's file and arguments."""
    text = rules.read_text("utf-8")
    parse_rules(text, str(rules))
    return job.folder / "job.py", arguments(cluster.kafka, text, str(rules))
