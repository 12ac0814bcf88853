"""Ports on this machine."""

from __future__ import annotations

import contextlib
import socket

from grocery.stack.config import HOST
from grocery.stack.errors import StackError


def is_free(port: int) -> bool:
    """Whether this process may listen there now. Raises StackError for a port that only root may have."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except PermissionError as error:
            raise StackError(f"port {port} may only be used by root; choose one above 1023, or give none") from error
        except OSError:
            return False
    return True


def answers(port: int) -> bool:
    """Whether something accepts connections there."""
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on now, all different."""
    with contextlib.ExitStack() as held:
        found = []
        for _ in range(count):
            probe = held.enter_context(socket.socket())
            probe.bind((HOST, 0))
            found.append(probe.getsockname()[1])
        return found


def choose(wanted: dict[str, int | None], remembered: dict[str, int]) -> dict[str, int]:
    """A port for each name: the one asked for, else the remembered one while it is free, else a free one.

    Raises StackError when a port that was asked for is in use, naming who holds it.
    """
    chosen = {}
    for name, port in wanted.items():
        if port is not None and not is_free(port):
            raise StackError(
                f"port {port} ({name}) is in use{_holder(port)}. Stop it, choose another port, or give none: "
                "then a free one is taken."
            )
        before = remembered.get(name)
        chosen[name] = port or (before if before and is_free(before) else None)
    missing = [name for name, port in chosen.items() if port is None]
    return chosen | dict(zip(missing, free_ports(len(missing)), strict=True))


def _holder(port: int) -> str:
    import psutil

    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    return ""
