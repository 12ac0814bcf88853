"""What can go wrong with the local stack, said so that the reader knows the next step."""

from __future__ import annotations

from pathlib import Path


class StackError(RuntimeError):
    """The stack, or a job on it, cannot do what was asked. The message names the thing and the next step."""


def last_lines(log: Path, count: int = 15) -> str:
    """The end of a log file, to put into an error message; empty when there is no such file."""
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 16384))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-count:])
    except FileNotFoundError:
        return ""
