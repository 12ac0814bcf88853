"""What a stack remembers in <home>/stack.json: its ports and the jobs it was given.

The command line and the keeper process both write it, so every change happens under a file lock.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field


class Run(BaseModel):
    """One run of a job on Flink. began_from: the checkpoint or savepoint it was started with, None: anew."""

    job_id: str
    began_from: str | None = None


class Version(BaseModel):
    """What is submitted. env: for the client that builds the job."""

    py_file: str
    args: list[str] = []
    env: dict[str, str] = {}


class Replaced(Version):
    """A version that a deploy is about to replace. job_id: its last run."""

    job_id: str


class Job(Version):
    """One job by name.

    wanted: it shall run. runs: oldest first; a resumed job gets a new one. error: why its last submission was refused.
    previous: what ran before, while a deploy goes on.
    ended: Flink's word where it ended though nobody cancelled it here; it is missed, though not resumed.
    """

    wanted: bool = True
    runs: list[Run] = []
    ended: str | None = None
    error: str | None = None
    previous: Replaced | None = None

    def go_back(self) -> None:
        """Be the version again that a deploy was about to replace; nothing happens where none was."""
        if self.previous is not None:
            self.py_file, self.args, self.env = self.previous.py_file, self.previous.args, self.previous.env
            self.previous = None

    @property
    def job_id(self) -> str | None:
        """Flink's id of the last run."""
        return self.runs[-1].job_id if self.runs else None


class Owner(BaseModel):
    """The process a stack lives for. started_at: epoch s, since process ids are used again."""

    pid: int
    started_at: float


class State(BaseModel):
    """ports: by name (kafka, controller, rest, rpc, supervisor, <process>_metrics). password: guards supervisord.
    task_managers: how many."""

    version: int = 2
    ports: dict[str, int] = {}
    password: str = Field(default_factory=lambda: secrets.token_urlsafe(24))
    owner: Owner | None = None
    task_managers: int = 1
    jobs: dict[str, Job] = {}


def read(home: Path) -> State | None:
    """The remembered state; None when no stack was ever started here."""
    try:
        text = (home / "stack.json").read_text()
    except FileNotFoundError:
        return None
    found = json.loads(text)
    if found["version"] == 1:
        _upgrade(found)
    return State.model_validate(found)


def _upgrade(found: dict[str, Any]) -> None:
    """From version 1, which had Flink's ids and the last run's beginning apart."""
    found["version"] = 2
    for job in found["jobs"].values():
        job["runs"] = [{"job_id": job_id} for job_id in job.pop("job_ids")]
        began_from = job.pop("resumed_from")
        if job["runs"]:
            job["runs"][-1]["began_from"] = began_from


@contextmanager
def edit(home: Path) -> Iterator[State]:
    """Change the state: read under a lock, written back whole when the block ends without an error."""
    with locked(home, "state"):
        state = read(home) or State()
        yield state
        fresh = home / "stack.json.new"
        fresh.touch(mode=0o600)
        fresh.write_text(state.model_dump_json(indent=2))
        os.replace(fresh, home / "stack.json")


@contextmanager
def locked(home: Path, name: str) -> Iterator[None]:
    """Hold <home>/<name>.lock for the block; a second process waits. Released when the process dies, too."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def tried(home: Path, name: str) -> Iterator[bool]:
    """Hold the lock for the block where it is free, and tell whether it is held; does not wait."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / f"{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
