"""Flink from outside: its REST API, its command-line client, its checkpoints on disk."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import struct
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from grocery.stack.errors import StackError

SUBMIT_S = 180
SAVEPOINT_S = 300
SNAPSHOT_MAGIC = 0x4960672D
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


def task_managers(rest: str) -> set[str]:
    """Addresses of the task managers that are registered; a restarted one has another."""
    found = get(rest, "/taskmanagers")
    return {manager["path"] for manager in found["taskmanagers"]} if found else set()


def failures(rest: str, job_id: str) -> list[str]:
    """What each failure of this run was about, newest first; empty while the job manager does not answer."""
    found = get(rest, f"/jobs/{job_id}/exceptions")
    entries = found["exceptionHistory"]["entries"] if found else []
    return [root_cause(entry["stacktrace"]) for entry in entries]


def live(rest: str, name: str) -> set[str]:
    """Ids of the jobs of that name that have not ended; empty while the job manager does not answer."""
    overview = get(rest, "/jobs/overview") or {"jobs": []}
    return {job["jid"] for job in overview["jobs"] if job["name"] == name and job["state"] not in TERMINAL}


def cancel(rest: str, job_id: str) -> None:
    """Ask for a job's end; a job that is not known is no error, it does not run."""
    request = urllib.request.Request(f"{rest}/jobs/{job_id}?mode=cancel", method="PATCH")
    try:
        urllib.request.urlopen(request, timeout=30).close()
    except urllib.error.HTTPError as error:
        if error.code not in (404, 409):
            raise StackError(f"job {job_id} cannot be cancelled: {error.read().decode(errors='replace')}") from error


def savepoint(rest: str, job_id: str, folder: Path, *, stop: bool = False) -> Path:
    """Take a savepoint of a running job into a new folder under `folder` and return it, once it is complete.

    The format is Flink's canonical one, which any state backend and later Flink restores. stop: end the job with it;
    what the job had decided until then is committed, and nothing is drained: open windows go into the savepoint.
    Raises StackError with Flink's cause; a job that could not be stopped then runs on.
    """
    # Flink's words for the same target differ between the two requests.
    if stop:
        path, body = "stop", {"targetDirectory": folder.as_uri(), "drain": False}
    else:
        path, body = "savepoints", {"target-directory": folder.as_uri(), "cancel-job": False}
    asked = _post(f"{rest}/jobs/{job_id}/{path}", body | {"formatType": "CANONICAL"}, f"a savepoint of job {job_id}")
    end = time.monotonic() + SAVEPOINT_S
    while time.monotonic() < end:
        now = get(rest, f"/jobs/{job_id}/savepoints/{asked['request-id']}")
        if now is not None and now["status"]["id"] == "COMPLETED":
            location = now["operation"].get("location")
            if location is None:
                cause = now["operation"]["failure-cause"]["stack-trace"]
                raise StackError(f"no savepoint of job {job_id} was made:\n{root_cause(cause)}")
            return Path(urllib.parse.unquote(urllib.parse.urlparse(location).path))
        if now is None and job_id not in (job_states(rest) or {job_id}):
            raise StackError(f"no savepoint of job {job_id} was made: the job manager was restarted meanwhile")
        time.sleep(0.1)
    raise StackError(f"no savepoint of job {job_id} was made within {SAVEPOINT_S} s; look at {rest}/#/job/{job_id}")


def _post(url: str, body: dict[str, Any], what: str) -> dict[str, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise StackError(f"Flink refuses {what}: {root_cause(error.read().decode(errors='replace'))}") from error
    except OSError as error:
        raise StackError(f"Flink did not answer when asked for {what}: {error}") from error


def root_cause(trace: str) -> str:
    """What a Java stack trace is about: its last `Caused by`, or its first line; with the line of Python it came from,
    where it did."""
    lines = [line.strip() for line in trace.splitlines() if line.strip()]
    if not lines:
        return "no cause given"
    at = max((number for number, line in enumerate(lines) if line.startswith("Caused by: ")), default=0)
    where = lines[at + 1].removeprefix("at ") if len(lines) > at + 1 and ".py:" in lines[at + 1] else ""
    return lines[at].removeprefix("Caused by: ") + (f" (at {where})" if where else "")


def run(
    rest: str,
    py_file: str,
    args: list[str],
    env: dict[str, str],
    jar: Path,
    python: str,
    start_from: Path | None,
    claim: bool = False,
) -> str:
    """Submit a Python job and return its id.

    start_from: a checkpoint or savepoint. claim: the job owns it from now on and removes it when it needs it no more.

    Raises StackError with the end of what Flink's client said.
    """
    command = [str(package() / "bin" / "flink"), "run", "--detached", "--jobmanager", rest.removeprefix("http://")]
    if start_from is not None:
        command += ["--fromSavepoint", start_from.as_uri(), "--claimMode", "CLAIM" if claim else "NO_CLAIM"]
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


def newest_snapshot(job_id: str, *folders: Path) -> Path | None:
    """The newest complete checkpoint or savepoint that one run has left in these folders; None where there is none.

    folders: each with a folder a run, by job id. A run numbers both in one row. `_metadata` is written last, so what
    has one is complete.
    """
    found = [(number(file.parent), file.parent) for folder in folders for file in (folder / job_id).glob("*/_metadata")]
    return max(found, default=(0, None))[1]


def number(snapshot: Path) -> int:
    """Which of its run's checkpoints and savepoints this one is. Raises StackError where it is none of Flink's."""
    head = struct.Struct(">IIq")  # magic number, format version, checkpoint id: Flink's MetadataV3Serializer and later
    try:
        with (snapshot / "_metadata").open("rb") as file:
            magic, _, checkpoint_id = head.unpack(file.read(head.size))
    except (OSError, struct.error) as error:
        raise StackError(f"{snapshot}: not a checkpoint or savepoint that Flink could read: {error}") from error
    if magic != SNAPSHOT_MAGIC:
        raise StackError(f"{snapshot}: its _metadata was not written by Flink")
    return checkpoint_id
