"""The jobs there are, and handing them to a stack."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Protocol

from alerting.rules import RuleSet, parse_rules
from streaming_jobs.runtime import Job, arguments


class Cluster(Protocol):
    """What submitting needs of a stack."""

    @property
    def kafka(self) -> str: ...

    def submit(
        self, name: str, py_file: Path, args: list[str] | None = None, env: dict[str, str] | None = None
    ) -> str: ...


def all_jobs() -> dict[str, Job]:
    """Every job by name: each folder that has a job.py."""
    here = Path(__file__).parent
    names = sorted(path.parent.name for path in here.glob("*/job.py"))
    return {name: importlib.import_module(f"streaming_jobs.{name}.job").JOB for name in names}


def job_named(name: str) -> Job:
    """Raises LookupError, which lists those there are."""
    jobs = all_jobs()
    if name not in jobs:
        raise LookupError(f"{name}: no such job; there are {', '.join(jobs)}")
    return jobs[name]


def rules_of(job: Job, chain: Path) -> tuple[RuleSet, str]:
    """The job's rules, checked, and their text. Raises RuleError, OSError."""
    path = chain / "rules" / job.rules
    text = path.read_text("utf-8")
    return parse_rules(text, str(path)), text


def submit(stack: Cluster, name: str, chain: Path) -> str:
    """Check the chain's rules for this job and run it on the stack; returns Flink's job id.

    A job that ran before goes on from its newest checkpoint with the rules as they are now.
    Raises LookupError, RuleError, OSError, and StackError where it runs already or Flink refuses it.
    """
    job = job_named(name)
    rules, text = rules_of(job, chain)
    return stack.submit(name, job.folder / "job.py", arguments(stack.kafka, text, rules.source))
