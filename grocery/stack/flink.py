"""Flink from outside: its REST API, its command-line client, its checkpoints on disk."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from grocery.stack.errors import StackError

SUBMIT_S = 180
TERMINAL = frozenset({"FINISHED", "FAILED", "CANCELED"})


def package() -> Path:
    """The folder of the apache-flink package: a whole Flink distribution. Raises StackError when it is missing."""
    spec = importlib.util.find_spec("pyflink")
    if spec is None or not spec.submodule_search_locations:
        raise StackError("the package apache-flink is not installed; run: make setup")
    return Path(spec.submodule_search_locations[0])


def connector(jars: Path) -> Path:
    """The one jar that jobs need besides Flink. Raises StackError when it is missing."""
    found = sorted((jars / "flink").glob("flink-sql-connector-kafka-*.jar"))
    if not found:
        raise StackError(f"no Kafka connector for Flink in {jars / 'flink'}; get it: make setup")
    return found[-1]


def get(rest: str, path: str, timeout_s: float = 5) -> dict[str, Any] | None:
    """One answer of the REST API; None while the job manager does not answer or does not know what is asked for."""
    try:
        with urllib.request.urlopen(rest + path, timeout=timeout_s) as answer:
            return json.load(answer)
    except (OSError, ValueError):
        return None


def job_states(rest: str) -> dict[str, str] | None:
    """State by job id; None while the job manager does not answer."""
    overview = get(rest, "/jobs/overview")
    return None if overview is None else {job["jid"]: job["state"] for job in overview["jobs"]}


def cancel(rest: str, job_id: str) -> None:
    """Ask for a job's end; a job that is not known is no error, it does not run."""
    request = urllib.request.Request(f"{rest}/jobs/{job_id}?mode=cancel", method="PATCH")
    try:
        urllib.request.urlopen(request, timeout=30).close()
    except urllib.error.HTTPError as error:
        if error.code not in (404, 409):
            raise StackError(f"job {job_id} cannot be cancelled: {error.read().decode(errors='replace')}") from error


def run(
    rest: str, py_file: str, args: list[str], env: dict[str, str], jar: Path, python: str, checkpoint: Path | None
) -> str:
    """Submit a Python job and return its id; from `checkpoint` where one is given, which the job then owns.

    Raises StackError with the end of what Flink's client said.
    """
    command = [str(package() / "bin" / "flink"), "run", "--detached", "--jobmanager", rest.removeprefix("http://")]
    if checkpoint is not None:
        command += ["--fromSavepoint", checkpoint.as_uri(), "--claimMode", "CLAIM"]
    command += ["--jarfile", str(jar), "-pyexec", python, "-pyclientexec", python, "--python", py_file, *args]
    try:
        done = subprocess.run(
            command,
            env=os.environ | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SUBMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        raise StackError(f"{py_file}: Flink's client gave no answer within {SUBMIT_S} s") from late
    submitted = re.search(r"submitted with JobID ([0-9a-f]{32})", done.stdout)
    if submitted is None:
        end = "\n".join(done.stdout.strip().splitlines()[-25:])
        raise StackError(f"{py_file} was not accepted by Flink:\n{end}")
    return submitted[1]


def newest_checkpoint(checkpoints: Path, job_ids: list[str]) -> Path | None:
    """The newest complete checkpoint of a job's runs (ids oldest first); None when none was completed.

    A checkpoint is complete when its `_metadata` is there: Flink writes that last. Later runs went on from earlier
    ones, so the last run that completed any has the newest.
    """
    for job_id in reversed(job_ids):
        complete = [file.parent for file in (checkpoints / job_id).glob("chk-*/_metadata")]
        if complete:
            return max(complete, key=lambda folder: int(folder.name.removeprefix("chk-")))
    return None
