"""Another writer's commit between what a write has read and its own: while its rows are computed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

import pytest


@contextmanager
def in_the_way(
    monkeypatch: pytest.MonkeyPatch, folder: Path, module: ModuleType, write: str, place: int, other: Callable[[], None]
) -> Iterator[list[str]]:
    """The first call of `module.write` has `other` in its way; yields what that call failed with.

    place: which of the write's arguments are the rows.
    """
    reading_now, go_on = folder / "reading-now", folder / "go-on"
    os.mkfifo(reading_now)
    os.mkfifo(go_on)
    write_at_once, conflicts = getattr(module, write), []

    def write_slowly(*given):
        rows = given[place].repartition(1)
        rows = rows.mapInArrow(_waiting(str(reading_now), str(go_on)), rows.schema)
        try:
            return write_at_once(*given[:place], rows, *given[place + 1 :])
        except Exception as error:
            conflicts.append(str(error))
            monkeypatch.setattr(module, write, write_at_once)
            raise

    def meanwhile():
        if not reading_now.read_bytes():  # waits until the write is at it
            return
        try:
            other()
        finally:
            go_on.write_bytes(b"now")

    monkeypatch.setattr(module, write, write_slowly)
    with ThreadPoolExecutor(1) as pool:
        wrote = pool.submit(meanwhile)
        try:
            yield conflicts
        finally:
            with suppress(OSError):  # nobody waits any more, as it should be
                os.close(os.open(reading_now, os.O_WRONLY | os.O_NONBLOCK))
        wrote.result()


def _waiting(reading_now: str, go_on: str):
    """What Spark's worker does with the rows: it tells that they are being read, and waits, once."""

    def work(batches):
        import os

        if os.path.exists(go_on):
            with open(reading_now, "w") as told:
                told.write("now")
            with open(go_on) as wait:
                wait.read()
            os.unlink(go_on)
        yield from batches

    return work
