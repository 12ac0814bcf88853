"""The guard as a program of the local stack: watches its broker, its cluster and the jobs it was given."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from threading import Event as Signal

from grocery.stack import state
from grocery.stack.config import HOST
from grocery.stack.local import Stack
from guard.run import watch


def main(home: Path, logs: Path) -> None:
    """Until it is told to end. Asks no other process what runs, so that it goes on when supervisord is gone."""
    stop = Signal()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    ports = state.read(home).ports
    wanted = Stack(home, logs).expected_jobs
    watch(f"{HOST}:{ports['kafka']}", f"http://{HOST}:{ports['rest']}", wanted, ports["guard_metrics"], stop)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
