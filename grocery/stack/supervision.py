"""Talk to this stack's supervisord over its XML-RPC port."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ProtocolError, ServerProxy, Transport

from grocery.stack.config import HOST
from grocery.stack.errors import StackError

SHUTDOWN_STATE, ALREADY_STARTED = 6, 60
TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class Process:
    """state: supervisord's word (RUNNING, STARTING, BACKOFF, EXITED, FATAL, STOPPED). up_s: seconds since its start."""

    name: str
    state: str
    pid: int
    up_s: int


class _Timed(Transport):
    def make_connection(self, host):  # noqa: ANN001
        connection = super().make_connection(host)
        connection.timeout = TIMEOUT_S
        return connection


class SupervisorGone(StackError):
    """supervisord does not answer any more, or is shutting down."""


class Supervisor:
    """One supervisord. Knows only where it listens; every call asks it anew, and may raise SupervisorGone."""

    def __init__(self, port: int, password: str) -> None:
        self._rpc = ServerProxy(f"http://grocery:{password}@{HOST}:{port}/RPC2", transport=_Timed(), allow_none=True)

    @property
    def alive(self) -> bool:
        try:
            return self._call("getState")["statename"] == "RUNNING"
        except StackError:
            return False

    @property
    def pid(self) -> int:
        return self._call("getPID")

    def processes(self) -> list[Process]:
        return [_process(info) for info in self._call("getAllProcessInfo")]

    def process(self, name: str) -> Process:
        """Raises StackError for a name that is not supervised."""
        try:
            return _process(self._call("getProcessInfo", name))
        except Fault as fault:
            known = ", ".join(process.name for process in self.processes())
            raise StackError(f"no process {name} in this stack; there are: {known}") from fault

    def start(self, name: str) -> None:
        """Start a program; nothing happens when it runs already. Does not wait."""
        try:
            self._call("startProcess", name, False)
        except Fault as fault:
            if fault.faultCode != ALREADY_STARTED:
                raise StackError(f"{name} cannot be started: {fault.faultString}") from fault

    def shutdown(self) -> None:
        """Ask it to stop every program and itself; does not wait. Nothing happens when it is about to already."""
        with contextlib.suppress(SupervisorGone):
            self._call("shutdown")

    def _call(self, method: str, *args: object) -> Any:
        try:
            return getattr(self._rpc.supervisor, method)(*args)
        except (OSError, HTTPException, ProtocolError) as error:
            raise SupervisorGone(f"supervisord does not answer: {error.__class__.__name__}") from error
        except Fault as fault:
            if fault.faultCode != SHUTDOWN_STATE:
                raise
            raise SupervisorGone("supervisord is shutting down") from fault


def launch(conf: Path, env: dict[str, str]) -> None:
    """Start supervisord in the background; returns once it has detached itself.

    Raises StackError with supervisord's own words when it refuses.
    """
    result = subprocess.run(
        [sys.executable, "-m", "supervisor.supervisord", "-c", str(conf)],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if result.returncode != 0:
        said = (result.stderr or result.stdout).strip()
        raise StackError(f"supervisord did not start with {conf}:\n{said}")


def _process(info: dict) -> Process:
    up_s = info["now"] - info["start"] if info["pid"] else 0
    return Process(info["name"], info["statename"], info["pid"], up_s)
