"""Hands a job and its rules to a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from alerting.rules import parse_rules

FOLDER = Path(__file__).parent


class Cluster(Protocol):
    """What a job is given to; `grocery.stack.Stack` is one."""

    kafka: str

    def submit(self, name: str, py_file: Path, args: list[str]) -> str: ...


def jobs() -> list[str]:
    """Names of the jobs there are."""
    return sorted(path.parent.name for path in FOLDER.glob("*/job.py"))


def submit(cluster: Cluster, job: str, rules: Path) -> str:
    """Start a job with the rules of a file; returns Flink's job id.

    Raises LookupError for an unknown job, RuleError where the rules cannot be used (nothing is submitted then).
    """
    if job not in jobs():
        raise LookupError(f"{job}: no such job; there are {', '.join(jobs())}")
    parse_rules(rules.read_text("utf-8"), str(rules))
    return cluster.submit(
        job, FOLDER / job / "job.py", ["--bootstrap", cluster.kafka, "--rules", str(rules.absolute())]
    )
