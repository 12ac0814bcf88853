"""Keeps jobs alive across a job manager's death, and ends a stack whose owner is gone.

Runs under supervisord beside what it watches. A standalone job manager that was killed comes back without its jobs;
the keeper submits them again from where they were. The task manager would go on with the lost jobs' tasks until its
heartbeat times out (30 s) before it turns to the new job manager, so it is restarted at once. Where a deploy was
interrupted, the keeper puts the old version back.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from grocery.stack import state
from grocery.stack.deploy import recover
from grocery.stack.errors import StackError
from grocery.stack.local import Stack
from grocery.stack.supervision import SupervisorGone

LOOK_S = 1.0
RETRY_S = 15.0


def watch(stack: Stack) -> None:
    """Look once a second until the stack is shut down. A submission that failed is tried again after RETRY_S."""
    not_before: dict[str, float] = {}
    manager = 0
    while True:
        remembered = state.read(stack.home)
        if remembered is not None and remembered.owner is not None and not _lives(remembered.owner):
            _say(f"the owner, process {remembered.owner.pid}, is gone: stopping the stack")
            stack.shut_down()
            return
        before, manager = manager, stack.pid("jobmanager") or manager
        if before and manager != before and stack.pid("taskmanager"):
            _say(f"the job manager is new, process {manager}: restarting the task manager")
            stack.kill("taskmanager")
        stack.retire_ended_jobs()
        if time.monotonic() >= not_before.get("a deploy", 0):
            try:
                recover(stack, _say)
            except StackError as error:
                not_before["a deploy"] = time.monotonic() + RETRY_S
                _say(f"next try in {RETRY_S:.0f} s: {error}")
        for name in stack.forgotten_jobs():
            if time.monotonic() < not_before.get(name, 0):
                continue
            try:
                again = stack.resume(name)
            except StackError as error:
                not_before[name] = time.monotonic() + RETRY_S
                _say(f"{name} could not be resumed, next try in {RETRY_S:.0f} s: {error}")
            else:
                if again is not None:
                    _say(f"{name} resumed as {again.job_id} from {again.resumed_from or 'the beginning'}")
        time.sleep(LOOK_S)


def _say(what: str) -> None:
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {what}", flush=True)


def _lives(owner: state.Owner) -> bool:
    import psutil

    try:
        return abs(psutil.Process(owner.pid).create_time() - owner.started_at) < 1
    except psutil.Error:
        return False


if __name__ == "__main__":
    try:
        watch(Stack(Path(sys.argv[1]), Path(sys.argv[2])))
    except SupervisorGone as gone:
        _say(f"{gone}; nothing to keep any more")
