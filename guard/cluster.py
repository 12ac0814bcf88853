"""What Flink says of its jobs."""

from __future__ import annotations

import time
from collections.abc import Collection

from guard.seen import JobSeen
from streaming_jobs import progress


def look(rest: str, wanted: Collection[str], patience_s: float = 10) -> dict[str, JobSeen] | None:
    """The newest run of each wanted job that Flink knows; None where it does not answer, or not to the end.

    patience_s: a job manager that answers slowly is left alone after so long.
    """
    end = time.monotonic() + patience_s
    runs = progress.runs(rest)
    if runs is None:
        return None
    newest = {run.name: run for run in sorted(runs, key=lambda run: run.started_ms)}
    found = {}
    for name in sorted(wanted & newest.keys()):
        if time.monotonic() > end:
            return None
        run = newest[name]
        made = progress.checkpoints(rest, run.job_id)
        found[name] = JobSeen(
            run.job_id,
            run.state,
            run.up,
            progress.restarts(rest, run.job_id),
            made and made.completed,
            made and made.failed,
            progress.checkpoint_interval_s(rest, run.job_id) if run.up else 0.0,
            progress.counted(rest, run.job_id) if run.up else {},
        )
    return found
