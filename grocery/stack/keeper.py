"""Keeps jobs alive across a job manager's death, and ends a stack whose owner is gone.

Runs under supervisord beside what it watches. A standalone job manager that was killed comes back without its jobs;
the keeper submits them again from where they were. The task manager would go on with the lost jobs' tasks until its
heartbeat times out (30 s) before it turns to the new job manager, so it is restarted at once. Where a deploy was
interrupted, the keeper puts the old version back.

supervisord watches the keeper, and the keeper watches supervisord: where that was killed, the stack is started anew,
since processes cannot be put under another supervisord.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from grocery.stack import state
from grocery.stack.deploy import recover
from grocery.stack.errors import StackError
from grocery.stack.local import Stack
from grocery.stack.supervision import SupervisorGone

LOOK_S = 1.0
RETRY_S = 15.0
ORPHANED_S = 10.0


def keep(stack: Stack) -> None:
    """Watch, and start the stack anew where its supervisord was killed; the new one has a keeper of its own."""
    supervisord, ran = _supervisord(stack), set()
    try:
        for names in watch(stack):
            ran |= names
            if os.getppid() != supervisord:
                break
    except (SupervisorGone, BrokenPipeError) as gone:
        if not _orphaned(supervisord):
            _say(f"{gone}; nothing to keep any more")
    if os.getppid() != supervisord:
        # supervisord was what wrote the log.
        with (stack.logs / "keeper.log").open("a") as log, contextlib.redirect_stdout(log):
            _start_anew(stack, ran)


def _supervisord(stack: Stack) -> int:
    """Process id of the supervisord that started this keeper. Not simply its parent: that is another one already where
    supervisord was killed while Python was starting."""
    try:
        return int((stack.home / "supervisord.pid").read_text())
    except FileNotFoundError:
        return os.getppid()


def _orphaned(supervisord: int) -> bool:
    """Whether supervisord was killed. A killed process's connections end a moment before its children become another's;
    one that is shut down ends this process meanwhile."""
    from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

    patient = Retrying(
        retry=retry_if_result(lambda orphaned: not orphaned),
        stop=stop_after_delay(ORPHANED_S),
        wait=wait_fixed(0.05),
        retry_error_callback=lambda _: False,
    )
    return patient(lambda: os.getppid() != supervisord)


def _start_anew(stack: Stack, ran: set[str]) -> None:
    from tenacity import Retrying, retry_if_exception_type, wait_fixed

    owner = state.read(stack.home).owner
    if owner is not None and not _lives(owner):
        _say("supervisord and the owner are gone: stopping the stack")
        stack.down()
    else:
        _say("supervisord is gone: starting the stack anew")
        again = Retrying(
            retry=retry_if_exception_type(StackError),
            wait=wait_fixed(RETRY_S),
            before_sleep=lambda tried: _say(f"next try in {RETRY_S:.0f} s: {tried.outcome.exception()}"),
        )
        again(stack.up, "taskmanager" in ran, guard="guard" in ran, owner=owner and owner.pid)


def watch(stack: Stack) -> Iterator[set[str]]:
    """Look once a second until the stack is shut down. A submission that failed is tried again after RETRY_S.

    Gives, after each look, the names of what runs. Raises SupervisorGone.
    """
    not_before: dict[str, float] = {}
    manager = 0
    while True:
        remembered = state.read(stack.home)
        if remembered is not None and remembered.owner is not None and not _lives(remembered.owner):
            _say(f"the owner, process {remembered.owner.pid}, is gone: stopping the stack")
            stack.shut_down()
            return
        before, manager = manager, stack.pid("jobmanager") or manager
        if before and manager != before:
            for name in stack.task_managers:
                if stack.pid(name):
                    _say(f"the job manager is new, process {manager}: restarting the {name}")
                    stack.kill(name)
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
        yield {process.name for process in stack.status().processes if process.state == "RUNNING"}
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
    keep(Stack(Path(sys.argv[1]), Path(sys.argv[2])))
